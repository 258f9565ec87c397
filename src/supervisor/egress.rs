//! The way out of the sandbox: from the description to a proxy that runs.
//!
//! Owns the choice of its parts, and the variables by which programs find it. It decides nothing that the description does
//! not say.

use std::io;
use std::net::SocketAddr;

use crate::description::RunDescription;
use crate::description::settings::Network;
use crate::egress::proxy::DESCRIPTORS;
use crate::egress::resolver::Resolver;
use crate::egress::{AllowList, Egress, Policy, Record};
use crate::log::ActionLog;
use crate::session::workload::Workload;

/// Variables that name the proxy: programs differ in which they read, and in the case of the letters.
const PROXY_VARIABLES: [&str; 6] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Variables that name what is reached without it.
const NO_PROXY_VARIABLES: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Makes Node.js look at the others (since versions 22.21 and 24.5).
const NODE_VARIABLE: &str = "NODE_USE_ENV_PROXY";

/// The workload's own loopback.
const OWN: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Starts the proxy, if the description has rules. `listen` is where the status API listens.
///
/// # Errors
/// When the sandbox handed no listener over, or it cannot be used.
pub(super) fn begin(
    description: &RunDescription,
    workload: &Workload,
    listen: Option<&str>,
    log: &ActionLog,
) -> io::Result<Option<Egress>> {
    let Some(policy) = policy(description) else {
        return Ok(None);
    };
    let listener = workload
        .listener()
        .ok_or_else(|| io::Error::other("the sandbox gave no listener"))?
        .try_clone_to_owned()?;
    let own_api = listen.and_then(|address| address.parse::<SocketAddr>().ok());
    Egress::start(
        listener,
        policy,
        Resolver::default(),
        own_api,
        Record::Log(log.clone()),
    )
    .map(Some)
}

/// What the description lets out.
pub(crate) fn policy(description: &RunDescription) -> Option<Policy> {
    match &description.network {
        Network::Allow(allow) => Some(Policy {
            allow: allow.clone(),
            block: description.blocked_domains.clone(),
        }),
        Network::None | Network::Host => None,
    }
}

/// The variables that a workload with a proxy gets.
pub(crate) fn variables(
    description: &RunDescription,
    address: Option<SocketAddr>,
) -> Vec<(String, String)> {
    let (Network::Allow(allow), Some(address)) = (&description.network, address) else {
        return Vec::new();
    };
    let proxy = format!("http://{address}");
    let direct = without_proxy(allow);
    let proxies = PROXY_VARIABLES.map(|name| (name, proxy.clone()));
    let directs = NO_PROXY_VARIABLES.map(|name| (name, direct.clone()));
    proxies
        .into_iter()
        .chain(directs)
        .chain([(NODE_VARIABLE, "1".to_owned())])
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The workload's own loopback, but for addresses that a rule names: there the host's is meant.
fn without_proxy(allow: &AllowList) -> String {
    let named: Vec<String> = allow
        .addresses()
        .map(|address| address.to_string())
        .collect();
    let own = OWN.iter().copied();
    let direct: Vec<&str> = own
        .filter(|own| !named.iter().any(|named| named == own))
        .collect();
    direct.join(",")
}

/// Descriptors that the proxy of this description needs.
pub(crate) fn descriptors(description: &RunDescription) -> usize {
    match description.network {
        Network::Allow(_) => DESCRIPTORS,
        Network::None | Network::Host => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_rule_names_on_loopback_is_the_hosts() {
        for (rules, expected) in [
            (&["example.com"][..], "localhost,127.0.0.1,::1"),
            (&["127.0.0.1:8080"], "localhost,::1"),
            (&["127.0.0.2:8080"], "localhost,127.0.0.1,::1"),
            (&["[::1]:8080", "127.0.0.1:1"], "localhost"),
        ] {
            let rules: Vec<String> = rules.iter().map(|rule| (*rule).to_owned()).collect();
            let allow = AllowList::try_from(rules).unwrap();
            assert_eq!(without_proxy(&allow), expected, "{allow}");
        }
    }
}
