//! What the rows below the output say: where the run is, and what it is doing.
//!
//! Owns a few facts, whatever the length of the run. It is told every event but output.

use std::time::Duration;

use tokio::time::Instant;

use super::clean;
use super::line::begun;
use super::paint::Tone;
use super::quantity;
use super::screen::Row;
use crate::event::{Complete, Event};
use crate::run::Phase;

/// Actions in progress that are shown at most.
const N_SHOWN_ACTIONS: usize = 3;

/// Actions in progress that are remembered; the adapters allow as many.
const MAX_OPEN_ACTIONS: usize = 1_024;

/// The bounds of the run, for people.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Its name.
    pub run_id: String,
    /// The wall-clock limit.
    pub timeout: Duration,
    /// Most actions of an agent.
    pub max_steps: u64,
    /// Most bytes of output.
    pub output_bytes: u64,
}

/// What is known of the run.
#[derive(Debug)]
pub struct State {
    bounds: Bounds,
    began: Instant,
    phase: Phase,
    /// Since when the run stands still.
    paused: Option<Instant>,
    n_actions: u64,
    output_bytes: u64,
    tokens: u64,
    cost_usd: f64,
    open: Vec<OpenAction>,
    end: Option<Box<Complete>>,
}

#[derive(Debug)]
struct OpenAction {
    call_id: String,
    text: String,
    since: Instant,
}

impl State {
    /// A run that begins.
    pub fn new(bounds: Bounds, began: Instant) -> Self {
        Self {
            bounds,
            began,
            phase: Phase::Starting,
            paused: None,
            n_actions: 0,
            output_bytes: 0,
            tokens: 0,
            cost_usd: 0.0,
            open: Vec::new(),
            end: None,
        }
    }

    /// Takes an event.
    pub fn note(&mut self, event: &Event, now: Instant) {
        match event {
            Event::RunPhase(entered) => self.phase = entered.phase,
            Event::RunPaused(_) => self.paused = Some(now),
            // The deadline has stood still as well.
            Event::RunResumed(resumed) => {
                self.paused = None;
                self.began += Duration::from_millis(resumed.paused_ms);
            }
            Event::ActionStarted(started) if self.open.len() < MAX_OPEN_ACTIONS => {
                self.open.push(OpenAction {
                    call_id: started.call_id.clone(),
                    text: begun(started),
                    since: now,
                });
            }
            Event::Action(action) => {
                self.n_actions = self.n_actions.max(action.step);
                self.open.retain(|open| open.call_id != action.call_id);
                self.tokens = self.tokens.saturating_add(action.tokens.unwrap_or(0));
                self.cost_usd += action.cost_usd.unwrap_or(0.0);
            }
            Event::ActionOutput(output) => {
                self.output_bytes = self.output_bytes.saturating_add(output.bytes);
            }
            Event::ServiceOutput(output) => {
                self.output_bytes = self.output_bytes.saturating_add(output.bytes);
            }
            Event::Complete(complete) => self.end = Some(complete.clone()),
            Event::LogOpened(_)
            | Event::Isolation(_)
            | Event::ActionStarted(_)
            | Event::Message(_)
            | Event::Thought(_)
            | Event::Limit(_)
            | Event::Retry(_)
            | Event::Guardrail(_)
            | Event::Network(_)
            | Event::Hook(_)
            | Event::StopStep(_)
            | Event::Service(_)
            | Event::Log(_)
            | Event::AgentRaw(_)
            | Event::Artifact(_) => {}
        }
    }

    /// How the run ended, once it has.
    pub fn end(&self) -> Option<&Complete> {
        self.end.as_deref()
    }

    /// The rows; `open_line` is a line of output whose end has not come.
    pub fn rows(&self, open_line: &str, now: Instant) -> Vec<Row> {
        let mut rows = Vec::new();
        if !open_line.is_empty() {
            rows.push(Row(vec![(Tone::Plain, open_line.to_owned())]));
        }
        rows.push(self.summary(now));
        for open in self.open.iter().rev().take(N_SHOWN_ACTIONS).rev() {
            let elapsed = now.saturating_duration_since(open.since).as_secs();
            rows.push(Row(vec![
                (Tone::Strong, "▸ ".to_owned()),
                (Tone::Quiet, format!("{} ", quantity::clock(elapsed))),
                (Tone::Plain, open.text.clone()),
            ]));
        }
        if let Some(n_more) = self.open.len().checked_sub(N_SHOWN_ACTIONS + 1) {
            let text = format!("  and {} more", n_more + 1);
            rows.push(Row(vec![(Tone::Quiet, text)]));
        }
        rows
    }

    fn summary(&self, now: Instant) -> Row {
        let (tone, word) = match (self.phase, self.paused) {
            (Phase::Starting | Phase::Running, Some(_)) => (Tone::Warning, "paused"),
            (Phase::Starting, None) => (Tone::Strong, "starting"),
            (Phase::Running, None) => (Tone::Good, "running"),
            (Phase::Stopping, _) => (Tone::Warning, "stopping"),
            (Phase::Finished, _) => (Tone::Strong, "finished"),
        };
        let now = self.paused.unwrap_or(now);
        let elapsed = now.saturating_duration_since(self.began).as_secs();
        let mut facts = format!(
            "  {} of {}",
            quantity::clock(elapsed),
            quantity::clock(self.bounds.timeout.as_secs())
        );
        if self.n_actions > 0 {
            facts.push_str(&format!(
                "  {} of {} actions",
                self.n_actions, self.bounds.max_steps
            ));
        }
        if self.output_bytes > 0 {
            facts.push_str(&format!(
                "  {} of {} output",
                quantity::bytes(self.output_bytes),
                quantity::bytes(self.bounds.output_bytes)
            ));
        }
        if self.tokens > 0 {
            facts.push_str(&format!("  {} tokens", self.tokens));
        }
        if self.cost_usd > 0.0 {
            facts.push_str(&format!("  ${:.2}", self.cost_usd));
        }
        Row(vec![
            (tone, word.to_owned()),
            (Tone::Plain, "  ".to_owned()),
            (Tone::Strong, clean::plain(&self.bounds.run_id)),
            (Tone::Quiet, facts),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(rows: &[Row]) -> Vec<String> {
        let join = |row: &Row| row.0.iter().map(|(_, part)| part.as_str()).collect();
        rows.iter().map(join).collect()
    }

    #[test]
    fn the_rows_say_where_the_run_is_and_what_it_does() {
        let bounds = Bounds {
            run_id: "fox".to_owned(),
            timeout: Duration::from_secs(600),
            max_steps: 50,
            output_bytes: 1 << 30,
        };
        let began = Instant::now();
        let mut state = State::new(bounds, began);
        assert_eq!(
            text(&state.rows("", began)),
            ["starting  fox  0:00 of 10:00"]
        );
        for json in [
            r#"{"type":"run.phase","phase":"running","status":"running"}"#,
            r#"{"type":"action.started","step":1,"call_id":"a","tool":"shell","action":"make"}"#,
            r#"{"type":"action.output","stream":"stdout","text":"x","bytes":2048}"#,
            r#"{"type":"action.started","step":2,"call_id":"b","tool":"shell","action":"test"}"#,
            r#"{"type":"action","step":1,"timestamp":"t","call_id":"a","tool":"shell","action":"make","tokens":12,"cost_usd":0.5}"#,
        ] {
            state.note(&serde_json::from_str(json).unwrap(), began);
        }
        // While it is paused its time stands still, and so does its deadline.
        let note = |state: &mut State, json: &str, at| {
            state.note(&serde_json::from_str(json).unwrap(), at);
        };
        let since = began + Duration::from_secs(5);
        note(&mut state, r#"{"type":"run.paused","by":"signals"}"#, since);
        let rows = text(&state.rows("", since + Duration::from_secs(100)));
        assert!(
            rows[0].starts_with("paused  fox  0:05 of 10:00"),
            "{rows:?}"
        );
        let until = since + Duration::from_secs(100);
        note(
            &mut state,
            r#"{"type":"run.resumed","paused_ms":100000}"#,
            until,
        );
        let rows = text(&state.rows("", until));
        assert!(
            rows[0].starts_with("running  fox  0:05 of 10:00"),
            "{rows:?}"
        );
        state.began = began;
        let later = began + Duration::from_secs(65);
        assert_eq!(
            text(&state.rows("50%", later)),
            [
                "50%",
                "running  fox  1:05 of 10:00  1 of 50 actions  2.0 KiB of 1.0 GiB output  12 tokens  $0.50",
                "▸ 1:05 2 shell test",
            ]
        );
    }
}
