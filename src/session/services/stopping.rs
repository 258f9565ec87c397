//! The end of services: in the reverse of their order, one after another, inside the grace of the run.
//!
//! Owns what happens to them once the run is over for the agent: none is started again, each is asked to end and killed when it
//! does not, with all that it started. Invariant: together they take no longer than the ladder leaves.

use std::time::Duration;

use stockade_sandbox::{LaunchId, Report};
use tokio::time::Instant;

use super::super::ladder::{Awaited, Ladder};
use super::super::workload::{Killed, exit_of};
use super::super::{Session, journal};
use super::{State, Whose};
use crate::agent::Exit;
use crate::event::{Event, Rung, Service, ServiceState};

/// Time for the end of looks that were killed; it takes well below a millisecond each.
const ABANDON_LIMIT: Duration = Duration::from_millis(200);

impl Session {
    /// How much of a stop's time services may need.
    pub(in crate::session) fn stop_time_of_services(&self) -> Duration {
        let live = self.services.held.iter();
        let live = live.filter(|held| held.launch.is_some());
        live.map(|held| held.service.stop_grace).sum()
    }

    /// Takes a report that comes while the run ends.
    pub(in crate::session) async fn take_late_report(&mut self, report: &Report) {
        let exit = exit_of(report);
        match self.services.whose(report.launch) {
            Some(Whose::Program(idx)) => self.service_ended_late(idx, exit),
            Some(Whose::Look(idx)) => {
                self.take_look_at_service(idx, exit).await;
            }
            Some(Whose::GivenUp(id)) => self.forget_look(id).await,
            None => {
                if let Some(hook) = &mut self.hook
                    && hook.id == report.launch
                {
                    hook.exit = Some(exit);
                } else if self
                    .launched
                    .as_ref()
                    .is_some_and(|launched| launched.id == report.launch && launched.exit.is_none())
                {
                    let _ = self.note_exit(exit);
                }
            }
        }
    }

    fn service_ended_late(&mut self, idx: usize, exit: Exit) {
        self.journal.add_usage(&exit);
        let Some(held) = self.services.held.get_mut(idx) else {
            return;
        };
        let was_asked = matches!(held.state, State::Stopping);
        held.state = State::Ended(exit);
        if !was_asked {
            let event = Service {
                reason: held.fault.take(),
                exit_code: exit.code,
                signal: exit.signal,
                duration_ms: Some(journal::millis(exit.duration)),
                ..held.entered(ServiceState::Exited)
            };
            self.recorder.append(Event::Service(event));
        }
    }

    /// Gives up all looks: their processes are ours, and must not be counted among what the workload left.
    pub(in crate::session) async fn abandon_looks_at_services(&mut self) {
        for idx in 0..self.services.held.len() {
            self.give_up_look(idx).await;
        }
        let until = Instant::now() + ABANDON_LIMIT;
        while !self.services.given_up.is_empty() {
            match tokio::time::timeout_at(until, self.workload.next_report()).await {
                Ok(Ok(report)) => self.take_late_report(&report).await,
                Ok(Err(_)) | Err(_) => {
                    tracing::debug!("a look at a service was killed and is not reaped yet");
                    return;
                }
            }
        }
    }

    /// Stops all services, the last one first; gives what had to be killed.
    pub(in crate::session) async fn stop_services(&mut self, ladder: &mut Ladder) -> Killed {
        let mut killed = Killed::default();
        if self.services.held.iter().any(|held| held.launch.is_some()) {
            let left = ladder.left(None).unwrap_or_default();
            self.note_step(Rung::Services, None, Some(left));
        }
        for idx in (0..self.services.held.len()).rev() {
            self.stop_service(idx, ladder, &mut killed).await;
        }
        killed
    }

    async fn stop_service(&mut self, idx: usize, ladder: &mut Ladder, killed: &mut Killed) {
        let Some(held) = self.services.held.get_mut(idx) else {
            return;
        };
        let Some(id) = held.launch else {
            if let State::Pausing(_) = held.state {
                held.state = State::Gone;
                let event = held.entered(ServiceState::Stopped);
                self.recorder.append(Event::Service(event));
            }
            return;
        };
        let begun = Instant::now();
        let had_ended = matches!(held.state, State::Ended(_));
        let (signo, grace) = (held.service.stop_signal.number(), held.service.stop_grace);
        if !had_ended {
            held.state = State::Stopping;
            if let Err(error) = self.workload.signal_tree(id, signo).await {
                tracing::debug!(%error, "a service has ended before it was asked to");
            }
            let until = begun + grace;
            self.await_end(Awaited::Service(idx), ladder, |ladder, _| {
                let own = until.saturating_duration_since(Instant::now());
                ladder.left(None).map(|left| left.min(own))
            })
            .await;
        }
        let mut n_left = self.workload.processes_of(id).await.unwrap_or_default();
        let is_deaf = self.exit_of_service(idx).is_none();
        if is_deaf {
            n_left = n_left.max(1);
            if let Err(error) = self.workload.signal_tree(id, nix::libc::SIGKILL).await {
                tracing::debug!(%error, "a service has ended before it was killed");
            }
            self.await_killed(Awaited::Service(idx)).await;
        }
        let cleared = self.clear_service(idx).await;
        let Some(held) = self.services.held.get(idx) else {
            return;
        };
        if is_deaf {
            let program = held.service.command.first().map(String::as_str);
            let program = program.and_then(|program| program.rsplit('/').next());
            killed.killed += u64::from(n_left);
            killed.names.extend(program.map(str::to_owned));
        } else {
            killed.killed += u64::from(cleared.killed);
            killed.names.extend(cleared.names);
        }
        if had_ended {
            return;
        }
        let exit = self.exit_of_service(idx);
        let reason = is_deaf.then(|| format!("it did not end within {grace:?} and was killed"));
        let event = Service {
            reason,
            exit_code: exit.and_then(|exit| exit.code),
            signal: exit.and_then(|exit| exit.signal),
            duration_ms: Some(journal::millis(begun.elapsed())),
            ..held.entered(ServiceState::Stopped)
        };
        self.recorder.append(Event::Service(event));
    }

    /// The program of a service, until what it left is cleared away.
    pub(in crate::session) fn launch_of_service(&self, idx: usize) -> Option<LaunchId> {
        self.services.held.get(idx)?.launch
    }

    /// How the program of a service ended in this stop.
    pub(in crate::session) fn exit_of_service(&self, idx: usize) -> Option<Exit> {
        match self.services.held.get(idx)?.state {
            State::Ended(exit) => Some(exit),
            _ => None,
        }
    }
}
