//! The `stockade` binary: decides which process this is, and hands over to the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    stockade::cli::main(std::env::args_os())
}
