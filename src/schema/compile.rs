//! From the JSON of a schema to schemas that can be applied.
//!
//! Owns which keywords there are in which draft. A queue stands in the place of recursion: a chain of references costs no
//! stack. Everything is compiled, also definitions that nothing refers to, so that every fault is found at the start.

use std::collections::{HashMap, VecDeque};

use serde_json::{Map, Value};

use super::arena::{Node, NodeId, refuse_endless};
use super::keyword::{Counted, Keyword, Side};
use super::value_of::{self, In};
use super::{MAX_SCHEMA_BYTES, Schema, SchemaError, below};
use crate::description::closest;

/// The drafts that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Draft {
    Draft07,
    Draft202012,
}

/// Keywords that assert nothing. `format` is one of them by default of the specification.
const ANNOTATIONS: [&str; 14] = [
    "title",
    "description",
    "default",
    "examples",
    "example",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$comment",
    "format",
    "contentMediaType",
    "contentEncoding",
    "contentSchema",
    "$vocabulary",
];

/// Keywords that assert something, for who has mistyped one.
const ASSERTIONS: [&str; 37] = [
    "type",
    "enum",
    "const",
    "multipleOf",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "pattern",
    "uniqueItems",
    "prefixItems",
    "items",
    "contains",
    "minContains",
    "maxContains",
    "required",
    "dependentRequired",
    "dependentSchemas",
    "properties",
    "patternProperties",
    "additionalProperties",
    "propertyNames",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "$ref",
    "$defs",
];

/// Keywords that assert something, and that are not honoured.
const NOT_HONOURED: [&str; 7] = [
    "unevaluatedProperties",
    "unevaluatedItems",
    "$anchor",
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
];

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// The first keyword that is unknown, not honoured or wrong; a reference that leads nowhere, elsewhere or in a circle.
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        if schema.to_string().len() > MAX_SCHEMA_BYTES {
            return Err(In::root().wrong("is larger than 256 KiB"));
        }
        let mut compiler = Compiler {
            root: schema,
            draft: draft(schema)?,
            ids: HashMap::new(),
            queue: VecDeque::new(),
        };
        compiler.id_of(In::root(), schema);
        let mut nodes = Vec::new();
        while let Some((place, schema)) = compiler.queue.pop_front() {
            nodes.push(compiler.node(place, schema)?);
        }
        refuse_endless(&nodes)?;
        Ok(Self { nodes })
    }
}

fn draft(schema: &Value) -> Result<Draft, SchemaError> {
    let Some(named) = schema.get("$schema") else {
        return Ok(Draft::Draft202012);
    };
    let name = named.as_str().unwrap_or_default().trim_end_matches('#');
    let name = name.split_once("://").map_or(name, |(_, rest)| rest);
    match name {
        "json-schema.org/draft/2020-12/schema" => Ok(Draft::Draft202012),
        "json-schema.org/draft-07/schema" => Ok(Draft::Draft07),
        _ => Err(In::root().at("$schema").wrong(
            "names a draft that is not known; give https://json-schema.org/draft/2020-12/schema or http://json-schema.org/draft-07/schema, or leave it out",
        )),
    }
}

struct Compiler<'a> {
    root: &'a Value,
    draft: Draft,
    /// By JSON pointer.
    ids: HashMap<String, NodeId>,
    /// Schemas that have a number and are not compiled yet, in the order of their numbers.
    queue: VecDeque<(In, &'a Value)>,
}

impl<'a> Compiler<'a> {
    /// The number of the schema at a place.
    fn id_of(&mut self, place: In, schema: &'a Value) -> NodeId {
        if let Some(id) = self.ids.get(place.pointer()) {
            return *id;
        }
        let id = NodeId(self.ids.len());
        self.ids.insert(place.pointer().to_owned(), id);
        self.queue.push_back((place, schema));
        id
    }

    fn node(&mut self, place: In, schema: &'a Value) -> Result<Node, SchemaError> {
        let mut node = Node {
            place: place.pointer().to_owned(),
            keywords: Vec::new(),
            is_never: *schema == Value::Bool(false),
        };
        let entries = match schema {
            Value::Bool(_) => return Ok(node),
            Value::Object(entries) => entries,
            _ => return Err(place.wrong("is no schema; give an object, true or false")),
        };
        // In draft 07 nothing beside a reference counts.
        if self.draft == Draft::Draft07
            && let Some(reference) = entries.get("$ref")
        {
            let keyword = self.reference(&place.at("$ref"), reference)?;
            node.keywords.push(("$ref", keyword));
            return Ok(node);
        }
        for (name, value) in entries {
            if let Some(keyword) = self.keyword(&place, entries, name, value)? {
                node.keywords.push(keyword);
            }
        }
        Ok(node)
    }

    fn keyword(
        &mut self,
        parent: &In,
        entries: &'a Map<String, Value>,
        name: &str,
        value: &'a Value,
    ) -> Result<Option<(&'static str, Keyword)>, SchemaError> {
        let place = parent.at(name);
        let counted = |name, side: fn(Counted, u64) -> Keyword, what| {
            Ok(Some((name, side(what, value_of::count(&place, value)?))))
        };
        let bound = |name, side| {
            Ok(Some((
                name,
                Keyword::Bound(side, value_of::number(&place, value)?),
            )))
        };
        let found = match name {
            "type" => ("type", Keyword::Types(value_of::types(&place, value)?)),
            "enum" => (
                "enum",
                Keyword::Enum(value_of::list(&place, value)?.clone()),
            ),
            "const" => ("const", Keyword::Const(value.clone())),
            "multipleOf" => {
                let unit = value_of::number(&place, value)?;
                if !unit.is_positive() {
                    return Err(place.wrong("is not above 0"));
                }
                ("multipleOf", Keyword::MultipleOf(unit))
            }
            "maximum" => return bound("maximum", Side::AtMost),
            "exclusiveMaximum" => return bound("exclusiveMaximum", Side::Below),
            "minimum" => return bound("minimum", Side::AtLeast),
            "exclusiveMinimum" => return bound("exclusiveMinimum", Side::Above),
            "minLength" => return counted("minLength", Keyword::AtLeast, Counted::Characters),
            "maxLength" => return counted("maxLength", Keyword::AtMost, Counted::Characters),
            "minItems" => return counted("minItems", Keyword::AtLeast, Counted::Items),
            "maxItems" => return counted("maxItems", Keyword::AtMost, Counted::Items),
            "minProperties" => {
                return counted("minProperties", Keyword::AtLeast, Counted::Properties);
            }
            "maxProperties" => {
                return counted("maxProperties", Keyword::AtMost, Counted::Properties);
            }
            "pattern" => {
                let text = value_of::text(&place, value)?;
                (
                    "pattern",
                    Keyword::Pattern(value_of::pattern(&place, text)?),
                )
            }
            "uniqueItems" => match value_of::boolean(&place, value)? {
                true => ("uniqueItems", Keyword::UniqueItems),
                false => return Ok(None),
            },
            "prefixItems" | "items" | "additionalItems" => {
                return self.items(parent, entries, name, value);
            }
            "contains" => ("contains", self.contains(parent, entries, value)?),
            "required" => (
                "required",
                Keyword::Required(value_of::names(&place, value)?),
            ),
            "dependentRequired" => {
                let dependents = value_of::object(&place, value)?
                    .iter()
                    .map(|(name, value)| {
                        Ok((name.clone(), value_of::names(&place.at(name), value)?))
                    });
                let dependents = dependents.collect::<Result<_, _>>()?;
                ("dependentRequired", Keyword::DependentRequired(dependents))
            }
            "dependentSchemas" => {
                let dependents = self.named(&place, value)?;
                ("dependentSchemas", Keyword::DependentSchemas(dependents))
            }
            "properties" | "patternProperties" | "additionalProperties" => {
                return self.properties(parent, entries, name);
            }
            "propertyNames" => (
                "propertyNames",
                Keyword::PropertyNames(self.id_of(place, value)),
            ),
            "allOf" => ("allOf", Keyword::AllOf(self.alternatives(&place, value)?)),
            "anyOf" => ("anyOf", Keyword::AnyOf(self.alternatives(&place, value)?)),
            "oneOf" => ("oneOf", Keyword::OneOf(self.alternatives(&place, value)?)),
            "not" => ("not", Keyword::Not(self.id_of(place, value))),
            "if" => {
                let branch = |name: &str| Some((parent.at(name), entries.get(name)?));
                let condition = self.id_of(place, value);
                let then = branch("then").map(|(place, schema)| self.id_of(place, schema));
                let otherwise = branch("else").map(|(place, schema)| self.id_of(place, schema));
                let keyword = Keyword::If {
                    condition,
                    then,
                    otherwise,
                };
                ("if", keyword)
            }
            "$ref" => ("$ref", self.reference(&place, value)?),
            // Read by `if` and `contains`, without which they say nothing; they are schemas and numbers all the same.
            "then" | "else" => {
                self.id_of(place, value);
                return Ok(None);
            }
            "minContains" | "maxContains" => {
                value_of::count(&place, value)?;
                return Ok(None);
            }
            "$defs" | "definitions" => {
                self.named(&place, value)?;
                return Ok(None);
            }
            "$schema" | "$id" if parent.pointer().is_empty() => return Ok(None),
            name if ANNOTATIONS.contains(&name) || name.starts_with("x-") => return Ok(None),
            "dependencies" => {
                return Err(
                    place.wrong("is not honoured; give dependentRequired or dependentSchemas")
                );
            }
            "$schema" | "$id" => {
                return Err(place.wrong("is honoured in the root alone; leave it out"));
            }
            name if NOT_HONOURED.contains(&name) => {
                return Err(place.wrong("is not honoured by this build; leave it out"));
            }
            name => {
                let remedy = match closest(name, ASSERTIONS.into_iter().chain(ANNOTATIONS)) {
                    Some(known) => format!("use {known}"),
                    None => "correct its name".to_owned(),
                };
                return Err(place.wrong(format!(
                    "is no keyword of JSON Schema; {remedy}, or begin it with x- if it asserts nothing",
                )));
            }
        };
        Ok(Some(found))
    }

    /// Items in both drafts, compiled once for all keywords of them: by the one that stands first in this list.
    fn items(
        &mut self,
        parent: &In,
        entries: &'a Map<String, Value>,
        name: &str,
        value: &'a Value,
    ) -> Result<Option<(&'static str, Keyword)>, SchemaError> {
        let place = parent.at(name);
        let is_list = value.is_array();
        let (first, rest, rest_name) = match (self.draft, name) {
            (Draft::Draft202012, "prefixItems") => (Some(value), entries.get("items"), "items"),
            (Draft::Draft07, "items") if is_list => (
                Some(value),
                entries.get("additionalItems"),
                "additionalItems",
            ),
            (Draft::Draft202012, "items") if is_list => {
                return Err(place.wrong("is a list; draft 2020-12 has prefixItems for it"));
            }
            (_, "items") if entries.contains_key("prefixItems") => return Ok(None),
            (_, "items") => (None, Some(value), "items"),
            (Draft::Draft07, "additionalItems") => {
                self.id_of(place, value);
                return Ok(None);
            }
            (Draft::Draft07, _) => {
                return Err(place.wrong("is no keyword of draft 07; it has a list in items for it"));
            }
            (Draft::Draft202012, _) => {
                return Err(
                    place.wrong("is no keyword of draft 2020-12; it has prefixItems and items")
                );
            }
        };
        let first = match first {
            Some(first) => self.alternatives(&place, first)?,
            None => Vec::new(),
        };
        let rest = rest.map(|rest| self.id_of(parent.at(rest_name), rest));
        let name = if first.is_empty() {
            "items"
        } else {
            "prefixItems"
        };
        Ok(Some((name, Keyword::Items { first, rest })))
    }

    fn contains(
        &mut self,
        parent: &In,
        entries: &'a Map<String, Value>,
        value: &'a Value,
    ) -> Result<Keyword, SchemaError> {
        let count = |name: &str| {
            let value = entries.get(name);
            let count = value.map(|value| value_of::count(&parent.at(name), value));
            count.transpose()
        };
        Ok(Keyword::Contains {
            at_least: count("minContains")?.unwrap_or(1),
            at_most: count("maxContains")?,
            node: self.id_of(parent.at("contains"), value),
        })
    }

    /// All keywords of properties as one, by the first of them that is there.
    fn properties(
        &mut self,
        parent: &In,
        entries: &'a Map<String, Value>,
        name: &str,
    ) -> Result<Option<(&'static str, Keyword)>, SchemaError> {
        let names = ["properties", "patternProperties", "additionalProperties"];
        let mut present = names.into_iter().filter(|name| entries.contains_key(*name));
        if present.next() != Some(name) {
            return Ok(None);
        }
        let named = match entries.get("properties") {
            Some(value) => self
                .named(&parent.at("properties"), value)?
                .into_iter()
                .collect(),
            None => HashMap::new(),
        };
        let mut patterns = Vec::new();
        if let Some(value) = entries.get("patternProperties") {
            let place = parent.at("patternProperties");
            for (pattern, node) in self.named(&place, value)? {
                patterns.push((value_of::pattern(&place.at(&pattern), &pattern)?, node));
            }
        }
        let rest = entries.get("additionalProperties");
        let rest = rest.map(|rest| self.id_of(parent.at("additionalProperties"), rest));
        let keyword = Keyword::Properties {
            named,
            patterns,
            rest,
        };
        Ok(Some(("properties", keyword)))
    }

    /// An object of schemas.
    fn named(
        &mut self,
        place: &In,
        value: &'a Value,
    ) -> Result<Vec<(String, NodeId)>, SchemaError> {
        let entries = value_of::object(place, value)?.iter();
        let ids = entries.map(|(name, schema)| (name.clone(), self.id_of(place.at(name), schema)));
        Ok(ids.collect())
    }

    /// A list of schemas, with one at least.
    fn alternatives(&mut self, place: &In, value: &'a Value) -> Result<Vec<NodeId>, SchemaError> {
        let list = value_of::list(place, value)?;
        if list.is_empty() {
            return Err(place.wrong("is empty; give one schema at least"));
        }
        let ids = list.iter().enumerate();
        let ids = ids.map(|(idx, schema)| self.id_of(place.at(&idx.to_string()), schema));
        Ok(ids.collect())
    }

    /// A reference into this schema; there is nothing else that one could refer to.
    fn reference(&mut self, place: &In, value: &'a Value) -> Result<Keyword, SchemaError> {
        let text = value_of::text(place, value)?;
        let Some(pointer) = text.strip_prefix('#') else {
            return Err(place.wrong(
                "refers to something outside of the schema, which is never fetched; give # and a JSON pointer, such as #/$defs/name",
            ));
        };
        let pointer = value_of::percent_decoded(pointer);
        let target = pointer
            .as_deref()
            .and_then(|pointer| self.root.pointer(pointer));
        let (Some(pointer), Some(target)) = (pointer, target) else {
            return Err(place.wrong("refers to a place that is not there; give # and a JSON pointer, such as #/$defs/name"));
        };
        // Written anew, so that one place has one name.
        let tokens = pointer.split('/').skip(1);
        let canonical = tokens.fold(String::new(), |at, token| {
            below(&at, &token.replace("~1", "/").replace("~0", "~"))
        });
        Ok(Keyword::Reference(self.id_of(In::new(canonical), target)))
    }
}
