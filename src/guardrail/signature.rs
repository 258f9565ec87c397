//! What makes two actions the same: tool, action, input and result.
//!
//! Texts are hashed whole, before anything is cut, so that two long texts with the same beginning differ; the texts
//! themselves are not kept. Numbers, times, ids, tokens and cost are no part of it: they differ for the same action.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::agent::ReportedAction;

/// What an agent asked for: its tool, the action and the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    name: u64,
    /// None when the agent did not tell it.
    input: Option<u64>,
}

/// What an agent asked for and what it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature(u64);

impl Call {
    /// The call of a report.
    pub fn of(reported: &ReportedAction) -> Self {
        let input = (&reported.input_summary, &reported.input);
        Self {
            name: hash_of(&(&reported.tool, &reported.action)),
            input: match input {
                (None, None) => None,
                (summary, input) => {
                    // The order of names in an object says nothing.
                    let input = input.clone().map(|mut input| {
                        input.sort_all_objects();
                        input.to_string()
                    });
                    Some(hash_of(&(summary, input)))
                }
            },
        }
    }

    /// The call of an action that began as `began` and ended as this call: the names are those of the beginning, and the
    /// input is that of the end, if it tells one.
    pub fn begun_as(self, began: Self) -> Self {
        Self {
            name: began.name,
            input: self.input.or(began.input),
        }
    }

    /// The signature of the call with the result of a report; none when the report has neither an input nor a result, for
    /// then nothing says whether two of them are the same.
    pub fn ended(self, reported: &ReportedAction) -> Option<Signature> {
        let result = (
            reported.success,
            &reported.result_text,
            &reported.error,
            reported.exit_code,
            reported.signal,
        );
        let is_told = self.input.is_some() || result != (None, &None, &None, None, None);
        is_told.then(|| Signature(hash_of(&(self.name, self.input, result))))
    }
}

/// A hash of 64 bits; that two different actions of a run share one is less likely than a broken memory.
fn hash_of(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}
