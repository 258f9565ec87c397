//! What is launched apart from the rest of the workload, and what is done to the rest without it.
//!
//! Owns no state. It decides nothing: the sandbox keeps the two apart.

use std::io;
use std::time::Duration;

use stockade_sandbox::{KillReport, LaunchId, Target};

use super::{Killed, Workload};
use crate::agent::NotStarted;

impl Killed {
    /// Adds what was killed later; of the names, as many as a report of the sandbox has.
    pub(in crate::session) fn add(&mut self, later: Self) {
        self.killed += later.killed;
        self.names.extend(later.names);
        self.names.truncate(stockade_sandbox::MAX_REPORTED_NAMES);
        self.doubt = later.doubt.or(self.doubt.take());
    }
}

impl Workload {
    /// Starts a process beside the rest of the workload: its descendants stay together, and what is done to the rest is not
    /// done to it.
    ///
    /// # Errors
    /// As [`Workload::launch`].
    pub async fn launch_apart(
        &self,
        launch: stockade_sandbox::Launch,
    ) -> Result<LaunchId, NotStarted> {
        self.started(move |sandbox| sandbox.launch_apart(launch))
            .await
    }

    /// The same, with what was killed.
    ///
    /// # Errors
    /// As [`Workload::kill_tree`].
    pub async fn end_tree(&self, launch: LaunchId, limit: Duration) -> io::Result<KillReport> {
        self.ask(move |sandbox| sandbox.kill_tree(launch, limit))
            .await
    }

    /// Sends a signal to every process but those that were launched apart, and SIGCONT behind it.
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub async fn signal_rest(&self, signo: i32) -> io::Result<()> {
        self.signal(Target::Rest, signo).await
    }

    /// Counts the live processes but those that were launched apart; none when that cannot be known.
    pub async fn processes_of_rest(&self) -> Option<u32> {
        self.ask(|sandbox| sandbox.processes_of_rest()).await.ok()
    }

    /// Kills every process but those that were launched apart; what is left in spite of that ends with the sandbox.
    pub async fn kill_rest(&self, limit: Duration) -> Killed {
        match self.ask(move |sandbox| sandbox.kill_rest(limit)).await {
            Ok(report) => Killed {
                killed: u64::from(report.killed),
                names: report.names,
                doubt: None,
            },
            Err(error) => {
                tracing::debug!(%error, "the agent's processes end with the sandbox");
                Killed::default()
            }
        }
    }
}
