//! From a recording to the draft of a playbook that does the same again.
//!
//! Owns what of a record can be repeated: the command of a run, or the commands that its agent reported. Whatever cannot
//! be is a comment with the reason. It never invents: a text that is not on record whole, or that had a secret in it, is no step.
//! Invariant: a draft with a step in it is a valid playbook.

use std::fmt::Write as _;
use std::io;
use std::os::fd::AsFd;

use serde::Deserialize;

use crate::event::{Action, Event, EventType, ToolKind};
use crate::log::scan::{Hashes, parse_event, scan};
use crate::playbook::MAX_STEPS;
use crate::recordings::{RecordingsError, RunDir, layout};
use crate::redact;
use crate::session::journal::MAX_LABEL_BYTES;

/// Largest `spec.json` that is read.
const MAX_SPEC_BYTES: u64 = 4 << 20;

/// Shortest time that a step of a draft is given, in seconds.
const MIN_TIMEOUT_SECONDS: u64 = 60;

/// How many times as long as it took a step of a draft may take.
const TIMEOUT_FACTOR: u64 = 5;

/// Longest text of an action in a comment, in characters.
const MAX_COMMENT_CHARS: usize = 200;

/// Why there is no draft.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// A file of the recording cannot be read.
    #[error("cannot read the recording")]
    Recordings(#[source] RecordingsError),
    /// The log cannot be read.
    #[error("cannot read the log")]
    Log(#[source] io::Error),
    /// The run was that of a playbook.
    #[error("run {run_id} ran the playbook {path}: that file is what does the same again")]
    IsPlaybook {
        /// The run.
        run_id: String,
        /// The file.
        path: String,
    },
    /// Nothing in the record is a command.
    #[error(
        "nothing that run {run_id} did can be repeated: its record has no command that succeeded and is there whole"
    )]
    Nothing {
        /// The run.
        run_id: String,
    },
}

/// The draft of a playbook.
#[derive(Debug)]
pub struct Draft {
    /// YAML, with comments.
    pub text: String,
    /// Steps in it.
    pub n_steps: usize,
    /// Actions that are comments.
    pub n_left_out: usize,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    task: Option<String>,
    command: Vec<String>,
    adapter: Option<String>,
    playbook: Option<String>,
}

/// Makes a draft of what the run did.
///
/// # Errors
/// When the recording cannot be read, is that of a playbook, or has nothing that can be repeated.
pub fn draft(run: &RunDir) -> Result<Draft, DraftError> {
    let spec = run
        .read(layout::SPEC, MAX_SPEC_BYTES)
        .map_err(DraftError::Recordings)?
        .and_then(|bytes| serde_json::from_slice::<Spec>(&bytes).ok())
        .unwrap_or_default();
    let run_id = run.id().to_string();
    if let Some(path) = spec.playbook {
        return Err(DraftError::IsPlaybook { run_id, path });
    }
    let reports = spec.adapter.as_deref().is_some_and(|name| name != "none");
    let mut writer = Writer::new(&run_id, spec.task.as_deref());
    scan(run.as_fd(), Hashes::Trust, |head, line| {
        if head.event_type() == Some(EventType::Action)
            && let Some(Event::Action(action)) = parse_event(line)
        {
            let script = if reports {
                Script::Shell(&action.input_summary)
            } else {
                Script::Program(&spec.command)
            };
            writer.action(&action, &script);
        }
    })
    .map_err(DraftError::Log)?;
    if writer.draft.n_steps == 0 {
        return Err(DraftError::Nothing { run_id });
    }
    Ok(writer.draft)
}

/// What an action ran.
enum Script<'a> {
    /// Words, without a shell.
    Program(&'a [String]),
    /// A line, as the agent reported it.
    Shell(&'a str),
}

impl Script<'_> {
    /// Why it cannot be repeated; none when it can.
    fn fault(&self) -> Option<&'static str> {
        let texts: Vec<&str> = match self {
            Self::Program(words) => words.iter().map(String::as_str).collect(),
            Self::Shell(line) => vec![line],
        };
        if texts.iter().all(|text| text.trim().is_empty()) {
            return Some("what it ran is not on record");
        }
        if texts.iter().any(|text| text.contains(redact::MARK)) {
            return Some(
                "a secret stood in it: make it a parameter of the type secret, and give it by env",
            );
        }
        if texts.iter().any(|text| text.contains("${{")) {
            return Some("it has ${{ in it, which means something in a playbook");
        }
        // What was cut has lost its end, and this is the longest that is kept.
        let is_cut = |text: &&str| text.len() + 4 > MAX_LABEL_BYTES;
        match self {
            Self::Shell(_) if texts.iter().any(is_cut) => {
                Some("it is longer than what is kept of an input")
            }
            Self::Shell(_) | Self::Program(_) => None,
        }
    }

    fn yaml(&self) -> String {
        // JSON texts and lists are YAML, whatever they hold.
        let json = match self {
            Self::Program(words) => serde_json::to_string(words),
            Self::Shell(line) => serde_json::to_string(line),
        };
        json.unwrap_or_default()
    }
}

struct Writer {
    draft: Draft,
}

impl Writer {
    fn new(run_id: &str, task: Option<&str>) -> Self {
        let mut text = format!(
            "# What run {run_id} did, as a draft: look at each step before you run it.\nversion: 1\nname: draft\n"
        );
        if let Some(task) = task {
            let task: String = task.chars().take(crate::playbook::MAX_TEXT_CHARS).collect();
            let task = serde_json::to_string(&task).unwrap_or_default();
            let _ = writeln!(text, "description: {task}");
        }
        text.push_str("steps:\n");
        let (n_steps, n_left_out) = (0, 0);
        Self {
            draft: Draft {
                text,
                n_steps,
                n_left_out,
            },
        }
    }

    fn action(&mut self, action: &Action, script: &Script<'_>) {
        let reason = match (action.kind, action.success, action.exit_code) {
            _ if action.cancelled => Some("the end of the run cut it short".to_owned()),
            (ToolKind::Execute, Some(true), _) => script.fault().map(str::to_owned),
            (ToolKind::Execute, _, Some(code)) => Some(format!("it ended with exit code {code}")),
            (ToolKind::Execute, _, None) => Some("it is not known to have succeeded".to_owned()),
            _ => Some("it is no command".to_owned()),
        };
        let reason = reason.or_else(|| {
            let is_full = self.draft.n_steps >= MAX_STEPS;
            is_full.then(|| format!("a playbook has at most {MAX_STEPS} steps"))
        });
        // No text of the workload may end a comment.
        let title: String = format!("{} {} {}", action.tool, action.action, action.input_summary)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(MAX_COMMENT_CHARS)
            .collect();
        let (step, title) = (action.step, title.trim());
        let text = &mut self.draft.text;
        // Writing into a text cannot fail.
        if let Some(reason) = reason {
            self.draft.n_left_out += 1;
            let _ = writeln!(text, "  # left out, action {step} ({title}): {reason}");
            return;
        }
        self.draft.n_steps += 1;
        let took = action.duration_ms.unwrap_or(0).div_ceil(1_000);
        let timeout = took.saturating_mul(TIMEOUT_FACTOR).max(MIN_TIMEOUT_SECONDS);
        let name = serde_json::to_string(title).unwrap_or_default();
        let _ = writeln!(
            text,
            "  - id: action-{step}\n    name: {name}\n    run: {}\n    timeout: {timeout}s",
            script.yaml()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Format;

    fn action(step: u64, kind: ToolKind, input: &str, success: Option<bool>) -> Action {
        Action {
            step,
            tool: "bash".to_owned(),
            action: "run".to_owned(),
            input_summary: input.to_owned(),
            kind,
            success,
            duration_ms: Some(20_000),
            ..Action::default()
        }
    }

    #[test]
    fn what_cannot_be_repeated_is_a_comment_with_the_reason_and_the_rest_is_valid() {
        let mut writer = Writer::new("a-run", Some("do: \"it\"\n- id: forged"));
        let long = "x".repeat(MAX_LABEL_BYTES);
        let secret = format!("curl -H {}TOKEN]", redact::MARK);
        let mut failed = action(3, ToolKind::Execute, "false", Some(false));
        failed.exit_code = Some(1);
        let cut_short = Action {
            cancelled: true,
            ..action(8, ToolKind::Execute, "sleep 9", None)
        };
        for action in [
            action(
                1,
                ToolKind::Execute,
                "printf '%s\\n' \"a: b\" # c\u{7}",
                Some(true),
            ),
            action(2, ToolKind::Edit, "src/a.rs\n  - id: forged", Some(true)),
            failed,
            action(4, ToolKind::Execute, &long, Some(true)),
            action(5, ToolKind::Execute, &secret, Some(true)),
            action(6, ToolKind::Execute, "echo ${{ x }}", Some(true)),
            action(7, ToolKind::Execute, " ", Some(true)),
            cut_short,
            action(9, ToolKind::Execute, "true", None),
        ] {
            writer.action(&action, &Script::Shell(&action.input_summary));
        }
        let draft = writer.draft;
        assert_eq!((draft.n_steps, draft.n_left_out), (1, 8), "{}", draft.text);
        let playbook =
            crate::playbook::parse(draft.text.as_bytes(), Format::Yaml, "draft").unwrap();
        assert_eq!(playbook.steps.len(), 1);
        assert_eq!(playbook.steps[0].id, "action-1");
        for reason in [
            "action 2 (bash run src/a.rs   - id: forged): it is no command",
            "it ended with exit code 1",
            "it is longer than what is kept",
            "a secret stood in it",
            "it has ${{ in it",
            "what it ran is not on record",
            "the end of the run cut it short",
            "it is not known to have succeeded",
        ] {
            assert!(draft.text.contains(reason), "{reason}: {}", draft.text);
        }
        assert!(draft.text.contains("timeout: 100s"), "{}", draft.text);
    }
}
