//! The newest events of a live log, in memory, encoded once.
//!
//! Owns the batches that the writer handed over. Invariant: batches are consecutive, and at most the configured bytes
//! (and always the newest batch) are kept, whatever the length of the run.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::frame::{FrameBatch, FrameMark, Selection};

/// Consecutive batches of frames.
#[derive(Debug)]
pub struct Tail {
    batches: VecDeque<FrameBatch>,
    bytes: usize,
    max_bytes: usize,
}

impl Tail {
    /// An empty tail that keeps about `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            batches: VecDeque::new(),
            bytes: 0,
            max_bytes,
        }
    }

    /// Adds the next batch and lets go of the oldest ones beyond the limit.
    pub fn push(&mut self, batch: FrameBatch) {
        self.bytes += weight(&batch);
        self.batches.push_back(batch);
        while self.bytes > self.max_bytes && self.batches.len() > 1 {
            if let Some(oldest) = self.batches.pop_front() {
                self.bytes -= weight(&oldest);
            }
        }
    }

    /// Number of the first event that is kept.
    pub fn first_seq(&self) -> Option<u64> {
        self.batches.front().map(|batch| batch.first_seq)
    }

    /// What `selection` passes of the events after `after` and not beyond `until`, about `max_bytes`, and the number of
    /// the last event looked at; none when the next event is no longer (or not yet) in memory.
    pub fn select(
        &self,
        after: u64,
        until: u64,
        max_bytes: usize,
        selection: Selection,
    ) -> Option<(Bytes, u64)> {
        let next = after + 1;
        if next > until {
            return None;
        }
        let idx = self
            .batches
            .partition_point(|batch| batch.last_seq() < next);
        let first = self
            .batches
            .get(idx)
            .filter(|batch| batch.first_seq <= next)?;
        let (frames, mut last) = first.select(after, until, max_bytes, selection);
        if frames.len() >= max_bytes / 2 || last >= until {
            return Some((frames, last));
        }
        // Many small batches: gather them, so that a reader gets one large write.
        let mut gathered = BytesMut::from(frames);
        for batch in self.batches.iter().skip(idx + 1) {
            let room = max_bytes.saturating_sub(gathered.len());
            if room == 0 || last >= until || batch.first_seq != last + 1 {
                break;
            }
            let (frames, new_last) = batch.select(last, until, room, selection);
            gathered.extend_from_slice(&frames);
            let whole = new_last == batch.last_seq();
            last = new_last;
            if !whole {
                break;
            }
        }
        Some((gathered.freeze(), last))
    }
}

fn weight(batch: &FrameBatch) -> usize {
    batch.frames.len() + batch.marks.len() * size_of::<FrameMark>() + size_of::<FrameBatch>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventType;
    use crate::log::frame::{Framing, TypeSet, push_sse};

    fn batch(first_seq: u64, n_events: u64) -> FrameBatch {
        let mut frames = Vec::new();
        let mut marks = Vec::new();
        for seq in first_seq..first_seq + n_events {
            let start = frames.len();
            let event_type = if seq % 2 == 0 {
                EventType::Action
            } else {
                EventType::Log
            };
            let data = push_sse(
                seq.to_string().as_bytes(),
                event_type.as_str().as_bytes(),
                format!("{{{seq}}}").as_bytes(),
                &mut frames,
            );
            marks.push(FrameMark {
                end: u32::try_from(frames.len()).unwrap(),
                data_start: u32::try_from(start + data).unwrap(),
                event_type,
            });
        }
        FrameBatch {
            first_seq,
            frames: frames.into(),
            marks: marks.into(),
        }
    }

    fn ids(frames: &[u8]) -> Vec<u64> {
        let text = std::str::from_utf8(frames).unwrap();
        text.lines()
            .filter_map(|l| l.strip_prefix("id: "))
            .map(|id| id.parse().unwrap())
            .collect()
    }

    #[test]
    fn every_start_and_size_gives_the_following_events_without_gap_or_double() {
        let mut tail = Tail::new(usize::MAX);
        let mut seq = 1;
        for n_events in [1, 1, 5, 1, 40, 3] {
            tail.push(batch(seq, n_events));
            seq += n_events;
        }
        for start in 0..51 {
            for max_bytes in [1, 40, 100, 1_000, 100_000] {
                for until in [start, start + 1, 30, 51] {
                    let mut cursor = start;
                    let mut seen = Vec::new();
                    while let Some((frames, last)) =
                        tail.select(cursor, until, max_bytes, Selection::SSE)
                    {
                        assert!(last > cursor);
                        seen.extend(ids(&frames));
                        cursor = last;
                    }
                    assert_eq!(seen, (start + 1..=until.min(51)).collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn a_filter_passes_its_types_and_moves_over_the_others() {
        let mut tail = Tail::new(usize::MAX);
        tail.push(batch(1, 3));
        tail.push(batch(4, 4));
        let selection = Selection {
            framing: Framing::Sse,
            types: TypeSet::of([EventType::Action]),
        };
        let (frames, last) = tail.select(0, 7, 100_000, selection).unwrap();
        assert_eq!((ids(&frames), last), (vec![2, 4, 6], 7));
        let (lines, last) = tail.select(1, 7, 100_000, Selection::NDJSON).unwrap();
        assert_eq!(
            (lines.as_ref(), last),
            (&b"{2}\n{3}\n{4}\n{5}\n{6}\n{7}\n"[..], 7)
        );
    }

    #[test]
    fn what_an_agent_says_does_not_reach_onmessage() {
        let frame = |event_type: EventType| {
            let mut out = Vec::new();
            push_sse(b"1", event_type.as_str().as_bytes(), b"{}", &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(frame(EventType::Action), "id: 1\ndata: {}\n\n");
        for event_type in EventType::ALL
            .into_iter()
            .filter(|t| *t != EventType::Action)
        {
            let frame = frame(event_type);
            assert!(
                frame.contains("\nevent: ") && !frame.contains("event: message\n"),
                "{frame}"
            );
        }
    }

    #[test]
    fn memory_is_bounded_and_what_was_let_go_is_not_found() {
        let mut tail = Tail::new(2_000);
        for n in 0..100 {
            tail.push(batch(n * 10 + 1, 10));
        }
        assert!(tail.bytes <= 2_000, "{}", tail.bytes);
        assert!(tail.select(0, 1_000, 100, Selection::SSE).is_none());
        let first = tail.first_seq().unwrap();
        assert!(first > 900);
        assert!(tail.select(first - 1, 1_000, 100, Selection::SSE).is_some());
    }
}
