//! How often a step is tried again, and what follows when that did not help.

use std::time::Duration;

use super::super::model::{Retries, RetryScope};
use super::super::reader::{Field, Reader};
use crate::document::Value;

/// The keys of `retries`.
pub(in super::super) const RETRY_KEYS: [&str; 5] =
    ["max", "delay", "backoff", "max_delay", "retry"];

/// Most retries of a step.
pub(in super::super) const MAX_RETRIES: u32 = 100;

/// Longest pause between two attempts: an hour.
pub(in super::super) const MAX_DELAY: Duration = Duration::from_secs(3_600);

/// By how much a pause may grow at most.
pub(in super::super) const MAX_BACKOFF: f64 = 10.0;

/// What a playbook retries that says nothing of retries: nothing.
pub(super) const NO_RETRIES: Retries = Retries {
    max: 0,
    delay: Duration::from_secs(1),
    backoff: 1.0,
    max_delay: Duration::from_secs(30),
    scope: RetryScope::Step,
};

impl<'a> Reader<'a> {
    /// The retries that a field gives over those that hold without it.
    pub(super) fn retries(&mut self, field: &Field<'a>, without: Retries) -> Retries {
        let mut retries = without;
        if let Value::Integer(_) | Value::OtherNumber(_) = &field.node.value {
            retries.max = self.integer(field, 0..=MAX_RETRIES).unwrap_or(0);
            return retries;
        }
        let Some(fields) = self.fields(field, &RETRY_KEYS) else {
            return retries;
        };
        match fields.get("max") {
            Some(field) => retries.max = self.integer(&field, 0..=MAX_RETRIES).unwrap_or(0),
            None if without.max == 0 => {
                let expected = "give the most attempts after the first, from 0 to 100";
                self.missing(&fields, "max", expected);
            }
            None => {}
        }
        let bounds = || Duration::ZERO..=MAX_DELAY;
        if let Some(field) = fields.get("delay") {
            retries.delay = self.duration(&field, bounds()).unwrap_or(retries.delay);
        }
        if let Some(field) = fields.get("backoff") {
            retries.backoff = self.backoff(&field).unwrap_or(retries.backoff);
        }
        match fields.get("max_delay") {
            Some(field) => {
                retries.max_delay = self.duration(&field, bounds()).unwrap_or(MAX_DELAY);
                if retries.max_delay < retries.delay {
                    self.conflict(&field, "give a max_delay that is not shorter than delay");
                }
            }
            None => retries.max_delay = retries.max_delay.max(retries.delay),
        }
        if let Some(field) = fields.get("retry") {
            let expected = "use step, or verify to repeat only the checks of files and HTTP";
            let is_known = |name: &str| matches!(name, "step" | "verify");
            if let Some(name) = self.checked_text(&field, is_known, expected) {
                retries.scope = match name {
                    "verify" => RetryScope::Verify,
                    _ => RetryScope::Step,
                };
            }
        }
        retries
    }

    fn backoff(&mut self, field: &Field<'a>) -> Option<f64> {
        let expected = "give a number from 1 to 10, such as 2 or 1.5";
        let given: Option<f64> = match &field.node.value {
            Value::Integer(integer) => integer.to_string().parse().ok(),
            Value::OtherNumber(number) => number.parse().ok(),
            _ => None,
        };
        match given {
            Some(backoff) if (1.0..=MAX_BACKOFF).contains(&backoff) => Some(backoff),
            Some(_) => {
                self.out_of_bounds(field, expected);
                None
            }
            None => {
                self.invalid(field, expected);
                None
            }
        }
    }
}
