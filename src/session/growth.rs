//! How much the places have grown that the workload may write.
//!
//! Owns the walk over their files. It follows no link, opens no file and changes nothing. Invariant: a walk ends, whatever
//! the workload does meanwhile: it goes at most [`MAX_DEPTH`] deep and over [`MAX_ENTRIES`] names.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::dir::{Dir, OwningIter};
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, stat};

/// Most names of one walk.
pub(super) const MAX_ENTRIES: usize = 500_000;

/// Deepest directory of a walk; each holds two descriptors.
const MAX_DEPTH: usize = 64;

/// How a directory is opened, to be read.
const FLAGS: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

/// Bytes of a block, stat(2).
const BLOCK_BYTES: u64 = 512;

/// What a walk found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Grown {
    /// Bytes on disk beyond those of the first walk.
    pub(super) bytes: u64,
    /// False when there were more names, or deeper ones, than a walk looks at.
    pub(super) is_whole: bool,
}

/// Walks over places again and again.
#[derive(Debug)]
pub(super) struct Growth {
    places: Vec<PathBuf>,
    /// Device and inode of a directory that is not looked at.
    without: Option<(u64, u64)>,
    first: Option<u64>,
}

impl Growth {
    pub(super) fn new(places: Vec<PathBuf>, without: Option<PathBuf>) -> Self {
        Self {
            places,
            without: without
                .and_then(|path| stat(&path).ok())
                .map(|file| identity(&file)),
            first: None,
        }
    }

    /// Walks once; the first walk finds no growth. Blocks.
    pub(super) fn look(&mut self) -> Grown {
        let mut walk = Walk {
            without: self.without,
            seen: HashSet::new(),
            n_left: MAX_ENTRIES,
            bytes: 0,
            is_whole: true,
        };
        for place in &self.places {
            match open(place, FLAGS, Mode::empty()) {
                Ok(directory) => walk.directory(directory),
                Err(_) => walk.single(place),
            }
        }
        let first = *self.first.get_or_insert(walk.bytes);
        Grown {
            bytes: walk.bytes.saturating_sub(first),
            is_whole: walk.is_whole,
        }
    }
}

/// A directory that is being read.
struct Level {
    directory: OwnedFd,
    entries: OwningIter,
}

impl Level {
    fn of(directory: OwnedFd) -> Option<Self> {
        let entries = Dir::from_fd(directory.try_clone().ok()?).ok()?.into_iter();
        Some(Self { directory, entries })
    }
}

struct Walk {
    without: Option<(u64, u64)>,
    /// Directories, and files with several names, each counted once.
    seen: HashSet<(u64, u64)>,
    n_left: usize,
    bytes: u64,
    is_whole: bool,
}

impl Walk {
    /// A place that is a file.
    fn single(&mut self, path: &PathBuf) {
        if let Ok(file) = stat(path) {
            self.count(&file);
        }
    }

    fn directory(&mut self, top: OwnedFd) {
        let top_is_new = fstat(&top).is_ok_and(|file| self.count(&file));
        if !top_is_new {
            return;
        }
        let mut levels: Vec<Level> = Level::of(top).into_iter().collect();
        while let Some(level) = levels.last_mut() {
            let Some(entry) = level.entries.next() else {
                levels.pop();
                continue;
            };
            let Ok(entry) = entry else { continue };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if self.n_left == 0 {
                self.is_whole = false;
                return;
            }
            self.n_left -= 1;
            let found = fstatat(&level.directory, name, AtFlags::AT_SYMLINK_NOFOLLOW);
            let is_new_directory = found.is_ok_and(|file| self.count(&file) && is_directory(&file));
            if !is_new_directory {
                continue;
            }
            let below = openat(
                &level.directory,
                name,
                FLAGS | OFlag::O_NOFOLLOW,
                Mode::empty(),
            );
            match below.ok().and_then(Level::of) {
                Some(below) if levels.len() < MAX_DEPTH => levels.push(below),
                Some(_) => self.is_whole = false,
                None => {}
            }
        }
    }

    /// Counts a file; false if it was counted before or is left out.
    fn count(&mut self, file: &FileStat) -> bool {
        let identity = identity(file);
        if self.without == Some(identity) {
            return false;
        }
        let may_come_again = is_directory(file) || file.st_nlink > 1;
        if may_come_again && !self.seen.insert(identity) {
            return false;
        }
        let blocks = u64::try_from(file.st_blocks).unwrap_or(0);
        self.bytes = self
            .bytes
            .saturating_add(blocks.saturating_mul(BLOCK_BYTES));
        true
    }
}

fn identity(file: &FileStat) -> (u64, u64) {
    (file.st_dev, file.st_ino)
}

fn is_directory(file: &FileStat) -> bool {
    SFlag::from_bits_truncate(file.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_written_is_growth_and_links_lead_nowhere() {
        let host = tempfile::tempdir().unwrap();
        let place = host.path().join("place");
        let elsewhere = host.path().join("elsewhere");
        for directory in [&place, &elsewhere, &place.join("without")] {
            fs::create_dir(directory).unwrap();
        }
        fs::write(place.join("before"), vec![1_u8; 1 << 16]).unwrap();
        let mut growth = Growth::new(vec![place.clone()], Some(place.join("without")));
        assert_eq!(growth.look().bytes, 0);
        fs::write(elsewhere.join("large"), vec![1_u8; 1 << 20]).unwrap();
        fs::write(place.join("without/large"), vec![1_u8; 1 << 20]).unwrap();
        symlink(&elsewhere, place.join("link")).unwrap();
        symlink(elsewhere.join("large"), place.join("file")).unwrap();
        symlink(&place, place.join("circle")).unwrap();
        let grown = growth.look();
        assert!(grown.bytes < 1 << 16 && grown.is_whole, "{grown:?}");
        fs::create_dir_all(place.join("a/b")).unwrap();
        fs::write(place.join("a/b/new"), vec![1_u8; 1 << 18]).unwrap();
        fs::hard_link(place.join("a/b/new"), place.join("again")).unwrap();
        let grown = growth.look().bytes;
        assert!((1 << 18..(1 << 18) + (1 << 16)).contains(&grown), "{grown}");
    }

    #[test]
    fn a_tree_without_end_is_walked_to_a_depth() {
        let host = tempfile::tempdir().unwrap();
        let deep: PathBuf = std::iter::repeat_n("d", MAX_DEPTH + 2).collect();
        fs::create_dir_all(host.path().join(deep)).unwrap();
        let mut growth = Growth::new(vec![host.path().to_owned()], None);
        assert!(!growth.look().is_whole);
    }
}
