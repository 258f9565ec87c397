//! What a workload changed in a workspace that is an overlay: a list, and an archive of what is new.
//!
//! Owns the comparison of the three sides of an overlay. It never follows a link and opens nothing but directories, and
//! regular files of the layer above. Invariants: every change that was found stands in the list, with the reason where the
//! archive lacks it, and neither is larger than its limits.
//!
//! Gone is what the layer below has and the overlay has not. So nothing here reads whiteouts and marks of opaque directories,
//! which kernels write in several ways.

mod archive;
mod list;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};

use super::regular_file::{holds_secret, reason_of};
use super::{Limits, Refusal, Secrets, harmless, path_of};
use crate::event::{ArtifactAdded, Withheld};
use crate::recordings::RunDir;
use crate::recordings::artifact::{ArtifactError, ArtifactWriter};
use crate::redact::Redactor;
use archive::Archive;
pub use list::Changed;
use list::{Change, Entry, Kind, List, SCHEMA_VERSION, What, size_of};

/// The list of changes among the artifacts.
pub const LIST: &str = "changes/workspace.json";

/// The archive of what is new or changed among the artifacts.
pub const ARCHIVE: &str = "changes/workspace.tar";

/// What is told of a run whose workspace was an overlay and of which there is no list.
pub const NOT_TAKEN: &str = "what the workload changed in its workspace was not taken and is gone; the workspace is as it was";

/// Most changes that are listed and archived.
pub const MAX_CHANGES: usize = 100_000;

/// Most bytes of their paths together, which are held in memory.
pub const MAX_PATH_BYTES: usize = 8 << 20;

/// Most names that are looked at on all sides: two seconds of work.
pub const MAX_NAMES: usize = 500_000;

/// Largest list: of the most changes each has its path, of which every byte may be escaped, and 400 bytes beside it.
const MAX_LIST_BYTES: u64 = 64 << 20;

/// The sides of an overlay, each a directory.
#[derive(Debug, Clone, Copy)]
pub struct Sides<'a> {
    /// What the workload wrote.
    pub above: BorrowedFd<'a>,
    /// What was there before.
    pub below: BorrowedFd<'a>,
    /// Both, as the workload saw them.
    pub merged: BorrowedFd<'a>,
}

/// One directory of the overlay.
struct Place<'a> {
    above: BorrowedFd<'a>,
    /// None where no directory was there before.
    below: Option<BorrowedFd<'a>>,
    merged: BorrowedFd<'a>,
    /// Path with its final slash; empty at the top.
    prefix: &'a str,
}

/// Compares the sides of one overlay.
pub struct Comparison<'a> {
    run: &'a RunDir,
    redactor: &'a Redactor,
    limits: Limits,
    /// Asked before each entry and each piece of a file that is looked into.
    is_over: &'a dyn Fn() -> bool,
    /// Whom the files of the archive belong to: the owner of the workspace.
    owner: (u32, u32),
    /// The filesystem of the layer below: what else is mounted there is no part of the overlay.
    device: u64,
    changed: Changed,
    changes: Vec<Change>,
    archive: Option<Archive>,
    /// Why there is no archive any more.
    lost: Option<Withheld>,
    has_secret: bool,
    content_bytes: u64,
    path_bytes: usize,
    n_names: usize,
}

impl std::fmt::Debug for Comparison<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Comparison")
            .field("limits", &self.limits)
            .field("changed", &self.changed)
            .finish_non_exhaustive()
    }
}

impl<'a> Comparison<'a> {
    /// A comparison that has found nothing yet. Of `limits` those of a file and of all bytes hold for the archive.
    pub fn new(
        run: &'a RunDir,
        redactor: &'a Redactor,
        limits: Limits,
        owner: (u32, u32),
        is_over: &'a dyn Fn() -> bool,
    ) -> Self {
        Self {
            run,
            redactor,
            limits,
            is_over,
            owner,
            device: 0,
            changed: Changed::default(),
            changes: Vec::new(),
            archive: None,
            lost: None,
            has_secret: false,
            content_bytes: 0,
            path_bytes: 0,
            n_names: 0,
        }
    }

    /// Writes [`LIST`], and [`ARCHIVE`] where anything is new, and tells both; `workspace` is the path in the list.
    ///
    /// # Errors
    /// When a side cannot be read, or the list cannot be written.
    pub fn take(
        mut self,
        sides: Sides<'_>,
        workspace: &str,
        tell: &mut dyn FnMut(ArtifactAdded),
    ) -> io::Result<Changed> {
        self.device = fstat(sides.below)?.st_dev;
        self.walk(&Place {
            above: sides.above,
            below: Some(sides.below),
            merged: sides.merged,
            prefix: "",
        })?;
        self.changes.sort_by(|a, b| a.path.cmp(&b.path));
        let mut archive = None;
        match self.archive.take().map(Archive::finish) {
            None => {}
            Some(Ok(added)) => {
                archive = Some(ARCHIVE);
                tell(ArtifactAdded {
                    has_secret: self.has_secret,
                    ..added
                });
            }
            Some(Err(error)) => self.lost = Some(reason_of(&error)),
        }
        if let Some(reason) = self.lost {
            tell(ArtifactAdded {
                path: ARCHIVE.to_owned(),
                media_type: archive::MEDIA_TYPE.to_owned(),
                size: 0,
                sha256: String::new(),
                withheld: Some(reason),
                has_secret: false,
            });
        }
        let list = List {
            schema_version: SCHEMA_VERSION,
            workspace: &self.redactor.redact_text(workspace),
            archive,
            changed: &self.changed,
            changes: &self.changes,
        };
        let mut writer = ArtifactWriter::create(self.run, LIST, "application/json", MAX_LIST_BYTES)
            .map_err(io::Error::other)?;
        serde_json::to_writer(io::BufWriter::new(&mut writer), &list)?;
        tell(writer.finish().map_err(io::Error::other)?);
        Ok(self.changed)
    }

    fn walk(&mut self, place: &Place<'_>) -> io::Result<()> {
        let above = self.names(place.above)?;
        let below = match place.below {
            Some(below) => self.names(below)?,
            None => BTreeSet::new(),
        };
        let merged = self.names(place.merged)?;
        for name in above.union(&below) {
            if (self.is_over)() {
                self.cut("there was no time left");
            }
            // A side of which not all is known cannot be compared.
            if self.changed.cut.is_some() {
                return Ok(());
            }
            match (merged.contains(name), below.contains(name)) {
                (true, was_there) if above.contains(name) => self.written(place, name, was_there),
                (false, true) => self.removed(place, name),
                (true | false, _) => {}
            }
        }
        Ok(())
    }

    fn cut(&mut self, why: &'static str) {
        self.changed.cut.get_or_insert(why);
    }

    fn names(&mut self, directory: BorrowedFd<'_>) -> io::Result<BTreeSet<OsString>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut listing = Dir::openat(directory, ".", flags, Mode::empty())?;
        let mut names = BTreeSet::new();
        for entry in listing.iter() {
            let name = entry?.file_name().to_bytes().to_vec();
            if name == b"." || name == b".." {
                continue;
            }
            if self.n_names >= MAX_NAMES {
                self.cut("there are more names than are looked at");
                break;
            }
            self.n_names += 1;
            names.insert(OsString::from_vec(name));
        }
        Ok(names)
    }

    fn removed(&mut self, place: &Place<'_>, name: &OsStr) {
        let entry = place.below.and_then(|below| stat(below, name));
        let path = format!("{}{}", place.prefix, name.to_string_lossy());
        self.list(path, What::Removed, entry.as_ref(), None, None);
    }

    /// Takes what stands in the layer above.
    fn written(&mut self, place: &Place<'_>, name: &OsStr, was_there: bool) {
        let path = format!("{}{}", place.prefix, name.to_string_lossy());
        let now = stat(place.above, name);
        let was = place.below.filter(|_| was_there);
        let was = was.and_then(|below| stat(below, name));
        let Some(now) = now else {
            self.list(
                path,
                What::Changed,
                None,
                was.as_ref(),
                Some(Withheld::Unreadable),
            );
            return;
        };
        let is_directory = Kind::of(&now) == Kind::Directory;
        // The kernel copies the directories above what is changed; those are what they were.
        let is_copied = is_directory && was.as_ref().map(Entry::of) == Some(Entry::of(&now));
        let mut withheld = match is_copied {
            true => None,
            false => self.put(place, name, &path, &now).err(),
        };
        if is_directory && withheld.is_none() {
            let below = was
                .as_ref()
                .filter(|was| Kind::of(was) == Kind::Directory && was.st_dev == self.device);
            withheld = self.descend(place, name, &path, below.is_some()).err();
        }
        if !is_copied || withheld.is_some() {
            let what = match was {
                Some(_) => What::Changed,
                None => What::Added,
            };
            self.list(path, what, Some(&now), was.as_ref(), withheld);
        }
    }

    fn descend(
        &mut self,
        place: &Place<'_>,
        name: &OsStr,
        path: &str,
        was_there: bool,
    ) -> Result<(), Withheld> {
        let prefix = format!("{path}/");
        path_of(&format!("{prefix}x"))?;
        let open = |side: BorrowedFd<'_>| -> Result<OwnedFd, Withheld> {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            openat(side, name, flags, Mode::empty()).map_err(|_| Withheld::Unreadable)
        };
        let above = open(place.above)?;
        let merged = open(place.merged)?;
        let below = place.below.filter(|_| was_there);
        let below = below.map(open).transpose()?;
        let place = Place {
            above: above.as_fd(),
            below: below.as_ref().map(AsFd::as_fd),
            merged: merged.as_fd(),
            prefix: &prefix,
        };
        self.walk(&place).map_err(|_| Withheld::Unreadable)
    }

    /// Puts one thing into the archive, if nothing speaks against it.
    fn put(
        &mut self,
        place: &Place<'_>,
        name: &OsStr,
        path: &str,
        now: &FileStat,
    ) -> Result<(), Withheld> {
        if name.to_str().is_none() {
            return Err(Withheld::Name);
        }
        path_of(path)?;
        self.pass(self.redactor.redact_text(path) != path)?;
        match Kind::of(now) {
            Kind::Special => Err(Withheld::Special),
            Kind::Directory => self.append(|archive| archive.directory(path, now)),
            Kind::Link => {
                let target = readlinkat(place.above, name).map_err(|_| Withheld::Unreadable)?;
                let text = target.to_string_lossy();
                self.pass(self.redactor.redact_text(&text) != text)?;
                self.append(|archive| archive.link(path, &target, now))
            }
            Kind::File => self.put_file(place, name, path, now),
        }
    }

    fn put_file(
        &mut self,
        place: &Place<'_>,
        name: &OsStr,
        path: &str,
        now: &FileStat,
    ) -> Result<(), Withheld> {
        let size = size_of(now);
        if size > self.limits.max_file_bytes {
            return Err(Withheld::TooLarge);
        }
        if self.content_bytes.saturating_add(size) > self.limits.max_total_bytes {
            return Err(Withheld::BeyondTotal);
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW;
        let file = openat(place.above, name, flags | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|_| Withheld::Unreadable)?;
        let opened = fstat(&file).map_err(|_| Withheld::Unreadable)?;
        if (opened.st_dev, opened.st_ino, opened.st_size) != (now.st_dev, now.st_ino, now.st_size) {
            return Err(Withheld::Changed);
        }
        let mut file = File::from(file);
        let has_secret = match holds_secret(self.redactor, self.is_over, &mut file) {
            Ok(has_secret) => has_secret,
            Err(Refusal::Withheld(reason)) => return Err(reason),
            Err(Refusal::Over) => {
                self.cut("there was no time left");
                return Err(Withheld::Unreadable);
            }
        };
        self.pass(has_secret)?;
        self.content_bytes = self.content_bytes.saturating_add(size);
        let mut is_whole = true;
        self.append(|archive| {
            is_whole = archive.file(path, &mut file, now)?;
            Ok(())
        })?;
        match is_whole {
            true => Ok(()),
            false => Err(Withheld::Changed),
        }
    }

    /// Lets a secret pass only where the description says so.
    fn pass(&mut self, has_secret: bool) -> Result<(), Withheld> {
        match self.limits.secrets {
            Secrets::Withhold if has_secret => return Err(Withheld::Secret),
            Secrets::Withhold | Secrets::Flag => {}
        }
        self.has_secret |= has_secret;
        Ok(())
    }

    /// Appends to the archive, which is made with the first entry and given up with the first that cannot be written.
    fn append(
        &mut self,
        write: impl FnOnce(&mut Archive) -> Result<(), ArtifactError>,
    ) -> Result<(), Withheld> {
        if let Some(reason) = self.lost {
            return Err(reason);
        }
        let written = match &mut self.archive {
            Some(archive) => write(archive),
            None => Archive::create(self.run, self.limits.max_total_bytes, self.owner)
                .and_then(|made| write(self.archive.insert(made))),
        };
        written.map_err(|error| {
            let reason = reason_of(&error);
            self.archive = None;
            self.lost = Some(reason);
            reason
        })
    }

    fn list(
        &mut self,
        path: String,
        what: What,
        now: Option<&FileStat>,
        was: Option<&FileStat>,
        withheld: Option<Withheld>,
    ) {
        let is_listed = self.changes.len() < MAX_CHANGES
            && self.path_bytes.saturating_add(path.len()) <= MAX_PATH_BYTES;
        if !is_listed {
            self.cut("there are more changes than are listed");
            return;
        }
        self.path_bytes += path.len();
        let count = match what {
            What::Added => &mut self.changed.added,
            What::Changed => &mut self.changed.changed,
            What::Removed => &mut self.changed.removed,
        };
        *count += 1;
        if let Some(reason) = withheld {
            *self.changed.withheld.entry(reason).or_default() += 1;
        }
        let redacted = self.redactor.redact_text(&path);
        let path = match path_of(&path) {
            Ok(_) => redacted.into_owned(),
            Err(_) => harmless(&redacted),
        };
        self.changes.push(Change {
            path,
            change: what,
            entry: now.map_or_else(Entry::unknown, Entry::of),
            was: was.filter(|_| what == What::Changed).map(Entry::of),
            withheld,
        });
    }
}

fn stat(directory: BorrowedFd<'_>, name: &OsStr) -> Option<FileStat> {
    fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok()
}

#[cfg(test)]
mod tests;
