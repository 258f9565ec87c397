//! Names and kinds: what an expression may refer to, and what may be compared with what.

use super::super::arguments::shown_choices;
use super::super::model::{Argument, Parameter, ParameterKind};
use super::{Comparison, Expression, ExpressionError, Located, Term};
use crate::description::closest;

/// What an expression yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A secret text.
    Secret,
}

impl Kind {
    /// Its name for an error, with its article.
    pub fn shown(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Integer => "a whole number",
            Self::Boolean => "a boolean",
            Self::Secret => "a secret",
        }
    }
}

/// What an expression may refer to at its place in the file.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The parameters.
    pub parameters: &'a [Parameter],
    /// The steps that stand before it, with the names of their outputs.
    pub steps: &'a [(String, Vec<String>)],
    /// All ids of the file, for errors.
    pub all_steps: &'a [String],
}

impl Names<'_> {
    fn parameter(&self, name: &str, idx: usize) -> Result<&Parameter, ExpressionError> {
        let found = self.parameters.iter().find(|known| known.name == name);
        found.ok_or_else(|| {
            let known = || self.parameters.iter().map(|known| known.name.as_str());
            let expected = match closest(name, known()) {
                Some(known) => format!("use params.{known}"),
                None => format!("declare it under parameters: {}", listed(known())),
            };
            ExpressionError::new(idx, format!("the unknown parameter {name}"), expected)
        })
    }

    fn outputs(&self, step: &str, idx: usize) -> Result<&[String], ExpressionError> {
        if let Some((_, outputs)) = self.steps.iter().find(|(id, _)| id == step) {
            return Ok(outputs);
        }
        if self.all_steps.iter().any(|id| id == step) {
            return Err(ExpressionError::new(
                idx,
                format!("the step {step}, which has not run at this place"),
                "refer to steps that stand before this one",
            ));
        }
        let known = || self.steps.iter().map(|(id, _)| id.as_str());
        let expected = match closest(step, known()) {
            Some(known) => format!("use steps.{known}"),
            None => format!("refer to a step before this one: {}", listed(known())),
        };
        Err(ExpressionError::new(
            idx,
            format!("the unknown step {step}"),
            expected,
        ))
    }
}

/// Names for an error; `none` if there are none.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    /// More would hide the error.
    const MAX_LISTED: usize = 12;
    let names: Vec<&str> = names.take(MAX_LISTED + 1).collect();
    match names.get(..MAX_LISTED) {
        _ if names.is_empty() => "there is none yet".to_owned(),
        Some(first) if names.len() > MAX_LISTED => format!("{} and more", first.join(", ")),
        _ => names.join(", "),
    }
}

impl Expression {
    /// What it yields, if all its names are known and all its kinds fit.
    ///
    /// # Errors
    /// The first name that is unknown or kind that does not fit.
    pub fn kind(&self, names: Names<'_>) -> Result<Kind, ExpressionError> {
        self.root.kind(names)
    }
}

impl Located {
    fn kind(&self, names: Names<'_>) -> Result<Kind, ExpressionError> {
        match &self.term {
            Term::Literal(Argument::Text(_)) => Ok(Kind::Text),
            Term::Literal(Argument::Integer(_)) => Ok(Kind::Integer),
            Term::Literal(Argument::Boolean(_)) => Ok(Kind::Boolean),
            Term::Literal(Argument::Secret(_)) => Ok(Kind::Secret),
            Term::Parameter(name) => Ok(match names.parameter(name, self.idx)?.kind {
                ParameterKind::Text { .. } | ParameterKind::Choice { .. } => Kind::Text,
                ParameterKind::Integer { .. } => Kind::Integer,
                ParameterKind::Boolean => Kind::Boolean,
                ParameterKind::Secret { .. } => Kind::Secret,
            }),
            Term::Output { step, name } => {
                let outputs = names.outputs(step, self.idx)?;
                if outputs.iter().any(|known| known == name) {
                    return Ok(Kind::Text);
                }
                let known = || outputs.iter().map(String::as_str);
                let expected = match closest(name, known()) {
                    Some(known) => format!("use steps.{step}.outputs.{known}"),
                    None => format!("name an output of the step {step}: {}", listed(known())),
                };
                Err(ExpressionError::new(
                    self.idx,
                    format!("the unknown output {name}"),
                    expected,
                ))
            }
            Term::Status(step) => names.outputs(step, self.idx).map(|_| Kind::Text),
            Term::Exit(step) => names.outputs(step, self.idx).map(|_| Kind::Integer),
            Term::RunFailed => Ok(Kind::Boolean),
            Term::Not(inner) => inner.require(Kind::Boolean, "! takes a boolean", names),
            Term::And(left, right) | Term::Or(left, right) => {
                let expected = "&& and || take booleans";
                left.require(Kind::Boolean, expected, names)?;
                right.require(Kind::Boolean, expected, names)
            }
            Term::Compare(comparison, left, right) => {
                comparison.check(left, right, names)?;
                Ok(Kind::Boolean)
            }
            Term::TextTest(_, left, right) => {
                let expected = "give two texts";
                left.require(Kind::Text, expected, names)?;
                right.require(Kind::Text, expected, names)?;
                Ok(Kind::Boolean)
            }
            Term::Matches(text, _) => {
                text.require(Kind::Text, "give a text and a pattern", names)?;
                Ok(Kind::Boolean)
            }
            Term::Number(text) => {
                text.require(Kind::Text, "number() takes a text", names)?;
                Ok(Kind::Integer)
            }
        }
    }

    fn require(
        &self,
        wanted: Kind,
        expected: &str,
        names: Names<'_>,
    ) -> Result<Kind, ExpressionError> {
        let kind = self.kind(names)?;
        if kind == wanted {
            return Ok(kind);
        }
        let expected = match kind {
            Kind::Secret => "a secret reaches a step by env and is never compared",
            Kind::Text | Kind::Integer | Kind::Boolean => expected,
        };
        Err(ExpressionError::new(self.idx, kind.shown(), expected))
    }
}

impl Comparison {
    fn check(
        self,
        left: &Located,
        right: &Located,
        names: Names<'_>,
    ) -> Result<(), ExpressionError> {
        let is_order = match self {
            Self::Equal | Self::NotEqual => false,
            Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual => true,
        };
        if is_order {
            let expected = "< <= > >= compare whole numbers; number() makes one of a text";
            left.require(Kind::Integer, expected, names)?;
            right.require(Kind::Integer, expected, names)?;
            return Ok(());
        }
        for side in [left, right] {
            if side.kind(names)? == Kind::Secret {
                side.require(Kind::Text, "", names)?;
            }
        }
        let (left_kind, right_kind) = (left.kind(names)?, right.kind(names)?);
        if left_kind != right_kind {
            return Err(ExpressionError::new(
                right.idx,
                format!("{} beside {}", right_kind.shown(), left_kind.shown()),
                "compare values of one kind; number() makes a whole number of a text",
            ));
        }
        left.check_choice(right, names)?;
        right.check_choice(left, names)
    }
}

impl Located {
    /// A choice that is compared with a text that it can never be.
    fn check_choice(&self, other: &Self, names: Names<'_>) -> Result<(), ExpressionError> {
        let (Term::Parameter(name), Term::Literal(Argument::Text(text))) =
            (&self.term, &other.term)
        else {
            return Ok(());
        };
        match &names.parameter(name, self.idx)?.kind {
            ParameterKind::Choice { choices } if !choices.contains(text) => {
                Err(ExpressionError::new(
                    other.idx,
                    format!("a text that params.{name} never is"),
                    format!("use one of {}", shown_choices(choices)),
                ))
            }
            _ => Ok(()),
        }
    }
}
