//! Rows "init": what `stockade init` adds to the start of a program, what it takes while nothing happens, and what 10,000
//! orphans cost it, beside tini, dumb-init and catatonit.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::append::in_millis;
use crate::machine::find_program;
use crate::process::{Memory, children};
use crate::report::{Report, Row, Target, mebibytes, median, millis, quantile};
use crate::scale::Scale;
use crate::start::Program;

/// Inits to compare with.
const PEERS: [&str; 4] = ["tini", "tini-static", "dumb-init", "catatonit"];

/// Most milliseconds that an init may add to an exec.
const MOST_ADDED_MS: f64 = 0.7;

/// Most memory of an idle one in MiB.
const MOST_RESIDENT: f64 = 1.2;

const N_ORPHANS: usize = 10_000;

/// How long the memory of an idle init has stood still when it is read.
const UNCHANGED: Duration = Duration::from_millis(200);

/// Longest wait for that.
const LONGEST_SETTLING: Duration = Duration::from_secs(5);

/// Becomes PID 1 of a namespace of its own.
const NAMESPACE: [&str; 5] = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];

/// An init, by the words that start it.
struct Init {
    name: String,
    words: Vec<PathBuf>,
}

impl Init {
    fn command(&self, prefix: &[&str], command: &[&str]) -> Command {
        let mut words = prefix
            .iter()
            .map(PathBuf::from)
            .chain(self.words.iter().cloned())
            .chain(command.iter().map(PathBuf::from));
        let mut made = Command::new(words.next().expect("a program"));
        made.args(words).stdin(Stdio::null()).stderr(Stdio::null());
        made
    }
}

pub(crate) fn run(report: &mut Report, scale: &Scale, programs: &[Program]) {
    let ours: Vec<Init> = programs
        .iter()
        .map(|program| Init {
            name: program.name.to_owned(),
            words: vec![program.path.clone(), "init".into(), "--".into()],
        })
        .collect();
    let mut peers = Vec::new();
    for name in PEERS {
        match find_program(name) {
            Some(path) => peers.push(Init {
                name: name.to_owned(),
                words: vec![path, "--".into()],
            }),
            None => report.absent(format!("{name} beside the init: not on the PATH")),
        }
    }
    start(report, scale, &ours, &peers);
    idle(report, &ours, &peers);
    orphans(report, scale, &ours, &peers);
}

/// Milliseconds from the start of a program to its end.
fn time(mut command: Command) -> f64 {
    let began = Instant::now();
    let mut child = command.spawn().expect("start an init");
    assert!(child.wait().expect("its end").success(), "{command:?}");
    in_millis(began.elapsed())
}

fn start(report: &mut Report, scale: &Scale, ours: &[Init], peers: &[Init]) {
    let bare = Init {
        name: "exec alone".to_owned(),
        words: Vec::new(),
    };
    let all: Vec<&Init> = std::iter::once(&bare).chain(ours).chain(peers).collect();
    let mut times: Vec<Vec<f64>> = all.iter().map(|_| Vec::new()).collect();
    for _ in 0..scale.n_starts * 5 {
        for (init, times) in all.iter().zip(&mut times) {
            times.push(time(init.command(&[], &["/bin/true"])));
        }
    }
    // The tenth part of the quickest: a busy machine only ever adds.
    let quick = |times: &Vec<f64>| quantile(times, 10);
    let added = |idx: usize| quick(&times[idx]) - quick(&times[0]);
    for idx in 1..=ours.len() {
        let mut row = Row::new(
            "init",
            format!("{}: added to exec of /bin/true, p10", all[idx].name),
            millis(added(idx)),
        )
        .target(Target::AtMost(MOST_ADDED_MS));
        for (peer_idx, peer) in all.iter().enumerate().skip(1 + ours.len()) {
            row = row.beside(&peer.name, added(peer_idx));
        }
        report.push(row.note(format!(
            "exec alone {:.3} ms p10, {:.3} ms p50; with the init {:.3} ms p50",
            quick(&times[0]),
            median(&times[0]),
            median(&times[idx])
        )));
    }
}

/// An init whose command waits for the end of its input.
struct Waiting {
    child: Child,
    input: Option<ChildStdin>,
}

impl Waiting {
    /// Starts it and waits until the command has printed a line.
    fn start(init: &Init, prefix: &[&str], script: &str) -> Self {
        let mut command = init.command(prefix, &["sh", "-c", script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("start an init");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output");
        BufReader::new(output)
            .read_line(&mut line)
            .expect("a line of the command");
        assert_eq!(line, "ready\n", "{command:?}");
        Self {
            input: child.stdin.take(),
            child,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}

/// The memory of a process once it has not changed for a while: an init may let go of what only its start needed.
fn settled(pid: u32) -> Memory {
    let mut found = Memory::of(pid);
    let (began, mut changed_at) = (Instant::now(), Instant::now());
    while changed_at.elapsed() < UNCHANGED && began.elapsed() < LONGEST_SETTLING {
        std::thread::park_timeout(Duration::from_millis(10));
        let now = Memory::of(pid);
        if now.rss != found.rss {
            changed_at = Instant::now();
        }
        found = now;
    }
    found
}

fn idle(report: &mut Report, ours: &[Init], peers: &[Init]) {
    let memory = |init: &Init| {
        let waiting = Waiting::start(init, &[], "echo ready; read -r line");
        settled(waiting.child.id())
    };
    let beside: Vec<(&str, Memory)> = peers
        .iter()
        .map(|peer| (peer.name.as_str(), memory(peer)))
        .collect();
    let in_mebibytes = |bytes: u64| mebibytes(bytes).value;
    for init in ours {
        let found = memory(init);
        let row = Row::new(
            "init",
            format!("{}: resident while idle", init.name),
            mebibytes(found.rss),
        );
        let row = beside.iter().fold(
            row.target(Target::AtMost(MOST_RESIDENT)),
            |row, (name, peer)| row.beside(*name, in_mebibytes(peer.rss)),
        );
        let shares: Vec<String> = std::iter::once((init.name.as_str(), found))
            .chain(beside.iter().copied())
            .map(|(name, memory)| match memory.pss {
                Some(bytes) => format!("{name} {:.2}", in_mebibytes(bytes)),
                None => format!("{name} unknown"),
            })
            .collect();
        report.push(row.note(format!("PSS in MiB: {}", shares.join(", "))));
    }
}

fn orphans(report: &mut Report, scale: &Scale, ours: &[Init], peers: &[Init]) {
    let probe = Command::new(NAMESPACE[0])
        .args(&NAMESPACE[1..])
        .arg("true")
        .output();
    if !probe.is_ok_and(|output| output.status.success()) {
        report.absent("orphans of an init: no pid namespace can be made here");
        return;
    }
    let n_rounds = if scale.is_full { scale.n_rounds } else { 1 };
    let measure = |init: &Init| {
        let times: Vec<f64> = (0..n_rounds).map(|_| processor_time(init)).collect();
        median(&times)
    };
    let beside: Vec<(&str, f64)> = peers
        .iter()
        .map(|peer| (peer.name.as_str(), measure(peer)))
        .collect();
    for init in ours {
        let row = Row::new(
            "init",
            format!("{}: processor time for 10,000 orphans as PID 1", init.name),
            millis(measure(init)),
        );
        report.push(
            beside
                .iter()
                .fold(row, |row, (name, time)| row.beside(*name, *time))
                .note("none is left; its own start included"),
        );
    }
}

/// Milliseconds of the processor that an init needs for itself and 10,000 orphans, a few alive at a time.
fn processor_time(init: &Init) -> f64 {
    let script = format!(
        "n=0; while [ $n -lt {N_ORPHANS} ]; do (: &); n=$((n + 1)); done; echo ready; read -r line"
    );
    let waiting = Waiting::start(init, &NAMESPACE, &script);
    let [pid] = children(waiting.child.id())[..] else {
        panic!("no PID 1 below unshare");
    };
    let began = Instant::now();
    while children(pid).len() > 1 {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "orphans are left"
        );
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let path = format!("/proc/{pid}/schedstat");
    let counted = std::fs::read_to_string(Path::new(&path)).expect("what the scheduler counts");
    let nanos: f64 = counted
        .split(' ')
        .next()
        .and_then(|first| first.parse().ok())
        .expect("a number");
    nanos / 1e6
}
