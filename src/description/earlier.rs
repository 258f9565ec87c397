//! The run that this one goes on from: `resumed_from`.
//!
//! Owns the finding of its recording, the check that it is whole, and what of its steps is taken over. It reads and never
//! writes. Invariant: nothing is taken from a recording that is not sound, or that is of another playbook or of other
//! parameters; what is taken was redacted when it was recorded.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};

use super::checker::{Checker, plain_text};
use super::error::ErrorKind;
use super::playbook::PlaybookRun;
use super::value::{Given, shown_name};
use crate::log::scan::{Hashes, scan};
use crate::playbook::expression::StepState;
use crate::playbook::model::StepStatus;
use crate::recordings::find::find;
use crate::recordings::{RunDir, layout};
use crate::review::soundness;
use crate::run::RunId;
use crate::session::workload::chain;

/// Largest file of the recording that is read whole, in bytes: that of the largest structured result.
const MAX_FILE_BYTES: u64 = 16 << 20;

const KEY: &str = "resumed_from";

const FORM: &str = "name a run id, latest, or the path of a run's directory";

/// What a run takes over from an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// The earlier run.
    pub run_id: RunId,
    /// Its steps that succeeded, by id.
    pub steps: BTreeMap<String, EarlierStep>,
}

/// A step that succeeded in an earlier run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierStep {
    /// The exit code of its last attempt.
    pub exit: Option<i32>,
    /// Its outputs.
    pub outputs: BTreeMap<String, String>,
}

impl EarlierStep {
    /// What expressions see of it.
    pub fn state(&self) -> StepState {
        StepState {
            status: StepStatus::Succeeded,
            exit: self.exit,
            outputs: self.outputs.clone(),
        }
    }
}

/// What `spec.json` says of a playbook.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    playbook: Option<String>,
    playbook_sha256: Option<String>,
    parameters: Map<String, Json>,
}

/// A step in the structured result of a playbook.
#[derive(Debug, Deserialize)]
struct StepData {
    status: String,
    exit_code: Option<i32>,
    #[serde(default)]
    outputs: BTreeMap<String, String>,
    #[serde(default)]
    taken_over: bool,
}

/// The SHA-256 of a playbook, in hexadecimal: what makes two runs runs of the same one.
pub(super) fn digest_of(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Checker<'_> {
    /// What is taken over from the run that `given` names; none if that is at fault.
    pub(super) fn resumed(
        &mut self,
        given: &Given,
        run: &PlaybookRun,
        recordings: Option<&Path>,
    ) -> Option<Resumed> {
        let Some(named) = plain_text(given).filter(|named| !named.is_empty()) else {
            self.faults.add(ErrorKind::Invalid, KEY, given, FORM);
            return None;
        };
        let named = match named.contains('/') {
            true => self.absolute(named, &given.origin).display().to_string(),
            false => named.to_owned(),
        };
        match take_over(&named, run, recordings) {
            Ok(resumed) => Some(resumed),
            Err((cause, expected)) => {
                let kind = ErrorKind::Unusable { cause };
                self.faults.add(kind, KEY, given, expected);
                None
            }
        }
    }
}

/// Reads the recording; the cause and the remedy of what stands in the way.
fn take_over(
    named: &str,
    run: &PlaybookRun,
    recordings: Option<&Path>,
) -> Result<Resumed, (String, String)> {
    let form = |cause: String| (cause, FORM.to_owned());
    // Without a directory of recordings, which has its own fault, a path can still be read.
    let store = || Ok(recordings.map(Path::to_path_buf).unwrap_or_default());
    let earlier = find(named, &store).map_err(|error| form(chain(&error)))?;
    let unsound = |cause: String| {
        let expected = "take a recording that stockade verify finds sound".to_owned();
        (cause, expected)
    };
    let (report, _) = soundness::check(&earlier).map_err(&unsound)?;
    if report.terminal_seq.is_none() {
        return Err(form(format!("run {} has not ended", earlier.id())));
    }
    if let Some(finding) = report.findings.first() {
        return Err(unsound(format!(
            "the recording of {} is not sound: {finding}",
            earlier.id()
        )));
    }
    let spec: Spec = read_json(&earlier, layout::SPEC).map_err(&unsound)?;
    refuse_another(&spec, run, earlier.id())?;
    let data = data_of(&earlier).map_err(&unsound)?;
    let steps = data.get("steps").and_then(Json::as_object);
    let Some(steps) = steps else {
        let cause = format!(
            "run {} has no record of what became of its steps, for its supervisor died",
            earlier.id()
        );
        return Err((cause, "run the playbook from its first step".to_owned()));
    };
    let succeeded = steps.iter().filter_map(|(id, step)| {
        let step: StepData = serde_json::from_value(step.clone()).ok()?;
        let has_succeeded = step.status == StepStatus::Succeeded.name() || step.taken_over;
        let (exit, outputs) = (step.exit_code, step.outputs);
        has_succeeded.then(|| (id.clone(), EarlierStep { exit, outputs }))
    });
    Ok(Resumed {
        run_id: earlier.id().clone(),
        steps: succeeded.collect(),
    })
}

/// Refuses a run of another playbook or with other parameters.
fn refuse_another(spec: &Spec, run: &PlaybookRun, id: &RunId) -> Result<(), (String, String)> {
    let Some(digest) = &spec.playbook_sha256 else {
        let cause = format!("run {id} ran no playbook, or one of which no digest was kept");
        return Err((cause, "name a run of this playbook".to_owned()));
    };
    if *digest != digest_of(&run.text) {
        let path = spec.playbook.as_deref().unwrap_or_default();
        let cause = format!(
            "run {id} ran another playbook, or this one before it was changed: {}",
            shown_name(path)
        );
        let expected = "name a run of this very file, or run it from its first step";
        return Err((cause, expected.to_owned()));
    }
    // Secrets are masked in both.
    let parameters = run.public_arguments();
    let differs = |name: &&String| spec.parameters.get(*name) != parameters.get(*name);
    if let Some(name) = parameters.keys().find(differs) {
        let shown = |value: Option<&Json>| value.map_or("nothing".to_owned(), Json::to_string);
        let cause = format!(
            "run {id} had {} for the parameter {name}, and this one has {}",
            shown(spec.parameters.get(name)),
            shown(parameters.get(name))
        );
        let expected = "give the same parameters, or run the playbook from its first step";
        return Err((cause, expected.to_owned()));
    }
    Ok(())
}

/// The structured result of a run that has ended, whole.
fn data_of(run: &RunDir) -> Result<Json, String> {
    let mut terminal = None;
    scan(run.as_fd(), Hashes::Check, |head, line| {
        if head.type_name == b"complete" {
            terminal = Some(line.to_vec());
        }
    })
    .map_err(|error| error.to_string())?;
    let terminal = terminal.unwrap_or_default();
    let mut terminal: Json =
        serde_json::from_slice(&terminal).map_err(|error| error.to_string())?;
    let data = terminal.get_mut("data").map(Json::take).unwrap_or_default();
    match data.get("artifact").and_then(Json::as_str) {
        Some(artifact) => read_json(run, &format!("artifacts/{artifact}")),
        None => Ok(data),
    }
}

fn read_json<T: for<'de> Deserialize<'de>>(run: &RunDir, path: &str) -> Result<T, String> {
    let bytes = run
        .read(path, MAX_FILE_BYTES)
        .map_err(|error| chain(&error))?;
    let bytes = bytes.ok_or_else(|| format!("{path} is missing"))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{path} is no JSON: {error}"))
}
