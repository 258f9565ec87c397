//! JSON (RFC 8259) as a located tree: no comments, no trailing commas, no name twice.
//!
//! It recurses once for each level of nesting, and nesting has a limit.

use std::collections::HashMap;

use super::{Entry, Node, NodeBudget, Place, SyntaxError, Value, check_depth};

pub(super) fn read(text: &str) -> Result<Node, SyntaxError> {
    let mut reader = Reader {
        rest: text,
        place: Place::START,
        budget: NodeBudget::new(),
    };
    reader.skip_space();
    let root = reader.node(0)?;
    reader.skip_space();
    match reader.peek() {
        None => Ok(root),
        Some(_) => Err(reader.found("give one JSON value and nothing behind it")),
    }
}

struct Reader<'a> {
    rest: &'a str,
    place: Place,
    budget: NodeBudget,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn advance(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next()?;
        self.rest = chars.as_str();
        if next == '\n' {
            self.place.line += 1;
            self.place.column = 1;
        } else {
            self.place.column += 1;
        }
        Some(next)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.advance();
        }
    }

    /// The error that what stands here is not what should stand here.
    fn found(&self, expected: &str) -> SyntaxError {
        let found = match self.peek() {
            None => "the end of the file",
            Some('/' | '#') => "a comment, which JSON does not have",
            Some('\'') => "a single quote",
            Some(',') => "a comma",
            Some(']' | '}') => "a closing bracket",
            Some(':') => "a colon",
            Some('"') => "a text",
            Some(c) if c.is_ascii_digit() || c == '-' => "a number",
            Some(c) if c.is_control() => "a control character",
            Some(_) => "a word or character without quotes",
        };
        SyntaxError::new(self.place, found, expected)
    }

    fn node(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        let place = self.place;
        self.budget.take(place)?;
        let value = match self.peek() {
            Some('{') => {
                check_depth(depth + 1, place)?;
                Value::Map(self.entries(depth + 1)?)
            }
            Some('[') => {
                check_depth(depth + 1, place)?;
                Value::List(self.items(depth + 1)?)
            }
            Some('"') => Value::Text(self.text()?),
            Some('-' | '0'..='9') => self.number()?,
            _ => self.word()?,
        };
        Ok(Node { value, place })
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<Entry>, SyntaxError> {
        let mut entries = Vec::new();
        let mut seen: HashMap<String, Place> = HashMap::new();
        self.advance();
        self.skip_space();
        if self.take('}') {
            return Ok(entries);
        }
        loop {
            let name_place = self.place;
            if self.peek() != Some('"') {
                return Err(self.found("give a name in double quotes"));
            }
            let name = self.text()?;
            if let Some(first) = seen.insert(name.clone(), name_place) {
                return Err(SyntaxError::duplicate(name_place, first));
            }
            self.skip_space();
            if !self.take(':') {
                return Err(self.found("give a colon behind the name"));
            }
            self.skip_space();
            let node = self.node(depth)?;
            entries.push(Entry {
                name,
                name_place,
                node,
            });
            self.skip_space();
            if self.take('}') {
                return Ok(entries);
            }
            if !self.take(',') {
                return Err(self.found("give a comma or a closing brace"));
            }
            self.skip_space();
            if self.peek() == Some('}') {
                return Err(self.found("leave out the comma before a closing brace"));
            }
        }
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Node>, SyntaxError> {
        let mut items = Vec::new();
        self.advance();
        self.skip_space();
        if self.take(']') {
            return Ok(items);
        }
        loop {
            items.push(self.node(depth)?);
            self.skip_space();
            if self.take(']') {
                return Ok(items);
            }
            if !self.take(',') {
                return Err(self.found("give a comma or a closing bracket"));
            }
            self.skip_space();
            if self.peek() == Some(']') {
                return Err(self.found("leave out the comma before a closing bracket"));
            }
        }
    }

    fn take(&mut self, wanted: char) -> bool {
        let is_there = self.peek() == Some(wanted);
        if is_there {
            self.advance();
        }
        is_there
    }

    fn text(&mut self) -> Result<String, SyntaxError> {
        let start = self.place;
        let mut text = String::new();
        self.advance();
        loop {
            let place = self.place;
            match self.advance() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape(place)?),
                Some(c) if c < ' ' => {
                    return Err(SyntaxError::new(
                        place,
                        "a line break or control character inside a text",
                        "write it as an escape, as in \\n",
                    ));
                }
                Some(c) => text.push(c),
                None => {
                    return Err(SyntaxError::new(
                        start,
                        "a text that is not closed",
                        "close it with a double quote",
                    ));
                }
            }
        }
    }

    fn escape(&mut self, place: Place) -> Result<char, SyntaxError> {
        let unknown = || {
            SyntaxError::new(
                place,
                "an escape that JSON does not have",
                "write one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX",
            )
        };
        Ok(match self.advance() {
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let first = self.four_digits().ok_or_else(unknown)?;
                let mut units = vec![first];
                if (0xd800..0xdc00).contains(&first) && self.take('\\') && self.take('u') {
                    units.push(self.four_digits().ok_or_else(unknown)?);
                }
                match char::decode_utf16(units).collect::<Result<String, _>>() {
                    Ok(text) => text.chars().next().ok_or_else(unknown)?,
                    Err(_) => {
                        return Err(SyntaxError::new(
                            place,
                            "half of a surrogate pair",
                            "write both halves, or the character itself",
                        ));
                    }
                }
            }
            _ => return Err(unknown()),
        })
    }

    fn four_digits(&mut self) -> Option<u16> {
        let digits = self.rest.get(..4)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        for _ in 0..digits.len() {
            self.advance();
        }
        u16::from_str_radix(digits, 16).ok()
    }

    fn number(&mut self) -> Result<Value, SyntaxError> {
        let start = self.place;
        let end = self
            .rest
            .find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'))
            .unwrap_or(self.rest.len());
        let (written, _) = self.rest.split_at(end);
        for _ in 0..written.len() {
            self.advance();
        }
        // The number itself is checked by the library that reads all other JSON here.
        if serde_json::from_str::<&serde_json::value::RawValue>(written).is_err() {
            return Err(SyntaxError::new(
                start,
                "a number that JSON does not have",
                "write it without leading zeros or plus sign, and with a digit on both sides of the point",
            ));
        }
        Ok(match written.parse() {
            Ok(integer) => Value::Integer(integer),
            Err(_) => Value::OtherNumber(written.to_owned()),
        })
    }

    fn word(&mut self) -> Result<Value, SyntaxError> {
        for (word, value) in [
            ("null", Value::Null),
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
        ] {
            if self.rest.starts_with(word) {
                for _ in 0..word.len() {
                    self.advance();
                }
                return Ok(value);
            }
        }
        Err(self.found("give a JSON value; texts stand in double quotes"))
    }
}
