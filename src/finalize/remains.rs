//! What of a run outlived it: processes, groups, a socket, a torn recording of its terminal.
//!
//! Owns its end. It decides nothing about how the run ended. Invariant: nothing is touched but what the record names and what
//! is ours.

use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stockade_sandbox::{KillReport, MAX_REPORTED_NAMES};

use super::Ending;
use crate::event::lifecycle::Survivors;
use crate::recordings::claim::Claim;
use crate::recordings::{RunDir, layout};
use crate::status::document::StatusDocument;

/// Longest wait for the end of a killed process in a control group that is to be removed.
const GROUP_LIMIT: Duration = Duration::from_secs(1);

/// Longest name that is recorded, in characters; the kernel keeps 15 bytes of it.
const MAX_NAME_CHARS: usize = 15;

/// Kills what still lives of the run, and counts it; no end can be told of a run of which something lives. First what is in
/// its control groups, then what left them, or never had one, by the claim in its environment.
pub(super) fn kill_rest(run_dir: &RunDir, document: &StatusDocument) -> KillReport {
    let mut found = stockade_sandbox::kill_recorded_groups(&groups(document), GROUP_LIMIT);
    // A damaged claim names nobody.
    if let Ok(Some(claim)) = Claim::load(run_dir) {
        let marked = stockade_sandbox::kill_marked(&claim.mark(), GROUP_LIMIT);
        found.killed = found.killed.saturating_add(marked.killed);
        // What is left in a group is found by the claim as well.
        found.left = found.left.max(marked.left);
        found.names.extend(marked.names);
    }
    found
}

/// What outlived the run: what the guardian killed behind the supervisor, and what was found here.
pub(super) fn survivors(ending: &Ending, found: &KillReport) -> Survivors {
    let (killed, named) = match ending {
        Ending::Witnessed {
            survivors, names, ..
        } => (*survivors, names.as_slice()),
        Ending::Found | Ending::Failed { .. } => (0, [].as_slice()),
    };
    let names = named.iter().chain(&found.names);
    Survivors {
        killed: killed.saturating_add(u64::from(found.killed)),
        names: names
            .take(MAX_REPORTED_NAMES)
            .map(|name| plain(name))
            .collect(),
    }
}

/// A process chooses its name, which may be anything.
fn plain(name: &str) -> String {
    let visible = |letter: char| match letter.is_control() {
        true => char::REPLACEMENT_CHARACTER,
        false => letter,
    };
    name.chars().take(MAX_NAME_CHARS).map(visible).collect()
}

fn groups(document: &StatusDocument) -> Vec<PathBuf> {
    let named = document.isolation.iter();
    named
        .flat_map(|isolation| isolation.groups.iter().map(PathBuf::from))
        .collect()
}

/// Removes the control group of a sandbox that nobody was left to take down. The run is over, so what is in it may go.
pub(super) fn remove_groups(document: &StatusDocument) {
    let n_removed = stockade_sandbox::remove_recorded_groups(&groups(document), GROUP_LIMIT);
    tracing::debug!(n_removed, "control groups of the run are gone");
}

/// Removes the Unix socket of a supervisor that could not do it: a socket of this user, behind which nobody listens.
pub(super) fn remove_socket(document: &StatusDocument) {
    let named = document
        .listen
        .as_ref()
        .and_then(|listen| listen.socket.as_deref());
    let Some(path) = named.map(Path::new) else {
        return;
    };
    let Ok(found) = std::fs::symlink_metadata(path) else {
        return;
    };
    let is_ours = found.uid() == nix::unistd::geteuid().as_raw();
    let is_dead = || {
        UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    if found.file_type().is_socket() && is_ours && is_dead() {
        // Whoever removed it meanwhile has done the same.
        let _ = std::fs::remove_file(path);
    }
}

/// Cuts a torn last line off the terminal recording; a recording that cannot be repaired hides nothing of the run.
pub(super) fn repair_cast(run_dir: &RunDir) {
    let flags = nix::fcntl::OFlag::O_RDWR | nix::fcntl::OFlag::O_NONBLOCK;
    let repaired = run_dir
        .open_beneath(layout::TERMINAL_CAST, flags)
        .map_err(std::io::Error::other)
        .and_then(|file| crate::cast::repair::cut_torn_line(&file));
    if let Err(error) = repaired {
        tracing::debug!(%error, "the terminal recording was not repaired");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stockade_entrypoint::Cause;

    #[test]
    fn names_of_survivors_are_bounded_and_without_control_characters() {
        let ending = Ending::Witnessed {
            cause: Cause::Signaled(9),
            stop_requested: false,
            oom_kills: 0,
            survivors: 40,
            names: vec!["\u{1b}[2Jsh\n".to_owned(), "a".repeat(100)],
        };
        let found = KillReport {
            killed: 2,
            names: vec!["x".to_owned(); 100],
            left: 0,
        };
        let survivors = survivors(&ending, &found);
        assert_eq!(survivors.killed, 42);
        assert_eq!(survivors.names.len(), MAX_REPORTED_NAMES);
        assert_eq!(survivors.names[0], "\u{fffd}[2Jsh\u{fffd}");
        assert_eq!(survivors.names[1], "a".repeat(15));
        assert_eq!(survivors.names[2], "x");
    }
}
