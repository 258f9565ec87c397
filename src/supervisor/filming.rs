//! The beginning of the terminal recording.
//!
//! Owns what stands in its header. A recording that cannot begin is told, and never keeps a run from running: the action log
//! has everything that it would have.

use std::collections::BTreeMap;

use super::Supervisor;
use crate::cast::entry::{DEFAULT_SIZE, VERSION};
use crate::cast::{Cast, Header};
use crate::event::Level;
use crate::log::Millis;
use crate::recordings::layout;
use crate::session::console::outer_size;
use crate::session::recorder::Recorder;
use crate::session::workload::chain;

/// Begins `terminal.cast`, unless the description says no. Its size is that of the terminal that shows the run.
pub(super) fn begin(run: &Supervisor, recorder: &Recorder) -> Cast {
    let description = &run.hand_over.description;
    if !description.recording.terminal {
        return Cast::off();
    }
    let size = outer_size().unwrap_or(DEFAULT_SIZE);
    let redacted = |text: &str| run.redactor.redact_text(text).into_owned();
    let term = run.inherited.term.as_deref();
    let term = term.map(|term| ("TERM".to_owned(), redacted(term)));
    let header = Header {
        version: VERSION,
        width: size.columns,
        height: size.rows,
        timestamp: u64::try_from(Millis::now().0 / 1000).ok(),
        command: Some(redacted(&description.command.join(" "))),
        title: Some(description.run_id.to_string()),
        env: BTreeMap::from_iter(term),
    };
    let log = recorder.log().clone();
    let tell = move |message| {
        tracing::warn!(message);
        let diagnostic = crate::event::Diagnostic {
            level: Level::Warn,
            message,
            source: "supervisor".to_owned(),
        };
        // Behind the terminal event there is nobody to tell.
        let _ = log.append_at_once(crate::event::Event::Log(diagnostic));
    };
    let begun = run
        .run_dir
        .create_file(layout::TERMINAL_CAST)
        .map_err(|error| chain(&error))
        .and_then(|file| {
            Cast::begin(file, &header, description.recording.terminal_bytes, tell)
                .map_err(|error| error.to_string())
        });
    begun.unwrap_or_else(|error| {
        recorder.diagnose(
            Level::Warn,
            format!("the terminal recording could not begin: {error}"),
        );
        Cast::off()
    })
}
