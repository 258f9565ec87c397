//! What the API says when it says no: `application/problem+json` (RFC 9457) with a stable code.
//!
//! Owns the closed list of codes and the one form of an error answer. The public text never has the cause, which is
//! logged once, where the answer is made.

use std::borrow::Cow;
use std::error::Error;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

/// Stable code of an error answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ProblemCode {
    /// A parameter, header or body is not as it should be.
    BadRequest,
    /// An event id is no decimal number, or two of them differ.
    InvalidEventId,
    /// No token, or none that is known.
    Unauthorized,
    /// The token lacks the scope.
    Forbidden,
    /// The Origin is another site's.
    ForeignOrigin,
    /// There is no such route or artifact.
    NotFound,
    /// The route has other methods; `Allow` lists them.
    MethodNotAllowed,
    /// The body took too long to arrive.
    RequestTimeout,
    /// The run is being taken down, or has ended.
    RunOver,
    /// The body is too large.
    PayloadTooLarge,
    /// The range lies outside the artifact.
    RangeNotSatisfiable,
    /// The Host is no name that the port listens on.
    MisdirectedHost,
    /// Something failed on our side.
    Internal,
    /// The workload could not be paused or resumed; nothing has changed.
    PauseFailed,
    /// The agent was not started yet, or the run has ended.
    NotReady,
    /// The listener has as many connections as it may have.
    TooManyConnections,
    /// The answer took too long.
    TimedOut,
    /// The run description is not as it should be; `faults` tells each fault.
    InvalidDescription,
    /// The run description has a key that this build cannot honour; `faults` tells which.
    Unsupported,
    /// The idempotency key was used with another body.
    IdempotencyConflict,
    /// There is a run of that id.
    RunExists,
    /// The run goes on.
    RunActive,
    /// As many runs go on as may; `Retry-After` says when to ask again.
    QuotaExceeded,
    /// The run could not be started.
    CreateFailed,
    /// The engine or the recordings do not answer, and nothing else is known of the run.
    EngineUnavailable,
}

impl ProblemCode {
    /// Every code, in the order of the table in `docs/api.md`.
    pub const ALL: [Self; 25] = [
        Self::BadRequest,
        Self::InvalidEventId,
        Self::Unauthorized,
        Self::Forbidden,
        Self::ForeignOrigin,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::RunOver,
        Self::PayloadTooLarge,
        Self::RangeNotSatisfiable,
        Self::MisdirectedHost,
        Self::Internal,
        Self::PauseFailed,
        Self::NotReady,
        Self::TooManyConnections,
        Self::TimedOut,
        Self::InvalidDescription,
        Self::Unsupported,
        Self::IdempotencyConflict,
        Self::RunExists,
        Self::RunActive,
        Self::QuotaExceeded,
        Self::CreateFailed,
        Self::EngineUnavailable,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status that goes with it.
    pub fn status(self) -> StatusCode {
        self.row().1
    }

    fn row(self) -> (&'static str, StatusCode) {
        match self {
            Self::BadRequest => ("BAD_REQUEST", StatusCode::BAD_REQUEST),
            Self::InvalidEventId => ("INVALID_EVENT_ID", StatusCode::BAD_REQUEST),
            Self::Unauthorized => ("UNAUTHORIZED", StatusCode::UNAUTHORIZED),
            Self::Forbidden => ("FORBIDDEN", StatusCode::FORBIDDEN),
            Self::ForeignOrigin => ("FOREIGN_ORIGIN", StatusCode::FORBIDDEN),
            Self::NotFound => ("NOT_FOUND", StatusCode::NOT_FOUND),
            Self::MethodNotAllowed => ("METHOD_NOT_ALLOWED", StatusCode::METHOD_NOT_ALLOWED),
            Self::RequestTimeout => ("REQUEST_TIMEOUT", StatusCode::REQUEST_TIMEOUT),
            Self::RunOver => ("RUN_OVER", StatusCode::CONFLICT),
            Self::PayloadTooLarge => ("PAYLOAD_TOO_LARGE", StatusCode::PAYLOAD_TOO_LARGE),
            Self::RangeNotSatisfiable => {
                ("RANGE_NOT_SATISFIABLE", StatusCode::RANGE_NOT_SATISFIABLE)
            }
            Self::MisdirectedHost => ("MISDIRECTED_HOST", StatusCode::MISDIRECTED_REQUEST),
            Self::Internal => ("INTERNAL", StatusCode::INTERNAL_SERVER_ERROR),
            Self::PauseFailed => ("PAUSE_FAILED", StatusCode::SERVICE_UNAVAILABLE),
            Self::NotReady => ("NOT_READY", StatusCode::SERVICE_UNAVAILABLE),
            Self::TooManyConnections => ("TOO_MANY_CONNECTIONS", StatusCode::SERVICE_UNAVAILABLE),
            Self::TimedOut => ("TIMED_OUT", StatusCode::SERVICE_UNAVAILABLE),
            Self::InvalidDescription => ("INVALID_DESCRIPTION", StatusCode::UNPROCESSABLE_ENTITY),
            Self::Unsupported => ("UNSUPPORTED", StatusCode::UNPROCESSABLE_ENTITY),
            Self::IdempotencyConflict => ("IDEMPOTENCY_CONFLICT", StatusCode::CONFLICT),
            Self::RunExists => ("RUN_EXISTS", StatusCode::CONFLICT),
            Self::RunActive => ("RUN_ACTIVE", StatusCode::CONFLICT),
            Self::QuotaExceeded => ("QUOTA_EXCEEDED", StatusCode::TOO_MANY_REQUESTS),
            Self::CreateFailed => ("CREATE_FAILED", StatusCode::BAD_GATEWAY),
            Self::EngineUnavailable => ("ENGINE_UNAVAILABLE", StatusCode::SERVICE_UNAVAILABLE),
        }
    }
}

/// Body of an error answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProblemBody {
    /// Always `about:blank`: the code says what it is.
    pub r#type: &'static str,
    /// The HTTP status in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// One sentence that says what is wrong and, where there is one, the remedy.
    pub detail: Cow<'static, str>,
    /// Stable code.
    pub code: ProblemCode,
    /// Of a run description: each fault with its code, key, value, place and remedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faults: Option<serde_json::Value>,
}

/// An error answer on its way.
#[derive(Debug)]
pub struct Problem {
    code: ProblemCode,
    detail: Cow<'static, str>,
    cause: Option<Box<dyn Error + Send + Sync>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Boxed: nearly every problem is without.
    faults: Option<Box<serde_json::Value>>,
}

impl Problem {
    /// An answer with that code; `detail` is public.
    pub fn new(code: ProblemCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            cause: None,
            headers: Vec::new(),
            faults: None,
        }
    }

    /// A failure on our side: `detail` is public, `cause` goes to the log of the supervisor only.
    pub fn internal(detail: &'static str, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            cause: Some(cause.into()),
            ..Self::new(ProblemCode::Internal, detail)
        }
    }

    /// The same with another code.
    pub fn with_code(mut self, code: ProblemCode) -> Self {
        self.code = code;
        self
    }

    /// Adds the faults of a run description.
    pub fn with_faults(mut self, faults: serde_json::Value) -> Self {
        self.faults = Some(Box::new(faults));
        self
    }

    /// Adds a header to the answer.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The code.
    pub fn code(&self) -> ProblemCode {
        self.code
    }

    /// The body.
    pub fn body(&self) -> ProblemBody {
        let status = self.code.status();
        ProblemBody {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: self.detail.clone(),
            code: self.code,
            faults: self.faults.as_deref().cloned(),
        }
    }
}

/// Media type of error answers.
pub const PROBLEM_JSON: &str = "application/problem+json";

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        if let Some(cause) = &self.cause {
            tracing::error!(code = self.code.as_str(), cause = %Chain(cause.as_ref()), "request failed");
        }
        // A struct of texts and numbers always has a JSON form.
        let body = serde_json::to_vec(&self.body()).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.headers);
        response
    }
}

/// Shows an error with all its causes.
struct Chain<'a>(&'a (dyn Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_each_code_is_its_serde_form() {
        for code in ProblemCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }

    #[test]
    fn a_cause_is_not_in_the_body() {
        let problem = Problem::internal("cannot read the log", "secret path");
        let text = serde_json::to_string(&problem.body()).unwrap();
        assert_eq!(
            text,
            r#"{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"cannot read the log","code":"INTERNAL"}"#
        );
    }
}
