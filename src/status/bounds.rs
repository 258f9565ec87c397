//! How large a document can be: the share of each part, and the functions that keep to it.
//!
//! Owns every limit of the document. Invariant: the sum of the shares is within [`MAX_DOCUMENT_BYTES`], as the compiler
//! checks, so a document never has to be measured.

use std::borrow::Cow;

use super::text;
use crate::event::Action;
use crate::event::action::Truncated;
use crate::event::lifecycle::{EnforcedLimit, Isolation, MissingLayer};

/// Most actions in a document: a screenful for a person; the whole is in the log.
pub const MAX_ACTIONS: usize = 100;
/// Most changes of phase that are kept. A healthy run has four; the first ones are kept of a damaged log.
pub const MAX_TRANSITIONS: usize = 64;
/// Largest document, in bytes: every share below, added up, stays under it.
pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;

/// Share of an action's `result_text`, in bytes of JSON.
const RESULT_TEXT_BYTES: usize = 2_048;
/// Share of an action's `error`.
const ACTION_ERROR_BYTES: usize = 1_024;
/// Share of each other text of an action: `action`, `input_summary`, ids, names.
pub(super) const ACTION_TEXT_BYTES: usize = 384;
/// Texts of an action with that share.
const N_ACTION_TEXTS: usize = 7;
/// Field names, numbers and punctuation of an action, at most.
const ACTION_FRAME_BYTES: usize = 900;
/// Share of one action.
const ACTION_BYTES: usize = RESULT_TEXT_BYTES
    + ACTION_ERROR_BYTES
    + N_ACTION_TEXTS * ACTION_TEXT_BYTES
    + ACTION_FRAME_BYTES;
/// Share of `result`.
pub(super) const RESULT_BYTES: usize = 64 << 10;
/// Share of `data` and of `error.details`, each; what is larger is replaced by a note, for cut JSON is no JSON.
const DATA_BYTES: usize = 64 << 10;
/// Share of each sentence of the document: `error.message`, reasons, `recordings.error`.
pub(super) const SENTENCE_BYTES: usize = 4 << 10;
/// Sentences of the document: error message, outcome's reason, recordings' error.
const N_SENTENCES: usize = 3;
/// Share of a transition.
const TRANSITION_BYTES: usize = REASON_BYTES + TIME_BYTES + 128;
/// Share of a time.
pub(super) const TIME_BYTES: usize = 64;
/// Share of a transition's reason.
pub(super) const REASON_BYTES: usize = 256;
/// Most labels, and the share of each key and value.
pub(super) const MAX_LABELS: usize = 64;
/// Share of a label's key and of its value.
pub(super) const LABEL_BYTES: usize = 256;
/// Most entries of each list of names (layers, missing layers, survivors), and lists of that kind.
pub(super) const MAX_NAMES: usize = 64;
/// Share of a name or of a layer's reason.
pub(super) const NAME_BYTES: usize = 256;
/// Most limits that are told; there are five.
const MAX_LIMITS: usize = 8;
/// Most directories of a control group: one in each hierarchy that is used.
const MAX_GROUPS: usize = 8;
/// Share of such a directory; one that is longer is left for the next run to remove.
const GROUP_BYTES: usize = 1 << 10;
/// Most services that are shown: as many as a description may have.
pub(super) const MAX_SERVICES: usize = crate::description::MAX_SERVICES;
/// Share of a service: its name, its reason, and the rest.
const SERVICE_BYTES: usize = NAME_BYTES + REASON_BYTES + 128;
/// Names in the document: layers, missing layers with reasons, survivors, and single ones (tiers, addresses).
const N_NAMES: usize = 4 * MAX_NAMES + 2 * MAX_LIMITS + 16;
/// Field names, numbers and punctuation of the document, at most.
const FRAME_BYTES: usize = 8 << 10;

const _: () = assert!(
    MAX_ACTIONS * ACTION_BYTES
        + RESULT_BYTES
        + 2 * DATA_BYTES
        + N_SENTENCES * SENTENCE_BYTES
        + MAX_TRANSITIONS * TRANSITION_BYTES
        + 2 * MAX_LABELS * LABEL_BYTES
        + N_NAMES * NAME_BYTES
        + MAX_GROUPS * GROUP_BYTES
        + MAX_SERVICES * SERVICE_BYTES
        + FRAME_BYTES
        <= MAX_DOCUMENT_BYTES
);

/// Gives the text, or its beginning within the share.
pub(super) fn cut_ref(whole: &str, max_json_bytes: usize) -> String {
    text::within(whole, max_json_bytes).into_owned()
}

/// The same for a text that is owned.
pub(super) fn cut(whole: String, max_json_bytes: usize) -> String {
    match text::within(&whole, max_json_bytes) {
        Cow::Borrowed(_) => whole,
        Cow::Owned(cut) => cut,
    }
}

/// Gives the action with every text within its share. Where `result_text` is cut, `truncated` says how much is left of
/// the whole.
pub(super) fn bounded_action(action: &Action) -> Action {
    let short = |text: &str| cut_ref(text, ACTION_TEXT_BYTES);
    let (result_text, truncated) = match action.result_text.as_deref() {
        None => (None, action.truncated),
        Some(whole) => match text::within(whole, RESULT_TEXT_BYTES) {
            Cow::Borrowed(whole) => (Some(whole.to_owned()), action.truncated),
            Cow::Owned(cut) => {
                let total_bytes = action
                    .truncated
                    .map_or(byte_count(whole), |truncated| truncated.total_bytes);
                let kept_bytes = byte_count(&cut);
                let truncated = Truncated {
                    total_bytes,
                    kept_bytes,
                };
                (Some(cut), Some(truncated))
            }
        },
    };
    Action {
        step: action.step,
        timestamp: cut_ref(&action.timestamp, TIME_BYTES),
        tool: short(&action.tool),
        action: short(&action.action),
        input_summary: short(&action.input_summary),
        duration_ms: action.duration_ms,
        success: action.success,
        result_text,
        has_screenshot: action.has_screenshot,
        error: action
            .error
            .as_deref()
            .map(|error| cut_ref(error, ACTION_ERROR_BYTES)),
        call_id: short(&action.call_id),
        parent_call_id: action.parent_call_id.as_deref().map(short),
        kind: action.kind,
        exit_code: action.exit_code,
        signal: action.signal,
        truncated,
        // A path that is cut leads nowhere; the log has it.
        artifact: action
            .artifact
            .clone()
            .filter(|path| matches!(text::within(path, ACTION_TEXT_BYTES), Cow::Borrowed(_))),
        tokens: action.tokens,
        cost_usd: action.cost_usd,
        agent_step: action.agent_step,
        attempt: action.attempt,
        of: action.of,
        cancelled: action.cancelled,
        usage: action.usage,
    }
}

fn byte_count(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

/// Gives the report with every list and text within its share.
pub(super) fn bounded_isolation(isolation: &Isolation) -> Isolation {
    let short = |text: &str| cut_ref(text, NAME_BYTES);
    Isolation {
        requested: short(&isolation.requested),
        enforced: short(&isolation.enforced),
        layers: isolation
            .layers
            .iter()
            .take(MAX_NAMES)
            .map(|layer| short(layer))
            .collect(),
        missing: isolation
            .missing
            .iter()
            .take(MAX_NAMES)
            .map(|missing| MissingLayer {
                layer: short(&missing.layer),
                reason: short(&missing.reason),
            })
            .collect(),
        network: short(&isolation.network),
        landlock_abi: isolation.landlock_abi,
        limits: isolation
            .limits
            .iter()
            .take(MAX_LIMITS)
            .map(|held| EnforcedLimit {
                limit: short(&held.limit),
                value: held.value,
                by: short(&held.by),
            })
            .collect(),
        groups: isolation
            .groups
            .iter()
            .take(MAX_GROUPS)
            .map(|group| cut_ref(group, GROUP_BYTES))
            .collect(),
    }
}

/// Gives the value, or a note in its place: cut JSON is no JSON.
pub(super) fn bounded_json(value: serde_json::Value) -> serde_json::Value {
    let n_bytes = serde_json::to_string(&value).map_or(usize::MAX, |json| json.len());
    if n_bytes <= DATA_BYTES {
        return value;
    }
    serde_json::json!({
        "truncated": { "total_bytes": n_bytes, "kept_bytes": 0 },
        "note": "too large for the status document; the whole is in the terminal event of the log",
    })
}

#[cfg(test)]
mod tests;
