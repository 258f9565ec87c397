//! A file system with little room, to be filled by a test.
//!
//! Invariant: it is unmounted with the value, and takes no more memory than its size.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::need::{need, skip};

/// A small file system of its own; unmounted when dropped.
pub struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    /// None, said aloud, where mounting is not allowed.
    pub fn new(options: &str) -> Option<Self> {
        if !nix::unistd::Uid::effective().is_root() {
            skip("mounting a small file system needs root");
            return None;
        }
        need("mount")?;
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "stockade-test"])
            .arg(directory.path())
            .output()
            .unwrap();
        if !mounted.status.success() {
            skip(&format!(
                "cannot mount: {}",
                String::from_utf8_lossy(&mounted.stderr)
            ));
            return None;
        }
        Some(Self { directory })
    }

    /// Where it is mounted.
    pub fn top(&self) -> &Path {
        self.directory.path()
    }

    /// A directory for recordings on it; it need not exist yet.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("recordings")
    }

    /// Takes all the space that is left.
    pub fn fill(&self) {
        let mut file = std::fs::File::create(self.filler()).unwrap();
        for size in [64 * 1024, 4096, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
    }

    /// Gives back what was filled.
    pub fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    /// Gives back `n_bytes` of what was filled.
    pub fn free_some(&self, n_bytes: u64) {
        let filler = std::fs::File::options()
            .write(true)
            .open(self.filler())
            .unwrap();
        let filled = filler.metadata().unwrap().len();
        filler.set_len(filled - n_bytes).unwrap();
    }

    pub fn filler(&self) -> PathBuf {
        self.directory.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.directory.path())
            .output();
    }
}
