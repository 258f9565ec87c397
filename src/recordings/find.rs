//! Which recording a person means: `latest`, a run id, or a path.
//!
//! Owns the one rule for all commands, also for those that ask a run which goes on. It makes nothing and changes nothing.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::RecordingsError;
use super::run_dir::RunDir;
use super::store::Store;
use crate::run::RunId;
use crate::run::id::LATEST;

/// No recording was found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The text is no form of a name.
    #[error(
        "{named:?} names no run: give latest, a run id, or a run's directory (with a slash in it)"
    )]
    Form {
        /// What was given.
        named: String,
    },
    /// There is no run of that name.
    #[error("there is no run {id} in {}; name another place by --recordings", store.display())]
    NoSuchRun {
        /// The run id.
        id: RunId,
        /// The store that was looked into.
        store: PathBuf,
    },
    /// The store has no run at all.
    #[error("there is no run in {}; start one by stockade run, or name another place by --recordings", store.display())]
    NoRunYet {
        /// The store that was looked into.
        store: PathBuf,
    },
    /// A directory cannot be used.
    #[error("{} is no run's directory", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: RecordingsError,
    },
    /// Nobody named a store, and there is no default one.
    #[error("cannot tell where runs are looked for")]
    Store(#[source] RecordingsError),
}

/// Opens the recording that `named` means: a path where it has a `/` or is `.` or `..`, the newest run for `latest`, else a
/// run id of the store. A path needs no store: `store` is asked for the other two alone.
///
/// # Errors
/// When there is none, or it cannot be opened.
pub fn find(
    named: &str,
    store: &dyn Fn() -> Result<PathBuf, RecordingsError>,
) -> Result<RunDir, FindError> {
    if named.contains('/') || matches!(named, "." | "..") {
        return RunDir::open(Path::new(named)).map_err(|source| unusable(Path::new(named), source));
    }
    let id: Option<RunId> = match named {
        LATEST => None,
        named => Some(named.parse().map_err(|_| FindError::Form {
            named: named.to_owned(),
        })?),
    };
    let path = store().map_err(FindError::Store)?;
    let nothing = |id: Option<RunId>| match id {
        Some(id) => FindError::NoSuchRun {
            id,
            store: path.clone(),
        },
        None => FindError::NoRunYet {
            store: path.clone(),
        },
    };
    let store = match Store::open(&path) {
        Ok(store) => store,
        Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => return Err(nothing(id)),
        Err(error) => return Err(unusable(&path, error)),
    };
    let newest = match &id {
        Some(_) => None,
        None => store.latest().map_err(|source| unusable(&path, source))?,
    };
    let Some(meant) = id.as_ref().or(newest.as_ref()) else {
        return Err(nothing(None));
    };
    match store.open_run(meant) {
        Ok(Some(run)) => Ok(run),
        // The newest one was removed since.
        Ok(None) => Err(nothing(id)),
        Err(source) => Err(unusable(&path.join(meant.as_str()), source)),
    }
}

fn unusable(path: &Path, source: RecordingsError) -> FindError {
    FindError::Directory {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recordings::layout;

    fn find_in(named: &str, store: &Path) -> Result<RunDir, FindError> {
        find(named, &|| Ok(store.to_owned()))
    }

    #[test]
    fn a_recording_is_found_by_id_by_path_and_as_the_latest() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(root.path()).unwrap();
        for name in ["one", "two"] {
            let run = store.create_run(&name.parse().unwrap()).unwrap();
            run.write_atomic(layout::SPEC, b"{}").unwrap();
        }
        store.point_latest_at(&"one".parse().unwrap()).unwrap();
        let by_path = root.path().join("two").display().to_string();
        for (named, expected) in [("two", "two"), (by_path.as_str(), "two"), ("latest", "one")] {
            let found = find_in(named, root.path()).unwrap();
            assert_eq!(found.id().as_str(), expected, "{named}");
        }
        for named in ["three", "../x", "", "Not An Id"] {
            assert!(find_in(named, root.path()).is_err(), "{named}");
        }
    }

    #[test]
    fn a_name_that_names_nothing_says_what_would() {
        let empty = tempfile::tempdir().unwrap();
        let say = |named: &str| find_in(named, empty.path()).unwrap_err().to_string();
        assert!(say("latest").contains("there is no run in"));
        assert!(say("fox").contains("there is no run fox in"));
        assert!(say("Fox!").contains("give latest, a run id"));
        assert!(say("./fox").contains("is no run's directory"));
        assert!(!empty.path().join("fox").exists());
        let absent = empty.path().join("absent");
        for (named, expected) in [("latest", "there is no run in"), ("fox", "no run fox")] {
            let error = find_in(named, &absent).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(!absent.exists());
    }

    #[test]
    fn a_path_needs_no_store() {
        let root = tempfile::tempdir().unwrap();
        let run = root.path().join("fox");
        std::fs::create_dir(&run).unwrap();
        let nowhere = || Err(RecordingsError::NoDefault);
        let found = find(run.to_str().unwrap(), &nowhere).unwrap();
        assert_eq!(found.id().as_str(), "fox");
        for named in ["latest", "fox"] {
            let error = find(named, &nowhere).unwrap_err();
            assert!(matches!(error, FindError::Store(_)), "{named}: {error}");
        }
    }

    #[test]
    fn latest_is_a_run_of_the_store_whatever_the_link_says() {
        let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let link = root.path().join("latest");
        let outside = elsewhere.path().join("other");
        for run in [&root.path().join("fox"), &outside] {
            std::fs::create_dir(run).unwrap();
            std::fs::write(run.join(layout::SPEC), "{}").unwrap();
        }
        // What somebody else made there is no run.
        std::fs::create_dir(root.path().join("foreign")).unwrap();
        for leads_to in [
            Path::new("gone"),
            Path::new("foreign"),
            Path::new("../../etc"),
            &outside,
        ] {
            std::os::unix::fs::symlink(leads_to, &link).unwrap();
            let found = find_in("latest", root.path()).unwrap();
            assert_eq!(found.path(), root.path().join("fox"));
            std::fs::remove_file(&link).unwrap();
        }
        assert!(find_in("latest", root.path()).is_ok());
    }
}
