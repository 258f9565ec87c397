//! Times and sizes as people read them.

/// A duration: `812 ms`, `3.2 s`, `1:05`, `2:00:03`.
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{seconds}.{} s", ms % 1_000 / 100),
        _ => clock(seconds),
    }
}

/// A running clock, without parts of a second: `0:07`, `1:05`, `2:00:03`.
pub fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// A size: `812 B`, `1.5 KiB`, `3 MiB`, `1.0 GiB`.
pub fn bytes(n_bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n_bytes < 1_024 {
        return format!("{n_bytes} B");
    }
    // In tenths of a unit; the last unit takes whatever is left.
    let mut tenths = u128::from(n_bytes) * 10 / 1_024;
    let mut name = "KiB";
    for unit in UNITS {
        name = unit;
        if tenths < 10_240 {
            break;
        }
        if unit != "PiB" {
            tenths /= 1_024;
        }
    }
    if tenths < 100 {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    } else {
        format!("{} {name}", tenths / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_well() {
        for (ms, text) in [
            (0, "0 ms"),
            (812, "812 ms"),
            (3_249, "3.2 s"),
            (59_999, "59.9 s"),
            (65_000, "1:05"),
            (7_203_000, "2:00:03"),
        ] {
            assert_eq!(duration(ms), text);
        }
        for (n, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_536, "1.5 KiB"),
            (10_240, "10 KiB"),
            (1 << 20, "1.0 MiB"),
            (1 << 30, "1.0 GiB"),
        ] {
            assert_eq!(bytes(n), text);
        }
        assert_eq!(bytes(u64::MAX), "16383 PiB");
    }
}
