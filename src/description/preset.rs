//! The preset of a run: which one, and what it means on this host for whoever starts the run.
//!
//! It owns the key `preset` and the looking up of what a preset names. Invariant: what a preset shows exists, and is where
//! its path led when the description was read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stockade_sandbox::{CallGroup, PRESETS};

use super::checker::{Checker, plain_text};
use super::error::ErrorKind;
use super::file;
use super::layers::suggestion;
use super::origin::Origin;
use super::settings::{Access, Isolation, Mount, MountKey, Tmpfs};
use super::value::Given;
use crate::document::Format;
use crate::preset::{self, DEFAULT, Preset};

/// The preset of a run, as far as it matters on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenPreset {
    /// Its name, or the path of its file.
    pub name: String,
    /// Whether files are confined a second time.
    pub landlock: bool,
    /// Whether details of the host are hidden in /proc.
    pub mask_proc: bool,
    /// Groups of system calls that are allowed although the table denies them.
    pub allow_calls: Vec<CallGroup>,
    /// What it shows of the host.
    pub mounts: Vec<Mount>,
    /// Directories that stand before those of PATH.
    pub path: Vec<String>,
    /// Variables of the workload.
    pub env: BTreeMap<String, String>,
}

impl Checker<'_> {
    /// The preset; `mounts` and `tmpfs` are those of the run, which stand above its own. No link in one of the `writable`
    /// places is followed.
    pub(crate) fn preset(
        &mut self,
        isolation: Isolation,
        mounts: &[Mount],
        tmpfs: &[Tmpfs],
        writable: &[PathBuf],
    ) -> ChosenPreset {
        let given = self.take("preset").map(|(_, given)| given);
        let given = given.unwrap_or_else(|| Given::text(DEFAULT, Origin::Unset));
        let name = plain_text(&given).unwrap_or_default().to_owned();
        let preset = match preset::find(&name) {
            Some(file) => self.read(file.text.as_bytes(), Format::Toml, &name),
            None if is_path(&name) => self.read_file(&name, &given),
            None => {
                let names = PRESETS.iter().map(|file| file.name);
                let listed: Vec<_> = names.clone().collect();
                let otherwise = format!(
                    "the presets are {}; a file is given by a path with a slash in it",
                    listed.join(", ")
                );
                let expected = suggestion(&name, names, &otherwise);
                self.faults
                    .add(ErrorKind::Invalid, "preset", &given, expected);
                Preset::default()
            }
        };
        if isolation == Isolation::None && name != DEFAULT {
            let expected = "with isolation = \"none\" nothing is left to lift and nothing is shown; leave one of the two out";
            self.faults
                .add(ErrorKind::Conflict, "preset", &given, expected);
        }
        let mounted = mounts.iter().map(|mount| mount.target.clone());
        let taken: Vec<_> = mounted
            .chain(tmpfs.iter().map(|tmpfs| tmpfs.target.clone()))
            .collect();
        self.on_this_host((name, preset), &taken, writable, &given)
    }

    fn read_file(&mut self, name: &str, given: &Given) -> Preset {
        let path = self.absolute(name, &given.origin);
        let bytes = File::open(&path)
            .map_err(|error| ErrorKind::Unusable {
                cause: error.to_string(),
            })
            .and_then(file::read);
        let format = Format::of_path(&path).unwrap_or(Format::Toml);
        match bytes {
            Ok(bytes) => self.read(&bytes, format, name),
            Err(kind) => {
                let expected = "give a readable TOML, YAML or JSON file of at most 1 MiB";
                self.faults.add(kind, "preset", given, expected);
                Preset::default()
            }
        }
    }

    fn read(&mut self, bytes: &[u8], format: Format, name: &str) -> Preset {
        preset::read(bytes, format).unwrap_or_else(|faults| {
            for fault in faults {
                let origin = Origin::File {
                    path: name.to_owned(),
                    line: fault.place.line,
                    column: fault.place.column,
                };
                let kind = ErrorKind::Malformed { cause: fault.found };
                let key = match fault.key.as_str() {
                    "" => "preset".to_owned(),
                    key => format!("preset.{key}"),
                };
                match fault.value {
                    Some(value) => {
                        self.faults
                            .add_shown(kind, key, value, &origin, fault.expected);
                    }
                    None => self
                        .faults
                        .add_without_value(kind, key, &origin, fault.expected),
                }
            }
            Preset::default()
        })
    }

    /// Leaves out what does not exist, and mounts in whose place the run has one of its own.
    fn on_this_host(
        &mut self,
        (name, preset): (String, Preset),
        taken: &[PathBuf],
        writable: &[PathBuf],
        given: &Given,
    ) -> ChosenPreset {
        let home = self.environment.get("HOME").map(PathBuf::from);
        let home = home.filter(|home| home.is_absolute() && home.to_str().is_some());
        let expand = |text: &str| expand(text, home.as_deref());
        let mut shown: Vec<Mount> = Vec::new();
        for mount in preset.mounts {
            let Some(path) = expand(&mount.source) else {
                continue;
            };
            let target = mount.target.map_or_else(|| path.clone(), PathBuf::from);
            let is_taken = |other: &Mount| other.target == target;
            if taken.contains(&target) || shown.iter().any(is_taken) {
                continue;
            }
            match stockade_sandbox::resolve(&path, writable) {
                Ok(source) if source != Path::new("/") && source.to_str().is_some() => {
                    shown.push(Mount {
                        source,
                        target,
                        access: Access::ReadOnly,
                        key: MountKey::Mounts,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => {
                    let cause = match other {
                        Ok(_) => format!("{} leads to / or to no UTF-8 path", path.display()),
                        Err(error) => format!("{}: {error}", path.display()),
                    };
                    let kind = ErrorKind::Unusable { cause };
                    let expected = "make it readable, or give a preset without it";
                    self.faults.add(kind, "preset", given, expected);
                }
            }
        }
        let existing = |text: &str| {
            let path = expand(text)?;
            let is_of_host = text.starts_with("~/");
            (!is_of_host || path.exists()).then(|| path.to_string_lossy().into_owned())
        };
        let path = preset.path.iter().filter_map(|text| existing(text));
        let env = preset.env.into_iter().filter_map(|(name, value)| {
            let value = if value.starts_with("~/") {
                existing(&value)?
            } else {
                value
            };
            Some((name, value))
        });
        ChosenPreset {
            name,
            landlock: preset.landlock,
            mask_proc: preset.mask_proc,
            allow_calls: preset.allow_calls,
            mounts: shown,
            path: path.collect(),
            env: env.collect(),
        }
    }
}

/// Whether a text names a file, and no preset of the program.
fn is_path(name: &str) -> bool {
    name.contains('/')
}

/// The path, with `~/` as the home directory; none where there is no such directory.
fn expand(text: &str, home: Option<&Path>) -> Option<PathBuf> {
    match text.strip_prefix("~/") {
        Some(rest) => Some(home?.join(rest)),
        None => Some(PathBuf::from(text)),
    }
}
