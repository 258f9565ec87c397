//! A look at a path.
//!
//! Never waits: a pipe without a writer holds nobody up.

use super::{READ_BYTES, Seen, within_limit};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat, lstat, mode_t, stat};
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

/// Looks at a path. It is opened without waiting, so that a pipe without a writer holds nobody up.
pub(super) fn look_at(path: &PathBuf) -> Seen {
    let failed = |error: &dyn std::fmt::Display| Seen::Failed {
        why: error.to_string(),
    };
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = match open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(error) => return unopened(path, error),
    };
    let status = match fstat(&file) {
        Ok(status) => status,
        Err(error) => return failed(&error),
    };
    let kind = match kind_of(status.st_mode) {
        SFlag::S_IFREG => {
            let mut content = Vec::new();
            let limit = READ_BYTES as u64;
            return match File::from(file).take(limit).read_to_end(&mut content) {
                Ok(_) => {
                    let (content, is_whole) = within_limit(content);
                    Seen::File { content, is_whole }
                }
                Err(error) => failed(&error),
            };
        }
        SFlag::S_IFDIR => "directory",
        SFlag::S_IFIFO => "pipe",
        _ => "device",
    };
    Seen::Other {
        kind: kind.to_owned(),
    }
}

/// What is at a path that cannot be opened: it is there all the same, unless the system says that it is not.
fn unopened(path: &PathBuf, error: Errno) -> Seen {
    let other = |kind: &str| Seen::Other {
        kind: kind.to_owned(),
    };
    match (error, lstat(path), stat(path)) {
        (_, Err(Errno::ENOENT | Errno::ENOTDIR), _) => Seen::Nothing,
        (_, Ok(_), Err(Errno::ENOENT | Errno::ENOTDIR)) => other("link to nothing"),
        // open(2): a socket has no content and cannot be opened.
        (Errno::ENXIO, _, _) => other("socket"),
        (Errno::EACCES, Ok(_), Ok(status)) => other(match kind_of(status.st_mode) {
            SFlag::S_IFREG => "file that cannot be read",
            SFlag::S_IFDIR => "directory",
            SFlag::S_IFIFO => "pipe",
            SFlag::S_IFSOCK => "socket",
            _ => "device",
        }),
        (error, _, _) => Seen::Failed {
            why: error.to_string(),
        },
    }
}

fn kind_of(mode: mode_t) -> SFlag {
    SFlag::from_bits_truncate(mode) & SFlag::S_IFMT
}
