//! The digests of what a run leaves: made at its end, and checked by whoever reads it later.
//!
//! Owns which files are listed in `manifest.json`: every final file of the run's directory and every artifact. Not listed are
//! `status.json`, which `finalize` may write anew from the log, the lock, the manifest itself, and hidden files, which are gone
//! at the end. It follows no link. Invariant: what is listed was read to its end for its digest.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::OFlag;
use nix::sys::stat::SFlag;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::artifact::hexadecimal;
use super::directory::Directory;
use super::error::{Operation, RecordingsError};
use super::layout;
use super::manifest::{MAX_ARTIFACTS, Manifest, ManifestEntry, ManifestError};
use super::media_type;
use super::path::{MAX_COMPONENTS, RelativePath};
use super::run_dir::RunDir;

/// Longest time for the digests at the end of a run: a second of it reads several hundred MiB. What is not read by then is
/// not listed.
pub const SEAL_LIMIT: Duration = Duration::from_secs(1);

/// Files of a run's directory that are not listed.
const NOT_LISTED: [&str; 3] = [layout::STATUS, layout::MANIFEST, layout::LOCK];

/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 128 << 10;

/// A final file of a run's directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Name in the run's directory.
    pub path: String,
    /// Media type (RFC 6838).
    pub media_type: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the content, lower-case hexadecimal.
    pub sha256: String,
}

/// What a check of the manifest found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Audit {
    /// Files that are as the manifest says.
    pub n_files: u64,
    /// What is wrong, one sentence each.
    pub findings: Vec<String>,
}

/// Size and digest of a file.
struct Content {
    size: u64,
    sha256: String,
}

/// Lists the final files and whatever artifact is not listed yet in `manifest.json`, within `limit`. A damaged manifest is made
/// anew.
///
/// # Errors
/// When the directory cannot be listed, or the manifest cannot be written.
pub fn seal(run: &RunDir, limit: Duration) -> Result<(), ManifestError> {
    let deadline = Instant::now() + limit;
    let failed = |source| ManifestError::File {
        run_id: run.id().clone(),
        source,
    };
    let mut manifest = match Manifest::load(run) {
        Ok(manifest) => manifest,
        Err(ManifestError::File {
            source: RecordingsError::Damaged { .. },
            ..
        }) => Manifest::new(run.id().clone()),
        Err(error) => return Err(error),
    };
    manifest.files = files(run, deadline).map_err(failed)?;
    let known: BTreeSet<String> = manifest
        .artifacts
        .iter()
        .map(|entry| entry.path.clone())
        .collect();
    for (path, modified_at) in artifacts(run).map_err(failed)? {
        if known.contains(&path) || manifest.artifacts.len() >= MAX_ARTIFACTS {
            continue;
        }
        let place = format!("{}/{path}", layout::ARTIFACTS);
        if let Some(content) = content(run.directory(), &place, deadline).map_err(failed)? {
            manifest.artifacts.push(ManifestEntry {
                media_type: media_type::of(&path).to_owned(),
                path,
                size: content.size,
                sha256: content.sha256,
                created_at: jiff::Timestamp::try_from(modified_at)
                    .unwrap_or_default()
                    .to_string(),
            });
        }
    }
    manifest.save(run)
}

/// Compares everything that the manifest lists with what is there, and looks for artifacts that it does not list. A recording
/// without a manifest has nothing to compare.
///
/// # Errors
/// When a directory cannot be listed.
pub fn audit(run: &RunDir) -> Result<Audit, RecordingsError> {
    let mut audit = Audit::default();
    let manifest = match Manifest::load(run) {
        Ok(manifest) => manifest,
        Err(error) => {
            let error = crate::session::workload::chain(&error);
            audit.findings.push(error);
            return Ok(audit);
        }
    };
    let listed: BTreeSet<&str> = manifest
        .artifacts
        .iter()
        .map(|entry| entry.path.as_str())
        .collect();
    for (path, _) in artifacts(run)? {
        if !listed.contains(path.as_str()) {
            audit.findings.push(format!(
                "artifact {path:?} is not in the manifest; `stockade finalize` lists it"
            ));
        }
    }
    let files = manifest
        .files
        .iter()
        .map(|entry| (entry.path.clone(), entry.size, &entry.sha256));
    let artifacts = manifest.artifacts.iter().map(|entry| {
        let path = format!("{}/{}", layout::ARTIFACTS, entry.path);
        (path, entry.size, &entry.sha256)
    });
    let never = Instant::now() + Duration::from_secs(365 * 86_400);
    for (path, size, sha256) in files.chain(artifacts) {
        match content(run.directory(), &path, never)? {
            None => audit
                .findings
                .push(format!("{path:?} is in the manifest and not there")),
            Some(content) if content.size != size => audit.findings.push(format!(
                "{path:?} has {} bytes, and {size} in the manifest",
                content.size
            )),
            Some(content) if content.sha256 != *sha256 => audit
                .findings
                .push(format!("{path:?} has not the content of the manifest")),
            Some(_) => audit.n_files += 1,
        }
    }
    Ok(audit)
}

/// The final files, sorted by name.
fn files(run: &RunDir, deadline: Instant) -> Result<Vec<FileEntry>, RecordingsError> {
    let directory = run.directory();
    let mut names: Vec<String> = directory
        .names()?
        .into_iter()
        .filter_map(|name| name.into_string().ok())
        .filter(|name| !name.starts_with('.') && !NOT_LISTED.contains(&name.as_str()))
        .collect();
    names.sort();
    let mut files = Vec::new();
    for name in names {
        if kind_of(directory, &name)? != Some(SFlag::S_IFREG) {
            continue;
        }
        if let Some(content) = content(directory, &name, deadline)? {
            files.push(FileEntry {
                media_type: media_type::of(&name).to_owned(),
                path: name,
                size: content.size,
                sha256: content.sha256,
            });
        }
    }
    Ok(files)
}

fn kind_of(directory: Directory<'_>, name: &str) -> Result<Option<SFlag>, RecordingsError> {
    let stat = directory.stat(name)?;
    Ok(stat.map(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT))
}

/// Paths of the files below `artifacts/`, sorted, with their times; at most twice as many as a run may have.
fn artifacts(run: &RunDir) -> Result<Vec<(String, SystemTime)>, RecordingsError> {
    let mut found = Vec::new();
    match run.directory().open_directory(layout::ARTIFACTS) {
        Ok(top) => below(&top, run.path(), "", &mut found)?,
        Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => {}
        Err(error) => return Err(error),
    }
    found.sort();
    Ok(found)
}

fn below(
    top: &OwnedFd,
    shown: &Path,
    prefix: &str,
    found: &mut Vec<(String, SystemTime)>,
) -> Result<(), RecordingsError> {
    let directory = Directory::new(top.as_fd(), shown);
    for name in directory.names()? {
        let Some(name) = name.to_str() else { continue };
        if found.len() >= MAX_ARTIFACTS * 2 || prefix.matches('/').count() >= MAX_COMPONENTS {
            return Ok(());
        }
        let Some(stat) = directory.stat(name)? else {
            continue;
        };
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        let path = format!("{prefix}{name}");
        if kind == SFlag::S_IFDIR {
            let child = directory.open_directory(name)?;
            below(&child, shown, &format!("{path}/"), found)?;
        } else if kind == SFlag::S_IFREG {
            let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
            found.push((path, SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)));
        }
    }
    Ok(())
}

/// Reads a file for its digest; none when it is not there, is no regular file, or is not read by the deadline.
fn content(
    directory: Directory<'_>,
    path: &str,
    deadline: Instant,
) -> Result<Option<Content>, RecordingsError> {
    let Ok(relative) = RelativePath::parse(path) else {
        return Ok(None);
    };
    // O_NONBLOCK, for a fifo that somebody put here would otherwise be waited for.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let Ok(file) = directory.open(&relative, flags) else {
        return Ok(None);
    };
    let mut file = File::from(file);
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Ok(None);
    }
    let mut hash = Sha256::new();
    let mut size = 0_u64;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        if Instant::now() >= deadline {
            return Ok(None);
        }
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(n_read) => {
                hash.update(chunk.get(..n_read).unwrap_or_default());
                size = size.saturating_add(u64::try_from(n_read).unwrap_or(u64::MAX));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(directory.error(Operation::Read, path, source)),
        }
    }
    Ok(Some(Content {
        size,
        sha256: hexadecimal(&hash.finalize()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recordings::Store;
    use crate::recordings::artifact::ArtifactWriter;

    fn run() -> (tempfile::TempDir, RunDir) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(root.path()).unwrap();
        let run = store.create_run(&"r1".parse().unwrap()).unwrap();
        run.write_atomic(layout::SPEC, b"{}").unwrap();
        run.write_atomic(layout::STATUS, b"{}").unwrap();
        run.write_atomic(layout::EVENTS, b"abc").unwrap();
        run.write_atomic(".hidden", b"x").unwrap();
        let mut writer = ArtifactWriter::create(&run, "a/b.txt", "text/plain", 10).unwrap();
        writer.write(b"abc").unwrap();
        writer.finish().unwrap();
        (root, run)
    }

    fn paths(manifest: &Manifest) -> Vec<&str> {
        let files = manifest.files.iter().map(|entry| entry.path.as_str());
        let artifacts = manifest.artifacts.iter().map(|entry| entry.path.as_str());
        files.chain(artifacts).collect()
    }

    #[test]
    fn every_final_file_and_artifact_is_listed_with_its_digest() {
        let (_root, run) = run();
        seal(&run, SEAL_LIMIT).unwrap();
        let manifest = Manifest::load(&run).unwrap();
        assert_eq!(paths(&manifest), ["events.jsonl", "spec.json", "a/b.txt"]);
        // FIPS 180-4, example of "abc".
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(manifest.files[0].sha256, abc);
        assert_eq!(manifest.artifacts[0].sha256, abc);
        let audit = audit(&run).unwrap();
        assert_eq!((audit.n_files, audit.findings.len()), (3, 0), "{audit:?}");
        // A second sealing lists nothing twice.
        seal(&run, SEAL_LIMIT).unwrap();
        assert_eq!(Manifest::load(&run).unwrap(), manifest);
    }

    #[test]
    fn whatever_is_changed_removed_or_added_is_found() {
        let (_root, run) = run();
        seal(&run, SEAL_LIMIT).unwrap();
        std::fs::write(run.path().join("events.jsonl"), "abd").unwrap();
        std::fs::write(run.path().join("spec.json"), "longer").unwrap();
        std::fs::remove_file(run.path().join("artifacts/a/b.txt")).unwrap();
        std::fs::write(run.path().join("artifacts/new"), "x").unwrap();
        let findings = audit(&run).unwrap().findings.join("\n");
        for part in [
            "\"events.jsonl\" has not the content",
            "\"spec.json\" has 6 bytes",
            "\"artifacts/a/b.txt\" is in the manifest and not there",
            "artifact \"new\" is not in the manifest",
        ] {
            assert!(findings.contains(part), "{part}\n{findings}");
        }
        // A link in the place of a file is not followed.
        std::fs::remove_file(run.path().join("spec.json")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", run.path().join("spec.json")).unwrap();
        let findings = audit(&run).unwrap().findings.join("\n");
        assert!(
            findings.contains("\"spec.json\" is in the manifest and not there"),
            "{findings}"
        );
    }

    #[test]
    fn without_time_nothing_is_listed_and_nothing_is_wrong() {
        let (_root, run) = run();
        std::fs::remove_dir_all(run.path().join("artifacts")).unwrap();
        seal(&run, Duration::ZERO).unwrap();
        assert_eq!(paths(&Manifest::load(&run).unwrap()), [""; 0]);
        assert_eq!(audit(&run).unwrap(), Audit::default());
    }

    #[test]
    fn a_damaged_manifest_is_found_and_made_anew() {
        let (_root, run) = run();
        run.write_atomic(layout::MANIFEST, b"{").unwrap();
        assert_eq!(audit(&run).unwrap().findings.len(), 1);
        seal(&run, SEAL_LIMIT).unwrap();
        assert_eq!(audit(&run).unwrap().findings.len(), 0);
    }
}
