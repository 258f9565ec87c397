//! The value of an expression in a run.

use std::collections::BTreeMap;

use super::super::model::{Argument, StepStatus};
use super::{Comparison, Expression, Located, Term, TextTest};

/// What a finished or skipped step is to later expressions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepState {
    /// What became of it.
    pub status: StepStatus,
    /// The exit code of its last attempt, if it ran and was not ended by a signal.
    pub exit: Option<i32>,
    /// Its outputs, redacted; a step that did not succeed has none.
    pub outputs: BTreeMap<String, String>,
}

/// What expressions are evaluated against.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The values of all parameters.
    pub arguments: &'a BTreeMap<String, Argument>,
    /// The steps so far, by id.
    pub steps: &'a BTreeMap<String, StepState>,
    /// Whether a step failed and ended the steps, which the steps of `finally` may ask.
    pub has_failed: bool,
}

/// A condition or text has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// `number()` was given a text that is none.
    #[error("number() was given a text that is no whole number")]
    NotANumber,
    /// A condition yields something else than a boolean; checked playbooks have none.
    #[error("the condition yields no boolean")]
    NotABoolean,
}

impl Expression {
    /// Its value. What did not run has empty outputs and the exit code -1.
    ///
    /// # Errors
    /// A text without a number in `number()`.
    pub fn value(&self, scope: Scope<'_>) -> Result<Argument, EvaluationError> {
        self.root.value(scope)
    }

    /// Whether the condition holds.
    ///
    /// # Errors
    /// Those of [`Expression::value`].
    pub fn holds(&self, scope: Scope<'_>) -> Result<bool, EvaluationError> {
        self.root.holds(scope)
    }
}

impl Located {
    fn value(&self, scope: Scope<'_>) -> Result<Argument, EvaluationError> {
        Ok(match &self.term {
            Term::Literal(argument) => argument.clone(),
            Term::Parameter(name) => match scope.arguments.get(name) {
                Some(argument) => argument.clone(),
                None => Argument::Text(String::new()),
            },
            Term::Output { step, name } => {
                let output = scope
                    .steps
                    .get(step)
                    .and_then(|step| step.outputs.get(name));
                Argument::Text(output.cloned().unwrap_or_default())
            }
            Term::Status(step) => {
                let status = scope
                    .steps
                    .get(step)
                    .map_or(StepStatus::Skipped, |step| step.status);
                Argument::Text(status.name().to_owned())
            }
            Term::Exit(step) => {
                let exit = scope.steps.get(step).and_then(|step| step.exit);
                Argument::Integer(exit.map_or(-1, i64::from))
            }
            Term::RunFailed => Argument::Boolean(scope.has_failed),
            Term::Not(inner) => Argument::Boolean(!inner.holds(scope)?),
            Term::And(left, right) => Argument::Boolean(left.holds(scope)? && right.holds(scope)?),
            Term::Or(left, right) => Argument::Boolean(left.holds(scope)? || right.holds(scope)?),
            Term::Compare(comparison, left, right) => {
                Argument::Boolean(comparison.holds(&left.value(scope)?, &right.value(scope)?))
            }
            Term::TextTest(test, text, part) => {
                let (text, part) = (text.value(scope)?.text(), part.value(scope)?.text());
                Argument::Boolean(match test {
                    TextTest::Contains => text.contains(&part),
                    TextTest::StartsWith => text.starts_with(&part),
                    TextTest::EndsWith => text.ends_with(&part),
                })
            }
            Term::Matches(text, pattern) => {
                Argument::Boolean(pattern.is_in(&text.value(scope)?.text()))
            }
            Term::Number(text) => {
                let text = text.value(scope)?.text();
                let number = text.trim().parse();
                Argument::Integer(number.map_err(|_| EvaluationError::NotANumber)?)
            }
        })
    }

    fn holds(&self, scope: Scope<'_>) -> Result<bool, EvaluationError> {
        match self.value(scope)? {
            Argument::Boolean(bool) => Ok(bool),
            Argument::Text(_) | Argument::Integer(_) | Argument::Secret(_) => {
                Err(EvaluationError::NotABoolean)
            }
        }
    }
}

impl Comparison {
    fn holds(self, left: &Argument, right: &Argument) -> bool {
        let order = match (left, right) {
            (Argument::Integer(left), Argument::Integer(right)) => Some(left.cmp(right)),
            _ => None,
        };
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => order.is_some_and(std::cmp::Ordering::is_lt),
            Self::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
            Self::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
            Self::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
        }
    }
}

impl Argument {
    /// The text that reaches a step; a secret in the clear.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Integer(integer) => integer.to_string(),
            Self::Boolean(bool) => bool.to_string(),
            Self::Secret(secret) => secret.expose().to_owned(),
        }
    }
}
