//! The terminal from which the run was started.
//!
//! Owns its settings as they were at the start. A run that reads from it may change them (raw mode), and may be killed before
//! it changes them back; so the guardian does, at every end and before every suspension.
//! Never does: touch a terminal whose foreground belongs to somebody else.

use std::io::{Stdin, stdin};

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};

/// The terminal on standard input, with its settings at the start.
#[derive(Debug)]
pub(crate) struct SavedTerminal {
    standard_input: Stdin,
    settings: Termios,
}

impl SavedTerminal {
    /// Saves the settings; none when standard input is no terminal.
    pub(crate) fn save() -> Option<Self> {
        let standard_input = stdin();
        let settings = tcgetattr(&standard_input).ok()?;
        Some(Self {
            standard_input,
            settings,
        })
    }

    /// Brings the saved settings back; gives those that it replaced. SIGTTOU must be blocked.
    pub(crate) fn restore(&self) -> Option<Termios> {
        let replaced = tcgetattr(&self.standard_input).ok()?;
        self.set(&self.settings);
        Some(replaced)
    }

    /// Sets settings that [`Self::restore`] has replaced.
    pub(crate) fn set(&self, settings: &Termios) {
        let is_ours = tcgetpgrp(&self.standard_input).is_ok_and(|group| group == getpgrp());
        if is_ours {
            // A terminal that was hung up has no settings any more.
            let _ = tcsetattr(&self.standard_input, SetArg::TCSADRAIN, settings);
        }
    }
}
