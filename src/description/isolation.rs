//! The isolation that a run asks for: a tier, layers, or both.
//!
//! It owns the words of the key `isolation`. What a host allows is found when the sandbox is built.

use serde::{Deserialize, Serialize};
use stockade_sandbox::{Layer, Policy};

use super::checker::{Checker, plain_text};
use super::error::ErrorKind;
use super::layers::{remedy, suggestion};
use super::settings::Isolation;

/// The word for the best tier that the host allows.
const BEST: &str = "best";

/// What must hold, or the run fails before its command is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// As it was asked for, without blanks.
    pub asked: String,
    /// Whether every layer of the tier `full` must hold.
    pub whole_tier: bool,
    /// The layers that must hold by name.
    pub layers: Vec<Layer>,
}

impl Default for Requirement {
    fn default() -> Self {
        Self {
            asked: BEST.to_owned(),
            whole_tier: false,
            layers: Vec::new(),
        }
    }
}

impl Requirement {
    /// Whether another tier may take the place of the tier `full`.
    pub fn allows_container(&self) -> bool {
        !self.whole_tier
    }

    /// The layers that must hold under a policy.
    pub fn layers(&self, policy: &Policy) -> Vec<Layer> {
        let mut layers = if self.whole_tier {
            policy.layers_of_full()
        } else {
            Vec::new()
        };
        let named = self.layers.iter().copied();
        let more: Vec<_> = named.filter(|layer| !layers.contains(layer)).collect();
        layers.extend(more);
        layers
    }
}

impl Checker<'_> {
    /// The tier that is built, and what must hold in it.
    pub(crate) fn isolation(&mut self) -> (Isolation, Requirement) {
        let mut isolation = Isolation::default();
        let Some((key, given)) = self.take("isolation") else {
            return (isolation, Requirement::default());
        };
        let mut requirement = Requirement::default();
        let mut words: Vec<&str> = Vec::new();
        let mut n_tiers = 0;
        for word in plain_text(&given).unwrap_or_default().split(',') {
            let word = word.trim();
            match (word, Layer::find(word)) {
                (BEST, _) => n_tiers += 1,
                ("full", _) => {
                    n_tiers += 1;
                    requirement.whole_tier = true;
                }
                ("container", _) => {
                    n_tiers += 1;
                    isolation = Isolation::Container;
                }
                ("none", _) => {
                    n_tiers += 1;
                    isolation = Isolation::None;
                }
                (_, Some(layer)) => requirement.layers.push(layer),
                (unknown, None) => {
                    // Nobody is led to no isolation by a slip.
                    let names = Layer::ALL.map(Layer::as_str);
                    let names = names.into_iter().chain([BEST, "full", "container"]);
                    let expected = suggestion(unknown, names, &remedy(key));
                    self.faults
                        .add(ErrorKind::Invalid, key.name, &given, expected);
                    return (isolation, requirement);
                }
            }
            if words.contains(&word) {
                let expected = format!("give {word} once");
                self.faults
                    .add(ErrorKind::Conflict, key.name, &given, expected);
                return (isolation, requirement);
            }
            words.push(word);
        }
        if n_tiers > 1 {
            let expected = "give one tier, and layers beside it";
            self.faults
                .add(ErrorKind::Conflict, key.name, &given, expected);
        }
        requirement.asked = words.join(",");
        (isolation, requirement)
    }
}
