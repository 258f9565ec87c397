//! Whether a stream of bytes holds a secret.
//!
//! Owns the comparison of a stream with what the redactor makes of it: a stream that comes out as it went in holds none.
//! Memory is bounded by what the redactor holds back.

use crate::redact::{Redactor, StreamRedactor};

/// Looks at one stream.
pub(super) struct SecretScan {
    redactor: StreamRedactor,
    /// What went in and has not come out.
    awaited: Vec<u8>,
    out: Vec<u8>,
}

impl SecretScan {
    pub(super) fn new(redactor: &Redactor) -> Self {
        Self {
            redactor: StreamRedactor::new(redactor),
            awaited: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Takes the next bytes; true once a secret was found.
    pub(super) fn push(&mut self, bytes: &[u8]) -> bool {
        self.awaited.extend_from_slice(bytes);
        self.out.clear();
        self.redactor.push(bytes, &mut self.out);
        !self.came_out_as_it_went_in()
    }

    /// Ends the stream; true when a secret was found.
    pub(super) fn finish(mut self) -> bool {
        self.out.clear();
        self.redactor.finish(&mut self.out);
        !self.came_out_as_it_went_in() || !self.awaited.is_empty()
    }

    fn came_out_as_it_went_in(&mut self) -> bool {
        let is_same = self.awaited.starts_with(&self.out);
        if is_same {
            self.awaited.drain(..self.out.len());
        }
        is_same
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(content: &[u8], chunk_bytes: usize) -> bool {
        let secret = b"correct-horse-battery".to_vec();
        let redactor = Redactor::new([("KEY".to_owned(), secret)]);
        let mut scan = SecretScan::new(&redactor);
        content.chunks(chunk_bytes).any(|chunk| scan.push(chunk)) || scan.finish()
    }

    #[test]
    fn a_secret_is_found_wherever_it_is_split() {
        let mut content = vec![b'x'; 1_000];
        content.extend_from_slice(b"correct-horse-battery");
        content.extend_from_slice(&[0, 255, b'y']);
        for chunk_bytes in [1, 2, 7, 64, 1_010, 4_096] {
            assert!(holds(&content, chunk_bytes), "{chunk_bytes}");
        }
        assert!(holds(b"correct-horse-battery", 5));
    }

    #[test]
    fn what_only_begins_like_a_secret_is_none() {
        for content in [&b""[..], b"correct-horse", b"\0\0\0", &[b'x'; 70_000]] {
            for chunk_bytes in [1, 4_096] {
                assert!(!holds(content, chunk_bytes), "{}", content.len());
            }
        }
    }
}
