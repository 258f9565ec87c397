//! `stockade stop [TARGET]`: asks a run to stop and waits for its end.

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use serde::Serialize;
use tokio::time::timeout;

use super::notice;
use super::reach::{block_on, colours, fail};
use super::results::Results;
use super::whereabouts::{Whereabouts, fail_asking};
use crate::api::limits::{MAX_GRACE_SECONDS, MAX_REASON_CHARS};
use crate::client::follow::{Extent, Want, connect};
use crate::client::target::Asked;
use crate::client::{ClientError, Ending, Follower, Item, Liveness, Target, Token};
use crate::event::{Complete, Event, EventType};
use crate::progress::line::{ending, survivors};
use crate::status::StatusDocument;

/// Longest wait for the end, unless the grace that was given is longer: the default grace of 8 s, and much patience.
pub const WAIT_LIMIT: Duration = Duration::from_secs(120);

/// Exit status when the run was asked and has not ended yet.
const NOT_OVER: u8 = 1;

/// Which run, and how.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    whereabouts: Whereabouts,

    /// Say why, for the record: at most 1,024 characters
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: Option<String>,

    /// Give the workload so many seconds to end by itself [default: what the run was given]
    #[arg(long, value_name = "SECONDS", value_parser = grace)]
    grace: Option<f64>,

    /// Do not wait for the end
    #[arg(long)]
    no_wait: bool,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grace_seconds: Option<f64>,
}

/// What came of it.
enum Stopped {
    /// It had ended before.
    Before(Box<StatusDocument>),
    /// Nobody works on it, and its record has no end.
    Left,
    /// It was asked, and nobody waits.
    Asked,
    /// It has ended.
    Over(Option<Box<Complete>>),
    /// It has not ended within the limit.
    NotYet(Duration),
}

/// Takes a reason, unless it is too long.
pub(super) fn reason(text: &str) -> Result<String, String> {
    match text.chars().count() {
        n_chars if n_chars > MAX_REASON_CHARS => Err(format!(
            "it has {n_chars} characters; give at most {MAX_REASON_CHARS}"
        )),
        _ => Ok(text.to_owned()),
    }
}

fn grace(text: &str) -> Result<f64, String> {
    text.strip_suffix('s')
        .unwrap_or(text)
        .parse()
        .ok()
        .filter(|seconds| (0.0..=MAX_GRACE_SECONDS).contains(seconds))
        .ok_or_else(|| format!("give seconds from 0 to {MAX_GRACE_SECONDS}"))
}

/// Stops the run: 0 when it is over (or, with `--no-wait`, was asked), 1 when it is not over yet, 125 when it could not be
/// asked.
pub fn main(arguments: &Arguments) -> ExitCode {
    let (target, token) = match arguments.whereabouts.find() {
        Ok(found) => found,
        Err(error) => return fail(&error, None),
    };
    let name = target
        .id()
        .map_or("the run".to_owned(), |id| format!("run {id}"));
    match block_on(stop(arguments, &target, &token)) {
        Err(error) => fail(&error, None),
        Ok(Err(error)) => {
            if error.is_contact() && target.run().is_some() {
                notice::error(&format!(
                    "{name} goes on and could not be asked; a SIGTERM to the process that was started stops it, too"
                ));
            }
            fail_asking(&target, &error)
        }
        Ok(Ok(stopped)) => {
            let mut results = Results::stdout();
            let code = tell(&name, stopped, &mut results);
            results.end(code)
        }
    }
}

async fn stop(
    arguments: &Arguments,
    target: &Target,
    token: &Token,
) -> Result<Stopped, ClientError> {
    if let Some(found) = target.look()? {
        if found.document.status.is_terminal() {
            return Ok(Stopped::Before(Box::new(found.document)));
        }
        if found.liveness == Liveness::Left {
            return Ok(Stopped::Left);
        }
    }
    let (mut connection, _, document) = connect(target, token, "none").await?;
    if document.status.is_terminal() {
        return Ok(Stopped::Before(Box::new(document)));
    }
    let body = Body {
        reason: arguments.reason.as_deref(),
        grace_seconds: arguments.grace,
    };
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let headers = [("content-type", "application/json".to_owned())];
    let response = connection
        .ask(
            Method::POST,
            &target.path(Asked::Stop),
            &headers,
            Bytes::from(body),
        )
        .await?;
    connection.whole(response).await?;
    if arguments.no_wait {
        return Ok(Stopped::Asked);
    }
    drop(connection);
    let mut end = None;
    let mut follower = Follower::new(
        target,
        token,
        vec![EventType::Complete],
        Extent::ToTheEnd,
        document.last_event_id,
    );
    let limit = WAIT_LIMIT
        + arguments
            .grace
            .map_or(Duration::ZERO, Duration::from_secs_f64);
    let mut take = |item: Item<'_>| {
        if let Item::Event { line, .. } = item
            && let Ok(Event::Complete(complete)) = serde_json::from_slice(line)
        {
            end = Some(complete);
        }
        Want::More
    };
    match timeout(limit, follower.follow(&mut take)).await {
        Ok(Ok(Ending::Terminal | Ending::Asked)) => Ok(Stopped::Over(end)),
        Ok(Ok(Ending::WithoutEnd)) => Ok(Stopped::Left),
        Ok(Err(error)) => Err(error),
        Err(_) => Ok(Stopped::NotYet(limit)),
    }
}

fn tell(name: &str, stopped: Stopped, results: &mut Results) -> ExitCode {
    match stopped {
        Stopped::Before(document) => {
            let status = document.status.as_str();
            results.line(format!("run {} had ended: {status}", document.run_id));
            ExitCode::SUCCESS
        }
        Stopped::Left => {
            results.line(format!(
                "nobody works on {name} any more, and its record has no end; stockade finalize gives it one"
            ));
            ExitCode::SUCCESS
        }
        Stopped::Asked => {
            results.line(format!("{name} was asked to stop"));
            ExitCode::SUCCESS
        }
        Stopped::Over(end) => {
            match end {
                Some(end) => {
                    results.line(format!("{name}: {}", ending(&end, colours())));
                    results.line(
                        survivors(&end.survivors)
                            .unwrap_or_else(|| "no process had to be killed".to_owned()),
                    );
                }
                None => {
                    results.line(format!("{name} has ended"));
                }
            }
            ExitCode::SUCCESS
        }
        Stopped::NotYet(limit) => {
            notice::error(&format!(
                "{name} was asked and has not ended within {} s",
                limit.as_secs()
            ));
            ExitCode::from(NOT_OVER)
        }
    }
}
