//! What became of the steps, as the structured result of the run.
//!
//! Owns its form: the whole, and a summary for where the whole does not fit. Invariant: a summary has at most about
//! [`MAX_SUMMARY_BYTES`]. It has no outputs, and steps that simply succeeded are left out before any other; what is left
//! out is counted.

use serde_json::{Map, Value, json};

use super::progress::{Progress, Record};
use crate::playbook::model::{Playbook, Step};
use crate::text::cut_at_char;

/// Largest summary, in bytes of JSON: three quarters of what the terminal event holds, beside a small result.
const MAX_SUMMARY_BYTES: usize = 40 * 1024;

/// Longest error of a step in a summary, in bytes.
const MAX_SUMMARY_ERROR_BYTES: usize = 256;

/// The steps that were reached.
pub(super) struct Outcomes<'a> {
    pub(super) playbook: &'a Playbook,
    pub(super) progress: &'a Progress,
}

impl Outcomes<'_> {
    /// All that is known.
    pub(super) fn whole(&self) -> Value {
        let steps: Map<_, _> = self
            .reached()
            .map(|(step, record)| (step.id.clone(), self.of_step(step, record)))
            .collect();
        json!({"playbook": self.playbook.name, "steps": steps})
    }

    /// Status, attempts and error of the steps: of all of them if they fit, else of those first that did not simply succeed.
    pub(super) fn summary(&self) -> Value {
        let (plain, telling): (Vec<_>, Vec<_>) = self
            .reached()
            .partition(|(_, record)| record.error.is_none() && record.attempts <= 1);
        let mut room = MAX_SUMMARY_BYTES;
        let mut n_left_out = 0_u64;
        let mut steps = Map::new();
        for (step, record) in telling.into_iter().chain(plain) {
            let summary = in_brief(record);
            // The name, its quotes, the colon and the comma.
            let n_bytes = summary.to_string().len() + step.id.len() + 4;
            match room.checked_sub(n_bytes) {
                Some(left) => {
                    room = left;
                    steps.insert(step.id.clone(), summary);
                }
                None => n_left_out += 1,
            }
        }
        let in_order: Map<_, _> = self
            .reached()
            .filter_map(|(step, _)| steps.remove_entry(&step.id))
            .collect();
        let mut data = json!({"playbook": self.playbook.name, "steps": in_order});
        if n_left_out > 0
            && let Some(data) = data.as_object_mut()
        {
            data.insert("steps_left_out".to_owned(), n_left_out.into());
        }
        data
    }

    fn reached(&self) -> impl Iterator<Item = (&Step, &Record)> {
        let steps = self.playbook.steps.iter().chain(&self.playbook.finally);
        steps.filter_map(|step| Some((step, self.progress.records().get(&step.id)?)))
    }

    fn of_step(&self, step: &Step, record: &Record) -> Value {
        let outputs = self.progress.outputs(&step.id);
        let outputs: Map<_, _> = step
            .outputs
            .iter()
            .filter_map(|(name, _)| Some((name.clone(), outputs?.get(name)?.clone().into())))
            .collect();
        let mut data = json!({
            "status": record.status,
            "attempts": record.attempts,
            "exit_code": record.exit_code,
            "duration_ms": u64::try_from(record.duration.as_millis()).unwrap_or(u64::MAX),
            "outputs": outputs,
        });
        if let Some(object) = data.as_object_mut() {
            object.extend(
                record
                    .error
                    .clone()
                    .map(|error| ("error".to_owned(), error.into())),
            );
            if record.is_taken_over {
                object.insert("taken_over".to_owned(), true.into());
            }
        }
        data
    }
}

fn in_brief(record: &Record) -> Value {
    let mut data = json!({
        "status": record.status,
        "attempts": record.attempts,
        "exit_code": record.exit_code,
    });
    if let (Some(error), Some(object)) = (&record.error, data.as_object_mut()) {
        let mut shown = cut_at_char(error, MAX_SUMMARY_ERROR_BYTES).to_owned();
        if shown.len() < error.len() {
            shown.push('…');
        }
        object.insert("error".to_owned(), shown.into());
    }
    data
}
