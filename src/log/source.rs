//! What readers read: one seam for a live log and a finished directory.
//!
//! Owns the bounds that readers may see and the way from a sequence number to bytes: from the tail in memory, else from
//! the files. A [`Reader`] is a cursor and nothing more: no queue stands behind it, so a slow one costs nothing and loses
//! nothing. Invariant: a reader is given each number once, in order, or is told of it in a gap.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use tokio::sync::watch;

use super::file_read::{FileCursor, FileRead};
use super::frame::{FrameBatch, Selection};
use super::options::Bounds;
use super::scan::{Hashes, Scan, scan};
use super::segment::SegmentSet;
use super::tail::Tail;

/// A log that can be read.
#[derive(Debug)]
pub struct Source {
    epoch: String,
    tail: RwLock<Tail>,
    segments: RwLock<SegmentSet>,
    bounds: watch::Sender<Bounds>,
}

impl Source {
    /// The source of a new live log.
    pub(super) fn live(epoch: String, tail_bytes: usize, segments: SegmentSet) -> Self {
        Self {
            epoch,
            tail: RwLock::new(Tail::new(tail_bytes)),
            segments: RwLock::new(segments),
            bounds: watch::Sender::new(Bounds::default()),
        }
    }

    /// Opens the log of a finished recording. Reads all of it once, to build the index: about 0.3 s for 1,000,000 events.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn open_recorded(dir: impl AsFd) -> io::Result<(Arc<Self>, Scan)> {
        let mut found = scan(dir, Hashes::Trust, |_, _| ())?;
        let source = Self {
            epoch: found.epoch.clone().unwrap_or_default(),
            tail: RwLock::new(Tail::new(0)),
            segments: RwLock::new(std::mem::take(&mut found.segments)),
            bounds: watch::Sender::new(Bounds {
                published_seq: found.last_seq,
                // A log without a terminal event ends where it ends: nobody will write to it through this source.
                terminal_seq: Some(found.terminal_seq.unwrap_or(found.last_seq)),
            }),
        };
        Ok((Arc::new(source), found))
    }

    /// Identity of the log.
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// What readers may ask for at this moment.
    pub fn bounds(&self) -> Bounds {
        *self.bounds.borrow()
    }

    /// Number of the first event that can still be read; 1 before there is any.
    pub fn first_kept_seq(&self) -> u64 {
        let on_disk = self
            .segments
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .first_seq();
        let in_memory = self
            .tail
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .first_seq();
        on_disk.or(in_memory).unwrap_or(1)
    }

    /// Bytes of whole lines in the files.
    pub fn file_bytes(&self) -> u64 {
        self.segments
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .bytes()
    }

    /// Bytes of whole lines in the files from event `seq` on; too many by about
    /// [`INDEX_STRIDE_BYTES`](super::segment::INDEX_STRIDE_BYTES) at most.
    pub fn bytes_from(&self, seq: u64) -> u64 {
        self.segments
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .bytes_from(seq)
    }

    /// Watches the bounds.
    pub fn watch(&self) -> watch::Receiver<Bounds> {
        self.bounds.subscribe()
    }

    /// A reader whose first event is the one after `after`.
    pub fn reader(self: &Arc<Self>, after: u64, selection: Selection) -> Reader {
        Reader {
            source: Arc::clone(self),
            bounds: self.bounds.subscribe(),
            after,
            selection,
            files: FileCursor::default(),
        }
    }

    pub(super) fn publish(&self, bounds: Bounds) {
        self.bounds.send_if_modified(|now| {
            let moved = *now != bounds;
            *now = bounds;
            moved
        });
    }

    pub(super) fn push_tail(&self, batch: FrameBatch) {
        self.tail
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(batch);
    }

    pub(super) fn with_segments<T>(&self, change: impl FnOnce(&mut SegmentSet) -> T) -> T {
        change(
            &mut self
                .segments
                .write()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

/// What a reader is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Whole frames; empty when the selection passed none of the events that the cursor moved over.
    Frames(Bytes),
    /// These events are lost; the cursor moved behind them.
    Gap {
        /// First missing number.
        from: u64,
        /// Last missing number.
        to: u64,
    },
}

/// A cursor into a log.
#[derive(Debug)]
pub struct Reader {
    source: Arc<Source>,
    bounds: watch::Receiver<Bounds>,
    after: u64,
    selection: Selection,
    files: FileCursor,
}

impl Reader {
    /// Number of the last event that was given.
    pub fn after(&self) -> u64 {
        self.after
    }

    /// True when everything up to and with the terminal event was given.
    pub fn is_finished(&self) -> bool {
        self.bounds.borrow().ends_at(self.after)
    }

    /// Waits until there is something behind the cursor, or nothing will ever be. Cancel safe.
    pub async fn wait(&mut self) -> Bounds {
        let after = self.after;
        let ready = |bounds: &Bounds| bounds.published_seq > after || bounds.ends_at(after);
        match self.bounds.wait_for(ready).await {
            Ok(bounds) => *bounds,
            Err(_) => self.source.bounds(),
        }
    }

    /// Takes what is published behind the cursor, about `max_bytes` of it; none when there is nothing.
    ///
    /// Cancel safe: a cancelled call leaves the cursor where it was.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub async fn read(&mut self, max_bytes: usize) -> io::Result<Option<Next>> {
        let until = self.bounds.borrow_and_update().published_seq;
        if until <= self.after {
            return Ok(None);
        }
        loop {
            if let Some((frames, last)) = self.take_from_tail(until, max_bytes) {
                self.after = last;
                return Ok(Some(Next::Frames(frames)));
            }
            match self.take_from_files(until, max_bytes).await? {
                FileRead::Frames { frames, last_seq } => {
                    self.after = last_seq;
                    return Ok(Some(Next::Frames(frames)));
                }
                FileRead::Gap { from, to } => {
                    self.after = to.min(until);
                    return Ok(Some(Next::Gap {
                        from,
                        to: self.after,
                    }));
                }
                FileRead::End => {
                    let kept = self
                        .source
                        .tail
                        .read()
                        .unwrap_or_else(PoisonError::into_inner)
                        .first_seq();
                    match kept {
                        Some(first) if first <= self.after + 1 => {}
                        Some(first) if first <= until => {
                            let from = self.after + 1;
                            self.after = first - 1;
                            return Ok(Some(Next::Gap {
                                from,
                                to: self.after,
                            }));
                        }
                        _ => {
                            let from = self.after + 1;
                            self.after = until;
                            return Ok(Some(Next::Gap { from, to: until }));
                        }
                    }
                }
            }
        }
    }

    fn take_from_tail(&self, until: u64, max_bytes: usize) -> Option<(Bytes, u64)> {
        let tail = self
            .source
            .tail
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        tail.select(self.after, until, max_bytes, self.selection)
    }

    async fn take_from_files(&mut self, until: u64, max_bytes: usize) -> io::Result<FileRead> {
        let mut files = std::mem::take(&mut self.files);
        let source = Arc::clone(&self.source);
        let (after, selection) = (self.after, self.selection);
        let read = tokio::task::spawn_blocking(move || {
            let read = files.read(after, until, max_bytes, selection, |look_up| {
                look_up(
                    &source
                        .segments
                        .read()
                        .unwrap_or_else(PoisonError::into_inner),
                )
            });
            (files, read)
        });
        let (files, read) = read.await.map_err(io::Error::other)?;
        self.files = files;
        read
    }
}
