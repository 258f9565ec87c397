use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn schema(schema: &Value) -> Schema {
    Schema::compile(schema).unwrap_or_else(|error| panic!("{schema}: {error}"))
}

fn is_valid(schema: &Schema, value: &Value) -> bool {
    schema.check(value).n_violations == 0
}

/// Each line has a schema, values that satisfy it and values that do not.
#[test]
fn every_keyword_takes_what_it_should_and_nothing_else() {
    for line in include_str!("cases.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let schema = schema(&case[0]);
        for (idx, expected) in [(1, true), (2, false)] {
            for value in case[idx].as_array().unwrap() {
                assert_eq!(is_valid(&schema, value), expected, "{} {value}", case[0]);
            }
        }
    }
}

#[test]
fn a_violation_names_places_and_kinds_and_no_value() {
    let schema = schema(&json!({
        "type": "object",
        "required": ["name", "items"],
        "properties": {
            "items": {"type": "array", "items": {"properties": {"a/b": {"type": "integer"}, "c": {"enum": ["x"]}}}},
            "kind": {"anyOf": [{"const": 1}, {"const": 2}]},
        },
        "additionalProperties": false,
    }));
    let secret = "a value that nobody should see";
    let value = json!({
        "items": [{"a/b": 1}, {"a/b": secret, "c": secret}],
        "kind": secret,
        "more": secret,
    });
    let checked = schema.check(&value);
    assert_eq!(checked.n_violations, 5);
    let texts: Vec<String> = checked.violations.iter().map(ToString::to_string).collect();
    let expected = [
        "the whole lacks name",
        "/items/1/a~1b is of the type string, not integer",
        "/items/1/c is none of the 1 values of enum",
        "/kind satisfies none of the 2 schemas of anyOf",
        "/more is not allowed here",
    ];
    assert_eq!(texts, expected);
    let places: Vec<&str> = checked
        .violations
        .iter()
        .map(|v| v.schema.as_str())
        .collect();
    let expected = [
        "/required",
        "/properties/items/items/properties/a~1b/type",
        "/properties/items/items/properties/c/enum",
        "/properties/kind/anyOf",
        "/additionalProperties",
    ];
    assert_eq!(places, expected);
}

#[test]
fn violations_are_bounded_and_all_are_counted() {
    let schema = schema(&json!({"items": {"type": "string"}}));
    let checked = schema.check(&Value::from(vec![0; 1000]));
    assert_eq!(
        (checked.n_violations, checked.violations.len()),
        (1000, MAX_VIOLATIONS)
    );
}

#[test]
fn a_bad_schema_is_refused_with_its_place() {
    let cases = [
        (
            json!(1),
            "the whole is no schema; give an object, true or false",
        ),
        (
            json!({"requried": []}),
            "/requried is no keyword of JSON Schema; use required, or begin it with x- if it asserts nothing",
        ),
        (
            json!({"type": "strnig"}),
            "/type is no type; give null, boolean, object, array, number, integer or string, or a list of them",
        ),
        (
            json!({"properties": {"a": {"minLength": -1}}}),
            "/properties/a/minLength is no whole number from 0",
        ),
        (
            json!({"properties": {"a": {"minLength": "1"}}}),
            "/properties/a/minLength is no whole number from 0",
        ),
        (json!({"properties": []}), "/properties is no object"),
        (
            json!({"properties": {"a": 3}}),
            "/properties/a is no schema; give an object, true or false",
        ),
        (
            json!({"$defs": {"unused": {"required": "a"}}}),
            "/$defs/unused/required is no list",
        ),
        (json!({"required": ["a", 1]}), "/required/1 is no text"),
        (
            json!({"anyOf": []}),
            "/anyOf is empty; give one schema at least",
        ),
        (
            json!({"items": [true]}),
            "/items is a list; draft 2020-12 has prefixItems for it",
        ),
        (json!({"multipleOf": 0}), "/multipleOf is not above 0"),
        (
            json!({"uniqueItems": "yes"}),
            "/uniqueItems is neither true nor false",
        ),
        (json!({"maximum": "9"}), "/maximum is no number"),
        (
            json!({"unevaluatedProperties": false}),
            "/unevaluatedProperties is not honoured by this build; leave it out",
        ),
        (
            json!({"dependencies": {}}),
            "/dependencies is not honoured; give dependentRequired or dependentSchemas",
        ),
        (
            json!({"items": {"$id": "x"}}),
            "/items/$id is honoured in the root alone; leave it out",
        ),
        (
            json!({"$ref": "https://example.org/schema.json"}),
            "/$ref refers to something outside of the schema, which is never fetched; give # and a JSON pointer, such as #/$defs/name",
        ),
        (
            json!({"$ref": "#/$defs/absent"}),
            "/$ref refers to a place that is not there; give # and a JSON pointer, such as #/$defs/name",
        ),
        (
            json!({"$ref": "#name"}),
            "/$ref refers to a place that is not there; give # and a JSON pointer, such as #/$defs/name",
        ),
        (
            json!({"$ref": "#"}),
            "the whole applies to a value by way of itself, which has no end",
        ),
        (
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"not": {"$ref": "#"}}]}}}),
            "/$defs/a/allOf/0/not applies to a value by way of itself, which has no end",
        ),
        (
            json!({"$schema": "http://json-schema.org/draft-04/schema#"}),
            "/$schema names a draft that is not known; give https://json-schema.org/draft/2020-12/schema or http://json-schema.org/draft-07/schema, or leave it out",
        ),
    ];
    for (bad, expected) in cases {
        let error = Schema::compile(&bad).err();
        assert_eq!(
            error.map(|error| error.to_string()).as_deref(),
            Some(expected),
            "{bad}"
        );
    }
    let error = Schema::compile(&json!({"pattern": "(?=x)"})).unwrap_err();
    assert_eq!(error.place, "/pattern");
    let error = Schema::compile(&json!({"pattern": "(((a{90}){90}){90}){90}"})).unwrap_err();
    assert_eq!(error.place, "/pattern");
    let large = json!({"description": "x".repeat(MAX_SCHEMA_BYTES)});
    assert!(Schema::compile(&large).is_err());
}

#[test]
fn chains_depth_and_time_have_limits() {
    let chain = |length: usize| {
        let next = |n: usize| {
            if n == 0 {
                json!({})
            } else {
                json!({"$ref": format!("#/$defs/{}", n - 1)})
            }
        };
        let defs: serde_json::Map<_, _> = (0..=length).map(|n| (n.to_string(), next(n))).collect();
        json!({"$defs": defs, "$ref": format!("#/$defs/{length}")})
    };
    assert!(Schema::compile(&chain(MAX_CHAIN - 1)).is_ok());
    let error = Schema::compile(&chain(MAX_CHAIN + 1)).unwrap_err();
    assert!(error.problem.contains("32 schemas"), "{error}");
    // A chain of thousands costs no stack.
    assert!(Schema::compile(&chain(5000)).is_err());

    // Each level doubles the work.
    let doubling = schema(
        &json!({"properties": {"a": {"allOf": [{"not": {"not": {"$ref": "#"}}}, {"$ref": "#"}]}}}),
    );
    let nested = (0..100).fold(json!({}), |inner, _| json!({"a": inner}));
    let checked = doubling.check_within(&nested, 100_000);
    assert_eq!(
        checked.violations[0].reason,
        "takes too many steps to be checked"
    );

    let deep = schema(&json!({"items": {"allOf": [{"allOf": [{"allOf": [{"$ref": "#"}]}]}]}}));
    let nested = |depth| (0..depth).fold(json!([]), |inner, _| json!([inner]));
    assert!(is_valid(&deep, &nested(100)));
    let checked = deep.check(&nested(400));
    assert_eq!(
        checked.violations[0].reason,
        "is nested too deeply to be checked"
    );
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3..4_i64).prop_map(Value::from),
        prop_oneof![Just(0.5), Just(1.0), Just(-2.5)].prop_map(Value::from),
        "[ab]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::hash_map("[abc]", inner, 0..3)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever stands in the place of a schema, nothing panics, and what compiles gives an answer.
    #[test]
    fn no_schema_and_no_value_does_harm(
        name in prop_oneof![
            Just("type"), Just("enum"), Just("items"), Just("properties"), Just("required"), Just("allOf"), Just("not"),
            Just("$ref"), Just("minLength"), Just("multipleOf"), Just("pattern"), Just("if"), Just("contains"), Just("$defs"),
        ],
        part in any_value(),
        value in any_value(),
    ) {
        if let Ok(schema) = Schema::compile(&json!({name: part, "x-kept": true})) {
            let checked = schema.check(&value);
            prop_assert_eq!(checked.violations.is_empty(), checked.n_violations == 0);
        }
    }

    #[test]
    fn a_value_satisfies_itself_and_its_negation_nothing_of_it(value in any_value(), other in any_value()) {
        let is_it = schema(&json!({"const": value}));
        let is_not = schema(&json!({"not": {"const": value}}));
        prop_assert!(is_valid(&is_it, &value) && !is_valid(&is_not, &value));
        prop_assert_eq!(is_valid(&is_it, &other), !is_valid(&is_not, &other));
    }
}
