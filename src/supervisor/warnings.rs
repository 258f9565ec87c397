//! What whoever begins a run is warned of: things that are allowed and hardly meant.

use crate::description::RunDescription;
use crate::redact::{MIN_SECRET_BYTES, Redactor};

/// The warnings of a run, one sentence each.
pub fn warnings(description: &RunDescription, redactor: &Redactor) -> Vec<String> {
    let playbook = description.playbook.as_ref();
    let playbook = playbook.and_then(|run| run.playbook().ok());
    let steps = playbook.map(|playbook| description.steps_beyond_the_run(&playbook));
    let steps = steps.unwrap_or_default().into_iter();
    secrets_in_clear(redactor).chain(steps).collect()
}

/// Declared secrets that are too short to be replaced: a text of a few letters is found everywhere.
fn secrets_in_clear(redactor: &Redactor) -> impl Iterator<Item = String> {
    redactor.too_short().iter().map(|name| {
        format!(
            "the secret {name} is shorter than {MIN_SECRET_BYTES} bytes, so it is not hidden where it is printed; use a longer one"
        )
    })
}
