//! Reading a located tree into typed values: every fault is kept with its key and place, and reading goes on.
//!
//! A value that is refused stands as its default until the end, where any fault refuses the whole file.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::expression::{Expression, ExpressionError, Names, Template, TemplateUse};
use super::pattern::Pattern;
use super::shown::{Sight, counted, shown, shown_at, shown_variable};
use super::{MAX_FAULTS, PlaybookErrors, duration};
use crate::description::{DescriptionError, ErrorKind, Origin, closest, shown_name};
use crate::document::{Document, Entry, Node, Place, Value};

pub(super) struct Reader<'a> {
    document: &'a Document,
    path: &'a str,
    faults: Vec<(Place, DescriptionError)>,
}

/// A value with its dotted key.
#[derive(Clone)]
pub(super) struct Field<'a> {
    pub(super) key: String,
    pub(super) node: &'a Node,
}

impl<'a> Field<'a> {
    pub(super) fn new(key: impl Into<String>, node: &'a Node) -> Self {
        Self {
            key: key.into(),
            node,
        }
    }
}

/// The entries of a map with a closed list of names.
pub(super) struct Fields<'a> {
    key: String,
    pub(super) place: Place,
    entries: &'a [Entry],
}

impl<'a> Fields<'a> {
    /// The value of a name, if it is given.
    pub(super) fn get(&self, name: &str) -> Option<Field<'a>> {
        let entry = self.entries.iter().find(|entry| entry.name == name)?;
        Some(Field::new(self.key_of(name), &entry.node))
    }

    /// The dotted key of a name.
    pub(super) fn key_of(&self, name: &str) -> String {
        if self.key.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.key)
        }
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(document: &'a Document, path: &'a str) -> Self {
        Self {
            document,
            path,
            faults: Vec::new(),
        }
    }

    /// What was read, if there is no fault.
    pub(super) fn finish<T>(mut self, read: Option<T>) -> Result<T, PlaybookErrors> {
        self.faults.sort_by_key(|(place, _)| *place);
        let n_more = self.faults.len().saturating_sub(MAX_FAULTS);
        match read {
            Some(read) if self.faults.is_empty() => Ok(read),
            _ => Err(PlaybookErrors {
                faults: self
                    .faults
                    .into_iter()
                    .take(MAX_FAULTS)
                    .map(|(_, fault)| fault)
                    .collect(),
                n_more,
            }),
        }
    }

    /// Keeps a fault; `shown` is the value as the fault shows it.
    pub(super) fn fault(
        &mut self,
        kind: ErrorKind,
        key: impl Into<String>,
        shown: Option<String>,
        place: Place,
        expected: impl Into<String>,
    ) {
        let fault = DescriptionError {
            kind,
            key: key.into(),
            value: shown,
            origin: Origin::File {
                path: self.path.to_owned(),
                line: place.line,
                column: place.column,
            },
            expected: expected.into(),
        };
        self.faults.push((place, fault));
    }

    /// Keeps the fault that a value has the wrong type or form.
    pub(super) fn invalid(&mut self, field: &Field<'_>, expected: impl Into<String>) {
        let shown = Some(shown(field.node));
        self.fault(
            ErrorKind::Invalid,
            &*field.key,
            shown,
            field.node.place,
            expected,
        );
    }

    /// Keeps the fault that a value lies outside its bounds.
    pub(super) fn out_of_bounds(&mut self, field: &Field<'_>, expected: impl Into<String>) {
        let shown = Some(shown(field.node));
        self.fault(
            ErrorKind::OutOfBounds,
            &*field.key,
            shown,
            field.node.place,
            expected,
        );
    }

    /// Keeps the fault that two values exclude each other.
    pub(super) fn conflict(&mut self, field: &Field<'_>, expected: impl Into<String>) {
        let shown = Some(shown(field.node));
        self.fault(
            ErrorKind::Conflict,
            &*field.key,
            shown,
            field.node.place,
            expected,
        );
    }

    /// Keeps the fault that a list or map has more than it may have; the first of them stands at `place`.
    pub(super) fn excess(
        &mut self,
        field: &Field<'_>,
        n_values: usize,
        place: Place,
        expected: impl Into<String>,
    ) {
        let shown = Some(counted(&field.node.value, n_values));
        self.fault(ErrorKind::OutOfBounds, &*field.key, shown, place, expected);
    }

    /// How many faults there are so far.
    pub(super) fn n_faults(&self) -> usize {
        self.faults.len()
    }

    /// Keeps the fault that a name of a map is absent.
    pub(super) fn missing(&mut self, fields: &Fields<'_>, name: &str, expected: &str) {
        let key = fields.key_of(name);
        self.fault(ErrorKind::Missing, key, None, fields.place, expected);
    }

    /// The entries of a map whose names are all known.
    pub(super) fn fields(&mut self, field: &Field<'a>, known: &[&str]) -> Option<Fields<'a>> {
        let entries = self.entries(field, &format!("give a map with {}", known.join(", ")))?;
        for entry in entries {
            if known.contains(&entry.name.as_str()) {
                continue;
            }
            let expected = match closest(&entry.name, known.iter().copied()) {
                Some(name) => format!("use {name}"),
                None => format!("use {}", known.join(", ")),
            };
            let key = if field.key.is_empty() {
                shown_name(&entry.name)
            } else {
                format!("{}.{}", field.key, shown_name(&entry.name))
            };
            self.fault(ErrorKind::UnknownKey, key, None, entry.name_place, expected);
        }
        Some(Fields {
            key: field.key.clone(),
            place: field.node.place,
            entries,
        })
    }

    /// The entries of a map with free names.
    pub(super) fn entries(&mut self, field: &Field<'a>, expected: &str) -> Option<&'a [Entry]> {
        match &field.node.value {
            Value::Map(entries) => Some(entries),
            _ => {
                self.invalid(field, expected);
                None
            }
        }
    }

    /// The items of a list of bounded length.
    pub(super) fn items(
        &mut self,
        field: &Field<'a>,
        max: usize,
        expected: &str,
    ) -> Vec<Field<'a>> {
        let Value::List(items) = &field.node.value else {
            self.invalid(field, expected);
            return Vec::new();
        };
        if let Some(excess) = items.get(max) {
            let expected = format!("give at most {max}");
            self.excess(field, items.len(), excess.place, expected);
        }
        items
            .iter()
            .take(max)
            .enumerate()
            .map(|(idx, item)| Field::new(format!("{}[{idx}]", field.key), item))
            .collect()
    }

    /// One value or a list of them.
    pub(super) fn one_or_more(&mut self, field: &Field<'a>, max: usize) -> Vec<Field<'a>> {
        match &field.node.value {
            Value::List(items) if items.is_empty() => {
                self.invalid(field, "give at least one value, or leave the key out");
                Vec::new()
            }
            Value::List(_) => self.items(field, max, ""),
            _ => vec![field.clone()],
        }
    }

    /// A text for people, of bounded length.
    pub(super) fn prose(&mut self, field: Option<Field<'a>>) -> String {
        let Some(field) = field else {
            return String::new();
        };
        match &field.node.value {
            Value::Text(text) if text.chars().count() <= super::MAX_TEXT_CHARS => text.clone(),
            Value::Text(_) => {
                self.out_of_bounds(&field, "give at most 1,000 characters");
                String::new()
            }
            _ => {
                self.invalid(&field, "give a text");
                String::new()
            }
        }
    }

    /// A text without NUL, which no argument, variable or path can hold.
    pub(super) fn text(&mut self, field: &Field<'a>, expected: &str) -> Option<&'a str> {
        match &field.node.value {
            Value::Text(text) if !text.contains('\0') => Some(text),
            Value::Text(_) => {
                let expected = "leave out the NUL, which no argument, variable or path can hold";
                self.invalid(field, expected);
                None
            }
            _ => {
                self.invalid(field, expected);
                None
            }
        }
    }

    /// A text that `is_right` accepts.
    pub(super) fn checked_text(
        &mut self,
        field: &Field<'a>,
        is_right: impl Fn(&str) -> bool,
        expected: &str,
    ) -> Option<&'a str> {
        let text = self.text(field, expected)?;
        if is_right(text) {
            return Some(text);
        }
        self.invalid(field, expected);
        None
    }

    /// A whole number within bounds.
    pub(super) fn integer<T>(&mut self, field: &Field<'a>, bounds: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let expected = format!(
            "give a whole number from {} to {}",
            bounds.start(),
            bounds.end()
        );
        let Value::Integer(integer) = &field.node.value else {
            match &field.node.value {
                Value::OtherNumber(number) if is_whole(number) => {
                    self.out_of_bounds(field, expected);
                }
                _ => self.invalid(field, expected),
            }
            return None;
        };
        match T::try_from(*integer) {
            Ok(integer) if bounds.contains(&integer) => Some(integer),
            _ => {
                self.out_of_bounds(field, expected);
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, field: Option<Field<'a>>, default: bool) -> bool {
        let Some(field) = field else {
            return default;
        };
        match &field.node.value {
            Value::Bool(bool) => *bool,
            _ => {
                self.invalid(&field, "give true or false");
                default
            }
        }
    }

    /// A duration within bounds: a text such as `500ms`, or whole seconds.
    pub(super) fn duration(
        &mut self,
        field: &Field<'a>,
        bounds: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let given = match &field.node.value {
            Value::Text(text) => duration::parse(text),
            Value::Integer(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
            _ => None,
        };
        let (least, most) = (
            duration::shown(*bounds.start()),
            duration::shown(*bounds.end()),
        );
        let expected = format!("give a duration from {least} to {most}, such as 500ms, 30s or 10m");
        match given {
            Some(given) if bounds.contains(&given) => Some(given),
            Some(_) => {
                self.out_of_bounds(field, expected);
                None
            }
            None => {
                self.invalid(field, expected);
                None
            }
        }
    }

    /// A regular expression.
    pub(super) fn pattern(&mut self, field: &Field<'a>) -> Option<Pattern> {
        let expected = "give a regular expression of at most 1,000 characters, such as ^v[0-9]+$";
        let written = self.text(field, expected)?;
        match Pattern::new(written) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let kind = ErrorKind::Malformed {
                    cause: error.cause(),
                };
                let shown = Some(shown(field.node));
                self.fault(kind, &*field.key, shown, field.node.place, expected);
                None
            }
        }
    }

    /// A text in which `${{ }}` may stand.
    pub(super) fn template(
        &mut self,
        field: &Field<'a>,
        names: Names<'_>,
        used: TemplateUse,
    ) -> Option<Template> {
        let written = match (&field.node.value, used) {
            (Value::Text(text), _) if !text.contains('\0') => text.clone(),
            (Value::Bool(bool), _) => bool.to_string(),
            (Value::Integer(integer), _) => integer.to_string(),
            (Value::OtherNumber(number), _) => number.clone(),
            (_, TemplateUse::Environment) => {
                let expected = "give text without NUL, a number or a boolean";
                let (place, shown) = (field.node.place, Some(shown_variable(field.node)));
                self.fault(ErrorKind::Invalid, &*field.key, shown, place, expected);
                return None;
            }
            (_, TemplateUse::Expectation) => {
                self.invalid(field, "give a text");
                return None;
            }
        };
        let sight = match used {
            TemplateUse::Environment => Sight::Expression,
            TemplateUse::Expectation => Sight::beside_secrets(&written, names.parameters),
        };
        let template = match Template::parse(&written) {
            Ok(template) => template,
            Err(error) => {
                self.unreadable(field, error, sight);
                return None;
            }
        };
        if let Err(error) = template.check(names, used) {
            self.unusable(field, error, sight);
            return None;
        }
        Some(template)
    }

    /// A condition.
    pub(super) fn condition(&mut self, field: &Field<'a>, names: Names<'_>) -> Option<Expression> {
        use super::expression::Kind;
        let written = match &field.node.value {
            Value::Text(text) => text.clone(),
            Value::Bool(bool) => bool.to_string(),
            _ => {
                self.invalid(field, "give a condition such as params.dry == false");
                return None;
            }
        };
        let sight = Sight::beside_secrets(&written, names.parameters);
        let expression = match Expression::parse(&written) {
            Ok(expression) => expression,
            Err(error) => {
                self.unreadable(field, error, sight);
                return None;
            }
        };
        match expression.kind(names) {
            Ok(Kind::Boolean) => Some(expression),
            Ok(kind) => {
                let expected = match kind {
                    Kind::Secret => "a secret reaches a step by env and is never compared",
                    Kind::Boolean | Kind::Text | Kind::Integer => {
                        "give a condition, which compares it with something"
                    }
                };
                let error = ExpressionError {
                    idx: 0,
                    found: kind.shown().to_owned(),
                    expected: expected.to_owned(),
                };
                self.unusable(field, error, sight);
                None
            }
            Err(error) => {
                self.unusable(field, error, sight);
                None
            }
        }
    }

    /// Keeps the fault that an expression violates the grammar.
    pub(super) fn unreadable(&mut self, field: &Field<'_>, error: ExpressionError, sight: Sight) {
        let place = self.document.place_inside(field.node, error.idx);
        let shown = Some(shown_at(field.node, error.idx, sight));
        let kind = ErrorKind::Malformed { cause: error.found };
        self.fault(kind, &*field.key, shown, place, error.expected);
    }

    /// Keeps the fault that an expression uses a name or kind that it cannot use.
    fn unusable(&mut self, field: &Field<'_>, error: ExpressionError, sight: Sight) {
        let place = self.document.place_inside(field.node, error.idx);
        let shown = Some(shown_at(field.node, error.idx, sight));
        let kind = ErrorKind::Unusable { cause: error.found };
        self.fault(kind, &*field.key, shown, place, error.expected);
    }
}

/// Whether a number is a whole one, which is too large for the type.
fn is_whole(number: &str) -> bool {
    let digits = number.strip_prefix(['-', '+']).unwrap_or(number);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}
