//! Who may ask: bearer tokens with scopes, and the page's cookie.
//!
//! Owns the digests of the tokens and nothing that could be turned back into one. It knows neither routes nor listeners.
//! Invariants: a comparison takes the same time whatever differs, and looks at every token; a cookie is worth nothing to
//! another supervisor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::{HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::limits::MIN_TOKEN_BYTES;
use super::listener::ListenerTrust;

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Reading.
    Read,
    /// Reading and stopping.
    Control,
}

impl Scope {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Control => "control",
        }
    }
}

/// The tokens cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// A token is too short or has other characters than visible ASCII, so that no header could carry it.
    #[error("the {} token is refused: use at least {MIN_TOKEN_BYTES} visible ASCII characters", scope.as_str())]
    UnusableToken {
        /// The scope of the token; the token itself is not told.
        scope: Scope,
    },
    /// The system gave no random bytes.
    #[error("no random bytes for the session secret: {message}")]
    NoRandom {
        /// What the system said.
        message: String,
    },
}

/// What a request showed of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// Nothing.
    Absent,
    /// An `Authorization` header that no token stands behind.
    Invalid,
    /// A token.
    Bearer(Scope),
    /// The cookie of a page that a token opened.
    Cookie(Scope),
}

#[derive(Clone)]
struct Token {
    digest: [u8; 32],
    session: [u8; 32],
    scope: Scope,
}

/// Whether requests are checked at all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Checked,
    Insecure,
}

/// Whether the workload turned out to reach Unix sockets that only their owner's id can; told once, before anything is
/// launched.
#[derive(Debug, Clone, Default)]
pub struct Exposure(Arc<AtomicBool>);

impl Exposure {
    /// The workload reaches them.
    pub fn tell(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_told(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The tokens of one supervisor.
#[derive(Clone)]
pub struct Auth {
    mode: Mode,
    exposure: Exposure,
    tokens: Vec<Token>,
    cookie_name: String,
}

impl std::fmt::Debug for Auth {
    /// Tells no digest.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth")
            .field("insecure", &self.is_insecure())
            .field("n_tokens", &self.tokens.len())
            .finish_non_exhaustive()
    }
}

impl Auth {
    /// Takes the tokens; there may be none, and then control is possible on the Unix socket only.
    ///
    /// # Errors
    /// When a token cannot be carried by a header, or the system has no random bytes.
    pub fn new<'a>(tokens: impl IntoIterator<Item = (Scope, &'a [u8])>) -> Result<Self, AuthError> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| AuthError::NoRandom {
            message: error.to_string(),
        })?;
        let mut known = Vec::new();
        for (scope, token) in tokens {
            if token.len() < MIN_TOKEN_BYTES || !token.iter().all(u8::is_ascii_graphic) {
                return Err(AuthError::UnusableToken { scope });
            }
            let digest: [u8; 32] = Sha256::digest(token).into();
            let session = Sha256::new()
                .chain_update(secret)
                .chain_update(digest)
                .finalize();
            known.push(Token {
                digest,
                session: session.into(),
                scope,
            });
        }
        // Cookies are shared by all ports of a host; each supervisor has a name of its own.
        let name = Sha256::new()
            .chain_update(secret)
            .chain_update(b"name")
            .finalize();
        let short: String = hexadecimal(&name).chars().take(12).collect();
        Ok(Self {
            mode: Mode::Checked,
            exposure: Exposure::default(),
            tokens: known,
            cookie_name: format!("stockade-{short}"),
        })
    }

    /// The same, and a private socket is less trusted once the exposure is told.
    #[must_use]
    pub fn under(self, exposure: Exposure) -> Self {
        Self { exposure, ..self }
    }

    /// How far the clients of a listener are trusted by now.
    pub(super) fn trust(&self, trust: ListenerTrust) -> ListenerTrust {
        match trust {
            ListenerTrust::Everything if self.exposure.is_told() => ListenerTrust::Reading,
            trust => trust,
        }
    }

    /// Everything is open to everybody (`--insecure-no-auth`).
    pub fn insecure() -> Self {
        Self {
            mode: Mode::Insecure,
            exposure: Exposure::default(),
            tokens: Vec::new(),
            cookie_name: "stockade-insecure".to_owned(),
        }
    }

    /// True for [`Auth::insecure`].
    pub fn is_insecure(&self) -> bool {
        self.mode == Mode::Insecure
    }

    /// True when there is a token at all.
    pub fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// What the request showed. The cookie is looked at only when there is no `Authorization`.
    pub fn credential(&self, headers: &HeaderMap) -> Credential {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        match (given.next(), given.next()) {
            (None, _) => self
                .cookie(headers)
                .map_or(Credential::Absent, Credential::Cookie),
            (Some(value), None) => {
                let digest: Option<[u8; 32]> =
                    bearer(value).map(|token| Sha256::digest(token).into());
                digest
                    .and_then(|digest| self.find(|token| token.digest.ct_eq(&digest)))
                    .map_or(Credential::Invalid, Credential::Bearer)
            }
            (Some(_), Some(_)) => Credential::Invalid,
        }
    }

    /// The cookie for the page that showed this token; none when the request has no valid token.
    pub fn session_cookie(&self, headers: &HeaderMap) -> Option<(Scope, HeaderValue)> {
        let digest: [u8; 32] = Sha256::digest(bearer(headers.get(AUTHORIZATION)?)?).into();
        let token = self
            .tokens
            .iter()
            .find(|token| bool::from(token.digest.ct_eq(&digest)))?;
        let value = format!(
            "{}={}; HttpOnly; SameSite=Strict; Path=/",
            self.cookie_name,
            hexadecimal(&token.session)
        );
        Some((token.scope, HeaderValue::try_from(value).ok()?))
    }

    fn cookie(&self, headers: &HeaderMap) -> Option<Scope> {
        headers
            .get_all(COOKIE)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'))
            .filter_map(|pair| {
                pair.trim_ascii()
                    .strip_prefix(self.cookie_name.as_bytes())?
                    .strip_prefix(b"=")
            })
            .find_map(|given| {
                let given = Sha256::digest(given);
                self.find(|token| {
                    let session = Sha256::digest(hexadecimal(&token.session).as_bytes());
                    session.ct_eq(&given)
                })
            })
    }

    /// The widest scope among the tokens that match; every token is compared.
    fn find(&self, matches: impl Fn(&Token) -> Choice) -> Option<Scope> {
        let mut best = 0_u8;
        for token in &self.tokens {
            let rank = match token.scope {
                Scope::Read => 1,
                Scope::Control => 2,
            };
            best = u8::conditional_select(&best, &best.max(rank), matches(token));
        }
        match best {
            0 => None,
            1 => Some(Scope::Read),
            _ => Some(Scope::Control),
        }
    }
}

/// The token of an `Authorization: Bearer` header, as bytes: what is no text is no token, and no failure either.
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, token) = value.as_bytes().split_at_checked(SCHEME.len())?;
    scheme
        .eq_ignore_ascii_case(SCHEME)
        .then(|| token.trim_ascii())
        .filter(|token| !token.is_empty())
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth() -> Auth {
        Auth::new([
            (Scope::Read, b"read-token".as_slice()),
            (Scope::Control, b"control-token".as_slice()),
        ])
        .unwrap()
    }

    fn with(name: axum::http::HeaderName, value: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_bytes(value).unwrap());
        headers
    }

    #[test]
    fn a_bearer_token_gives_its_scope_and_anything_else_is_invalid() {
        for (value, expected) in [
            (
                b"Bearer read-token".as_slice(),
                Credential::Bearer(Scope::Read),
            ),
            (b"bearer control-token", Credential::Bearer(Scope::Control)),
            (
                b"BEARER  control-token ",
                Credential::Bearer(Scope::Control),
            ),
            (b"Bearer control-toke", Credential::Invalid),
            (b"Bearer control-token2", Credential::Invalid),
            (b"Bearer ", Credential::Invalid),
            (b"Bearer", Credential::Invalid),
            (b"Basic control-token", Credential::Invalid),
            (b"Bearer \xff\xfe", Credential::Invalid),
            ("Bearer contröl-token".as_bytes(), Credential::Invalid),
        ] {
            assert_eq!(auth().credential(&with(AUTHORIZATION, value)), expected);
        }
        assert_eq!(auth().credential(&HeaderMap::new()), Credential::Absent);
    }

    #[test]
    fn a_cookie_is_of_one_supervisor_and_never_the_token() {
        let ours = auth();
        let (scope, cookie) = ours
            .session_cookie(&with(AUTHORIZATION, b"Bearer read-token"))
            .unwrap();
        let text = cookie.to_str().unwrap();
        assert_eq!(scope, Scope::Read);
        assert!(
            text.ends_with("; HttpOnly; SameSite=Strict; Path=/"),
            "{text}"
        );
        assert!(!text.contains("read-token"));
        let pair = text.split(';').next().unwrap();
        let sent = with(COOKIE, format!("other=1; {pair}").as_bytes());
        assert_eq!(ours.credential(&sent), Credential::Cookie(Scope::Read));
        assert_eq!(auth().credential(&sent), Credential::Absent);
    }

    #[test]
    fn unusable_tokens_are_refused_and_not_repeated() {
        for token in [
            b"short".as_slice(),
            b"",
            b"with a space",
            "tökenökeno".as_bytes(),
        ] {
            let error = Auth::new([(Scope::Control, token)]).unwrap_err();
            assert_eq!(
                error,
                AuthError::UnusableToken {
                    scope: Scope::Control
                }
            );
        }
    }
}
