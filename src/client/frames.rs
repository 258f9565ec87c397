//! Reading event streams: from bytes in any pieces to events and control frames.
//!
//! Pure. Owns the client's side of server-sent events (WHATWG HTML, section 9.2) and of NDJSON, as far as a status API uses
//! them. It holds at most one frame.

use bytes::{Buf, Bytes, BytesMut};
use serde::Deserialize;

use crate::log::line::MAX_PAYLOAD_BYTES;

/// Largest frame, in bytes: the largest event, its envelope and the fields around it.
pub const MAX_FRAME_BYTES: usize = MAX_PAYLOAD_BYTES + 64 * 1024;

/// What a stream gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// An event, with its JSON line as it is in the log.
    Event {
        /// Its number.
        seq: u64,
        /// The line without its end.
        line: Bytes,
    },
    /// The cursor moved without an event that passes the filter.
    Cursor(u64),
    /// These events are lost.
    Gap {
        /// First missing number.
        from: u64,
        /// Last missing number.
        to: u64,
    },
    /// The cursor was of another log; everything of this one follows.
    Reset,
}

/// What came is no stream of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame is larger than any event can be.
    #[error("a frame is larger than {MAX_FRAME_BYTES} bytes")]
    TooLarge,
    /// A line is not what a status API sends.
    #[error("the line {line:?} is no part of an event stream")]
    Foreign {
        /// Its beginning.
        line: String,
    },
}

/// The form of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Server-sent events.
    Sse,
    /// One JSON line an event.
    Ndjson,
}

/// Takes bytes, gives frames.
#[derive(Debug)]
pub struct FrameReader {
    form: Form,
    buffer: BytesMut,
    /// Bytes at the beginning of the buffer that are known to have no line end.
    n_searched: usize,
    id: Option<u64>,
    event: Option<Bytes>,
    data: Option<Bytes>,
}

#[derive(Deserialize)]
struct Range {
    from: u64,
    to: u64,
}

/// The first fields of a line of the log, or of a control frame.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(default)]
    seq: Option<u64>,
    #[serde(borrow, default, rename = "type")]
    type_name: Option<&'a str>,
}

impl FrameReader {
    /// A reader of one stream.
    pub fn new(form: Form) -> Self {
        Self {
            form,
            buffer: BytesMut::new(),
            n_searched: 0,
            id: None,
            event: None,
            data: None,
        }
    }

    /// Takes what came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame; none until more comes.
    ///
    /// # Errors
    /// When what came is no event stream; the reader is of no use afterwards.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        while let Some(line) = self.line()? {
            let frame = match self.form {
                Form::Sse => self.sse_line(line)?,
                Form::Ndjson => ndjson_line(line)?,
            };
            if frame.is_some() {
                return Ok(frame);
            }
        }
        Ok(None)
    }

    /// Takes a whole line out of the buffer, without its end.
    fn line(&mut self) -> Result<Option<Bytes>, FrameError> {
        let unsearched = self.buffer.get(self.n_searched..).unwrap_or_default();
        let Some(found) = memchr::memchr(b'\n', unsearched) else {
            self.n_searched = self.buffer.len();
            return if self.buffer.len() > MAX_FRAME_BYTES {
                Err(FrameError::TooLarge)
            } else {
                Ok(None)
            };
        };
        let end = self.n_searched + found;
        self.n_searched = 0;
        let mut line = self.buffer.split_to(end);
        self.buffer.advance(1);
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        Ok(Some(line.freeze()))
    }

    fn sse_line(&mut self, line: Bytes) -> Result<Option<Frame>, FrameError> {
        if line.is_empty() {
            return self.block();
        }
        let colon = memchr::memchr(b':', &line).unwrap_or(line.len());
        let (field, mut value) = (
            line.slice(..colon),
            line.slice((colon + 1).min(line.len())..),
        );
        if value.first() == Some(&b' ') {
            value.advance(1);
        }
        match field.as_ref() {
            b"id" => {
                let id = std::str::from_utf8(&value)
                    .ok()
                    .and_then(|id| id.parse().ok());
                self.id = Some(id.ok_or_else(|| foreign(&line))?);
            }
            b"event" => self.event = Some(value),
            b"data" => self.data = Some(value),
            // A comment, or the time after which to come back.
            b"" | b"retry" => {}
            _ => return Err(foreign(&line)),
        }
        Ok(None)
    }

    fn block(&mut self) -> Result<Option<Frame>, FrameError> {
        let (id, event, data) = (self.id.take(), self.event.take(), self.data.take());
        match (id, data) {
            (Some(seq), Some(line)) => Ok(Some(Frame::Event { seq, line })),
            (Some(seq), None) => Ok(Some(Frame::Cursor(seq))),
            (None, Some(data)) => match event.as_deref() {
                Some(b"gap") => gap(&data).map(Some),
                Some(b"reset") => Ok(Some(Frame::Reset)),
                Some(_) | None => Err(foreign(&data)),
            },
            (None, None) => Ok(None),
        }
    }
}

fn ndjson_line(line: Bytes) -> Result<Option<Frame>, FrameError> {
    if line.is_empty() {
        return Ok(None);
    }
    let head: Head<'_> = serde_json::from_slice(&line).map_err(|_| foreign(&line))?;
    match (head.seq, head.type_name) {
        (Some(seq), _) => Ok(Some(Frame::Event { seq, line })),
        (None, Some("gap")) => gap(&line).map(Some),
        (None, Some("reset")) => Ok(Some(Frame::Reset)),
        (None, Some(_) | None) => Err(foreign(&line)),
    }
}

fn gap(data: &[u8]) -> Result<Frame, FrameError> {
    let range: Range = serde_json::from_slice(data).map_err(|_| foreign(data))?;
    Ok(Frame::Gap {
        from: range.from,
        to: range.to,
    })
}

fn foreign(line: &[u8]) -> FrameError {
    let cut = line.get(..80).unwrap_or(line);
    FrameError::Foreign {
        line: String::from_utf8_lossy(cut).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(form: Form, text: &str, n_bytes: usize) -> Result<Vec<Frame>, FrameError> {
        let mut reader = FrameReader::new(form);
        let mut frames = Vec::new();
        for piece in text.as_bytes().chunks(n_bytes) {
            reader.push(piece);
            while let Some(frame) = reader.next_frame()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    #[test]
    fn a_stream_in_any_pieces_gives_the_same_frames() {
        let text = "retry: 2113\n\n: stockade\n\nid: 1\nevent: log.opened\ndata: {\"seq\":1}\n\n\
                    id: 7\ndata: {\"seq\":7}\n\n: heartbeat\n\nid: 9\n\n\
                    event: gap\ndata: {\"from\":10,\"to\":12}\n\nevent: reset\ndata: {\"epoch\":\"e\",\"last_event_id\":3}\n\n";
        let event = |seq, line: &'static str| Frame::Event {
            seq,
            line: Bytes::from_static(line.as_bytes()),
        };
        let expected = vec![
            event(1, "{\"seq\":1}"),
            event(7, "{\"seq\":7}"),
            Frame::Cursor(9),
            Frame::Gap { from: 10, to: 12 },
            Frame::Reset,
        ];
        for n_bytes in [1, 2, 7, 4096] {
            assert_eq!(frames(Form::Sse, text, n_bytes).unwrap(), expected);
        }
    }

    #[test]
    fn ndjson_gives_events_and_control_frames() {
        let text = "{\"seq\":1,\"type\":\"log.opened\"}\n{\"type\":\"gap\",\"from\":2,\"to\":4}\n";
        let found = frames(Form::Ndjson, text, 5).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[1], Frame::Gap { from: 2, to: 4 });
    }

    #[test]
    fn what_is_no_stream_of_ours_is_refused_and_memory_is_bounded() {
        for text in ["<html>\n", "id: x\n", "data: {}\n\n"] {
            assert!(frames(Form::Sse, text, 3).is_err(), "{text:?}");
        }
        assert!(frames(Form::Ndjson, "hello\n", 3).is_err());
        let endless = "x".repeat(MAX_FRAME_BYTES + 2);
        assert_eq!(
            frames(Form::Sse, &endless, 64 * 1024),
            Err(FrameError::TooLarge)
        );
    }
}
