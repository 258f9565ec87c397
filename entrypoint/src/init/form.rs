//! Which init this is: our own, or one that it stands in for.
//!
//! Owns the names. Never does: anything by them.

use std::ffi::OsStr;
use std::path::Path;

/// Whose defaults, options and texts hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `stockade init`.
    Own,
    /// tini 0.19, which is also `docker-init`.
    Tini,
    /// dumb-init 1.2.
    DumbInit,
}

impl Form {
    /// The init that the option `--compat` names.
    #[must_use]
    pub fn named(name: &OsStr) -> Option<Self> {
        match name.to_str()? {
            "tini" => Some(Self::Tini),
            "dumb-init" => Some(Self::DumbInit),
            _ => None,
        }
    }

    /// The init for which a program of this name stands, so that a link of that name is enough to replace it.
    #[must_use]
    pub fn of_program(program: &OsStr) -> Option<Self> {
        match Path::new(program).file_name()?.to_str()? {
            "tini" | "tini-static" | "docker-init" => Some(Self::Tini),
            "dumb-init" => Some(Self::DumbInit),
            _ => None,
        }
    }
}
