//! The log of a run, and those who look at it from its beginning.
//!
//! Owns putting them together; what each does is its own business.

use std::sync::Arc;

use tokio::sync::watch;

use super::descriptors::Descriptors;
use super::observer::RunObserver;
use super::{Supervisor, setup};
use crate::api;
use crate::control::Control;
use crate::log::{self, ActionLog, LogThreads, Source};
use crate::session::recorder::now_ms;
use crate::session::workload::chain;
use crate::status::StatusBoard;

/// The log of the run and those who look at it.
pub(super) struct Record {
    pub(super) log: ActionLog,
    pub(super) source: Arc<Source>,
    pub(super) threads: LogThreads,
    pub(super) board: Arc<StatusBoard>,
    pub(super) metrics: Arc<api::Metrics>,
}

impl Supervisor {
    /// Creates the log, with the status and the metrics as its observers.
    ///
    /// # Errors
    /// When the log cannot be created, for people.
    pub(super) fn open_record(&self) -> Result<Record, String> {
        let description = &self.hand_over.description;
        let board = StatusBoard::new(setup::fold(description, &self.redactor), now_ms())
            .map_err(|error| chain(&error))?;
        let board = Arc::new(board);
        let dir = setup::directory_of(&self.run_dir).map_err(|error| error.to_string())?;
        let options = setup::log_options(description);
        let metrics = Arc::<api::Metrics>::default();
        let observer = Arc::new(RunObserver::new(Arc::clone(&board), Arc::clone(&metrics)));
        let (log, source, threads) = log::create(
            dir,
            description.run_id.clone(),
            options,
            self.redactor.clone(),
            observer,
        )
        .map_err(|error| chain(&error))?;
        Ok(Record {
            log,
            source,
            threads,
            board,
            metrics,
        })
    }

    /// The status API over it.
    ///
    /// # Errors
    /// When a token cannot be used, for people.
    pub(super) fn api(
        &self,
        record: &Record,
        control: Control,
        readiness: watch::Receiver<api::Readiness>,
        descriptors: Descriptors,
    ) -> Result<api::Api, String> {
        let options = &self.hand_over.options;
        let auth = setup::auth(options).map_err(|error| chain(&error))?;
        Ok(api::Api {
            source: Arc::clone(&record.source),
            board: Arc::clone(&record.board),
            control,
            run: Arc::clone(&self.run_dir),
            auth: auth.under(self.exposure.clone()),
            readiness,
            metrics: Arc::clone(&record.metrics),
            limits: api::Limits {
                max_connections: descriptors.connections_of_a_listener(),
                ..api::Limits::default()
            },
        })
    }
}
