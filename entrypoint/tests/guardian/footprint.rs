//! What a guardian holds and costs while it does nothing.

use std::time::{Duration, Instant};

use nix::poll::ppoll;
use nix::sys::signal::Signal;
use nix::sys::time::TimeSpec;

use crate::run::{PATIENT, Plan, Run, field, skip};

#[test]
fn nobody_holds_a_descriptor_of_anybody_else() {
    let wrapper = [
        "sh",
        "-c",
        "exec 7</etc/passwd; exec 9</etc/passwd; exec \"$@\"",
        "sh",
    ];
    let run = Plan::new(PATIENT)
        .wrapped(&wrapper)
        .start(&["mark:up", "deaf"]);
    let supervisor = run.wait_for("up");
    assert_eq!(supervisor[2], "[0, 1, 2, 3, 4, 5, 6]");
    let Ok(entries) = std::fs::read_dir(format!("/proc/{}/fd", run.pid())) else {
        return skip("only root may look at the descriptors of a process that is not dumpable");
    };
    let mut targets: Vec<String> = entries
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .parse()
                .is_ok_and(|number: i32| number > 2)
        })
        .filter_map(|entry| {
            Some(
                std::fs::read_link(entry.path())
                    .ok()?
                    .to_string_lossy()
                    .into_owned(),
            )
        })
        .map(|target| target.split(":[").next().unwrap_or_default().to_owned())
        .collect();
    targets.sort_unstable();
    let mut expected = ["anon_inode:[signalfd]", "pipe", "socket"]
        .map(|name| name.split(":[").next().unwrap_or_default().to_owned())
        .to_vec();
    expected.extend(["", "/run.lock"].map(|name| {
        format!("{}{name}", run.path("").display())
            .trim_end_matches('/')
            .replace("//", "/")
    }));
    expected.sort_unstable();
    assert_eq!(targets, expected);
}

#[test]
fn the_working_directory_is_held_by_the_supervisor_alone() {
    let wrapper = ["sh", "-c", "cd /usr && exec \"$@\"", "sh"];
    let run = Plan::new(PATIENT)
        .wrapped(&wrapper)
        .start(&["mark:up", "deaf"]);
    assert_eq!(run.wait_for("up")[1], "/usr");
    match std::fs::read_link(format!("/proc/{}/cwd", run.pid())) {
        Ok(directory) => assert_eq!(directory.to_str(), Some("/")),
        Err(_) => {
            skip("only root may look at the working directory of a process that is not dumpable")
        }
    }
}

/// Whether the guardian is not woken at all in one of three windows of a second.
///
/// Three, because a message may be on its way when the first begins; a tick or a busy loop would show in each of them.
fn sleeps(run: &Run) -> bool {
    let activity = || {
        let switches = field(run.pid(), "voluntary_ctxt_switches").expect("a living guardian");
        // Time on the processor in nanoseconds, where the kernel counts it.
        let time = std::fs::read_to_string(format!("/proc/{}/schedstat", run.pid()));
        (switches, time.unwrap_or_default())
    };
    (0..3).any(|_| {
        let before = activity();
        let ends_at = Instant::now() + Duration::from_secs(1);
        while let Some(left) = ends_at.checked_duration_since(Instant::now()) {
            ppoll(&mut [], Some(TimeSpec::from_duration(left)), None).expect("a window");
        }
        before == activity()
    })
}

#[test]
fn an_idle_guardian_sleeps() {
    let flags = ["--backstop-ms", "600000", "--grace-ms", "8000"];
    let steps = ["say:ready", "mark:up", "until:15", "say:finished", "exit:0"];
    let mut run = Plan::new(&flags).start(&steps);
    run.wait_for("up");
    assert!(sleeps(&run), "the guardian wakes up without a reason");
    let memory = field(run.pid(), "VmRSS").unwrap_or_default();
    println!("idle guardian: VmRSS {memory}");
    assert_eq!(field(run.pid(), "Threads").as_deref(), Some("1"));
    run.signal(Signal::SIGTERM);
    run.ends_with(0);
}

#[test]
fn a_closed_socket_does_not_keep_the_guardian_awake() {
    let script = "test $1 = supervisor || exit 125; exec 3>&-; : > ${0%/*}/up; exec sleep 77";
    let run = Plan::new(PATIENT).script(script).start(&[]);
    run.wait_for("up");
    assert!(sleeps(&run), "the guardian turns on a closed socket");
}

#[test]
fn the_supervisor_leads_its_own_process_group() {
    let run = Run::start(&["mark:up", "deaf"]);
    let supervisor = run.wait_for("up")[0].clone();
    let stat =
        std::fs::read_to_string(format!("/proc/{supervisor}/stat")).expect("a living supervisor");
    let group = stat
        .rsplit(") ")
        .next()
        .and_then(|fields| fields.split(' ').nth(2));
    assert_eq!(group, Some(supervisor.as_str()));
}
