//! Redaction: no secret passes the door into the log.
//!
//! Owns what counts as a secret and how it is replaced, in whole texts, in encoded events and in streams. It never
//! stores or prints what it replaced. Invariants: the same text gives the same result whole and as a stream; no type of
//! this module shows a secret by `Debug`.
//!
//! Replaced by `[redacted:NAME]` are declared values with their encoded forms, and the shapes of well-known tokens.
//! Not found: values that a program changed (reversed, compressed, encrypted, wrapped over lines), and declared values
//! shorter than [`MIN_SECRET_BYTES`].

mod forms;
mod heads;
mod json;
mod matcher;
mod patterns;
mod rule;
mod stream;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use matcher::Matcher;
use rule::{Edge, Rule, Tail};
pub use stream::StreamRedactor;

/// How every replacement begins.
pub const MARK: &str = "[redacted:";

/// Shortest declared value that is replaced, in bytes. Shorter ones are words and numbers of ordinary text: replacing
/// them makes a record unreadable and says where they stand.
pub const MIN_SECRET_BYTES: usize = 8;

/// Most bytes that a stream holds back, and the longest match: a private key of 16,384 bits has 13 KiB in PEM.
pub const MAX_HOLD: usize = 16 << 10;

/// Longest literal. A longer form is split into parts that are replaced one by one, so that it need not be held whole.
const MAX_LITERAL_BYTES: usize = 4 << 10;

/// How far before a match a rule looks, in bytes: the name of a header with quotes and blanks.
const LOOK_BEHIND_BYTES: usize = 32;

/// Longest name in a replacement, in bytes; names are keys of a run description and shorter.
const MAX_NAME_BYTES: usize = 64;

/// Whether a payload was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redaction {
    /// It has no secret and is as it was.
    Untouched,
    /// At least one string or number was replaced.
    Changed,
}

/// Replaces secrets. A clone shares the tables and costs a reference count; the default knows shapes only.
#[derive(Clone)]
pub struct Redactor {
    tables: Arc<Tables>,
}

struct Tables {
    /// Finds secrets in text.
    text: Matcher,
    /// Finds whatever may be a secret inside an encoded JSON object; may say yes too often, never no.
    encoded: Matcher,
    /// Texts that stand for secrets, by the rules' replacement index.
    replacements: Vec<Box<str>>,
    too_short: Vec<String>,
    n_secrets: usize,
}

impl Default for Redactor {
    fn default() -> Self {
        Self::new([])
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor")
            .field("n_secrets", &self.tables.n_secrets)
            .finish_non_exhaustive()
    }
}

impl Redactor {
    /// Builds the tables from declared secrets, as names and values. Names stand in replacements with other characters
    /// than letters, digits, `_` and `-` turned into `_`; a name that contains a declared value is replaced by `secret`.
    /// Values shorter than [`MIN_SECRET_BYTES`] are not replaced, see [`Redactor::too_short`]. Of two equal values
    /// the first one's name is used.
    pub fn new(secrets: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let (secrets, short): (Vec<_>, Vec<_>) = secrets
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .partition(|(_, value)| value.len() >= MIN_SECRET_BYTES);
        let mut replacements = Vec::with_capacity(secrets.len());
        let mut rules: Vec<Rule> = Vec::new();
        for (name, value) in &secrets {
            let replacement = replacements.len();
            replacements.push(replacement_text(name, &secrets));
            for form in forms::forms(value) {
                rules.extend(literal_parts(&form).map(|part| Rule {
                    literal: part.into(),
                    tail: Tail::Nothing,
                    replacement,
                }));
            }
        }
        // Stable: of equal literals the one declared first stays first.
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.literal.len()));
        for pattern in patterns::PATTERNS {
            let replacement = replacements.len();
            replacements.push(format!("[redacted:{}]", pattern.name).into());
            rules.extend(pattern.literals.iter().map(|literal| Rule {
                literal: literal.as_bytes().into(),
                tail: pattern.tail,
                replacement,
            }));
        }
        Self {
            tables: Arc::new(Tables {
                encoded: Matcher::new(rules.iter().map(encoded_rule).collect()),
                text: Matcher::new(rules),
                replacements,
                too_short: short.into_iter().map(|(name, _)| name).collect(),
                n_secrets: secrets.len(),
            }),
        }
    }

    /// Names of the declared secrets that are too short to be replaced, so that the caller can warn; one without a value
    /// is none.
    pub fn too_short(&self) -> &[String] {
        &self.tables.too_short
    }

    /// Replaces every secret in a text.
    pub fn redact_text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.redact_bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(bytes) => Cow::Owned(into_text(bytes)),
        }
    }

    /// Replaces every secret in a sequence of bytes.
    pub fn redact_bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        match self.tables.text.matches(bytes) {
            true => Cow::Owned(self.replaced(bytes, 0)),
            false => Cow::Borrowed(bytes),
        }
    }

    /// Replaces every secret in the strings, nested keys and numbers of one encoded JSON object; everything else stays
    /// as it is, byte for byte, and so do the keys of the object itself. A number is replaced, by a string, if its text
    /// equals a declared value.
    ///
    /// `payload` must be as `serde_json` writes it: nothing is escaped that need not be.
    pub fn redact_json_object(&self, payload: &mut Vec<u8>) -> Redaction {
        match self.tables.encoded.matches(payload) {
            true => json::redact_object(self, payload),
            false => Redaction::Untouched,
        }
    }

    /// `text` from `from` on, with every secret replaced.
    fn replaced(&self, text: &[u8], from: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let tables = &self.tables;
        tables.text.replace(
            text,
            from,
            from,
            Edge::Final,
            &tables.replacements,
            &mut out,
        );
        out
    }
}

/// Valid UTF-8 of redacted text. Only a value that is no text itself can have cut a character in two.
fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn replacement_text(name: &str, secrets: &[(String, Vec<u8>)]) -> Box<str> {
    let shown: String = name
        .chars()
        .take(MAX_NAME_BYTES)
        .map(|c| match c.is_ascii_alphanumeric() || c == '-' {
            true => c,
            false => '_',
        })
        .collect();
    let tells = |text: &str| {
        secrets
            .iter()
            .any(|(_, value)| memchr::memmem::find(text.as_bytes(), value).is_some())
    };
    match shown.is_empty() || tells(&shown) || tells(name) {
        true => "[redacted:secret]".into(),
        false => format!("[redacted:{shown}]").into(),
    }
}

/// Parts of equal length, none longer than [`MAX_LITERAL_BYTES`].
fn literal_parts(form: &[u8]) -> std::slice::Chunks<'_, u8> {
    let n_parts = form.len().div_ceil(MAX_LITERAL_BYTES).max(1);
    form.chunks(form.len().div_ceil(n_parts).max(1))
}

/// The rule for the text inside a JSON string. Runs of tokens have no character that JSON escapes; the other tails
/// have, and are decided on the decoded text.
fn encoded_rule(rule: &Rule) -> Rule {
    Rule {
        literal: forms::json_escaped(&rule.literal).into(),
        tail: match rule.tail {
            Tail::Pem | Tail::Bearer => Tail::Nothing,
            Tail::Nothing | Tail::Run(..) | Tail::MixedRun(..) | Tail::Exactly(..) | Tail::Jwt => {
                rule.tail
            }
        },
        replacement: rule.replacement,
    }
}

#[cfg(test)]
mod tests;
