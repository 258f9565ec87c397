//! Servers that say what a test wants, and one that loses an answer.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What is sent at a time of an answer without an end.
const PIECE_BYTES: usize = 64 * 1024;

/// What follows the body of an answer.
enum Then {
    /// The next request.
    Next,
    /// The body again.
    Again,
    /// The end of the connection.
    Cut,
}

/// An answer.
pub struct Answer {
    head: String,
    body: Vec<u8>,
    then: Then,
}

/// A server that answers by the request, head and body; it ends with the process.
pub struct Canned {
    pub address: String,
    /// Bytes that clients took.
    pub n_written: Arc<AtomicUsize>,
}

impl Canned {
    pub fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let n_written = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&n_written);
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let (answer, counted) = (Arc::clone(&answer), Arc::clone(&counted));
                std::thread::spawn(move || {
                    loop {
                        let request = message(&mut client);
                        // Whoever has heard enough is gone.
                        if request.is_empty()
                            || give(&mut client, &answer(&request), &counted).is_err()
                        {
                            break;
                        }
                    }
                });
            }
        });
        Self { address, n_written }
    }

    pub fn json(status: u16, body: &str) -> Answer {
        Answer {
            head: format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            ),
            body: body.as_bytes().to_vec(),
            then: Then::Next,
        }
    }

    /// Events of a stream that is cut behind them.
    pub fn cut_stream(first: u64, lines: &[&str]) -> Answer {
        let frames: Vec<String> = (first..)
            .zip(lines)
            .map(|(id, line)| format!("id: {id}\ndata: {line}\n\n"))
            .collect();
        Answer {
            head: "HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nContent-Length: 1000000\r\n\r\n".to_owned(),
            body: frames.concat().into_bytes(),
            then: Then::Cut,
        }
    }

    /// A list that never ends, as long as somebody takes it.
    pub fn endless(status: u16) -> Answer {
        Answer {
            head: format!("HTTP/1.1 {status} X\r\nConnection: close\r\n\r\n{{\"runs\":["),
            body: b"0,".repeat(PIECE_BYTES / 2),
            then: Then::Again,
        }
    }
}

fn give(client: &mut TcpStream, answer: &Answer, n_written: &AtomicUsize) -> std::io::Result<()> {
    client.write_all(answer.head.as_bytes())?;
    loop {
        client.write_all(&answer.body)?;
        n_written.fetch_add(answer.body.len(), Ordering::SeqCst);
        match answer.then {
            Then::Again => {}
            Then::Next => return Ok(()),
            Then::Cut => return client.shutdown(Shutdown::Both),
        }
    }
}

/// A message, head and body: one that is closed before all of it was read is a reset.
fn message(peer: &mut TcpStream) -> String {
    let mut message = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&message).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split("content-length: ").nth(1);
            let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                break;
            }
        }
        match peer.read(&mut chunk) {
            Ok(n_read @ 1..) => message.extend_from_slice(&chunk[..n_read]),
            Ok(0) | Err(_) => break,
        }
    }
    String::from_utf8_lossy(&message).into_owned()
}

/// A way to a server on which the first answer is lost; it ends with the process.
pub struct LosingProxy {
    pub address: String,
    /// The answer that was lost.
    pub lost: Arc<Mutex<String>>,
}

impl LosingProxy {
    pub fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let lost = Arc::new(Mutex::new(String::new()));
        let (upstream, kept) = (upstream.to_owned(), Arc::clone(&lost));
        std::thread::spawn(move || {
            for (idx, mut client) in listener.incoming().flatten().enumerate() {
                let mut server = TcpStream::connect(&upstream).unwrap();
                let (mut to_server, mut from_client) =
                    (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
                if idx == 0 {
                    *kept.lock().unwrap() = message(&mut server);
                    let _ = client.shutdown(Shutdown::Both);
                } else {
                    let _ = std::io::copy(&mut server, &mut client);
                }
            }
        });
        Self { address, lost }
    }
}
