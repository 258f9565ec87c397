//! What a guardrail decided.

use serde::{Deserialize, Serialize};

/// The rule that decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardrailRule {
    /// Too many actions in a row failed.
    ConsecutiveErrors,
    /// The same action gave the same result, again and again.
    RepeatedAction,
    /// A cycle of actions and results came again and again.
    RepeatedCycle,
}

impl GuardrailRule {
    /// Every rule, in the order of the table in `docs/guardrails.md`.
    pub const ALL: [Self; 3] = [
        Self::ConsecutiveErrors,
        Self::RepeatedAction,
        Self::RepeatedCycle,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConsecutiveErrors => "consecutive_errors",
            Self::RepeatedAction => "repeated_action",
            Self::RepeatedCycle => "repeated_cycle",
        }
    }
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardrailDecision {
    /// It is told; nothing else.
    Hint,
    /// It is told; the run is about to be stopped.
    Warn,
    /// The run is stopped.
    Stop,
}

impl GuardrailDecision {
    /// Every decision, from the mildest up.
    pub const ALL: [Self; 3] = [Self::Hint, Self::Warn, Self::Stop];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hint => "hint",
            Self::Warn => "warn",
            Self::Stop => "stop",
        }
    }
}

/// A guardrail decided other than to let the agent go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guardrail {
    /// The rule.
    pub rule: GuardrailRule,
    /// What follows.
    pub decision: GuardrailDecision,
    /// The action at which it was decided.
    pub step: u64,
    /// One sentence, with the names of the action.
    pub detail: String,
    /// How often it happened in a row: errors, or rounds of a repetition.
    pub seen: u64,
    /// The count at which the run is stopped; null when it never is.
    pub limit: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_their_serde_forms() {
        for rule in GuardrailRule::ALL {
            assert_eq!(serde_json::to_value(rule).unwrap(), rule.as_str());
        }
        for decision in GuardrailDecision::ALL {
            assert_eq!(serde_json::to_value(decision).unwrap(), decision.as_str());
        }
    }
}
