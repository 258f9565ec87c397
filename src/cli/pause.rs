//! `stockade pause [TARGET]` and `stockade resume [TARGET]`: let the workload of a run stand still, and let it go on.

use std::process::ExitCode;

use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;
use serde_json::json;

use super::notice;
use super::reach::{Reach, block_on, fail, fail_client};
use super::results::Results;
use super::stop::reason;
use crate::client::follow::connect;
use crate::client::{ClientError, Liveness, Target, Token};
use crate::progress::quantity;

/// Exit status when the run has ended, or is about to.
const OVER: u8 = 1;

/// Which run, and why.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    reach: Reach,

    /// Say why, for the record: at most 1,024 characters
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: Option<String>,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wish {
    /// The workload stands still.
    Pause,
    /// It goes on.
    Resume,
}

/// The part of the answer that is told.
#[derive(Debug, Deserialize)]
struct Done {
    changed: bool,
    by: Option<String>,
    paused_ms: Option<u64>,
}

/// Does what is asked: 0 when it is so now, 1 when the run has ended or is about to, 125 when it could not be asked, or not be
/// done.
pub(super) fn main(wish: Wish, arguments: &Arguments) -> ExitCode {
    let found = arguments.reach.target().and_then(|target| {
        let token = arguments.reach.token()?;
        Ok((target, token))
    });
    let (target, token) = match found {
        Ok(found) => found,
        Err(error) => return fail(&error, None),
    };
    let name = target
        .run()
        .map_or("the run".to_owned(), |run| format!("run {}", run.id()));
    let over = |code: ExitCode| {
        notice::error(&format!("{name} has ended, or is about to"));
        code
    };
    let done = match block_on(ask(wish, arguments, &target, &token)) {
        Err(error) => return fail(&error, None),
        Ok(Ok(Some(done))) => done,
        Ok(Ok(None)) => return over(ExitCode::from(OVER)),
        Ok(Err(ClientError::Refused { status: 409, .. })) => return over(ExitCode::from(OVER)),
        Ok(Err(error)) => return fail_client(&error),
    };
    let by = done.by.unwrap_or_default();
    let text = match (wish, done.changed, done.paused_ms) {
        (Wish::Pause, true, _) => format!("{name} is paused, by {by}"),
        (Wish::Pause, false, _) => format!("{name} was paused already, by {by}"),
        (Wish::Resume, true, Some(ms)) => {
            format!("{name} goes on after {}", quantity::duration(ms))
        }
        (Wish::Resume, _, _) => format!("{name} was not paused"),
    };
    let mut results = Results::stdout();
    results.line(text);
    results.end(ExitCode::SUCCESS)
}

/// None when the run has ended.
async fn ask(
    wish: Wish,
    arguments: &Arguments,
    target: &Target,
    token: &Token,
) -> Result<Option<Done>, ClientError> {
    if let Some(found) = target.look()?
        && (found.document.status.is_terminal() || found.liveness == Liveness::Left)
    {
        return Ok(None);
    }
    let (mut connection, _, document) = connect(target, token, "none").await?;
    if document.status.is_terminal() {
        return Ok(None);
    }
    let body = match &arguments.reason {
        Some(reason) => json!({ "reason": reason }).to_string(),
        None => String::new(),
    };
    let path = match wish {
        Wish::Pause => "/pause",
        Wish::Resume => "/resume",
    };
    let headers = [("content-type", "application/json".to_owned())];
    let response = connection
        .ask(Method::POST, path, &headers, Bytes::from(body))
        .await?;
    let answer = connection.whole(response).await?;
    match serde_json::from_slice(&answer) {
        Ok(done) => Ok(Some(done)),
        Err(error) => Err(ClientError::Foreign {
            address: connection.address().clone(),
            what: error.to_string(),
        }),
    }
}
