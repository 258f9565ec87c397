//! The list of a run's artifacts and final files.
//!
//! Owns `manifest.json`. It does not look at the artifacts themselves. Invariant: what it lists was whole and durable
//! before it was listed.

use serde::{Deserialize, Serialize};

use super::error::RecordingsError;
use super::inventory::FileEntry;
use super::layout;
use super::run_dir::RunDir;
use crate::event::ArtifactAdded;
use crate::run::RunId;

/// Most artifacts of one run. The list is rewritten with each, so it must stay small enough for that.
pub const MAX_ARTIFACTS: usize = 10_000;

/// Largest `manifest.json` that is read: room for [`MAX_ARTIFACTS`] entries of the longest kind.
const MAX_MANIFEST_BYTES: u64 = 32 << 20;

/// Content of `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The run.
    pub run_id: RunId,
    /// The artifacts, in the order in which they were finished.
    #[serde(default)]
    pub artifacts: Vec<ManifestEntry>,
    /// The final files of the run's directory, by name; none before the run has ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileEntry>,
}

/// One artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestEntry {
    /// Path below `artifacts/`.
    pub path: String,
    /// Media type (RFC 6838).
    pub media_type: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the content, lower-case hexadecimal.
    pub sha256: String,
    /// When it was finished, RFC 3339.
    pub created_at: String,
}

/// The manifest could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The run has [`MAX_ARTIFACTS`] already.
    #[error("run {run_id} has {MAX_ARTIFACTS} artifacts; no more are listed")]
    Full {
        /// The run.
        run_id: RunId,
    },
    /// The file cannot be read or written, or is damaged.
    #[error("cannot use the manifest of run {run_id}")]
    File {
        /// The run.
        run_id: RunId,
        /// Why.
        source: RecordingsError,
    },
}

impl Manifest {
    /// Makes the list of a run without artifacts.
    pub fn new(run_id: RunId) -> Self {
        Self {
            run_id,
            artifacts: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Reads the list; a run without the file has no artifacts.
    ///
    /// # Errors
    /// When the file cannot be read, or is damaged.
    pub fn load(run: &RunDir) -> Result<Self, ManifestError> {
        let failed = |source| ManifestError::File {
            run_id: run.id().clone(),
            source,
        };
        match run
            .read(layout::MANIFEST, MAX_MANIFEST_BYTES)
            .map_err(failed)?
        {
            None => Ok(Self::new(run.id().clone())),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|source| {
                failed(RecordingsError::Damaged {
                    path: run.directory().path_of(layout::MANIFEST),
                    source,
                })
            }),
        }
    }

    /// Lists an artifact; `created_at` is the time now, RFC 3339.
    ///
    /// # Errors
    /// When the list is full.
    pub fn add(&mut self, added: &ArtifactAdded, created_at: &str) -> Result<(), ManifestError> {
        if self.artifacts.len() >= MAX_ARTIFACTS {
            return Err(ManifestError::Full {
                run_id: self.run_id.clone(),
            });
        }
        self.artifacts.push(ManifestEntry {
            path: added.path.clone(),
            media_type: added.media_type.clone(),
            size: added.size,
            sha256: added.sha256.clone(),
            created_at: created_at.to_owned(),
        });
        Ok(())
    }

    /// Writes the list, atomically.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, run: &RunDir) -> Result<(), ManifestError> {
        let failed = |source| ManifestError::File {
            run_id: self.run_id.clone(),
            source,
        };
        let mut bytes = serde_json::to_vec(self).map_err(|source| {
            failed(RecordingsError::Damaged {
                path: run.directory().path_of(layout::MANIFEST),
                source,
            })
        })?;
        bytes.push(b'\n');
        run.write_atomic(layout::MANIFEST, &bytes).map_err(failed)
    }

    /// The artifact of that path, if it is listed.
    pub fn find(&self, path: &str) -> Option<&ManifestEntry> {
        self.artifacts.iter().find(|entry| entry.path == path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> (tempfile::TempDir, RunDir) {
        let root = tempfile::tempdir().unwrap();
        let store = super::super::Store::open_or_create(root.path()).unwrap();
        let run = store.create_run(&"r1".parse().unwrap()).unwrap();
        (root, run)
    }

    fn added(path: &str) -> ArtifactAdded {
        ArtifactAdded {
            path: path.to_owned(),
            media_type: "text/plain".to_owned(),
            size: 3,
            sha256: "00".repeat(32),
            withheld: None,
            has_secret: false,
        }
    }

    #[test]
    fn a_run_without_the_file_has_no_artifacts() {
        let (_root, run) = run();
        assert_eq!(
            Manifest::load(&run).unwrap(),
            Manifest::new(run.id().clone())
        );
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let (_root, run) = run();
        let mut manifest = Manifest::new(run.id().clone());
        manifest
            .add(&added("a/b"), "2026-01-02T03:04:05.678Z")
            .unwrap();
        manifest.save(&run).unwrap();
        let loaded = Manifest::load(&run).unwrap();
        assert_eq!(loaded, manifest);
        assert_eq!(loaded.find("a/b").unwrap().size, 3);
        assert!(loaded.find("a").is_none());
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it() {
        let (_root, run) = run();
        for damage in [&b""[..], b"{\"run_id\":", b"[]", b"\0\0\0"] {
            run.write_atomic(layout::MANIFEST, damage).unwrap();
            let error = Manifest::load(&run).unwrap_err();
            let ManifestError::File { source, .. } = error else {
                panic!("{error}");
            };
            assert!(
                source.to_string().ends_with("manifest.json is damaged"),
                "{source}"
            );
        }
    }

    #[test]
    fn a_full_list_refuses_one_more() {
        let mut manifest = Manifest::new("r1".parse().unwrap());
        for number in 0..MAX_ARTIFACTS {
            manifest.add(&added(&number.to_string()), "").unwrap();
        }
        assert!(matches!(
            manifest.add(&added("more"), ""),
            Err(ManifestError::Full { .. })
        ));
    }
}
