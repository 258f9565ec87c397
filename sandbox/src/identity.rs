//! Which id the workload has, inside and on the host.
//!
//! Owns the choice of ids and the writing of id maps. Never maps the host's root into a sandbox.
//! Invariant: a user namespace made here maps exactly one user and one group.

use crate::failure::{At, Failure, Step};
use crate::sys::credential;
use nix::unistd::{getegid, geteuid};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// User and group id on the host of a workload that root started. It lies above the 16-bit ids and above the first
/// range that `useradd` delegates (100,000 to 165,535), so that no account and no container of the host has it.
pub const SANDBOX_HOST_ID: u32 = 165_536;

/// The host id where [`SANDBOX_HOST_ID`] does not exist, as in a container that has 65,536 ids: one below `nobody`,
/// which network filesystems give to strangers.
pub const NARROW_HOST_ID: u32 = 65_533;

/// User and group id inside of a workload that root started.
pub const SANDBOX_ID: u32 = 1_000;

/// CAP_SYS_ADMIN's number.
const SYSTEM_ADMINISTRATION: u32 = 21;

/// The ids of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) inside_user: u32,
    pub(crate) inside_group: u32,
    pub(crate) host_user: u32,
    pub(crate) host_group: u32,
    pub(crate) starter: Starter,
}

/// Who started the launch helper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Starter {
    /// Root with CAP_SYS_ADMIN: mounts can be copied and id-mapped before the sandbox is entered.
    Administrator,
    /// Root without it, as in a default container.
    PlainRoot,
    /// Anybody else.
    User,
}

impl Identity {
    /// Chooses the ids from those of the calling process.
    pub(crate) fn choose() -> Self {
        let (user, group) = (geteuid().as_raw(), getegid().as_raw());
        if user != 0 {
            return Self {
                inside_user: user,
                inside_group: group,
                host_user: user,
                host_group: group,
                starter: Starter::User,
            };
        }
        let is_wide = ["/proc/self/uid_map", "/proc/self/gid_map"]
            .iter()
            .all(|path| fs::read_to_string(path).is_ok_and(|map| covers(&map, SANDBOX_HOST_ID)));
        let host = if is_wide {
            SANDBOX_HOST_ID
        } else {
            NARROW_HOST_ID
        };
        let is_administrator = credential::has_capability(SYSTEM_ADMINISTRATION).unwrap_or(false);
        Self {
            inside_user: SANDBOX_ID,
            inside_group: SANDBOX_ID,
            host_user: host,
            host_group: host,
            starter: if is_administrator {
                Starter::Administrator
            } else {
                Starter::PlainRoot
            },
        }
    }

    /// Writes the maps of the user namespace of `pid`.
    pub(crate) fn write_maps(self, pid: i32) -> Result<(), Failure> {
        if self.starter == Starter::User {
            // An ordinary user may map a group only after giving up setgroups, user_namespaces(7).
            write(pid, "setgroups", "deny")?;
        }
        write_map(pid, "uid_map", self.inside_user, self.host_user)?;
        write_map(pid, "gid_map", self.inside_group, self.host_group)
    }
}

/// Writes a map of one id.
pub(crate) fn write_map(pid: i32, name: &str, inside: u32, outside: u32) -> Result<(), Failure> {
    write(pid, name, &format!("{inside} {outside} 1\n"))
}

fn write(pid: i32, name: &str, text: &str) -> Result<(), Failure> {
    let path = Path::new("/proc").join(pid.to_string()).join(name);
    fs::write(path, text).at(Step::WriteIdMaps, name)
}

/// Tells whether a map, as the kernel prints it, has the id on its inside.
fn covers(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u64>);
        let (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return false;
        };
        (first..first.saturating_add(count)).contains(&u64::from(id))
    })
}

#[cfg(test)]
mod tests {
    use super::{SANDBOX_HOST_ID, covers};

    #[test]
    fn a_map_covers_its_range_and_nothing_else() {
        assert!(covers("         0          0 4294967295", SANDBOX_HOST_ID));
        assert!(!covers("         0     100000      65536", SANDBOX_HOST_ID));
        assert!(covers("0 100000 65536\n165536 500000 1\n", SANDBOX_HOST_ID));
        assert!(!covers("", SANDBOX_HOST_ID));
    }
}
