//! Secrets: text that no rendering shows.
//!
//! `Debug` masks it, there is no `Display`, and serialising one is an error: the only door out is [`Secret::expose`].

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// Largest secret, in bytes: a private key with its chain fits, and it still fits into one environment variable.
pub const MAX_SECRET_BYTES: usize = 64 * 1024;

/// What stands in the place of a secret.
pub const MASK: &str = "[secret]";

/// Shortest secret that is looked for inside other text, in bytes; shorter ones would mask innocent words.
const MIN_MASKED_BYTES: usize = 8;

/// A secret text. Its memory is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a text as a secret; bounds are the caller's business.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself. Callers hand it to the workload, to a comparison in constant time or to the redactor, never to a log.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `text` with the secret masked: where it is the whole text, and, from 8 bytes, wherever it occurs.
    pub(crate) fn mask_in(&self, text: &str) -> String {
        if self.0.is_empty() {
            text.to_owned()
        } else if text == self.expose() {
            MASK.to_owned()
        } else if self.0.len() >= MIN_MASKED_BYTES && text.contains(self.expose()) {
            text.replace(self.expose(), MASK)
        } else {
            text.to_owned()
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    /// Always an error: only the hand-over carries secrets, and it takes them out first.
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom(
            "a secret is serialised only by the hand-over",
        ))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}
