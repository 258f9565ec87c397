//! Stuck detection: the same action with the same result, or a short cycle of them, again and again.
//!
//! Owns no window. For each length of a cycle it counts how long every action has equalled the one that many before it,
//! so only as many signatures are kept as the longest cycle has actions, and no choice of bounds makes one that cannot
//! fire. Invariant: an `n`-th round is found at its last action, by the shortest cycle that describes it.

use std::collections::VecDeque;

use super::{Finding, Guardrails, Signature};
use crate::event::{GuardrailDecision, GuardrailRule};

/// Counts repetitions.
#[derive(Debug)]
pub(super) struct Repetition {
    /// Rounds and what follows from them, from the gravest down; those that are off are left out.
    levels: Vec<(u64, GuardrailDecision)>,
    stop_at: Option<u64>,
    /// The last signatures, the newest first; never more than the longest cycle has actions.
    recent: VecDeque<Option<Signature>>,
    /// For each length from 1: actions in a row that equalled the one that many before.
    equal: Vec<u64>,
}

impl Repetition {
    pub(super) fn new(guardrails: Guardrails) -> Self {
        let levels = [
            (guardrails.stuck_stop, GuardrailDecision::Stop),
            (guardrails.stuck_warn, GuardrailDecision::Warn),
            (guardrails.stuck_hint, GuardrailDecision::Hint),
        ];
        let longest = usize::try_from(guardrails.stuck_cycle).unwrap_or(usize::MAX);
        Self {
            levels: levels
                .into_iter()
                .filter(|(rounds, _)| *rounds > 0)
                .map(|(rounds, decision)| (u64::from(rounds), decision))
                .collect(),
            stop_at: (guardrails.stuck_stop > 0).then_some(u64::from(guardrails.stuck_stop)),
            recent: VecDeque::with_capacity(longest),
            equal: vec![0; longest],
        }
    }

    /// Takes the next signature; one that is unknown equals none.
    pub(super) fn saw(&mut self, signature: Option<Signature>) -> Option<Finding> {
        for (idx, equal) in self.equal.iter_mut().enumerate() {
            let earlier = self.recent.get(idx).copied().flatten();
            *equal = match signature.is_some() && signature == earlier {
                true => equal.saturating_add(1),
                false => 0,
            };
        }
        let finding = self.finding();
        self.recent.push_front(signature);
        self.recent.truncate(self.equal.len());
        finding
    }

    pub(super) fn begin_anew(&mut self) {
        self.recent.clear();
        self.equal.fill(0);
    }

    fn finding(&self) -> Option<Finding> {
        self.equal
            .iter()
            .enumerate()
            .filter(|(idx, _)| !self.has_shorter_cycle(idx + 1))
            .find_map(|(idx, equal)| self.level(idx + 1, *equal))
    }

    /// Whether the last `cycle` actions are themselves rounds of a shorter cycle, which then is the one to be told.
    fn has_shorter_cycle(&self, cycle: usize) -> bool {
        let shorter = self.equal.iter().enumerate().take(cycle.saturating_sub(1));
        shorter
            .filter(|(idx, _)| cycle.is_multiple_of(idx + 1))
            .any(|(idx, equal)| usize::try_from(*equal).is_ok_and(|n| n >= cycle - (idx + 1)))
    }

    /// The level that exactly this round reaches.
    fn level(&self, cycle: usize, equal: u64) -> Option<Finding> {
        let actions = u64::try_from(cycle).ok()?;
        if equal == 0 || !equal.is_multiple_of(actions) {
            return None;
        }
        let rounds = equal / actions + 1;
        let (_, decision) = self.levels.iter().find(|(at, _)| *at == rounds)?;
        Some(Finding {
            rule: match cycle {
                1 => GuardrailRule::RepeatedAction,
                _ => GuardrailRule::RepeatedCycle,
            },
            decision: *decision,
            seen: rounds,
            limit: self.stop_at,
            cycle,
        })
    }
}
