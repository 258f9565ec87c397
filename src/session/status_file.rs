//! `status.json` while the run lives: who may write it, in which order, and from what when the disk is full.
//!
//! Owns the order of its writes: one at a time, and none over a newer one, however late a slow disk finishes it. A spare
//! file, whose blocks are taken while there is space, becomes the terminal document when there is none left.

use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::fcntl::{OFlag, renameat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use tokio::task::spawn_blocking;

use super::workload::chain;
use crate::recordings::{RunDir, layout};

/// Name of the spare file in the run's directory.
pub const SPARE_STATUS: &str = ".status.spare";

/// Bytes of the spare file: a document without its actions fits well.
pub const SPARE_BYTES: usize = 64 * 1024;

/// Writes the status of one run.
#[derive(Debug)]
pub struct StatusFile {
    run_dir: Arc<RunDir>,
    next_number: AtomicU64,
    /// Number of the newest document on disk. Held for the whole of a write, so that writes cannot overtake each other; only
    /// blocking threads lock it.
    written: Arc<Mutex<u64>>,
}

impl StatusFile {
    /// The file of the run in `run_dir`.
    pub fn new(run_dir: Arc<RunDir>) -> Self {
        Self {
            run_dir,
            next_number: AtomicU64::new(1),
            written: Arc::default(),
        }
    }

    /// Replaces the document, atomically and durably.
    ///
    /// # Errors
    /// When it is not on disk within `limit`; then it may come later, but never over a newer one.
    pub async fn write(&self, bytes: Vec<u8>, limit: Duration) -> Result<(), String> {
        let run_dir = Arc::clone(&self.run_dir);
        self.in_order(limit, move || {
            run_dir.write_status(&bytes).map_err(|error| chain(&error))
        })
        .await
    }

    /// Takes the blocks of the spare file while there is space.
    ///
    /// # Errors
    /// When there is none.
    pub async fn reserve(&self, limit: Duration) -> Result<(), String> {
        let run_dir = Arc::clone(&self.run_dir);
        let reserve = spawn_blocking(move || {
            let flags = OFlag::O_RDWR | OFlag::O_CREAT;
            let spare = run_dir
                .open_beneath(SPARE_STATUS, flags)
                .map_err(|error| chain(&error))?;
            spare
                .write_all_at(&[b' '; SPARE_BYTES], 0)
                .and_then(|()| spare.sync_all())
                .map_err(|error| error.to_string())
        });
        in_time(limit, reserve).await
    }

    /// Makes the spare file the document: for a disk that has no space for a new file.
    ///
    /// # Errors
    /// When there is no spare file, the document does not fit, or it is not on disk within `limit`.
    pub async fn write_into_spare(&self, document: &[u8], limit: Duration) -> Result<(), String> {
        let run_dir = Arc::clone(&self.run_dir);
        // White space behind the document keeps the file as long as it is: JSON does not mind.
        let mut bytes = document.trim_ascii_end().to_vec();
        if bytes.len() >= SPARE_BYTES {
            return Err("the document is larger than the spare file".to_owned());
        }
        bytes.resize(SPARE_BYTES - 1, b' ');
        bytes.push(b'\n');
        self.in_order(limit, move || {
            let spare = run_dir
                .open_beneath(SPARE_STATUS, OFlag::O_RDWR)
                .map_err(|error| chain(&error))?;
            spare
                .write_all_at(&bytes, 0)
                .and_then(|()| spare.sync_all())
                .map_err(|error| error.to_string())?;
            renameat(
                run_dir.as_fd(),
                SPARE_STATUS,
                run_dir.as_fd(),
                layout::STATUS,
            )
            .map_err(|errno| errno.to_string())?;
            run_dir.sync_dir().map_err(|error| chain(&error))
        })
        .await
    }

    /// Runs a write when those before it are done, unless a newer one is.
    async fn in_order(
        &self,
        limit: Duration,
        write: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> Result<(), String> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let written = Arc::clone(&self.written);
        let write = spawn_blocking(move || {
            let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
            if *written < number {
                write()?;
                *written = number;
            }
            Ok(())
        });
        in_time(limit, write).await
    }
}

async fn in_time(
    limit: Duration,
    task: tokio::task::JoinHandle<Result<(), String>>,
) -> Result<(), String> {
    match tokio::time::timeout(limit, task).await {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("not done within {} ms", limit.as_millis())),
    }
}

/// Removes the spare file; one that is not there is no error.
pub fn remove_spare(run_dir: &RunDir) {
    // Left behind it takes 64 KiB and says nothing.
    let _ = unlinkat(run_dir.as_fd(), SPARE_STATUS, UnlinkatFlags::NoRemoveDir);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    fn status_file(dir: &tempfile::TempDir) -> StatusFile {
        let path = dir.path().join("run-1");
        std::fs::create_dir(&path).unwrap();
        StatusFile::new(Arc::new(RunDir::open(&path).unwrap()))
    }

    fn on_disk(dir: &tempfile::TempDir) -> String {
        std::fs::read_to_string(dir.path().join("run-1/status.json")).unwrap()
    }

    #[test]
    fn a_write_that_comes_late_never_replaces_a_newer_one() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = runtime.block_on(async { status_file(&dir) });
        for round in 0..20 {
            {
                // A disk that stands still: both writes run out of time.
                let _slow = file.written.lock().unwrap();
                for text in [format!("old {round}"), format!("new {round}")] {
                    let write = file.write(text.into_bytes(), Duration::from_millis(1));
                    assert!(runtime.block_on(write).is_err());
                }
            }
            // Whatever order the two come back in, the newest stands.
            let newest = format!("newest {round}");
            runtime
                .block_on(file.write(newest.clone().into_bytes(), LONG))
                .unwrap();
            assert_eq!(on_disk(&dir), newest);
        }
    }

    #[tokio::test]
    async fn the_spare_file_becomes_the_document_without_a_new_block() {
        let dir = tempfile::tempdir().unwrap();
        let file = status_file(&dir);
        file.reserve(LONG).await.unwrap();
        file.write(b"{\"status\":\"running\"}".to_vec(), LONG)
            .await
            .unwrap();
        file.write_into_spare(b"{\"status\":\"completed\"}\n", LONG)
            .await
            .unwrap();
        let document: serde_json::Value = serde_json::from_str(&on_disk(&dir)).unwrap();
        assert_eq!(document["status"], "completed");
        assert_eq!(on_disk(&dir).len(), SPARE_BYTES);
        assert!(!dir.path().join("run-1").join(SPARE_STATUS).exists());
        assert!(
            file.write_into_spare(&[b'x'; SPARE_BYTES], LONG)
                .await
                .is_err()
        );
    }
}
