//! The table of all keys of the run description: the one list from which names, environment variables, the reference in
//! `docs/configuration.md` and the suggestions for misspelt names are made.
//!
//! It is data only. A test keeps the documentation equal to it.

mod table;

pub use table::KEYS;

/// One key of the run description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The dotted name, as in the file.
    pub name: &'static str,
    /// A second accepted name.
    pub alias: Option<&'static str>,
    /// The flags of `stockade run` that set it; none where only file and environment can.
    pub flags: &'static [&'static str],
    /// The type, for people.
    pub type_text: &'static str,
    /// The bounds, for people.
    pub bounds: &'static str,
    /// The default, for people.
    pub default: &'static str,
    /// What it does, for people.
    pub purpose: &'static str,
    /// How it is written in an environment variable.
    pub shape: Shape,
    /// Whether an error may show its value.
    pub exposure: Exposure,
    /// Whether this build honours it.
    pub support: Support,
}

/// How a key is written in an environment variable, and how two sources are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Plain text; the stronger source replaces the weaker one.
    Scalar,
    /// JSON; the stronger source replaces the weaker one.
    List,
    /// A JSON object; the sources are merged by name, and the stronger one wins for each name.
    Map,
}

/// Whether an error may show the value of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// The value is shown, cut to 80 characters.
    Shown,
    /// The value may be a secret and is masked.
    Masked,
}

/// Whether this build honours a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// The key has the effect that its row describes.
    Honoured,
    /// The schema knows the key and this build refuses it, with the code `UNSUPPORTED`.
    Unsupported {
        /// The version that is planned to honour it.
        since: &'static str,
    },
}

/// What an environment variable of the run description begins with.
pub const ENVIRONMENT_PREFIX: &str = "STOCKADE_";

impl Key {
    /// The key of that dotted name or alias.
    pub fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter()
            .find(|key| key.name == name || key.alias == Some(name))
    }

    /// The key of that environment variable, without the prefix.
    pub(crate) fn find_in_environment(suffix: &str) -> Option<&'static Self> {
        KEYS.iter()
            .find(|key| key.names().any(|name| is_environment_form_of(suffix, name)))
    }

    /// Whether `name` is a table that groups keys, such as `limits`.
    pub(crate) fn is_group(name: &str) -> bool {
        KEYS.iter().any(|key| {
            key.name
                .split_once('.')
                .is_some_and(|(group, _)| group == name)
        })
    }

    /// The name and the alias.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.alias)
    }

    /// The name of the environment variable, such as `STOCKADE_LIMITS_OUTPUT`.
    pub fn environment_name(&self) -> String {
        environment_name(self.name)
    }
}

/// The environment variable of a dotted name.
pub(crate) fn environment_name(name: &str) -> String {
    format!(
        "{ENVIRONMENT_PREFIX}{}",
        name.replace('.', "_").to_ascii_uppercase()
    )
}

fn is_environment_form_of(suffix: &str, name: &str) -> bool {
    suffix.len() == name.len()
        && suffix.bytes().zip(name.bytes()).all(|(given, known)| {
            given
                == if known == b'.' {
                    b'_'
                } else {
                    known.to_ascii_uppercase()
                }
        })
}
