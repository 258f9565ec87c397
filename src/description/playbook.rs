//! The playbook of a run: which file it is, what stands in it, and the values of its parameters.
//!
//! It is the only module that reads the file; what the file means is `crate::playbook`'s business. Invariant: the text
//! of a [`PlaybookRun`] that exists is a playbook without fault, and every parameter of it has a value.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::checker::{Checker, plain_text};
use super::earlier::Resumed;
use super::error::ErrorKind;
use super::keys::Key;
use super::layers::Faults;
use super::origin::Origin;
use super::resolution::DEFAULT_MAX_STEPS;
use super::secret::{MASK, Secret};
use super::value::{Given, Value, shown_name};
use crate::document::{Format, MAX_DOCUMENT_BYTES};
use crate::playbook::expression::{Scope, StepState};
use crate::playbook::{
    Argument, Candidate, Playbook, PlaybookErrors, best_match, bind, fewest_attempts, parse,
    refuse_skipped, refuse_unreachable, refuse_urls, refuse_variables, skipped_before,
};

/// Most playbooks of a directory: all of them are read to choose one.
pub const MAX_PLAYBOOKS: usize = 256;

/// The key that bounds the attempts of a run.
const MAX_STEPS: &str = "max_steps";

const FORM: &str = "name a .yaml, .yml or .json file of at most 1 MiB, or a directory of them";

const SECRET_FORM: &str = "give NAME=file:PATH, NAME=env:VAR, NAME=fd:N or NAME=ref:NAME: a value itself would show in the list of processes";

/// A playbook that was read and checked, and what it is run with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaybookRun {
    /// The file as it was named.
    pub path: String,
    /// Its syntax.
    pub format: Format,
    /// What stands in it.
    pub text: String,
    /// The value of every parameter.
    pub arguments: BTreeMap<String, Argument>,
    /// The step that the run begins with, if it is not the first.
    pub from_step: Option<String>,
    /// What is taken over from an earlier run.
    pub resumed: Option<Resumed>,
}

impl PlaybookRun {
    /// The playbook, read again: reading is the same in every process of the run.
    ///
    /// # Errors
    /// None in a description that exists; those of a text that another build accepted.
    pub fn playbook(&self) -> Result<Playbook, PlaybookErrors> {
        parse(self.text.as_bytes(), self.format, &self.path)
    }

    /// What expressions see of the steps that an earlier run has left, by id.
    pub(crate) fn earlier_states(&self) -> BTreeMap<String, StepState> {
        let steps = self.resumed.iter().flat_map(|resumed| &resumed.steps);
        steps.map(|(id, step)| (id.clone(), step.state())).collect()
    }

    /// The secret parameters with their names.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.arguments
            .iter()
            .filter_map(|(name, argument)| match argument {
                Argument::Secret(secret) => Some((name.as_str(), secret)),
                Argument::Text(_) | Argument::Integer(_) | Argument::Boolean(_) => None,
            })
    }

    /// The parameters for people, with secrets masked.
    pub(super) fn public_arguments(&self) -> Map<String, Json> {
        let shown = |argument: &Argument| match argument {
            Argument::Text(text) => Json::from(text.as_str()),
            Argument::Integer(integer) => Json::from(*integer),
            Argument::Boolean(bool) => Json::from(*bool),
            Argument::Secret(_) => Json::from(MASK),
        };
        self.arguments
            .iter()
            .map(|(name, argument)| (name.clone(), shown(argument)))
            .collect()
    }

    /// Takes the secret parameters out, so that the rest can be written.
    pub(super) fn take_secrets(&mut self) -> BTreeMap<String, Secret> {
        let names: Vec<String> = self.secrets().map(|(name, _)| name.to_owned()).collect();
        names
            .into_iter()
            .filter_map(|name| match self.arguments.remove(&name) {
                Some(Argument::Secret(secret)) => Some((name, secret)),
                _ => None,
            })
            .collect()
    }

    /// Puts the secret parameters in again.
    pub(super) fn give_secrets(&mut self, secrets: impl Iterator<Item = (String, Secret)>) {
        let secrets = secrets.map(|(name, secret)| (name, Argument::Secret(secret)));
        self.arguments.extend(secrets);
    }
}

/// Whether a playbook stands in the place of a command.
pub(super) enum Replacement {
    /// Nobody named one.
    Absent,
    /// Somebody named one; it is `None` if it is at fault.
    Given(Option<PlaybookRun>),
}

impl Replacement {
    pub(super) fn into_run(self) -> Option<PlaybookRun> {
        match self {
            Self::Absent => None,
            Self::Given(run) => run,
        }
    }
}

impl Checker<'_> {
    /// The playbook of the run. `task` chooses among those of a directory; earlier runs are looked for in `recordings`.
    pub(super) fn playbook(
        &mut self,
        task: Option<&str>,
        recordings: Option<&Path>,
    ) -> Replacement {
        let Some((_, given)) = self.take("playbook") else {
            for name in ["parameters", "from_step", "resumed_from"] {
                if let Some((key, given)) = self.take(name) {
                    let expected = "give a playbook, too";
                    self.faults
                        .add(ErrorKind::Conflict, key.name, &given, expected);
                }
            }
            return Replacement::Absent;
        };
        self.refuse_others(&given);
        let parameters = self.bounded_entries("parameters");
        let is_read = !self.faults.has_any(&["parameters"]);
        let from_step = self.take("from_step").map(|(_, given)| given);
        let resumed_from = self.take("resumed_from").map(|(_, given)| given);
        if let (Some(given), None) = (&resumed_from, &from_step) {
            let expected = "give from_step, too: the step that the run goes on with";
            self.faults
                .add(ErrorKind::Conflict, "resumed_from", given, expected);
        }
        let Some((source, playbook)) = self.chosen_playbook(&given, task) else {
            return Replacement::Given(None);
        };
        let mut faults = Faults::default();
        let arguments = bind(
            &playbook,
            is_read.then_some(&*parameters),
            &given.origin,
            &mut |given| self.secret_parameter(given),
            &mut faults,
        );
        if faults.is_empty() {
            let scope = Scope {
                arguments: &arguments,
                steps: &BTreeMap::new(),
                has_failed: false,
            };
            refuse_urls(&playbook, scope, &given, &mut faults);
            refuse_variables(&playbook, scope, &given, &mut faults);
        }
        let mut run = PlaybookRun {
            path: source.shown,
            format: source.format,
            text: source.text,
            arguments,
            from_step: from_step.as_ref().and_then(plain_text).map(str::to_owned),
            resumed: None,
        };
        if let (Some(given), Some(_)) = (&resumed_from, &from_step)
            && faults.is_empty()
        {
            run.resumed = self.resumed(given, &run, recordings);
        }
        // What a run that cannot be read would have left is not known.
        let is_known = !self.faults.has_any(&["resumed_from"]);
        let first = match &from_step {
            Some(given) if is_known => {
                let earlier = run.earlier_states();
                let first = refuse_unreachable(&playbook, &earlier, given, &mut faults);
                if let Some(first) = first
                    && faults.is_empty()
                {
                    let steps = skipped_before(&playbook, first, &earlier);
                    refuse_skipped(&playbook, first, &run.arguments, &steps, given, &mut faults);
                }
                first
            }
            Some(_) => None,
            None => Some(0),
        };
        if let Some(first) = first {
            self.refuse_too_few_steps(fewest_attempts(&playbook, first));
        }
        self.faults.extend(faults.into_errors());
        Replacement::Given(Some(run))
    }

    /// Refuses a `max_steps` that would end the run before the playbook does, and so without its `finally`.
    fn refuse_too_few_steps(&mut self, fewest: u64) {
        let given = Key::find(MAX_STEPS).and_then(|key| self.layer.get(key));
        let given = given.cloned().unwrap_or_else(|| Given {
            value: Value::Integer(DEFAULT_MAX_STEPS.cast_signed()),
            origin: Origin::Unset,
        });
        let max_steps = match &given.value {
            Value::Integer(integer) => u64::try_from(*integer).ok(),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        };
        // What is no number has its own fault.
        if max_steps.is_some_and(|max_steps| max_steps < fewest) {
            let expected = format!("the playbook takes at least {fewest} steps; give that or more");
            self.faults
                .add(ErrorKind::Conflict, MAX_STEPS, &given, expected);
        }
    }

    /// What a playbook stands in the place of.
    fn refuse_others(&mut self, playbook: &Given) {
        if let Some((_, command)) = self.take("command") {
            let expected = format!(
                "give a command or a playbook, not both; the command stands {}",
                command.origin
            )
            .replace("stands from", "comes from");
            self.faults
                .add(ErrorKind::Conflict, "playbook", playbook, expected);
        }
        let adapter = Key::find("adapter").and_then(|key| self.layer.get(key));
        let is_none = |given: &Given| given.value == Value::Text("none".to_owned());
        if let Some(given) = adapter.filter(|given| !is_none(given)) {
            let expected = "leave it out: the steps of a playbook are its actions";
            let given = given.clone();
            self.faults
                .add(ErrorKind::Conflict, "adapter", &given, expected);
        }
    }

    /// The secret of a parameter: as in `credentials`, and on the command line never the value itself.
    fn secret_parameter(&self, given: &Given) -> Result<Secret, (ErrorKind, &'static str)> {
        let credential = match (&given.value, &given.origin) {
            (Value::Text(text), Origin::Flag(_)) => {
                let (kind, place) = text
                    .split_once(':')
                    .filter(|(kind, _)| matches!(*kind, "file" | "env" | "fd" | "ref"))
                    .ok_or((ErrorKind::Invalid, SECRET_FORM))?;
                let place = Given::text(place, given.origin.clone());
                let value = Value::Table(vec![(kind.to_owned(), place)]);
                self.credential(&Given {
                    value,
                    origin: given.origin.clone(),
                })
            }
            (Value::Table(entries), _) if entries.iter().any(|(name, _)| name == "expose") => {
                let expected =
                    "leave expose out: a secret parameter reaches a step by its env alone";
                return Err((ErrorKind::Invalid, expected));
            }
            _ => self.credential(given),
        };
        Ok(credential?.secret)
    }

    fn chosen_playbook(&mut self, given: &Given, task: Option<&str>) -> Option<(Source, Playbook)> {
        let Some(shown) = plain_text(given).filter(|path| !path.is_empty()) else {
            self.faults.add(ErrorKind::Invalid, "playbook", given, FORM);
            return None;
        };
        let path = self.absolute(shown, &given.origin);
        let is_directory = match path.metadata() {
            Ok(metadata) => metadata.is_dir(),
            Err(error) => {
                self.unusable_playbook(given, error.to_string());
                return None;
            }
        };
        if !is_directory {
            return self.read_playbook(given, &path, shown.to_owned());
        }
        let Some(task) = task else {
            let expected = "give a task, whose words choose among the playbooks of the directory";
            self.faults
                .add_without_value(ErrorKind::Missing, "task", &given.origin, expected);
            return None;
        };
        let paths = match playbook_paths(&path) {
            Ok(paths) => paths,
            Err(cause) => {
                self.unusable_playbook(given, cause);
                return None;
            }
        };
        let n_paths = paths.len();
        let mut playbooks: Vec<(Source, Playbook)> = Vec::with_capacity(n_paths);
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let shown = Path::new(shown).join(&*name).to_string_lossy().into_owned();
            playbooks.extend(self.read_playbook(given, &path, shown));
        }
        if playbooks.len() < n_paths {
            return None;
        }
        let candidates: Vec<Candidate<'_>> = playbooks
            .iter()
            .map(|(source, playbook)| Candidate {
                name: &playbook.name,
                file: &source.shown,
                tags: &playbook.tags,
            })
            .collect();
        match best_match(task, &candidates) {
            Ok(idx) => Some(playbooks.swap_remove(idx)),
            Err(error) => {
                let cause = error.to_string();
                let expected = "name the file of one playbook, or give a task with tags of one";
                self.faults
                    .add(ErrorKind::Unusable { cause }, "playbook", given, expected);
                None
            }
        }
    }

    fn read_playbook(
        &mut self,
        given: &Given,
        path: &Path,
        shown: String,
    ) -> Option<(Source, Playbook)> {
        let format = match Format::of_path(path) {
            Some(format @ (Format::Yaml | Format::Json)) => format,
            Some(Format::Toml) | None => {
                self.unusable_playbook(given, "its name has another ending".to_owned());
                return None;
            }
        };
        let bytes = match read(path) {
            Ok(bytes) => bytes,
            Err(cause) => {
                // Of a directory, the entry is what has to be found.
                let is_named = plain_text(given).is_some_and(|path| path == shown);
                let cause = match is_named {
                    true => cause,
                    false => format!("{}: {cause}", shown_name(&shown)),
                };
                self.unusable_playbook(given, cause);
                return None;
            }
        };
        let errors = match parse(&bytes, format, &shown) {
            Ok(playbook) => {
                // What was parsed is UTF-8.
                let text = String::from_utf8(bytes).unwrap_or_default();
                let source = Source {
                    shown,
                    format,
                    text,
                };
                return Some((source, playbook));
            }
            Err(errors) => errors,
        };
        // They are faults of the file, whoever named it.
        let behind = errors.faults.last().map(|fault| fault.origin.clone());
        let behind = behind.unwrap_or_else(|| given.origin.clone());
        self.faults.extend(errors.faults);
        if errors.n_more > 0 {
            let cause = format!("{} more faults", errors.n_more);
            let expected = "mend the first 100, then check again";
            let kind = ErrorKind::Malformed { cause };
            self.faults
                .add_without_value(kind, "playbook", &behind, expected);
        }
        None
    }

    fn unusable_playbook(&mut self, given: &Given, cause: String) {
        self.faults
            .add(ErrorKind::Unusable { cause }, "playbook", given, FORM);
    }
}

/// A file that was read as a playbook.
struct Source {
    shown: String,
    format: Format,
    text: String,
}

/// The files of a directory that are playbooks by their names, in the order of their names.
fn playbook_paths(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let mut paths = Vec::new();
    for entry in directory.read_dir().map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        // Hidden files are those of editors and version control.
        let is_hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_hidden || !matches!(Format::of_path(&path), Some(Format::Yaml | Format::Json)) {
            continue;
        }
        if paths.len() == MAX_PLAYBOOKS {
            return Err(format!("it has more than {MAX_PLAYBOOKS} playbooks"));
        }
        paths.push(path);
    }
    paths.sort();
    if paths.is_empty() {
        return Err("it has no playbook".to_owned());
    }
    Ok(paths)
}

/// The bytes of a regular file within the limit.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let metadata = path.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let limit = u64::try_from(MAX_DOCUMENT_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}
