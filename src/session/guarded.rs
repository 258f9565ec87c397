//! What the guardrails decided, in the words of the record.
//!
//! Owns the sentence of a finding, the error code that follows from a stop, and its facts for machines. The names in it are
//! those of the recorded action: redacted and cut already.

use serde_json::{Value, json};

use crate::event::{Action, Guardrail, GuardrailRule, LimitRule};
use crate::guardrail::Finding;
use crate::run::ErrorCode;
use crate::text::cut_at_char;

/// Longest summary of an action in a sentence, in bytes: enough to recognise it.
const MAX_SUMMARY_BYTES: usize = 120;

/// The names of an action, as a sentence has them.
pub(super) fn label(action: &Action) -> String {
    let summary = cut_at_char(&action.input_summary, MAX_SUMMARY_BYTES);
    let names = [&action.tool, &action.action].map(|name| cut_at_char(name, MAX_SUMMARY_BYTES));
    let parts = names.into_iter().chain([summary]);
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}

/// The event of a finding at `step`, the action called `label`.
pub(super) fn event(step: u64, finding: &Finding, label: &str) -> Guardrail {
    let Finding {
        rule, seen, cycle, ..
    } = *finding;
    let detail = match rule {
        GuardrailRule::ConsecutiveErrors => {
            format!("{seen} actions in a row failed, the last one: {label}")
        }
        GuardrailRule::RepeatedAction => {
            format!("the same action gave the same result {seen} times in a row: {label}")
        }
        GuardrailRule::RepeatedCycle => {
            format!(
                "the same {cycle} actions gave the same results {seen} times in a row, the last one: {label}"
            )
        }
    };
    Guardrail {
        rule,
        decision: finding.decision,
        step,
        detail,
        seen,
        limit: finding.limit,
    }
}

/// The code and the message of a run that a guardrail stopped.
pub(super) fn error(guardrail: &Guardrail) -> (ErrorCode, String) {
    let detail = &guardrail.detail;
    let seen = guardrail.seen;
    match guardrail.rule {
        GuardrailRule::ConsecutiveErrors => (
            ErrorCode::GuardrailBlocked,
            format!("the run reached guardrails.max_consecutive_errors = {seen}: {detail}"),
        ),
        GuardrailRule::RepeatedAction | GuardrailRule::RepeatedCycle => (
            ErrorCode::Stuck,
            format!("the run reached guardrails.stuck_stop = {seen}: {detail}"),
        ),
    }
}

/// The facts of a budget that was passed: the key that bounds it, as the rule, and its value; the code is the same for several.
pub(super) fn budget(rule: LimitRule, limit: u64) -> Value {
    serde_json::json!({ "rule": rule, "limit": limit })
}

/// The facts of the error, for machines.
pub(super) fn details(guardrail: &Guardrail) -> Value {
    json!({
        "rule": guardrail.rule,
        "step": guardrail.step,
        "seen": guardrail.seen,
        "limit": guardrail.limit,
    })
}
