//! A small HTTP/1.1 client that hides nothing.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::fixture::patiently;

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

#[derive(Debug, Clone)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Response {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The code of a problem, whose form is checked.
    pub(super) fn code(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{}",
            self.head
        );
        let json = self.json();
        assert_eq!(json["type"], "about:blank");
        assert_eq!(json["status"], self.status);
        assert!(json["title"].is_string() && json["detail"].is_string());
        json["code"].as_str().unwrap().to_owned()
    }
}

pub(super) struct Client {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Client {
    pub(super) async fn tcp(address: SocketAddr) -> Self {
        let stream = patiently(TcpStream::connect(address)).await.unwrap();
        Self {
            stream: Box::new(stream),
            buffer: Vec::new(),
        }
    }

    pub(super) async fn unix(path: &Path) -> Self {
        let stream = patiently(UnixStream::connect(path)).await.unwrap();
        Self {
            stream: Box::new(stream),
            buffer: Vec::new(),
        }
    }

    /// A connection to the socket on which the answer to a GET has begun; none when nobody answers.
    pub(super) async fn begin(
        path: &Path,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Option<(Self, Response)> {
        let mut stream = patiently(UnixStream::connect(path)).await.ok()?;
        let text = request_text(&format!("GET {target}"), headers);
        patiently(stream.write_all(text.as_bytes())).await.ok()?;
        let mut client = Self {
            stream: Box::new(stream),
            buffer: Vec::new(),
        };
        let head = client.head().await?;
        Some((client, head))
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        patiently(self.stream.write_all(bytes)).await.unwrap();
    }

    pub(super) async fn request(&mut self, line: &str, headers: &[(&str, &str)]) {
        self.send(request_text(line, headers).as_bytes()).await;
    }

    /// Reads some bytes; false at the end of the stream or when the connection was reset.
    pub(super) async fn fill(&mut self) -> bool {
        let mut some = vec![0; 64 * 1024];
        let n = patiently(self.stream.read(&mut some)).await.unwrap_or(0);
        self.buffer.extend_from_slice(&some[..n]);
        n > 0
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Some(String::from_utf8(line[..end].to_vec()).unwrap());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn exactly(&mut self, n_bytes: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < n_bytes {
            if !self.fill().await {
                return None;
            }
        }
        Some(self.buffer.drain(..n_bytes).collect())
    }

    /// Status line and headers; none when the connection ends before.
    pub(super) async fn head(&mut self) -> Option<Response> {
        let mut head = String::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                break;
            }
            head.push_str(&line);
            head.push('\n');
        }
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Response {
            status,
            head,
            body: Vec::new(),
        })
    }

    /// The next chunk of a chunked body; none at its proper end. Panics where it is cut.
    pub(super) async fn chunk(&mut self) -> Option<Vec<u8>> {
        self.chunk_or_cut().await.expect("the body was cut")
    }

    /// The same; the outer none means that the body was cut.
    pub(super) async fn chunk_or_cut(&mut self) -> Option<Option<Vec<u8>>> {
        let size = self.line().await?;
        let n_bytes = usize::from_str_radix(&size, 16).unwrap();
        let bytes = self.exactly(n_bytes).await?;
        self.exactly(2).await?;
        Some((n_bytes > 0).then_some(bytes))
    }

    /// A whole answer to a request with `method`.
    pub(super) async fn response(&mut self, method: &str) -> Option<Response> {
        let mut response = self.head().await?;
        if method == "HEAD" || matches!(response.status, 204 | 304) {
            return Some(response);
        }
        if response.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await {
                response.body.extend_from_slice(&chunk);
            }
        } else {
            let length = response
                .header("content-length")
                .map_or(0, |n| n.parse().unwrap());
            response.body = self.exactly(length).await?;
        }
        Some(response)
    }

    /// Reads the body until it contains `text`.
    pub(super) async fn body_until(&mut self, text: &str) -> String {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk().await.expect("the body ended");
            body.extend_from_slice(&chunk);
            if memchr::memmem::find(&body, text.as_bytes()).is_some() {
                return String::from_utf8(body).unwrap();
            }
        }
    }
}

fn request_text(line: &str, headers: &[(&str, &str)]) -> String {
    let mut text = format!("{line} HTTP/1.1\r\n");
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        text.push_str("host: localhost\r\n");
    }
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    text.push_str("\r\n");
    text
}

pub(super) async fn exchange(
    address: SocketAddr,
    line: &str,
    headers: &[(&str, &str)],
) -> Response {
    let mut client = Client::tcp(address).await;
    client.request(line, headers).await;
    let method = line.split(' ').next().unwrap();
    client.response(method).await.expect("no whole answer came")
}

pub(super) async fn get(address: SocketAddr, path: &str) -> Response {
    exchange(address, &format!("GET {path}"), &[]).await
}

pub(super) async fn post(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let mut client = Client::tcp(address).await;
    let length = body.len().to_string();
    let mut all = vec![("content-length", length.as_str())];
    all.extend_from_slice(headers);
    client.request(&format!("POST {path}"), &all).await;
    client.send(body.as_bytes()).await;
    client.response("POST").await.expect("no whole answer came")
}

/// One block of an SSE stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Block {
    pub(super) id: Option<u64>,
    pub(super) event: Option<String>,
    pub(super) data: Option<String>,
}

/// The blocks of a stream, without comments and `retry:`.
pub(super) fn blocks(body: &str) -> Vec<Block> {
    assert!(
        body.ends_with("\n\n"),
        "the stream ends within a block: {body:?}"
    );
    let parse = |text: &str| {
        let mut block = Block::default();
        for line in text.lines() {
            match line.split_once(": ") {
                Some(("id", id)) => block.id = Some(id.parse().unwrap()),
                Some(("event", event)) => block.event = Some(event.to_owned()),
                Some(("data", data)) => block.data = Some(data.to_owned()),
                Some(("retry" | "", _)) => {}
                other => panic!("unknown line {other:?}"),
            }
        }
        block
    };
    body.split("\n\n")
        .map(parse)
        .filter(|block| *block != Block::default())
        .collect()
}

pub(super) fn ids(body: &str) -> Vec<u64> {
    blocks(body).iter().filter_map(|block| block.id).collect()
}
