//! Rows "stop": how long a run takes from the request to the end of its last process, when it has nothing to do and when a
//! thousand processes will not hear of it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::append::in_millis;
use crate::launch::floor::Programs;
use crate::machine::find_program;
use crate::process::children;
use crate::report::{Report, Row, median, millis, quantile};
use crate::scale::Scale;
use crate::start::Program;

/// Inits to compare with.
const PEERS: [&str; 2] = ["tini", "dumb-init"];

/// Becomes PID 1 of a namespace of its own.
const NAMESPACE: [&str; 5] = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];

/// A command that hears the signal.
const IDLE: &str = "echo ready; exec sleep 60";

/// The same with a thousand processes that ignore it, half of them in sessions of their own.
const THOUSAND: &str = "./deaf-stop 1000; echo ready; exec sleep 60";

/// Most processes of a run: those, and the few around them.
const MOST_PROCESSES: &str = "--pids=1100";

/// Three requests: the third of them kills at once.
const AT_ONCE: &[Signal] = &[Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM];

/// Rounds of an idle run, and of a thousand processes, whose start alone takes a second of each subject.
const N_IDLE_ROUNDS: usize = 20;
const N_THOUSAND_ROUNDS: usize = 5;

/// No round of a row begins behind it, but the first three.
const LONGEST: Duration = Duration::from_secs(25);

/// A command to stop.
struct Subject {
    name: String,
    words: Vec<PathBuf>,
    /// Whether its first process is only what starts it.
    is_below: bool,
    /// What asks for the end: a run kills at once at the third.
    signals: &'static [Signal],
}

impl Subject {
    fn run(program: &Program, recordings: &Path, workspace: &Path) -> Self {
        let mut words = vec![program.path.clone(), "run".into(), "--quiet".into()];
        words.push("--recordings".into());
        words.push(recordings.into());
        words.push("--workspace".into());
        words.push(workspace.into());
        words.extend([MOST_PROCESSES.into(), "--".into()]);
        Self {
            name: program.name.to_owned(),
            words,
            is_below: false,
            signals: &[Signal::SIGTERM],
        }
    }

    fn init(name: &str, words: &[PathBuf]) -> Self {
        let namespace = NAMESPACE.map(PathBuf::from);
        Self {
            name: format!("{name} as PID 1"),
            words: [&namespace, words].concat(),
            is_below: true,
            signals: &[Signal::SIGTERM],
        }
    }

    /// Milliseconds from the request to the end.
    fn time(&self, workspace: &Path, script: &str) -> f64 {
        let mut words = self.words.iter();
        let mut command = Command::new(words.next().expect("a program"));
        command
            .args(words)
            .args(["sh", "-c", script])
            .current_dir(workspace)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("start it");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output"))
            .read_line(&mut line)
            .expect("a line");
        assert_eq!(line, "ready\n", "{}", self.name);
        let pid = match self.is_below {
            true => children(child.id())[0],
            false => child.id(),
        };
        let pid = Pid::from_raw(i32::try_from(pid).expect("a pid"));
        let began = Instant::now();
        for signal in self.signals {
            kill(pid, *signal).expect("signal our own child");
        }
        child.wait().expect("its end");
        let took = in_millis(began.elapsed());
        assert_eq!(n_deaf(), 0, "{} left processes", self.name);
        took
    }
}

/// How many of the thousand live.
fn n_deaf() -> usize {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    let names = entries
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("comm")).ok());
    names.filter(|name| name == "deaf-stop\n").count()
}

pub(crate) fn run(report: &mut Report, scale: &Scale, dir: &Path, programs: &[Program]) {
    let (workspace, recordings) = (dir.join("workspace"), dir.join("recordings"));
    std::fs::create_dir(&workspace).expect("a directory");
    let mut peers = Vec::new();
    for name in PEERS {
        match find_program(name) {
            Some(path) => peers.push(Subject::init(name, &[path, "--".into()])),
            None => report.absent(format!("{name} beside the stop: not on the PATH")),
        }
    }
    let runs = || {
        let of = |program| Subject::run(program, &recordings, &workspace);
        programs.iter().map(of)
    };
    let all: Vec<Subject> = runs().chain(peers).collect();
    let what = "an idle run, from SIGTERM to its end";
    rows(
        report,
        &workspace,
        all,
        programs.len(),
        scale.n_starts.min(N_IDLE_ROUNDS),
        (what, IDLE),
    );
    let Some(floor) = Programs::compile(dir) else {
        report.absent("stop of 1,000 processes: no C compiler for them");
        return;
    };
    std::fs::copy(floor.deaf, workspace.join("deaf-stop")).expect("copy what we made");
    let hurried = runs().map(|run| Subject {
        signals: AT_ONCE,
        ..run
    });
    let own = programs.iter().map(|program| {
        let words = ["init", "--grace", "0", "--"].map(PathBuf::from);
        let name = format!("stockade init of the {}", program.name);
        Subject::init(
            &name,
            &[std::slice::from_ref(&program.path), &words].concat(),
        )
    });
    let peers = PEERS.into_iter().filter_map(|name| {
        let path = find_program(name)?;
        Some(Subject::init(name, &[path, "--".into()]))
    });
    let all: Vec<Subject> = hurried.chain(own).chain(peers).collect();
    let what = "1,000 processes that ignore signals, half of them in sessions of their own, from the third signal to the end";
    let n_rounds = if scale.is_full { N_THOUSAND_ROUNDS } else { 3 };
    rows(
        report,
        &workspace,
        all,
        programs.len(),
        n_rounds,
        (what, THOUSAND),
    );
}

/// A row for each of the first `n_ours`, beside all others.
fn rows(
    report: &mut Report,
    workspace: &Path,
    subjects: Vec<Subject>,
    n_ours: usize,
    n_rounds: usize,
    (what, script): (&str, &str),
) {
    let mut times: Vec<Vec<f64>> = subjects.iter().map(|_| Vec::new()).collect();
    let began = Instant::now();
    for round in 0..n_rounds {
        if round >= 3 && began.elapsed() > LONGEST {
            break;
        }
        for (subject, times) in subjects.iter().zip(&mut times) {
            times.push(subject.time(workspace, script));
        }
    }
    for idx in 0..n_ours {
        let name = &subjects[idx].name;
        let ours = millis(median(&times[idx]));
        let mut row = Row::new("stop", format!("{name}: {what}, p50"), ours);
        for (other, times) in subjects.iter().zip(&times).skip(n_ours) {
            row = row.beside(&other.name, median(times));
        }
        report.push(row.note(format!(
            "p10 {:.2} ms, p90 {:.2} ms of {}; the record is on disk and nothing is left",
            quantile(&times[idx], 10),
            quantile(&times[idx], 90),
            times[idx].len(),
        )));
    }
}
