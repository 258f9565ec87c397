//! Presets: files that say in what a sandbox differs from the strictest one.
//!
//! It owns their keys, their form and every limit on them; it never looks at the host. Invariant: a preset shows files
//! read-only or not at all, and no key of it makes anything stricter than `default`.

mod checks;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use stockade_sandbox::{CallGroup, PRESETS, PresetFile};

use crate::document::{self, Format, Place};

/// The name of the preset that a run has unless it names another one.
pub const DEFAULT: &str = "default";

/// Most mounts of a preset.
pub const MAX_MOUNTS: usize = 64;

/// Most directories that a preset puts before PATH.
pub const MAX_PATHS: usize = 32;

/// Most variables of a preset.
pub const MAX_VARIABLES: usize = 64;

/// Longest text in a preset, in bytes: a path of the kernel.
pub const MAX_TEXT_BYTES: usize = 4_096;

/// The keys of a preset.
pub const KEYS: [&str; 7] = [
    "about",
    "landlock",
    "mask-proc",
    "allow-calls",
    "mounts",
    "path",
    "env",
];

/// What a preset says. A path that begins with `~/` begins at the home directory of whoever starts the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preset {
    /// What it is for, in one line.
    pub about: String,
    /// Whether files are confined a second time.
    pub landlock: bool,
    /// Whether details of the host are hidden in /proc.
    pub mask_proc: bool,
    /// Groups of system calls that are allowed although the table denies them.
    pub allow_calls: Vec<CallGroup>,
    /// What is shown of the host, as far as it exists.
    pub mounts: Vec<PresetMount>,
    /// Directories that stand before those of PATH.
    pub path: Vec<String>,
    /// Variables of the workload; one whose value begins with `~/` is left out where that does not exist.
    pub env: BTreeMap<String, String>,
}

/// A file or directory that a preset shows, read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresetMount {
    /// Where it is on the host.
    pub source: String,
    /// Where the workload sees it; without one that is the same path.
    pub target: Option<String>,
}

impl Default for Preset {
    fn default() -> Self {
        Self {
            about: String::new(),
            landlock: true,
            mask_proc: true,
            allow_calls: Vec::new(),
            mounts: Vec::new(),
            path: Vec::new(),
            env: BTreeMap::new(),
        }
    }
}

/// A fault of a preset: where it is, of which key and value, what is wrong with it and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {}{found}; {expected}", self.subject())]
pub struct PresetFault {
    /// Where it stands.
    pub place: Place,
    /// The key, as `mounts[1].source`; empty where the file as a whole is at fault.
    pub key: String,
    /// What stands there, on one line of at most 80 characters; none where it is the key that is at fault, or the file.
    pub value: Option<String>,
    /// What is wrong with it.
    pub found: String,
    /// What would be right.
    pub expected: String,
}

impl PresetFault {
    /// Key and value, as they stand before what is wrong with them.
    pub fn subject(&self) -> String {
        match (self.key.as_str(), &self.value) {
            ("", _) => String::new(),
            (key, Some(value)) => format!("{key} = {value}: "),
            (key, None) => format!("{key}: "),
        }
    }
}

/// Finds a preset that comes with the program.
pub fn find(name: &str) -> Option<&'static PresetFile> {
    PRESETS.iter().find(|file| file.name == name)
}

/// Reads a preset of at most 1 MiB.
///
/// # Errors
/// Every fault of it, in the order of the file; of a file that is no TOML, YAML or JSON the first one.
pub fn read(bytes: &[u8], format: Format) -> Result<Preset, Vec<PresetFault>> {
    let document = document::read(bytes, format).map_err(|error| {
        vec![PresetFault {
            place: error.place,
            key: String::new(),
            value: None,
            found: error.found,
            expected: error.expected,
        }]
    })?;
    checks::preset(&document.root)
}
