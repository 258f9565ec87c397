//! The end of a log whose disk was full.
//!
//! Owns the newest lines of those that found no room, at most [`LAST_WORDS_BYTES`] and always the last one, and their last
//! way into the file. It never decides when that is. Invariants: the file holds whole lines only; what is written is the end
//! of the log without a hole, so the numbers show what is missing before it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::ops::RangeInclusive;

/// Most that is kept for the end, in bytes: the ends of some hundred actions and the terminal event. It is little, so that a
/// disk which has room again for a moment has some for `status.json`, too.
pub(super) const LAST_WORDS_BYTES: usize = 64 * 1024;

/// Ranges of missing numbers that a sentence names.
const MAX_TOLD_RANGES: usize = 5;

/// Lines that wait for their last chance.
#[derive(Debug, Default)]
pub(super) struct LastWords {
    lines: VecDeque<Vec<u8>>,
    n_bytes: usize,
}

impl LastWords {
    /// Keeps a line, with its line end, and lets go of the oldest ones beyond the limit.
    pub(super) fn keep(&mut self, line: &[u8]) {
        self.lines.push_back(line.to_vec());
        self.n_bytes += line.len();
        while self.n_bytes > LAST_WORDS_BYTES && self.lines.len() > 1 {
            self.let_go(1);
        }
    }

    /// Writes as much of the end as there is room for behind the first `file_bytes` of `file`; gives the number of lines and
    /// bytes.
    ///
    /// # Errors
    /// When not even the last line can be written; the file is as it was.
    pub(super) fn write(&mut self, file: &File, file_bytes: u64) -> io::Result<(u64, u64)> {
        loop {
            let end: Vec<u8> = self.lines.iter().flatten().copied().collect();
            let error = match (&*file).write_all(&end) {
                Ok(()) => return Ok((self.lines.len() as u64, end.len() as u64)),
                Err(error) => error,
            };
            file.set_len(file_bytes)?;
            if !is_full(&error) || self.lines.len() <= 1 {
                return Err(error);
            }
            self.let_go(self.lines.len() / 2);
        }
    }

    fn let_go(&mut self, n_lines: usize) {
        let n_bytes: usize = self.lines.drain(..n_lines).map(|line| line.len()).sum();
        self.n_bytes -= n_bytes;
    }
}

/// Whether a write failed because there is no room: then another one may succeed.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Which events are missing, in words; `n_missing` are, in these ranges and perhaps in more. The first [`MAX_TOLD_RANGES`] are
/// named.
pub(super) fn missing_in_words(n_missing: u64, ranges: &[RangeInclusive<u64>]) -> String {
    let named = ranges.iter().take(MAX_TOLD_RANGES);
    let named: Vec<String> = named
        .map(|range| match (range.start(), range.end()) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first} to {last}"),
        })
        .collect();
    let more = match ranges.len() > named.len() {
        true => " and more",
        false => "",
    };
    format!(
        "events that the log does not have: {n_missing}, with the numbers {}{more}",
        named.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_and_the_last_one_whatever_its_size() {
        let mut words = LastWords::default();
        for idx in 0..1_000 {
            words.keep(format!("{idx:0>199}\n").as_bytes());
        }
        let file = tempfile::tempfile().unwrap();
        let (n_lines, n_bytes) = words.write(&file, 0).unwrap();
        assert_eq!(n_bytes, file.metadata().unwrap().len());
        assert_eq!(n_lines, LAST_WORDS_BYTES as u64 / 200);
        words.keep(&[b'x'; 2 * LAST_WORDS_BYTES]);
        assert_eq!(words.write(&file, n_bytes).unwrap().0, 1);
    }

    #[test]
    fn a_disk_without_room_is_no_loop_and_says_so() {
        let mut words = LastWords::default();
        for _ in 0..5 {
            words.keep(b"line\n");
        }
        let full = File::options().append(true).open("/dev/full").unwrap();
        // A device cannot be cut back, which ends it, too.
        assert!(words.write(&full, 0).is_err());
    }

    #[test]
    fn what_is_missing_is_counted() {
        assert_eq!(
            missing_in_words(862, &[7..=7, 120..=980]),
            "events that the log does not have: 862, with the numbers 7, 120 to 980"
        );
        let many: Vec<_> = (0..9).map(|idx| idx..=idx).collect();
        assert!(missing_in_words(9, &many).ends_with("0, 1, 2, 3, 4 and more"));
    }
}
