//! How a process ended.

use std::time::Duration;

use crate::event::action::ProcessUsage;
use crate::run::{ErrorCode, Oom};

/// End of a process; exit code and signal are told apart, so that `exit 137` is not SIGKILL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, when it exited.
    pub code: Option<i32>,
    /// Signal, when it died of one.
    pub signal: Option<i32>,
    /// Wall-clock time from its start.
    pub duration: Duration,
    /// What it and its waited-for children used.
    pub usage: ProcessUsage,
    /// The kernel killed it because the workload took more memory than its limit.
    pub oom: Option<Oom>,
}

impl Exit {
    /// True for exit code 0.
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    /// One clause for people: `exited with code 3`, `was killed by signal 9 (SIGKILL)`.
    pub fn describe(&self) -> String {
        if let Some(oom) = self.oom {
            let limit = oom.limit_bytes;
            return format!(
                "was killed because the workload took more than limits.memory = {limit} bytes"
            );
        }
        match (self.code, self.signal) {
            (_, Some(signal)) => match nix::sys::signal::Signal::try_from(signal) {
                Ok(name) => format!("was killed by signal {signal} ({name})"),
                Err(_) => format!("was killed by signal {signal}"),
            },
            (Some(code), None) => format!("exited with code {code}"),
            (None, None) => "ended without a status".to_owned(),
        }
    }

    /// The error of a run that failed by this end; a kill for memory has its own code.
    pub fn error_code(&self, otherwise: ErrorCode) -> ErrorCode {
        match self.oom {
            Some(_) => ErrorCode::OomKilled,
            None => otherwise,
        }
    }

    /// The error of a run whose only process ended so; none for success.
    pub fn to_error(&self, code: ErrorCode, what: &str) -> Option<(ErrorCode, String)> {
        let code = self.error_code(code);
        (!self.is_success()).then(|| (code, format!("{what} {}", self.describe())))
    }
}
