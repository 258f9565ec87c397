//! Sizes and durations as people write them: `1GiB`, `500MB`, `10m`.
//!
//! A number without a unit is bytes or seconds. Nothing is rounded, and no unit is ambiguous: `1G` is refused.

/// Reads a size in bytes: a whole number, or one with kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (of 1024).
///
/// Returns `None` for anything else and for more than 64 bits can hold. Case does not matter.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    scaled(text, |unit| {
        Some(match unit {
            "" | "b" => 1,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            "kib" => 1 << 10,
            "mib" => 1 << 20,
            "gib" => 1 << 30,
            "tib" => 1 << 40,
            _ => return None,
        })
    })
}

/// Reads a duration in seconds: a whole number, or one with s, m, h or d.
///
/// Returns `None` for anything else and for more than 64 bits can hold.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    scaled(text, |unit| {
        Some(match unit {
            "" | "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return None,
        })
    })
}

fn scaled(text: &str, factor_of: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let digits_end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let factor = factor_of(&unit.trim_start().to_ascii_lowercase())?;
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_exact_units() {
        for (text, expected) in [
            ("0", Some(0)),
            ("512", Some(512)),
            ("500MB", Some(500_000_000)),
            ("1GiB", Some(1 << 30)),
            ("1 gib", Some(1 << 30)),
            ("64kib", Some(65_536)),
            ("1G", None),
            ("1.5GiB", None),
            ("-1", None),
            ("+1", None),
            ("GiB", None),
            ("", None),
            ("99999999999999999999", None),
            ("99999999TiB", None),
        ] {
            assert_eq!(bytes(text), expected, "{text:?}");
        }
    }

    #[test]
    fn durations_have_exact_units() {
        for (text, expected) in [
            ("600", Some(600)),
            ("90s", Some(90)),
            ("10m", Some(600)),
            ("2h", Some(7_200)),
            ("7d", Some(604_800)),
            ("10 min", None),
            ("1h30m", None),
            ("1.5h", None),
            ("ms", None),
        ] {
            assert_eq!(seconds(text), expected, "{text:?}");
        }
    }
}
