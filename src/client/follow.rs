//! Following a run: one cursor over cut connections, a supervisor that goes away, and the recording behind it.
//!
//! Owns the order in which the sources are tried, the waits between attempts, and what is said when something could not be
//! given. Invariant: each event that passes the filter is given once and in order; the cursor is the number of the last
//! event, whatever the source.

mod recorded;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{Method, Response, StatusCode, body::Incoming};
use tokio::time::{Instant, sleep, timeout};

use super::address::Address;
use super::connection::{Connection, Token};
use super::error::ClientError;
use super::frames::{Form, Frame, FrameReader};
use super::target::{Asked, Liveness, Target};
use crate::event::EventType;
use crate::status::StatusDocument;

/// Longest silence of a stream: three heartbeats of 15 s.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(45);

/// First wait before another attempt; it doubles up to [`MAX_BACKOFF`].
pub const MIN_BACKOFF: Duration = Duration::from_millis(100);

/// Longest wait before another attempt.
pub const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// How long a status API may be out of reach in one piece before the follower gives up.
pub const CONTACT_LIMIT: Duration = Duration::from_secs(60);

/// What a follower gives.
#[derive(Debug)]
pub enum Item<'a> {
    /// An event, as it is in the log.
    Event {
        /// Its number.
        seq: u64,
        /// Its JSON line, without the end.
        line: &'a [u8],
    },
    /// These events are lost; nobody has them.
    Gap {
        /// First missing number.
        from: u64,
        /// Last missing number.
        to: u64,
    },
    /// The log was begun anew behind this event, because the crash of its supervisor cut it: what was given behind it is not
    /// on record. With 0, everything is given again.
    Rewound {
        /// Last event that still counts.
        to: u64,
    },
    /// There is no such event yet, and the log is the one that was meant: all of it follows.
    Beyond {
        /// Event behind which to begin.
        after: u64,
        /// Last event of the log.
        last: u64,
    },
    /// The contact is lost; another attempt follows.
    Lost(&'a ClientError),
    /// What follows comes from the recording.
    FromRecording,
}

/// What the taker of an item wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// What follows.
    More,
    /// Nothing more.
    Nothing,
}

/// How the following ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The terminal event was given.
    Terminal,
    /// The taker wanted no more, or the present end of the log was to be the end.
    Asked,
    /// The recording ends without a terminal event, and nobody works on the run.
    WithoutEnd,
}

/// How long to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Until the run has ended.
    ToTheEnd,
    /// Only what there is.
    WhatThereIs,
}

/// A cursor into the log of a run, wherever that is.
#[derive(Debug)]
pub struct Follower<'a> {
    target: &'a Target,
    token: &'a Token,
    types: Vec<EventType>,
    extent: Extent,
    after: u64,
    epoch: Option<String>,
    /// Last event of the log, as its API told it when the contact was made; none when the log is another than before.
    last_of_same: Option<u64>,
}

/// How one source ended.
enum Ended {
    For(Ending),
    /// The stream was cut before its end.
    Cut(ClientError),
    /// The API ended it in good order; its recording may have more.
    InGoodOrder(Address),
}

impl<'a> Follower<'a> {
    /// Follows from behind event `after`. An empty list of types passes them all.
    pub fn new(
        target: &'a Target,
        token: &'a Token,
        types: Vec<EventType>,
        extent: Extent,
        after: u64,
    ) -> Self {
        Self {
            target,
            token,
            types,
            extent,
            after,
            epoch: None,
            last_of_same: None,
        }
    }

    /// Gives every item to `take`, until the end.
    ///
    /// # Errors
    /// When the run is out of reach for [`CONTACT_LIMIT`], refuses, or its recording cannot be read.
    pub async fn follow(
        &mut self,
        take: &mut impl FnMut(Item<'_>) -> Want,
    ) -> Result<Ending, ClientError> {
        let mut backoff = MIN_BACKOFF;
        let mut lost_at: Option<Instant> = None;
        let mut seen = None;
        loop {
            // Before the attempt: nobody can begin to work on a run that was left.
            let liveness = self.target.liveness()?;
            if let (Liveness::Left, Some(run)) = (liveness, self.target.run()) {
                return self.read_recording(run, take).await;
            }
            let (before, asked_at) = (self.after, Instant::now());
            let error = match self.ask_api(take).await {
                Ok(Ended::For(ending)) => return Ok(ending),
                Ok(Ended::Cut(error)) => Some(error),
                // Whoever never gives anything is no API of a run. A stream that lasted was ended by something between.
                Ok(Ended::InGoodOrder(address)) => {
                    let is_empty = self.after == before && asked_at.elapsed() < MAX_BACKOFF;
                    is_empty.then_some(ClientError::Empty { address })
                }
                Err(error) if error.is_contact() => Some(error),
                Err(error) => return Err(error),
            };
            if let (
                Some(ClientError::NoAddress { .. }),
                Liveness::Alive,
                Some(run),
                Extent::ToTheEnd,
            ) = (&error, liveness, self.target.run(), self.extent)
            {
                // Whether or not it will ever have an API: its log grows before our eyes.
                if let Some(ending) = self.read_what_was_added(run, &mut seen, take).await? {
                    return Ok(ending);
                }
                (backoff, lost_at) = (MIN_BACKOFF, None);
                continue;
            }
            if self.after != before || error.is_none() {
                (backoff, lost_at) = (MIN_BACKOFF, None);
            }
            if let Some(error) = error {
                let lost_for = lost_at.get_or_insert_with(Instant::now).elapsed();
                match (self.extent, self.target.run()) {
                    (Extent::WhatThereIs, Some(run)) => {
                        return self.read_recording(run, take).await;
                    }
                    (Extent::WhatThereIs, None) => return Err(error),
                    (Extent::ToTheEnd, _) if lost_for >= CONTACT_LIMIT => return Err(error),
                    (Extent::ToTheEnd, _) => {}
                }
                // A run that is about to end is no news: its recording follows.
                if backoff > MIN_BACKOFF && take(Item::Lost(&error)) == Want::Nothing {
                    return Ok(Ending::Asked);
                }
            }
            sleep(backoff).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    async fn ask_api(
        &mut self,
        take: &mut impl FnMut(Item<'_>) -> Want,
    ) -> Result<Ended, ClientError> {
        let (mut connection, _, document) = connect(self.target, self.token, "none").await?;
        let form = match self.extent {
            Extent::ToTheEnd => Form::Sse,
            Extent::WhatThereIs => Form::Ndjson,
        };
        let mut path = self.target.path(Asked::Events);
        path.push_str(match form {
            Form::Sse => "?format=sse",
            Form::Ndjson => "?format=ndjson&follow=false",
        });
        if !self.types.is_empty() {
            let names: Vec<_> = self
                .types
                .iter()
                .map(|event_type| event_type.as_str())
                .collect();
            path.push_str("&types=");
            path.push_str(&names.join(","));
        }
        if let Some(epoch) = &self.epoch {
            path.push_str("&epoch=");
            path.push_str(epoch);
        }
        let is_same = self.epoch.is_none() || self.epoch == document.epoch;
        self.last_of_same = is_same.then_some(document.last_event_id);
        self.epoch = document.epoch.or(self.epoch.take());
        let headers = [("last-event-id", self.after.to_string())];
        let response = connection
            .ask(Method::GET, &path, &headers, Bytes::new())
            .await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(Ended::For(Ending::Terminal));
        }
        self.read_stream(&connection, response, form, take).await
    }

    async fn read_stream(
        &mut self,
        connection: &Connection,
        mut response: Response<Incoming>,
        form: Form,
        take: &mut impl FnMut(Item<'_>) -> Want,
    ) -> Result<Ended, ClientError> {
        let mut frames = FrameReader::new(form);
        loop {
            while let Some(frame) = frames.next_frame().map_err(|error| ClientError::Foreign {
                address: connection.address().clone(),
                what: error.to_string(),
            })? {
                let (want, is_terminal) = match frame {
                    Frame::Event { seq, line } => self.event(seq, &line, take),
                    Frame::Cursor(seq) => {
                        self.after = seq;
                        (Want::More, false)
                    }
                    Frame::Gap { from, to } => {
                        self.after = to;
                        (take(Item::Gap { from, to }), false)
                    }
                    Frame::Reset => {
                        let after = std::mem::take(&mut self.after);
                        let item = match self.last_of_same {
                            Some(last) if last < after => Item::Beyond { after, last },
                            Some(_) | None => Item::Rewound { to: 0 },
                        };
                        (take(item), false)
                    }
                };
                if is_terminal {
                    return Ok(Ended::For(Ending::Terminal));
                }
                if want == Want::Nothing {
                    return Ok(Ended::For(Ending::Asked));
                }
            }
            let cut = match timeout(SILENCE_LIMIT, response.body_mut().frame()).await {
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        frames.push(&data);
                    }
                    continue;
                }
                Ok(Some(Err(source))) => ClientError::Broken {
                    address: connection.address().clone(),
                    source,
                },
                Ok(None) if form == Form::Ndjson => return Ok(Ended::For(Ending::Asked)),
                Ok(None) => return Ok(Ended::InGoodOrder(connection.address().clone())),
                Err(_) => ClientError::Silent {
                    address: connection.address().clone(),
                    limit: SILENCE_LIMIT,
                },
            };
            return Ok(Ended::Cut(cut));
        }
    }

    /// Gives one event, unless it was given before; says whether it is the terminal one.
    fn event(
        &mut self,
        seq: u64,
        line: &[u8],
        take: &mut impl FnMut(Item<'_>) -> Want,
    ) -> (Want, bool) {
        if seq <= self.after {
            return (Want::More, false);
        }
        self.after = seq;
        let want = take(Item::Event { seq, line });
        (want, is_terminal(line))
    }
}

/// Connects to the first address of the target that answers as the run that is meant; gives its status, too.
///
/// # Errors
/// What the last address said.
pub async fn connect(
    target: &Target,
    token: &Token,
    actions: &str,
) -> Result<(Connection, Bytes, StatusDocument), ClientError> {
    let path = format!("{}?actions={actions}", target.path(Asked::Status));
    let mut refused = None;
    for address in target.addresses()? {
        let answer = async {
            let mut connection = Connection::open(&address, token).await?;
            let (bytes, document) = connection.status(&path, target.id()).await?;
            Ok((connection, bytes, document))
        };
        match answer.await {
            Ok(found) => return Ok(found),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or(ClientError::Token))
}

/// True for the terminal event. The type stands behind the time stamp, so it is looked for at the beginning of the line.
fn is_terminal(line: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Head<'a> {
        #[serde(borrow, rename = "type")]
        type_name: std::borrow::Cow<'a, str>,
    }
    let start = line.get(..128).unwrap_or(line);
    memchr::memmem::find(start, b"\"type\":\"complete\"").is_some()
        && serde_json::from_slice(line)
            .is_ok_and(|head: Head<'_>| head.type_name == EventType::Complete.as_str())
}

#[cfg(test)]
mod tests {
    use super::recorded::seq_of;
    use super::*;

    #[test]
    fn the_number_and_the_end_are_read_from_the_line() {
        let line = br#"{"seq":12,"ts":"2026-11-22T11:02:57.123Z","type":"complete","run_id":"r"}"#;
        assert_eq!(seq_of(line), Some(12));
        assert!(is_terminal(line));
        let other =
            br#"{"seq":3,"ts":"t","type":"message","run_id":"r","text":"\"type\":\"complete\""}"#;
        assert!(!is_terminal(other));
        assert_eq!(seq_of(b""), None);
    }
}
