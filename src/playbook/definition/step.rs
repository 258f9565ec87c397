//! One step as it is written, with the defaults of its playbook filled in.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::expression::{Names, OutputExpression, OutputSource, Template};
use super::super::model::{
    Expectations, Invocation, OnFailure, Parameter, Retries, RetryScope, Step,
};
use super::super::reader::{Field, Fields, Reader};
use super::super::shown::Sight;
use super::super::{DEFAULT_STEP_TIMEOUT, MAX_NAME_CHARS, MAX_OUTPUTS};
use super::literal::AS_IT_STANDS;
use super::retries::NO_RETRIES;
use super::{NAME_REMEDY, is_name};
use crate::description::{ErrorKind, MAX_ARGUMENT_BYTES, closest, shown_name};
use crate::document::{Node, Place, Value};

/// The keys of `defaults`.
pub(in super::super) const DEFAULTS_KEYS: [&str; 4] = ["timeout", "retries", "on_failure", "shell"];

/// The keys of a step.
pub(in super::super) const STEP_KEYS: [&str; 12] = [
    "id",
    "name",
    "run",
    "env",
    "directory",
    "if",
    "timeout",
    "expect",
    "verify",
    "retries",
    "outputs",
    "on_failure",
];

/// How long one attempt may take: from 100 ms to a week, the longest deadline of a run.
const TIMEOUTS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(7 * 86_400);

/// Most words of a shell with its flags.
const MAX_SHELL_WORDS: usize = 16;

/// Most words of a program with its arguments.
const MAX_WORDS: usize = 4_096;

const RUN_REMEDY: &str =
    "give a script as a text, or a program and its arguments as a list of texts, numbers in quotes";

/// What holds for each step that says nothing else.
pub(super) struct Defaults {
    timeout: Duration,
    retries: Retries,
    on_failure: Failure,
    shell: Vec<String>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            timeout: DEFAULT_STEP_TIMEOUT,
            retries: NO_RETRIES,
            on_failure: Failure::Abort,
            shell: vec!["sh".to_owned(), "-c".to_owned()],
        }
    }
}

/// What is to follow a failure, as it is written.
#[derive(Clone)]
enum Failure {
    Retry,
    Abort,
    Continue,
    Goto(String),
}

/// The ids and output names of all steps, those of `finally` last.
#[derive(Default)]
pub(super) struct Outline {
    pub(super) ids: Vec<String>,
    pub(super) steps: Vec<(String, Vec<String>)>,
}

/// The id and output names of a step that may still be wrong.
pub(super) fn outline_of(node: &Node) -> (Option<(String, Place)>, Vec<String>) {
    let Value::Map(entries) = &node.value else {
        return (None, Vec::new());
    };
    let value = |name: &str| entries.iter().find(|entry| entry.name == name);
    let id = value("id").and_then(|entry| match &entry.node.value {
        Value::Text(id) if is_id(id) => Some((id.clone(), entry.node.place)),
        _ => None,
    });
    let outputs = match value("outputs").map(|entry| &entry.node.value) {
        Some(Value::Map(outputs)) => outputs.iter().map(|output| output.name.clone()).collect(),
        _ => Vec::new(),
    };
    (id, outputs)
}

/// What the steps of a playbook share.
pub(super) struct Context<'c> {
    pub(super) parameters: &'c [Parameter],
    pub(super) defaults: &'c Defaults,
    pub(super) env: &'c [(String, Template)],
    pub(super) outline: &'c Outline,
    /// How many steps stand in `steps`; those of `finally` have the numbers behind them.
    pub(super) n_steps: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn defaults(&mut self, field: &Field<'a>) -> Defaults {
        let mut defaults = Defaults::default();
        let Some(fields) = self.fields(field, &DEFAULTS_KEYS) else {
            return defaults;
        };
        if let Some(field) = fields.get("timeout") {
            defaults.timeout = self
                .duration(&field, TIMEOUTS)
                .unwrap_or(DEFAULT_STEP_TIMEOUT);
        }
        if let Some(field) = fields.get("retries") {
            defaults.retries = self.retries(&field, NO_RETRIES);
        }
        if let Some(field) = fields.get("on_failure") {
            match self.failure(&field) {
                Some(Failure::Goto(_)) => {
                    let expected = "use abort, continue or retry: a goto belongs to one step";
                    self.invalid(&field, expected);
                }
                Some(failure) => defaults.on_failure = failure,
                None => {}
            }
        }
        if let Some(field) = fields.get("shell") {
            let expected = "give a list of texts, such as [sh, -eu, -c]";
            let words = self.items(&field, MAX_SHELL_WORDS, expected);
            let shell = self.words(&words);
            if words.is_empty() {
                self.invalid(&field, expected);
            } else {
                defaults.shell = shell;
            }
        }
        defaults
    }

    /// The steps of a list, of which the first has the number `first_idx`; `None` if one could not be read.
    pub(super) fn steps(
        &mut self,
        fields: &[Field<'a>],
        first_idx: usize,
        context: &Context<'_>,
    ) -> Option<Vec<Step>> {
        let mut steps = Vec::with_capacity(fields.len());
        let mut is_whole = true;
        for (idx, field) in fields.iter().enumerate() {
            match self.step(field, first_idx + idx, context) {
                Some(step) => steps.push(step),
                None => is_whole = false,
            }
        }
        is_whole.then_some(steps)
    }

    fn step(&mut self, field: &Field<'a>, idx: usize, context: &Context<'_>) -> Option<Step> {
        let fields = self.fields(field, &STEP_KEYS)?;
        let names = Names {
            parameters: context.parameters,
            steps: context.outline.steps.get(..idx).unwrap_or_default(),
            all_steps: &context.outline.ids,
        };
        let id = self.id(&fields);
        let name = self.plain_prose(fields.get("name"));
        let run = match fields.get("run") {
            Some(field) => self.invocation(&field, &context.defaults.shell),
            None => {
                self.missing(&fields, "run", RUN_REMEDY);
                None
            }
        };
        let env = self.step_env(fields.get("env"), names, context.env);
        let directory = fields.get("directory");
        let directory = directory.and_then(|field| self.directory(&field));
        let condition = fields.get("if");
        let condition = condition.and_then(|field| self.condition(&field, names));
        let timeout = fields.get("timeout");
        let timeout = timeout.and_then(|field| self.duration(&field, TIMEOUTS));
        let n_faults = self.n_faults();
        let expect = self.expectations(fields.get("expect"), names);
        let has_faults = self.n_faults() > n_faults;
        let verify = fields.get("verify");
        let verify = verify.and_then(|field| self.verify(&field, &expect, has_faults));
        let mut retries = self.step_retries(&fields, &expect, context.defaults.retries);
        let outputs = self.outputs(fields.get("outputs"));
        let on_failure = self.on_failure(fields.get("on_failure"), idx, context, &mut retries);
        let id = id?;
        Some(Step {
            name: if name.is_empty() { id.clone() } else { name },
            id,
            run: run?,
            env,
            directory,
            condition,
            timeout: timeout.unwrap_or(context.defaults.timeout),
            expect,
            verify,
            retries,
            outputs,
            on_failure: on_failure?,
        })
    }

    fn id(&mut self, fields: &Fields<'a>) -> Option<String> {
        let expected = "give 1 to 63 of a-z, 0-9, _ and -, a letter first";
        match fields.get("id") {
            Some(field) => Some(self.checked_text(&field, is_id, expected)?.to_owned()),
            None => {
                self.missing(fields, "id", expected);
                None
            }
        }
    }

    fn invocation(&mut self, field: &Field<'a>, shell: &[String]) -> Option<Invocation> {
        if let Value::List(_) = &field.node.value {
            let words = self.items(field, MAX_WORDS, RUN_REMEDY);
            let program = self.words(&words);
            if program.first().is_none_or(String::is_empty) {
                self.invalid(field, "give a program first, which is not empty");
                return None;
            }
            return Some(Invocation::Program(program));
        }
        let script = self.checked_text(field, |text| !text.trim().is_empty(), RUN_REMEDY)?;
        self.check_word(field, script);
        Some(Invocation::Script {
            shell: shell.to_vec(),
            script: script.to_owned(),
        })
    }

    fn words(&mut self, items: &[Field<'a>]) -> Vec<String> {
        let mut words = Vec::with_capacity(items.len());
        for item in items {
            if let Some(word) = self.text(item, "give a text; put a number in quotes") {
                self.check_word(item, word);
                words.push(word.to_owned());
            }
        }
        words
    }

    /// What holds for every word of a command: it is run as it stands, and the kernel takes it.
    fn check_word(&mut self, field: &Field<'a>, word: &str) {
        self.refuse_expression(
            field,
            word,
            "${{ in a command, which is run as it stands",
            "give the value to env, as in env: {BRANCH: \"${{ params.branch }}\"}, and write \"$BRANCH\" here",
        );
        if word.len() > MAX_ARGUMENT_BYTES {
            self.out_of_bounds(
                field,
                "give at most 131,071 bytes; put a longer script into a file",
            );
        }
    }

    fn step_env(
        &mut self,
        field: Option<Field<'a>>,
        names: Names<'_>,
        of_playbook: &[(String, Template)],
    ) -> Vec<(String, Template)> {
        let own = match field {
            Some(field) => self.variables(&field, names),
            None => Vec::new(),
        };
        let is_own = |name: &str| own.iter().any(|(own, _)| own == name);
        let mut env: Vec<(String, Template)> = of_playbook
            .iter()
            .filter(|(name, _)| !is_own(name))
            .cloned()
            .collect();
        env.extend(own);
        env
    }

    fn directory(&mut self, field: &Field<'a>) -> Option<String> {
        let is_below = |path: &str| {
            !path.is_empty()
                && !path.starts_with('/')
                && path.len() <= 4_095
                && path.split('/').all(|part| part != "..")
        };
        let expected = "give a path below the workspace, without .. and no slash first";
        let path = self.checked_text(field, is_below, expected)?;
        let expected = "name the directory itself, or change to it in run, where env has the value";
        self.refuse_expression(field, path, AS_IT_STANDS, expected);
        Some(path.to_owned())
    }

    fn step_retries(
        &mut self,
        fields: &Fields<'a>,
        expect: &Expectations,
        defaults: Retries,
    ) -> Retries {
        let field = fields.get("retries");
        let mut retries = match &field {
            Some(field) => self.retries(field, defaults),
            None => defaults,
        };
        let has_probes = !expect.files.is_empty() || !expect.http.is_empty();
        if retries.scope == RetryScope::Verify && !has_probes {
            match &field {
                Some(field) => {
                    let expected = "retry: verify repeats checks of files and HTTP: expect one, \
                        or write retry: step";
                    self.conflict(field, expected);
                }
                // The default of the playbook, for a step that has nothing to look at again.
                None => retries.max = 0,
            }
        }
        retries
    }

    fn outputs(&mut self, field: Option<Field<'a>>) -> Vec<(String, OutputExpression)> {
        let mut outputs = Vec::new();
        let Some(field) = field else {
            return outputs;
        };
        let expected = "give a map of names and outputs, such as head: stdout.trim()";
        let Some(entries) = self.entries(&field, expected) else {
            return outputs;
        };
        if let Some(excess) = entries.get(MAX_OUTPUTS) {
            let (n_values, expected) = (entries.len(), "give at most 32 outputs");
            self.excess(&field, n_values, excess.name_place, expected);
        }
        for entry in entries.iter().take(MAX_OUTPUTS) {
            let key = format!("{}.{}", field.key, shown_name(&entry.name));
            if !is_name(&entry.name) {
                let place = entry.name_place;
                self.fault(ErrorKind::Invalid, key, None, place, NAME_REMEDY);
                continue;
            }
            let field = Field::new(key, &entry.node);
            let Some(written) = self.text(&field, "give a text such as stdout.trim()") else {
                continue;
            };
            match OutputExpression::parse(written) {
                Ok(output) => {
                    if let OutputSource::File(_) = output.source() {
                        let expected = "name the file itself; a step can copy it there in run, where env has the value";
                        self.refuse_expression(&field, written, AS_IT_STANDS, expected);
                    }
                    outputs.push((entry.name.clone(), output));
                }
                Err(error) => self.unreadable(&field, error, Sight::Whole),
            }
        }
        outputs
    }

    fn on_failure(
        &mut self,
        field: Option<Field<'a>>,
        idx: usize,
        context: &Context<'_>,
        retries: &mut Retries,
    ) -> Option<OnFailure> {
        let is_finally = idx >= context.n_steps;
        let failure = match &field {
            Some(field) => self.failure(field)?,
            None if is_finally => Failure::Continue,
            None => context.defaults.on_failure.clone(),
        };
        let last = if is_finally {
            OnFailure::Continue
        } else {
            OnFailure::Abort
        };
        match (failure, field) {
            (Failure::Retry, _) => {
                if retries.max == 0 {
                    retries.max = 1;
                }
                Some(last)
            }
            (Failure::Continue, _) => Some(OnFailure::Continue),
            (Failure::Abort | Failure::Goto(_), Some(field)) if is_finally => {
                let expected = "use continue or retry: every step of finally is run";
                self.invalid(&field, expected);
                None
            }
            (Failure::Abort, _) => Some(OnFailure::Abort),
            (Failure::Goto(id), Some(field)) => self.goto(&field, &id, idx, context),
            // The defaults of a playbook have no goto.
            (Failure::Goto(_), None) => Some(OnFailure::Abort),
        }
    }

    fn goto(
        &mut self,
        field: &Field<'a>,
        id: &str,
        idx: usize,
        context: &Context<'_>,
    ) -> Option<OnFailure> {
        let ids = context
            .outline
            .ids
            .get(..context.n_steps)
            .unwrap_or_default();
        match ids.iter().position(|known| known == id) {
            Some(target) if target == idx => {
                self.invalid(field, "use retries to run the same step again");
                None
            }
            Some(target) => Some(OnFailure::Goto(target)),
            None => {
                let expected = match closest(id, ids.iter().map(String::as_str)) {
                    Some(known) => format!("use goto:{known}"),
                    None => "name a step of steps, as in goto:build".to_owned(),
                };
                self.invalid(field, expected);
                None
            }
        }
    }

    fn failure(&mut self, field: &Field<'a>) -> Option<Failure> {
        let expected = "use abort, continue, retry or goto:ID";
        let written = self.text(field, expected)?;
        if let Some(id) = written.strip_prefix("goto:") {
            return Some(Failure::Goto(id.trim().to_owned()));
        }
        match written {
            "abort" => Some(Failure::Abort),
            "continue" => Some(Failure::Continue),
            "retry" => Some(Failure::Retry),
            "handover" => {
                let shown = Some(format!("{written:?}"));
                let place = field.node.place;
                self.fault(ErrorKind::Unsupported, &*field.key, shown, place, expected);
                None
            }
            _ => {
                self.invalid(field, expected);
                None
            }
        }
    }
}

/// Whether `id` can be the id of a step.
fn is_id(id: &str) -> bool {
    let is_inner = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
    };
    id.len() <= MAX_NAME_CHARS
        && id.starts_with(|c: char| c.is_ascii_lowercase())
        && id.bytes().all(is_inner)
}
