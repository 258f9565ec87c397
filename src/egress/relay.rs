//! Bytes from one side to the other.
//!
//! Owns the copying for tunnels and for plain exchanges. Never decides and never dials. Invariants: a tunnel is not looked
//! into; of an exchange no byte passes that does not belong to its one request or its one response.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::body::{Body, BodyError};
use super::head::{HeadError, Scan, scan};
use super::meter::Meter;
use super::request::Exchange;
use super::response::{MAX_HEAD_BYTES, MAX_INTERIM, Response};

/// Longest time without a byte in either direction.
pub(super) const IDLE_LIMIT: Duration = Duration::from_secs(600);

/// Bytes that are moved at a time, in each direction.
pub(super) const BUFFER_BYTES: usize = 16 << 10;

/// Longest time in which a client may go on sending after our last byte, and the bytes that are read meanwhile: a
/// connection that is closed with unread bytes is reset, and the client would lose the answer.
const LAST_WORDS_LIMIT: Duration = Duration::from_secs(2);
const MAX_LAST_WORDS_BYTES: usize = 1 << 20;

/// What passes through a tunnel before its ends are waited for.
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// How an exchange ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    /// The client is gone, or its body is not one.
    #[error("the client did not finish its request")]
    Client,
    /// The origin's response is none; nothing of it was passed on.
    #[error("the origin's response is not well-formed")]
    Response,
    /// The origin sent nothing for too long; nothing was passed on.
    #[error("the origin did not answer in time")]
    Silence,
    /// It broke off within the response.
    #[error("the response broke off")]
    Cut,
}

/// Joins client and origin until both have said all, one is gone, or nothing was said for [`IDLE_LIMIT`].
pub(super) async fn tunnel(
    client: &mut TcpStream,
    origin: &mut TcpStream,
    early: &[u8],
    meter: &Meter,
) -> io::Result<()> {
    client.write_all(ESTABLISHED).await?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_origin, mut to_origin) = origin.split();
    let up = async {
        to_origin.write_all(early).await?;
        meter.add_sent(early.len());
        copy(&mut from_client, &mut to_origin, |n| meter.add_sent(n)).await
    };
    let down = copy(&mut from_origin, &mut to_client, |n| meter.add_received(n));
    // Whichever ends first drops the other: both only move bytes.
    tokio::select! {
        both = async { tokio::try_join!(up, down) } => both.map(drop),
        () = meter.idle(IDLE_LIMIT) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    count: impl Fn(usize),
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let n_bytes = from.read(&mut buffer).await?;
        if n_bytes == 0 {
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..n_bytes).unwrap_or_default())
            .await?;
        count(n_bytes);
    }
}

/// Passes one request to the origin and its response back. `early` is what came behind the request's head.
///
/// # Errors
/// When it did not come to its end.
pub(super) async fn exchange(
    client: &mut TcpStream,
    origin: &mut TcpStream,
    exchange: Exchange,
    early: &[u8],
    meter: &Meter,
) -> Result<(), ExchangeError> {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_origin, mut to_origin) = origin.split();
    let Exchange {
        head,
        body,
        is_head_request,
    } = exchange;
    let up = async {
        match send_request(&mut from_client, &mut to_origin, &head, body, early, meter).await {
            // Who does not take the whole request may have answered all the same.
            Ok(()) | Err(SendError::Origin) => std::future::pending().await,
            Err(SendError::Client) => ExchangeError::Client,
        }
    };
    let mut has_begun = false;
    let down = pass_response(
        &mut from_origin,
        &mut to_client,
        is_head_request,
        &mut has_begun,
        meter,
    );
    let ended = tokio::select! {
        biased;
        ended = down => ended,
        error = up => Err(error),
        () = meter.idle(IDLE_LIMIT) => Err(ExchangeError::Silence),
    };
    match ended {
        Err(ExchangeError::Response | ExchangeError::Silence) if has_begun => {
            Err(ExchangeError::Cut)
        }
        ended => ended,
    }
}

enum SendError {
    Client,
    Origin,
}

async fn send_request(
    from_client: &mut (impl AsyncRead + Unpin),
    to_origin: &mut (impl AsyncWrite + Unpin),
    head: &[u8],
    mut body: Body,
    early: &[u8],
    meter: &Meter,
) -> Result<(), SendError> {
    let mut send = async |bytes: &[u8]| {
        to_origin
            .write_all(bytes)
            .await
            .map_err(|_| SendError::Origin)?;
        meter.add_sent(bytes.len());
        Ok(())
    };
    send(head).await?;
    let n_own = body.take(early).map_err(client_fault)?;
    send(early.get(..n_own).unwrap_or_default()).await?;
    let mut buffer = vec![0; BUFFER_BYTES];
    while !body.is_over() {
        let n_bytes = match from_client.read(&mut buffer).await {
            Ok(n_bytes @ 1..) => n_bytes,
            Ok(_) | Err(_) => return Err(SendError::Client),
        };
        let bytes = buffer.get(..n_bytes).unwrap_or_default();
        let n_own = body.take(bytes).map_err(client_fault)?;
        send(bytes.get(..n_own).unwrap_or_default()).await?;
    }
    Ok(())
}

fn client_fault(_: BodyError) -> SendError {
    SendError::Client
}

async fn pass_response(
    from_origin: &mut (impl AsyncRead + Unpin),
    to_client: &mut (impl AsyncWrite + Unpin),
    is_head_request: bool,
    has_begun: &mut bool,
    meter: &Meter,
) -> Result<(), ExchangeError> {
    let mut waiting = Vec::new();
    let mut body = None;
    for _ in 0..=MAX_INTERIM {
        let head = read_head(from_origin, &mut waiting, MAX_HEAD_BYTES)
            .await
            .ok()
            .and_then(|head| Response::parse(&head, is_head_request).ok())
            .ok_or(ExchangeError::Response)?;
        *has_begun = true;
        pass(to_client, &head.head, meter).await?;
        body = head.body;
        if body.is_some() {
            break;
        }
    }
    let mut body = body.ok_or(ExchangeError::Response)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let n_own = body.take(&waiting).map_err(|_| ExchangeError::Cut)?;
        pass(to_client, waiting.get(..n_own).unwrap_or_default(), meter).await?;
        if body.is_over() {
            return Ok(());
        }
        let n_bytes = from_origin
            .read(&mut buffer)
            .await
            .map_err(|_| ExchangeError::Cut)?;
        match (n_bytes, &body) {
            (0, Body::UntilEnd) => return Ok(()),
            (0, Body::Length(_) | Body::Chunked(_)) => return Err(ExchangeError::Cut),
            (n_bytes, _) => {
                waiting.clear();
                waiting.extend_from_slice(buffer.get(..n_bytes).unwrap_or_default());
            }
        }
    }
}

async fn pass(
    to_client: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    meter: &Meter,
) -> Result<(), ExchangeError> {
    let written = to_client.write_all(bytes).await;
    written.map_err(|_| ExchangeError::Client)?;
    meter.add_received(bytes.len());
    Ok(())
}

/// Why there is no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeadReadError {
    /// The connection ended before it was whole.
    #[error("the connection ended within the head")]
    End,
    /// It is larger than its limit.
    #[error("the head is larger than {0} bytes")]
    TooLarge(usize),
    /// It is not well-formed.
    #[error("{0}")]
    Malformed(HeadError),
}

/// Reads until a head is whole and gives it; what came behind it stays in `waiting`.
pub(super) async fn read_head(
    from: &mut (impl AsyncRead + Unpin),
    waiting: &mut Vec<u8>,
    max_bytes: usize,
) -> Result<Vec<u8>, HeadReadError> {
    let mut buffer = vec![0; 4 << 10];
    loop {
        match scan(waiting).map_err(HeadReadError::Malformed)? {
            Scan::Whole(n_head) if n_head > max_bytes => {
                return Err(HeadReadError::TooLarge(max_bytes));
            }
            Scan::Whole(n_head) => {
                let behind = waiting.split_off(n_head.min(waiting.len()));
                return Ok(std::mem::replace(waiting, behind));
            }
            Scan::Incomplete if waiting.len() >= max_bytes => {
                return Err(HeadReadError::TooLarge(max_bytes));
            }
            Scan::Incomplete => {}
        }
        match from.read(&mut buffer).await {
            Ok(n_bytes @ 1..) => {
                waiting.extend_from_slice(buffer.get(..n_bytes).unwrap_or_default())
            }
            Ok(_) | Err(_) => return Err(HeadReadError::End),
        }
    }
}

/// Ends a connection so that its client gets everything that was written.
pub(super) async fn close(client: &mut TcpStream) {
    if client.shutdown().await.is_err() {
        return;
    }
    let mut n_read = 0;
    let mut buffer = vec![0; BUFFER_BYTES];
    let last_words = async {
        while let Ok(n_bytes @ 1..) = client.read(&mut buffer).await {
            n_read += n_bytes;
            if n_read >= MAX_LAST_WORDS_BYTES {
                break;
            }
        }
    };
    // Who goes on for longer is cut.
    let _ = tokio::time::timeout(LAST_WORDS_LIMIT, last_words).await;
}
