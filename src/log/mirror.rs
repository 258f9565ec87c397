//! The log of another process, as readers of this one see it.
//!
//! Owns a [`Source`] that is fed from outside: each event goes into a bounded tail, and what left the tail is read from the
//! recording's files. It writes nothing there and believes no number that does not go up. Invariant: a reader is given the
//! bytes that are in the files, under the same numbers, whoever gives them at the moment.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::Arc;

use super::file_read::{BLOCK_BYTES, MAX_LINE_BYTES};
use super::frame::{FrameBatch, FrameMark, push_sse};
use super::line::LineHead;
use super::options::Bounds;
use super::scan::{Hashes, scan};
use super::segment::{self, ACTIVE_SEGMENT};
use super::source::Source;
use crate::event::EventType;

/// Bytes of frames that a mirror keeps in memory; readers that are further behind read the files.
pub const MIRROR_TAIL_BYTES: usize = 1 << 20;

/// Bytes of events behind which the files are looked at again: less than the tail keeps, so that no reader finds neither.
const INDEX_EVERY_BYTES: usize = MIRROR_TAIL_BYTES / 4;

/// What feeds a mirrored source.
#[derive(Debug)]
pub struct Mirror {
    source: Arc<Source>,
    dir: OwnedFd,
    last_seq: u64,
    unindexed_bytes: usize,
}

impl Mirror {
    /// A mirror of the log in `dir`; none before there is a first whole event. Reads the whole log once. Readers are given what
    /// the files have up to event `published`, or all of it where there is no such bound: the files of a run that goes on are
    /// ahead of what its own readers may see, until they are synced.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn open(dir: impl AsFd, published: Option<u64>) -> io::Result<Option<Self>> {
        let dir = dir.as_fd().try_clone_to_owned()?;
        let mut found = scan(&dir, Hashes::Trust, |_, _| ())?;
        let Some(epoch) = found.epoch.take() else {
            return Ok(None);
        };
        let source = Source::live(
            epoch,
            MIRROR_TAIL_BYTES,
            std::mem::take(&mut found.segments),
        );
        let last_seq = published.map_or(found.last_seq, |bound| bound.min(found.last_seq));
        source.publish(Bounds {
            published_seq: last_seq,
            terminal_seq: found.terminal_seq.filter(|terminal| *terminal <= last_seq),
        });
        Ok(Some(Self {
            source: Arc::new(source),
            dir,
            last_seq,
            unindexed_bytes: 0,
        }))
    }

    /// What readers read.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Number of the last event that it has.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Takes the next event; `line` is its JSON without a line end. One that does not follow upwards, or is no line of a log, is
    /// not taken, and false is given.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn append(&mut self, seq: u64, line: &[u8]) -> io::Result<bool> {
        let head = LineHead::parse(line).filter(|head| head.seq == seq && seq > self.last_seq);
        let Some(head) = head else {
            return Ok(false);
        };
        let event_type = head.event_type();
        if let Some(event_type) = event_type
            && line.len() <= MAX_LINE_BYTES
        {
            let mut frames = Vec::with_capacity(line.len() + 64);
            let data_start = push_sse(head.seq_digits, head.type_name, line, &mut frames);
            let mark = FrameMark {
                end: u32::try_from(frames.len()).unwrap_or(u32::MAX),
                data_start: u32::try_from(data_start).unwrap_or(u32::MAX),
                event_type,
            };
            self.source.push_tail(FrameBatch {
                first_seq: seq,
                frames: frames.into(),
                marks: [mark].into(),
            });
        }
        self.last_seq = seq;
        self.unindexed_bytes += line.len() + 1;
        let is_terminal = event_type == Some(EventType::Complete);
        // An event of a type that this build does not know is not in the tail: readers find it in the files.
        if self.unindexed_bytes >= INDEX_EVERY_BYTES || is_terminal || event_type.is_none() {
            self.index()?;
        }
        self.source.publish(Bounds {
            published_seq: seq,
            terminal_seq: is_terminal.then_some(seq),
        });
        Ok(true)
    }

    /// Looks at what the files have more. It was just written, so this reads from memory.
    fn index(&mut self) -> io::Result<()> {
        self.unindexed_bytes = 0;
        let active = |source: &Source| {
            source.with_segments(|segments| {
                let active = segments.active_mut()?;
                Some((Arc::clone(&active.file), active.bytes))
            })
        };
        let mut block = vec![0; BLOCK_BYTES];
        let mut was_renamed = false;
        while let Some((file, offset)) = active(&self.source) {
            let n_read = file.read_at(&mut block, offset)?;
            let bytes = block.get(..n_read).unwrap_or_default();
            let Some(end) = memchr::memrchr(b'\n', bytes) else {
                if n_read == block.len() && block.len() < MAX_LINE_BYTES {
                    block.resize(MAX_LINE_BYTES, 0);
                    continue;
                }
                // Once more after the rename was seen: the last lines may have come between the two looks.
                if was_renamed {
                    return self.index_anew();
                }
                if !self.is_sealed(&file)? {
                    return Ok(());
                }
                was_renamed = true;
                continue;
            };
            self.source.with_segments(|segments| {
                let Some(active) = segments.active_mut() else {
                    return;
                };
                let whole = bytes.get(..end).unwrap_or_default();
                for line in whole.split(|byte| *byte == b'\n') {
                    let line_bytes = line.len() as u64 + 1;
                    match LineHead::parse(line) {
                        Some(head) => active.note_line(head.seq, line_bytes),
                        None => active.bytes += line_bytes,
                    }
                }
            });
        }
        Ok(())
    }

    /// Whether another file is written by now.
    fn is_sealed(&self, file: &File) -> io::Result<bool> {
        let now = match segment::open_for_reading(&self.dir, ACTIVE_SEGMENT) {
            Ok(now) => now,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(error),
        };
        Ok(now.metadata()?.ino() != file.metadata()?.ino())
    }

    fn index_anew(&self) -> io::Result<()> {
        let mut found = scan(&self.dir, Hashes::Trust, |_, _| ())?;
        self.source
            .with_segments(|segments| *segments = std::mem::take(&mut found.segments));
        Ok(())
    }
}
