//! Whether a recording is what it was when its run ended.
//!
//! Owns putting the two checks together: the log by its hash chain, and every file by the manifest. It writes nothing.

use std::os::fd::AsFd;

use crate::log::verify::{KeptHead, VerifyReport, verify};
use crate::recordings::{RunDir, inventory, layout};
use crate::session::workload::chain;
use crate::status::StatusDocument;

/// Largest `status.json` that is read, in bytes.
const MAX_STATUS_BYTES: u64 = 4 * 1024 * 1024;

/// Checks log and files; gives the report and the number of files that are as the manifest says.
///
/// # Errors
/// When the recording cannot be read, in words.
pub fn check(run_dir: &RunDir) -> Result<(VerifyReport, u64), String> {
    let kept = kept_head(run_dir);
    let mut report = verify(run_dir.as_fd(), kept.as_ref()).map_err(|error| error.to_string())?;
    // While a run goes on its manifest is not written yet.
    if report.terminal_seq.is_none() {
        return Ok((report, 0));
    }
    let audit = inventory::audit(run_dir).map_err(|error| chain(&error))?;
    report.findings.extend(audit.findings);
    report.sound = report.findings.is_empty();
    Ok((report, audit.n_files))
}

/// The head that `status.json` keeps, if there is one.
fn kept_head(run_dir: &RunDir) -> Option<KeptHead> {
    let bytes = run_dir.read(layout::STATUS, MAX_STATUS_BYTES).ok()??;
    let head = StatusDocument::decode(&bytes).ok()?.log?;
    Some(KeptHead {
        seq: head.seq,
        hash: head.head,
    })
}
