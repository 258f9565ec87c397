//! Durations as playbooks write them: `500ms`, `30s`, `10m`, `2h`, or a whole number of seconds.

use std::time::Duration;

/// Reads a duration; `None` for anything else and for more than 64 bits of milliseconds.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(digits_end);
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let milliseconds = digits.parse::<u64>().ok()?.checked_mul(factor)?;
    Some(Duration::from_millis(milliseconds))
}

/// The shortest way to write a duration of whole milliseconds.
pub(super) fn shown(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    for (factor, unit) in [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ] {
        if milliseconds >= factor && milliseconds.is_multiple_of(factor) {
            return format!("{}{unit}", milliseconds / factor);
        }
    }
    format!("{milliseconds}ms")
}
