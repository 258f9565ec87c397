//! What can stand in the action log.
//!
//! Owns the payload of every event type and their names on the wire. It knows nothing of sequence numbers, files or
//! readers: the envelope (`seq`, `ts`, `type`, `run_id`, `hash`) belongs to [`crate::log`].

pub mod action;
pub mod guardrail;
pub mod hook;
pub mod lifecycle;
pub mod network;
pub mod output;
pub mod service;
pub mod stop;

use serde::{Deserialize, Serialize};

pub use action::{Action, ActionStarted, Retry, ToolKind};
pub use guardrail::{Guardrail, GuardrailDecision, GuardrailRule};
pub use hook::{Hook, HookName};
pub use lifecycle::{Complete, Isolation, LogOpened, RunPaused, RunPhase, RunResumed, Usage};
pub use network::{Network, NetworkDecision};
pub use output::{
    ActionOutput, ArtifactAdded, Diagnostic, Level, Limit, LimitDecision, LimitRule, Raw, Stream,
    Text, Withheld,
};
pub use service::{Service, ServiceOutput, ServiceState};
pub use stop::{Rung, StopStep};

/// One entry of the action log, without its envelope.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    /// First event of a log, and first of each epoch.
    #[serde(rename = "log.opened")]
    LogOpened(LogOpened),
    /// The run entered a phase.
    #[serde(rename = "run.phase")]
    RunPhase(RunPhase),
    /// The workload stands still.
    #[serde(rename = "run.paused")]
    RunPaused(RunPaused),
    /// The workload goes on after a pause.
    #[serde(rename = "run.resumed")]
    RunResumed(RunResumed),
    /// What the sandbox was asked for and what it enforces.
    #[serde(rename = "isolation")]
    Isolation(Isolation),
    /// An action began.
    #[serde(rename = "action.started")]
    ActionStarted(ActionStarted),
    /// A piece of output of an action or of the agent.
    #[serde(rename = "action.output")]
    ActionOutput(ActionOutput),
    /// An action ended; the one type that a plain `EventSource` client sees as `message`.
    #[serde(rename = "action")]
    Action(Box<Action>),
    /// Something that the agent said.
    #[serde(rename = "message")]
    Message(Text),
    /// Something that the agent thought.
    #[serde(rename = "thought")]
    Thought(Text),
    /// An attempt failed and another one follows.
    #[serde(rename = "retry")]
    Retry(Retry),
    /// A limit was reached.
    #[serde(rename = "limit")]
    Limit(Limit),
    /// A guardrail decided other than to let the agent go on.
    #[serde(rename = "guardrail")]
    Guardrail(Guardrail),
    /// The egress proxy decided on connections of the workload, or they ended.
    #[serde(rename = "network")]
    Network(Network),
    /// A service entered a state.
    #[serde(rename = "service")]
    Service(Service),
    /// A piece of output of a service.
    #[serde(rename = "service.output")]
    ServiceOutput(ServiceOutput),
    /// A hook has ended, or could not be run.
    #[serde(rename = "hook")]
    Hook(Hook),
    /// A step of a stop.
    #[serde(rename = "stop.step")]
    StopStep(StopStep),
    /// A diagnostic of the supervisor or of the agent.
    #[serde(rename = "log")]
    Log(Diagnostic),
    /// A line of the agent that no adapter understood.
    #[serde(rename = "agent.raw")]
    AgentRaw(Raw),
    /// A file was added to the run's artifacts.
    #[serde(rename = "artifact")]
    Artifact(ArtifactAdded),
    /// The terminal event: the last one of every log.
    #[serde(rename = "complete")]
    Complete(Box<Complete>),
}

/// Name of an event type, as `?types=` and the SSE `event:` line have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum EventType {
    /// `log.opened`
    LogOpened,
    /// `run.phase`
    RunPhase,
    /// `run.paused`
    RunPaused,
    /// `run.resumed`
    RunResumed,
    /// `isolation`
    Isolation,
    /// `action.started`
    ActionStarted,
    /// `action.output`
    ActionOutput,
    /// `action`
    Action,
    /// `message`
    Message,
    /// `thought`
    Thought,
    /// `retry`
    Retry,
    /// `limit`
    Limit,
    /// `guardrail`
    Guardrail,
    /// `network`
    Network,
    /// `service`
    Service,
    /// `service.output`
    ServiceOutput,
    /// `hook`
    Hook,
    /// `stop.step`
    StopStep,
    /// `log`
    Log,
    /// `agent.raw`
    AgentRaw,
    /// `artifact`
    Artifact,
    /// `complete`
    Complete,
}

impl EventType {
    /// Every type, in the order of the table in `docs/api.md`.
    pub const ALL: [Self; 22] = [
        Self::LogOpened,
        Self::RunPhase,
        Self::RunPaused,
        Self::RunResumed,
        Self::Isolation,
        Self::ActionStarted,
        Self::ActionOutput,
        Self::Action,
        Self::Message,
        Self::Thought,
        Self::Retry,
        Self::Limit,
        Self::Guardrail,
        Self::Network,
        Self::Service,
        Self::ServiceOutput,
        Self::Hook,
        Self::StopStep,
        Self::Log,
        Self::AgentRaw,
        Self::Artifact,
        Self::Complete,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LogOpened => "log.opened",
            Self::RunPhase => "run.phase",
            Self::RunPaused => "run.paused",
            Self::RunResumed => "run.resumed",
            Self::Isolation => "isolation",
            Self::ActionStarted => "action.started",
            Self::ActionOutput => "action.output",
            Self::Action => "action",
            Self::Message => "message",
            Self::Thought => "thought",
            Self::Retry => "retry",
            Self::Limit => "limit",
            Self::Guardrail => "guardrail",
            Self::Network => "network",
            Self::Service => "service",
            Self::ServiceOutput => "service.output",
            Self::Hook => "hook",
            Self::StopStep => "stop.step",
            Self::Log => "log",
            Self::AgentRaw => "agent.raw",
            Self::Artifact => "artifact",
            Self::Complete => "complete",
        }
    }

    /// Whether it tells of something that the agent does or that is done to the run; what services beside the agent do is
    /// no sign of life of the run.
    pub fn is_activity(self) -> bool {
        !matches!(self, Self::Service | Self::ServiceOutput)
    }

    /// The name on an SSE `event:` line; none for an action, whose frames have no such line.
    ///
    /// It is the type's own name, but for `message`: that is what browsers call an event without a name.
    pub fn sse_name(self) -> Option<&'static str> {
        match self {
            Self::Action => None,
            Self::Message => Some("agent.message"),
            other => Some(other.as_str()),
        }
    }

    /// The type of that name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|event_type| event_type.as_str() == name)
    }
}

impl Event {
    /// The type of this event.
    pub fn event_type(&self) -> EventType {
        match self {
            Self::LogOpened(_) => EventType::LogOpened,
            Self::RunPhase(_) => EventType::RunPhase,
            Self::RunPaused(_) => EventType::RunPaused,
            Self::RunResumed(_) => EventType::RunResumed,
            Self::Isolation(_) => EventType::Isolation,
            Self::ActionStarted(_) => EventType::ActionStarted,
            Self::ActionOutput(_) => EventType::ActionOutput,
            Self::Action(_) => EventType::Action,
            Self::Message(_) => EventType::Message,
            Self::Thought(_) => EventType::Thought,
            Self::Retry(_) => EventType::Retry,
            Self::Limit(_) => EventType::Limit,
            Self::Guardrail(_) => EventType::Guardrail,
            Self::Network(_) => EventType::Network,
            Self::Service(_) => EventType::Service,
            Self::ServiceOutput(_) => EventType::ServiceOutput,
            Self::Hook(_) => EventType::Hook,
            Self::StopStep(_) => EventType::StopStep,
            Self::Log(_) => EventType::Log,
            Self::AgentRaw(_) => EventType::AgentRaw,
            Self::Artifact(_) => EventType::Artifact,
            Self::Complete(_) => EventType::Complete,
        }
    }

    /// Appends the payload to `out` as a JSON object, without the envelope's fields.
    ///
    /// # Errors
    /// When the payload has a value that JSON cannot hold; none of our own types has one.
    pub fn write_payload(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        match self {
            Self::LogOpened(payload) => serde_json::to_writer(out, payload),
            Self::RunPhase(payload) => serde_json::to_writer(out, payload),
            Self::RunPaused(payload) => serde_json::to_writer(out, payload),
            Self::RunResumed(payload) => serde_json::to_writer(out, payload),
            Self::Isolation(payload) => serde_json::to_writer(out, payload),
            Self::ActionStarted(payload) => serde_json::to_writer(out, payload),
            Self::ActionOutput(payload) => serde_json::to_writer(out, payload),
            Self::Action(payload) => serde_json::to_writer(out, payload),
            Self::Message(payload) | Self::Thought(payload) => serde_json::to_writer(out, payload),
            Self::Retry(payload) => serde_json::to_writer(out, payload),
            Self::Limit(payload) => serde_json::to_writer(out, payload),
            Self::Guardrail(payload) => serde_json::to_writer(out, payload),
            Self::Network(payload) => serde_json::to_writer(out, payload),
            Self::Service(payload) => serde_json::to_writer(out, payload),
            Self::ServiceOutput(payload) => serde_json::to_writer(out, payload),
            Self::Hook(payload) => serde_json::to_writer(out, payload),
            Self::StopStep(payload) => serde_json::to_writer(out, payload),
            Self::Log(payload) => serde_json::to_writer(out, payload),
            Self::AgentRaw(payload) => serde_json::to_writer(out, payload),
            Self::Artifact(payload) => serde_json::to_writer(out, payload),
            Self::Complete(payload) => serde_json::to_writer(out, payload),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_names_are_the_serde_tags() {
        let event = Event::Message(Text {
            role: None,
            text: "hello".to_owned(),
        });
        assert_eq!(
            serde_json::to_value(&event).unwrap()["type"],
            event.event_type().as_str()
        );
        for event_type in EventType::ALL {
            assert_eq!(EventType::parse(event_type.as_str()), Some(event_type));
        }
        assert_eq!(EventType::parse("unknown"), None);
    }
}
