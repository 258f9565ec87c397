//! What to change, as a pure function of what was found.
//!
//! Owns the texts. Never advises what would not change a finding. Each text says what is wrong, then what would be right where
//! this process runs: Docker, Podman, Kubernetes, gVisor, or a host of one's own.

use serde::Serialize;
use stockade_sandbox::{Finding, Layer, Trial};

use super::host::{Engine, Host};
use super::storage::Storage;
use super::{Built, Port};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// What is wrong, in one sentence.
    pub why: String,
    /// What would be right, in one sentence.
    pub change: String,
}

impl Advice {
    fn new(why: impl Into<String>, change: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            change: change.into(),
        }
    }
}

/// Everything that is worth a change, the most helpful first.
pub(super) fn all(
    host: &Host,
    trials: &[Finding],
    sandbox: &Built,
    recordings: &Storage,
    port: &Port,
) -> Vec<Advice> {
    let refused = |trial| is_refused(trials, trial);
    let missing = |layer| match sandbox {
        Built::Enforced { enforced, .. } => !enforced.has(layer),
        Built::Refused { .. } => true,
    };
    let found = [
        namespaces(host, trials),
        (refused(Trial::Procfs) && !refused(Trial::PidNamespace)).then(|| procfs(host)),
        refused(Trial::Landlock).then(|| landlock(host)),
        refused(Trial::Seccomp).then(seccomp),
        missing(Layer::CgroupLimits).then(|| groups(host)),
        storage(recordings),
        listen(port),
    ];
    found.into_iter().flatten().collect()
}

fn is_refused(trials: &[Finding], trial: Trial) -> bool {
    let mut findings = trials.iter().filter(|finding| finding.trial == trial);
    findings.any(|finding| finding.refusal.is_some())
}

/// Without user namespaces, or with powerless ones, there is no tier full.
fn namespaces(host: &Host, trials: &[Finding]) -> Option<Advice> {
    let of_full = [
        Trial::UserNamespace,
        Trial::IdMaps,
        Trial::MountNamespace,
        Trial::PidNamespace,
        Trial::NetworkNamespace,
        Trial::Tmpfs,
        Trial::PivotRoot,
    ];
    if !of_full.iter().any(|trial| is_refused(trials, *trial)) {
        return None;
    }
    if host.max_user_namespaces == Some(0) {
        return Some(Advice::new(
            "user.max_user_namespaces is 0, so nobody can make a user namespace",
            "sysctl -w user.max_user_namespaces=15000",
        ));
    }
    let is_user = host.uid != 0;
    if is_user && host.unprivileged_user_namespaces == Some(false) {
        return Some(Advice::new(
            "kernel.unprivileged_userns_clone is 0, so only root can make a user namespace",
            "sysctl -w kernel.unprivileged_userns_clone=1",
        ));
    }
    if is_user && host.apparmor_restricts_user_namespaces && host.engine == Engine::None {
        return Some(Advice::new(
            "AppArmor takes all privileges from user namespaces that ordinary users make (Ubuntu 23.10 and later)",
            "give this program a profile: write 'abi <abi/4.0>, include <tunables/global> profile stockade /usr/local/bin/stockade flags=(unconfined) { userns, }' to /etc/apparmor.d/stockade and run apparmor_parser -r on it; or, for all programs, sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ));
    }
    let why = "the namespaces of the tier full are refused";
    let change = match host.engine {
        Engine::Docker => {
            "docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined (on a host with AppArmor also --security-opt apparmor=unconfined): the sandbox has a stricter filter of its own"
        }
        Engine::Podman => {
            "podman run --security-opt seccomp=unconfined --security-opt unmask=ALL: the sandbox has a stricter filter of its own"
        }
        Engine::Kubernetes => {
            "in the pod's spec hostUsers: false, in the container's securityContext seccompProfile: {type: Unconfined} and procMount: Unmasked: the sandbox has a stricter filter of its own"
        }
        Engine::Gvisor => {
            "gVisor is a sandbox of its own: the tier container is what it allows inside; for the tier full use another runtime class"
        }
        Engine::None if host.is_filtered => {
            "a seccomp filter is on this process: start stockade outside of it, or allow clone, clone3, unshare, setns, mount, umount2, pivot_root, fsopen, fsconfig, fsmount, move_mount, open_tree and mount_setattr"
        }
        Engine::None => {
            "use a kernel with CONFIG_USER_NS, CONFIG_PID_NS, CONFIG_NET_NS, CONFIG_IPC_NS and CONFIG_UTS_NS"
        }
    };
    Some(Advice::new(why, change))
}

fn procfs(host: &Host) -> Advice {
    let why = if host.is_proc_covered {
        "the kernel grants no fresh /proc while parts of the old one are covered"
    } else {
        "the kernel grants no fresh /proc"
    };
    let change = match host.engine {
        Engine::Docker => "docker run --security-opt systempaths=unconfined",
        Engine::Podman => "podman run --security-opt unmask=ALL",
        Engine::Kubernetes => {
            "hostUsers: false in the pod's spec and procMount: Unmasked in the container's securityContext"
        }
        Engine::Gvisor | Engine::None => "start stockade where nothing is mounted below /proc",
    };
    Advice::new(why, change)
}

fn landlock(host: &Host) -> Advice {
    let modules = &host.security_modules;
    let is_left_out = !modules.is_empty() && !modules.iter().any(|name| name == "landlock");
    if is_left_out {
        return Advice::new(
            "the kernel was started without Landlock",
            format!(
                "add landlock to its parameter: lsm=landlock,{}",
                modules.join(",")
            ),
        );
    }
    Advice::new(
        "the kernel refuses Landlock",
        "use Linux 5.19 or later with CONFIG_SECURITY_LANDLOCK; in a container, a runtime whose filter knows its three calls (Docker 20.10.8 and later)",
    )
}

fn seccomp() -> Advice {
    Advice::new(
        "the kernel takes no filter of system calls",
        "use a kernel with CONFIG_SECCOMP_FILTER",
    )
}

fn groups(host: &Host) -> Advice {
    let why = "no control group holds the limits of memory, processes and processors; other means stand in";
    let change = match host.engine {
        Engine::Docker | Engine::Podman => {
            "give the container limits of its own (--memory, --pids-limit, --cpus): they hold the workload and the supervisor together"
        }
        Engine::Kubernetes => {
            "give the container resources.limits: they hold the workload and the supervisor together"
        }
        Engine::Gvisor => "give the sandbox limits of its own in its runtime",
        Engine::None if host.uid == 0 => "mount the control groups writable at /sys/fs/cgroup",
        Engine::None => {
            "start the run in a scope that is delegated: systemd-run --user --scope -p Delegate=yes stockade run …"
        }
    };
    Advice::new(why, change)
}

fn storage(recordings: &Storage) -> Option<Advice> {
    let error = recordings.error.as_deref()?;
    Some(Advice::new(
        format!("the recordings cannot be written: {error}"),
        "mount a volume there that belongs to the user of this process, or name another directory by --recordings",
    ))
}

fn listen(port: &Port) -> Option<Advice> {
    let error = port.error.as_deref()?;
    let address = port.address?;
    Some(Advice::new(
        format!("the status port {address} cannot be bound: {error}"),
        "name another address by --listen, or none: without a name a run takes the next free port",
    ))
}

#[cfg(test)]
mod tests;
