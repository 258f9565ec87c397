//! The run id: a DNS label, parsed at the edge, so that inside it is always a safe single path component.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest run id, in bytes (RFC 1123, section 2.1: a label has at most 63 octets).
pub const MAX_RUN_ID_BYTES: usize = 63;

/// The name of the link in the recordings directory that points at the newest run; no run may be called so.
pub const LATEST: &str = "latest";

/// Identity of one run: `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`, and not `latest`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

/// The given text is no run id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "run_id {given:?} is not a DNS label: use 1 to 63 of a-z, 0-9 and '-', with a letter or digit first and last, and not the word \"latest\""
)]
pub struct InvalidRunId {
    /// What was given, cut to 80 characters.
    pub given: String,
}

impl RunId {
    /// Mints a new id: a UUIDv7 without hyphens, so that ids sort by the time of their creation (RFC 9562, section 5.7).
    pub fn mint() -> Self {
        Self(uuid::Uuid::now_v7().simple().to_string())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunId {
    type Err = InvalidRunId;

    fn from_str(given: &str) -> Result<Self, InvalidRunId> {
        let bytes = given.as_bytes();
        let is_edge =
            |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let is_label = bytes.len() <= MAX_RUN_ID_BYTES
            && is_edge(bytes.first())
            && is_edge(bytes.last())
            && bytes
                .iter()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
        if is_label && given != LATEST {
            Ok(Self(given.to_owned()))
        } else {
            Err(InvalidRunId {
                given: given.chars().take(80).collect(),
            })
        }
    }
}

impl TryFrom<String> for RunId {
    type Error = InvalidRunId;

    fn try_from(given: String) -> Result<Self, InvalidRunId> {
        given.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_accepted_and_everything_else_is_refused() {
        let longest = "a".repeat(63);
        for good in ["a", "0", "a-b", "run-2026", longest.as_str()] {
            assert_eq!(good.parse::<RunId>().unwrap().as_str(), good);
        }
        let too_long = "a".repeat(64);
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a.b",
            "..",
            ".",
            "a/b",
            "a b",
            "a\0",
            "é",
            "latest",
            "a_b",
            ".stockade",
            too_long.as_str(),
        ] {
            let error = bad.parse::<RunId>().unwrap_err();
            assert!(
                error.to_string().contains("DNS label"),
                "{bad:?} gave {error}"
            );
        }
    }

    #[test]
    fn minted_ids_are_valid_and_sort_by_time() {
        let first = RunId::mint();
        let second = RunId::mint();
        assert_eq!(first.as_str().parse::<RunId>().unwrap(), first);
        assert!(first < second);
    }
}
