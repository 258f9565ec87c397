//! A small HTTP/1.1 client: it sends exactly what a test says, and hides nothing of what comes back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longest wait for a byte.
const READ_LIMIT: Duration = Duration::from_secs(20);

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, with its transfer coding removed.
    pub body: Vec<u8>,
}

impl Reply {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!(
                "{error} in {} {:?}",
                self.status,
                String::from_utf8_lossy(&self.body)
            )
        })
    }
}

/// `GET path`.
pub fn get(address: &str, path: &str) -> Reply {
    request(address, "GET", path, &[], b"")
}

/// Any request; `Host` and `Connection: close` are added unless `headers` names them.
pub fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let mut open = Open::send(address, method, path, headers, body);
    let mut content = Vec::new();
    open.read_to_end(&mut content)
        .unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    Reply {
        status: open.status,
        headers: open.headers,
        body: content,
    }
}

/// An event stream.
pub fn stream(address: &str, path: &str, headers: &[(&str, &str)]) -> Stream {
    Stream {
        open: Open::send(address, "GET", path, headers, b""),
    }
}

/// A block of an event stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SseFrame {
    /// `id:`
    pub id: Option<String>,
    /// `event:`
    pub event: Option<String>,
    /// `data:` lines, joined.
    pub data: Option<String>,
    /// Comment lines.
    pub comments: Vec<String>,
    /// `retry:`
    pub retry: Option<String>,
}

/// An open event stream.
pub struct Stream {
    open: Open,
}

impl Stream {
    /// Status code.
    pub fn status(&self) -> u16 {
        self.open.status
    }

    /// The next block; none at the end.
    pub fn next_frame(&mut self) -> Option<SseFrame> {
        let mut frame = SseFrame::default();
        let mut is_empty = true;
        loop {
            let line = self.open.line()?;
            if line.is_empty() {
                if is_empty {
                    continue;
                }
                return Some(frame);
            }
            is_empty = false;
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match field {
                "" => frame.comments.push(value),
                "id" => frame.id = Some(value),
                "event" => frame.event = Some(value),
                "retry" => frame.retry = Some(value),
                "data" => {
                    frame.data = Some(
                        frame
                            .data
                            .map_or(value.clone(), |data| format!("{data}\n{value}")),
                    )
                }
                other => panic!("unknown field {other:?}"),
            }
        }
    }

    /// All frames with an id and data, up to the end.
    pub fn events(mut self) -> Vec<SseFrame> {
        let mut events = Vec::new();
        while let Some(frame) = self.next_frame() {
            if frame.data.is_some() {
                events.push(frame);
            }
        }
        events
    }
}

/// An answer whose body is still coming.
struct Open {
    reader: BufReader<TcpStream>,
    status: u16,
    headers: Vec<(String, String)>,
    is_chunked: bool,
    left: Option<u64>,
    line: Vec<u8>,
}

impl Open {
    fn send(
        address: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Self {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(READ_LIMIT)).unwrap();
        let mut text = format!("{method} {path} HTTP/1.1\r\n");
        let named = |name: &str| {
            headers
                .iter()
                .any(|(given, _)| given.eq_ignore_ascii_case(name))
        };
        if !named("host") {
            text.push_str(&format!("Host: {address}\r\n"));
        }
        if !named("connection") {
            text.push_str("Connection: close\r\n");
        }
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        socket.write_all(text.as_bytes()).unwrap();
        socket.write_all(body).unwrap();
        let mut reader = BufReader::new(socket);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or_else(|| panic!("no status in {line:?}"));
        let mut headers = Vec::new();
        loop {
            line.clear();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let header = |name: &str| {
            headers
                .iter()
                .find(|(found, _)| found == name)
                .map(|(_, value)| value.clone())
        };
        let is_chunked = header("transfer-encoding").is_some_and(|coding| coding == "chunked");
        let has_no_body = method == "HEAD" || matches!(status, 204 | 304);
        let left = if has_no_body {
            Some(0)
        } else {
            header("content-length").map(|length| length.parse().unwrap())
        };
        let left = if is_chunked && !has_no_body {
            Some(0)
        } else {
            left
        };
        let is_chunked = is_chunked && !has_no_body;
        Self {
            reader,
            status,
            headers,
            is_chunked,
            left,
            line: Vec::new(),
        }
    }

    /// The next line of the body, without its end; none at the end of the body.
    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.line.drain(..=end).collect();
                return Some(String::from_utf8(line[..end].to_vec()).unwrap());
            }
            let mut chunk = [0; 64 * 1024];
            let n_read = self.read(&mut chunk).unwrap();
            if n_read == 0 {
                return None;
            }
            self.line.extend_from_slice(&chunk[..n_read]);
        }
    }
}

impl Read for Open {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.is_chunked && self.left == Some(0) {
            let mut size = String::new();
            self.reader.read_line(&mut size)?;
            if size.trim().is_empty() {
                size.clear();
                self.reader.read_line(&mut size)?;
            }
            let Ok(size) = u64::from_str_radix(size.trim(), 16) else {
                return Ok(0);
            };
            if size == 0 {
                self.is_chunked = false;
                return Ok(0);
            }
            self.left = Some(size);
        }
        let room = self.left.map_or(out.len(), |left| {
            usize::try_from(left).unwrap().min(out.len())
        });
        let n_read = self.reader.read(&mut out[..room])?;
        self.left = self.left.map(|left| left - n_read as u64);
        Ok(n_read)
    }
}
