//! Located documents: TOML, YAML or JSON text as one tree in which every value and every name has its line and column.
//!
//! It owns the syntax of files that people write and every limit on them; it never opens a file and never knows what a
//! key means. Invariant: no error and no `Debug` text quotes the document, which may hold secrets.

mod json;
mod lines;
mod syntax;
mod toml;
mod yaml;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

pub use syntax::SyntaxError;

use lines::Lines;

/// Largest document, in bytes: far more than any description or playbook, and little enough to be read at every start.
pub const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

/// Deepest nesting of lists and maps; no key of ours is deeper than ten.
pub const MAX_DOCUMENT_DEPTH: usize = 64;

/// Most values in one document; it bounds memory to some ten megabytes.
pub const MAX_DOCUMENT_NODES: usize = 100_000;

/// The syntax of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// TOML 1.1.
    Toml,
    /// YAML 1.2 with the core schema: one document, no anchors, no tags, no directives.
    Yaml,
    /// JSON, RFC 8259, without duplicate names.
    Json,
}

impl Format {
    /// The format that the ending of a file name stands for: `toml`, `yaml`, `yml` or `json`.
    pub fn of_path(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "toml" => Some(Self::Toml),
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Toml => "TOML",
            Self::Yaml => "YAML",
            Self::Json => "JSON",
        })
    }
}

/// A position in a document; ordered as it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Place {
    /// The first character of a document.
    pub const START: Self = Self { line: 1, column: 1 };
}

impl fmt::Display for Place {
    /// `line:column`, as compilers write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it begins: a text with quotes at its quote, a value that is absent at its name.
    pub place: Place,
}

/// A value of a document.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// `null`, or nothing at all behind a name of YAML.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number of 64 bits.
    Integer(i64),
    /// A number that is no 64-bit integer, as it was written.
    OtherNumber(String),
    /// A text; dates of TOML are texts.
    Text(String),
    /// A list, in order.
    List(Vec<Node>),
    /// A map, in the order of the file; no name occurs twice.
    Map(Vec<Entry>),
}

/// A name of a map with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// Where the name begins.
    pub name_place: Place,
    /// Its value.
    pub node: Node,
}

impl Value {
    /// What kind of value it is, in words for an error: it never shows the value.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "a whole number",
            Self::OtherNumber(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

impl fmt::Debug for Value {
    /// The kind only: a document may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

/// A document that was read.
pub struct Document {
    /// The value that the whole document is; an empty YAML document is [`Value::Null`], an empty TOML one an empty map.
    pub root: Node,
    text: String,
}

impl fmt::Debug for Document {
    /// The kind of its root only: a document may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl Document {
    /// Where the character number `idx` (from 0) of the text that `node` holds stands in the document.
    ///
    /// It is exact for a text that stands on one line letter by letter; for any other it is the place of the node.
    pub fn place_inside(&self, node: &Node, idx: usize) -> Place {
        let Value::Text(value) = &node.value else {
            return node.place;
        };
        let line = self.text.lines().nth(node.place.line.saturating_sub(1));
        let rest: String = line
            .unwrap_or_default()
            .chars()
            .skip(node.place.column.saturating_sub(1))
            .collect();
        let quote = usize::from(rest.starts_with(['"', '\'']));
        let is_literal = rest
            .get(quote..)
            .is_some_and(|rest| rest.starts_with(value));
        if is_literal {
            Place {
                line: node.place.line,
                column: node.place.column + quote + idx,
            }
        } else {
            node.place
        }
    }
}

/// Reads a document of at most 1 MiB.
///
/// # Errors
/// The first violation of the syntax or of a limit, with its place, what stands there and what would be right.
pub fn read(bytes: &[u8], format: Format) -> Result<Document, SyntaxError> {
    if bytes.len() > MAX_DOCUMENT_BYTES {
        return Err(SyntaxError::new(
            Place::START,
            "the file is larger than 1 MiB",
            "give a file of at most 1 MiB",
        ));
    }
    let text = decode(bytes)?;
    let root = match format {
        Format::Toml => toml::read(text)?,
        Format::Yaml => yaml::read(text)?,
        Format::Json => json::read(text)?,
    };
    Ok(Document {
        root,
        text: text.to_owned(),
    })
}

/// The text of a document, without its byte order mark.
fn decode(bytes: &[u8]) -> Result<&str, SyntaxError> {
    let without_mark = |text: &str| {
        text.strip_prefix('\u{feff}')
            .map_or(0, |_| '\u{feff}'.len_utf8())
    };
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.get(without_mark(text)..).unwrap_or(text)),
        Err(error) => {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let valid = std::str::from_utf8(valid).unwrap_or_default();
            let place = Lines::new(valid).place(valid.len());
            Err(SyntaxError::new(
                place,
                "a byte that is not UTF-8",
                "save the file as UTF-8",
            ))
        }
    }
}

/// How many values a document may still have.
struct NodeBudget(usize);

impl NodeBudget {
    fn new() -> Self {
        Self(MAX_DOCUMENT_NODES)
    }

    fn take(&mut self, place: Place) -> Result<(), SyntaxError> {
        match self.0.checked_sub(1) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => Err(SyntaxError::new(
                place,
                "more than 100,000 values",
                "give a smaller file",
            )),
        }
    }
}

/// An error if a list or map at `place` is nested deeper than the limit; the outermost has depth 1.
fn check_depth(depth: usize, place: Place) -> Result<(), SyntaxError> {
    if depth <= MAX_DOCUMENT_DEPTH {
        return Ok(());
    }
    Err(SyntaxError::new(
        place,
        "lists and maps nested deeper than 64",
        "nest less deeply",
    ))
}
