//! Which run a person means: `latest`, a run id, a run's directory, a socket or an address, or the id of a run of a control
//! plane.
//!
//! Owns the look into a run's directory; what a recording may be called is the rule of `recordings`. It makes and changes nothing there. Invariant: whether a
//! run is alive is told by its lock, never by an address that does not answer.

use std::path::PathBuf;

use nix::fcntl::OFlag;

use super::address::{Address, HeldSocket};
use super::error::ClientError;
use crate::recordings::find::{self, FindError};
use crate::recordings::lock::Holder;
use crate::recordings::{RecordingsError, RunDir, layout};
use crate::run::RunId;
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
        "{text:?} names no run: give latest, a run id, a run's directory (with a slash in it), unix:PATH or HOST:PORT"
    )]
    Form {
        /// What was given.
        text: String,
    },
    /// There is no such recording.
    #[error(transparent)]
    Recording(FindError),
}

/// A run that somebody named.
#[derive(Debug)]
pub enum Target {
    /// By its directory.
    Recorded(RunDir),
    /// By its directory, in which its socket lies, too: whatever its record says of an address counts for nothing, for whoever
    /// wrote it is not trusted with the sockets of this host.
    Beside {
        /// The directory.
        run: RunDir,
        /// The name of the socket in it.
        socket: &'static str,
    },
    /// By the address of its status API; its directory may be on another machine.
    Remote(Address),
    /// By its id, at a control plane.
    OfPlane {
        /// Where the control plane listens.
        plane: Address,
        /// The run.
        run: RunId,
    },
}

/// What a run is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Its status document.
    Status,
    /// Its action log.
    Events,
    /// To stop.
    Stop,
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
    /// Finds what `text` names: an address, or a recording by the rule of [`find()`](find::find).
    ///
    /// # Errors
    /// When it names nothing.
    pub fn find(
        text: &str,
        store: &dyn Fn() -> Result<PathBuf, RecordingsError>,
    ) -> Result<Self, TargetError> {
        match Address::parse(text) {
            Some(Ok(address)) => Ok(Self::Remote(address)),
            Some(Err(expected)) => Err(TargetError::Address {
                text: text.to_owned(),
                expected,
            }),
            None => match find::find(text, store) {
                Ok(run) => Ok(Self::Recorded(run)),
                Err(FindError::Form { named: text }) => Err(TargetError::Form { text }),
                Err(error) => Err(TargetError::Recording(error)),
            },
        }
    }

    /// The run, where its directory is known.
    pub fn run(&self) -> Option<&RunDir> {
        match self {
            Self::Recorded(run) | Self::Beside { run, .. } => Some(run),
            Self::Remote(_) | Self::OfPlane { .. } => None,
        }
    }

    /// The run's id, where it is known before it is asked.
    pub fn id(&self) -> Option<&RunId> {
        match self {
            Self::Recorded(run) | Self::Beside { run, .. } => Some(run.id()),
            Self::Remote(_) => None,
            Self::OfPlane { run, .. } => Some(run),
        }
    }

    /// The path by which whoever answers for the run is asked.
    pub fn path(&self, asked: Asked) -> String {
        match (self, asked) {
            (Self::OfPlane { run, .. }, Asked::Status) => format!("/runs/{run}"),
            (Self::OfPlane { run, .. }, Asked::Events) => format!("/runs/{run}/stream"),
            (Self::OfPlane { run, .. }, Asked::Stop) => format!("/runs/{run}/stop"),
            (_, Asked::Status) => "/status".to_owned(),
            (_, Asked::Events) => "/events".to_owned(),
            (_, Asked::Stop) => "/stop".to_owned(),
        }
    }

    /// Looks into the run's directory; none for a target that is only an address, and before there is a status.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn look(&self) -> Result<Option<Found>, ClientError> {
        let Some(run) = self.run() else {
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
            Self::Recorded(run) | Self::Beside { run, .. } => liveness(run),
            Self::Remote(_) | Self::OfPlane { .. } => Ok(Liveness::Unknown),
        }
    }

    /// Where the run can be asked at this moment, best first.
    ///
    /// # Errors
    /// When the directory cannot be read, or tells no address.
    pub fn addresses(&self) -> Result<Vec<Address>, ClientError> {
        let run = match self {
            Self::Remote(address) | Self::OfPlane { plane: address, .. } => {
                return Ok(vec![address.clone()]);
            }
            Self::Recorded(run) => run,
            Self::Beside { run, socket } => return Ok(vec![held(run, socket)?]),
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

fn held(run: &RunDir, socket: &str) -> Result<Address, ClientError> {
    // A link in its place is an error, and what is no socket refuses the connection.
    let found = run.open_beneath(socket, OFlag::O_PATH);
    let found = found.map_err(|_| ClientError::NoAddress {
        run: run.id().clone(),
    })?;
    Ok(Address::Held(HeldSocket::new(
        found,
        run.path().join(socket),
    )))
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
        let say = |text: &str| {
            let found = Target::find(text, &|| Ok(empty.path().to_owned()));
            found.unwrap_err().to_string()
        };
        assert!(say("latest").contains("there is no run in"));
        assert!(say("Fox!").contains("unix:PATH or HOST:PORT"));
        assert!(say("http://x").contains("http://127.0.0.1:8090"));
    }

    #[test]
    fn a_run_is_found_by_its_id_its_directory_and_as_the_latest() {
        let store = tempfile::tempdir().unwrap();
        let run = store.path().join("fox");
        std::fs::create_dir(&run).unwrap();
        std::fs::write(run.join(layout::SPEC), "{}").unwrap();
        std::os::unix::fs::symlink("fox", store.path().join("latest")).unwrap();
        for text in ["fox", "latest", run.to_str().unwrap()] {
            let target = Target::find(text, &|| Ok(store.path().to_owned())).unwrap();
            assert_eq!(target.run().unwrap().id().as_str(), "fox", "{text}");
            assert_eq!(target.liveness().unwrap(), Liveness::Left);
            assert!(target.look().unwrap().is_none());
            assert!(matches!(
                target.addresses(),
                Err(ClientError::NoAddress { .. })
            ));
        }
    }
}
