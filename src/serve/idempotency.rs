//! Idempotency keys: which run a key stands for.
//!
//! Owns one durable file a key, named by the key's digest. Creating it is the lock: of several requests with the same key one
//! names the run, in whatever process. It never holds a key or a body, only digests of them.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::recordings::directory::Creation;
use crate::recordings::{RecordingsError, Store, layout};
use crate::run::RunId;

/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 255;

/// Largest record that is read, in bytes; ours have about 200.
const MAX_RECORD_BYTES: u64 = 4096;

/// A key, by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    run_id: RunId,
    body_sha256: String,
}

/// What a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// This request names the run.
    New(RunId),
    /// An earlier request with the same body named it.
    Repeated(RunId),
    /// It was used with another body.
    Conflict(RunId),
    /// It is new, and there is a run of that id: the key stands for nothing.
    Taken(RunId),
}

impl Key {
    /// Takes a key of visible ASCII, 1 to [`MAX_KEY_BYTES`] bytes; none for any other.
    pub fn parse(given: &[u8]) -> Option<Self> {
        let is_fit = !given.is_empty()
            && given.len() <= MAX_KEY_BYTES
            && given
                .iter()
                .all(|byte| byte.is_ascii_graphic() || *byte == b' ');
        is_fit.then(|| Self(hexadecimal(given)))
    }

    /// Lets the key stand for `run_id`, unless it stands for a run already.
    ///
    /// # Errors
    /// When the record can be neither written nor read.
    pub fn claim(
        &self,
        store: &Store,
        run_id: &RunId,
        body: &[u8],
    ) -> Result<Meaning, RecordingsError> {
        let record = Record {
            run_id: run_id.clone(),
            body_sha256: hexadecimal(body),
        };
        let bytes = serde_json::to_vec(&record).unwrap_or_default();
        let name = format!("{}.json", self.0);
        let place = Some(layout::IDEMPOTENCY);
        // Before the key stands for the id, so that it never stands for a run that somebody else asked for.
        if store
            .read_internal(place, &name, MAX_RECORD_BYTES)?
            .is_none()
            && let Some(run) = store.open_run(run_id)?
            && run.is_begun()?
        {
            return Ok(Meaning::Taken(record.run_id));
        }
        if store.create_internal(place, &name, &bytes)? == Creation::Created {
            return Ok(Meaning::New(record.run_id));
        }
        let found = store.read_internal(place, &name, MAX_RECORD_BYTES)?;
        let found: Record =
            serde_json::from_slice(&found.unwrap_or_default()).map_err(|source| {
                RecordingsError::Damaged {
                    path: store
                        .path()
                        .join(layout::STORE_INTERNAL)
                        .join(layout::IDEMPOTENCY)
                        .join(&name),
                    source,
                }
            })?;
        Ok(if found.body_sha256 == record.body_sha256 {
            Meaning::Repeated(found.run_id)
        } else {
            Meaning::Conflict(found.run_id)
        })
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_requests_with_one_key_one_names_the_run_and_all_get_it() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(root.path()).unwrap();
        let key = Key::parse(b"order 7").unwrap();
        let claims: Vec<Meaning> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|n| {
                    let (key, store) = (&key, &store);
                    scope.spawn(move || {
                        let id = format!("run-{n}").parse().unwrap();
                        key.claim(store, &id, b"{}").unwrap()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let new: Vec<_> = claims
            .iter()
            .filter_map(|claim| match claim {
                Meaning::New(id) => Some(id.clone()),
                Meaning::Repeated(_) | Meaning::Conflict(_) | Meaning::Taken(_) => None,
            })
            .collect();
        assert_eq!(new.len(), 1, "{claims:?}");
        for claim in &claims {
            match claim {
                Meaning::New(id) | Meaning::Repeated(id) => assert_eq!(*id, new[0]),
                Meaning::Conflict(id) | Meaning::Taken(id) => panic!("{id}"),
            }
        }
        let other = "other".parse().unwrap();
        assert_eq!(
            key.claim(&store, &other, b"{\"a\":1}").unwrap(),
            Meaning::Conflict(new[0].clone())
        );
    }

    #[test]
    fn a_key_never_stands_for_a_run_that_was_there_before() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(root.path()).unwrap();
        let (key, id) = (Key::parse(b"k").unwrap(), "fox".parse().unwrap());
        let run = store.create_run(&id).unwrap();
        run.write_atomic(layout::SPEC, b"{}").unwrap();
        let taken = Meaning::Taken(id.clone());
        assert_eq!(key.claim(&store, &id, b"{}").unwrap(), taken);
        let other: RunId = "wolf".parse().unwrap();
        assert_eq!(
            key.claim(&store, &other, b"{}").unwrap(),
            Meaning::New(other.clone())
        );
    }

    #[test]
    fn no_key_is_a_path_or_a_text_that_no_header_holds() {
        let long = [b'a'; MAX_KEY_BYTES + 1];
        for bad in [b"".as_slice(), b"a\nb", "schlüssel".as_bytes(), &long] {
            assert_eq!(Key::parse(bad), None);
        }
        let Key(name) = Key::parse(b"../../etc/passwd").unwrap();
        assert!(name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
