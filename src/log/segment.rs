//! Segments: the files that hold the lines of one log.
//!
//! Owns their names, their order, and a sparse index from sequence number to file offset. The active segment is always
//! `events.jsonl`; at the size cap it is renamed to `events-<first seq, 20 digits>.jsonl` and a new one begins.
//! Invariant: the index has one entry for about every [`INDEX_STRIDE_BYTES`] of file, whatever the length of the log.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

/// Name of the segment that is being written.
pub const ACTIVE_SEGMENT: &str = "events.jsonl";

/// Name of the next active segment while the present one is being sealed.
pub const NEXT_SEGMENT: &str = ".events.next";

/// Name of the file that keeps bytes cut from a torn tail.
pub const TORN_TAIL: &str = "events.torn";

/// File bytes between two index entries: a reader that seeks reads at most about this much in vain, and 10,000,000
/// events of 300 bytes need 12,000 entries (190 KiB).
pub const INDEX_STRIDE_BYTES: u64 = 256 * 1024;

/// Mode of the log's files: the owner writes, the group may read.
const FILE_MODE: Mode = Mode::from_bits_truncate(0o640);

/// Name of a sealed segment.
pub fn sealed_name(first_seq: u64) -> String {
    format!("events-{first_seq:020}.jsonl")
}

/// First sequence number of the sealed segment of that name; none when it is another file.
pub fn parse_sealed_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("events-")?.strip_suffix(".jsonl")?;
    let is_number = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    digits
        .parse()
        .ok()
        .filter(|first_seq| is_number && *first_seq > 0)
}

/// Names of the segments in the directory, oldest first; the active one last, if there is one.
///
/// # Errors
/// When the directory cannot be read.
pub fn list(dir: impl AsFd) -> io::Result<Vec<String>> {
    let mut listing = Dir::openat(dir, ".", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut sealed = Vec::new();
    let mut has_active = false;
    for entry in listing.iter() {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        has_active |= name == ACTIVE_SEGMENT;
        if let Some(first_seq) = parse_sealed_name(name) {
            sealed.push(first_seq);
        }
    }
    sealed.sort_unstable();
    let mut names: Vec<_> = sealed.into_iter().map(sealed_name).collect();
    if has_active {
        names.push(ACTIVE_SEGMENT.to_owned());
    }
    Ok(names)
}

/// Opens a segment for reading, without following links.
///
/// # Errors
/// As openat2(2).
pub fn open_for_reading(dir: impl AsFd, name: &str) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let how = OpenHow::new()
        .flags(flags)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let opened = match openat2(&dir, name, how) {
        // Where the call is hidden, as within a sandbox of ours: a name of one part leads nowhere else without a link.
        Err(Errno::ENOSYS | Errno::EPERM) if !name.contains('/') && name != ".." => {
            openat(&dir, name, flags, Mode::empty())
        }
        other => other,
    };
    let file = File::from(opened?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other(format!("{name} is not a regular file")))
    }
}

/// Creates a new active segment; it must not exist.
///
/// # Errors
/// As openat(2).
pub fn create_active(dir: impl AsFd) -> io::Result<File> {
    create(dir, ACTIVE_SEGMENT, OFlag::O_EXCL)
}

/// Creates the file that becomes the active segment; remains of an attempt that was cut short are emptied.
///
/// # Errors
/// As openat(2).
pub fn create_next(dir: impl AsFd) -> io::Result<File> {
    create(dir, NEXT_SEGMENT, OFlag::O_TRUNC)
}

fn create(dir: impl AsFd, name: &str, how: OFlag) -> io::Result<File> {
    let flags =
        OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    Ok(File::from(openat(dir, name, flags | how, FILE_MODE)?))
}

/// Opens the active segment to append to it.
///
/// # Errors
/// As openat(2).
pub fn open_active(dir: impl AsFd) -> io::Result<File> {
    let flags = OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    Ok(File::from(openat(dir, ACTIVE_SEGMENT, flags, FILE_MODE)?))
}

/// One file of the log, as readers see it.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Sequence number of its first event.
    pub first_seq: u64,
    /// The open file; stays readable after a rename.
    pub file: Arc<File>,
    /// Bytes of whole lines in it.
    pub bytes: u64,
    index: Vec<(u64, u64)>,
}

impl Segment {
    /// An empty segment.
    pub fn new(first_seq: u64, file: Arc<File>) -> Self {
        Self {
            first_seq,
            file,
            bytes: 0,
            index: Vec::new(),
        }
    }

    /// Notes that the line of event `seq` was added with `line_bytes`, newline included.
    pub fn note_line(&mut self, seq: u64, line_bytes: u64) {
        let due = self
            .index
            .last()
            .map_or(0, |(_, offset)| offset + INDEX_STRIDE_BYTES);
        if self.bytes >= due {
            self.index.push((seq, self.bytes));
        }
        self.bytes += line_bytes;
    }

    /// Largest indexed offset that is not behind event `seq`.
    pub fn offset_before(&self, seq: u64) -> u64 {
        let behind = self.index.partition_point(|(indexed, _)| *indexed <= seq);
        behind
            .checked_sub(1)
            .and_then(|at| self.index.get(at))
            .map_or(0, |(_, offset)| *offset)
    }
}

/// The segments of one log, oldest first.
#[derive(Debug, Clone, Default)]
pub struct SegmentSet {
    segments: Vec<Segment>,
}

/// A place in the files of a log.
#[derive(Debug, Clone)]
pub struct Place {
    /// The segment's first sequence number.
    pub segment_first_seq: u64,
    /// The segment's file.
    pub file: Arc<File>,
    /// Offset in that file, at the start of a line.
    pub offset: u64,
    /// Bytes of whole lines in that file at the time of the look-up.
    pub end: u64,
}

impl SegmentSet {
    /// Adds a segment behind the others.
    pub fn push(&mut self, segment: Segment) {
        self.segments.push(segment);
    }

    /// The segment that is written.
    pub fn active_mut(&mut self) -> Option<&mut Segment> {
        self.segments.last_mut()
    }

    /// First sequence number that a file holds.
    pub fn first_seq(&self) -> Option<u64> {
        self.segments
            .iter()
            .find(|s| s.bytes > 0)
            .map(|s| s.first_seq)
    }

    /// Bytes of whole lines in all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.bytes).sum()
    }

    /// Bytes of whole lines from event `seq` on; too many by [`INDEX_STRIDE_BYTES`] and one line at most.
    pub fn bytes_from(&self, seq: u64) -> u64 {
        let behind = self.segments.partition_point(|s| s.first_seq <= seq);
        let first = behind.saturating_sub(1);
        let rest = self.segments.iter().skip(first);
        let bytes: u64 = rest.map(|s| s.bytes).sum();
        let skipped = self.segments.get(first).map_or(0, |s| s.offset_before(seq));
        bytes.saturating_sub(skipped)
    }

    /// Where to begin reading to find event `seq`.
    pub fn locate(&self, seq: u64) -> Option<Place> {
        let behind = self.segments.partition_point(|s| s.first_seq <= seq);
        let segment = self.segments.get(behind.saturating_sub(1))?;
        Some(place(segment, segment.offset_before(seq)))
    }

    /// The same place with the segment's present end; the start of the next segment when the place is at the end of one
    /// that will not grow; none when there is nothing behind it yet.
    pub fn advance(&self, at: &Place) -> Option<Place> {
        let idx = self
            .segments
            .iter()
            .position(|s| s.first_seq == at.segment_first_seq)?;
        let segment = self.segments.get(idx)?;
        if at.offset < segment.bytes {
            return Some(place(segment, at.offset));
        }
        self.segments
            .get(idx + 1)
            .filter(|next| next.bytes > 0)
            .map(|next| place(next, 0))
    }
}

fn place(segment: &Segment, offset: u64) -> Place {
    Place {
        segment_first_seq: segment.first_seq,
        file: Arc::clone(&segment.file),
        offset,
        end: segment.bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_names_sort_by_their_first_event_and_nothing_else_passes_for_one() {
        assert_eq!(sealed_name(7), "events-00000000000000000007.jsonl");
        assert_eq!(parse_sealed_name(&sealed_name(u64::MAX)), Some(u64::MAX));
        assert!(sealed_name(9) < sealed_name(10));
        for other in [
            "events.jsonl",
            "events-7.jsonl",
            "events-+0000000000000000007.jsonl",
            "events-00000000000000000000.jsonl",
        ] {
            assert_eq!(parse_sealed_name(other), None, "{other}");
        }
    }

    #[test]
    fn the_index_is_sparse_and_never_points_behind_the_event() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let mut segment = Segment::new(1, file);
        for seq in 1..=100_000 {
            segment.note_line(seq, 300);
        }
        assert_eq!(segment.bytes, 30_000_000);
        assert!(segment.index.len() <= 116, "{}", segment.index.len());
        for seq in [1, 2, 873, 874, 875, 50_000, 100_000] {
            let offset = segment.offset_before(seq);
            assert!(offset <= (seq - 1) * 300);
            assert!((seq - 1) * 300 - offset <= INDEX_STRIDE_BYTES + 300);
        }
        let mut next = Segment::new(100_001, Arc::clone(&segment.file));
        next.note_line(100_001, 300);
        let mut set = SegmentSet::default();
        assert_eq!(set.bytes_from(1), 0);
        set.push(segment);
        set.push(next);
        assert_eq!(set.bytes_from(1), 30_000_300);
        assert_eq!(set.bytes_from(100_001), 300);
        let half = set.bytes_from(50_001) - 15_000_300;
        assert!(half <= INDEX_STRIDE_BYTES + 300, "{half}");
    }
}
