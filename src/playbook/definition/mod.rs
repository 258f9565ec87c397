//! The form of the file: which keys there are, what each may be and what it is when it is absent.

mod expect;
mod literal;
mod parameter;
mod retries;
mod step;

use super::expression::{Names, Template, TemplateUse};
use super::model::Playbook;
use super::reader::{Field, Fields, Reader};
use super::{
    MAX_NAME_CHARS, MAX_PARAMETERS, MAX_STEPS, MAX_TAGS, MAX_VARIABLES, PlaybookErrors, VERSION,
};
use crate::description::keys::ENVIRONMENT_PREFIX;
use crate::description::{ErrorKind, is_variable_name, shown_name};
use crate::document::{Document, Place, Value};

use step::{Defaults, Outline};

/// The closed lists of the form, which the schema has, too.
pub(super) mod keys {
    pub(in super::super) use super::parameter::TYPES;
    pub(in super::super) use super::retries::{MAX_BACKOFF, MAX_RETRIES};
    #[cfg(test)]
    pub(in super::super) use super::{
        PLAYBOOK_KEYS,
        expect::{EXPECT_KEYS, FILE_KEYS, HTTP_KEYS, TEXT_KEYS, VERIFY_KEYS},
        parameter::PARAMETER_KEYS,
        retries::RETRY_KEYS,
        step::{DEFAULTS_KEYS, STEP_KEYS},
    };
}

/// The keys of a playbook.
pub(super) const PLAYBOOK_KEYS: [&str; 9] = [
    "version",
    "name",
    "description",
    "tags",
    "parameters",
    "defaults",
    "env",
    "steps",
    "finally",
];

/// Reads a document as a playbook.
pub(super) fn read(document: &Document, path: &str) -> Result<Playbook, PlaybookErrors> {
    let mut reader = Reader::new(document, path);
    let root = Field::new("playbook", &document.root);
    if let Value::Map(_) = &root.node.value {
        let playbook = reader.playbook(&Field::new("", &document.root));
        reader.finish(playbook)
    } else {
        reader.invalid(&root, "give a map with version, name and steps");
        reader.finish(None)
    }
}

impl<'a> Reader<'a> {
    fn playbook(&mut self, root: &Field<'a>) -> Option<Playbook> {
        let fields = self.fields(root, &PLAYBOOK_KEYS)?;
        self.version(&fields)?;
        let name = self.name(&fields);
        let description = self.plain_prose(fields.get("description"));
        let tags = self.tags(fields.get("tags"));
        let parameters = match fields.get("parameters") {
            Some(field) => self.parameters(&field),
            None => Vec::new(),
        };
        let defaults = match fields.get("defaults") {
            Some(field) => self.defaults(&field),
            None => Defaults::default(),
        };
        let steps = match fields.get("steps") {
            Some(field) => self.step_fields(&field),
            None => {
                self.missing(&fields, "steps", "give a list of steps");
                Vec::new()
            }
        };
        let finally = match fields.get("finally") {
            Some(field) => self.step_fields(&field),
            None => Vec::new(),
        };
        if let Some(excess) = (steps.iter().chain(&finally)).nth(MAX_STEPS) {
            let expected = "give at most 1,000 steps, those of finally included";
            let shown = Some(format!("{} steps", steps.len() + finally.len()));
            let (key, place) = (excess.key.clone(), excess.node.place);
            self.fault(ErrorKind::OutOfBounds, key, shown, place, expected);
            return None;
        }
        let outline = self.outline(&steps, &finally);
        let env = match fields.get("env") {
            Some(field) => self.variables(
                &field,
                Names {
                    parameters: &parameters,
                    steps: &[],
                    all_steps: &outline.ids,
                },
            ),
            None => Vec::new(),
        };
        let context = step::Context {
            parameters: &parameters,
            defaults: &defaults,
            env: &env,
            outline: &outline,
            n_steps: steps.len(),
        };
        let steps = self.steps(&steps, 0, &context);
        let finally = self.steps(&finally, context.n_steps, &context);
        Some(Playbook {
            name: name?,
            description,
            tags,
            parameters,
            steps: steps?,
            finally: finally?,
        })
    }

    /// The version decides what all else means: with another one, nothing else is read.
    fn version(&mut self, fields: &Fields<'a>) -> Option<()> {
        let Some(field) = fields.get("version") else {
            self.missing(fields, "version", "write version: 1 into the first line");
            return Some(());
        };
        match &field.node.value {
            Value::Integer(VERSION) => Some(()),
            Value::Integer(other) => {
                let shown = Some(other.to_string());
                let expected = "this build reads version 1";
                let place = field.node.place;
                self.fault(ErrorKind::Unsupported, &*field.key, shown, place, expected);
                None
            }
            _ => {
                self.invalid(&field, "write version: 1");
                Some(())
            }
        }
    }

    fn name(&mut self, fields: &Fields<'a>) -> Option<String> {
        let expected = "give 1 to 63 of a-z, 0-9 and -, with no - at either end";
        match fields.get("name") {
            Some(field) => Some(self.checked_text(&field, is_label, expected)?.to_owned()),
            None => {
                self.missing(fields, "name", expected);
                None
            }
        }
    }

    fn tags(&mut self, field: Option<Field<'a>>) -> Vec<String> {
        let expected = "give words of letters, digits and inner hyphens, of 63 characters in all";
        let Some(field) = field else {
            return Vec::new();
        };
        let mut tags: Vec<String> = Vec::new();
        for item in self.items(&field, MAX_TAGS, "give a list of words") {
            let Some(tag) = self.checked_text(&item, is_tag, expected) else {
                continue;
            };
            let tag = tag.to_lowercase();
            if tags.contains(&tag) {
                self.conflict(&item, "give each tag once");
            }
            tags.push(tag);
        }
        tags
    }

    fn step_fields(&mut self, field: &Field<'a>) -> Vec<Field<'a>> {
        // One more than the limit, so that the limit on both lists together finds the excess.
        let steps = match &field.node.value {
            Value::List(items) if items.is_empty() && field.key == "steps" => Vec::new(),
            _ => return self.items(field, MAX_STEPS, "give a list of steps"),
        };
        self.invalid(field, "give at least one step");
        steps
    }

    /// The ids and output names of all steps, so that a step can refer to those before it.
    fn outline(&mut self, steps: &[Field<'a>], finally: &[Field<'a>]) -> Outline {
        let mut outline = Outline::default();
        let mut places: Vec<(String, Place)> = Vec::new();
        for field in steps.iter().chain(finally) {
            let (id, outputs) = step::outline_of(field.node);
            if let Some((id, place)) = &id {
                match places.iter().find(|(known, _)| known == id) {
                    Some((_, first)) => {
                        let expected = format!("give each step an id of its own; {first} has it");
                        let key = format!("{}.id", field.key);
                        let shown = Some(format!("{id:?}"));
                        self.fault(ErrorKind::Conflict, key, shown, *place, expected);
                    }
                    None => places.push((id.clone(), *place)),
                }
            }
            let id = id.map(|(id, _)| id).unwrap_or_default();
            outline.ids.push(id.clone());
            outline.steps.push((id, outputs));
        }
        outline
    }

    /// The variables of an `env`.
    pub(super) fn variables(
        &mut self,
        field: &Field<'a>,
        names: Names<'_>,
    ) -> Vec<(String, Template)> {
        let mut variables = Vec::new();
        let Some(entries) = self.entries(field, "give a map of names and values") else {
            return variables;
        };
        if let Some(excess) = entries.get(MAX_VARIABLES) {
            let (n_values, expected) = (entries.len(), "give at most 256 variables");
            self.excess(field, n_values, excess.name_place, expected);
        }
        for entry in entries.iter().take(MAX_VARIABLES) {
            let name = &entry.name;
            let key = format!("{}.{}", field.key, shown_name(name));
            if !is_variable_name(name) || name.starts_with(ENVIRONMENT_PREFIX) {
                let expected = "name it with letters, digits and _, not with a digit first, \
                    and not STOCKADE_…, which is ours";
                self.fault(ErrorKind::Invalid, key, None, entry.name_place, expected);
                continue;
            }
            let field = Field::new(key, &entry.node);
            if let Some(value) = self.template(&field, names, TemplateUse::Environment) {
                variables.push((name.clone(), value));
            }
        }
        variables
    }

    /// The entries of `parameters`, at most as many as there may be.
    fn parameter_fields(&mut self, field: &Field<'a>) -> Vec<(String, Field<'a>)> {
        let expected = "give a map of names and parameters";
        let Some(entries) = self.entries(field, expected) else {
            return Vec::new();
        };
        if let Some(excess) = entries.get(MAX_PARAMETERS) {
            let (n_values, expected) = (entries.len(), "give at most 64 parameters");
            self.excess(field, n_values, excess.name_place, expected);
        }
        let mut fields = Vec::new();
        for entry in entries.iter().take(MAX_PARAMETERS) {
            let key = format!("parameters.{}", shown_name(&entry.name));
            if is_name(&entry.name) {
                fields.push((entry.name.clone(), Field::new(key, &entry.node)));
            } else {
                let place = entry.name_place;
                self.fault(ErrorKind::Invalid, key, None, place, NAME_REMEDY);
            }
        }
        fields
    }
}

/// What is right for the name of a parameter or an output.
pub(super) const NAME_REMEDY: &str =
    "name it with 1 to 63 letters, digits, _ and -, a letter first";

/// Whether `name` can name a parameter or an output.
pub(super) fn is_name(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    name.len() <= MAX_NAME_CHARS
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(is_inner)
}

/// Whether `name` is a DNS label (RFC 1123, section 2.1).
fn is_label(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_NAME_CHARS).contains(&name.len())
        && name.bytes().all(is_inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Whether `tag` consists of words with single spaces between them; hyphens may join parts of a word.
fn is_tag(tag: &str) -> bool {
    tag.chars().count() <= MAX_NAME_CHARS
        && tag
            .split(' ')
            .flat_map(|word| word.split('-'))
            .all(|part| !part.is_empty() && part.chars().all(char::is_alphanumeric))
}
