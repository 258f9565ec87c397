//! Where a value came from, so that an error can point at it.
//!
//! Every value carries its origin from the moment it is read; it never says what the value is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The place that a value was read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Nobody set it: the default, or nothing where a value is required.
    Unset,
    /// A position in the file that `--config` names, or in that of the profile.
    File {
        /// The path as it was given.
        path: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// An environment variable, with its full name.
    Environment(String),
    /// A flag of the command line, with its two hyphens.
    Flag(String),
    /// The arguments after `--`.
    Arguments,
}

impl Origin {
    /// The origin of a flag, named without its hyphens.
    pub fn flag(name: &str) -> Self {
        Self::Flag(format!("--{name}"))
    }

    /// Whether the person who typed the command line set it.
    pub fn is_command_line(&self) -> bool {
        match self {
            Self::Flag(_) | Self::Arguments => true,
            Self::Unset | Self::File { .. } | Self::Environment(_) => false,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => f.write_str("by default"),
            Self::File { path, line, column } => write!(f, "in {path}:{line}:{column}"),
            Self::Environment(name) => write!(f, "from the environment variable {name}"),
            Self::Flag(flag) => write!(f, "from {flag}"),
            Self::Arguments => f.write_str("from the arguments after --"),
        }
    }
}
