//! The keys `guardrails.*`: each within its bounds, and all of them in harmony.
//!
//! Two bounds that contradict each other, and a bound that somebody set and that can never be reached, are refused by the
//! names of both keys: a guardrail that looks as if it were there is worse than none.

use std::collections::BTreeMap;

use super::RunDescription;
use super::checker::{Checker, Unit};
use super::error::ErrorKind;
use super::origin::Origin;
use super::value::{Given, Value};
use crate::guardrail::{Guardrails, MAX_CYCLE};

/// Most errors in a row: as many as there may be actions.
const MAX_ERRORS: u64 = 1_000_000;
/// Most rounds of a repetition; whoever wants more wants none.
const MAX_ROUNDS: u64 = 1_000;

const ERRORS: &str = "guardrails.max_consecutive_errors";
const CYCLE: &str = "guardrails.stuck_cycle";

impl Checker<'_> {
    /// The bounds of the guardrails of a run of at most `max_steps` actions.
    pub(crate) fn guardrails(
        &mut self,
        max_steps: u64,
        origins: &BTreeMap<String, Origin>,
    ) -> Guardrails {
        let defaults = Guardrails::default();
        let mut bound = |name: &str, max: u64, default: u32| {
            let number = self.number(name, Unit::Count, 0..=max, u64::from(default));
            u32::try_from(number).unwrap_or(default)
        };
        let guardrails = Guardrails {
            max_consecutive_errors: bound(ERRORS, MAX_ERRORS, defaults.max_consecutive_errors),
            stuck_cycle: bound(CYCLE, u64::from(MAX_CYCLE), defaults.stuck_cycle),
            stuck_hint: bound("guardrails.stuck_hint", MAX_ROUNDS, defaults.stuck_hint),
            stuck_warn: bound("guardrails.stuck_warn", MAX_ROUNDS, defaults.stuck_warn),
            stuck_stop: bound("guardrails.stuck_stop", MAX_ROUNDS, defaults.stuck_stop),
        };
        // A bound that is refused stands as its default, of which nothing can be said.
        let has_bounds = !self.faults.has_any(&["max_steps", ERRORS, CYCLE])
            && levels(guardrails)
                .iter()
                .all(|(name, _)| !self.faults.has_any(&[name]));
        if has_bounds {
            self.refuse_contradictions(guardrails, origins);
            self.refuse_unreachable(guardrails, max_steps, origins);
        }
        guardrails
    }

    fn refuse_contradictions(
        &mut self,
        guardrails: Guardrails,
        origins: &BTreeMap<String, Origin>,
    ) {
        let levels = levels(guardrails);
        for (name, rounds) in levels {
            if rounds == 1 && origins.contains_key(name) {
                let expected = "one round is no repetition; give 2 to 1,000, or 0 for off";
                self.refuse_bound(ErrorKind::OutOfBounds, name, rounds, origins, expected);
                return;
            }
        }
        let on: Vec<_> = levels
            .into_iter()
            .filter(|(_, rounds)| *rounds > 0)
            .collect();
        for pair in on.windows(2) {
            let [(lower, lower_rounds), (higher, higher_rounds)] = pair else {
                continue;
            };
            if lower_rounds < higher_rounds {
                continue;
            }
            // Who set one of them is told of the other.
            let (name, rounds, expected) = if origins.contains_key(*higher) {
                let expected =
                    format!("give more than {lower} = {lower_rounds}, or 0 for off for either");
                (higher, higher_rounds, expected)
            } else {
                let expected =
                    format!("give less than {higher} = {higher_rounds}, or 0 for off for either");
                (lower, lower_rounds, expected)
            };
            self.refuse_bound(ErrorKind::Conflict, name, *rounds, origins, &expected);
            return;
        }
    }

    /// Refuses what somebody set and `max_steps` makes impossible; the defaults may be out of reach of a short run.
    fn refuse_unreachable(
        &mut self,
        guardrails: Guardrails,
        max_steps: u64,
        origins: &BTreeMap<String, Origin>,
    ) {
        let errors = guardrails.max_consecutive_errors;
        if u64::from(errors) > max_steps && origins.contains_key(ERRORS) {
            let expected = format!(
                "it is never reached with max_steps = {max_steps}; give at most that, or a larger max_steps"
            );
            self.refuse_bound(ErrorKind::Conflict, ERRORS, errors, origins, &expected);
        }
        let cycle = guardrails.stuck_cycle;
        for (level, rounds) in levels(guardrails) {
            let (name, bound) = match (origins.contains_key(level), origins.contains_key(CYCLE)) {
                (true, _) => (level, rounds),
                (false, true) => (CYCLE, cycle),
                (false, false) => continue,
            };
            let actions = u64::from(rounds) * u64::from(cycle);
            if actions <= max_steps {
                continue;
            }
            let expected = format!(
                "{level} = {rounds} rounds of {CYCLE} = {cycle} are {actions} actions, more than max_steps = {max_steps}; give less, or a larger max_steps"
            );
            self.refuse_bound(ErrorKind::Conflict, name, bound, origins, &expected);
            return;
        }
    }

    fn refuse_bound(
        &mut self,
        kind: ErrorKind,
        name: &str,
        bound: u32,
        origins: &BTreeMap<String, Origin>,
        expected: &str,
    ) {
        let given = Given {
            value: Value::Integer(i64::from(bound)),
            origin: origins.get(name).cloned().unwrap_or(Origin::Unset),
        };
        self.faults.add(kind, name, &given, expected);
    }
}

impl RunDescription {
    /// The guardrails that look at attempts at the steps of a playbook: those that somebody set. By default its own `retries`
    /// are the bound, which its author has chosen.
    pub fn guardrails_of_attempts(&self) -> Option<Guardrails> {
        let all = self.guardrails;
        let set = |names: &[&str], bound: u32| {
            let is_set = names.iter().any(|name| self.is_explicit(name));
            if is_set { bound } else { 0 }
        };
        let [hint, warn, stop] = levels(all).map(|(name, rounds)| set(&[name, CYCLE], rounds));
        let own = Guardrails {
            max_consecutive_errors: set(&[ERRORS], all.max_consecutive_errors),
            stuck_cycle: all.stuck_cycle,
            stuck_hint: hint,
            stuck_warn: warn,
            stuck_stop: stop,
        };
        let is_any = own.max_consecutive_errors.max(hint).max(warn).max(stop) > 0;
        (self.playbook.is_some() && is_any).then_some(own)
    }
}

/// The levels of stuck detection, from the mildest up.
fn levels(guardrails: Guardrails) -> [(&'static str, u32); 3] {
    [
        ("guardrails.stuck_hint", guardrails.stuck_hint),
        ("guardrails.stuck_warn", guardrails.stuck_warn),
        ("guardrails.stuck_stop", guardrails.stuck_stop),
    ]
}
