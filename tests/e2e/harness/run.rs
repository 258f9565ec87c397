//! One run of the real binary.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::recording::Recording;
use super::wait::{until, until_within};
use super::{DEADLINE, http};

/// What to run, and how.
pub struct RunBuilder {
    flags: Vec<OsString>,
    command: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    soft_descriptors: Option<u64>,
    prefix: Vec<OsString>,
    directory: tempfile::TempDir,
    recordings: PathBuf,
    binary: PathBuf,
}

/// A started run; ended by SIGKILL of its guardian when dropped before its end.
pub struct Run {
    child: Child,
    /// Keeps workspace and recordings.
    pub directory: tempfile::TempDir,
    recordings: PathBuf,
    stdout: Capture,
    stderr: Capture,
}

/// What a process prints, read as it comes.
pub struct Capture {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

/// A finished run.
pub struct Finished {
    /// Exit status of the guardian, which is that of `stockade run`.
    pub status: ExitStatus,
    /// All of standard output.
    pub stdout: String,
    /// All of standard error.
    pub stderr: String,
    /// What it left.
    pub recording: Recording,
    /// Keeps the files.
    pub directory: tempfile::TempDir,
}

/// Path of the binary under test.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_stockade"))
}

/// Copies it, by a process of its own: what this one holds open for writing, a child of another test could inherit, and the copy
/// could not be executed.
pub fn copy_binary(to: &Path) {
    let copied = Command::new("cp").arg(binary()).arg(to).output();
    assert!(copied.unwrap().status.success());
}

/// Starts the binary with stop signals at their defaults: under nohup(1), or behind `&` of a script, they are ignored, and a
/// process that was told to ignore them keeps to it.
fn launcher(binary: &Path) -> Command {
    const STOP_SIGNALS: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 14;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = u64::from_str_radix(ignored.unwrap().trim(), 16).unwrap();
    if ignored & STOP_SIGNALS == 0 {
        return Command::new(binary);
    }
    let mut command = Command::new("env");
    command.arg("--default-signal").arg(binary);
    command
}

impl RunBuilder {
    /// A run of `command`, in an empty workspace, with the run id `run`, listening on port 0.
    pub fn new<S: Into<OsString>>(command: impl IntoIterator<Item = S>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("workspace")).unwrap();
        let recordings = directory.path().join("recordings");
        Self {
            flags: Vec::new(),
            command: command.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
            soft_descriptors: None,
            prefix: Vec::new(),
            directory,
            recordings,
            binary: binary().to_owned(),
        }
    }

    /// Runs a copy of the binary, in a directory that every user may enter: the build may lie where others may not.
    pub fn with_own_binary(mut self) -> Self {
        self.binary = self.directory.path().join("stockade");
        copy_binary(&self.binary);
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(self.directory.path(), open).unwrap();
        self
    }

    /// A run of a POSIX shell script.
    pub fn sh(script: &str) -> Self {
        Self::new(["sh", "-c", script])
    }

    /// A run of a playbook, whose file lies outside of the workspace.
    pub fn playbook(text: &str) -> Self {
        let run = Self::new::<OsString>([]);
        let file = run.directory.path().join("playbook.yaml");
        std::fs::write(&file, text).unwrap();
        run.flag("--playbook").flag(file)
    }

    /// Adds a flag of `stockade run`.
    pub fn flag(mut self, flag: impl Into<OsString>) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// Adds a variable of the caller's environment.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Starts it with that soft limit of open descriptors.
    pub fn soft_descriptors(mut self, limit: u64) -> Self {
        self.soft_descriptors = Some(limit);
        self
    }

    /// Starts it through another command, which must become it.
    pub fn within(mut self, prefix: Vec<OsString>) -> Self {
        self.prefix = prefix;
        self
    }

    /// The workspace, to be filled before the start.
    pub fn workspace(&self) -> PathBuf {
        self.directory.path().join("workspace")
    }

    /// The recordings directory.
    pub fn recordings(&self) -> PathBuf {
        self.recordings.clone()
    }

    /// Puts the recordings elsewhere.
    pub fn with_recordings(mut self, recordings: impl Into<PathBuf>) -> Self {
        self.recordings = recordings.into();
        self
    }

    /// The command line, not started yet; the environment is built from nothing.
    pub fn command(&self) -> Command {
        let mut command = match (self.soft_descriptors, self.prefix.split_first()) {
            (None, None) => launcher(&self.binary),
            (_, Some((program, arguments))) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(&self.binary);
                command
            }
            (Some(limit), None) => {
                let mut shell = Command::new("sh");
                shell
                    .arg("-c")
                    .arg(format!("ulimit -S -n {limit}; exec \"$0\" \"$@\""))
                    .arg(&self.binary);
                shell
            }
        };
        command.arg("run").arg("--recordings").arg(&self.recordings);
        let names = |flag: &str| {
            self.flags
                .iter()
                .any(|given| given.to_string_lossy().starts_with(flag))
        };
        if !names("--run-id") {
            command.args(["--run-id", "run"]);
        }
        if !names("--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        if !names("--socket") {
            command
                .arg("--socket")
                .arg(self.directory.path().join("api.sock"));
        }
        if !names("--workspace") {
            command.arg("--workspace").arg(self.workspace());
        }
        command.args(&self.flags);
        if !self.command.is_empty() {
            command.arg("--").args(&self.command);
        }
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.directory.path());
        command
    }

    /// Starts it, in a process group of its own.
    pub fn start(self) -> Run {
        let mut command = self.command();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().unwrap();
        let stdout = Capture::of(child.stdout.take().unwrap());
        let stderr = Capture::of(child.stderr.take().unwrap());
        Run {
            child,
            directory: self.directory,
            recordings: self.recordings,
            stdout,
            stderr,
        }
    }

    /// Starts it and waits for its end.
    pub fn finish(self) -> Finished {
        self.start().finish()
    }
}

impl Capture {
    /// Reads `pipe` to its end.
    pub fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 64 * 1024];
            while let Ok(n_read @ 1..) = pipe.read(&mut chunk) {
                sink.lock().unwrap().extend_from_slice(&chunk[..n_read]);
            }
        });
        Self {
            text,
            reader: Some(reader),
        }
    }

    /// All of it until now.
    pub fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    /// All of it, at the end.
    pub fn all(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.so_far()
    }
}

impl Run {
    /// Pid of the guardian.
    pub fn guardian_pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Pid of the supervisor: the one that has claimed the run.
    pub fn supervisor_pid(&self) -> i32 {
        until("the supervisor claims the run", || {
            let claim = std::fs::read(self.recording().path().join("claim.json")).ok()?;
            let claim: serde_json::Value = serde_json::from_slice(&claim).ok()?;
            i32::try_from(claim["pid"].as_i64()?).ok()
        })
    }

    /// What is on disk so far.
    pub fn recording(&self) -> Recording {
        Recording::at(self.recordings.join("run"))
    }

    /// Address of the status API, once it listens.
    pub fn address(&self) -> String {
        until(
            &format!("the status API listens; stderr:\n{}", self.stderr.so_far()),
            || {
                let status = self.recording().try_status()?;
                Some(status["listen"]["address"].as_str()?.to_owned())
            },
        )
    }

    /// Path of the Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }

    /// Waits until the document at `GET /status` satisfies `condition`.
    pub fn until_status(
        &self,
        what: &str,
        condition: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let address = self.address();
        until(what, || {
            let status = http::get(&address, "/status").json();
            condition(&status).then_some(status)
        })
    }

    /// Waits until the agent runs.
    pub fn until_running(&self) {
        self.until_status("the run is running", |status| status["phase"] == "running");
    }

    /// Waits until standard output has `text`.
    pub fn until_stdout(&self, text: &str) {
        until(&format!("stdout has {text:?}"), || {
            self.stdout.so_far().contains(text).then_some(())
        });
    }

    /// Waits until standard error has `text`.
    pub fn until_stderr(&self, text: &str) {
        until(&format!("stderr has {text:?}"), || {
            self.stderr.so_far().contains(text).then_some(())
        });
    }

    /// Sends a signal to the guardian.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        kill(self.guardian_pid(), signal);
    }

    /// Waits for the end, at most [`DEADLINE`] more than a stop may take.
    pub fn finish(self) -> Finished {
        self.finish_within(DEADLINE * 3)
    }

    /// The same with a limit of its own, for runs with real work.
    pub fn finish_within(mut self, limit: std::time::Duration) -> Finished {
        let status = until_within(limit, "the run ends", || self.child.try_wait().unwrap());
        self.collect(status)
    }

    fn collect(&mut self, status: ExitStatus) -> Finished {
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        Finished {
            status,
            stdout: self.stdout.all(),
            stderr: self.stderr.all(),
            recording: Recording::at(self.recordings.join("run")),
            directory,
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Finished {
    /// The exit code; panics with everything that is known when there is none.
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| panic!("ended by a signal: {:?}\n{}", self.status, self.stderr))
    }
}

/// Sends a signal to a process that this test started.
pub fn kill(pid: i32, signal: nix::sys::signal::Signal) {
    // The process may have ended by itself meanwhile.
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
}
