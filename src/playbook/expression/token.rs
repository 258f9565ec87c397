//! The words and signs of an expression, each with the character at which it begins.

use super::{ExpressionError, MAX_EXPRESSION_CHARS};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Name(String),
    Integer(i64),
    Text(String),
    Dot,
    Comma,
    Open,
    Close,
    Not,
    And,
    Or,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    End,
}

impl Token {
    /// What it is, in words for an error.
    pub(super) fn shown(&self) -> String {
        let sign = match self {
            Self::Name(name) => return format!("the word {name}"),
            Self::Integer(integer) => return format!("the number {integer}"),
            Self::Text(_) => return "a text".to_owned(),
            Self::End => return "the end".to_owned(),
            Self::Dot => ".",
            Self::Comma => ",",
            Self::Open => "(",
            Self::Close => ")",
            Self::Not => "!",
            Self::And => "&&",
            Self::Or => "||",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        };
        sign.to_owned()
    }
}

/// All tokens with their places; the last is [`Token::End`].
pub(super) fn tokens(written: &str) -> Result<Vec<(usize, Token)>, ExpressionError> {
    let chars: Vec<char> = written.chars().collect();
    if chars.len() > MAX_EXPRESSION_CHARS {
        return Err(ExpressionError::new(
            0,
            "an expression of more than 1,000 characters",
            "decide it in a step and use its output",
        ));
    }
    let mut tokens = Vec::new();
    let mut idx = 0;
    while let Some(c) = chars.get(idx).copied() {
        let start = idx;
        let next = chars.get(idx + 1).copied();
        let (token, n_chars) = match (c, next) {
            (' ' | '\t' | '\n' | '\r', _) => {
                idx += 1;
                continue;
            }
            ('&', Some('&')) => (Token::And, 2),
            ('|', Some('|')) => (Token::Or, 2),
            ('=', Some('=')) => (Token::Equal, 2),
            ('!', Some('=')) => (Token::NotEqual, 2),
            ('<', Some('=')) => (Token::LessOrEqual, 2),
            ('>', Some('=')) => (Token::GreaterOrEqual, 2),
            ('!', _) => (Token::Not, 1),
            ('<', _) => (Token::Less, 1),
            ('>', _) => (Token::Greater, 1),
            ('.', _) => (Token::Dot, 1),
            (',', _) => (Token::Comma, 1),
            ('(', _) => (Token::Open, 1),
            (')', _) => (Token::Close, 1),
            ('\'' | '"', _) => text(&chars, start)?,
            _ if is_word(c) => word(&chars, start)?,
            _ => {
                let expected = match c {
                    '=' => "write == to compare",
                    '&' => "write && for and",
                    '|' => "write || for or",
                    '$' | '{' | '}' => "write no ${{ }} here: it is an expression already",
                    _ => "use names, texts in quotes, numbers and == != < <= > >= && || ! ( )",
                };
                return Err(ExpressionError::new(
                    start,
                    format!("the character {c:?}"),
                    expected,
                ));
            }
        };
        idx += n_chars;
        tokens.push((start, token));
    }
    tokens.push((chars.len(), Token::End));
    Ok(tokens)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

fn word(chars: &[char], start: usize) -> Result<(Token, usize), ExpressionError> {
    let word: String = chars
        .iter()
        .skip(start)
        .take_while(|c| is_word(**c))
        .collect();
    let n_chars = word.len();
    let digits = word.strip_prefix('-').unwrap_or(&word);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok((Token::Name(word), n_chars));
    }
    match word.parse() {
        Ok(integer) => Ok((Token::Integer(integer), n_chars)),
        Err(_) => Err(ExpressionError::new(
            start,
            "a number that has no 64 bits",
            "give a whole number between -2^63 and 2^63 - 1",
        )),
    }
}

/// A text in single or double quotes; a quote in it is written twice, and a backslash is a backslash.
fn text(chars: &[char], start: usize) -> Result<(Token, usize), ExpressionError> {
    let mut text = String::new();
    let mut rest = chars.iter().skip(start).copied();
    let quote = rest.next();
    let mut n_chars = 1;
    while let Some(c) = rest.next() {
        n_chars += 1;
        if Some(c) != quote {
            text.push(c);
            continue;
        }
        if rest.clone().next() != quote {
            return Ok((Token::Text(text), n_chars));
        }
        text.push(c);
        rest.next();
        n_chars += 1;
    }
    Err(ExpressionError::new(
        start,
        "a text that is not closed",
        "close it with the quote that opened it",
    ))
}
