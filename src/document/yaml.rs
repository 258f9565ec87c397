//! YAML 1.2 with the core schema (section 10.3 of the specification) as a located tree.
//!
//! What makes YAML surprising is refused: anchors and aliases, tags, directives, merge keys, several documents, and
//! numbers that older versions read otherwise. It keeps a stack of its own, so nesting costs no recursion.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};

use super::lines::Lines;
use super::{Entry, Node, NodeBudget, Place, SyntaxError, Value, check_depth};

pub(super) fn read(text: &str) -> Result<Node, SyntaxError> {
    refuse_control_characters(text)?;
    let mut builder = Builder {
        open: Vec::new(),
        root: None,
        budget: NodeBudget::new(),
    };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| syntax_error(&error, text))?;
        let place = place_of(&span.start);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(_) => {
                refuse_directives(text, place)?;
                if builder.root.is_some() {
                    return Err(SyntaxError::new(
                        place,
                        "a second document",
                        "give one document a file",
                    ));
                }
            }
            Event::Alias(_) => return Err(alias(place)),
            Event::Scalar(written, style, anchor, tag) => {
                refuse_properties(anchor, tag.is_some(), place)?;
                builder.scalar(&written, style, place)?;
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_properties(anchor, tag.is_some(), place)?;
                builder.open(Content::List(Vec::new()), place)?;
            }
            Event::MappingStart(anchor, tag) => {
                refuse_properties(anchor, tag.is_some(), place)?;
                let map = Map {
                    entries: Vec::new(),
                    places: HashMap::new(),
                    name: None,
                };
                builder.open(Content::Map(map), place)?;
            }
            Event::SequenceEnd | Event::MappingEnd => builder.close()?,
        }
    }
    Ok(builder.root.unwrap_or(Node {
        value: Value::Null,
        place: Place::START,
    }))
}

/// The parser takes NUL for the end of the text and other control characters as they are.
fn refuse_control_characters(text: &str) -> Result<(), SyntaxError> {
    let is_refused = |byte: u8, next: Option<&u8>| match byte {
        b'\t' | b'\n' => false,
        b'\r' => next != Some(&b'\n'),
        0..=31 | 127 => true,
        _ => false,
    };
    let bytes = text.as_bytes();
    let refused = bytes
        .iter()
        .enumerate()
        .find(|(idx, byte)| is_refused(**byte, bytes.get(idx + 1)));
    match refused {
        None => Ok(()),
        Some((idx, _)) => Err(SyntaxError::new(
            Lines::new(text).place(idx),
            "a control character",
            "write it as an escape in double quotes, as in \"\\e\"",
        )),
    }
}

fn refuse_directives(text: &str, document: Place) -> Result<(), SyntaxError> {
    let directive = text
        .lines()
        .take(document.line.saturating_sub(1))
        .position(|line| line.starts_with('%'));
    match directive {
        None => Ok(()),
        Some(idx) => Err(SyntaxError::new(
            Place {
                line: idx + 1,
                column: 1,
            },
            "a directive",
            "leave it out: every file is read as YAML 1.2",
        )),
    }
}

fn refuse_properties(anchor: usize, has_tag: bool, place: Place) -> Result<(), SyntaxError> {
    if anchor != 0 {
        return Err(alias(place));
    }
    if has_tag {
        return Err(SyntaxError::new(
            place,
            "a tag",
            "leave it out; put a text in quotes if it looks like a number",
        ));
    }
    Ok(())
}

fn alias(place: Place) -> SyntaxError {
    SyntaxError::new(
        place,
        "an anchor or alias",
        "write the value out where it is used",
    )
}

fn place_of(marker: &Marker) -> Place {
    Place {
        line: marker.line(),
        column: marker.col() + 1,
    }
}

/// A list or map that is not closed yet.
struct Open {
    content: Content,
    place: Place,
}

enum Content {
    List(Vec<Node>),
    Map(Map),
}

struct Map {
    entries: Vec<Entry>,
    places: HashMap<String, Place>,
    /// The name whose value comes next.
    name: Option<(String, Place)>,
}

struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    budget: NodeBudget,
}

impl Builder {
    fn open(&mut self, content: Content, place: Place) -> Result<(), SyntaxError> {
        self.budget.take(place)?;
        check_depth(self.open.len() + 1, place)?;
        if self.wants_name() {
            return Err(SyntaxError::new(
                place,
                "a list or map as a name",
                "give a text as the name, in quotes if it begins with a bracket",
            ));
        }
        self.open.push(Open { content, place });
        Ok(())
    }

    fn close(&mut self) -> Result<(), SyntaxError> {
        let Some(Open { content, place }) = self.open.pop() else {
            return Ok(());
        };
        let value = match content {
            Content::List(items) => Value::List(items),
            Content::Map(map) => Value::Map(map.entries),
        };
        self.add(Node { value, place });
        Ok(())
    }

    /// Whether the next value is the name of an entry.
    fn wants_name(&self) -> bool {
        match self.open.last().map(|open| &open.content) {
            Some(Content::Map(map)) => map.name.is_none(),
            Some(Content::List(_)) | None => false,
        }
    }

    fn scalar(
        &mut self,
        written: &str,
        style: ScalarStyle,
        place: Place,
    ) -> Result<(), SyntaxError> {
        let is_plain = matches!(style, ScalarStyle::Plain);
        if let Some(Open {
            content: Content::Map(map),
            ..
        }) = self.open.last_mut()
            && map.name.is_none()
        {
            if is_plain && matches!(written, "" | "~" | "<<") {
                return Err(SyntaxError::new(
                    place,
                    "no name, or a merge key",
                    "give a text as the name; merge keys are not YAML 1.2",
                ));
            }
            if let Some(first) = map.places.insert(written.to_owned(), place) {
                return Err(SyntaxError::duplicate(place, first));
            }
            map.name = Some((written.to_owned(), place));
            return Ok(());
        }
        self.budget.take(place)?;
        let value = if is_plain {
            plain(written, place)?
        } else {
            Value::Text(written.to_owned())
        };
        // What is absent has no place of its own: its name is where the reader looks.
        let name_place = match self.open.last().map(|open| &open.content) {
            Some(Content::Map(map)) if written.is_empty() && is_plain => {
                map.name.as_ref().map(|(_, place)| *place)
            }
            _ => None,
        };
        self.add(Node {
            value,
            place: name_place.unwrap_or(place),
        });
        Ok(())
    }

    fn add(&mut self, node: Node) {
        match self.open.last_mut().map(|open| &mut open.content) {
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map(map)) => {
                if let Some((name, name_place)) = map.name.take() {
                    map.entries.push(Entry {
                        name,
                        name_place,
                        node,
                    });
                }
            }
            None => self.root = Some(node),
        }
    }
}

/// The value of a scalar without quotes, by the core schema.
fn plain(written: &str, place: Place) -> Result<Value, SyntaxError> {
    Ok(match written {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => {
            let unsigned = written.strip_prefix(['-', '+']).unwrap_or(written);
            if let Some(number) = radix(written) {
                number
            } else if is_digits(unsigned) {
                if unsigned.len() > 1 && unsigned.starts_with('0') {
                    return Err(SyntaxError::new(
                        place,
                        "a number with a leading zero, which YAML 1.1 and 1.2 read differently",
                        "leave the zero out, write 0o for octal, or put a text in quotes",
                    ));
                }
                match written.parse() {
                    Ok(integer) => Value::Integer(integer),
                    Err(_) => Value::OtherNumber(written.to_owned()),
                }
            } else if is_float(written, unsigned) {
                Value::OtherNumber(written.to_owned())
            } else {
                Value::Text(written.to_owned())
            }
        }
    })
}

/// An octal or hexadecimal number of the core schema, which has no sign.
fn radix(written: &str) -> Option<Value> {
    let (digits, radix) = match written.strip_prefix("0o") {
        Some(digits) => (digits, 8),
        None => (written.strip_prefix("0x")?, 16),
    };
    let is_number = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    is_number.then(|| match i64::from_str_radix(digits, radix) {
        Ok(integer) => Value::Integer(integer),
        Err(_) => Value::OtherNumber(written.to_owned()),
    })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_float(written: &str, unsigned: &str) -> bool {
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(written, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let is_exponent = exponent
        .is_none_or(|exponent| is_digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)));
    let is_mantissa = match mantissa.split_once('.') {
        None => is_digits(mantissa),
        Some(("", fraction)) => is_digits(fraction),
        Some((whole, fraction)) => is_digits(whole) && (fraction.is_empty() || is_digits(fraction)),
    };
    is_exponent && is_mantissa
}

/// What the parser's messages mean: a part of the message, what stands there, what would be right.
///
/// The first row that fits counts. Messages without a row are shown as they are; they quote no text of the document.
const MEANINGS: [(&str, &str, &str); 16] = [
    ("tab", "a tab in the indentation", "indent with spaces"),
    (
        "anchor",
        "an anchor or alias",
        "write the value out where it is used",
    ),
    (
        "quoted scalar, found unexpected end",
        "a text in quotes that is not closed",
        "close the quotes",
    ),
    (
        "escape",
        "an escape that YAML does not have",
        "write a backslash in double quotes as \\\\, or use single quotes",
    ),
    (
        "trailing content",
        "something behind a text in quotes",
        "put the whole text in quotes",
    ),
    (
        "quoted scalar",
        "a text in quotes that is not indented",
        "indent each of its lines, or close the quotes",
    ),
    (
        "mapping values are not allowed",
        "a colon where no name can stand",
        "put a text with a colon and a space in quotes, and line the names of a map up",
    ),
    (
        "flow sequence",
        "a list that is not closed",
        "separate its values with commas and close it with ]",
    ),
    (
        "flow mapping",
        "a map that is not closed",
        "separate its entries with commas and close it with }",
    ),
    (
        "bracket",
        "a bracket that closes nothing",
        "leave it out, or put the text in quotes",
    ),
    (
        "did not find expected key",
        "a line that is indented like no other of its map",
        "indent the names of one map alike",
    ),
    (
        "expected '-'",
        "a line that is indented like no other of its list",
        "indent the items of one list alike, each with a hyphen and a space",
    ),
    (
        "unexpected character",
        "a character that begins no value",
        "put a text that begins with one of % @ ` in quotes",
    ),
    (
        "illegal placement of ':'",
        "a colon inside a list or map that is not closed",
        "close the bracket before it, or put a text with a colon in quotes",
    ),
    (
        "simple key",
        "a name without a colon before this place",
        "write a colon and a space behind each name, and keep a name on one line",
    ),
    (
        "recursion",
        "lists and maps nested too deeply",
        "nest less deeply",
    ),
];

fn syntax_error(error: &ScanError, text: &str) -> SyntaxError {
    let info = error.info();
    // The parser's lines end behind the last line end; a reader's do not.
    let end = Lines::new(text).place(text.trim_end().len());
    let mut place = place_of(error.marker()).min(end);
    let meaning = MEANINGS.iter().find(|(part, _, _)| info.contains(part));
    let Some((part, found, expected)) = meaning else {
        return SyntaxError::new(place, info, "see the YAML 1.2 specification");
    };
    if *part == "tab" {
        place = first_tab(text, place.line).unwrap_or(place);
    }
    SyntaxError::new(place, *found, *expected)
}

/// The first tab in an indentation, from a line on: the parser names the text before it.
fn first_tab(text: &str, from_line: usize) -> Option<Place> {
    text.lines()
        .enumerate()
        .skip(from_line.saturating_sub(1))
        .find_map(|(idx, line)| {
            let indentation = line.len() - line.trim_start().len();
            let tab = line.get(..indentation)?.find('\t')?;
            Some(Place {
                line: idx + 1,
                column: tab + 1,
            })
        })
}
