//! The JSON Schema (2020-12) of playbooks, for editors and for those who write playbooks by program.
//!
//! It says what the form is; what refers to what is checked by [`super::parse`] alone.

use serde_json::{Value, json};

use super::definition::keys;
use super::{
    MAX_CHOICES, MAX_EXPECTATIONS, MAX_OUTPUTS, MAX_PARAMETERS, MAX_STEPS, MAX_TAGS,
    MAX_TEXT_CHARS, MAX_VARIABLES, VERSION,
};

const NAME: &str = "^[A-Za-z][A-Za-z0-9_-]{0,62}$";
const ID: &str = "^[a-z][a-z0-9_-]{0,62}$";
const LABEL: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
const VARIABLE: &str = "^[A-Za-z_][A-Za-z0-9_]*$";
/// What stands in no part of a command.
const EXPRESSION: &str = r"\$\{\{";

/// The schema.
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Stockade playbook",
        "description": "Fixed steps with typed parameters.",
        "type": "object",
        "additionalProperties": false,
        "required": ["version", "name", "steps"],
        "properties": {
            "version": {"const": VERSION, "description": "The version of the form."},
            "name": {"type": "string", "pattern": LABEL, "description": "The name of the playbook."},
            "description": prose("What the playbook is for."),
            "tags": {
                "type": "array",
                "maxItems": MAX_TAGS,
                "items": {"type": "string", "minLength": 1, "maxLength": 63},
                "description": "The words of a task that the playbook answers to."
            },
            "parameters": {
                "type": "object",
                "maxProperties": MAX_PARAMETERS,
                "propertyNames": {"pattern": NAME},
                "additionalProperties": {"$ref": "#/$defs/parameter"},
                "description": "What a run may set; parameters reach commands by env alone."
            },
            "defaults": {"$ref": "#/$defs/defaults"},
            "env": {"$ref": "#/$defs/env"},
            "steps": {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_STEPS,
                "items": {"$ref": "#/$defs/step"},
                "description": "What is run, in order."
            },
            "finally": {
                "type": "array",
                "maxItems": MAX_STEPS,
                "items": {"$ref": "#/$defs/finally_step"},
                "description": "What is run at the end, whatever became of the steps."
            }
        },
        "$defs": {
            "duration": {
                "anyOf": [
                    {"type": "integer", "minimum": 0},
                    {"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$"}
                ],
                "description": "500ms, 30s, 10m, 2h or 1d; a number without a unit is seconds."
            },
            "env": {
                "type": "object",
                "maxProperties": MAX_VARIABLES,
                "propertyNames": {"pattern": VARIABLE, "not": {"pattern": "^STOCKADE_"}},
                "additionalProperties": {"type": ["string", "number", "boolean"]},
                "description": "Variables of the environment; ${{ }} may stand in the values."
            },
            "word": {"type": "string", "not": {"pattern": EXPRESSION}},
            "parameter": parameter(),
            "defaults": defaults(),
            "retries": retries(),
            "step": step(&["abort", "continue", "retry"]),
            "finally_step": step(&["continue", "retry"]),
            "text": {
                "type": "object",
                "additionalProperties": false,
                "properties": texts()
            },
            "file": {
                "type": "object",
                "additionalProperties": false,
                "required": ["path"],
                "properties": with_texts(json!({
                    "path": {"type": "string", "minLength": 1, "description": "As the command sees it."},
                    "exists": {"type": "boolean", "default": true}
                }))
            },
            "http": {
                "type": "object",
                "additionalProperties": false,
                "required": ["url"],
                "properties": with_texts(json!({
                    "url": {
                        "type": "string",
                        "description": "http://127.0.0.1:PORT/PATH, inside the sandbox."
                    },
                    "status": one_or_more(&json!({"type": "integer", "minimum": 100, "maximum": 599})),
                    "timeout": {"$ref": "#/$defs/duration"}
                }))
            }
        }
    })
}

fn prose(description: &str) -> Value {
    json!({"type": "string", "maxLength": MAX_TEXT_CHARS, "description": description})
}

/// One value or a list of them.
fn one_or_more(item: &Value) -> Value {
    json!({
        "anyOf": [
            item,
            {"type": "array", "minItems": 1, "maxItems": MAX_EXPECTATIONS, "items": item}
        ]
    })
}

/// What can be said of a text.
fn texts() -> Value {
    let part = one_or_more(&json!({"type": ["string", "number", "boolean"], "minLength": 1}));
    json!({
        "contains": part,
        "not_contains": part,
        "equals": one_or_more(&json!({"type": ["string", "number", "boolean"]})),
        "matches": one_or_more(&json!({"type": "string", "maxLength": 1000}))
    })
}

fn with_texts(mut properties: Value) -> Value {
    if let (Value::Object(properties), Value::Object(texts)) = (&mut properties, texts()) {
        properties.extend(texts);
    }
    properties
}

fn parameter() -> Value {
    let only = |kind: &str, keys: &[&str]| {
        let others: Vec<Value> = ["pattern", "min", "max", "choices"]
            .iter()
            .filter(|key| !keys.contains(*key))
            .map(|key| json!({"required": [key]}))
            .collect();
        let condition = if kind == "string" {
            json!({"properties": {"type": {"const": kind}}})
        } else {
            json!({"required": ["type"], "properties": {"type": {"const": kind}}})
        };
        json!({"if": condition, "then": {"not": {"anyOf": others}}})
    };
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "type": {"enum": keys::TYPES, "default": "string"},
            "description": prose("What the parameter is for."),
            "required": {"type": "boolean", "default": false},
            "default": {"type": ["string", "integer", "boolean"]},
            "pattern": {
                "type": "string",
                "maxLength": 1000,
                "description": "The whole value must match."
            },
            "min": {"type": "integer"},
            "max": {"type": "integer"},
            "choices": {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_CHOICES,
                "uniqueItems": true,
                "items": {"type": "string", "minLength": 1}
            }
        },
        "not": {
            "required": ["default", "required"],
            "properties": {"required": {"const": true}}
        },
        "allOf": [
            only("string", &["pattern"]),
            only("secret", &["pattern"]),
            only("integer", &["min", "max"]),
            only("boolean", &[]),
            only("choice", &["choices"]),
            {
                "if": {"required": ["type"], "properties": {"type": {"const": "choice"}}},
                "then": {"required": ["choices"]}
            },
            {
                "if": {"required": ["type"], "properties": {"type": {"const": "secret"}}},
                "then": {"not": {"required": ["default"]}}
            },
            {
                "if": {"required": ["type"], "properties": {"type": {"const": "integer"}}},
                "then": {"properties": {"default": {"type": "integer"}}}
            },
            {
                "if": {"required": ["type"], "properties": {"type": {"const": "boolean"}}},
                "then": {"properties": {"default": {"type": "boolean"}}}
            }
        ]
    })
}

fn defaults() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "description": "What holds for each step that says nothing else.",
        "properties": {
            "timeout": {"$ref": "#/$defs/duration"},
            "retries": {"$ref": "#/$defs/retries"},
            "on_failure": {"enum": ["abort", "continue", "retry"]},
            "shell": {
                "type": "array",
                "minItems": 1,
                "maxItems": 16,
                "items": {"$ref": "#/$defs/word"}
            }
        }
    })
}

fn retries() -> Value {
    json!({
        "anyOf": [
            {"type": "integer", "minimum": 0, "maximum": keys::MAX_RETRIES},
            {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "max": {"type": "integer", "minimum": 0, "maximum": keys::MAX_RETRIES},
                    "delay": {"$ref": "#/$defs/duration"},
                    "backoff": {"type": "number", "minimum": 1, "maximum": keys::MAX_BACKOFF},
                    "max_delay": {"$ref": "#/$defs/duration"},
                    "retry": {"enum": ["step", "verify"]}
                }
            }
        ],
        "description": "How often a step is tried again."
    })
}

fn step(failures: &[&str]) -> Value {
    let mut failure = vec![json!({"enum": failures})];
    if failures.contains(&"abort") {
        failure.push(json!({"type": "string", "pattern": "^goto: *[a-z][a-z0-9_-]{0,62} *$"}));
    }
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["id", "run"],
        "properties": {
            "id": {"type": "string", "pattern": ID, "description": "No other step has it."},
            "name": prose("What the step does."),
            "run": {
                "anyOf": [
                    {"type": "string", "pattern": r"\S", "not": {"pattern": EXPRESSION}},
                    {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 4096,
                        "items": {"$ref": "#/$defs/word"}
                    }
                ],
                "description": "A script for the shell, or a program and its arguments; run as it stands."
            },
            "env": {"$ref": "#/$defs/env"},
            "directory": {
                "type": "string",
                "pattern": "^[^/]",
                "not": {"pattern": r"(^|/)\.\.(/|$)"},
                "description": "Below the workspace."
            },
            "if": {
                "type": ["string", "boolean"],
                "maxLength": 1000,
                "description": "The step is skipped unless this holds."
            },
            "timeout": {"$ref": "#/$defs/duration"},
            "expect": {
                "type": "object",
                "additionalProperties": false,
                "description": "What must hold after the command has ended; all of it.",
                "properties": {
                    "exit": one_or_more(&json!({"type": "integer", "minimum": 0, "maximum": 255})),
                    "stdout": {"$ref": "#/$defs/text"},
                    "stderr": {"$ref": "#/$defs/text"},
                    "file": one_or_more(&json!({"$ref": "#/$defs/file"})),
                    "http": one_or_more(&json!({"$ref": "#/$defs/http"}))
                }
            },
            "verify": {
                "type": "object",
                "additionalProperties": false,
                "required": ["within"],
                "description": "Looks at files and HTTP again until they hold.",
                "properties": {
                    "within": {"$ref": "#/$defs/duration"},
                    "every": {"$ref": "#/$defs/duration"}
                }
            },
            "retries": {"$ref": "#/$defs/retries"},
            "outputs": {
                "type": "object",
                "maxProperties": MAX_OUTPUTS,
                "propertyNames": {"pattern": NAME},
                "additionalProperties": {"type": "string", "maxLength": 1000},
                "description": "Texts for later steps, such as stdout.trim()."
            },
            "on_failure": {"anyOf": failure}
        }
    })
}
