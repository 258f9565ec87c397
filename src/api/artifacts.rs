//! `GET /artifacts`: what the run left, listed and downloaded.
//!
//! Owns the headers of a download. The paths are untrusted; [`crate::recordings`] opens them beneath the run's directory
//! without following links. Invariant: whether there is such an artifact is decided before the first byte of the answer.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_RANGE, RANGE,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use bytes::Bytes;
use futures_util::stream;

use super::limits::ARTIFACT_CHUNK_BYTES;
use super::problem::{Problem, ProblemBody, ProblemCode};
use super::range::Part;
use super::service::Shared;
use super::status::{JSON, is_known};
use crate::recordings::RunDir;
use crate::recordings::artifact::{ArtifactError, open_artifact};
use crate::recordings::manifest::{Manifest, ManifestEntry};

/// Lists the artifacts.
#[utoipa::path(get, path = "/artifacts", tag = "artifacts", responses(
    (status = 200, description = "the manifest: `run_id` and `artifacts` with path, media_type, size, sha256, created_at", body = serde_json::Value),
    (status = 401, description = "UNAUTHORIZED", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(super) async fn artifacts(
    State(shared): State<Arc<Shared>>,
) -> Result<Response<Body>, Problem> {
    manifest(&shared.api.run).await
}

/// Lists the artifacts, under the name that the seed system had.
#[utoipa::path(get, path = "/recording/manifest", tag = "artifacts", responses(
    (status = 200, description = "as `GET /artifacts`", body = serde_json::Value),
))]
pub(super) async fn recording_manifest(
    State(shared): State<Arc<Shared>>,
) -> Result<Response<Body>, Problem> {
    manifest(&shared.api.run).await
}

/// Downloads an artifact.
#[utoipa::path(get, path = "/artifacts/{*path}", tag = "artifacts", params(
    ("path" = String, Path, description = "path of the artifact, as the manifest has it"),
    ("Range" = Option<String>, Header, description = "one range of bytes"),
), responses(
    (status = 200, description = "the content", body = String, content_type = "application/octet-stream"),
    (status = 206, description = "a range of it", body = String, content_type = "application/octet-stream"),
    (status = 304, description = "the caller has it already"),
    (status = 404, description = "NOT_FOUND", body = ProblemBody, content_type = "application/problem+json"),
    (status = 416, description = "RANGE_NOT_SATISFIABLE", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(super) async fn artifact(
    State(shared): State<Arc<Shared>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    download(&shared.api.run, decoded(path)?, &request.into_parts().0).await
}

/// Downloads the artifact `trace.zip`.
#[utoipa::path(get, path = "/recording/trace", tag = "artifacts", responses(
    (status = 200, description = "as `GET /artifacts/trace.zip`", body = String, content_type = "application/zip"),
    (status = 404, description = "NOT_FOUND", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(super) async fn recording_trace(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    download(
        &shared.api.run,
        "trace.zip".to_owned(),
        &request.into_parts().0,
    )
    .await
}

/// Downloads an artifact below `screenshots/`.
#[utoipa::path(get, path = "/recording/screenshots/{*file}", tag = "artifacts", params(
    ("file" = String, Path, description = "name below `screenshots/`"),
), responses(
    (status = 200, description = "as `GET /artifacts/screenshots/<file>`", body = String, content_type = "image/jpeg"),
    (status = 404, description = "NOT_FOUND", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(super) async fn recording_screenshot(
    State(shared): State<Arc<Shared>>,
    file: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let path = format!("screenshots/{}", decoded(file)?);
    download(&shared.api.run, path, &request.into_parts().0).await
}

/// The path with percent signs decoded, once; bytes that are no text name nothing.
pub(crate) fn decoded(path: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    path.map(|Path(path)| path).map_err(|_| not_found())
}

fn not_found() -> Problem {
    Problem::new(
        ProblemCode::NotFound,
        "there is no such artifact; GET /artifacts lists them",
    )
}

/// Runs a piece of file work on a blocking thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Problem::internal("cannot read the artifacts", error)),
    }
}

/// Answers with the manifest of a run.
pub(crate) async fn manifest(run: &Arc<RunDir>) -> Result<Response<Body>, Problem> {
    let run = Arc::clone(run);
    let bytes = blocking(move || {
        let manifest = load(&run)?;
        serde_json::to_vec(&manifest)
            .map_err(|error| Problem::internal("cannot encode the manifest", error))
    });
    let mut response = Response::new(Body::from(bytes.await?));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

fn load(run: &RunDir) -> Result<Manifest, Problem> {
    Manifest::load(run).map_err(|error| Problem::internal("cannot read the manifest", error))
}

/// An artifact that was found.
struct Found {
    file: File,
    size: u64,
    entry: ManifestEntry,
}

/// Opens an artifact that the manifest lists: only those are known to be whole.
fn open(run: &RunDir, path: &str) -> Result<Found, Problem> {
    let (file, size) = open_artifact(run, path).map_err(|error| match error {
        ArtifactError::NotFound { .. } | ArtifactError::InvalidPath { .. } => not_found(),
        ArtifactError::Exists { .. }
        | ArtifactError::TooLarge { .. }
        | ArtifactError::Io { .. } => Problem::internal("cannot open the artifact", error),
    })?;
    let entry = load(run)?.find(path).cloned().ok_or_else(not_found)?;
    Ok(Found { file, size, entry })
}

/// Answers with an artifact of a run, or the part of it that is asked for.
pub(crate) async fn download(
    run: &Arc<RunDir>,
    path: String,
    request: &Parts,
) -> Result<Response<Body>, Problem> {
    let run = Arc::clone(run);
    let Found { file, size, entry } = blocking(move || open(&run, &path)).await?;
    let etag = format!("\"{}\"", entry.sha256);
    let mut response = Response::new(Body::empty());
    if is_known(&request.headers, &etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        let (first, n_bytes) = match part(request, size, &etag) {
            Part::Whole => (0, size),
            Part::Bytes { first, last } => {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                let range = format!("bytes {first}-{last}/{size}");
                response.headers_mut().insert(CONTENT_RANGE, value(range)?);
                (first, last - first + 1)
            }
            Part::Unsatisfiable => {
                return Err(Problem::new(
                    ProblemCode::RangeNotSatisfiable,
                    format!("the artifact has {size} bytes"),
                )
                .with_header(CONTENT_RANGE, value(format!("bytes */{size}"))?));
            }
        };
        if request.method != Method::HEAD {
            *response.body_mut() = content(file, first, n_bytes);
        }
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, n_bytes.into());
    }
    describe(response.headers_mut(), &entry, value(etag)?)?;
    Ok(response)
}

/// The part asked for; `If-Range` with another validator asks for all of it.
fn part(request: &Parts, size: u64, etag: &str) -> Part {
    let headers = &request.headers;
    let is_same = headers
        .get(IF_RANGE)
        .is_none_or(|known| known.as_bytes() == etag.as_bytes());
    match headers.get(RANGE).and_then(|range| range.to_str().ok()) {
        Some(range) if is_same && request.method == Method::GET => Part::of(range, size),
        _ => Part::Whole,
    }
}

/// The headers of every answer that has or stands for the content. It comes from the workload: no browser may run it.
fn describe(
    headers: &mut HeaderMap,
    entry: &ManifestEntry,
    etag: HeaderValue,
) -> Result<(), Problem> {
    let media_type = HeaderValue::from_str(&entry.media_type)
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_TYPE, media_type);
    headers.insert(ETAG, etag);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("sandbox; default-src 'none'"),
    );
    headers.insert(CONTENT_DISPOSITION, value(disposition(&entry.path))?);
    Ok(())
}

fn value(text: String) -> Result<HeaderValue, Problem> {
    HeaderValue::try_from(text).map_err(|error| Problem::internal("cannot send a header", error))
}

/// `attachment` with the last component as file name, in both forms of RFC 6266.
fn disposition(path: &str) -> String {
    use std::fmt::Write as _;
    let name = path.rsplit('/').next().unwrap_or_default();
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_. ".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let encoded = name.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
        text
    });
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

/// `n_bytes` of the file from `first` on, read as the client takes them.
fn content(file: File, first: u64, n_bytes: u64) -> Body {
    let file = Arc::new(file);
    Body::from_stream(stream::try_unfold((first, n_bytes), move |(at, n_left)| {
        let file = Arc::clone(&file);
        async move {
            if n_left == 0 {
                return Ok(None);
            }
            let max = usize::try_from(n_left)
                .map_or(ARTIFACT_CHUNK_BYTES, |n| n.min(ARTIFACT_CHUNK_BYTES));
            let read = tokio::task::spawn_blocking(move || {
                let mut chunk = vec![0; max];
                let n = file.read_at(&mut chunk, at)?;
                chunk.truncate(n);
                io::Result::Ok(Bytes::from(chunk))
            });
            let chunk = read.await.map_err(io::Error::other)??;
            if chunk.is_empty() {
                // Shorter than its length was: the answer must not look whole.
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            let n_read = u64::try_from(chunk.len()).map_err(io::Error::other)?;
            Ok(Some((chunk, (at + n_read, n_left - n_read))))
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_cannot_leave_its_quotation_marks() {
        assert_eq!(
            disposition("a/b\"c\r\né.txt"),
            "attachment; filename=\"b_c___.txt\"; filename*=UTF-8''b%22c%0D%0A%C3%A9.txt"
        );
    }
}
