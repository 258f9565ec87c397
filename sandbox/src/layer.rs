//! What is enforced, layer by layer.
//!
//! Owns the closed lists of tiers and layers and their wire names. Never claims a layer that the build did not report.
//! Invariant: every layer is in exactly one of `layers` and `missing`.

use crate::cgroup::{EnforcedLimit, LimitKind, Means};
use serde::{Deserialize, Serialize};

/// A set of layers that a host allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Namespaces and a private root.
    Full,
    /// System calls, Landlock and an id, without namespaces.
    Container,
    /// No isolation; the tree is still tracked and killed.
    None,
}

/// One thing that confines the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// A user namespace that maps one id.
    UserNamespace,
    /// A mount namespace of its own.
    MountNamespace,
    /// A pid namespace of its own: no process of the host can be seen or signalled.
    PidNamespace,
    /// A network namespace with nothing but loopback.
    NetworkNamespace,
    /// No System V IPC or message queues of the host.
    IpcNamespace,
    /// A host name of its own.
    UtsNamespace,
    /// Control group paths begin at the sandbox.
    CgroupNamespace,
    /// A root that shows only what the policy names.
    PrivateRoot,
    /// A procfs of the sandbox's own pid namespace, with `/proc/sys` read-only and host details masked.
    PrivateProc,
    /// A `/dev` of harmless devices, with terminals of its own.
    PrivateDev,
    /// A `/tmp`, home and `/dev/shm` that end with the sandbox and share one size limit.
    PrivateTmp,
    /// The workload has an unprivileged id on the host.
    UnprivilegedId,
    /// A workspace whose files keep their owner although another id writes them.
    IdMappedWorkspace,
    /// Setuid files give nothing.
    NoNewPrivileges,
    /// No capability, not even in the sandbox's own user namespace.
    NoCapabilities,
    /// No descriptor but those that the launch names.
    ClosedDescriptors,
    /// No variable but those that the launch names.
    CleanEnvironment,
    /// A session without a terminal of the host.
    OwnSession,
    /// An init that reaps, is not the workload and cannot be read by it.
    InSandboxInit,
    /// A Landlock domain behind the private root.
    Landlock,
    /// A seccomp filter that denies the whole table.
    Seccomp,
    /// Memory, processes and processors are limited by control group, as far as the policy limits them.
    CgroupLimits,
}

impl Layer {
    /// Every layer, from the outside in.
    pub const ALL: [Self; 22] = [
        Self::UserNamespace,
        Self::MountNamespace,
        Self::PidNamespace,
        Self::NetworkNamespace,
        Self::IpcNamespace,
        Self::UtsNamespace,
        Self::CgroupNamespace,
        Self::PrivateRoot,
        Self::PrivateProc,
        Self::PrivateDev,
        Self::PrivateTmp,
        Self::UnprivilegedId,
        Self::IdMappedWorkspace,
        Self::NoNewPrivileges,
        Self::NoCapabilities,
        Self::ClosedDescriptors,
        Self::CleanEnvironment,
        Self::OwnSession,
        Self::InSandboxInit,
        Self::Landlock,
        Self::Seccomp,
        Self::CgroupLimits,
    ];

    /// Returns the name on the wire, in descriptions and in documentation.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UserNamespace => "user-namespace",
            Self::MountNamespace => "mount-namespace",
            Self::PidNamespace => "pid-namespace",
            Self::NetworkNamespace => "network-namespace",
            Self::IpcNamespace => "ipc-namespace",
            Self::UtsNamespace => "uts-namespace",
            Self::CgroupNamespace => "cgroup-namespace",
            Self::PrivateRoot => "private-root",
            Self::PrivateProc => "private-proc",
            Self::PrivateDev => "private-dev",
            Self::PrivateTmp => "private-tmp",
            Self::UnprivilegedId => "unprivileged-id",
            Self::IdMappedWorkspace => "id-mapped-workspace",
            Self::NoNewPrivileges => "no-new-privileges",
            Self::NoCapabilities => "no-capabilities",
            Self::ClosedDescriptors => "closed-descriptors",
            Self::CleanEnvironment => "clean-environment",
            Self::OwnSession => "own-session",
            Self::InSandboxInit => "in-sandbox-init",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::CgroupLimits => "cgroup-limits",
        }
    }

    /// Finds a layer by its name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|layer| layer.as_str() == name)
    }

    /// Tells whether the tier full is not full without this layer.
    ///
    /// Three may be missing: not every workspace has another owner, some hosts refuse a fresh /proc to everybody, and
    /// groups are not every user's to make. Who cannot do without one of them names it.
    fn belongs_to_full(self) -> bool {
        !matches!(
            self,
            Self::IdMappedWorkspace | Self::PrivateProc | Self::CgroupLimits
        )
    }

    /// Returns the layers that make the tier full.
    pub(crate) fn of_full() -> impl Iterator<Item = Self> {
        Self::ALL
            .into_iter()
            .filter(|layer| layer.belongs_to_full())
    }

    /// Tells whether the layer is there without any namespace.
    fn holds_without_namespaces(self) -> bool {
        matches!(
            self,
            Self::NoNewPrivileges
                | Self::ClosedDescriptors
                | Self::CleanEnvironment
                | Self::OwnSession
                | Self::InSandboxInit
                | Self::UnprivilegedId
                | Self::NoCapabilities
                | Self::CgroupLimits
        )
    }

    /// Why the tier container has the layer not at all or only in part: without a text because the host or the policy wants
    /// no namespaces, and none where it has it.
    fn lack_in_container(self) -> Option<Option<&'static str>> {
        match self {
            Self::UserNamespace
            | Self::MountNamespace
            | Self::PidNamespace
            | Self::IpcNamespace
            | Self::UtsNamespace
            | Self::CgroupNamespace
            | Self::NetworkNamespace
            | Self::IdMappedWorkspace => Some(None),
            Self::PrivateRoot => Some(Some(
                "only in part: Landlock opens what the policy names, and the rest is there and closed",
            )),
            Self::PrivateProc => Some(Some(
                "the container's processes are listed, and nobody looks into them",
            )),
            Self::PrivateDev => Some(Some("only in part: Landlock opens the harmless devices")),
            Self::PrivateTmp => Some(Some(
                "only in part: home and temporary files lie in directories of the run, whose size is looked at",
            )),
            Self::NoNewPrivileges
            | Self::ClosedDescriptors
            | Self::CleanEnvironment
            | Self::OwnSession
            | Self::InSandboxInit
            | Self::UnprivilegedId
            | Self::NoCapabilities
            | Self::Landlock
            | Self::Seccomp
            | Self::CgroupLimits => None,
        }
    }
}

/// A layer that is not enforced, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("the layer {} is missing: {reason}", .layer.as_str())]
pub struct MissingLayer {
    /// The layer.
    pub layer: Layer,
    /// The reason, lower case, for people.
    pub reason: String,
}

impl MissingLayer {
    pub(crate) fn new(layer: Layer, reason: impl Into<String>) -> Self {
        Self {
            layer,
            reason: reason.into(),
        }
    }
}

/// What a sandbox enforces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforced {
    /// The tier that was built.
    pub tier: Tier,
    /// The layers that hold.
    pub layers: Vec<Layer>,
    /// The layers that do not, with the reason for each.
    pub missing: Vec<MissingLayer>,
    /// The kernel's version of Landlock, where that layer holds.
    pub landlock_abi: Option<u32>,
    /// The limits of the policy, each with what holds it.
    pub limits: Vec<EnforcedLimit>,
}

impl Enforced {
    /// Sorts every layer into enforced and missing; `missing` is what the build reported, `refused` why there is no better
    /// tier, if one was tried.
    pub(crate) fn new(
        tier: Tier,
        reported: Vec<MissingLayer>,
        landlock_abi: Option<u32>,
        refused: Option<&str>,
    ) -> Self {
        let mut missing = reported;
        let mut layers = Vec::new();
        for layer in Layer::ALL {
            if missing.iter().any(|entry| entry.layer == layer) {
                continue;
            }
            let lack = match tier {
                Tier::Full => None,
                Tier::Container => layer.lack_in_container().map(|why| {
                    why.or(refused)
                        .unwrap_or("isolation container was asked for")
                }),
                Tier::None if layer.holds_without_namespaces() => None,
                Tier::None => Some("isolation none was asked for"),
            };
            match lack {
                Some(reason) => missing.push(MissingLayer::new(layer, reason)),
                None => layers.push(layer),
            }
        }
        let landlock_abi = landlock_abi.filter(|_| layers.contains(&Layer::Landlock));
        Self {
            tier,
            layers,
            missing,
            landlock_abi,
            limits: Vec::new(),
        }
    }

    /// Says that the number of processes is looked at from time to time: the id has others, too, and no limit can count it.
    pub(crate) fn sample_processes(&mut self) {
        for held in &mut self.limits {
            if held.limit == LimitKind::Pids && held.by == Means::Rlimit {
                held.by = Means::Sampled;
            }
        }
    }

    /// Returns the first required layer that does not hold, with its reason.
    pub(crate) fn lacks(&self, required: &[Layer]) -> Option<MissingLayer> {
        let missing = self.missing.iter();
        missing
            .filter(|entry| required.contains(&entry.layer))
            .min_by_key(|entry| Layer::ALL.iter().position(|layer| *layer == entry.layer))
            .cloned()
    }

    /// Tells whether a layer holds.
    #[must_use]
    pub fn has(&self, layer: Layer) -> bool {
        self.layers.contains(&layer)
    }
}

#[cfg(test)]
mod tests {
    use super::{Enforced, Layer, MissingLayer, Tier};

    #[test]
    fn every_layer_is_either_enforced_or_missing() {
        for tier in [Tier::Full, Tier::Container, Tier::None] {
            let reported = vec![MissingLayer::new(Layer::NetworkNamespace, "asked for")];
            let enforced = Enforced::new(tier, reported, Some(7), Some("refused"));
            assert_eq!(enforced.landlock_abi.is_some(), tier != Tier::None);
            let refused = enforced.missing.iter().filter(|m| m.reason == "refused");
            assert_eq!(refused.count() > 0, tier == Tier::Container);
            for layer in Layer::ALL {
                let missing = enforced.missing.iter().filter(|m| m.layer == layer).count();
                assert_eq!(usize::from(enforced.has(layer)) + missing, 1, "{layer:?}");
            }
        }
    }

    #[test]
    fn layers_have_kebab_case_names() {
        for layer in Layer::ALL {
            let name = serde_json::to_string(&layer).expect("serialises");
            assert_eq!(name, format!("\"{}\"", layer.as_str()));
            assert_eq!(Layer::find(layer.as_str()), Some(layer));
        }
        assert_eq!(Layer::find("no-such-layer"), None);
    }
}
