//! The bounds of the guardrails, as data. Whether they fit each other is checked where they are read.

use serde::{Deserialize, Serialize};

/// Longest cycle that can be looked for, in actions.
pub const MAX_CYCLE: u32 = 3;

/// The bounds of the guardrails; 0 is off for each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guardrails {
    /// The failed actions in a row that end the run.
    pub max_consecutive_errors: u32,
    /// The longest cycle of actions that counts as a repetition; 1 sees the same action only.
    pub stuck_cycle: u32,
    /// The rounds of a repetition that give a hint.
    pub stuck_hint: u32,
    /// The rounds of a repetition that give a warning; more than those of the hint.
    pub stuck_warn: u32,
    /// The rounds of a repetition that end the run; more than those of the warning.
    pub stuck_stop: u32,
}

impl Default for Guardrails {
    /// Levels that the predecessor proved, and twice its errors: there an error in excess only changed a text.
    fn default() -> Self {
        Self {
            max_consecutive_errors: 10,
            stuck_cycle: MAX_CYCLE,
            stuck_hint: 3,
            stuck_warn: 5,
            stuck_stop: 7,
        }
    }
}
