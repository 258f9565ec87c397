//! From flags to a layer of keys.
//!
//! It owns which key each flag sets. Never checks a value: that is the description's validator.

use super::RunFlags;
use crate::description::error::ErrorKind;
use crate::description::keys::Key;
use crate::description::{Environment, Faults, Given, Layer, Origin, Value, shown_name};

/// Turns flags into a layer of keys.
pub(super) struct FlagReader<'a> {
    pub(super) layer: Layer,
    pub(super) faults: &'a mut Faults,
    pub(super) environment: &'a Environment,
}

impl FlagReader<'_> {
    pub(super) fn layer(mut self, flags: RunFlags) -> Layer {
        self.scalar("run_id", "run-id", flags.run_id);
        self.scalar("task", "task", flags.task);
        self.list("command", flags.command, || Origin::Arguments);
        self.scalar("playbook", "playbook", flags.playbook);
        self.pairs("parameters", "param", flags.param);
        self.scalar("from_step", "from-step", flags.from_step);
        self.scalar("resumed_from", "resumed-from", flags.resumed_from);
        self.scalar("adapter", "adapter", flags.adapter);
        self.switch("tty", flags.tty);
        self.switch("interactive", flags.interactive);
        self.scalar("workspace", "workspace", flags.sandbox.workspace);
        self.scalar("workspace_mode", "workspace-mode", flags.workspace_mode);
        self.pairs("env", "env", flags.sandbox.env);
        self.copies(flags.sandbox.env_from);
        self.credentials(flags.credential);
        self.scalar("profile", "profile", flags.profile);
        self.pairs("labels", "label", flags.label);
        self.scalar("timeout_seconds", "timeout", flags.timeout);
        self.scalar("idle_timeout_seconds", "idle-timeout", flags.idle_timeout);
        self.scalar("grace_seconds", "grace", flags.grace);
        self.scalar("linger_seconds", "linger", flags.linger);
        self.scalar("max_steps", "max-steps", flags.max_steps);
        self.scalar("limits.output", "limit-output", flags.limit_output);
        self.scalar("limits.memory", "memory", flags.memory);
        self.scalar("limits.swap", "swap", flags.swap);
        self.scalar("limits.pids", "pids", flags.pids);
        self.scalar("limits.cpus", "cpus", flags.cpus);
        self.scalar("limits.disk", "disk", flags.disk);
        self.scalar("network", "net", flags.net);
        self.scalar("output_schema", "output-schema", flags.output_schema);
        self.scalar("output_file", "output-file", flags.output_file);
        self.scalar("isolation", "isolation", flags.sandbox.isolation);
        self.scalar("preset", "preset", flags.sandbox.preset);
        self.list("mounts", flags.mount, || Origin::flag("mount"));
        self.list("ro", flags.sandbox.ro, || Origin::flag("ro"));
        self.list("rw", flags.sandbox.rw, || Origin::flag("rw"));
        self.list("tmpfs", flags.sandbox.tmpfs, || Origin::flag("tmpfs"));
        self.scalar("chdir", "chdir", flags.sandbox.chdir);
        self.scalar("uid", "uid", flags.sandbox.uid);
        self.scalar("gid", "gid", flags.sandbox.gid);
        self.scalar("recording.durability", "durability", flags.durability);
        self.list("recording.artifacts", flags.artifact, || {
            Origin::flag("artifact")
        });
        self.layer
    }

    fn scalar(&mut self, key: &str, flag: &str, text: Option<String>) {
        if let (Some(key), Some(text)) = (Key::find(key), text) {
            let given = Given::text(text, Origin::flag(flag));
            self.layer.insert(key, given, self.faults);
        }
    }

    /// A flag without a value, named as its key.
    fn switch(&mut self, key: &'static str, is_given: bool) {
        if let (Some(found), true) = (Key::find(key), is_given) {
            let given = Given {
                value: Value::Bool(true),
                origin: Origin::flag(key),
            };
            self.layer.insert(found, given, self.faults);
        }
    }

    fn list(&mut self, key: &str, texts: Vec<String>, origin: impl Fn() -> Origin) {
        if let (Some(key), false) = (Key::find(key), texts.is_empty()) {
            let items = texts.into_iter().map(|text| Given::text(text, origin()));
            let given = Given {
                value: Value::List(items.collect()),
                origin: origin(),
            };
            self.layer.insert(key, given, self.faults);
        }
    }

    /// `NAME=VALUE`, split at the first `=`.
    fn pairs(&mut self, key: &str, flag: &str, texts: Vec<String>) {
        for text in texts {
            let given = Given::text(text.as_str(), Origin::flag(flag));
            match text.split_once('=') {
                Some((name, value)) => {
                    let value = Given::text(value, given.origin);
                    self.entry(key, name, value);
                }
                None => {
                    let expected = "give NAME=VALUE";
                    self.faults.add(ErrorKind::Invalid, key, &given, expected);
                }
            }
        }
    }

    /// Variables of the caller that the workload gets as they are.
    fn copies(&mut self, names: Vec<String>) {
        for name in names {
            let origin = Origin::flag("env-from");
            let value = self.environment.get_even_empty(&name);
            match value.map(|value| value.to_str()) {
                Some(Some(value)) => self.entry("env", &name, Given::text(value, origin)),
                Some(None) => {
                    let expected = "name a variable with UTF-8 text";
                    let key = format!("env.{}", shown_name(&name));
                    self.faults
                        .add_masked(ErrorKind::Invalid, key, &origin, expected);
                }
                None => {
                    let cause = "it is not in the environment".to_owned();
                    let expected = "name a variable that is set, or give its value with --env";
                    let key = format!("env.{}", shown_name(&name));
                    let kind = ErrorKind::Unusable { cause };
                    self.faults.add_without_value(kind, key, &origin, expected);
                }
            }
        }
    }

    /// `NAME=file:PATH`, `NAME=env:VAR`, `NAME=fd:N` or `NAME=ref:REFERENCE`; a value itself would show in the list of processes.
    fn credentials(&mut self, texts: Vec<String>) {
        for text in texts {
            let given = Given::text(text.as_str(), Origin::flag("credential"));
            let parts = text
                .split_once('=')
                .and_then(|(name, place)| Some((name, place.split_once(':')?)))
                .filter(|(_, (kind, _))| matches!(*kind, "file" | "env" | "fd" | "ref"));
            match parts {
                Some((name, (kind, place))) => {
                    let origin = given.origin;
                    let place = Given::text(place, origin.clone());
                    let value = Value::Table(vec![(kind.to_owned(), place)]);
                    self.entry("credentials", name, Given { value, origin });
                }
                None => {
                    let expected =
                        "give NAME=file:PATH, NAME=env:VAR, NAME=fd:N or NAME=ref:REFERENCE";
                    self.faults
                        .add(ErrorKind::Invalid, "credentials", &given, expected);
                }
            }
        }
    }

    fn entry(&mut self, key: &str, name: &str, given: Given) {
        if let Some(key) = Key::find(key) {
            self.layer.insert_entry(key, name, given, self.faults);
        }
    }
}
