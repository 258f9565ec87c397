//! The middle of a run: the sandbox, the agent in it, and the end on record.
//!
//! Owns the order from the first check of what is to be launched to the last word of the session. What is bound and served
//! meanwhile is not its business. Invariant: whatever fails here ends the run on record, with a code.

use std::sync::Arc;

use stockade_entrypoint::message::ToGuardian;
use tokio::sync::watch;

use super::descriptors::Descriptors;
use super::early_end::EarlyEnd;
use super::record::Record;
use super::report_file::ReportFile;
use super::warnings::warnings;
use super::{LOG_CLOSE_LIMIT, Supervisor, collecting, egress, filming, policy, setup, showing};
use crate::api::{self, Readiness};
use crate::control::Calls;
use crate::event::lifecycle::Listen;
use crate::recordings::claim::{CLAIM_VARIABLE, Claim};
use crate::run::ErrorCode;
use crate::session::limits::LimitWatch;
use crate::session::recorder::{Ended, Recorder};
use crate::session::services::Services;
use crate::session::start::Choice;
use crate::session::workload::Workload;
use crate::session::{End, Session};

impl Supervisor {
    /// Builds the sandbox and lets the session drive the agent; ends the run on record.
    pub(super) async fn session(
        &self,
        mut recorder: Recorder,
        mut calls: Calls,
        ready: watch::Sender<Readiness>,
        descriptors: Descriptors,
        listen: &Listen,
        record: &Record,
    ) -> Ended {
        let description = &self.hand_over.description;
        let refused = |message| EarlyEnd::new(ErrorCode::SetupFailed, message);
        // Before anything is launched that could change the way there, and before anything can fail.
        let report_file = self.hand_over.options.junit.as_deref();
        let report_file = match report_file.map(ReportFile::open).transpose() {
            Ok(report_file) => report_file,
            Err(error) => return self.end_early(recorder, refused(error.to_string())).await,
        };
        let playbook = match setup::playbook(description) {
            Ok(playbook) => playbook,
            Err(error) => return self.end_early(recorder, refused(error.to_string())).await,
        };
        let warnings = warnings(description, playbook.as_ref(), &self.redactor);
        let agent = setup::agent(description, playbook);
        let policy = policy::of(description, Some(&self.hand_over.options.recordings));
        let deadline = self.began + description.timeout;
        let result = match setup::result(description) {
            Ok(result) => result,
            Err(end) => return self.end_early(recorder, end).await,
        };
        let started = tokio::select! {
            biased;
            // A request that comes before there is anything to stop.
            Some(call) = calls.stops.recv() => Err(EarlyEnd::stopped(call)),
            () = tokio::time::sleep_until(deadline) => Err(EarlyEnd::timeout(description.timeout)),
            started = Workload::start(&self.program, policy, Choice::of(description), Arc::clone(&self.run_dir)) => {
                started.map_err(|error| EarlyEnd::not_started(&error, description))
            }
        };
        let (workload, scratch) = match started {
            Ok(started) => started,
            Err(end) => return self.end_early(recorder, end).await,
        };
        // Of runs whose processes were all killed at once; no start waits for it, and nobody needs to know how many.
        drop(tokio::task::spawn_blocking(
            stockade_sandbox::remove_stale_groups,
        ));
        if workload.reaches_our_sockets() {
            self.exposure.tell();
            if listen.socket.is_some() {
                tracing::warn!("the workload reaches the socket: control needs a token there");
            }
        }
        // Not before: the launch helper has inherited what it and the workload keep.
        descriptors.raise();
        let mut isolation = workload.isolation(
            &description.requirement.asked,
            &policy::network_name(description),
        );
        tracing::info!(
            tier = isolation.enforced,
            network = isolation.network,
            "sandbox is built"
        );
        isolation.limits.extend(policy::disk_limit(description));
        let limits = LimitWatch::new(&isolation);
        let recordings = &self.hand_over.options.recordings;
        let scratch_path = scratch.as_ref().map(|scratch| scratch.path().to_owned());
        let sampled = policy::sampled(description, &isolation, recordings, scratch_path.as_deref());
        recorder.append(crate::event::Event::Isolation(isolation));
        record.board.gauge().set(workload.gauge());
        record.metrics.level.set(workload.gauge());
        for warning in warnings {
            tracing::warn!("{warning}");
            recorder.diagnose(crate::event::Level::Warn, warning);
        }
        let listen = listen.address.as_deref();
        let egress = match egress::begin(description, &workload, listen, recorder.log()) {
            Ok(egress) => egress,
            Err(error) => {
                let message = format!("the egress proxy cannot be started: {error}");
                // Nothing ran in it.
                drop(workload);
                if let Some(Err(error)) = scratch.map(|scratch| scratch.remove(&self.run_dir)) {
                    tracing::warn!(%error, "the directory of the run was not removed");
                }
                return self.end_early(recorder, refused(message)).await;
            }
        };
        let prepared = collecting::prepare(description, &workload, &self.run_dir, scratch).await;
        if let Some(complaint) = prepared.complaint {
            recorder.diagnose(crate::event::Level::Warn, complaint);
        }
        let proxy = workload.proxy_address();
        let mut settings = setup::settings(
            description,
            &self.inherited,
            self.began,
            scratch_path.as_deref(),
            proxy,
        );
        (settings.passthrough, settings.result) = (self.display.passthrough, result);
        settings.console = self.console.clone();
        if let Ok(Some(claim)) = Claim::load(&self.run_dir) {
            settings
                .environment
                .push((CLAIM_VARIABLE.into(), claim.nonce.into()));
        }
        if let Some(directory) = prepared.directory {
            let variable = collecting::OUTPUT_VARIABLE.into();
            settings.environment.push((variable, directory.into()));
        }
        let journal = setup::journal(description, &recorder, &self.run_dir, &self.redactor)
            .with_cast(filming::begin(self, &recorder));
        recorder.announce(ready);
        let mut session = Session::new(
            settings,
            agent,
            workload,
            recorder,
            journal,
            calls,
            self.redactor.clone(),
            Arc::new(crate::session::output::OutputBudget::new(
                description.limits.output_bytes,
            )),
            Some(self.link.clone()),
        );
        session.collection = prepared.collection;
        session.egress = egress;
        session.services = Services::new(&description.services);
        (session.limits, session.sampled) = (limits, sampled);
        let end = session.drive().await;
        // The guardian's patience covers everything that may still follow, or it would cut the linger short.
        let mut left = description.grace
            + description.linger
            + api::limits::DRAIN_LIMIT
            + LOG_CLOSE_LIMIT
            + showing::END_LIMIT;
        // A run that ended by itself has more time for what it leaves.
        if !matches!(end, End::Stop(_)) {
            left += crate::session::collection::COLLECT_LIMIT;
        }
        self.link.tell(&ToGuardian::Stopping {
            grace_ms: u64::try_from(left.as_millis()).ok(),
        });
        let ended = session.wind_down(end).await;
        if let Some(report_file) = report_file {
            report_file.deliver_in_time(&self.run_dir).await;
        }
        ended
    }

    pub(super) async fn end_early(&self, mut recorder: Recorder, end: EarlyEnd) -> Ended {
        tracing::error!(
            code = end.code().as_str(),
            message = end.message(),
            "run ends before its agent"
        );
        let (complete, call) = end.into_complete(self.began.elapsed());
        let ended = recorder.finish(complete).await;
        drop(call);
        ended
    }
}
