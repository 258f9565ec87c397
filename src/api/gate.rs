//! What a request must pass before a handler sees it.
//!
//! Checks in this order: host, origin, route, method, credentials, declared length. It reads headers only and answers
//! nothing but problems. Invariant: no handler runs for a request that did not pass.

use std::net::IpAddr;

use axum::http::header::{ALLOW, CONTENT_LENGTH, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Version};

use super::auth::{Auth, Credential, Scope};
use super::listener::{ListenerTrust, Names};
use super::problem::{Problem, ProblemCode};
use super::route::{Access, Routed};

/// What is known of the connection that a request came by.
#[derive(Debug, Clone)]
pub(crate) struct Entrance {
    pub(super) trust: ListenerTrust,
    pub(super) names: Names,
}

/// What the gate decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage<R> {
    /// The route's handler is to answer.
    Handler(R),
    /// Asked for the methods only.
    Options(R),
}

impl Entrance {
    /// Checks a request; `local` is our end of a TCP connection.
    pub(crate) fn check<R: Routed, B>(
        &self,
        request: &Request<B>,
        local: Option<IpAddr>,
        auth: &Auth,
    ) -> Result<Passage<R>, Problem> {
        let headers = request.headers();
        let host = self.check_host(request, local, auth)?;
        check_origin(headers, host)?;
        let Some(route) = R::of(request.uri().path()) else {
            return Err(Problem::new(
                ProblemCode::NotFound,
                "there is no such route; GET /openapi.json lists them",
            ));
        };
        if request.method() == Method::OPTIONS {
            return Ok(Passage::Options(route));
        }
        if !route.allows(request.method()) {
            return Err(Problem::new(
                ProblemCode::MethodNotAllowed,
                format!("{} has the methods {}", route.template(), route.allow()),
            )
            .with_header(ALLOW, HeaderValue::from_static(route.allow())));
        }
        // What a reader may ask by GET may still be changed by its other methods.
        self.check_access(route.access(request.method()), headers, auth)?;
        check_length(headers, route.max_body_bytes())?;
        Ok(Passage::Handler(route))
    }

    /// Refuses names that are not ours, which a page of another site may have rebound to us. A request that shows a token is
    /// no such page's, so it may come by any name: that of a service, a container, a proxy.
    fn check_host<'a, B>(
        &self,
        request: &'a Request<B>,
        local: Option<IpAddr>,
        auth: &Auth,
    ) -> Result<Option<&'a str>, Problem> {
        let bad = |detail| Err(Problem::new(ProblemCode::BadRequest, detail));
        let mut given = request.headers().get_all(HOST).iter();
        let host = match (given.next(), given.next()) {
            (Some(_), Some(_)) => return bad("there is more than one Host header"),
            (Some(host), None) => match host.to_str() {
                Ok(host) => Some(host),
                Err(_) => return bad("the Host header is not text"),
            },
            // HTTP/1.0 has none (RFC 9112, section 3.2); no browser speaks it, so no name can be rebound.
            (None, _) if request.version() < Version::HTTP_11 => None,
            (None, _) => return bad("the Host header is missing"),
        };
        let target = request
            .uri()
            .authority()
            .map(|authority| authority.as_str());
        let is_ours = [host, target]
            .into_iter()
            .flatten()
            .all(|name| self.names.contains(name, local));
        // Not a cookie: browsers send it by themselves.
        if is_ours || matches!(auth.credential(request.headers()), Credential::Bearer(_)) {
            return Ok(host);
        }
        Err(Problem::new(
            ProblemCode::MisdirectedHost,
            "without a bearer token this port answers for localhost and its address only",
        ))
    }

    fn check_access(
        &self,
        access: Access,
        headers: &HeaderMap,
        auth: &Auth,
    ) -> Result<(), Problem> {
        let trust = auth.trust(self.trust);
        let is_open = match access {
            Access::Open => true,
            Access::Token => false,
            Access::Read | Access::Control => {
                auth.is_insecure() || trust == ListenerTrust::Everything
            }
        };
        if is_open {
            return Ok(());
        }
        let needed = match access {
            Access::Control => Scope::Control,
            Access::Open | Access::Token | Access::Read => Scope::Read,
        };
        let scope = match auth.credential(headers) {
            Credential::Invalid => return Err(unauthorized("the token is not known here")),
            Credential::Bearer(scope) => Some(scope),
            Credential::Cookie(_) if access == Access::Token => None,
            Credential::Cookie(scope) => Some(scope).filter(|_| is_own_page(access, headers)),
            Credential::Absent => None,
        };
        match scope {
            Some(scope) if scope >= needed => Ok(()),
            Some(_) => Err(Problem::new(
                ProblemCode::Forbidden,
                "the token lacks the scope control",
            )),
            None if access == Access::Read && trust == ListenerTrust::Reading => Ok(()),
            None => Err(unauthorized(match access {
                Access::Control => "a bearer token with the scope control is needed here",
                Access::Open | Access::Read | Access::Token => "a bearer token is needed here",
            })),
        }
    }
}

fn unauthorized(detail: &'static str) -> Problem {
    Problem::new(ProblemCode::Unauthorized, detail)
        .with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

/// Refuses pages of other sites. Browsers send `Origin` with every request whose answer a foreign page could read, and with
/// every POST.
fn check_origin(headers: &HeaderMap, host: Option<&str>) -> Result<(), Problem> {
    if headers
        .get_all(ORIGIN)
        .iter()
        .all(|origin| is_same_origin(origin, host))
    {
        Ok(())
    } else {
        Err(Problem::new(
            ProblemCode::ForeignOrigin,
            "pages of other origins may not use this port",
        ))
    }
}

/// Whether the origin is the host that was asked; the scheme may be that of a proxy which ends TLS.
fn is_same_origin(origin: &HeaderValue, host: Option<&str>) -> bool {
    let origin = origin.to_str().unwrap_or_default();
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    match (authority, host) {
        (Some(authority), Some(host)) => authority.eq_ignore_ascii_case(host),
        _ => false,
    }
}

/// Whether a cookie counts: a foreign origin was refused already, so a present one is our own page's. For reading, both
/// headers may be missing (plain HTTP without `Sec-Fetch-Site`): a foreign page could not see the answer.
fn is_own_page(access: Access, headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    match site {
        Some(b"same-origin") => true,
        Some(_) => false,
        None => headers.contains_key(ORIGIN) || access == Access::Read,
    }
}

fn check_length(headers: &HeaderMap, max_bytes: usize) -> Result<(), Problem> {
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<usize>().ok());
    if declared.is_some_and(|length| length > max_bytes) {
        return Err(too_large(max_bytes));
    }
    Ok(())
}

/// The answer to a body beyond the limit.
pub(crate) fn too_large(max_bytes: usize) -> Problem {
    Problem::new(
        ProblemCode::PayloadTooLarge,
        format!("a body may have {max_bytes} bytes"),
    )
}
