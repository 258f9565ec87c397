//! What the proxy says itself, when it does not connect.
//!
//! Owns the texts for agents and programs: the status line has the reason, because most clients show nothing else of an
//! answer to `CONNECT`. Never hides why: an agent that knows asks for the right thing or leaves it.

use super::host::Target;
use super::rule::{Denial, Policy};

/// The field that names the reason of a denial.
pub(super) const DENIED: &str = "X-Stockade-Denied";

/// Most bytes of rules in an answer.
const MAX_RULES_BYTES: usize = 1_024;

/// A whole response, which ends the connection.
pub(super) fn plain(status: &str, field: Option<(&str, &str)>, text: &str) -> Vec<u8> {
    let field = field.map_or(String::new(), |(name, value)| {
        format!("{name}: {value}\r\n")
    });
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n{field}Connection: close\r\n\r\n",
        text.len()
    );
    [head.as_bytes(), text.as_bytes()].concat()
}

/// The target is not allowed.
pub(super) fn denied(target: &Target, denial: &Denial, policy: &Policy) -> Vec<u8> {
    let code = denial.code();
    let rules = policy.allow.to_string();
    let rules = match rules.as_str() {
        "" => "none",
        rules => crate::text::cut_at_char(rules, MAX_RULES_BYTES),
    };
    let advice = match denial {
        Denial::NoRule => format!(
            "Whoever starts the run can allow it: --net allow=RULES with {} among them.",
            target.host
        ),
        Denial::Port => {
            format!("Whoever starts the run can allow it: --net allow=RULES with {target} among them.")
        }
        Denial::Blocked(_) => {
            "It is blocked for this run by guardrails.blocked_domains, whatever else is allowed.".to_owned()
        }
        Denial::Address(special) if special.can_be_granted() => {
            "Whoever starts the run can allow its network: --net allow=RULES with private:ADDRESS/PREFIX among them."
                .to_owned()
        }
        Denial::Address(_) => {
            "A name never leads there; whoever starts the run can allow the address itself with its port.".to_owned()
        }
        Denial::OwnApi => "The workload of a run never reaches its status API.".to_owned(),
    };
    let text =
        format!("Denied by Stockade: {target}: {denial}.\nRules of this run: {rules}\n{advice}\n");
    let status = format!("403 Denied by Stockade: {code}");
    plain(&status, Some((DENIED, code)), &text)
}

/// The request could not be understood.
pub(super) fn malformed(error: &dyn std::error::Error) -> Vec<u8> {
    let text = format!("Refused by Stockade: {error}.\n");
    plain("400 Bad Request", None, &text)
}

/// The target is allowed and cannot be reached.
pub(super) fn unreachable(target: &Target, status: &str, why: &str) -> Vec<u8> {
    let text = format!("Allowed by Stockade, and not reached: {target}: {why}.\n");
    plain(status, None, &text)
}
