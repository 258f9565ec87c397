//! Why a status API gave no answer, or not the one that was asked for.

use std::io;
use std::time::Duration;

use super::address::Address;
use crate::recordings::RecordingsError;
use crate::recordings::lock::LockError;
use crate::run::RunId;

/// A failure of the client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there, or the way to it is cut.
    #[error("cannot reach {address}")]
    Unreachable {
        /// Who was asked.
        address: Address,
        /// As connect(2).
        source: io::Error,
    },
    /// The connection broke before the answer was whole.
    #[error("the connection to {address} broke")]
    Broken {
        /// Who was asked.
        address: Address,
        /// What broke it.
        source: hyper::Error,
    },
    /// No byte came for too long.
    #[error("{address} was silent for {} s", limit.as_secs())]
    Silent {
        /// Who was asked.
        address: Address,
        /// The limit that passed.
        limit: Duration,
    },
    /// The stream ended in good order, at once and without an event.
    #[error("{address} ended its stream at once and without an event")]
    Empty {
        /// Who was asked.
        address: Address,
    },
    /// The answer is a refusal.
    #[error("{address} refuses: {detail} ({status}{})", code.as_deref().map(|code| format!(" {code}")).unwrap_or_default())]
    Refused {
        /// Who was asked.
        address: Address,
        /// HTTP status code.
        status: u16,
        /// Stable code of the problem, if it has one.
        code: Option<String>,
        /// For people.
        detail: String,
        /// Each fault of what was sent, for people, where they are told one by one.
        faults: Vec<String>,
    },
    /// What came is no answer of a status API.
    #[error("{address} does not speak as a status API: {what}")]
    Foreign {
        /// Who was asked.
        address: Address,
        /// What is not as it should be.
        what: String,
    },
    /// Another run listens at the address now.
    #[error("run {found} listens at {address} now, not run {wanted}")]
    OtherRun {
        /// Who was asked.
        address: Address,
        /// The run that answered.
        found: RunId,
        /// The run that was meant.
        wanted: RunId,
    },
    /// The run has no status API that could be asked.
    #[error(
        "run {run} has no status API: it was started with --listen none and --socket none, or has not got so far"
    )]
    NoAddress {
        /// The run.
        run: RunId,
    },
    /// The token cannot be sent.
    #[error("the token is not printable ASCII")]
    Token,
    /// The recording cannot be read.
    #[error("cannot read the recording")]
    Recording(#[source] RecordingsError),
    /// The log cannot be read.
    #[error("cannot read the action log")]
    Log(#[source] io::Error),
    /// It could not be found out whether somebody works on the run.
    #[error("cannot tell whether the run is alive")]
    Lock(#[source] LockError),
}

impl ClientError {
    /// True when the run may well be alive, and asking again later may help.
    pub fn is_contact(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Broken { .. }
            | Self::Silent { .. }
            | Self::Empty { .. }
            | Self::OtherRun { .. }
            | Self::NoAddress { .. } => true,
            Self::Refused { status, .. } => *status >= 500,
            Self::Foreign { .. }
            | Self::Token
            | Self::Recording(_)
            | Self::Log(_)
            | Self::Lock(_) => false,
        }
    }

    /// What to do about it where a control plane was asked.
    pub fn remedy_at_a_plane(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => {
                Some("start it with stockade serve, or name it by --server")
            }
            Self::Refused { status: 401, .. } => Some(
                "give a token of the control plane by --token-file or STOCKADE_TOKEN_FILE, or its recordings by --recordings",
            ),
            Self::Refused { status: 403, .. } => {
                Some("give the token of the control plane that may do that, by --token-file")
            }
            Self::Refused { .. }
            | Self::Broken { .. }
            | Self::Silent { .. }
            | Self::Empty { .. }
            | Self::Foreign { .. }
            | Self::OtherRun { .. }
            | Self::NoAddress { .. }
            | Self::Token
            | Self::Recording(_)
            | Self::Log(_)
            | Self::Lock(_) => None,
        }
    }

    /// What to do about it, where that is not plain.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Refused { status: 401, .. } => {
                Some("give the run's token by --token-file or STOCKADE_TOKEN_FILE")
            }
            Self::Refused { status: 403, .. } => Some(
                "give a token with the scope control by --token-file, or ask the run's Unix socket",
            ),
            Self::Refused { .. }
            | Self::Unreachable { .. }
            | Self::Broken { .. }
            | Self::Silent { .. }
            | Self::Empty { .. }
            | Self::Foreign { .. }
            | Self::OtherRun { .. }
            | Self::NoAddress { .. }
            | Self::Token
            | Self::Recording(_)
            | Self::Log(_)
            | Self::Lock(_) => None,
        }
    }
}
