//! What guardian and supervisor tell each other over their socketpair.
//!
//! Owns the wire format, for both sides: one datagram is one message, ASCII words separated by single spaces.
//!
//! | direction | message | meaning |
//! | --- | --- | --- |
//! | to the supervisor | `signal <signo> <pid> <uid> <code>` | the guardian received a signal; `code` is `si_code` |
//! | to the supervisor | `swept <request> <killed> <remaining>` | answer to `sweep` |
//! | to the supervisor | `ask` | is the supervisor alive? |
//! | to the guardian | `ready` | the supervisor reads its messages |
//! | to the guardian | `alive` | answer to `ask`, of the task that drives the run |
//! | to the guardian | `sweep <request> <kept-pid>...` | kill all descendants except the supervisor and the kept pids |
//! | to the guardian | `stopping [<grace-ms>]` | a stop has begun; with a grace the guardian arms its backstop |
//! | to the guardian | `paused` | the workload stands still, and the deadline with it |
//! | to the guardian | `resumed` | the workload goes on |
//! | to the guardian | `shows <rows>` | the live view has so many rows at the end of what stands on the terminal |
//! | to the guardian | `finished [<exit-code>]` | the terminal state is on disk; the code to exit with, whatever follows |
//!
//! A stop signal (HUP, INT, QUIT, TERM) of the same sender within `SAME_SIGNAL_INTERVAL` of one that counted is the same
//! request: the guardian neither counts it nor passes it on, so that both sides count alike. Every `signal` with a stop
//! signal is a request of its own, except that it repeats what the same sender sent straight to the supervisor.
//!
//! Never does: IO. Invariant: `parse(encode(m)) == m`, and no encoded message is longer than `MAX_MESSAGE_BYTES`.

use std::fmt;
use std::str::{FromStr, SplitAsciiWhitespace};
use std::time::Duration;

/// Longest message in bytes: `sweep` with the largest number of kept pids fits.
pub const MAX_MESSAGE_BYTES: usize = 1024;

/// Most pids that one `sweep` may spare: the supervisor has a handful of helpers, never more.
pub const MAX_KEPT_PIDS: usize = 64;

/// Time in which the same stop signal of the same sender counts as one request: a process manager that signals a whole group
/// reaches guardian and supervisor at once, and some signal twice, by group and by pid. Nobody asks again so soon by hand.
pub const SAME_SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// A signal as the guardian received it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalNotice {
    /// Signal number, 1 to 64.
    pub signal: u32,
    /// Sender, as seen in the guardian's pid namespace; 0 for the kernel and for senders outside the namespace.
    pub sender_pid: u32,
    /// Real user id of the sender.
    pub sender_uid: u32,
    /// `si_code`: 0 for kill, -1 for sigqueue, -6 for tgkill, 128 for the kernel (a key on the terminal).
    pub code: i32,
}

/// What the guardian says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToSupervisor {
    /// A signal for the run has arrived.
    Signal(SignalNotice),
    /// A sweep has ended.
    Swept {
        /// The number that the supervisor gave.
        request: u64,
        /// Processes that were sent SIGKILL.
        killed: u32,
        /// Processes still alive when the sweep's time (1 s) was up; 0 means that none was left, `u32::MAX` that `/proc`
        /// could not tell.
        remaining: u32,
    },
    /// The supervisor is to say that it is alive.
    Ask,
}

/// What the supervisor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToGuardian {
    /// The supervisor reads its messages.
    Ready,
    /// The task that drives the run goes on.
    Alive,
    /// Kill every descendant of the guardian except the supervisor and `kept`.
    Sweep {
        /// Chosen by the supervisor, returned in the answer.
        request: u64,
        /// Processes to spare; their descendants are not spared.
        kept: Vec<i32>,
    },
    /// A stop has begun inside the supervisor (API, deadline, budget).
    Stopping {
        /// Milliseconds that the stop may take; `None` leaves the guardian's backstop as it is.
        grace_ms: Option<u64>,
    },
    /// The workload stands still, and the deadline with it.
    Paused,
    /// The workload goes on.
    Resumed,
    /// The live view has so many rows at the end of what stands on the terminal.
    Shows {
        /// Their number; 0 once they are gone.
        rows: u16,
    },
    /// The terminal state of the run is on disk.
    Finished {
        /// The run's exit code; the guardian exits with it even if the supervisor is killed or panics while its API drains.
        exit_code: Option<u8>,
    },
}

/// Why a datagram is not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageError {
    /// Longer than `MAX_MESSAGE_BYTES`.
    TooLong,
    /// Not ASCII, or not words separated by single spaces.
    NotWords,
    /// The first word is not one of ours.
    UnknownKind,
    /// Too few or too many words.
    WrongCount,
    /// A word that should be a number is none, or is out of range.
    BadNumber,
}

impl fmt::Display for MessageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TooLong => "message is too long",
            Self::NotWords => "message is not made of words separated by single spaces",
            Self::UnknownKind => "message is of an unknown kind",
            Self::WrongCount => "message has a wrong number of words",
            Self::BadNumber => "message has a bad number",
        })
    }
}

impl std::error::Error for MessageError {}

impl ToSupervisor {
    /// Writes the message as one datagram.
    #[must_use]
    pub fn encode(&self) -> String {
        match self {
            Self::Signal(SignalNotice {
                signal,
                sender_pid,
                sender_uid,
                code,
            }) => {
                format!("signal {signal} {sender_pid} {sender_uid} {code}")
            }
            Self::Swept {
                request,
                killed,
                remaining,
            } => format!("swept {request} {killed} {remaining}"),
            Self::Ask => "ask".to_owned(),
        }
    }

    /// Reads one datagram.
    ///
    /// # Errors
    /// When the datagram is not exactly one message of this direction.
    pub fn parse(datagram: &[u8]) -> Result<Self, MessageError> {
        let mut words = words(datagram)?;
        let message = match words.next() {
            Some("signal") => Self::Signal(SignalNotice {
                signal: number(&mut words)?,
                sender_pid: number(&mut words)?,
                sender_uid: number(&mut words)?,
                code: number(&mut words)?,
            }),
            Some("swept") => Self::Swept {
                request: number(&mut words)?,
                killed: number(&mut words)?,
                remaining: number(&mut words)?,
            },
            Some("ask") => Self::Ask,
            Some(_) | None => return Err(MessageError::UnknownKind),
        };
        end(words, message)
    }
}

impl ToGuardian {
    /// Writes the message as one datagram; pids beyond `MAX_KEPT_PIDS` are left out, and so not spared.
    #[must_use]
    pub fn encode(&self) -> String {
        match self {
            Self::Ready => "ready".to_owned(),
            Self::Alive => "alive".to_owned(),
            Self::Sweep { request, kept } => {
                let mut text = format!("sweep {request}");
                for pid in kept.iter().take(MAX_KEPT_PIDS) {
                    text.push(' ');
                    text.push_str(&pid.to_string());
                }
                text
            }
            Self::Stopping {
                grace_ms: Some(grace_ms),
            } => format!("stopping {grace_ms}"),
            Self::Stopping { grace_ms: None } => "stopping".to_owned(),
            Self::Paused => "paused".to_owned(),
            Self::Resumed => "resumed".to_owned(),
            Self::Shows { rows } => format!("shows {rows}"),
            Self::Finished {
                exit_code: Some(exit_code),
            } => format!("finished {exit_code}"),
            Self::Finished { exit_code: None } => "finished".to_owned(),
        }
    }

    /// Reads one datagram.
    ///
    /// # Errors
    /// When the datagram is not exactly one message of this direction.
    pub fn parse(datagram: &[u8]) -> Result<Self, MessageError> {
        let mut words = words(datagram)?;
        let message = match words.next() {
            Some("ready") => Self::Ready,
            Some("alive") => Self::Alive,
            Some("sweep") => {
                let request = number(&mut words)?;
                let mut kept = Vec::new();
                for word in words.by_ref() {
                    if kept.len() == MAX_KEPT_PIDS {
                        return Err(MessageError::WrongCount);
                    }
                    kept.push(positive(word)?);
                }
                Self::Sweep { request, kept }
            }
            Some("stopping") => Self::Stopping {
                grace_ms: optional(&mut words)?,
            },
            Some("paused") => Self::Paused,
            Some("resumed") => Self::Resumed,
            Some("shows") => Self::Shows {
                rows: number(&mut words)?,
            },
            Some("finished") => Self::Finished {
                exit_code: optional(&mut words)?,
            },
            Some(_) | None => return Err(MessageError::UnknownKind),
        };
        end(words, message)
    }
}

/// Splits a datagram, refusing what `encode` never writes.
fn words(datagram: &[u8]) -> Result<SplitAsciiWhitespace<'_>, MessageError> {
    if datagram.len() > MAX_MESSAGE_BYTES {
        return Err(MessageError::TooLong);
    }
    let text = str::from_utf8(datagram).map_err(|_| MessageError::NotWords)?;
    let printable = text
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if !printable || text.starts_with(' ') || text.ends_with(' ') || text.contains("  ") {
        return Err(MessageError::NotWords);
    }
    Ok(text.split_ascii_whitespace())
}

/// Takes one word that must be there and be a number.
fn number<T: FromStr>(words: &mut SplitAsciiWhitespace<'_>) -> Result<T, MessageError> {
    words
        .next()
        .ok_or(MessageError::WrongCount)?
        .parse()
        .map_err(|_| MessageError::BadNumber)
}

/// Takes one word that may be missing.
fn optional<T: FromStr>(words: &mut SplitAsciiWhitespace<'_>) -> Result<Option<T>, MessageError> {
    words
        .next()
        .map(str::parse)
        .transpose()
        .map_err(|_| MessageError::BadNumber)
}

/// Reads a pid.
fn positive(word: &str) -> Result<i32, MessageError> {
    word.parse()
        .ok()
        .filter(|pid| *pid > 0)
        .ok_or(MessageError::BadNumber)
}

/// Refuses words that are left over.
fn end<T>(mut words: SplitAsciiWhitespace<'_>, message: T) -> Result<T, MessageError> {
    if words.next().is_some() {
        Err(MessageError::WrongCount)
    } else {
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_survives_the_wire() {
        for message in [
            ToSupervisor::Signal(SignalNotice {
                signal: 64,
                sender_pid: u32::MAX,
                sender_uid: u32::MAX,
                code: i32::MIN,
            }),
            ToSupervisor::Swept {
                request: u64::MAX,
                killed: 3,
                remaining: 0,
            },
            ToSupervisor::Ask,
        ] {
            assert_eq!(
                ToSupervisor::parse(message.encode().as_bytes()),
                Ok(message)
            );
        }
        for message in [
            ToGuardian::Ready,
            ToGuardian::Alive,
            ToGuardian::Sweep {
                request: 1,
                kept: vec![],
            },
            ToGuardian::Sweep {
                request: u64::MAX,
                kept: vec![i32::MAX; MAX_KEPT_PIDS],
            },
            ToGuardian::Stopping { grace_ms: None },
            ToGuardian::Stopping {
                grace_ms: Some(u64::MAX),
            },
            ToGuardian::Paused,
            ToGuardian::Resumed,
            ToGuardian::Shows { rows: u16::MAX },
            ToGuardian::Finished { exit_code: None },
            ToGuardian::Finished {
                exit_code: Some(255),
            },
        ] {
            assert!(message.encode().len() <= MAX_MESSAGE_BYTES);
            assert_eq!(ToGuardian::parse(message.encode().as_bytes()), Ok(message));
        }
    }

    #[test]
    fn what_no_encoder_writes_is_refused() {
        for (datagram, error) in [
            ("", MessageError::UnknownKind),
            ("READY", MessageError::UnknownKind),
            ("ready ", MessageError::NotWords),
            ("ready\n", MessageError::NotWords),
            ("sweep  1", MessageError::NotWords),
            ("ready now", MessageError::WrongCount),
            ("sweep", MessageError::WrongCount),
            ("sweep 1 0", MessageError::BadNumber),
            ("sweep 1 -4", MessageError::BadNumber),
            ("finished 256", MessageError::BadNumber),
            ("paused 1", MessageError::WrongCount),
            ("shows", MessageError::WrongCount),
            ("shows 65536", MessageError::BadNumber),
            ("swept 1 2 3", MessageError::UnknownKind),
        ] {
            assert_eq!(
                ToGuardian::parse(datagram.as_bytes()),
                Err(error),
                "{datagram:?}"
            );
        }
        let crowd = format!("sweep 1{}", " 2".repeat(MAX_KEPT_PIDS + 1));
        assert_eq!(
            ToGuardian::parse(crowd.as_bytes()),
            Err(MessageError::WrongCount)
        );
        assert_eq!(
            ToGuardian::parse(&[b'x'; MAX_MESSAGE_BYTES + 1]),
            Err(MessageError::TooLong)
        );
        assert_eq!(ToGuardian::parse(b"\xff"), Err(MessageError::NotWords));
    }
}
