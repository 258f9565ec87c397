//! A copy of the run's JUnit report where the caller wants it.
//!
//! Owns the directory of that file from before anything is launched, so that no link that the workload makes leads the copy
//! elsewhere. Never creates directories. Invariant: the file is whole or not there; a link in its place is replaced and not
//! followed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

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

impl ReportFile {
    /// Opens the directory of `path`.
    ///
    /// # Errors
    /// When it cannot be opened, or the path names no file.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
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
    use std::os::unix::fs::symlink;

    use super::*;

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
        let run = tempfile::tempdir().unwrap();
        std::fs::create_dir(run.path().join("artifacts")).unwrap();
        std::fs::write(run.path().join("artifacts/junit.xml"), "<xml/>").unwrap();
        let directory = File::open(run.path()).unwrap().into();
        let id = "run".parse().unwrap();
        let run_dir = RunDir::from_fd(directory, run.path().to_owned(), id);
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
