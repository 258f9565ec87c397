//! The place of the recordings: whether it can be written, and what a sync costs there.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::sys::statvfs::statvfs;
use serde::Serialize;

/// Syncs of which the median is told.
const N_SYNCS: usize = 5;

/// Bytes of each: about a dozen events.
const SYNC_BYTES: usize = 4_096;

/// What was found there.
#[derive(Debug, Serialize)]
pub struct Storage {
    /// The directory, which a run would make where it is absent.
    pub dir: PathBuf,
    /// Median time of a write with fdatasync(2), in milliseconds; none where nothing can be written.
    pub sync_ms: Option<f64>,
    /// Bytes that may still be written there by this user.
    pub free_bytes: Option<u64>,
    /// Why nothing can be written.
    pub error: Option<String>,
}

/// Writes a file there, or in the nearest directory above that exists, and takes it away again.
pub(super) fn look(dir: &Path) -> Storage {
    let existing = dir.ancestors().find(|path| path.is_dir());
    let place = existing.unwrap_or(dir);
    let free = statvfs(place).map(|stat| stat.blocks_available() * stat.fragment_size());
    let synced = sync(place);
    Storage {
        dir: dir.to_owned(),
        sync_ms: synced.as_ref().ok().copied(),
        free_bytes: free.ok(),
        error: synced
            .err()
            .map(|error| format!("{}: {error}", place.display())),
    }
}

fn sync(place: &Path) -> io::Result<f64> {
    let path = place.join(format!(".stockade-doctor-{}", std::process::id()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)?;
    // It is open, so it can go at once: nothing is left whatever happens.
    fs::remove_file(&path)?;
    let mut times = Vec::with_capacity(N_SYNCS);
    for _ in 0..N_SYNCS {
        let began = Instant::now();
        file.write_all(&[b'x'; SYNC_BYTES])?;
        file.sync_data()?;
        times.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok(times.get(N_SYNCS / 2).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::look;

    #[test]
    fn a_directory_that_can_be_written_is_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let found = look(&dir.path().join("not/there/yet"));
        assert_eq!(found.error, None);
        assert!(found.sync_ms.is_some() && found.free_bytes > Some(0));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_place_where_nothing_can_be_written_is_named() {
        let found = look(std::path::Path::new("/proc/recordings"));
        assert_eq!(found.sync_ms, None);
        let error = found.error.unwrap();
        assert!(error.starts_with("/proc: "), "{error}");
    }
}
