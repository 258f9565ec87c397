//! `stockade submit [FILE] [-- COMMAND…]`: asks a control plane for a run.
//!
//! Owns the order: read, convert, send, tell, follow. Invariant: every request to create has an idempotency key, so a
//! repetition makes no second run, by whoever it is made.

mod description;

use std::process::ExitCode;

use bytes::Bytes;

use super::reach::{block_on, fail};
use super::results::Results;
use super::server::{Server, fail_asking};
use super::tail::{self, Shown};
use super::{FAILURE, notice};
use crate::client::follow::{CONTACT_LIMIT, Extent};
use crate::client::plane::{Plane, Submitted};
use crate::client::{ClientError, Target};
use crate::progress::clean;
use crate::serve::idempotency::{Key, MAX_KEY_BYTES};
use crate::session::workload::chain;
use description::Description;

/// What stands below the flags of `stockade submit --help`.
pub(super) const AFTER_HELP: &str = "\
Examples:
  stockade submit -- make test
  stockade submit run.toml --label team=red --follow
  stockade submit --config-format json - < run.json";

/// What to run, and where.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(["file", "command"])))]
#[expect(
    missing_debug_implementations,
    reason = "what is submitted may hold secrets"
)]
pub struct Arguments {
    #[command(flatten)]
    description: Description,

    #[command(flatten)]
    server: Server,

    /// Name the request, so that it makes one run however often it is sent [default: minted]
    #[arg(long, value_name = "KEY", value_parser = key)]
    idempotency_key: Option<String>,

    /// Check the description, and start nothing
    #[arg(long, conflicts_with = "follow")]
    dry_run: bool,

    /// Follow the run to its end, and end with its exit code
    #[arg(short, long)]
    follow: bool,

    /// Print the answer as it is, one JSON object; with --follow, the events behind it
    #[arg(long)]
    json: bool,
}

fn key(text: &str) -> Result<String, String> {
    match Key::parse(text.as_bytes()) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!(
            "give 1 to {MAX_KEY_BYTES} visible ASCII characters"
        )),
    }
}

/// Submits: 0 when there is a run (with `--dry-run`, when there would be one), 125 when there is none; with `--follow` as
/// `stockade tail`.
pub fn main(arguments: &Arguments) -> ExitCode {
    let found = arguments.server.find().and_then(|(address, token)| {
        let body = arguments.description.json()?;
        Ok((Plane { address, token }, Bytes::from(body)))
    });
    let (plane, body) = match found {
        Ok(found) => found,
        Err(error) => return fail(&error, None),
    };
    if arguments.dry_run {
        return check(&plane, body, arguments.json);
    }
    let key = match &arguments.idempotency_key {
        Some(key) => key.clone(),
        None => uuid::Uuid::now_v7().to_string(),
    };
    let lost = |error: &ClientError| {
        notice::error(&format!(
            "{}; asking again for {} s, by the same key",
            chain(error),
            CONTACT_LIMIT.as_secs()
        ));
    };
    let submitted = match block_on(plane.submit(&body, &key, lost)) {
        Err(error) => return fail(&error, None),
        Ok(Ok(submitted)) => submitted,
        Ok(Err(refused)) => {
            let code = refuse(&refused.error);
            if refused.may_be {
                notice::error(&format!(
                    "there may be a run all the same; the same with --idempotency-key {key} makes no second one"
                ));
            }
            return code;
        }
    };
    let code = tell(&plane, &submitted, arguments);
    if !arguments.follow || code != ExitCode::SUCCESS {
        return code;
    }
    let target = Target::OfPlane {
        plane: plane.address,
        run: submitted.run_id,
    };
    let shown = Shown::all(arguments.json);
    tail::follow(&target, &plane.token, &shown, Extent::ToTheEnd)
}

/// Says which run it is, and how to follow it: the id alone is the result.
fn tell(plane: &Plane, submitted: &Submitted, arguments: &Arguments) -> ExitCode {
    let id = &submitted.run_id;
    let mut results = Results::stdout();
    if arguments.json {
        results.line(clean::json(
            String::from_utf8_lossy(&submitted.answer).trim_ascii_end(),
        ));
    } else if arguments.follow {
        notice::line(&format!("stockade: run {id}"));
    } else {
        results.line(id.as_str());
        notice::line(&format!(
            "stockade: follow it with  stockade logs -f {id} --server {}",
            plane.address
        ));
    }
    results.end(ExitCode::SUCCESS)
}

fn check(plane: &Plane, body: Bytes, as_json: bool) -> ExitCode {
    let (answer, checked) = match block_on(plane.check(body)) {
        Err(error) => return fail(&error, None),
        Ok(Err(error)) => return refuse(&error),
        Ok(Ok(checked)) => checked,
    };
    let mut results = Results::stdout();
    if as_json {
        let answer = String::from_utf8_lossy(&answer);
        results.line(clean::json(answer.trim_ascii_end()));
    } else if checked.valid {
        results.line("ok: the run description is valid");
    } else {
        for fault in &checked.faults {
            notice::error(&clean::plain(&fault.message));
        }
    }
    results.end(if checked.valid {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILURE)
    })
}

/// Says why there is no run: of a description with several faults, each.
fn refuse(error: &ClientError) -> ExitCode {
    let ClientError::Refused { faults, .. } = error else {
        return fail_asking(error);
    };
    if faults.is_empty() {
        return fail(&chain(error), error.remedy_at_a_plane());
    }
    for fault in faults {
        notice::error(fault);
    }
    ExitCode::from(FAILURE)
}
