//! The run description that flags lead to, for commands that start nothing.
//!
//! Owns the telling of its faults. It reads the same sources with the same checks as `stockade run`.

use std::process::ExitCode;

use super::flags::{Explained, RunFlags, explain};
use super::run::{refuse_writable_recordings, tell_faults};
use super::{FAILURE, notice};

/// Resolves the flags with the environment and the file of this process, as `stockade run` would.
///
/// # Errors
/// The exit status that `stockade run` would give, once the faults are told.
pub(super) fn described(flags: RunFlags) -> Result<Explained, ExitCode> {
    let current_dir = std::env::current_dir().map_err(|error| {
        notice::error(&format!("the current directory cannot be used: {error}"));
        ExitCode::from(FAILURE)
    })?;
    let explained = explain(flags, std::env::vars_os(), &current_dir)
        .map_err(|errors| ExitCode::from(tell_faults(&errors)))?;
    let recordings = &explained.options.recordings;
    refuse_writable_recordings(&explained.description, recordings).map_err(|refusal| {
        notice::error(&refusal.to_string());
        ExitCode::from(FAILURE)
    })?;
    Ok(explained)
}
