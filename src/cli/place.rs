//! Where runs are looked for: the option that all commands about recordings have.

use std::path::{Path, PathBuf};

use crate::client::Target;
use crate::recordings::{RecordingsError, RunDir, Store, find};
use crate::session::workload::chain;

/// The directory of all runs.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// Look for runs in DIR [default: $XDG_STATE_HOME/stockade/runs]
    #[arg(
        long,
        value_name = "DIR",
        env = "STOCKADE_RECORDINGS",
        hide_env_values = true
    )]
    recordings: Option<PathBuf>,
}

impl Place {
    /// The directory that was named, else the default one.
    ///
    /// # Errors
    /// When none was named and there is no default.
    pub fn path(&self) -> Result<PathBuf, RecordingsError> {
        match &self.recordings {
            Some(path) => Ok(path.clone()),
            None => Store::default_path(&|name| std::env::var_os(name)),
        }
    }

    /// The recording that is named.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub fn recording(&self, named: &str) -> Result<RunDir, String> {
        find::find(named, &|| self.path()).map_err(|error| chain(&error))
    }

    /// The same, and a directory that is there goes before a run id: for commands that people give a directory.
    ///
    /// # Errors
    /// As [`Place::recording`].
    pub fn recording_or_directory(&self, named: &str) -> Result<RunDir, String> {
        let path = Path::new(named);
        if path.is_dir() {
            return RunDir::open(path).map_err(|error| chain(&error));
        }
        self.recording(named)
    }

    /// The run that is named, by its recording or its address.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub fn target(&self, named: &str) -> Result<Target, String> {
        Target::find(named, &|| self.path()).map_err(|error| chain(&error))
    }
}
