//! Byte ranges of a download (RFC 9110, section 14): one range, as resuming clients ask for it.
//!
//! Pure. Several ranges in one request are allowed to be ignored, and are.

/// What part of the content is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it: no range, or one that is not understood.
    Whole,
    /// From the first to the last byte, inclusive.
    Bytes {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte, below the size.
        last: u64,
    },
    /// Nothing of what there is.
    Unsatisfiable,
}

impl Part {
    /// Reads the value of `Range` for content of `size` bytes.
    pub(super) fn of(range: &str, size: u64) -> Self {
        let Some((first, last)) = range
            .trim()
            .strip_prefix("bytes=")
            .filter(|spec| !spec.contains(','))
            .and_then(|spec| spec.trim().split_once('-'))
        else {
            return Self::Whole;
        };
        match (number(first), number(last)) {
            (Given::Number(first), Given::Nothing) => Self::within(first, u64::MAX, size),
            (Given::Number(first), Given::Number(last)) if first <= last => {
                Self::within(first, last, size)
            }
            (Given::Nothing, Given::Number(0)) => Self::Unsatisfiable,
            (Given::Nothing, Given::Number(n_last)) => {
                Self::within(size.saturating_sub(n_last), u64::MAX, size)
            }
            (Given::Number(_), Given::Number(_))
            | (Given::Nothing, Given::Nothing)
            | (Given::Garbage, _)
            | (_, Given::Garbage) => Self::Whole,
        }
    }

    fn within(first: u64, last: u64, size: u64) -> Self {
        match size.checked_sub(1) {
            Some(end) if first <= end => Self::Bytes {
                first,
                last: last.min(end),
            },
            _ => Self::Unsatisfiable,
        }
    }
}

enum Given {
    Nothing,
    Number(u64),
    Garbage,
}

fn number(text: &str) -> Given {
    if text.is_empty() {
        Given::Nothing
    } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than a u64 is more than any size.
        Given::Number(text.parse().unwrap_or(u64::MAX))
    } else {
        Given::Garbage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        for (range, expected) in [
            ("bytes=0-0", Part::Bytes { first: 0, last: 0 }),
            ("bytes=2-", Part::Bytes { first: 2, last: 9 }),
            ("bytes=-3", Part::Bytes { first: 7, last: 9 }),
            ("bytes=-99", Part::Bytes { first: 0, last: 9 }),
            (
                "bytes=5-99999999999999999999999",
                Part::Bytes { first: 5, last: 9 },
            ),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=10-11", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=5-4", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("lines=1-2", Part::Whole),
            ("", Part::Whole),
        ] {
            assert_eq!(Part::of(range, 10), expected, "{range}");
        }
        assert_eq!(Part::of("bytes=0-", 0), Part::Unsatisfiable);
    }
}
