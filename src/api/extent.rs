//! Where a NDJSON answer ends, found before its first byte, so that head and body agree.
//!
//! Owns the scout: a second reader that goes ahead and keeps nothing but a count. Invariant: who resumes behind the last
//! id of [`Extent`]'s [`End`] misses no event and, unless the answer follows the run, gets none twice.

use std::io;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::limits::CATCH_UP_CHUNK_BYTES;
use super::stream::Until;
use crate::log::line::LineHead;
use crate::log::{Next, Reader, Source};

/// How long an answer goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Patience {
    /// To the terminal event.
    #[default]
    Follow,
    /// To the present end of the log, once there is a line, or until the deadline.
    Wait(Instant),
    /// To the present end of the log.
    Now,
}

/// What the client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Extent {
    pub(super) patience: Patience,
    /// Most lines.
    pub(super) n_lines: Option<u64>,
}

/// What the client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) until: Until,
    /// Lines that may still be given, where `until` does not say it.
    pub(super) n_lines: Option<u64>,
    /// The id to go on from.
    pub(super) last: u64,
}

impl Extent {
    /// Finds the end of the answer that `scout`, a reader of its own, would give; `n_control` lines stand before it.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(super) async fn end(
        self,
        source: &Source,
        scout: Reader,
        n_control: u64,
        draining: &CancellationToken,
    ) -> io::Result<End> {
        let mut scout = Scout {
            cursor: scout.after(),
            reader: scout,
            n_lines: n_control,
        };
        let max_lines = self.n_lines.unwrap_or(u64::MAX);
        if let Patience::Wait(deadline) = self.patience {
            scout
                .wait_for_a_line(source, deadline, max_lines, draining)
                .await?;
        }
        let published = source.bounds().published_seq;
        let is_silent = scout.n_lines == 0 && matches!(self.patience, Patience::Wait(_));
        if self.n_lines.is_some() && !is_silent {
            scout.advance(published, max_lines, max_lines).await?;
        }
        let is_full = scout.n_lines >= max_lines;
        Ok(match self.patience {
            Patience::Follow if !is_full => End {
                until: Until::Terminal,
                n_lines: self.n_lines,
                last: published,
            },
            Patience::Follow | Patience::Wait(_) | Patience::Now => {
                let last = if is_full || is_silent {
                    scout.cursor
                } else {
                    published
                };
                End {
                    until: Until::Event(last),
                    n_lines: None,
                    last,
                }
            }
        })
    }
}

struct Scout {
    reader: Reader,
    /// The id that a client which has all counted lines goes on from.
    cursor: u64,
    n_lines: u64,
}

impl Scout {
    /// Goes on until a line was counted, the log ends, or nothing more is to be waited for.
    async fn wait_for_a_line(
        &mut self,
        source: &Source,
        deadline: Instant,
        max_lines: u64,
        draining: &CancellationToken,
    ) -> io::Result<()> {
        loop {
            let published = source.bounds().published_seq;
            self.advance(published, 1, max_lines).await?;
            if self.n_lines > 0 || self.reader.is_finished() {
                return Ok(());
            }
            // Cancel safe: the reader's wait moves nothing.
            tokio::select! {
                biased;
                _ = self.reader.wait() => {}
                () = draining.cancelled() => return Ok(()),
                () = tokio::time::sleep_until(deadline) => return Ok(()),
            }
        }
    }

    /// Counts lines up to event `until`, or until there are `enough`; never more than `max_lines`.
    async fn advance(&mut self, until: u64, enough: u64, max_lines: u64) -> io::Result<()> {
        while self.n_lines < enough && self.cursor < until {
            let n_left = max_lines - self.n_lines;
            match self.reader.read(CATCH_UP_CHUNK_BYTES).await? {
                None => break,
                Some(Next::Gap { to, .. }) => {
                    self.n_lines += 1;
                    self.cursor = to.min(until);
                }
                Some(Next::Frames(lines)) => {
                    let lines = up_to(lines, self.reader.after(), until);
                    let mut ends = memchr::memchr_iter(b'\n', &lines);
                    let last_place = usize::try_from(n_left - 1).unwrap_or(usize::MAX);
                    match ends.nth(last_place) {
                        Some(end) => {
                            self.n_lines = max_lines;
                            let last = lines.slice(..=end);
                            self.cursor = last_id(&last).unwrap_or(self.cursor);
                        }
                        None => {
                            self.n_lines += count_lines(&lines);
                            self.cursor = self.reader.after().min(until);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// The lines without those behind event `until`; `last` is the last event that was looked at for them.
pub(super) fn up_to(mut lines: Bytes, last: u64, until: u64) -> Bytes {
    if last <= until {
        return lines;
    }
    while let Some(id) = last_id(&lines)
        && id > until
    {
        lines.truncate(last_line_start(&lines));
    }
    lines
}

fn last_line_start(lines: &[u8]) -> usize {
    let without_end = lines.strip_suffix(b"\n").unwrap_or(lines);
    memchr::memrchr(b'\n', without_end).map_or(0, |end| end + 1)
}

fn last_id(lines: &[u8]) -> Option<u64> {
    let line = lines.get(last_line_start(lines)..)?;
    Some(LineHead::parse(line.strip_suffix(b"\n")?)?.seq)
}

fn count_lines(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}
