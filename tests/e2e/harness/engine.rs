//! A container engine of the test's own: dockerd without a network, and an image of what the host has.
//!
//! Owns its directory, its daemon and its control groups. Invariant: all of it is gone with the value.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::need::{need, skip};
use super::run::binary;
use super::wait::{until, until_within};

/// Programs of the image; they are the host's, with the libraries that they ask for.
const PROGRAMS: [&str; 15] = [
    "sh", "cat", "cut", "grep", "head", "id", "ls", "mkdir", "rm", "sleep", "sort", "tail",
    "touch", "true", "wc",
];

/// Time for the daemon to come up and to end, on a busy machine.
const DAEMON_LIMIT: Duration = Duration::from_secs(60);

/// The engine that tests at the same time share.
static SHARED: Mutex<Weak<Engine>> = Mutex::new(Weak::new());

/// A daemon with one image.
pub struct Engine {
    daemon: Child,
    directory: tempfile::TempDir,
    groups: String,
}

impl Engine {
    /// The image of this host's programs.
    pub const IMAGE: &'static str = "stockade-test";

    /// Where the engine listens, as `DOCKER_HOST` has it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.directory.path().join("socket").display())
    }

    /// None, said aloud, without root or the daemon.
    pub fn shared() -> Option<Arc<Self>> {
        if !nix::unistd::Uid::effective().is_root() {
            skip("a container engine needs root");
            return None;
        }
        for tool in ["dockerd", "docker", "tar", "ldd"] {
            need(tool)?;
        }
        let mut shared = SHARED.lock().unwrap();
        if let Some(engine) = shared.upgrade() {
            return Some(engine);
        }
        let engine = Arc::new(Self::start());
        *shared = Arc::downgrade(&engine);
        Some(engine)
    }

    fn start() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("stockade-engine-")
            .tempdir()
            .unwrap();
        let path = |name: &str| directory.path().join(name);
        let groups = format!("/stockade-engine-{}", std::process::id());
        let init = path("docker-init");
        std::fs::copy(binary(), &init).unwrap();
        let log = std::fs::File::create(path("log")).unwrap();
        let daemon = Command::new("dockerd")
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
            .arg(format!("--cgroup-parent={groups}"))
            // What `--init` puts before a command; the libraries that it asks for are in the image.
            .arg("--init-path")
            .arg(&init)
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"))
            .arg("-H")
            .arg(format!("unix://{}", path("socket").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let engine = Self {
            daemon,
            directory,
            groups,
        };
        until_within(DAEMON_LIMIT, "the daemon answers", || {
            engine.docker(["version"]).status.success().then_some(())
        });
        engine.import();
        engine
    }

    /// Runs the engine's client.
    pub fn docker<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Output {
        Command::new("docker")
            .arg("-H")
            .arg(self.host())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// The same with `run --network none`, these flags, the image, and a command.
    pub fn run(&self, flags: &[&str], command: &[&str]) -> Output {
        let base = ["run", "--network", "none", "--workdir", "/work"];
        let all = base
            .iter()
            .chain(flags)
            .chain(&[Self::IMAGE])
            .chain(command);
        self.docker(all)
    }

    /// Makes the image: programs and their libraries, a few files, no more.
    fn import(&self) {
        let root = self.directory.path().join("root");
        for name in [
            "bin",
            "etc",
            "tmp",
            "proc",
            "sys",
            "dev",
            "work",
            "recordings",
            "usr",
        ] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        let programs = PROGRAMS.into_iter().filter_map(need).chain(need("bwrap"));
        for program in programs.chain([binary().to_owned()]) {
            let name = program.file_name().unwrap().to_owned();
            let program = program.canonicalize().unwrap();
            std::fs::copy(&program, root.join("bin").join(name)).unwrap();
            for library in libraries(&program) {
                let place = root.join(library.strip_prefix("/").unwrap());
                std::fs::create_dir_all(place.parent().unwrap()).unwrap();
                std::fs::copy(&library, place).unwrap();
            }
        }
        let text = |name: &str, text: &str, mode: u32| {
            let path = root.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        text("etc/passwd", "root:x:0:0::/:/bin/sh\n", 0o644);
        text("etc/shadow", "root:*:1:0:99999:7:::\n", 0o640);
        std::fs::set_permissions(root.join("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
        let archive = self.directory.path().join("image.tar");
        let packed = Command::new("tar")
            .arg("-C")
            .arg(&root)
            .arg("-cf")
            .arg(&archive)
            .arg(".")
            .output();
        assert!(packed.unwrap().status.success());
        let imported = self.docker(["import".as_ref(), archive.as_os_str(), Self::IMAGE.as_ref()]);
        assert!(imported.status.success(), "{imported:?}");
    }

    /// A directory for the recordings of a container, open to every id.
    pub fn recordings(&self) -> tempfile::TempDir {
        let directory = tempfile::tempdir_in(self.directory.path()).unwrap();
        for path in [self.directory.path(), directory.path()] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
        }
        directory
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.daemon.id()).unwrap());
        let _ = kill(pid, Signal::SIGTERM);
        let ended = until_end(&mut self.daemon);
        if !ended {
            let _ = self.daemon.kill();
            let _ = self.daemon.wait();
        }
        // Empty by now: one in each hierarchy.
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten()
        {
            let _ = std::fs::remove_dir(hierarchy.path().join(self.groups.trim_start_matches('/')));
        }
    }
}

/// Whether the daemon ended in time.
fn until_end(daemon: &mut Child) -> bool {
    let began = std::time::Instant::now();
    while began.elapsed() < DAEMON_LIMIT {
        if matches!(daemon.try_wait(), Ok(Some(_))) {
            return true;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    false
}

/// What a program is linked with, by the loader's own word; nothing for a static one.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let listed = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let words = text.split_whitespace().filter(|word| word.starts_with('/'));
    words
        .map(PathBuf::from)
        .filter(|path| path.is_file())
        .collect()
}

/// Waits for a file that a container writes.
pub fn until_file(path: &Path) {
    until(&format!("{} is there", path.display()), || {
        path.exists().then_some(())
    });
}
