//! What one source gave (a layer), and how the layers are laid over each other: flags over environment over file over
//! profile.
//!
//! Maps are merged by name, everything else is replaced whole. It checks that keys exist; it does not look into values.

use std::collections::BTreeMap;

use super::error::{DescriptionError, ErrorKind};
use super::keys::{Exposure, KEYS, Key, Shape};
use super::origin::Origin;
use super::spelling;
use super::value::{Given, Value, shown_name};
use super::variables::VARIABLES;

/// The faults found so far.
#[derive(Default)]
pub(crate) struct Faults(Vec<DescriptionError>);

impl Faults {
    /// Adds a fault of a value; it is masked if the key is one that may hold secrets.
    pub(crate) fn add(
        &mut self,
        kind: ErrorKind,
        key: impl Into<String>,
        given: &Given,
        expected: impl Into<String>,
    ) {
        let key = key.into();
        let value = match exposure_of(&key) {
            Exposure::Shown => given.shown(),
            Exposure::Masked => super::secret::MASK.to_owned(),
        };
        self.push(kind, key, Some(value), given.origin.clone(), expected);
    }

    /// Adds a fault of a value that the caller has rendered, without its secrets.
    pub(crate) fn add_shown(
        &mut self,
        kind: ErrorKind,
        key: String,
        shown: String,
        origin: &Origin,
        expected: impl Into<String>,
    ) {
        self.push(kind, key, Some(shown), origin.clone(), expected);
    }

    /// Adds a fault of a value that no error shows.
    pub(crate) fn add_masked(
        &mut self,
        kind: ErrorKind,
        key: impl Into<String>,
        origin: &Origin,
        expected: impl Into<String>,
    ) {
        let shown = super::secret::MASK.to_owned();
        self.push(kind, key.into(), Some(shown), origin.clone(), expected);
    }

    /// Adds the fault that a list or map has too many values.
    pub(crate) fn add_excess(
        &mut self,
        key: impl Into<String>,
        n_values: usize,
        origin: &Origin,
        expected: impl Into<String>,
    ) {
        let shown = Some(format!("{n_values} values"));
        let kind = ErrorKind::OutOfBounds;
        self.push(kind, key.into(), shown, origin.clone(), expected);
    }

    /// Adds a fault that is not about a value: a name, a whole file, something missing.
    pub(crate) fn add_without_value(
        &mut self,
        kind: ErrorKind,
        key: impl Into<String>,
        origin: &Origin,
        expected: impl Into<String>,
    ) {
        self.push(kind, key.into(), None, origin.clone(), expected);
    }

    /// Adds a fault of a value with the remedy that the key's row gives: its type and bounds.
    pub(crate) fn add_by_table(&mut self, kind: ErrorKind, key: &Key, given: &Given) {
        self.add(kind, key.name, given, remedy(key));
    }

    /// Adds faults that were found elsewhere.
    pub(crate) fn extend(&mut self, errors: impl IntoIterator<Item = DescriptionError>) {
        self.0.extend(errors);
    }

    /// All faults, in the order in which they were found.
    pub(crate) fn into_errors(self) -> Vec<DescriptionError> {
        self.0
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of these keys is at fault.
    pub(crate) fn has_any(&self, keys: &[&str]) -> bool {
        self.0
            .iter()
            .any(|fault| keys.contains(&fault.key.as_str()))
    }

    fn push(
        &mut self,
        kind: ErrorKind,
        key: String,
        value: Option<String>,
        origin: Origin,
        expected: impl Into<String>,
    ) {
        self.0.push(DescriptionError {
            kind,
            key,
            value,
            origin,
            expected: expected.into(),
        });
    }
}

/// What would be right for a key, from its row.
pub(crate) fn remedy(key: &Key) -> String {
    format!("give {}: {}", key.type_text, key.bounds).replace('`', "\"")
}

/// Whether a value of this key (`env.NAME`, `mounts[0].source`) may be shown.
fn exposure_of(key: &str) -> Exposure {
    let root = key.split(['.', '[']).next().unwrap_or(key);
    Key::find(key)
        .or_else(|| Key::find(root))
        .map_or(Exposure::Shown, |found| found.exposure)
}

/// What one source gave, by key.
#[derive(Default)]
pub(crate) struct Layer(BTreeMap<&'static str, Given>);

impl Layer {
    /// Adds a value; the same key twice, by its name and its alias, is a fault.
    pub(crate) fn insert(&mut self, key: &'static Key, given: Given, faults: &mut Faults) {
        if self.0.contains_key(key.name) {
            let names: Vec<&str> = key.names().collect();
            let expected = format!("{} are one key; give it once", names.join(" and "));
            faults.add(ErrorKind::Conflict, key.name, &given, expected);
        } else {
            self.0.insert(key.name, given);
        }
    }

    /// Adds one entry to a map key; the same entry twice is a fault.
    pub(crate) fn insert_entry(
        &mut self,
        key: &'static Key,
        name: &str,
        given: Given,
        faults: &mut Faults,
    ) {
        let origin = given.origin.clone();
        let map = self.0.entry(key.name).or_insert_with(|| Given {
            value: Value::Table(Vec::new()),
            origin,
        });
        if let Value::Table(entries) = &mut map.value {
            if entries.iter().any(|(existing, _)| existing == name) {
                let key = format!("{}.{}", key.name, shown_name(name));
                faults.add(ErrorKind::Conflict, key, &given, "give it once");
            } else {
                entries.push((name.to_owned(), given));
            }
        }
    }

    /// Adds what another part of the same source gave; a key that both give is a fault.
    pub(crate) fn add(&mut self, other: Self, faults: &mut Faults) {
        for (name, given) in other.0 {
            match self.0.get(name) {
                Some(existing) => {
                    let expected = format!("it is set {} as well; give it once", existing.origin);
                    faults.add(ErrorKind::Conflict, name, &given, expected);
                }
                None => {
                    self.0.insert(name, given);
                }
            }
        }
    }

    /// Lays `stronger` over this layer.
    pub(crate) fn overlay(&mut self, stronger: Self) {
        for (name, mut given) in stronger.0 {
            let is_map = Key::find(name).is_some_and(|key| key.shape == Shape::Map);
            let weaker = self.0.remove(name).map(|weaker| weaker.value);
            if let (true, Some(Value::Table(weaker)), Value::Table(entries)) =
                (is_map, weaker, &mut given.value)
            {
                for (entry_name, entry) in weaker {
                    if !entries.iter().any(|(existing, _)| *existing == entry_name) {
                        entries.push((entry_name, entry));
                    }
                }
            }
            self.0.insert(name, given);
        }
    }

    /// The value of a key, which stays in the layer.
    pub(crate) fn get(&self, key: &Key) -> Option<&Given> {
        self.0.get(key.name)
    }

    /// The value of a key, which leaves the layer.
    pub(crate) fn take(&mut self, key: &Key) -> Option<Given> {
        self.0.remove(key.name)
    }

    /// The origin of each value, by key, and of each entry of a map, by `key.name`.
    pub(crate) fn origins(&self) -> BTreeMap<String, Origin> {
        let mut origins = BTreeMap::new();
        for (name, given) in &self.0 {
            origins.insert((*name).to_owned(), given.origin.clone());
            let is_map = Key::find(name).is_some_and(|key| key.shape == Shape::Map);
            if let (true, Value::Table(entries)) = (is_map, &given.value) {
                origins.extend(
                    entries
                        .iter()
                        .map(|(entry, given)| (format!("{name}.{entry}"), given.origin.clone())),
                );
            }
        }
        origins
    }
}

/// Reads a table of dotted or nested keys into a layer.
pub(crate) fn layer_of_table(entries: Vec<(String, Given)>, faults: &mut Faults) -> Layer {
    let mut layer = Layer::default();
    for (name, given) in entries {
        if let Some(key) = Key::find(&name) {
            layer.insert(key, given, faults);
        } else if Key::is_group(&name) {
            match given.value {
                Value::Table(nested) => {
                    for (nested_name, nested_given) in nested {
                        match Key::find(&format!("{name}.{nested_name}")) {
                            Some(key) => layer.insert(key, nested_given, faults),
                            None => unknown_member(&name, &nested_name, &nested_given, faults),
                        }
                    }
                }
                _ => {
                    let members: Vec<&str> = members(&name).collect();
                    let expected = format!("give a table with any of {}", members.join(", "));
                    faults.add(ErrorKind::Invalid, name, &given, expected);
                }
            }
        } else {
            unknown_key(&name, &given.origin, faults);
        }
    }
    layer
}

/// The keys of a group, without its name.
fn members(group: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter()
        .filter_map(move |key| key.name.strip_prefix(group)?.strip_prefix('.'))
}

fn unknown_member(group: &str, name: &str, given: &Given, faults: &mut Faults) {
    let expected = match spelling::closest(name, members(group)) {
        Some(closest) => format!("did you mean {group}.{closest}?"),
        None => {
            let members: Vec<&str> = members(group).collect();
            format!("the keys of {group} are {}", members.join(", "))
        }
    };
    let key = format!("{group}.{}", shown_name(name));
    faults.add_without_value(ErrorKind::UnknownKey, key, &given.origin, expected);
}

fn unknown_key(name: &str, origin: &Origin, faults: &mut Faults) {
    let option = name.replace('_', "-");
    let option = VARIABLES
        .iter()
        .find(|row| row.flag == Some(option.as_str()));
    let expected = match option.and_then(|row| Some((row.flag?, row.name))) {
        Some((flag, variable)) => {
            let variable = variable.map_or_else(String::new, |name| format!(" or {name}"));
            format!("it is an option of the process and no key of a run; give --{flag}{variable}")
        }
        None => {
            let names = KEYS.iter().flat_map(Key::names);
            suggestion(name, names, "docs/configuration.md lists all keys")
        }
    };
    faults.add_without_value(ErrorKind::UnknownKey, shown_name(name), origin, expected);
}

/// The question after the closest name, or `otherwise`.
pub(crate) fn suggestion<'a>(
    name: &str,
    names: impl IntoIterator<Item = &'a str>,
    otherwise: &str,
) -> String {
    match spelling::closest(name, names) {
        Some(closest) => format!("did you mean {closest}?"),
        None => otherwise.to_owned(),
    }
}
