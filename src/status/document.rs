//! The status document as it is on the wire: body of `GET /status`, content of `status.json`.
//!
//! Owns field names, their order and their defaults. It is data only. Invariant: every document that this version
//! writes is read back equal, and those of older versions and of the seed system are read as well.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::event::lifecycle::{Isolation, Listen, Survivors, Usage};
use crate::event::{Action, ServiceState};
use crate::run::{Outcome, Phase, RunError, RunId, Status};

/// Version of the document's form.
pub const SCHEMA_VERSION: u32 = 1;

/// Code of an error that an older writer gave as bare text.
pub const UNCLASSIFIED: &str = "UNCLASSIFIED";

/// What a run is doing, or how it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusDocument {
    /// The run.
    pub run_id: RunId,
    /// One of the six words.
    pub status: Status,
    /// Actions in the log.
    #[serde(default)]
    pub action_count: u64,
    /// The last of them, at most 100, oldest first; long texts are cut, the whole is in the log.
    #[serde(default)]
    pub actions: Vec<RecordedAction>,
    /// Place of the first of `actions` among all actions of the log, from 1; `action_count + 1` when there is none.
    #[serde(default = "one")]
    pub actions_from: u64,
    /// Summary of the result, if the agent gave one.
    #[serde(default)]
    pub result: Option<String>,
    /// Present exactly when the status is terminal and not `completed`.
    #[serde(default, deserialize_with = "error_or_text")]
    pub error: Option<StatusError>,
    /// Milliseconds from the start to the end, or to when the document was made.
    #[serde(default)]
    pub duration_ms: Option<u64>,
    /// Structured result, if the agent gave one.
    #[serde(default)]
    pub data: Option<serde_json::Value>,
    /// Kept for readers of the seed system; always empty.
    #[serde(default)]
    pub extracted_texts: Vec<serde_json::Value>,
    /// [`SCHEMA_VERSION`]; 0 in documents of the seed system.
    #[serde(default)]
    pub schema_version: u32,
    /// Where the status API can be reached; null before that is known.
    #[serde(default)]
    pub listen: Option<Listen>,
    /// Where the run is; null in documents of the seed system.
    #[serde(default)]
    pub phase: Option<Phase>,
    /// Since when the workload stands still, and by what; absent while it does not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub paused: Option<Paused>,
    /// How long it stood still in the pauses that have ended, milliseconds.
    #[serde(skip_serializing_if = "crate::event::action::is_zero", default)]
    pub paused_ms: u64,
    /// Why the run ended; null before.
    #[serde(default)]
    pub outcome: Option<Outcome>,
    /// Time of the first event, RFC 3339.
    #[serde(default)]
    pub started_at: Option<String>,
    /// Time of the terminal event, RFC 3339.
    #[serde(default)]
    pub ended_at: Option<String>,
    /// Every change of phase, oldest first.
    #[serde(default)]
    pub transitions: Vec<PhaseChange>,
    /// Id of the last event that the document follows from.
    #[serde(default)]
    pub last_event_id: u64,
    /// Identity of the log; null before it is open.
    #[serde(default)]
    pub epoch: Option<String>,
    /// What was asked for and what is enforced; null before the sandbox is built.
    #[serde(default)]
    pub isolation: Option<Isolation>,
    /// The services that were begun, in their order, and where they are.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub services: Vec<ServiceStatus>,
    /// Resources used so far.
    #[serde(default)]
    pub usage: Usage,
    /// Processes that had to be killed at the end; null before.
    #[serde(default)]
    pub survivors: Option<Survivors>,
    /// Whether the recordings can be relied on.
    #[serde(default)]
    pub recordings: RecordingsHealth,
    /// Labels of the run's description.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub labels: BTreeMap<String, String>,
    /// The run that this one goes on from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resumed_from: Option<RunId>,
    /// Head of the log, where its writer gave it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub log: Option<LogHead>,
}

/// A pause that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// When it began, RFC 3339.
    pub since: String,
    /// By what: `cgroup-v2`, `cgroup-v1` or `signals`.
    pub by: String,
}

fn one() -> u64 {
    1
}

/// An action as recorded, kept as its JSON text, so that a document costs a copy for each action and no encoding.
#[derive(Debug, Clone)]
pub struct RecordedAction(Arc<RawValue>);

impl RecordedAction {
    /// Encodes an action.
    ///
    /// # Errors
    /// When a value cannot be JSON; our actions have none.
    pub fn encode(action: &Action) -> serde_json::Result<Self> {
        serde_json::value::to_raw_value(action).map(|raw| Self(raw.into()))
    }

    /// The JSON text.
    pub fn json(&self) -> &str {
        self.0.get()
    }

    /// Decodes the action.
    ///
    /// # Errors
    /// When it does not have the fields of an action, as those of the seed system do not.
    pub fn decode(&self) -> serde_json::Result<Action> {
        serde_json::from_str(self.json())
    }
}

impl PartialEq for RecordedAction {
    fn eq(&self, other: &Self) -> bool {
        self.json() == other.json()
    }
}

impl Serialize for RecordedAction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RecordedAction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|raw| Self(raw.into()))
    }
}

/// `error` of the document. The code is a text here, so that documents of other versions can be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusError {
    /// Stable code; [`crate::run::ErrorCode`] has ours.
    pub code: String,
    /// One sentence.
    #[serde(default)]
    pub message: String,
    /// Facts for machines.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub details: Option<serde_json::Value>,
}

impl From<RunError> for StatusError {
    fn from(error: RunError) -> Self {
        Self {
            code: error.code.as_str().to_owned(),
            message: error.message,
            details: error.details,
        }
    }
}

/// Reads an error object, or the bare text that early versions of the seed system wrote.
fn error_or_text<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<StatusError>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Object(StatusError),
        Text(String),
    }
    Ok(match Option::<Form>::deserialize(deserializer)? {
        None => None,
        Some(Form::Object(error)) => Some(error),
        Some(Form::Text(message)) => Some(StatusError {
            code: UNCLASSIFIED.to_owned(),
            message,
            details: None,
        }),
    })
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub state: ServiceState,
    /// How often it was started again.
    #[serde(default)]
    pub restarts: u64,
    /// Why it is there, where that is not plain.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// A change of phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseChange {
    /// When, RFC 3339.
    pub at: String,
    /// The phase entered.
    pub phase: Phase,
    /// The status that goes with it.
    pub status: Status,
    /// Why, where that is not plain from the phase.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// Whether the recordings can be relied on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingsHealth {
    /// False when a write or sync failed.
    pub healthy: bool,
    /// What failed; null when nothing did.
    pub error: Option<String>,
}

impl RecordingsHealth {
    /// Nothing failed.
    pub fn good() -> Self {
        Self {
            healthy: true,
            error: None,
        }
    }

    /// Something failed; one sentence says what.
    pub fn bad(error: impl Into<String>) -> Self {
        Self {
            healthy: false,
            error: Some(error.into()),
        }
    }
}

impl Default for RecordingsHealth {
    fn default() -> Self {
        Self::good()
    }
}

/// Head of the action log. It may be older than the document's last event: one that is an ancestor verifies as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHead {
    /// Number of the event that the hash belongs to.
    pub seq: u64,
    /// Hash of that event, lower-case hexadecimal.
    pub head: String,
}

/// The document around the place of its actions, for `?actions=all`, where the actions are streamed from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// From the beginning to `"actions":[`, inclusive.
    pub before: Vec<u8>,
    /// From `]` to the end.
    pub after: Vec<u8>,
}

impl StatusDocument {
    /// Reads a document of any version.
    ///
    /// # Errors
    /// When it is no JSON, or has no run id or status.
    pub fn decode(bytes: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(bytes)
    }

    /// Encodes the document as one line with its end.
    ///
    /// # Errors
    /// When a value cannot be JSON; ours have none.
    pub fn encode(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The same document without its actions (`?actions=none`).
    pub fn without_actions(mut self) -> Self {
        self.actions.clear();
        self.actions_from = self.action_count.saturating_add(1);
        self
    }

    /// Encodes the document in two parts, between which all actions belong, separated by commas.
    ///
    /// # Errors
    /// As [`StatusDocument::encode`].
    pub fn frame(mut self) -> serde_json::Result<Frame> {
        const PLACE: &[u8] = b"\"actions\":[";
        self.actions.clear();
        self.actions_from = 1;
        let mut before = self.encode()?;
        // The fields before `actions` are a run id, a word and a number, so the first occurrence is the field.
        let end =
            memchr::memmem::find(&before, PLACE).map_or(before.len(), |start| start + PLACE.len());
        let after = before.split_off(end);
        Ok(Frame { before, after })
    }
}

#[cfg(test)]
mod tests;
