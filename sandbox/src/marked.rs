//! What of a dead run lives and is in no control group of it.
//!
//! Owns the search by a word in the environment, which every child inherits (environ(7)). Never looks at a process that the
//! caller may not read, and never at the caller or what it descends from.
//! Invariant: the word is one that nobody can guess, so only what the run started has it.

use crate::process_table::{self, Entry};
use crate::sweep::{KillReport, kill_until_gone, own_pid, signal_exactly};
use nix::libc;
use std::fs::File;
use std::io::Read;
use std::time::Duration;

/// Most of an environment that is looked at: arguments and environment have at most 6 MiB together (execve(2)).
const MAX_ENVIRONMENT_BYTES: u64 = 6 << 20;

/// Kills every process that was started with `mark`, a whole `NAME=value`, in its environment, again until none lives or the
/// limit is over, and counts it. What dies by itself within 200 ms is not counted. One that has started a program with
/// another environment is not found.
pub fn kill_marked(mark: &str, limit: Duration) -> KillReport {
    let living = || {
        let table = process_table::scan().unwrap_or_default();
        let spared = ancestors(&table, own_pid().unwrap_or(1));
        let mut living = table;
        living.retain(|entry| {
            entry.is_alive && !spared.contains(&entry.pid) && has_mark(entry.pid, mark)
        });
        living
    };
    let kill = |left: &[Entry]| {
        for entry in left {
            // One that ended meanwhile is what was wanted.
            let _ = signal_exactly(entry, libc::SIGKILL);
        }
    };
    kill_until_gone(&living, &kill, limit)
}

/// A process and those that it descends from.
fn ancestors(table: &[Entry], pid: i32) -> Vec<i32> {
    let mut line = vec![pid];
    while let Some(parent) = line
        .last()
        .and_then(|last| table.iter().find(|entry| entry.pid == *last))
        .map(|entry| entry.parent)
        // A scan is no instant: it might show a circle.
        .filter(|parent| !line.contains(parent))
    {
        line.push(parent);
    }
    line
}

fn has_mark(pid: i32, mark: &str) -> bool {
    let mut environment = Vec::new();
    let read = File::open(format!("/proc/{pid}/environ")).and_then(|file| {
        file.take(MAX_ENVIRONMENT_BYTES)
            .read_to_end(&mut environment)
    });
    read.is_ok()
        && environment
            .split(|byte| *byte == 0)
            .any(|word| word == mark.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command};

    fn sleeper(value: &str) -> Child {
        Command::new("sleep")
            .arg("60")
            .env("STOCKADE_TEST_MARK", value)
            .spawn()
            .expect("a sleeper")
    }

    #[test]
    fn who_has_the_mark_is_killed_and_named_and_nobody_else() {
        let unique = format!("{}-marked", std::process::id());
        let mut marked = sleeper(&unique);
        let mut longer = sleeper(&format!("{unique}-not"));
        let reaper = std::thread::spawn(move || marked.wait().expect("an end"));
        let report = kill_marked(
            &format!("STOCKADE_TEST_MARK={unique}"),
            Duration::from_secs(20),
        );
        assert_eq!(
            (report.killed, report.left, report.names),
            (1, 0, vec!["sleep".to_owned()])
        );
        let ended = reaper.join().expect("the reaper");
        assert_eq!(ended.signal(), Some(libc::SIGKILL));
        assert!(longer.try_wait().expect("a look").is_none());
        longer.kill().expect("a kill");
        longer.wait().expect("an end");
    }

    #[test]
    fn the_caller_and_its_ancestors_are_found() {
        let table = process_table::scan().expect("a table");
        let own = own_pid().expect("a pid");
        let line = ancestors(&table, own);
        let parent = std::os::unix::process::parent_id();
        assert_eq!(line.first(), Some(&own));
        assert_eq!(line.get(1), i32::try_from(parent).ok().as_ref());
    }
}
