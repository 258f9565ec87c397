//! Redaction inside one encoded JSON object.
//!
//! Owns the walk over strings and numbers. It never changes structure: only whole strings and numbers are written
//! anew, so a secret that looks like syntax cannot break the object. Invariant: a valid object stays valid.

use super::{Redaction, Redactor, into_text};

/// What stands for a string that cannot be decoded: what cannot be read cannot be shown to be free of secrets.
const UNDECODABLE: &str = "[redacted:undecodable]";

/// Name of the header whose values are credentials, also as the end of `proxy-authorization`.
const CREDENTIAL_HEADER: &str = "authorization";

/// Rewrites `payload` if a string, a nested key or a number in it is or contains a secret.
pub(super) fn redact_object(redactor: &Redactor, payload: &mut Vec<u8>) -> Redaction {
    let mut out = Vec::with_capacity(payload.len());
    let mut redaction = Redaction::Untouched;
    let mut rest: &[u8] = payload;
    let mut depth = 0_usize;
    let mut key: Option<String> = None;
    while let Some(&byte) = rest.first() {
        let n_bytes = match byte {
            b'"' => string_length(rest),
            b'-' | b'0'..=b'9' => number_length(rest),
            _ => 1,
        };
        let (token, after) = rest.split_at_checked(n_bytes).unwrap_or((rest, &[]));
        let changed = match byte {
            b'"' if after.trim_ascii_start().starts_with(b":") => {
                let (new_key, changed) = redacted_string(redactor, token, None);
                key = Some(new_key);
                changed.filter(|_| depth > 1)
            }
            b'"' => redacted_string(redactor, token, key.take().as_deref()).1,
            b'-' | b'0'..=b'9' => redacted_number(redactor, token),
            _ => {
                match byte {
                    b'{' | b'[' => depth = depth.saturating_add(1),
                    b'}' | b']' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                if !matches!(byte, b':' | b' ') {
                    key = None;
                }
                None
            }
        };
        match changed {
            Some(string) => {
                redaction = Redaction::Changed;
                out.extend_from_slice(&string);
            }
            None => out.extend_from_slice(token),
        }
        rest = after;
    }
    if redaction == Redaction::Changed {
        *payload = out;
    }
    redaction
}

/// Decodes a string; gives its text, and its new encoding if it has a secret. Under the key of a credential header it
/// is looked at as the value of that header.
fn redacted_string(
    redactor: &Redactor,
    token: &[u8],
    key: Option<&str>,
) -> (String, Option<Vec<u8>>) {
    let Ok(text) = serde_json::from_slice::<String>(token) else {
        return (String::new(), Some(encoded(UNDECODABLE)));
    };
    let header = key.filter(|key| key.to_ascii_lowercase().ends_with(CREDENTIAL_HEADER));
    let line = format!("{CREDENTIAL_HEADER}: {text}");
    let value_at = line.len().saturating_sub(text.len());
    let redacted = match header {
        Some(_) => redactor.replaced(line.as_bytes(), value_at),
        None => redactor.redact_bytes(text.as_bytes()).into_owned(),
    };
    let changed = (redacted != text.as_bytes()).then(|| encoded(&into_text(redacted)));
    (text, changed)
}

/// The string that stands for a number, if the whole number is a declared value.
fn redacted_number(redactor: &Redactor, token: &[u8]) -> Option<Vec<u8>> {
    let replacements = &redactor.tables.replacements;
    let redacted = redactor.replaced(token, 0);
    replacements
        .iter()
        .find(|replacement| replacement.as_bytes() == redacted)
        .map(|replacement| encoded(replacement))
}

fn encoded(text: &str) -> Vec<u8> {
    serde_json::Value::from(text).to_string().into_bytes()
}

/// Length of the string at the start of `rest` with both quotes; all of it if it has no end.
fn string_length(rest: &[u8]) -> usize {
    let mut at = 1_usize;
    while let Some(found) = rest
        .get(at..)
        .and_then(|part| memchr::memchr2(b'"', b'\\', part))
    {
        at = at.saturating_add(found);
        match rest.get(at) {
            Some(b'"') => return at.saturating_add(1),
            _ => at = at.saturating_add(2),
        }
    }
    rest.len()
}

fn number_length(rest: &[u8]) -> usize {
    rest.iter()
        .take_while(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
        .count()
}
