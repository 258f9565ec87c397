//! The token of a control plane that was given none.
//!
//! Owns `.stockade/token`: made once for a recordings directory, so that every control plane over it has the same. It is
//! readable by its owner alone from its first moment, and no message has it.

use std::path::PathBuf;

use crate::description::secret::Secret;
use crate::recordings::{RecordingsError, Store, layout};

/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;

/// Largest token file that is read, in bytes.
const MAX_TOKEN_FILE_BYTES: u64 = 4096;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The system gave no random bytes.
    #[error("no random bytes for a token")]
    NoRandom,
    /// The file can be neither written nor read.
    #[error("cannot keep the token")]
    Recordings(#[source] RecordingsError),
    /// The file is there and has no token.
    #[error("{} has no token; remove it, and a new one is made", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Where the token stands.
pub fn path(store: &Store) -> PathBuf {
    store
        .path()
        .join(layout::STORE_INTERNAL)
        .join(layout::TOKEN)
}

/// The token of the store, which is made where there is none.
///
/// # Errors
/// When it can be neither made nor read.
pub fn mint(store: &Store) -> Result<Secret, TokenError> {
    let mut random = [0; TOKEN_BYTES];
    getrandom::fill(&mut random).map_err(|_| TokenError::NoRandom)?;
    let new: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    store
        .create_internal(None, layout::TOKEN, format!("{new}\n").as_bytes())
        .map_err(TokenError::Recordings)?;
    let kept = store
        .read_internal(None, layout::TOKEN, MAX_TOKEN_FILE_BYTES)
        .map_err(TokenError::Recordings)?;
    let kept = String::from_utf8(kept.unwrap_or_default()).unwrap_or_default();
    match kept.trim() {
        "" => Err(TokenError::Empty { path: path(store) }),
        token => Ok(Secret::new(token.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn all_who_mint_get_the_same_token_and_nobody_else_can_read_it() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(root.path()).unwrap();
        let first = mint(&store).unwrap();
        assert_eq!(first.expose().len(), 2 * TOKEN_BYTES);
        assert_eq!(mint(&store).unwrap().expose(), first.expose());
        let mode = std::fs::metadata(path(&store))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
