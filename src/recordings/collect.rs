//! The taking out of files that the workload left.
//!
//! Owns the walk over a directory that the workload could write, and the copies of its regular files into the artifacts. It
//! never follows a link, opens nothing but regular files, and trusts no name. Everything that it finds and does not keep is
//! told, the first [`MAX_TOLD`] one by one and the rest in numbers. Invariants: no copy is larger than its limits, and no
//! file in which the redactor finds a secret is written before the description allows it.
//!
//! The workload is dead when this begins, so nothing should change meanwhile; what changes all the same is withheld.

pub mod changes;
mod regular_file;
mod secret_scan;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, fstat};

use super::directory::Directory;
use super::media_type;
use super::path::{MAX_COMPONENT_BYTES, PathFlaw, RelativePath};
use super::pattern::{self, Pattern, Position};
use super::run_dir::RunDir;
use crate::event::{ArtifactAdded, Withheld};
use crate::redact::Redactor;

/// Directory of the artifacts that holds what was chosen from the workspace.
pub const WORKSPACE: &str = "workspace";

/// Most refusals that are told one by one; more are counted.
pub const MAX_TOLD: usize = 100;

/// Most entries of directories that are looked at: two seconds of work.
pub const MAX_ENTRIES: usize = 200_000;

/// What is done with a file that holds a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// It is withheld.
    Withhold,
    /// It is kept, and the record says that it holds one.
    Flag,
}

/// How much is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most files.
    pub max_files: usize,
    /// Most bytes of one file.
    pub max_file_bytes: u64,
    /// Most bytes in all.
    pub max_total_bytes: u64,
    /// What is done with secrets.
    pub secrets: Secrets,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Collected {
    /// Files that were kept.
    pub n_kept: usize,
    /// Their bytes.
    pub kept_bytes: u64,
    /// Refusals that were not told one by one.
    pub untold: BTreeMap<Withheld, u64>,
    /// Why the walk ended before it had seen everything; one clause.
    pub cut: Option<&'static str>,
    /// What was changed in a workspace that is an overlay; none where there is no overlay, or it could not be compared.
    pub changed: Option<changes::Changed>,
}

/// Takes files out of directories.
pub struct Collector<'a> {
    run: &'a RunDir,
    redactor: &'a Redactor,
    limits: Limits,
    /// Asked before each entry and each piece of a file: true when there is no time left.
    is_over: &'a dyn Fn() -> bool,
    /// Gets each file that was kept or withheld.
    tell: &'a mut dyn FnMut(ArtifactAdded),
    collected: Collected,
    n_entries: usize,
    n_told: usize,
    /// Whether [`WORKSPACE`] is for what is chosen from the workspace.
    is_workspace_reserved: bool,
}

impl std::fmt::Debug for Collector<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector")
            .field("limits", &self.limits)
            .field("collected", &self.collected)
            .finish_non_exhaustive()
    }
}

/// Where in a tree the walk is.
struct Place<'a> {
    directory: BorrowedFd<'a>,
    /// Path below the artifacts, with its final slash; empty at the top.
    prefix: &'a str,
    /// Where it stands in the patterns; none where everything is chosen.
    position: Option<Position>,
    /// Owner of the top: hard links to files of others are refused.
    owner: u32,
}

/// Why a file is not kept, or why the walk cannot go on.
enum Refusal {
    Withheld(Withheld),
    Over,
}

impl<'a> Collector<'a> {
    /// A collector that has taken nothing yet.
    pub fn new(
        run: &'a RunDir,
        redactor: &'a Redactor,
        limits: Limits,
        is_over: &'a dyn Fn() -> bool,
        tell: &'a mut dyn FnMut(ArtifactAdded),
    ) -> Self {
        Self {
            run,
            redactor,
            limits,
            is_over,
            tell,
            collected: Collected::default(),
            n_entries: 0,
            n_told: 0,
            is_workspace_reserved: false,
        }
    }

    /// Keeps [`WORKSPACE`] for files that are chosen from the workspace: what else has that path is withheld, so that nobody
    /// takes one for the other.
    pub fn reserve_workspace(&mut self) {
        self.is_workspace_reserved = true;
    }

    /// Takes every file below `top`, under its own path.
    ///
    /// # Errors
    /// When `top` itself cannot be read.
    pub fn take_all(&mut self, top: BorrowedFd<'_>) -> io::Result<()> {
        let owner = fstat(top)?.st_uid;
        self.walk(
            &Place {
                directory: top,
                prefix: "",
                position: None,
                owner,
            },
            &[],
        )
    }

    /// Takes the files below `top` that a pattern chooses, under [`WORKSPACE`] and their path.
    ///
    /// # Errors
    /// When `top` itself cannot be read.
    pub fn take_chosen(&mut self, top: BorrowedFd<'_>, patterns: &[Pattern]) -> io::Result<()> {
        let owner = fstat(top)?.st_uid;
        self.walk(
            &Place {
                directory: top,
                prefix: &format!("{WORKSPACE}/"),
                position: Some(pattern::start(patterns)),
                owner,
            },
            patterns,
        )
    }

    /// What came of it.
    pub fn finish(self) -> Collected {
        self.collected
    }

    fn walk(&mut self, place: &Place<'_>, patterns: &[Pattern]) -> io::Result<()> {
        for name in self.names(place.directory)? {
            if (self.is_over)() {
                self.collected.cut = Some("there was no time left");
            }
            if self.collected.cut.is_some() {
                return Ok(());
            }
            self.entry(place, patterns, &name);
        }
        Ok(())
    }

    /// The names in a directory, sorted, as many as may still be looked at.
    fn names(&mut self, directory: BorrowedFd<'_>) -> io::Result<Vec<OsString>> {
        // A description of its own, so that the listing shares its offset with nobody.
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut listing = Dir::openat(directory, ".", flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in listing.iter() {
            let name = entry?.file_name().to_bytes().to_vec();
            if name == b"." || name == b".." {
                continue;
            }
            if self.n_entries >= MAX_ENTRIES {
                self.collected.cut = Some("there are more entries than are looked at");
                break;
            }
            self.n_entries += 1;
            names.push(OsString::from_vec(name));
        }
        names.sort();
        Ok(names)
    }

    fn entry(&mut self, place: &Place<'_>, patterns: &[Pattern], name: &OsString) {
        let text = name.to_string_lossy();
        let step = place
            .position
            .as_ref()
            .map(|position| position.step(patterns, &text));
        let (standing, below) = match step {
            Some((standing, below)) => (Some(standing), Some(below)),
            None => (None, None),
        };
        let is_chosen = standing.is_none_or(|standing| standing.is_match);
        let is_expected = standing.is_none_or(|standing| standing.is_match || standing.is_named);
        let leads_on = below.as_ref().is_none_or(|below| !below.is_dead());
        if !is_chosen && !leads_on {
            return;
        }
        let path = format!("{}{text}", place.prefix);
        if self.is_workspace_reserved && path == WORKSPACE {
            self.withhold(path, 0, Withheld::Exists);
            return;
        }
        let directory = Directory::new(place.directory, Path::new(place.prefix));
        let Some(stat) = name
            .to_str()
            .and_then(|name| directory.stat(name).ok().flatten())
        else {
            if is_expected {
                let reason = match name.to_str() {
                    None => Withheld::Name,
                    Some(_) => Withheld::Unreadable,
                };
                self.withhold(path, 0, reason);
            }
            return;
        };
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        if kind == SFlag::S_IFDIR {
            if leads_on && let Err(reason) = self.descend(place, patterns, &text, below) {
                self.withhold(path, 0, reason);
            }
        } else if kind == SFlag::S_IFLNK {
            // A link that a pattern only passes by is nobody's file.
            if is_expected {
                self.withhold(path, 0, Withheld::Link);
            }
        } else if is_chosen {
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            match kind {
                SFlag::S_IFREG => match self.file(place, &text, &path, &stat) {
                    Ok(added) => self.keep(added),
                    Err(Refusal::Withheld(reason)) => self.withhold(path, size, reason),
                    Err(Refusal::Over) => {
                        self.collected.cut = Some("there was no time left");
                    }
                },
                _ => self.withhold(path, 0, Withheld::Special),
            }
        }
    }

    fn descend(
        &mut self,
        place: &Place<'_>,
        patterns: &[Pattern],
        name: &str,
        position: Option<Position>,
    ) -> Result<(), Withheld> {
        // A file below needs one component more; the path is checked before anything is entered.
        let prefix = format!("{}{name}/", place.prefix);
        path_of(&format!("{prefix}x"))?;
        let directory = Directory::new(place.directory, Path::new(place.prefix));
        let below: OwnedFd = directory
            .open_directory(name)
            .map_err(|_| Withheld::Unreadable)?;
        let below = Place {
            directory: below.as_fd(),
            prefix: &prefix,
            position,
            owner: place.owner,
        };
        self.walk(&below, patterns)
            .map_err(|_| Withheld::Unreadable)
    }

    fn keep(&mut self, added: ArtifactAdded) {
        self.collected.n_kept += 1;
        self.collected.kept_bytes = self.collected.kept_bytes.saturating_add(added.size);
        (self.tell)(added);
    }

    fn withhold(&mut self, path: String, size: u64, reason: Withheld) {
        if reason == Withheld::NoSpace {
            self.collected.cut = Some("the disk of the recordings is full");
        }
        if self.n_told >= MAX_TOLD {
            *self.collected.untold.entry(reason).or_default() += 1;
            return;
        }
        self.n_told += 1;
        let path = harmless(&self.redactor.redact_text(&path));
        (self.tell)(ArtifactAdded {
            media_type: media_type::of(&path).to_owned(),
            path,
            size,
            sha256: String::new(),
            withheld: Some(reason),
            has_secret: false,
        });
    }
}

fn path_of(path: &str) -> Result<RelativePath, Withheld> {
    RelativePath::parse(path).map_err(|error| match error.flaw {
        PathFlaw::TooDeep => Withheld::TooDeep,
        PathFlaw::Empty
        | PathFlaw::TooLong
        | PathFlaw::Absolute
        | PathFlaw::ControlCharacter
        | PathFlaw::Component
        | PathFlaw::ComponentTooLong
        | PathFlaw::NotAName => Withheld::Name,
    })
}

/// A path for the record: control characters escaped, and cut to the length of a name.
fn harmless(path: &str) -> String {
    let mut shown = String::new();
    for c in path.chars() {
        if shown.len() >= MAX_COMPONENT_BYTES {
            shown.push('…');
            break;
        }
        match c.is_control() {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests;
