//! The floor of a launch: a small process in C that takes the same steps, started once and asked round by round.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::machine::find_program;

const SANDBOX: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/benches/launch/floor/sandbox.c"
);
const DEAF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/launch/floor/deaf.c");
const TRUE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/launch/floor/true.c");

/// The programs.
pub(crate) struct Programs {
    /// The floor.
    pub(crate) sandbox: PathBuf,
    /// Does nothing: static, a page of code.
    pub(crate) nothing: PathBuf,
    /// Makes processes that ignore signals.
    pub(crate) deaf: PathBuf,
}

impl Programs {
    /// Compiles them; none where there is no C compiler.
    pub(crate) fn compile(dir: &Path) -> Option<Self> {
        let compiler = find_program("cc")?;
        let compile = |source: &str, name: &str, flags: &[&str]| {
            let path = dir.join(name);
            let mut command = Command::new(&compiler);
            command
                .args(["-O2", "-Wall", "-o"])
                .arg(&path)
                .args(flags)
                .arg(source);
            let mut compiler = command.spawn().expect("start cc");
            let is_compiled = compiler.wait().expect("its end").success();
            assert!(is_compiled, "{source} does not compile");
            path
        };
        Some(Self {
            sandbox: compile(SANDBOX, "floor", &[]),
            nothing: compile(TRUE, "true", &["-static", "-nostdlib"]),
            deaf: compile(DEAF, "deaf", &[]),
        })
    }
}

/// A job of the floor.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Job {
    /// vfork and exec.
    Plain,
    /// Landlock, seccomp and resource limits alone.
    Container,
    /// The layers that bubblewrap has.
    Bubblewrap,
    /// All layers.
    Full,
    /// All layers, in a control group of version 1.
    Grouped,
    /// The kill of a pid namespace with 600 processes that ignore signals.
    Kill,
}

/// The process.
pub(crate) struct Floor {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Floor {
    pub(crate) fn start(program: &Path, nothing: &Path) -> Self {
        let mut child = Command::new(program)
            .arg(nothing)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the floor");
        let asks = child.stdin.take().expect("its input");
        let answers = BufReader::new(child.stdout.take().expect("its output"));
        Self {
            child,
            asks,
            answers,
        }
    }

    /// Milliseconds of one job; none where the host refuses it, which the floor has said.
    pub(crate) fn time(&mut self, job: Job) -> Option<f64> {
        let letter = match job {
            Job::Plain => 'v',
            Job::Container => 'c',
            Job::Bubblewrap => 'b',
            Job::Full => 'f',
            Job::Grouped => 'g',
            Job::Kill => 'k',
        };
        writeln!(self.asks, "{letter}").ok()?;
        let mut line = String::new();
        self.answers.read_line(&mut line).ok()?;
        let micros: f64 = line.trim().parse().ok()?;
        Some(micros / 1_000.0)
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
