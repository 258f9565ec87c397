//! Where this program runs: kernel, id, engine, and the switches of the kernel that decide about namespaces.
//!
//! Owns the reading. Never guesses: what cannot be read is absent.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// What contains this process, as far as it leaves a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// Nothing that is known.
    None,
    /// Docker, or an engine that leaves its mark.
    Docker,
    /// Podman.
    Podman,
    /// A pod of Kubernetes.
    Kubernetes,
    /// gVisor, whatever started it.
    Gvisor,
}

impl Engine {
    /// Returns the words for people.
    pub fn place(self) -> &'static str {
        match self {
            Self::None => "on a host",
            Self::Docker => "in a Docker container",
            Self::Podman => "in a Podman container",
            Self::Kubernetes => "in a pod of Kubernetes",
            Self::Gvisor => "in gVisor",
        }
    }
}

/// The host, or the container that stands for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Host {
    /// Release of the kernel.
    pub kernel: String,
    /// Architecture of this program.
    pub machine: &'static str,
    /// Effective user id.
    pub uid: u32,
    /// What contains this process.
    pub engine: Engine,
    /// Whether a seccomp filter is on this process already.
    pub is_filtered: bool,
    /// Whether this process may not gain privileges any more.
    pub no_new_privileges: bool,
    /// Whether AppArmor takes the privileges of user namespaces that ordinary users make (Ubuntu 23.10 and later).
    pub apparmor_restricts_user_namespaces: bool,
    /// Most user namespaces that may be made, user_namespaces(7).
    pub max_user_namespaces: Option<u64>,
    /// Debian's switch of earlier kernels.
    pub unprivileged_user_namespaces: Option<bool>,
    /// Security modules of the kernel that are on.
    pub security_modules: Vec<String>,
    /// Whether parts of `/proc` are covered by other mounts, so that the kernel grants no fresh one.
    pub is_proc_covered: bool,
}

impl Host {
    /// Reads the host of this process.
    pub fn here() -> Self {
        let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        Self::read(Path::new("/"), nix::unistd::geteuid().as_raw(), in_pod)
    }

    /// Reads the host whose files are beneath `root`.
    fn read(root: &Path, uid: u32, in_pod: bool) -> Self {
        let text = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let switch = |name: &str| {
            let text = text(&format!("proc/sys/{name}"));
            text.trim().parse::<u64>().ok()
        };
        let status = text("proc/self/status");
        let field = |name: &str| {
            let mut lines = status.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        };
        let modules = text("sys/kernel/security/lsm");
        let modules = modules.trim().split(',').filter(|name| !name.is_empty());
        Self {
            kernel: text("proc/sys/kernel/osrelease").trim().to_owned(),
            machine: std::env::consts::ARCH,
            uid,
            engine: engine(root, &text("proc/version"), in_pod),
            is_filtered: field("Seccomp").is_some_and(|mode| mode.trim() == "2"),
            no_new_privileges: field("NoNewPrivs").is_some_and(|set| set.trim() == "1"),
            apparmor_restricts_user_namespaces: switch(
                "kernel/apparmor_restrict_unprivileged_userns",
            ) == Some(1),
            max_user_namespaces: switch("user/max_user_namespaces"),
            unprivileged_user_namespaces: switch("kernel/unprivileged_userns_clone")
                .map(|value| value == 1),
            security_modules: modules.map(str::to_owned).collect(),
            is_proc_covered: covers_proc(&text("proc/self/mountinfo")),
        }
    }
}

fn engine(root: &Path, version: &str, in_pod: bool) -> Engine {
    // The version that gVisor's kernel tells to every program.
    if version.contains("SMP Sun Jan 10 15:06:54 PST 2016") {
        Engine::Gvisor
    } else if in_pod {
        Engine::Kubernetes
    } else if root.join("run/.containerenv").exists() {
        Engine::Podman
    } else if root.join(".dockerenv").exists() {
        Engine::Docker
    } else {
        Engine::None
    }
}

/// Tells whether anything is mounted below `/proc`; a tracer of binary formats that systemd mounts there counts for nothing.
fn covers_proc(mountinfo: &str) -> bool {
    // The fifth field is the place of the mount, proc_pid_mountinfo(5).
    let mut places = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    places.any(|place| place.starts_with("/proc/") && place != "/proc/sys/fs/binfmt_misc")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{Engine, Host, covers_proc};

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_host_is_read_from_its_files() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, "proc/sys/kernel/osrelease", "6.8.0-31-generic\n");
        write(
            root,
            "proc/self/status",
            "Name:\tx\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n",
        );
        write(
            root,
            "proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1\n",
        );
        write(root, "proc/sys/user/max_user_namespaces", "96365\n");
        write(root, "proc/sys/kernel/unprivileged_userns_clone", "0\n");
        write(
            root,
            "sys/kernel/security/lsm",
            "lockdown,capability,yama\n",
        );
        write(root, ".dockerenv", "");
        let host = Host::read(root, 1000, false);
        assert_eq!(host.kernel, "6.8.0-31-generic");
        assert_eq!((host.uid, host.engine), (1000, Engine::Docker));
        assert!(host.is_filtered && host.no_new_privileges);
        assert!(host.apparmor_restricts_user_namespaces);
        assert_eq!(host.max_user_namespaces, Some(96_365));
        assert_eq!(host.unprivileged_user_namespaces, Some(false));
        assert_eq!(host.security_modules, ["lockdown", "capability", "yama"]);
        assert_eq!(Host::read(root, 0, true).engine, Engine::Kubernetes);
        write(root, "run/.containerenv", "");
        assert_eq!(Host::read(root, 0, false).engine, Engine::Podman);
    }

    #[test]
    fn what_cannot_be_read_is_absent() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::read(root.path(), 0, false);
        assert_eq!(host.engine, Engine::None);
        assert!(!host.is_filtered && !host.is_proc_covered);
        assert_eq!(host.max_user_namespaces, None);
        assert_eq!(host.unprivileged_user_namespaces, None);
        assert!(host.security_modules.is_empty());
    }

    #[test]
    fn mounts_below_proc_cover_it() {
        let own = "22 1 0:20 / /proc rw,nosuid shared:5 - proc proc rw\n";
        let formats = "30 22 0:28 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw\n";
        let masked = "40 22 0:31 / /proc/kcore rw - tmpfs tmpfs rw\n";
        assert!(!covers_proc(own) && !covers_proc(&format!("{own}{formats}")));
        assert!(covers_proc(&format!("{own}{masked}")));
    }
}
