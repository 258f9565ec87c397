//! What must hold of a run that was struck.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::scene::Place;
use super::{Cell, Means, Moment, Victim};
use crate::harness::Recording;

/// Everything that is known of a round.
pub struct Told<'a> {
    pub cell: Cell,
    pub n_struck: usize,
    /// The terminal event was in the log before the strike.
    pub had_its_end: bool,
    pub exit: ExitStatus,
    pub recording: &'a Recording,
    pub seen: &'a BTreeMap<u64, String>,
    /// The agent came to its last statement.
    pub is_done: bool,
    pub stderr: &'a str,
    pub place: Place,
}

/// Checks all of it.
pub fn check(told: &Told<'_>) {
    told.recording.assert_whole();
    nothing_seen_is_lost(told);
    nothing_is_left_over(told);
    let code = the_status_is_true(told);
    the_exit_code_agrees(told, code.as_deref());
}

fn nothing_seen_is_lost(told: &Told<'_>) {
    let lines = told.recording.lines();
    for (number, data) in told.seen {
        let at = usize::try_from(*number).unwrap() - 1;
        assert_eq!(
            lines.get(at),
            Some(data),
            "event {number} as a reader saw it"
        );
    }
}

fn nothing_is_left_over(told: &Told<'_>) {
    let names = std::fs::read_dir(told.recording.path()).unwrap();
    let left: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".status.json") || name.contains(".tmp"))
        .collect();
    // A supervisor that is killed behind the end may leave what `finalize` would have removed; nobody reads it.
    assert!(left.is_empty() || told.had_its_end, "{left:?}");
}

/// Gives the error code after checking that it does not claim what did not happen.
fn the_status_is_true(told: &Told<'_>) -> Option<String> {
    let Cell {
        moment,
        victim,
        means,
    } = told.cell;
    let status = told.recording.status();
    let code = status["error"]["code"].as_str().map(str::to_owned);
    let context = || format!("{code:?} in {status}\n{}", told.stderr);
    let is_struck = told.n_struck > 0;
    let is_fatal = is_struck && matches!(means, Means::Kill | Means::Fault | Means::StopKill);
    let includes = |one: Victim| victim == one || victim == Victim::All;
    let asked_to_stop = moment == Moment::Stopping
        || (is_struck
            && means == Means::Term
            && (includes(Victim::Guardian) || includes(Victim::Supervisor)));
    if told.had_its_end {
        assert_eq!(code, None, "the end was in the log: {}", context());
    }
    let may_be = match code.as_deref() {
        None => told.is_done,
        Some("COMMAND_FAILED") => {
            is_struck
                && means != Means::StopContinue
                && (includes(Victim::Agent) || includes(Victim::Helper))
        }
        Some("RUN_TERMINATED") => asked_to_stop,
        Some("SUPERVISOR_CRASHED") => is_fatal && includes(Victim::Supervisor),
        Some("LOST") => is_fatal && includes(Victim::Guardian),
        // The sandbox could not be built, or is gone with its helper; nobody else's death says so.
        Some("SETUP_FAILED") => is_fatal && includes(Victim::Helper),
        Some(_) => false,
    };
    assert!(may_be, "{}", context());
    let is_harmless = !is_struck || means == Means::StopContinue || victim == Victim::Grandchild;
    if is_harmless && moment != Moment::Stopping {
        assert_eq!(code, None, "nothing happened to the run: {}", context());
    }
    if told.had_its_end || !is_struck || matches!(victim, Victim::Guardian | Victim::All) {
        return code;
    }
    // What must be said, where only one thing is true.
    if victim == Victim::Supervisor && is_fatal && moment != Moment::Stopping {
        assert_eq!(code.as_deref(), Some("SUPERVISOR_CRASHED"), "{}", context());
    }
    if victim == Victim::Agent
        && is_fatal
        && matches!(moment, Moment::Action | Moment::Flush | Moment::Paused)
    {
        assert_eq!(code.as_deref(), Some("COMMAND_FAILED"), "{}", context());
    }
    code
}

fn the_exit_code_agrees(told: &Told<'_>, code: Option<&str>) {
    let is_guardian_struck = matches!(told.cell.victim, Victim::Guardian | Victim::All);
    let outcome = &told.recording.status()["outcome"];
    let expected = match code {
        None => 0,
        Some("RUN_TERMINATED") => 143,
        Some("COMMAND_FAILED") => match (outcome["exit_code"].as_i64(), outcome["signal"].as_i64())
        {
            (Some(code), _) => i32::try_from(code).unwrap(),
            (None, Some(signal)) => 128 + i32::try_from(signal).unwrap(),
            (None, None) => panic!("{outcome}"),
        },
        Some(_) => 125,
    };
    let is_first_process = told.place == Place::FirstProcess;
    let is_killed = matches!(told.cell.means, Means::Kill | Means::StopKill);
    if is_guardian_struck && is_killed && is_first_process {
        // `unshare` stands between, and has a code of its own for that.
        return;
    }
    // As pid 1 the kernel keeps a fault that somebody sends away from it, else it dies of it.
    let may_be_faulted = told.cell.means == Means::Fault && !is_first_process;
    if is_guardian_struck && (is_killed || may_be_faulted) {
        // It could not say anything any more.
        let signal = if is_killed { 9 } else { 11 };
        assert_eq!(told.exit.signal(), Some(signal), "{:?}", told.exit);
        return;
    }
    assert_eq!(
        told.exit.code(),
        Some(expected),
        "{outcome}\n{}",
        told.stderr
    );
}
