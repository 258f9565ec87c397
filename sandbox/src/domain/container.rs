//! The domain of the tier container: the one wall between the workload and the files of the container.
//!
//! Owns its rules. Never hides a name: what no rule opens is there and closed. Invariant: what the policy masks is opened
//! nowhere, and with a network other than the host's no TCP port is bound, and none connected to but the proxy's.
//!
//! | where | what |
//! | --- | --- |
//! | system directories, without their secrets | read, list, execute |
//! | workspace and binds | as the policy says |
//! | the directories of the run | everything but device files |
//! | harmless devices | read, write, control |
//! | `/proc` | read; also write with an id of its own, as far as its own permissions go |
//! | `/dev/pts`, `/dev/ptmx`, `/dev/shm` | with an id of its own, as everywhere: its owner keeps others out |

use super::{DomainSpec, HIGHEST_ABI, Ports, allow, failed, in_writable, of_bind, restrict};
use crate::failure::{At, Failure, Step};
use crate::identity::Identity;
use crate::layer::MissingLayer;
use crate::plan::{Kind, PlanSpec, open_exactly};
use crate::policy::{Network, SCRATCH_DIRECTORIES};
use crate::root::is_device;
use landlock::{AccessFs, AccessNet, BitFlags, NetPort, RulesetCreated, RulesetCreatedAttr};
use nix::libc;
use nix::unistd::{AccessFlags, access};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The version that keeps signals and abstract sockets within the domain, Linux 6.12.
const SCOPES_ABI: u32 = 6;

/// The version with rules for TCP, Linux 6.7.
const PORTS_ABI: u32 = 4;

/// Restricts the calling process and all that it starts. `port` is the proxy's.
pub(crate) fn enter(
    plan: &PlanSpec,
    planned: &[OwnedFd],
    identity: Identity,
    port: Option<u16>,
) -> Result<Option<MissingLayer>, Failure> {
    let ports = match plan.network {
        Network::None | Network::Proxy => Ports::Closed,
        Network::Host => Ports::Free,
    };
    let missing = restrict(plan, ports, |mut ruleset| {
        let read = AccessFs::from_read(HIGHEST_ABI);
        let hidden: Vec<PathBuf> = plan
            .system_masks
            .iter()
            .map(|mask| mask.as_path().to_path_buf())
            .filter(|path| is_readable(path, identity))
            .collect();
        for (bind, place) in plan.binds.iter().zip(planned) {
            let rights = match bind.kind {
                Kind::Directory => read,
                Kind::File => AccessFs::ReadFile | AccessFs::Execute,
            };
            let rights = rights | of_bind(plan, bind);
            ruleset = show(ruleset, bind.source.as_path(), place, rights, &hidden)?;
        }
        let write = AccessFs::WriteFile | AccessFs::Truncate;
        let look = AccessFs::ReadFile | AccessFs::ReadDir;
        let mut places: Vec<(PathBuf, BitFlags<AccessFs>)> = Vec::new();
        if let Some(scratch) = &plan.scratch {
            let made = SCRATCH_DIRECTORIES.iter();
            places.extend(made.map(|name| (scratch.as_path().join(name), read | in_writable())));
        }
        if identity.is_own {
            places.push(("/proc".into(), look | write));
            places.push(("/dev/pts".into(), look | write | AccessFs::IoctlDev));
            places.push(("/dev/shm".into(), read | in_writable()));
        } else {
            places.push(("/proc".into(), look));
        }
        for (path, rights) in places {
            match open_exactly(&path) {
                Ok(place) => ruleset = allow(ruleset, place.as_fd(), rights)?,
                // Not every container has each of them.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(Failure::new(Step::RestrictFiles, path.display(), &error));
                }
            }
        }
        let control = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
        for (path, number) in crate::root::devices(identity.is_own) {
            if let Ok(device) = open_exactly(Path::new(path))
                && is_device(&device, number).at(Step::CheckSource, path)?
            {
                ruleset = allow(ruleset, device.as_fd(), control)?;
            }
        }
        if let Some(port) = port {
            let rule = NetPort::new(port, AccessNet::ConnectTcp);
            ruleset = ruleset.add_rule(rule).map_err(|error| failed(&error))?;
        }
        Ok(ruleset)
    })?;
    // What nothing else holds is not left to luck.
    let abi = match (&plan.domain, &missing) {
        (DomainSpec::Restrict { abi }, None) => *abi,
        _ => 0,
    };
    let needs = [
        (
            !identity.is_own,
            SCOPES_ABI,
            "signals: the workload has the id of others, and version 6 is needed to keep it from them",
        ),
        (
            port.is_some(),
            PORTS_ABI,
            "connections: version 4 is needed to allow the port of the proxy alone",
        ),
    ];
    for (is_needed, lowest, object) in needs {
        if is_needed && abi < lowest {
            let error = io::Error::from_raw_os_error(libc::ENOSYS);
            return Err(Failure::new(Step::RestrictFiles, object, &error));
        }
    }
    Ok(missing)
}

/// Opens what is at `path` but for what is hidden: where something is, the entries beside it are opened one by one, and
/// the directory itself is not listed.
fn show(
    mut ruleset: RulesetCreated,
    path: &Path,
    place: &OwnedFd,
    rights: BitFlags<AccessFs>,
    hidden: &[PathBuf],
) -> Result<RulesetCreated, Failure> {
    if !hidden.iter().any(|hidden| hidden.starts_with(path)) {
        return allow(ruleset, place.as_fd(), rights);
    }
    if hidden.iter().any(|hidden| hidden == path) {
        return Ok(ruleset);
    }
    for entry in path
        .read_dir()
        .at(Step::RestrictFiles, path.display())?
        .flatten()
    {
        let path = entry.path();
        // A link leads where another rule opens it or none.
        let Ok(place) = open_exactly(&path) else {
            continue;
        };
        let rights = match entry.file_type() {
            Ok(kind) if kind.is_dir() => rights,
            _ => rights & AccessFs::from_file(HIGHEST_ABI),
        };
        ruleset = show(ruleset, &path, &place, rights, hidden)?;
    }
    Ok(ruleset)
}

/// Whether permissions let the workload read or enter a path.
fn is_readable(path: &Path, identity: Identity) -> bool {
    let Ok(file) = path.symlink_metadata() else {
        // Nor can this process, which has the workload's id by now.
        return false;
    };
    match identity.is_own {
        true => file.mode() & 0o7 != 0,
        false => access(path, AccessFlags::R_OK).is_ok() || access(path, AccessFlags::X_OK).is_ok(),
    }
}
