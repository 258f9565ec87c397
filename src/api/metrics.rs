//! What is counted, for `GET /metrics`.
//!
//! Owns the registry and every counter of the program; the rest of the program updates them through the fields. It
//! never labels by anything that a caller chooses, so the number of series is fixed. Invariant: an update is an atomic
//! operation.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::http::StatusCode;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::egress::EgressCounters;
use super::guardrails::GuardrailCounters;
use super::route::Route;
use crate::run::Phase;
use crate::status::gauge::GaugePlace;

/// Media type of the text.
pub const OPENMETRICS_TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: RouteLabel,
    status: StatusClass,
}

/// The route of a request; none for a path that is no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct RouteLabel(Option<Route>);

impl EncodeLabelValue for RouteLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(self.0.map_or("other", Route::template))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct StatusClass(u16);

impl EncodeLabelValue for StatusClass {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        write!(encoder, "{}xx", self.0)
    }
}

/// First digit of the statuses that we answer with.
const STATUS_CLASSES: [u16; 4] = [2, 3, 4, 5];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    phase: PhaseLabel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct PhaseLabel(Phase);

impl EncodeLabelValue for PhaseLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(self.0.as_str())
    }
}

const PHASES: [Phase; 4] = [
    Phase::Starting,
    Phase::Running,
    Phase::Stopping,
    Phase::Finished,
];

/// The labels of a metric that has none and is not always there.
type NoLabels = [(String, String); 0];

/// Connections and readers of a server, whatever it serves.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Event streams that are open.
    pub readers_connected: Gauge,
    /// Connections that are open.
    pub connections_open: Gauge,
    /// Connections that were refused because the listener was full.
    pub connections_refused: Counter,
    /// Connections that were cut because they accepted no byte for too long.
    pub slow_readers_cut: Counter,
    /// Accepts that failed.
    pub accept_errors: Counter,
}

impl Traffic {
    /// New counters, which the registry shows.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self::default();
        for (name, help, gauge) in [
            (
                "readers_connected",
                "Event streams that are open",
                &new.readers_connected,
            ),
            (
                "connections_open",
                "Connections that are open",
                &new.connections_open,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
        for (name, help, counter) in [
            (
                "connections_refused",
                "Connections refused because the listener was full",
                &new.connections_refused,
            ),
            (
                "slow_readers_cut",
                "Connections cut because they accepted no byte for too long",
                &new.slow_readers_cut,
            ),
            ("accept_errors", "Accepts that failed", &new.accept_errors),
        ] {
            registry.register(name, help, counter.clone());
        }
        new
    }
}

/// Every metric of the supervisor.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// One counter for each route (and one for other paths) and class, made at the start: a request hashes nothing.
    requests: Vec<[Counter; STATUS_CLASSES.len()]>,
    phase: Family<PhaseLabels, Gauge>,
    /// Events in the log.
    pub events_appended: Counter,
    /// Bytes of whole lines in the log's files.
    pub log_bytes: Gauge,
    /// 1 while the log reaches its files, else 0.
    pub log_healthy: Gauge,
    /// Actions in the log.
    pub actions: Counter,
    /// What the guardrails decided.
    pub guardrails: GuardrailCounters,
    /// What the egress proxy decided and carried.
    pub egress: EgressCounters,
    /// Processes that had to be killed at the end.
    pub survivors_killed: Counter,
    /// Starts of services that had ended.
    pub service_restarts: Counter,
    /// 1 while the run is paused, else 0.
    pub run_paused: Gauge,
    /// How long the run stood still, in the pauses that have ended.
    pub paused_seconds: Counter<f64, AtomicU64>,
    /// Connections and readers.
    pub traffic: Arc<Traffic>,
    /// Absent until there is something to tell.
    memory: Family<NoLabels, Gauge>,
    pids: Family<NoLabels, Gauge>,
    /// What the workload takes now.
    pub level: GaugePlace,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("stockade");
        let families = Family::<RequestLabels, Counter>::default();
        registry.register("http_requests", "Answered requests", families.clone());
        let labels = Route::ALL.into_iter().map(Some).chain([None]);
        let requests = labels
            .map(|route| {
                STATUS_CLASSES.map(|class| {
                    families.get_or_create_owned(&RequestLabels {
                        route: RouteLabel(route),
                        status: StatusClass(class),
                    })
                })
            })
            .collect();
        let phase = Family::<PhaseLabels, Gauge>::default();
        registry.register(
            "run_phase",
            "1 for the phase that the run is in",
            phase.clone(),
        );
        let guardrails = GuardrailCounters::default();
        registry.register(
            "guardrail_decisions",
            "Decisions of the guardrails",
            guardrails.family(),
        );
        let egress = EgressCounters::register(&mut registry);
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let events_appended = counter("events_appended", "Events in the log");
        let actions = counter("actions", "Actions in the log");
        let survivors_killed = counter(
            "survivors_killed",
            "Processes that had to be killed at the end",
        );
        let service_restarts = counter("service_restarts", "Starts of services that had ended");
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let log_bytes = gauge("log_bytes", "Bytes of whole lines in the log's files");
        let log_healthy = gauge("log_healthy", "1 while the log reaches its files");
        let run_paused = gauge("run_paused", "1 while the run is paused");
        let paused_seconds = Counter::default();
        registry.register_with_unit(
            "paused",
            "Time in pauses that have ended",
            Unit::Seconds,
            paused_seconds.clone(),
        );
        let mut seldom = |name: &str, help: &str| {
            let family = Family::<NoLabels, Gauge>::default();
            registry.register(name, help, family.clone());
            family
        };
        let memory = seldom("workload_memory_bytes", "Memory of the workload");
        let pids = seldom("workload_pids", "Processes and threads of the workload");
        let traffic = Arc::new(Traffic::register(&mut registry));
        log_healthy.set(1);
        let metrics = Self {
            registry,
            requests,
            phase,
            events_appended,
            log_bytes,
            log_healthy,
            actions,
            guardrails,
            egress,
            survivors_killed,
            service_restarts,
            run_paused,
            paused_seconds,
            traffic,
            memory,
            pids,
            level: GaugePlace::default(),
        };
        metrics.set_phase(Phase::Starting);
        metrics
    }
}

impl Metrics {
    /// Says which phase the run is in.
    pub fn set_phase(&self, now: Phase) {
        for phase in PHASES {
            self.phase
                .get_or_create(&PhaseLabels {
                    phase: PhaseLabel(phase),
                })
                .set(i64::from(phase == now));
        }
    }

    /// Counts an answer.
    pub(super) fn answered(&self, route: Option<Route>, status: StatusCode) {
        let row = route.map_or(Route::ALL.len(), |route| route as usize);
        let class = STATUS_CLASSES
            .iter()
            .position(|class| *class == status.as_u16() / 100);
        if let (Some(row), Some(class)) = (self.requests.get(row), class)
            && let Some(counter) = row.get(class)
        {
            counter.inc();
        }
    }

    /// Reads what the workload takes; what nobody counts is no zero but absent.
    fn read_level(&self) {
        match self.level.read() {
            Some(level) => {
                let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
                self.memory
                    .get_or_create(&[])
                    .set(number(level.memory_bytes));
                self.pids.get_or_create(&[]).set(number(level.pids));
            }
            None => {
                self.memory.clear();
                self.pids.clear();
            }
        }
    }

    /// The text.
    ///
    /// # Errors
    /// When a metric cannot be written as text; ours all can.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        self.read_level();
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Counts a thing as long as it is held.
#[derive(Debug)]
pub(crate) struct Held(Gauge);

impl Held {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::gauge::{Gauge as LevelGauge, Level};

    #[test]
    fn what_the_workload_takes_is_absent_where_nobody_counts_it() {
        let metrics = Metrics::default();
        let has = |text: &str, line: &str| text.lines().any(|l| l == line);
        assert!(
            !metrics
                .encode()
                .unwrap()
                .contains("workload_memory_bytes{}")
        );
        metrics.level.set(LevelGauge::new(|| {
            Some(Level {
                memory_bytes: 4096,
                pids: 2,
            })
        }));
        let text = metrics.encode().unwrap();
        assert!(
            has(&text, "stockade_workload_memory_bytes{} 4096"),
            "{text}"
        );
        assert!(has(&text, "stockade_workload_pids{} 2"), "{text}");
    }

    #[test]
    fn the_text_has_every_metric_and_answers_are_counted_by_route_and_class() {
        let metrics = Metrics::default();
        metrics.answered(Some(Route::Status), StatusCode::OK);
        metrics.answered(Some(Route::Status), StatusCode::NOT_MODIFIED);
        metrics.answered(None, StatusCode::NOT_FOUND);
        metrics.set_phase(Phase::Running);
        let text = metrics.encode().unwrap();
        for line in [
            "stockade_http_requests_total{route=\"/status\",status=\"2xx\"} 1",
            "stockade_http_requests_total{route=\"/status\",status=\"3xx\"} 1",
            "stockade_http_requests_total{route=\"other\",status=\"4xx\"} 1",
            "stockade_run_phase{phase=\"running\"} 1",
            "stockade_run_phase{phase=\"starting\"} 0",
            "stockade_log_healthy 1",
            "stockade_run_paused 0",
            "stockade_paused_seconds_total 0.0",
            "stockade_readers_connected 0",
            "stockade_slow_readers_cut_total 0",
            "stockade_guardrail_decisions_total{rule=\"repeated_cycle\",decision=\"hint\"} 0",
            "stockade_egress_connections_total{decision=\"deny\"} 0",
            "stockade_egress_bytes_total{direction=\"received\"} 0",
            "stockade_guardrail_decisions_total{rule=\"consecutive_errors\",decision=\"stop\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in {text}");
        }
    }
}
