//! From a document to a preset: every key, every value, every limit.
//!
//! All faults are found in one pass.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use stockade_sandbox::{CallGroup, OUTPUT};

use super::{KEYS, MAX_MOUNTS, MAX_PATHS, MAX_TEXT_BYTES, MAX_VARIABLES};
use super::{Preset, PresetFault, PresetMount};
use crate::description::{Given, Origin, closest, is_variable_name, shown_name};
use crate::document::{Entry, Node, Place, Value};

/// Places that the sandbox makes itself.
const RESERVED: [&str; 4] = ["/proc", "/sys", "/dev", OUTPUT];

/// Variables that are not a preset's to set: the first has a key of its own, the others are the run's.
const RESERVED_VARIABLES: [&str; 2] = ["PATH", "HOME"];

const _: () = assert!(MAX_TEXT_BYTES == 4_096, "the remedy names the limit");

/// What stands for a text that is none.
const TEXT: &str = "give text of at most 4,096 bytes, without NUL";

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
    /// A fault of a value.
    fn refuse(
        &mut self,
        key: impl Into<String>,
        node: &Node,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) {
        self.faults.push(PresetFault {
            place: node.place,
            key: key.into(),
            value: Some(shown(node)),
            found: found.into(),
            expected: expected.into(),
        });
    }

    /// A fault of a key: that it is there, or that one below it is not.
    fn refuse_key(
        &mut self,
        key: impl Into<String>,
        place: Place,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) {
        self.faults.push(PresetFault {
            place,
            key: key.into(),
            value: None,
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
                self.refuse_key("", root.place, other.kind(), expected);
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
                "about" => preset.about = self.about(name, node),
                "landlock" => preset.landlock = self.switch(name, node),
                "mask-proc" => preset.mask_proc = self.switch(name, node),
                "allow-calls" => preset.allow_calls = self.groups(name, node),
                "mounts" => preset.mounts = self.mounts(name, node),
                "path" => preset.path = self.directories(name, node),
                "env" => preset.env = self.variables(name, node),
                unknown => {
                    let expected = did_you_mean(unknown, &KEYS)
                        .unwrap_or_else(|| format!("the keys are {}", KEYS.join(", ")));
                    self.refuse_key(shown_name(unknown), *name_place, "no such key", expected);
                }
            }
        }
        preset
    }

    fn about(&mut self, key: &str, node: &Node) -> String {
        match &node.value {
            Value::Text(text)
                if text.chars().count() <= MAX_ABOUT_CHARS && !text.contains(char::is_control) =>
            {
                text.clone()
            }
            other => {
                let expected = format!("give one line of at most {MAX_ABOUT_CHARS} characters");
                self.refuse(key, node, kind(other), expected);
                String::new()
            }
        }
    }

    fn switch(&mut self, key: &str, node: &Node) -> bool {
        if let Value::Bool(value) = node.value {
            return value;
        }
        self.refuse(key, node, "not a boolean", "give true or false");
        true
    }

    fn list<'a>(&mut self, key: &str, node: &'a Node, limit: usize, of: &str) -> &'a [Node] {
        match &node.value {
            Value::List(items) if items.len() <= limit => items,
            other => {
                let expected = format!("give a list of at most {limit} {of}");
                self.refuse(key, node, kind(other), expected);
                &[]
            }
        }
    }

    fn groups(&mut self, key: &str, node: &Node) -> Vec<CallGroup> {
        let names = CallGroup::ALL.map(CallGroup::as_str);
        let mut groups = Vec::new();
        let items = self.list(key, node, CallGroup::ALL.len(), "groups of system calls");
        for (key, item) in numbered(key, items) {
            let named = match &item.value {
                Value::Text(text) => text.as_str(),
                _ => "",
            };
            let group = CallGroup::ALL.into_iter().find(|g| g.as_str() == named);
            match group {
                Some(group) if groups.contains(&group) => {
                    self.refuse(key, item, "there already", "give it once");
                }
                Some(group) => groups.push(group),
                None => {
                    let expected = did_you_mean(named, &names)
                        .unwrap_or_else(|| format!("the groups are {}", names.join(", ")));
                    self.refuse(key, item, "no such group", expected);
                }
            }
        }
        if groups.contains(&CallGroup::Namespaces) && groups.contains(&CallGroup::IoUring) {
            let expected = "allow one of them: through io_uring a program with a user namespace of its own gives files capabilities that count on the host";
            self.refuse(key, node, "namespaces and io-uring together", expected);
        }
        groups
    }

    fn mounts(&mut self, key: &str, node: &Node) -> Vec<PresetMount> {
        let mut mounts: Vec<PresetMount> = Vec::new();
        let items = self.list(key, node, MAX_MOUNTS, "mounts");
        for (key, item) in numbered(key, items) {
            let Value::Map(entries) = &item.value else {
                let expected = "give { source = \"~/PATH\" }, and a target if it is another path";
                self.refuse(key, item, "not a mount", expected);
                continue;
            };
            let (mut source, mut target) = (None, None);
            let has_target = entries.iter().any(|entry| entry.name == "target");
            for entry in entries {
                let key = format!("{key}.{}", shown_name(&entry.name));
                match entry.name.as_str() {
                    // Without a target it is shown at its own place.
                    "source" if !has_target && !self.may_be_shown_in_place(&key, &entry.node) => {}
                    "source" => source = self.host_path(&key, &entry.node),
                    "target" => target = self.inside_path(&key, &entry.node),
                    _ => {
                        let expected = "give source and target; a preset shows files read-only";
                        self.refuse_key(key, entry.name_place, "no such key of a mount", expected);
                    }
                }
            }
            if !entries.iter().any(|entry| entry.name == "source") {
                let expected = "give it a source, the path on the host";
                self.refuse_key(key, item.place, "a mount without a source", expected);
            }
            if let Some(source) = source {
                mounts.push(PresetMount { source, target });
            }
        }
        mounts
    }

    fn directories(&mut self, key: &str, node: &Node) -> Vec<String> {
        let mut directories = Vec::new();
        let items = self.list(key, node, MAX_PATHS, "directories");
        for (key, item) in numbered(key, items) {
            let Some(path) = self.host_path(&key, item) else {
                continue;
            };
            if path.contains(':') {
                let expected = "give one directory each, without a colon";
                self.refuse(key, item, "a directory that PATH cannot hold", expected);
            } else {
                directories.push(path);
            }
        }
        directories
    }

    fn variables(&mut self, key: &str, node: &Node) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::new();
        let entries = match &node.value {
            Value::Map(entries) if entries.len() <= MAX_VARIABLES => entries.as_slice(),
            other => {
                let expected = format!("give a map of at most {MAX_VARIABLES} variables");
                self.refuse_key(key, node.place, kind(other), expected);
                &[]
            }
        };
        for entry in entries {
            let name = entry.name.as_str();
            let key = format!("{key}.{}", shown_name(name));
            if !is_variable_name(name) {
                let expected = "give letters, digits and _, the first no digit";
                self.refuse_key(key, entry.name_place, "no name of a variable", expected);
            } else if RESERVED_VARIABLES.contains(&name) || name.starts_with("STOCKADE_") {
                let expected = match name {
                    "PATH" => "give directories by the key path",
                    _ => "leave it out; it is the run's own",
                };
                self.refuse_key(key, entry.name_place, "not a preset's to set", expected);
            } else {
                match short_text(&entry.node) {
                    Ok(text) => drop(variables.insert(name.to_owned(), text.to_owned())),
                    // A value of a variable stands in no error: who knows what it is.
                    Err(found) => self.refuse_key(key, entry.node.place, found, TEXT),
                }
            }
        }
        variables
    }

    fn text(&mut self, key: &str, node: &Node) -> Option<String> {
        match short_text(node) {
            Ok(text) => Some(text.to_owned()),
            Err(found) => {
                self.refuse(key, node, found, TEXT);
                None
            }
        }
    }

    /// A path of the host: absolute, or below the home directory of whoever starts the run.
    fn host_path(&mut self, key: &str, node: &Node) -> Option<String> {
        let text = self.text(key, node)?;
        let path = match text.strip_prefix("~/") {
            Some(rest) => Path::new("/").join(rest),
            None => Path::new(&text).to_path_buf(),
        };
        if is_plain(&path) {
            return Some(text);
        }
        let expected = "give an absolute path, or one that begins with ~/, without .., and not /";
        self.refuse(key, node, "not a plain path", expected);
        None
    }

    fn may_be_shown_in_place(&mut self, key: &str, node: &Node) -> bool {
        match &node.value {
            Value::Text(text) if text.starts_with('/') => self.inside_path(key, node).is_some(),
            _ => true,
        }
    }

    fn inside_path(&mut self, key: &str, node: &Node) -> Option<String> {
        let text = self.text(key, node)?;
        let path = Path::new(&text);
        let is_reserved = RESERVED.iter().any(|reserved| path.starts_with(reserved));
        if is_plain(path) && !is_reserved {
            return Some(text);
        }
        let expected =
            "give an absolute path without .., not / and not in /proc, /sys, /dev or /output";
        self.refuse(key, node, "not a place for a file", expected);
        None
    }
}

/// The items of a list, each with its key.
fn numbered<'a>(key: &str, items: &'a [Node]) -> impl Iterator<Item = (String, &'a Node)> {
    let items = items.iter().enumerate();
    items.map(move |(idx, item)| (format!("{key}[{idx}]"), item))
}

/// The text of a value; else what is wrong with it.
fn short_text(node: &Node) -> Result<&str, String> {
    match &node.value {
        Value::Text(text) if text.len() <= MAX_TEXT_BYTES && !text.contains('\0') => Ok(text),
        other => Err(kind(other)),
    }
}

/// A value as it stands in an error.
fn shown(node: &Node) -> String {
    // Its origin is not looked at: the fault has the place.
    Given::of_node(node.clone(), &|_| Origin::Unset).shown()
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
