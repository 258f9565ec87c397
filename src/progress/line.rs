//! Events as lines for people.
//!
//! Owns the words. Each event becomes no line, one, or, for output, as many as it has. Every text that is not ours is made
//! harmless first.

use super::clean;
use super::output::OpenLines;
use super::paint::{Colours, Tone};
use super::quantity;
use crate::event::lifecycle::{Isolation, Survivors};
use crate::event::{
    Action, ActionStarted, Complete, Event, Hook, Level, NetworkDecision, RunPhase, Service,
    ServiceState, Stream,
};
use crate::run::{Phase, Status};

/// Longest text of another in one of our lines, in characters.
pub const MAX_SUMMARY_CHARS: usize = 160;

/// Longest summary of an action that has ended, in characters: it was told when the action began.
const MAX_ENDED_SUMMARY_CHARS: usize = 48;

/// Name of the tool whose one action is the whole command of a run.
const COMMAND_TOOL: &str = "command";

/// How a stream of the workload is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputForm {
    /// Not at all: it goes elsewhere.
    Hidden,
    /// As it is.
    Bare,
    /// Behind a bar, so that it is told from our own lines.
    Barred,
}

/// Which events have a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Everything that happens; each line begins with its time.
    Full,
    /// What has happened; what goes on stands elsewhere.
    Past,
}

/// Tells events, one after another.
#[derive(Debug)]
pub struct Teller {
    colours: Colours,
    detail: Detail,
    stdout: OutputForm,
    stderr: OutputForm,
    open: OpenLines,
}

impl Teller {
    /// A teller of one run.
    pub fn new(colours: Colours, detail: Detail, stdout: OutputForm, stderr: OutputForm) -> Self {
        Self {
            colours,
            detail,
            stdout,
            stderr,
            open: OpenLines::default(),
        }
    }

    /// The colours in use.
    pub fn colours(&self) -> Colours {
        self.colours
    }

    /// A line of output whose end has not come.
    pub fn open_line(&self) -> String {
        self.open.open()
    }

    /// Gives the lines of an event; `ts` is its time stamp, RFC 3339.
    pub fn tell(&mut self, ts: &str, event: &Event, give: &mut impl FnMut(String)) {
        if let Event::ActionOutput(output) = event {
            let bar = match (output.stream, self.form(output.stream)) {
                (_, OutputForm::Hidden) => return,
                (_, OutputForm::Bare) => String::new(),
                (Stream::Stdout, OutputForm::Barred) => self.colours.paint(Tone::Quiet, "  │ "),
                (Stream::Stderr, OutputForm::Barred) => self.colours.paint(Tone::Warning, "  ┆ "),
            };
            let mut barred = |line: String| give(format!("{bar}{line}"));
            self.open
                .push(output.stream, &output.text, self.colours, &mut barred);
            return;
        }
        if matches!(event, Event::Complete(_)) {
            self.finish(give);
        }
        let Some(text) = self.line(event) else { return };
        match self.detail {
            Detail::Past => give(text),
            Detail::Full => {
                // Hours, minutes and seconds of RFC 3339.
                let time = self
                    .colours
                    .paint(Tone::Quiet, ts.get(11..19).unwrap_or(ts));
                give(format!("{time} {text}"));
            }
        }
    }

    /// Gives what is left of output.
    pub fn finish(&mut self, give: &mut impl FnMut(String)) {
        let is_barred = [self.stdout, self.stderr].contains(&OutputForm::Barred);
        let bar = if is_barred {
            self.colours.paint(Tone::Quiet, "  │ ")
        } else {
            String::new()
        };
        self.open
            .finish(self.colours, &mut |line| give(format!("{bar}{line}")));
    }

    fn form(&self, stream: Stream) -> OutputForm {
        match stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        }
    }

    fn line(&self, event: &Event) -> Option<String> {
        let paint = |tone, text: &str| self.colours.paint(tone, text);
        let short = |text: &str| clean::summary(text, MAX_SUMMARY_CHARS);
        Some(match event {
            Event::LogOpened(opened) if opened.cut_bytes > 0 => paint(
                Tone::Warning,
                &format!(
                    "the log was begun anew: {} of it were torn",
                    quantity::bytes(opened.cut_bytes)
                ),
            ),
            Event::LogOpened(_) => return None,
            Event::RunPhase(entered) => self.phase(entered)?,
            Event::RunPaused(paused) => {
                let why = paused.reason.as_deref().map(&short);
                let why = why.map_or(String::new(), |why| format!(": {why}"));
                let text = format!("paused by {}{why}", short(&paused.by));
                paint(Tone::Warning, &text)
            }
            Event::RunResumed(resumed) => {
                let why = resumed.reason.as_deref().map(&short);
                let why = why.map_or(String::new(), |why| format!(": {why}"));
                let time = quantity::duration(resumed.paused_ms);
                paint(Tone::Warning, &format!("resumed after {time}{why}"))
            }
            Event::Isolation(isolation) => self.isolation(isolation)?,
            Event::ActionStarted(started) => match self.detail {
                Detail::Past => return None,
                Detail::Full => format!(
                    "{} {}",
                    paint(Tone::Strong, "▸"),
                    action_name(
                        started.step,
                        &started.tool,
                        &started.action,
                        &started.input_summary
                    )
                ),
            },
            Event::ActionOutput(_) | Event::ServiceOutput(_) => return None,
            Event::Service(service) => self.service(service)?,
            Event::Hook(hook) => self.hook(hook)?,
            // What came of it is told by the hook, the service and the end.
            Event::StopStep(_) => return None,
            Event::Action(action) => self.action(action)?,
            Event::Message(text) => {
                let role = text.role.as_deref().map_or("agent".to_owned(), &short);
                format!(
                    "{} {}",
                    paint(Tone::Strong, &format!("{role}:")),
                    short(&text.text)
                )
            }
            Event::Thought(text) => paint(Tone::Quiet, &format!("thinks: {}", short(&text.text))),
            Event::Limit(limit) => {
                let name = limit.rule.as_str();
                let text = format!(
                    "limit {name} = {} is reached: {}",
                    limit.limit, limit.detail
                );
                paint(Tone::Warning, &short(&text))
            }
            Event::Retry(retry) => {
                let text = format!(
                    "retry of {} {}: attempt {} of {} failed, {}; again in {}",
                    retry.step,
                    retry.action,
                    retry.attempt,
                    retry.of,
                    retry.reason,
                    quantity::duration(retry.delay_ms)
                );
                paint(Tone::Warning, &short(&text))
            }
            Event::Guardrail(guardrail) => {
                let text = format!(
                    "guardrail {}: {} ({})",
                    guardrail.rule.as_str(),
                    guardrail.detail,
                    guardrail.decision.as_str()
                );
                paint(Tone::Warning, &short(&text))
            }
            Event::Network(network) => {
                let word = match network.decision {
                    NetworkDecision::Allow => return None,
                    NetworkDecision::Deny => "denied",
                    NetworkDecision::Error => "not reached",
                };
                let reason = network.reason.as_deref().unwrap_or("for several reasons");
                let times = match network.count {
                    1 => String::new(),
                    count => format!(" {count} times"),
                };
                let text = format!("network: {}: {word}{times}, {reason}", network.target());
                paint(Tone::Warning, &short(&text))
            }
            Event::Log(diagnostic) => {
                let (tone, word) = match diagnostic.level {
                    Level::Info => (Tone::Plain, "note"),
                    Level::Warn => (Tone::Warning, "warning"),
                    Level::Error => (Tone::Bad, "error"),
                };
                format!(
                    "{} {} ({})",
                    paint(tone, &format!("{word}:")),
                    short(&diagnostic.message),
                    short(&diagnostic.source)
                )
            }
            Event::AgentRaw(raw) => paint(
                Tone::Quiet,
                &format!("not understood: {}", short(&raw.line)),
            ),
            Event::Artifact(artifact) if let Some(reason) = artifact.withheld => paint(
                Tone::Warning,
                &format!(
                    "artifact {} is withheld: {}",
                    short(&artifact.path),
                    reason.as_str()
                ),
            ),
            Event::Artifact(artifact) => format!(
                "artifact {} ({})",
                short(&artifact.path),
                quantity::bytes(artifact.size)
            ),
            Event::Complete(complete) => match self.detail {
                // It is the last line of the view.
                Detail::Past => return None,
                Detail::Full => ending(complete, self.colours),
            },
        })
    }

    /// A hook that went well is told in full only.
    fn hook(&self, hook: &Hook) -> Option<String> {
        if hook.success && self.detail == Detail::Past {
            return None;
        }
        let word = if hook.success { "done" } else { "failed" };
        let took = quantity::duration(hook.duration_ms);
        let mut text = format!("hook {}: {word} ({took})", hook.hook.as_str());
        if let Some(error) = &hook.error {
            text.push_str(&format!(": {error}"));
        }
        let tone = if hook.success {
            Tone::Quiet
        } else {
            Tone::Warning
        };
        let text = clean::summary(&text, MAX_SUMMARY_CHARS);
        Some(self.colours.paint(tone, &text))
    }

    /// What becomes of services is told in full; of what goes as it should, the view has no line.
    fn service(&self, service: &Service) -> Option<String> {
        let is_news = match service.state {
            ServiceState::Starting | ServiceState::Ready | ServiceState::Stopped => false,
            ServiceState::Exited | ServiceState::Restarting | ServiceState::Failed => true,
        };
        if !is_news && self.detail == Detail::Past {
            return None;
        }
        let mut text = format!("service {}: {}", service.service, service.state.as_str());
        if let Some(ms) = service.delay_ms {
            text.push_str(&format!(", after {}", quantity::duration(ms)));
        } else if let Some(ms) = service.duration_ms {
            text.push_str(&format!(" ({})", quantity::duration(ms)));
        }
        if let Some(reason) = &service.reason {
            text.push_str(&format!(": {reason}"));
        }
        let text = clean::summary(&text, MAX_SUMMARY_CHARS);
        let tone = if is_news { Tone::Warning } else { Tone::Quiet };
        Some(self.colours.paint(tone, &text))
    }

    fn phase(&self, entered: &RunPhase) -> Option<String> {
        let why = entered.reason.as_deref().map_or(String::new(), |reason| {
            format!(": {}", clean::summary(reason, MAX_SUMMARY_CHARS))
        });
        let listen = entered.listen.as_ref();
        let places = listen.into_iter().flat_map(crate::client::Address::of);
        let places: Vec<String> = places.map(|place| place.to_string()).collect();
        match (entered.phase, self.detail) {
            // The view shows these itself, and the end has a line of its own.
            (Phase::Finished, _) | (Phase::Starting | Phase::Running, Detail::Past) => None,
            (Phase::Starting, Detail::Full) if places.is_empty() => Some(format!("starting{why}")),
            (Phase::Starting, Detail::Full) => Some(format!(
                "starting{why}; status API at {}",
                places.join(" and ")
            )),
            (Phase::Running, Detail::Full) => Some(format!("running{why}")),
            // Every run passes through this phase; it is news when somebody or something asked for the end.
            (Phase::Stopping, _) if why.is_empty() => None,
            (Phase::Stopping, _) => {
                Some(self.colours.paint(Tone::Warning, &format!("stopping{why}")))
            }
        }
    }

    fn isolation(&self, isolation: &Isolation) -> Option<String> {
        let short = |text: &str| clean::summary(text, MAX_SUMMARY_CHARS);
        // Those with one reason stand together.
        let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
        for missing in &isolation.missing {
            let layer = short(&missing.layer);
            match reasons
                .iter_mut()
                .find(|(reason, _)| *reason == missing.reason)
            {
                Some((_, layers)) => layers.push(layer),
                None => reasons.push((&missing.reason, vec![layer])),
            }
        }
        let missing: Vec<String> = reasons
            .iter()
            .map(|(reason, layers)| format!("{} ({})", layers.join(", "), short(reason)))
            .collect();
        if self.detail == Detail::Past && isolation.is_as_asked() {
            return None;
        }
        let mut text = format!(
            "sandbox: isolation {}, network {}",
            short(&isolation.enforced),
            short(&isolation.network)
        );
        if !missing.is_empty() {
            let without = self.colours.paint(Tone::Warning, "without");
            text.push_str(&format!(", {without} {}", missing.join(", ")));
        }
        Some(text)
    }

    fn action(&self, action: &Action) -> Option<String> {
        if self.detail == Detail::Past && is_whole_command(action) {
            return None;
        }
        Some(ended(action, self.colours))
    }
}

/// True for the one action that a plain command is: its end is the end of the run.
fn is_whole_command(action: &Action) -> bool {
    action.tool == COMMAND_TOOL && action.parent_call_id.is_none() && action.step == 1
}

/// An action that has ended, in one line.
pub fn ended(action: &Action, colours: Colours) -> String {
    let mark = match action.success {
        Some(true) => colours.paint(Tone::Good, "✓"),
        Some(false) => colours.paint(Tone::Bad, "✗"),
        None => colours.paint(Tone::Quiet, "•"),
    };
    let name = action_name(action.step, &action.tool, &action.action, "");
    let time = action.duration_ms.map_or(String::new(), |ms| {
        colours.paint(Tone::Quiet, &format!(" ({})", quantity::duration(ms)))
    });
    let what = match (&action.error, action.success) {
        (Some(error), Some(false)) => clean::summary(error, MAX_SUMMARY_CHARS),
        _ if action.input_summary == action.action => String::new(),
        _ => clean::summary(&action.input_summary, MAX_ENDED_SUMMARY_CHARS),
    };
    if what.is_empty() {
        format!("{mark} {name}{time}")
    } else {
        format!("{mark} {name}{time}: {what}")
    }
}

/// An action that goes on, in a few words.
pub fn begun(started: &ActionStarted) -> String {
    action_name(
        started.step,
        &started.tool,
        &started.action,
        &started.input_summary,
    )
}

fn action_name(step: u64, tool: &str, action: &str, summary: &str) -> String {
    let short = |text: &str| clean::summary(text, MAX_SUMMARY_CHARS);
    let mut name = format!("{step} {}", short(tool));
    if !action.is_empty() {
        name.push(' ');
        name.push_str(&short(action));
    }
    if !summary.is_empty() && summary != action {
        name.push_str(": ");
        name.push_str(&short(summary));
    }
    name
}

/// How the run ended, in one line.
pub fn ending(complete: &Complete, colours: Colours) -> String {
    let tone = match complete.status {
        Status::Completed => Tone::Good,
        Status::Failed | Status::Timeout => Tone::Bad,
        Status::Starting | Status::Running | Status::Terminated => Tone::Warning,
    };
    let mut text = colours.paint(tone, complete.status.as_str());
    if let Some(error) = &complete.error {
        text.push_str(&format!(" ({})", error.code.as_str()));
    }
    let plural = if complete.action_count == 1 { "" } else { "s" };
    text.push_str(&format!(
        " after {}, {} action{plural}",
        quantity::duration(complete.duration_ms),
        complete.action_count
    ));
    if let Some(error) = &complete.error {
        text.push_str(": ");
        text.push_str(&clean::summary(&error.message, 2 * MAX_SUMMARY_CHARS));
    } else if let Some(result) = &complete.result {
        text.push_str(": ");
        text.push_str(&clean::summary(result, MAX_SUMMARY_CHARS));
    }
    text
}

/// What had to be killed at the end, if anything had.
pub fn survivors(survivors: &Survivors) -> Option<String> {
    if survivors.killed == 0 {
        return None;
    }
    let names = survivors.names.iter();
    let names: Vec<String> = names.map(|name| clean::summary(name, 20)).collect();
    let plural = if survivors.killed == 1 {
        "process"
    } else {
        "processes"
    };
    let mut text = format!("{} {plural} had to be killed", survivors.killed);
    // After the death of the supervisor nobody knows them.
    if !names.is_empty() {
        text.push_str(": ");
        text.push_str(&names.join(", "));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(detail: Detail, lines: &[&str]) -> Vec<String> {
        let form = OutputForm::Barred;
        let mut teller = Teller::new(Colours::None, detail, form, form);
        let mut told = Vec::new();
        for line in lines {
            let event: Event = serde_json::from_str(line).unwrap();
            teller.tell("2026-11-22T11:02:57.123Z", &event, &mut |line| {
                told.push(line)
            });
        }
        told
    }

    const STARTED: &str = r#"{"type":"action.started","step":1,"call_id":"c","tool":"shell","action":"run","input_summary":"make\n\u001b[2Jtest"}"#;
    const OUTPUT: &str = r#"{"type":"action.output","step":1,"stream":"stdout","text":"one\ntwo \u001b[31mred\ntorn","bytes":3}"#;
    const FAILED: &str = r#"{"type":"action","step":1,"timestamp":"t","tool":"shell","action":"run","success":false,"error":"exit 2","duration_ms":812,"call_id":"c"}"#;
    const COMPLETE: &str = r#"{"type":"complete","status":"failed","outcome":{"exit_code":2,"signal":null,"by":"agent","reason":"r"},"error":{"code":"COMMAND_FAILED","message":"the command ended with code 2"},"result":null,"data":null,"action_count":1,"duration_ms":900,"usage":{"cpu_ms":7,"max_rss_bytes":1,"output_bytes":3,"tokens":0,"cost_usd":0.0},"survivors":{"killed":2,"names":["sleep","sh"]}}"#;

    #[test]
    fn what_the_network_denies_is_told_and_what_it_allows_is_not() {
        let network = |decision: &str, host: &str, reason: &str, count: u64| {
            format!(
                r#"{{"type":"network","decision":"{decision}","host":{host},"port":443,"rule":null,"reason":{reason},"address":null,"count":{count},"closed":0,"bytes_sent":0,"bytes_received":0}}"#
            )
        };
        let lines = [
            network("allow", "\"a.example\"", "null", 1),
            network("deny", "\"a.example\"", "\"no-rule\"", 1),
            network("deny", "null", "null", 40),
            network("error", "\"b.example\"", "\"unresolved\"", 1),
        ];
        let told = told(Detail::Full, &lines.each_ref().map(String::as_str));
        let endings = [
            "network: a.example:443: denied, no-rule",
            "network: other hosts: denied 40 times, for several reasons",
            "network: b.example:443: not reached, unresolved",
        ];
        assert_eq!(told.len(), endings.len(), "{told:?}");
        for (line, ending) in told.iter().zip(endings) {
            assert!(line.ends_with(ending), "{line}");
        }
    }

    #[test]
    fn processes_without_names_are_counted_without_a_list() {
        let mut killed = Survivors {
            killed: 4,
            names: Vec::new(),
        };
        let text = "4 processes had to be killed";
        assert_eq!(survivors(&killed).as_deref(), Some(text));
        killed.names.push("sleep".to_owned());
        assert_eq!(survivors(&killed), Some(format!("{text}: sleep")));
    }

    #[test]
    fn a_run_reads_from_top_to_bottom() {
        assert_eq!(
            told(Detail::Full, &[STARTED, OUTPUT, FAILED, COMPLETE]),
            [
                "11:02:57 ▸ 1 shell run: make test",
                "  │ one",
                "  │ two red",
                "11:02:57 ✗ 1 shell run (812 ms): exit 2",
                "  │ torn",
                "11:02:57 failed (COMMAND_FAILED) after 900 ms, 1 action: the command ended with code 2",
            ]
        );
        assert_eq!(
            told(Detail::Past, &[STARTED, FAILED]),
            ["✗ 1 shell run (812 ms): exit 2"]
        );
    }

    #[test]
    fn what_had_to_be_killed_is_named() {
        let Event::Complete(complete) = serde_json::from_str(COMPLETE).unwrap() else {
            panic!("a terminal event");
        };
        assert_eq!(
            survivors(&complete.survivors).unwrap(),
            "2 processes had to be killed: sleep, sh"
        );
    }
}
