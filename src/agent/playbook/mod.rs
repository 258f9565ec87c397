//! A playbook as an agent: it decides which step runs when, and whether what came of it is right.
//!
//! Owns the way through a playbook, for which `progress` keeps the place and `step` the attempts at one step. It starts
//! nothing and reads no file: launches, looks and waits are steps of the session. Invariants: what a step runs is what the
//! file says, letter by letter; values reach it by its environment alone; what it leaves to later steps was redacted before.

mod env;
mod expectation;
mod junit;
mod look;
mod outcomes;
mod progress;
mod step;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Agent, NextSteps, Observation, Report, ReportedAction, ResultFile, Step, Verdict};
use crate::event::{Level, Limit, LimitDecision, ToolKind};
use crate::playbook::MAX_STEP_EXECUTIONS;
use crate::playbook::expression::StepState;
use crate::playbook::model::{Argument, Playbook, StepStatus};
use outcomes::Outcomes;
use progress::{Failure, Place, Progress, Record};
use step::{Reaction, StepPlace, StepRun};

pub use junit::MAX_REPORT_BYTES;

/// Path of the report among the artifacts.
pub const REPORT_PATH: &str = "junit.xml";

/// The tool of the actions that are attempts at steps; nothing that a step reports has it.
pub(crate) const TOOL: &str = "playbook";

/// The name under which the result that is asked for stands beside what became of the steps.
pub const RESULT: &str = "output";

/// Runs a playbook.
#[derive(Debug)]
pub struct PlaybookAgent {
    playbook: Arc<Playbook>,
    arguments: BTreeMap<String, Argument>,
    /// The step to begin with, from 0, if it is not the first.
    from: usize,
    progress: Progress,
    running: Option<StepRun>,
    cases: Vec<junit::Case>,
    /// For how long the run has stood still, which no time of a step counts.
    stood: Duration,
}

impl PlaybookAgent {
    /// An agent that runs `playbook` with the values of all its parameters, from the step of the number `from` on.
    pub fn new(playbook: Playbook, arguments: BTreeMap<String, Argument>, from: usize) -> Self {
        Self {
            progress: Progress::new(&playbook, from),
            playbook: Arc::new(playbook),
            arguments,
            from,
            running: None,
            cases: Vec::new(),
            stood: Duration::ZERO,
        }
    }

    /// The same with what an earlier run has left of the steps before the first one.
    #[must_use]
    pub fn resumed(mut self, earlier: BTreeMap<String, StepState>) -> Self {
        self.progress.take_over(earlier);
        self
    }

    /// What follows from an observation at that time.
    fn react(&mut self, observation: Observation, now: Instant) -> Vec<Step> {
        let mut steps = Vec::new();
        match observation {
            Observation::Begun => {
                self.skip_first(&mut steps);
                self.advance(now, &mut steps);
            }
            // What a step reports on the actions descriptor is an action of its own.
            Observation::Line(_, line) => {
                steps.push(Step::Record(Report::parse(&line).of_another_than(TOOL)));
            }
            Observation::LineTooLong(_) => steps.push(Step::Record(Report::too_long())),
            Observation::Interrupted(exit) => {
                self.note_cut_short(now);
                steps.push(Step::Finish(Verdict {
                    exit: exit.map(Box::new),
                    ..self.verdict()
                }));
            }
            // Only of a launch that is the agent itself.
            Observation::Exited(_) => {}
            Observation::NotBegun => {
                if let Some(running) = &mut self.running {
                    running.note_not_begun();
                }
            }
            Observation::Attempted(_)
            | Observation::NotStarted(_)
            | Observation::Waited
            | Observation::Probed(_) => {
                let Some(running) = &mut self.running else {
                    return steps;
                };
                let scope = self.progress.scope(&self.arguments);
                match running.react(observation, scope, now, &mut steps) {
                    Reaction::GoesOn => {}
                    Reaction::Ended(record, failure) => {
                        self.end_step(record, failure);
                        self.advance(now, &mut steps);
                    }
                }
            }
        }
        steps
    }

    /// Records the steps before the first one that runs.
    fn skip_first(&mut self, steps: &mut Vec<Step>) {
        let playbook = Arc::clone(&self.playbook);
        let Some(first) = playbook.steps.get(self.from) else {
            return;
        };
        for step in playbook.steps.iter().take(self.from) {
            let why = match self.progress.is_taken_over(&step.id) {
                true => "it succeeded in the run that this one goes on from".to_owned(),
                false => format!("the run begins at step {}", first.id),
            };
            self.note_skipped(step, &why, steps);
        }
    }

    /// Goes on to the next step that runs, or to the end.
    fn advance(&mut self, now: Instant, steps: &mut Vec<Step>) {
        let playbook = Arc::clone(&self.playbook);
        while let Some((place, step)) = self.progress.current(&playbook) {
            if let Err(rule) = self.progress.may_begin() {
                let failure = Failure::of_limit(rule);
                steps.push(Step::Record(Report::Limit(Limit {
                    rule,
                    decision: LimitDecision::EndSteps,
                    limit: u64::from(MAX_STEP_EXECUTIONS),
                    detail: format!("{}, before step {}", failure.why, step.id),
                })));
                self.progress.abandon(&playbook, &step.id, failure);
                continue;
            }
            let scope = self.progress.scope(&self.arguments);
            let holds = step
                .condition
                .as_ref()
                .map_or(Ok(true), |condition| condition.holds(scope));
            let running = match holds {
                Ok(true) => {
                    let place = StepPlace {
                        outputs_room: self.progress.room_for_outputs(&step.id),
                        gives_result: matches!(place, Place::Steps(_)),
                    };
                    StepRun::begin(step, place, scope, now)
                }
                Ok(false) => {
                    self.note_skipped(step, "its condition does not hold", steps);
                    self.progress.end(&playbook, Record::skipped(), None);
                    continue;
                }
                Err(error) => Err(format!("its condition has no value: {error}")),
            };
            match running {
                Ok(running) => {
                    steps.push(Step::Launch(running.launch()));
                    self.running = Some(running);
                    return;
                }
                Err(why) => {
                    // Nothing that could be tried again: the values are the same.
                    let action = not_attempted(step, &why);
                    steps.push(Step::Record(Report::Checked(Box::new(action))));
                    let record = Record {
                        status: StepStatus::Failed,
                        error: Some(why.clone()),
                        ..Record::skipped()
                    };
                    self.cases.push(junit::Case {
                        attempts: vec![junit::Attempted::new(Some(why.clone()), "", "")],
                        ..case_of(step, &record)
                    });
                    self.progress
                        .end(&playbook, record, Some(Failure::of_check(why)));
                }
            }
        }
        steps.push(Step::Finish(self.verdict()));
    }

    fn end_step(&mut self, record: Record, failure: Option<Failure>) {
        if let Some(running) = self.running.take() {
            self.cases.push(junit::Case {
                attempts: running.into_attempts(),
                ..case_of_current(&self.playbook, &self.progress, &record)
            });
        }
        self.progress.end(&self.playbook, record, failure);
    }

    fn note_skipped(
        &mut self,
        step: &crate::playbook::model::Step,
        why: &str,
        steps: &mut Vec<Step>,
    ) {
        steps.push(log(
            Level::Info,
            format!("step {} was skipped: {why}", step.id),
        ));
        self.cases.push(junit::Case {
            skipped: Some(why.to_owned()),
            ..case_of(step, &Record::skipped())
        });
    }

    /// A step that the end of the run cut short failed by it, unless it had not begun.
    fn note_cut_short(&mut self, now: Instant) {
        if let Some(running) = self.running.take() {
            let (record, attempts) = running.cut_short(now);
            // A step to which a jump led back has what it had, unless it began again.
            if attempts.is_empty() && self.progress.has_run(&self.playbook) {
                return;
            }
            self.cases.push(junit::Case {
                skipped: record.error.clone().filter(|_| attempts.is_empty()),
                attempts,
                ..case_of_current(&self.playbook, &self.progress, &record)
            });
            self.progress.end(&self.playbook, record, None);
        }
    }

    fn verdict(&self) -> Verdict {
        let outcomes = Outcomes {
            playbook: &self.playbook,
            progress: &self.progress,
        };
        Verdict {
            data: Some(outcomes.whole()),
            summary: Some(Box::new(outcomes.summary())),
            beside: Some(RESULT),
            files: vec![ResultFile {
                path: REPORT_PATH,
                media_type: "application/xml",
                text: junit::report(&self.playbook.name, &self.cases),
            }],
            ..self.progress.verdict(&self.playbook)
        }
    }
}

impl Agent for PlaybookAgent {
    fn next(&mut self, observation: Observation) -> NextSteps<'_> {
        let now = Instant::now();
        let steps = self.react(observation, now.checked_sub(self.stood).unwrap_or(now));
        Box::pin(std::future::ready(steps))
    }

    fn stood(&mut self, time: Duration) {
        self.stood += time;
    }
}

/// The action of an attempt that could not begin.
fn not_attempted(step: &crate::playbook::model::Step, why: &str) -> ReportedAction {
    ReportedAction {
        tool: Some(TOOL.to_owned()),
        action: Some(step.id.clone()),
        kind: Some(ToolKind::Execute),
        input_summary: Some(step.run.shown()),
        attempt: Some(1),
        of: Some(step.retries.max.saturating_add(1)),
        duration_ms: Some(0.0),
        success: Some(false),
        error: Some(format!("it was not run: {why}")),
        ..ReportedAction::default()
    }
}

fn log(level: Level, message: String) -> Step {
    Step::Record(Report::Log { level, message })
}

fn case_of(step: &crate::playbook::model::Step, record: &Record) -> junit::Case {
    junit::Case {
        id: step.id.clone(),
        name: step.name.clone(),
        duration: record.duration,
        attempts: Vec::new(),
        skipped: None,
    }
}

fn case_of_current(playbook: &Playbook, progress: &Progress, record: &Record) -> junit::Case {
    match progress.current(playbook) {
        Some((_, step)) => case_of(step, record),
        // There is always one while a step runs.
        None => junit::Case {
            id: String::new(),
            name: String::new(),
            duration: record.duration,
            attempts: Vec::new(),
            skipped: None,
        },
    }
}
