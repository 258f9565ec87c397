//! Where the body of a message ends (RFC 9112, section 6).
//!
//! Owns the framing of bodies that are passed on as they are. Never keeps a byte. Invariant: what it lets pass is read in
//! one way only, so no reader behind it finds a second message in it.

/// Most bytes of the trailers behind a chunked body, and of one line before a chunk.
pub const MAX_CHUNK_LINE_BYTES: usize = 4 << 10;

/// Most digits of a chunk's size: 64 bits.
const MAX_SIZE_DIGITS: usize = 16;

/// A chunked body that cannot be read in one way only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the chunked body is not well-formed")]
pub struct BodyError;

/// A body, or what is still to come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// So many bytes; 0 when it is over.
    Length(u64),
    /// Chunks.
    Chunked(Chunks),
    /// Everything until the connection ends.
    UntilEnd,
}

impl Body {
    /// A body that begins with its first chunk.
    pub fn chunked() -> Self {
        Self::Chunked(Chunks::default())
    }

    /// Takes the next bytes; gives how many of them belong to the body.
    ///
    /// # Errors
    /// When a chunk is not well-formed; nothing more may be passed on then.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, BodyError> {
        match self {
            Self::Length(left) => {
                let n_own = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                *left = left.saturating_sub(u64::try_from(n_own).unwrap_or(u64::MAX));
                Ok(n_own)
            }
            Self::Chunked(chunks) => chunks.take(bytes),
            Self::UntilEnd => Ok(bytes.len()),
        }
    }

    /// Whether nothing more comes.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.state == State::Over,
            Self::UntilEnd => false,
        }
    }
}

/// The reader of a chunked body (RFC 9112, section 7.1).
///
/// ```text
///   Size --digits--> Size --;--> Extension --CR--> SizeEnd --LF--> Data(n) --n bytes--> DataEnd --CR LF--> Size
///                      \---------CR------------->/     \--LF after size 0--> Trailer --empty line--> Over
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunks {
    state: State,
    size: u64,
    /// Digits of a size, bytes of an extension, or bytes of all trailers.
    n_bytes: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Extension,
    SizeEnd,
    Data,
    DataEnd,
    DataLineEnd,
    /// At the beginning of a trailer, or of the empty line.
    TrailerStart,
    Trailer,
    TrailerEnd,
    LastEnd,
    Over,
}

impl Chunks {
    fn take(&mut self, bytes: &[u8]) -> Result<usize, BodyError> {
        let mut rest = bytes;
        while self.state != State::Over {
            if self.state == State::Data {
                let n_own = usize::try_from(self.size)
                    .unwrap_or(usize::MAX)
                    .min(rest.len());
                self.size -= u64::try_from(n_own).unwrap_or(self.size);
                rest = rest.get(n_own..).unwrap_or_default();
                if self.size > 0 {
                    break;
                }
                self.state = State::DataEnd;
            }
            let Some((byte, behind)) = rest.split_first() else {
                break;
            };
            self.state = self.step(*byte)?;
            rest = behind;
        }
        Ok(bytes.len() - rest.len())
    }

    fn step(&mut self, byte: u8) -> Result<State, BodyError> {
        match (self.state, byte) {
            (State::Size, b'\r') if self.n_bytes > 0 => Ok(State::SizeEnd),
            (State::Size, b';') if self.n_bytes > 0 => {
                self.n_bytes = 0;
                Ok(State::Extension)
            }
            (State::Size, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(BodyError)?;
                self.count(MAX_SIZE_DIGITS)?;
                self.size = self.size << 4 | u64::from(digit);
                Ok(State::Size)
            }
            (State::Extension, b'\r') => Ok(State::SizeEnd),
            (State::Extension, _) if is_of_line(byte) => {
                self.count(MAX_CHUNK_LINE_BYTES)?;
                Ok(State::Extension)
            }
            (State::SizeEnd, b'\n') => {
                self.n_bytes = 0;
                Ok(match self.size {
                    0 => State::TrailerStart,
                    _ => State::Data,
                })
            }
            (State::DataEnd, b'\r') => Ok(State::DataLineEnd),
            (State::DataLineEnd, b'\n') => Ok(State::Size),
            (State::TrailerStart, b'\r') => Ok(State::LastEnd),
            (State::TrailerStart | State::Trailer, _) if is_of_line(byte) => {
                self.count(MAX_CHUNK_LINE_BYTES)?;
                Ok(State::Trailer)
            }
            (State::Trailer, b'\r') => Ok(State::TrailerEnd),
            (State::TrailerEnd, b'\n') => Ok(State::TrailerStart),
            (State::LastEnd, b'\n') => Ok(State::Over),
            _ => Err(BodyError),
        }
    }

    fn count(&mut self, limit: usize) -> Result<(), BodyError> {
        self.n_bytes += 1;
        if self.n_bytes > limit {
            return Err(BodyError);
        }
        Ok(())
    }
}

/// Whether a line may have this byte: no control character but the tab.
fn is_of_line(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that belong to the body, and whether it is over; none when it is refused.
    type Taken = Option<(usize, bool)>;

    /// Gives the body in pieces of that size.
    fn taken(mut body: Body, bytes: &[u8], piece: usize) -> Taken {
        let mut n_taken = 0;
        for piece in bytes.chunks(piece) {
            let n_own = body.take(piece).ok()?;
            n_taken += n_own;
            if n_own < piece.len() {
                break;
            }
        }
        Some((n_taken, body.is_over()))
    }

    #[test]
    fn a_body_ends_at_the_same_byte_in_whatever_pieces_it_comes() {
        let chunked: [(&[u8], Taken); 16] = [
            (b"0\r\n\r\n", Some((5, true))),
            (b"0\r\n\r\nGET / HTTP/1.1\r\n", Some((5, true))),
            (b"3\r\nabc\r\n0\r\n\r\nX", Some((13, true))),
            (b"a;x=\"y\"\r\n0123456789\r\n00\r\n\r\n", Some((27, true))),
            (b"1\r\na\r\n0\r\nTrailer: x\r\n\r\nX", Some((23, true))),
            (b"3\r\nab", Some((5, false))),
            (b"", Some((0, false))),
            (b"\r\n", None),
            (b"g\r\n", None),
            (b"3\nabc\r\n0\r\n\r\n", None),
            (b"3\r\nabcd\r\n", None),
            (b"3 \r\nabc", None),
            (b"0x3\r\nabc", None),
            (b"-1\r\n", None),
            (b"3;a\nb\r\nabc", None),
            (b"11111111111111111\r\n", None),
        ];
        for (bytes, expected) in chunked {
            for piece in [1, 2, 3, 1_024] {
                let text = String::from_utf8_lossy(bytes);
                assert_eq!(
                    taken(Body::chunked(), bytes, piece),
                    expected,
                    "{text:?} {piece}"
                );
            }
        }
        assert_eq!(taken(Body::Length(3), b"abcGET", 2), Some((3, true)));
        assert_eq!(taken(Body::Length(0), b"GET", 2), Some((0, true)));
        assert_eq!(taken(Body::Length(9), b"abc", 2), Some((3, false)));
        assert_eq!(taken(Body::UntilEnd, b"abc", 2), Some((3, false)));
    }

    #[test]
    fn lines_between_chunks_have_a_limit() {
        for start in ["1;", "0\r\n"] {
            let line = |n_bytes| format!("{start}{}", "x".repeat(n_bytes));
            let fits = line(MAX_CHUNK_LINE_BYTES);
            assert!(taken(Body::chunked(), fits.as_bytes(), 64).is_some());
            let larger = line(MAX_CHUNK_LINE_BYTES + 1);
            assert_eq!(taken(Body::chunked(), larger.as_bytes(), 64), None);
        }
    }
}
