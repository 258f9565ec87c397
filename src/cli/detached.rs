//! `stockade detached-run`: how the control plane has a description checked, and a run started.
//!
//! Owns the process between the control plane and `stockade run`: nobody types it. It reads the description from standard
//! input, which is a memfd, and either tells what is wrong with it or becomes the run, in a session of its own.

use std::ffi::OsString;
use std::process::ExitCode;

use serde_json::json;

use super::flags::{RunFlags, explain};
use super::results::Results;
use super::run::{public_view, refuse_writable_recordings, start};
use super::{FAILURE, notice};
use crate::description::{DescriptionError, DescriptionErrors, ErrorKind, Origin};
use crate::engine::program::Question;

/// Does what the control plane asks; the arguments are the question, the recordings and the run id.
pub(super) fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    let [question, recordings, run_id] = arguments.as_slice() else {
        notice::error("detached-run is started by the control plane alone");
        return ExitCode::from(super::USAGE);
    };
    let text = |text: &OsString| Some(text.to_string_lossy().into_owned());
    let flags = RunFlags {
        config: Some("-".to_owned()),
        config_format: Some("json".to_owned()),
        recordings: text(recordings),
        run_id: text(run_id),
        durability: Some("durable".to_owned()),
        listen: Some("none".to_owned()),
        progress: Some("none".to_owned()),
        ..RunFlags::default()
    };
    if question.as_os_str() == Question::Check.as_str() {
        return check(flags);
    }
    // A new session: no terminal's signals, no job control, nobody's death.
    if let Err(errno) = nix::unistd::setsid() {
        notice::error(&format!("cannot begin a session: {errno}"));
        return ExitCode::from(FAILURE);
    }
    if let Err(error) = stockade_entrypoint::block_signals_before_a_run() {
        notice::error(&format!("cannot hold signals back: {error}"));
        return ExitCode::from(FAILURE);
    }
    start(flags)
}

fn check(flags: RunFlags) -> ExitCode {
    let answer = match checked(flags) {
        Ok(spec) => json!({"spec": spec}),
        Err(errors) => json!({"faults": errors}),
    };
    let mut results = Results::stdout();
    results.line(answer.to_string());
    results.end(ExitCode::SUCCESS)
}

fn checked(flags: RunFlags) -> Result<serde_json::Value, serde_json::Value> {
    let one = |key: &str, expected: String| {
        let error = DescriptionError {
            kind: ErrorKind::Unsupported,
            key: key.to_owned(),
            value: None,
            origin: Origin::Unset,
            expected,
        };
        let errors = DescriptionErrors {
            errors: vec![error],
            run_id: None,
            recordings: None,
        };
        errors.details()
    };
    let current_dir = std::env::current_dir().map_err(|error| {
        one(
            "workspace",
            format!("the control plane's directory cannot be used ({error})"),
        )
    })?;
    let explained =
        explain(flags, std::env::vars_os(), &current_dir).map_err(|errors| errors.details())?;
    let description = explained.description;
    if description.interactive {
        return Err(one(
            "interactive",
            "leave it out; nobody types into a run of the control plane".to_owned(),
        ));
    }
    refuse_writable_recordings(&description, &explained.options.recordings)
        .map_err(|refusal| one("workspace", refusal.to_string()))?;
    public_view(&description, &explained.options).map_err(|refusal| one("run", refusal))
}
