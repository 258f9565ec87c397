//! `stockade status [TARGET]`: where a run is, or how it ended.

use std::process::ExitCode;

use super::notice;
use super::reach::{block_on, colours, fail};
use super::results::{Results, columns};
use super::whereabouts::{Whereabouts, fail_asking};
use crate::client::follow::connect;
use crate::client::{ClientError, Found, Liveness, Target, Token};
use crate::progress::clean::{self, summary};
use crate::progress::line::{self, MAX_SUMMARY_CHARS, ended};
use crate::progress::paint::{Colours, Tone};
use crate::progress::quantity;
use crate::recordings::layout;
use crate::session::workload::chain;
use crate::status::StatusDocument;

/// Exit status when only the last known state could be given.
const LAST_KNOWN: u8 = 1;

/// Columns of a label with its blank.
const LABEL_COLUMNS: usize = 10;

/// Most lines of an error on a terminal; elsewhere it is one, and whole.
const MAX_ERROR_LINES: usize = 6;

/// Actions that are shown.
const N_SHOWN_ACTIONS: usize = 5;

/// Which run, and in what form.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    whereabouts: Whereabouts,

    /// Print the status document as it is, one JSON object
    #[arg(long)]
    json: bool,
}

/// Where the answer comes from.
enum Source {
    /// The status API.
    Live(String),
    /// The record of a run that has ended.
    Recorded,
    /// The record of a run that goes on, but does not answer.
    Unreachable(ClientError),
    /// The record of a run that nobody works on, and that has no end.
    Abandoned,
    /// A control plane.
    Plane {
        /// Where it listens.
        address: String,
        /// What it says of its own answer.
        told: Told,
    },
}

/// What a control plane adds to a status document.
#[derive(Debug, Default, serde::Deserialize)]
struct Told {
    /// Who said it: the run, its recording, or the engine.
    #[serde(default)]
    source: String,
    /// Whether the run may live and does not answer.
    #[serde(default)]
    stale: bool,
    /// How long ago it was recorded then.
    #[serde(default)]
    stale_ms: Option<u64>,
}

/// Prints the status: 0 when it is the present one, 1 when it is only the last known, 125 when there is none.
pub fn main(arguments: &Arguments) -> ExitCode {
    let (target, token) = match arguments.whereabouts.find() {
        Ok(found) => found,
        Err(error) => return fail(&error, None),
    };
    let answer = match block_on(ask(&target, &token)) {
        Ok(answer) => answer,
        Err(error) => return fail(&error, None),
    };
    let (source, bytes, document) = match answer {
        Ok(answer) => answer,
        Err(error) => return fail_asking(&target, &error),
    };
    let code = match &source {
        Source::Live(_) | Source::Recorded => ExitCode::SUCCESS,
        Source::Plane { told, .. } if told.stale => {
            notice::error(
                "the run does not answer the control plane, and this is what was last recorded",
            );
            ExitCode::from(LAST_KNOWN)
        }
        Source::Plane { .. } => ExitCode::SUCCESS,
        Source::Unreachable(error) => {
            notice::error(&format!(
                "{}; the run goes on, and this is what was last recorded",
                chain(error)
            ));
            ExitCode::from(LAST_KNOWN)
        }
        Source::Abandoned => {
            notice::error(&format!(
                "nobody works on run {} any more, and its record has no end; stockade finalize gives it one",
                document.run_id
            ));
            ExitCode::from(LAST_KNOWN)
        }
    };
    let mut results = Results::stdout();
    if arguments.json {
        let bytes = bytes.trim_ascii_end();
        match source {
            Source::Plane { .. } => results.line(clean::json(&String::from_utf8_lossy(bytes))),
            Source::Live(_) | Source::Recorded | Source::Unreachable(_) | Source::Abandoned => {
                results.line(bytes)
            }
        };
    } else {
        for line in lines(&document, &source, &target, colours(), columns()) {
            results.line(line);
        }
    }
    results.end(code)
}

async fn ask(
    target: &Target,
    token: &Token,
) -> Result<(Source, Vec<u8>, StatusDocument), ClientError> {
    let recorded = target.look()?;
    if let Some(found) = recorded
        && (found.document.status.is_terminal() || found.liveness == Liveness::Left)
    {
        return Ok(from_record(found));
    }
    match connect(target, token, "tail").await {
        Ok((connection, bytes, document)) => {
            let address = connection.address().to_string();
            let source = match target {
                Target::OfPlane { .. } => Source::Plane {
                    address,
                    told: serde_json::from_slice(&bytes).unwrap_or_default(),
                },
                Target::Recorded(_) | Target::Beside { .. } | Target::Remote(_) => {
                    Source::Live(address)
                }
            };
            Ok((source, bytes.to_vec(), document))
        }
        // Looked at again: it may have ended meanwhile.
        Err(error) if error.is_contact() => match target.look()? {
            Some(found)
                if found.document.status.is_terminal() || found.liveness == Liveness::Left =>
            {
                Ok(from_record(found))
            }
            Some(found) => Ok((Source::Unreachable(error), found.bytes, found.document)),
            None => Err(error),
        },
        Err(error) => Err(error),
    }
}

fn from_record(found: Found) -> (Source, Vec<u8>, StatusDocument) {
    let source = if found.document.status.is_terminal() {
        Source::Recorded
    } else {
        Source::Abandoned
    };
    (source, found.bytes, found.document)
}

fn lines(
    document: &StatusDocument,
    source: &Source,
    target: &Target,
    colours: Colours,
    columns: Option<usize>,
) -> Vec<String> {
    let mut lines = Vec::new();
    let short = |text: &str| summary(text, MAX_SUMMARY_CHARS);
    let mut row = |name: &str, text: String| {
        lines.push(format!(
            "{} {text}",
            colours.paint(Tone::Quiet, &format!("{name:<9}"))
        ));
    };
    row("run", colours.paint(Tone::Strong, document.run_id.as_str()));
    let is_present = match source {
        Source::Live(_) | Source::Recorded => true,
        Source::Plane { told, .. } => !told.stale,
        Source::Unreachable(_) | Source::Abandoned => false,
    };
    let time = document.duration_ms.map_or(String::new(), |ms| {
        let word = match (document.status.is_terminal(), is_present) {
            (true, _) => "after",
            (false, true) => "for",
            (false, false) => "at",
        };
        format!(" {word} {}", quantity::duration(ms))
    });
    let status = format!("{}{}{time}", document.status.as_str(), stopping(document));
    let age = match source {
        Source::Plane { told, .. } => told.stale_ms.map(quantity::duration),
        Source::Live(_) | Source::Recorded | Source::Unreachable(_) | Source::Abandoned => {
            age(target)
        }
    };
    let status = match (is_present, age) {
        (true, _) => status,
        (false, Some(age)) => format!("last known: {status}, recorded {age} ago"),
        (false, None) => format!("last known: {status}"),
    };
    row("status", status);
    if let Some(paused) = &document.paused {
        row(
            "paused",
            format!("by {} since {}", short(&paused.by), short(&paused.since)),
        );
    }
    match source {
        Source::Live(address) => row("source", format!("the status API at {address}")),
        Source::Recorded => row("source", "the recording; the run has ended".to_owned()),
        Source::Unreachable(_) => row(
            "source",
            "the recording; the run cannot be reached".to_owned(),
        ),
        Source::Abandoned => row("source", "the recording; it has no end".to_owned()),
        Source::Plane { address, told } => {
            let whose = match told.source.as_str() {
                "live" => "the run",
                "persisted" => "the recording",
                _ => "the engine; there is no status yet",
            };
            row(
                "source",
                format!("{whose}, by the control plane at {address}"),
            );
        }
    }
    if let Some(error) = &document.error {
        // The remedy stands at the end of it.
        let text = clean::plain(&format!("{}: {}", error.code, error.message));
        let lines = match columns {
            Some(columns) => clean::wrap(&text, columns - LABEL_COLUMNS, MAX_ERROR_LINES),
            None => vec![text],
        };
        for (idx, line) in lines.into_iter().enumerate() {
            row(if idx == 0 { "error" } else { "" }, line);
        }
    }
    let told = document.error.as_ref().map(|error| &error.message);
    if let Some(outcome) = &document.outcome
        && told != Some(&outcome.reason)
    {
        row("outcome", short(&outcome.reason));
    }
    if let Some(result) = &document.result {
        row("result", short(result));
    }
    if let Some(survivors) = &document.survivors
        && let Some(text) = line::survivors(survivors)
    {
        row("killed", text);
    }
    if !document.recordings.healthy {
        let error = document.recordings.error.as_deref().unwrap_or("unknown");
        row("recording", format!("is not healthy: {}", short(error)));
    }
    let shown: Vec<_> = document
        .actions
        .iter()
        .rev()
        .take(N_SHOWN_ACTIONS)
        .collect();
    row("actions", document.action_count.to_string());
    if let Some(run) = target.run() {
        row("directory", run.path().display().to_string());
    }
    for action in shown.into_iter().rev() {
        match action.decode() {
            Ok(action) => lines.push(format!("  {}", ended(&action, colours))),
            Err(_) => lines.push(format!("  {}", short(action.json()))),
        }
    }
    lines
}

fn stopping(document: &StatusDocument) -> &'static str {
    match (document.phase, &document.paused) {
        (Some(crate::run::Phase::Stopping), _) => ", stopping",
        (_, Some(_)) => ", paused",
        (_, None) => "",
    }
}

/// How long ago the status on disk was written; none where there is none, or its clock is ahead.
fn age(target: &Target) -> Option<String> {
    let path = target.run()?.path().join(layout::STATUS);
    let written = std::fs::symlink_metadata(path).ok()?.modified().ok()?;
    let age = written.elapsed().ok()?.as_millis();
    Some(quantity::duration(u64::try_from(age).unwrap_or(u64::MAX)))
}
