//! Texts with expressions in `${{ }}`: each yields its text once, and the result is never read again.

use std::fmt;

use super::super::model::Argument;
use super::typing::{Kind, Names};
use super::{EvaluationError, Expression, ExpressionError, Scope};
use crate::description::secret::MASK;

const OPEN: &str = "${{";
const CLOSE: &str = "}}";

/// Where a text with expressions stands, which decides whether secrets may be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateUse {
    /// In a value of `env`: the only place that secrets reach.
    Environment,
    /// In an expectation, which errors and recordings show.
    Expectation,
}

/// A text with expressions.
#[derive(Clone, PartialEq)]
pub struct Template {
    written: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    /// An expression, and the character at which it begins.
    Expression(Expression, usize),
}

impl Template {
    /// Reads a text.
    ///
    /// # Errors
    /// `${{` without `}}`, or the first error of an expression between them.
    pub fn parse(written: &str) -> Result<Self, ExpressionError> {
        let mut parts = Vec::new();
        let mut rest = written;
        while let Some((text, behind)) = rest.split_once(OPEN) {
            if !text.is_empty() {
                parts.push(Part::Text(text.to_owned()));
            }
            let open_idx = chars_before(written, behind) - OPEN.len();
            let Some(inner) = up_to_close(behind) else {
                return Err(ExpressionError::new(
                    open_idx,
                    "${{ without }}",
                    "close it with }}, or write ${{ '${{' }} for the signs themselves",
                ));
            };
            let idx = open_idx + OPEN.len();
            let expression = Expression::parse(inner).map_err(|error| error.moved_by(idx))?;
            parts.push(Part::Expression(expression, idx));
            rest = behind.get(inner.len() + CLOSE.len()..).unwrap_or_default();
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self {
            written: written.to_owned(),
            parts,
        })
    }

    /// The text as it was written.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Whether it holds no expression.
    pub fn is_literal(&self) -> bool {
        self.expressions().next().is_none()
    }

    /// Checks the names and kinds of its expressions.
    ///
    /// # Errors
    /// The first unknown name, or a secret outside `env`.
    pub fn check(&self, names: Names<'_>, used: TemplateUse) -> Result<(), ExpressionError> {
        for (expression, idx) in self.expressions() {
            let kind = expression
                .kind(names)
                .map_err(|error| error.moved_by(idx))?;
            if kind == Kind::Secret && used == TemplateUse::Expectation {
                return Err(ExpressionError::new(
                    idx,
                    "a secret",
                    "a secret reaches a step by env and stands nowhere else",
                ));
            }
        }
        Ok(())
    }

    /// The text with the value of each expression in its place. Secrets stand in it in the clear.
    ///
    /// # Errors
    /// Those of [`Expression::value`].
    pub fn render(&self, scope: Scope<'_>) -> Result<String, EvaluationError> {
        let mut rendered = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => rendered.push_str(text),
                Part::Expression(expression, _) => {
                    rendered.push_str(&expression.value(scope)?.text());
                }
            }
        }
        Ok(rendered)
    }

    /// The same text for people: secrets masked, and expressions that need a run as they were written.
    pub fn shown(&self, scope: Scope<'_>) -> String {
        let mut shown = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => shown.push_str(text),
                Part::Expression(expression, _) if !expression.is_known_in(scope) => {
                    shown.push_str(&format!("${{{{ {} }}}}", expression.written()));
                }
                Part::Expression(expression, _) => match expression.value(scope) {
                    Ok(Argument::Secret(_)) => shown.push_str(MASK),
                    Ok(argument) => shown.push_str(&argument.text()),
                    Err(error) => shown.push_str(&format!("({error})")),
                },
            }
        }
        shown
    }

    /// The steps whose outputs or exit codes it needs.
    pub fn needed_steps(&self) -> Vec<&str> {
        self.expressions()
            .flat_map(|(expression, _)| expression.needed_steps())
            .collect()
    }

    /// Whether its value is known already, as [`Expression::is_known_in`].
    pub fn is_known_in(&self, scope: Scope<'_>) -> bool {
        self.expressions()
            .all(|(expression, _)| expression.is_known_in(scope))
    }

    fn expressions(&self) -> impl Iterator<Item = (&Expression, usize)> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Expression(expression, idx) => Some((expression, *idx)),
        })
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.written)
    }
}

/// The expression in `${{ }}` at the character number `idx` of a text, with its signs; of one that is not closed the sign.
pub(crate) fn expression_around(text: &str, idx: usize) -> Option<&str> {
    // What is wrong may be said of the sign's first character.
    let upto = text.char_indices().nth(idx + OPEN.len());
    let before = upto.map_or(text, |(offset, _)| text.get(..offset).unwrap_or(text));
    let open = before.rfind(OPEN)?;
    let behind = text.get(open + OPEN.len()..)?;
    let n_bytes = up_to_close(behind).map_or(0, |inner| inner.len() + CLOSE.len());
    let upto_close = text.get(..open + OPEN.len() + n_bytes)?;
    let is_inside = idx < upto_close.chars().count();
    is_inside.then(|| upto_close.get(open..)).flatten()
}

/// How many characters of `whole` stand before its end `tail`.
fn chars_before(whole: &str, tail: &str) -> usize {
    let before = whole.get(..whole.len() - tail.len());
    before.unwrap_or_default().chars().count()
}

/// The text before the first `}}` that stands in no quotes.
fn up_to_close(text: &str) -> Option<&str> {
    let mut quote = None;
    for (idx, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '}') if text.get(idx..).is_some_and(|rest| rest.starts_with(CLOSE)) => {
                return text.get(..idx);
            }
            (None, _) => {}
        }
    }
    None
}
