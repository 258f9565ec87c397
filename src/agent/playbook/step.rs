//! One step that runs: its attempts, its checks and what it leaves.
//!
//! ```text
//!   launch ──ended──▶ command right? ──▶ look at files and HTTP ──▶ read outputs' files ──▶ succeeded
//!     ▲                    │ no                │ no    ▲ └──within──pause──┐
//!     │                    ▼                   ▼       └───────────────────┘
//!     └──pause── another attempt? ◀────────────┘   (`retry: verify`: the looks alone, never the command)
//!                          │ no
//!                          ▼ failed
//! ```
//!
//! It is pure but for the time that it is told. Invariants: each attempt is one action that is ended once; there is never
//! more than one look or pause under way.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::TOOL;
use super::env::Env;
use super::expectation;
use super::junit;
use super::look::Look;
use super::progress::{Failure, Record};
use crate::agent::{
    Attempt, Attempted, Conclusion, Launch, NotStarted, Observation, Probe, Report, ReportedAction,
    Role, Seen, Step as Wish,
};
use crate::event::ToolKind;
use crate::playbook::MAX_OUTPUTS_BYTES;
use crate::playbook::expression::{OutputSource, Scope};
use crate::playbook::model::{RetryScope, Step, StepStatus};
use crate::run::ErrorCode;
use crate::text::Excerpt;

/// What a look gets at least, however little is left of `within`: a server that works answers in less.
const MIN_TIME_TO_LOOK: Duration = Duration::from_millis(100);

/// What follows from an observation.
#[derive(Debug)]
pub(super) enum Reaction {
    /// The step goes on.
    GoesOn,
    /// The step is over, with its failure if it failed.
    Ended(Record, Option<Failure>),
}

/// What is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The command.
    Command,
    /// A look whose answer is judged.
    Looking,
    /// A pause between two rounds of looks.
    BetweenLooks,
    /// A pause between two attempts, or one that the run did not begin.
    BetweenAttempts,
}

/// What the rest of the playbook leaves to a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct StepPlace {
    /// Bytes that its outputs may have.
    pub(super) outputs_room: usize,
    /// Whether its standard output may hold the result of the run.
    pub(super) gives_result: bool,
}

/// A step that runs.
#[derive(Debug)]
pub(super) struct StepRun {
    step: Step,
    place: StepPlace,
    env: Env,
    began: Instant,
    attempt: u32,
    stage: Stage,
    /// What the command of this attempt did, once it ended.
    command: Option<Attempted>,
    /// When the looks of this attempt began.
    looks_began: Instant,
    /// The looks of this round, the one under way first.
    looks: VecDeque<Look>,
    /// What the look under way looks at, for people.
    looked_at: String,
    /// Texts of the files of outputs, by the output's number.
    files: BTreeMap<usize, Excerpt>,
    attempts: Vec<junit::Attempted>,
    /// Why the last attempt failed, if it did.
    last_failure: Option<String>,
}

impl StepRun {
    /// The step at its first attempt.
    ///
    /// # Errors
    /// One clause, when a variable has no value that a process can be given.
    pub(super) fn begin(
        step: &Step,
        place: StepPlace,
        scope: Scope<'_>,
        now: Instant,
    ) -> Result<Self, String> {
        Ok(Self {
            step: step.clone(),
            place,
            env: Env::of(step, scope)?,
            began: now,
            attempt: 1,
            stage: Stage::Command,
            command: None,
            looks_began: now,
            looks: VecDeque::new(),
            looked_at: String::new(),
            files: BTreeMap::new(),
            attempts: Vec::new(),
            last_failure: None,
        })
    }

    /// The launch of this attempt.
    pub(super) fn launch(&self) -> Launch {
        Launch {
            argv: self.step.run.argv(),
            role: Role::Attempt(Box::new(Attempt {
                id: self.step.id.clone(),
                summary: self.step.run.shown(),
                attempt: self.attempt,
                of: self.max_attempts(),
                env: self.env.pairs().to_vec(),
                directory: self.step.directory.clone().unwrap_or_default().into(),
                timeout: self.step.timeout,
                gives_result: self.place.gives_result,
            })),
        }
    }

    /// The report of each attempt.
    pub(super) fn into_attempts(self) -> Vec<junit::Attempted> {
        self.attempts
    }

    /// Takes that the attempt that was asked for last does not exist.
    pub(super) fn note_not_begun(&mut self) {
        self.attempt = self.attempt.saturating_sub(1);
        self.stage = Stage::BetweenAttempts;
    }

    /// The step as the end of the run leaves it: an attempt that did not begin is none.
    pub(super) fn cut_short(mut self, now: Instant) -> (Record, Vec<junit::Attempted>) {
        let record = match (self.stage, self.last_failure.take()) {
            (Stage::BetweenAttempts, None) => Record {
                error: Some("the run ended before the step began".to_owned()),
                ..Record::skipped()
            },
            (Stage::BetweenAttempts, Some(failure)) => {
                let next = self.attempt + 1;
                let why = format!("{failure}; the run ended before attempt {next}");
                self.record(StepStatus::Failed, Some(why), now)
            }
            (Stage::Command | Stage::Looking | Stage::BetweenLooks, _) => {
                if self.stage == Stage::Command {
                    // What is there is of the attempt before.
                    self.command = None;
                }
                let why = "the run ended before the step did".to_owned();
                self.note_attempt(Some(why.clone()));
                self.record(StepStatus::Failed, Some(why), now)
            }
        };
        (record, self.attempts)
    }

    /// Takes what happened; what is to be done now is added to `wishes`.
    pub(super) fn react(
        &mut self,
        observation: Observation,
        scope: Scope<'_>,
        now: Instant,
        wishes: &mut Vec<Wish>,
    ) -> Reaction {
        match (observation, self.stage) {
            (Observation::Attempted(attempted), Stage::Command) => {
                let judged = expectation::of_command(&self.step, &attempted, scope);
                self.command = Some(attempted);
                match judged {
                    Ok(()) => {
                        self.looks_began = now;
                        self.begin_looks(scope, now, wishes)
                    }
                    Err(failure) => self.fail_command(failure, now, wishes),
                }
            }
            (Observation::NotStarted(why), Stage::Command) => {
                self.command = None;
                self.fail_command(failure_of_start(why), now, wishes)
            }
            (Observation::Probed(seen), Stage::Looking) => self.judge(&seen, scope, now, wishes),
            (Observation::Waited, Stage::BetweenLooks) => self.begin_looks(scope, now, wishes),
            (Observation::Waited, Stage::BetweenAttempts) => {
                self.attempt += 1;
                match self.step.retries.scope {
                    RetryScope::Step => {
                        self.stage = Stage::Command;
                        wishes.push(Wish::Launch(self.launch()));
                        Reaction::GoesOn
                    }
                    RetryScope::Verify => {
                        self.looks_began = now;
                        self.begin_looks(scope, now, wishes)
                    }
                }
            }
            // Answers to what was not asked.
            (_, _) => Reaction::GoesOn,
        }
    }

    /// Begins a round of looks at everything that the step expects, and then at the files of its outputs.
    fn begin_looks(&mut self, scope: Scope<'_>, now: Instant, wishes: &mut Vec<Wish>) -> Reaction {
        let of_outputs = self
            .step
            .outputs
            .iter()
            .enumerate()
            .filter(|(_, (_, output))| matches!(output.source(), OutputSource::File(_)))
            .map(|(output_idx, _)| Look::Output(output_idx));
        self.looks = (0..self.step.expect.files.len())
            .map(Look::File)
            .chain((0..self.step.expect.http.len()).map(Look::Http))
            .chain(of_outputs)
            .collect();
        self.files.clear();
        self.next_look(scope, now, wishes)
    }

    /// Asks for the first look of the round, or ends the attempt when there is none left.
    fn next_look(&mut self, scope: Scope<'_>, now: Instant, wishes: &mut Vec<Wish>) -> Reaction {
        let Some(look) = self.looks.front() else {
            return self.succeed(now, wishes);
        };
        let time = self.time_to_look(now);
        match look.question(&self.step, scope, time) {
            Ok((question, looked_at)) => {
                self.looked_at = looked_at;
                self.stage = Stage::Looking;
                wishes.push(Wish::Probe(Probe {
                    directory: self.step.directory.clone().unwrap_or_default().into(),
                    question,
                }));
                Reaction::GoesOn
            }
            Err(why) => self.fail_look(why, now, wishes),
        }
    }

    /// How long a look may take that begins now: `within` bounds all looks of an attempt together.
    fn time_to_look(&self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.looks_began);
        self.step.verify.map_or(Duration::MAX, |verify| {
            verify.within.saturating_sub(passed).max(MIN_TIME_TO_LOOK)
        })
    }

    /// Judges what the look under way saw.
    fn judge(
        &mut self,
        seen: &Seen,
        scope: Scope<'_>,
        now: Instant,
        wishes: &mut Vec<Wish>,
    ) -> Reaction {
        let looked_at = std::mem::take(&mut self.looked_at);
        let expect = &self.step.expect;
        let judged = match self.looks.pop_front() {
            Some(Look::File(file_idx)) => match expect.files.get(file_idx) {
                Some(expected) => expectation::of_file(expected, &looked_at, seen, scope),
                None => Ok(()),
            },
            Some(Look::Http(http_idx)) => match expect.http.get(http_idx) {
                Some(expected) => expectation::of_http(expected, &looked_at, seen, scope),
                None => Ok(()),
            },
            Some(Look::Output(output_idx)) => match seen {
                Seen::File { text } => {
                    self.files.insert(output_idx, text.clone());
                    Ok(())
                }
                Seen::Nothing => Err(format!("the file {looked_at} of an output does not exist")),
                Seen::Other { kind } => Err(format!("{looked_at} of an output is a {kind}")),
                Seen::Failed { why } => Err(format!(
                    "the file {looked_at} of an output cannot be read: {why}"
                )),
                Seen::Answer { .. } => Ok(()),
            },
            None => Ok(()),
        };
        match judged {
            Ok(()) => self.next_look(scope, now, wishes),
            Err(why) => self.fail_look(why, now, wishes),
        }
    }

    /// A look that did not hold: looks again while there is time for it, else the attempt failed.
    fn fail_look(&mut self, why: String, now: Instant, wishes: &mut Vec<Wish>) -> Reaction {
        if let Some(verify) = self.step.verify {
            let passed = now.saturating_duration_since(self.looks_began);
            let left = verify.within.saturating_sub(passed);
            if !left.is_zero() {
                self.stage = Stage::BetweenLooks;
                // The last look is when the time is over, whatever the interval.
                wishes.push(Wish::Wait(verify.every.min(left)));
                return Reaction::GoesOn;
            }
        }
        let why = match self.step.verify {
            Some(verify) => format!("{why}, within {:?}", verify.within),
            None => why,
        };
        self.fail(Failure::of_check(why), IsRepeatable::Yes, now, wishes)
    }

    fn fail_command(&mut self, failure: Failure, now: Instant, wishes: &mut Vec<Wish>) -> Reaction {
        let is_repeatable = match self.step.retries.scope {
            RetryScope::Step => IsRepeatable::Yes,
            RetryScope::Verify => IsRepeatable::No,
        };
        self.fail(failure, is_repeatable, now, wishes)
    }

    /// Ends the attempt as failed; another one follows if there may be one.
    fn fail(
        &mut self,
        failure: Failure,
        is_repeatable: IsRepeatable,
        now: Instant,
        wishes: &mut Vec<Wish>,
    ) -> Reaction {
        self.conclude(Some(failure.why.clone()), now, wishes);
        self.last_failure = Some(failure.why.clone());
        if is_repeatable == IsRepeatable::Yes && self.attempt < self.max_attempts() {
            let delay = self.step.retries.delay_after(self.attempt);
            wishes.push(Wish::Record(Report::Retry {
                action: self.step.id.clone(),
                attempt: self.attempt,
                of: self.max_attempts(),
                delay,
                reason: failure.why,
            }));
            wishes.push(Wish::Wait(delay));
            self.stage = Stage::BetweenAttempts;
            return Reaction::GoesOn;
        }
        let record = self.record(StepStatus::Failed, Some(failure.why.clone()), now);
        Reaction::Ended(record, Some(failure))
    }

    fn succeed(&mut self, now: Instant, wishes: &mut Vec<Wish>) -> Reaction {
        match self.outputs() {
            Ok(outputs) => {
                self.conclude(None, now, wishes);
                let mut record = self.record(StepStatus::Succeeded, None, now);
                record.outputs = outputs;
                Reaction::Ended(record, None)
            }
            Err(why) => self.fail_command(Failure::of_check(why), now, wishes),
        }
    }

    fn outputs(&self) -> Result<Vec<(String, String)>, String> {
        let Some(command) = &self.command else {
            return Ok(Vec::new());
        };
        let mut outputs = Vec::with_capacity(self.step.outputs.len());
        let mut room = self.place.outputs_room;
        for (output_idx, (name, output)) in self.step.outputs.iter().enumerate() {
            let exit;
            let nothing = Excerpt::whole("");
            let text = match output.source() {
                OutputSource::Stdout => &command.stdout,
                OutputSource::Stderr => &command.stderr,
                OutputSource::Exit => {
                    exit = Excerpt::whole(command.exit.code.unwrap_or(-1).to_string());
                    &exit
                }
                OutputSource::File(_) => self.files.get(&output_idx).unwrap_or(&nothing),
            };
            let value = output
                .apply(text)
                .map_err(|error| format!("output {name}: {error}"))?;
            room = room.checked_sub(name.len() + value.len()).ok_or_else(|| {
                format!(
                    "output {name}: the outputs of the run would have more than {MAX_OUTPUTS_BYTES} bytes in all; hand large results on in files"
                )
            })?;
            outputs.push((name.clone(), value));
        }
        Ok(outputs)
    }

    /// Ends the action of the attempt. One that repeated the looks alone has no process, and so an action of its own.
    fn conclude(&mut self, failure: Option<String>, now: Instant, wishes: &mut Vec<Wish>) {
        let is_repeated_look = self.step.retries.scope == RetryScope::Verify && self.attempt > 1;
        if is_repeated_look {
            let time = now.saturating_duration_since(self.looks_began);
            wishes.push(Wish::Record(Report::Checked(Box::new(ReportedAction {
                tool: Some(TOOL.to_owned()),
                action: Some(self.step.id.clone()),
                kind: Some(ToolKind::Read),
                input_summary: Some("the checks, without the command".to_owned()),
                attempt: Some(self.attempt),
                of: Some(self.max_attempts()),
                duration_ms: Some(time.as_secs_f64() * 1_000.0),
                success: Some(failure.is_none()),
                error: failure.clone(),
                ..ReportedAction::default()
            }))));
        } else if self.command.is_some() {
            let failure = failure.clone();
            wishes.push(Wish::Conclude(Conclusion { failure }));
        }
        self.note_attempt(failure);
    }

    fn note_attempt(&mut self, failure: Option<String>) {
        let (stdout, stderr) = match &self.command {
            Some(command) => (command.stdout.marked(), command.stderr.marked()),
            None => ("".into(), "".into()),
        };
        self.attempts
            .push(junit::Attempted::new(failure, &stdout, &stderr));
    }

    fn record(&self, status: StepStatus, error: Option<String>, now: Instant) -> Record {
        Record {
            status,
            attempts: self.attempt,
            exit_code: self.command.as_ref().and_then(|command| command.exit.code),
            duration: now.saturating_duration_since(self.began),
            outputs: Vec::new(),
            error,
            is_taken_over: false,
        }
    }

    fn max_attempts(&self) -> u32 {
        self.step.retries.max.saturating_add(1)
    }
}

/// Whether a failed attempt may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IsRepeatable {
    Yes,
    No,
}

/// A command that did not start. Its action is ended already.
fn failure_of_start(why: NotStarted) -> Failure {
    let is_the_program =
        why.code == ErrorCode::CommandNotFound || why.code == ErrorCode::CommandNotExecutable;
    let code = if is_the_program {
        why.code
    } else {
        ErrorCode::AgentFailed
    };
    Failure {
        code,
        why: why.message,
        exit: None,
        limit: None,
    }
}
