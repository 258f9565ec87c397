//! Which id the workload has, inside and on the host.
//!
//! Owns the choice of ids and the writing of id maps. Never maps the host's root into a sandbox.
//! Invariant: a user namespace made here maps exactly one user and one group.

use crate::failure::{At, Failure, Step};
use crate::plan::BindSpec;
use crate::policy::Access;
use crate::sys::credential;
use nix::unistd::{getegid, geteuid};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The first of the user and group ids on the host that workloads have which root started: the id is this and the pid of
/// the launch helper, which no other run has meanwhile. Pids end at 4,194,304. The ids lie above those that `useradd` delegates
/// (up to 600,100,000) and those of systemd's containers (up to 1,879,048,191), so that no account and no container of the
/// host has them.
pub const FIRST_HOST_ID: u32 = 0x7000_0000;

/// The host id where such ids do not exist, as in a container that has 65,536 ids: one below `nobody`, which network
/// filesystems give to strangers. Runs share it.
pub const NARROW_HOST_ID: u32 = 65_533;

/// User and group id inside of a workload that root started.
pub const SANDBOX_ID: u32 = 1_000;

/// CAP_SYS_ADMIN's number.
pub(crate) const SYSTEM_ADMINISTRATION: u32 = 21;

/// What root needs to give a workload another id without a user namespace, and to end and tidy up behind it: CAP_CHOWN,
/// CAP_DAC_OVERRIDE, CAP_KILL, CAP_SETGID, CAP_SETUID.
const CHANGING_IDS: [u32; 5] = [0, 1, 5, 6, 7];

/// Bits of a pid, and of the pid namespace beside it, in an id: containers have the same pids, and one set of ids.
const PID_BITS: u64 = 22;
const NAMESPACE_MASK: u64 = 0x3f;

/// The ids of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) inside_user: u32,
    pub(crate) inside_group: u32,
    pub(crate) host_user: u32,
    pub(crate) host_group: u32,
    pub(crate) starter: Starter,
    /// Whether no process outside of the sandbox has the id.
    pub(crate) is_own: bool,
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
                is_own: false,
            };
        }
        let own = FIRST_HOST_ID.saturating_add(std::process::id());
        let is_wide = exists(own);
        let host = if is_wide { own } else { NARROW_HOST_ID };
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
            is_own: is_wide,
        }
    }

    /// The same with other ids inside, where a policy names them.
    pub(crate) fn seen_as(self, user: Option<u32>, group: Option<u32>) -> Self {
        Self {
            inside_user: user.unwrap_or(self.inside_user),
            inside_group: group.unwrap_or(self.inside_group),
            ..self
        }
    }

    /// Chooses the ids where there is no user namespace, from those of the calling process; the reason is why the workload
    /// keeps root's.
    pub(crate) fn choose_without_namespace(
        workspace: Option<&BindSpec>,
    ) -> (Self, Option<&'static str>) {
        let (user, group) = (geteuid().as_raw(), getegid().as_raw());
        let (starter, is_own) = match user {
            0 => (Starter::PlainRoot, false),
            _ => (Starter::User, false),
        };
        let as_ids = |user, group, is_own| Self {
            inside_user: user,
            inside_group: group,
            host_user: user,
            host_group: group,
            starter,
            is_own,
        };
        let kept = as_ids(user, group, is_own);
        if starter == Starter::User {
            return (kept, None);
        }
        let may_change = CHANGING_IDS
            .iter()
            .all(|number| credential::has_capability(*number).unwrap_or(false));
        if !may_change {
            return (
                kept,
                Some("root may not change ids here, it lacks capabilities"),
            );
        }
        let owned = workspace.filter(|bind| bind.access == Access::ReadWrite || is_closed(bind));
        match owned.map(|bind| (bind.owner, bind.group)) {
            Some((0, _)) => (kept, Some("the workspace belongs to root")),
            Some((owner, 0)) => (as_ids(owner, owner, false), None),
            Some((owner, group)) => (as_ids(owner, group, false), None),
            None => {
                let namespace = fs::metadata("/proc/self/ns/pid").map_or(0, |file| file.ino());
                let offset =
                    (namespace & NAMESPACE_MASK) << PID_BITS | u64::from(std::process::id());
                let own =
                    u32::try_from(offset).map_or(0, |offset| FIRST_HOST_ID.saturating_add(offset));
                match exists(own) {
                    true => (as_ids(own, own, true), None),
                    false => (as_ids(NARROW_HOST_ID, NARROW_HOST_ID, false), None),
                }
            }
        }
    }

    /// Whether the workload has the id of whoever started the launch helper.
    pub(crate) fn is_kept(self) -> bool {
        self.host_user == geteuid().as_raw()
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

/// Tells whether an id exists in the user namespace of the calling process.
fn exists(id: u32) -> bool {
    ["/proc/self/uid_map", "/proc/self/gid_map"]
        .iter()
        .all(|path| fs::read_to_string(path).is_ok_and(|map| covers(&map, id)))
}

/// Tells whether a directory is closed to those who are neither its owner nor in its group.
fn is_closed(bind: &BindSpec) -> bool {
    fs::metadata(bind.source.as_path()).is_ok_and(|file| file.mode() & 0o5 != 0o5)
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
    use super::{FIRST_HOST_ID, covers};

    #[test]
    fn a_map_covers_its_range_and_nothing_else() {
        assert!(covers("         0          0 4294967295", FIRST_HOST_ID));
        assert!(!covers("         0     100000      65536", FIRST_HOST_ID));
        assert!(covers("0 100000 65536\n165536 500000 1\n", 165_536));
        assert!(!covers("", FIRST_HOST_ID));
    }
}
