//! Who looks at the log as it is written: the status document and the metrics.

use std::sync::Arc;
use std::time::Duration;

use crate::api::Metrics;
use crate::event::{Event, ServiceState};
use crate::log::{Observer, Written};
use crate::run::Phase;
use crate::status::StatusBoard;

/// Passes what was written on to the board, and counts it.
#[derive(Debug)]
pub struct RunObserver {
    board: Arc<StatusBoard>,
    metrics: Arc<Metrics>,
}

impl RunObserver {
    /// An observer of one log.
    pub fn new(board: Arc<StatusBoard>, metrics: Arc<Metrics>) -> Self {
        Self { board, metrics }
    }

    fn count(&self, written: &Written) {
        self.metrics.events_appended.inc_by(written.n_events);
        match written.file_bytes {
            Some(bytes) => {
                self.metrics
                    .log_bytes
                    .inc_by(i64::try_from(bytes).unwrap_or(i64::MAX));
            }
            None => {
                self.metrics.log_healthy.set(0);
            }
        }
        for entry in &written.entries {
            match &entry.event {
                Event::Action(_) => {
                    self.metrics.actions.inc();
                }
                Event::Guardrail(guardrail) => self.metrics.guardrails.count(guardrail),
                Event::Network(network) => self.metrics.egress.count(network),
                Event::Service(service) => {
                    if service.state == ServiceState::Restarting {
                        self.metrics.service_restarts.inc();
                    }
                }
                Event::RunPhase(entered) => self.metrics.set_phase(entered.phase),
                Event::Complete(complete) => {
                    self.metrics
                        .survivors_killed
                        .inc_by(complete.survivors.killed);
                    self.metrics.set_phase(Phase::Finished);
                }
                Event::RunPaused(_) => {
                    self.metrics.run_paused.set(1);
                }
                Event::RunResumed(resumed) => {
                    self.metrics.run_paused.set(0);
                    let time = Duration::from_millis(resumed.paused_ms);
                    self.metrics.paused_seconds.inc_by(time.as_secs_f64());
                }
                Event::LogOpened(_)
                | Event::Isolation(_)
                | Event::ActionStarted(_)
                | Event::ActionOutput(_)
                | Event::Hook(_)
                | Event::StopStep(_)
                | Event::ServiceOutput(_)
                | Event::Message(_)
                | Event::Thought(_)
                | Event::Retry(_)
                | Event::Limit(_)
                | Event::Log(_)
                | Event::AgentRaw(_)
                | Event::Artifact(_) => {}
            }
        }
    }
}

impl Observer for RunObserver {
    fn written(&self, written: Written) {
        self.count(&written);
        self.board.written(written);
    }
}
