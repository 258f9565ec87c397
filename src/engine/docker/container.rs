//! What a container of ours is: its name, its labels, its mounts and limits, and which keys of a description it can honour.
//!
//! Pure. Invariants: nothing of the host is in a container but the program and the directory of its own run; every default
//! is closed, and only the key `network` opens one.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountBindOptions,
    MountBindOptionsPropagationEnum, MountType,
};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::description::secret::Secret;
use crate::description::{DescriptionError, DescriptionErrors, ErrorKind, Origin};
use crate::engine::Accepted;
use crate::engine::program::TRACEPARENT;
use crate::run::RunId;

/// The socket of the status API, in the directory of the run.
pub(super) const SOCKET: &str = "api.sock";

/// The label that has the run.
pub(super) const RUN_ID_LABEL: &str = "stockade.run-id";

const MANAGED_LABEL: &str = "stockade.managed";
const OWNER_LABEL: &str = "stockade.owner";

/// Where the program, the recordings and the workspace are inside.
const PROGRAM: &str = "/.stockade/stockade";
const RECORDINGS: &str = "/.stockade/recordings";
const WORKSPACE: &str = "/workspace";

/// What the supervisor needs beside what the workload may have: memory in bytes, and processes.
const OWN_MEMORY_BYTES: i64 = 64 << 20;
const OWN_PIDS: i64 = 32;

/// Seconds beyond the grace of a run that somebody's `docker stop` waits before it kills.
const STOP_MARGIN_SECONDS: i64 = 5;

/// Size of the workspace and of `/tmp`, which count as memory of the container.
const TMPFS_SIZE: &str = "1g";

/// Longest name of an image, in bytes; a reference has at most 255 and a digest.
const MAX_IMAGE_BYTES: usize = 512;

/// Keys that name what only this host has.
const KEYS_OF_THE_HOST: [(&str, &str); 6] = [
    (
        "workspace",
        "leave it out; a run in a container works in /workspace, which is empty",
    ),
    (
        "mounts",
        "leave it out; a container has no directory of this host",
    ),
    (
        "ro",
        "leave it out; a container has no directory of this host",
    ),
    (
        "rw",
        "leave it out; a container has no directory of this host",
    ),
    (
        "playbook",
        "leave it out; a container has no file of this host",
    ),
    (
        "resumed_from",
        "leave it out; a container sees no other run's recording",
    ),
];

/// What a container is made of.
pub(super) struct Wanted<'a> {
    pub(super) owner: &'a str,
    pub(super) run_id: &'a RunId,
    pub(super) image: String,
    pub(super) user: u32,
    pub(super) program: &'a Path,
    pub(super) recordings: &'a Path,
    pub(super) token: &'a Secret,
    pub(super) trace: Option<&'a str>,
    /// `spec.json`: every limit has its value there.
    pub(super) spec: &'a Value,
}

/// The name of a run's container; deployments on one engine do not meet.
pub(super) fn name(owner: &str, run_id: &RunId) -> String {
    format!("stockade-{owner}-{run_id}")
}

/// The filter that lists what is ours.
pub(super) fn owner_filter(owner: &str) -> String {
    format!("{OWNER_LABEL}={owner}")
}

/// Whether a container of that name is the run's. Labels hold identity and nothing else.
pub(super) fn is_ours(labels: &HashMap<String, String>, owner: &str, run_id: &RunId) -> bool {
    let has = |name: &str, wanted: &str| labels.get(name).is_some_and(|value| value == wanted);
    has(MANAGED_LABEL, "true") && has(OWNER_LABEL, owner) && has(RUN_ID_LABEL, run_id.as_str())
}

/// Takes a description to itself.
///
/// # Errors
/// Every key that names what only this host has, and a missing image.
pub(super) fn accept(
    run_id: &RunId,
    description: &Map<String, Value>,
    default_image: Option<&str>,
) -> Result<Accepted, DescriptionErrors> {
    let fault = |kind: ErrorKind, key: &str, expected: &str| DescriptionError {
        kind,
        key: key.to_owned(),
        value: None,
        origin: Origin::Unset,
        expected: expected.to_owned(),
    };
    let mut errors = Vec::new();
    let is_given = |value: &Value| !matches!(value, Value::Null) && value != &json!([]);
    for (key, expected) in KEYS_OF_THE_HOST {
        if description.get(key).is_some_and(is_given) {
            errors.push(fault(ErrorKind::Unsupported, key, expected));
        }
    }
    let credentials = description.get("credentials").and_then(Value::as_object);
    for (name, given) in credentials.into_iter().flatten() {
        let by_reference = given
            .as_object()
            .is_some_and(|given| !given.contains_key("value"));
        if by_reference {
            let expected = "give its value; a container has no file and no variable of this host";
            let key = format!("credentials.{name}");
            errors.push(fault(ErrorKind::Unsupported, &key, expected));
        }
    }
    let image = match description.get("image") {
        None | Some(Value::Null) => default_image.map(str::to_owned),
        Some(Value::String(image)) if is_image(image) => Some(image.clone()),
        Some(_) => {
            let expected = "give the name of an image, such as debian:12-slim or debian@sha256:…, at most 512 bytes";
            errors.push(fault(ErrorKind::Invalid, "image", expected));
            None
        }
    };
    if image.is_none() && errors.is_empty() {
        let expected =
            "name an image that the engine has, or one for all runs by `stockade serve --image`";
        errors.push(fault(ErrorKind::Missing, "image", expected));
    }
    if !errors.is_empty() {
        return Err(DescriptionErrors {
            errors,
            run_id: Some(run_id.clone()),
            recordings: None,
        });
    }
    let mut checked = description.clone();
    checked.remove("image");
    let mut delivered = checked.clone();
    delivered.insert("workspace".to_owned(), WORKSPACE.into());
    let bytes =
        |map: &Map<String, Value>| Zeroizing::new(serde_json::to_vec(map).unwrap_or_default());
    Ok(Accepted {
        image,
        checked: bytes(&checked),
        delivered: bytes(&delivered),
    })
}

fn is_image(image: &str) -> bool {
    !image.is_empty()
        && image.len() <= MAX_IMAGE_BYTES
        && !image.starts_with('-')
        && image.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What the engine is asked for.
pub(super) fn body(wanted: &Wanted<'_>) -> ContainerCreateBody {
    let (run_id, user) = (wanted.run_id.as_str(), wanted.user);
    let inside = format!("{RECORDINGS}/{run_id}");
    let socket = format!("{inside}/{SOCKET}");
    let command = [
        "run",
        "--config",
        "-",
        "--config-format",
        "json",
        "--recordings",
        RECORDINGS,
        "--run-id",
        run_id,
        "--durability",
        "durable",
        "--listen",
        "none",
        "--socket",
        &socket,
        "--progress",
        "none",
    ];
    let labels = [
        (MANAGED_LABEL, "true"),
        (OWNER_LABEL, wanted.owner),
        (RUN_ID_LABEL, run_id),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let grace = wanted.spec.get("grace_seconds").and_then(Value::as_i64);
    ContainerCreateBody {
        image: Some(wanted.image.clone()),
        entrypoint: Some(vec![PROGRAM.to_owned()]),
        cmd: Some(command.map(str::to_owned).into()),
        user: Some(format!("{user}:{user}")),
        env: Some(environment(wanted)),
        labels: Some(labels.map(owned).into()),
        working_dir: Some("/".to_owned()),
        attach_stdin: Some(true),
        open_stdin: Some(true),
        // It ends with whoever gave the description: a half of one is refused by the run.
        stdin_once: Some(true),
        stop_signal: Some("SIGTERM".to_owned()),
        stop_timeout: grace.map(|grace| grace.saturating_add(STOP_MARGIN_SECONDS)),
        healthcheck: Some(HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..HealthConfig::default()
        }),
        host_config: Some(host_config(wanted, inside)),
        ..ContainerCreateBody::default()
    }
}

/// What the supervisor is told by its environment; none of it reaches the command but the trace.
fn environment(wanted: &Wanted<'_>) -> Vec<String> {
    let token = ("STOCKADE_TOKEN", wanted.token.expose());
    let trace = wanted.trace.map(|trace| (TRACEPARENT, trace));
    let variables = [token].into_iter().chain(trace);
    variables
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn host_config(wanted: &Wanted<'_>, inside: String) -> HostConfig {
    let user = wanted.user;
    let limits = wanted.spec.get("limits");
    let of = |name: &str| limits.and_then(|limits| limits.get(name));
    let limit = |name: &str| of(name)?.as_i64().filter(|limit| *limit > 0);
    let memory = limit("memory").map(|bytes| bytes.saturating_add(OWN_MEMORY_BYTES));
    let swap = limit("swap").unwrap_or(0);
    let cpus = of("cpus").and_then(Value::as_f64);
    let network = match wanted.spec.get("network").and_then(Value::as_str) {
        Some("none") => "none",
        // What the sandbox allows goes through the engine's own network.
        _ => "bridge",
    };
    let tmpfs = |options: &str| format!("rw,exec,nosuid,nodev,size={TMPFS_SIZE},{options}");
    HostConfig {
        network_mode: Some(network.to_owned()),
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        memory,
        // Memory and swap together: without more than memory there is no swap.
        memory_swap: memory.map(|memory| memory.saturating_add(swap)),
        pids_limit: limit("pids").map(|pids| pids.saturating_add(OWN_PIDS)),
        nano_cpus: cpus.map(nano_cpus),
        tmpfs: Some(HashMap::from([
            ("/tmp".to_owned(), tmpfs("mode=1777")),
            (
                WORKSPACE.to_owned(),
                tmpfs(&format!("mode=0755,uid={user},gid={user}")),
            ),
        ])),
        mounts: Some(vec![
            bind(wanted.program, PROGRAM.to_owned(), true),
            bind(
                &wanted.recordings.join(wanted.run_id.as_str()),
                inside,
                false,
            ),
        ]),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), "1m".to_owned()),
                ("max-file".to_owned(), "1".to_owned()),
            ])),
        }),
        ..HostConfig::default()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the description allows at most a few thousand"
)]
fn nano_cpus(cpus: f64) -> i64 {
    (cpus * 1e9) as i64
}

fn bind(source: &Path, target: String, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.to_string_lossy().into_owned()),
        target: Some(target),
        read_only: Some(read_only),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            ..MountBindOptions::default()
        }),
        ..Mount::default()
    }
}

#[cfg(test)]
mod tests;
