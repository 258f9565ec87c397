//! Frames: how one line of the log looks to a reader.
//!
//! Owns the two framings (SSE and NDJSON), the choice of types, and the batch of encoded frames that the tail keeps.
//! The JSON bytes inside a frame are the bytes in the file.

use bytes::{Bytes, BytesMut};

use crate::event::EventType;

/// How lines are wrapped for a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events (WHATWG HTML, section 9.2).
    Sse,
    /// One JSON line an event.
    Ndjson,
}

/// A set of event types; the terminal event is always in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeSet(u32);

impl TypeSet {
    /// Every type, those unknown to this build included.
    pub const ALL: Self = Self(u32::MAX);

    /// Only the given types and the terminal event.
    pub fn of(types: impl IntoIterator<Item = EventType>) -> Self {
        let terminal = Self::bit(EventType::Complete);
        Self(
            types
                .into_iter()
                .fold(terminal, |set, t| set | Self::bit(t)),
        )
    }

    /// True when an event of that type passes; none stands for a type that this build does not know.
    pub fn contains(self, event_type: Option<EventType>) -> bool {
        match event_type {
            Some(known) => self.0 & Self::bit(known) != 0,
            None => self == Self::ALL,
        }
    }

    /// True when nothing is filtered out.
    pub fn is_all(self) -> bool {
        self == Self::ALL
    }

    fn bit(event_type: EventType) -> u32 {
        1 << (event_type as u32)
    }
}

/// What a reader wants of the log, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// How events are wrapped.
    pub framing: Framing,
    /// Which events pass.
    pub types: TypeSet,
}

impl Selection {
    /// Everything as SSE.
    pub const SSE: Self = Self {
        framing: Framing::Sse,
        types: TypeSet::ALL,
    };
    /// Everything as NDJSON.
    pub const NDJSON: Self = Self {
        framing: Framing::Ndjson,
        types: TypeSet::ALL,
    };
}

/// Appends one SSE frame; `line` is the JSON without a newline. Gives the offset of the JSON from the frame's start.
/// A type that this build does not know goes by its own name.
pub fn push_sse(seq_digits: &[u8], type_name: &[u8], line: &[u8], out: &mut Vec<u8>) -> usize {
    let start = out.len();
    let known = std::str::from_utf8(type_name)
        .ok()
        .and_then(EventType::parse);
    let sse_name = known.map_or(Some(type_name), |known| known.sse_name().map(str::as_bytes));
    push_sse_head(seq_digits, sse_name, out);
    let data_start = out.len() - start;
    out.extend_from_slice(line);
    out.extend_from_slice(b"\n\n");
    data_start
}

/// Appends everything of an SSE frame that stands before the JSON.
///
/// `sse_name` is the name of [`EventType::sse_name`]. An `action` has none and no `event:` line, so that `onmessage` of a
/// plain `EventSource` sees exactly the actions.
pub fn push_sse_head(seq_digits: &[u8], sse_name: Option<&[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(seq_digits);
    if let Some(sse_name) = sse_name {
        out.extend_from_slice(b"\nevent: ");
        out.extend_from_slice(sse_name);
    }
    out.extend_from_slice(b"\ndata: ");
}

/// Where one event stands in a [`FrameBatch`].
#[derive(Debug, Clone, Copy)]
pub struct FrameMark {
    /// Offset behind the frame's last byte.
    pub end: u32,
    /// Offset of the JSON, from the start of the batch.
    pub data_start: u32,
    /// Type of the event.
    pub event_type: EventType,
}

/// Consecutive events, encoded once as SSE frames.
#[derive(Debug, Clone)]
pub struct FrameBatch {
    /// Sequence number of the first event.
    pub first_seq: u64,
    /// The frames, without gaps.
    pub frames: Bytes,
    /// One mark an event.
    pub marks: std::sync::Arc<[FrameMark]>,
}

impl FrameBatch {
    /// Sequence number of the last event.
    pub fn last_seq(&self) -> u64 {
        self.first_seq + (self.marks.len() as u64).saturating_sub(1)
    }

    /// The JSON of event `idx` with its newline.
    pub fn line(&self, idx: usize) -> &[u8] {
        self.marks
            .get(idx)
            .and_then(|mark| {
                self.frames
                    .get(mark.data_start as usize..mark.end as usize - 1)
            })
            .unwrap_or_default()
    }

    /// Gives what `selection` passes of the events after `after` and not beyond `until`, and the number of the last event
    /// looked at. Stops when `max_bytes` are reached; gives at least one event.
    pub fn select(
        &self,
        after: u64,
        until: u64,
        max_bytes: usize,
        selection: Selection,
    ) -> (Bytes, u64) {
        let first_idx =
            usize::try_from((after + 1).saturating_sub(self.first_seq)).unwrap_or(usize::MAX);
        let known =
            usize::try_from((until + 1).saturating_sub(self.first_seq)).unwrap_or(usize::MAX);
        let known = known.min(self.marks.len());
        let Some(marks) = self
            .marks
            .get(first_idx..known)
            .filter(|marks| !marks.is_empty())
        else {
            return (Bytes::new(), after);
        };
        let start = match first_idx
            .checked_sub(1)
            .and_then(|before| self.marks.get(before))
        {
            Some(before) => before.end as usize,
            None => 0,
        };
        if selection == Selection::SSE {
            let fit = marks
                .partition_point(|mark| mark.end as usize - start <= max_bytes)
                .max(1);
            let end = marks.get(fit - 1).map_or(start, |mark| mark.end as usize);
            return (self.frames.slice(start..end), after + fit as u64);
        }
        let mut out = BytesMut::new();
        let mut last = after;
        let mut frame_start = start;
        for mark in marks {
            if out.len() >= max_bytes {
                break;
            }
            last += 1;
            if selection.types.contains(Some(mark.event_type)) {
                let range = match selection.framing {
                    Framing::Sse => frame_start..mark.end as usize,
                    Framing::Ndjson => mark.data_start as usize..mark.end as usize - 1,
                };
                out.extend_from_slice(self.frames.get(range).unwrap_or_default());
            }
            frame_start = mark.end as usize;
        }
        (out.freeze(), last)
    }
}
