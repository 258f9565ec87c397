//! `/runs`: creating, checking and listing.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;
use utoipa::ToSchema;

use super::look_failed;
use crate::api::problem::{Problem, ProblemBody, ProblemCode};
use crate::api::status::parse_query;
use crate::api::stop::read_body;
use crate::recordings::{RecordingsError, Store};
use crate::run::RunId;
use crate::serve::creation::{MAX_DESCRIPTION_BYTES, Request};
use crate::serve::evidence::Evidence;
use crate::serve::idempotency::{Key, MAX_KEY_BYTES};
use crate::serve::service::ControlPlane;
use crate::serve::verdict::Recorded;
use crate::session::environment::is_traceparent;

/// Runs of a page of the list where nobody says how many.
const DEFAULT_PAGE_RUNS: usize = 50;

/// Most runs of a page.
const MAX_PAGE_RUNS: usize = 200;

/// Most runs that one request looks at; a filter that passes little gives a short page and where to go on.
const MAX_LOOKS: usize = 2_000;

/// Answer to a created run.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::serve) struct CreatedRun {
    /// The run.
    #[schema(value_type = String)]
    run_id: RunId,
    /// Always `starting`: what it is now stands at `status_url`.
    status: &'static str,
    /// Where its status is.
    status_url: String,
    /// Where its events are.
    stream_url: String,
    /// Where it is stopped.
    stop_url: String,
}

/// Creates a run.
#[utoipa::path(post, path = "/runs", tag = "runs", request_body(content = serde_json::Value, description = "a run description"),
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters; the same key with the same body is the same run")),
    responses(
        (status = 201, description = "the run is being started; `Location` is its status", body = CreatedRun),
        (status = 200, description = "an earlier request with the key created it", body = CreatedRun),
        (status = 400, description = "BAD_REQUEST", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "RUN_EXISTS or IDEMPOTENCY_CONFLICT", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "INVALID_DESCRIPTION or UNSUPPORTED, with `faults`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "QUOTA_EXCEEDED, with Retry-After", body = ProblemBody, content_type = "application/problem+json"),
        (status = 502, description = "CREATE_FAILED", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(in crate::serve) async fn create(
    State(plane): State<Arc<ControlPlane>>,
    request: HttpRequest,
) -> Result<Response<Body>, Problem> {
    let key = key(request.headers())?;
    let trace = trace(request.headers());
    let request = parse(&plane, request).await?;
    let created = plane
        .creation
        .create(&plane.registry, &request, key, trace)
        .await?;
    let id = &created.run_id;
    let status_url = format!("/runs/{id}");
    let code = if created.is_repeated {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let location = HeaderValue::try_from(status_url.as_str())
        .map_err(|error| Problem::internal("cannot send the location", error))?;
    let answer = CreatedRun {
        run_id: id.clone(),
        status: "starting",
        stream_url: format!("/runs/{id}/stream"),
        stop_url: format!("/runs/{id}/stop"),
        status_url,
    };
    Ok((code, [(LOCATION, location)], Json(answer)).into_response())
}

/// Checks a run description and starts nothing.
#[utoipa::path(post, path = "/runs/dry-run", tag = "runs", request_body(content = serde_json::Value, description = "a run description"),
    responses(
        (status = 200, description = "`valid`, `faults`, and the `description` with its defaults and without its secrets", body = serde_json::Value),
        (status = 400, description = "BAD_REQUEST", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(in crate::serve) async fn dry_run(
    State(plane): State<Arc<ControlPlane>>,
    request: HttpRequest,
) -> Result<Response<Body>, Problem> {
    let request = parse(&plane, request).await?;
    Ok(Json(plane.creation.dry_run(&plane.registry, &request).await?).into_response())
}

async fn parse(plane: &ControlPlane, request: HttpRequest) -> Result<Request, Problem> {
    let body = read_body(
        request.into_body(),
        MAX_DESCRIPTION_BYTES,
        plane.limits.body,
    )
    .await?;
    Request::parse(&body)
}

/// The caller's trace; what is not of the form of W3C Trace Context is passed over, as section 3.2 has it.
fn trace(headers: &HeaderMap) -> Option<String> {
    let mut given = headers.get_all("traceparent").iter();
    let (Some(trace), None) = (given.next(), given.next()) else {
        return None;
    };
    let trace = trace.to_str().ok()?;
    is_traceparent(trace).then(|| trace.to_owned())
}

fn key(headers: &HeaderMap) -> Result<Option<Key>, Problem> {
    let mut given = headers.get_all("idempotency-key").iter();
    let key = match (given.next(), given.next()) {
        (None, _) => return Ok(None),
        (Some(key), None) => Key::parse(key.as_bytes()),
        (Some(_), Some(_)) => None,
    };
    key.map(Some).ok_or_else(|| {
        Problem::new(
            ProblemCode::BadRequest,
            format!("Idempotency-Key is one text of 1 to {MAX_KEY_BYTES} visible ASCII characters"),
        )
    })
}

/// Parameters of `GET /runs`.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::serve) struct ListQuery {
    /// Only runs with this status.
    status: Option<String>,
    /// Only runs with this label, as `name=value`, or with any value, as `name`.
    label: Option<String>,
    /// Most runs of the page, 1 to 200; 50 where it is absent.
    limit: Option<String>,
    /// Run id behind which the page begins, as `next` gave it.
    after: Option<String>,
}

/// Lists runs, newest first, as they are on record.
#[utoipa::path(get, path = "/runs", tag = "runs", params(ListQuery), responses(
    (status = 200, description = "`runs`, and in `next` the id to go on behind, or null", body = serde_json::Value),
    (status = 400, description = "BAD_REQUEST", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in crate::serve) async fn list(
    State(plane): State<Arc<ControlPlane>>,
    request: HttpRequest,
) -> Result<Response<Body>, Problem> {
    let query: ListQuery = parse_query(&request)?;
    let bad = |detail: String| Problem::new(ProblemCode::BadRequest, detail);
    let n_wanted = match query.limit.as_deref() {
        None | Some("") => DEFAULT_PAGE_RUNS,
        Some(limit) => match limit.parse() {
            Ok(limit) if (1..=MAX_PAGE_RUNS).contains(&limit) => limit,
            _ => {
                return Err(bad(format!(
                    "limit is a whole number from 1 to {MAX_PAGE_RUNS}"
                )));
            }
        },
    };
    let after: Option<RunId> = match query.after.as_deref() {
        None | Some("") => None,
        Some(id) => Some(
            id.parse()
                .map_err(|_| bad("after is a run id".to_owned()))?,
        ),
    };
    let store = Arc::clone(&plane.registry.store);
    let ids = spawn_blocking(move || behind(&store, after.as_ref())).await;
    let ids = match ids {
        Ok(Ok(ids)) => ids,
        Ok(Err(error)) => return Err(Problem::internal("cannot list the recordings", error)),
        Err(error) => return Err(Problem::internal("cannot list the recordings", error)),
    };
    let mut runs = Vec::new();
    let mut next = None;
    let mut ids = ids.into_iter();
    for id in ids.by_ref().take(MAX_LOOKS) {
        next = Some(id.clone());
        let Some(run) = summary(&plane, &id).await? else {
            continue;
        };
        if passes(&run, &query) {
            runs.push(Value::Object(run));
        }
        if runs.len() == n_wanted {
            break;
        }
    }
    let next = next.filter(|_| ids.len() > 0);
    let answer = serde_json::json!({"runs": runs, "next": next});
    Ok(([(CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

/// The ids of all runs behind `after`, newest first.
fn behind(store: &Store, after: Option<&RunId>) -> Result<Vec<RunId>, RecordingsError> {
    let mut runs = Vec::new();
    for entry in store.list()? {
        // When a run was begun never changes, so pages do not overlap; what is no run of ours has no such time.
        let begun_at = store
            .open_run(&entry.id)
            .ok()
            .flatten()
            .and_then(|run| run.begun_at());
        if let Some(begun_at) = begun_at {
            runs.push((begun_at, entry.id));
        }
    }
    runs.sort_by(|a, b| b.cmp(a));
    let ids = runs.into_iter().map(|(_, id)| id);
    Ok(match after {
        None => ids.collect(),
        Some(after) => ids.skip_while(|id| id != after).skip(1).collect(),
    })
}

/// A run as the list has it; none when it is gone meanwhile.
async fn summary(plane: &ControlPlane, id: &RunId) -> Result<Option<Map<String, Value>>, Problem> {
    let (store, wanted) = (Arc::clone(&plane.registry.store), id.clone());
    let looked = spawn_blocking(move || Evidence::of(&store, &wanted)).await;
    let evidence = match looked {
        Ok(Ok(evidence)) => evidence,
        // One recording that cannot be read hides no other one.
        Ok(Err(error)) => {
            tracing::warn!(%error, "a recording cannot be read");
            return Ok(None);
        }
        Err(error) => return Err(Problem::internal("cannot list the recordings", error)),
    };
    let labels = evidence.labels();
    let document = match (evidence.recorded, evidence.document) {
        (Recorded::Terminal, Some(document)) => document,
        // What has no end on record may have lost its sandbox: a look tells, and repairs.
        _ => match plane.registry.view(id).await.map_err(look_failed)? {
            Some(view) => view.document.clone(),
            None => return Ok(None),
        },
    };
    let mut run = Map::new();
    run.insert("run_id".to_owned(), id.as_str().into());
    for name in ["status", "phase", "started_at", "ended_at", "action_count"] {
        run.insert(
            name.to_owned(),
            document.get(name).cloned().unwrap_or_default(),
        );
    }
    let code = document.get("error").and_then(|error| error.get("code"));
    run.insert("error_code".to_owned(), code.cloned().unwrap_or_default());
    run.insert("labels".to_owned(), Value::Object(labels));
    run.insert("status_url".to_owned(), format!("/runs/{id}").into());
    Ok(Some(run))
}

fn passes(run: &Map<String, Value>, query: &ListQuery) -> bool {
    let is_status = |wanted: &str| run.get("status").and_then(Value::as_str) == Some(wanted);
    let has_label = |wanted: &str| {
        let (name, value) = match wanted.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (wanted, None),
        };
        let found = run.get("labels").and_then(|labels| labels.get(name));
        found.is_some_and(|found| value.is_none_or(|value| found.as_str() == Some(value)))
    };
    query.status.as_deref().is_none_or(is_status) && query.label.as_deref().is_none_or(has_label)
}
