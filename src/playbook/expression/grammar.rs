//! The grammar of expressions, by recursive descent with a bound on depth.
//!
//! ```text
//! or         = and { "||" and }
//! and        = comparison { "&&" comparison }
//! comparison = unary [ ("==" | "!=" | "<" | "<=" | ">" | ">=") unary ]
//! unary      = "!" unary | primary
//! primary    = "(" or ")" | text | integer | "true" | "false" | path | function "(" or { "," or } ")"
//! path       = "params" "." name | "steps" "." id "." ("outputs" "." name | "status" | "exit") | "run" "." "failed"
//! ```

use super::super::model::Argument;
use super::super::pattern::Pattern;
use super::token::{Token, tokens};
use super::{Comparison, ExpressionError, Located, MAX_EXPRESSION_DEPTH, Term, TextTest};
use crate::description::closest;

const PATHS: &str =
    "use params.NAME, steps.ID.outputs.NAME, steps.ID.status, steps.ID.exit or run.failed";
const FUNCTIONS: [&str; 5] = ["contains", "starts_with", "ends_with", "matches", "number"];

pub(super) fn parse(written: &str) -> Result<Located, ExpressionError> {
    let mut parser = Parser {
        tokens: tokens(written)?,
        next: 0,
        depth: 0,
    };
    let root = parser.or()?;
    match parser.peek() {
        (_, Token::End) => Ok(root),
        (idx, token) => Err(ExpressionError::new(
            idx,
            format!("{} behind a whole expression", token.shown()),
            match token {
                Token::Name(name) if name == "and" => "write && for and",
                Token::Name(name) if name == "or" => "write || for or",
                _ => "join conditions with && or ||",
            },
        )),
    }
}

pub(super) struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

impl Parser {
    pub(super) fn new(written: &str) -> Result<Self, ExpressionError> {
        Ok(Self {
            tokens: tokens(written)?,
            next: 0,
            depth: 0,
        })
    }

    pub(super) fn peek(&self) -> (usize, Token) {
        let end = || (0, Token::End);
        self.tokens.get(self.next).cloned().unwrap_or_else(end)
    }

    pub(super) fn advance(&mut self) -> (usize, Token) {
        let token = self.peek();
        self.next += 1;
        token
    }

    pub(super) fn take(&mut self, wanted: &Token) -> bool {
        let is_there = self.peek().1 == *wanted;
        if is_there {
            self.next += 1;
        }
        is_there
    }

    pub(super) fn require(
        &mut self,
        wanted: &Token,
        expected: &str,
    ) -> Result<(), ExpressionError> {
        if self.take(wanted) {
            return Ok(());
        }
        let (idx, token) = self.peek();
        Err(ExpressionError::new(idx, token.shown(), expected))
    }

    pub(super) fn name(&mut self, expected: &str) -> Result<(usize, String), ExpressionError> {
        match self.advance() {
            (idx, Token::Name(name)) => Ok((idx, name)),
            (idx, token) => Err(ExpressionError::new(idx, token.shown(), expected)),
        }
    }

    fn or(&mut self) -> Result<Located, ExpressionError> {
        let mut left = self.and()?;
        while self.take(&Token::Or) {
            let idx = left.idx;
            let term = Term::Or(Box::new(left), Box::new(self.and()?));
            left = Located { term, idx };
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Located, ExpressionError> {
        let mut left = self.comparison()?;
        while self.take(&Token::And) {
            let idx = left.idx;
            let term = Term::And(Box::new(left), Box::new(self.comparison()?));
            left = Located { term, idx };
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Located, ExpressionError> {
        let left = self.unary()?;
        let comparison = match self.peek().1 {
            Token::Equal => Comparison::Equal,
            Token::NotEqual => Comparison::NotEqual,
            Token::Less => Comparison::Less,
            Token::LessOrEqual => Comparison::LessOrEqual,
            Token::Greater => Comparison::Greater,
            Token::GreaterOrEqual => Comparison::GreaterOrEqual,
            _ => return Ok(left),
        };
        self.advance();
        let idx = left.idx;
        let term = Term::Compare(comparison, Box::new(left), Box::new(self.unary()?));
        Ok(Located { term, idx })
    }

    fn unary(&mut self) -> Result<Located, ExpressionError> {
        let (idx, _) = self.peek();
        self.depth += 1;
        if self.depth > MAX_EXPRESSION_DEPTH {
            return Err(ExpressionError::new(
                idx,
                "brackets and ! nested deeper than 32",
                "nest less deeply",
            ));
        }
        let located = if self.take(&Token::Not) {
            let term = Term::Not(Box::new(self.unary()?));
            Located { term, idx }
        } else {
            self.primary()?
        };
        self.depth -= 1;
        Ok(located)
    }

    fn primary(&mut self) -> Result<Located, ExpressionError> {
        let (idx, token) = self.advance();
        let term = match token {
            Token::Open => {
                let inner = self.or()?;
                self.require(&Token::Close, "close the bracket with )")?;
                return Ok(inner);
            }
            Token::Text(text) => Term::Literal(Argument::Text(text)),
            Token::Integer(integer) => Term::Literal(Argument::Integer(integer)),
            Token::Name(name) => match name.as_str() {
                "true" => Term::Literal(Argument::Boolean(true)),
                "false" => Term::Literal(Argument::Boolean(false)),
                _ if self.peek().1 == Token::Open => self.call(idx, &name)?,
                _ => self.path(idx, &name)?,
            },
            other => {
                return Err(ExpressionError::new(
                    idx,
                    other.shown(),
                    "give a name, a text in quotes, a number, true or false",
                ));
            }
        };
        Ok(Located { term, idx })
    }

    fn path(&mut self, idx: usize, first: &str) -> Result<Term, ExpressionError> {
        let unknown = |name: &str, idx| {
            Err(ExpressionError::new(
                idx,
                format!("the unknown name {name}"),
                PATHS,
            ))
        };
        match first {
            "params" => {
                self.require(&Token::Dot, PATHS)?;
                Ok(Term::Parameter(self.name(PATHS)?.1))
            }
            "run" => {
                self.require(&Token::Dot, PATHS)?;
                match self.name(PATHS)? {
                    (_, name) if name == "failed" => Ok(Term::RunFailed),
                    (idx, name) => unknown(&format!("run.{name}"), idx),
                }
            }
            "steps" => {
                self.require(&Token::Dot, PATHS)?;
                let (_, step) = self.name(PATHS)?;
                self.require(&Token::Dot, PATHS)?;
                let (idx, field) = self.name(PATHS)?;
                match field.as_str() {
                    "status" => Ok(Term::Status(step)),
                    "exit" => Ok(Term::Exit(step)),
                    "outputs" => {
                        self.require(&Token::Dot, PATHS)?;
                        let (_, name) = self.name(PATHS)?;
                        Ok(Term::Output { step, name })
                    }
                    _ => unknown(&format!("steps.{step}.{field}"), idx),
                }
            }
            "not" => Err(ExpressionError::new(idx, "the word not", "write ! for not")),
            _ => Err(ExpressionError::new(
                idx,
                format!("the unknown name {first}"),
                format!("{PATHS}; put a text in quotes"),
            )),
        }
    }

    fn call(&mut self, idx: usize, name: &str) -> Result<Term, ExpressionError> {
        self.advance();
        let mut arguments = Vec::new();
        if !self.take(&Token::Close) {
            loop {
                arguments.push(self.or()?);
                if self.take(&Token::Close) {
                    break;
                }
                self.require(
                    &Token::Comma,
                    "separate arguments with a comma, and close with )",
                )?;
            }
        }
        let n_wanted = if name == "number" { 1 } else { 2 };
        if !FUNCTIONS.contains(&name) {
            let expected = match closest(name, FUNCTIONS) {
                Some(known) => format!("use {known}"),
                None => format!("use one of {}", FUNCTIONS.join(", ")),
            };
            return Err(ExpressionError::new(
                idx,
                format!("the unknown function {name}"),
                expected,
            ));
        }
        let n_given = arguments.len();
        let mut arguments = arguments.into_iter().map(Box::new);
        match (name, arguments.next(), arguments.next(), arguments.next()) {
            ("number", Some(text), None, None) => Ok(Term::Number(text)),
            ("contains", Some(text), Some(part), None) => {
                Ok(Term::TextTest(TextTest::Contains, text, part))
            }
            ("starts_with", Some(text), Some(part), None) => {
                Ok(Term::TextTest(TextTest::StartsWith, text, part))
            }
            ("ends_with", Some(text), Some(part), None) => {
                Ok(Term::TextTest(TextTest::EndsWith, text, part))
            }
            ("matches", Some(text), Some(pattern), None) => {
                Ok(Term::Matches(text, literal_pattern(&pattern)?))
            }
            _ => Err(ExpressionError::new(
                idx,
                format!("{name}() with {n_given} arguments"),
                format!("give it {n_wanted}"),
            )),
        }
    }
}

/// The pattern of `matches`, which stands in the file so that it can be checked before the run.
fn literal_pattern(located: &Located) -> Result<Pattern, ExpressionError> {
    let Term::Literal(Argument::Text(written)) = &located.term else {
        return Err(ExpressionError::new(
            located.idx,
            "a pattern that is no text in quotes",
            "give the pattern itself, as in matches(params.branch, '^v[0-9]+$')",
        ));
    };
    Pattern::new(written).map_err(|error| {
        ExpressionError::new(
            located.idx,
            format!("a pattern that {error}"),
            "give a regular expression such as '^v[0-9]+$'",
        )
    })
}
