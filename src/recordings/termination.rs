//! The last word of a run to the orchestrator: Kubernetes' termination message.
//!
//! Owns the one JSON line in `/dev/termination-log`. It never creates the file, and a failure here never changes the
//! outcome. Invariant: the line is valid JSON of at most 4,096 bytes, whatever the texts in it.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use serde::Serialize;

use crate::run::{EndedBy, ErrorCode, RunId, Status};
use crate::status::StatusDocument;

/// Longest line with its end, in bytes: what Kubernetes keeps of a container's message.
pub const MAX_TERMINATION_BYTES: usize = 4_096;
/// Where the message goes when nothing else is said.
pub const DEFAULT_TERMINATION_LOG: &str = "/dev/termination-log";
/// The variable that says something else.
pub const TERMINATION_LOG_VARIABLE: &str = "STOCKADE_TERMINATION_LOG";

/// What the message says, in the order of its fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TerminationMessage {
    /// The run.
    pub run_id: RunId,
    /// Terminal status.
    pub status: Status,
    /// Exit status of the process.
    pub exit_code: u8,
    /// `error.code`; absent for a run that completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// What ended the run.
    pub by: EndedBy,
    /// Id of the terminal event.
    pub last_event_id: u64,
    /// Hash of the terminal event: the place where tampering with the log can be told from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_head: Option<String>,
    /// `outcome.reason`; the second text to be cut.
    pub reason: String,
    /// Why the recordings are not healthy; the third text to be cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recordings_error: Option<String>,
    /// `error.message`; the first text to be cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What became of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It is in the file.
    Written,
    /// There is no such file; nobody wants the message.
    Unwanted,
}

/// The message could not be delivered.
#[derive(Debug, thiserror::Error)]
pub enum TerminationError {
    /// It cannot be made into JSON.
    #[error("cannot encode the termination message")]
    Encode {
        /// Why.
        source: serde_json::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the termination message to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Gives the file that the environment names, else [`DEFAULT_TERMINATION_LOG`].
pub fn termination_log_path(env: &dyn Fn(&str) -> Option<OsString>) -> PathBuf {
    env(TERMINATION_LOG_VARIABLE)
        .filter(|value| !value.is_empty())
        .map_or_else(|| PathBuf::from(DEFAULT_TERMINATION_LOG), PathBuf::from)
}

impl TerminationMessage {
    /// The message of a finished run; none when the document has no outcome yet.
    pub fn of(document: &StatusDocument, exit_code: u8) -> Option<Self> {
        let outcome = document.outcome.as_ref()?;
        let error = document.error.as_ref();
        Some(Self {
            run_id: document.run_id.clone(),
            status: document.status,
            exit_code,
            code: error.and_then(|error| ErrorCode::parse(&error.code)),
            by: outcome.by,
            last_event_id: document.last_event_id,
            log_head: document.log.as_ref().map(|log| log.head.clone()),
            reason: outcome.reason.clone(),
            recordings_error: document.recordings.error.clone(),
            message: error.map(|error| error.message.clone()),
        })
    }

    /// Encodes the message as one line with its end, at most [`MAX_TERMINATION_BYTES`]. Where it would be longer the
    /// texts are cut, each no more than needed and at a character boundary, in this order: message, reason,
    /// recordings error. A cut text ends in `…`.
    ///
    /// # Errors
    /// When a value cannot be JSON; none of these has one.
    pub fn encode(&self) -> Result<Vec<u8>, TerminationError> {
        let mut message = self.clone();
        let selectors: [fn(&mut Self) -> Option<&mut String>; 3] = [
            |message| message.message.as_mut(),
            |message| Some(&mut message.reason),
            |message| message.recordings_error.as_mut(),
        ];
        let mut line = message.line()?;
        for select in selectors {
            if line.len() <= MAX_TERMINATION_BYTES {
                break;
            }
            line = message.cut_until_it_fits(select)?;
        }
        Ok(line)
    }

    fn line(&self) -> Result<Vec<u8>, TerminationError> {
        let mut line =
            serde_json::to_vec(self).map_err(|source| TerminationError::Encode { source })?;
        line.push(b'\n');
        Ok(line)
    }

    /// Searches for the longest beginning of one text with which the line fits; with none the text is only `…`.
    fn cut_until_it_fits(
        &mut self,
        select: fn(&mut Self) -> Option<&mut String>,
    ) -> Result<Vec<u8>, TerminationError> {
        let Some(whole) = select(self).map(|text| text.clone()) else {
            return self.line();
        };
        let (mut fits, mut too_long) = (0, whole.len());
        while fits + 1 < too_long {
            let middle = fits.midpoint(too_long);
            self.set_beginning(select, &whole, middle);
            if self.line()?.len() <= MAX_TERMINATION_BYTES {
                fits = middle;
            } else {
                too_long = middle;
            }
        }
        self.set_beginning(select, &whole, fits);
        self.line()
    }

    fn set_beginning(
        &mut self,
        select: fn(&mut Self) -> Option<&mut String>,
        whole: &str,
        max_bytes: usize,
    ) {
        let beginning = whole
            .get(..whole.floor_char_boundary(max_bytes))
            .unwrap_or("");
        if let Some(text) = select(self) {
            *text = format!("{beginning}…");
        }
    }

    /// Writes the message to `path` if that exists, replacing what was there.
    ///
    /// # Errors
    /// When the file exists and cannot be written. The caller logs it; the outcome stands.
    pub fn deliver(&self, path: &Path) -> Result<Delivery, TerminationError> {
        let line = self.encode()?;
        let failed = |source| TerminationError::Write {
            path: path.to_owned(),
            source,
        };
        // The file is a bind mount of the kubelet's, so it can be neither created nor replaced; and it may be
        // anything, so opening it must not wait for a reader.
        let opened = OpenOptions::new()
            .write(true)
            .truncate(true)
            .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
            .open(path);
        let mut file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Delivery::Unwanted),
            Err(source) => return Err(failed(source)),
        };
        file.write_all(&line).map_err(failed)?;
        Ok(Delivery::Written)
    }
}

#[cfg(test)]
mod tests;
