//! The key of a deployment: from it come the tokens of its runs, and the name by which its containers are known.
//!
//! Owns `.stockade/engine-key`, readable by its owner alone. Every control plane over the same recordings has the same key, so
//! each of them can ask each run, and none keeps a token.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::description::secret::Secret;
use crate::recordings::{RecordingsError, Store, layout};
use crate::run::RunId;

/// Random bytes of a key.
const KEY_BYTES: usize = 32;

/// Largest key file that is read, in bytes.
const MAX_KEY_FILE_BYTES: u64 = 4096;

/// Characters of the owner's name: enough to tell deployments on one engine apart.
const OWNER_CHARS: usize = 12;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system gave no random bytes.
    #[error("no random bytes for the key of the engine")]
    NoRandom,
    /// The file can be neither written nor read.
    #[error("cannot keep the key of the engine")]
    Recordings(#[source] RecordingsError),
    /// The file is there and has no key.
    #[error(".stockade/engine-key of the recordings has no key; remove it, and a new one is made")]
    Damaged,
}

/// The key of the store, which is made where there is none.
///
/// # Errors
/// When it can be neither made nor read.
pub(super) fn key(store: &Store) -> Result<Secret, KeyError> {
    let mut random = [0; KEY_BYTES];
    getrandom::fill(&mut random).map_err(|_| KeyError::NoRandom)?;
    store
        .create_internal(None, layout::ENGINE_KEY, hexadecimal(&random).as_bytes())
        .map_err(KeyError::Recordings)?;
    let kept = store
        .read_internal(None, layout::ENGINE_KEY, MAX_KEY_FILE_BYTES)
        .map_err(KeyError::Recordings)?;
    let kept = String::from_utf8(kept.unwrap_or_default()).unwrap_or_default();
    if kept.len() == 2 * KEY_BYTES && kept.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(Secret::new(kept))
    } else {
        Err(KeyError::Damaged)
    }
}

/// The token of a run: HMAC-SHA-256 (RFC 2104) of its id.
pub(super) fn of_run(key: &Secret, run_id: &RunId) -> Secret {
    Secret::new(digest(key, &["run", run_id.as_str()]))
}

/// What tells the containers of this deployment from those of another one; not secret.
pub(super) fn owner(key: &Secret) -> String {
    let mut owner = digest(key, &["owner"]);
    owner.truncate(OWNER_CHARS);
    owner
}

fn digest(key: &Secret, parts: &[&str]) -> String {
    // A key of any length is one: the error that the type has cannot come.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()) else {
        return String::new();
    };
    for part in parts {
        mac.update(part.as_bytes());
        mac.update(b"\0");
    }
    hexadecimal(&mac.finalize().into_bytes())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_control_plane_over_the_same_recordings_has_the_same_tokens() {
        let root = tempfile::tempdir().unwrap();
        let open = || key(&Store::open_or_create(root.path()).unwrap()).unwrap();
        let (first, second) = (open(), open());
        let (fox, owl): (RunId, RunId) = ("fox".parse().unwrap(), "owl".parse().unwrap());
        assert_eq!(of_run(&first, &fox), of_run(&second, &fox));
        assert_ne!(of_run(&first, &fox), of_run(&first, &owl));
        assert_eq!(of_run(&first, &fox).expose().len(), 64);
        assert_eq!(owner(&first), owner(&second));
        let other = tempfile::tempdir().unwrap();
        let other = key(&Store::open_or_create(other.path()).unwrap()).unwrap();
        assert_ne!(of_run(&first, &fox), of_run(&other, &fox));
        assert_ne!(owner(&first), owner(&other));
    }

    #[test]
    fn a_damaged_key_is_no_key() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(root.path()).unwrap();
        store
            .create_internal(None, layout::ENGINE_KEY, b"short")
            .unwrap();
        assert!(matches!(key(&store), Err(KeyError::Damaged)));
    }
}
