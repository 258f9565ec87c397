//! What the control plane counts, for `GET /metrics`.
//!
//! Owns the registry of the control plane. It labels by nothing that a caller chooses, so the number of series is fixed.

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::api::metrics::Traffic;

/// Every metric of the control plane.
#[derive(Debug)]
pub struct Counters {
    registry: Registry,
    /// Connections and readers.
    pub traffic: Arc<Traffic>,
    /// Answers below 500.
    pub answers_given: Counter,
    /// Answers from 500 on.
    pub answers_failed: Counter,
    /// Runs that were created here.
    pub runs_created: Counter,
    /// Runs that were found without an end, and given one here.
    pub runs_lost: Counter,
    /// Requests to stop a run.
    pub stops_asked: Counter,
    /// Runs that did not end in time after such a request, and were killed.
    pub stops_enforced: Counter,
    /// Sandboxes of runs with an end that were removed.
    pub sandboxes_removed: Counter,
    /// Runs without an end, as the last round over all recordings found them.
    pub runs_active: Gauge,
    /// Runs that are followed for readers.
    pub upstreams: Gauge,
}

impl Default for Counters {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("stockade_serve");
        let traffic = Arc::new(Traffic::register(&mut registry));
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let answers_given = counter("answers_given", "Answers with a status below 500");
        let answers_failed = counter("answers_failed", "Answers with a status from 500 on");
        let runs_created = counter("runs_created", "Runs that were created");
        let runs_lost = counter("runs_lost", "Runs without an end that were given one");
        let stops_asked = counter("stops_asked", "Requests to stop a run");
        let stops_enforced = counter("stops_enforced", "Runs that were killed after a stop");
        let sandboxes_removed = counter("sandboxes_removed", "Sandboxes that were removed");
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let upstreams = gauge("upstreams", "Runs that are followed for readers");
        let runs_active = gauge("runs_active", "Runs without an end, every 5 s");
        Self {
            registry,
            traffic,
            answers_given,
            answers_failed,
            runs_created,
            runs_lost,
            stops_asked,
            stops_enforced,
            sandboxes_removed,
            runs_active,
            upstreams,
        }
    }
}

impl Counters {
    /// The text.
    ///
    /// # Errors
    /// When a metric cannot be written as text; ours all can.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
