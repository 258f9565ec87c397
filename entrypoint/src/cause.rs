//! Why a supervisor is gone, as the guardian tells it to `stockade finalize --cause`.
//!
//! Owns the text form, for both sides. Never does: judge; what the cause means for the run is decided by `finalize`.
//! Invariant: parsing the text of a cause gives the cause.

use std::fmt;
use std::str::FromStr;

/// What the guardian saw of the supervisor's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// `exited:CODE`: it exited without having said `finished`.
    Exited(u8),
    /// `signaled:SIGNAL`: a signal that the guardian did not send ended it.
    Signaled(i32),
    /// `backstop`: the guardian killed it, because a requested stop took too long.
    Backstop,
    /// `deadline`: the guardian killed it, because the run outlived its deadline and grace.
    Deadline,
    /// `watchdog`: the guardian killed it, because it did not answer.
    Watchdog,
    /// `start-failed:ERRNO`: it could not be started.
    StartFailed(i32),
}

/// The text is not a cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CauseError(String);

impl fmt::Display for CauseError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:?} is not a cause: exited:CODE, signaled:SIGNAL, backstop, deadline, watchdog or start-failed:ERRNO",
            self.0
        )
    }
}

impl std::error::Error for CauseError {}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(formatter, "exited:{code}"),
            Self::Signaled(signal) => write!(formatter, "signaled:{signal}"),
            Self::Backstop => formatter.write_str("backstop"),
            Self::Deadline => formatter.write_str("deadline"),
            Self::Watchdog => formatter.write_str("watchdog"),
            Self::StartFailed(errno) => write!(formatter, "start-failed:{errno}"),
        }
    }
}

impl FromStr for Cause {
    type Err = CauseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let cause = match text.split_once(':') {
            None if text == "backstop" => Some(Self::Backstop),
            None if text == "deadline" => Some(Self::Deadline),
            None if text == "watchdog" => Some(Self::Watchdog),
            Some(("exited", code)) => code.parse().ok().map(Self::Exited),
            Some(("signaled", signal)) => signal.parse().ok().map(Self::Signaled),
            Some(("start-failed", errno)) => errno.parse().ok().map(Self::StartFailed),
            Some(_) | None => None,
        };
        cause.ok_or_else(|| CauseError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_survives_its_text() {
        for cause in [
            Cause::Exited(255),
            Cause::Signaled(64),
            Cause::Backstop,
            Cause::Deadline,
            Cause::Watchdog,
            Cause::StartFailed(2),
        ] {
            assert_eq!(cause.to_string().parse(), Ok(cause));
        }
        for text in ["", "exited", "exited:256", "backstop:1", "lost"] {
            assert_eq!(text.parse::<Cause>(), Err(CauseError(text.to_owned())));
        }
    }
}
