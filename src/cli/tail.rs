//! `stockade tail [TARGET]`: follows a run, live and from its recording.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::reach::{block_on, colours, fail};
use super::results::Results;
use super::whereabouts::{Whereabouts, fail_asking, remedy};
use super::{FAILURE, notice};
use crate::client::follow::{CONTACT_LIMIT, Extent, Want};
use crate::client::{Ending, Follower, Item, Target, Token};
use crate::event::{Complete, Event, EventType};
use crate::progress::line::{Detail, OutputForm, Teller, survivors};
use crate::run::outcome::exit_status;
use crate::session::workload::chain;

/// What stands below the flags of `stockade tail --help`; the time is [`CONTACT_LIMIT`].
pub(super) const AFTER_HELP: &str = "A run that cannot be reached is tried again for 60 s, and a recording is read where there is one.";

/// How often it is said that a run is out of reach.
const LOST_INTERVAL: Duration = Duration::from_secs(15);

/// Which run, from where, and in what form.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    whereabouts: Whereabouts,

    #[command(flatten)]
    shown: Shown,

    /// End with what there is now
    #[arg(long)]
    no_follow: bool,
}

/// Which events, and in what form.
#[derive(Debug, Default, clap::Args)]
pub struct Shown {
    /// Print the events as they are in the log, one JSON object a line
    #[arg(long)]
    json: bool,

    /// Give only events of these types, separated by commas; the terminal event always comes
    #[arg(long, value_name = "TYPES", value_delimiter = ',', value_parser = event_type)]
    types: Vec<EventType>,

    /// Begin behind this event
    #[arg(
        long,
        value_name = "SEQ",
        default_value_t = 0,
        hide_default_value = true,
        value_parser = event_number
    )]
    after: u64,
}

impl Shown {
    /// All events; `json` has them as they are in the log.
    pub(super) fn all(json: bool) -> Self {
        Self {
            json,
            ..Self::default()
        }
    }
}

fn event_number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| "give the number of an event; 0 stands before the first".to_owned())
}

fn event_type(name: &str) -> Result<EventType, String> {
    EventType::parse(name).ok_or_else(|| {
        let names: Vec<_> = EventType::ALL.iter().map(|known| known.as_str()).collect();
        format!("there is no such type; give some of {}", names.join(","))
    })
}

/// Where events go.
struct Printer {
    json: bool,
    teller: Teller,
    results: Results,
    end: Option<Box<Complete>>,
    absence: Absence,
}

/// When it was last said that the run is out of reach, since its last event.
#[derive(Debug, Default)]
struct Absence(Option<Instant>);

impl Absence {
    /// What is said of it now, if anything is: at once, and then from time to time.
    fn line(&mut self, error: &str, now: Instant) -> Option<String> {
        if self
            .0
            .is_some_and(|told| now.duration_since(told) < LOST_INTERVAL)
        {
            return None;
        }
        Some(match self.0.replace(now) {
            None => format!("{error}; trying again for {} s", CONTACT_LIMIT.as_secs()),
            Some(_) => format!("{error}; still trying"),
        })
    }
}

/// Follows the run: with its exit code when it has ended, 0 when it was not to be followed to its end, 125 when it could
/// not be.
pub fn main(arguments: &Arguments) -> ExitCode {
    let extent = if arguments.no_follow {
        Extent::WhatThereIs
    } else {
        Extent::ToTheEnd
    };
    find_and_follow(&arguments.whereabouts, &arguments.shown, extent)
}

/// Finds the run and follows it, with the same exit codes.
pub(super) fn find_and_follow(
    whereabouts: &Whereabouts,
    shown: &Shown,
    extent: Extent,
) -> ExitCode {
    match whereabouts.find() {
        Ok((target, token)) => follow(&target, &token, shown, extent),
        Err(error) => fail(&error, None),
    }
}

/// Follows a run that was found.
pub(super) fn follow(target: &Target, token: &Token, shown: &Shown, extent: Extent) -> ExitCode {
    let form = OutputForm::Barred;
    let mut printer = Printer {
        json: shown.json,
        teller: Teller::new(colours(), Detail::Full, form, form),
        results: Results::stdout(),
        end: None,
        absence: Absence::default(),
    };
    let types = shown.types.clone();
    let mut follower = Follower::new(target, token, types, extent, shown.after);
    let followed = block_on(follower.follow(&mut |item| printer.take(item)));
    match followed {
        Err(error) => fail(&error, None),
        Ok(Err(error)) if error.is_contact() => fail(
            &format!("{}; the run may go on", chain(&error)),
            remedy(target, &error),
        ),
        Ok(Err(error)) => fail_asking(target, &error),
        Ok(Ok(ending)) => printer.finish(ending, extent),
    }
}

impl Printer {
    fn take(&mut self, item: Item<'_>) -> Want {
        match item {
            Item::Event { line, .. } => return self.event(line),
            Item::Gap { from, to } => {
                notice::error(&format!("events {from} to {to} are lost"));
            }
            Item::Beyond { after, last } => notice::error(&format!(
                "there is no event {after} yet, the last one is {last}; all of them follow"
            )),
            Item::Rewound { to: 0 } => {
                notice::error("the log was begun anew; all of it follows");
            }
            Item::Rewound { to } => notice::error(&format!(
                "what was given behind event {to} is not on record: the supervisor died before it was on disk"
            )),
            Item::Lost(error) => {
                if let Some(line) = self.absence.line(&chain(error), Instant::now()) {
                    notice::error(&line);
                }
            }
            Item::FromRecording => {
                notice::error("the status API has ended; the rest comes from the recording");
            }
        }
        Want::More
    }

    fn event(&mut self, line: &[u8]) -> Want {
        self.absence = Absence::default();
        let event = serde_json::from_slice::<Event>(line).ok();
        let mut wanted = true;
        if self.json {
            wanted = self.results.line(line);
        } else if let Some(event) = &event {
            let ts = time_of(line);
            let results = &mut self.results;
            self.teller
                .tell(&ts, event, &mut |text| wanted &= results.line(text));
        }
        if let Some(Event::Complete(complete)) = event {
            if let Some(text) = survivors(&complete.survivors)
                && !self.json
            {
                wanted &= self.results.line(text);
            }
            self.end = Some(complete);
        }
        if wanted { Want::More } else { Want::Nothing }
    }

    fn finish(mut self, ending: Ending, extent: Extent) -> ExitCode {
        if !self.json {
            let results = &mut self.results;
            self.teller.finish(&mut |text| {
                results.line(text);
            });
        }
        let code = match (ending, self.end) {
            (Ending::Terminal, Some(end)) => ExitCode::from(exit_status(
                end.error.map(|error| error.code),
                &end.outcome,
                None,
            )),
            // The terminal event is of a version that is not known here, or was given before.
            (Ending::Terminal | Ending::Asked, _) => ExitCode::SUCCESS,
            (Ending::WithoutEnd, _) if extent == Extent::WhatThereIs => ExitCode::SUCCESS,
            (Ending::WithoutEnd, _) => {
                notice::error(
                    "nobody works on the run any more, and its record has no end; stockade finalize gives it one",
                );
                ExitCode::from(FAILURE)
            }
        };
        self.results.end(code)
    }
}

/// The time stamp of a line.
fn time_of(line: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Stamp {
        ts: String,
    }
    serde_json::from_slice(line).map_or(String::new(), |stamp: Stamp| stamp.ts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_a_run_is_out_of_reach_is_said_at_once_and_then_every_fifteen_seconds() {
        let (mut absence, begun) = (Absence::default(), Instant::now());
        let said: Vec<_> = (0..=60)
            .filter_map(|seconds| {
                let line = absence.line("gone", begun + Duration::from_secs(seconds))?;
                Some((seconds, line))
            })
            .collect();
        assert!(AFTER_HELP.contains(&format!("{} s", CONTACT_LIMIT.as_secs())));
        let first = "gone; trying again for 60 s".to_owned();
        let later = [15, 30, 45, 60].map(|at| (at, "gone; still trying".to_owned()));
        assert_eq!(said, [&[(0, first)][..], &later].concat());
    }
}
