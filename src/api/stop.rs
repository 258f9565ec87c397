//! `POST /stop`: asks the run session for the end.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::gate;
use super::limits::{MAX_BODY_BYTES, MAX_GRACE_SECONDS, MAX_REASON_CHARS};
use super::problem::{Problem, ProblemBody, ProblemCode};
use super::service::{Shared, now_ms};
use crate::control::{StopAnswer, StopCause, StopRequest};
use crate::run::RunId;

/// Body of a stop request; an empty one is fine.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StopBody {
    /// Why, for the record; at most 1,024 characters.
    reason: Option<String>,
    /// Seconds for the workload to end by itself; a later request may only shorten what is left.
    grace_seconds: Option<f64>,
}

/// Where the run stands after the request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StopReport {
    /// The run.
    #[schema(value_type = String)]
    run_id: RunId,
    /// `stopping` or `finished`.
    phase: &'static str,
    /// One of the six words.
    status: &'static str,
}

/// Asks the run to stop. Idempotent.
#[utoipa::path(post, path = "/stop", tag = "run", request_body(content = StopBody, description = "may be empty"),
    responses(
        (status = 202, description = "the run is being taken down", body = StopReport),
        (status = 200, description = "the run has finished", body = StopReport),
        (status = 400, description = "BAD_REQUEST", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "UNAUTHORIZED", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "FORBIDDEN or FOREIGN_ORIGIN", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "PAYLOAD_TOO_LARGE", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn stop(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let api = &shared.api;
    let body = read_body(request.into_body(), MAX_BODY_BYTES, api.limits.body).await?;
    let asked = parse(&body)?;
    let answer = api.control.stop(asked).await;
    let now = api.board.rendered(now_ms());
    let (code, phase) = match answer {
        // The board may not have heard of it yet; the session has.
        StopAnswer::Stopping => (StatusCode::ACCEPTED, "stopping"),
        StopAnswer::Finished => (StatusCode::OK, "finished"),
    };
    let report = StopReport {
        run_id: api.run.id().clone(),
        phase,
        status: now.status.as_str(),
    };
    Ok((code, Json(report)).into_response())
}

/// Reads the body of a request.
pub(crate) async fn read_body(
    body: Body,
    max_bytes: usize,
    limit: Duration,
) -> Result<bytes::Bytes, Problem> {
    let collecting = Limited::new(body, max_bytes).collect();
    match tokio::time::timeout(limit, collecting).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(gate::too_large(max_bytes)),
        Ok(Err(_)) => Err(Problem::new(
            ProblemCode::BadRequest,
            "the body ended early",
        )),
        Err(_) => Err(Problem::new(
            ProblemCode::RequestTimeout,
            "the body took too long to arrive",
        )),
    }
}

/// Refuses a reason that is too long.
pub(super) fn check_reason(reason: Option<&str>) -> Result<(), Problem> {
    let n_chars = reason.map_or(0, |reason| reason.chars().count());
    if n_chars > MAX_REASON_CHARS {
        let detail = format!("reason has {n_chars} characters, more than {MAX_REASON_CHARS}");
        return Err(Problem::new(ProblemCode::BadRequest, detail));
    }
    Ok(())
}

/// Reads the body of a request to stop; an empty one asks for nothing in particular.
pub(crate) fn parse(body: &[u8]) -> Result<StopRequest, Problem> {
    let bad = |detail: String| Problem::new(ProblemCode::BadRequest, detail);
    let asked: StopBody = if body.trim_ascii().is_empty() {
        StopBody::default()
    } else {
        serde_json::from_slice(body)
            .map_err(|error| bad(format!("the body is not a stop request: {error}")))?
    };
    check_reason(asked.reason.as_deref())?;
    let grace = match asked.grace_seconds {
        None => None,
        Some(seconds) if (0.0..=MAX_GRACE_SECONDS).contains(&seconds) => {
            Some(Duration::from_secs_f64(seconds))
        }
        Some(seconds) => {
            return Err(bad(format!(
                "grace_seconds is {seconds}, not from 0 to {MAX_GRACE_SECONDS}"
            )));
        }
    };
    Ok(StopRequest {
        cause: StopCause::Api,
        reason: asked.reason,
        grace,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_empty_or_exactly_what_is_documented() {
        assert_eq!(parse(b" \n").unwrap().grace, None);
        let asked = parse(br#"{"reason":"enough","grace_seconds":1.5}"#).unwrap();
        assert_eq!(asked.reason.as_deref(), Some("enough"));
        assert_eq!(asked.grace, Some(Duration::from_millis(1_500)));
        let long = format!(r#"{{"reason":"{}"}}"#, "é".repeat(MAX_REASON_CHARS + 1));
        for bad in [
            "{",
            "[]",
            "null",
            r#"{"force":true}"#,
            r#"{"grace_seconds":-1}"#,
            r#"{"grace_seconds":1e300}"#,
            r#"{"grace_seconds":"1"}"#,
            &long,
        ] {
            assert_eq!(
                parse(bad.as_bytes()).unwrap_err().code(),
                ProblemCode::BadRequest,
                "{bad}"
            );
        }
    }
}
