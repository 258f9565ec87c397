//! This program, started anew by the control plane: to check a description, or to be a run.
//!
//! Owns the way in: a memfd as standard input, so that no secret is on a disk or a command line, and an environment of a few
//! variables.

use std::ffi::OsString;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::run::RunId;

/// Word by which the program starts itself; people never say it.
pub const DETACHED: &str = "detached-run";

/// The variable by which a run is told its caller's trace.
pub const TRACEPARENT: &str = "TRACEPARENT";

/// Variables of the control plane that a run sees. Not one of ours is among them: what a run is stands in its description.
const KEPT_VARIABLES: [&str; 9] = [
    "CREDENTIALS_DIRECTORY",
    "HOME",
    "LANG",
    "PATH",
    "TZ",
    "USER",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
];

/// What the program is asked when it is started for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Check the description and tell its public form or its faults.
    Check,
    /// Run it.
    Start,
}

impl Question {
    /// The word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Start => "start",
        }
    }
}

/// The program and the recordings of its runs.
#[derive(Debug, Clone)]
pub struct Program {
    file: PathBuf,
    recordings: PathBuf,
}

impl Program {
    /// The program in `file`, for runs that record beneath `recordings`.
    pub fn new(file: PathBuf, recordings: PathBuf) -> Self {
        Self { file, recordings }
    }

    /// Its file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Where its runs record.
    pub fn recordings(&self) -> &Path {
        &self.recordings
    }

    /// The program, asked a question about a run whose description it reads from a memfd.
    ///
    /// # Errors
    /// When there is no memory or descriptor for the description.
    pub fn asked(
        &self,
        question: Question,
        run_id: &RunId,
        description: &[u8],
    ) -> std::io::Result<tokio::process::Command> {
        let mut memory = std::fs::File::from(memfd_create(
            c"stockade-description",
            MFdFlags::MFD_CLOEXEC,
        )?);
        memory.write_all(description)?;
        memory.seek(SeekFrom::Start(0))?;
        let kept =
            std::env::vars_os().filter(|(name, _)| KEPT_VARIABLES.iter().any(|kept| name == kept));
        let kept: Vec<(OsString, OsString)> = kept.collect();
        let mut command = tokio::process::Command::new(&self.file);
        command
            .arg(DETACHED)
            .arg(question.as_str())
            .arg(&self.recordings)
            .arg(run_id.as_str())
            .env_clear()
            .envs(kept)
            .stdin(Stdio::from(memory))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(command)
    }
}
