//! What holds of every text: the readers agree with others, never panic and never quote what they read.

use proptest::prelude::*;

use super::*;

/// Any JSON value with texts that YAML can hold, too.
fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let text = "[ -~é😀\n\t]{0,12}";
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        text.prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(text, inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The tree as JSON, without places.
fn as_json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(bool) => (*bool).into(),
        Value::Integer(integer) => (*integer).into(),
        Value::OtherNumber(number) | Value::Text(number) => number.as_str().into(),
        Value::List(items) => items.iter().map(as_json).collect(),
        Value::Map(entries) => serde_json::Value::Object(
            entries
                .iter()
                .map(|entry| (entry.name.clone(), as_json(&entry.node)))
                .collect(),
        ),
    }
}

proptest! {
    #[test]
    fn json_is_read_as_every_other_reader_reads_it(value in json_value(), is_pretty: bool) {
        let text = if is_pretty {
            serde_json::to_string_pretty(&value).unwrap()
        } else {
            value.to_string()
        };
        let as_read = as_json(&read_text(&text, Format::Json).unwrap().root);
        prop_assert_eq!(&as_read, &value);
    }

    #[test]
    fn what_is_json_is_the_same_in_yaml(value in json_value()) {
        let text = value.to_string();
        let json = as_json(&read_text(&text, Format::Json).unwrap().root);
        match read_text(&text, Format::Yaml) {
            Ok(document) => prop_assert_eq!(as_json(&document.root), json),
            Err(error) => prop_assert!(false, "{}: {}", text, error),
        }
    }

    #[test]
    fn nothing_panics_and_no_error_quotes_the_text(
        text in "[ \n\t:,\\-?&*!|>'\"%@`{}\\[\\]#a0=.\\\\]{0,40}(secretword)?[ \n:,\\-\"'{}\\[\\]=]{0,10}",
    ) {
        for format in [Format::Toml, Format::Yaml, Format::Json] {
            match read_text(&text, format) {
                Ok(document) => {
                    let shown = format!("{document:?}");
                    prop_assert!(!shown.contains("secretword"), "{}", shown);
                }
                Err(error) => prop_assert!(!error.to_string().contains("secretword"), "{}", error),
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for format in [Format::Toml, Format::Yaml, Format::Json] {
            let _ = read(&bytes, format).is_ok();
        }
    }
}
