//! Texts that must not take more than their share of a document.
//!
//! A share is counted in bytes of JSON, where one control character takes six, so that the sum of the shares is a true
//! bound of the document.

use std::borrow::Cow;

/// Mark at the end of a text that was cut.
const ELLIPSIS: char = '…';

/// Gives the text, or its longest beginning that takes at most `max_json_bytes` as the inside of a JSON string, with
/// `…` at its end (counted). A limit below the size of the mark gives the mark.
pub fn within(text: &str, max_json_bytes: usize) -> Cow<'_, str> {
    if is_plainly_within(text, max_json_bytes) {
        return Cow::Borrowed(text);
    }
    let room = max_json_bytes.saturating_sub(ELLIPSIS.len_utf8());
    let (mut used, mut end) = (0_usize, 0_usize);
    for (start, character) in text.char_indices() {
        used += json_bytes(character);
        if used <= room {
            end = start + character.len_utf8();
        }
        if used > max_json_bytes {
            let mut cut = text.get(..end).unwrap_or("").to_owned();
            cut.push(ELLIPSIS);
            return Cow::Owned(cut);
        }
    }
    Cow::Borrowed(text)
}

/// A quick answer for nearly all texts: counts six bytes for whatever may need more than itself.
fn is_plainly_within(text: &str, max_json_bytes: usize) -> bool {
    let needs_escape = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    text.len() <= max_json_bytes
        && text.len()
            + 5 * text
                .as_bytes()
                .iter()
                .filter(|byte| needs_escape(byte))
                .count()
            <= max_json_bytes
}

/// Bytes that serde_json writes for a character inside of a string (RFC 8259, section 7).
fn json_bytes(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        control if u32::from(control) < 0x20 => 6,
        other => other.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_characters_and_counted_as_json() {
        let table = [
            ("", 3, ""),
            ("abc", 3, "abc"),
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abc…"),
            ("ééé", 6, "ééé"),
            ("éééé", 6, "é…"),
            ("\u{1}\u{1}", 12, "\u{1}\u{1}"),
            ("\u{1}\u{1}", 11, "\u{1}…"),
            ("\"\"\"\"", 7, "\"\"…"),
            ("abcd", 0, "…"),
        ];
        for (text, limit, expected) in table {
            assert_eq!(within(text, limit), expected, "{text:?} within {limit}");
        }
    }

    #[test]
    fn the_count_is_that_of_the_serializer() {
        for number in (0..0x3000).chain([0xFFFF, 0x1_F600]) {
            let Some(character) = char::from_u32(number) else {
                continue;
            };
            let json = serde_json::to_string(&character).unwrap();
            assert_eq!(json_bytes(character), json.len() - 2, "{character:?}");
        }
    }
}
