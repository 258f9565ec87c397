//! Expressions of playbooks: conditions, the parts of a text in `${{ }}`, and the outputs of a step.
//!
//! The language is closed: no loops, no arithmetic, no access to anything but parameters and earlier steps. What an
//! expression yields is text once and is never read as an expression again. Invariant: an expression that was checked
//! can only fail by `number()`.

mod evaluation;
mod grammar;
mod output;
mod template;
mod token;
mod typing;

#[cfg(test)]
mod tests;

use std::fmt;

pub use evaluation::{EvaluationError, Scope, StepState};
pub use output::{MAX_OUTPUT_BYTES, OutputError, OutputExpression, OutputSource};
pub use template::{Template, TemplateUse};
pub use typing::{Kind, Names};

pub(crate) use template::expression_around;

use super::model::Argument;
use super::pattern::Pattern;

/// Longest expression, in characters.
pub const MAX_EXPRESSION_CHARS: usize = 1_000;

/// Deepest nesting of brackets and `!`.
pub const MAX_EXPRESSION_DEPTH: usize = 32;

/// What is wrong with an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found}; {expected}")]
pub struct ExpressionError {
    /// The character, from 0, at which it is wrong.
    pub idx: usize,
    /// What stands there.
    pub found: String,
    /// What would be right.
    pub expected: String,
}

impl ExpressionError {
    fn new(idx: usize, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            idx,
            found: found.into(),
            expected: expected.into(),
        }
    }

    /// The same error of an expression that begins at the character `start` of a longer text.
    fn moved_by(mut self, start: usize) -> Self {
        self.idx += start;
        self
    }
}

/// A condition, or what stands in `${{ }}`.
#[derive(Clone, PartialEq)]
pub struct Expression {
    written: String,
    root: Located,
}

/// A term and the character at which it begins.
#[derive(Debug, Clone, PartialEq)]
struct Located {
    term: Term,
    idx: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Term {
    Literal(Argument),
    /// `params.NAME`.
    Parameter(String),
    /// `steps.ID.outputs.NAME`.
    Output {
        step: String,
        name: String,
    },
    /// `steps.ID.status`.
    Status(String),
    /// `steps.ID.exit`.
    Exit(String),
    /// `run.failed`.
    RunFailed,
    Not(Box<Located>),
    And(Box<Located>, Box<Located>),
    Or(Box<Located>, Box<Located>),
    Compare(Comparison, Box<Located>, Box<Located>),
    /// `contains`, `starts_with` or `ends_with`.
    TextTest(TextTest, Box<Located>, Box<Located>),
    Matches(Box<Located>, Pattern),
    /// `number(text)`.
    Number(Box<Located>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextTest {
    Contains,
    StartsWith,
    EndsWith,
}

impl Expression {
    /// Reads an expression; it checks the form only, and [`Expression::kind`] checks names and kinds.
    ///
    /// # Errors
    /// The first violation of the grammar or of a limit.
    pub fn parse(written: &str) -> Result<Self, ExpressionError> {
        Ok(Self {
            written: written.trim().to_owned(),
            root: grammar::parse(written)?,
        })
    }

    /// The expression as it was written.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// The steps whose outputs or exit codes it needs.
    pub fn needed_steps(&self) -> Vec<&str> {
        let mut steps = Vec::new();
        self.root.visit(&mut |term| match term {
            Term::Output { step, .. } | Term::Exit(step) => steps.push(step.as_str()),
            _ => {}
        });
        steps
    }

    /// Whether its value is known already: it needs no step but those that the scope knows.
    pub fn is_known_in(&self, scope: Scope<'_>) -> bool {
        let mut is_known = true;
        self.root.visit(&mut |term| match term {
            Term::Output { step, .. } | Term::Exit(step) | Term::Status(step) => {
                is_known &= scope.steps.contains_key(step);
            }
            Term::RunFailed => is_known = false,
            _ => {}
        });
        is_known
    }
}

impl Located {
    fn visit<'a>(&'a self, visitor: &mut dyn FnMut(&'a Term)) {
        visitor(&self.term);
        match &self.term {
            Term::Literal(_)
            | Term::Parameter(_)
            | Term::Output { .. }
            | Term::Status(_)
            | Term::Exit(_)
            | Term::RunFailed => {}
            Term::Not(inner) | Term::Matches(inner, _) | Term::Number(inner) => {
                inner.visit(visitor);
            }
            Term::And(left, right)
            | Term::Or(left, right)
            | Term::Compare(_, left, right)
            | Term::TextTest(_, left, right) => {
                left.visit(visitor);
                right.visit(visitor);
            }
        }
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}
