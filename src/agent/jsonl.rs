//! Any program as an agent: each JSON line of its standard output (or of the actions descriptor) is a report.

use serde_json::Value;

use super::exact::Inexact;
use super::report::Report;
use super::{Agent, Launch, NextSteps, Observation, Role, Step, Verdict};
use crate::event::Level;
use crate::run::ErrorCode;

/// Runs a program and turns its JSON lines into the log's events.
#[derive(Debug)]
pub struct JsonlAgent {
    argv: Vec<String>,
    result: Option<String>,
    data: Option<Value>,
    inexact: Option<Box<Inexact>>,
}

impl JsonlAgent {
    /// An agent that runs `argv`.
    pub fn new(argv: Vec<String>) -> Self {
        Self {
            argv,
            result: None,
            data: None,
            inexact: None,
        }
    }

    fn react(&mut self, observation: Observation) -> Vec<Step> {
        match observation {
            Observation::Begun => {
                vec![Step::Launch(Launch {
                    argv: std::mem::take(&mut self.argv),
                    role: Role::Agent,
                })]
            }
            Observation::Line(_, line) => match Report::parse(&line) {
                // The last result stands; it becomes part of the terminal event.
                Report::Result {
                    result,
                    data,
                    inexact,
                } => {
                    self.result = result;
                    self.data = data;
                    let warning = inexact.as_ref().map(|inexact| Report::Log {
                        level: Level::Warn,
                        message: format!("the result is not what the agent wrote: {inexact}"),
                    });
                    self.inexact = inexact;
                    warning.map(Step::Record).into_iter().collect()
                }
                report => vec![Step::Record(report)],
            },
            Observation::LineTooLong(_) => vec![Step::Record(Report::too_long())],
            Observation::Exited(exit) => vec![Step::Finish(Verdict {
                error: exit.to_error(ErrorCode::AgentFailed, "the agent"),
                exit: Some(Box::new(exit)),
                result: self.result.take(),
                data: self.data.take(),
                inexact: self.inexact.take(),
                ..Verdict::default()
            })],
            Observation::Interrupted(exit) => vec![Step::Finish(Verdict {
                exit: exit.map(Box::new),
                result: self.result.take(),
                data: self.data.take(),
                inexact: self.inexact.take(),
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

impl Agent for JsonlAgent {
    fn next(&mut self, observation: Observation) -> NextSteps<'_> {
        let steps = self.react(observation);
        Box::pin(std::future::ready(steps))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::agent::{Exit, LineOf};
    use crate::event::action::ProcessUsage;

    #[test]
    fn the_last_result_line_is_the_result_of_the_run() {
        let mut agent = JsonlAgent::new(vec!["true".to_owned()]);
        assert!(matches!(
            agent.react(Observation::Begun)[..],
            [Step::Launch(_)]
        ));
        for line in [
            r#"{"type":"result","result":"first"}"#,
            r#"{"type":"result","result":"last","data":{"n":1}}"#,
        ] {
            assert_eq!(
                agent.react(Observation::Line(LineOf::Stdout, line.into())),
                []
            );
        }
        let exit = Exit {
            code: Some(0),
            signal: None,
            duration: Duration::from_millis(5),
            usage: ProcessUsage::default(),
            oom: None,
        };
        let steps = agent.react(Observation::Exited(exit));
        let verdict = Verdict {
            error: None,
            exit: Some(Box::new(exit)),
            result: Some("last".to_owned()),
            data: Some(serde_json::json!({"n": 1})),
            ..Verdict::default()
        };
        assert_eq!(steps, [Step::Finish(verdict)]);
    }
}
