//! One regular file that the workload left: what speaks against it, and its copy.
//!
//! Owns the checks of a file and of the secrets in it. It opens nothing but what the walk has found. Invariant: what was
//! changed while it was looked at or copied is withheld.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, fstat};

use super::secret_scan::SecretScan;
use super::{Collector, Place, Refusal, Secrets, path_of};
use crate::event::{ArtifactAdded, Withheld};
use crate::recordings::artifact::{ArtifactError, ArtifactWriter};
use crate::recordings::directory::Directory;
use crate::recordings::error::RecordingsError;
use crate::recordings::media_type;
use crate::redact::Redactor;

/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 64 << 10;

impl Collector<'_> {
    /// Copies one regular file, if nothing speaks against it.
    pub(super) fn file(
        &mut self,
        place: &Place<'_>,
        name: &str,
        path: &str,
        stat: &FileStat,
    ) -> Result<ArtifactAdded, Refusal> {
        let withheld = |reason| Err(Refusal::Withheld(reason));
        let path = path_of(path).map_err(Refusal::Withheld)?;
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if self.collected.n_kept >= self.limits.max_files {
            return withheld(Withheld::TooMany);
        }
        if size > self.limits.max_file_bytes {
            return withheld(Withheld::TooLarge);
        }
        if self.collected.kept_bytes.saturating_add(size) > self.limits.max_total_bytes {
            return withheld(Withheld::BeyondTotal);
        }
        if stat.st_nlink > 1 && stat.st_uid != place.owner {
            return withheld(Withheld::HardLink);
        }
        let mut has_secret = self.redactor.redact_text(path.as_str()) != path.as_str();
        let directory = Directory::new(place.directory, Path::new(place.prefix));
        let name = directory
            .parse_name(name)
            .map_err(|_| Refusal::Withheld(Withheld::Name))?;
        // O_NONBLOCK, in case that it has become a fifo since it was looked at.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = directory
            .open(&name, flags)
            .map_err(|_| Refusal::Withheld(Withheld::Unreadable))?;
        let mut file = File::from(file);
        let before = self.state(&file)?;
        if before != State::of(stat) {
            return withheld(Withheld::Changed);
        }
        if !has_secret {
            has_secret = holds_secret(self.redactor, self.is_over, &mut file)?;
        }
        if has_secret && self.limits.secrets == Secrets::Withhold {
            return withheld(Withheld::Secret);
        }
        let added = self.copy(&mut file, path.as_str(), before)?;
        Ok(ArtifactAdded {
            has_secret,
            ..added
        })
    }

    fn state(&self, file: &File) -> Result<State, Refusal> {
        fstat(file)
            .map(|stat| State::of(&stat))
            .map_err(|_| Refusal::Withheld(Withheld::Unreadable))
    }

    fn copy(&self, file: &mut File, path: &str, before: State) -> Result<ArtifactAdded, Refusal> {
        file.rewind()
            .map_err(|_| Refusal::Withheld(Withheld::Unreadable))?;
        let max_bytes = self.limits.max_file_bytes;
        let mut writer = ArtifactWriter::create(self.run, path, media_type::of(path), max_bytes)
            .map_err(refused)?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            if (self.is_over)() {
                return Err(Refusal::Over);
            }
            match read(file, &mut chunk)? {
                [] => break,
                bytes => writer.write(bytes).map_err(refused)?,
            }
        }
        if self.state(file)? != before {
            return Err(Refusal::Withheld(Withheld::Changed));
        }
        writer.finish().map_err(refused)
    }
}

/// Whether the redactor finds a secret in a file, which is left at its beginning.
pub(super) fn holds_secret(
    redactor: &Redactor,
    is_over: &dyn Fn() -> bool,
    file: &mut File,
) -> Result<bool, Refusal> {
    let mut scan = SecretScan::new(redactor);
    let mut chunk = vec![0; CHUNK_BYTES];
    let has_secret = loop {
        if is_over() {
            return Err(Refusal::Over);
        }
        match read(file, &mut chunk)? {
            [] => break scan.finish(),
            bytes if scan.push(bytes) => break true,
            _ => {}
        }
    };
    file.rewind()
        .map_err(|_| Refusal::Withheld(Withheld::Unreadable))?;
    Ok(has_secret)
}

/// What of a file must not change while it is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    device: u64,
    inode: u64,
    mode: u32,
    size: i64,
    modified_at: (i64, i64),
}

impl State {
    fn of(stat: &FileStat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            mode: stat.st_mode,
            size: stat.st_size,
            modified_at: (stat.st_mtime, stat.st_mtime_nsec),
        }
    }
}

fn read<'a>(file: &mut File, chunk: &'a mut [u8]) -> Result<&'a [u8], Refusal> {
    loop {
        match file.read(chunk) {
            Ok(n_read) => return Ok(chunk.get(..n_read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Refusal::Withheld(Withheld::Unreadable)),
        }
    }
}

fn refused(error: ArtifactError) -> Refusal {
    Refusal::Withheld(reason_of(&error))
}

/// Why a file is not kept, from what the artifacts say to it.
pub(super) fn reason_of(error: &ArtifactError) -> Withheld {
    let is_full = |error: &RecordingsError| {
        matches!(
            error.io_kind(),
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        )
    };
    match error {
        ArtifactError::Exists { .. } => Withheld::Exists,
        ArtifactError::TooLarge { .. } => Withheld::Changed,
        ArtifactError::InvalidPath { .. } => Withheld::Name,
        ArtifactError::Io { source, .. } if is_full(source) => Withheld::NoSpace,
        ArtifactError::Io { .. } | ArtifactError::NotFound { .. } => Withheld::NotWritten,
    }
}
