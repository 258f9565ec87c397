//! Suspension of the guardian, as of any job of a shell.
//!
//! Owns the few calls between being asked to stop and being continued. The kernel itself decides: it stops nobody whom no
//! shell could continue (an orphaned process group, setpgid(2), or PID 1), and then the call returns at once.

use std::io;

use nix::libc;
use nix::sys::signal::{Signal, raise};

use crate::signals::{all_but_suspension, block_signals};
use crate::sys;

/// Stops this process until SIGCONT. All signals are blocked before and after it.
pub(crate) fn suspend() -> io::Result<()> {
    // The default disposition stops; whoever ignored SIGTSTP for us did not mean that we should hang on it.
    sys::reset_disposition(libc::SIGTSTP)?;
    raise(Signal::SIGTSTP)?;
    sys::set_signal_mask(all_but_suspension())?;
    block_signals()
}
