//! Which recording a person means: `latest`, a run id, or a path.
//!
//! Owns the one rule for all commands that read recordings. It makes nothing and changes nothing.

use std::path::{Path, PathBuf};

use super::error::RecordingsError;
use super::run_dir::RunDir;
use super::store::Store;
use crate::run::RunId;
use crate::run::id::LATEST;

/// No recording was found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// What was named is neither a run of the store nor a directory.
    #[error(
        "there is no run {named:?} in {}; name a run id, `latest`, or the path of a run's directory",
        store.display()
    )]
    NotFound {
        /// What was named.
        named: String,
        /// The store that was looked into.
        store: PathBuf,
    },
    /// The store has no run at all.
    #[error("there is no run in {}", store.display())]
    Empty {
        /// The store that was looked into.
        store: PathBuf,
    },
    /// Something was found and cannot be opened.
    #[error("cannot open the recording {named:?}")]
    Recordings {
        /// What was named.
        named: String,
        /// Why.
        source: RecordingsError,
    },
}

/// Opens the recording that `named` means: a path where it has a `/` or is `.` or `..`, the newest run for `latest`, else a
/// run id of the store, else a directory of that name below the current one.
///
/// # Errors
/// When there is none, or it cannot be opened.
pub fn find(named: &str, store: &Path) -> Result<RunDir, FindError> {
    let failed = |source| FindError::Recordings {
        named: named.to_owned(),
        source,
    };
    if named.contains('/') || matches!(named, "." | "..") {
        return RunDir::open(Path::new(named)).map_err(failed);
    }
    if let Some(run) = in_store(named, store)? {
        return Ok(run);
    }
    if Path::new(named).is_dir() {
        return RunDir::open(Path::new(named)).map_err(failed);
    }
    Err(FindError::NotFound {
        named: named.to_owned(),
        store: store.to_owned(),
    })
}

fn in_store(named: &str, path: &Path) -> Result<Option<RunDir>, FindError> {
    let failed = |source| FindError::Recordings {
        named: named.to_owned(),
        source,
    };
    if !path.is_dir() {
        return Ok(None);
    }
    let store = Store::open(path).map_err(failed)?;
    let id: RunId = if named == LATEST {
        match store.latest().map_err(failed)? {
            Some(id) => id,
            None => {
                return Err(FindError::Empty {
                    store: path.to_owned(),
                });
            }
        }
    } else {
        match named.parse() {
            Ok(id) => id,
            Err(_) => return Ok(None),
        }
    };
    store.open_run(&id).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_found_by_id_by_path_and_as_the_latest() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(root.path()).unwrap();
        for name in ["one", "two"] {
            store.create_run(&name.parse().unwrap()).unwrap();
        }
        store.point_latest_at(&"one".parse().unwrap()).unwrap();
        let by_path = root.path().join("two").display().to_string();
        for (named, expected) in [("two", "two"), (by_path.as_str(), "two"), ("latest", "one")] {
            let found = find(named, root.path()).unwrap();
            assert_eq!(found.id().as_str(), expected, "{named}");
        }
        for named in ["three", "../x", "", "Not An Id"] {
            assert!(find(named, root.path()).is_err(), "{named}");
        }
    }

    #[test]
    fn latest_is_the_newest_run_where_the_link_leads_nowhere() {
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(
            find("latest", root.path()),
            Err(FindError::Empty { .. })
        ));
        let store = Store::open_or_create(root.path()).unwrap();
        store.create_run(&"one".parse().unwrap()).unwrap();
        std::os::unix::fs::symlink("gone", root.path().join("latest")).unwrap();
        assert_eq!(find("latest", root.path()).unwrap().id().as_str(), "one");
        std::fs::remove_file(root.path().join("latest")).unwrap();
        std::os::unix::fs::symlink("../../etc", root.path().join("latest")).unwrap();
        assert_eq!(find("latest", root.path()).unwrap().id().as_str(), "one");
    }
}
