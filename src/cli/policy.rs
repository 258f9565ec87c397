//! `stockade policy list` and `stockade policy show NAME`: the presets that come with the program, as files.
//!
//! It prints what `--preset FILE` reads, so that a preset of one's own begins as a copy.

use std::process::ExitCode;

use stockade_sandbox::PRESETS;

use super::results::Results;
use super::{USAGE, notice};
use crate::document::Format;
use crate::preset;

/// Which question.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, clap::Subcommand)]
enum Question {
    /// Print the names of the presets, each with what it is for
    List,
    /// Print a preset, as a file for --preset
    Show {
        /// The name of the preset
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// Answers: 0, 2 when there is no such preset, 125 when the answer could not be written.
pub fn main(arguments: &Arguments) -> ExitCode {
    match &arguments.question {
        Question::List => {
            let mut results = Results::stdout();
            for file in PRESETS {
                let preset = preset::read(file.text.as_bytes(), Format::Toml).unwrap_or_default();
                results.line(format!("{:<8} {}", file.name, preset.about));
            }
            results.end(ExitCode::SUCCESS)
        }
        Question::Show { name } => match preset::find(name) {
            Some(file) => {
                let mut results = Results::stdout();
                results.bytes(file.text);
                results.end(ExitCode::SUCCESS)
            }
            None => {
                let names = PRESETS.map(|file| file.name);
                notice::error(&format!(
                    "there is no preset {name:?}; there are {}",
                    names.join(", ")
                ));
                ExitCode::from(USAGE)
            }
        },
    }
}
