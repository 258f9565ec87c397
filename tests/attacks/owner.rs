//! Who starts a run, and whose files and processes the stage has.

use std::os::unix::fs::lchown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// An id that no system gives to anybody.
const USER: u32 = 61_117;

/// CHOWN, SETGID and SETUID, as capabilities(7) numbers them.
const CHOOSING: u64 = 1 | 1 << 6 | 1 << 7;

/// The starter of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Root; only where the tests run as root.
    Root,
    /// An ordinary user: one of its own where root may choose, else whoever runs the tests.
    User,
}

impl Owner {
    /// Those that there can be here.
    pub fn all() -> Vec<Self> {
        match (nix::unistd::geteuid().is_root(), Self::Root.may_be_chosen()) {
            (_, true) => vec![Self::Root, Self::User],
            (true, false) => vec![Self::Root],
            (false, false) => vec![Self::User],
        }
    }

    /// Whether the tests run as root with all that root can do to files and ids, so that there is a choice.
    pub fn may_be_chosen(self) -> bool {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let effective = u64::from_str_radix(effective.unwrap().trim(), 16).unwrap();
        nix::unistd::geteuid().is_root() && effective & CHOOSING == CHOOSING
    }

    /// Gives it everything below `directory`.
    pub fn own(self, directory: &Path) {
        if self == Self::Root || !self.may_be_chosen() {
            return;
        }
        lchown(directory, Some(USER), Some(USER)).unwrap();
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                self.own(&path);
            } else {
                lchown(&path, Some(USER), Some(USER)).unwrap();
            }
        }
    }

    /// Gives it one file.
    pub fn own_file(self, path: &Path) {
        if self == Self::User && self.may_be_chosen() {
            lchown(path, Some(USER), Some(USER)).unwrap();
        }
    }

    /// Has the command run under its id, without other groups.
    pub fn apply(self, command: &mut Command) {
        if self == Self::User && self.may_be_chosen() {
            command.uid(USER).gid(USER);
        }
    }
}
