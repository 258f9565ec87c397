//! `stockade schema`: the JSON Schema of a file that people write, for editors and for programs that write such files.

use std::process::ExitCode;

use super::results::Results;

/// Which schema.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The kind of file
    #[arg(value_enum, default_value_t = Kind::Playbook)]
    kind: Kind,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// A playbook
    Playbook,
    /// A description file or a profile
    Description,
}

/// Prints the schema: 0, or 125 when it could not be written.
pub fn main(arguments: &Arguments) -> ExitCode {
    let schema = match arguments.kind {
        Kind::Playbook => crate::playbook::schema::schema(),
        Kind::Description => crate::description::schema::schema(),
    };
    let mut results = Results::stdout();
    results.line(format!("{schema:#}"));
    results.end(ExitCode::SUCCESS)
}
