//! What can go wrong with a file of the recordings.

use std::io;
use std::path::PathBuf;

use super::path::InvalidPath;

/// What was being done when the system said no; reads as the verb of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Creating a file or directory.
    Create,
    /// Opening what should exist.
    Open,
    /// Reading content.
    Read,
    /// Writing content.
    Write,
    /// Making content or a name durable (fsync(2)).
    Sync,
    /// Renaming (renameat(2)).
    Rename,
    /// Giving a file a name that must not exist (linkat(2)).
    Link,
    /// Removing.
    Remove,
    /// Listing a directory.
    List,
    /// Asking for type, size or times.
    Inspect,
    /// Getting random bytes for a temporary name.
    Name,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Rename => "rename",
            Self::Link => "link",
            Self::Remove => "remove",
            Self::List => "list",
            Self::Inspect => "inspect",
            Self::Name => "find a name for",
        })
    }
}

/// A file or directory of the recordings could not be handled.
#[derive(Debug, thiserror::Error)]
pub enum RecordingsError {
    /// The system refused an operation.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was being done.
        operation: Operation,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is larger than what its reader allows.
    #[error("{} is larger than {max_bytes} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        max_bytes: u64,
    },
    /// Something that should be a regular file is none.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// What it is about.
        path: PathBuf,
    },
    /// A directory tree is deeper than we descend.
    #[error("{} is deeper than {max_depth} directories", path.display())]
    TooDeep {
        /// The top of the tree.
        path: PathBuf,
        /// The limit.
        max_depth: usize,
    },
    /// A name cannot be used below a directory of ours.
    #[error("cannot use a name below {}", path.display())]
    Name {
        /// The directory.
        path: PathBuf,
        /// What is wrong with the name.
        source: InvalidPath,
    },
    /// A file of ours does not have the content that it should have.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A directory says nowhere which run it belongs to.
    #[error("{} is not the directory of a run: neither claim.json nor spec.json nor its name gives a run id", path.display())]
    NotARun {
        /// The directory.
        path: PathBuf,
    },
    /// A directory has nothing of a run of ours.
    #[error(
        "{} holds no run: there is neither run.lock, claim.json, spec.json nor a log of ours, and nothing was changed there",
        path.display()
    )]
    NoRun {
        /// The directory.
        path: PathBuf,
    },
    /// There is nowhere to put recordings by default.
    #[error(
        "no default recordings directory: neither XDG_STATE_HOME nor HOME is an absolute path; use --recordings DIR"
    )]
    NoDefault,
}

impl RecordingsError {
    /// Gives the errno-like kind of the system's answer, where the system gave one.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } => Some(source.kind()),
            Self::TooLarge { .. }
            | Self::NotAFile { .. }
            | Self::TooDeep { .. }
            | Self::Name { .. }
            | Self::Damaged { .. }
            | Self::NotARun { .. }
            | Self::NoRun { .. }
            | Self::NoDefault => None,
        }
    }
}
