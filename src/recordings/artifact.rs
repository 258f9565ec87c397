//! Artifacts: files that a run leaves for its readers.
//!
//! Owns `artifacts/`: how a file gets into it and how an untrusted path is opened. A file is written outside of
//! `artifacts/` and moved there when it is whole. Invariant: what lies below `artifacts/` is complete, and is never
//! replaced.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::UnlinkatFlags;
use sha2::{Digest, Sha256};

use super::directory::{Creation, Directory, Taken};
use super::error::{Operation, RecordingsError};
use super::layout;
use super::path::{InvalidPath, RelativePath};
use super::run_dir::RunDir;
use crate::event::ArtifactAdded;

/// Name under which an artifact is written before it is whole.
const UNFINISHED: &str = "artifact";

/// An artifact could not be written or opened.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// There is no regular file of that path; what is not a regular file is told no other way, for it is not an artifact.
    #[error("there is no artifact {path:?}")]
    NotFound {
        /// The path below `artifacts/`.
        path: String,
    },
    /// The path is outside the grammar.
    #[error("the artifact's path is refused")]
    InvalidPath {
        /// Why.
        source: InvalidPath,
    },
    /// An artifact of that path exists.
    #[error("there is an artifact {path:?} already")]
    Exists {
        /// The path below `artifacts/`.
        path: String,
    },
    /// The content is larger than allowed; what was written is given up.
    #[error("artifact {path:?} is larger than {max_bytes} bytes")]
    TooLarge {
        /// The path below `artifacts/`.
        path: String,
        /// The limit.
        max_bytes: u64,
    },
    /// The system refused.
    #[error("cannot handle artifact {path:?}")]
    Io {
        /// The path below `artifacts/`.
        path: String,
        /// What was refused.
        source: RecordingsError,
    },
}

/// An artifact that is being written; dropping it without [`ArtifactWriter::finish`] leaves nothing.
#[derive(Debug)]
pub struct ArtifactWriter {
    run: RunDir,
    path: RelativePath,
    media_type: String,
    max_bytes: u64,
    temporary_name: String,
    file: File,
    size: u64,
    hash: Sha256,
}

impl ArtifactWriter {
    /// Begins the artifact `path` (below `artifacts/`) of at most `max_bytes`.
    ///
    /// # Errors
    /// When the path is refused or taken, or no file can be made.
    pub fn create(
        run: &RunDir,
        path: &str,
        media_type: &str,
        max_bytes: u64,
    ) -> Result<Self, ArtifactError> {
        let path =
            RelativePath::parse(path).map_err(|source| ArtifactError::InvalidPath { source })?;
        let failed = |source| ArtifactError::Io {
            path: path.as_str().to_owned(),
            source,
        };
        match open_artifact(run, path.as_str()) {
            Ok(_) => {
                return Err(ArtifactError::Exists {
                    path: path.as_str().to_owned(),
                });
            }
            Err(ArtifactError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let run = run.try_clone().map_err(failed)?;
        let (file, temporary_name) = run
            .directory()
            .temporary(UNFINISHED)
            .and_then(|temporary| temporary.into_parts())
            .map_err(failed)?;
        Ok(Self {
            run,
            path,
            media_type: media_type.to_owned(),
            max_bytes,
            temporary_name,
            file,
            size: 0,
            hash: Sha256::new(),
        })
    }

    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// When the artifact would become larger than allowed (nothing of `bytes` is written then), or the system refuses.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ArtifactError> {
        let size = u64::try_from(bytes.len())
            .ok()
            .and_then(|n_bytes| self.size.checked_add(n_bytes))
            .filter(|size| *size <= self.max_bytes);
        let Some(size) = size else {
            return Err(ArtifactError::TooLarge {
                path: self.path.as_str().to_owned(),
                max_bytes: self.max_bytes,
            });
        };
        self.file
            .write_all(bytes)
            .map_err(|source| self.failed(Operation::Write, source))?;
        self.hash.update(bytes);
        self.size = size;
        Ok(())
    }

    fn failed(&self, operation: Operation, source: io::Error) -> ArtifactError {
        ArtifactError::Io {
            path: self.path.as_str().to_owned(),
            source: self
                .run
                .directory()
                .error(operation, &self.temporary_name, source),
        }
    }

    /// Makes the artifact visible, durably, and describes it. The caller records it in the manifest and in the log.
    ///
    /// # Errors
    /// When the path was taken meanwhile, or the system refuses; nothing is left then.
    pub fn finish(self) -> Result<ArtifactAdded, ArtifactError> {
        let failed = |source| ArtifactError::Io {
            path: self.path.as_str().to_owned(),
            source,
        };
        let (parents, last) = self.path.split_last();
        let (mut parent, _) = self
            .run
            .directory()
            .make_directory(layout::ARTIFACTS)
            .map_err(failed)?;
        for component in parents {
            let at = Directory::new(parent.as_fd(), self.run.path());
            parent = at.make_directory(component).map_err(failed)?.0;
        }
        let from = self.run.directory();
        let file = self.file.try_clone();
        let file = file.map_err(|source| self.failed(Operation::Open, source))?;
        // `adopt` removes the temporary name at its end; the removal in `drop` then finds nothing.
        let temporary = from.adopt(file, self.temporary_name.clone());
        let target = Directory::new(parent.as_fd(), self.run.path());
        match from.publish(temporary, target, last, Taken::Keep) {
            Ok(Creation::Created) => Ok(ArtifactAdded {
                path: self.path.as_str().to_owned(),
                media_type: self.media_type.clone(),
                size: self.size,
                sha256: hexadecimal(&self.hash.clone().finalize()),
                withheld: None,
                has_secret: false,
            }),
            Ok(Creation::Existed) => Err(ArtifactError::Exists {
                path: self.path.as_str().to_owned(),
            }),
            Err(source) => Err(failed(source)),
        }
    }
}

impl Drop for ArtifactWriter {
    fn drop(&mut self) {
        // A name that stays is found by `RunDir::remove_stale_temporaries`.
        let _ = self
            .run
            .directory()
            .remove(&self.temporary_name, UnlinkatFlags::NoRemoveDir);
    }
}

impl Write for ArtifactWriter {
    /// Writes all of `bytes` or nothing; a limit that is reached is [`io::ErrorKind::FileTooLarge`].
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match Self::write(self, bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error @ ArtifactError::TooLarge { .. }) => {
                Err(io::Error::new(io::ErrorKind::FileTooLarge, error))
            }
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens an artifact by an untrusted path and gives its size in bytes. No link is followed, and nothing but a regular
/// file is given; opening a fifo does not wait.
///
/// # Errors
/// [`ArtifactError::InvalidPath`] outside the grammar, [`ArtifactError::NotFound`] when there is no such regular file,
/// [`ArtifactError::Io`] when the system refuses for another reason.
pub fn open_artifact(run: &RunDir, path: &str) -> Result<(File, u64), ArtifactError> {
    let relative =
        RelativePath::parse(path).map_err(|source| ArtifactError::InvalidPath { source })?;
    let not_found = || ArtifactError::NotFound {
        path: path.to_owned(),
    };
    let at = run.directory();
    let io_error = |operation, source: io::Error| ArtifactError::Io {
        path: path.to_owned(),
        source: at.error(operation, path, source),
    };
    let open = |directory: Directory<'_>,
                path: &RelativePath,
                flags: OFlag|
     -> Result<OwnedFd, ArtifactError> {
        directory.open(path, flags).map_err(|errno| match errno {
            // Absent, a file among the parents, a link (ELOOP), a way out (EXDEV), a socket or device (ENXIO).
            Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV | Errno::ENXIO => {
                not_found()
            }
            errno => io_error(Operation::Open, errno.into()),
        })
    };
    let artifacts = RelativePath::parse(layout::ARTIFACTS)
        .map_err(|source| ArtifactError::InvalidPath { source })?;
    let artifacts = open(at, &artifacts, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    let beneath = Directory::new(artifacts.as_fd(), run.path());
    let file = File::from(open(
        beneath,
        &relative,
        OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY,
    )?);
    let metadata = file
        .metadata()
        .map_err(|source| io_error(Operation::Inspect, source))?;
    if metadata.is_file() {
        Ok((file, metadata.len()))
    } else {
        Err(not_found())
    }
}

/// Lower-case hexadecimal digits of `bytes`.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
