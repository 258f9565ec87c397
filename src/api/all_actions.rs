//! `GET /status?actions=all`: the document with every action, streamed from the log.
//!
//! Owns the way from log lines to elements of one JSON array. Invariant: the array has the actions up to the document's
//! `last_event_id`, in order; a stream that cannot keep this is cut, so that the JSON does not end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;

use super::limits::CATCH_UP_CHUNK_BYTES;
use super::problem::Problem;
use crate::event::EventType;
use crate::log::frame::Framing;
use crate::log::line::LineHead;
use crate::log::{Next, Reader, Selection, Source, TypeSet};
use crate::status::document::Frame;

/// Time for an event that the document follows from to be published to readers. Under `durable` that is a sync.
const PUBLISH_LIMIT: Duration = Duration::from_secs(5);

/// Where the document stands in the log.
#[derive(Deserialize)]
struct Place {
    last_event_id: u64,
}

enum Part {
    Before(Vec<u8>),
    Actions,
    Done,
}

struct AllActions {
    part: Part,
    after: Vec<u8>,
    reader: Reader,
    last_event_id: u64,
    is_first: bool,
}

/// The body: `frame` with the log's actions in it.
pub(super) fn body(frame: Frame, source: &Arc<Source>) -> Result<Body, Problem> {
    let whole = [frame.before.as_slice(), frame.after.as_slice()].concat();
    let place: Place = serde_json::from_slice(&whole)
        .map_err(|error| Problem::internal("cannot read the status", error))?;
    let selection = Selection {
        framing: Framing::Ndjson,
        types: TypeSet::of([EventType::Action]),
    };
    let actions = AllActions {
        part: Part::Before(frame.before),
        after: frame.after,
        reader: source.reader(0, selection),
        last_event_id: place.last_event_id,
        is_first: true,
    };
    Ok(Body::from_stream(stream::try_unfold(
        actions,
        |mut actions| async move {
            Ok::<_, io::Error>(actions.next().await?.map(|bytes| (bytes, actions)))
        },
    )))
}

impl AllActions {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if let Part::Before(before) = &mut self.part {
            let before = std::mem::take(before);
            self.part = Part::Actions;
            return Ok(Some(before.into()));
        }
        if let Part::Done = self.part {
            return Ok(None);
        }
        while self.reader.after() < self.last_event_id {
            let published = tokio::time::timeout(PUBLISH_LIMIT, self.reader.wait()).await;
            published.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
            if let Some(Next::Frames(lines)) = self.reader.read(CATCH_UP_CHUNK_BYTES).await? {
                let elements = self.elements(&lines);
                if !elements.is_empty() {
                    return Ok(Some(elements.into()));
                }
            }
            if self.reader.is_finished() {
                break;
            }
        }
        self.part = Part::Done;
        Ok(Some(std::mem::take(&mut self.after).into()))
    }

    /// The actions among the lines as elements of the array; the terminal event, which passes every filter, is none.
    fn elements(&mut self, lines: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(lines.len());
        for line in lines.split(|byte| *byte == b'\n') {
            let Some(head) = LineHead::parse(line) else {
                continue;
            };
            if head.event_type() != Some(EventType::Action) || head.seq > self.last_event_id {
                continue;
            }
            if !std::mem::take(&mut self.is_first) {
                out.push(b',');
            }
            out.extend_from_slice(line);
        }
        out
    }
}
