//! Control groups of version 2, in a machine of its own: a kernel without version 1, booted once.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::need::{need, skip};
use crate::harness::run::binary;
use crate::harness::static_build::static_build;

/// Variable with the path of a kernel.
const KERNEL: &str = "STOCKADE_TEST_KERNEL";

/// Time for the boot and all runs; on a free machine it takes 20 s.
const LIMIT: Duration = Duration::from_secs(300);

/// The programs of busybox that the runs use.
const APPLETS: [&str; 20] = [
    "sh",
    "mount",
    "cp",
    "mkdir",
    "touch",
    "switch_root",
    "chown",
    "cat",
    "dd",
    "sleep",
    "seq",
    "setsid",
    "ps",
    "grep",
    "find",
    "wc",
    "poweroff",
    "echo",
    "true",
    "env",
];

/// The kernel that is named, else the one that `.ci/run` unpacked.
fn kernel() -> Option<PathBuf> {
    let named = std::env::var_os(KERNEL).map(PathBuf::from);
    let unpacked = || {
        let path = binary().ancestors().nth(2)?.join("ci/kernel/vmlinuz");
        path.exists().then_some(path)
    };
    let found = named.or_else(unpacked);
    if found.is_none() {
        skip(
            "no kernel to boot: name one by STOCKADE_TEST_KERNEL; .ci/run unpacks Debian's linux-image-cloud-amd64",
        );
    }
    found
}

/// The first root of the machine, as the archive that a kernel unpacks.
fn archive(place: &Path, busybox: &Path, stockade: &Path) -> PathBuf {
    let root = place.join("root");
    for name in ["bin", "etc", "new"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    let bin = root.join("bin");
    std::fs::copy(busybox, bin.join("busybox")).unwrap();
    std::fs::copy(stockade, bin.join("stockade")).unwrap();
    for applet in APPLETS {
        symlink("busybox", bin.join(applet)).unwrap();
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    let init = root.join("init");
    std::fs::write(&init, include_str!("vm/init.sh")).unwrap();
    std::fs::set_permissions(&init, std::fs::Permissions::from_mode(0o755)).unwrap();
    let archive = place.join("root.cpio");
    let made = Command::new("sh")
        .args(["-c", "find . | cpio --quiet -o -H newc > \"$0\""])
        .arg(&archive)
        .current_dir(&root)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    archive
}

/// All that the machine wrote to its console until it was switched off.
fn boot(machine: &Path, kernel: &Path, archive: &Path) -> String {
    let child = Command::new(machine)
        .args(["-M", "q35", "-cpu", "max", "-smp", "2", "-m", "1024"])
        .args([
            "-no-reboot",
            "-nodefaults",
            "-no-user-config",
            "-nographic",
            "-serial",
            "stdio",
        ])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(archive)
        .args(["-append", "console=ttyS0 panic=-1 quiet"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id().cast_signed();
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if end.recv_timeout(LIMIT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            crate::harness::run::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(ended);
    watch.join().unwrap();
    let console = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}{console}");
    console
}

/// What stands behind the mark of a name: the words of its line, and the line below.
fn marked<'a>(console: &'a str, name: &str) -> (Vec<&'a str>, Value) {
    let mut lines = console.lines().map(str::trim_end);
    let mark = format!("MARK {name} ");
    let words = lines
        .find_map(|line| line.strip_prefix(&mark))
        .unwrap_or_else(|| panic!("no mark {name}: {console}"));
    let status = lines.next().unwrap_or_default();
    let status = serde_json::from_str(status).unwrap_or(Value::Null);
    (words.split(' ').collect(), status)
}

fn means(status: &Value, limit: &str) -> String {
    let limits = status["isolation"]["limits"].as_array().unwrap();
    let one = limits.iter().find(|one| one["limit"] == limit).unwrap();
    one["by"].as_str().unwrap().to_owned()
}

#[test]
fn control_groups_of_version_2_hold_count_and_kill() {
    let (Some(machine), Some(_), Some(busybox)) =
        (need("qemu-system-x86_64"), need("cpio"), need("busybox"))
    else {
        return;
    };
    let (Some(kernel), Some(stockade)) = (kernel(), static_build()) else {
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let archive = archive(place.path(), &busybox, &stockade);
    let console = boot(&machine, &kernel, &archive);

    // The command itself was killed.
    let (words, status) = marked(&console, "memory");
    assert_eq!(words, ["137"], "{console}");
    assert_eq!(status["error"]["code"], "OOM_KILLED");
    assert_eq!(means(&status, "memory"), "cgroup-v2");
    let usage = &status["actions"][0]["usage"];
    assert_eq!(
        (&usage["wait_status"], &usage["oom_kills"]),
        (&9.into(), &1.into())
    );
    assert_eq!(usage["peak_memory_bytes"], 64 << 20);

    // A child was killed, and the command went on: the run is not one that was killed, and still tells it.
    let (words, status) = marked(&console, "child");
    assert_eq!(words, ["0"], "{console}");
    assert_eq!(
        (&status["status"], &status["error"]),
        (&"completed".into(), &Value::Null)
    );
    assert_eq!(status["actions"][0]["usage"]["oom_kills"], 1);

    let (words, status) = marked(&console, "processes");
    assert_eq!(words, ["2"], "{console}");
    assert_eq!(means(&status, "pids"), "cgroup-v2");
    let said = status["actions"][0]["result_text"].as_str().unwrap();
    assert!(
        said.contains("can't fork: Resource temporarily unavailable"),
        "{said}"
    );

    // A fifth of a processor for the time of the run.
    let (words, status) = marked(&console, "processors");
    assert_eq!(words, ["124"], "{console}");
    assert_eq!(means(&status, "cpus"), "cgroup-v2");
    let usage = &status["actions"][0]["usage"];
    let spent = usage["user_cpu_ms"].as_u64().unwrap() + usage["system_cpu_ms"].as_u64().unwrap();
    let lasted = status["actions"][0]["duration_ms"].as_u64().unwrap();
    assert!(
        usage["throttled_ms"].as_u64().unwrap() > lasted / 4,
        "{usage}"
    );
    assert!(spent < lasted / 2, "{usage}");

    // 300 processes that hear no signal, each with a session of its own.
    let (words, status) = marked(&console, "deaf");
    assert_eq!(words, ["0"], "{console}");
    assert_eq!(status["survivors"]["killed"], 300, "{status}");
    let (words, _) = marked(&console, "left");
    assert_eq!(words, ["0", "0"], "processes and groups that are left");
}
