//! `GET /status?actions=all`: the document with every action, streamed from the log.
//!
//! Owns the way from log lines to elements of one JSON array. Invariant: the array has the actions up to the document's
//! `last_event_id`, in order. What cannot keep this is 500 when the first piece of the log shows it, else the stream is cut,
//! so that the JSON does not end: nothing that parses lacks an action.

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

struct AllActions {
    /// What goes out before anything else is read.
    ready: Vec<u8>,
    /// The document behind the array; none when it was given.
    after: Option<Vec<u8>>,
    reader: Reader,
    last_event_id: u64,
    is_first: bool,
}

/// The body: `frame` with the log's actions in it.
pub(super) async fn body(frame: Frame, source: &Arc<Source>) -> Result<Body, Problem> {
    let whole = [frame.before.as_slice(), frame.after.as_slice()].concat();
    let place: Place = serde_json::from_slice(&whole)
        .map_err(|error| Problem::internal("cannot read the status", error))?;
    let selection = Selection {
        framing: Framing::Ndjson,
        types: TypeSet::of([EventType::Action]),
    };
    let mut actions = AllActions {
        ready: frame.before,
        after: Some(frame.after),
        reader: source.reader(0, selection),
        last_event_id: place.last_event_id,
        is_first: true,
    };
    // Read before the head is sent, while a failure can still be told by its status.
    let first = actions.elements_of_next_chunk().await;
    let first = first.map_err(|error| Problem::internal("cannot give all actions", error))?;
    actions.ready.extend(first.unwrap_or_default());
    Ok(Body::from_stream(stream::try_unfold(
        actions,
        |mut actions| async move {
            let next = actions.next().await.inspect_err(|error| {
                tracing::error!(%error, "cannot give all actions to a reader");
            })?;
            Ok::<_, io::Error>(next.map(|bytes| (bytes, actions)))
        },
    )))
}

impl AllActions {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if !self.ready.is_empty() {
            return Ok(Some(std::mem::take(&mut self.ready).into()));
        }
        if self.after.is_none() {
            return Ok(None);
        }
        match self.elements_of_next_chunk().await? {
            Some(elements) => Ok(Some(elements.into())),
            None => Ok(self.after.take().map(Bytes::from)),
        }
    }

    /// Some more elements, or none when all were given.
    async fn elements_of_next_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        while self.reader.after() < self.last_event_id && !self.reader.is_finished() {
            let published = tokio::time::timeout(PUBLISH_LIMIT, self.reader.wait()).await;
            published.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
            match self.reader.read(CATCH_UP_CHUNK_BYTES).await? {
                None => {}
                Some(Next::Frames(lines)) => {
                    let elements = self.elements(&lines);
                    if !elements.is_empty() {
                        return Ok(Some(elements));
                    }
                }
                Some(Next::Gap { from, .. }) if from > self.last_event_id => {}
                Some(Next::Gap { from, to }) => {
                    let lost = format!("the events {from} to {to} are lost");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, lost));
                }
            }
        }
        Ok(None)
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
