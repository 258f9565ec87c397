//! Guardrails: when an agent fails again and again, or goes in circles.
//!
//! Owns the rules and what is counted for them. It is pure: it is given each action that an agent reported, and gives a
//! finding or none; it records nothing and ends nothing. Invariants: memory does not grow with the run; each bound is
//! exact, so that the n-th occurrence fires and the one before does not; after a finding that stops, nothing is found.

pub mod bounds;
mod repetition;
mod signature;

#[cfg(test)]
mod tests;

pub use bounds::{Guardrails, MAX_CYCLE};
pub use signature::{Call, Signature};

use crate::event::{GuardrailDecision, GuardrailRule};
use repetition::Repetition;

/// An action that an agent reported as ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// What it was and what it gave; none when the agent told too little for a comparison.
    pub signature: Option<Signature>,
    /// Whether it succeeded; none when that is unknown.
    pub success: Option<bool>,
}

/// What a rule found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: GuardrailRule,
    /// What follows from it.
    pub decision: GuardrailDecision,
    /// How often it happened in a row: errors, or rounds of a repetition.
    pub seen: u64,
    /// The count at which the run is stopped; none when it never is.
    pub limit: Option<u64>,
    /// Actions in one round of a repetition; 1 for errors.
    pub cycle: usize,
}

/// Watches the actions of one run.
#[derive(Debug)]
pub struct Watch {
    max_consecutive_errors: u64,
    n_errors: u64,
    repetition: Repetition,
    is_over: bool,
}

impl Watch {
    /// A watch that has seen nothing.
    pub fn new(guardrails: Guardrails) -> Self {
        Self {
            max_consecutive_errors: u64::from(guardrails.max_consecutive_errors),
            n_errors: 0,
            repetition: Repetition::new(guardrails),
            is_over: false,
        }
    }

    /// Takes the next action; a finding when a rule applies.
    ///
    /// Errors are looked at first: who fails in circles has failed.
    pub fn saw(&mut self, action: Seen) -> Option<Finding> {
        if self.is_over {
            return None;
        }
        let failed = self.saw_success(action.success);
        let repeated = self.repetition.saw(action.signature);
        let finding = failed.or(repeated)?;
        self.is_over = finding.decision == GuardrailDecision::Stop;
        Some(finding)
    }

    /// Forgets what was counted: what comes next repeats nothing by its own will, such as another attempt at a step.
    pub fn begin_anew(&mut self) {
        self.n_errors = 0;
        self.repetition.begin_anew();
    }

    /// An unknown success is no error, and does not take one back either.
    fn saw_success(&mut self, success: Option<bool>) -> Option<Finding> {
        match success {
            Some(true) => self.n_errors = 0,
            Some(false) => {
                self.n_errors = self.n_errors.saturating_add(1);
                let limit = self.max_consecutive_errors;
                if limit > 0 && self.n_errors >= limit {
                    return Some(Finding {
                        rule: GuardrailRule::ConsecutiveErrors,
                        decision: GuardrailDecision::Stop,
                        seen: self.n_errors,
                        limit: Some(limit),
                        cycle: 1,
                    });
                }
            }
            None => {}
        }
        None
    }
}
