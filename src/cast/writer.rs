//! The thread that writes the cast.
//!
//! Owns the file. Invariants: the file holds whole lines whenever a write has failed or ended, never grows beyond its limit,
//! and says where something is missing. When the disk is full it gives its room to the log, and ends.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::statvfs::fstatvfs;

use super::entry::{EntryKind, write_entry};
use super::recorder::{Shared, Waiting};

/// Kept of the limit for markers, in bytes: that of the cut, and those of two gaps before it, of at most 150 bytes each.
const LAST_MARKER_BYTES: u64 = 512;

/// Encoded bytes at which a write is made.
const WRITE_BYTES: usize = 256 * 1024;

/// Pause behind a write that failed: a full disk is not asked more often.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Most that is kept of a cast when the disk is full, in bytes: with the marker behind it one page, which most file systems
/// cannot give to another file in parts.
const KEPT_WHEN_FULL_BYTES: u64 = 4096 - LAST_MARKER_BYTES;

/// Free bytes of the disk below which the cast ends: room for the last events of the log and for the status, both of which
/// are some KiB.
const LOG_RESERVE_BYTES: u64 = 256 * 1024;

/// The marker of a cast that gave its room to the log.
const GAVE_WAY: &str =
    "the terminal recording is cut here: the disk is full, and its room is for the log";

/// Called with a sentence when a part is missing.
type Tell = Box<dyn Fn(String) + Send>;

/// Writes one cast.
pub(super) struct Writer {
    file: File,
    /// Bytes of whole lines in the file.
    n_written: u64,
    max_bytes: u64,
    tell: Tell,
    shared: Arc<Shared>,
    encoded: Vec<u8>,
    /// Time of the last entry: a marker of the writer's own has it too, so that times never go back.
    last_at: Duration,
    /// Output that a failed write has lost, in bytes, and why; told with the next write that succeeds.
    lost: Option<(u64, String)>,
    /// Time of the last entry that was written.
    written_until: Duration,
    was_told: bool,
    /// Bytes of whole lines that are kept when the disk is full: the header, and what fits behind it.
    n_kept: u64,
    /// Set when the disk was full.
    gave_way: bool,
}

/// Whether the writer goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Going {
    On,
    /// The limit is reached.
    Over,
}

impl Writer {
    pub(super) fn new(
        file: File,
        n_written: u64,
        max_bytes: u64,
        tell: Tell,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            file,
            n_written,
            max_bytes,
            tell,
            shared,
            encoded: Vec::new(),
            last_at: Duration::ZERO,
            lost: None,
            written_until: Duration::ZERO,
            was_told: false,
            n_kept: n_written,
            gave_way: false,
        }
    }

    /// Writes until the recording ends or its limit is reached.
    pub(super) fn run(mut self) {
        loop {
            let waiting = self.shared.take();
            let is_last = waiting.is_closing;
            if self.write(&waiting) == Going::Over || is_last {
                break;
            }
            if self.lost.is_some() {
                self.shared.pause(RETRY_PAUSE);
            }
        }
        if let Some((n_bytes, why)) = self.lost.take() {
            (self.tell)(format!(
                "the terminal recording ends early: {n_bytes} bytes of output are missing: {why}"
            ));
        }
        self.shared.tell_done();
    }

    fn write(&mut self, waiting: &Waiting) -> Going {
        let mut rest = waiting.text.as_str();
        let mut n_output = 0;
        for entry in &waiting.entries {
            let (text, behind) = rest.split_at_checked(entry.n_bytes).unwrap_or((rest, ""));
            rest = behind;
            let before = self.encoded.len();
            write_entry(&mut self.encoded, entry.at, entry.kind, text);
            self.last_at = entry.at;
            if !self.fits() {
                self.encoded.truncate(before);
                let message = format!(
                    "the terminal recording is cut here: recording.terminal_bytes = {}",
                    self.max_bytes
                );
                self.mark(&message);
                self.shared.end();
                self.flush(n_output);
                (self.tell)(message);
                return Going::Over;
            }
            if entry.kind == EntryKind::Output {
                n_output += entry.n_bytes as u64;
            }
            if self.encoded.len() >= WRITE_BYTES {
                self.flush(std::mem::take(&mut n_output));
                if self.gave_way {
                    return Going::Over;
                }
            }
        }
        if waiting.missing_bytes > 0 {
            let message = format!(
                "{} bytes of output are missing: the disk was too slow",
                waiting.missing_bytes
            );
            self.mark(&message);
            self.tell_once(format!("in the terminal recording {message}"));
            // Should its marker be lost with the rest, it is part of what is told then.
            n_output += waiting.missing_bytes;
        }
        self.flush(n_output);
        match self.gave_way {
            true => Going::Over,
            false => Going::On,
        }
    }

    /// Whether what is encoded leaves room for the last marker.
    fn fits(&self) -> bool {
        self.n_written + self.encoded.len() as u64 + LAST_MARKER_BYTES <= self.max_bytes
    }

    fn mark(&mut self, label: &str) {
        write_entry(&mut self.encoded, self.last_at, EntryKind::Marker, label);
    }

    /// Writes what is encoded; what cannot be written is cut off to the last whole line and counted.
    fn flush(&mut self, n_output: u64) {
        if self.encoded.is_empty() {
            return;
        }
        let mut lines = Vec::new();
        if let Some((n_bytes, why)) = &self.lost {
            let label = format!("{n_bytes} bytes of output are missing: {why}");
            write_entry(&mut lines, self.written_until, EntryKind::Marker, &label);
        }
        lines.append(&mut self.encoded);
        match self.file.write_all(&lines) {
            Ok(()) => {
                let room = KEPT_WHEN_FULL_BYTES.saturating_sub(self.n_written);
                let room = usize::try_from(room).unwrap_or(usize::MAX);
                let beginning = lines.get(..room).unwrap_or(&lines);
                if let Some(at) = memchr::memrchr(b'\n', beginning) {
                    self.n_kept = self.n_written + at as u64 + 1;
                }
                self.n_written += lines.len() as u64;
                self.written_until = self.last_at;
                self.lost = None;
                if is_short(&self.file) {
                    self.give_way();
                }
            }
            Err(error) => self.fail(n_output, &error),
        }
    }

    fn fail(&mut self, n_output: u64, error: &io::Error) {
        if matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            self.give_way();
        } else {
            self.lose(n_output, error);
        }
    }

    fn lose(&mut self, n_output: u64, error: &io::Error) {
        // Should this fail too, the line that is torn is cut off by whoever repairs the record.
        let _ = self.file.set_len(self.n_written);
        let n_before = self.lost.as_ref().map_or(0, |(n_bytes, _)| *n_bytes);
        self.lost = Some((n_before + n_output, error.to_string()));
        self.tell_once(format!("the terminal recording cannot be written: {error}"));
    }

    /// Cuts the cast back to its beginning and a marker, and takes nothing more: the log is the truth, and what there is of
    /// the disk is for the log.
    fn give_way(&mut self) {
        self.gave_way = true;
        self.lost = None;
        self.shared.end();
        (self.tell)(GAVE_WAY.to_owned());
        if self.file.set_len(self.n_kept).is_err() {
            return;
        }
        let mut line = Vec::new();
        write_entry(&mut line, self.last_at, EntryKind::Marker, GAVE_WAY);
        if self.file.write_all(&line).is_err() {
            // The event in the log has to do.
            let _ = self.file.set_len(self.n_kept);
        }
    }

    fn tell_once(&mut self, message: String) {
        if !std::mem::replace(&mut self.was_told, true) {
            (self.tell)(message);
        }
    }
}

/// Whether the disk of the file has less room than the log may need. One that tells no size has room.
fn is_short(file: &File) -> bool {
    fstatvfs(file).is_ok_and(|disk| {
        disk.blocks() > 0
            && disk.blocks_free().saturating_mul(disk.fragment_size()) < LOG_RESERVE_BYTES
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;
    use std::sync::mpsc;

    use super::*;
    use crate::cast::entry::parse_entry;
    use crate::cast::recorder::Pending;

    #[test]
    fn a_cast_on_a_full_disk_gives_its_room_away_and_says_so() {
        let header = b"{\"version\":2}\n";
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(header, 0).unwrap();
        let path = std::path::PathBuf::from(format!(
            "/proc/self/fd/{}",
            std::os::fd::AsRawFd::as_raw_fd(&file)
        ));
        let appended = File::options().append(true).open(path).unwrap();
        let (sender, told) = mpsc::channel();
        let tell = Box::new(move |message| sender.send(message).unwrap());
        let shared = Arc::new(Shared::new(None));
        let mut writer = Writer::new(
            appended,
            header.len() as u64,
            1 << 30,
            tell,
            Arc::clone(&shared),
        );
        for second in 1..=100 {
            let waiting = Waiting {
                text: "x".repeat(1000),
                entries: vec![Pending {
                    at: Duration::from_secs(second),
                    kind: EntryKind::Output,
                    n_bytes: 1000,
                }],
                ..Waiting::default()
            };
            assert_eq!(writer.write(&waiting), Going::On);
        }
        assert!(file.metadata().unwrap().len() > 100_000);
        let mut full = File::options().append(true).open("/dev/full").unwrap();
        let error = full.write_all(b"more").unwrap_err();
        writer.fail(4, &error);
        assert!(writer.gave_way);
        let n_bytes = file.metadata().unwrap().len();
        assert!((3_000..=4_096).contains(&n_bytes), "{n_bytes}");
        let mut bytes = vec![0; usize::try_from(n_bytes).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let entries: Vec<_> = text
            .lines()
            .skip(1)
            .map(|line| parse_entry(line).unwrap())
            .collect();
        assert!(entries.is_sorted_by_key(|entry| entry.at));
        let (last, kept) = entries.split_last().unwrap();
        assert_eq!(
            (last.kind, last.text.as_str()),
            (EntryKind::Marker, GAVE_WAY)
        );
        assert!(kept.len() >= 2);
        // The rest is for nothing, and is told once.
        assert_eq!(writer.write(&Waiting::default()), Going::Over);
        assert_eq!(file.metadata().unwrap().len(), n_bytes);
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [GAVE_WAY]);
    }
}
