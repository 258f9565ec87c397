//! From a document to a preset: every key, every value, every limit.
//!
//! All faults are found in one pass.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use stockade_sandbox::{CallGroup, OUTPUT};

use super::{KEYS, MAX_MOUNTS, MAX_PATHS, MAX_TEXT_BYTES, MAX_VARIABLES};
use super::{Preset, PresetFault, PresetMount};
use crate::description::{closest, is_variable_name};
use crate::document::{Entry, Node, Place, Value};

/// Places that the sandbox makes itself.
const RESERVED: [&str; 4] = ["/proc", "/sys", "/dev", OUTPUT];

/// Variables that are not a preset's to set: the first has a key of its own, the others are the run's.
const RESERVED_VARIABLES: [&str; 2] = ["PATH", "HOME"];

/// Longest description of a preset, in characters: a line.
const MAX_ABOUT_CHARS: usize = 120;

pub(super) fn preset(root: &Node) -> Result<Preset, Vec<PresetFault>> {
    let mut checks = Checks::default();
    let preset = checks.all(root);
    if checks.faults.is_empty() {
        Ok(preset)
    } else {
        checks.faults.sort_by_key(|fault| fault.place);
        Err(checks.faults)
    }
}

#[derive(Default)]
struct Checks {
    faults: Vec<PresetFault>,
}

impl Checks {
    fn refuse(&mut self, place: Place, found: impl Into<String>, expected: impl Into<String>) {
        self.faults.push(PresetFault {
            place,
            found: found.into(),
            expected: expected.into(),
        });
    }

    fn all(&mut self, root: &Node) -> Preset {
        let mut preset = Preset::default();
        let entries = match &root.value {
            Value::Map(entries) => entries.as_slice(),
            // A YAML file of nothing but comments says nothing.
            Value::Null => &[],
            other => {
                let expected = "give one key a line, as in about = \"what it is for\"";
                self.refuse(root.place, other.kind(), expected);
                &[]
            }
        };
        for Entry {
            name,
            name_place,
            node,
        } in entries
        {
            match name.as_str() {
                "about" => preset.about = self.about(node),
                "landlock" => preset.landlock = self.switch(name, node),
                "mask-proc" => preset.mask_proc = self.switch(name, node),
                "allow-calls" => preset.allow_calls = self.groups(node),
                "mounts" => preset.mounts = self.mounts(node),
                "path" => preset.path = self.directories(node),
                "env" => preset.env = self.variables(node),
                unknown => {
                    let expected = did_you_mean(unknown, &KEYS)
                        .unwrap_or_else(|| format!("the keys are {}", KEYS.join(", ")));
                    self.refuse(*name_place, format!("no such key: {unknown:?}"), expected);
                }
            }
        }
        preset
    }

    fn about(&mut self, node: &Node) -> String {
        match &node.value {
            Value::Text(text)
                if text.chars().count() <= MAX_ABOUT_CHARS && !text.contains(char::is_control) =>
            {
                text.clone()
            }
            other => {
                let expected = format!("give one line of at most {MAX_ABOUT_CHARS} characters");
                self.refuse(node.place, kind(other), expected);
                String::new()
            }
        }
    }

    fn switch(&mut self, name: &str, node: &Node) -> bool {
        if let Value::Bool(value) = node.value {
            return value;
        }
        let found = format!("{name} is {}", kind(&node.value));
        self.refuse(node.place, found, "give true or false");
        true
    }

    fn list<'a>(&mut self, node: &'a Node, limit: usize, of: &str) -> &'a [Node] {
        match &node.value {
            Value::List(items) if items.len() <= limit => items,
            other => {
                let expected = format!("give a list of at most {limit} {of}");
                self.refuse(node.place, kind(other), expected);
                &[]
            }
        }
    }

    fn groups(&mut self, node: &Node) -> Vec<CallGroup> {
        let names = CallGroup::ALL.map(CallGroup::as_str);
        let mut groups = Vec::new();
        for item in self.list(node, CallGroup::ALL.len(), "groups of system calls") {
            let named = match &item.value {
                Value::Text(text) => text.as_str(),
                _ => "",
            };
            let group = CallGroup::ALL.into_iter().find(|g| g.as_str() == named);
            match group {
                Some(group) if groups.contains(&group) => {
                    self.refuse(item.place, format!("{named:?} once more"), "give it once");
                }
                Some(group) => groups.push(group),
                None => {
                    let found = match &item.value {
                        Value::Text(text) => format!("no such group: {text:?}"),
                        other => other.kind().to_owned(),
                    };
                    let expected = did_you_mean(named, &names)
                        .unwrap_or_else(|| format!("the groups are {}", names.join(", ")));
                    self.refuse(item.place, found, expected);
                }
            }
        }
        groups
    }

    fn mounts(&mut self, node: &Node) -> Vec<PresetMount> {
        let mut mounts: Vec<PresetMount> = Vec::new();
        for item in self.list(node, MAX_MOUNTS, "mounts") {
            let Value::Map(entries) = &item.value else {
                let expected = "give { source = \"~/PATH\" }, and a target if it is another path";
                self.refuse(item.place, kind(&item.value), expected);
                continue;
            };
            let (mut source, mut target) = (None, None);
            let has_target = entries.iter().any(|entry| entry.name == "target");
            for entry in entries {
                match entry.name.as_str() {
                    // Without a target it is shown at its own place.
                    "source" if !has_target && !self.may_be_shown_in_place(&entry.node) => {}
                    "source" => source = self.host_path(&entry.node),
                    "target" => target = self.inside_path(&entry.node),
                    unknown => {
                        let found = format!("no such key of a mount: {unknown:?}");
                        let expected = "give source and target; a preset shows files read-only";
                        self.refuse(entry.name_place, found, expected);
                    }
                }
            }
            if !entries.iter().any(|entry| entry.name == "source") {
                let expected = "give it a source, the path on the host";
                self.refuse(item.place, "a mount without a source", expected);
            }
            if let Some(source) = source {
                mounts.push(PresetMount { source, target });
            }
        }
        mounts
    }

    fn directories(&mut self, node: &Node) -> Vec<String> {
        let mut directories = Vec::new();
        for item in self.list(node, MAX_PATHS, "directories") {
            let Some(path) = self.host_path(item) else {
                continue;
            };
            if path.contains(':') {
                let expected = "give one directory each, without a colon";
                self.refuse(item.place, "a directory that PATH cannot hold", expected);
            } else {
                directories.push(path);
            }
        }
        directories
    }

    fn variables(&mut self, node: &Node) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::new();
        let entries = match &node.value {
            Value::Map(entries) if entries.len() <= MAX_VARIABLES => entries.as_slice(),
            other => {
                let expected = format!("give a map of at most {MAX_VARIABLES} variables");
                self.refuse(node.place, kind(other), expected);
                &[]
            }
        };
        for entry in entries {
            let name = entry.name.as_str();
            if !is_variable_name(name) {
                let expected = "give letters, digits and _, the first no digit";
                self.refuse(entry.name_place, "no name of a variable", expected);
            } else if RESERVED_VARIABLES.contains(&name) || name.starts_with("STOCKADE_") {
                let expected = match name {
                    "PATH" => "give directories by the key path",
                    _ => "leave it out; it is the run's own",
                };
                self.refuse(entry.name_place, format!("the variable {name}"), expected);
            } else if let Some(text) = self.text(&entry.node) {
                variables.insert(name.to_owned(), text);
            }
        }
        variables
    }

    fn text(&mut self, node: &Node) -> Option<String> {
        match &node.value {
            Value::Text(text) if text.len() <= MAX_TEXT_BYTES && !text.contains('\0') => {
                Some(text.clone())
            }
            other => {
                let expected = format!("give text of at most {MAX_TEXT_BYTES} bytes, without NUL");
                self.refuse(node.place, kind(other), expected);
                None
            }
        }
    }

    /// A path of the host: absolute, or below the home directory of whoever starts the run.
    fn host_path(&mut self, node: &Node) -> Option<String> {
        let text = self.text(node)?;
        let path = match text.strip_prefix("~/") {
            Some(rest) => Path::new("/").join(rest),
            None => Path::new(&text).to_path_buf(),
        };
        if is_plain(&path) {
            return Some(text);
        }
        let expected = "give an absolute path, or one that begins with ~/, without .., and not /";
        self.refuse(node.place, format!("the path {text:?}"), expected);
        None
    }

    fn may_be_shown_in_place(&mut self, node: &Node) -> bool {
        match &node.value {
            Value::Text(text) if text.starts_with('/') => self.inside_path(node).is_some(),
            _ => true,
        }
    }

    fn inside_path(&mut self, node: &Node) -> Option<String> {
        let text = self.text(node)?;
        let path = Path::new(&text);
        let is_reserved = RESERVED.iter().any(|reserved| path.starts_with(reserved));
        if is_plain(path) && !is_reserved {
            return Some(text);
        }
        let expected =
            "give an absolute path without .., not / and not in /proc, /sys, /dev or /output";
        self.refuse(node.place, format!("the place {text:?}"), expected);
        None
    }
}

/// Whether a path is absolute, below the root, and goes nowhere but down.
fn is_plain(path: &Path) -> bool {
    path.is_absolute()
        && path.components().count() > 1
        && path
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}

fn kind(value: &Value) -> String {
    match value {
        Value::Text(_) => "a text that is too long or has characters that do not belong".to_owned(),
        Value::List(_) | Value::Map(_) => {
            format!("{} that is too long or out of place", value.kind())
        }
        other => other.kind().to_owned(),
    }
}

fn did_you_mean(given: &str, names: &[&str]) -> Option<String> {
    let closest = closest(given, names.iter().copied())?;
    Some(format!("did you mean {closest}?"))
}
