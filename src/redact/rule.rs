//! One thing that is replaced: a literal, and what must follow it.
//!
//! Owns the decision whether a rule matches at one place. It never searches and never writes. Invariant: a decision
//! other than [`Verdict::Pending`] does not change when more bytes arrive, which is what makes a stream come out the
//! same however it is split.

use super::{LOOK_BEHIND_BYTES, MAX_HOLD};

/// Longest run of a provider's token after its prefix, in bytes; the longest known one has 300.
const MAX_TOKEN_BYTES: usize = 512;
/// Longest bearer token, in bytes: servers refuse headers above 8 KiB.
const MAX_BEARER_BYTES: usize = 8 << 10;
/// Shortest bearer token that is taken for one, in bytes.
const MIN_BEARER_BYTES: usize = 8;
/// Longest header of a JWT, in bytes. It names an algorithm and a key and is far shorter; other JSON in base64 also
/// begins with `eyJ` and must not be held back for long.
const MAX_JWT_HEADER_BYTES: usize = 1 << 10;
/// Longest claims of a JWT, in bytes: it must fit into a header line.
const MAX_JWT_CLAIMS_BYTES: usize = 8 << 10;
/// Longest signature of a JWT, in bytes: RSA with 16,384 bits has 2,731, ML-DSA-44 has 3,227.
const MAX_JWT_SIGNATURE_BYTES: usize = 4 << 10;
/// Shortest part of a JWT, in bytes.
const MIN_JWT_PART_BYTES: usize = 8;
/// Longest label of a PEM block, in bytes; `ENCRYPTED PRIVATE KEY` has 21.
const MAX_PEM_LABEL_BYTES: usize = 40;
/// Shortest first word of a PEM body, in bytes: base64 lines have 64, `Version:` has 8, prose is shorter.
const MIN_PEM_WORD_BYTES: usize = 8;

/// What one rule says about one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It does not match here.
    Refuted,
    /// More bytes decide; never given at the end of the text.
    Pending,
    /// It matches that many bytes.
    Matched(usize),
}

/// Whether more bytes may follow a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    /// More may follow.
    Open,
    /// The text ends here.
    Final,
}

impl Edge {
    fn undecided(self, at_end: Verdict) -> Verdict {
        match self {
            Self::Open => Verdict::Pending,
            Self::Final => at_end,
        }
    }
}

/// What must follow a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing.
    Nothing,
    /// At least that many bytes of a class; the match takes all of them up to [`MAX_TOKEN_BYTES`].
    Run(Class, usize),
    /// As `Run`, and upper case, lower case and digits must all be present.
    MixedRun(Class, usize),
    /// That many bytes of a class and then another byte.
    Exactly(Class, usize),
    /// The rest of a JSON web token.
    Jwt,
    /// The rest of a block with a private key, up to [`MAX_HOLD`].
    Pem,
    /// A bearer token, if the header's name stands before the literal.
    Bearer,
}

/// A set of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Letters and digits.
    Alphanumeric,
    /// Upper-case letters and digits.
    UpperOrDigit,
    /// Letters, digits and `_`.
    Word,
    /// The URL-safe base64 alphabet.
    Base64Url,
    /// What RFC 6750 allows in a bearer token.
    Token68,
    /// What stands in a PEM block, also when its line ends are written as `\n`.
    PemBody,
}

impl Class {
    fn has(self, byte: u8) -> bool {
        match self {
            Self::Alphanumeric => byte.is_ascii_alphanumeric(),
            Self::UpperOrDigit => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Self::Word => byte.is_ascii_alphanumeric() || byte == b'_',
            Self::Base64Url => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Self::Token68 => byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte),
            Self::PemBody => {
                byte.is_ascii_alphanumeric() || b"+/=\r\n\t \\:,.-_()@".contains(&byte)
            }
        }
    }

    /// Length of the run at the start of `text`, at most `max_bytes`.
    fn run(self, text: &[u8], max_bytes: usize) -> usize {
        text.iter()
            .take(max_bytes)
            .take_while(|&&byte| self.has(byte))
            .count()
    }
}

/// A literal, what must follow it, and whose name the replacement has. It has no `Debug`: literals are secrets.
#[derive(Clone)]
pub(super) struct Rule {
    /// What it begins with; not empty, at most `MAX_LITERAL_BYTES`.
    pub(super) literal: Box<[u8]>,
    pub(super) tail: Tail,
    /// Place in the list of replacements.
    pub(super) replacement: usize,
}

impl Rule {
    /// Decides for the place `at` of `window`; looks at most [`LOOK_BEHIND_BYTES`] back and [`MAX_HOLD`] ahead.
    pub(super) fn verdict(&self, window: &[u8], at: usize, edge: Edge) -> Verdict {
        let (behind, ahead) = window.split_at_checked(at).unwrap_or((window, &[]));
        let Some(rest) = ahead.strip_prefix(&*self.literal) else {
            return match self.literal.starts_with(ahead) {
                true => edge.undecided(Verdict::Refuted),
                false => Verdict::Refuted,
            };
        };
        let tail = match self.tail {
            Tail::Nothing => Verdict::Matched(0),
            Tail::Run(class, min_bytes) => run(rest, edge, class, min_bytes, MAX_TOKEN_BYTES),
            Tail::MixedRun(class, min_bytes) => mixed_run(rest, edge, class, min_bytes),
            Tail::Exactly(class, n_bytes) => exactly(rest, edge, class, n_bytes),
            Tail::Jwt => jwt(rest, edge),
            Tail::Pem => pem(rest, edge, MAX_HOLD.saturating_sub(self.literal.len())),
            Tail::Bearer if follows_header_name(behind) => run(
                rest,
                edge,
                Class::Token68,
                MIN_BEARER_BYTES,
                MAX_BEARER_BYTES,
            ),
            Tail::Bearer => Verdict::Refuted,
        };
        match tail {
            Verdict::Matched(n_bytes) => {
                Verdict::Matched(self.literal.len().saturating_add(n_bytes))
            }
            Verdict::Pending | Verdict::Refuted => tail,
        }
    }
}

/// A run that is cut at `max_bytes`.
fn run(rest: &[u8], edge: Edge, class: Class, min_bytes: usize, max_bytes: usize) -> Verdict {
    let n_bytes = class.run(rest, max_bytes);
    let verdict = match n_bytes >= min_bytes {
        true => Verdict::Matched(n_bytes),
        false => Verdict::Refuted,
    };
    match n_bytes == rest.len() && n_bytes < max_bytes {
        true => edge.undecided(verdict),
        false => verdict,
    }
}

fn mixed_run(rest: &[u8], edge: Edge, class: Class, min_bytes: usize) -> Verdict {
    let verdict = run(rest, edge, class, min_bytes, MAX_TOKEN_BYTES);
    let Verdict::Matched(n_bytes) = verdict else {
        return verdict;
    };
    let token = rest.get(..n_bytes).unwrap_or(rest);
    match token.iter().any(u8::is_ascii_digit)
        && token.iter().any(u8::is_ascii_uppercase)
        && token.iter().any(u8::is_ascii_lowercase)
    {
        true => verdict,
        false => Verdict::Refuted,
    }
}

fn exactly(rest: &[u8], edge: Edge, class: Class, n_bytes: usize) -> Verdict {
    let found = class.run(rest, n_bytes.saturating_add(1));
    let verdict = match found == n_bytes {
        true => Verdict::Matched(n_bytes),
        false => Verdict::Refuted,
    };
    match found == rest.len() && found <= n_bytes {
        true => edge.undecided(verdict),
        false => verdict,
    }
}

/// `<header>.eyJ<claims>.<signature>` after the first `eyJ`. Once the second `eyJ` was seen it is a token: a part that
/// is longer than its limit ends the match there, it does not refute it.
fn jwt(rest: &[u8], edge: Edge) -> Verdict {
    const CLAIMS_MARK: &[u8] = b".eyJ";
    let header = Class::Base64Url.run(rest, MAX_JWT_HEADER_BYTES);
    if header == rest.len() && header < MAX_JWT_HEADER_BYTES {
        return edge.undecided(Verdict::Refuted);
    }
    let after_header = rest.get(header..).unwrap_or(&[]);
    if header < MIN_JWT_PART_BYTES {
        return Verdict::Refuted;
    }
    let Some(claims_text) = after_header.strip_prefix(CLAIMS_MARK) else {
        return match CLAIMS_MARK.starts_with(after_header) {
            true => edge.undecided(Verdict::Refuted),
            false => Verdict::Refuted,
        };
    };
    let claims = Class::Base64Url.run(claims_text, MAX_JWT_CLAIMS_BYTES);
    let claims_end = header
        .saturating_add(CLAIMS_MARK.len())
        .saturating_add(claims);
    if claims == MAX_JWT_CLAIMS_BYTES {
        return Verdict::Matched(claims_end);
    }
    match claims_text.get(claims..).and_then(<[u8]>::split_first) {
        None => edge.undecided(match claims >= MIN_JWT_PART_BYTES {
            true => Verdict::Matched(claims_end),
            false => Verdict::Refuted,
        }),
        Some((b'.', signature_text)) if claims >= MIN_JWT_PART_BYTES => {
            let signature = run(
                signature_text,
                edge,
                Class::Base64Url,
                0,
                MAX_JWT_SIGNATURE_BYTES,
            );
            match signature {
                Verdict::Matched(n_bytes) => {
                    Verdict::Matched(claims_end.saturating_add(1).saturating_add(n_bytes))
                }
                Verdict::Pending | Verdict::Refuted => signature,
            }
        }
        Some(_) => Verdict::Refuted,
    }
}

/// `RSA PRIVATE KEY-----<body>-----END RSA PRIVATE KEY-----` after the first `-----BEGIN `. A block without its end is
/// redacted up to the first byte that cannot belong to it, or to the limit.
fn pem(rest: &[u8], edge: Edge, max_bytes: usize) -> Verdict {
    const DASHES: &[u8] = b"-----";
    const END: &[u8] = b"-----END ";
    let label = rest
        .iter()
        .take(MAX_PEM_LABEL_BYTES)
        .take_while(|&&byte| Class::UpperOrDigit.has(byte) || byte == b' ')
        .count();
    let (label_text, after_label) = rest.split_at_checked(label).unwrap_or((rest, &[]));
    if after_label.is_empty() && label < MAX_PEM_LABEL_BYTES {
        return edge.undecided(Verdict::Refuted);
    }
    if !label_text.windows(11).any(|words| words == b"PRIVATE KEY") {
        return Verdict::Refuted;
    }
    let Some(body) = after_label.strip_prefix(DASHES) else {
        return match DASHES.starts_with(after_label) {
            true => edge.undecided(Verdict::Refuted),
            false => Verdict::Refuted,
        };
    };
    let body_start = label.saturating_add(DASHES.len());
    let max_body_bytes = max_bytes.saturating_sub(body_start);
    let word = first_word(body);
    if word < MIN_PEM_WORD_BYTES {
        return match word_may_grow(body) {
            true => edge.undecided(Verdict::Refuted),
            false => Verdict::Refuted,
        };
    }
    let run = Class::PemBody.run(body, max_body_bytes);
    let body_text = body.get(..run).unwrap_or(body);
    let whole = memchr::memmem::find(body_text, END).and_then(|end| {
        let after_end = body_text.get(end.saturating_add(END.len())..)?;
        let close = memchr::memmem::find(after_end, DASHES)?;
        Some(
            end.saturating_add(END.len())
                .saturating_add(close)
                .saturating_add(DASHES.len()),
        )
    });
    match whole {
        Some(n_bytes) => Verdict::Matched(body_start.saturating_add(n_bytes)),
        None => {
            let cut = Verdict::Matched(body_start.saturating_add(run));
            match run == body.len() && run < max_body_bytes {
                true => edge.undecided(cut),
                false => cut,
            }
        }
    }
}

/// Length of the first word of a PEM body, after line ends, also written as `\n`.
fn first_word(body: &[u8]) -> usize {
    body.get(gap(body)..)
        .unwrap_or(&[])
        .iter()
        .take(MIN_PEM_WORD_BYTES)
        .take_while(|&&byte| {
            Class::PemBody.has(byte) && !byte.is_ascii_whitespace() && byte != b'\\'
        })
        .count()
}

/// True if the first word reaches the end of the body, or has not begun.
fn word_may_grow(body: &[u8]) -> bool {
    gap(body).saturating_add(first_word(body)) >= body.len()
}

/// Length of the white space before the first word. A backslash takes the letter after it along.
fn gap(body: &[u8]) -> usize {
    let mut after_backslash = false;
    body.iter()
        .take(MAX_PEM_LABEL_BYTES)
        .take_while(|&&byte| {
            let escape = after_backslash && matches!(byte, b'n' | b'r' | b't');
            after_backslash = byte == b'\\';
            escape || after_backslash || byte.is_ascii_whitespace()
        })
        .count()
}

/// True if `behind` ends with the header's name, a colon or equals sign, and quotes or blanks around it.
fn follows_header_name(behind: &[u8]) -> bool {
    const NAME: &[u8] = b"authorization";
    let near = behind
        .get(behind.len().saturating_sub(LOOK_BEHIND_BYTES)..)
        .unwrap_or(behind);
    let separators = near
        .iter()
        .rev()
        .take_while(|&&byte| b" \t\"'\\:=".contains(&byte))
        .count();
    let Some((before, separators)) = near.split_at_checked(near.len().saturating_sub(separators))
    else {
        return false;
    };
    let name = before
        .get(before.len().saturating_sub(NAME.len())..)
        .unwrap_or(before);
    name.eq_ignore_ascii_case(NAME) && separators.iter().any(|byte| matches!(byte, b':' | b'='))
}
