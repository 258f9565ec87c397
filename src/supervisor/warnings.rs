//! What whoever begins a run is warned of: things that are allowed and hardly meant.

use crate::description::{Expose, RunDescription};
use crate::playbook::Playbook;
use crate::redact::{MIN_SECRET_BYTES, Redactor};

/// The warnings of a run with that playbook, one sentence each.
pub fn warnings(
    description: &RunDescription,
    playbook: Option<&Playbook>,
    redactor: &Redactor,
) -> Vec<String> {
    let mut warnings: Vec<String> = secrets_in_clear(redactor).collect();
    if let Some(playbook) = playbook {
        warnings.extend(description.steps_beyond_the_run(playbook));
        warnings.extend(hidden_credentials(description, playbook));
    }
    warnings
}

/// Steps whose own variable takes the place of a credential.
fn hidden_credentials<'a>(
    description: &'a RunDescription,
    playbook: &'a Playbook,
) -> impl Iterator<Item = String> + 'a {
    let steps = playbook.steps.iter().chain(&playbook.finally);
    steps.flat_map(|step| {
        let names = step.env.iter().map(|(name, _)| name);
        let hidden = names.filter(|name| {
            let credential = description.credentials.get(*name);
            credential.is_some_and(|credential| credential.expose == Expose::Env)
        });
        hidden.map(|name| {
            format!(
                "the step {} has a {name} of its own, and not the credential",
                step.id
            )
        })
    })
}

/// Declared secrets that are too short to be replaced: a text of a few letters is found everywhere.
fn secrets_in_clear(redactor: &Redactor) -> impl Iterator<Item = String> {
    redactor.too_short().iter().map(|name| {
        format!(
            "the secret {name} is shorter than {MIN_SECRET_BYTES} bytes, so it is not hidden where it is printed; use a longer one"
        )
    })
}
