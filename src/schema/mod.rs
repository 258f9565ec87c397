//! JSON Schema: whether a value has the form that was asked for, and where not.
//!
//! Owns drafts 2020-12 and 07 without the keywords that depend on what other keywords looked at. It reads no file and no
//! network: a reference leads into the schema itself. Invariants: a keyword that asserts something is honoured or the schema
//! is refused, with its place; a violation names places and kinds, never a value, which may be a secret; time and stack have
//! limits whatever schema and value are.

mod arena;
mod check;
mod compile;
mod decimal;
mod equality;
mod keyword;
mod value_of;

#[cfg(test)]
mod tests;

pub use check::Checked;

use arena::Node;

/// Largest schema, in bytes of its JSON: far more than any that people write.
pub const MAX_SCHEMA_BYTES: usize = 256 * 1024;

/// Longest chain of schemas that apply to one and the same value.
pub const MAX_CHAIN: usize = 32;

/// Deepest nesting of schemas at work; it bounds the stack.
pub const MAX_DEPTH: usize = 800;

/// Most steps of one check: a schema applied to a value, or 16 characters looked at by a pattern. It bounds the time to
/// about a second.
pub const MAX_STEPS: u64 = 5_000_000;

/// Violations that are kept; all are counted.
pub const MAX_VIOLATIONS: usize = 10;

/// Largest compiled pattern, in bytes: it bounds what repetitions of repetitions cost.
const MAX_PATTERN_BYTES: usize = 256 * 1024;

/// A schema that can be used.
#[derive(Debug)]
pub struct Schema {
    /// The root is the first.
    nodes: Vec<Node>,
}

/// Why a schema cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {problem}", shown(place))]
pub struct SchemaError {
    /// JSON pointer (RFC 6901) of what is wrong; empty for the whole.
    pub place: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// A place at which a value has not the form that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer (RFC 6901) into the value; empty for the whole.
    pub path: String,
    /// JSON pointer into the schema, of the keyword.
    pub schema: String,
    /// What is wrong; it has no part of the value.
    pub reason: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", shown(&self.path), self.reason)
    }
}

/// A JSON pointer as people read it.
fn shown(pointer: &str) -> &str {
    match pointer {
        "" => "the whole",
        pointer => pointer,
    }
}

/// `pointer` extended by one name or number.
fn below(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}
