//! What a step leaves to later steps: a text taken from its output, its exit code or a file.
//!
//! ```text
//! output = ("stdout" | "stderr" | "exit" | "file" "(" text ")") { "." operation }
//! operation = "trim()" | "lines().first()" | "lines().last()" | "match(" text "," integer ")"
//! ```

use std::fmt;

use super::super::pattern::Pattern;
use super::ExpressionError;
use super::grammar::Parser;
use super::token::Token;
use crate::description::closest;
use crate::text::Excerpt;

/// Largest output, in bytes: it must fit into one variable of a later step.
pub const MAX_OUTPUT_BYTES: usize = 64 * 1024;

/// Most operations of one output.
const MAX_OPERATIONS: usize = 8;

const SOURCES: &str = "begin with stdout, stderr, exit or file('path')";
const OPERATIONS: [&str; 3] = ["trim", "lines", "match"];

/// What an output is taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputSource {
    /// The standard output of the last attempt.
    Stdout,
    /// The standard error of the last attempt.
    Stderr,
    /// The exit code of the last attempt.
    Exit,
    /// The content of a file as the workload sees it; a relative path begins at the step's directory.
    File(String),
}

/// An output: a source and what is done with its text.
#[derive(Clone, PartialEq)]
pub struct OutputExpression {
    written: String,
    source: OutputSource,
    operations: Vec<Operation>,
}

#[derive(Clone, PartialEq)]
enum Operation {
    Trim,
    FirstLine,
    LastLine,
    Match { pattern: Pattern, group: usize },
}

/// A step that succeeded otherwise has no such output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// The pattern of `match` is not in the text.
    #[error("the pattern {0} matches nothing")]
    NoMatch(String),
    /// What was kept of the source is not enough.
    #[error(
        "its source is longer than the {0} bytes that are looked at; take the first or last line, or write less"
    )]
    Cut(usize),
    /// The text is too large.
    #[error("the text is larger than 64 KiB")]
    TooLarge,
}

impl OutputExpression {
    /// Reads an output.
    ///
    /// # Errors
    /// The first violation of the grammar.
    pub fn parse(written: &str) -> Result<Self, ExpressionError> {
        let mut parser = Parser::new(written)?;
        let source = source(&mut parser)?;
        let mut operations = Vec::new();
        loop {
            match parser.advance() {
                (_, Token::End) => break,
                (idx, Token::Dot) if operations.len() == MAX_OPERATIONS => {
                    return Err(ExpressionError::new(
                        idx,
                        "more than 8 operations",
                        "do the rest in the step",
                    ));
                }
                (_, Token::Dot) => operations.push(operation(&mut parser)?),
                (idx, token) => {
                    return Err(ExpressionError::new(
                        idx,
                        token.shown(),
                        "go on with .trim(), .lines().first(), .lines().last() or .match('pattern', 1)",
                    ));
                }
            }
        }
        Ok(Self {
            written: written.to_owned(),
            source,
            operations,
        })
    }

    /// The output as it was written.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// What it is taken from.
    pub fn source(&self) -> &OutputSource {
        &self.source
    }

    /// The output, from the text of its source.
    ///
    /// # Errors
    /// A pattern that matches nothing, a result of more than 64 KiB, or one that what was kept of the text does not tell.
    pub fn apply(&self, source: &Excerpt) -> Result<String, OutputError> {
        let cut = || OutputError::Cut(source.kept_bytes());
        // The text, or its beginning, and then the end of one that is not whole.
        let (mut text, mut tail) = (source.head(), source.tail());
        for operation in &self.operations {
            (text, tail) = match (operation, tail) {
                (Operation::Trim, None) => (text.trim(), None),
                (Operation::Trim, Some(tail)) => (text.trim_start(), Some(tail.trim_end())),
                (Operation::FirstLine, Some(_)) if !text.contains('\n') => return Err(cut()),
                (Operation::FirstLine, _) => (text.lines().next().unwrap_or_default(), None),
                (Operation::LastLine, None) => (text.lines().last().unwrap_or_default(), None),
                (Operation::LastLine, Some(tail)) => (last_line(tail).ok_or_else(cut)?, None),
                (Operation::Match { .. }, Some(_)) => return Err(cut()),
                (Operation::Match { pattern, group }, None) => {
                    let found = pattern.group(text, *group);
                    let no_match = || OutputError::NoMatch(pattern.shown());
                    (found.ok_or_else(no_match)?, None)
                }
            };
        }
        if tail.is_some() {
            return Err(cut());
        }
        if text.len() > MAX_OUTPUT_BYTES {
            return Err(OutputError::TooLarge);
        }
        // A variable of a later step cannot hold NUL.
        Ok(text.replace('\0', "\u{fffd}"))
    }
}

impl fmt::Debug for OutputExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// The last line of a text that ends with `tail`, if all of that line is there.
fn last_line(tail: &str) -> Option<&str> {
    let lines = tail.strip_suffix('\n').unwrap_or(tail);
    lines.contains('\n').then(|| tail.lines().last()).flatten()
}

fn source(parser: &mut Parser) -> Result<OutputSource, ExpressionError> {
    let (idx, name) = parser.name(SOURCES)?;
    Ok(match name.as_str() {
        "stdout" => OutputSource::Stdout,
        "stderr" => OutputSource::Stderr,
        "exit" => OutputSource::Exit,
        "file" => {
            parser.require(&Token::Open, "give the path, as in file('out.txt')")?;
            let path = text(parser, "give the path in quotes, as in file('out.txt')")?.1;
            parser.require(&Token::Close, "close it with )")?;
            if path.is_empty() || path.contains('\0') {
                return Err(ExpressionError::new(
                    idx,
                    "no path",
                    "give the path of a file",
                ));
            }
            OutputSource::File(path)
        }
        _ => {
            let expected = match closest(&name, ["stdout", "stderr", "exit", "file"]) {
                Some(known) => format!("use {known}"),
                None => SOURCES.to_owned(),
            };
            let found = format!("the unknown name {name}");
            return Err(ExpressionError::new(idx, found, expected));
        }
    })
}

fn operation(parser: &mut Parser) -> Result<Operation, ExpressionError> {
    let (idx, name) = parser.name("name an operation: trim, lines or match")?;
    if !OPERATIONS.contains(&name.as_str()) {
        let expected = match closest(&name, OPERATIONS) {
            Some(known) => format!("use {known}()"),
            None => "use trim(), lines().first(), lines().last() or match('pattern', 1)".to_owned(),
        };
        let found = format!("the unknown operation {name}");
        return Err(ExpressionError::new(idx, found, expected));
    }
    parser.require(&Token::Open, "write brackets behind an operation")?;
    if name == "match" {
        return matching(parser);
    }
    parser.require(
        &Token::Close,
        "close the brackets at once: it takes nothing",
    )?;
    if name == "trim" {
        return Ok(Operation::Trim);
    }
    let expected = "go on with .first() or .last()";
    parser.require(&Token::Dot, expected)?;
    let (idx, name) = parser.name(expected)?;
    parser.require(&Token::Open, expected)?;
    parser.require(&Token::Close, expected)?;
    match name.as_str() {
        "first" => Ok(Operation::FirstLine),
        "last" => Ok(Operation::LastLine),
        _ => Err(ExpressionError::new(
            idx,
            format!("the unknown operation {name}"),
            expected,
        )),
    }
}

/// The rest of `match(` with its pattern and group.
fn matching(parser: &mut Parser) -> Result<Operation, ExpressionError> {
    let expected = "give a pattern and a group, as in match('v([0-9]+)', 1)";
    let (idx, written) = text(parser, expected)?;
    let pattern = Pattern::new(&written)
        .map_err(|error| ExpressionError::new(idx, format!("a pattern that {error}"), expected))?;
    let mut group = 0;
    if parser.take(&Token::Comma) {
        let (idx, token) = parser.advance();
        let given = match &token {
            Token::Integer(integer) => usize::try_from(*integer).ok(),
            _ => None,
        };
        group = given
            .filter(|group| *group < pattern.n_groups())
            .ok_or_else(|| {
                let most = pattern.n_groups() - 1;
                let found = format!("{} for a group", token.shown());
                let expected = format!("the pattern has the groups 0 to {most}");
                ExpressionError::new(idx, found, expected)
            })?;
    }
    parser.require(&Token::Close, expected)?;
    Ok(Operation::Match { pattern, group })
}

fn text(parser: &mut Parser, expected: &str) -> Result<(usize, String), ExpressionError> {
    match parser.advance() {
        (idx, Token::Text(text)) => Ok((idx, text)),
        (idx, token) => Err(ExpressionError::new(idx, token.shown(), expected)),
    }
}
