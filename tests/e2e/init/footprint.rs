//! What an init holds and costs while it does nothing.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use super::{Started, Subject, as_pid_1, field};
use crate::harness::until;

/// Starts it from `/usr`, with descriptors of somebody else.
fn idle(flags: &[&str], prefix: Vec<std::path::PathBuf>) -> Started {
    let mut subject = Subject::own(flags);
    let shell = [
        "sh",
        "-c",
        "exec 7</etc/passwd 9</etc/group; exec \"$@\"",
        "sh",
    ];
    let shell = shell.map(std::path::PathBuf::from);
    subject.words = [shell.to_vec(), prefix, subject.words].concat();
    let script = "echo fds $(ls /proc/$$/fd); pwd; echo ready; exec sleep 600";
    let mut command = subject.command(["sh", "-c", script]);
    command.current_dir("/usr");
    let started = Started::new(command);
    started.until_line("ready");
    started
}

/// The numbers of the open descriptors of a process.
fn descriptors(pid: i32) -> Vec<i32> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let mut numbers: Vec<i32> = entries
        .map(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn the_init_holds_no_descriptor_and_no_directory_and_the_command_has_them_all() {
    let started = idle(&[], vec![]);
    assert_eq!(descriptors(started.pid()), [0, 1, 2]);
    let directory = std::fs::read_link(format!("/proc/{}/cwd", started.pid())).unwrap();
    assert_eq!(directory.to_str(), Some("/"));
    let lines = started.lines();
    let fds: Vec<&str> = lines[0].split(' ').collect();
    for number in ["0", "1", "2", "7", "9"] {
        assert!(fds.contains(&number), "{lines:?}");
    }
    assert_eq!(lines[1], "/usr");
}

/// Whether a process is not woken at all in one of three windows of a second.
fn sleeps(pid: i32) -> bool {
    let activity = || {
        let time = std::fs::read_to_string(format!("/proc/{pid}/schedstat"));
        (
            field(pid, "voluntary_ctxt_switches"),
            time.unwrap_or_default(),
        )
    };
    (0..3).any(|_| {
        let before = activity();
        assert!(!before.0.is_empty(), "the init is gone");
        let ends_at = Instant::now() + Duration::from_secs(1);
        while let Some(left) = ends_at.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(left);
        }
        before == activity()
    })
}

#[test]
fn an_idle_init_is_never_woken_and_has_one_thread() {
    let started = idle(&["--stop-timeout", "5s"], vec![]);
    assert!(sleeps(started.pid()), "the init wakes up without a reason");
    assert_eq!(field(started.pid(), "Threads"), "1");
}

#[test]
fn an_idle_init_has_let_go_of_the_pages_that_only_its_start_needed() {
    let started = idle(&[], vec![]);
    let kibibytes = |name: &str| -> u64 {
        let text = field(started.pid(), name);
        text.trim_end_matches(" kB").parse().unwrap()
    };
    // The debug build has other figures than the static one, and a C library of its own.
    until("it has let go of a third of its memory", || {
        (kibibytes("VmRSS") * 3 < kibibytes("VmHWM") * 2).then_some(())
    });
}

#[test]
fn an_idle_pid_1_is_never_woken() {
    let Some(words) = as_pid_1() else {
        return;
    };
    let started = idle(&[], words);
    let init = started.main_child();
    assert!(sleeps(init), "the init wakes up without a reason");
    assert_eq!(descriptors(init), [0, 1, 2]);
}

#[test]
fn what_follows_it_in_a_pipe_sees_its_end() {
    let command = Subject::own(&[]).command(["sh", "-c", "echo one; exec sleep 600"]);
    let (reader, writer) = nix::unistd::pipe().unwrap();
    // A descriptor of the caller that the command closes is closed for good.
    let number = writer.as_raw_fd();
    nix::fcntl::fcntl(
        &writer,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
    )
    .unwrap();
    let mut started = Started::new(command);
    drop(writer);
    started.until_line("one");
    let child = started.main_child();
    assert!(descriptors(child).contains(&number));
    assert!(!descriptors(started.pid()).contains(&number));
    super::send(child, nix::libc::SIGKILL);
    let mut bytes = [0];
    until("the reader sees the end", || {
        (nix::unistd::read(&reader, &mut bytes) == Ok(0)).then_some(())
    });
    assert_eq!(started.end(), 137);
}
