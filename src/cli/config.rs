//! `stockade config check` and `stockade config show`: the run description as `stockade run` would read it.
//!
//! Takes the flags of `stockade run` and reads the same sources with the same checks. It starts nothing and writes no
//! recording. Secrets are masked as in `spec.json`.

mod view;

use std::process::ExitCode;

use super::described::described;
use super::flags::RunFlags;
use super::results::Results;
use view::View;

/// Which question.
#[derive(clap::Args)]
#[expect(
    missing_debug_implementations,
    reason = "the flags of a run may hold secrets"
)]
pub struct Arguments {
    #[command(subcommand)]
    question: Question,
}

#[derive(clap::Subcommand)]
enum Question {
    /// Check the description of a run, and start nothing
    Check(Box<RunFlags>),
    /// Show every key with its value and where it came from; secrets are masked
    Show(Box<ShowArguments>),
}

#[derive(clap::Args)]
struct ShowArguments {
    /// Print one JSON object
    #[arg(long = "json", id = "show-json")]
    as_json: bool,

    #[command(flatten)]
    run: RunFlags,
}

/// Answers: 0 when the description is valid, else the exit status that `stockade run` would give.
pub fn main(arguments: Arguments) -> ExitCode {
    match arguments.question {
        Question::Check(flags) => match described(*flags) {
            Ok(explained) => {
                let n_set = explained.description.n_explicit_keys();
                let keys = if n_set == 1 { "key" } else { "keys" };
                answer(&format!(
                    "ok: the run description is valid, with {n_set} {keys} set"
                ))
            }
            Err(code) => code,
        },
        Question::Show(arguments) => match described(arguments.run) {
            Ok(explained) => {
                let view = View::of(&explained);
                let text = if arguments.as_json {
                    view.json()
                } else {
                    view.table()
                };
                answer(text.trim_end())
            }
            Err(code) => code,
        },
    }
}

fn answer(text: &str) -> ExitCode {
    let mut results = Results::stdout();
    results.line(text);
    results.end(ExitCode::SUCCESS)
}
