//! What must hold for every line that an agent may print.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use stockade::agent::report::MAX_RAW_BYTES;
use stockade::agent::{Agent, JsonlAgent, LineOf, Observation, Report, Step};

/// Gives every line of `input` to the adapter.
pub(crate) fn check(input: &[u8]) {
    let mut agent = JsonlAgent::new(vec!["agent".to_owned()]);
    for line in input.split(|byte| *byte == b'\n') {
        let steps = now(agent.next(Observation::Line(LineOf::Stdout, line.to_vec())));
        // A result is kept for the end, and a number of it that cannot be kept exactly is told; anything else is recorded at
        // once. No line ends the run, and none is lost.
        let is_kept_silently = matches!(Report::parse(line), Report::Result { inexact: None, .. });
        assert_eq!(
            steps.len(),
            usize::from(!is_kept_silently),
            "one line is one record"
        );
        for step in steps {
            match step {
                Step::Record(report) => check_report(&report, line),
                other => panic!("a line made the adapter do something: {other:?}"),
            }
        }
    }
}

fn check_report(report: &Report, line: &[u8]) {
    match report {
        Report::Plain(kept) => assert_eq!(kept, line, "plain output is kept as it is"),
        Report::Raw { line: kept, bytes } => {
            assert_eq!(*bytes, line.len() as u64);
            assert!(kept.len() <= MAX_RAW_BYTES);
            assert!(String::from_utf8_lossy(line).starts_with(kept.as_str()));
        }
        Report::Started(action) | Report::Action(action) => {
            assert!(action.tool.is_some() || action.action.is_some());
            let _ = action.whole_duration_ms();
        }
        Report::Message { .. } | Report::Thought { .. } | Report::Log { .. } => {}
        Report::Checked(_) | Report::Limit(_) | Report::Retry { .. } => {
            panic!("a line never says so")
        }
        Report::Result { .. } => panic!("a result is not recorded before the end"),
    }
}

/// The adapter never waits.
fn now<T>(mut future: Pin<Box<dyn Future<Output = T> + Send + '_>>) -> T {
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the adapter waits for something"),
    }
}
