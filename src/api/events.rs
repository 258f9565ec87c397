//! `GET /events`: the action log, from where the client left it.
//!
//! Owns the parameters and headers of the route; `cursor` decides where a reader begins, `extent` where it ends, `stream`
//! writes the body.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use serde::Deserialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cursor::{self, Start};
use super::extent::{Extent, Patience};
use super::metrics::Traffic;
use super::problem::{Problem, ProblemBody, ProblemCode};
use super::service::Shared;
use super::status::{parse_query, parse_wait};
use super::stream::EventStream;
use crate::event::EventType;
use crate::log::frame::Framing;
use crate::log::{Selection, Source, TypeSet};

/// Media type of server-sent events.
pub const EVENT_STREAM: &str = "text/event-stream";
/// Media type of JSON lines.
pub const NDJSON: &str = "application/x-ndjson";
/// Identity of the log.
const LOG_EPOCH: HeaderName = HeaderName::from_static("x-log-epoch");
/// First event that can still be read.
const FIRST_EVENT_ID: HeaderName = HeaderName::from_static("x-first-event-id");
/// The id to go on from: the last event that the answer looked at, or, while it follows the run, of the log at its time.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("x-last-event-id");

/// Parameters of `GET /events`.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// Id of the last event that the client has; the header `Last-Event-ID` wins.
    last_event_id: Option<String>,
    /// The same by a shorter name.
    after: Option<String>,
    /// Identity of the log that the id is of, as `X-Log-Epoch` gave it; another one makes the answer begin with `reset`.
    epoch: Option<String>,
    /// Types that pass, separated by commas; `complete` and control frames always pass.
    types: Option<String>,
    /// `sse` or `ndjson`; wins over `Accept`.
    format: Option<String>,
    /// NDJSON only: seconds to wait for a first event; the answer then ends. At most 60.
    wait: Option<String>,
    /// NDJSON only: most lines of the answer.
    limit: Option<String>,
    /// NDJSON only: `false` ends the answer at the present end of the log.
    follow: Option<String>,
}

/// Streams the action log.
#[utoipa::path(get, path = "/events", tag = "run", params(EventsQuery,
    ("Last-Event-ID" = Option<String>, Header, description = "id of the last event that the client has")),
    responses(
        (status = 200, description = "frames, with `X-Log-Epoch`, `X-First-Event-Id` and `X-Last-Event-Id`", content(
            (String = "text/event-stream"), (String = "application/x-ndjson"))),
        (status = 204, description = "the client has the terminal event; nothing will ever follow"),
        (status = 400, description = "INVALID_EVENT_ID or BAD_REQUEST", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "UNAUTHORIZED", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn events(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let api = &shared.api;
    let serving = Serving {
        heartbeat: api.limits.heartbeat,
        draining: shared.draining.clone(),
        traffic: Arc::clone(&api.metrics.traffic),
    };
    respond(&api.source, serving, &request.map(drop)).await
}

/// How streams are served.
#[derive(Debug)]
pub(crate) struct Serving {
    /// Time between two signs of life.
    pub(crate) heartbeat: Duration,
    /// Cancelled when streams that have given everything are to end.
    pub(crate) draining: CancellationToken,
    /// Where readers are counted.
    pub(crate) traffic: Arc<Traffic>,
}

/// Answers a request for the events of `source`.
pub(crate) async fn respond(
    source: &Arc<Source>,
    serving: Serving,
    request: &axum::http::Request<()>,
) -> Result<Response<Body>, Problem> {
    let query: EventsQuery = parse_query(request)?;
    let selection = Selection {
        framing: framing(query.format.as_deref(), request.headers())?,
        types: types(query.types.as_deref())?,
    };
    let extent = extent(&query, selection.framing, request.method())?;
    let ids = [query.last_event_id.as_deref(), query.after.as_deref()];
    let requested = cursor::requested(request.headers(), ids)?;
    let bounds = source.bounds();
    let start = cursor::start(requested, query.epoch.as_deref(), source.epoch(), bounds);
    let after = match start {
        Start::After(id) => id,
        Start::Reset => 0,
        Start::Acknowledged => {
            return answer(
                source,
                StatusCode::NO_CONTENT,
                Body::empty(),
                bounds.published_seq,
            );
        }
    };
    let mut stream = EventStream::new(
        source.reader(after, selection),
        selection,
        serving.heartbeat,
        serving.draining.clone(),
        serving.traffic,
    );
    if selection.framing == Framing::Sse {
        stream.push_prelude();
    }
    if start == Start::Reset {
        stream.push_reset(source);
    }
    let n_control = u64::from(start == Start::Reset);
    let scout = source.reader(after, selection);
    let end = extent
        .end(source, scout, n_control, &serving.draining)
        .await
        .map_err(|error| Problem::internal("cannot read the log", error))?;
    stream.set_end(end.until, end.n_lines);
    let mut response = answer(source, StatusCode::OK, stream.into_body(), end.last)?;
    let media_type = match selection.framing {
        Framing::Sse => EVENT_STREAM,
        Framing::Ndjson => NDJSON,
    };
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    Ok(response)
}

fn answer(
    source: &Source,
    status: StatusCode,
    body: Body,
    last: u64,
) -> Result<Response<Body>, Problem> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let epoch = HeaderValue::from_str(source.epoch())
        .map_err(|error| Problem::internal("cannot send the log's epoch", error))?;
    let headers = response.headers_mut();
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.insert(LOG_EPOCH, epoch);
    headers.insert(FIRST_EVENT_ID, source.first_kept_seq().into());
    headers.insert(LAST_EVENT_ID, last.into());
    Ok(response)
}

fn bad(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(ProblemCode::BadRequest, detail)
}

/// The format named, else the first of ours that `Accept` has, else SSE.
fn framing(format: Option<&str>, headers: &HeaderMap) -> Result<Framing, Problem> {
    match format {
        Some("sse") => return Ok(Framing::Sse),
        Some("ndjson") => return Ok(Framing::Ndjson),
        None | Some("") => {}
        Some(_) => return Err(bad("format is sse or ndjson")),
    }
    let accepted = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.split(';').next())
        .find_map(|media_type| match media_type.trim() {
            EVENT_STREAM => Some(Framing::Sse),
            NDJSON | "application/ndjson" => Some(Framing::Ndjson),
            _ => None,
        });
    Ok(accepted.unwrap_or(Framing::Sse))
}

fn types(given: Option<&str>) -> Result<TypeSet, Problem> {
    let Some(given) = given.filter(|given| !given.is_empty()) else {
        return Ok(TypeSet::ALL);
    };
    let mut types = Vec::new();
    for name in given.split(',').map(str::trim) {
        let Some(event_type) = EventType::parse(name) else {
            let known = EventType::ALL.map(EventType::as_str).join(", ");
            let name: String = name.chars().take(40).collect();
            return Err(bad(format!(
                "there is no event type {name:?}; there are {known}"
            )));
        };
        types.push(event_type);
    }
    Ok(TypeSet::of(types))
}

fn extent(query: &EventsQuery, framing: Framing, method: &Method) -> Result<Extent, Problem> {
    let wait = query.wait.as_deref().map(parse_wait).transpose()?.flatten();
    let n_lines = match query.limit.as_deref() {
        None | Some("") => None,
        Some(limit) => match limit.parse::<u64>() {
            Ok(limit) if limit > 0 => Some(limit),
            _ => return Err(bad("limit is a whole number from 1")),
        },
    };
    let is_to_follow = match query.follow.as_deref() {
        // A long-poll that does not wait is a look at what there is.
        None | Some("" | "true") => query.wait.as_deref().is_none_or(str::is_empty),
        Some("false") => false,
        Some(_) => return Err(bad("follow is true or false")),
    };
    let patience = match wait {
        // Without a body there is nothing to wait for.
        Some(_) if method == Method::HEAD => Patience::Now,
        Some(wait) => Patience::Wait(Instant::now() + wait),
        None if is_to_follow => Patience::Follow,
        None => Patience::Now,
    };
    let extent = Extent { patience, n_lines };
    if framing == Framing::Sse && extent != Extent::default() {
        return Err(bad("wait, limit and follow=false need format=ndjson"));
    }
    Ok(extent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_named_else_the_first_accepted_else_sse() {
        for (format, accept, expected) in [
            (None, "*/*", Framing::Sse),
            (None, "text/event-stream", Framing::Sse),
            (None, "application/x-ndjson", Framing::Ndjson),
            (
                None,
                "text/html, application/x-ndjson;q=0.9, text/event-stream",
                Framing::Ndjson,
            ),
            (Some("sse"), "application/x-ndjson", Framing::Sse),
            (Some("ndjson"), "text/event-stream", Framing::Ndjson),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(
                framing(format, &headers).unwrap(),
                expected,
                "{format:?} {accept}"
            );
        }
        assert!(framing(Some("xml"), &HeaderMap::new()).is_err());
    }

    #[test]
    fn an_unknown_type_is_refused_with_the_known_ones() {
        assert_eq!(types(None).unwrap(), TypeSet::ALL);
        assert_eq!(
            types(Some("action,complete")).unwrap(),
            TypeSet::of([EventType::Action])
        );
        let problem = types(Some("action,bogus")).unwrap_err();
        let detail = problem.body().detail;
        assert!(
            detail.contains("\"bogus\"") && detail.contains("log.opened, run.phase"),
            "{detail}"
        );
    }
}
