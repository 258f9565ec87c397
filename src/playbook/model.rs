//! What a playbook is once it is read and checked: every default is filled in and every reference leads somewhere.
//!
//! It is data; reading, checking and running stand elsewhere.

use std::time::Duration;

use super::expression::{Expression, OutputExpression, Template};
use super::pattern::Pattern;

/// A playbook that was read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Playbook {
    /// Its name, a DNS label.
    pub name: String,
    /// What it is for, for people; may be empty.
    pub description: String,
    /// The words of a task that it answers to, in lower case.
    pub tags: Vec<String>,
    /// Its parameters, in the order of the file.
    pub parameters: Vec<Parameter>,
    /// The steps, in order; never empty.
    pub steps: Vec<Step>,
    /// The steps that run after all others, whatever became of those.
    pub finally: Vec<Step>,
}

impl Playbook {
    /// The parameter of that name.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters
            .iter()
            .find(|parameter| parameter.name == name)
    }

    /// The number of the step of that id in `steps`, from 0; the steps of `finally` have none.
    pub fn step_idx(&self, id: &str) -> Option<usize> {
        self.steps.iter().position(|step| step.id == id)
    }
}

/// A declared parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What it is for, for people; may be empty.
    pub description: String,
    /// What it may be.
    pub kind: ParameterKind,
    /// Whether a run without it is refused.
    pub is_required: bool,
    /// Its value in a run that gives none; a parameter with neither is empty text, 0 or false.
    pub default: Option<Argument>,
}

/// What a parameter may be.
#[derive(Debug, Clone, PartialEq)]
pub enum ParameterKind {
    /// A text of which the whole fits the pattern.
    Text {
        /// The pattern, if there is one.
        pattern: Option<Pattern>,
    },
    /// A whole number within bounds.
    Integer {
        /// The least value.
        min: i64,
        /// The greatest value.
        max: i64,
    },
    /// `true` or `false`.
    Boolean,
    /// One of a closed list of texts.
    Choice {
        /// The texts; never empty.
        choices: Vec<String>,
    },
    /// A text that nothing shows and nothing but `env` receives.
    Secret {
        /// The pattern, if there is one.
        pattern: Option<Pattern>,
    },
}

impl ParameterKind {
    /// Its name in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Text { .. } => "string",
            Self::Integer { .. } => "integer",
            Self::Boolean => "boolean",
            Self::Choice { .. } => "choice",
            Self::Secret { .. } => "secret",
        }
    }
}

/// The checked value of a parameter.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Argument {
    /// A text or a choice.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A boolean.
    Boolean(bool),
    /// A secret text.
    Secret(crate::description::Secret),
}

impl std::fmt::Debug for Argument {
    /// The value, with a secret masked.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Boolean(bool) => write!(f, "{bool}"),
            Self::Secret(secret) => write!(f, "{secret:?}"),
        }
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its id, which no other step has, in `steps` or in `finally`.
    pub id: String,
    /// What it does, for people; the id if the file gives none.
    pub name: String,
    /// What it runs. No part of it is ever substituted.
    pub run: Invocation,
    /// The variables that it adds to the environment of the run: those of the playbook, then its own, no name twice.
    pub env: Vec<(String, Template)>,
    /// Its working directory below the workspace; the workspace itself if absent.
    pub directory: Option<String>,
    /// It is skipped unless this holds.
    pub condition: Option<Expression>,
    /// How long one attempt may take, its checks not included.
    pub timeout: Duration,
    /// What must hold after its command has ended.
    pub expect: Expectations,
    /// How long files and HTTP are looked at again until they hold; absent: once.
    pub verify: Option<Verify>,
    /// How often it is tried again.
    pub retries: Retries,
    /// The texts that it leaves to later steps, in the order of the file.
    pub outputs: Vec<(String, OutputExpression)>,
    /// What follows when its last attempt failed.
    pub on_failure: OnFailure,
}

/// What a step runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    /// A script, as the last argument of a shell.
    Script {
        /// The shell and its flags, such as `sh -c`; never empty.
        shell: Vec<String>,
        /// The script, letter by letter as in the file.
        script: String,
    },
    /// A program and its arguments, without a shell; never empty.
    Program(Vec<String>),
}

impl Invocation {
    /// The program and all its arguments.
    pub fn argv(&self) -> Vec<String> {
        match self {
            Self::Script { shell, script } => {
                let mut argv = shell.clone();
                argv.push(script.clone());
                argv
            }
            Self::Program(argv) => argv.clone(),
        }
    }

    /// The command as one text for people; it is never run.
    pub fn shown(&self) -> String {
        match self {
            Self::Script { script, .. } => script.trim_end().to_owned(),
            Self::Program(argv) => argv.join(" "),
        }
    }
}

/// What must hold after a command has ended; all of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectations {
    /// The exit codes that are right; never empty. A death by signal is never right.
    pub exit: Vec<i32>,
    /// About the standard output.
    pub stdout: Vec<TextExpectation>,
    /// About the standard error.
    pub stderr: Vec<TextExpectation>,
    /// About files inside the sandbox.
    pub files: Vec<FileExpectation>,
    /// About HTTP servers inside the sandbox.
    pub http: Vec<HttpExpectation>,
}

/// One thing that must hold of a text.
#[derive(Debug, Clone, PartialEq)]
pub enum TextExpectation {
    /// It contains this text.
    Contains(Template),
    /// It does not contain this text.
    NotContains(Template),
    /// It is this text, line ends at its end aside.
    Equals(Template),
    /// The pattern matches somewhere in it.
    Matches(Pattern),
}

/// What must hold of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct FileExpectation {
    /// Its path as the workload sees it; a relative one begins at the step's directory.
    pub path: Template,
    /// Whether it must exist, or must not.
    pub exists: bool,
    /// About its content; empty if it must not exist.
    pub content: Vec<TextExpectation>,
}

/// What must hold of an HTTP GET.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpExpectation {
    /// An `http` URL of the sandbox's own loopback; checked by [`super::url::LoopbackUrl`] once it is rendered.
    pub url: Template,
    /// The statuses that are right; never empty.
    pub status: Vec<u16>,
    /// About the body.
    pub body: Vec<TextExpectation>,
    /// How long one request may take.
    pub timeout: Duration,
}

/// Looking again until files and HTTP hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verify {
    /// How long, from the end of the command.
    pub within: Duration,
    /// The pause between two looks.
    pub every: Duration,
}

/// How often a step is tried again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retries {
    /// The most attempts after the first.
    pub max: u32,
    /// The pause before the second attempt.
    pub delay: Duration,
    /// By how much each further pause is longer; 1 to 10.
    pub backoff: f64,
    /// The longest pause.
    pub max_delay: Duration,
    /// What is repeated.
    pub scope: RetryScope,
}

impl Retries {
    /// The pause after the failed attempt of that number, from 1.
    pub fn delay_after(&self, attempt: u32) -> Duration {
        // Ten to the power of 64 seconds are longer than any limit, and finite.
        let exponent = i32::try_from(attempt.saturating_sub(1).min(64)).unwrap_or(64);
        let seconds = self.delay.as_secs_f64() * self.backoff.powi(exponent);
        Duration::try_from_secs_f64(seconds)
            .map_or(self.max_delay, |delay| delay.min(self.max_delay))
    }
}

/// What a retry repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryScope {
    /// The command and its checks.
    Step,
    /// The checks of files and HTTP alone: the command is never run twice. A command that itself failed is not retried.
    Verify,
}

/// What follows a step that failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// No further step but those of `finally`; the run fails.
    Abort,
    /// The next step; the failure is recorded and the run does not fail by it.
    Continue,
    /// The step of that number in [`Playbook::steps`]; the run does not fail by it.
    Goto(usize),
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StepStatus {
    /// All that it expects held.
    Succeeded,
    /// Its last attempt failed.
    Failed,
    /// It was not run: its condition did not hold, or the run began after it.
    Skipped,
}

impl StepStatus {
    /// Its name in expressions, in events and in the result.
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}
