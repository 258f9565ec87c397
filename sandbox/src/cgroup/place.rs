//! Where groups of version 2 may be made.
//!
//! A group of version 2 either has processes or gives controllers to its children, never both (cgroups(7), "no internal
//! processes"), and the supervisor sits in one. Owns the ways around that. Never moves a process of somebody else, except in
//! a container, whose visible root is moved as a whole into one leaf; never goes where a limit of the own group would not
//! hold any more. Invariant: in the place that it gives, a new group has every wanted controller.
//!
//! The ways, in this order:
//! 1. no controller is wanted of version 2: below the own group;
//! 2. the own group is the real root, which may have both: below it;
//! 3. another run was here first and moved into the leaf: beside it;
//! 4. all processes of the own group are the supervisor's, or it is the visible root of a container: they move into the leaf
//!    [`LEAF`], and the own group gives its controllers to its children;
//! 5. an outer group has the controllers already, and no group between has a limit: below that one.

use super::Controller;
use super::host::Unified;
use crate::policy::Movable;
use crate::process_table;
use crate::sweep;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The group of version 2 into which a supervisor moves, so that its own may give controllers to children.
pub(super) const LEAF: &str = "stockade-supervisors";

/// Most looks at a group while its processes move: what they fork meanwhile is found by the next look.
const MAX_MOVES: usize = 16;

/// Files whose value is `max` while a group has no limit.
const LIMITS: [&str; 4] = ["memory.max", "memory.high", "pids.max", "cpu.max"];

/// Finds the place; the error says for people what the host would have to give.
pub(super) fn find(
    unified: &Unified,
    wanted: &[Controller],
    movable: Movable,
) -> Result<PathBuf, String> {
    let own = &unified.own;
    if wanted.is_empty() {
        return Ok(own.clone());
    }
    let missing = without(&own.join("cgroup.controllers"), wanted);
    if !missing.is_empty() {
        return Err(format!(
            "the control group of the supervisor has no controller {}; delegate it, as by `systemd-run --user --scope -p Delegate=yes`",
            missing.join(", ")
        ));
    }
    let is_root = !own.join("cgroup.type").exists();
    if is_root || gives(own, wanted) {
        return enable(own, wanted).map(|()| own.clone());
    }
    if own.file_name().is_some_and(|name| name == LEAF)
        && let Some(parent) = own.parent().filter(|parent| gives(parent, wanted))
    {
        return Ok(parent.to_path_buf());
    }
    let refused = match move_into_leaf(unified, wanted, movable) {
        Ok(()) => return Ok(own.clone()),
        Err(refused) => refused,
    };
    outer(unified, wanted).ok_or(refused)
}

/// The wanted controllers that a list of the kernel lacks.
fn without(list: &Path, wanted: &[Controller]) -> Vec<&'static str> {
    let list = fs::read_to_string(list).unwrap_or_default();
    let names = wanted.iter().map(|controller| controller.name());
    names
        .filter(|name| !list.split_ascii_whitespace().any(|one| one == *name))
        .collect()
}

fn gives(group: &Path, wanted: &[Controller]) -> bool {
    without(&group.join("cgroup.subtree_control"), wanted).is_empty()
}

fn enable(group: &Path, wanted: &[Controller]) -> Result<(), String> {
    if gives(group, wanted) {
        return Ok(());
    }
    let names: Vec<_> = wanted
        .iter()
        .map(|one| format!("+{}", one.name()))
        .collect();
    let file = group.join("cgroup.subtree_control");
    fs::write(&file, names.join(" ")).map_err(|error| refused("cannot write", &file, &error))
}

/// Moves the own group's processes into the leaf, if they are ours to move.
fn move_into_leaf(
    unified: &Unified,
    wanted: &[Controller],
    movable: Movable,
) -> Result<(), String> {
    let own = &unified.own;
    let is_container = *own == unified.mount && movable == Movable::WithParent;
    if !is_container && !is_family(&pids(own).unwrap_or_default(), movable) {
        return Err(format!(
            "other processes share the control group {} with the supervisor; start it in one of its own, as by `systemd-run --user --scope -p Delegate=yes`",
            own.display()
        ));
    }
    let leaf = own.join(LEAF);
    match fs::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(refused("cannot make", &leaf, &error));
        }
        Ok(()) | Err(_) => {}
    }
    let moved = move_all(own, &leaf).and_then(|()| enable(own, wanted));
    if moved.is_err() {
        // As it was before; where even that fails nothing is weaker, since no group of ours has a limit here.
        let _ = move_all(&leaf, own);
        let _ = fs::remove_dir(&leaf);
    }
    moved
}

fn move_all(from: &Path, to: &Path) -> Result<(), String> {
    let list = to.join("cgroup.procs");
    for _ in 0..MAX_MOVES {
        let pids = pids(from).map_err(|error| refused("cannot read", from, &error))?;
        if pids.is_empty() {
            return Ok(());
        }
        for pid in pids {
            match fs::write(&list, pid.to_string()) {
                // It has ended.
                Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => {}
                Err(error) => return Err(refused("cannot move a process to", to, &error)),
                Ok(()) => {}
            }
        }
    }
    Err(format!(
        "the processes of {} fork faster than they move",
        from.display()
    ))
}

/// Whether all of them are the supervisor, its parent if that is its guardian, or descend from the two.
fn is_family(pids: &[i32], movable: Movable) -> bool {
    let Ok(own) = sweep::own_pid() else {
        return false;
    };
    let parent = nix::unistd::getppid().as_raw();
    let family = |table: &[process_table::Entry]| {
        let root = match movable {
            Movable::WithParent if parent > 1 => parent,
            Movable::WithParent | Movable::Own => own,
        };
        let below = process_table::descendants(table, root, &[]);
        pids.iter()
            .all(|pid| *pid == root || *pid == own || below.iter().any(|entry| entry.pid == *pid))
    };
    process_table::scan().is_ok_and(|table| family(&table))
}

pub(super) fn pids(group: &Path) -> io::Result<Vec<i32>> {
    let list = fs::read_to_string(group.join("cgroup.procs"))?;
    Ok(list.lines().filter_map(|pid| pid.parse().ok()).collect())
}

/// The nearest outer group that gives the controllers, unless a group on the way has a limit that would be left.
fn outer(unified: &Unified, wanted: &[Controller]) -> Option<PathBuf> {
    let mut group = unified.own.as_path();
    loop {
        if has_limit(group) {
            return None;
        }
        group = group
            .parent()
            .filter(|parent| parent.starts_with(&unified.mount))?;
        if gives(group, wanted) {
            return Some(group.to_path_buf());
        }
    }
}

/// Whether a group has any limit. A file that is missing limits nothing.
fn has_limit(group: &Path) -> bool {
    let values = LIMITS
        .iter()
        .map(|file| fs::read_to_string(group.join(file)));
    values.flatten().any(|value| !value.starts_with("max"))
}

pub(super) fn refused(what: &str, path: &Path, error: &io::Error) -> String {
    format!("{what} {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::{LEAF, find, is_family};
    use crate::cgroup::Controller;
    use crate::cgroup::host::Unified;
    use crate::policy::Movable;
    use std::fs;
    use std::path::{Path, PathBuf};
    use tempfile::TempDir;

    const WANTED: [Controller; 2] = [Controller::Memory, Controller::Pids];

    /// A directory that looks like a group to a reader.
    fn group(path: &Path, controllers: &str, subtree: &str, pids: &str, limit: &str) {
        fs::create_dir_all(path).unwrap();
        let files = [
            ("cgroup.type", "domain\n"),
            ("cgroup.controllers", controllers),
            ("cgroup.subtree_control", subtree),
            ("cgroup.procs", pids),
            ("memory.max", limit),
            ("pids.max", "max\n"),
        ];
        for (name, text) in files {
            fs::write(path.join(name), text).unwrap();
        }
    }

    fn unified(host: &TempDir, own: &str) -> Unified {
        let mount = host.path().to_path_buf();
        let own = if own.is_empty() {
            mount.clone()
        } else {
            mount.join(own)
        };
        Unified { mount, own }
    }

    fn place(host: &TempDir, own: &str) -> Result<PathBuf, String> {
        find(&unified(host, own), &WANTED, Movable::WithParent)
    }

    #[test]
    fn the_real_root_may_have_both() {
        let host = tempfile::tempdir().unwrap();
        group(host.path(), "cpu memory pids\n", "\n", "1\n", "max\n");
        fs::remove_file(host.path().join("cgroup.type")).unwrap();
        assert_eq!(place(&host, "").as_deref(), Ok(host.path()));
        let enabled = fs::read_to_string(host.path().join("cgroup.subtree_control")).unwrap();
        assert_eq!(enabled, "+memory +pids");
    }

    #[test]
    fn a_controller_that_is_not_delegated_is_named() {
        let host = tempfile::tempdir().unwrap();
        group(&host.path().join("own"), "pids\n", "\n", "1\n", "max\n");
        let refused = place(&host, "own").unwrap_err();
        assert!(refused.contains("has no controller memory"), "{refused}");
    }

    #[test]
    fn a_second_run_goes_beside_the_leaf_of_the_first() {
        let host = tempfile::tempdir().unwrap();
        let all = "memory pids\n";
        group(host.path(), all, all, "", "max\n");
        group(&host.path().join(LEAF), all, "\n", "1\n", "max\n");
        assert_eq!(place(&host, LEAF).as_deref(), Ok(host.path()));
    }

    #[test]
    fn the_processes_of_others_are_left_where_they_are() {
        let host = tempfile::tempdir().unwrap();
        let all = "memory pids\n";
        let own = host.path().join("own");
        group(host.path(), all, "\n", "", "max\n");
        group(&own, all, "\n", "1\n", "max\n");
        let refused = place(&host, "own").unwrap_err();
        assert!(refused.contains("other processes share"), "{refused}");
        assert!(!own.join(LEAF).exists());
    }

    #[test]
    fn an_outer_group_is_taken_only_where_no_limit_is_left_behind() {
        let all = "memory pids\n";
        for (limit, is_taken) in [("max\n", true), ("1073741824\n", false)] {
            let host = tempfile::tempdir().unwrap();
            group(host.path(), all, all, "", "max\n");
            group(&host.path().join("slice"), all, all, "", "max\n");
            group(&host.path().join("slice/scope"), all, "\n", "1\n", limit);
            let place = place(&host, "slice/scope");
            assert_eq!(place.is_ok(), is_taken, "{place:?}");
            if let Ok(place) = place {
                assert_eq!(place, host.path().join("slice"));
            }
        }
    }

    #[test]
    fn who_started_a_command_is_not_moved_for_it() {
        let parent = nix::unistd::getppid().as_raw();
        let own = nix::unistd::getpid().as_raw();
        assert!(is_family(&[own], Movable::Own));
        assert!(is_family(&[parent, own], Movable::WithParent));
        assert!(!is_family(&[parent, own], Movable::Own));
    }

    #[test]
    fn without_controllers_the_own_group_will_do() {
        let host = tempfile::tempdir().unwrap();
        let unified = unified(&host, "");
        assert_eq!(
            find(&unified, &[], Movable::Own).as_deref(),
            Ok(host.path())
        );
    }
}
