//! Which run is meant, whoever answers for it: the run itself, or the control plane that `--server` names.
//!
//! Owns the rule which of the two is asked. Invariant: a form that only this host knows (`latest`, a directory, a socket, an
//! address) never goes to a control plane.

use std::process::ExitCode;

use super::reach::{Reach, fail};
#[cfg(feature = "operator")]
use super::server;
use crate::client::{ClientError, Target, Token};
use crate::session::workload::chain;

/// Which run is meant, and who is asked for it.
#[derive(Debug, clap::Args)]
pub struct Whereabouts {
    #[command(flatten)]
    reach: Reach,

    /// Ask the control plane at URL for the run id TARGET [env: STOCKADE_SERVER]
    #[cfg(feature = "operator")]
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

impl Whereabouts {
    /// The run that is meant, and the token for whoever answers for it.
    ///
    /// # Errors
    /// What is wrong with its name or the token, for people.
    pub(super) fn find(&self) -> Result<(Target, Token), String> {
        #[cfg(feature = "operator")]
        if let Some(found) = self.at_a_control_plane()? {
            return Ok(found);
        }
        Ok((self.reach.target()?, self.reach.token()?))
    }

    #[cfg(feature = "operator")]
    fn at_a_control_plane(&self) -> Result<Option<(Target, Token)>, String> {
        let Some(plane) = server::named(self.server.as_deref())? else {
            return Ok(None);
        };
        match self.reach.target.parse() {
            Ok(run) => {
                let token = server::token(&self.reach.access, &plane)?;
                Ok(Some((Target::OfPlane { plane, run }, token)))
            }
            Err(_) if self.server.is_none() => Ok(None),
            Err(_) => Err(format!(
                "{:?} is no id of a run; with --server give one, as stockade runs lists them",
                self.reach.target
            )),
        }
    }
}

/// Says why a run could not be asked, and what to do about it.
pub(super) fn fail_asking(target: &Target, error: &ClientError) -> ExitCode {
    fail(&chain(error), remedy(target, error))
}

/// What to do about an error of who was asked for a run.
pub(super) fn remedy(target: &Target, error: &ClientError) -> Option<&'static str> {
    match target {
        Target::OfPlane { .. } => error.remedy_at_a_plane(),
        Target::Recorded(_) | Target::Beside { .. } | Target::Remote(_) => error.remedy(),
    }
}
