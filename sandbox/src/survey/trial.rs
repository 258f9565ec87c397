//! The trials: which calls each makes.
//!
//! Runs in a child that ends right after. Never touches a file of the host.

use crate::domain;
use crate::filter;
use crate::identity::NARROW_HOST_ID;
use crate::sys::{credential, mount, network};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount as attach};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, chdir, getegid, geteuid, mkdir, pivot_root};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsFd;

/// A directory that every host has, over which a trial may attach a filesystem in its own mount namespace.
const STAGE: &str = "/proc";

/// A step of a sandbox that a host may refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trial {
    /// A user namespace.
    UserNamespace,
    /// Its uid and gid maps.
    IdMaps,
    /// A mount namespace in it.
    MountNamespace,
    /// A pid namespace in it.
    PidNamespace,
    /// A network namespace in it, and its loopback brought up.
    NetworkNamespace,
    /// An IPC namespace in it.
    IpcNamespace,
    /// A UTS namespace in it, and its host name set.
    UtsNamespace,
    /// A cgroup namespace in it.
    CgroupNamespace,
    /// A tmpfs in it.
    Tmpfs,
    /// A root exchanged for another in it.
    PivotRoot,
    /// A fresh procfs of its own pid namespace.
    Procfs,
    /// Terminals of its own.
    Devpts,
    /// An overlay with its upper side on a tmpfs.
    Overlay,
    /// A Landlock domain.
    Landlock,
    /// A filter of system calls.
    Seccomp,
    /// Another user id than the caller's, without a user namespace.
    OtherId,
}

/// What a trial ran into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The call, as one would write it.
    pub call: String,
    /// The errno that the kernel gave; none where the process was killed for the call.
    pub errno: Option<i32>,
}

impl Refusal {
    pub(super) fn new(call: impl Into<String>, errno: Errno) -> Self {
        Self {
            call: call.into(),
            errno: Some(errno as i32),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errno {
            Some(errno) => write!(f, "{}: {}", self.call, Errno::from_raw(errno)),
            None => f.write_str(&self.call),
        }
    }
}

/// What came of a trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The trial.
    pub trial: Trial,
    /// What stopped it; none if it held.
    pub refusal: Option<Refusal>,
}

/// A call that failed, in the child.
pub(super) struct Refused {
    pub(super) call: &'static str,
    pub(super) errno: Errno,
}

pub(super) type Attempt = Result<(), Refused>;

/// Names the call of a result.
trait By<T> {
    fn by(self, call: &'static str) -> Result<T, Refused>;
}

impl<T> By<T> for nix::Result<T> {
    fn by(self, call: &'static str) -> Result<T, Refused> {
        self.map_err(|errno| Refused { call, errno })
    }
}

impl<T> By<T> for io::Result<T> {
    fn by(self, call: &'static str) -> Result<T, Refused> {
        self.map_err(|error| Refused {
            call,
            errno: error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
        })
    }
}

impl Trial {
    /// Every trial, in the order in which a sandbox needs them.
    pub const ALL: [Self; 16] = [
        Self::UserNamespace,
        Self::IdMaps,
        Self::MountNamespace,
        Self::PidNamespace,
        Self::NetworkNamespace,
        Self::IpcNamespace,
        Self::UtsNamespace,
        Self::CgroupNamespace,
        Self::Tmpfs,
        Self::PivotRoot,
        Self::Procfs,
        Self::Devpts,
        Self::Overlay,
        Self::Landlock,
        Self::Seccomp,
        Self::OtherId,
    ];

    /// Returns the name on the wire and for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UserNamespace => "user-namespace",
            Self::IdMaps => "id-maps",
            Self::MountNamespace => "mount-namespace",
            Self::PidNamespace => "pid-namespace",
            Self::NetworkNamespace => "network-namespace",
            Self::IpcNamespace => "ipc-namespace",
            Self::UtsNamespace => "uts-namespace",
            Self::CgroupNamespace => "cgroup-namespace",
            Self::Tmpfs => "tmpfs",
            Self::PivotRoot => "pivot-root",
            Self::Procfs => "procfs",
            Self::Devpts => "devpts",
            Self::Overlay => "overlay",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::OtherId => "other-id",
        }
    }

    /// Does it, in the child.
    pub(super) fn attempt(self) -> Attempt {
        match self {
            Self::UserNamespace => user_namespace(),
            Self::IdMaps => id_maps(),
            Self::MountNamespace => mount_namespace(),
            Self::PidNamespace => further(CloneFlags::CLONE_NEWPID, "unshare(CLONE_NEWPID)"),
            Self::NetworkNamespace => loopback(),
            Self::IpcNamespace => further(CloneFlags::CLONE_NEWIPC, "unshare(CLONE_NEWIPC)"),
            Self::UtsNamespace => host_name(),
            Self::CgroupNamespace => {
                further(CloneFlags::CLONE_NEWCGROUP, "unshare(CLONE_NEWCGROUP)")
            }
            Self::Tmpfs => tmpfs(),
            Self::PivotRoot => other_root(),
            Self::Procfs => procfs(),
            Self::Devpts => devpts(),
            Self::Overlay => overlay(),
            Self::Landlock => landlock(),
            Self::Seccomp => seccomp(),
            Self::OtherId => other_id(),
        }
    }
}

fn user_namespace() -> Attempt {
    unshare(CloneFlags::CLONE_NEWUSER).by("unshare(CLONE_NEWUSER)")
}

fn id_maps() -> Attempt {
    let (uid, gid) = (geteuid(), getegid());
    user_namespace()?;
    // Who may write more than one id needs no such word, and the file is absent before Linux 3.19.
    let _ = fs::write("/proc/self/setgroups", "deny");
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).by("write(/proc/self/uid_map)")?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).by("write(/proc/self/gid_map)")
}

fn further(namespace: CloneFlags, call: &'static str) -> Attempt {
    id_maps()?;
    unshare(namespace).by(call)
}

fn mount_namespace() -> Attempt {
    further(CloneFlags::CLONE_NEWNS, "unshare(CLONE_NEWNS)")?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    attach(None::<&str>, "/", None::<&str>, private, None::<&str>).by("mount(/, MS_PRIVATE)")
}

fn loopback() -> Attempt {
    further(CloneFlags::CLONE_NEWNET, "unshare(CLONE_NEWNET)")?;
    let flags = SockFlag::SOCK_CLOEXEC;
    let any = socket(AddressFamily::Inet, SockType::Datagram, flags, None).by("socket(AF_INET)")?;
    network::bring_loopback_up(any.as_fd()).by("ioctl(SIOCSIFFLAGS, lo)")
}

fn host_name() -> Attempt {
    further(CloneFlags::CLONE_NEWUTS, "unshare(CLONE_NEWUTS)")?;
    network::set_host_name("trial").by("sethostname")
}

/// A filesystem over [`STAGE`].
fn tmpfs() -> Attempt {
    mount_namespace()?;
    let made = mount::open_filesystem(c"tmpfs").by("fsopen(tmpfs)")?;
    mount::create(made.as_fd()).by("fsconfig(tmpfs)")?;
    let detached = mount::detached(made.as_fd(), mount::NO_SETUID).by("fsmount(tmpfs)")?;
    let stage = fs::File::open(STAGE).by("open(/proc)")?;
    mount::attach(detached.as_fd(), stage.as_fd()).by("move_mount(tmpfs)")
}

fn other_root() -> Attempt {
    tmpfs()?;
    chdir(STAGE).by("chdir")?;
    pivot_root(".", ".").by("pivot_root")
}

fn procfs() -> Attempt {
    mount_namespace()?;
    unshare(CloneFlags::CLONE_NEWPID).by("unshare(CLONE_NEWPID)")?;
    // The procfs belongs to the namespace of whoever mounts it: a child.
    let child = crate::sys::process::clone_into(0, None).by("fork")?;
    let Some(pid) = child else {
        let errno = mount::open_filesystem(c"proc")
            .and_then(|made| {
                mount::create(made.as_fd())?;
                mount::detached(made.as_fd(), mount::NO_SETUID)
            })
            .map_or_else(
                |error| error.raw_os_error().unwrap_or(Errno::EIO as i32),
                |_| 0,
            );
        crate::sys::process::exit_now(errno)
    };
    match waitpid(Pid::from_raw(pid), None).by("waitpid")? {
        WaitStatus::Exited(_, 0) => Ok(()),
        WaitStatus::Exited(_, errno) => Err(Refused {
            call: "mount(proc)",
            errno: Errno::from_raw(errno),
        }),
        _ => Err(Refused {
            call: "mount(proc)",
            errno: Errno::EIO,
        }),
    }
}

fn devpts() -> Attempt {
    mount_namespace()?;
    let made = mount::open_filesystem(c"devpts").by("fsopen(devpts)")?;
    mount::create(made.as_fd()).by("fsconfig(devpts)")
}

fn overlay() -> Attempt {
    tmpfs()?;
    chdir(STAGE).by("chdir")?;
    for name in ["lower", "upper", "work", "merged"] {
        mkdir(name, nix::sys::stat::Mode::S_IRWXU).by("mkdir")?;
    }
    let options = "lowerdir=lower,upperdir=upper,workdir=work,userxattr";
    let flags = MsFlags::empty();
    attach(
        Some("overlay"),
        "merged",
        Some("overlay"),
        flags,
        Some(options),
    )
    .by("mount(overlay)")
}

fn landlock() -> Attempt {
    credential::forbid_new_privileges().by("prctl(PR_SET_NO_NEW_PRIVS)")?;
    domain::try_out().by("landlock_restrict_self")
}

fn seccomp() -> Attempt {
    credential::forbid_new_privileges().by("prctl(PR_SET_NO_NEW_PRIVS)")?;
    filter::try_out().by("seccomp(SECCOMP_SET_MODE_FILTER)")
}

fn other_id() -> Attempt {
    credential::clear_groups().by("setgroups")?;
    credential::set_group(NARROW_HOST_ID).by("setresgid")?;
    credential::set_user(NARROW_HOST_ID).by("setresuid")
}
