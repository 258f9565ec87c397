//! Checks a recording offline: numbers, lines, hash chain, and the head that `status.json` names.
//!
//! Changes nothing. It shows corruption. It shows tampering only where the head is kept elsewhere, for instance in the
//! termination log: who can rewrite the file can rewrite the chain.

use std::io;
use std::os::fd::AsFd;

use serde::Serialize;

use super::scan::{Hashes, scan};
use crate::event::EventType;

/// A head that somebody kept, to be found in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptHead {
    /// Number of the event that it belongs to.
    pub seq: u64,
    /// Its hash, lower-case hexadecimal.
    pub hash: String,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// True when nothing is wrong.
    pub sound: bool,
    /// Good events.
    pub n_events: u64,
    /// Number of the last good event.
    pub last_seq: u64,
    /// Number of the terminal event.
    pub terminal_seq: Option<u64>,
    /// Hash of the last good event.
    pub head: String,
    /// Whether the kept head is in the chain; null when none was given.
    pub kept_head_found: Option<bool>,
    /// Bytes behind the last whole line.
    pub torn_bytes: u64,
    /// What is wrong, one sentence each.
    pub findings: Vec<String>,
}

/// Checks the log in `dir`; `kept` is a head from elsewhere that must be in the chain.
///
/// # Errors
/// When a file cannot be read. What is wrong with the log is in the report.
pub fn verify(dir: impl AsFd, kept: Option<&KeptHead>) -> io::Result<VerifyReport> {
    let mut kept_found = false;
    let mut behind_terminal = 0_u64;
    let mut terminal_seen = false;
    let found = scan(dir, Hashes::Check, |head, line| {
        behind_terminal += u64::from(terminal_seen);
        terminal_seen |= head.event_type() == Some(EventType::Complete);
        if let Some(kept) = kept
            && head.seq == kept.seq
        {
            let claimed = super::line::split_hash(line).map(|(_, hash)| hash);
            kept_found |= claimed == Some(kept.hash.as_bytes());
        }
    })?;
    let mut findings: Vec<_> = found
        .bad_lines
        .iter()
        .map(|bad| {
            format!(
                "{} line {}: {}",
                bad.segment,
                bad.line_number,
                bad.fault.as_str()
            )
        })
        .collect();
    let untold = found
        .n_bad_lines
        .saturating_sub(found.bad_lines.len() as u64);
    if untold > 0 {
        findings.push(format!("{untold} more lines are bad"));
    }
    if found.n_events == 0 {
        findings.push("the log has no event".to_owned());
    } else if found.first_seq != 1 {
        findings.push(format!(
            "the first event is {}, events before it are missing",
            found.first_seq
        ));
    }
    findings.extend(found.missing_in_words());
    if found.torn_bytes > 0 {
        findings.push(format!(
            "{} bytes behind the last whole line; `stockade finalize` repairs them",
            found.torn_bytes
        ));
    }
    if behind_terminal > 0 {
        findings.push(format!(
            "{behind_terminal} events stand behind the terminal event"
        ));
    }
    if found.terminal_seq.is_none() && found.n_events > 0 {
        findings.push(
            "the log has no terminal event; `stockade finalize` adds it once the run is over"
                .to_owned(),
        );
    }
    if let Some(kept) = kept
        && !kept_found
    {
        findings.push(format!(
            "the head kept for event {} is not in the chain",
            kept.seq
        ));
    }
    Ok(VerifyReport {
        sound: findings.is_empty(),
        n_events: found.n_events,
        last_seq: found.last_seq,
        terminal_seq: found.terminal_seq,
        head: found.head.to_hex(),
        kept_head_found: kept.map(|_| kept_found),
        torn_bytes: found.torn_bytes,
        findings,
    })
}
