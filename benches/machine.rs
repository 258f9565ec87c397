//! The machine that was measured, and the programs that it has.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors that 5,000 readers and their servers need.
const N_DESCRIPTORS: u64 = 16_384;

/// Lets this process and its children open enough descriptors.
pub(crate) fn raise_descriptor_limit() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(N_DESCRIPTORS), hard).expect("a higher limit");
}

/// A program on the PATH.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// Facts for the head of a report, one a line.
pub(crate) fn facts() -> Vec<String> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, model)| model);
    let memory = read("/proc/meminfo");
    let memory = memory
        .lines()
        .next()
        .unwrap_or_default()
        .replace("MemTotal:", "");
    let load = read("/proc/loadavg");
    vec![
        format!("date: {}", output("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        format!(
            "commit: {}",
            output("git", &["describe", "--always", "--dirty"])
        ),
        format!(
            "machine: {model}, {} cores, {} memory; load average at the start {}",
            std::thread::available_parallelism().map_or(0, usize::from),
            memory.trim(),
            load.split(' ').take(3).collect::<Vec<_>>().join(" ")
        ),
        format!("kernel: {}", read("/proc/sys/kernel/osrelease").trim()),
        format!("compiler: {}", output("rustc", &["--version"])),
        format!(
            "peers: tokio, hyper and axum as in `Cargo.lock`; nginx {}; bubblewrap {}; sandbox-agent 0.4.2 of npm where it is named",
            output("nginx", &["-v"]),
            output("bwrap", &["--version"])
        ),
    ]
}

fn output(program: &str, arguments: &[&str]) -> String {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let Ok(output) = child else {
        return "absent".to_owned();
    };
    // nginx says its version on standard error.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().next().unwrap_or_default().to_owned()
}
