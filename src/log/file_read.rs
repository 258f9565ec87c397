//! Reads events from the log's files, block by block, and frames them on the fly.
//!
//! Owns a reader's place in the files. It blocks (pread(2)), so async callers use a blocking thread. Lines that are not
//! ours are skipped; a number that is missing because of it is reported as a gap, never passed over in silence.

use std::cell::Cell;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use super::frame::{Framing, Selection, push_sse};
use super::line::{LineHead, MAX_PAYLOAD_BYTES};
use super::segment::{Place, SegmentSet};

/// Most bytes read at a time: large enough that the cost of a call vanishes, small enough for a thousand readers.
pub const BLOCK_BYTES: usize = 256 * 1024;

/// Least bytes read at a time, so that a small chunk does not cost many calls.
const MIN_BLOCK_BYTES: usize = 32 * 1024;

thread_local! {
    /// The block of the last read on this thread. Blocking threads are few and end when they are idle; a fresh block for
    /// each read would cost more than framing what is in it: zeroing, page faults, and a heap that grows by them.
    static BLOCK: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Largest line: the payload's limit and ample room for the envelope.
pub const MAX_LINE_BYTES: usize = MAX_PAYLOAD_BYTES + 4096;

/// What a read gave.
#[derive(Debug)]
pub enum FileRead {
    /// Frames of the events up to `last_seq`; may be empty when the selection passed none of them.
    Frames {
        /// Whole frames.
        frames: Bytes,
        /// Number of the last event looked at.
        last_seq: u64,
    },
    /// These events cannot be read.
    Gap {
        /// First missing number.
        from: u64,
        /// Last missing number.
        to: u64,
    },
    /// Nothing is behind the cursor.
    End,
}

/// Remembers where a reader is in the files, so that the next read needs no search.
#[derive(Debug, Default)]
pub struct FileCursor {
    place: Option<(u64, Place)>,
}

impl FileCursor {
    /// Reads on behind event `after`, not beyond `until`, at most about `max_bytes` of frames.
    ///
    /// `look_up` runs a function on the present segments; it is called once for each block.
    ///
    /// # Errors
    /// As pread(2).
    pub fn read(
        &mut self,
        after: u64,
        until: u64,
        max_bytes: usize,
        selection: Selection,
        look_up: impl Fn(&dyn Fn(&SegmentSet) -> Option<Place>) -> Option<Place>,
    ) -> io::Result<FileRead> {
        let mut out = Vec::with_capacity(max_bytes.min(BLOCK_BYTES) + 8 * 1024);
        let mut block = BLOCK.take();
        // As much as the chunk holds, for what is read beyond it is read again. Lines only grow when they are framed.
        let wanted_block = max_bytes.clamp(MIN_BLOCK_BYTES, BLOCK_BYTES);
        block.resize(wanted_block, 0);
        let mut last_seq = after;
        let mut scanned = 0;
        let mut place = match self.place.take() {
            Some((at, place)) if at == after => look_up(&|set| set.advance(&place)),
            _ => look_up(&|set| set.locate(after + 1)),
        };
        // One call looks at a bounded number of bytes, so that a filter that passes little cannot hold the thread.
        while let Some(at) = &mut place {
            // Half a chunk is enough: what another block gave beyond the chunk would be read again.
            if out.len() >= max_bytes.div_ceil(2) || scanned >= 4 * BLOCK_BYTES || last_seq >= until
            {
                break;
            }
            let left = usize::try_from(at.end.saturating_sub(at.offset)).unwrap_or(usize::MAX);
            let wanted = left.min(block.len());
            let n_read = match block.get_mut(..wanted) {
                Some(buffer) if wanted > 0 => at.file.read_at(buffer, at.offset)?,
                _ => 0,
            };
            if n_read == 0 {
                let here = at.clone();
                place = look_up(&|set| {
                    set.advance(&Place {
                        offset: here.end.max(here.offset),
                        ..here.clone()
                    })
                });
                continue;
            }
            let bytes = block.get(..n_read).unwrap_or_default();
            let walked = walk(
                bytes,
                &mut last_seq,
                after,
                until,
                max_bytes,
                selection,
                &mut out,
            );
            at.offset += walked.consumed as u64;
            scanned += walked.consumed;
            match walked.stop {
                Some(Stop::Full) => break,
                Some(Stop::Jump(seq)) => {
                    if last_seq == after {
                        self.place = Some((seq - 1, at.clone()));
                        return Ok(FileRead::Gap {
                            from: after + 1,
                            to: seq - 1,
                        });
                    }
                    break;
                }
                None if walked.consumed == 0 && n_read < left && block.len() < MAX_LINE_BYTES => {
                    block.resize(MAX_LINE_BYTES, 0);
                }
                None if walked.consumed == 0 => {
                    // Not one newline in the longest line there may be, or none before the end: none of it is ours.
                    at.offset += n_read as u64;
                    scanned += n_read;
                }
                None => {}
            }
        }
        block.truncate(BLOCK_BYTES);
        block.shrink_to(BLOCK_BYTES);
        BLOCK.set(block);
        if let Some(at) = place {
            self.place = Some((last_seq, at));
        }
        if last_seq == after && out.is_empty() {
            return Ok(FileRead::End);
        }
        Ok(FileRead::Frames {
            frames: out.into(),
            last_seq,
        })
    }
}

enum Stop {
    /// The output is full, or the limit is reached.
    Full,
    /// The next line has this number, which does not follow.
    Jump(u64),
}

struct Walked {
    consumed: usize,
    stop: Option<Stop>,
}

/// Walks over the whole lines of a block.
fn walk(
    bytes: &[u8],
    last_seq: &mut u64,
    after: u64,
    until: u64,
    max_bytes: usize,
    selection: Selection,
    out: &mut Vec<u8>,
) -> Walked {
    let mut consumed = 0;
    for newline in memchr::memchr_iter(b'\n', bytes) {
        let line = bytes.get(consumed..newline).unwrap_or_default();
        let next = newline + 1;
        let Some(head) = LineHead::parse(line).filter(|head| head.seq > *last_seq) else {
            consumed = next;
            continue;
        };
        debug_assert!(*last_seq >= after);
        if head.seq > until || out.len() >= max_bytes {
            return Walked {
                consumed,
                stop: Some(Stop::Full),
            };
        }
        if head.seq != *last_seq + 1 {
            return Walked {
                consumed,
                stop: Some(Stop::Jump(head.seq)),
            };
        }
        if selection.types.is_all() || selection.types.contains(head.event_type()) {
            match selection.framing {
                Framing::Sse => {
                    push_sse(head.seq_digits, head.type_name, line, out);
                }
                Framing::Ndjson => {
                    out.extend_from_slice(line);
                    out.push(b'\n');
                }
            }
        }
        *last_seq = head.seq;
        consumed = next;
    }
    Walked {
        consumed,
        stop: None,
    }
}
