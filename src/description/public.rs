//! The view of a run description that anybody may read: `spec.json`, logs, `Debug`.
//!
//! It has the keys of the file, and no secret: credentials show their source alone, and any other text that is or holds
//! a credential is masked.

use std::fmt;

use serde_json::{Map, Value, json};

use super::credentials::Credential;
use super::{Mount, MountKey, RunDescription, Secret};
use crate::run::RunId;

impl RunDescription {
    /// The run that this one goes on from.
    pub fn resumed_from(&self) -> Option<&RunId> {
        let resumed = self.playbook.as_ref()?.resumed.as_ref()?;
        Some(&resumed.run_id)
    }

    /// The description under the keys of the file, without secrets, and the digest of the playbook.
    pub fn public(&self) -> Value {
        let credentials: Map<String, Value> = self
            .credentials
            .iter()
            .map(|(name, credential)| {
                let Credential {
                    source,
                    from,
                    expose,
                    ..
                } = credential;
                let mut shown = json!({ "source": source, "expose": expose });
                if let (Some(from), Some(shown)) = (from, shown.as_object_mut()) {
                    shown.insert("from".to_owned(), from.as_str().into());
                }
                (name.clone(), shown)
            })
            .collect();
        let mounts_of = |key: MountKey| self.mounts.iter().filter(move |mount| mount.key == key);
        let mounts: Vec<Value> = mounts_of(MountKey::Mounts)
            .map(|mount| {
                json!({
                    "source": mount.source.to_string_lossy(),
                    "target": mount.target.to_string_lossy(),
                    "access": mount.access,
                })
            })
            .collect();
        let pair = |mount: &Mount| {
            let (source, target) = (mount.source.display(), mount.target.display());
            json!(format!("{source}:{target}"))
        };
        let ro: Vec<Value> = mounts_of(MountKey::Ro).map(pair).collect();
        let rw: Vec<Value> = mounts_of(MountKey::Rw).map(pair).collect();
        let tmpfs: Vec<Value> = self
            .tmpfs
            .iter()
            .map(|tmpfs| json!(format!("{}:{}", tmpfs.target.display(), tmpfs.bytes)))
            .collect();
        let services: Vec<Value> = self.services.iter().map(super::Service::public).collect();
        let mut view = json!({
            "run_id": self.run_id,
            "resumed_from": self.resumed_from(),
            "task": self.task,
            "command": self.command,
            "playbook": self.playbook.as_ref().map(|playbook| &playbook.path),
            "parameters": self.playbook.as_ref().map(super::PlaybookRun::public_arguments).unwrap_or_default(),
            "from_step": self.playbook.as_ref().and_then(|playbook| playbook.from_step.as_ref()),
            "playbook_sha256": self.playbook.as_ref().map(|playbook| super::earlier::digest_of(&playbook.text)),
            "adapter": self.adapter,
            "workspace": self.workspace.to_string_lossy(),
            "workspace_mode": self.workspace_mode,
            "chdir": self.chdir.to_string_lossy(),
            "env": self.env,
            "credentials": credentials,
            "profile": self.profile,
            "labels": self.labels,
            "timeout_seconds": self.timeout.as_secs(),
            "idle_timeout_seconds": self.idle_timeout.map_or(0, |idle| idle.as_secs()),
            "grace_seconds": self.grace.as_secs(),
            "stop_message_seconds": self.stop_message.map_or(0, |time| time.as_secs()),
            "linger_seconds": self.linger.as_secs(),
            "max_steps": self.max_steps,
            "guardrails": self.guardrails,
            "tty": self.tty,
            "interactive": self.interactive,
            "limits": self.limits.public(),
            "network": self.network,
            "isolation": self.requirement.asked,
            "preset": self.preset.name,
            "mounts": mounts,
            "ro": ro,
            "rw": rw,
            "tmpfs": tmpfs,
            "uid": self.uid,
            "gid": self.gid,
            "services": services,
            "hooks": self.hooks.public(),
            "output_schema": self.output.as_ref().and_then(|output| output.schema.as_ref()),
            "output_file": self.output.as_ref().and_then(|output| output.file.as_ref()),
            "recording": self.recording,
        });
        if let Some(recording) = view.get_mut("recording").and_then(Value::as_object_mut) {
            recording.extend(self.artifacts.public());
        }
        if let Some(guardrails) = view.get_mut("guardrails").and_then(Value::as_object_mut) {
            guardrails.insert("blocked_domains".to_owned(), json!(self.blocked_domains));
        }
        // The longest first, so that a secret that holds another one is masked whole.
        let mut secrets: Vec<&Secret> = self.secrets().map(|(_, secret)| secret).collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        for key in [
            "task",
            "command",
            "parameters",
            "workspace",
            "chdir",
            "env",
            "labels",
            "mounts",
            "ro",
            "rw",
            "tmpfs",
            "services",
            "hooks",
            "output_schema",
            "recording",
        ] {
            if let Some(part) = view.get_mut(key) {
                mask(part, &secrets);
            }
        }
        view
    }
}

impl fmt::Debug for RunDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RunDescription")
            .field(&format_args!("{}", self.public()))
            .finish()
    }
}

/// Masks the secrets in every text below `value`. Closed sets and numbers hold none.
fn mask(value: &mut Value, secrets: &[&Secret]) {
    match value {
        Value::String(text) => {
            for secret in secrets {
                *text = secret.mask_in(text);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| mask(item, secrets)),
        Value::Object(entries) => entries.values_mut().for_each(|entry| mask(entry, secrets)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
