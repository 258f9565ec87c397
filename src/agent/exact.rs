//! Numbers of JSON that would not be kept as they are written.
//!
//! Owns the finding of them: integers of more than 64 bits, and fractions with more digits than a double holds (IEEE 754).
//! It is pure. Invariant: a text without such a number says the same after it was read into values and written again.

/// Longest part of a number that is shown, in bytes.
const MAX_SHOWN_BYTES: usize = 40;

/// A number that would become another one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is the number {digits}, of which not all digits can be kept; give it as text",
    shown(path)
)]
pub struct Inexact {
    /// JSON pointer (RFC 6901) of it; empty for the whole.
    pub path: String,
    /// The number as it is written, or its beginning.
    pub digits: String,
}

/// The first number of a JSON text that would not be kept exactly; the text was found to be JSON before.
pub fn first_inexact(json: &[u8]) -> Option<Inexact> {
    let mut place: Vec<Level> = Vec::new();
    let mut rest = json;
    while let Some((&first, after)) = rest.split_first() {
        rest = match first {
            b'{' => {
                place.push(Level::Object(Vec::new()));
                after
            }
            b'[' => {
                place.push(Level::Array(0));
                after
            }
            b'}' | b']' => {
                place.pop();
                after
            }
            b',' => {
                if let Some(Level::Array(idx)) = place.last_mut() {
                    *idx += 1;
                }
                after
            }
            b'"' => {
                let (text, after) = split_text(rest);
                // A value is a text of a name that is known already, which its own name replaces.
                if let Some(Level::Object(name)) = place.last_mut()
                    && after.trim_ascii_start().starts_with(b":")
                {
                    *name = text.to_vec();
                }
                after
            }
            b'-' | b'0'..=b'9' => {
                let is_of_number =
                    |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                let end = rest.iter().position(|byte| !is_of_number(byte));
                let (number, after) = rest.split_at(end.unwrap_or(rest.len()));
                let number = String::from_utf8_lossy(number);
                if !is_kept(&number) {
                    let digits = match number.get(..MAX_SHOWN_BYTES) {
                        Some(beginning) if number.len() > MAX_SHOWN_BYTES => {
                            format!("{beginning}…")
                        }
                        Some(_) | None => number.into_owned(),
                    };
                    let path = place.iter().map(Level::token).collect();
                    return Some(Inexact { path, digits });
                }
                after
            }
            _ => after,
        };
    }
    None
}

/// Where a value stands in what is around it.
enum Level {
    /// Under the name that was read last, in its quotes.
    Object(Vec<u8>),
    Array(usize),
}

impl Level {
    fn token(&self) -> String {
        match self {
            Self::Object(name) => {
                let name: String = serde_json::from_slice(name).unwrap_or_default();
                format!("/{}", name.replace('~', "~0").replace('/', "~1"))
            }
            Self::Array(idx) => format!("/{idx}"),
        }
    }
}

/// The text that the bytes begin with, in its quotes, and what follows it.
fn split_text(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut is_escaped = false;
    let end = bytes.iter().skip(1).position(|byte| {
        let is_end = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_end
    });
    bytes.split_at(end.map_or(bytes.len(), |end| end + 2))
}

/// Whether a number is still the same once it was read.
fn is_kept(written: &str) -> bool {
    // Integers of up to 18 digits fit 64 bits.
    if written.len() <= 18 && written.bytes().all(|byte| byte.is_ascii_digit()) {
        return true;
    }
    let read: Result<serde_json::Number, _> = serde_json::from_str(written);
    read.is_ok_and(|read| Digits::of(written) == Digits::of(&read.to_string()))
}

/// A number without what can be written in several ways: zeros at its ends, and the place of its point.
#[derive(Debug, PartialEq, Eq)]
struct Digits {
    is_negative: bool,
    digits: String,
    /// The power of ten of the last digit.
    exponent: i64,
}

impl Digits {
    /// None of an exponent that is beyond any number.
    fn of(written: &str) -> Option<Self> {
        let (mantissa, exponent) = match written.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (written, 0),
        };
        let is_negative = mantissa.starts_with('-');
        let mantissa = mantissa.trim_start_matches('-');
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let digits = all.trim_end_matches('0');
        let n_zeros = i64::try_from(all.len() - digits.len()).ok()?;
        let n_fraction = i64::try_from(fraction.len()).ok()?;
        let digits = digits.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self {
                is_negative: false,
                digits,
                exponent: 0,
            });
        }
        let exponent = exponent.checked_add(n_zeros)?.checked_sub(n_fraction)?;
        Some(Self {
            is_negative,
            digits,
            exponent,
        })
    }
}

/// A JSON pointer as people read it.
fn shown(pointer: &str) -> &str {
    match pointer {
        "" => "the whole",
        pointer => pointer,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_that_are_kept_are_not_found() {
        for kept in [
            "0",
            "-0",
            "0.0",
            "-0.0e7",
            "18446744073709551615",
            "-9223372036854775808",
            "0.1",
            "1e2",
            "1.50",
            "1E+300",
            "0.30000000000000004",
            "1e-7",
            "123456789012345680000",
            "2.5e-8",
            "5e-324",
        ] {
            assert_eq!(first_inexact(kept.as_bytes()), None, "{kept}");
        }
    }

    #[test]
    fn the_first_number_that_is_not_kept_is_found_with_its_place() {
        for (json, path, digits) in [
            ("18446744073709551616", "", "18446744073709551616"),
            (
                "[1, 12345678901234567890123]",
                "/1",
                "12345678901234567890123",
            ),
            (
                r#"{"id": 7, "a/b~": [{}, {"\u0078\"": "1.0", "y": [-9223372036854775809]}]}"#,
                "/a~1b~0/1/y/0",
                "-9223372036854775809",
            ),
            (
                r#"{"a": {"b": "x"}, "c": 0.1000000000000000001}"#,
                "/c",
                "0.1000000000000000001",
            ),
            (r#"{"\u0078\"": 1e-400}"#, "/x\"", "1e-400"),
            (
                "[[3.14159265358979323846]]",
                "/0/0",
                "3.14159265358979323846",
            ),
        ] {
            let path = path.to_owned();
            let digits = digits.to_owned();
            assert_eq!(
                first_inexact(json.as_bytes()),
                Some(Inexact { path, digits }),
                "{json}"
            );
        }
        let long = "9".repeat(1_000);
        let shown = first_inexact(long.as_bytes()).unwrap().to_string();
        assert!(
            shown.starts_with("the whole is the number 999") && shown.len() < 150,
            "{shown}"
        );
    }

    #[test]
    fn digits_in_texts_are_no_numbers() {
        let json = r#"{"12345678901234567890123": ["12345678901234567890123", "\\", "\"98765432109876543210987"]}"#;
        assert_eq!(first_inexact(json.as_bytes()), None);
    }

    proptest! {
        #[test]
        fn what_was_written_from_values_is_kept(float in any::<f64>(), integer in any::<i64>(), count in any::<u64>()) {
            let json = serde_json::json!([float, {"a": integer}, [count]]).to_string();
            prop_assert_eq!(first_inexact(json.as_bytes()), None);
        }
    }
}
