//! The JSON Schema (2020-12) of description files, made from the table of keys.
//!
//! It says which keys there are and what kind of value each takes; bounds stand in its texts, and what values mean is
//! checked by `stockade config check`. Keys that this build does not honour are left out, and so refused.

use serde_json::{Map, Value, json};

use super::keys::{KEYS, Key, Support};

/// The schema.
pub fn schema() -> Value {
    let mut properties = Map::new();
    for key in KEYS.iter().filter(|key| key.support == Support::Honoured) {
        let property = property(key);
        if let Some((group, member)) = key.name.split_once('.') {
            let nested = properties.entry(group).or_insert_with(
                || json!({"type": "object", "additionalProperties": false, "properties": {}}),
            );
            if let Some(Value::Object(members)) = nested.get_mut("properties") {
                members.insert(member.to_owned(), property.clone());
            }
        }
        // A group's member may be written with its dotted name, too.
        for name in key.names() {
            properties.insert(name.to_owned(), property.clone());
        }
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Stockade run description",
        "description": "What a run is, as a file for --config or a profile.",
        "type": "object",
        "additionalProperties": false,
        "properties": properties
    })
}

fn property(key: &Key) -> Value {
    let mut property = Map::new();
    if let Some(types) = types(key.type_text) {
        property.insert("type".to_owned(), types);
    }
    let sentence = |label: &str, text: &str| match text {
        "" => String::new(),
        text => format!(" {label}: {text}."),
    };
    let bounds = sentence("Bounds", key.bounds);
    let default = sentence("Default", key.default);
    let text = format!("{}{bounds}{default}", key.purpose);
    property.insert("description".to_owned(), Value::from(text));
    Value::Object(property)
}

/// The kinds of value that a key takes, from its type for people; none where any kind may be right.
fn types(type_text: &str) -> Option<Value> {
    let begins_with = |words: &[&str]| words.iter().any(|word| type_text.starts_with(word));
    if begins_with(&["text, or a table"]) {
        Some(json!(["string", "object"]))
    } else if begins_with(&["text", "a path"]) {
        Some(json!("string"))
    } else if begins_with(&["an integer", "seconds", "bytes"]) {
        Some(json!(["integer", "string"]))
    } else if begins_with(&["a number"]) {
        Some(json!(["number", "string"]))
    } else if begins_with(&["a boolean"]) {
        Some(json!(["boolean", "string"]))
    } else if begins_with(&["a list"]) {
        Some(json!("array"))
    } else if begins_with(&["a map"]) {
        Some(json!("object"))
    } else {
        None
    }
}
