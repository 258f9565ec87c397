//! The birth of one sandbox.
//!
//! Owns the parent's half of a build. Never leaves a child behind when it fails.

use crate::cgroup::Joins;
use crate::confine::{Child, Parent};
use crate::failure::{At, Failure, Step};
use crate::host_mount::{self, Owners};
use crate::identity::{Identity, Starter};
use crate::layer::{Layer, MissingLayer};
use crate::plan::{BindSpec, PlanSpec, Role};
use crate::policy::{Access, Isolation, Network, SCRATCH_DIRECTORIES};
use crate::protocol::{Go, HandedOver, SetUp};
use crate::sweep;
use crate::sys::process::{clone_into, exit_now, reap_exactly};
use crate::sys::signal;
use crate::wire::{self, Deadline};
use nix::libc;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::rc::Rc;

/// A sandbox that is ready.
pub(super) struct Born {
    pub(super) pid: i32,
    pub(super) lifeline: OwnedFd,
    pub(super) missing: Vec<MissingLayer>,
    pub(super) identity: Identity,
    pub(super) handed_over: Vec<OwnedFd>,
}

/// Builds a sandbox. The child of a failed build is killed here and reaped by the server's loop.
pub(super) fn build(
    plan: PlanSpec,
    descriptors: Vec<OwnedFd>,
    deadline: Deadline,
    parent: Parent,
) -> Result<Born, Failure> {
    let mut descriptors = descriptors.into_iter();
    let (Some(control), Some(reports)) = (descriptors.next(), descriptors.next()) else {
        let error = io::Error::from(io::ErrorKind::InvalidInput);
        return Err(Failure::new(Step::Exchange, "the supervisor", &error));
    };
    let joins = Joins::take(plan.limits.group.as_ref(), &mut descriptors);
    let planned: Vec<OwnedFd> = descriptors.collect();
    let isolation = plan.isolation;
    let mut missing = Vec::new();
    let mut identity = Identity::choose().seen_as(plan.inside_user, plan.inside_group);
    let mut copied = None;
    match isolation {
        Isolation::Full => {
            (identity, copied) = match copy_binds(&plan, &planned, identity, &mut missing) {
                // Where namespaces are refused as well, that is the reason.
                Err(failure) if failure.step == Step::MapOwners => {
                    try_namespaces(&plan)?;
                    return Err(failure);
                }
                other => other?,
            };
        }
        Isolation::Container => {
            let workspace = plan.binds.iter().find(|bind| bind.role == Role::Workspace);
            let reason;
            (identity, reason) = Identity::choose_without_namespace(workspace);
            missing.extend(reason.map(|why| MissingLayer::new(Layer::UnprivilegedId, why)));
            make_directories(&plan, identity)?;
        }
        Isolation::None => {}
    }
    let helper = sweep::own_pid().at(Step::PrepareInit, "the launch helper")?;
    let (ours, lifeline) = wire::pair().at(Step::PrepareInit, "the lifeline")?;
    // Without isolation only the launches are born in the group, so that it can be killed without the init.
    let birthplace = joins.birthplace().filter(|_| isolation != Isolation::None);
    let (child, is_in_group) = match clone_into(namespaces(&plan), birthplace) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) && birthplace.is_some() => {
            (clone_into(namespaces(&plan), None), false)
        }
        other => (other, birthplace.is_some()),
    };
    let Some(pid) = child.at(Step::CreateNamespaces, "the sandbox")? else {
        drop(ours);
        let child = Child {
            plan: Rc::new(plan),
            identity,
            control,
            reports,
            lifeline,
            joins,
            planned,
            copied,
            handed_over: HandedOver::default(),
            birthplace: None,
            has_proc: true,
            deadline,
            helper,
            parent,
        };
        child.run();
    };
    drop(lifeline);
    let outcome = (|| {
        if isolation != Isolation::None && !is_in_group {
            joins.attach(pid).at(Step::JoinGroup, "cgroup.procs")?;
        }
        if isolation == Isolation::Full {
            identity.write_maps(pid)?;
        }
        wire::send(ours.as_fd(), &Go, &[]).at(Step::Exchange, "the in-sandbox init")?;
        let (outcome, descriptors) = wire::receive_before::<SetUp>(ours.as_fd(), deadline)
            .at(Step::Exchange, "the in-sandbox init")?;
        match outcome {
            SetUp::Ready(more) => Ok((more, descriptors)),
            SetUp::Failed(failure) => Err(failure),
        }
    })();
    match outcome {
        Ok((more, handed_over)) => {
            missing.extend(more);
            Ok(Born {
                pid,
                lifeline: ours,
                missing,
                identity,
                handed_over,
            })
        }
        Err(failure) => {
            let _ = signal::send(pid, libc::SIGKILL);
            Err(failure)
        }
    }
}

/// The namespaces that a sandbox is born in. That of control groups begins where a process is when it is made, so the child
/// makes it once it is in its group; and that of the network is made beside all that follows, for it takes the longest.
fn namespaces(plan: &PlanSpec) -> i32 {
    match plan.isolation {
        Isolation::Container | Isolation::None => 0,
        Isolation::Full => {
            libc::CLONE_NEWUSER
                | libc::CLONE_NEWNS
                | libc::CLONE_NEWPID
                | libc::CLONE_NEWIPC
                | libc::CLONE_NEWUTS
        }
    }
}

/// Makes a child in all namespaces of a plan that ends at once.
fn try_namespaces(plan: &PlanSpec) -> Result<(), Failure> {
    let network = match plan.network {
        Network::Host => 0,
        Network::None | Network::Proxy => libc::CLONE_NEWNET,
    };
    let all = namespaces(plan) | network;
    match clone_into(all, None).at(Step::CreateNamespaces, "the sandbox")? {
        None => exit_now(0),
        Some(pid) => reap_exactly(pid).at(Step::CreateNamespaces, "the sandbox"),
    }
}

/// Makes the directories of the run for the workload alone.
fn make_directories(plan: &PlanSpec, identity: Identity) -> Result<(), Failure> {
    let Some(scratch) = &plan.scratch else {
        return Ok(());
    };
    let make = |path: &Path| {
        DirBuilder::new().mode(0o700).create(path)?;
        if identity.is_kept() {
            return Ok(());
        }
        std::os::unix::fs::chown(path, Some(identity.host_user), Some(identity.host_group))
    };
    for name in SCRATCH_DIRECTORIES {
        let path = scratch.as_path().join(name);
        make(&path).at(Step::MakeDirectory, path.display())?;
    }
    if identity.is_kept() {
        return Ok(());
    }
    // To pass, not to list.
    let passable = Permissions::from_mode(0o711);
    fs::set_permissions(scratch.as_path(), passable).at(Step::MakeDirectory, scratch)
}

type Copies = Option<Vec<OwnedFd>>;

/// Copies the binds where that must happen outside, and settles under which host id the workload may write.
///
/// A writable workspace of another owner is id-mapped; where that is refused, the workload gets its owner's id, unless
/// that is root: then the build fails.
fn copy_binds(
    plan: &PlanSpec,
    planned: &[OwnedFd],
    chosen: Identity,
    missing: &mut Vec<MissingLayer>,
) -> Result<(Identity, Copies), Failure> {
    let workspace = plan.binds.iter().find(|bind| bind.role == Role::Workspace);
    let not_mapped = |reason: &str| MissingLayer::new(Layer::IdMappedWorkspace, reason);
    match chosen.starter {
        Starter::User => {
            missing.push(not_mapped(
                "the workload has the id of the ordinary user who started it",
            ));
            Ok((chosen, None))
        }
        Starter::PlainRoot => {
            missing.push(not_mapped(
                "root may not map ids here, it lacks CAP_SYS_ADMIN",
            ));
            let identity = workspace.map_or(Ok(chosen), |bind| as_owner(bind, chosen))?;
            Ok((identity, None))
        }
        Starter::Administrator => {
            let mut identity = chosen;
            let (copies, owners) = match copy_all(plan, planned, identity) {
                Ok(copies) => copies,
                Err(failure) if failure.step == Step::MapOwners => {
                    let Some(bind) = workspace else {
                        return Err(failure);
                    };
                    identity = as_owner(bind, chosen).map_err(|_| failure)?;
                    copy_all(plan, planned, identity)?
                }
                Err(failure) => return Err(failure),
            };
            if owners == Owners::AsTheyAre {
                missing.push(not_mapped(match workspace {
                    None => "the policy has no workspace",
                    Some(_) => "its owner needs none, or its filesystem does not allow it",
                }));
            }
            Ok((identity, Some(copies)))
        }
    }
}

fn copy_all(
    plan: &PlanSpec,
    planned: &[OwnedFd],
    identity: Identity,
) -> Result<(Vec<OwnedFd>, Owners), Failure> {
    let mut workspace_owners = Owners::AsTheyAre;
    let mut copies = Vec::new();
    for (bind, source) in plan.binds.iter().zip(planned) {
        let (copied, owners) = host_mount::copy(bind, source.as_fd(), identity)?;
        if bind.role == Role::Workspace {
            workspace_owners = owners;
        }
        copies.push(copied);
    }
    Ok((copies, workspace_owners))
}

/// Gives the workload the id of a workspace's owner, so that it may write there. Never root's.
fn as_owner(bind: &BindSpec, identity: Identity) -> Result<Identity, Failure> {
    if bind.owner == 0 || bind.group == 0 {
        if bind.access == Access::ReadOnly {
            return Ok(identity);
        }
        let error = io::Error::from_raw_os_error(libc::EPERM);
        return Err(Failure::new(Step::MapOwners, &bind.source, &error));
    }
    Ok(Identity {
        host_user: bind.owner,
        host_group: bind.group,
        ..identity
    })
}
