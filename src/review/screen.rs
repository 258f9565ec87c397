//! One screen that says what happened in a run.
//!
//! Owns the layout: a label of ten columns, then text that is cut at the width of the screen. It reads nothing; every text of
//! the workload is made harmless before it is set. Invariant: no line is wider than the screen, and there are no more lines
//! than it has, unless it is smaller than [`MIN_COLUMNS`] by [`MIN_ROWS`].

use super::account::{Account, Life};
use super::plain::{self, columns, fit};
use super::step::StepView;
use crate::event::ServiceState;
use crate::progress::clean;
use crate::progress::paint::{Colours, Tone};
use crate::progress::quantity;
use crate::run::Status;
use crate::status::document::ServiceStatus;
use crate::text::measure;

/// Narrowest screen that is laid out for.
pub const MIN_COLUMNS: usize = 60;

/// Lowest screen that is laid out for.
pub const MIN_ROWS: usize = 20;

/// Columns of a label with its blank.
const LABEL_COLUMNS: usize = 10;

/// Most rows of why the run ended.
const MAX_END_ROWS: usize = 3;

/// Rows that output gets at least, and actions.
const LEAST_OUTPUT: usize = 3;
const LEAST_ACTIONS: usize = 3;

/// The size of the screen, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
}

impl Default for Size {
    /// The screen that is assumed where nobody knows it.
    fn default() -> Self {
        Self {
            columns: 80,
            rows: 24,
        }
    }
}

struct Screen {
    size: Size,
    colours: Colours,
    lines: Vec<String>,
}

/// Lays an account out.
pub fn render(account: &Account, size: Size, colours: Colours) -> String {
    let size = Size {
        columns: size.columns.max(MIN_COLUMNS),
        rows: size.rows.max(MIN_ROWS),
    };
    let mut screen = Screen {
        size,
        colours,
        lines: Vec::new(),
    };
    screen.head(account);
    screen.figures(account);
    // What comes behind the actions and the output is laid out first, so that the two get the rest of the rows.
    let mut foot = Screen {
        size,
        colours,
        lines: Vec::new(),
    };
    foot.kept(account);
    let left = size
        .rows
        .saturating_sub(screen.lines.len() + foot.lines.len() + 1);
    let wanted_output = account
        .output_tail
        .len()
        .min(left.saturating_sub(LEAST_ACTIONS + 1));
    let least_output = LEAST_OUTPUT.min(account.output_tail.len());
    let action_rows = left.saturating_sub(wanted_output.min(left / 2).max(least_output) + 1);
    let before = screen.lines.len();
    screen.actions(account, action_rows);
    let used = screen.lines.len() - before;
    screen.output(account, left.saturating_sub(used));
    screen.lines.append(&mut foot.lines);
    let mut text = screen.lines.join("\n");
    text.push('\n');
    text
}

impl Screen {
    fn width(&self) -> usize {
        self.size.columns.saturating_sub(LABEL_COLUMNS)
    }

    fn row(&mut self, label: &str, text: &str) {
        self.toned(label, Tone::Plain, text);
    }

    fn toned(&mut self, label: &str, tone: Tone, text: &str) {
        let label = self
            .colours
            .paint(Tone::Quiet, &format!("{label:<LABEL_COLUMNS$}"));
        let text = self.colours.paint(tone, &fit(text, self.width()));
        self.lines
            .push(format!("{label}{text}").trim_end().to_owned());
    }

    fn head(&mut self, account: &Account) {
        let (tone, verdict) = verdict(account);
        let name = account.run_id.as_str();
        let verdict = fit(&verdict, self.width().saturating_sub(columns(name) + 2));
        let gap = self
            .width()
            .saturating_sub(columns(name) + columns(&verdict))
            .max(2);
        let label = self
            .colours
            .paint(Tone::Quiet, &format!("{:<LABEL_COLUMNS$}", "run"));
        let verdict = self.colours.paint(tone, &verdict);
        self.lines
            .push(format!("{label}{name}{}{verdict}", " ".repeat(gap)));
        if let Some(task) = &account.task {
            self.row("task", &plain::line(task));
        }
        if !account.command.is_empty() {
            let command: Vec<String> = account.command.iter().map(|word| quoted(word)).collect();
            self.row("command", &plain::line(&command.join(" ")));
        }
        let reason = match (&account.error, &account.outcome) {
            (Some(error), _) => Some(format!("{}: {}", error.code, error.message)),
            (None, Some(outcome)) => Some(outcome.reason.clone()),
            (None, None) => None,
        };
        match (reason, account.life) {
            (Some(reason), _) => {
                // The remedy stands at the end of it.
                let lines = clean::wrap(&plain::line(&reason), self.width(), MAX_END_ROWS);
                for (idx, line) in lines.iter().enumerate() {
                    self.row(if idx == 0 { "end" } else { "" }, line);
                }
            }
            (None, Life::CutOff) => {
                let text = "no end on record, and nobody works on it; see `stockade finalize`";
                self.toned("end", Tone::Bad, text);
            }
            (None, Life::Running | Life::Ended) => {}
        }
        if let Some(result) = &account.result {
            self.row("result", &plain::line(result));
        }
    }

    fn figures(&mut self, account: &Account) {
        let began = account.started_at.as_deref().unwrap_or("unknown");
        let began = began.get(..19).unwrap_or(began).replace('T', " ");
        let took = account
            .duration_ms
            .map(|ms| format!(", took {}", milliseconds(ms)))
            .unwrap_or_default();
        self.row("began", &format!("{began} UTC{took}"));
        let phases: Vec<String> = account
            .phases
            .iter()
            .map(|phase| match phase.duration_ms {
                Some(ms) => format!("{} {}", phase.phase, milliseconds(ms)),
                None => format!("{} now", phase.phase),
            })
            .collect();
        if !phases.is_empty() {
            let mut time = phases.join(", ");
            if account.log.n_events > 0 && account.actions.total + account.actions.open > 0 {
                let in_actions = milliseconds(account.in_actions_ms);
                time.push_str(&format!("; {in_actions} of it in actions"));
            }
            self.row("time", &time);
        }
        let usage = &account.usage;
        let mut used = format!(
            "cpu {}, memory {}, output {}",
            milliseconds(usage.cpu_ms),
            quantity::bytes(usage.max_rss_bytes),
            quantity::bytes(usage.output_bytes)
        );
        if usage.tokens > 0 {
            used.push_str(&format!(", {}", measure::count(usage.tokens, "token")));
        }
        if usage.cost_usd > 0.0 {
            used.push_str(&format!(", ${:.2}", usage.cost_usd));
        }
        self.row("used", &used);
        if let Some(isolation) = &account.isolation {
            let mut text = format!("{}, network {}", isolation.enforced, isolation.network);
            if !isolation.is_as_asked() {
                text.push_str(&format!(" (asked for {})", isolation.requested));
            }
            self.row("sandbox", &plain::line(&text));
        }
        if let Some(survivors) = account.survivors.as_ref().filter(|s| s.killed > 0) {
            let text = format!(
                "{} had to be killed: {}",
                measure::count(survivors.killed, "left-over process"),
                survivors.names.join(", ")
            );
            self.toned("left", Tone::Warning, &plain::line(&text));
        }
        self.beside(account);
        // What ended the run comes last.
        let (first, rest) = account.notes.split_at(account.notes.len().min(1));
        for note in first.iter().chain(rest.last()) {
            self.toned("limit", Tone::Warning, note);
        }
        let n_more = account.n_notes.saturating_sub(2);
        if n_more > 0 {
            self.row("", &format!("and {n_more} more, see the log"));
        }
    }

    /// What ran beside the agent: services first that are not as they should be.
    fn beside(&mut self, account: &Account) {
        let told = |service: &ServiceStatus| {
            let mut text = format!("{} {}", service.name, service.state.as_str());
            if service.restarts > 0 {
                text.push_str(&format!(
                    ", {}",
                    measure::count(service.restarts, "restart")
                ));
            }
            if let Some(reason) = &service.reason {
                text.push_str(&format!(" ({reason})"));
            }
            text
        };
        let is_odd = |service: &&ServiceStatus| {
            service.state == ServiceState::Failed
                || service.restarts > 0
                || service.reason.is_some()
        };
        let (odd, usual): (Vec<_>, Vec<_>) = account.services.iter().partition(is_odd);
        let tone = if odd.is_empty() {
            Tone::Plain
        } else {
            Tone::Warning
        };
        let services: Vec<String> = odd.into_iter().chain(usual).map(told).collect();
        if !services.is_empty() {
            self.toned("services", tone, &plain::line(&services.join("; ")));
        }
        for hook in &account.hooks {
            let took = milliseconds(hook.duration_ms);
            let name = hook.hook.as_str();
            let (tone, text) = match &hook.error {
                None => (Tone::Plain, format!("{name} took {took}")),
                Some(error) => (Tone::Warning, format!("{name} failed ({took}): {error}")),
            };
            self.toned("hook", tone, &plain::line(&text));
        }
    }

    fn actions(&mut self, account: &Account, rows: usize) {
        let counts = &account.actions;
        let mut text = format!("{}", counts.total);
        for (n, what) in [
            (counts.succeeded, "ok"),
            (counts.failed, "failed"),
            (counts.cancelled, "cancelled"),
            (counts.open, "open"),
        ] {
            if n > 0 {
                text.push_str(&format!(", {n} {what}"));
            }
        }
        if account.n_retries > 0 {
            text.push_str(&format!(", {} made again", account.n_retries));
        }
        self.row("actions", &text);
        // Open ones first, then the failures, then where the time went.
        let mut left = rows.max(1);
        for open in account.open.iter().take(left.min(2)) {
            self.toned("", Tone::Warning, &format!("open      {open}"));
            left -= 1;
        }
        let n_failed = account.failed.len().min(left / 2 + left % 2);
        let failed: Vec<&StepView> = account
            .failed
            .iter()
            .skip(account.failed.len() - n_failed)
            .collect();
        for step in &failed {
            self.step(step);
            left = left.saturating_sub(1);
        }
        let slowest = account
            .slowest
            .iter()
            .filter(|step| !failed.iter().any(|other| other.step == step.step));
        for step in slowest.take(left) {
            self.step(step);
        }
    }

    fn step(&mut self, step: &StepView) {
        let took = step
            .duration_ms
            .map_or_else(|| "?".to_owned(), milliseconds);
        let verdict = step.verdict();
        let room = self.width().saturating_sub(columns(&verdict) + 1);
        let title = plain::line(&step.title());
        let left = fit(
            &format!("{:>9} #{} {title}", took, step.step),
            room.saturating_sub(1),
        );
        let gap = " ".repeat(room.saturating_sub(columns(&left)).max(1));
        let tone = if step.is_failed() {
            Tone::Bad
        } else {
            Tone::Plain
        };
        let label = " ".repeat(LABEL_COLUMNS);
        let verdict = self.colours.paint(tone, &verdict);
        self.lines.push(format!("{label}{left}{gap}{verdict}"));
    }

    fn output(&mut self, account: &Account, rows: usize) {
        let n = account.output_tail.len().min(rows);
        for (idx, line) in account
            .output_tail
            .iter()
            .skip(account.output_tail.len() - n)
            .enumerate()
        {
            self.row(if idx == 0 { "output" } else { "" }, line);
        }
    }

    fn kept(&mut self, account: &Account) {
        let artifacts = &account.artifacts;
        if artifacts.n_kept > 0 || !artifacts.withheld.is_empty() {
            let mut text = format!(
                "{}, {}",
                measure::count(artifacts.n_kept, "artifact"),
                quantity::bytes(artifacts.bytes)
            );
            if !artifacts.withheld.is_empty() {
                let reasons: Vec<String> = artifacts
                    .withheld
                    .iter()
                    .map(|(reason, n)| format!("{n} {reason}"))
                    .collect();
                text.push_str(&format!("; withheld: {}", reasons.join(", ")));
            }
            if !artifacts.names.is_empty() {
                text.push_str(&format!("; {}", artifacts.names.join(", ")));
            }
            self.row("kept", &text);
        }
        let log = &account.log;
        if log.n_events == 0 {
            let text = "the log is missing or empty; all of this is what status.json says";
            self.toned("damage", Tone::Bad, text);
        }
        let mut text = measure::count(log.n_events, "event");
        for (n, what) in [(log.n_bad_lines, "bad line"), (log.torn_bytes, "torn byte")] {
            if n > 0 {
                text.push_str(&format!(", {}", measure::count(n, what)));
            }
        }
        text.push_str(&format!(" in {}", account.path));
        if let Some(error) = &account.recordings.error {
            self.toned("damage", Tone::Bad, &plain::line(error));
        }
        // The last line is where to look.
        self.row("log", &plain::line(&text));
    }
}

fn verdict(account: &Account) -> (Tone, String) {
    let status = account.status.as_str();
    let exit = account
        .exit_status
        .map(|code| format!(", exit {code}"))
        .unwrap_or_default();
    match (account.life, account.status) {
        (Life::CutOff, status) if !status.is_terminal() => {
            (Tone::Bad, format!("cut off while {}", status.as_str()))
        }
        (_, Status::Completed) => (Tone::Good, format!("{status}{exit}")),
        (_, Status::Failed | Status::Timeout) => (Tone::Bad, format!("{status}{exit}")),
        (_, Status::Terminated) => (Tone::Warning, format!("{status}{exit}")),
        (_, Status::Starting | Status::Running) => (Tone::Plain, status.to_owned()),
    }
}

/// A word as a shell would have to be given it.
fn quoted(word: &str) -> String {
    let is_plain = !word.is_empty()
        && word
            .chars()
            .all(|c| c.is_alphanumeric() || "-_./:=@%+,".contains(c));
    match is_plain {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

fn milliseconds(ms: u64) -> String {
    quantity::duration(ms)
}

#[cfg(test)]
mod tests;
