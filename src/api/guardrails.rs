//! What the guardrails decided, as counters.
//!
//! Owns one series for each decision that a rule can take, made at the start, so that a rate is right from the first one.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::event::{Guardrail, GuardrailDecision, GuardrailRule};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    rule: &'static str,
    decision: &'static str,
}

impl Labels {
    fn of(rule: GuardrailRule, decision: GuardrailDecision) -> Self {
        Self {
            rule: rule.as_str(),
            decision: decision.as_str(),
        }
    }
}

/// Decisions by rule.
#[derive(Debug, Clone)]
pub struct GuardrailCounters(Family<Labels, Counter>);

impl Default for GuardrailCounters {
    fn default() -> Self {
        let family = Family::<Labels, Counter>::default();
        for rule in GuardrailRule::ALL {
            let decisions: &[GuardrailDecision] = match rule {
                GuardrailRule::ConsecutiveErrors => &[GuardrailDecision::Stop],
                GuardrailRule::RepeatedAction | GuardrailRule::RepeatedCycle => {
                    &GuardrailDecision::ALL
                }
            };
            for decision in decisions {
                drop(family.get_or_create(&Labels::of(rule, *decision)));
            }
        }
        Self(family)
    }
}

impl GuardrailCounters {
    /// The counters as the registry takes them.
    pub(super) fn family(&self) -> impl prometheus_client::registry::Metric + use<> {
        self.0.clone()
    }

    /// Counts one.
    pub fn count(&self, guardrail: &Guardrail) {
        let labels = Labels::of(guardrail.rule, guardrail.decision);
        self.0.get_or_create(&labels).inc();
    }
}
