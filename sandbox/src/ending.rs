//! Ending as a launch did.
//!
//! Owns the way by which a process that stands for a launch tells its own parent how that ended. Never returns from a signal
//! that ends it.

use crate::protocol::End;
use crate::sys::signal;
use nix::sys::resource::{Resource, setrlimit};

/// What a shell adds to the number of a signal.
const BY_SIGNAL: u8 = 128;

impl End {
    /// Ends the calling process by the same signal, if a signal ended the launch, and leaves no core for it. Returns the
    /// code to exit with: the launch's own; or 128 and the signal where the kernel lets no signal end the caller, which is
    /// so for the first process of a pid namespace.
    #[must_use]
    pub fn pass_on(self) -> u8 {
        match self {
            Self::Exited { code } => code,
            Self::Signaled { signal, .. } => {
                let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
                // SIGKILL has no disposition to reset.
                let _ = signal::reset_disposition(signal);
                if let Ok(own) = crate::sweep::own_pid() {
                    let _ = signal::send(own, signal);
                }
                // Blocked until now, so that the disposition was the default before it came.
                let _ = signal::unblock_all();
                u8::try_from(signal).map_or(u8::MAX, |signal| BY_SIGNAL.saturating_add(signal))
            }
        }
    }
}
