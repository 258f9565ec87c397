//! What is wrong with a run description: every fault, not only the first.
//!
//! A fault names the key, the value, where it came from and what would be right. It never shows a secret.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use serde_json::json;

use super::origin::Origin;
use super::secret::Secret;
use crate::redact::Redactor;
use crate::run::RunId;

/// Longest rendered value in an error, in characters: enough to recognise it, short enough for one line.
pub const MAX_SHOWN_CHARS: usize = 80;

/// The kind of a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorKind {
    /// No such key or variable.
    UnknownKey,
    /// The value has the wrong type or form.
    Invalid,
    /// The value has the right form and lies outside its bounds.
    OutOfBounds,
    /// Two values exclude each other.
    Conflict,
    /// A required value is absent.
    Missing,
    /// The schema knows it and this build cannot honour it.
    Unsupported,
    /// A file, directory or descriptor that the value names cannot be used.
    Unusable {
        /// What the system said.
        cause: String,
    },
    /// The file or the variable is not in the format that it should be in.
    Malformed {
        /// What the parser said; never the text that it read.
        cause: String,
    },
}

impl ErrorKind {
    /// The stable code of the kind, for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownKey => "UNKNOWN_KEY",
            Self::Invalid => "INVALID_VALUE",
            Self::OutOfBounds => "OUT_OF_BOUNDS",
            Self::Conflict => "CONFLICT",
            Self::Missing => "MISSING",
            Self::Unsupported => "UNSUPPORTED",
            Self::Unusable { .. } => "UNUSABLE",
            Self::Malformed { .. } => "MALFORMED",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey => f.write_str("is an unknown key"),
            Self::Invalid => f.write_str("is invalid"),
            Self::OutOfBounds => f.write_str("is out of bounds"),
            Self::Conflict => f.write_str("conflicts with another value"),
            Self::Missing => f.write_str("is missing"),
            Self::Unsupported => f.write_str("is UNSUPPORTED in this build"),
            Self::Unusable { cause } => write!(f, "cannot be used ({cause})"),
            Self::Malformed { cause } => write!(f, "cannot be parsed ({cause})"),
        }
    }
}

/// Who is at fault, which decides the exit code of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The command line is wrong: exit code 2.
    Usage,
    /// Environment, file or host are wrong: `SETUP_FAILED`.
    Setup,
}

/// One fault of a run description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub struct DescriptionError {
    /// The kind of the fault.
    pub kind: ErrorKind,
    /// The dotted key, `env.NAME` for an entry of a map, `mounts[0]` for one of a list, or the variable's name.
    pub key: String,
    /// The value as text, cut to 80 characters; absent where nothing is given, where the name is what is wrong, and of a file
    /// that cannot be read, which may hold secrets.
    pub value: Option<String>,
    /// Where the value came from.
    pub origin: Origin,
    /// What would be right.
    pub expected: String,
}

impl DescriptionError {
    /// Who is at fault: what a right command line names and the host lacks is a fault of the host.
    pub fn error_class(&self) -> ErrorClass {
        let is_of_host = matches!(self.kind, ErrorKind::Unusable { .. });
        if self.origin.is_command_line() && !is_of_host {
            ErrorClass::Usage
        } else {
            ErrorClass::Setup
        }
    }

    fn message(&self) -> String {
        let value = match &self.value {
            Some(value) => format!(" = {value}"),
            None => String::new(),
        };
        let origin = match (&self.kind, &self.origin) {
            // What nobody gave has a place only where a file leaves it out.
            (
                ErrorKind::Missing,
                Origin::Unset | Origin::Environment(_) | Origin::Flag(_) | Origin::Arguments,
            ) => String::new(),
            (_, Origin::Environment(name)) if *name == self.key => " in the environment".to_owned(),
            (_, origin) => format!(" {origin}"),
        };
        format!(
            "{}{value}{origin} {}; {}",
            self.key, self.kind, self.expected
        )
    }

    fn redact(&mut self, redactor: &Redactor) {
        let cause = match &mut self.kind {
            ErrorKind::Unusable { cause } | ErrorKind::Malformed { cause } => Some(cause),
            ErrorKind::UnknownKey
            | ErrorKind::Invalid
            | ErrorKind::OutOfBounds
            | ErrorKind::Conflict
            | ErrorKind::Missing
            | ErrorKind::Unsupported => None,
        };
        let texts = [Some(&mut self.key), self.value.as_mut(), cause];
        for text in texts.into_iter().flatten().chain([&mut self.expected]) {
            if let Cow::Owned(clean) = redactor.redact_text(text) {
                *text = clean;
            }
        }
    }

    fn mask(&mut self, secret: &Secret) {
        for text in [Some(&mut self.expected), self.value.as_mut()]
            .into_iter()
            .flatten()
        {
            *text = secret.mask_in(text);
        }
    }
}

/// All faults of a run description; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescriptionErrors {
    /// The faults: file, environment, flags, then the checks in the order of the key table.
    pub errors: Vec<DescriptionError>,
    /// The run id that was given, or a minted one, so that the failure can be recorded; absent if the given one is bad.
    pub run_id: Option<RunId>,
    /// The recordings directory in which the failure can be recorded, absolute; absent if none could be determined.
    pub recordings: Option<PathBuf>,
}

impl DescriptionErrors {
    /// `Usage` if any fault is one of the command line, which its author can see and mend at once; else `Setup`.
    pub fn error_class(&self) -> ErrorClass {
        let is_usage = |error: &DescriptionError| error.error_class() == ErrorClass::Usage;
        if self.errors.iter().any(is_usage) {
            ErrorClass::Usage
        } else {
            ErrorClass::Setup
        }
    }

    /// The faults as the JSON list that stands in `error.details.faults` of a status.
    pub fn details(&self) -> serde_json::Value {
        let fault = |error: &DescriptionError| {
            json!({
                "code": error.kind.code(),
                "key": error.key,
                "value": error.value,
                "origin": error.origin.to_string(),
                "expected": error.expected,
                "message": error.to_string(),
            })
        };
        self.errors.iter().map(fault).collect()
    }

    /// Masks the given secrets in every text, for a fault that quotes a value with a secret in it, and what looks like a
    /// credential, as the log does.
    pub(crate) fn mask(mut self, secrets: &[Secret]) -> Self {
        let declared = secrets.iter().map(|secret| {
            let value = secret.expose().as_bytes().to_vec();
            ("secret".to_owned(), value)
        });
        let redactor = Redactor::new(declared);
        for error in &mut self.errors {
            for secret in secrets {
                error.mask(secret);
            }
            error.redact(&redactor);
        }
        self
    }
}

impl fmt::Display for DescriptionErrors {
    /// One fault a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, error) in self.errors.iter().enumerate() {
            if idx > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for DescriptionErrors {}
