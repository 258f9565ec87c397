//! What the commands that ask a run or a control plane have in common: by what token, and how a failure is told.

use std::ffi::OsStr;
use std::future::Future;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::place::Place;
use super::{FAILURE, notice};
use crate::client::{ClientError, Target, Token};
use crate::description::credentials::read_secret_file;
use crate::description::secret::Secret;
use crate::progress::paint::Colours;
use crate::session::workload::chain;

/// Which run is meant, and how it is asked.
#[derive(Debug, clap::Args)]
pub struct Reach {
    /// The run: latest, a run id, a run's directory, unix:PATH or HOST:PORT
    #[arg(value_name = "TARGET", default_value = "latest")]
    pub(super) target: String,

    #[command(flatten)]
    pub(super) access: Access,
}

/// Where recordings are, and by what token somebody is asked.
#[derive(Debug, clap::Args)]
pub struct Access {
    #[command(flatten)]
    pub(super) place: Place,

    /// Read the token from FILE; the Unix socket of a run needs none
    #[arg(
        long,
        value_name = "FILE",
        env = "STOCKADE_TOKEN_FILE",
        hide_env_values = true
    )]
    token_file: Option<PathBuf>,
}

impl Reach {
    /// The run that is meant.
    ///
    /// # Errors
    /// What is wrong with its name, for people.
    pub fn target(&self) -> Result<Target, String> {
        self.access.place.target(&self.target)
    }

    /// The token: of the file, else of `STOCKADE_TOKEN`, else none.
    ///
    /// # Errors
    /// When the file cannot be used, for people.
    pub fn token(&self) -> Result<Token, String> {
        self.access.secret().map(Token::new)
    }
}

impl Access {
    /// The token: of the file, else of `STOCKADE_TOKEN`, else none.
    ///
    /// # Errors
    /// When the file cannot be used, for people.
    pub(super) fn secret(&self) -> Result<Option<Secret>, String> {
        match &self.token_file {
            Some(path) => secret_of(path).map(Some),
            None => Ok(std::env::var("STOCKADE_TOKEN")
                .ok()
                .filter(|token| !token.is_empty())
                .map(Secret::new)),
        }
    }
}

/// The token in a file.
///
/// # Errors
/// When the file cannot be used, for people.
pub(super) fn secret_of(path: &Path) -> Result<Secret, String> {
    read_secret_file(path)
        .map_err(|(_, expected)| format!("cannot use the token in {}: {expected}", path.display()))
}

/// Runs a client's work on this thread.
///
/// # Errors
/// When there can be no runtime.
pub fn block_on<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot begin: {error}"))?;
    Ok(runtime.block_on(work))
}

/// Says what failed and what to do about it.
pub fn fail(error: &str, remedy: Option<&str>) -> ExitCode {
    match remedy {
        Some(remedy) => notice::error(&format!("{error}; {remedy}")),
        None => notice::error(error),
    }
    ExitCode::from(FAILURE)
}

/// The same for an error of the client.
pub fn fail_client(error: &ClientError) -> ExitCode {
    fail(&chain(error), error.remedy())
}

/// The colours for standard output.
pub fn colours() -> Colours {
    if std::io::stdout().is_terminal() {
        let variable = |name: &str| std::env::var_os(name);
        Colours::wanted(
            variable("NO_COLOR").as_deref().map(OsStr::new),
            variable("TERM").as_deref().map(OsStr::new),
        )
    } else {
        Colours::None
    }
}
