//! A copy of the run's JUnit report where the caller wants it.
//!
//! Owns the directory of that file from before anything is launched, so that no link that the workload makes leads the copy
//! elsewhere. Never creates directories, and never replaces what is neither a regular file nor a link that was made during
//! the run: a device, a pipe or a directory stays. Invariant: the file is the whole
//! report of this run or not there, also when the supervisor dies; no link is followed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fstatat};
use nix::unistd::{AccessFlags, UnlinkatFlags, faccessat, unlinkat};

use crate::agent::playbook::{MAX_REPORT_BYTES, REPORT_PATH};
use crate::recordings::RunDir;
use crate::session::recorder::PERSIST_STEP_LIMIT;

/// Where the copy goes.
#[derive(Debug)]
pub(super) struct ReportFile {
    directory: OwnedFd,
    name: OsString,
    path: PathBuf,
}

/// The copy cannot go there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportFileError {
    /// The directory cannot be opened, or the place in it cannot be looked at.
    #[error("the directory of --junit = {} cannot be used: {source}", path.display())]
    Directory {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something lies there that a file must not replace.
    #[error(
        "--junit = {} is {what}, which is not replaced; name a regular file, or read artifacts/{REPORT_PATH} in the recording",
        path.display()
    )]
    Occupied {
        /// The file.
        path: PathBuf,
        /// What lies there, for people.
        what: &'static str,
    },
}

/// What lies at the place of the copy; nothing is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occupant {
    /// Nothing.
    Absent,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// Something else, for people.
    Other(&'static str),
}

/// Whether a run could begin with a copy at `path`; changes nothing.
///
/// # Errors
/// As the run would give.
pub(crate) fn check(path: &Path) -> Result<(), ReportFileError> {
    ReportFile::look(path).map(|_| ())
}

impl ReportFile {
    /// Opens the directory of `path`, at which there is nothing or a regular file; the file is removed.
    ///
    /// # Errors
    /// When the directory cannot be opened, the path names no file, or something else lies there.
    pub(super) fn open(path: &Path) -> Result<Self, ReportFileError> {
        let unusable = |source| ReportFileError::Directory {
            path: path.to_owned(),
            source,
        };
        let (this, is_there) = Self::look(path)?;
        if is_there {
            // It would be read as the report of this run.
            this.remove_earlier().map_err(unusable)?;
        }
        Ok(this)
    }

    /// Opens the directory of `path`, changes nothing, and tells whether a regular file is there.
    fn look(path: &Path) -> Result<(Self, bool), ReportFileError> {
        let unusable = |source| ReportFileError::Directory {
            path: path.to_owned(),
            source,
        };
        let this = Self::open_directory(path).map_err(unusable)?;
        // Found out now, and not when the run is over.
        let mode = AccessFlags::W_OK | AccessFlags::X_OK;
        faccessat(&this.directory, ".", mode, AtFlags::AT_EACCESS)
            .map_err(|errno| unusable(errno.into()))?;
        let what = match this.occupant().map_err(unusable)? {
            Occupant::Absent => return Ok((this, false)),
            Occupant::File => return Ok((this, true)),
            Occupant::Link => "a link",
            Occupant::Other(what) => what,
        };
        Err(ReportFileError::Occupied {
            path: this.path,
            what,
        })
    }

    fn remove_earlier(&self) -> io::Result<()> {
        let name = self.name.as_os_str();
        Ok(unlinkat(&self.directory, name, UnlinkatFlags::NoRemoveDir)?)
    }

    fn open_directory(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            Some(_) | None => Path::new("."),
        };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self {
            directory: nix::fcntl::open(parent, flags, Mode::empty())?,
            name: name.to_owned(),
            path: path.to_owned(),
        })
    }

    fn occupant(&self) -> io::Result<Occupant> {
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
        let stat = match fstatat(&self.directory, self.name.as_os_str(), flags) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return Ok(Occupant::Absent),
            Err(errno) => return Err(errno.into()),
        };
        // The whole type is compared: its bits overlap (inode(7)).
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        Ok(match kind {
            SFlag::S_IFREG => Occupant::File,
            SFlag::S_IFLNK => Occupant::Link,
            SFlag::S_IFDIR => Occupant::Other("a directory"),
            SFlag::S_IFIFO => Occupant::Other("a pipe"),
            SFlag::S_IFSOCK => Occupant::Other("a socket"),
            SFlag::S_IFCHR | SFlag::S_IFBLK => Occupant::Other("a device"),
            _ => Occupant::Other("no regular file"),
        })
    }

    /// Copies the report of the run; what fails is logged, for the run has ended as its record says.
    pub(super) async fn deliver_in_time(self, run_dir: &Arc<RunDir>) {
        let run_dir = Arc::clone(run_dir);
        let path = self.path.display().to_string();
        let deliver = tokio::task::spawn_blocking(move || self.deliver(&run_dir));
        match tokio::time::timeout(PERSIST_STEP_LIMIT, deliver).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::error!(path, %error, "the report was not copied"),
            Ok(Err(error)) => tracing::error!(path, %error, "the report was not copied"),
            Err(_) => tracing::error!(path, "the report was not copied in time"),
        }
    }

    /// Copies the report of the run. It blocks.
    fn deliver(&self, run_dir: &RunDir) -> io::Result<()> {
        let report = format!("artifacts/{REPORT_PATH}");
        let mut bytes = Vec::new();
        run_dir
            .open_beneath(&report, OFlag::O_RDONLY | OFlag::O_CLOEXEC)
            .map_err(io::Error::other)?
            // Redaction may make it a little longer.
            .take(2 * MAX_REPORT_BYTES as u64)
            .read_to_end(&mut bytes)?;
        let mut temporary = OsString::from(".");
        temporary.push(&self.name);
        temporary.push(format!(".{}", std::process::id()));
        let written = self.write(&temporary, &bytes);
        if written.is_err() {
            // It may not exist at all.
            let _ = unlinkat(
                &self.directory,
                temporary.as_os_str(),
                UnlinkatFlags::NoRemoveDir,
            );
        }
        written
    }

    fn write(&self, temporary: &OsStr, bytes: &[u8]) -> io::Result<()> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o644);
        let mut file = File::from(openat(&self.directory, temporary, flags, mode)?);
        file.write_all(bytes)?;
        // Looked at again, for it may lie there only since the run began.
        match self.occupant()? {
            Occupant::Absent | Occupant::File | Occupant::Link => {}
            Occupant::Other(what) => {
                let message = format!("{what} lies there, which is not replaced");
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
            }
        }
        renameat(
            &self.directory,
            temporary,
            &self.directory,
            self.name.as_os_str(),
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, symlink};

    use super::*;

    /// The directory of a run whose report is `<xml/>`.
    fn run_with_report() -> (tempfile::TempDir, RunDir) {
        let run = tempfile::tempdir().unwrap();
        std::fs::create_dir(run.path().join("artifacts")).unwrap();
        std::fs::write(run.path().join("artifacts/junit.xml"), "<xml/>").unwrap();
        let directory = File::open(run.path()).unwrap().into();
        let id = "run".parse().unwrap();
        let run_dir = RunDir::from_fd(directory, run.path().to_owned(), id);
        (run, run_dir)
    }

    #[test]
    fn what_is_no_regular_file_is_refused_before_the_run_and_stays() {
        let place = tempfile::tempdir().unwrap();
        let refused = |name: &str, what: &str| {
            let path = place.path().join(name);
            let error = ReportFile::open(&path).unwrap_err();
            assert!(matches!(error, ReportFileError::Occupied { .. }), "{error}");
            let message = error.to_string();
            assert!(message.contains(what), "{message}");
            assert!(message.contains("name a regular file"), "{message}");
        };
        nix::unistd::mkfifo(&place.path().join("pipe"), Mode::S_IRWXU).unwrap();
        refused("pipe", "is a pipe");
        std::fs::create_dir(place.path().join("directory")).unwrap();
        refused("directory", "is a directory");
        symlink("pipe", place.path().join("link")).unwrap();
        refused("link", "is a link");
        let _socket = std::os::unix::net::UnixListener::bind(place.path().join("socket")).unwrap();
        refused("socket", "is a socket");
        // Where nodes cannot be made, the pipe stands for them.
        let node = place.path().join("node");
        let number = nix::sys::stat::makedev(1, 3);
        match nix::sys::stat::mknod(&node, SFlag::S_IFCHR, Mode::S_IRUSR, number) {
            Ok(()) => refused("node", "is a device"),
            Err(errno) => assert_eq!(errno, Errno::EPERM),
        }
        std::fs::write(place.path().join("file"), "old").unwrap();
        let file = ReportFile::open(&place.path().join("file")).unwrap();
        let (_run, run_dir) = run_with_report();
        file.deliver(&run_dir).unwrap();
        let text = std::fs::read_to_string(place.path().join("file")).unwrap();
        assert_eq!(text, "<xml/>");
    }

    #[test]
    fn a_pipe_that_appears_during_the_run_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("junit.xml");
        let file = ReportFile::open(&path).unwrap();
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        let (_run, run_dir) = run_with_report();
        let error = file.deliver(&run_dir).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{error}");
        assert!(path.symlink_metadata().unwrap().file_type().is_fifo());
        let left = std::fs::read_dir(place.path()).unwrap();
        assert_eq!(left.count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_link_in_its_place_is_replaced_and_a_moved_directory_is_followed_to() {
        let place = tempfile::tempdir().unwrap();
        let precious = place.path().join("precious");
        std::fs::write(&precious, "precious").unwrap();
        let reports = place.path().join("reports");
        std::fs::create_dir(&reports).unwrap();
        let file = ReportFile::open(&reports.join("junit.xml")).unwrap();
        // What a workload may do to the place meanwhile.
        symlink(&precious, reports.join("junit.xml")).unwrap();
        std::fs::rename(&reports, place.path().join("elsewhere")).unwrap();
        symlink(place.path(), &reports).unwrap();
        let (_run, run_dir) = run_with_report();
        file.deliver(&run_dir).unwrap();
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
        let delivered = place.path().join("elsewhere/junit.xml");
        assert_eq!(std::fs::read_to_string(&delivered).unwrap(), "<xml/>");
        assert!(!delivered.is_symlink());
        assert!(!place.path().join("junit.xml").exists());
        let left = std::fs::read_dir(place.path().join("elsewhere")).unwrap();
        assert_eq!(left.count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error_before_the_run() {
        assert!(ReportFile::open(Path::new("/no/such/directory/junit.xml")).is_err());
        assert!(ReportFile::open(Path::new("/")).is_err());
    }
}
