//! Parameters as they are declared.

use super::super::MAX_CHOICES;
use super::super::arguments::check_text;
use super::super::model::{Argument, Parameter, ParameterKind};
use super::super::reader::{Field, Fields, Reader};
use crate::description::ErrorKind;
use crate::description::secret::MASK;
use crate::document::Value;

/// The keys of a parameter.
pub(in super::super) const PARAMETER_KEYS: [&str; 8] = [
    "type",
    "description",
    "required",
    "default",
    "pattern",
    "min",
    "max",
    "choices",
];

/// The types of a parameter.
pub(in super::super) const TYPES: [&str; 5] = ["string", "integer", "boolean", "choice", "secret"];

impl<'a> Reader<'a> {
    pub(super) fn parameters(&mut self, field: &Field<'a>) -> Vec<Parameter> {
        let mut parameters = Vec::new();
        for (name, field) in self.parameter_fields(field) {
            let Some(fields) = self.fields(&field, &PARAMETER_KEYS) else {
                continue;
            };
            // A parameter that is wrong still counts as declared: what refers to it is not wrong.
            let kind = self.parameter_kind(&fields);
            let is_required = self.boolean(fields.get("required"), false);
            let default = match &kind {
                Some(kind) => self.default(&fields, kind, is_required),
                None => None,
            };
            parameters.push(Parameter {
                name,
                description: self.prose(fields.get("description")),
                kind: kind.unwrap_or(ParameterKind::Text { pattern: None }),
                is_required,
                default,
            });
        }
        parameters
    }

    fn parameter_kind(&mut self, fields: &Fields<'a>) -> Option<ParameterKind> {
        let expected = "use string, integer, boolean, choice or secret";
        let name = match fields.get("type") {
            Some(field) => self.checked_text(&field, |name| TYPES.contains(&name), expected)?,
            None => "string",
        };
        let own: &[&str] = match name {
            "integer" => &["min", "max"],
            "choice" => &["choices"],
            "string" | "secret" => &["pattern"],
            _ => &[],
        };
        for key in ["pattern", "min", "max", "choices"] {
            if let Some(field) = fields.get(key)
                && !own.contains(&key)
            {
                let expected = format!("a parameter of the type {name} has no {key}");
                self.conflict(&field, expected);
            }
        }
        let pattern = match fields.get("pattern") {
            Some(field) if own.contains(&"pattern") => Some(self.pattern(&field)?),
            _ => None,
        };
        match name {
            "integer" => {
                let all = || i64::MIN..=i64::MAX;
                let min = match fields.get("min") {
                    Some(field) => self.integer(&field, all())?,
                    None => i64::MIN,
                };
                let max = match fields.get("max") {
                    Some(field) => self.integer(&field, all())?,
                    None => i64::MAX,
                };
                if let Some(field) = fields.get("max")
                    && min > max
                {
                    self.conflict(&field, "give a max that is not less than min");
                    return None;
                }
                Some(ParameterKind::Integer { min, max })
            }
            "boolean" => Some(ParameterKind::Boolean),
            "choice" => Some(ParameterKind::Choice {
                choices: self.choices(fields)?,
            }),
            "secret" => Some(ParameterKind::Secret { pattern }),
            _ => Some(ParameterKind::Text { pattern }),
        }
    }

    fn choices(&mut self, fields: &Fields<'a>) -> Option<Vec<String>> {
        let expected = "give a list of texts";
        let Some(field) = fields.get("choices") else {
            self.missing(fields, "choices", expected);
            return None;
        };
        let items = self.items(&field, MAX_CHOICES, expected);
        let mut choices: Vec<String> = Vec::new();
        for item in &items {
            let expected = "give a text; put numbers and true and false in quotes";
            let choice = self.checked_text(item, |text| !text.is_empty(), expected)?;
            if choices.iter().any(|known| known == choice) {
                self.conflict(item, "give each choice once");
            }
            choices.push(choice.to_owned());
        }
        if choices.is_empty() {
            self.invalid(&field, "give at least one choice");
            return None;
        }
        Some(choices)
    }

    fn default(
        &mut self,
        fields: &Fields<'a>,
        kind: &ParameterKind,
        is_required: bool,
    ) -> Option<Argument> {
        let Some(field) = fields.get("default") else {
            if !is_required && !accepts_nothing(kind) {
                let expected = "give a default that is right, or required: true";
                self.missing(fields, "default", expected);
            }
            return None;
        };
        if let ParameterKind::Secret { .. } = kind {
            let expected = "leave it out: a secret stands in no playbook";
            let (place, shown) = (field.node.place, Some(MASK.to_owned()));
            self.fault(ErrorKind::Conflict, &*field.key, shown, place, expected);
            return None;
        }
        if is_required {
            let expected = "give default or required: true, not both";
            self.conflict(&field, expected);
            return None;
        }
        match argument(kind, &field.node.value) {
            Ok(argument) => Some(argument),
            Err((ErrorKind::OutOfBounds, expected)) => {
                self.out_of_bounds(&field, expected);
                None
            }
            Err((_, expected)) => {
                self.invalid(&field, expected);
                None
            }
        }
    }
}

/// Whether a run may leave the parameter out without a default: then it is empty text, 0 or false.
fn accepts_nothing(kind: &ParameterKind) -> bool {
    match kind {
        ParameterKind::Text { pattern } | ParameterKind::Secret { pattern } => {
            pattern.as_ref().is_none_or(|pattern| pattern.is_whole(""))
        }
        ParameterKind::Integer { min, max } => (*min..=*max).contains(&0),
        ParameterKind::Boolean => true,
        ParameterKind::Choice { .. } => false,
    }
}

/// A default of the file, which has the type of its parameter.
fn argument(kind: &ParameterKind, value: &Value) -> Result<Argument, (ErrorKind, String)> {
    match (kind, value) {
        (ParameterKind::Integer { .. }, Value::Integer(integer)) => {
            check_text(kind, &integer.to_string())
        }
        (ParameterKind::Boolean, Value::Bool(bool)) => Ok(Argument::Boolean(*bool)),
        (
            ParameterKind::Text { .. }
            | ParameterKind::Choice { .. }
            | ParameterKind::Secret { .. },
            Value::Text(text),
        ) => check_text(kind, text),
        _ => {
            let expected = match kind {
                ParameterKind::Integer { .. } => "give a whole number",
                ParameterKind::Boolean => "give true or false",
                ParameterKind::Text { .. }
                | ParameterKind::Choice { .. }
                | ParameterKind::Secret { .. } => {
                    "give a text; put numbers and true and false in quotes"
                }
            };
            Err((ErrorKind::Invalid, expected.to_owned()))
        }
    }
}
