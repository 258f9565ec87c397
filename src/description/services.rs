//! The services of a run, checked: each field by its own rule, and all of them against the run's grace.
//!
//! It reads no file and starts nothing. A value of `env` is never shown in a fault: it may be a secret.

use std::collections::BTreeMap;
use std::time::Duration;

use super::checker::{Checker, is_variable_name, plain_text};
use super::error::ErrorKind;
use super::keys::ENVIRONMENT_PREFIX;
use super::layers::suggestion;
use super::maps::{MAX_ARGUMENT_BYTES, VARIABLE_NAME_REMEDY, scalar_text};
use super::quantity;
use super::service::{Readiness, ReadyCheck, Restart, Service, StopSignal};
use super::value::{Given, Value, shown_name};
use crate::playbook::url::LoopbackUrl;

/// Most services of a run: each is started before the agent, one after another.
pub const MAX_SERVICES: usize = 16;

/// Longest name, in characters: that of a label of a run.
const MAX_NAME_CHARS: usize = 63;

/// Most restarts that can be asked for.
const MAX_RESTARTS: u64 = 1_000;

/// `max_restarts` where nobody gives it.
const DEFAULT_RESTARTS: u64 = 5;

/// Longest time that a service may take to get ready, seconds.
const MAX_READY_SECONDS: u64 = 600;

/// `ready.timeout_seconds` where nobody gives it: slow starts, such as that of a database, take a part of it.
const DEFAULT_READY_SECONDS: u64 = 30;

/// `stop_grace_seconds` where nobody gives it, if the grace of the run is no shorter.
const DEFAULT_STOP_GRACE_SECONDS: u64 = 2;

/// Longest path of a file that is looked for, in bytes (PATH_MAX, without the final NUL).
const MAX_PATH_BYTES: usize = 4_095;

/// The entries of a service.
const ENTRIES: [&str; 9] = [
    "name",
    "command",
    "env",
    "ready",
    "restart",
    "max_restarts",
    "stop_signal",
    "stop_grace_seconds",
    "required",
];

/// The entries of `ready`.
const READY_ENTRIES: [&str; 5] = ["exec", "http", "tcp", "file", "timeout_seconds"];

const FORM: &str = "give {name, command} and what else a service has: env, ready, restart, max_restarts, stop_signal, stop_grace_seconds, required";
const READY_FORM: &str =
    "give exactly one of exec, http, tcp and file, and timeout_seconds if 30 s are not right";

type Entries = [(String, Given)];

impl Checker<'_> {
    /// The services of the run, in the order in which they start.
    pub(super) fn services(&mut self, grace_seconds: u64) -> Vec<Service> {
        let Some((key, given)) = self.take("services") else {
            return Vec::new();
        };
        let Value::List(items) = &given.value else {
            self.faults.add_by_table(ErrorKind::Invalid, key, &given);
            return Vec::new();
        };
        if items.len() > MAX_SERVICES {
            let expected = format!("give at most {MAX_SERVICES} services, not {}", items.len());
            self.faults
                .add_excess(key.name, items.len(), &given.origin, expected);
            return Vec::new();
        }
        let mut services: Vec<Service> = Vec::new();
        for (idx, item) in items.iter().enumerate() {
            let name = format!("services[{idx}]");
            let Value::Table(entries) = &item.value else {
                self.faults.add(ErrorKind::Invalid, name, item, FORM);
                continue;
            };
            let Some(service) = self.service(&name, item, entries, grace_seconds) else {
                continue;
            };
            if services.iter().any(|other| other.name == service.name) {
                let given = Given::text(service.name, item.origin.clone());
                let expected = "give each service a name of its own";
                let key = format!("{name}.name");
                self.faults.add(ErrorKind::Conflict, key, &given, expected);
            } else {
                services.push(service);
            }
        }
        services
    }

    fn service(
        &mut self,
        at: &str,
        item: &Given,
        entries: &Entries,
        grace_seconds: u64,
    ) -> Option<Service> {
        self.refuse_unknown_entries(at, entries, &ENTRIES, FORM);
        let name = self.service_name(at, item, entries);
        let command = match entry(entries, "command") {
            Some(given) => self.inner_command(&format!("{at}.command"), given),
            None => {
                let expected = "give it a command: the program and its arguments, as a list";
                self.lacks(at, item, expected);
                None
            }
        };
        let env = self.service_environment(at, entries);
        let ready = entry(entries, "ready").and_then(|given| self.readiness(at, given));
        let restart = self.inner_choice(
            at,
            entries,
            "restart",
            r#"give "never", "on-failure" or "always""#,
            |word| match word {
                "never" => Some(Restart::Never),
                "on-failure" => Some(Restart::OnFailure),
                "always" => Some(Restart::Always),
                _ => None,
            },
        );
        let max_restarts = self
            .inner_number(at, entries, "max_restarts", 0, MAX_RESTARTS)
            .unwrap_or(DEFAULT_RESTARTS);
        if let (Restart::Never, Some(given)) = (restart, entry(entries, "max_restarts")) {
            let expected = "it has no effect with restart = \"never\"; leave it out, or give \"on-failure\" or \"always\"";
            let key = format!("{at}.max_restarts");
            self.faults.add(ErrorKind::Conflict, key, given, expected);
        }
        let stop_signal = self.inner_choice(
            at,
            entries,
            "stop_signal",
            "give \"TERM\", \"INT\", \"HUP\", \"QUIT\", \"USR1\", \"USR2\" or \"KILL\"",
            |word| match word {
                "TERM" => Some(StopSignal::Term),
                "INT" => Some(StopSignal::Int),
                "HUP" => Some(StopSignal::Hup),
                "QUIT" => Some(StopSignal::Quit),
                "USR1" => Some(StopSignal::Usr1),
                "USR2" => Some(StopSignal::Usr2),
                "KILL" => Some(StopSignal::Kill),
                _ => None,
            },
        );
        let stop_grace = self
            .inner_number(at, entries, "stop_grace_seconds", 0, grace_seconds)
            .unwrap_or(DEFAULT_STOP_GRACE_SECONDS.min(grace_seconds));
        let required = self.inner_switch(at, entries, "required", true);
        Some(Service {
            name: name?,
            command: command?,
            env,
            ready,
            restart,
            max_restarts: u32::try_from(max_restarts).unwrap_or(u32::MAX),
            stop_signal,
            stop_grace: Duration::from_secs(stop_grace),
            required,
        })
    }

    fn service_name(&mut self, at: &str, item: &Given, entries: &Entries) -> Option<String> {
        let expected = "name it with 1 to 63 of a-z, 0-9, - and _, a letter or digit first";
        let Some(given) = entry(entries, "name") else {
            self.lacks(at, item, "give it a name");
            return None;
        };
        let is_label = |text: &&str| {
            let mut chars = text.chars();
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            chars.next().is_some_and(is_plain)
                && chars.all(|c| is_plain(c) || c == '-' || c == '_')
                && text.len() <= MAX_NAME_CHARS
        };
        let name = plain_text(given).filter(is_label).map(str::to_owned);
        if name.is_none() {
            let key = format!("{at}.name");
            self.faults.add(ErrorKind::Invalid, key, given, expected);
        }
        name
    }

    fn service_environment(&mut self, at: &str, entries: &Entries) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::new();
        let Some(given) = entry(entries, "env") else {
            return variables;
        };
        let Value::Table(members) = &given.value else {
            let (key, expected) = (format!("{at}.env"), "give a map of name to text");
            self.faults
                .add_masked(ErrorKind::Invalid, key, &given.origin, expected);
            return variables;
        };
        for (name, given) in members {
            let key = format!("{at}.env.{}", shown_name(name));
            if !is_variable_name(name) || name.starts_with(ENVIRONMENT_PREFIX) {
                let kind = ErrorKind::Invalid;
                self.faults
                    .add_without_value(kind, key, &given.origin, VARIABLE_NAME_REMEDY);
                continue;
            }
            let mut refuse = |kind, expected: &str| {
                self.faults
                    .add_masked(kind, key.clone(), &given.origin, expected);
            };
            match scalar_text(&given.value) {
                Some(value) if name.len() + 1 + value.len() > MAX_ARGUMENT_BYTES => refuse(
                    ErrorKind::OutOfBounds,
                    "give at most 131,071 bytes, the name and = included",
                ),
                Some(value) if !value.contains('\0') => {
                    variables.insert(name.clone(), value);
                }
                _ => refuse(
                    ErrorKind::Invalid,
                    "give text without NUL, a number or a boolean",
                ),
            }
        }
        variables
    }

    fn readiness(&mut self, at: &str, given: &Given) -> Option<Readiness> {
        let at = format!("{at}.ready");
        let Value::Table(entries) = &given.value else {
            self.faults.add(ErrorKind::Invalid, at, given, READY_FORM);
            return None;
        };
        self.refuse_unknown_entries(&at, entries, &READY_ENTRIES, READY_FORM);
        let timeout = self
            .inner_number(&at, entries, "timeout_seconds", 1, MAX_READY_SECONDS)
            .unwrap_or(DEFAULT_READY_SECONDS);
        let kinds = READY_ENTRIES.iter().take(4);
        let named: Vec<(&str, &Given)> = kinds
            .filter_map(|kind| Some((*kind, entry(entries, kind)?)))
            .collect();
        let [(kind, check)] = named.as_slice() else {
            let kind = match named.is_empty() {
                true => ErrorKind::Invalid,
                false => ErrorKind::Conflict,
            };
            let shown = given.shown_names();
            self.faults
                .add_shown(kind, at, shown, &given.origin, READY_FORM);
            return None;
        };
        let key = format!("{at}.{kind}");
        let (check, expected) = match *kind {
            "exec" => {
                let command = self.inner_command(&key, check)?;
                (Some(ReadyCheck::Exec(command)), "")
            }
            "http" => {
                let url = plain_text(check).filter(|text| LoopbackUrl::parse(text).is_ok());
                let expected = "give http://127.0.0.1:PORT/PATH; only the loopback of the sandbox is looked at";
                (url.map(|url| ReadyCheck::Http(url.to_owned())), expected)
            }
            "tcp" => {
                let port = match &check.value {
                    Value::Integer(port) => u16::try_from(*port).ok().filter(|port| *port > 0),
                    _ => None,
                };
                (
                    port.map(ReadyCheck::Tcp),
                    "give a port of the loopback: 1 to 65,535",
                )
            }
            _ => {
                let fits = |text: &&str| !text.is_empty() && text.len() <= MAX_PATH_BYTES;
                let path = plain_text(check).filter(fits);
                let expected = "give a path as the service sees it, of at most 4,095 bytes";
                (path.map(|path| ReadyCheck::File(path.to_owned())), expected)
            }
        };
        if check.is_none()
            && let Some((_, given)) = named.first()
        {
            self.faults.add(ErrorKind::Invalid, key, given, expected);
        }
        Some(Readiness {
            check: check?,
            timeout: Duration::from_secs(timeout),
        })
    }

    fn refuse_unknown_entries(
        &mut self,
        at: &str,
        entries: &Entries,
        known: &[&'static str],
        form: &str,
    ) {
        for (name, given) in entries {
            if !known.contains(&name.as_str()) {
                let expected = suggestion(name, known.iter().copied(), form);
                let key = format!("{at}.{}", shown_name(name));
                let kind = ErrorKind::UnknownKey;
                self.faults
                    .add_without_value(kind, key, &given.origin, expected);
            }
        }
    }

    /// Tells what a table has not; of what it has only the names are shown, for its `env` may hold secrets.
    fn lacks(&mut self, at: &str, given: &Given, expected: &str) {
        let (at, shown) = (at.to_owned(), given.shown_names());
        self.faults
            .add_shown(ErrorKind::Invalid, at, shown, &given.origin, expected);
    }

    fn inner_choice<T: Default>(
        &mut self,
        at: &str,
        entries: &Entries,
        name: &str,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> T {
        let Some(given) = entry(entries, name) else {
            return T::default();
        };
        plain_text(given).and_then(read).unwrap_or_else(|| {
            let key = format!("{at}.{name}");
            self.faults.add(ErrorKind::Invalid, key, given, expected);
            T::default()
        })
    }

    fn inner_switch(&mut self, at: &str, entries: &Entries, name: &str, default: bool) -> bool {
        match entry(entries, name) {
            None => default,
            Some(Given {
                value: Value::Bool(value),
                ..
            }) => *value,
            Some(given) => {
                let key = format!("{at}.{name}");
                self.faults
                    .add(ErrorKind::Invalid, key, given, "give true or false");
                default
            }
        }
    }

    /// A number within bounds, which may be a time in words where its name says seconds; none where there is none.
    fn inner_number(
        &mut self,
        at: &str,
        entries: &Entries,
        name: &str,
        min: u64,
        max: u64,
    ) -> Option<u64> {
        let given = entry(entries, name)?;
        let is_time = name.ends_with("_seconds");
        let number = match &given.value {
            Value::Integer(integer) => Ok(u64::try_from(*integer).ok()),
            Value::Text(text) if is_time => quantity::seconds(text).map(Some).ok_or(()),
            _ => Err(()),
        };
        let kind = match number {
            Ok(Some(number)) if (min..=max).contains(&number) => return Some(number),
            Ok(_) => ErrorKind::OutOfBounds,
            Err(()) => ErrorKind::Invalid,
        };
        let of_grace = match name {
            "stop_grace_seconds" => ", no more than grace_seconds",
            _ => "",
        };
        let unit = if is_time { "seconds" } else { "an integer" };
        let expected = format!("give {unit}: {min} to {max}{of_grace}");
        let key = format!("{at}.{name}");
        self.faults.add(kind, key, given, expected);
        None
    }
}

fn entry<'a>(entries: &'a Entries, name: &str) -> Option<&'a Given> {
    let mut found = entries.iter().filter(|(entry, _)| entry == name);
    found.next().map(|(_, given)| given)
}
