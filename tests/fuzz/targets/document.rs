//! What must hold for every document, whatever its format: TOML, YAML or JSON.

use stockade::document::{
    Document, Format, MAX_DOCUMENT_DEPTH, MAX_DOCUMENT_NODES, Node, Place, Value, read,
};

/// Reads the input in the format that its first byte chooses.
pub(crate) fn check(input: &[u8]) {
    let Some((choice, bytes)) = input.split_first() else {
        return;
    };
    let format = [Format::Json, Format::Yaml, Format::Toml]
        .into_iter()
        .nth(usize::from(choice % 3))
        .expect("three formats");
    match read(bytes, format) {
        Ok(document) => check_document(&document, bytes, format),
        Err(error) => {
            assert!(error.place >= Place::START, "{error}");
            assert!(!error.found.is_empty() && !error.expected.is_empty());
            check_refused(bytes, format);
        }
    }
}

fn check_document(document: &Document, bytes: &[u8], format: Format) {
    let text = std::str::from_utf8(bytes).expect("only text is a document");
    let mut n_nodes = 0;
    check_node(&document.root, 0, &mut n_nodes, text);
    assert!(n_nodes <= MAX_DOCUMENT_NODES);
    if format == Format::Json {
        let known: serde_json::Value = match serde_json::from_str(text) {
            Ok(known) => known,
            // A number of any size is JSON; the other reader has no place for it.
            Err(error) if error.to_string().starts_with("number out of range") => return,
            Err(error) => panic!("what is read as JSON is JSON: {error}"),
        };
        assert_same(&document.root.value, &known);
    }
}

fn check_node(node: &Node, depth: usize, n_nodes: &mut usize, text: &str) {
    *n_nodes += 1;
    assert!(depth <= MAX_DOCUMENT_DEPTH);
    check_place(node.place, text);
    match &node.value {
        Value::Null
        | Value::Bool(_)
        | Value::Integer(_)
        | Value::OtherNumber(_)
        | Value::Text(_) => {}
        Value::List(items) => {
            for item in items {
                check_node(item, depth + 1, n_nodes, text);
            }
        }
        Value::Map(entries) => {
            for (idx, entry) in entries.iter().enumerate() {
                check_place(entry.name_place, text);
                let is_again = entries
                    .iter()
                    .take(idx)
                    .any(|earlier| earlier.name == entry.name);
                assert!(!is_again, "a name stands twice");
                check_node(&entry.node, depth + 1, n_nodes, text);
            }
        }
    }
}

/// A place is inside the text, just behind a line's end, or where the line behind the last one would begin.
fn check_place(place: Place, text: &str) {
    let n_lines = text
        .split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
        .count();
    assert!(
        place.line >= 1 && place.line <= n_lines + 1,
        "{place} of {n_lines} lines"
    );
    assert!(
        place.column >= 1 && place.column <= text.chars().count() + 2,
        "{place}"
    );
}

/// What another reader takes is refused only for a limit or a name that stands twice.
fn check_refused(bytes: &[u8], format: Format) {
    if format != Format::Json || bytes.len() > 512 {
        return;
    }
    let Ok(known) = serde_json::from_slice::<serde_json::Value>(bytes) else {
        return;
    };
    let has_maps = bytes.contains(&b'{');
    let is_deep = bytes
        .iter()
        .filter(|byte| matches!(byte, b'[' | b'{'))
        .count()
        > MAX_DOCUMENT_DEPTH;
    assert!(has_maps || is_deep, "refused although it is JSON: {known}");
}

fn assert_same(value: &Value, known: &serde_json::Value) {
    use serde_json::Value as Known;
    match (value, known) {
        (Value::Null, Known::Null) => {}
        (Value::Bool(ours), Known::Bool(theirs)) => assert_eq!(ours, theirs),
        // The other reader takes -0 for a fraction.
        (Value::Integer(0), Known::Number(theirs)) => assert_eq!(theirs.as_f64(), Some(0.0)),
        (Value::Integer(ours), Known::Number(theirs)) => assert_eq!(Some(*ours), theirs.as_i64()),
        (Value::OtherNumber(_), Known::Number(_)) => {}
        (Value::Text(ours), Known::String(theirs)) => assert_eq!(ours, theirs),
        (Value::List(ours), Known::Array(theirs)) => {
            assert_eq!(ours.len(), theirs.len());
            for (ours, theirs) in ours.iter().zip(theirs) {
                assert_same(&ours.value, theirs);
            }
        }
        (Value::Map(ours), Known::Object(theirs)) => {
            assert_eq!(ours.len(), theirs.len());
            for entry in ours {
                let theirs = theirs.get(&entry.name).expect("the name is there");
                assert_same(&entry.node.value, theirs);
            }
        }
        (ours, theirs) => panic!("{ours:?} is not {theirs}"),
    }
}
