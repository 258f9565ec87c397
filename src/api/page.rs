//! `GET /`: the page, one file without anything from elsewhere.
//!
//! Owns its security headers. The page has no data: it asks for it as any other client does.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::http::{HeaderValue, Response};

use super::problem::Problem;

const PAGE: &str = include_str!("page.html");

/// Stands in the page where the nonce belongs.
const NONCE_PLACE: &str = "{{nonce}}";

/// Gives the page.
#[utoipa::path(get, path = "/", tag = "access",
    responses((status = 200, description = "the page", body = String, content_type = "text/html")))]
pub(super) async fn page() -> Result<Response<Body>, Problem> {
    show(PAGE)
}

/// Answers with a page that has the place of a nonce in it.
pub(crate) fn show(page: &str) -> Result<Response<Body>, Problem> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|error| Problem::internal("cannot make a nonce", error.to_string()))?;
    let nonce = format!("{:032x}", u128::from_ne_bytes(random));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let policy = HeaderValue::try_from(policy)
        .map_err(|error| Problem::internal("cannot send the policy", error))?;
    let mut response = Response::new(Body::from(page.replace(NONCE_PLACE, &nonce)));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_self_contained_and_writes_text_only() {
        for foreign in [
            "http://",
            "https://",
            "//cdn",
            "innerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(!PAGE.contains(foreign), "{foreign}");
        }
        assert_eq!(PAGE.matches(NONCE_PLACE).count(), 2);
        assert!(PAGE.lines().count() < 300);
    }
}
