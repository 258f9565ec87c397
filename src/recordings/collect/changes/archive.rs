//! The archive of changed files, as tar(1) reads it.
//!
//! Owns its form: paths below the workspace, one owner, no bits but those of reading, writing and executing. Invariant: an
//! entry is as long as its head says, whatever became of the file meanwhile.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use nix::sys::stat::FileStat;
use tar::{Builder, EntryType, Header};

use super::list::size_of;
use super::{ARCHIVE, MAX_CHANGES};
use crate::event::ArtifactAdded;
use crate::recordings::RunDir;
use crate::recordings::artifact::{ArtifactError, ArtifactWriter};
use crate::recordings::error::{Operation, RecordingsError};

/// What browsers and tools call it.
pub(super) const MEDIA_TYPE: &str = "application/x-tar";

/// Permissions that are kept: set-user-id, set-group-id and sticky bits are not.
const KEPT_MODE: u32 = 0o777;

/// Most bytes of an entry beside its content: its head, that of a long path and of a long target, each with its text, and
/// the fill behind each.
const ENTRY_BYTES: u64 = 8 << 10;

/// An archive that is being written.
pub(super) struct Archive {
    builder: Builder<ArtifactWriter>,
    owner: (u32, u32),
}

impl Archive {
    /// An archive of at most so many bytes of content.
    pub(super) fn create(
        run: &RunDir,
        max_content_bytes: u64,
        owner: (u32, u32),
    ) -> Result<Self, ArtifactError> {
        let entries = u64::try_from(MAX_CHANGES).unwrap_or(u64::MAX);
        let max_bytes = max_content_bytes.saturating_add(entries.saturating_mul(ENTRY_BYTES));
        let writer = ArtifactWriter::create(run, ARCHIVE, MEDIA_TYPE, max_bytes)?;
        Ok(Self {
            builder: Builder::new(writer),
            owner,
        })
    }

    pub(super) fn directory(&mut self, path: &str, stat: &FileStat) -> Result<(), ArtifactError> {
        let mut header = self.header(EntryType::Directory, stat, 0);
        let appended = self
            .builder
            .append_data(&mut header, format!("{path}/"), io::empty());
        appended.map_err(failed)
    }

    pub(super) fn link(
        &mut self,
        path: &str,
        target: impl AsRef<Path>,
        stat: &FileStat,
    ) -> Result<(), ArtifactError> {
        let mut header = self.header(EntryType::Symlink, stat, 0);
        let appended = self.builder.append_link(&mut header, path, target);
        appended.map_err(failed)
    }

    /// Appends a regular file from its beginning; false when it became shorter, and zeros stand in its place.
    pub(super) fn file(
        &mut self,
        path: &str,
        file: &mut File,
        stat: &FileStat,
    ) -> Result<bool, ArtifactError> {
        let size = size_of(stat);
        let mut header = self.header(EntryType::Regular, stat, size);
        let mut content = Content {
            rest: file.take(size),
            is_whole: true,
        };
        let padded = content.by_ref().chain(io::repeat(0)).take(size);
        self.builder
            .append_data(&mut header, path, padded)
            .map_err(failed)?;
        Ok(content.is_whole && content.rest.limit() == 0)
    }

    /// Ends the archive and makes it an artifact.
    pub(super) fn finish(self) -> Result<ArtifactAdded, ArtifactError> {
        self.builder.into_inner().map_err(failed)?.finish()
    }

    fn header(&self, kind: EntryType, stat: &FileStat, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(stat.st_mode & KEPT_MODE);
        header.set_uid(self.owner.0.into());
        header.set_gid(self.owner.1.into());
        header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
        header.set_size(size);
        header
    }
}

/// What is left of a file; one that cannot be read any more has ended.
struct Content<R> {
    rest: R,
    is_whole: bool,
}

impl<R: Read> Read for Content<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.rest.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.is_whole = false;
                    return Ok(0);
                }
                read => return read,
            }
        }
    }
}

fn failed(error: io::Error) -> ArtifactError {
    // What the writer below refused comes back whole.
    match error.downcast::<ArtifactError>() {
        Ok(error) => error,
        Err(source) => ArtifactError::Io {
            path: ARCHIVE.to_owned(),
            source: RecordingsError::Io {
                operation: Operation::Write,
                path: ARCHIVE.into(),
                source,
            },
        },
    }
}
