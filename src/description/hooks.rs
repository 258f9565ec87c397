//! The hooks of a run, checked.
//!
//! It reads no file and starts nothing.

use std::time::Duration;

use super::checker::{Checker, Unit};
use super::error::ErrorKind;
use super::keys::Key;
use super::service::{Hook, Hooks};

/// The limit of a hook where nobody gives one, if the grace of the run is no shorter, seconds.
const DEFAULT_HOOK_SECONDS: u64 = 2;

impl Checker<'_> {
    /// The hooks of the run.
    pub(super) fn hooks(&mut self, grace_seconds: u64) -> Hooks {
        Hooks {
            pre_stop: self.hook("hooks.pre_stop", "hooks.pre_stop_seconds", grace_seconds),
            post_run: self.hook("hooks.post_run", "hooks.post_run_seconds", grace_seconds),
        }
    }

    fn hook(&mut self, name: &str, limit_name: &str, grace_seconds: u64) -> Option<Hook> {
        let given = Key::find(limit_name).and_then(|key| self.layer.get(key).cloned());
        let default = DEFAULT_HOOK_SECONDS.min(grace_seconds);
        let seconds = self.number(limit_name, Unit::Seconds, 1..=grace_seconds, default);
        let Some((key, command)) = self.take(name) else {
            if let Some(given) = given {
                let expected =
                    format!("it has no effect without {name}; leave one out, or give both");
                self.faults
                    .add(ErrorKind::Conflict, limit_name, &given, expected);
            }
            return None;
        };
        Some(Hook {
            command: self.inner_command(key.name, &command)?,
            timeout: Duration::from_secs(seconds),
        })
    }
}
