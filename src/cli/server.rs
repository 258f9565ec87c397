//! The control plane that is asked: where it listens, and by what token.
//!
//! Owns the order in which both are looked for. Invariant: the token that a control plane made for itself goes to nobody but
//! loopback of this host.

use std::process::ExitCode;

use super::reach::{Access, fail, secret_of};
use crate::client::{Address, ClientError, Token};
use crate::recordings::layout;
use crate::session::workload::chain;

/// Where a control plane listens where nobody says so.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

/// The variable that names a control plane.
const VARIABLE: &str = "STOCKADE_SERVER";

/// Which control plane is meant, and how it is asked.
#[derive(Debug, clap::Args)]
pub struct Server {
    /// Ask the control plane at URL [env: STOCKADE_SERVER] [default: http://127.0.0.1:8080]
    #[arg(long, value_name = "URL")]
    server: Option<String>,

    #[command(flatten)]
    access: Access,
}

impl Server {
    /// Where it listens, and the token for it.
    ///
    /// # Errors
    /// What is wrong with either, for people.
    pub(super) fn find(&self) -> Result<(Address, Token), String> {
        let address = match named(self.server.as_deref())? {
            Some(address) => address,
            None => parse(DEFAULT_SERVER)?,
        };
        let token = token(&self.access, &address)?;
        Ok((address, token))
    }
}

/// The control plane that the flag names, else the variable; none where neither does.
///
/// # Errors
/// When what is named is no address, for people.
pub(super) fn named(flag: Option<&str>) -> Result<Option<Address>, String> {
    let variable = || std::env::var(VARIABLE).ok();
    let text = flag.map(str::to_owned).or_else(variable);
    let text = text.filter(|text| !text.is_empty());
    text.as_deref().map(parse).transpose()
}

/// Reads `http://HOST:PORT`, `HOST:PORT` or `unix:PATH`.
fn parse(text: &str) -> Result<Address, String> {
    let read = Address::parse(text).or_else(|| Address::parse(&format!("http://{text}")));
    let expected = match read {
        Some(Ok(address)) => return Ok(address),
        Some(Err(expected)) => expected,
        None => "give a host and a port",
    };
    Err(format!("{text:?} is no address of a server: {expected}"))
}

/// The token: what is said for any server, else, for one on loopback, what stands in the recordings.
///
/// # Errors
/// When a file cannot be used, for people.
pub(super) fn token(access: &Access, server: &Address) -> Result<Token, String> {
    if let Some(secret) = access.secret()? {
        return Ok(Token::new(Some(secret)));
    }
    if !server.is_loopback() {
        return Ok(Token::default());
    }
    // Where there is no place for recordings nobody kept a token.
    let Ok(recordings) = access.place.path() else {
        return Ok(Token::default());
    };
    let kept = recordings.join(layout::STORE_INTERNAL).join(layout::TOKEN);
    if !kept.exists() {
        return Ok(Token::default());
    }
    secret_of(&kept).map(|secret| Token::new(Some(secret)))
}

/// Says why a control plane could not be asked, and what to do about it.
pub(super) fn fail_asking(error: &ClientError) -> ExitCode {
    fail(&chain(error), error.remedy_at_a_plane())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_with_or_without_its_scheme() {
        let tcp = Address::Tcp("127.0.0.1:8080".to_owned());
        for text in [DEFAULT_SERVER, "127.0.0.1:8080", "http://127.0.0.1:8080/"] {
            assert_eq!(parse(text).unwrap(), tcp, "{text}");
        }
        let unix = Address::Unix("/run/a.sock".into());
        assert_eq!(parse("unix:/run/a.sock").unwrap(), unix);
        for wrong in ["localhost", "https://localhost:1", "a b:1", "\u{1b}[2J"] {
            let error = parse(wrong).unwrap_err();
            assert!(error.contains("is no address of a server"), "{error}");
            assert!(!error.contains('\u{1b}'), "{error:?}");
        }
    }
}
