//! The thread that writes the cast.
//!
//! Owns the file. Invariants: the file holds whole lines whenever a write has failed or ended, never grows beyond its limit,
//! and says where something is missing.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use super::entry::{EntryKind, write_entry};
use super::recorder::{Shared, Waiting};

/// Kept of the limit for the last marker, in bytes.
const LAST_MARKER_BYTES: u64 = 256;

/// Encoded bytes at which a write is made.
const WRITE_BYTES: usize = 256 * 1024;

/// Pause behind a write that failed: a full disk is not asked more often.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

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
            }
        }
        if waiting.missing_bytes > 0 {
            let message = format!(
                "{} bytes of output are missing: the disk was too slow",
                waiting.missing_bytes
            );
            self.mark(&message);
            self.tell_once(format!("in the terminal recording {message}"));
        }
        self.flush(n_output);
        Going::On
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
                self.n_written += lines.len() as u64;
                self.written_until = self.last_at;
                self.lost = None;
            }
            Err(error) => self.lose(n_output, &error),
        }
    }

    fn lose(&mut self, n_output: u64, error: &io::Error) {
        // Should this fail too, the line that is torn is cut off by whoever repairs the record.
        let _ = self.file.set_len(self.n_written);
        let n_before = self.lost.as_ref().map_or(0, |(n_bytes, _)| *n_bytes);
        self.lost = Some((n_before + n_output, error.to_string()));
        self.tell_once(format!("the terminal recording cannot be written: {error}"));
    }

    fn tell_once(&mut self, message: String) {
        if !std::mem::replace(&mut self.was_told, true) {
            (self.tell)(message);
        }
    }
}
