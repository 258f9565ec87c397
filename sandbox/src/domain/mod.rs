//! The Landlock domain: what the workload may do with files, told to the kernel a second time, landlock(7).
//!
//! Owns the rules. Never shows or hides anything: that is the private root, and this wall stands behind it.
//! Invariant: nothing may be written that the policy does not make writable, whatever a mount's flags say; nothing can be
//! mounted any more; and nobody outside of the domain is reached by signal or by abstract socket.
//!
//! | where | what |
//! | --- | --- |
//! | everywhere | read, list, execute |
//! | `/tmp`, home, `/dev/shm`, the output directory, further tmpfs, writable binds | also write, make, remove, move; no device files |
//! | `/dev` | also write, and control devices |
//! | `/proc` | also write, as far as its own permissions go |
//! | binds that the policy names | also connect to sockets there, from ABI 9 on |
//!
//! In the tier container there is no private root, and the domain is the first wall: `container` has its rules.
//!
//! Right after right is taken as the kernel has it. Below [`LOWEST_ABI`] there is no domain: the first version forbids
//! every move between directories, which workloads do all the time.

mod container;

pub(crate) use container::enter as enter_container;

use crate::beneath;
use crate::failure::{At, Failure, Step};
use crate::layer::{Layer, MissingLayer};
use crate::plan::{BindSpec, Kind, PlanSpec, Role, open_exactly};
use crate::policy::{HOME, OUTPUT};
use crate::sys::landlock::version;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
    make_bitflags,
};
use nix::libc;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The first version with the right to move between directories, Linux 5.19.
const LOWEST_ABI: u32 = 2;

/// The newest version whose rights are known here. What a newer kernel could refuse beyond them it does not refuse.
const HIGHEST_ABI: ABI = ABI::V9;

/// Whether a plan has a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum DomainSpec {
    /// With the kernel's version of Landlock.
    Restrict { abi: u32 },
    /// Why not.
    LeaveOff { reason: String },
}

impl DomainSpec {
    /// Asks the kernel which version it has.
    pub(crate) fn of_kernel() -> Self {
        match version() {
            Err(error) => Self::LeaveOff {
                reason: Failure::new(Step::RestrictFiles, "files", &error).to_string(),
            },
            Ok(abi) if abi < LOWEST_ABI => Self::LeaveOff {
                reason: format!(
                    "version {abi} of the kernel's Landlock forbids moving files between directories"
                ),
            },
            Ok(abi) => Self::Restrict { abi },
        }
    }

    /// Returns the kernel's version, if there is to be a domain.
    pub(crate) fn abi(&self) -> Option<u32> {
        match self {
            Self::Restrict { abi } => Some(*abi),
            Self::LeaveOff { .. } => None,
        }
    }
}

/// Restricts the calling process and all that it starts. `binds` are the roots of the plan's binds, as they are mounted.
pub(crate) fn enter(plan: &PlanSpec, binds: &[OwnedFd]) -> Result<Option<MissingLayer>, Failure> {
    restrict(plan, Ports::Free, |mut ruleset| {
        let root = open_exactly(Path::new("/")).at(Step::RestrictFiles, "/")?;
        for (path, rights) in places(plan.output_bytes.is_some()) {
            let place =
                beneath::open(root.as_fd(), Path::new(path)).at(Step::RestrictFiles, path)?;
            ruleset = allow(ruleset, place.as_fd(), rights)?;
        }
        for tmpfs in &plan.tmpfs {
            let target = &tmpfs.target;
            let place =
                beneath::open(root.as_fd(), target.as_path()).at(Step::RestrictFiles, target)?;
            ruleset = allow(ruleset, place.as_fd(), in_writable())?;
        }
        for (bind, root) in plan.binds.iter().zip(binds) {
            let rights = of_bind(plan, bind);
            if !rights.is_empty() {
                ruleset = allow(ruleset, root.as_fd(), rights)?;
            }
        }
        Ok(ruleset)
    })
}

/// What a domain says about TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ports {
    /// Nothing.
    Free,
    /// None is bound, and none connected to but those of rules.
    Closed,
}

/// Makes the domain of a plan with the rules that are added, and enters it.
///
/// A kernel that refuses at this point leaves the layer out, and that is reported.
fn restrict(
    plan: &PlanSpec,
    ports: Ports,
    add: impl FnOnce(RulesetCreated) -> Result<RulesetCreated, Failure>,
) -> Result<Option<MissingLayer>, Failure> {
    if let DomainSpec::LeaveOff { reason } = &plan.domain {
        return Ok(Some(MissingLayer::new(Layer::Landlock, reason)));
    }
    let missing = |failure: Failure| match failure.errno {
        // A filter around us, or 16 domains around us already.
        libc::EPERM | libc::ENOSYS | libc::EOPNOTSUPP | libc::E2BIG => Ok(Some(MissingLayer::new(
            Layer::Landlock,
            failure.to_string(),
        ))),
        _ => Err(failure),
    };
    let ruleset = match empty_ruleset(ports) {
        Ok(ruleset) => ruleset,
        Err(error) => return missing(failed(&error)),
    };
    match add(ruleset)?.restrict_self() {
        Ok(status) if status.ruleset == RulesetStatus::NotEnforced => {
            let error = io::Error::from_raw_os_error(libc::EOPNOTSUPP);
            missing(Failure::new(Step::RestrictFiles, "files", &error))
        }
        Ok(_) => Ok(None),
        Err(error) => missing(failed(&error)),
    }
}

/// Restricts the calling process to nothing at all, to see whether the kernel does it.
pub(crate) fn try_out() -> io::Result<()> {
    match empty_ruleset(Ports::Free).and_then(RulesetCreated::restrict_self) {
        Ok(status) if status.ruleset == RulesetStatus::NotEnforced => {
            Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(cause(&error)),
    }
}

/// Names all rights that are refused unless a rule gives them.
fn empty_ruleset(ports: Ports) -> Result<RulesetCreated, RulesetError> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(HIGHEST_ABI))?
        .scope(Scope::from_all(HIGHEST_ABI))?;
    match ports {
        Ports::Free => ruleset,
        Ports::Closed => ruleset.handle_access(AccessNet::from_all(HIGHEST_ABI))?,
    }
    .create()
}

fn allow(
    ruleset: RulesetCreated,
    place: BorrowedFd<'_>,
    rights: BitFlags<AccessFs>,
) -> Result<RulesetCreated, Failure> {
    let rule = PathBeneath::new(place, rights);
    ruleset.add_rule(rule).map_err(|error| failed(&error))
}

fn failed(error: &RulesetError) -> Failure {
    Failure::new(Step::RestrictFiles, "files", &cause(error))
}

/// What every sandbox has.
fn places(has_output: bool) -> Vec<(&'static str, BitFlags<AccessFs>)> {
    let write = AccessFs::WriteFile | AccessFs::Truncate;
    let mut places = vec![
        ("/", AccessFs::from_read(HIGHEST_ABI)),
        ("/dev", AccessFs::WriteFile | AccessFs::IoctlDev),
        ("/proc", write),
        ("/tmp", in_writable()),
        (HOME, in_writable()),
        ("/dev/shm", in_writable()),
    ];
    if has_output {
        places.push((OUTPUT, in_writable()));
    }
    places
}

/// Everything but the making of device files, and their control.
fn in_writable() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{
        WriteFile | Truncate | RemoveDir | RemoveFile | MakeDir | MakeReg | MakeSock | MakeFifo
        | MakeSym | Refer | ResolveUnix
    })
}

/// What a bind gives beyond reading.
fn of_bind(plan: &PlanSpec, bind: &BindSpec) -> BitFlags<AccessFs> {
    let rights = match bind.role {
        Role::System => BitFlags::EMPTY,
        Role::Extra | Role::Workspace if plan.is_writable(bind) => in_writable(),
        Role::Extra | Role::Workspace => AccessFs::ResolveUnix.into(),
    };
    match bind.kind {
        Kind::Directory => rights,
        Kind::File => rights & (AccessFs::WriteFile | AccessFs::Truncate | AccessFs::ResolveUnix),
    }
}

/// Finds the error of the system below those of the rules.
fn cause(error: &RulesetError) -> io::Error {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        let number = error.downcast_ref::<io::Error>();
        if let Some(number) = number.and_then(io::Error::raw_os_error) {
            return io::Error::from_raw_os_error(number);
        }
        next = error.source();
    }
    io::ErrorKind::InvalidInput.into()
}
