//! Sandboxes for tests: who starts them, what runs in them, what came out.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use stockade_sandbox::{
    Access, End, Helper, Isolation, Launch, LaunchError, LaunchId, Limits, Policy, Report, Sandbox,
    Workspace,
};
use tempfile::TempDir;

/// Every wait of a test ends here.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// The ordinary user as whom a root test run starts sandboxes; it needs no account.
pub(crate) const USER: u32 = 1_234;

/// Who starts the launch helper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Starter {
    Root,
    User,
}

/// A launch helper and one sandbox.
#[derive(Debug)]
pub(crate) struct Run {
    // Dropped in this order: the sandbox first.
    pub(crate) sandbox: Sandbox,
    pub(crate) helper: Helper,
    pub(crate) starter: Starter,
}

/// What a launch wrote and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) report: Report,
    pub(crate) text: String,
}

impl Output {
    /// Asserts success and returns the text.
    #[track_caller]
    pub(crate) fn success(self) -> String {
        assert_eq!(self.report.end, End::Exited { code: 0 }, "{self:?}");
        self.text
    }

    /// Asserts that it exited with anything but 0, and not by a signal.
    #[track_caller]
    pub(crate) fn refused(self) -> String {
        let is_refused = matches!(self.report.end, End::Exited { code } if code != 0);
        assert!(is_refused, "{self:?}");
        self.text
    }
}

/// Finds the example `helper`, which `cargo test` builds. Cargo's `--test sandbox` alone does not, and runs an old one:
/// run the whole package, or `cargo build --example helper` before.
pub(crate) fn helper_program() -> PathBuf {
    let test = std::env::current_exe().expect("own path");
    let target = test
        .parent()
        .and_then(Path::parent)
        .expect("target directory");
    target.join("examples/helper")
}

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Prints that a test was left out; where everything is required that is a failure.
pub(crate) fn skip(reason: &str) {
    println!("SKIPPED: {reason}");
    assert_ne!(
        std::env::var("STOCKADE_TEST_REQUIRE").as_deref(),
        Ok("all"),
        "a skip is forbidden: {reason}"
    );
}

/// Runs a check for every starter that this test run can play.
pub(crate) fn for_each_starter(check: impl Fn(Starter)) {
    if is_root() {
        check(Starter::Root);
    } else {
        skip("only root can test sandboxes that root starts");
    }
    check(Starter::User);
}

pub(crate) fn spawn_helper(starter: Starter) -> Helper {
    let program = helper_program();
    let spawned = if starter == Starter::User && is_root() {
        let user = USER.to_string();
        let program = program.to_str().expect("path");
        let arguments = [
            "--reuid",
            &user,
            "--regid",
            &user,
            "--clear-groups",
            program,
            "sandbox-helper",
        ];
        Helper::spawn(Path::new("/usr/bin/setpriv"), &arguments)
    } else {
        Helper::spawn(&program, &["sandbox-helper"])
    };
    spawned.expect("spawns the launch helper")
}

pub(crate) fn build(starter: Starter, policy: &Policy) -> Run {
    let helper = spawn_helper(starter);
    let plan = policy.plan().expect("plans");
    let sandbox = helper.build(plan, LIMIT).expect("builds");
    Run {
        sandbox,
        helper,
        starter,
    }
}

pub(crate) fn full(starter: Starter) -> Run {
    build(starter, &Policy::new(Isolation::Full))
}

/// Makes a workspace that belongs to whoever starts the sandbox.
pub(crate) fn workspace(starter: Starter) -> TempDir {
    let directory = tempfile::tempdir().expect("temporary directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    if starter == Starter::User && is_root() {
        std::os::unix::fs::chown(directory.path(), Some(USER), Some(USER)).expect("chown");
    }
    directory
}

pub(crate) fn with_workspace(path: &Path, access: Access) -> Policy {
    let mut policy = Policy::new(Isolation::Full);
    policy.workspace = Some(Workspace {
        host: path.to_path_buf(),
        inside: path.to_path_buf(),
        access,
    });
    policy
}

pub(crate) fn null() -> File {
    File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .expect("null device")
}

/// Makes a policy with limits and a control group that no other test has.
pub(crate) fn with_limits(isolation: Isolation, limits: Limits) -> Policy {
    let mut policy = Policy::new(isolation);
    policy.limits = limits;
    policy.group = Some(format!("test-{}", mark()));
    policy
}

/// Makes a launch with /dev/null as standard input, output and error.
pub(crate) fn launch(arguments: &[&str]) -> Launch {
    Launch {
        argv: arguments.iter().map(OsString::from).collect(),
        env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
        cwd: "/".into(),
        stdio: [null().into(), null().into(), null().into()],
        extra: Vec::new(),
    }
}

impl Run {
    pub(crate) fn start(&self, arguments: &[&str]) -> LaunchId {
        self.sandbox.launch(launch(arguments)).expect("starts")
    }

    pub(crate) fn try_start(&self, arguments: &[&str]) -> Result<LaunchId, LaunchError> {
        self.sandbox.launch(launch(arguments))
    }

    pub(crate) fn wait(&self, launch: LaunchId) -> Report {
        let report = self.sandbox.wait_report(LIMIT).expect("a report in time");
        assert_eq!(report.launch, launch);
        report
    }

    pub(crate) fn output(&self, mut launch: Launch) -> Output {
        let mut file = tempfile::tempfile().expect("temporary file");
        launch.stdio[1] = file.try_clone().expect("clone").into();
        launch.stdio[2] = file.try_clone().expect("clone").into();
        let id = self.sandbox.launch(launch).expect("starts");
        let report = self.wait(id);
        let mut text = String::new();
        file.rewind().expect("rewind");
        file.read_to_string(&mut text).expect("text");
        Output { report, text }
    }

    pub(crate) fn shell(&self, script: &str) -> Output {
        self.output(launch(&["sh", "-c", script]))
    }

    pub(crate) fn python(&self, script: &str) -> Output {
        self.output(launch(&["python3", "-c", script]))
    }
}

/// Waits until a condition holds. /proc tells nobody when it changes, so it is read again every 2 ms.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "not in time: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Makes an argument for `sleep` that no other process has.
pub(crate) fn mark() -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("600.{:06}{number:04}", std::process::id())
}

/// Counts the live processes of the host that run `sleep` with a mark.
pub(crate) fn marked(mark: &str) -> usize {
    let wanted = [b"sleep\0", mark.as_bytes(), b"\0"].concat();
    let processes = fs::read_dir("/proc").expect("procfs");
    let lines = processes
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| *line == wanted).count()
}

/// Tells whether a pid names a process, dead and unreaped ones included.
pub(crate) fn exists(pid: i32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}
