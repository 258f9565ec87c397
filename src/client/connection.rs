//! One HTTP/1.1 connection to a status API, over TCP or a Unix socket.
//!
//! Owns connecting, one request after another, and their limits. Every wait has one: a status API that hangs is told from
//! one that answers.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::address::Address;
use super::error::ClientError;
use crate::description::secret::Secret;
use crate::progress::clean::summary;
use crate::run::RunId;
use crate::status::StatusDocument;

/// Longest time until a connection stands.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Longest time until the head of an answer is there: the API's own limit of 30 s, and the way.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(35);

/// Largest answer that is read whole, in bytes; the largest status document has about 2 MiB.
pub const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Longest part of a foreign answer that is shown, in bytes.
const MAX_SHOWN_BYTES: usize = 200;

/// Longest detail of a refusal that is shown, in characters.
const MAX_DETAIL_CHARS: usize = 1_000;

/// Largest refusal that is read, in bytes: the faults of a whole run description.
const MAX_REFUSAL_BYTES: usize = 4 << 20;

/// Most faults of a refusal that are shown.
const MAX_FAULTS: usize = 100;

/// Longest code of a refusal that is shown, in characters; ours have about 20.
const MAX_CODE_CHARS: usize = 64;

/// The bearer token of requests.
#[derive(Debug, Clone, Default)]
pub struct Token(Option<Secret>);

impl Token {
    /// A token, or none.
    pub fn new(secret: Option<Secret>) -> Self {
        Self(secret)
    }
}

/// A connection; its task ends with it.
#[derive(Debug)]
pub struct Connection {
    address: Address,
    authorization: Option<HeaderValue>,
    sender: http1::SendRequest<Full<Bytes>>,
    /// The one task that moves bytes; it ends with the set.
    _tasks: JoinSet<()>,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    detail: Option<String>,
    #[serde(default)]
    faults: Vec<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    #[serde(default)]
    message: String,
}

/// Begins HTTP/1.1 on a stream; the task that moves bytes ends with the set.
async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> hyper::Result<(http1::SendRequest<Full<Bytes>>, JoinSet<()>)> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    Ok((sender, tasks))
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there, or not within [`CONNECT_LIMIT`].
    pub async fn open(address: &Address, token: &Token) -> Result<Self, ClientError> {
        let unreachable = |source| ClientError::Unreachable {
            address: address.clone(),
            source,
        };
        let broken = |source| ClientError::Broken {
            address: address.clone(),
            source,
        };
        let authorization = token.0.as_ref().map(|secret| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", secret.expose()))
                .map_err(|_| ClientError::Token)?;
            value.set_sensitive(true);
            Ok(value)
        });
        let connecting = async {
            match address {
                Address::Tcp(authority) => {
                    let stream = TcpStream::connect(authority).await.map_err(unreachable)?;
                    // Requests are one small write each.
                    stream.set_nodelay(true).map_err(unreachable)?;
                    speak(stream).await.map_err(broken)
                }
                Address::Unix(path) => {
                    let stream = UnixStream::connect(path).await.map_err(unreachable)?;
                    speak(stream).await.map_err(broken)
                }
                Address::Held(held) => {
                    let stream = UnixStream::connect(held.path()).await;
                    speak(stream.map_err(unreachable)?).await.map_err(broken)
                }
            }
        };
        let connected = timeout(CONNECT_LIMIT, connecting).await;
        let (sender, tasks) = connected.map_err(|_| ClientError::Silent {
            address: address.clone(),
            limit: CONNECT_LIMIT,
        })??;
        Ok(Self {
            address: address.clone(),
            authorization: authorization.transpose()?,
            sender,
            _tasks: tasks,
        })
    }

    /// Who is asked.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Sends a request; gives the answer once its head is there and is no refusal. `accept` is the media type asked for.
    ///
    /// # Errors
    /// When the connection breaks, the head does not come in time, or the answer is a refusal.
    pub async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let foreign = |what: String| ClientError::Foreign {
            address: self.address.clone(),
            what,
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.address.host());
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| foreign(error.to_string()))?;
        let answered = timeout(ANSWER_LIMIT, self.sender.send_request(request)).await;
        let response = answered
            .map_err(|_| ClientError::Silent {
                address: self.address.clone(),
                limit: ANSWER_LIMIT,
            })?
            .map_err(|source| ClientError::Broken {
                address: self.address.clone(),
                source,
            })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = self.read(response, MAX_REFUSAL_BYTES).await;
        let body = body.unwrap_or_default();
        Err(self.refusal(status, &body))
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> ClientError {
        let problem: Option<Problem> = serde_json::from_slice(body).ok();
        let detail = problem
            .as_ref()
            .and_then(|problem| problem.detail.as_deref());
        let code = problem.as_ref().and_then(|problem| problem.code.as_deref());
        let faults = problem
            .as_ref()
            .map(|problem| problem.faults.iter().take(MAX_FAULTS))
            .into_iter()
            .flatten()
            .map(|fault| summary(&fault.message, MAX_DETAIL_CHARS));
        ClientError::Refused {
            faults: faults.collect(),
            address: self.address.clone(),
            status: status.as_u16(),
            code: code.map(|code| summary(code, MAX_CODE_CHARS)),
            detail: detail.map_or_else(
                || status.canonical_reason().unwrap_or("refused").to_owned(),
                |detail| summary(detail, MAX_DETAIL_CHARS),
            ),
        }
    }

    /// Reads the body of an answer, at most [`MAX_ANSWER_BYTES`].
    ///
    /// # Errors
    /// When it breaks off, is larger, or does not come within [`ANSWER_LIMIT`].
    pub async fn whole(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        self.read(response, MAX_ANSWER_BYTES).await
    }

    async fn read(
        &self,
        response: Response<Incoming>,
        max_bytes: usize,
    ) -> Result<Bytes, ClientError> {
        let collecting = Limited::new(response.into_body(), max_bytes).collect();
        match timeout(ANSWER_LIMIT, collecting).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) => match error.downcast::<hyper::Error>() {
                Ok(source) => Err(ClientError::Broken {
                    address: self.address.clone(),
                    source: *source,
                }),
                Err(error) => Err(ClientError::Foreign {
                    address: self.address.clone(),
                    what: error.to_string(),
                }),
            },
            Err(_) => Err(ClientError::Silent {
                address: self.address.clone(),
                limit: ANSWER_LIMIT,
            }),
        }
    }

    /// A status document, by its path: the bytes as they came, and what they say. Where `wanted` is given, it has to be that
    /// run's.
    ///
    /// # Errors
    /// As [`Connection::ask`]; also when the answer is no status document, or another run's.
    pub async fn status(
        &mut self,
        path: &str,
        wanted: Option<&RunId>,
    ) -> Result<(Bytes, StatusDocument), ClientError> {
        let response = self.ask(Method::GET, path, &[], Bytes::new()).await?;
        let bytes = self.whole(response).await?;
        let document = StatusDocument::decode(&bytes).map_err(|error| ClientError::Foreign {
            address: self.address.clone(),
            what: format!("{error} in {:?}", shown(&bytes)),
        })?;
        match wanted {
            Some(wanted) if *wanted != document.run_id => Err(ClientError::OtherRun {
                address: self.address.clone(),
                found: document.run_id,
                wanted: wanted.clone(),
            }),
            Some(_) | None => Ok((bytes, document)),
        }
    }
}

/// The beginning of an answer that was not understood.
fn shown(bytes: &[u8]) -> String {
    let cut = bytes.get(..MAX_SHOWN_BYTES).unwrap_or(bytes);
    String::from_utf8_lossy(cut).into_owned()
}
