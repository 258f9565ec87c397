//! The keywords that assert something, as data.

use std::collections::HashMap;

use regex_lite::Regex;
use serde_json::Value;

use super::arena::NodeId;
use super::decimal::Decimal;

/// A type of JSON Schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Boolean,
    Object,
    Array,
    Number,
    Integer,
    String,
}

impl Kind {
    const ALL: [(&'static str, Self); 7] = [
        ("null", Self::Null),
        ("boolean", Self::Boolean),
        ("object", Self::Object),
        ("array", Self::Array),
        ("number", Self::Number),
        ("integer", Self::Integer),
        ("string", Self::String),
    ];

    pub(super) fn parse(name: &str) -> Option<Self> {
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, kind)| kind)
    }

    pub(super) fn name(self) -> &'static str {
        let found = Self::ALL.into_iter().find(|(_, kind)| *kind == self);
        found.map_or("", |(name, _)| name)
    }

    /// The narrowest type of a value.
    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Boolean,
            Value::Object(_) => Self::Object,
            Value::Array(_) => Self::Array,
            Value::String(_) => Self::String,
            Value::Number(number) => match Decimal::of(number).is_some_and(Decimal::is_integer) {
                true => Self::Integer,
                false => Self::Number,
            },
        }
    }

    /// Whether a value of the type `other` is one of this type.
    pub(super) fn takes(self, other: Self) -> bool {
        self == other || self == Self::Number && other == Self::Integer
    }
}

/// Which side of a bound is right, the bound itself included or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    AtMost,
    Below,
    AtLeast,
    Above,
}

/// What is counted, and by which keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    Characters,
    Items,
    Properties,
}

/// One keyword with its value.
#[derive(Debug)]
pub(super) enum Keyword {
    Types(Vec<Kind>),
    Enum(Vec<Value>),
    Const(Value),
    MultipleOf(Decimal),
    Bound(Side, Decimal),
    AtLeast(Counted, u64),
    AtMost(Counted, u64),
    Pattern(Regex),
    UniqueItems,
    Items {
        first: Vec<NodeId>,
        rest: Option<NodeId>,
    },
    Contains {
        node: NodeId,
        at_least: u64,
        at_most: Option<u64>,
    },
    Required(Vec<String>),
    DependentRequired(Vec<(String, Vec<String>)>),
    DependentSchemas(Vec<(String, NodeId)>),
    Properties {
        named: HashMap<String, NodeId>,
        patterns: Vec<(Regex, NodeId)>,
        rest: Option<NodeId>,
    },
    PropertyNames(NodeId),
    AllOf(Vec<NodeId>),
    AnyOf(Vec<NodeId>),
    OneOf(Vec<NodeId>),
    Not(NodeId),
    If {
        condition: NodeId,
        then: Option<NodeId>,
        otherwise: Option<NodeId>,
    },
    Reference(NodeId),
}

impl Keyword {
    /// The schemas that apply to the value itself, and not to a part of it.
    pub(super) fn in_place(&self) -> Vec<NodeId> {
        match self {
            Self::AllOf(nodes) | Self::AnyOf(nodes) | Self::OneOf(nodes) => nodes.clone(),
            Self::Not(node) | Self::Reference(node) => vec![*node],
            Self::If {
                condition,
                then,
                otherwise,
            } => [Some(*condition), *then, *otherwise]
                .into_iter()
                .flatten()
                .collect(),
            Self::DependentSchemas(dependents) => {
                dependents.iter().map(|(_, node)| *node).collect()
            }
            Self::Types(_)
            | Self::Enum(_)
            | Self::Const(_)
            | Self::MultipleOf(_)
            | Self::Bound(..)
            | Self::AtLeast(..)
            | Self::AtMost(..)
            | Self::Pattern(_)
            | Self::UniqueItems
            | Self::Items { .. }
            | Self::Contains { .. }
            | Self::Required(_)
            | Self::DependentRequired(_)
            | Self::Properties { .. }
            | Self::PropertyNames(_) => Vec::new(),
        }
    }
}
