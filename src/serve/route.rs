//! The routes of the control plane: their paths, methods and who may use them.
//!
//! Owns the one table that the gate and the router share. Invariant: what the gate does not find here never reaches a
//! handler.

use axum::http::Method;

use super::creation::MAX_DESCRIPTION_BYTES;
use crate::api::limits::MAX_BODY_BYTES;
use crate::api::route::{Access, Routed};

/// A route of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServeRoute {
    /// Create a run; list runs.
    Runs,
    /// Check a description.
    DryRun,
    /// The status of a run; its removal.
    Run,
    /// The action log of a run.
    Stream,
    /// A request to stop a run.
    Stop,
    /// The manifest of a run.
    Artifacts,
    /// One artifact of a run.
    Artifact,
    /// Token into cookie.
    Session,
    /// The control plane is alive.
    Healthz,
    /// The recordings can be used.
    Readyz,
    /// Prometheus text.
    Metrics,
    /// The specification.
    Openapi,
    /// The page.
    Page,
}

impl ServeRoute {
    /// Every route, in the order of the table in `docs/api.md`.
    pub const ALL: [Self; 13] = [
        Self::Runs,
        Self::DryRun,
        Self::Run,
        Self::Stream,
        Self::Stop,
        Self::Artifacts,
        Self::Artifact,
        Self::Session,
        Self::Healthz,
        Self::Readyz,
        Self::Metrics,
        Self::Openapi,
        Self::Page,
    ];

    fn methods(self) -> (&'static [Method], &'static str) {
        const READ: &[Method] = &[Method::GET, Method::HEAD];
        match self {
            Self::Runs => (
                &[Method::GET, Method::HEAD, Method::POST],
                "GET, HEAD, POST, OPTIONS",
            ),
            Self::Run => (
                &[Method::GET, Method::HEAD, Method::DELETE],
                "GET, HEAD, DELETE, OPTIONS",
            ),
            Self::DryRun | Self::Stop | Self::Session => (&[Method::POST], "POST, OPTIONS"),
            Self::Stream
            | Self::Artifacts
            | Self::Artifact
            | Self::Healthz
            | Self::Readyz
            | Self::Metrics
            | Self::Openapi
            | Self::Page => (READ, "GET, HEAD, OPTIONS"),
        }
    }
}

impl Routed for ServeRoute {
    fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/runs" => Self::Runs,
            "/runs/dry-run" => Self::DryRun,
            "/session" => Self::Session,
            "/healthz" => Self::Healthz,
            "/readyz" => Self::Readyz,
            "/metrics" => Self::Metrics,
            "/openapi.json" => Self::Openapi,
            "/" => Self::Page,
            other => {
                let rest = other.strip_prefix("/runs/")?;
                let (id, below) = match rest.split_once('/') {
                    Some((id, below)) => (id, Some(below)),
                    None => (rest, None),
                };
                if id.is_empty() {
                    return None;
                }
                match below {
                    None => Self::Run,
                    Some("stream") => Self::Stream,
                    Some("stop") => Self::Stop,
                    Some("artifacts") => Self::Artifacts,
                    Some(below) => match below.strip_prefix("artifacts/") {
                        Some(path) if !path.is_empty() => Self::Artifact,
                        Some(_) | None => return None,
                    },
                }
            }
        })
    }

    fn template(self) -> &'static str {
        match self {
            Self::Runs => "/runs",
            Self::DryRun => "/runs/dry-run",
            Self::Run => "/runs/{id}",
            Self::Stream => "/runs/{id}/stream",
            Self::Stop => "/runs/{id}/stop",
            Self::Artifacts => "/runs/{id}/artifacts",
            Self::Artifact => "/runs/{id}/artifacts/{*path}",
            Self::Session => "/session",
            Self::Healthz => "/healthz",
            Self::Readyz => "/readyz",
            Self::Metrics => "/metrics",
            Self::Openapi => "/openapi.json",
            Self::Page => "/",
        }
    }

    fn access(self, method: &Method) -> Access {
        match self {
            Self::Healthz | Self::Readyz | Self::Page => Access::Open,
            Self::Session => Access::Token,
            Self::Stop => Access::Control,
            // It starts nothing, and it tells which files of the host there are.
            Self::DryRun => Access::Control,
            Self::Runs | Self::Run if method != Method::GET && method != Method::HEAD => {
                Access::Control
            }
            Self::Runs
            | Self::Run
            | Self::Stream
            | Self::Artifacts
            | Self::Artifact
            | Self::Metrics
            | Self::Openapi => Access::Read,
        }
    }

    fn allows(self, method: &Method) -> bool {
        self.methods().0.contains(method)
    }

    fn allow(self) -> &'static str {
        self.methods().1
    }

    fn max_body_bytes(self) -> usize {
        match self {
            Self::Runs | Self::DryRun => MAX_DESCRIPTION_BYTES,
            Self::Run
            | Self::Stream
            | Self::Stop
            | Self::Artifacts
            | Self::Artifact
            | Self::Session
            | Self::Healthz
            | Self::Readyz
            | Self::Metrics
            | Self::Openapi
            | Self::Page => MAX_BODY_BYTES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_template_is_found_as_its_own_route() {
        for route in ServeRoute::ALL {
            let path = route
                .template()
                .replace("{id}", "fox")
                .replace("{*path}", "a/b");
            assert_eq!(ServeRoute::of(&path), Some(route));
        }
        for path in [
            "",
            "/runs/",
            "/runs//stream",
            "/runs/fox/",
            "/runs/fox/artifacts/",
            "/Runs",
            "/runs/fox/events",
        ] {
            assert_eq!(ServeRoute::of(path), None, "{path}");
        }
    }

    #[test]
    fn whatever_changes_something_needs_control() {
        for route in ServeRoute::ALL {
            for method in [Method::POST, Method::DELETE] {
                if route.allows(&method) && route != ServeRoute::Session {
                    assert_eq!(route.access(&method), Access::Control, "{route:?} {method}");
                }
            }
        }
    }
}
