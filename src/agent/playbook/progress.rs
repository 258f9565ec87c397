//! Where a playbook stands: which step is next, which attempt it is, and what became of those before.
//!
//! Owns the order of steps. It is pure: it knows neither processes nor clocks. Invariants: after
//! [`MAX_STEP_EXECUTIONS`] attempts, or as many skipped steps, no step but those of `finally` begins, whatever jumps there
//! are; the steps of `finally` come after all others, once each, and no limit of loops keeps one from its turn.
//!
//! ```text
//!   steps:    begin ──▶ one step ──succeeded, skipped, continue──▶ the next one
//!                          │  ▲ └──goto──▶ any other
//!                          │  └── retry
//!                        abort ──▶ finally: one after the other, whatever becomes of each ──▶ end
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use crate::agent::{Exit, Verdict};
use crate::event::LimitRule;
use crate::playbook::expression::{Scope, StepState};
use crate::playbook::model::{Argument, OnFailure, Playbook, Step, StepStatus};
use crate::playbook::{MAX_OUTPUTS_BYTES, MAX_STEP_EXECUTIONS};
use crate::run::ErrorCode;

/// A step of a playbook by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In `steps`, from 0.
    Steps(usize),
    /// In `finally`, from 0.
    Finally(usize),
}

/// Why an attempt, or a step that could not be attempted, failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// The code of the run that ends with it.
    pub(super) code: ErrorCode,
    /// One clause: what did not hold, and what was seen.
    pub(super) why: String,
    /// The exit that decided it, if one did.
    pub(super) exit: Option<Box<Exit>>,
    /// The limit that decided it, if one did.
    pub(super) limit: Option<(LimitRule, u64)>,
}

impl Failure {
    /// A failure that no exit decided.
    pub(super) fn of_check(why: String) -> Self {
        Self {
            code: ErrorCode::AgentFailed,
            why,
            exit: None,
            limit: None,
        }
    }

    /// A limit of all steps together, which [`MAX_STEP_EXECUTIONS`] is.
    pub(super) fn of_limit(rule: LimitRule) -> Self {
        let what = match rule {
            LimitRule::StepsSkipped => "skipped steps",
            _ => "attempts",
        };
        Self {
            code: ErrorCode::BudgetExceeded,
            why: format!("the playbook reached its limit of {MAX_STEP_EXECUTIONS} {what}"),
            exit: None,
            limit: Some((rule, u64::from(MAX_STEP_EXECUTIONS))),
        }
    }
}

/// What became of a step; of the last time, where a jump ran it again.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    pub(super) status: StepStatus,
    pub(super) attempts: u32,
    pub(super) exit_code: Option<i32>,
    pub(super) duration: Duration,
    pub(super) outputs: Vec<(String, String)>,
    pub(super) error: Option<String>,
    /// It was skipped, and succeeded in the run that this one goes on from.
    pub(super) is_taken_over: bool,
}

impl Record {
    /// A step that was not run.
    pub(super) fn skipped() -> Self {
        Self {
            status: StepStatus::Skipped,
            attempts: 0,
            exit_code: None,
            duration: Duration::ZERO,
            outputs: Vec::new(),
            error: None,
            is_taken_over: false,
        }
    }

    /// What expressions see of it; its outputs go there.
    fn take_state(&mut self) -> StepState {
        StepState {
            status: self.status,
            exit: self.exit_code,
            outputs: std::mem::take(&mut self.outputs).into_iter().collect(),
        }
    }
}

/// The state of a playbook that runs.
#[derive(Debug)]
pub(super) struct Progress {
    next: Option<Place>,
    /// Attempts at steps that are not of `finally` and have ended.
    n_executions: u32,
    /// Such steps that were skipped.
    n_skipped: u32,
    /// Without outputs, which are kept once.
    records: BTreeMap<String, Record>,
    /// What expressions see.
    states: BTreeMap<String, StepState>,
    /// The failure that fails the run; the first one stands.
    fatal: Option<(String, Failure)>,
}

impl Progress {
    /// At the first step, or at `from`, with all before it skipped.
    pub(super) fn new(playbook: &Playbook, from: usize) -> Self {
        let skipped = || playbook.steps.iter().take(from);
        Self {
            next: Some(Place::Steps(from)),
            n_executions: 0,
            n_skipped: 0,
            records: skipped()
                .map(|step| (step.id.clone(), Record::skipped()))
                .collect(),
            states: skipped()
                .map(|step| (step.id.clone(), Record::skipped().take_state()))
                .collect(),
            fatal: None,
        }
    }

    /// Takes over what an earlier run has left of the steps that are skipped from the beginning.
    pub(super) fn take_over(&mut self, earlier: BTreeMap<String, StepState>) {
        for (id, state) in earlier {
            if let Some(record) = self.records.get_mut(&id) {
                record.exit_code = state.exit;
                record.is_taken_over = true;
                self.states.insert(id, state);
            }
        }
    }

    /// Whether the step was taken over, and has not run since.
    pub(super) fn is_taken_over(&self, id: &str) -> bool {
        self.records
            .get(id)
            .is_some_and(|record| record.is_taken_over)
    }

    /// What expressions see.
    pub(super) fn scope<'a>(&'a self, arguments: &'a BTreeMap<String, Argument>) -> Scope<'a> {
        Scope {
            arguments,
            steps: &self.states,
            has_failed: self.fatal.is_some(),
        }
    }

    /// What is recorded so far, by the step's id.
    pub(super) fn records(&self) -> &BTreeMap<String, Record> {
        &self.records
    }

    /// The step to be run now; none at the end.
    pub(super) fn current<'a>(&self, playbook: &'a Playbook) -> Option<(Place, &'a Step)> {
        let place = self.next?;
        step_at(playbook, place).map(|step| (place, step))
    }

    /// Whether the current step was attempted before.
    pub(super) fn has_run(&self, playbook: &Playbook) -> bool {
        let current = self.current(playbook);
        current.is_some_and(|(_, step)| {
            let record = self.records.get(&step.id);
            record.is_some_and(|record| record.attempts > 0)
        })
    }

    /// The outputs that a step left, if it left any.
    pub(super) fn outputs(&self, id: &str) -> Option<&BTreeMap<String, String>> {
        self.states.get(id).map(|state| &state.outputs)
    }

    /// Bytes that the outputs of the step may have: what those of all others leave of [`MAX_OUTPUTS_BYTES`].
    pub(super) fn room_for_outputs(&self, id: &str) -> usize {
        let others = self.states.iter().filter(|(other, _)| *other != id);
        let taken: usize = others
            .flat_map(|(_, state)| &state.outputs)
            .map(|(name, text)| name.len() + text.len())
            .sum();
        MAX_OUTPUTS_BYTES.saturating_sub(taken)
    }

    /// Whether another attempt may begin.
    ///
    /// # Errors
    /// The limit, when there were too many attempts or skipped steps. A step of `finally` always may: there are few of
    /// them, and each has its own limit of attempts.
    pub(super) fn may_begin(&self) -> Result<(), LimitRule> {
        if !matches!(self.next, Some(Place::Steps(_))) {
            return Ok(());
        }
        if self.n_executions >= MAX_STEP_EXECUTIONS {
            return Err(LimitRule::StepAttempts);
        }
        if self.n_skipped >= MAX_STEP_EXECUTIONS {
            return Err(LimitRule::StepsSkipped);
        }
        Ok(())
    }

    /// Takes the end of the current step and goes on to what follows it.
    pub(super) fn end(
        &mut self,
        playbook: &Playbook,
        mut record: Record,
        failure: Option<Failure>,
    ) {
        let Some((place, step)) = self.current(playbook) else {
            return;
        };
        match (place, record.status) {
            (Place::Finally(_), _) => {}
            (Place::Steps(_), StepStatus::Skipped) => self.n_skipped += 1,
            // One that could not be attempted counts, too: it may be what goes back.
            (Place::Steps(_), StepStatus::Succeeded | StepStatus::Failed) => {
                let n_attempts = record.attempts.max(1);
                self.n_executions = self.n_executions.saturating_add(n_attempts);
            }
        }
        self.states.insert(step.id.clone(), record.take_state());
        self.records.insert(step.id.clone(), record);
        let following = match (place, failure) {
            (Place::Steps(step_idx), None) => Place::Steps(step_idx + 1),
            (Place::Steps(step_idx), Some(failure)) => match step.on_failure {
                OnFailure::Continue => Place::Steps(step_idx + 1),
                OnFailure::Goto(step_idx) => Place::Steps(step_idx),
                OnFailure::Abort => {
                    self.fail(&step.id, failure);
                    Place::Finally(0)
                }
            },
            // A failure never keeps the rest of the clean-up from being done.
            (Place::Finally(step_idx), failure) => {
                if let Some(failure) = failure
                    && step.on_failure != OnFailure::Continue
                {
                    self.fail(&step.id, failure);
                }
                Place::Finally(step_idx + 1)
            }
        };
        self.next = match (following, step_at(playbook, following)) {
            (place, Some(_)) => Some(place),
            (Place::Steps(_), None) if !playbook.finally.is_empty() => Some(Place::Finally(0)),
            (Place::Steps(_) | Place::Finally(_), None) => None,
        };
    }

    /// Gives up the steps, but not those of `finally`.
    pub(super) fn abandon(&mut self, playbook: &Playbook, id: &str, failure: Failure) {
        self.fail(id, failure);
        self.next = match self.next {
            Some(Place::Steps(_)) if !playbook.finally.is_empty() => Some(Place::Finally(0)),
            Some(Place::Steps(_) | Place::Finally(_)) | None => None,
        };
    }

    fn fail(&mut self, id: &str, failure: Failure) {
        if self.fatal.is_none() {
            self.fatal = Some((id.to_owned(), failure));
        }
    }

    /// How the run ends, without its structured result.
    pub(super) fn verdict(&self, playbook: &Playbook) -> Verdict {
        let count = |status| {
            self.records
                .values()
                .filter(|record| record.status == status)
                .count()
        };
        let n_steps = playbook.steps.len() + playbook.finally.len();
        let mut result = format!(
            "{} of {n_steps} steps of the playbook {} succeeded",
            count(StepStatus::Succeeded),
            playbook.name
        );
        for (n_of_them, what) in [
            (count(StepStatus::Failed), "failed"),
            (count(StepStatus::Skipped), "skipped"),
        ] {
            if n_of_them > 0 {
                result.push_str(&format!(", {n_of_them} {what}"));
            }
        }
        let error = self
            .fatal
            .as_ref()
            .map(|(id, failure)| (failure.code, format!("step {id}: {}", failure.why)));
        Verdict {
            error,
            limit: self.fatal.as_ref().and_then(|(_, failure)| failure.limit),
            exit: self
                .fatal
                .as_ref()
                .and_then(|(_, failure)| failure.exit.clone()),
            reason: Some(format!("the playbook {} ended", playbook.name)),
            result: Some(result),
            ..Verdict::default()
        }
    }
}

fn step_at(playbook: &Playbook, place: Place) -> Option<&Step> {
    match place {
        Place::Steps(step_idx) => playbook.steps.get(step_idx),
        Place::Finally(step_idx) => playbook.finally.get(step_idx),
    }
}
