//! The output directory of a run without a mount namespace: a directory of the host.
//!
//! Owns its making and its removal, however deep or hostile what lies in it. Where there is a mount namespace the output
//! directory is a tmpfs that ends with the sandbox, and nothing here is needed. The path stands in a file of the run's
//! directory until the directory is gone, so that whoever finds the remains of a run can remove it too. Invariant: nothing
//! is removed but what lies below a directory that this module made.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::layout;
use super::run_dir::RunDir;

/// Where it is made; the first that can be written is taken. Containers with a read-only root have the last one.
const PARENTS: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// What its name begins with; 16 hexadecimal digits follow.
const PREFIX: &str = "stockade-output-";

/// Longest path that is read from the run's directory, in bytes.
const MAX_PATH_BYTES: u64 = 256;

/// Longest time for the removal; what is left then stays, and is told.
pub const REMOVE_LIMIT: Duration = Duration::from_secs(2);

/// Names that are read at a time, so that a directory of any size takes bounded memory.
const BATCH: usize = 4_096;

/// An output directory on the host, for the caller alone.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    directory: OwnedFd,
}

/// There is no output directory, or it could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// It could not be made.
    #[error("cannot make a directory in /tmp, /var/tmp or /dev/shm")]
    Make(#[source] io::Error),
    /// Its path could not be written into the run's directory.
    #[error("cannot note the path of the output directory")]
    Note(#[source] super::RecordingsError),
    /// Something of it is left.
    #[error("cannot remove the output directory {}", path.display())]
    Remove {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Staging {
    /// Makes a directory of mode 0700 with a name that nobody guesses, and notes it in the run's directory.
    ///
    /// # Errors
    /// When neither place can be written, or the note cannot.
    pub fn make(run: &RunDir) -> Result<Self, StagingError> {
        let made = Self::make_after(|path| note(run, path));
        if let Err(StagingError::Make(_)) = &made {
            forget(run);
        }
        made
    }

    /// Makes one that no recording knows of: whoever makes it removes it by [`Staging::remove_unnoted`], or nobody does.
    ///
    /// # Errors
    /// When no place can be written.
    pub fn make_unnoted() -> Result<Self, StagingError> {
        Self::make_after(|_| Ok(()))
    }

    fn make_after(note: impl Fn(&Path) -> Result<(), StagingError>) -> Result<Self, StagingError> {
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random)
            .map_err(|error| StagingError::Make(io::Error::other(error.to_string())))?;
        let name = format!("{PREFIX}{:016x}", u64::from_ne_bytes(random));
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for parent in PARENTS {
            let path = Path::new(parent).join(&name);
            // Noted first: a directory that nobody knows of would stay.
            note(&path)?;
            match nix::unistd::mkdir(&path, Mode::S_IRWXU) {
                Ok(()) => {
                    let directory = open_top(&path).map_err(StagingError::Make)?;
                    return Ok(Self { path, directory });
                }
                Err(errno) => failure = errno.into(),
            }
        }
        Err(StagingError::Make(failure))
    }

    /// Where the workload finds it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it and its note.
    ///
    /// # Errors
    /// When something is left after [`REMOVE_LIMIT`]; the note is left then, too.
    pub fn remove(self, run: &RunDir) -> Result<(), StagingError> {
        remove(run, &self.path, self.directory.as_fd())
    }

    /// Removes one that no recording knows of.
    ///
    /// # Errors
    /// As [`Staging::remove`].
    pub fn remove_unnoted(self) -> Result<(), StagingError> {
        clear_away(&self.path, self.directory.as_fd())
    }
}

/// The directory itself, for reading. The workload may have taken permissions away; its owner gives them back.
impl AsFd for Staging {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // Only the owner may, and a failure shows in what is opened next.
        let _ = nix::sys::stat::fchmod(&self.directory, Mode::S_IRWXU);
        self.directory.as_fd()
    }
}

/// Removes the output directory that a run left behind when it was killed; nothing where it has none.
///
/// # Errors
/// As [`Staging::remove`].
pub fn remove_left_over(run: &RunDir) -> Result<(), StagingError> {
    let Some(path) = run
        .read(layout::OUTPUT_PATH, MAX_PATH_BYTES)
        .map_err(StagingError::Note)?
    else {
        return Ok(());
    };
    let path = PathBuf::from(OsString::from_vec(path));
    if !is_ours(&path) {
        return Ok(());
    }
    match open_top(&path) {
        Ok(directory) => remove(run, &path, directory.as_fd()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            forget(run);
            Ok(())
        }
        Err(source) => Err(StagingError::Remove { path, source }),
    }
}

/// Whether a path is one that this module makes: the note could have been written by somebody else.
fn is_ours(path: &Path) -> bool {
    PARENTS.iter().any(|parent| {
        let digits = path
            .strip_prefix(parent)
            .ok()
            .and_then(|name| name.to_str()?.strip_prefix(PREFIX));
        digits.is_some_and(|digits| {
            digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    })
}

/// Opens the directory, if it is one and belongs to this process's user.
fn open_top(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let directory = nix::fcntl::open(path, flags, Mode::empty())?;
    if fstat(&directory)?.st_uid != nix::unistd::geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(directory)
}

fn remove(run: &RunDir, path: &Path, directory: BorrowedFd<'_>) -> Result<(), StagingError> {
    clear_away(path, directory)?;
    forget(run);
    Ok(())
}

fn clear_away(path: &Path, directory: BorrowedFd<'_>) -> Result<(), StagingError> {
    let failed = |source| StagingError::Remove {
        path: path.to_owned(),
        source,
    };
    // The workload may have taken away what its owner needs.
    let _ = nix::sys::stat::fchmod(directory, Mode::S_IRWXU);
    clear(directory, Instant::now() + REMOVE_LIMIT).map_err(failed)?;
    std::fs::remove_dir(path).map_err(failed)
}

/// Writes the note without syncing it: what a power cut takes from it, it takes from /tmp as well, and no start waits.
fn note(run: &RunDir, path: &Path) -> Result<(), StagingError> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC;
    let mut file = run
        .open_beneath(layout::OUTPUT_PATH, flags)
        .map_err(StagingError::Note)?;
    io::Write::write_all(&mut file, path.as_os_str().as_encoded_bytes()).map_err(StagingError::Make)
}

fn forget(run: &RunDir) {
    // What stays is found by `remove_left_over`, which finds no directory then.
    let _ = unlinkat(run, layout::OUTPUT_PATH, UnlinkatFlags::NoRemoveDir);
}

/// Removes everything below a directory. A directory of a directory is moved up before it is emptied, so that no depth
/// takes more than two descriptors, and each is moved once.
fn clear(top: BorrowedFd<'_>, deadline: Instant) -> io::Result<()> {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let mut moved = Moved {
        prefix: format!(".{:016x}-", u64::from_ne_bytes(random)),
        n: 0,
    };
    loop {
        let names = batch(top)?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            if Instant::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match unlinkat(top, name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(Errno::EISDIR | Errno::EPERM) => {
                    empty(top, &name, &mut moved, deadline)?;
                    unlinkat(top, name.as_os_str(), UnlinkatFlags::RemoveDir)?;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Names that directories get when they are moved up.
struct Moved {
    prefix: String,
    n: u64,
}

/// Empties one directory: files are removed, directories are moved up.
fn empty(
    top: BorrowedFd<'_>,
    name: &OsString,
    moved: &mut Moved,
    deadline: Instant,
) -> io::Result<()> {
    let directory = open_child(top, name)?;
    loop {
        let names = batch(directory.as_fd())?;
        if names.is_empty() {
            return Ok(());
        }
        for entry in names {
            if Instant::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match unlinkat(&directory, entry.as_os_str(), UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(Errno::EISDIR | Errno::EPERM) => {
                    // A directory is renamed only by who may write it: its `..` changes.
                    drop(open_child(directory.as_fd(), &entry)?);
                    moved.n += 1;
                    let target = format!("{}{}", moved.prefix, moved.n);
                    renameat(&directory, entry.as_os_str(), top, target.as_str())?;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Opens a directory of a directory, with the permissions that its removal needs.
fn open_child(parent: BorrowedFd<'_>, name: &OsString) -> io::Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let handle = openat(
        parent,
        name.as_os_str(),
        flags | OFlag::O_PATH,
        Mode::empty(),
    )?;
    if fstat(&handle)?.st_mode & 0o700 != 0o700 {
        // By the descriptor, so that it is this directory and no other (proc_pid_fd(5)).
        let number = std::os::fd::AsRawFd::as_raw_fd(&handle);
        let own = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(format!("/proc/self/fd/{number}"), own)?;
    }
    Ok(openat(
        &handle,
        ".",
        flags | OFlag::O_RDONLY,
        Mode::empty(),
    )?)
}

fn batch(directory: BorrowedFd<'_>) -> io::Result<Vec<OsString>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listing = Dir::openat(directory, ".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in listing.iter() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
        if names.len() >= BATCH {
            break;
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recordings::Store;

    fn run() -> (tempfile::TempDir, RunDir) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(root.path()).unwrap();
        let run = store.create_run(&"r1".parse().unwrap()).unwrap();
        (root, run)
    }

    /// A tree that is deeper than any path, with what a hostile program leaves.
    fn fill(staging: &Staging) {
        let long = "d".repeat(200);
        let mut at = staging.directory.try_clone().unwrap();
        for depth in 0..60 {
            nix::sys::stat::mkdirat(&at, long.as_str(), Mode::S_IRWXU).unwrap();
            nix::unistd::symlinkat("/etc", &at, "link").unwrap();
            if depth == 30 {
                let flags = OFlag::O_CREAT | OFlag::O_WRONLY;
                drop(openat(&at, "file", flags, Mode::empty()).unwrap());
            }
            at = openat(&at, long.as_str(), OFlag::O_RDONLY, Mode::empty()).unwrap();
        }
        std::fs::create_dir(staging.path().join("locked")).unwrap();
        std::fs::create_dir(staging.path().join("locked/inner")).unwrap();
        for locked in ["locked/inner", "locked", ""] {
            let none = std::fs::Permissions::from_mode(0o000);
            std::fs::set_permissions(staging.path().join(locked), none).unwrap();
        }
    }

    #[test]
    fn a_hostile_tree_of_any_depth_is_removed() {
        let (_root, run) = run();
        let staging = Staging::make(&run).unwrap();
        let path = staging.path().to_owned();
        fill(&staging);
        staging.remove(&run).unwrap();
        assert!(!path.exists());
        assert!(!run.contains(layout::OUTPUT_PATH).unwrap());
        assert!(Path::new("/etc/passwd").exists());
    }

    #[test]
    fn what_a_killed_run_left_is_removed_by_its_note_and_nothing_else_is() {
        let (root, run) = run();
        let staging = Staging::make(&run).unwrap();
        let path = staging.path().to_owned();
        fill(&staging);
        drop(staging);
        remove_left_over(&run).unwrap();
        assert!(!path.exists());
        remove_left_over(&run).unwrap();
        let precious = root.path().join("precious");
        std::fs::create_dir(&precious).unwrap();
        for foreign in [
            precious.to_str().unwrap(),
            "/tmp",
            "/tmp/stockade-output-../x",
        ] {
            run.write_atomic(layout::OUTPUT_PATH, foreign.as_bytes())
                .unwrap();
            remove_left_over(&run).unwrap();
        }
        assert!(precious.exists() && Path::new("/tmp").exists());
    }
}
