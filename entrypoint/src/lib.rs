//! The guardian: the small parent process of a run.
//!
//! Owns: signals with their sender, reaping, the last kill, and starting `finalize` for a supervisor that died.
//! Never does: run the agent, serve the API, write the action log, or start a thread.
//! Invariant: when the guardian exits normally nothing that descends from it is alive, and either the supervisor said
//! `finished`, or `finalize` ran, or the prepared crash status was renamed into place, or stderr says why not.
//!
//! Modules in reading order:

/// The command line of the guardian, written and read by the same code.
mod arguments;
/// Why a supervisor is gone, as told to `finalize`.
mod cause;
/// The guardian's end of the socketpair.
mod channel;
/// Who descends from whom, read from `/proc`.
mod descendants;
/// How a run ended, and the exit code that follows from it.
mod ending;
/// When patience with the supervisor ends.
mod escalation;
/// `stockade finalize` as a child process, and the crash status when it cannot run.
mod finalizer;
/// The loop that waits for signals, messages and deadlines.
mod guard;
/// The guardian from its first statement to its exit code.
mod guardian;
/// Descriptors that arrive over `execve`.
mod inherited;
/// The guardian alone, as an init for any container.
pub mod init;
/// Fork and exec with a clean signal state.
mod launch;
/// How often the kernel killed for want of memory here.
mod memory;
/// What guardian and supervisor tell each other.
pub mod message;
/// One line on stderr.
mod notice;
/// The one place that waits for children.
mod reaper;
/// Which signals are held back, and who sent them.
mod signals;
/// The supervisor as a child process.
mod supervisor;
/// Suspension as a job of a shell.
mod suspension;
/// Killing what is left.
mod sweep;
/// System calls that neither std nor nix offers.
mod sys;
/// The settings of the terminal that the run reads from.
mod terminal;
/// When a supervisor that says nothing is given up.
mod watchdog;

pub use arguments::{ArgumentError, GuardianArguments};
pub use cause::{Cause, CauseError};
pub use guardian::guardian_main;
pub use inherited::{InheritError, take_descriptor};
pub use signals::{block_signals, block_signals_before_a_run};
pub use supervisor::{GUARDIAN_FD, LOCK_FD, RUN_DIR_FD, SPEC_FD};
