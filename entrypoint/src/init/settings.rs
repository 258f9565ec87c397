//! What an init does, as data: one value for each of the inits that this one can be.
//!
//! Owns the differences between them; `own`, `tini` and `dumb_init` below are the table of the documentation.
//! Never does: read a command line or act.

use std::ffi::CString;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::Signal;

use super::form::Form;
use super::signal_set::{Rewrites, set_of};

/// Time for what is left when the main child has ended, between SIGTERM and SIGKILL.
const DEFAULT_GRACE: Duration = Duration::from_secs(1);

/// Signals that tini leaves alone: faults, and those of a background job at the terminal.
const LEFT_BY_TINI: [i32; 9] = [
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGSEGV,
    libc::SIGSYS,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// Who gets what the init gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// The main child.
    Child,
    /// Its process group, and it alone while the group is not there yet.
    Group,
    /// Everything that descends from the init; as PID 1 everything in the namespace.
    All,
}

/// Where the main child stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the init's group.
    Shared,
    /// In a group of its own in the same session.
    OwnGroup,
    /// In a session of its own, with the terminal that the init gives up.
    OwnSession,
}

/// Who owns the terminal meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Foreground {
    /// Nothing is changed.
    Untouched,
    /// The main child's group is put into the foreground.
    Taken,
    /// The same if the init was in the foreground, and it is given back at the end.
    Lent,
}

/// What the init does about a stop of its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suspension {
    /// It goes on.
    Never,
    /// It stops with the main child when that was stopped from the terminal, so that the shell sees a stopped job.
    WithTheChild,
    /// It stops after it has passed on SIGTSTP, SIGTTIN or SIGTTOU.
    OnSignal,
}

/// Signal state of the main child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignalState {
    /// As the init found it.
    Kept,
    /// Nothing blocked, and the signals 1 to 31 not ignored.
    Reset,
}

/// What becomes of processes that outlive the main child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// They are left.
    Left,
    /// The main child's group is sent SIGTERM, and nobody waits for it.
    Told,
    /// All are sent SIGTERM, and SIGKILL after this time.
    Ended(Duration),
}

/// Whether the init becomes the reaper of all that descends from it where it is not PID 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subreaper {
    /// It does.
    Becomes,
    /// It does not, and says so unless it is one already.
    Warns,
    /// It does not.
    No,
}

/// Exit code for a program that cannot be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unexecutable {
    /// 127 for one that is not there, else 126.
    ByShell,
    /// 127 for one that is not there, 126 for one that may not be executed, else 1.
    ByTini,
    /// Always this.
    Always(u8),
}

/// What an init does.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) form: Form,
    /// How much it says: the higher, the more.
    pub(super) verbosity: i32,
    /// The program and its arguments; never empty.
    pub(super) command: Vec<CString>,
    pub(super) audience: Audience,
    pub(super) place: Place,
    pub(super) foreground: Foreground,
    pub(super) suspension: Suspension,
    pub(super) signal_state: SignalState,
    /// Signals that it blocks and takes.
    pub(super) taken: u64,
    /// Signals that it ignores, and that the main child finds as they were.
    pub(super) ignored: u64,
    pub(super) rewrites: Rewrites,
    /// Signals after which SIGCONT follows, because a stopped process acts on none.
    pub(super) continued_after: u64,
    /// Time after a stop signal when the main child is killed.
    pub(super) stop_timeout: Option<Duration>,
    pub(super) rest: Rest,
    pub(super) subreaper: Subreaper,
    pub(super) unexecutable: Unexecutable,
    /// Exit code that is given for each exit code.
    pub(super) exit_codes: [u8; 256],
    /// Exit code when the init itself cannot do its work.
    pub(super) failure: u8,
    /// What the init is sent when its parent dies.
    pub(super) parent_death: Option<Signal>,
    /// Whether each orphan is told of, where the verbosity allows it.
    pub(super) tells_orphans: bool,
    /// What it keeps of what it was started with.
    pub(super) holds: Holds,
}

/// What the init keeps of what it was started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// Nothing but 0, 1 and 2.
    Nothing,
    /// The descriptors, but not the directory.
    Descriptors,
    /// All.
    Everything,
}

/// Exit codes as they are.
pub(super) fn same_exit_codes() -> [u8; 256] {
    let mut codes = [0; 256];
    for (code, given) in (0..=u8::MAX).zip(&mut codes) {
        *given = code;
    }
    codes
}

impl Settings {
    /// Ours.
    pub(super) fn own() -> Self {
        Self {
            form: Form::Own,
            verbosity: 0,
            command: Vec::new(),
            audience: Audience::Group,
            place: Place::OwnGroup,
            foreground: Foreground::Lent,
            suspension: Suspension::WithTheChild,
            signal_state: SignalState::Kept,
            taken: u64::MAX,
            ignored: 0,
            rewrites: Rewrites::none(),
            continued_after: set_of(&[libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP]),
            stop_timeout: None,
            rest: Rest::Ended(DEFAULT_GRACE),
            subreaper: Subreaper::Becomes,
            unexecutable: Unexecutable::ByShell,
            exit_codes: same_exit_codes(),
            failure: 125,
            parent_death: None,
            tells_orphans: true,
            holds: Holds::Nothing,
        }
    }

    /// Those of tini.
    pub(super) fn tini() -> Self {
        Self {
            form: Form::Tini,
            verbosity: 1,
            audience: Audience::Child,
            foreground: Foreground::Taken,
            suspension: Suspension::Never,
            taken: !set_of(&LEFT_BY_TINI),
            ignored: set_of(&[libc::SIGTTIN, libc::SIGTTOU]),
            continued_after: 0,
            rest: Rest::Left,
            subreaper: Subreaper::Warns,
            unexecutable: Unexecutable::ByTini,
            failure: 1,
            tells_orphans: false,
            holds: Holds::Everything,
            ..Self::own()
        }
    }

    /// Those of dumb-init.
    pub(super) fn dumb_init() -> Self {
        Self {
            form: Form::DumbInit,
            place: Place::OwnSession,
            foreground: Foreground::Untouched,
            suspension: Suspension::OnSignal,
            signal_state: SignalState::Reset,
            continued_after: 0,
            rest: Rest::Told,
            subreaper: Subreaper::No,
            unexecutable: Unexecutable::Always(2),
            failure: 1,
            holds: Holds::Descriptors,
            ..Self::own()
        }
    }
}
