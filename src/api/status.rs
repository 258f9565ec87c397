//! `GET /status`: the document as it was rendered last.
//!
//! Owns the validators and the long-poll. It encodes nothing: the board did, once for all readers.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde::Deserialize;

use super::all_actions;
use super::limits::MAX_WAIT;
use super::problem::{Problem, ProblemBody, ProblemCode};
use super::service::{Shared, now_ms};
use crate::run::Phase;
use crate::status::publisher::Rendered;

/// Media type of the document.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Parameters of `GET /status`.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StatusQuery {
    /// Which actions are in the document: `none`, `tail` (the last 100; the default) or `all` (streamed from the log).
    actions: Option<String>,
    /// Seconds to wait until the document has another `ETag` than `If-None-Match`, or than now; at most 60.
    wait: Option<String>,
}

/// How many actions the document has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Actions {
    None,
    Tail,
    All,
}

impl Actions {
    fn parse(given: Option<&str>) -> Result<Self, Problem> {
        match given {
            None | Some("" | "tail") => Ok(Self::Tail),
            Some("none") => Ok(Self::None),
            Some("all") => Ok(Self::All),
            Some(_) => Err(Problem::new(
                ProblemCode::BadRequest,
                "actions is none, tail or all",
            )),
        }
    }

    /// The validator of this form: the three differ in their bytes, so they differ here.
    fn etag(self, etag: &str) -> Cow<'_, str> {
        let base = etag.strip_suffix('"').unwrap_or(etag);
        match self {
            Self::Tail => Cow::Borrowed(etag),
            Self::None => format!("{base}-none\"").into(),
            Self::All => format!("{base}-all\"").into(),
        }
    }
}

/// Gives the status document.
#[utoipa::path(get, path = "/status", tag = "run", params(StatusQuery,
    ("If-None-Match" = Option<String>, Header, description = "validators that the caller has")),
    responses(
        (status = 200, description = "the document, with an `ETag`", body = serde_json::Value, content_type = "application/json"),
        (status = 304, description = "the caller has it already"),
        (status = 400, description = "BAD_REQUEST", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "UNAUTHORIZED", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn status(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let board = &shared.api.board;
    let known = request.headers();
    let Asked { actions, wait } = Asked::of(&request)?;
    let mut rendered = board.rendered(now_ms());
    if let Some(wait) = wait
        && rendered.phase != Phase::Finished
        && (!known.contains_key(IF_NONE_MATCH) || is_known(known, &actions.etag(&rendered.etag)))
    {
        let etag = rendered.etag.clone();
        // Cancel safe: both only look.
        rendered = tokio::select! {
            changed = board.wait_for_change(&etag, wait, &now_ms) => changed,
            () = shared.draining.cancelled() => board.rendered(now_ms()),
        };
    }
    if actions != Actions::All {
        return show(&rendered, actions, known);
    }
    let etag = actions.etag(&rendered.etag);
    if is_known(known, &etag) {
        return not_modified(&etag);
    }
    let frame = board.frame(now_ms());
    let frame = frame.map_err(|error| Problem::internal("cannot encode the status", error))?;
    document(all_actions::body(frame, &shared.api.source).await?, &etag)
}

/// Gives the document where that takes no waiting, which is how it is polled; else none.
pub(super) fn at_once<B>(
    shared: &Shared,
    request: &axum::http::Request<B>,
) -> Option<Result<Response<Body>, Problem>> {
    let actions = match Asked::of(request) {
        Err(problem) => return Some(Err(problem)),
        Ok(Asked { wait: Some(_), .. }) => return None,
        Ok(Asked {
            actions: Actions::All,
            ..
        }) => return None,
        Ok(Asked { actions, .. }) => actions,
    };
    let rendered = shared.api.board.glance(now_ms());
    Some(show(&rendered, actions, request.headers()))
}

/// What a request asks for.
struct Asked {
    actions: Actions,
    /// None for `HEAD`, which has no document to wait for.
    wait: Option<Duration>,
}

impl Asked {
    fn of<B>(request: &axum::http::Request<B>) -> Result<Self, Problem> {
        let now = |actions| {
            Ok(Self {
                actions,
                wait: None,
            })
        };
        match request.uri().query() {
            None | Some("actions=tail") => now(Actions::Tail),
            Some("actions=none") => now(Actions::None),
            Some(_) => {
                let query: StatusQuery = parse_query(request)?;
                let wait = query.wait.as_deref().map(parse_wait).transpose()?.flatten();
                Ok(Self {
                    actions: Actions::parse(query.actions.as_deref())?,
                    wait: wait.filter(|_| request.method() != Method::HEAD),
                })
            }
        }
    }
}

/// Shows a rendered document, unless the caller has it.
fn show(
    rendered: &Rendered,
    actions: Actions,
    known: &HeaderMap,
) -> Result<Response<Body>, Problem> {
    let etag = actions.etag(&rendered.etag);
    if is_known(known, &etag) {
        return not_modified(&etag);
    }
    let bytes = match actions {
        Actions::None => &rendered.none,
        Actions::Tail | Actions::All => &rendered.tail,
    };
    document(Body::from(bytes.clone()), &etag)
}

fn document(body: Body, etag: &str) -> Result<Response<Body>, Problem> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    set_validators(&mut response, etag)?;
    Ok(response)
}

fn not_modified(etag: &str) -> Result<Response<Body>, Problem> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    set_validators(&mut response, etag)?;
    Ok(response)
}

fn set_validators(response: &mut Response<Body>, etag: &str) -> Result<(), Problem> {
    let etag = HeaderValue::from_str(etag)
        .map_err(|error| Problem::internal("cannot send the validator", error))?;
    let headers = response.headers_mut();
    headers.insert(ETAG, etag);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(())
}

/// Whether `If-None-Match` has that validator; compared weakly (RFC 9110, section 13.1.2).
pub(super) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == etag)
}

/// Reads the query; a name that is given twice is refused, one that we do not know is not looked at.
pub(crate) fn parse_query<T: serde::de::DeserializeOwned, B>(
    request: &axum::http::Request<B>,
) -> Result<T, Problem> {
    match Query::try_from_uri(request.uri()) {
        Ok(Query(query)) => Ok(query),
        Err(rejection) => Err(Problem::new(ProblemCode::BadRequest, rejection.body_text())),
    }
}

/// Reads `?wait=`: whole seconds, cut to [`MAX_WAIT`]; none when it is empty or 0.
pub(super) fn parse_wait(given: &str) -> Result<Option<Duration>, Problem> {
    if given.is_empty() {
        return Ok(None);
    }
    if !given.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Problem::new(
            ProblemCode::BadRequest,
            "wait is a number of whole seconds",
        ));
    }
    // Digits that are no u64 are more than any limit.
    let wait = Duration::from_secs(given.parse().unwrap_or(u64::MAX)).min(MAX_WAIT);
    Ok(Some(wait).filter(|wait| !wait.is_zero()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_validator_is_found_in_every_form() {
        for (list, expected) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static(list));
            assert_eq!(is_known(&headers, "\"a\""), expected, "{list}");
        }
        assert_eq!(Actions::None.etag("\"a\""), "\"a-none\"");
    }

    #[test]
    fn waits_are_whole_seconds_and_cut() {
        assert_eq!(parse_wait("2").unwrap(), Some(Duration::from_secs(2)));
        assert_eq!(
            parse_wait("99999999999999999999999").unwrap(),
            Some(MAX_WAIT)
        );
        assert_eq!(parse_wait("0").unwrap(), None);
        for bad in ["-1", "1.5", "x", " 1"] {
            assert_eq!(parse_wait(bad).unwrap_err().code(), ProblemCode::BadRequest);
        }
    }
}
