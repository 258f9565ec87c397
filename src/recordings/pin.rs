//! Pins: runs that retention must leave alone.
//!
//! Owns `.stockade/pins/`, where an empty file with the name of a run keeps that run. It never looks into a run and never
//! removes one. Invariant: a pin is only left in place for a run that was there when it was made.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};

use nix::unistd::UnlinkatFlags;

use super::directory::{Creation, Directory};
use super::error::RecordingsError;
use super::layout;
use super::store::Store;
use crate::run::RunId;

/// A pin could not be set or taken away.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// There is no such run.
    #[error("there is no run {id} in the recordings")]
    NoSuchRun {
        /// The run that was named.
        id: RunId,
    },
    /// The store's own directory cannot be used.
    #[error("cannot keep the pin of run {id}")]
    Recordings {
        /// The run that was named.
        id: RunId,
        /// Why.
        source: RecordingsError,
    },
}

/// The pinned runs of a store at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins(BTreeSet<RunId>);

impl Pins {
    /// Reads the pins; a store without any has none.
    ///
    /// # Errors
    /// When the directory of the pins cannot be listed.
    pub fn load(store: &Store) -> Result<Self, RecordingsError> {
        let Some(pins) = existing(store)? else {
            return Ok(Self::default());
        };
        let path = store.path().join(layout::PINS);
        let names = Directory::new(pins.as_fd(), &path).names()?;
        let ids = names.iter().filter_map(|name| name.to_str()?.parse().ok());
        Ok(Self(ids.collect()))
    }

    /// Whether the run is pinned.
    pub fn holds(&self, id: &RunId) -> bool {
        self.0.contains(id)
    }
}

/// Pins a run, durably; a second pin changes nothing.
///
/// # Errors
/// When there is no such run, or the pin cannot be written. A run that is removed meanwhile counts as absent.
pub fn pin(store: &Store, id: &RunId) -> Result<Creation, PinError> {
    let failed = |source| PinError::Recordings {
        id: id.clone(),
        source,
    };
    let is_there =
        || -> Result<bool, PinError> { Ok(store.open_run(id).map_err(failed)?.is_some()) };
    let no_such_run = || PinError::NoSuchRun { id: id.clone() };
    if !is_there()? {
        return Err(no_such_run());
    }
    let internal = store.internal().map_err(failed)?;
    let path = store.path().join(layout::STORE_INTERNAL);
    let (pins, _) = Directory::new(internal.as_fd(), &path)
        .make_directory(layout::PINS)
        .map_err(failed)?;
    let pins = Directory::new(pins.as_fd(), &path);
    let creation = pins.create_if_absent(id.as_str(), b"").map_err(failed)?;
    // A pruning that did not see the pin has renamed the run away by now, or sees the pin under the run's lock.
    if !is_there()? {
        pins.remove(id.as_str(), UnlinkatFlags::NoRemoveDir)
            .map_err(failed)?;
        return Err(no_such_run());
    }
    Ok(creation)
}

/// Takes the pin of a run away; a run without one is left as it is. Says whether there was one.
///
/// # Errors
/// When the pin cannot be removed.
pub fn unpin(store: &Store, id: &RunId) -> Result<bool, PinError> {
    let failed = |source| PinError::Recordings {
        id: id.clone(),
        source,
    };
    let Some(pins) = existing(store).map_err(failed)? else {
        return Ok(false);
    };
    let path = store.path().join(layout::PINS);
    let pins = Directory::new(pins.as_fd(), &path);
    let was_pinned = pins.stat(id.as_str()).map_err(failed)?.is_some();
    pins.remove(id.as_str(), UnlinkatFlags::NoRemoveDir)
        .map_err(failed)?;
    Ok(was_pinned)
}

/// Whether a run is pinned now.
pub(super) fn is_pinned(store: &Store, id: &RunId) -> Result<bool, RecordingsError> {
    let Some(pins) = existing(store)? else {
        return Ok(false);
    };
    let path = store.path().join(layout::PINS);
    Ok(Directory::new(pins.as_fd(), &path)
        .stat(id.as_str())?
        .is_some())
}

/// Removes pins whose runs somebody removed by hand: a later run of the same id is not to inherit them.
pub(super) fn remove_stale(store: &Store, internal: Directory<'_>) -> Result<(), RecordingsError> {
    let Pins(ids) = Pins::load(store)?;
    for id in ids {
        // What cannot be looked at may be there, and keeps its pin.
        if store.open_run(&id).is_ok_and(|run| run.is_none()) {
            let pins = internal.open_directory(layout::PINS)?;
            Directory::new(pins.as_fd(), store.path())
                .remove(id.as_str(), UnlinkatFlags::NoRemoveDir)?;
        }
    }
    Ok(())
}

/// Opens the directory of the pins, if there is one; makes nothing.
fn existing(store: &Store) -> Result<Option<OwnedFd>, RecordingsError> {
    let open = |parent: Directory<'_>, name: &str| match parent.open_directory(name) {
        Ok(directory) => Ok(Some(directory)),
        Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(error),
    };
    let Some(internal) = open(store.directory(), layout::STORE_INTERNAL)? else {
        return Ok(None);
    };
    open(Directory::new(internal.as_fd(), store.path()), layout::PINS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(root.path()).unwrap();
        (root, store)
    }

    #[test]
    fn a_pin_is_set_once_and_taken_away_once() {
        let (_root, store) = store();
        let id: RunId = "r1".parse().unwrap();
        store.create_run(&id).unwrap();
        assert!(!unpin(&store, &id).unwrap());
        assert_eq!(pin(&store, &id).unwrap(), Creation::Created);
        assert_eq!(pin(&store, &id).unwrap(), Creation::Existed);
        assert!(Pins::load(&store).unwrap().holds(&id));
        assert!(unpin(&store, &id).unwrap());
        assert!(!unpin(&store, &id).unwrap());
        assert_eq!(Pins::load(&store).unwrap(), Pins::default());
    }

    #[test]
    fn a_run_that_is_not_there_cannot_be_pinned_and_leaves_no_pin() {
        let (root, store) = store();
        let id: RunId = "nobody".parse().unwrap();
        assert!(matches!(pin(&store, &id), Err(PinError::NoSuchRun { .. })));
        assert!(!root.path().join(".stockade/pins/nobody").exists());
    }

    #[test]
    fn pins_are_read_from_a_store_that_has_none_without_making_anything() {
        let (root, store) = store();
        assert_eq!(Pins::load(&store).unwrap(), Pins::default());
        assert!(!root.path().join(".stockade").exists());
    }
}
