//! A network namespace with servers of its own, in which a supervisor runs as if it were the internet.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::harness::need::{need, skip};
use crate::harness::{RunBuilder, until};

/// The address that the servers of the outside have.
pub const PUBLIC: &str = "93.184.216.34";

/// What makes the namespace: addresses on its loopback, and a name server for whoever runs in it.
const SET_UP: &str = r#"
set -e
mount --make-rprivate /
printf 'nameserver 127.0.0.1\noptions timeout:1\n' > "$1/resolv.conf"
mount --bind "$1/resolv.conf" /etc/resolv.conf
ip link set lo up
for address in 93.184.216.34 10.1.2.3 169.254.169.254; do
    ip address add "$address/32" dev lo
done
exec python3 "$2" "$1"
"#;

/// The servers, until it is dropped.
pub struct World {
    child: Child,
    directory: tempfile::TempDir,
}

impl World {
    /// Starts it; none when a tool or a right is missing.
    pub fn start() -> Option<Self> {
        for tool in ["unshare", "nsenter", "ip", "python3"] {
            need(tool)?;
        }
        if !nix::unistd::geteuid().is_root() {
            skip("a network namespace with addresses of its own needs root");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/egress/world.py");
        let child = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c", SET_UP, "sh"])
            .arg(directory.path())
            .arg(script)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut world = Self { child, directory };
        until("the servers listen", || {
            assert_eq!(world.child.try_wait().unwrap(), None, "the servers ended");
            world.path("up").exists().then_some(())
        });
        Some(world)
    }

    /// A run inside, with these rules.
    pub fn run(&self, rules: &str, run: RunBuilder) -> RunBuilder {
        let pid = self.child.id();
        let mut prefix: Vec<OsString> = vec!["nsenter".into()];
        for (option, kind) in [("net", "net"), ("mount", "mnt")] {
            prefix.push(format!("--{option}=/proc/{pid}/ns/{kind}").into());
        }
        run.within(prefix)
            .flag("--net")
            .flag(format!("allow={rules}"))
    }

    /// Pid of the servers, whose namespaces are the world's.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the servers of that place were asked.
    pub fn seen(&self, place: &str) -> Vec<String> {
        let seen = std::fs::read_to_string(self.path("seen")).unwrap();
        let lines = seen.lines().filter(|line| line.starts_with(place));
        lines.map(str::to_owned).collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
