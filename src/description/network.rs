//! What the workload reaches: `none`, `host`, or `allow=` with rules, and the names that are blocked all the same.
//!
//! Whatever no part of a run would enforce is refused: a rule that looks as if it held is worse than none.

use super::checker::{Checker, plain_text};
use super::error::ErrorKind;
use super::settings::Network;
use super::value::{Given, Value};
use crate::egress::rule::{AllowList, BlockList, RuleError};

const NETWORK: &str = "network";
const BLOCKED: &str = "guardrails.blocked_domains";

/// What the text form of rules begins with.
const ALLOW: &str = "allow=";

impl Checker<'_> {
    /// The network of the run.
    pub(crate) fn network(&mut self) -> Network {
        let Some((key, given)) = self.take(NETWORK) else {
            return Network::default();
        };
        match &given.value {
            Value::Text(text) => match text.as_str() {
                "none" => return Network::None,
                "host" => return Network::Host,
                "gateway" => self
                    .faults
                    .add_by_table(ErrorKind::Unsupported, key, &given),
                text => match text.strip_prefix(ALLOW) {
                    Some(rules) => return self.rules_in_text(rules, &given),
                    None => self.faults.add_by_table(ErrorKind::Invalid, key, &given),
                },
            },
            Value::Table(entries) => match entries.as_slice() {
                [(name, list)] if name == "allow" => {
                    if let Some(allow) = self.listed("network.allow", list, AllowList::add) {
                        return Network::Allow(allow);
                    }
                }
                _ => self.faults.add_by_table(ErrorKind::Invalid, key, &given),
            },
            _ => self.faults.add_by_table(ErrorKind::Invalid, key, &given),
        }
        Network::default()
    }

    /// The names that are never reached; they mean something only where the egress proxy is the way out, or none is.
    pub(crate) fn blocked_domains(&mut self, network: &Network) -> BlockList {
        let Some((_, given)) = self.take(BLOCKED) else {
            return BlockList::default();
        };
        let blocked = self.listed(BLOCKED, &given, BlockList::add);
        let blocked = blocked.unwrap_or_default();
        if *network == Network::Host && !blocked.is_empty() {
            let expected = "with network = \"host\" nothing enforces it; give network = \"allow=*\", which allows every other name";
            self.faults
                .add(ErrorKind::Conflict, BLOCKED, &given, expected);
        }
        blocked
    }

    /// Rules between commas; no text is no rule, and allows nothing.
    fn rules_in_text(&mut self, text: &str, given: &Given) -> Network {
        let mut allow = AllowList::default();
        let rules = text.split(',').map(str::trim);
        for rule in rules.filter(|_| !text.trim().is_empty()) {
            if let Err(error) = allow.add(rule) {
                let expected = format!("{rule:?}: {error}");
                self.faults.add(kind_of(error), NETWORK, given, expected);
                return Network::default();
            }
        }
        Network::Allow(allow)
    }

    /// A list of texts, each of which `add` takes; none when one is at fault.
    fn listed<L: Default>(
        &mut self,
        name: &str,
        given: &Given,
        add: impl Fn(&mut L, &str) -> Result<(), RuleError>,
    ) -> Option<L> {
        let Value::List(items) = &given.value else {
            let expected = "give a list of text";
            self.faults.add(ErrorKind::Invalid, name, given, expected);
            return None;
        };
        let mut list = L::default();
        let mut is_sound = true;
        for (idx, item) in items.iter().enumerate() {
            let added = match plain_text(item) {
                Some(text) => {
                    add(&mut list, text.trim()).map_err(|error| (kind_of(error), error.to_string()))
                }
                None => Err((ErrorKind::Invalid, "give text".to_owned())),
            };
            if let Err((kind, expected)) = added {
                is_sound = false;
                let is_full = kind == ErrorKind::OutOfBounds;
                self.faults
                    .add(kind, format!("{name}[{idx}]"), item, expected);
                // Every further one would say the same.
                if is_full {
                    break;
                }
            }
        }
        is_sound.then_some(list)
    }
}

fn kind_of(error: RuleError) -> ErrorKind {
    match error {
        RuleError::TooMany => ErrorKind::OutOfBounds,
        RuleError::Host(_)
        | RuleError::Scheme
        | RuleError::Wildcard
        | RuleError::Localhost
        | RuleError::NeedsPort(_)
        | RuleError::Nowhere(_)
        | RuleError::Private
        | RuleError::Address
        | RuleError::Port => ErrorKind::Invalid,
    }
}
