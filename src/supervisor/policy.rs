//! What the sandbox of a run has to enforce: its policy, its network and the limits that nothing in the kernel holds.

use std::path::Path;

use stockade_sandbox as sandbox;

use crate::description::RunDescription;
use crate::description::settings::{Access, Isolation, Network, WorkspaceMode};
use crate::event::lifecycle::EnforcedLimit;
use crate::session::sampling::Sampled;

/// What a workload may change in a workspace whose files stay as they are; it is memory.
const OVERLAY_BYTES: u64 = 512 << 20;

/// Whether the workload cannot reach our loopback: it has a network namespace of its own, or system calls and Landlock keep it
/// from there.
pub fn has_own_network(description: &RunDescription) -> bool {
    description.isolation != Isolation::None && description.network != Network::Host
}

/// The network's name on the wire.
pub fn network_name(description: &RunDescription) -> String {
    match &description.network {
        Network::None => "none".to_owned(),
        Network::Allow(allow) => format!("allow={allow}"),
        Network::Host => "host".to_owned(),
    }
}

/// What the sandbox has to enforce. The recordings stay hidden even where a bind would show them.
pub fn of(description: &RunDescription, recordings: Option<&Path>) -> sandbox::Policy {
    let access = |access| match access {
        Access::ReadOnly => sandbox::Access::ReadOnly,
        Access::ReadWrite => sandbox::Access::ReadWrite,
    };
    let isolation = match description.isolation {
        Isolation::Full => sandbox::Isolation::Full,
        Isolation::Container => sandbox::Isolation::Container,
        Isolation::None => sandbox::Isolation::None,
    };
    let mut policy = sandbox::Policy::new(isolation);
    policy.network = match description.network {
        Network::None => sandbox::Network::None,
        Network::Allow(_) => sandbox::Network::Proxy,
        Network::Host => sandbox::Network::Host,
    };
    let limits = &description.limits;
    policy.limits = sandbox::Limits {
        memory_bytes: Some(limits.memory_bytes),
        swap_bytes: limits.swap_bytes,
        pids: Some(limits.pids),
        cpu_millis: limits.cpu_millis,
        file_bytes: limits.disk_bytes,
    };
    // The same id may be in use in another directory of recordings.
    policy.group = Some(format!("{}-{}", description.run_id, std::process::id()));
    if description.isolation != Isolation::None {
        policy.workspace = Some(sandbox::Workspace {
            host: description.workspace.clone(),
            inside: description.workspace.clone(),
            access: access(description.workspace_mode.access()),
        });
        policy.overlay_bytes = match description.workspace_mode {
            WorkspaceMode::Overlay => Some(OVERLAY_BYTES),
            WorkspaceMode::ReadWrite | WorkspaceMode::ReadOnly => None,
        };
        let shown = description.shown();
        let binds = shown.into_iter().map(|mount| sandbox::Bind {
            source: mount.source,
            target: mount.target,
            access: access(mount.access),
        });
        policy.binds = binds.collect();
        let in_memory = description.tmpfs.iter().map(|tmpfs| sandbox::Tmpfs {
            target: tmpfs.target.clone(),
            bytes: tmpfs.bytes,
        });
        policy.tmpfs = in_memory.collect();
        policy.inside_user = description.uid;
        policy.inside_group = description.gid;
        let artifacts = &description.artifacts;
        policy.output_bytes = (artifacts.max_files > 0).then_some(artifacts.max_total_bytes);
        policy.masks = recordings.into_iter().map(Path::to_owned).collect();
        let preset = &description.preset;
        policy.allowed_calls.clone_from(&preset.allow_calls);
        if !preset.landlock {
            policy.landlock = sandbox::Landlock::LeaveOff;
        }
        if !preset.mask_proc {
            policy.proc = sandbox::Proc::Whole;
        }
    }
    policy.required = description.requirement.layers(&policy);
    policy
}

/// The limit of what the workload writes to the host, which nothing in the kernel holds.
pub fn disk_limit(description: &RunDescription) -> Option<EnforcedLimit> {
    description.limits.disk_bytes.map(|value| EnforcedLimit {
        limit: "disk".to_owned(),
        value,
        by: "sampled".to_owned(),
    })
}

/// The limit of the directories of a run in a container: as much as the tier `full` gives in memory.
fn scratch_limit(description: &RunDescription) -> u64 {
    sandbox::DEFAULT_TMP_BYTES.saturating_add(description.artifacts.max_total_bytes)
}

/// What is looked at for limits that nothing in the kernel holds.
pub fn sampled(
    description: &RunDescription,
    isolation: &crate::event::Isolation,
    recordings: &Path,
    scratch: Option<&Path>,
) -> Sampled {
    let workspace = (&description.workspace, description.workspace_mode.access());
    let mounts = description.mounts.iter();
    let places = mounts
        .map(|mount| (&mount.source, mount.access))
        .chain([workspace])
        .filter(|(_, access)| *access == Access::ReadWrite)
        .map(|(path, _)| path.clone());
    let of_run = scratch.map(|path| (scratch_limit(description), path.to_owned()));
    Sampled::new(isolation, places.collect(), recordings.to_owned()).with_scratch(of_run)
}
