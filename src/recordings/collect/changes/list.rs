//! The form of the list of changes.
//!
//! Owns what is told of a file, directory or link. It reads nothing. Invariant: what is told of an entry is what the kernel
//! told, and the same on all sides.

use std::collections::BTreeMap;

use nix::sys::stat::{FileStat, SFlag};
use serde::Serialize;

use crate::event::Withheld;

/// The version of the form of the list.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Changed {
    /// Files, directories and links that were not there before.
    pub added: u64,
    /// Those that are no longer what they were.
    pub changed: u64,
    /// Those that are gone; a directory counts once.
    pub removed: u64,
    /// What the archive lacks, by reason.
    pub withheld: BTreeMap<Withheld, u64>,
    /// Why the comparison ended before it had seen everything; one clause.
    pub cut: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum What {
    Added,
    Changed,
    Removed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    File,
    Directory,
    Link,
    Special,
}

/// What is told of a file, directory or link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Entry {
    kind: Kind,
    /// Bytes of a regular file.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// Permissions, as chmod(1) takes them.
    mode: String,
}

/// One line of the list.
#[derive(Debug, Serialize)]
pub(super) struct Change {
    pub(super) path: String,
    pub(super) change: What,
    /// What it is, or was when it is gone.
    #[serde(flatten)]
    pub(super) entry: Entry,
    /// What it was before it was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) was: Option<Entry>,
    /// Why the archive lacks it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) withheld: Option<Withheld>,
}

#[derive(Serialize)]
pub(super) struct List<'a> {
    pub(super) schema_version: u32,
    pub(super) workspace: &'a str,
    pub(super) archive: Option<&'static str>,
    #[serde(flatten)]
    pub(super) changed: &'a Changed,
    pub(super) changes: &'a [Change],
}

impl Kind {
    pub(super) fn of(stat: &FileStat) -> Self {
        match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => Self::File,
            SFlag::S_IFDIR => Self::Directory,
            SFlag::S_IFLNK => Self::Link,
            _ => Self::Special,
        }
    }
}

impl Entry {
    pub(super) fn of(stat: &FileStat) -> Self {
        let kind = Kind::of(stat);
        Self {
            kind,
            size: (kind == Kind::File).then(|| size_of(stat)),
            mode: format!("{:04o}", stat.st_mode & 0o7777),
        }
    }

    /// What could not be looked at.
    pub(super) fn unknown() -> Self {
        Self {
            kind: Kind::Special,
            size: None,
            mode: String::new(),
        }
    }
}

pub(super) fn size_of(stat: &FileStat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(u64::MAX)
}
