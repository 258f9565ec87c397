//! The examination for people.
//!
//! Owns the layout: a label, then what was found. It reads nothing. Invariant: it says the same with and without colours.

use std::fmt::Write as _;

use stockade_sandbox::{Enforced, Finding};

use super::storage::Storage;
use super::{Built, Examination, Port};
use crate::progress::clean;
use crate::progress::paint::{Colours, Tone};
use crate::progress::quantity;

/// Columns of a label with its blanks.
const LABEL: usize = 12;

/// Columns of a name within a list, with its blanks.
const NAME: usize = 22;

/// Lays the examination out; `columns` is where long lists and texts are broken.
pub fn render(examination: &Examination, columns: usize, colours: Colours) -> String {
    let page = &mut Page {
        text: String::new(),
        columns: columns.max(60),
        colours,
    };
    page.head(examination);
    page.sandbox(&examination.sandbox);
    page.trials(&examination.trials);
    page.storage(&examination.recordings);
    page.port(&examination.port);
    page.advice(examination);
    std::mem::take(&mut page.text)
}

struct Page {
    text: String,
    columns: usize,
    colours: Colours,
}

impl Page {
    fn line(&mut self, label: &str, tone: Tone, text: &str) {
        let label = self.colours.paint(Tone::Strong, &format!("{label:LABEL$}"));
        let text = self.colours.paint(tone, text);
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{label}{text}");
    }

    /// A text below `indent` columns, broken at blanks.
    fn broken(&mut self, first: &str, indent: usize, text: &str) {
        let mut line = first.to_owned();
        let mut used = indent;
        for word in text.split(' ') {
            let width = word.chars().count();
            if used > indent && used + 1 + width > self.columns {
                let _ = writeln!(self.text, "{line}");
                line = " ".repeat(indent);
                used = indent;
            }
            if used > indent {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += width;
        }
        let _ = writeln!(self.text, "{line}");
    }

    fn head(&mut self, examination: &Examination) {
        let host = &examination.host;
        let who = match host.uid {
            0 => "as root".to_owned(),
            uid => format!("as user {uid}"),
        };
        let text = format!(
            "{} on Linux {} {}, {who}, {}",
            examination.version,
            clean::plain(&host.kernel),
            host.machine,
            host.engine.place()
        );
        self.line("stockade", Tone::Plain, &text);
    }

    fn sandbox(&mut self, sandbox: &Built) {
        match sandbox {
            Built::Enforced { enforced, build_ms } => self.enforced(enforced, *build_ms),
            Built::Refused { reason } => {
                self.line("sandbox", Tone::Bad, "none");
                self.broken(&" ".repeat(LABEL), LABEL, &clean::plain(reason));
            }
        }
    }

    fn enforced(&mut self, enforced: &Enforced, build_ms: f64) {
        let n_layers = enforced.layers.len() + enforced.missing.len();
        let tier = serde_json::to_value(enforced.tier).unwrap_or_default();
        let text = format!(
            "{}: {} of {n_layers} layers, built in {build_ms:.1} ms",
            tier.as_str().unwrap_or_default(),
            enforced.layers.len()
        );
        self.line("sandbox", Tone::Good, &text);
        let held: Vec<_> = enforced.layers.iter().map(|layer| layer.as_str()).collect();
        self.broken(&format!("{:LABEL$}", "  holds"), LABEL, &held.join(" "));
        for missing in &enforced.missing {
            let name = format!("{:LABEL$}{:NAME$}", "  lacks", missing.layer.as_str());
            self.broken(&name, LABEL + NAME, &clean::plain(&missing.reason));
        }
        for held in &enforced.limits {
            let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let limit = serde_json::to_value(held.limit).unwrap_or_default();
            let means = serde_json::to_value(held.by).unwrap_or_default();
            let name = format!("{:LABEL$}{:NAME$}", "  limit", word(limit));
            self.broken(&name, LABEL + NAME, &format!("by {}", word(means)));
        }
    }

    fn trials(&mut self, trials: &[Finding]) {
        let n_held = trials.iter().filter(|one| one.refusal.is_none()).count();
        let tone = if n_held == trials.len() {
            Tone::Good
        } else {
            Tone::Warning
        };
        let text = format!(
            "{n_held} of {} steps of a sandbox are allowed, each tried alone",
            trials.len()
        );
        self.line("this host", tone, &text);
        let held = trials.iter().filter(|one| one.refusal.is_none());
        let held: Vec<_> = held.map(|one| one.trial.as_str()).collect();
        if !held.is_empty() {
            self.broken(&format!("{:LABEL$}", "  allows"), LABEL, &held.join(" "));
        }
        for finding in trials {
            if let Some(refusal) = &finding.refusal {
                let name = format!("{:LABEL$}{:NAME$}", "  refuses", finding.trial.as_str());
                self.broken(&name, LABEL + NAME, &refusal.to_string());
            }
        }
    }

    fn storage(&mut self, storage: &Storage) {
        let dir = clean::plain(&storage.dir.display().to_string());
        let (tone, text) = match (&storage.error, storage.sync_ms) {
            (Some(error), _) => (
                Tone::Bad,
                format!("{dir}: cannot be written: {}", clean::plain(error)),
            ),
            (None, sync_ms) => {
                let free = storage.free_bytes.map(quantity::bytes).unwrap_or_default();
                let sync_ms = sync_ms.unwrap_or_default();
                (
                    Tone::Good,
                    format!("{dir}: {free} free, a sync takes {sync_ms:.1} ms"),
                )
            }
        };
        self.line("recordings", tone, &text);
    }

    fn port(&mut self, port: &Port) {
        let Some(address) = port.address else { return };
        let (tone, text) = match &port.error {
            Some(error) => (Tone::Bad, format!("{address}: {error}")),
            None => (Tone::Good, format!("{address}: free")),
        };
        self.line("port", tone, &text);
    }

    fn advice(&mut self, examination: &Examination) {
        for (idx, advice) in examination.advice.iter().enumerate() {
            let _ = writeln!(self.text);
            let number = format!("{}. ", idx + 1);
            self.broken(&number, number.len(), &clean::plain(&advice.why));
            let blanks = " ".repeat(number.len());
            self.broken(&blanks, number.len(), &clean::plain(&advice.change));
        }
        let _ = writeln!(self.text);
        let (tone, text) = if examination.holds {
            (Tone::Good, "A run with these flags gets its sandbox.")
        } else {
            (
                Tone::Bad,
                "A run with these flags gets no sandbox and fails before its command is started.",
            )
        };
        let text = self.colours.paint(tone, text);
        let _ = writeln!(self.text, "{text}");
    }
}
