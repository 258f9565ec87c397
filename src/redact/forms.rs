//! The forms in which a declared secret appears in text.
//!
//! Owns the encodings. It never stores a value. Invariant: every form is decided by the secret alone, whatever stands
//! before and after it.

use super::MIN_SECRET_BYTES;

/// Shortest part of a base64 form that is searched for, in characters: 48 bits, below which ordinary text would match.
const MIN_BASE64_CHARS: usize = 8;
const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const UPPER_HEX: &[u8; 16] = b"0123456789ABCDEF";
const LOWER_HEX: &[u8; 16] = b"0123456789abcdef";

/// What encoders leave as it is beside letters and digits: RFC 3986; Python's `quote`, which keeps slashes;
/// JavaScript's `encodeURIComponent`; HTML forms, which also write `+` for a space.
const URL_FLAVOURS: [(&[u8], Space); 4] = [
    (b"-._~", Space::Percent),
    (b"-._~/", Space::Percent),
    (b"-._~!'()*", Space::Percent),
    (b"-._*", Space::Plus),
];

#[derive(Clone, Copy)]
enum Space {
    Percent,
    Plus,
}

/// All forms of a value, the value itself first, each one once.
pub(super) fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![value.to_vec(), json_escaped(value)];
    forms.extend(json_ascii(value));
    for lines in with_other_line_ends(value) {
        forms.push(json_escaped(&lines));
        forms.push(lines);
    }
    for (kept, space) in URL_FLAVOURS {
        for digits in [UPPER_HEX, LOWER_HEX] {
            forms.push(url_encoded(value, kept, space, digits));
        }
    }
    for alphabet in [STANDARD, URL_SAFE] {
        for offset in 0..3 {
            forms.push(base64_core(value, offset, alphabet));
        }
    }
    let mut distinct: Vec<Vec<u8>> = Vec::with_capacity(forms.len());
    for form in forms {
        if !form.is_empty() && !distinct.contains(&form) {
            distinct.push(form);
        }
    }
    distinct
}

/// The value with its line ends as they become on the way: a terminal puts a carriage return before every line feed
/// (`ONLCR` of termios(3)), and many readers make one line feed of both. None is shorter than what is searched for at all.
fn with_other_line_ends(value: &[u8]) -> Vec<Vec<u8>> {
    if !value.contains(&b'\n') {
        return Vec::new();
    }
    let mut one_feed = Vec::with_capacity(value.len());
    for &byte in value {
        if byte == b'\n' {
            one_feed.pop_if(|before| *before == b'\r');
        }
        one_feed.push(byte);
    }
    let with_returns = |lines: &[u8]| {
        let mut shown = Vec::with_capacity(lines.len());
        for &byte in lines {
            if byte == b'\n' {
                shown.push(b'\r');
            }
            shown.push(byte);
        }
        shown
    };
    let mut forms = vec![with_returns(&one_feed), with_returns(value), one_feed];
    forms.retain(|form| form.len() >= MIN_SECRET_BYTES);
    forms
}

/// The bytes as they stand inside a JSON string written by `serde_json`: quotes, backslashes and control characters
/// are escaped, all else is as it is.
pub(super) fn json_escaped(value: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(value.len());
    for &byte in value {
        match byte {
            b'"' | b'\\' => escaped.extend([b'\\', byte]),
            b'\n' => escaped.extend(b"\\n"),
            b'\r' => escaped.extend(b"\\r"),
            b'\t' => escaped.extend(b"\\t"),
            0x08 => escaped.extend(b"\\b"),
            0x0c => escaped.extend(b"\\f"),
            0..0x20 => {
                escaped.extend(b"\\u00");
                escaped.extend(hex(byte, LOWER_HEX));
            }
            _ => escaped.push(byte),
        }
    }
    escaped
}

/// The text as an encoder writes it that keeps to ASCII, as Python's `json.dumps` does; none for what is ASCII, or no text.
fn json_ascii(value: &[u8]) -> Option<Vec<u8>> {
    let text = str::from_utf8(value).ok().filter(|text| !text.is_ascii())?;
    let mut escaped = Vec::new();
    for character in text.chars() {
        let mut bytes = [0; 4];
        if character.is_ascii() {
            escaped.extend(json_escaped(character.encode_utf8(&mut bytes).as_bytes()));
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            escaped.extend(b"\\u");
            for byte in unit.to_be_bytes() {
                escaped.extend(hex(byte, LOWER_HEX));
            }
        }
    }
    Some(escaped)
}

fn url_encoded(value: &[u8], kept: &[u8], space: Space, digits: &[u8; 16]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(value.len());
    for &byte in value {
        match (byte, space) {
            (b' ', Space::Plus) => encoded.push(b'+'),
            _ if byte.is_ascii_alphanumeric() || kept.contains(&byte) => encoded.push(byte),
            _ => {
                encoded.push(b'%');
                encoded.extend(hex(byte, digits));
            }
        }
    }
    encoded
}

fn hex(byte: u8, digits: &[u8; 16]) -> [u8; 2] {
    [byte >> 4, byte & 15].map(|nibble| digits.get(usize::from(nibble)).copied().unwrap_or(b'0'))
}

/// The characters that the secret alone decides when `offset` bytes (0 to 2) stand before it in its group of three.
/// Those at the edges also depend on its neighbours. Empty when fewer than [`MIN_BASE64_CHARS`] remain.
fn base64_core(value: &[u8], offset: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    let first_bit = offset.saturating_mul(8);
    let end_bit = first_bit.saturating_add(value.len().saturating_mul(8));
    let first_char = first_bit.div_ceil(6);
    let end_char = end_bit / 6;
    let byte_at = |idx: usize| {
        let byte = idx.checked_sub(offset).and_then(|idx| value.get(idx));
        u16::from(byte.copied().unwrap_or(0))
    };
    let core: Vec<u8> = (first_char..end_char)
        .map(|char_idx| {
            let bit = char_idx.saturating_mul(6);
            let pair = byte_at(bit / 8) << 8 | byte_at((bit / 8).saturating_add(1));
            let sextet = (pair >> (10 - bit % 8)) & 63;
            alphabet.get(usize::from(sextet)).copied().unwrap_or(b'=')
        })
        .collect();
    match core.len() >= MIN_BASE64_CHARS {
        true => core,
        false => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base64(bytes: &[u8]) -> Vec<u8> {
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len().next_multiple_of(3), 0);
        base64_core(&padded, 0, STANDARD)
    }

    #[test]
    fn every_alignment_of_a_secret_is_found_in_the_base64_of_its_surroundings() {
        let secret = b"hunter2-hunter2";
        assert_eq!(base64(secret), b"aHVudGVyMi1odW50ZXIy");
        for before in 0..7 {
            for after in 0..7 {
                let text = [&b"username"[..before], secret, &b"\xff\x00tail!"[..after]].concat();
                let encoded = base64(&text);
                let form = base64_core(secret, before % 3, STANDARD);
                assert!(form.len() >= 18);
                assert!(
                    encoded.windows(form.len()).any(|part| part == form),
                    "{before} {after}"
                );
            }
        }
    }

    #[test]
    fn line_ends_are_found_as_terminals_and_readers_make_them() {
        for (value, shown) in [
            ("first\nsecond\n", "first\r\nsecond\r\n"),
            ("first\r\nsecond\r\n", "first\nsecond\n"),
            ("first\r\nsecond\r\n", "first\r\r\nsecond\r\r\n"),
            ("first\nsecond", "first\\r\\nsecond"),
        ] {
            assert!(
                forms(value.as_bytes())
                    .iter()
                    .any(|form| form == shown.as_bytes()),
                "{value:?} as {shown:?}"
            );
        }
        // Four line feeds would be found everywhere.
        let short = forms(b"\r\n\r\n\r\n\r\n");
        assert!(short.iter().all(|form| form.len() >= MIN_SECRET_BYTES));
    }

    #[test]
    fn url_forms_cover_the_common_encoders() {
        let forms = forms(b"p&ss w/rd~(1)");
        for expected in [
            "p%26ss%20w%2Frd~%281%29",
            "p%26ss%20w%2frd~%281%29",
            "p%26ss%20w/rd~%281%29",
            "p%26ss%20w%2Frd~(1)",
            "p%26ss+w%2Frd%7E%281%29",
        ] {
            assert!(
                forms.iter().any(|form| form == expected.as_bytes()),
                "{expected}"
            );
        }
    }

    #[test]
    fn json_escapes_are_those_of_serde_json() {
        let text: String = (0..128u8).map(char::from).chain("é漢😀".chars()).collect();
        let encoded = serde_json::to_string(&text).unwrap();
        assert_eq!(
            format!(
                "\"{}\"",
                String::from_utf8(json_escaped(text.as_bytes())).unwrap()
            ),
            encoded
        );
    }
}
