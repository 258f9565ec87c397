//! Text of the operating system on the wire: any bytes, readable when they are UTF-8.
//!
//! Owns the serialised form of paths, arguments and variables. Never loses or replaces a byte.

use serde::{Deserialize, Serialize};
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A string of the operating system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Text {
    /// Valid UTF-8, the usual case.
    Utf8(String),
    /// Anything else.
    Bytes(Vec<u8>),
}

impl Text {
    /// Returns the bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Utf8(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// Returns the text as a path.
    pub(crate) fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.as_bytes()))
    }

    /// Returns the text for a system call.
    ///
    /// # Errors
    /// If it has a NUL byte inside.
    pub(crate) fn to_c(&self) -> io::Result<CString> {
        CString::new(self.as_bytes()).map_err(io::Error::from)
    }
}

impl From<OsString> for Text {
    fn from(text: OsString) -> Self {
        match text.into_string() {
            Ok(text) => Self::Utf8(text),
            Err(text) => Self::Bytes(text.into_vec()),
        }
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(OsString::from_vec(bytes))
    }
}

impl From<PathBuf> for Text {
    fn from(path: PathBuf) -> Self {
        Self::from(path.into_os_string())
    }
}

impl From<&Path> for Text {
    fn from(path: &Path) -> Self {
        Self::from(path.to_path_buf())
    }
}

impl std::fmt::Display for Text {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}", self.as_path().display())
    }
}

#[cfg(test)]
mod tests {
    use super::Text;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn bytes_that_are_not_utf8_survive_the_wire() {
        for raw in [b"plain".to_vec(), vec![0xff, b'/', 0x80]] {
            let text = Text::from(OsString::from_vec(raw.clone()));
            let wire = serde_json::to_vec(&text).expect("serialises");
            let back: Text = serde_json::from_slice(&wire).expect("parses");
            assert_eq!(back.as_bytes(), raw);
        }
    }
}
