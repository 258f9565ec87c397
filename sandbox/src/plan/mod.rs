//! A policy made ready: every path opened, every target checked, every mask translated.
//!
//! Owns the wire form of what the launch helper and the in-sandbox init carry out. Never mounts anything.
//! Invariant: mount `n` of the plan was opened as descriptor `n`, and binds are ordered so that outer targets come first.

mod mask;
mod resolve;
mod source;

pub use resolve::resolve;
use source::Opened;
pub use source::PlanError;
pub(crate) use source::open_exactly;

use crate::domain::DomainSpec;
use crate::filter::{CallGroup, DENIALS, Program, file_capabilities};
use crate::layer::Layer;
use crate::limit::LimitSpec;
use crate::policy::{
    Access, Bind, Isolation, Landlock, Limits, Movable, Network, OUTPUT, Policy, Proc,
};
use crate::text::Text;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Directories of the host that every sandbox sees read-only, as far as they exist. Links among them stay links.
const SYSTEM: [&str; 8] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc",
];

/// Most binds of a plan: they travel in one packet, which carries 253 descriptors.
const MAX_BINDS: usize = 200;

/// Targets that the sandbox makes itself; a bind on or below them would undo their layer.
const RESERVED: [&str; 5] = ["/proc", "/dev", "/sys", OUTPUT, SCRATCH];

/// Where the private root keeps its own tmpfs while it is made; gone when the workload starts.
pub(crate) const SCRATCH: &str = "/.stockade";

/// One mount of a file or directory of the host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BindSpec {
    pub(crate) source: Text,
    pub(crate) target: Text,
    pub(crate) access: Access,
    pub(crate) kind: Kind,
    pub(crate) owner: u32,
    pub(crate) group: u32,
    /// Whether the bind is the workspace, for the report.
    pub(crate) role: Role,
}

/// What a bind is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    System,
    Extra,
    Workspace,
}

/// What a bind's target must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Directory,
    File,
}

/// A directory in memory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TmpfsSpec {
    pub(crate) target: Text,
    pub(crate) bytes: u64,
}

/// A symbolic link of the private root.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LinkSpec {
    pub(crate) path: Text,
    pub(crate) to: Text,
}

/// The plan on the wire.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PlanSpec {
    pub(crate) isolation: Isolation,
    pub(crate) network: Network,
    pub(crate) tmp_bytes: u64,
    pub(crate) output_bytes: Option<u64>,
    /// The size of what the workload changes in its workspace, where the host's files stay as they are.
    pub(crate) overlay_bytes: Option<u64>,
    /// What the first process does about limits; complete when the request is sent.
    pub(crate) limits: LimitSpec,
    pub(crate) binds: Vec<BindSpec>,
    /// Outer targets first.
    pub(crate) tmpfs: Vec<TmpfsSpec>,
    pub(crate) links: Vec<LinkSpec>,
    /// Paths inside that must be hidden.
    pub(crate) masks: Vec<Text>,
    /// Paths inside that are hidden where they exist and can be reached at all.
    pub(crate) system_masks: Vec<Text>,
    /// The system call filter of the tier full; that of a container depends on the id that the workload gets.
    pub(crate) filter: Option<Program>,
    /// What the filter allows beyond its table, for the report.
    pub(crate) allowed_calls: Vec<CallGroup>,
    /// Whether there is a Landlock domain.
    pub(crate) domain: DomainSpec,
    pub(crate) proc: Proc,
    pub(crate) inside_user: Option<u32>,
    pub(crate) inside_group: Option<u32>,
    /// Where the directories of the run are made, in a container.
    pub(crate) scratch: Option<Text>,
}

/// Which descriptors a sandbox of a plan hands over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) output: bool,
    pub(crate) listener: bool,
    pub(crate) overlay: bool,
}

impl PlanSpec {
    /// Whether the workload may write to a bind.
    pub(crate) fn is_writable(&self, bind: &BindSpec) -> bool {
        bind.access == Access::ReadWrite || self.is_overlaid(bind)
    }

    /// Whether changes to a bind are kept apart from it.
    pub(crate) fn is_overlaid(&self, bind: &BindSpec) -> bool {
        bind.role == Role::Workspace && self.overlay_bytes.is_some()
    }

    pub(crate) fn planned(&self) -> Planned {
        Planned {
            output: self.isolation == Isolation::Full && self.output_bytes.is_some(),
            listener: self.isolation != Isolation::None && self.network == Network::Proxy,
            overlay: self.isolation == Isolation::Full && self.overlay_bytes.is_some(),
        }
    }
}

/// A policy that was opened and checked, ready for [`Helper::build`](crate::Helper::build).
#[derive(Debug)]
pub struct Plan {
    pub(crate) spec: PlanSpec,
    pub(crate) descriptors: Vec<OwnedFd>,
    pub(crate) limits: Limits,
    pub(crate) group: Option<String>,
    pub(crate) movable: Movable,
    pub(crate) required: Vec<Layer>,
}

impl Plan {
    pub(crate) fn new(policy: &Policy) -> Result<Self, PlanError> {
        let mut plan = Self {
            spec: PlanSpec {
                isolation: policy.isolation,
                network: policy.network,
                tmp_bytes: policy.tmp_bytes,
                output_bytes: None,
                overlay_bytes: None,
                limits: LimitSpec::default(),
                binds: Vec::new(),
                tmpfs: Vec::new(),
                links: Vec::new(),
                masks: Vec::new(),
                system_masks: Vec::new(),
                filter: None,
                allowed_calls: Vec::new(),
                domain: DomainSpec::LeaveOff {
                    reason: "the policy leaves it off".to_owned(),
                },
                proc: policy.proc,
                inside_user: policy.inside_user,
                inside_group: policy.inside_group,
                scratch: None,
            },
            descriptors: Vec::new(),
            limits: policy.limits,
            group: policy.group.clone(),
            movable: policy.movable,
            required: policy.required.clone(),
        };
        if policy.isolation == Isolation::None {
            return Ok(plan);
        }
        let is_full = policy.isolation == Isolation::Full;
        plan.spec.output_bytes = policy.output_bytes.filter(|bytes| *bytes > 0);
        plan.spec.overlay_bytes = policy.overlay_bytes.filter(|_| policy.workspace.is_some());
        plan.spec.filter = is_full.then(|| {
            let capabilities = file_capabilities(&policy.allowed_calls);
            Program::compile(DENIALS, &policy.allowed_calls, &[capabilities])
        });
        plan.spec.allowed_calls.clone_from(&policy.allowed_calls);
        match policy.landlock {
            Landlock::Restrict => plan.spec.domain = DomainSpec::of_kernel(),
            Landlock::LeaveOff if is_full => {}
            Landlock::LeaveOff => {
                let reason = "Landlock in the place of mounts, and the policy leaves it off";
                return Err(PlanError::NotInContainer(reason));
            }
        }
        plan.spec.scratch = policy.scratch.as_deref().map(Text::from);
        for path in SYSTEM {
            plan.add_system(Path::new(path))?;
        }
        if policy.network == Network::Host {
            plan.add_resolver()?;
        }
        let mut wanted: Vec<(Role, Bind)> = policy
            .binds
            .iter()
            .map(|bind| (Role::Extra, bind.clone()))
            .collect();
        wanted.extend(policy.workspace.iter().map(|workspace| {
            let bind = Bind {
                source: workspace.host.clone(),
                target: workspace.inside.clone(),
                access: match policy.overlay_bytes {
                    Some(_) => Access::ReadOnly,
                    None => workspace.access,
                },
            };
            (Role::Workspace, bind)
        }));
        // Outer targets first: the sort is stable, so equal depths keep the operator's order.
        wanted.sort_by_key(|(_, bind)| bind.target.components().count());
        if wanted.len() > MAX_BINDS - SYSTEM.len() {
            return Err(PlanError::TooManyBinds {
                limit: MAX_BINDS - SYSTEM.len(),
            });
        }
        let writable = wanted
            .iter()
            .filter(|(_, bind)| bind.access == Access::ReadWrite);
        let writable: Vec<PathBuf> = writable
            .filter_map(|(_, bind)| bind.source.canonicalize().ok())
            .collect();
        for (role, bind) in wanted {
            let target = check_target(&bind.target)?;
            let opened = source::open(&bind.source, &writable)?;
            plan.add(role, opened, target, bind.access);
        }
        let mut tmpfs = policy.tmpfs.clone();
        tmpfs.sort_by_key(|one| one.target.components().count());
        for one in tmpfs {
            plan.spec.tmpfs.push(TmpfsSpec {
                target: check_target(&one.target)?.into(),
                bytes: one.bytes,
            });
        }
        let may_mount = [CallGroup::Namespaces, CallGroup::Mounts]
            .iter()
            .all(|group| policy.allowed_calls.contains(group));
        if may_mount {
            mask::refuse_movable(&policy.masks, &plan.spec.binds)?;
        }
        plan.spec.masks = mask::translate(&policy.masks, &plan.spec.binds)?;
        let secrets = mask::system();
        let elsewhere = mask::shown_elsewhere(&secrets, &plan.spec.binds);
        let system = secrets.into_iter().map(Text::from);
        plan.spec.system_masks = system.chain(elsewhere).collect();
        if !is_full {
            plan.check_without_mounts()?;
        }
        Ok(plan)
    }

    /// Returns where the binds and directories in memory of the policy are mounted, in the order in which they are: outer
    /// ones first.
    #[must_use]
    pub fn targets(&self) -> Vec<&Path> {
        let binds = self.spec.binds.iter();
        let binds = binds.filter(|bind| bind.role != Role::System);
        let binds = binds.map(|bind| bind.target.as_path());
        let tmpfs = self.spec.tmpfs.iter().map(|one| one.target.as_path());
        let mut targets: Vec<_> = binds.chain(tmpfs).collect();
        targets.sort_by_key(|target| target.components().count());
        targets
    }

    /// Refuses what only a mount could do: showing something at another place, and hiding something in what is shown.
    fn check_without_mounts(&self) -> Result<(), PlanError> {
        for bind in &self.spec.binds {
            let target = bind.target.as_path();
            let is_there = target
                .canonicalize()
                .is_ok_and(|path| path == bind.source.as_path());
            if !is_there {
                return Err(PlanError::Target {
                    target: target.to_path_buf(),
                    reason: "the tier container has no mounts, so everything is seen at its own place",
                });
            }
        }
        if !self.spec.tmpfs.is_empty() {
            return Err(PlanError::NotInContainer("no directories in memory"));
        }
        if self.spec.overlay_bytes.is_some() {
            return Err(PlanError::NotInContainer(
                "no overlay of a workspace, only one that can be written or only read",
            ));
        }
        if self.spec.inside_user.is_some() || self.spec.inside_group.is_some() {
            return Err(PlanError::NotInContainer(
                "no ids but those of the container",
            ));
        }
        match self.spec.masks.first() {
            Some(mask) => Err(PlanError::MaskShown {
                path: mask.as_path().to_path_buf(),
            }),
            None => Ok(()),
        }
    }

    fn add_system(&mut self, path: &Path) -> Result<(), PlanError> {
        match path.read_link() {
            Ok(to) => {
                self.spec.links.push(LinkSpec {
                    path: path.into(),
                    to: to.into(),
                });
                Ok(())
            }
            Err(_) if !path.exists() => Ok(()),
            Err(_) => self.add_shown(path),
        }
    }

    /// Shows the resolver's configuration where /etc only links to it, as systemd-resolved does.
    fn add_resolver(&mut self) -> Result<(), PlanError> {
        match Path::new("/etc/resolv.conf").canonicalize() {
            Ok(path) if !SYSTEM.iter().any(|shown| path.starts_with(shown)) => {
                self.add_shown(&path)
            }
            _ => Ok(()),
        }
    }

    /// Shows a part of the host's system, at its own place.
    fn add_shown(&mut self, path: &Path) -> Result<(), PlanError> {
        let opened = source::open(path, &[])?;
        self.add(Role::System, opened, path.to_path_buf(), Access::ReadOnly);
        Ok(())
    }

    fn add(&mut self, role: Role, opened: Opened, target: PathBuf, access: Access) {
        self.spec.binds.push(BindSpec {
            source: opened.path.into(),
            target: target.into(),
            access,
            kind: opened.kind,
            owner: opened.owner,
            group: opened.group,
            role,
        });
        self.descriptors.push(opened.descriptor);
    }
}

/// Returns the target without `.` and doubled slashes.
fn check_target(target: &Path) -> Result<PathBuf, PlanError> {
    let refuse = |reason| PlanError::Target {
        target: target.to_path_buf(),
        reason,
    };
    if !target.is_absolute() {
        return Err(refuse("it is not absolute"));
    }
    if target
        .components()
        .any(|part| part == std::path::Component::ParentDir)
    {
        return Err(refuse("it has .. in it"));
    }
    let clean: PathBuf = target.components().collect();
    if clean == Path::new("/") {
        return Err(refuse("it is the root"));
    }
    if RESERVED.iter().any(|path| clean.starts_with(path)) {
        return Err(refuse("the sandbox makes this place itself"));
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::{Plan, PlanError, check_target};
    use crate::policy::{Access, Bind, Isolation, Policy};
    use std::path::Path;

    #[test]
    fn targets_that_would_undo_a_layer_are_refused() {
        let refused = [
            "relative",
            "/",
            "//",
            "/a/../etc",
            "/proc",
            "/proc/1",
            "/dev/shm",
            "/sys/x",
            "/output",
            "/output/deeper",
        ];
        for target in refused {
            assert!(check_target(Path::new(target)).is_err(), "{target}");
        }
        for target in ["/usr/local", "/tmp/x", "/procfs", "/work//ws/."] {
            assert!(check_target(Path::new(target)).is_ok(), "{target}");
        }
    }

    #[test]
    fn a_mask_that_could_be_created_later_is_refused() {
        let host = tempfile::tempdir().expect("temporary directory");
        let mut policy = Policy::new(Isolation::Full);
        policy.binds.push(Bind {
            source: host.path().to_path_buf(),
            target: host.path().to_path_buf(),
            access: Access::ReadWrite,
        });
        policy.masks.push(host.path().join("absent"));
        let refused = policy.plan();
        assert!(
            matches!(refused, Err(PlanError::MaskMissing { .. })),
            "{refused:?}"
        );
        policy.masks = vec![host.path().to_path_buf()];
        let refused = policy.plan();
        assert!(
            matches!(refused, Err(PlanError::MaskedSource { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn outer_targets_come_first() {
        let host = tempfile::tempdir().expect("temporary directory");
        let mut policy = Policy::new(Isolation::Full);
        for target in ["/a/b/c", "/a", "/a/b"] {
            policy.binds.push(Bind {
                source: host.path().to_path_buf(),
                target: target.into(),
                access: Access::ReadOnly,
            });
        }
        let plan: Plan = policy.plan().expect("plans");
        let targets: Vec<_> = plan
            .spec
            .binds
            .iter()
            .map(|bind| bind.target.to_string())
            .collect();
        assert!(
            targets.ends_with(&["/a".into(), "/a/b".into(), "/a/b/c".into()]),
            "{targets:?}"
        );
        assert_eq!(plan.spec.binds.len(), plan.descriptors.len());
    }
}
