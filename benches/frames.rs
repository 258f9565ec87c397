//! What a reader must have seen: every event once, in order.
//!
//! Owns the measured event and the check of a stream of SSE frames. The check is cheap, because it shares the machine with
//! the server that it measures: one comparison and a few digits a frame.

use std::time::{SystemTime, UNIX_EPOCH};

use memchr::memmem::Finder;
use stockade::event::{ActionOutput, Event, EventType, Stream};
use stockade::log::line::{ChainHead, Envelope};

/// Bytes of one line of the log in every benchmark, its newline not counted (at a six-digit number).
pub(crate) const LINE_BYTES: usize = 300;

/// Run id of every measured run.
pub(crate) const RUN_ID: &str = "bench";

/// Marks the time at which an event was made, nanoseconds since 1970.
const TIME_MARK: &str = "t=";

/// Nanoseconds since 1970, of the clock that all processes of this machine share.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Makes events whose lines have [`LINE_BYTES`] bytes.
#[derive(Debug)]
pub(crate) struct EventMaker {
    padding: String,
}

impl EventMaker {
    pub(crate) fn new() -> Self {
        let mut maker = Self {
            padding: String::new(),
        };
        let bare = maker.line(100_000).len();
        maker.padding = ".".repeat(LINE_BYTES - bare);
        maker
    }

    /// A piece of output that says when it was made.
    pub(crate) fn event(&self) -> Event {
        Event::ActionOutput(self.output())
    }

    /// The text of one event.
    pub(crate) fn text(&self) -> String {
        format!("{TIME_MARK}{:020} {}", now_ns(), self.padding)
    }

    fn output(&self) -> ActionOutput {
        let text = self.text();
        ActionOutput {
            step: Some(1),
            call_id: None,
            stream: Stream::Stdout,
            bytes: 100,
            text,
            lossy: false,
        }
    }

    /// The line that the log makes of an event with that number.
    pub(crate) fn line(&self, seq: u64) -> Vec<u8> {
        let mut payload = Vec::new();
        self.event()
            .write_payload(&mut payload)
            .expect("an output event is JSON");
        let envelope = Envelope {
            seq,
            ts: "2026-11-22T11:02:57.123Z",
            event_type: EventType::ActionOutput,
            run_id: RUN_ID,
        };
        let mut line = Vec::new();
        envelope.encode(&payload, &ChainHead::default(), &mut line);
        line
    }
}

/// What was wrong with a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Events that were passed over.
    pub(crate) missing: u64,
    /// Events that came twice or out of order.
    pub(crate) doubled: u64,
}

/// Follows the frames of one stream.
#[derive(Debug)]
pub(crate) struct FrameChecker {
    pub(crate) last_id: u64,
    pub(crate) faults: Faults,
    carry: Vec<u8>,
    frame_bytes: usize,
}

/// Finds the end of a frame.
#[derive(Debug)]
pub(crate) struct FrameEnd(Finder<'static>);

impl FrameEnd {
    pub(crate) fn new() -> Self {
        Self(Finder::new("\n\n"))
    }
}

impl FrameChecker {
    pub(crate) fn new(after: u64) -> Self {
        Self {
            last_id: after,
            faults: Faults::default(),
            carry: Vec::new(),
            frame_bytes: 0,
        }
    }

    /// Takes the next bytes of the stream; `seen` is told each frame that has an id.
    pub(crate) fn feed(&mut self, bytes: &[u8], end: &FrameEnd, seen: &mut impl FnMut(&[u8])) {
        let mut rest = bytes;
        if !self.carry.is_empty() {
            // The end may lie across the seam, so it is looked for in both together.
            let looked_at = self.carry.len().saturating_sub(1);
            let old = self.carry.len();
            let probe = rest.len().min(64 * 1024);
            self.carry.extend_from_slice(&rest[..probe]);
            let Some(at) = end.0.find(&self.carry[looked_at..]) else {
                return self.feed_tail_of_carry(&rest[probe..], end, seen);
            };
            let frame_end = looked_at + at + 2;
            let mut carry = std::mem::take(&mut self.carry);
            carry.truncate(frame_end);
            self.frame(&carry, seen);
            carry.clear();
            self.carry = carry;
            rest = &rest[frame_end - old..];
        }
        while !rest.is_empty() {
            let guess = self.frame_bytes;
            // Most frames are as long as the one before, so their end need not be searched.
            let is_guess = guess >= 2
                && rest.get(guess - 2..guess) == Some(b"\n\n")
                && rest.get(guess).is_none_or(|next| *next == b'i');
            let frame_bytes = if is_guess {
                guess
            } else if let Some(at) = end.0.find(rest) {
                at + 2
            } else {
                self.carry.extend_from_slice(rest);
                return;
            };
            let (frame, behind) = rest.split_at(frame_bytes);
            self.frame(frame, seen);
            rest = behind;
        }
    }

    fn feed_tail_of_carry(&mut self, rest: &[u8], end: &FrameEnd, seen: &mut impl FnMut(&[u8])) {
        if !rest.is_empty() {
            self.feed(rest, end, seen);
        }
    }

    fn frame(&mut self, frame: &[u8], seen: &mut impl FnMut(&[u8])) {
        let Some(digits) = frame.strip_prefix(b"id: ") else {
            // Comments and `retry:` have no id; a gap that the server tells of shows in the next id.
            return;
        };
        let id = digits
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .fold(0, |id: u64, digit| id * 10 + u64::from(digit - b'0'));
        if id > self.last_id {
            self.faults.missing += id - self.last_id - 1;
            self.last_id = id;
        } else {
            self.faults.doubled += 1;
        }
        self.frame_bytes = frame.len();
        seen(frame);
    }
}

/// Nanoseconds since a frame's event was made; none when it does not say.
pub(crate) fn age_ns(frame: &[u8], mark: &Finder<'_>) -> Option<u64> {
    let at = mark.find(frame)? + TIME_MARK.len() + 1;
    let digits = std::str::from_utf8(frame.get(at..at + 20)?).ok()?;
    Some(now_ns().saturating_sub(digits.parse().ok()?))
}

/// Finds the time in a frame.
pub(crate) fn time_mark() -> Finder<'static> {
    Finder::new("\"t=")
}
