//! From the action log to the status document.
//!
//! Owns the reducer: events go in, in order, and a document can be asked for at any time. The live run and
//! `stockade finalize` use the same one. It reads no clock and no file. Invariants: a terminal status never changes, and
//! the memory it takes does not grow with the run.

use std::collections::{BTreeMap, VecDeque};

use super::bounds::{
    ACTION_TEXT_BYTES, LABEL_BYTES, MAX_ACTIONS, MAX_LABELS, MAX_NAMES, MAX_SERVICES,
    MAX_TRANSITIONS, NAME_BYTES, REASON_BYTES, RESULT_BYTES, SENTENCE_BYTES, TIME_BYTES,
    bounded_action, bounded_isolation, bounded_json, cut, cut_ref,
};
use super::document::{
    LogHead, Paused, PhaseChange, RecordedAction, RecordingsHealth, SCHEMA_VERSION, ServiceStatus,
    StatusDocument, StatusError,
};
use crate::event::lifecycle::{Isolation, Listen, Survivors};
use crate::event::{
    Action, ActionStarted, Complete, Event, EventType, LogOpened, RunPhase, Service, Usage,
};
use crate::run::{Outcome, Phase, RunId, Status, Terminal};

/// Most actions that can be open at once and still be marked cancelled at the end. An agent that has more tool calls
/// in flight than this is broken; the oldest are forgotten.
pub const MAX_OPEN_ACTIONS: usize = 1_024;
/// What the document takes from the run's description, because the log does not have it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Described {
    /// Labels; the first 64 by name are shown.
    pub labels: BTreeMap<String, String>,
    /// The run that this one goes on from.
    pub resumed_from: Option<RunId>,
}

/// An action that began and has not ended.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenAction {
    /// Its start, with long texts cut.
    pub started: ActionStarted,
    /// Time of its start, RFC 3339.
    pub started_at: String,
}

/// What the events so far say.
#[derive(Debug, Clone)]
pub struct StatusFold {
    run_id: RunId,
    described: Described,
    status: Status,
    phase: Phase,
    action_count: u64,
    actions: VecDeque<RecordedAction>,
    open_actions: VecDeque<OpenAction>,
    result: Option<String>,
    error: Option<StatusError>,
    duration_ms: Option<u64>,
    data: Option<serde_json::Value>,
    listen: Option<Listen>,
    outcome: Option<Outcome>,
    started_at: Option<String>,
    started_ms: Option<u64>,
    ended_at: Option<String>,
    transitions: Vec<PhaseChange>,
    last_event_id: u64,
    epoch: Option<String>,
    isolation: Option<Isolation>,
    services: Vec<ServiceStatus>,
    paused: Option<Paused>,
    paused_ms: u64,
    usage: Usage,
    survivors: Option<Survivors>,
    recordings: RecordingsHealth,
    log: Option<LogHead>,
}

impl StatusFold {
    /// Begins before the first event of a run.
    pub fn new(run_id: RunId) -> Self {
        Self::with_description(run_id, Described::default())
    }

    /// The same, with what the description says.
    pub fn with_description(run_id: RunId, described: Described) -> Self {
        let labels = described
            .labels
            .into_iter()
            .take(MAX_LABELS)
            .map(|(key, value)| (cut(key, LABEL_BYTES), cut(value, LABEL_BYTES)))
            .collect();
        Self {
            run_id,
            described: Described {
                labels,
                resumed_from: described.resumed_from,
            },
            status: Status::Starting,
            phase: Phase::Starting,
            action_count: 0,
            actions: VecDeque::new(),
            open_actions: VecDeque::new(),
            result: None,
            error: None,
            duration_ms: None,
            data: None,
            listen: None,
            outcome: None,
            started_at: None,
            started_ms: None,
            ended_at: None,
            transitions: Vec::new(),
            last_event_id: 0,
            epoch: None,
            isolation: None,
            services: Vec::new(),
            paused: None,
            paused_ms: 0,
            usage: Usage::default(),
            survivors: None,
            recordings: RecordingsHealth::good(),
            log: None,
        }
    }

    /// Whether [`StatusFold::apply`] takes anything but the number from events of this type. Of output it needs the bytes, which
    /// [`StatusFold::advance`] is told without the text.
    pub fn looks_at(event_type: EventType) -> bool {
        match event_type {
            EventType::LogOpened
            | EventType::RunPhase
            | EventType::RunPaused
            | EventType::RunResumed
            | EventType::Isolation
            | EventType::Service
            | EventType::ActionStarted
            | EventType::Action
            | EventType::Complete => true,
            EventType::ActionOutput
            | EventType::ServiceOutput
            | EventType::Hook
            | EventType::StopStep
            | EventType::Message
            | EventType::Thought
            | EventType::Limit
            | EventType::Guardrail
            | EventType::Network
            | EventType::Retry
            | EventType::Log
            | EventType::AgentRaw
            | EventType::Artifact => false,
        }
    }

    /// Takes the next event. `ts` is its time, RFC 3339. After the terminal event only the id and the epoch follow the log.
    pub fn apply(&mut self, seq: u64, ts: &str, event: &Event) {
        self.last_event_id = seq;
        if let Event::LogOpened(opened) = event {
            self.apply_log_opened(ts, opened);
        }
        if self.is_terminal() {
            return;
        }
        match event {
            Event::RunPhase(entered) => self.apply_phase(ts, entered),
            Event::RunPaused(paused) => {
                self.paused = Some(Paused {
                    since: cut_ref(ts, TIME_BYTES),
                    by: cut_ref(&paused.by, NAME_BYTES),
                });
            }
            Event::RunResumed(resumed) => {
                self.paused = None;
                self.paused_ms = self.paused_ms.saturating_add(resumed.paused_ms);
            }
            Event::Isolation(isolation) => self.isolation = Some(bounded_isolation(isolation)),
            Event::ActionStarted(started) => self.apply_action_started(ts, started),
            Event::ActionOutput(output) => {
                self.usage.output_bytes = self.usage.output_bytes.saturating_add(output.bytes);
            }
            Event::ServiceOutput(output) => {
                self.usage.output_bytes = self.usage.output_bytes.saturating_add(output.bytes);
            }
            Event::Service(service) => self.apply_service(service),
            Event::Action(action) => self.apply_action(action),
            Event::Complete(complete) => self.apply_complete(ts, complete),
            Event::LogOpened(_)
            | Event::Message(_)
            | Event::Thought(_)
            | Event::Retry(_)
            | Event::Limit(_)
            | Event::Guardrail(_)
            | Event::Network(_)
            | Event::Hook(_)
            | Event::StopStep(_)
            | Event::Log(_)
            | Event::AgentRaw(_)
            | Event::Artifact(_) => {}
        }
    }

    fn apply_log_opened(&mut self, ts: &str, opened: &LogOpened) {
        self.epoch = Some(cut_ref(&opened.epoch, NAME_BYTES));
        self.start(ts);
    }

    fn start(&mut self, ts: &str) {
        if self.started_at.is_none() {
            self.started_at = Some(cut_ref(ts, TIME_BYTES));
            self.started_ms = unix_ms(ts);
        }
    }

    /// A phase never goes back, and the last one is entered by the terminal event only.
    fn apply_phase(&mut self, ts: &str, entered: &RunPhase) {
        self.start(ts);
        if let Some(listen) = &entered.listen {
            self.listen = Some(Listen {
                address: listen.address.as_deref().map(|a| cut_ref(a, NAME_BYTES)),
                socket: listen.socket.as_deref().map(|s| cut_ref(s, NAME_BYTES)),
            });
        }
        let is_end = entered.phase == Phase::Finished || entered.status.is_terminal();
        if is_end || rank(entered.phase) < rank(self.phase) {
            return;
        }
        self.phase = entered.phase;
        self.status = entered.status;
        self.push_transition(ts, entered.reason.as_deref());
    }

    fn push_transition(&mut self, ts: &str, reason: Option<&str>) {
        if self.transitions.len() < MAX_TRANSITIONS {
            self.transitions.push(PhaseChange {
                at: cut_ref(ts, TIME_BYTES),
                phase: self.phase,
                status: self.status,
                reason: reason.map(|reason| cut_ref(reason, REASON_BYTES)),
            });
        }
    }

    fn apply_action_started(&mut self, ts: &str, started: &ActionStarted) {
        if self.open_actions.len() >= MAX_OPEN_ACTIONS {
            self.open_actions.pop_front();
        }
        self.open_actions.push_back(OpenAction {
            started: ActionStarted {
                step: started.step,
                // Not cut: it joins the events of one action.
                call_id: started.call_id.clone(),
                parent_call_id: started.parent_call_id.clone(),
                tool: cut_ref(&started.tool, ACTION_TEXT_BYTES),
                action: cut_ref(&started.action, ACTION_TEXT_BYTES),
                kind: started.kind,
                input_summary: cut_ref(&started.input_summary, ACTION_TEXT_BYTES),
                attempt: started.attempt,
                of: started.of,
            },
            started_at: cut_ref(ts, TIME_BYTES),
        });
    }

    fn apply_action(&mut self, action: &Action) {
        let is_its_start = |open: &OpenAction| {
            open.started.step == action.step && open.started.call_id == action.call_id
        };
        if let Some(index) = self.open_actions.iter().position(is_its_start) {
            self.open_actions.remove(index);
        }
        self.action_count = self.action_count.saturating_add(1);
        if let Some(used) = &action.usage {
            let cpu_ms = used.user_cpu_ms.saturating_add(used.system_cpu_ms);
            self.usage.cpu_ms = self.usage.cpu_ms.saturating_add(cpu_ms);
            self.usage.max_rss_bytes = self.usage.max_rss_bytes.max(used.max_rss_bytes);
        }
        self.usage.tokens = self.usage.tokens.saturating_add(action.tokens.unwrap_or(0));
        self.usage.cost_usd += action.cost_usd.unwrap_or(0.0);
        if self.actions.len() >= MAX_ACTIONS {
            self.actions.pop_front();
        }
        // Encoding fails for nothing that an `Action` can hold; were it to, the others still stand for themselves.
        if let Ok(recorded) = RecordedAction::encode(&bounded_action(action)) {
            self.actions.push_back(recorded);
        } else {
            self.actions.clear();
        }
    }

    /// Takes where a service is; the first [`MAX_SERVICES`] names are kept.
    fn apply_service(&mut self, event: &Service) {
        let name = cut_ref(&event.service, NAME_BYTES);
        let known = self.services.iter().position(|known| known.name == name);
        let idx = known.unwrap_or_else(|| {
            self.services.push(ServiceStatus {
                name,
                state: event.state,
                restarts: 0,
                reason: None,
            });
            self.services.len() - 1
        });
        if let Some(service) = self.services.get_mut(idx) {
            service.state = event.state;
            service.restarts = service.restarts.max(event.restarts);
            let reason = event.reason.as_deref();
            service.reason = reason.map(|reason| cut_ref(reason, REASON_BYTES));
        }
        self.services.truncate(MAX_SERVICES);
    }

    fn apply_complete(&mut self, ts: &str, complete: &Complete) {
        // A terminal event without a terminal status cannot be written by us; in a damaged log it decides nothing.
        if Terminal::try_from(complete.status).is_err() {
            return;
        }
        self.start(ts);
        self.phase = Phase::Finished;
        self.paused = None;
        self.status = complete.status;
        self.push_transition(ts, None);
        self.ended_at = Some(cut_ref(ts, TIME_BYTES));
        self.outcome = Some(Outcome {
            reason: cut_ref(&complete.outcome.reason, SENTENCE_BYTES),
            ..complete.outcome.clone()
        });
        self.error = complete.error.clone().map(|error| {
            let mut error = StatusError::from(error);
            error.message = cut(error.message, SENTENCE_BYTES);
            error.details = error.details.map(bounded_json);
            error
        });
        self.result = complete
            .result
            .as_deref()
            .map(|result| cut_ref(result, RESULT_BYTES));
        self.data = complete.data.clone().map(bounded_json);
        self.duration_ms = Some(complete.duration_ms);
        // A log with a bad line in the middle has fewer actions to count than its writer knew of.
        self.action_count = self.action_count.max(complete.action_count);
        self.usage = complete.usage;
        let mut survivors = complete.survivors.clone();
        survivors.names.truncate(MAX_NAMES);
        for name in &mut survivors.names {
            *name = cut_ref(name, NAME_BYTES);
        }
        self.survivors = Some(survivors);
    }

    /// Moves over output up to event `seq`, without looking at its text.
    pub fn advance(&mut self, seq: u64, output_bytes: u64) {
        self.last_event_id = self.last_event_id.max(seq);
        if !self.is_terminal() {
            self.usage.output_bytes = self.usage.output_bytes.saturating_add(output_bytes);
        }
    }

    /// Says whether the recordings can be relied on; the log cannot say so itself.
    pub fn set_recordings_health(&mut self, health: RecordingsHealth) {
        self.recordings = RecordingsHealth {
            healthy: health.healthy,
            error: health.error.map(|error| cut(error, SENTENCE_BYTES)),
        };
    }

    /// Says where the log ends, as its writer knows.
    pub fn set_log_head(&mut self, head: LogHead) {
        self.log = Some(LogHead {
            seq: head.seq,
            head: cut(head.head, NAME_BYTES),
        });
    }

    /// What was said last of the recordings.
    pub fn recordings_health(&self) -> &RecordingsHealth {
        &self.recordings
    }

    /// True once the terminal event was taken.
    pub fn is_terminal(&self) -> bool {
        self.phase == Phase::Finished
    }

    /// The phase.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Id of the last event taken; 0 before the first.
    pub fn last_event_id(&self) -> u64 {
        self.last_event_id
    }

    /// Actions in the log so far.
    pub fn action_count(&self) -> u64 {
        self.action_count
    }

    /// Resources used so far.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Time of the first event, milliseconds since 1970; none before, or when it cannot be read.
    pub fn started_ms(&self) -> Option<u64> {
        self.started_ms
    }

    /// Actions that began and have not ended, oldest first, at most [`MAX_OPEN_ACTIONS`]. Whoever ends the run marks them
    /// cancelled before the terminal event.
    pub fn open_actions(&self) -> Vec<OpenAction> {
        self.open_actions.iter().cloned().collect()
    }

    /// Whether an action is under way.
    pub fn is_acting(&self) -> bool {
        !self.open_actions.is_empty()
    }

    /// Strong validator of the document: epoch, last event id and phase; `-unhealthy` is added while the recordings are
    /// not healthy, which no event may be able to say.
    pub fn etag(&self) -> String {
        let health = if self.recordings.healthy {
            ""
        } else {
            "-unhealthy"
        };
        format!(
            "\"{}-{}-{}{health}\"",
            self.epoch.as_deref().unwrap_or_default(),
            self.last_event_id,
            self.phase.as_str()
        )
    }

    /// Makes the document of this moment; `now_ms` is the time in milliseconds since 1970. At most
    /// [`super::bounds::MAX_DOCUMENT_BYTES`] when encoded.
    pub fn document(&self, now_ms: u64) -> StatusDocument {
        let n_actions = u64::try_from(self.actions.len()).unwrap_or(u64::MAX);
        let so_far = || self.started_ms.map(|start| now_ms.saturating_sub(start));
        StatusDocument {
            run_id: self.run_id.clone(),
            status: self.status,
            action_count: self.action_count,
            actions: self.actions.iter().cloned().collect(),
            actions_from: self
                .action_count
                .saturating_sub(n_actions)
                .saturating_add(1),
            result: self.result.clone(),
            error: self.error.clone(),
            duration_ms: self.duration_ms.or_else(so_far),
            data: self.data.clone(),
            extracted_texts: Vec::new(),
            schema_version: SCHEMA_VERSION,
            listen: self.listen.clone(),
            phase: Some(self.phase),
            outcome: self.outcome.clone(),
            started_at: self.started_at.clone(),
            ended_at: self.ended_at.clone(),
            transitions: self.transitions.clone(),
            last_event_id: self.last_event_id,
            epoch: self.epoch.clone(),
            isolation: self.isolation.clone(),
            services: self.services.clone(),
            paused: self.paused.clone(),
            paused_ms: self.paused_ms,
            usage: self.usage,
            survivors: self.survivors.clone(),
            recordings: self.recordings.clone(),
            labels: self.described.labels.clone(),
            resumed_from: self.described.resumed_from.clone(),
            log: self.log.clone(),
        }
    }
}

/// Order of the phases.
fn rank(phase: Phase) -> u8 {
    match phase {
        Phase::Starting => 0,
        Phase::Running => 1,
        Phase::Stopping => 2,
        Phase::Finished => 3,
    }
}

/// Milliseconds since 1970 of a time of the log; none when it is no time, or before 1970.
fn unix_ms(ts: &str) -> Option<u64> {
    let timestamp: jiff::Timestamp = ts.parse().ok()?;
    u64::try_from(timestamp.as_millisecond()).ok()
}

#[cfg(test)]
mod tests;
