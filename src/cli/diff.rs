//! `stockade diff`

use std::process::ExitCode;

use serde_json::json;

use super::place::Place;
use super::results::Results;
use super::{FAILURE, notice};
use crate::progress::paint::{Colours, Tone};
use crate::progress::quantity;
use crate::review::account::{Account, Life};
use crate::review::comparison::{self, ArtifactDifference, Comparison, StepDifference, compare};
use crate::review::plain;
use crate::review::reading;
use crate::review::step::StepView;
use crate::session::recorder::now_ms;
use crate::session::workload::chain;
use crate::text::measure;

/// Exit status when the runs differ.
const DIFFERENT: u8 = 1;

/// Longest line, in columns; what is longer is cut.
const MAX_COLUMNS: usize = 160;

/// What to compare.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The first run: latest, a run id, or a run's directory
    #[arg(value_name = "A")]
    first: String,
    /// The second run
    #[arg(value_name = "B", default_value = "latest")]
    second: String,
    #[command(flatten)]
    place: Place,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Compares two runs: 0 when they are the same, 1 when they differ, 125 when a recording cannot be read.
pub fn main(arguments: &Arguments) -> ExitCode {
    match read(arguments) {
        Ok((first, second, comparison)) => {
            let mut results = Results::stdout();
            if arguments.json {
                let object = json!({"first": head(&first), "second": head(&second), "comparison": comparison});
                results.line(object.to_string());
            } else {
                let mut page = Page {
                    results: &mut results,
                    colours: super::reach::colours(),
                };
                page.tell(&first, &second, &comparison);
            }
            results.end(if comparison.same {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(DIFFERENT)
            })
        }
        Err(error) => {
            notice::error(&error);
            ExitCode::from(FAILURE)
        }
    }
}

fn read(arguments: &Arguments) -> Result<(Account, Account, Comparison), String> {
    let side = |named: &str| -> Result<(Account, comparison::Side), String> {
        let run = arguments.place.recording(named)?;
        let account = reading::read(&run, now_ms()).map_err(|error| chain(&error))?;
        let side = comparison::read(&run).map_err(|error| chain(&error))?;
        Ok((account, side))
    };
    let (first, first_side) = side(&arguments.first)?;
    let (second, second_side) = side(&arguments.second)?;
    let is_same_end = end(&first) == end(&second) && first.result == second.result;
    for account in [&first, &second] {
        if !is_whole(account) {
            notice::error(&format!(
                "the log of {} is damaged: what it has lost was not compared; stockade verify tells more",
                account.run_id
            ));
        }
    }
    let is_same_end = is_same_end && is_whole(&first) && is_whole(&second);
    let comparison = compare(&first_side, &second_side, is_same_end);
    Ok((first, second, comparison))
}

/// Status, exit and error code: what makes two ends the same.
fn end(account: &Account) -> String {
    let code = account.error.as_ref().map(|error| error.code.as_str());
    let mut text = account.status.as_str().to_owned();
    if let Some(code) = code {
        text.push_str(&format!(" ({code})"));
    }
    if let Some(exit) = account.exit_status {
        text.push_str(&format!(", exit {exit}"));
    }
    text
}

/// True when what was compared is all that there was.
fn is_whole(account: &Account) -> bool {
    account.log.n_bad_lines == 0
        && account.log.torn_bytes == 0
        && (account.life == Life::Running || account.log.last_seq == account.log.n_events)
}

fn head(account: &Account) -> serde_json::Value {
    json!({
        "run_id": account.run_id,
        "path": account.path,
        "status": account.status,
        "exit_status": account.exit_status,
        "error": account.error.as_ref().map(|error| &error.code),
        "action_count": account.actions.total,
        "duration_ms": account.duration_ms,
        "result": account.result,
        "log": account.log,
    })
}

/// The lines for people.
struct Page<'a> {
    results: &'a mut Results,
    colours: Colours,
}

impl Page<'_> {
    fn tell(&mut self, first: &Account, second: &Account, comparison: &Comparison) {
        for (sign, account) in [("a", first), ("b", second)] {
            let took = account
                .duration_ms
                .map_or_else(String::new, |ms| format!(", {}", quantity::duration(ms)));
            self.line(
                Tone::Plain,
                &format!(
                    "{sign} {}: {}, {} steps{took}",
                    account.run_id,
                    end(account),
                    account.actions.total
                ),
            );
        }
        for step in &comparison.steps {
            self.tell_step(step);
        }
        for (path, difference) in &comparison.artifacts {
            let (sign, tone) = match difference {
                ArtifactDifference::OnlyFirst => ("-", Tone::Bad),
                ArtifactDifference::OnlySecond => ("+", Tone::Good),
                ArtifactDifference::Changed => ("~", Tone::Warning),
            };
            self.line(tone, &format!("{sign} artifact {}", plain::line(path)));
        }
        if !comparison.aligned {
            self.line(Tone::Warning,
            "the runs differ in more steps than are looked for: those in the middle are told as removed and added",
        );
        }
        if comparison.n_left_out > 0 {
            let text = format!("{} steps were not compared", comparison.n_left_out);
            self.line(Tone::Warning, &text);
        }
        if first.result != second.result {
            self.line(Tone::Warning, "~ the runs gave another result");
        }
        let n_different = comparison.steps.iter().filter(|step| step.counts()).count();
        let verdict = if comparison.same {
            format!("same: {} alike", measure::count(comparison.n_same, "step"))
        } else {
            format!(
                "different: {n_different} steps and {} artifacts differ, {} steps alike",
                comparison.artifacts.len(),
                comparison.n_same
            )
        };
        self.line(Tone::Strong, &verdict);
    }

    fn tell_step(&mut self, difference: &StepDifference) {
        match difference {
            StepDifference::OnlyFirst { step } => {
                self.line(Tone::Bad, &format!("- {}", title(step)));
            }
            StepDifference::OnlySecond { step } => {
                self.line(Tone::Good, &format!("+ {}", title(step)));
            }
            StepDifference::Changed {
                first,
                second,
                end,
                result,
                duration_factor,
            } => {
                let mut what = Vec::new();
                if *end {
                    what.push(format!("{} -> {}", first.verdict(), second.verdict()));
                }
                if let Some(factor) = duration_factor {
                    let times = |ms: Option<u64>| quantity::duration(ms.unwrap_or(0));
                    what.push(format!(
                        "{} -> {} ({factor:.1} times)",
                        times(first.duration_ms),
                        times(second.duration_ms)
                    ));
                }
                if *result {
                    what.push("another result".to_owned());
                }
                let tone = if difference.counts() {
                    Tone::Warning
                } else {
                    Tone::Quiet
                };
                self.line(
                    tone,
                    &format!(
                        "~ #{} {}: {}",
                        second.step,
                        what.join(", "),
                        plain::line(&second.title())
                    ),
                );
                for (sign, step) in [("a", first), ("b", second)] {
                    if let Some(text) = step
                        .result
                        .as_deref()
                        .or(step.error.as_deref())
                        .filter(|_| *result)
                    {
                        let text = text.lines().next().unwrap_or_default();
                        self.line(Tone::Quiet, &format!("    {sign} {}", plain::line(text)));
                    }
                }
            }
        }
    }

    fn line(&mut self, tone: Tone, text: &str) {
        let text = plain::fit(text, MAX_COLUMNS);
        self.results.line(self.colours.paint(tone, &text));
    }
}

fn title(step: &StepView) -> String {
    format!("#{} {}", step.step, plain::line(&step.title()))
}
