//! What attempts are aimed at: canaries, somebody else's processes and listeners, made anew for each round.
//!
//! Owns them and removes them. Invariant: whatever an attempt reaches belongs to the stage, or is asked for and not used.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::owner::Owner;

/// What canary files hold before anybody changes them.
const UNTOUCHED: &str = "untouched\n";

/// The victims that attempts to kill are aimed at, one each.
const N_DOOMED: usize = 4;

/// Numbers the stages of this process.
static N_STAGES: AtomicU32 = AtomicU32::new(0);

/// All of it, and the facts of it that attempts are told.
pub struct Stage {
    pub directory: tempfile::TempDir,
    facts: BTreeMap<&'static str, String>,
    victim: Child,
    doomed: Vec<Child>,
    elsewhere: Vec<PathBuf>,
    kept: Vec<OwnedFd>,
    _listeners: Listeners,
}

/// They close when the stage ends.
struct Listeners {
    _unix: Vec<UnixListener>,
    _datagrams: UnixDatagram,
    _udp: UdpSocket,
}

impl Stage {
    /// Makes the files of `owner` and starts the victims under its id.
    pub fn new(owner: Owner, probe: &Path) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("stockade-attacks-")
            .permissions(PermissionsExt::from_mode(0o755))
            .tempdir()
            .unwrap();
        let root = directory.path().to_owned();
        let number = N_STAGES.fetch_add(1, Ordering::Relaxed);
        // Short, because it begins the names of processes, which are of 15 bytes.
        let tag = format!("{:x}-{number:x}", std::process::id() % 0xffff);
        let secret = format!("canary-{tag}-must-not-be-seen");
        let elsewhere = vec![
            std::env::temp_dir().join(format!("stockade-attacks-canary-{tag}")),
            PathBuf::from(format!("/dev/shm/stockade-attacks-canary-{tag}")),
        ];
        for path in &elsewhere {
            std::fs::write(path, &secret).unwrap();
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap();
        }
        let (outside, workspace) = (root.join("outside"), root.join("workspace"));
        for name in [
            "outside/open",
            "outside/shown",
            "workspace/taken",
            "workspace/sub",
            "workspace/recordings",
            "recordings",
        ] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        std::fs::write(outside.join("secret.txt"), &secret).unwrap();
        for name in [
            "canary.txt",
            "canary-link.txt",
            "canary-fd.txt",
            "open/doomed",
            "shown/file",
        ] {
            std::fs::write(outside.join(name), UNTOUCHED).unwrap();
        }
        let plain = [
            "notes.txt",
            "sub/deep.txt",
            "doomed",
            "from",
            "goes",
            "gift",
            "kept",
            "tool",
            "tool-2",
            "tool-3",
            "tool-4",
            "tool-5",
        ];
        for name in plain {
            std::fs::write(workspace.join(name), "of the workspace\n").unwrap();
        }
        copy_program(probe, &workspace.join("probe"));
        symlink(outside.join("secret.txt"), workspace.join("link-out")).unwrap();
        symlink("notes.txt", workspace.join("link-in")).unwrap();
        symlink(&outside, workspace.join("directory-out")).unwrap();
        symlink("sub", workspace.join("directory-in")).unwrap();
        let result = serde_json::json!({ "secret": secret }).to_string();
        std::fs::write(outside.join("result.json"), result).unwrap();
        std::fs::write(workspace.join("untouched"), UNTOUCHED).unwrap();
        owner.own(&root);
        if owner.may_be_chosen() {
            // Root's program with the bit, where the workload can start it.
            let setuid = workspace.join("probe-of-root");
            copy_program(probe, &setuid);
            std::fs::set_permissions(&setuid, PermissionsExt::from_mode(0o4755)).unwrap();
        }

        let start = |marker: &str| {
            let secret_file = std::fs::File::open(outside.join("secret.txt")).unwrap();
            let mut command = Command::new(workspace.join("probe"));
            command
                .args(["stay", marker])
                .env_clear()
                .env("VICTIMS_SECRET", &secret)
                .current_dir(&outside)
                .stdin(secret_file)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .process_group(0);
            owner.apply(&mut command);
            command.spawn().unwrap()
        };
        let victim = start(&format!("{tag}-victim"));
        let doomed: Vec<Child> = (0..N_DOOMED)
            .map(|_| start(&format!("{tag}-doomed")))
            .collect();

        let forbidden = open_listener("open-as-it-must-not-be");
        let allowed = open_listener("open-by-a-rule");
        let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        let stream = format!("{tag}-stream");
        let datagram = format!("{tag}-datagram");
        let path = outside.join("path.sock");
        let listeners = Listeners {
            _unix: vec![
                UnixListener::bind_addr(&SocketAddr::from_abstract_name(&stream).unwrap()).unwrap(),
                UnixListener::bind(&path).unwrap(),
            ],
            _datagrams: UnixDatagram::bind_addr(
                &SocketAddr::from_abstract_name(&datagram).unwrap(),
            )
            .unwrap(),
            _udp: udp.try_clone().unwrap(),
        };
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        symlink(&path, workspace.join("socket-out")).unwrap();

        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let mut facts = BTreeMap::from([
            ("outside", text(&outside)),
            ("workspace", text(&workspace)),
            ("tag", tag.clone()),
            ("secret", secret.clone()),
            ("victim", victim.id().to_string()),
            ("port", forbidden.to_string()),
            ("allowed", allowed.to_string()),
            ("udp", udp.local_addr().unwrap().port().to_string()),
            ("address", own_address()),
            ("stream", stream),
            ("datagram", datagram),
            ("tmp-canary", text(&elsewhere[0])),
            ("shm-canary", text(&elsewhere[1])),
            (
                "key",
                (0x5a00_0000 + i64::from(std::process::id() & 0xffff) * 0x40 + i64::from(number))
                    .to_string(),
            ),
        ]);
        for (name, doomed) in ["doomed-1", "doomed-2", "doomed-3", "doomed-4"]
            .into_iter()
            .zip(&doomed)
        {
            facts.insert(name, doomed.id().to_string());
        }
        if owner.may_be_chosen() {
            facts.insert("setuid", text(&workspace.join("probe-of-root")));
        }
        let groups = [
            "/sys/fs/cgroup/pids/cgroup.procs",
            "/sys/fs/cgroup/cgroup.procs",
        ];
        if let Some(group) = groups.into_iter().find(|path| Path::new(path).exists()) {
            facts.insert("cgroup", group.to_owned());
        }
        Self {
            directory,
            facts,
            victim,
            doomed,
            elsewhere,
            kept: Vec::new(),
            _listeners: listeners,
        }
    }

    /// Adds what is known only later.
    pub fn tell(&mut self, name: &'static str, value: impl Into<String>) {
        self.facts.insert(name, value.into());
    }

    /// Keeps a descriptor open as long as the stage is there.
    pub fn keep(&mut self, descriptor: OwnedFd) {
        self.kept.push(descriptor);
    }

    /// A fact that is always there.
    pub fn fact(&self, name: &str) -> &str {
        &self.facts[name]
    }

    /// Replaces the facts in braces; none when one of them is not known here.
    pub fn resolve(&self, text: &str) -> Option<String> {
        let mut resolved = text.to_owned();
        for (name, value) in &self.facts {
            resolved = resolved.replace(&format!("{{{name}}}"), value);
        }
        let is_fact = |(at, _): (usize, &str)| resolved[at + 1..].starts_with(char::is_alphabetic);
        let is_known = !resolved.match_indices('{').any(is_fact);
        is_known.then_some(resolved)
    }

    /// A path below the stage.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What became of a canary file.
    pub fn changed(&self, name: &str) -> Option<String> {
        match std::fs::read_to_string(self.path(name)) {
            Ok(text) if text == UNTOUCHED => None,
            Ok(text) => Some(format!("{name} says {text:?}")),
            Err(error) => Some(format!("{name}: {error}")),
        }
    }

    /// Whether a file is there that nobody but the workload made.
    pub fn appeared(&self, name: &str) -> Option<String> {
        let is_there = self.path(name).symlink_metadata().is_ok();
        is_there.then(|| format!("{name} is there"))
    }

    /// The permission bits of a file, where the host sees it.
    pub fn mode(&self, name: &str) -> u32 {
        self.path(name)
            .symlink_metadata()
            .map_or(0, |status| status.permissions().mode())
    }

    /// Whether the doomed process of that number, from 1, was killed.
    pub fn killed(&self, number: usize) -> Option<String> {
        let pid = self.doomed[number - 1].id();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let is_alive = stat
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']));
        (!is_alive).then(|| format!("process {pid} is dead"))
    }

    /// The live processes of the attempts whose name begins with the tag and ends with `name`.
    pub fn survivors(&self, name: &str) -> Vec<i32> {
        let wanted = format!("{}-{name}", self.fact("tag"));
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid: &i32| {
                let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
                tasks.into_iter().flatten().flatten().any(|task| {
                    let stat =
                        std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                    stat.split_once('(')
                        .zip(stat.rsplit_once(") "))
                        .is_some_and(|((_, name), (_, rest))| {
                            name.starts_with(wanted.as_str()) && !rest.starts_with(['Z', 'X'])
                        })
                })
            })
            .collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for child in self.doomed.iter_mut().chain([&mut self.victim]) {
            let _ = child.kill();
            let _ = child.wait();
        }
        // Without a sandbox they are still there, and a runaway is another one by now.
        for _ in 0..1_000 {
            let survivors = self.survivors("");
            if survivors.is_empty() {
                break;
            }
            for pid in survivors {
                let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        for path in &self.elsewhere {
            let _ = std::fs::remove_file(path);
        }
        // Without a sandbox its /tmp is everybody's.
        let own = format!("{}-own", self.fact("tag"));
        for entry in std::fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&own) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        super::resources::remove_shared_memory(self);
    }
}

/// Copies a program by another process: a thread that starts one meanwhile would hand it our descriptor of the copy, and a
/// file that is open for writing cannot be executed.
fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").args([from, to]).output().unwrap();
    assert!(copied.status.success(), "{copied:?}");
}

/// A listener on all addresses that answers whatever it is asked with `word`, until the process ends; gives its port.
fn open_listener(word: &'static str) -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = move |mut connection: TcpStream| {
        let mut request = [0; 1024];
        let _ = connection.set_read_timeout(Some(Duration::from_secs(1)));
        let _ = connection.read(&mut request);
        let length = word.len();
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        // In one piece: who reads the head alone asks again, and may lose the rest.
        let _ = connection.write_all((head + word).as_bytes());
    };
    std::thread::spawn(move || listener.incoming().flatten().for_each(answer));
    port
}

/// An address of this host that is not loopback, if it has one. Nothing is sent.
fn own_address() -> String {
    let look = || {
        let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
        socket.connect("192.0.2.1:9").ok()?;
        Some(socket.local_addr().ok()?.ip().to_string())
    };
    look().unwrap_or_else(|| "127.0.0.2".to_owned())
}
