//! What is shown of a run on stderr, and where the output of the workload goes: decided once, from what was asked for and
//! from where stdout and stderr lead.
//!
//! Pure but for [`Doors::here`], which looks at the three things that the kernel knows.

use std::io::IsTerminal as _;

use nix::sys::stat::fstat;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWrite;

use super::line::OutputForm;
use super::paint::Colours;

/// What somebody asked for (`--progress`, `--quiet`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// `live` on a terminal, else `plain`; `log` where log lines are JSON.
    #[default]
    Auto,
    /// The live view.
    Live,
    /// One line for people for each phase and action.
    Plain,
    /// The log lines alone.
    Log,
    /// Nothing but warnings and errors.
    None,
}

/// Whether the status document is printed at the end (`--json`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FinalStatus {
    /// It is not.
    #[default]
    Unprinted,
    /// As one line on stdout, which nothing else is written to.
    Printed,
}

/// Where stdout and stderr lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doors {
    /// Stderr is a terminal.
    pub stderr_is_terminal: bool,
    /// Stdout is the same one.
    pub stdout_is_the_same: bool,
    /// What the environment wants of a terminal; a dumb one cannot show a live view.
    pub colours: Colours,
    /// Whether the terminal can move its cursor.
    pub can_redraw: bool,
}

impl Doors {
    /// Looks at the descriptors 1 and 2 of this process. The variables are `NO_COLOR` and `TERM`.
    pub fn here(no_color: Option<&std::ffi::OsStr>, term: Option<&std::ffi::OsStr>) -> Self {
        let device = |fd: std::os::fd::BorrowedFd<'_>| fstat(fd).ok().map(|stat| stat.st_rdev);
        let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
        let (out, err) = (
            device(std::os::fd::AsFd::as_fd(&stdout)),
            device(std::os::fd::AsFd::as_fd(&stderr)),
        );
        let stderr_is_terminal = stderr.is_terminal();
        Self {
            stderr_is_terminal,
            stdout_is_the_same: stderr_is_terminal && stdout.is_terminal() && out == err,
            colours: Colours::wanted(no_color, term),
            can_redraw: term.is_some_and(|term| !term.is_empty() && term != "dumb"),
        }
    }
}

/// Whether something of the workload's is copied to a stream of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// To stdout.
    Stdout,
    /// To stderr.
    Stderr,
    /// Nowhere: the view shows it.
    Nowhere,
}

impl Door {
    /// The stream.
    pub fn open(self) -> Box<dyn AsyncWrite + Unpin + Send> {
        match self {
            Self::Stdout => Box::new(tokio::io::stdout()),
            Self::Stderr => Box::new(tokio::io::stderr()),
            Self::Nowhere => Box::new(tokio::io::sink()),
        }
    }
}

/// Where the workload's streams are copied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passthrough {
    /// Its stdout.
    pub stdout: Door,
    /// Its stderr.
    pub stderr: Door,
}

impl Passthrough {
    /// Each to its own.
    pub const BOTH: Self = Self {
        stdout: Door::Stdout,
        stderr: Door::Stderr,
    };
}

/// Who writes lines on stderr while the run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The live view alone.
    Live,
    /// Lines for people, and log lines that warn.
    Plain,
    /// Log lines.
    Log,
    /// Log lines that warn.
    None,
}

/// What follows for this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Display {
    /// Who writes on stderr.
    pub shown: Shown,
    /// Colours of lines for people.
    pub colours: Colours,
    /// Where the workload's output is copied to.
    pub passthrough: Passthrough,
    /// How the view shows the workload's stdout.
    pub stdout: OutputForm,
    /// How the view shows the workload's stderr.
    pub stderr: OutputForm,
    /// Whether the status document is printed at the end.
    pub final_status: FinalStatus,
}

impl Display {
    /// Decides. `log_lines_are_json` leaves stderr to machines unless somebody asked for more.
    pub fn plan(
        progress: Progress,
        final_status: FinalStatus,
        log_lines_are_json: bool,
        doors: Doors,
    ) -> Self {
        let can_be_live = doors.stderr_is_terminal && doors.can_redraw;
        let shown = match (progress, final_status) {
            (Progress::Live, _) if can_be_live => Shown::Live,
            (Progress::Live | Progress::Plain, _) => Shown::Plain,
            (Progress::Log, _) => Shown::Log,
            (Progress::None, _) | (Progress::Auto, FinalStatus::Printed) => Shown::None,
            (Progress::Auto, FinalStatus::Unprinted) if log_lines_are_json => Shown::Log,
            (Progress::Auto, FinalStatus::Unprinted) if can_be_live => Shown::Live,
            (Progress::Auto, FinalStatus::Unprinted) => Shown::Plain,
        };
        let stdout_goes_to = match (final_status, shown) {
            (FinalStatus::Printed, Shown::Live) => Door::Nowhere,
            (FinalStatus::Printed, Shown::Plain | Shown::Log | Shown::None) => Door::Stderr,
            (FinalStatus::Unprinted, Shown::Live) if doors.stdout_is_the_same => Door::Nowhere,
            (FinalStatus::Unprinted, _) => Door::Stdout,
        };
        let stderr_goes_to = match shown {
            Shown::Live => Door::Nowhere,
            Shown::Plain | Shown::Log | Shown::None => Door::Stderr,
        };
        let form = |door| match door {
            Door::Nowhere => OutputForm::Bare,
            Door::Stdout | Door::Stderr => OutputForm::Hidden,
        };
        Self {
            shown,
            colours: if doors.stderr_is_terminal {
                doors.colours
            } else {
                Colours::None
            },
            passthrough: Passthrough {
                stdout: stdout_goes_to,
                stderr: stderr_goes_to,
            },
            stdout: form(stdout_goes_to),
            stderr: form(stderr_goes_to),
            final_status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINAL: Doors = Doors {
        stderr_is_terminal: true,
        stdout_is_the_same: true,
        colours: Colours::Kept,
        can_redraw: true,
    };
    const PIPES: Doors = Doors {
        stderr_is_terminal: false,
        stdout_is_the_same: false,
        ..TERMINAL
    };

    fn plan(progress: Progress, doors: Doors) -> Display {
        Display::plan(progress, FinalStatus::Unprinted, false, doors)
    }

    #[test]
    fn a_terminal_has_the_live_view_and_a_pipe_plain_lines() {
        let live = plan(Progress::Auto, TERMINAL);
        assert_eq!(live.shown, Shown::Live);
        assert_eq!(
            (live.stdout, live.stderr),
            (OutputForm::Bare, OutputForm::Bare)
        );
        let plain = plan(Progress::Auto, PIPES);
        assert_eq!((plain.shown, plain.colours), (Shown::Plain, Colours::None));
        assert_eq!(
            plain.passthrough,
            Passthrough {
                stdout: Door::Stdout,
                stderr: Door::Stderr
            }
        );
        let dumb = Doors {
            can_redraw: false,
            ..TERMINAL
        };
        assert_eq!(plan(Progress::Auto, dumb).shown, Shown::Plain);
        assert_eq!(plan(Progress::Live, PIPES).shown, Shown::Plain);
        for doors in [TERMINAL, PIPES] {
            let json_lines = Display::plan(Progress::Auto, FinalStatus::Unprinted, true, doors);
            assert_eq!(json_lines.shown, Shown::Log);
        }
    }

    #[test]
    fn stdout_that_leads_elsewhere_gets_the_workloads_stdout() {
        let redirected = Doors {
            stdout_is_the_same: false,
            ..TERMINAL
        };
        let live = plan(Progress::Auto, redirected);
        assert_eq!(live.passthrough.stdout, Door::Stdout);
        assert_eq!(
            (live.stdout, live.stderr),
            (OutputForm::Hidden, OutputForm::Bare)
        );
    }

    #[test]
    fn a_printed_status_has_stdout_for_itself() {
        for doors in [TERMINAL, PIPES] {
            for progress in [
                Progress::Auto,
                Progress::Live,
                Progress::Plain,
                Progress::Log,
                Progress::None,
            ] {
                let plan = Display::plan(progress, FinalStatus::Printed, false, doors);
                assert_ne!(plan.passthrough.stdout, Door::Stdout, "{progress:?}");
            }
        }
    }
}
