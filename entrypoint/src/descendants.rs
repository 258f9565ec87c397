//! Who descends from whom, read from `/proc`.
//!
//! Owns the scan and the kill of a process that it found. Never does: decide whom to spare.
//! Invariant: a process is killed only if it is still the one that was found, even if its number was used again meanwhile.

use std::ffi::OsString;
use std::fs::{File, read_dir, read_link};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;

use nix::libc;
use nix::unistd::getpid;

use crate::sys;

/// Bytes of `/proc/<pid>/stat` that are read: the fields needed end long before.
const STAT_BYTES: usize = 512;

/// Bytes of a process's name that the kernel keeps (proc_pid_comm(5)).
const NAME_BYTES: usize = 15;

/// One process, as found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: i32,
    /// The number of its parent.
    parent: i32,
    /// When it started, in clock ticks since boot; with the number this names one process for ever.
    pub(crate) started_ticks: u64,
    /// What it calls itself, filled up with zeros; any bytes but zero.
    called: [u8; NAME_BYTES],
    /// Whether it can still run. A zombie cannot, unless other threads of it are alive.
    alive: bool,
}

impl Process {
    /// Number and start, which name one process for ever.
    pub(crate) fn identity(self) -> (i32, u64) {
        (self.pid, self.started_ticks)
    }

    /// What it calls itself.
    pub(crate) fn name(self) -> OsString {
        let bytes = self.called.into_iter().take_while(|byte| *byte != 0);
        OsString::from_vec(bytes.collect())
    }
}

/// Finds all living descendants of this process, nearest first.
///
/// A process whose parent ends during the scan may be missed; the next scan finds it below this process.
///
/// # Errors
/// When `/proc` cannot be read or belongs to another pid namespace.
pub(crate) fn find_descendants() -> io::Result<Vec<Process>> {
    let own_pid = getpid().as_raw();
    if read_link("/proc/self")?.to_str() != Some(own_pid.to_string().as_str()) {
        return Err(io::Error::other("/proc belongs to another pid namespace"));
    }
    let mut processes = Vec::new();
    for entry in read_dir("/proc")? {
        let name = entry?.file_name();
        // A process that ended since the directory was read has no stat; nothing is missing then.
        let process = name
            .to_str()
            .and_then(|name| name.parse().ok())
            .and_then(read_process);
        processes.extend(process);
    }
    let mut family = family_of(own_pid, &mut processes);
    family.retain(|process| process.alive);
    Ok(family)
}

/// Sends SIGKILL to the process if it is still the one that was found.
pub(crate) fn kill_found(found: Process) {
    send_to(found, libc::SIGKILL);
}

/// Sends a signal to the process if it is still the one that was found.
pub(crate) fn send_to(found: Process, signal: i32) {
    let still_there =
        || read_process(found.pid).is_some_and(|now| now.started_ticks == found.started_ticks);
    match sys::open_process(found.pid) {
        Ok(process) if still_there() => {
            // It may have ended by itself, and then nothing is left to do.
            let _ = sys::send_to_process(process.as_fd(), signal);
        }
        Ok(_) => {}
        // A kernel or a seccomp filter without pidfds leaves a gap of microseconds between question and signal.
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) && still_there() => {
            let _ = sys::send_signal(found.pid, signal);
        }
        Err(_) => {}
    }
}

/// Reads one process, if it exists.
fn read_process(pid: i32) -> Option<Process> {
    let mut text = [0; STAT_BYTES];
    let length = File::open(format!("/proc/{pid}/stat"))
        .ok()?
        .read(&mut text)
        .ok()?;
    parse_stat(text.get(..length)?)
}

/// Reads the fields of `/proc/<pid>/stat` (proc_pid_stat(5)).
///
/// The second field is the command in parentheses and may itself hold spaces, parentheses, newlines and bytes that are no
/// text, so the fields are counted from the last closing parenthesis.
fn parse_stat(text: &[u8]) -> Option<Process> {
    let pid = str::from_utf8(text.split(|byte| *byte == b' ').next()?)
        .ok()?
        .parse()
        .ok()?;
    let command_start = text.iter().position(|byte| *byte == b'(')? + 1;
    let command_end = text.iter().rposition(|byte| *byte == b')')?;
    let mut called = [0; NAME_BYTES];
    for (place, byte) in called.iter_mut().zip(text.get(command_start..command_end)?) {
        *place = *byte;
    }
    let mut fields = str::from_utf8(text.get(command_end + 1..)?)
        .ok()?
        .split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    // The 20th field is the number of threads, the 22nd the start.
    let threads: u64 = fields.nth(15)?.parse().ok()?;
    let started_ticks = fields.nth(1)?.parse().ok()?;
    let alive = match state {
        "Z" | "X" | "x" => threads > 1,
        _ => true,
    };
    Some(Process {
        pid,
        parent,
        started_ticks,
        called,
        alive,
    })
}

/// The descendants of `root` among `processes`, nearest first.
fn family_of(root: i32, processes: &mut [Process]) -> Vec<Process> {
    processes.sort_unstable_by_key(|process| process.parent);
    let children_of = |parent: i32| {
        let start = processes.partition_point(|process| process.parent < parent);
        processes
            .iter()
            .skip(start)
            .take_while(move |process| process.parent == parent)
    };
    let mut family: Vec<Process> = children_of(root).copied().collect();
    let mut next_index = 0;
    // A scan is no instant: with numbers used again meanwhile it might show a circle, so no more than all are visited.
    while let Some(process) = family
        .get(next_index)
        .filter(|_| family.len() <= processes.len())
    {
        let pid = process.pid;
        family.extend(children_of(pid));
        next_index += 1;
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(
        pid: i32,
        command: &[u8],
        state: &str,
        parent: i32,
        threads: u32,
        started_ticks: u64,
    ) -> Vec<u8> {
        let mut text = format!("{pid} (").into_bytes();
        text.extend(command);
        text.extend(format!(") {state} {parent} 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 {threads} 0 {started_ticks} 99 7\n").bytes());
        text
    }

    #[test]
    fn a_command_cannot_forge_the_fields() {
        for command in [
            &b"sh"[..],
            b"",
            b"a b",
            b") Z 1 (",
            b"((((",
            b"))))",
            b"x\n1 (y) Z 4",
            b"\xff\xfe",
        ] {
            let found = parse_stat(&stat(42, command, "S", 7, 1, 123)).expect("parses");
            assert_eq!(
                (found.pid, found.parent, found.started_ticks, found.alive),
                (42, 7, 123, true),
                "{command:?}"
            );
            assert_eq!(found.name().as_encoded_bytes(), command);
        }
    }

    #[test]
    fn a_zombie_is_alive_only_with_threads() {
        for (state, threads, alive) in [
            ("Z", 1, false),
            ("Z", 2, true),
            ("X", 0, false),
            ("D", 1, true),
            ("T", 1, true),
        ] {
            assert_eq!(
                parse_stat(&stat(1, b"a", state, 0, threads, 1)).map(|found| found.alive),
                Some(alive),
                "{state} {threads}"
            );
        }
        assert_eq!(parse_stat(b"1 (cut) S 0"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn a_family_has_all_generations_and_no_strangers() {
        let process = |pid, parent| Process {
            pid,
            parent,
            started_ticks: 0,
            called: [0; NAME_BYTES],
            alive: true,
        };
        let mut processes = [
            process(9, 4),
            process(4, 2),
            process(3, 2),
            process(2, 1),
            process(1, 0),
            process(8, 3),
            process(7, 1),
        ];
        let pids = |found: Vec<Process>| {
            let mut pids: Vec<i32> = found.iter().map(|process| process.pid).collect();
            pids.sort_unstable();
            pids
        };
        assert_eq!(pids(family_of(2, &mut processes)), [3, 4, 8, 9]);
        assert_eq!(pids(family_of(9, &mut processes)), [0_i32; 0]);
        let mut circle = [process(5, 6), process(6, 5)];
        assert!(family_of(5, &mut circle).len() <= 4);
    }

    #[test]
    fn the_running_kernel_is_understood() {
        let own_pid = getpid().as_raw();
        let found = read_process(own_pid).expect("a stat of our own");
        assert!(found.alive && found.pid == own_pid && found.started_ticks > 0);
    }

    #[test]
    fn a_number_that_was_used_again_is_not_killed() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("a child");
        let pid = i32::try_from(child.id()).expect("a pid");
        let found = read_process(pid).expect("a living child");
        let earlier = Process {
            started_ticks: found.started_ticks - 1,
            ..found
        };
        kill_found(earlier);
        // A signal that was sent is pending at once: had it been sent, the shot below would come second.
        send_to(found, libc::SIGTERM);
        let ended = child.wait().expect("an end");
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&ended),
            Some(libc::SIGTERM)
        );
    }
}
