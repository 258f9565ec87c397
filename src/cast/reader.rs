//! Reading a cast, line by line.
//!
//! Owns the bounds of what is read. Invariant: a line that is no entry is counted and passed over, never an error, because a
//! cast may be read while it is written, and other programs write kinds of entries that are not known here.

use std::io::{self, BufRead, Read};

use super::entry::{Entry, Header, VERSION, parse_entry};

/// Longest line that is read, in bytes: a chunk of a pipe, with every byte escaped, and some.
pub const MAX_LINE_BYTES: u64 = 1024 * 1024;

/// Why a cast cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CastError {
    /// The file cannot be read.
    #[error("cannot read the terminal recording")]
    Read(#[source] io::Error),
    /// The first line is no header of asciicast.
    #[error("the terminal recording does not begin with a header of asciicast")]
    NoHeader,
    /// The header is of another version.
    #[error("the terminal recording is of version {version}; version {VERSION} is known")]
    Version {
        /// The version that it names.
        version: u32,
    },
}

/// Reads the entries of one cast.
#[derive(Debug)]
pub struct CastReader<R> {
    source: R,
    line: Vec<u8>,
    /// Lines that were no entries.
    pub n_passed_over: u64,
}

impl<R: BufRead> CastReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When there is none that is known here.
    pub fn open(source: R) -> Result<(Header, Self), CastError> {
        let mut reader = Self {
            source,
            line: Vec::new(),
            n_passed_over: 0,
        };
        if !reader.next_line()? {
            return Err(CastError::NoHeader);
        }
        let header: Header =
            serde_json::from_slice(&reader.line).map_err(|_| CastError::NoHeader)?;
        if header.version != VERSION {
            let version = header.version;
            return Err(CastError::Version { version });
        }
        Ok((header, reader))
    }

    /// The next entry; none at the end.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, CastError> {
        while self.next_line()? {
            match std::str::from_utf8(&self.line).ok().and_then(parse_entry) {
                Some(entry) => return Ok(Some(entry)),
                None => self.n_passed_over += 1,
            }
        }
        Ok(None)
    }

    /// Reads a line without its end; of one that is too long, its beginning. False at the end of the file.
    fn next_line(&mut self) -> Result<bool, CastError> {
        self.line.clear();
        let n_read = self
            .source
            .by_ref()
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut self.line)
            .map_err(CastError::Read)?;
        if self.line.pop_if(|last| *last == b'\n').is_none() && n_read as u64 == MAX_LINE_BYTES {
            self.source.skip_until(b'\n').map_err(CastError::Read)?;
        }
        Ok(n_read > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Vec<String>, u64), CastError> {
        let (_, mut reader) = CastReader::open(text.as_bytes())?;
        let mut texts = Vec::new();
        while let Some(entry) = reader.next_entry()? {
            texts.push(entry.text);
        }
        Ok((texts, reader.n_passed_over))
    }

    #[test]
    fn what_is_no_entry_is_passed_over_and_counted() {
        let long = "x".repeat(usize::try_from(MAX_LINE_BYTES).unwrap() * 2);
        let text = format!(
            "{{\"version\":2,\"width\":80,\"height\":24}}\n[0.1,\"o\",\"a\"]\nnonsense\n[0.2,\"i\",\"typed\"]\n{long}\n[0.3,\"m\",\"b\"]\n[0.4,\"o\",\"torn"
        );
        let expected = (vec!["a".to_owned(), "b".to_owned()], 4);
        assert_eq!(read(&text).unwrap(), expected);
    }

    #[test]
    fn a_file_that_is_no_cast_of_this_version_is_refused() {
        for text in ["", "\n", "{}\n", "[0.1,\"o\",\"a\"]\n", "\u{1b}[2J"] {
            assert!(matches!(read(text), Err(CastError::NoHeader)), "{text:?}");
        }
        let third = "{\"version\":3,\"width\":80,\"height\":24}\n";
        assert!(matches!(
            read(third),
            Err(CastError::Version { version: 3 })
        ));
    }
}
