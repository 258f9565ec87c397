//! What confines a command alone: the part of a run description that has a meaning without a run.
//!
//! It owns the list of its keys. They are read, and checked, as those of a run; the sources are flags and one file, flags
//! first. Variables of the environment describe runs, and are not read. Invariant: a key without effect is refused.

use super::checker::{Checker, StandardInput};
use super::credential_directory::CredentialDirectory;
use super::error::{DescriptionErrors, ErrorKind};
use super::file::{self, Described};
use super::keys::{KEYS, Key};
use super::layers::{Faults, Layer};
use super::origin::Origin;
use super::resolution::Sources;
use super::value::{Given, Value};
use super::{RunDescription, checker};
use crate::run::RunId;

/// The keys that a policy file may have.
const KEYS_ALONE: [&str; 20] = [
    "workspace",
    "workspace_mode",
    "chdir",
    "env",
    "timeout_seconds",
    "grace_seconds",
    "tty",
    "limits.memory",
    "limits.swap",
    "limits.pids",
    "limits.cpus",
    "network",
    "isolation",
    "preset",
    "mounts",
    "ro",
    "rw",
    "tmpfs",
    "uid",
    "gid",
];

/// Resolves flags and the file that `sources` name, for a program of that name.
///
/// # Errors
///
/// All faults of both.
pub(crate) fn resolve_alone(
    mut sources: Sources<'_>,
    program: &str,
    mut faults: Faults,
) -> Result<RunDescription, DescriptionErrors> {
    let mut layer = match &sources.file {
        None => Layer::default(),
        Some(given) => {
            let described = Described {
                key: "policy",
                given,
                shown_path: checker::plain_text(given).unwrap_or_default(),
                format: None,
            };
            file::layer(&described, sources.current_dir, &mut faults)
        }
    };
    for key in KEYS.iter().filter(|key| !KEYS_ALONE.contains(&key.name)) {
        if let Some(given) = layer.take(key) {
            let expected =
                "only a run has it; leave it out, or start the command by `stockade run`";
            faults.add(ErrorKind::Unsupported, key.name, &given, expected);
        }
    }
    layer.overlay(std::mem::take(&mut sources.flags));
    let origins = layer.origins();
    // The whole command line is bytes of the caller's choice; only what names the program is looked at.
    let program = Given::text(program, Origin::Arguments);
    if let Some(key) = Key::find("command") {
        let given = Given {
            value: Value::List(vec![program]),
            origin: Origin::Arguments,
        };
        layer.insert(key, given, &mut faults);
    }
    let credential_directory = CredentialDirectory::of(&mut sources, &mut faults);
    let mut checker = Checker {
        layer,
        faults: &mut faults,
        environment: sources.environment,
        current_dir: sources.current_dir,
        credential_directory,
        stdin: StandardInput::Unread,
    };
    let description = checker.description(RunId::mint(), origins, None);
    if faults.is_empty() {
        return Ok(description);
    }
    Err(DescriptionErrors {
        errors: faults.into_errors(),
        run_id: None,
        recordings: None,
    })
}
