//! The rounds of a launch: everything once in each round, in turns, in a process of its own, which may be an ordinary user's.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use stockade_sandbox::{
    Access, Bind, CallGroup, Helper, Isolation, Launch, Limits, Policy, Sandbox,
};

use super::floor::{Floor, Job};
use crate::append::in_millis;
use crate::machine::find_program;

/// The first argument of the process.
pub(crate) const ROUNDS: &str = "launch-rounds";

/// Longest wait for any step.
const LIMIT: Duration = Duration::from_secs(10);

/// Processes that are killed at once, and how often. The floor makes as many.
const N_DEAF: u32 = 600;
const N_KILLS: usize = 5;

/// Where the static program that does nothing is seen inside, and the one that makes processes which ignore signals.
const INSIDE: &str = "/opt/true";
const DEAF: &str = "/opt/deaf";

/// The program of the distribution that does nothing; its loader and C library take most of its time.
const USUAL: &str = "/bin/true";

/// bubblewrap with the layers that it has in common with ours.
const BWRAP: [&str; 24] = [
    "--unshare-user",
    "--unshare-pid",
    "--unshare-net",
    "--unshare-ipc",
    "--unshare-uts",
    "--die-with-parent",
    "--new-session",
    "--ro-bind",
    "/usr",
    "/usr",
    "--symlink",
    "usr/bin",
    "/bin",
    "--symlink",
    "usr/lib",
    "/lib",
    "--symlink",
    "usr/lib64",
    "/lib64",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "--tmpfs=/tmp",
];

/// Milliseconds of each thing that was measured, by its name.
pub(crate) type Times = BTreeMap<String, Vec<f64>>;

/// What the process is told.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Order {
    pub(crate) stockade: PathBuf,
    /// The program whose `exec` is measured.
    pub(crate) exec: PathBuf,
    pub(crate) floor: PathBuf,
    pub(crate) nothing: PathBuf,
    pub(crate) deaf: PathBuf,
    pub(crate) n_rounds: usize,
    /// Memory that the process touches first.
    pub(crate) resident_bytes: usize,
    /// Threads that each build and launch at once; 1 measures everything, more only that.
    pub(crate) n_at_once: usize,
}

/// The process: measures and prints the times.
pub(crate) fn serve(order: &str) {
    let order: Order = serde_json::from_str(order).expect("an order");
    let ballast = vec![1_u8; order.resident_bytes];
    let times = if order.n_at_once > 1 {
        at_once(&order)
    } else {
        in_turns(&order)
    };
    assert_eq!(ballast.len(), order.resident_bytes);
    println!("{}", serde_json::to_string(&times).expect("times"));
}

fn policy(order: &Order) -> Policy {
    let mut policy = Policy::new(Isolation::Full);
    let shown = [(&order.nothing, INSIDE), (&order.deaf, DEAF)];
    policy.binds = shown.map(|(source, inside)| show(source, inside)).into();
    policy
}

fn show(source: &Path, inside: impl Into<PathBuf>) -> Bind {
    Bind {
        source: source.to_owned(),
        target: inside.into(),
        access: Access::ReadOnly,
    }
}

/// The tier container has no mounts: everything is seen at its own place, and the directories of the run are below `scratch`.
fn contained(order: &Order, scratch: &Path) -> Policy {
    let mut policy = Policy::new(Isolation::Container);
    policy.binds = [&order.nothing, &order.deaf]
        .map(|path| show(path, path))
        .into();
    policy.scratch = Some(scratch.to_owned());
    policy
}

fn in_turns(order: &Order) -> Times {
    let helper = Helper::spawn(&order.stockade, &["sandbox-helper"]).expect("the launch helper");
    let policy = policy(order);
    let mut grouped = policy.clone();
    grouped.group = Some(format!("bench-{}", std::process::id()));
    grouped.limits = Limits {
        memory_bytes: Some(2 << 30),
        pids: Some(1_024),
        ..Limits::default()
    };
    // A run has one sandbox, so a launch helper that ends one of a container has no other.
    let apart = Helper::spawn(&order.stockade, &["sandbox-helper"]).expect("the launch helper");
    let build = |policy: &Policy| helper.build(policy.plan().expect("a plan"), LIMIT);
    let standing = build(&policy).expect("a sandbox");
    let bwrap = find_program("bwrap");
    let is_root = nix::unistd::geteuid().is_root();
    let exec = Exec::new(order);
    let mut floor = Floor::start(&order.floor, &order.nothing);
    let mut usual = Floor::start(&order.floor, Path::new(USUAL));
    let mut times = Times::new();
    let mut add = |name: &str, time: Option<f64>| {
        if let Some(time) = time {
            times.entry(name.to_owned()).or_default().push(time);
        }
    };
    let whole = |policy: &Policy| {
        let sandbox = build(policy).expect("a sandbox");
        launch(&sandbox, INSIDE);
        helper.destroy(&sandbox, LIMIT).expect("its end");
    };
    // The first round warms caches and counts for nothing.
    for round in 0..=order.n_rounds {
        let mut add = |name: &str, time: Option<f64>| {
            if round > 0 {
                add(name, time);
            }
        };
        add("plain", floor.time(Job::Plain));
        add("standing", Some(time(|| launch(&standing, INSIDE))));
        add("usual plain", usual.time(Job::Plain));
        add("usual", Some(time(|| launch(&standing, USUAL))));
        add("floor", floor.time(Job::Full));
        add("built", Some(time(|| whole(&policy))));
        if is_root {
            add("floor grouped", floor.time(Job::Grouped));
            add("grouped", Some(time(|| whole(&grouped))));
        }
        add("floor bubblewrap", floor.time(Job::Bubblewrap));
        if let Some(bwrap) = &bwrap {
            add("bubblewrap", Some(time(|| wrapped(bwrap, &order.nothing))));
        }
        add("exec", Some(time(|| exec.run(&[]))));
        let few = ["--preset", "./few.toml"];
        add("exec bubblewrap", Some(time(|| exec.run(&few))));
        add("floor container", floor.time(Job::Container));
        let scratch = tempfile::tempdir().expect("a directory");
        let contained = contained(order, scratch.path());
        let whole = || {
            let sandbox = apart.build(contained.plan().expect("a plan"), LIMIT);
            let sandbox = sandbox.expect("a sandbox");
            launch(&sandbox, &order.nothing.to_string_lossy());
            apart.destroy(&sandbox, LIMIT).expect("its end");
        };
        add("container", Some(time(whole)));
        add("cold", Some(time(|| cold(order, &policy))));
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let plan = contained(order, scratch.path()).plan().expect("a plan");
    let container = apart.build(plan, LIMIT).expect("a sandbox");
    for _ in 0..N_KILLS {
        add("floor kill", floor.time(Job::Kill));
        add("kill", Some(kill_deaf(&standing, DEAF)));
        let deaf = order.deaf.to_string_lossy();
        add("container kill", Some(kill_deaf(&container, &deaf)));
    }
    apart.destroy(&container, LIMIT).expect("its end");
    helper.destroy(&standing, LIMIT).expect("its end");
    times
}

/// Makes [`N_DEAF`] processes that ignore signals, half of them in sessions of their own, and kills them all; gives the time
/// until the last of them was reaped.
fn kill_deaf(sandbox: &Sandbox, deaf: &str) -> f64 {
    launch_all(sandbox, &[deaf, &N_DEAF.to_string()]);
    let mut n_killed = 0;
    let took = time(|| n_killed = sandbox.kill_all(LIMIT).expect("their end").killed);
    assert_eq!(n_killed, N_DEAF);
    took
}

/// `stockade exec` in a directory of its own.
struct Exec<'a> {
    order: &'a Order,
    directory: tempfile::TempDir,
}

impl<'a> Exec<'a> {
    /// `few.toml` there is a preset that leaves the layers that bubblewrap has.
    fn new(order: &'a Order) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let calls = CallGroup::ALL.map(|group| format!("{:?}", group.as_str()));
        let calls = calls.join(", ");
        let preset = format!("landlock = false\nmask-proc = false\nallow-calls = [{calls}]\n");
        std::fs::write(directory.path().join("few.toml"), preset).expect("a preset");
        Self { order, directory }
    }

    fn run(&self, flags: &[&str]) {
        let mut exec = Command::new(&self.order.exec)
            .arg("exec")
            .args(flags)
            .arg("--ro")
            .arg(format!("{}:{INSIDE}", self.order.nothing.display()))
            .args(["--", INSIDE])
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("start exec");
        assert!(exec.wait().expect("its end").success(), "exec fails");
    }
}

/// Each thread has a launch helper of its own, as each run has.
fn at_once(order: &Order) -> Times {
    let policy = policy(order);
    let one = || {
        let helper = Helper::spawn(&order.stockade, &["sandbox-helper"]).expect("the helper");
        let rounds = (0..order.n_rounds.div_ceil(order.n_at_once).max(2)).map(|_| {
            time(|| {
                let plan = policy.plan().expect("a plan");
                let sandbox = helper.build(plan, LIMIT).expect("a sandbox");
                launch(&sandbox, INSIDE);
                helper.destroy(&sandbox, LIMIT).expect("its end");
            })
        });
        rounds.collect::<Vec<_>>()
    };
    let began = Instant::now();
    let built: Vec<f64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..order.n_at_once).map(|_| scope.spawn(one)).collect();
        let times = threads
            .into_iter()
            .map(|thread| thread.join().expect("a thread"));
        times.flatten().collect()
    });
    let share = in_millis(began.elapsed()) / built.len() as f64;
    Times::from([
        ("built".to_owned(), built),
        ("share".to_owned(), vec![share]),
    ])
}

/// A launch helper for one sandbox and one launch.
fn cold(order: &Order, policy: &Policy) {
    let helper = Helper::spawn(&order.stockade, &["sandbox-helper"]).expect("the helper");
    let plan = policy.plan().expect("a plan");
    let sandbox = helper.build(plan, LIMIT).expect("a sandbox");
    launch(&sandbox, INSIDE);
    helper.destroy(&sandbox, LIMIT).expect("its end");
}

fn wrapped(bwrap: &Path, nothing: &Path) {
    let mut bwrap = Command::new(bwrap)
        .args(BWRAP.iter().flat_map(|word| word.split('=')))
        .args(["--ro-bind"])
        .args([nothing, Path::new(INSIDE), Path::new(INSIDE)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("start bwrap");
    assert!(bwrap.wait().expect("its end").success(), "bwrap fails");
}

fn time(act: impl FnOnce()) -> f64 {
    let began = Instant::now();
    act();
    in_millis(began.elapsed())
}

fn launch(sandbox: &Sandbox, program: &str) {
    launch_all(sandbox, &[program]);
}

fn launch_all(sandbox: &Sandbox, arguments: &[&str]) {
    let null = || {
        let null = File::options().read(true).write(true).open("/dev/null");
        null.expect("/dev/null").into()
    };
    let launch = Launch {
        argv: arguments.iter().map(Into::into).collect(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        cwd: "/".into(),
        stdio: [null(), null(), null()],
        extra: Vec::new(),
    };
    sandbox.launch(launch).expect("a launch");
    let report = sandbox.wait_report(LIMIT).expect("its report");
    assert_eq!(report.status, 0);
}
