//! The credentials of a run: where each one is read from, once, while the description is resolved.
//!
//! It is the only module that reads a secret's file or descriptor, and none of its errors shows what it read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::checker::{Checker, StandardInput, is_variable_name, plain_text};
use super::error::ErrorKind;
use super::keys::ENVIRONMENT_PREFIX;
use super::maps::VARIABLE_NAME_REMEDY;
use super::secret::{MASK, MAX_SECRET_BYTES, Secret};
use super::value::{Given, Value, shown_name};

const FORM: &str = "give exactly one of value, file, env, fd or ref, and expose beside it if need be; on the command line NAME=file:PATH, NAME=env:VAR, NAME=fd:N or NAME=ref:REFERENCE";
const EXPOSE_REMEDY: &str = r#"give expose as "env" or "none""#;
const FILE_REMEDY: &str = "name a readable file of 1 byte to 64 KiB of UTF-8 without NUL";
const SECRET_REMEDY: &str = "give 1 byte to 64 KiB of UTF-8 without NUL";

/// A secret of the run and the kind of place that it was read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// The kind of place.
    pub source: CredentialSource,
    /// The place itself: the absolute path of the file, the name of the variable or in the directory, the number of the
    /// descriptor. None where the value was given.
    pub from: Option<String>,
    /// How the workload gets it.
    pub expose: Expose,
    /// The secret.
    pub secret: Secret,
}

/// How the workload gets a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expose {
    /// As the environment variable of its name.
    #[default]
    Env,
    /// Not at all; it is kept out of every record all the same.
    None,
}

/// The kind of place that a credential was read from; `spec.json` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialSource {
    /// It stood in the description.
    Value,
    /// A file, whose final newline was cut.
    File,
    /// An environment variable.
    Env,
    /// An inherited descriptor, whose final newline was cut.
    Fd,
    /// A file of the directory of credentials, whose final newline was cut.
    Ref,
}

impl Checker<'_> {
    /// The credentials of the run, read. `taken` are the names that `env` has already.
    pub(crate) fn credentials(
        &mut self,
        taken: &BTreeMap<String, String>,
    ) -> BTreeMap<String, Credential> {
        let mut credentials = BTreeMap::new();
        for (name, given) in self.bounded_entries("credentials") {
            let key = format!("credentials.{}", shown_name(&name));
            if !is_variable_name(&name) || name.starts_with(ENVIRONMENT_PREFIX) {
                let kind = ErrorKind::Invalid;
                self.faults
                    .add_without_value(kind, key, &given.origin, VARIABLE_NAME_REMEDY);
            } else if taken.contains_key(&name) {
                let expected = "give the name to env or to credentials, not to both";
                self.faults
                    .add_masked(ErrorKind::Conflict, key, &given.origin, expected);
            } else {
                match self.credential(&given) {
                    Ok(credential) => {
                        credentials.insert(name, credential);
                    }
                    Err((kind, expected)) => {
                        let place = place(&given).unwrap_or_else(|| MASK.to_owned());
                        self.faults
                            .add_shown(kind, key, place, &given.origin, expected);
                    }
                }
            }
        }
        credentials
    }

    pub(super) fn credential(
        &self,
        given: &Given,
    ) -> Result<Credential, (ErrorKind, &'static str)> {
        let malformed = || (ErrorKind::Invalid, FORM);
        let (place, place_given, expose) = match &given.value {
            Value::Text(_) => ("value", given, Expose::default()),
            Value::Table(entries) => {
                let (place, place_given) = only_place(entries).ok_or_else(malformed)?;
                (place, place_given, expose(entries)?)
            }
            _ => return Err(malformed()),
        };
        let (source, secret) = match (place, &place_given.value) {
            ("value", Value::Text(text)) => (CredentialSource::Value, checked(text.clone())),
            ("file", Value::Text(path)) if !path.is_empty() => {
                let path = self.absolute(path, &place_given.origin);
                (CredentialSource::File, read_secret_file(&path))
            }
            ("env", Value::Text(_)) => {
                let name = plain_text(place_given).ok_or_else(malformed)?;
                let value = self.environment.get_even_empty(name);
                let secret = match value.map(|value| value.to_str()) {
                    None if !is_variable_name(name) => Err(malformed()),
                    None => Err((
                        ErrorKind::Unusable {
                            cause: format!("{name} is not in the environment"),
                        },
                        "name a variable that is set",
                    )),
                    Some(None) => Err((ErrorKind::Invalid, SECRET_REMEDY)),
                    Some(Some(text)) => checked(text.to_owned()),
                };
                (CredentialSource::Env, secret)
            }
            ("fd", Value::Integer(number)) => (CredentialSource::Fd, self.descriptor(*number)),
            ("fd", Value::Text(number)) => {
                let number = number.parse().map_err(|_| malformed())?;
                (CredentialSource::Fd, self.descriptor(number))
            }
            ("ref", Value::Text(name)) => {
                let secret = self.credential_directory.open(name).and_then(read_secret);
                (CredentialSource::Ref, secret)
            }
            _ => return Err(malformed()),
        };
        let from = match (place, &place_given.value) {
            ("file", Value::Text(path)) => {
                let path = self.absolute(path, &place_given.origin);
                Some(path.to_string_lossy().into_owned())
            }
            ("env" | "ref" | "fd", Value::Text(name)) => Some(name.clone()),
            ("fd", Value::Integer(number)) => Some(number.to_string()),
            _ => None,
        };
        secret.map(|secret| Credential {
            source,
            from,
            expose,
            secret,
        })
    }
}

impl Checker<'_> {
    /// Reads an inherited descriptor. Standard input holds one thing: a file that was read from it could be read again, as
    /// a secret.
    fn descriptor(&self, number: i64) -> Result<Secret, (ErrorKind, &'static str)> {
        match (number, self.stdin) {
            (0, StandardInput::Description) => {
                let cause = "the description was read from it".to_owned();
                let expected = "give the secret on another descriptor";
                Err((ErrorKind::Unusable { cause }, expected))
            }
            (_, StandardInput::Description | StandardInput::Unread) => read_descriptor(number),
        }
    }
}

/// The one entry that says where a credential is.
fn only_place(entries: &[(String, Given)]) -> Option<(&str, &Given)> {
    let mut places = entries.iter().filter(|(name, _)| name != "expose");
    match (places.next(), places.next()) {
        (Some((place, given)), None) => Some((place, given)),
        _ => None,
    }
}

fn expose(entries: &[(String, Given)]) -> Result<Expose, (ErrorKind, &'static str)> {
    let Some((_, given)) = entries.iter().find(|(name, _)| name == "expose") else {
        return Ok(Expose::default());
    };
    match plain_text(given) {
        Some("env") => Ok(Expose::Env),
        Some("none") => Ok(Expose::None),
        Some("file") => Err((ErrorKind::Unsupported, EXPOSE_REMEDY)),
        _ => Err((ErrorKind::Invalid, EXPOSE_REMEDY)),
    }
}

/// The file, descriptor or reference that a credential names, which is no secret; anything else may be one.
fn place(given: &Given) -> Option<String> {
    match &given.value {
        Value::Table(entries) => match only_place(entries)? {
            ("file" | "fd" | "ref", _) => Some(given.shown()),
            _ => None,
        },
        _ => None,
    }
}

/// Reads a secret from a file and cuts one final newline. A pipe is read to its end.
pub(crate) fn read_secret_file(path: &Path) -> Result<Secret, (ErrorKind, &'static str)> {
    let file = File::open(path).map_err(|error| {
        let cause = error.to_string();
        (ErrorKind::Unusable { cause }, FILE_REMEDY)
    })?;
    read_secret(file)
}

/// Reads a secret from an open file, as [`read_secret_file`] does.
fn read_secret(file: File) -> Result<Secret, (ErrorKind, &'static str)> {
    let mut bytes = Zeroizing::new(Vec::new());
    // The newline at the end may come on top of the largest secret, and one byte more shows that there is more.
    let limit = u64::try_from(MAX_SECRET_BYTES + 3).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes).map_err(|error| {
        let cause = error.to_string();
        (ErrorKind::Unusable { cause }, FILE_REMEDY)
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|_| (ErrorKind::Invalid, FILE_REMEDY))?;
    let text = match text.strip_suffix('\n') {
        Some(line) => line.strip_suffix('\r').unwrap_or(line),
        None => text,
    };
    checked(text.to_owned())
}

/// Reads an inherited descriptor to its end and closes it, so that the secret is in no other process.
///
/// Descriptors 1 and 2 are the output, and one that is closed on exec was opened by us: both are refused. Descriptor 0
/// is read and left open.
fn read_descriptor(number: i64) -> Result<Secret, (ErrorKind, &'static str)> {
    let remedy = "name a descriptor that this process inherited: 0, or 3 and above";
    let unusable = |cause: &str| {
        let cause = cause.to_owned();
        (ErrorKind::Unusable { cause }, remedy)
    };
    let Ok(descriptor) = i32::try_from(number) else {
        return Err((ErrorKind::OutOfBounds, remedy));
    };
    if descriptor < 0 || descriptor == 1 || descriptor == 2 {
        return Err((ErrorKind::OutOfBounds, remedy));
    }
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}"))
        .map_err(|_| unusable("it is not open"))?;
    let flags = info
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    // proc_pid_fdinfo(5): the flags are octal and include close-on-exec.
    if flags.is_none_or(|flags| flags & OFlag::O_CLOEXEC.bits() != 0) {
        return Err(unusable("it was not inherited"));
    }
    let secret = read_secret_file(Path::new(&format!("/proc/self/fd/{descriptor}")));
    if descriptor > 0 {
        nix::unistd::close(descriptor).map_err(|errno| unusable(errno.desc()))?;
    }
    secret
}

fn checked(text: String) -> Result<Secret, (ErrorKind, &'static str)> {
    if text.is_empty() || text.len() > MAX_SECRET_BYTES {
        Err((ErrorKind::OutOfBounds, SECRET_REMEDY))
    } else if text.contains('\0') {
        Err((ErrorKind::Invalid, SECRET_REMEDY))
    } else {
        Ok(Secret::new(text))
    }
}
