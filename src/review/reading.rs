//! From a recording to what happened in its run.
//!
//! Owns the fold from the log to an account. It takes one pass over the files and memory that does not grow with them, and
//! works for runs that go on, were cut off or are damaged. It writes nothing and takes no lock.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::AsFd;

use serde::Deserialize;

use super::account::{Account, Artifacts, Counts, Life, LogFacts, PhaseTime};
use super::busy::Busy;
use super::plain;
use super::step::StepView;
use crate::event::{ActionOutput, ArtifactAdded, Event, EventType, Hook, NetworkDecision};
use crate::log::Millis;
use crate::log::scan::{Hashes, parse_event, scan};
use crate::recordings::claim::Occupancy;
use crate::recordings::{RecordingsError, RunDir, layout};
use crate::run::{ErrorCode, RunId, exit_status};
use crate::status::StatusDocument;
use crate::status::document::PhaseChange;
use crate::status::fold::{Described, StatusFold};

/// Slowest actions that are kept, and the last ones that failed.
pub const MAX_SHOWN_ACTIONS: usize = 20;

/// Guardrail decisions and limits that are kept by name; more are counted.
pub const MAX_NOTES: usize = 20;

/// Names of artifacts that are kept; more are counted.
pub const MAX_NAMES: usize = 20;

/// Lines of output that are kept from the end.
pub const MAX_TAIL_LINES: usize = 50;

/// Bytes of encoded output from which those lines are taken.
const TAIL_BYTES: usize = 256 << 10;

/// Largest `spec.json`, and largest `status.json`, that are read.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// The recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The log cannot be read.
    #[error("cannot read the log of run {run_id}")]
    Log {
        /// The run.
        run_id: RunId,
        /// Why.
        source: io::Error,
    },
    /// Another file cannot be read.
    #[error("cannot read the recording of run {run_id}")]
    Recordings {
        /// The run.
        run_id: RunId,
        /// Why.
        source: RecordingsError,
    },
    /// There is neither a log nor a status.
    #[error("{path} has neither a log nor a status")]
    Empty {
        /// The directory.
        path: String,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    task: Option<String>,
    command: Vec<String>,
    labels: BTreeMap<String, String>,
    resumed_from: Option<RunId>,
}

/// Reads a recording; `now_ms` is the time in milliseconds since 1970.
///
/// # Errors
/// When a file cannot be read. What a log holds is never an error.
pub fn read(run: &RunDir, now_ms: u64) -> Result<Account, AccountError> {
    let recordings = |source| AccountError::Recordings {
        run_id: run.id().clone(),
        source,
    };
    let spec = spec_of(run).map_err(recordings)?;
    let described = Described {
        labels: spec.labels.clone(),
        resumed_from: spec.resumed_from.clone(),
    };
    let mut fold = Fold::new(StatusFold::with_description(run.id().clone(), described));
    let found = scan(run.as_fd(), Hashes::Trust, |head, line| {
        let ts = String::from_utf8_lossy(head.ts);
        fold.line(head.seq, &ts, head.event_type(), head.type_name, line);
    })
    .map_err(|source| AccountError::Log {
        run_id: run.id().clone(),
        source,
    })?;
    let on_file = status_of(run).map_err(recordings)?;
    if found.n_events == 0 && on_file.is_none() {
        return Err(AccountError::Empty {
            path: run.path().display().to_string(),
        });
    }
    let occupancy = Occupancy::of(run).map_err(recordings)?;
    let log = LogFacts {
        n_events: found.n_events,
        last_seq: found.last_seq,
        n_bad_lines: found.n_bad_lines,
        torn_bytes: match occupancy {
            Occupancy::Locked => 0,
            Occupancy::Finished | Occupancy::Abandoned | Occupancy::Vacant => found.torn_bytes,
        },
    };
    // What the log does not have: a run that never had one, or an end that its disk did not take.
    let document = match on_file {
        Some(on_file) if on_file.status.is_terminal() && !fold.status.is_terminal() => on_file,
        Some(on_file) => StatusDocument {
            recordings: on_file.recordings,
            ..fold.status.document(now_ms)
        },
        None => fold.status.document(now_ms),
    };
    Ok(fold.account(run, spec, document, life_of(occupancy), log, &found.last_ts))
}

fn life_of(occupancy: Occupancy) -> Life {
    match occupancy {
        Occupancy::Finished => Life::Ended,
        Occupancy::Locked => Life::Running,
        Occupancy::Abandoned | Occupancy::Vacant => Life::CutOff,
    }
}

fn spec_of(run: &RunDir) -> Result<Spec, RecordingsError> {
    let bytes = run.read(layout::SPEC, MAX_FILE_BYTES)?;
    Ok(bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default())
}

fn status_of(run: &RunDir) -> Result<Option<StatusDocument>, RecordingsError> {
    let bytes = run.read(layout::STATUS, MAX_FILE_BYTES)?;
    Ok(bytes.and_then(|bytes| StatusDocument::decode(&bytes).ok()))
}

struct Fold {
    status: StatusFold,
    counts: Counts,
    busy: Busy,
    slowest: Vec<StepView>,
    failed: VecDeque<StepView>,
    n_retries: u64,
    notes: Vec<String>,
    n_notes: u64,
    artifacts: Artifacts,
    /// Encoded `action.output` events from the end.
    hooks: Vec<Hook>,
    tail: VecDeque<Vec<u8>>,
    tail_bytes: usize,
}

impl Fold {
    fn new(status: StatusFold) -> Self {
        Self {
            status,
            counts: Counts::default(),
            busy: Busy::default(),
            slowest: Vec::new(),
            failed: VecDeque::new(),
            n_retries: 0,
            notes: Vec::new(),
            n_notes: 0,
            artifacts: Artifacts::default(),
            hooks: Vec::new(),
            tail: VecDeque::new(),
            tail_bytes: 0,
        }
    }

    fn line(
        &mut self,
        seq: u64,
        ts: &str,
        event_type: Option<EventType>,
        type_name: &[u8],
        line: &[u8],
    ) {
        match event_type {
            Some(EventType::ActionOutput) => {
                // Not parsed: there may be millions, and only the last are shown.
                self.status.advance(seq, output_bytes(line));
                self.push_tail(line);
            }
            // Not shown: what services print is not the agent's.
            Some(EventType::ServiceOutput) => self.status.advance(seq, output_bytes(line)),
            _ if type_name == b"retry" || type_name == b"guardrail" => {
                self.note_event(type_name, line);
                self.status.advance(seq, 0);
            }
            Some(_) => {
                if let Some(event) = parse_event(line) {
                    self.event(&event);
                    self.status.apply(seq, ts, &event);
                    if matches!(event, Event::ActionStarted(_) | Event::Action(_)) {
                        self.busy.at(ts, self.status.is_acting());
                    }
                }
            }
            None => self.status.advance(seq, 0),
        }
    }

    fn push_tail(&mut self, line: &[u8]) {
        self.tail_bytes += line.len();
        self.tail.push_back(line.to_vec());
        while self.tail_bytes > TAIL_BYTES && self.tail.len() > 1 {
            let dropped = self.tail.pop_front().map_or(0, |line| line.len());
            self.tail_bytes = self.tail_bytes.saturating_sub(dropped);
        }
    }

    fn event(&mut self, event: &Event) {
        if let Event::Action(action) = event {
            let step = StepView::of(action);
            self.counts.total += 1;
            self.counts.succeeded += u64::from(step.success == Some(true));
            self.counts.failed += u64::from(step.is_failed());
            self.counts.cancelled += u64::from(step.cancelled);
            if step.is_failed() {
                self.failed.push_back(step.clone());
                if self.failed.len() > MAX_SHOWN_ACTIONS {
                    self.failed.pop_front();
                }
            }
            let place = self
                .slowest
                .partition_point(|other| other.duration_ms >= step.duration_ms);
            if step.duration_ms.is_some() && place < MAX_SHOWN_ACTIONS {
                self.slowest.insert(place, step);
                self.slowest.truncate(MAX_SHOWN_ACTIONS);
            }
        } else if let Event::Limit(limit) = event {
            let name = limit.rule.as_str();
            self.note(format!("{name} = {}: {}", limit.limit, limit.detail));
        } else if let Event::Network(network) = event {
            if network.decision == NetworkDecision::Deny {
                let reason = network.reason.as_deref().unwrap_or("several reasons");
                self.note(format!("network denied: {}: {reason}", network.target()));
            }
        } else if let Event::Artifact(added) = event {
            self.artifact(added);
        } else if let Event::Hook(hook) = event
            && self.hooks.iter().all(|known| known.hook != hook.hook)
        {
            self.hooks.push(hook.clone());
        }
    }

    fn artifact(&mut self, added: &ArtifactAdded) {
        let artifacts = &mut self.artifacts;
        if let Some(reason) = added.withheld {
            *artifacts.withheld.entry(reason.as_str()).or_default() += 1;
            return;
        }
        artifacts.n_kept += 1;
        artifacts.bytes = artifacts.bytes.saturating_add(added.size);
        if artifacts.names.len() < MAX_NAMES {
            artifacts.names.push(plain::line(&added.path));
        }
    }

    /// Counts retries and names what guardrails decided, whatever else the events hold.
    fn note_event(&mut self, type_name: &[u8], line: &[u8]) {
        let Ok(event) = serde_json::from_slice::<serde_json::Value>(line) else {
            return;
        };
        if type_name == b"retry" {
            self.n_retries += 1;
            return;
        }
        let text = |key: &str| event.get(key).and_then(serde_json::Value::as_str);
        let mut note = format!("guardrail {}", text("rule").unwrap_or("?"));
        for key in ["decision", "detail"] {
            if let Some(value) = text(key) {
                note.push_str(": ");
                note.push_str(value);
            }
        }
        self.note(note);
    }

    fn note(&mut self, note: String) {
        self.n_notes += 1;
        // The last one may be what ended the run.
        if self.notes.len() == MAX_NOTES {
            self.notes.pop();
        }
        self.notes.push(plain::line(&note));
    }

    fn account(
        self,
        run: &RunDir,
        spec: Spec,
        document: StatusDocument,
        life: Life,
        log: LogFacts,
        last_ts: &str,
    ) -> Account {
        let open = self.status.open_actions();
        let is_over = document.status.is_terminal();
        let exit_status = document
            .outcome
            .as_ref()
            .filter(|_| is_over)
            .map(|outcome| {
                let code = document
                    .error
                    .as_ref()
                    .map(|error| ErrorCode::parse(&error.code).unwrap_or(ErrorCode::Lost));
                exit_status(code, outcome, None)
            });
        let ended_at = document
            .ended_at
            .clone()
            .or_else(|| (life == Life::CutOff).then(|| last_ts.to_owned()));
        let counts = Counts {
            total: match log.n_events {
                0 => document.action_count,
                _ => self.counts.total,
            },
            open: u64::try_from(open.len()).unwrap_or(u64::MAX),
            ..self.counts
        };
        let title = |open: &crate::status::fold::OpenAction| {
            let started = &open.started;
            let text = format!(
                "{} {} {}",
                started.tool, started.action, started.input_summary
            );
            format!("#{} {}", started.step, plain::line(text.trim_end()))
        };
        Account {
            run_id: run.id().clone(),
            path: run.path().display().to_string(),
            life,
            status: document.status,
            exit_status,
            outcome: document.outcome,
            error: document.error,
            task: spec.task,
            command: spec.command,
            labels: document.labels,
            phases: phase_times(&document.transitions, ended_at.as_deref()),
            duration_ms: match life {
                Life::CutOff if !is_over => since(document.started_at.as_deref(), Some(last_ts)),
                Life::Ended | Life::Running | Life::CutOff => document.duration_ms,
            },
            started_at: document.started_at,
            ended_at: document.ended_at,
            result: document.result,
            in_actions_ms: self.busy.until(last_ts),
            isolation: document.isolation,
            usage: document.usage,
            survivors: document.survivors,
            services: document.services,
            hooks: self.hooks,
            actions: counts,
            slowest: self.slowest,
            failed: self.failed.into(),
            open: open.iter().take(MAX_SHOWN_ACTIONS).map(title).collect(),
            n_retries: self.n_retries,
            notes: self.notes,
            n_notes: self.n_notes,
            artifacts: self.artifacts,
            output_tail: tail_lines(&self.tail),
            log,
            recordings: document.recordings,
        }
    }
}

/// `bytes` of an encoded `action.output`. It stands behind the text, in which a quotation mark is always escaped, so the last
/// occurrence is the field.
fn output_bytes(line: &[u8]) -> u64 {
    const FIELD: &[u8] = b",\"bytes\":";
    let digits = memchr::memmem::rfind(line, FIELD)
        .and_then(|at| line.get(at + FIELD.len()..))
        .unwrap_or_default();
    digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0_u64, |n, byte| {
            n.saturating_mul(10).saturating_add(u64::from(byte - b'0'))
        })
}

fn since(from: Option<&str>, to: Option<&str>) -> Option<u64> {
    Some(Millis::parse(to?)?.since(Millis::parse(from?)?))
}

fn phase_times(transitions: &[PhaseChange], ended_at: Option<&str>) -> Vec<PhaseTime> {
    let ends = transitions
        .iter()
        .skip(1)
        .map(|next| Some(next.at.as_str()));
    transitions
        .iter()
        .zip(ends.chain([ended_at]))
        .filter(|(change, _)| change.phase != crate::run::Phase::Finished)
        .map(|(change, end)| PhaseTime {
            phase: change.phase.as_str().to_owned(),
            duration_ms: since(Some(&change.at), end),
        })
        .collect()
}

/// The last lines of the output, each on its own stream's terms: pieces are joined in the order of the log.
fn tail_lines(tail: &VecDeque<Vec<u8>>) -> Vec<String> {
    let mut text = String::new();
    for line in tail {
        if let Ok(output) = serde_json::from_slice::<ActionOutput>(line) {
            text.push_str(&output.text);
        }
    }
    let lines: Vec<String> = text
        .lines()
        .map(plain::line)
        .filter(|line| !line.trim().is_empty())
        .collect();
    let from = lines.len().saturating_sub(MAX_TAIL_LINES);
    lines.into_iter().skip(from).collect()
}
