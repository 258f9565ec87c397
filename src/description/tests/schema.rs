//! The schema of description files has the keys that this build honours, and no other.

use serde_json::json;

use crate::description::keys::{KEYS, Support};
use crate::description::schema::schema;
use crate::schema::Schema;

#[test]
fn the_schema_has_every_honoured_key_and_no_other() {
    let schema = schema();
    for key in KEYS {
        let path = key.name.replace('.', "/properties/");
        let property = schema.pointer(&format!("/properties/{path}"));
        match key.support {
            Support::Honoured => {
                let text = property.and_then(|property| property["description"].as_str());
                assert!(
                    text.is_some_and(|text| text.starts_with(key.purpose)),
                    "{}",
                    key.name
                );
            }
            Support::Unsupported { .. } => assert_eq!(property, None, "{}", key.name),
        }
    }
}

#[test]
fn the_schema_accepts_what_is_read_and_refuses_other_keys_and_kinds() {
    let schema = Schema::compile(&schema()).unwrap();
    for (description, is_right) in [
        (json!({}), true),
        (
            json!({"command": ["true"], "timeout_seconds": "10m", "max_steps": 5}),
            true,
        ),
        (json!({"limits": {"output": "1MiB"}, "env": {"A": 1}}), true),
        (json!({"limits.output": 4096, "directive": "x"}), true),
        (
            json!({"playbook": "p.yaml", "parameters": {"a": true}}),
            true,
        ),
        (json!({"tiemout_seconds": 5}), false),
        (json!({"limits": {"ouput": 5}}), false),
        (json!({"command": "true"}), false),
        (json!({"agent": "claude"}), false),
        (json!({"labels": []}), false),
        (json!([]), false),
    ] {
        let violations = schema.check(&description).violations;
        assert_eq!(
            violations.is_empty(),
            is_right,
            "{description}: {violations:?}"
        );
    }
}
