//! Looks at the sandbox from inside: is a file there, does a port answer.
//!
//! Owns the question, the look and the answer. It runs in a process of the workload's identity, limits, network and files,
//! so it sees what the workload sees and reaches nothing else. Never judges what it saw. Invariant: the answer is bounded,
//! whatever the file or the server sends, and what is not plain HTTP/1 is an answer of its own.

mod file;
mod http;

use crate::text::Text;
use crate::wire::Deadline;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Most bytes of a file or of a body that an answer carries.
pub const MAX_SEEN_BYTES: usize = 64 * 1024;

/// One more is read than an answer carries: it tells whether there is more.
const READ_BYTES: usize = MAX_SEEN_BYTES + 1;

/// Largest form of an answer, in bytes: a byte takes at most six of JSON.
pub const MAX_ANSWER_BYTES: usize = 8 * MAX_SEEN_BYTES;

/// A question about the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// What is at this path; a relative one begins at the launch's directory.
    File {
        /// The path, as the sandbox sees it.
        path: PathBuf,
    },
    /// What answers a GET request (RFC 9112).
    Http {
        /// Where to connect; the first that accepts is asked.
        addresses: Vec<SocketAddr>,
        /// The `Host` field.
        host: String,
        /// The request target: path and query.
        target: String,
        /// Time for all of it.
        timeout: Duration,
    },
    /// Whether somebody listens.
    Tcp {
        /// Where to connect; one that accepts is enough.
        addresses: Vec<SocketAddr>,
        /// Time for all of it.
        timeout: Duration,
    },
}

/// What a probe saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seen {
    /// Nothing is at the path.
    Nothing,
    /// A regular file.
    File {
        /// Its first [`MAX_SEEN_BYTES`].
        content: Vec<u8>,
        /// Whether that is all of it.
        is_whole: bool,
    },
    /// Something at the path that is no regular file.
    Other {
        /// What it is, in one word.
        kind: String,
    },
    /// An HTTP answer.
    Answer {
        /// Its status code.
        status: u16,
        /// The first [`MAX_SEEN_BYTES`] of its body.
        body: Vec<u8>,
        /// Whether that is all of it.
        is_whole: bool,
    },
    /// A connection was accepted.
    Connected,
    /// There was no look.
    Failed {
        /// Why, in one clause.
        why: String,
    },
}

/// The form of an answer on the wire: texts as texts, so that they cost what they hold.
#[derive(Serialize, Deserialize)]
enum Wire {
    Nothing,
    File {
        content: Text,
        is_whole: bool,
    },
    Other {
        kind: String,
    },
    Answer {
        status: u16,
        body: Text,
        is_whole: bool,
    },
    Connected,
    Failed {
        why: String,
    },
}

impl Seen {
    /// Reads what a probe wrote.
    ///
    /// # Errors
    /// If it is no answer, because the probe was killed before it had one.
    pub fn from_wire(bytes: &[u8]) -> serde_json::Result<Self> {
        Ok(match serde_json::from_slice(bytes)? {
            Wire::Nothing => Self::Nothing,
            Wire::File { content, is_whole } => Self::File {
                content: content.as_bytes().to_vec(),
                is_whole,
            },
            Wire::Other { kind } => Self::Other { kind },
            Wire::Answer {
                status,
                body,
                is_whole,
            } => Self::Answer {
                status,
                body: body.as_bytes().to_vec(),
                is_whole,
            },
            Wire::Connected => Self::Connected,
            Wire::Failed { why } => Self::Failed { why },
        })
    }

    fn into_wire(self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&match self {
            Self::Nothing => Wire::Nothing,
            Self::File { content, is_whole } => Wire::File {
                content: Text::from(content),
                is_whole,
            },
            Self::Other { kind } => Wire::Other { kind },
            Self::Answer {
                status,
                body,
                is_whole,
            } => Wire::Answer {
                status,
                body: Text::from(body),
                is_whole,
            },
            Self::Connected => Wire::Connected,
            Self::Failed { why } => Wire::Failed { why },
        })
    }
}

impl Probe {
    /// Looks, and writes the answer to `out`; gives the exit code of the probe's process.
    pub(crate) fn run(&self, mut out: impl Write) -> i32 {
        let seen = match self {
            Self::File { path } => file::look_at(path),
            Self::Http {
                addresses,
                host,
                target,
                timeout,
            } => http::ask(addresses, host, target, Deadline::after(*timeout))
                .unwrap_or_else(|why| Seen::Failed { why }),
            Self::Tcp { addresses, timeout } => {
                match http::connect(addresses, Deadline::after(*timeout)) {
                    Ok(_) => Seen::Connected,
                    Err(why) => Seen::Failed { why },
                }
            }
        };
        let written = seen
            .into_wire()
            .map_err(io::Error::from)
            .and_then(|bytes| out.write_all(&bytes))
            .and_then(|()| out.flush());
        i32::from(written.is_err())
    }
}
/// As much of what was read as an answer carries, and whether that is all of it.
fn within_limit(mut read: Vec<u8>) -> (Vec<u8>, bool) {
    let is_whole = read.len() <= MAX_SEEN_BYTES;
    read.truncate(MAX_SEEN_BYTES);
    (read, is_whole)
}

#[cfg(test)]
mod tests {
    use super::Seen;

    #[test]
    fn any_bytes_survive_the_wire() {
        let seen = Seen::File {
            content: vec![0, 0xff, b'"', b'\n'],
            is_whole: false,
        };
        let wire = seen.clone().into_wire().expect("serialises");
        assert_eq!(Seen::from_wire(&wire).expect("parses"), seen);
    }
}
