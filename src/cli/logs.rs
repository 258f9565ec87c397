//! `stockade logs RUN`: what a run has logged, and with `-f` what it logs until its end.

use std::process::ExitCode;

use super::tail::{Shown, find_and_follow};
use super::whereabouts::Whereabouts;
use crate::client::follow::Extent;

/// Which run, from where, and in what form.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    whereabouts: Whereabouts,

    /// Go on until the run has ended
    #[arg(short, long)]
    follow: bool,

    #[command(flatten)]
    shown: Shown,
}

/// Prints the events: 0, or with `--follow` as `stockade tail`.
pub fn main(arguments: &Arguments) -> ExitCode {
    let extent = if arguments.follow {
        Extent::ToTheEnd
    } else {
        Extent::WhatThereIs
    };
    find_and_follow(&arguments.whereabouts, &arguments.shown, extent)
}
