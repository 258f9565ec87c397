//! Walks over every line of a recording, in order.
//!
//! Owns what a finished log is found to hold: its index, its epoch, its last event, its bad lines, and whether its tail
//! is torn. Changes nothing on disk.

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use serde::Deserialize;

use super::file_read::{BLOCK_BYTES, MAX_LINE_BYTES};
use super::last_words::missing_in_words;
use super::line::{ChainHead, LineHead, split_hash, verify_hash};
use super::segment::{self, ACTIVE_SEGMENT, Segment, SegmentSet};
use crate::event::{Event, EventType};

/// Bad lines that are remembered by place; more are only counted.
pub const MAX_REMEMBERED_BAD_LINES: usize = 100;

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It is not a line of a log.
    NotALine,
    /// Its number does not follow the one before it.
    OutOfOrder,
    /// Its hash does not follow from the line before it.
    HashMismatch,
}

impl Fault {
    /// One clause for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotALine => "not a line of a log",
            Self::OutOfOrder => "its number does not follow the line before it",
            Self::HashMismatch => "its hash does not follow from the line before it",
        }
    }
}

/// A line that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Name of the segment.
    pub segment: String,
    /// Number of the line in that segment, from 1.
    pub line_number: u64,
    /// What is wrong.
    pub fault: Fault,
}

/// What a scan found.
#[derive(Debug, Default)]
pub struct Scan {
    /// The files and their index.
    pub segments: SegmentSet,
    /// Epoch of the last `log.opened`.
    pub epoch: Option<String>,
    /// Run id of the lines.
    pub run_id: Option<String>,
    /// Number of the first good event; 0 when there is none.
    pub first_seq: u64,
    /// Number of the last good event; 0 when there is none.
    pub last_seq: u64,
    /// Good events.
    pub n_events: u64,
    /// Number of the terminal event.
    pub terminal_seq: Option<u64>,
    /// Hash of the last good line.
    pub head: ChainHead,
    /// Time stamp of the last good line.
    pub last_ts: String,
    /// Lines that are not as they should be, at most [`MAX_REMEMBERED_BAD_LINES`].
    pub bad_lines: Vec<BadLine>,
    /// How many there are.
    pub n_bad_lines: u64,
    /// Numbers between good lines that no line has, at most [`MAX_REMEMBERED_BAD_LINES`] ranges.
    pub missing: Vec<RangeInclusive<u64>>,
    /// How many numbers are missing.
    pub n_missing: u64,
    /// Bytes behind the last good line of the active segment.
    pub torn_bytes: u64,
    /// Offset behind that line.
    pub good_end: u64,
    /// True when `events.jsonl` exists.
    pub has_active: bool,
}

#[derive(Deserialize)]
struct Opening {
    epoch: String,
    run_id: String,
}

/// Whether a scan checks the hash chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashes {
    /// Each line is hashed.
    Check,
    /// Hashes are taken as they stand.
    Trust,
}

/// Scans the log in `dir`; `visit` sees every good line with its head.
///
/// # Errors
/// When a file cannot be read. What a file holds is never an error.
pub fn scan(
    dir: impl AsFd,
    hashes: Hashes,
    mut visit: impl FnMut(&LineHead<'_>, &[u8]),
) -> io::Result<Scan> {
    let mut scan = Scan::default();
    for name in segment::list(&dir)? {
        let file = Arc::new(segment::open_for_reading(&dir, &name)?);
        let first_seq = segment::parse_sealed_name(&name).unwrap_or(scan.last_seq + 1);
        let mut segment = Segment::new(first_seq, Arc::clone(&file));
        let mut walker = Walker {
            scan: &mut scan,
            segment: &mut segment,
            name: &name,
            hashes,
            line_number: 0,
        };
        walker.file(&file, &mut visit)?;
        let file_bytes = file.metadata()?.len();
        if name == ACTIVE_SEGMENT {
            scan.has_active = true;
            scan.torn_bytes = file_bytes.saturating_sub(scan.good_end);
        } else if file_bytes > scan.good_end {
            scan.note_bad(&name, 0, Fault::NotALine);
        }
        segment.bytes = scan.good_end;
        scan.segments.push(segment);
    }
    Ok(scan)
}

impl Scan {
    /// What is missing between good lines, in words; none when nothing is.
    pub fn missing_in_words(&self) -> Option<String> {
        (self.n_missing > 0).then(|| missing_in_words(self.n_missing, &self.missing))
    }

    fn note_missing(&mut self, range: RangeInclusive<u64>) {
        self.n_missing += range.end() + 1 - range.start();
        if self.missing.len() < MAX_REMEMBERED_BAD_LINES {
            self.missing.push(range);
        }
    }

    fn note_bad(&mut self, segment: &str, line_number: u64, fault: Fault) {
        self.n_bad_lines += 1;
        if self.bad_lines.len() < MAX_REMEMBERED_BAD_LINES {
            self.bad_lines.push(BadLine {
                segment: segment.to_owned(),
                line_number,
                fault,
            });
        }
    }
}

struct Walker<'a> {
    scan: &'a mut Scan,
    segment: &'a mut Segment,
    name: &'a str,
    hashes: Hashes,
    line_number: u64,
}

impl Walker<'_> {
    fn file(
        &mut self,
        file: &File,
        visit: &mut impl FnMut(&LineHead<'_>, &[u8]),
    ) -> io::Result<()> {
        let mut buffer = vec![0; BLOCK_BYTES];
        let mut held = 0;
        let mut offset = 0;
        let mut pending_bad = 0;
        self.scan.good_end = 0;
        loop {
            if held == buffer.len() {
                if buffer.len() < MAX_LINE_BYTES {
                    buffer.resize(MAX_LINE_BYTES, 0);
                } else {
                    // Longer than any line: drop what is held, the rest of it will not parse either.
                    held = 0;
                }
            }
            let n_read = match buffer.get_mut(held..) {
                Some(free) => file.read_at(free, offset)?,
                None => 0,
            };
            if n_read == 0 {
                return Ok(());
            }
            offset += n_read as u64;
            held += n_read;
            let bytes = buffer.get(..held).unwrap_or_default();
            let mut consumed = 0;
            for newline in memchr::memchr_iter(b'\n', bytes) {
                let line = bytes.get(consumed..newline).unwrap_or_default();
                let line_bytes = (newline + 1 - consumed) as u64;
                consumed = newline + 1;
                self.line_number += 1;
                // A bad line is in the middle only when a good one follows; at the end it is the torn tail.
                match self.line(line, visit) {
                    Ok(seq) => {
                        self.segment.bytes += pending_bad;
                        pending_bad = 0;
                        self.segment.note_line(seq, line_bytes);
                        self.scan.good_end = self.segment.bytes;
                    }
                    Err(fault) => {
                        pending_bad += line_bytes;
                        self.scan.note_bad(self.name, self.line_number, fault);
                    }
                }
            }
            buffer.copy_within(consumed..held, 0);
            held -= consumed;
        }
    }

    fn line(
        &mut self,
        line: &[u8],
        visit: &mut impl FnMut(&LineHead<'_>, &[u8]),
    ) -> Result<u64, Fault> {
        let head = LineHead::parse(line).ok_or(Fault::NotALine)?;
        let scan = &mut *self.scan;
        if head.seq <= scan.last_seq {
            return Err(Fault::OutOfOrder);
        }
        if self.hashes == Hashes::Check {
            match verify_hash(line, &scan.head) {
                Some(next) => scan.head = next,
                None => {
                    // Go on from the hash that the line claims, so that one bad line is one report.
                    let claimed = split_hash(line).and_then(|(_, hash)| ChainHead::from_hex(hash));
                    scan.head = claimed.ok_or(Fault::NotALine)?;
                    if serde_json::from_slice::<serde::de::IgnoredAny>(line).is_err() {
                        return Err(Fault::NotALine);
                    }
                    let (name, number) = (self.name.to_owned(), self.line_number);
                    self.scan.note_bad(&name, number, Fault::HashMismatch);
                }
            }
        } else if let Some(claimed) =
            split_hash(line).and_then(|(_, hash)| ChainHead::from_hex(hash))
        {
            scan.head = claimed;
        }
        let scan = &mut *self.scan;
        if head.seq != scan.last_seq + 1 && scan.last_seq != 0 {
            let (name, number) = (self.name.to_owned(), self.line_number);
            scan.note_bad(&name, number, Fault::OutOfOrder);
            scan.note_missing(scan.last_seq + 1..=head.seq - 1);
        }
        match head.event_type() {
            Some(EventType::LogOpened) => {
                if let Ok(opening) = serde_json::from_slice::<Opening>(line) {
                    scan.epoch = Some(opening.epoch);
                    scan.run_id = Some(opening.run_id);
                }
            }
            Some(EventType::Complete) => scan.terminal_seq = scan.terminal_seq.or(Some(head.seq)),
            _ => {}
        }
        if scan.first_seq == 0 {
            scan.first_seq = head.seq;
        }
        scan.last_seq = head.seq;
        scan.n_events += 1;
        scan.last_ts.clear();
        scan.last_ts.push_str(&String::from_utf8_lossy(head.ts));
        visit(&head, line);
        Ok(head.seq)
    }
}

/// Reads the event of a line; none when its type is not known to this build or its payload is damaged.
pub fn parse_event(line: &[u8]) -> Option<Event> {
    serde_json::from_slice(line).ok()
}
