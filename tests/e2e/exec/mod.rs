//! `stockade exec`: a command alone in a sandbox.

mod leaks;
mod network;
mod places;
mod signals;
mod status;
mod streams;
mod terminal;

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::harness::run::binary;

/// A command line of exec, to be completed by flags, `--` and the command; the workspace is `directory`.
fn exec(directory: &Path) -> Command {
    let mut command = Command::new(binary());
    command
        .arg("exec")
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .current_dir(directory)
        .stdin(Stdio::null());
    command
}

/// Runs it to its end.
fn output<S: AsRef<OsStr>>(flags: &[S], command: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    output_in(directory.path(), flags, command)
}

fn output_in<S: AsRef<OsStr>>(directory: &Path, flags: &[S], command: &[&str]) -> Output {
    let mut exec = exec(directory);
    exec.args(flags).arg("--").args(command).output().unwrap()
}

/// Its standard output, of a command that succeeds.
#[track_caller]
fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A command that was started, in a process group of its own; it is killed when it is dropped.
struct Started {
    child: Child,
    _directory: tempfile::TempDir,
}

impl Started {
    fn new(flags: &[&str], command: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let child = exec(directory.path())
            .args(flags)
            .arg("--")
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        Self {
            child,
            _directory: directory,
        }
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// An argument that no other process has.
fn mark() -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("700.{:06}{number:04}", std::process::id())
}

/// Pids of the processes of the host whose command line begins with these arguments.
fn marked(arguments: &[&str]) -> Vec<i32> {
    let wanted: Vec<u8> = arguments
        .iter()
        .flat_map(|argument| [argument.as_bytes(), b"\0"].concat())
        .collect();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|entry| {
            let line = std::fs::read(entry.path().join("cmdline"));
            line.is_ok_and(|line| line.starts_with(&wanted))
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}
