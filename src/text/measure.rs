//! Sizes, durations and counts as people read them.
//!
//! Pure functions; what machines read has bytes and milliseconds.

use std::time::Duration;

/// `0 B`, `999 B`, `1.5 KiB`, `12 MiB`: at most three digits before the unit, and one behind the point below 10.
pub fn bytes(n_bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit_idx = 0_usize;
    let (mut whole, mut rest) = (n_bytes, 0_u64);
    while whole >= 1_000 && unit_idx + 1 < UNITS.len() {
        rest = whole % 1_024;
        whole /= 1_024;
        unit_idx += 1;
    }
    let unit = UNITS.get(unit_idx).copied().unwrap_or_default();
    match unit_idx {
        0 => format!("{whole} {unit}"),
        _ if whole < 10 => format!("{whole}.{} {unit}", rest * 10 / 1_024),
        _ => format!("{whole} {unit}"),
    }
}

/// `0 ms`, `999 ms`, `4.2 s`, `12 s`, `3 min 20 s`, `2 h 05 min`, `3 days 4 h`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let tenth = duration.subsec_millis() / 100;
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..=9 => format!("{seconds}.{tenth} s"),
        10..=99 => format!("{seconds} s"),
        100..=3_599 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{} h {:02} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!(
            "{} {} h",
            count(seconds / 86_400, "day"),
            seconds % 86_400 / 3_600
        ),
    }
}

/// `1 run`, `2 runs`.
pub fn count(n: u64, noun: &str) -> String {
    match n {
        1 => format!("1 {noun}"),
        _ => format!("{n} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_few_digits() {
        for (n_bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "0.9 KiB"),
            (1_536, "1.5 KiB"),
            (12 << 20, "12 MiB"),
            (u64::MAX, "15 EiB"),
        ] {
            assert_eq!(bytes(n_bytes), text);
        }
    }

    #[test]
    fn durations_have_the_unit_that_matters() {
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (4_250, "4.2 s"),
            (12_900, "12 s"),
            (200_000, "3 min 20 s"),
            (7_500_000, "2 h 05 min"),
            (273_600_000, "3 days 4 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
    }
}
