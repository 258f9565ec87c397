//! Rows "start" and "idle": from exec to the first healthy answer of `stockade run`, and what it takes when nothing happens.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::append::in_millis;
use crate::machine::find_program;
use crate::poller::{get, poll};
use crate::process::{Memory, arguments, children};
use crate::replay::free_port;
use crate::report::to_mebibytes;
use crate::report::{Report, Row, Target, mebibytes, median, millis, quantile, requests};
use crate::scale::Scale;

/// Variable with the path of sandbox-agent's binary, from `@sandbox-agent/cli-linux-x64` of npm.
const SANDBOX_AGENT: &str = "BENCH_SANDBOX_AGENT";

/// Milliseconds of a bare axum server's start on the machine on which the targets were set.
const QUIET_BARE_AXUM_MS: f64 = 4.4;

/// A program of ours to start, and what to call it.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) path: PathBuf,
}

pub(crate) fn run(report: &mut Report, scale: &Scale, dir: &Path, programs: &[Program]) {
    let workspace = dir.join("workspace");
    std::fs::create_dir(&workspace).expect("a directory");
    let body = dir.join("start-body.json");
    std::fs::write(&body, "{\"status\":\"running\"}").expect("write");
    let axum = [crate::server::SERVE, "axum", body.to_str().expect("UTF-8")];
    let mut ours: Vec<Vec<f64>> = programs.iter().map(|_| Vec::new()).collect();
    let mut ready: Vec<Vec<f64>> = programs.iter().map(|_| Vec::new()).collect();
    let mut bare = Vec::new();
    for round in 0..scale.n_starts {
        for (idx, program) in programs.iter().enumerate() {
            let run = dir.join(format!("start-{idx}-{round}"));
            let started = Started::run(program, &run, &workspace);
            ours[idx].push(started.healthy_after("/healthz"));
            ready[idx].push(started.healthy_after("/readyz"));
            drop(started);
            std::fs::remove_dir_all(&run).expect("remove what we made");
        }
        bare.push(bare_axum(&axum));
    }
    for (idx, program) in programs.iter().enumerate() {
        report.push(
            Row::new(
                "start",
                format!("{}: exec to first healthy answer, p50", program.name),
                millis(median(&ours[idx])),
            )
            .target(Target::AtMost(6.0))
            .beside("bare axum, exec to its first answer", median(&bare))
            .quiet_floor(QUIET_BARE_AXUM_MS)
            .note(format!(
                "p10 {:.2} ms, p90 {:.2} ms; agent started (/readyz) p50 {:.2} ms; five processes, fsyncs of the log, status.json and claim included",
                quantile(&ours[idx], 10),
                quantile(&ours[idx], 90),
                median(&ready[idx])
            )),
        );
    }
    for program in programs {
        idle(report, program, &dir.join("idle"), &workspace);
    }
    sandbox_agent(report, scale);
}

/// A `stockade run` that sleeps; killed with its guardian when dropped.
struct Started {
    child: Child,
    port: u16,
    began: Instant,
}

impl Started {
    fn run(program: &Program, dir: &Path, workspace: &Path) -> Self {
        let port = free_port();
        let mut command = Command::new(&program.path);
        command
            .arg("run")
            .arg("--recordings")
            .arg(dir)
            .args([
                "--run-id",
                "bench",
                "--listen",
                &format!("127.0.0.1:{port}"),
            ])
            .arg("--workspace")
            .arg(workspace)
            .args(["--", "sleep", "60"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", dir)
            .env("XDG_RUNTIME_DIR", workspace.parent().expect("a parent"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let began = Instant::now();
        let child = command.spawn().expect("start stockade");
        Self { child, port, began }
    }

    /// Milliseconds until `path` was answered with 200.
    fn healthy_after(&self, path: &str) -> f64 {
        while get(self.port, path).is_err() {
            assert!(
                self.began.elapsed() < Duration::from_secs(10),
                "stockade is not healthy after 10 s"
            );
            // The machine has few cores: what waits must not take the core of what it waits for.
            pause();
        }
        in_millis(self.began.elapsed())
    }
}

/// Sleeps for a small part of a start.
fn pause() {
    nix::poll::poll(&mut [], nix::poll::PollTimeout::ZERO).expect("poll");
    std::thread::park_timeout(Duration::from_micros(50));
}

impl Drop for Started {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        // The guardian passes it on; what is left dies with it.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

fn bare_axum(arguments: &[&str]) -> f64 {
    let began = Instant::now();
    let server = crate::server::Server::start(&arguments[1..]);
    while get(server.port, "/status").is_err() {
        pause();
    }
    in_millis(began.elapsed())
}

fn idle(report: &mut Report, program: &Program, dir: &Path, workspace: &Path) {
    let started = Started::run(program, dir, workspace);
    started.healthy_after("/readyz");
    // Half a second of nothing, so that what the start needed is given back.
    std::thread::park_timeout(Duration::from_millis(500));
    let guardian = started.child.id();
    let supervisor = children(guardian)
        .into_iter()
        .find(|pid| arguments(*pid).iter().any(|word| word == "supervisor"));
    let Some(supervisor) = supervisor else {
        report.absent("idle memory: no supervisor below the guardian");
        return;
    };
    let (outer, inner) = (Memory::of(guardian), Memory::of(supervisor));
    let pss = match (outer.pss, inner.pss) {
        (Some(outer), Some(inner)) => format!("{:.1} MiB", to_mebibytes(outer + inner)),
        _ => "unknown".to_owned(),
    };
    report.push(
        Row::new(
            "idle",
            format!("{}: guardian + supervisor, RSS", program.name),
            mebibytes(outer.rss + inner.rss),
        )
        .target(Target::AtMost(6.0))
        .note(format!(
            "guardian {:.1}, supervisor {:.1} MiB RSS; PSS of both {pss}",
            to_mebibytes(outer.rss),
            to_mebibytes(inner.rss)
        )),
    );
    drop(started);
    std::fs::remove_dir_all(dir).expect("remove what we made");
}

fn sandbox_agent(report: &mut Report, scale: &Scale) {
    let path = std::env::var_os(SANDBOX_AGENT)
        .map(PathBuf::from)
        .or_else(|| find_program("sandbox-agent"));
    let Some(path) = path else {
        report.absent(format!(
            "sandbox-agent: not on the PATH and not named by {SANDBOX_AGENT}"
        ));
        return;
    };
    let mut starts = Vec::new();
    for _ in 0..scale.n_rounds {
        let port = free_port();
        let began = Instant::now();
        let mut child = Command::new(&path)
            .args(["server", "--no-token", "--no-telemetry", "--port"])
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start sandbox-agent");
        while get(port, "/v1/health").is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "not healthy");
            pause();
        }
        starts.push(in_millis(began.elapsed()));
        if starts.len() == scale.n_rounds {
            std::thread::park_timeout(Duration::from_millis(500));
            let memory = Memory::of(child.id());
            let load = poll(port, "/v1/health", 64, scale.load);
            report.push(Row::new(
                "peer",
                "sandbox-agent: start to healthy, p50",
                millis(median(&starts)),
            ));
            report.push(Row::new(
                "peer",
                "sandbox-agent: idle RSS",
                mebibytes(memory.rss),
            ));
            report.push(Row::new(
                "peer",
                "sandbox-agent: GET /v1/health, 64 connections",
                requests(load.requests_per_second),
            ));
        }
        // Our own child, by its handle.
        let _ = child.kill();
        let _ = child.wait();
    }
}
