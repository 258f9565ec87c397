//! Which run a person means: `latest`, a run id, a run's directory, a socket or an address.
//!
//! Owns the words of `TARGET` and the look into a run's directory. It makes and changes nothing there. Invariant: whether a
//! run is alive is told by its lock, never by an address that does not answer.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::address::Address;
use super::error::ClientError;
use crate::recordings::lock::Holder;
use crate::recordings::{RecordingsError, RunDir, Store, layout};
use crate::run::RunId;
use crate::run::id::LATEST;
use crate::status::StatusDocument;

/// Largest `status.json` that is read, in bytes: four times what a document may have.
const MAX_STATUS_BYTES: u64 = 4 << 20;

/// Why there is no such target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The text looks like an address and is none.
    #[error("{text:?} is no address: {expected}")]
    Address {
        /// What was given.
        text: String,
        /// What would be right.
        expected: &'static str,
    },
    /// The text is no form of a target.
    #[error(
        "{text:?} names no run: give latest, a run id, a run's directory (with a slash in it), unix:PATH or http://HOST:PORT"
    )]
    Form {
        /// What was given.
        text: String,
    },
    /// There is no run yet.
    #[error("there is no run in {}; start one by stockade run, or name another place by --recordings", recordings.display())]
    NoRunYet {
        /// The recordings directory.
        recordings: PathBuf,
    },
    /// There is no run of that name.
    #[error("there is no run {id} in {}; name another place by --recordings", recordings.display())]
    NoSuchRun {
        /// The run id.
        id: RunId,
        /// The recordings directory.
        recordings: PathBuf,
    },
    /// The directory cannot be used.
    #[error("{} is no run's directory", path.display())]
    Directory {
        /// What was given.
        path: PathBuf,
        /// Why.
        source: RecordingsError,
    },
}

/// A run that somebody named.
#[derive(Debug)]
pub enum Target {
    /// By its directory.
    Recorded(RunDir),
    /// By the address of its status API; its directory may be on another machine.
    Remote(Address),
}

/// Whether somebody works on a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// A process holds the run's lock.
    Alive,
    /// Nobody does; what is recorded is all there will be, but for what `stockade finalize` adds.
    Left,
    /// It cannot be told from here.
    Unknown,
}

/// What a run's directory says.
#[derive(Debug)]
pub struct Found {
    /// Whether somebody works on it.
    pub liveness: Liveness,
    /// `status.json` as it is.
    pub bytes: Vec<u8>,
    /// What it says.
    pub document: StatusDocument,
}

impl Target {
    /// Finds what `text` names; `recordings` is the directory of all runs.
    ///
    /// # Errors
    /// When it names nothing.
    pub fn find(text: &str, recordings: &Path) -> Result<Self, TargetError> {
        if let Some(address) = Address::parse(text) {
            return match address {
                Ok(address) => Ok(Self::Remote(address)),
                Err(expected) => Err(TargetError::Address {
                    text: text.to_owned(),
                    expected,
                }),
            };
        }
        if text == LATEST {
            return latest(recordings);
        }
        if text.contains('/') || text == "." || text == ".." {
            return open(Path::new(text));
        }
        let id: RunId = text.parse().map_err(|_| TargetError::Form {
            text: text.to_owned(),
        })?;
        let path = recordings.join(id.as_str());
        if path.is_dir() {
            open(&path)
        } else {
            Err(TargetError::NoSuchRun {
                id,
                recordings: recordings.to_owned(),
            })
        }
    }

    /// The run, where its directory is known.
    pub fn run(&self) -> Option<&RunDir> {
        match self {
            Self::Recorded(run) => Some(run),
            Self::Remote(_) => None,
        }
    }

    /// Looks into the run's directory; none for a target that is only an address, and before there is a status.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn look(&self) -> Result<Option<Found>, ClientError> {
        let Self::Recorded(run) = self else {
            return Ok(None);
        };
        // The lock first: a run that ends between the two looks is then seen with its end, as one that is still held.
        let liveness = liveness(run)?;
        let bytes = run
            .read(layout::STATUS, MAX_STATUS_BYTES)
            .map_err(ClientError::Recording)?;
        let Some(bytes) = bytes else {
            return Ok(None);
        };
        let document = StatusDocument::decode(&bytes).map_err(|source| {
            ClientError::Recording(RecordingsError::Damaged {
                path: run.path().join(layout::STATUS),
                source,
            })
        })?;
        Ok(Some(Found {
            liveness,
            bytes,
            document,
        }))
    }

    /// Whether somebody works on the run.
    ///
    /// # Errors
    /// When its lock cannot be asked.
    pub fn liveness(&self) -> Result<Liveness, ClientError> {
        match self {
            Self::Recorded(run) => liveness(run),
            Self::Remote(_) => Ok(Liveness::Unknown),
        }
    }

    /// Where the run can be asked at this moment, best first.
    ///
    /// # Errors
    /// When the directory cannot be read, or tells no address.
    pub fn addresses(&self) -> Result<Vec<Address>, ClientError> {
        let run = match self {
            Self::Remote(address) => return Ok(vec![address.clone()]),
            Self::Recorded(run) => run,
        };
        let listen = self.look()?.and_then(|found| found.document.listen);
        let addresses = listen.as_ref().map(Address::of).unwrap_or_default();
        if addresses.is_empty() {
            let run = run.id().clone();
            return Err(ClientError::NoAddress { run });
        }
        Ok(addresses)
    }
}

fn open(path: &Path) -> Result<Target, TargetError> {
    RunDir::open(path)
        .map(Target::Recorded)
        .map_err(|source| unusable(path, source))
}

/// Opens the newest run, by the rule of all commands: what the link names, and where it leads nowhere the last one.
fn latest(recordings: &Path) -> Result<Target, TargetError> {
    let no_run_yet = || TargetError::NoRunYet {
        recordings: recordings.to_owned(),
    };
    let store = match Store::open(recordings) {
        Ok(store) => store,
        Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => return Err(no_run_yet()),
        Err(error) => return Err(unusable(recordings, error)),
    };
    let id = store
        .latest()
        .map_err(|source| unusable(recordings, source))?;
    let id = id.ok_or_else(no_run_yet)?;
    match store.open_run(&id) {
        Ok(Some(run)) => Ok(Target::Recorded(run)),
        // It was removed since.
        Ok(None) => Err(no_run_yet()),
        Err(source) => Err(unusable(&recordings.join(id.as_str()), source)),
    }
}

fn unusable(path: &Path, source: RecordingsError) -> TargetError {
    TargetError::Directory {
        path: path.to_owned(),
        source,
    }
}

fn liveness(run: &RunDir) -> Result<Liveness, ClientError> {
    match Holder::of(run).map_err(ClientError::Lock)? {
        Holder::Somebody => Ok(Liveness::Alive),
        Holder::Nobody => Ok(Liveness::Left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_names_nothing_says_what_would() {
        let empty = tempfile::tempdir().unwrap();
        let say = |text: &str| Target::find(text, empty.path()).unwrap_err().to_string();
        assert!(say("latest").contains("there is no run in"));
        assert!(say("fox").contains("there is no run fox in"));
        assert!(say("Fox!").contains("give latest, a run id"));
        assert!(say("./fox").contains("is no run's directory"));
        assert!(say("http://x").contains("http://127.0.0.1:8090"));
        assert!(!empty.path().join("fox").exists());
    }

    #[test]
    fn a_run_is_found_by_its_id_its_directory_and_as_the_latest() {
        let store = tempfile::tempdir().unwrap();
        let run = store.path().join("fox");
        std::fs::create_dir(&run).unwrap();
        std::os::unix::fs::symlink("fox", store.path().join("latest")).unwrap();
        for text in ["fox", "latest", run.to_str().unwrap()] {
            let target = Target::find(text, store.path()).unwrap();
            assert_eq!(target.run().unwrap().id().as_str(), "fox", "{text}");
            assert_eq!(target.liveness().unwrap(), Liveness::Left);
            assert!(target.look().unwrap().is_none());
            assert!(matches!(
                target.addresses(),
                Err(ClientError::NoAddress { .. })
            ));
        }
    }

    #[test]
    fn latest_is_a_run_of_the_store_whatever_the_link_says() {
        let (store, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let link = store.path().join("latest");
        let outside = elsewhere.path().join("other");
        std::fs::create_dir(store.path().join("fox")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        for leads_to in [Path::new("gone"), &outside] {
            std::os::unix::fs::symlink(leads_to, &link).unwrap();
            let target = Target::find("latest", store.path()).unwrap();
            assert_eq!(target.run().unwrap().path(), store.path().join("fox"));
            std::fs::remove_file(&link).unwrap();
        }
        assert!(Target::find("latest", store.path()).is_ok());
        let absent = store.path().join("absent");
        let error = Target::find("latest", &absent).unwrap_err();
        assert!(matches!(error, TargetError::NoRunYet { .. }), "{error}");
        assert!(!absent.exists());
    }
}
