//! Playbooks: fixed steps with typed parameters, read from one file and checked as a whole before anything runs.
//!
//! It is pure code: it opens no file, starts no process and knows no clock. Invariant: the command of a step is in every
//! run the text that stands in the file; parameters reach it as environment variables, and each value is read once.

pub mod model;
pub mod expression;
pub mod plan;
pub mod schema;
pub mod url;

mod arguments;
mod binding;
mod definition;
mod duration;
mod expectation;
mod matching;
mod pattern;
mod reader;
mod shown;
pub(crate) mod rules;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use crate::description::{DescriptionError, ErrorKind, Origin};
use crate::document::{self, Format};

pub use expectation::Mismatch;
pub use expression::MAX_OUTPUT_BYTES;
pub use matching::{Candidate, MatchError, best_match};
pub use model::{Argument, Playbook};
pub use pattern::{MAX_PATTERN_CHARS, Pattern, PatternError};

pub(crate) use binding::bind;
pub(crate) use rules::{
    fewest_attempts, refuse_skipped, refuse_unreachable, refuse_urls, refuse_variables,
    skipped_before,
};

/// The version of the form that this build reads.
pub const VERSION: i64 = 1;

/// Most steps of a playbook, those of `finally` included.
pub const MAX_STEPS: usize = 1_000;

/// Most parameters.
pub const MAX_PARAMETERS: usize = 64;

/// Most choices of a parameter.
pub const MAX_CHOICES: usize = 64;

/// Most tags.
pub const MAX_TAGS: usize = 32;

/// Most variables in one `env`.
pub const MAX_VARIABLES: usize = 256;

/// Most outputs of a step.
pub const MAX_OUTPUTS: usize = 32;

/// Most expectations of one kind in a step: texts, files, URLs or codes.
pub const MAX_EXPECTATIONS: usize = 32;

/// Most bytes of all outputs of a run together, with their names: what is kept of a step that runs again takes the place of
/// what it left before.
pub const MAX_OUTPUTS_BYTES: usize = 1024 * 1024;

/// Most attempts of all steps together, those of `finally` not included, and most skipped steps: what ends a loop of `goto`.
pub const MAX_STEP_EXECUTIONS: u32 = 10_000;

/// How long one attempt may take when nothing is said: the deadline of a run of which nothing is said.
pub const DEFAULT_STEP_TIMEOUT: Duration = Duration::from_secs(600);

/// Longest name, tag, id or name of a parameter or output, in characters.
pub const MAX_NAME_CHARS: usize = 63;

/// Longest text for people, in characters.
pub const MAX_TEXT_CHARS: usize = 1_000;

/// Largest value of a parameter, in bytes.
pub const MAX_PARAMETER_BYTES: usize = 64 * 1024;

/// Most faults of one file that are told; the others are counted.
pub const MAX_FAULTS: usize = 100;

/// All faults of a playbook; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaybookErrors {
    /// The faults, in the order of the file; at most [`MAX_FAULTS`].
    pub faults: Vec<DescriptionError>,
    /// How many more there are.
    pub n_more: usize,
}

impl fmt::Display for PlaybookErrors {
    /// One fault a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, fault) in self.faults.iter().enumerate() {
            if idx > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        if self.n_more > 0 {
            write!(f, "\nand {} more faults", self.n_more)?;
        }
        Ok(())
    }
}

impl std::error::Error for PlaybookErrors {}

/// Reads and checks a playbook; `path` is its name in errors.
///
/// # Errors
/// Every fault of the file, with its place; or the first violation of the syntax, behind which nothing can be read.
pub fn parse(bytes: &[u8], format: Format, path: &str) -> Result<Playbook, PlaybookErrors> {
    match document::read(bytes, format) {
        Ok(document) => definition::read(&document, path),
        Err(error) => {
            let fault = DescriptionError {
                kind: ErrorKind::Malformed { cause: error.found },
                key: "playbook".to_owned(),
                value: None,
                origin: Origin::File {
                    path: path.to_owned(),
                    line: error.place.line,
                    column: error.place.column,
                },
                expected: error.expected,
            };
            Err(PlaybookErrors {
                faults: vec![fault],
                n_more: 0,
            })
        }
    }
}
