//! The values that keywords take, each with its place for the error.

use regex_lite::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use super::decimal::Decimal;
use super::keyword::Kind;
use super::{MAX_PATTERN_BYTES, SchemaError, below};

/// A place in a schema, as a JSON pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct In(String);

impl In {
    pub(super) fn root() -> Self {
        Self(String::new())
    }

    pub(super) fn new(pointer: String) -> Self {
        Self(pointer)
    }

    pub(super) fn at(&self, name: &str) -> Self {
        Self(below(&self.0, name))
    }

    pub(super) fn pointer(&self) -> &str {
        &self.0
    }

    pub(super) fn wrong(&self, problem: impl Into<String>) -> SchemaError {
        SchemaError {
            place: self.0.clone(),
            problem: problem.into(),
        }
    }
}

pub(super) fn text<'v>(place: &In, value: &'v Value) -> Result<&'v str, SchemaError> {
    value.as_str().ok_or_else(|| place.wrong("is no text"))
}

pub(super) fn boolean(place: &In, value: &Value) -> Result<bool, SchemaError> {
    value
        .as_bool()
        .ok_or_else(|| place.wrong("is neither true nor false"))
}

pub(super) fn list<'v>(place: &In, value: &'v Value) -> Result<&'v Vec<Value>, SchemaError> {
    value.as_array().ok_or_else(|| place.wrong("is no list"))
}

pub(super) fn object<'v>(
    place: &In,
    value: &'v Value,
) -> Result<&'v Map<String, Value>, SchemaError> {
    value.as_object().ok_or_else(|| place.wrong("is no object"))
}

pub(super) fn number(place: &In, value: &Value) -> Result<Decimal, SchemaError> {
    let number = value.as_number().and_then(Decimal::of);
    number.ok_or_else(|| place.wrong("is no number"))
}

/// A whole number from 0; `2.0` is one.
pub(super) fn count(place: &In, value: &Value) -> Result<u64, SchemaError> {
    let count = number(place, value).ok().and_then(Decimal::to_count);
    count.ok_or_else(|| place.wrong("is no whole number from 0"))
}

pub(super) fn names(place: &In, value: &Value) -> Result<Vec<String>, SchemaError> {
    let names = list(place, value)?.iter().enumerate();
    let names = names.map(|(idx, name)| Ok(text(&place.at(&idx.to_string()), name)?.to_owned()));
    names.collect()
}

pub(super) fn types(place: &In, value: &Value) -> Result<Vec<Kind>, SchemaError> {
    let known = "give null, boolean, object, array, number, integer or string, or a list of them";
    let kind = |value: &Value| {
        let kind = value.as_str().and_then(Kind::parse);
        kind.ok_or_else(|| place.wrong(format!("is no type; {known}")))
    };
    match value {
        Value::Array(names) if !names.is_empty() => names.iter().map(kind).collect(),
        value => Ok(vec![kind(value)?]),
    }
}

pub(super) fn pattern(place: &In, pattern: &str) -> Result<Regex, SchemaError> {
    let compiled = RegexBuilder::new(pattern)
        .size_limit(MAX_PATTERN_BYTES)
        .build();
    compiled.map_err(|error| place.wrong(format!("is a pattern that cannot be used: {error}")))
}

/// The text of a URI's fragment (RFC 3986, section 2.1); none when it has a broken escape.
pub(super) fn percent_decoded(fragment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}
