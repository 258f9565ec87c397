//! The event as it stands in the log, for those who look at it as an event.
//!
//! Owns the way back from a redacted payload to a typed event, whatever a secret happens to equal.

use serde_json::Value;

use crate::event::{Diagnostic, Event, Level};
use crate::redact::Redactor;

/// Gives observers the event as the log says it, and no more.
///
/// A secret may equal a number or a word of ours (`12345678`, `"completed"`), and then the redacted payload is no event of
/// its type any more. Observers then get the event with its texts redacted and its numbers kept; in the last resort the
/// short words of our own vocabulary are kept too.
pub(super) fn as_logged(redactor: &Redactor, event: Event, payload: &[u8]) -> Event {
    let Ok(whole) = serde_json::to_value(&event) else {
        return event;
    };
    let from_payload = || {
        let mut value: Value = serde_json::from_slice(payload).ok()?;
        value
            .as_object_mut()?
            .insert("type".to_owned(), event.event_type().as_str().into());
        serde_json::from_value(value).ok()
    };
    let with_texts = |keeps_words| {
        let mut value = whole.clone();
        redact_texts(redactor, &mut value, keeps_words);
        value
            .as_object_mut()?
            .insert("type".to_owned(), event.event_type().as_str().into());
        serde_json::from_value(value).ok()
    };
    from_payload()
        .or_else(|| with_texts(Words::Redact))
        .or_else(|| with_texts(Words::Keep))
        .unwrap_or_else(|| {
            Event::Log(Diagnostic {
                level: Level::Warn,
                message: "an event was redacted beyond recognition".to_owned(),
                source: "supervisor".to_owned(),
            })
        })
}

/// Whether words that could be of our own vocabulary are redacted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Words {
    Redact,
    Keep,
}

/// Longest word of our vocabulary on the wire.
const MAX_WORD_BYTES: usize = 24;

fn redact_texts(redactor: &Redactor, value: &mut Value, words: Words) {
    match value {
        Value::String(text) => {
            let is_word = text.len() <= MAX_WORD_BYTES
                && text.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
            if words == Words::Redact || !is_word {
                *text = redactor.redact_text(text).into_owned();
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| redact_texts(redactor, item, words)),
        Value::Object(fields) => fields
            .values_mut()
            .for_each(|field| redact_texts(redactor, field, words)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
