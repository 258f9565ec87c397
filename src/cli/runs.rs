//! `stockade runs`: the runs of a control plane, newest first.
//!
//! Owns the walk over the pages, and its bounds: a server that never comes to an end is left.

mod table;

use std::process::ExitCode;

use clap::builder::PossibleValuesParser;

use super::notice;
use super::reach::{block_on, colours, fail};
use super::results::{Results, columns};
use super::server::{Server, fail_asking};
use crate::client::ClientError;
use crate::client::listing::{Filter, Page, Row};
use crate::client::plane::Plane;
use crate::log::stamp::Millis;
use crate::progress::clean;
use crate::run::{RunId, Status};
use table::Table;

/// What a run may be.
const STATUSES: [Status; 6] = [
    Status::Starting,
    Status::Running,
    Status::Completed,
    Status::Failed,
    Status::Timeout,
    Status::Terminated,
];

/// Runs that are listed where nobody says how many.
const DEFAULT_RUNS: usize = 50;

/// Most runs of a table, which is kept until its widths are known; `--json` has no such end.
const MAX_TABLE_RUNS: usize = 20_000;

/// Most pages that are asked for: a filter that passes nothing looks at 2,000 runs with each.
const MAX_PAGES: usize = 10_000;

/// Which runs, and in what form.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// List only runs with this status
    #[arg(long, value_name = "STATUS", value_parser = PossibleValuesParser::new(STATUSES.map(Status::as_str)))]
    status: Option<String>,

    /// List only runs with this label
    #[arg(long, value_name = "NAME[=VALUE]")]
    label: Option<String>,

    /// List so many runs [default: 50]
    #[arg(long, value_name = "COUNT", conflicts_with = "all", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,

    /// List all runs
    #[arg(long)]
    all: bool,

    /// Print the runs as they are, one JSON object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: Server,
}

/// Where runs go.
enum Sheet {
    Lines(Results),
    Table(Vec<Row>),
}

/// Lists: 0, or 125 when they could not be had.
pub fn main(arguments: &Arguments) -> ExitCode {
    let plane = match arguments.server.find() {
        Ok((address, token)) => Plane { address, token },
        Err(error) => return fail(&error, None),
    };
    let n_wanted = match (arguments.all, arguments.limit) {
        (true, _) => usize::MAX,
        (false, Some(limit)) => usize::try_from(limit).unwrap_or(usize::MAX),
        (false, None) => DEFAULT_RUNS,
    };
    let filter = Filter {
        status: arguments.status.clone(),
        label: arguments.label.clone(),
    };
    let mut sheet = if arguments.json {
        Sheet::Lines(Results::stdout())
    } else {
        Sheet::Table(Vec::new())
    };
    let walked = match block_on(walk(&plane, &filter, n_wanted, &mut sheet)) {
        Err(error) => return fail(&error, None),
        Ok(walked) => walked,
    };
    let code = match walked {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail_asking(&error),
    };
    match sheet {
        Sheet::Lines(results) => results.end(code),
        Sheet::Table(rows) => {
            let mut results = Results::stdout();
            let table = Table::new(&rows, Millis::now());
            for line in table.lines(colours(), columns()) {
                results.line(line);
            }
            results.end(code)
        }
    }
}

async fn walk(
    plane: &Plane,
    filter: &Filter,
    n_wanted: usize,
    sheet: &mut Sheet,
) -> Result<(), ClientError> {
    let foreign = |what: String| ClientError::Foreign {
        address: plane.address.clone(),
        what,
    };
    let (mut n_listed, mut after): (usize, Option<RunId>) = (0, None);
    for _ in 0..MAX_PAGES {
        let n_left = n_wanted.saturating_sub(n_listed);
        let Page { runs, next } = plane.page(filter, n_left, after.as_ref()).await?;
        for run in runs.iter().take(n_left) {
            let row = Row::read(run).map_err(|error| foreign(error.to_string()))?;
            n_listed += 1;
            match sheet {
                Sheet::Lines(results) => {
                    if !results.line(clean::json(run.get())) {
                        return Ok(());
                    }
                }
                Sheet::Table(rows) if rows.len() < MAX_TABLE_RUNS => rows.push(table::clipped(row)),
                Sheet::Table(_) => {
                    notice::error(&format!(
                        "only the newest {MAX_TABLE_RUNS} runs are shown; --json has all, --status and --label choose"
                    ));
                    return Ok(());
                }
            }
        }
        if next.is_none() || n_listed >= n_wanted {
            return Ok(());
        }
        if next == after {
            return Err(foreign("its list does not go on".to_owned()));
        }
        after = next;
    }
    Err(foreign(format!("its list has more than {MAX_PAGES} pages")))
}
