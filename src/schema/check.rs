//! A value held against a schema.
//!
//! Owns the walk over value and schema at once. It says where and why the value differs, and never shows a part of it.

use regex_lite::Regex;
use serde_json::{Map, Value};

use super::arena::NodeId;
use super::decimal::Decimal;
use super::equality::{equal, first_duplicate};
use super::keyword::{Counted, Keyword, Kind, Side};
use super::{MAX_DEPTH, MAX_STEPS, MAX_VIOLATIONS, Schema, Violation, below};

/// What checking a value gave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// The first violations; empty for a value of the right form.
    pub violations: Vec<Violation>,
    /// How many there are.
    pub n_violations: u64,
}

impl Schema {
    /// Holds a value against the schema.
    pub fn check(&self, value: &Value) -> Checked {
        self.check_within(value, MAX_STEPS)
    }

    pub(super) fn check_within(&self, value: &Value, max_steps: u64) -> Checked {
        let mut check = Check {
            schema: self,
            checked: Checked::default(),
            path: Vec::new(),
            n_quiet: 0,
            depth: 0,
            steps_left: max_steps,
            is_cut: None,
        };
        check.node(NodeId(0), value);
        let mut checked = check.checked;
        if let Some(reason) = check.is_cut {
            checked.n_violations = checked.n_violations.saturating_add(1);
            checked.violations.truncate(MAX_VIOLATIONS - 1);
            checked.violations.push(Violation {
                path: String::new(),
                schema: String::new(),
                reason: reason.to_owned(),
            });
        }
        checked
    }
}

/// A part of a path into the value.
enum Step<'v> {
    Name(&'v str),
    Item(usize),
}

struct Check<'s, 'v> {
    schema: &'s Schema,
    checked: Checked,
    path: Vec<Step<'v>>,
    /// Above 0 where a violation is not one of the whole, as within `anyOf`.
    n_quiet: usize,
    depth: usize,
    steps_left: u64,
    /// Why the value could not be looked at whole.
    is_cut: Option<&'static str>,
}

impl<'s, 'v> Check<'s, 'v> {
    /// Whether the value satisfies the schema.
    fn node(&mut self, id: NodeId, value: &'v Value) -> bool {
        let schema = self.schema;
        let Some(node) = schema.nodes.get(id.0) else {
            return false;
        };
        if self.depth >= MAX_DEPTH {
            self.is_cut = Some("is nested too deeply to be checked");
        }
        self.spend(1);
        if self.is_cut.is_some() {
            return false;
        }
        if node.is_never {
            return self.violated(&node.place, None, || "is not allowed here".to_owned());
        }
        self.depth += 1;
        let mut is_valid = true;
        for (name, keyword) in &node.keywords {
            is_valid &= self.keyword(&node.place, name, keyword, value);
            if !is_valid && self.n_quiet > 0 {
                break;
            }
        }
        self.depth -= 1;
        is_valid
    }

    /// Whether the value satisfies the schema, without a word when it does not.
    fn quietly(&mut self, id: NodeId, value: &'v Value) -> bool {
        self.n_quiet += 1;
        let is_valid = self.node(id, value);
        self.n_quiet -= 1;
        is_valid
    }

    fn below(&mut self, step: Step<'v>, id: NodeId, value: &'v Value) -> bool {
        self.path.push(step);
        let is_valid = self.node(id, value);
        self.path.pop();
        is_valid
    }

    /// A name is no part of the value, so it is looked at on its own.
    fn name_satisfies(&mut self, id: NodeId, name: &str) -> bool {
        let name = Value::from(name);
        let mut check = Check {
            schema: self.schema,
            checked: Checked::default(),
            path: Vec::new(),
            n_quiet: 1,
            depth: self.depth,
            steps_left: self.steps_left,
            is_cut: None,
        };
        let is_valid = check.node(id, &name);
        self.steps_left = check.steps_left;
        self.is_cut = self.is_cut.or(check.is_cut);
        is_valid
    }

    fn spend(&mut self, steps: u64) {
        match self.steps_left.checked_sub(steps) {
            Some(left) => self.steps_left = left,
            None => self.is_cut = Some("takes too many steps to be checked"),
        }
    }

    fn matches(&mut self, pattern: &Regex, text: &str) -> bool {
        self.spend(1 + text.len() as u64 / 16);
        self.is_cut.is_none() && pattern.is_match(text)
    }

    /// Notes a violation; always false.
    fn violated(
        &mut self,
        place: &str,
        keyword: Option<&str>,
        reason: impl FnOnce() -> String,
    ) -> bool {
        if self.n_quiet > 0 || self.is_cut.is_some() {
            return false;
        }
        self.checked.n_violations = self.checked.n_violations.saturating_add(1);
        if self.checked.violations.len() < MAX_VIOLATIONS {
            let path = self.path.iter().fold(String::new(), |at, step| match step {
                Step::Name(name) => below(&at, name),
                Step::Item(idx) => below(&at, &idx.to_string()),
            });
            let schema = keyword.map_or_else(|| place.to_owned(), |keyword| below(place, keyword));
            self.checked.violations.push(Violation {
                path,
                schema,
                reason: reason(),
            });
        }
        false
    }

    fn keyword(&mut self, place: &str, name: &str, keyword: &'s Keyword, value: &'v Value) -> bool {
        let reason = match (keyword, value) {
            (Keyword::Types(kinds), value) => {
                let kind = Kind::of(value);
                let wrong = !kinds.iter().any(|wanted| wanted.takes(kind));
                wrong.then(|| {
                    let wanted: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
                    format!(
                        "is of the type {}, not {}",
                        kind.name(),
                        wanted.join(" or ")
                    )
                })
            }
            (Keyword::Enum(values), value) => {
                self.spend(values.len() as u64 / 8);
                let wrong = !values.iter().any(|wanted| equal(wanted, value));
                wrong.then(|| format!("is none of the {} values of enum", values.len()))
            }
            (Keyword::Const(wanted), value) => {
                (!equal(wanted, value)).then(|| "is not the value of const".to_owned())
            }
            (Keyword::MultipleOf(unit), Value::Number(number)) => {
                let wrong = !Decimal::of(number).is_some_and(|number| number.is_multiple_of(*unit));
                wrong.then(|| "is not what multipleOf asks for".to_owned())
            }
            (Keyword::Bound(side, bound), Value::Number(number)) => {
                let is_within = Decimal::of(number).is_some_and(|number| match side {
                    Side::AtMost => number <= *bound,
                    Side::Below => number < *bound,
                    Side::AtLeast => number >= *bound,
                    Side::Above => number > *bound,
                });
                (!is_within).then(|| match side {
                    Side::AtMost => "is above maximum".to_owned(),
                    Side::Below => "is not below exclusiveMaximum".to_owned(),
                    Side::AtLeast => "is below minimum".to_owned(),
                    Side::Above => "is not above exclusiveMinimum".to_owned(),
                })
            }
            (Keyword::AtLeast(what, least), value) => {
                let (n, unit) = counted(*what, value);
                n.filter(|n| n < least)
                    .map(|n| format!("has {n} {unit}, fewer than {least}"))
            }
            (Keyword::AtMost(what, most), value) => {
                let (n, unit) = counted(*what, value);
                n.filter(|n| n > most)
                    .map(|n| format!("has {n} {unit}, more than {most}"))
            }
            (Keyword::Pattern(pattern), Value::String(text)) => {
                let wrong = !self.matches(pattern, text);
                wrong.then(|| "does not match pattern".to_owned())
            }
            (Keyword::UniqueItems, Value::Array(items)) => {
                self.spend(items.len() as u64);
                first_duplicate(items)
                    .map(|(first, second)| format!("has equal items at {first} and {second}"))
            }
            (Keyword::Required(names), Value::Object(entries)) => missing(names, entries),
            (Keyword::DependentRequired(dependents), Value::Object(entries)) => dependents
                .iter()
                .filter(|(name, _)| entries.contains_key(name))
                .find_map(|(_, names)| missing(names, entries)),
            _ => return self.applicator(place, name, keyword, value),
        };
        match reason {
            Some(reason) => self.violated(place, Some(name), || reason),
            None => true,
        }
    }

    /// The keywords that apply other schemas, to the value or to its parts.
    fn applicator(
        &mut self,
        place: &str,
        name: &str,
        keyword: &'s Keyword,
        value: &'v Value,
    ) -> bool {
        match (keyword, value) {
            (Keyword::Reference(id), value) => self.node(*id, value),
            (Keyword::AllOf(ids), value) => {
                let mut is_valid = true;
                for id in ids {
                    is_valid &= self.node(*id, value);
                }
                is_valid
            }
            (Keyword::AnyOf(ids), value) => {
                ids.iter().any(|id| self.quietly(*id, value))
                    || self.violated(place, Some(name), || {
                        format!("satisfies none of the {} schemas of anyOf", ids.len())
                    })
            }
            (Keyword::OneOf(ids), value) => {
                let n_valid = ids.iter().filter(|id| self.quietly(**id, value)).count();
                n_valid == 1
                    || self.violated(place, Some(name), || {
                        format!(
                            "satisfies {n_valid} of the {} schemas of oneOf, not one",
                            ids.len()
                        )
                    })
            }
            (Keyword::Not(id), value) => {
                !self.quietly(*id, value)
                    || self.violated(place, Some(name), || {
                        "satisfies the schema of not".to_owned()
                    })
            }
            (
                Keyword::If {
                    condition,
                    then,
                    otherwise,
                },
                value,
            ) => {
                let branch = match self.quietly(*condition, value) {
                    true => then,
                    false => otherwise,
                };
                branch.is_none_or(|id| self.node(id, value))
            }
            (Keyword::DependentSchemas(dependents), Value::Object(entries)) => {
                let mut is_valid = true;
                for (_, id) in dependents
                    .iter()
                    .filter(|(name, _)| entries.contains_key(name))
                {
                    is_valid &= self.node(*id, value);
                }
                is_valid
            }
            (Keyword::Items { first, rest }, Value::Array(items)) => {
                let mut is_valid = true;
                for (idx, item) in items.iter().enumerate() {
                    if let Some(id) = first.get(idx).copied().or(*rest) {
                        is_valid &= self.below(Step::Item(idx), id, item);
                    }
                }
                is_valid
            }
            (
                Keyword::Contains {
                    node,
                    at_least,
                    at_most,
                },
                Value::Array(items),
            ) => {
                let n = items
                    .iter()
                    .filter(|item| self.quietly(*node, item))
                    .count() as u64;
                n >= *at_least && at_most.is_none_or(|most| n <= most)
                    || self.violated(place, Some(name), || {
                        format!("has {n} items that satisfy contains, not as many as it asks for")
                    })
            }
            (
                Keyword::Properties {
                    named,
                    patterns,
                    rest,
                },
                Value::Object(entries),
            ) => {
                let mut is_valid = true;
                for (name, entry) in entries {
                    let mut ids: Vec<NodeId> = named.get(name).copied().into_iter().collect();
                    for (pattern, id) in patterns {
                        if self.matches(pattern, name) {
                            ids.push(*id);
                        }
                    }
                    if ids.is_empty() {
                        ids.extend(*rest);
                    }
                    for id in ids {
                        is_valid &= self.below(Step::Name(name), id, entry);
                    }
                }
                is_valid
            }
            (Keyword::PropertyNames(id), Value::Object(entries)) => {
                entries.keys().all(|name| self.name_satisfies(*id, name))
                    || self.violated(place, Some(name), || {
                        "has a name that propertyNames refuses".to_owned()
                    })
            }
            // Keywords of one type say nothing of values of another.
            _ => true,
        }
    }
}

fn missing(names: &[String], entries: &Map<String, Value>) -> Option<String> {
    let missing: Vec<&str> = names
        .iter()
        .filter(|name| !entries.contains_key(*name))
        .map(String::as_str)
        .collect();
    (!missing.is_empty()).then(|| format!("lacks {}", missing.join(", ")))
}

/// How many there are, and what they are called; none for a value of another type.
fn counted(what: Counted, value: &Value) -> (Option<u64>, &'static str) {
    let (n, unit) = match (what, value) {
        (Counted::Characters, Value::String(text)) => (Some(text.chars().count()), "characters"),
        (Counted::Items, Value::Array(items)) => (Some(items.len()), "items"),
        (Counted::Properties, Value::Object(entries)) => (Some(entries.len()), "properties"),
        (Counted::Characters | Counted::Items | Counted::Properties, _) => (None, ""),
    };
    (n.map(|n| n as u64), unit)
}
