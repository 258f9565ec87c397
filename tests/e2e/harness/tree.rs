//! Trees of files: what is in one, and a copy of one.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Everything of a tree that a run could change: path to mode (with the kind), owner, size and modification time.
pub type Snapshot = BTreeMap<PathBuf, (u32, u32, u64, i64, i64)>;

/// What is below `tree`, without version control and caches.
pub fn snapshot(tree: &Path) -> Snapshot {
    let mut found = Snapshot::new();
    let mut waiting = vec![tree.to_owned()];
    while let Some(directory) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            found.insert(
                path.strip_prefix(tree).unwrap().to_owned(),
                (
                    meta.mode(),
                    meta.uid(),
                    if meta.is_dir() { 0 } else { meta.size() },
                    meta.mtime(),
                    meta.mtime_nsec(),
                ),
            );
            let is_passed_over =
                path.file_name() == Some(OsStr::new(".git")) || path.join("CACHEDIR.TAG").exists();
            if meta.is_dir() && meta.mode() & 0o500 == 0o500 && !is_passed_over {
                waiting.push(path);
            }
        }
    }
    found
}

/// Copies a tree; gives the number of its lines.
pub fn copy_tree(source: &Path, target: &Path) -> usize {
    std::fs::create_dir_all(target).unwrap();
    let mut n_lines = 0;
    for entry in std::fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), target.join(entry.file_name()));
        if from.is_dir() {
            n_lines += copy_tree(&from, &to);
        } else {
            let content = std::fs::read(&from).unwrap();
            n_lines += content.iter().filter(|byte| **byte == b'\n').count();
            // Written anew: files of the cache may be read-only.
            std::fs::write(&to, content).unwrap();
        }
    }
    n_lines
}
