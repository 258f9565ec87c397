//! The routes: their paths, methods and who may use them.
//!
//! Owns the one table that the gate, the router, the metrics and the specification's test share. Invariant: what the gate
//! does not find here never reaches a handler.

use axum::http::Method;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody; the answer has no data of the run.
    Open,
    /// Whoever may read: on a trusted listener everybody, else the holder of a token.
    Read,
    /// The holder of any token, on every listener.
    Token,
    /// The holder of a token with the scope `control`; on the Unix socket everybody.
    Control,
}

/// A route, as the gate needs to know it.
pub trait Routed: Copy + std::fmt::Debug + Send + Sync + 'static {
    /// The route of a request's path, as it stands in the request; percent signs are not decoded.
    fn of(path: &str) -> Option<Self>;
    /// The path as the router and the specification have it.
    fn template(self) -> &'static str;
    /// Who may use it by that method.
    fn access(self, method: &Method) -> Access;
    /// True when the route has that method.
    fn allows(self, method: &Method) -> bool;
    /// The value of `Allow`.
    fn allow(self) -> &'static str;
    /// Most bytes of a request's body.
    fn max_body_bytes(self) -> usize;
}

/// A route of the status API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Route {
    /// The supervisor is alive.
    Healthz,
    /// The log is open and the agent was started.
    Readyz,
    /// The status document.
    Status,
    /// The action log.
    Events,
    /// A request to stop.
    Stop,
    /// A request to let the workload stand still.
    Pause,
    /// A request to let it go on.
    Resume,
    /// Token into cookie.
    Session,
    /// The manifest.
    Artifacts,
    /// One artifact.
    Artifact,
    /// The manifest, by the seed's name.
    RecordingManifest,
    /// The artifact `trace.zip`.
    RecordingTrace,
    /// The artifact `screenshots/<file>`.
    RecordingScreenshot,
    /// Prometheus text.
    Metrics,
    /// The specification.
    Openapi,
    /// The page.
    Page,
}

impl Route {
    /// Every route, in the order of the table in `docs/api.md`.
    pub const ALL: [Self; 16] = [
        Self::Healthz,
        Self::Readyz,
        Self::Status,
        Self::Events,
        Self::Stop,
        Self::Pause,
        Self::Resume,
        Self::Session,
        Self::Artifacts,
        Self::Artifact,
        Self::RecordingManifest,
        Self::RecordingTrace,
        Self::RecordingScreenshot,
        Self::Metrics,
        Self::Openapi,
        Self::Page,
    ];

    /// The route of a request's path, as it stands in the request; percent signs are not decoded.
    pub fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/status" => Self::Status,
            "/events" => Self::Events,
            "/healthz" => Self::Healthz,
            "/readyz" => Self::Readyz,
            "/stop" => Self::Stop,
            "/pause" => Self::Pause,
            "/resume" => Self::Resume,
            "/session" => Self::Session,
            "/artifacts" => Self::Artifacts,
            "/recording/manifest" => Self::RecordingManifest,
            "/recording/trace" => Self::RecordingTrace,
            "/metrics" => Self::Metrics,
            "/openapi.json" => Self::Openapi,
            "/" => Self::Page,
            other => {
                let is_below = |prefix| {
                    other
                        .strip_prefix(prefix)
                        .is_some_and(|rest: &str| !rest.is_empty())
                };
                if is_below("/artifacts/") {
                    Self::Artifact
                } else if is_below("/recording/screenshots/") {
                    Self::RecordingScreenshot
                } else {
                    return None;
                }
            }
        })
    }

    /// The path as the router and the specification have it.
    pub fn template(self) -> &'static str {
        match self {
            Self::Healthz => "/healthz",
            Self::Readyz => "/readyz",
            Self::Status => "/status",
            Self::Events => "/events",
            Self::Stop => "/stop",
            Self::Pause => "/pause",
            Self::Resume => "/resume",
            Self::Session => "/session",
            Self::Artifacts => "/artifacts",
            Self::Artifact => "/artifacts/{*path}",
            Self::RecordingManifest => "/recording/manifest",
            Self::RecordingTrace => "/recording/trace",
            Self::RecordingScreenshot => "/recording/screenshots/{*file}",
            Self::Metrics => "/metrics",
            Self::Openapi => "/openapi.json",
            Self::Page => "/",
        }
    }

    /// Who may use it.
    pub fn access(self) -> Access {
        match self {
            // The page is the same bytes for everybody, and a browser cannot send a token to fetch it.
            Self::Healthz | Self::Readyz | Self::Page => Access::Open,
            Self::Status
            | Self::Events
            | Self::Artifacts
            | Self::Artifact
            | Self::RecordingManifest
            | Self::RecordingTrace
            | Self::RecordingScreenshot
            | Self::Metrics
            | Self::Openapi => Access::Read,
            Self::Session => Access::Token,
            Self::Stop | Self::Pause | Self::Resume => Access::Control,
        }
    }

    /// True when the route has that method.
    pub fn allows(self, method: &Method) -> bool {
        match self {
            Self::Stop | Self::Pause | Self::Resume | Self::Session => method == Method::POST,
            Self::Healthz
            | Self::Readyz
            | Self::Status
            | Self::Events
            | Self::Artifacts
            | Self::Artifact
            | Self::RecordingManifest
            | Self::RecordingTrace
            | Self::RecordingScreenshot
            | Self::Metrics
            | Self::Openapi
            | Self::Page => method == Method::GET || method == Method::HEAD,
        }
    }

    /// The value of `Allow`.
    pub fn allow(self) -> &'static str {
        if self.allows(&Method::POST) {
            "POST, OPTIONS"
        } else {
            "GET, HEAD, OPTIONS"
        }
    }
}

impl Routed for Route {
    fn of(path: &str) -> Option<Self> {
        Self::of(path)
    }

    fn template(self) -> &'static str {
        self.template()
    }

    fn access(self, _method: &Method) -> Access {
        self.access()
    }

    fn allows(self, method: &Method) -> bool {
        self.allows(method)
    }

    fn allow(self) -> &'static str {
        self.allow()
    }

    fn max_body_bytes(self) -> usize {
        super::limits::MAX_BODY_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_template_is_found_as_its_own_route() {
        for (idx, route) in Route::ALL.into_iter().enumerate() {
            let path = route
                .template()
                .replace("{*path}", "a/b")
                .replace("{*file}", "1.jpg");
            assert_eq!(Route::of(&path), Some(route));
            assert_eq!(route as usize, idx);
        }
    }

    #[test]
    fn other_spellings_are_no_routes() {
        for path in [
            "",
            "/status/",
            "//status",
            "/Status",
            "/%73tatus",
            "/artifacts/",
            "/stop/..",
            "/recording",
        ] {
            assert_eq!(Route::of(path), None, "{path}");
        }
    }
}
