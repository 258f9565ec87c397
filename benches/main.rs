//! The benchmarks: every row of the targets table, each beside its floor and its peers in one run.
//!
//! `cargo bench` measures everything and writes `docs/benchmarks.md`; `cargo bench -- --quick` takes about a minute and
//! writes it only with `--write`; `cargo bench -- fanout` measures one row and writes nothing. A server runs in a process of
//! its own: this program again, in a role.
//!
//! A figure of a shared machine says little by itself. The ratio to what was measured beside it, in the same run and in
//! turns with it, says more.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on ends with a panic, and its output is a table"
)]

mod append;
mod bare;
mod broadcast;
mod fanout;
mod floor;
mod frames;
mod init;
mod launch;
mod machine;
mod poller;
mod process;
mod readers;
mod replay;
mod report;
mod scale;
mod server;
mod size;
mod start;
mod status;
mod stockade_server;
mod stop;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use report::Report;
use scale::Scale;
use size::StaticBinaries;
use start::Program;

/// The rows, in the order in which they are measured.
const ROWS: [&str; 9] = [
    "append", "fanout", "replay", "status", "start", "stop", "launch", "init", "size",
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    machine::raise_descriptor_limit();
    if let [server::SERVE, role @ ..] = words.as_slice() {
        server::serve(role);
        return;
    }
    if let [launch::ROUNDS, order] = words.as_slice() {
        launch::serve(order);
        return;
    }
    let scale = if words.contains(&"--quick") {
        Scale::QUICK
    } else {
        Scale::FULL
    };
    let is_written = scale.is_full || words.contains(&"--write");
    // Cargo itself says `--bench`.
    let named: Vec<&str> = words
        .into_iter()
        .filter(|word| !word.starts_with("--"))
        .collect();
    if let Some(unknown) = named.iter().find(|word| !ROWS.contains(word)) {
        panic!("no row {unknown}; there are {}", ROWS.join(", "));
    }
    let (facts, report) = measure(&scale, &named);
    if is_written && named.is_empty() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks.md");
        std::fs::write(&path, page(&scale, &facts, &report)).expect("write the page");
        println!("written: {}", path.display());
    }
}

fn measure(scale: &Scale, named: &[&str]) -> (Vec<String>, Report) {
    let began = Instant::now();
    let facts = machine::facts();
    let mut report = Report::default();
    let stockade = PathBuf::from(env!("CARGO_BIN_EXE_stockade"));
    let scratch = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a scratch directory");
    let dir = |name: &str| {
        let dir = scratch.path().join(name);
        std::fs::create_dir(&dir).expect("a directory");
        dir
    };
    let is_wanted = |row: &str| named.is_empty() || named.contains(&row);
    let takes_static = ["size", "start", "stop", "launch", "init"];
    let static_binaries = takes_static
        .into_iter()
        .any(is_wanted)
        .then(|| size::static_binaries(&mut report, scale, &stockade));
    for row in ROWS.into_iter().filter(|row| is_wanted(row)) {
        println!("{row}");
        match row {
            "append" => append::run(&mut report, scale, &dir(row)),
            "fanout" => fanout::run(&mut report, scale, &dir(row)),
            "replay" => replay::run(&mut report, scale, &dir(row)),
            "status" => status::run(&mut report, scale, &dir(row)),
            "start" => start::run(
                &mut report,
                scale,
                &dir(row),
                &programs(&stockade, static_binaries.as_ref()),
            ),
            "stop" => stop::run(
                &mut report,
                scale,
                &dir(row),
                &programs(&stockade, static_binaries.as_ref()),
            ),
            "launch" => {
                let whole = static_binaries
                    .as_ref()
                    .and_then(|all| all.whole.as_deref());
                launch::run(&mut report, scale, &dir(row), &stockade, whole);
            }
            "init" => init::run(
                &mut report,
                scale,
                &programs(&stockade, static_binaries.as_ref()),
            ),
            _ => {
                if let Some(binaries) = &static_binaries {
                    size::run(&mut report, binaries);
                }
            }
        }
    }
    println!("\n{}", report.table());
    println!(
        "{} of {} rows with a target missed it; {:.0} s",
        report.n_missed(),
        report.rows.len(),
        began.elapsed().as_secs_f64()
    );
    (facts, report)
}

/// The builds of ours that are there.
fn programs(stockade: &Path, fixed: Option<&StaticBinaries>) -> Vec<Program> {
    let program = |name, path: &Path| Program {
        name,
        path: path.to_owned(),
    };
    let whole = fixed.and_then(|binaries| binaries.whole.as_deref());
    let sandbox = fixed.and_then(|binaries| binaries.sandbox.as_deref());
    std::iter::once(program("release binary", stockade))
        .chain(whole.map(|path| program("static binary", path)))
        .chain(sandbox.map(|path| program("static binary for sandboxes", path)))
        .collect()
}

/// The page of the documentation: `page.md`, then the figures.
fn page(scale: &Scale, facts: &[String], report: &Report) -> String {
    let mut page = include_str!("page.md").to_owned();
    page.push_str(if scale.is_full {
        "\n## The last run, full\n\n"
    } else {
        "\n## The last run, quick\n\n"
    });
    for fact in facts {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "- {fact}");
    }
    let _ = writeln!(page, "\n{}", report.table());
    if !report.absent.is_empty() {
        page.push_str("Not run:\n\n");
        for absent in &report.absent {
            let _ = writeln!(page, "- {absent}");
        }
    }
    page
}
