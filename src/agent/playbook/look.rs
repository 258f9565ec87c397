//! What a step looks at in the sandbox, and the question that is asked for it.
//!
//! Owns neither the look nor the judgement. It is pure. Invariant: an HTTP question is about the loopback of the sandbox.

use std::time::Duration;

use crate::playbook::expression::{OutputSource, Scope};
use crate::playbook::model::Step;
use crate::playbook::url::LoopbackUrl;

/// A look at the sandbox, by its number in the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    File(usize),
    Http(usize),
    /// The file of an output.
    Output(usize),
}

impl Look {
    /// What is asked for it, and what that looks at, for people; an HTTP answer may take `time` at most.
    ///
    /// # Errors
    /// One clause, when what is to be looked at has no value.
    pub(super) fn question(
        self,
        step: &Step,
        scope: Scope<'_>,
        time: Duration,
    ) -> Result<(stockade_sandbox::Probe, String), String> {
        let file = |path: String| {
            let question = stockade_sandbox::Probe::File {
                path: path.clone().into(),
            };
            (question, path)
        };
        let no_look = || "there is nothing to look at".to_owned();
        match self {
            Self::File(file_idx) => {
                let expected = step.expect.files.get(file_idx).ok_or_else(no_look)?;
                let path = expected.path.render(scope);
                Ok(file(path.map_err(|error| error.to_string())?))
            }
            Self::Output(output_idx) => {
                let (_, output) = step.outputs.get(output_idx).ok_or_else(no_look)?;
                match output.source() {
                    OutputSource::File(path) => Ok(file(path.clone())),
                    OutputSource::Stdout | OutputSource::Stderr | OutputSource::Exit => {
                        Err(no_look())
                    }
                }
            }
            Self::Http(http_idx) => {
                let expected = step.expect.http.get(http_idx).ok_or_else(no_look)?;
                let url = expected
                    .url
                    .render(scope)
                    .map_err(|error| error.to_string())?;
                let parsed =
                    LoopbackUrl::parse(&url).map_err(|error| format!("{url:?} {error}"))?;
                let question = stockade_sandbox::Probe::Http {
                    addresses: vec![parsed.address],
                    host: parsed.host,
                    target: parsed.target,
                    timeout: expected.timeout.min(time),
                };
                Ok((question, url))
            }
        }
    }
}
