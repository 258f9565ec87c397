//! What /proc tells of processes.
//!
//! Owns the parsing of `/proc/PID/stat`. Never signals anything. Invariant: a process that ends while it is read is left
//! out, not an error.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};

/// Longest line: 52 numbers of at most 20 digits, and a name.
const MAX_LINE_BYTES: usize = 2_048;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    /// Name of the program, at most 15 bytes.
    pub(crate) name: String,
    /// Start time in clock ticks since boot; with the pid it identifies the process.
    pub(crate) started: u64,
    pub(crate) is_alive: bool,
    /// The kernel's letter for what it does, such as `R`, `S` or `T`.
    pub(crate) state: u8,
    pub(crate) threads: u64,
}

/// Reads every process of the procfs at /proc.
pub(crate) fn scan() -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for directory in std::fs::read_dir("/proc")? {
        let name = directory?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        entries.extend(pid.and_then(read));
    }
    Ok(entries)
}

/// Reads one process; `None` if it is gone.
pub(crate) fn read(pid: i32) -> Option<Entry> {
    let mut stat = File::open(format!("/proc/{pid}/stat")).ok()?;
    // The kernel writes the line in one piece where it fits: a read of a whole file would ask for its length, which is zero,
    // and begin with small pieces.
    let mut line = [0; MAX_LINE_BYTES];
    let length = stat.read(&mut line).ok()?;
    parse(&String::from_utf8_lossy(line.get(..length)?))
}

/// Keeps the processes below `root`, without the subtrees of those that are `spared`.
pub(crate) fn descendants(table: &[Entry], root: i32, spared: &[i32]) -> Vec<Entry> {
    let mut family = HashSet::from([root]);
    let mut found = Vec::new();
    // A child may be listed before its parent, so one pass is not enough.
    loop {
        let before = family.len();
        for entry in table {
            let is_new = family.contains(&entry.parent)
                && !spared.contains(&entry.pid)
                && family.insert(entry.pid);
            if is_new {
                found.push(entry.clone());
            }
        }
        if family.len() == before {
            return found;
        }
    }
}

/// Parses a line of proc_pid_stat(5). The name may hold spaces and parentheses, so the last one ends it.
fn parse(line: &str) -> Option<Entry> {
    let (pid, rest) = line.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    // Threads and start time are fields 20 and 22 of the line; state and parent were 3 and 4.
    let threads = fields.nth(15)?.parse().ok()?;
    let started = fields.nth(1)?.parse().ok()?;
    Some(Entry {
        pid: pid.parse().ok()?,
        parent,
        name: name.to_owned(),
        started,
        is_alive: !matches!(state, "Z" | "X" | "x"),
        state: state.bytes().next()?,
        threads,
    })
}

#[cfg(test)]
mod tests {
    use super::{Entry, descendants, parse};

    fn entry(pid: i32, parent: i32) -> Entry {
        Entry {
            pid,
            parent,
            name: String::new(),
            started: 0,
            is_alive: true,
            state: b'S',
            threads: 1,
        }
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let line = "42 (a) R 1 (b) S 7 41 40 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 8 0 9876 100 200 18446744073709551615";
        let parsed = parse(line).expect("parses");
        assert_eq!((parsed.pid, parsed.parent), (42, 7));
        assert_eq!(parsed.name, "a) R 1 (b");
        assert_eq!((parsed.started, parsed.threads), (9876, 8));
        assert!(parsed.is_alive);
    }

    #[test]
    fn our_own_line_parses() {
        let own = i32::try_from(std::process::id()).expect("pid");
        assert_eq!(super::read(own).expect("reads").pid, own);
    }

    #[test]
    fn descendants_leave_out_spared_subtrees() {
        let table = [
            entry(5, 4),
            entry(4, 2),
            entry(2, 1),
            entry(3, 1),
            entry(6, 3),
            entry(9, 8),
        ];
        let pids = |spared: &[i32]| {
            let mut pids: Vec<_> = descendants(&table, 1, spared)
                .iter()
                .map(|e| e.pid)
                .collect();
            pids.sort_unstable();
            pids
        };
        assert_eq!(pids(&[]), [2, 3, 4, 5, 6]);
        assert_eq!(pids(&[2]), [3, 6]);
    }
}
