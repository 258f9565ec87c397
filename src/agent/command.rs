//! A plain command as an agent: one action, whose exit decides the outcome.

use super::{Agent, Launch, NextSteps, Observation, Role, Step, Verdict};
use crate::agent::report::Report;
use crate::run::ErrorCode;

/// Runs one command.
#[derive(Debug)]
pub struct CommandAgent {
    argv: Vec<String>,
}

impl CommandAgent {
    /// An agent that runs `argv`.
    pub fn new(argv: Vec<String>) -> Self {
        Self { argv }
    }

    fn react(&mut self, observation: Observation) -> Vec<Step> {
        match observation {
            Observation::Begun => {
                vec![Step::Launch(Launch {
                    argv: std::mem::take(&mut self.argv),
                    role: Role::Action,
                })]
            }
            // A command may report actions of its own on the actions descriptor.
            Observation::Line(_, line) => vec![Step::Record(Report::parse(&line))],
            Observation::LineTooLong(_) => vec![Step::Record(Report::too_long())],
            Observation::Exited(exit) => vec![Step::Finish(Verdict {
                error: exit.to_error(ErrorCode::CommandFailed, "the command"),
                exit: Some(Box::new(exit)),
                ..Verdict::default()
            })],
            Observation::Interrupted(exit) => vec![Step::Finish(Verdict {
                exit: exit.map(Box::new),
                ..Verdict::default()
            })],
            // These answer steps that it never takes.
            Observation::Attempted(_)
            | Observation::Waited
            | Observation::Probed(_)
            | Observation::NotBegun => Vec::new(),
            Observation::NotStarted(why) => {
                vec![Step::Finish(Verdict {
                    error: Some((why.code, why.message)),
                    ..Verdict::default()
                })]
            }
        }
    }
}

impl Agent for CommandAgent {
    fn next(&mut self, observation: Observation) -> NextSteps<'_> {
        let steps = self.react(observation);
        Box::pin(std::future::ready(steps))
    }
}
