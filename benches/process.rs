//! What the kernel says of a process's memory.

use std::path::PathBuf;

/// Memory of one process, bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Resident set.
    pub(crate) rss: u64,
    /// Largest resident set so far.
    pub(crate) peak: u64,
    /// Its share of the resident set, when we may know.
    pub(crate) pss: Option<u64>,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Self {
        let status = read(pid, "status");
        let rollup = read(pid, "smaps_rollup");
        Self {
            rss: field(&status, "VmRSS:").unwrap_or(0),
            peak: field(&status, "VmHWM:").unwrap_or(0),
            pss: field(&rollup, "Pss:"),
        }
    }

    /// Begins the peak anew (proc(5), `clear_refs`).
    pub(crate) fn reset_peak(pid: u32) {
        std::fs::write(path(pid, "clear_refs"), "5").expect("reset the peak of our own child");
    }
}

/// The processes whose parent is `pid`.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let list = read(pid, &format!("task/{pid}/children"));
    list.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// The arguments of a process.
pub(crate) fn arguments(pid: u32) -> Vec<String> {
    read(pid, "cmdline")
        .split('\0')
        .map(str::to_owned)
        .collect()
}

fn path(pid: u32, name: &str) -> PathBuf {
    format!("/proc/{pid}/{name}").into()
}

fn read(pid: u32, name: &str) -> String {
    std::fs::read_to_string(path(pid, name)).unwrap_or_default()
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
