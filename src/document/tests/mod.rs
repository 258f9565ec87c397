//! What a document is read as, and what is refused where.

mod properties;

use super::*;

/// The tree with a place behind each name and value, as one line.
fn drawn(node: &Node) -> String {
    let value = match &node.value {
        Value::Null => "null".to_owned(),
        Value::Bool(bool) => bool.to_string(),
        Value::Integer(integer) => integer.to_string(),
        Value::OtherNumber(number) => format!("#{number}"),
        Value::Text(text) => format!("{text:?}"),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(drawn).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Map(entries) => {
            let entry = |entry: &Entry| {
                format!("{}@{}={}", entry.name, entry.name_place, drawn(&entry.node))
            };
            let entries: Vec<String> = entries.iter().map(entry).collect();
            format!("{{{}}}", entries.join(" "))
        }
    };
    format!("{value}@{}", node.place)
}

fn read_text(text: &str, format: Format) -> Result<Document, SyntaxError> {
    read(text.as_bytes(), format)
}

fn check_tree(format: Format, text: &str, expected: &str) {
    match read_text(text, format) {
        Ok(document) => assert_eq!(drawn(&document.root), expected, "{format}: {text}"),
        Err(error) => panic!("{format}: {text}: {error}"),
    }
}

/// Checks the whole error text of each document.
fn check_errors(format: Format, cases: &[(&str, &str)]) {
    let mut wrong = String::new();
    for (text, expected) in cases {
        let got = match read_text(text, format) {
            Ok(document) => format!("read as {}", drawn(&document.root)),
            Err(error) => error.to_string(),
        };
        if got != *expected {
            wrong.push_str(&format!(
                "{text:?}\n  got      {got}\n  expected {expected}\n"
            ));
        }
    }
    assert!(wrong.is_empty(), "{format}\n{wrong}");
}

#[test]
fn every_name_and_value_has_its_place() {
    check_tree(
        Format::Toml,
        "a = 1\n[\"é\"]\nb = [ true, \"x\" ]\n",
        "{a@1:1=1@1:5 é@2:2={b@3:1=[true@3:7 \"x\"@3:13]@3:5}@2:1}@1:1",
    );
    check_tree(
        Format::Yaml,
        "a: 1\n\"é\":\n  b: [ true, 'x' ]\n  c:\nd: |\n  text\n",
        "{a@1:1=1@1:4 é@2:1={b@3:3=[true@3:8 \"x\"@3:14]@3:6 c@4:3=null@4:3}@3:3 d@5:1=\"text\\n\"@6:3}@1:1",
    );
    check_tree(
        Format::Json,
        "{\"a\": 1,\n \"é\": {\"b\": [true, \"x\"]}}",
        "{a@1:2=1@1:7 é@2:2={b@2:8=[true@2:14 \"x\"@2:20]@2:13}@2:7}@1:1",
    );
}

#[test]
fn a_column_counts_characters_on_lines_of_any_length() {
    let list = "é, ".repeat(5_000);
    let text = format!("[{}]", list.replace('é', "\"é\"").trim_end_matches(", "));
    for (format, text) in [
        (Format::Json, text.clone()),
        (Format::Yaml, text.clone()),
        (Format::Toml, format!("x = {text}")),
    ] {
        let document = read_text(&text, format).unwrap();
        let mut last = match &document.root.value {
            Value::List(items) => items.last().unwrap().place,
            Value::Map(entries) => match &entries[0].node.value {
                Value::List(items) => items.last().unwrap().place,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        if format == Format::Toml {
            last.column -= 4;
        }
        let expected = Place {
            line: 1,
            column: 2 + 4_999 * 5,
        };
        assert_eq!(last, expected, "{format}");
    }
}

#[test]
fn plain_scalars_of_yaml_follow_the_core_schema() {
    for (written, expected) in [
        ("no", "\"no\""),
        ("yes", "\"yes\""),
        ("on", "\"on\""),
        ("Off", "\"Off\""),
        ("y", "\"y\""),
        ("tRUE", "\"tRUE\""),
        ("TRUE", "true"),
        ("False", "false"),
        ("~", "null"),
        ("Null", "null"),
        ("nULL", "\"nULL\""),
        ("0", "0"),
        ("-12", "-12"),
        ("+12", "12"),
        ("0o17", "15"),
        ("0x1F", "31"),
        ("0x", "\"0x\""),
        ("1_000", "\"1_000\""),
        ("12:30:45", "\"12:30:45\""),
        ("2001-12-14", "\"2001-12-14\""),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775808", "#9223372036854775808"),
        ("1.10", "#1.10"),
        (".5", "#.5"),
        ("5.", "#5."),
        ("1e3", "#1e3"),
        ("-.inf", "#-.inf"),
        (".NaN", "#.NaN"),
        ("-.nan", "\"-.nan\""),
        ("1.2.3", "\"1.2.3\""),
        ("e3", "\"e3\""),
        (".", "\".\""),
        ("-", "[null@1:2]"),
        ("'1'", "\"1\""),
        ("\"true\"", "\"true\""),
    ] {
        let document = read_text(written, Format::Yaml).unwrap();
        let drawn = drawn(&document.root);
        assert_eq!(drawn, format!("{expected}@1:1"), "{written}");
    }
}

#[test]
fn what_makes_yaml_surprising_is_refused_with_its_place() {
    check_errors(
        Format::Yaml,
        &[
            (
                "a: 1\na: 2",
                "2:1: a name that stands in the same map at 1:1 already; give each name once",
            ),
            (
                "x: {a: 1, \"a\": 2}",
                "1:11: a name that stands in the same map at 1:5 already; give each name once",
            ),
            (
                "a: &x 1",
                "1:4: an anchor or alias; write the value out where it is used",
            ),
            (
                "a: &x [1]\nb: *x",
                "1:4: an anchor or alias; write the value out where it is used",
            ),
            (
                "a: *x",
                "1:4: an anchor or alias; write the value out where it is used",
            ),
            (
                "a: !!str 1",
                "1:4: a tag; leave it out; put a text in quotes if it looks like a number",
            ),
            (
                "a: !ruby {}",
                "1:4: a tag; leave it out; put a text in quotes if it looks like a number",
            ),
            (
                "%YAML 1.1\n---\na: no",
                "1:1: a directive; leave it out: every file is read as YAML 1.2",
            ),
            (
                "a: 1\n---\nb: 2",
                "2:1: a second document; give one document a file",
            ),
            (
                "a: 0777",
                "1:4: a number with a leading zero, which YAML 1.1 and 1.2 read differently; leave the zero out, write 0o for octal, or put a text in quotes",
            ),
            (
                "<<: {a: 1}",
                "1:1: no name, or a merge key; give a text as the name; merge keys are not YAML 1.2",
            ),
            (
                "? [a]\n: 1",
                "1:3: a list or map as a name; give a text as the name, in quotes if it begins with a bracket",
            ),
            (
                "a: 1\n\tb: 2",
                "2:1: a tab in the indentation; indent with spaces",
            ),
            (
                "a: b\0c",
                "1:5: a control character; write it as an escape in double quotes, as in \"\\e\"",
            ),
            (
                "a: b: c",
                "1:5: a colon where no name can stand; put a text with a colon and a space in quotes, and line the names of a map up",
            ),
            (
                "a: [1, 2",
                "1:9: a list that is not closed; separate its values with commas and close it with ]",
            ),
            (
                "a: \"x",
                "1:4: a text in quotes that is not closed; close the quotes",
            ),
            (
                "a: @x",
                "1:4: a character that begins no value; put a text that begins with one of % @ ` in quotes",
            ),
            (
                "a: {b: 1",
                "1:9: a map that is not closed; separate its entries with commas and close it with }",
            ),
            (
                "a: \"\\d\"",
                "1:4: an escape that YAML does not have; write a backslash in double quotes as \\\\, or use single quotes",
            ),
            (
                "a: 'x' y",
                "1:8: something behind a text in quotes; put the whole text in quotes",
            ),
            (
                "a: 1\nb\nc: 1",
                "3:1: a name without a colon before this place; write a colon and a space behind each name, and keep a name on one line",
            ),
            (
                "[a]]",
                "1:4: a bracket that closes nothing; leave it out, or put the text in quotes",
            ),
            (
                "a:\n  b: 1\n c: 2",
                "3:2: a line that is indented like no other of its map; indent the names of one map alike",
            ),
        ],
    );
}

#[test]
fn json_is_read_strictly() {
    check_errors(
        Format::Json,
        &[
            (
                "",
                "1:1: the end of the file; give a JSON value; texts stand in double quotes",
            ),
            (
                "{\"a\": 1,}",
                "1:9: a closing bracket; leave out the comma before a closing brace",
            ),
            (
                "[1,]",
                "1:4: a closing bracket; leave out the comma before a closing bracket",
            ),
            ("[1 2]", "1:4: a number; give a comma or a closing bracket"),
            ("{\"a\" 1}", "1:6: a number; give a colon behind the name"),
            (
                "{a: 1}",
                "1:2: a word or character without quotes; give a name in double quotes",
            ),
            (
                "{'a': 1}",
                "1:2: a single quote; give a name in double quotes",
            ),
            (
                "// x\n1",
                "1:1: a comment, which JSON does not have; give a JSON value; texts stand in double quotes",
            ),
            (
                "1 2",
                "1:3: a number; give one JSON value and nothing behind it",
            ),
            (
                "\"a\nb\"",
                "1:3: a line break or control character inside a text; write it as an escape, as in \\n",
            ),
            (
                "\"a",
                "1:1: a text that is not closed; close it with a double quote",
            ),
            (
                "\"\\x\"",
                "1:2: an escape that JSON does not have; write one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX",
            ),
            (
                "\"\\ud83d\"",
                "1:2: half of a surrogate pair; write both halves, or the character itself",
            ),
            (
                "01",
                "1:1: a number that JSON does not have; write it without leading zeros or plus sign, and with a digit on both sides of the point",
            ),
            (
                "nil",
                "1:1: a word or character without quotes; give a JSON value; texts stand in double quotes",
            ),
            (
                "{\"a\": 1,\n\"a\": 2}",
                "2:1: a name that stands in the same map at 1:2 already; give each name once",
            ),
        ],
    );
    check_tree(
        Format::Json,
        " [\"\\u00e9\\ud83d\\ude00\\/\\n\", -1, 1.0, 1e9, null] ",
        "[\"é😀/\\n\"@1:3 -1@1:29 #1.0@1:33 #1e9@1:38 null@1:43]@1:2",
    );
}

#[test]
fn toml_is_refused_where_it_is_wrong() {
    for (text, expected) in [
        (
            "a = 1\na = 2",
            "2:1: duplicate key; give each key once, and each table in brackets once",
        ),
        ("\"é\" = é", "1:7: "),
    ] {
        match read_text(text, Format::Toml) {
            Ok(document) => panic!("{text:?} was read as {document:?}"),
            Err(error) => assert!(error.to_string().starts_with(expected), "{error}"),
        }
    }
}

#[test]
fn every_limit_holds_in_every_format() {
    let over = "x".repeat(MAX_DOCUMENT_BYTES + 1);
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let many = |n: usize| format!("[{}0]", "0,".repeat(n - 1));
    for format in [Format::Toml, Format::Yaml, Format::Json] {
        let wrap = |text: String| match format {
            Format::Toml => format!("x = {text}"),
            Format::Yaml | Format::Json => text,
        };
        let refused = |text: &str| read_text(text, format).unwrap_err().found;
        assert_eq!(refused(&over), "the file is larger than 1 MiB");
        // The outermost map of TOML is a level and a list is a value.
        let offset = usize::from(format == Format::Toml);
        assert!(read_text(&wrap(nested(MAX_DOCUMENT_DEPTH - offset)), format).is_ok());
        assert_eq!(
            refused(&wrap(nested(MAX_DOCUMENT_DEPTH + 1 - offset))),
            "lists and maps nested deeper than 64",
            "{format}"
        );
        assert!(read_text(&wrap(many(MAX_DOCUMENT_NODES - 1)), format).is_ok());
        assert_eq!(
            refused(&wrap(many(MAX_DOCUMENT_NODES))),
            "more than 100,000 values"
        );
        let deep = refused(&wrap("[".repeat(100_000)));
        assert!(!deep.is_empty());
    }
    let error = read(b"a: \xff", Format::Yaml).unwrap_err();
    assert_eq!(
        error.to_string(),
        "1:4: a byte that is not UTF-8; save the file as UTF-8"
    );
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_document() {
    for format in [Format::Toml, Format::Yaml] {
        let text = match format {
            Format::Toml => "\u{feff}a = 1",
            Format::Yaml | Format::Json => "\u{feff}a: 1",
        };
        let document = read_text(text, format).unwrap();
        assert!(drawn(&document.root).starts_with("{a@1:1=1"), "{format}");
    }
}

#[test]
fn an_empty_document_is_nothing_in_yaml_and_an_empty_map_in_toml() {
    check_tree(Format::Yaml, "", "null@1:1");
    check_tree(Format::Yaml, "# only a comment\n", "null@1:1");
    check_tree(Format::Toml, "", "{}@1:1");
}

#[test]
fn the_place_inside_a_text_is_exact_where_it_stands_letter_by_letter() {
    let text = "a: params.x ==\nb: \"é ${{ x }}\"\nc: \"\\ta\"\nd: |\n  x\n";
    let document = read_text(text, Format::Yaml).unwrap();
    let Value::Map(entries) = &document.root.value else {
        panic!("no map");
    };
    let places: Vec<String> = entries
        .iter()
        .map(|entry| document.place_inside(&entry.node, 2).to_string())
        .collect();
    assert_eq!(places, ["1:6", "2:7", "3:4", "5:3"]);
}

#[test]
fn the_format_is_known_by_the_ending_of_the_name() {
    for (name, expected) in [
        ("a.toml", Some(Format::Toml)),
        ("a.yaml", Some(Format::Yaml)),
        ("dir.toml/a.yml", Some(Format::Yaml)),
        ("a.json", Some(Format::Json)),
        ("a.YAML", None),
        ("yaml", None),
        (".yaml", None),
        ("a.txt", None),
    ] {
        assert_eq!(Format::of_path(Path::new(name)), expected, "{name}");
    }
}
