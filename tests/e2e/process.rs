//! The processes of a run, seen from outside and from inside: who owns what, who can reach whom, and that they all end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::crash_follower::is_terminal;
use crate::harness::need::{need, skip};
use crate::harness::run::kill;
use crate::harness::{DEADLINE, Recording, RunBuilder, stream, until};
use crate::process_table::{self, Process};

/// The API may drain for 4 s, and give a reader that stalls 2 s; the rest is for a busy machine.
const DRAIN_LIMIT: Duration = Duration::from_secs(4 + 2);

const WAITING: &str = "echo ready; until [ -e go ]; do sleep 0.02; done";

fn go(workspace: &Path) {
    std::fs::write(workspace.join("go"), b"").unwrap();
}

/// The inode of the socket that listens on a TCP port, by proc_net(5).
fn listening_inode(port: u16) -> u64 {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table
        .lines()
        .skip(1)
        .find_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let local = u16::from_str_radix(fields[1].rsplit(':').next()?, 16).ok()?;
            (local == port && fields[3] == "0A").then(|| fields[9].parse().unwrap())
        })
        .unwrap()
}

/// The descriptors of a process: number, target, flags of open(2).
fn descriptors(pid: i32) -> Vec<(String, String, u32)> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let number = entry.ok()?.file_name().into_string().ok()?;
            let target = std::fs::read_link(format!("/proc/{pid}/fd/{number}")).ok()?;
            let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
            let flags = u32::from_str_radix(flags.trim(), 8).ok()?;
            Some((number, target.to_string_lossy().into_owned(), flags))
        })
        .collect()
}

#[test]
fn the_process_that_listens_is_the_process_that_writes() {
    let builder = RunBuilder::sh(WAITING);
    let workspace = builder.workspace();
    let run = builder.start();
    run.until_stdout("ready");
    let port = run.address().rsplit(':').next().unwrap().parse().unwrap();
    let socket = format!("socket:[{}]", listening_inode(port));
    let log = run.recording().path().join("events.jsonl");
    let everybody: Vec<Process> = process_table::all();
    let owners = |owns: &dyn Fn(&str, u32) -> bool| -> Vec<i32> {
        let has = |process: &&Process| {
            descriptors(process.pid)
                .iter()
                .any(|(_, target, flags)| owns(target, *flags))
        };
        everybody
            .iter()
            .filter(has)
            .map(|process| process.pid)
            .collect()
    };
    let supervisor = run.supervisor_pid();
    assert_eq!(owners(&|target, _| target == socket), [supervisor]);
    let writes = |target: &str, flags: u32| Path::new(target) == log && flags & 3 != 0;
    assert_eq!(owners(&writes), [supervisor]);
    assert_eq!(
        process_table::read(supervisor).unwrap().parent,
        run.guardian_pid()
    );
    go(&workspace);
    assert_eq!(run.finish().code(), 0);
}

#[test]
fn with_stalled_and_idle_readers_the_process_still_ends_and_status_json_is_first() {
    // Far more than the buffers of a socket hold, so that the stalled ones do stall.
    let script =
        format!("yes 0123456789012345678901234567890123456789 | head -c 20000000; {WAITING}");
    let builder = RunBuilder::sh(&script);
    let workspace = builder.workspace();
    let run = builder.start();
    run.until_running();
    let address = run.address();
    let request = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // Stalled: they ask and never read. Idle: they connect and never ask, or ask for what does not come.
    let mut stalled = Vec::new();
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut one = UnixStream::connect(run.socket()).unwrap();
        one.write_all(request).unwrap();
        stalled.push(one);
        idle.push(TcpStream::connect(&address).unwrap());
        let mut polling = TcpStream::connect(&address).unwrap();
        polling
            .write_all(
                format!("GET /events?types=artifact HTTP/1.1\r\nHost: {address}\r\n\r\n")
                    .as_bytes(),
            )
            .unwrap();
        idle.push(polling);
    }
    let recording = run.recording();
    let reader = {
        let mut events = stream(&address, "/events", &[]);
        std::thread::spawn(move || {
            while let Some(frame) = events.next_frame() {
                if frame.event.as_deref() == Some("complete") {
                    // Whoever sees the end can rely on the file, at this very moment.
                    return (Some(recording.status()), Instant::now());
                }
            }
            (None, Instant::now())
        })
    };
    run.until_stdout("ready");
    let directory = run.directory.path().to_owned();
    go(&workspace);
    let run = run.finish();
    let ended = Instant::now();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let (status, seen) = reader.join().unwrap();
    let status = status.expect("the terminal event came");
    assert!(is_terminal(&status), "{status}");
    let after = ended.saturating_duration_since(seen);
    assert!(after < DRAIN_LIMIT, "{after:?} after the terminal event");
    assert_eq!(run.recording.status(), status);
    until("nothing of the run is left", || {
        process_table::of_run(&directory).is_empty().then_some(())
    });
    // Their connections are closed, so they learn of the end.
    for mut one in stalled {
        one.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut rest = Vec::new();
        // What was on its way comes, then the end or a reset.
        let _ = one.read_to_end(&mut rest);
        assert!(!rest.is_empty());
    }
    drop(idle);
    assert!(TcpStream::connect(&address).is_err(), "the API is gone");
    run.recording.assert_whole();
}

#[test]
fn guardian_and_supervisor_are_not_dumpable() {
    // The kernel gives the files below /proc/PID to root when the process is not dumpable (proc(5)): an ordinary user shows it.
    let is_root = nix::unistd::Uid::effective().is_root();
    let user = if is_root {
        1000
    } else {
        nix::unistd::getuid().as_raw()
    };
    let builder = RunBuilder::sh(WAITING)
        .flag("--isolation")
        .flag("none")
        .with_own_binary();
    let directory = builder.workspace().parent().unwrap().to_owned();
    let mut command = builder.command();
    if is_root {
        for path in [directory.clone(), builder.workspace()] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
            nix::unistd::chown(&path, Some(user.into()), Some(user.into())).unwrap();
        }
        command.uid(user).gid(user);
    }
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        skip("another user cannot start the binary here");
        return;
    };
    let guardian = i32::try_from(child.id()).unwrap();
    let _guard = process_table::KillOnPanic(guardian);
    let recording = Recording::at(builder.recordings().join("run"));
    until("the run is running", || {
        assert!(child.try_wait().unwrap().is_none(), "the run ended");
        (recording.try_status()?["phase"] == "running").then_some(())
    });
    let supervisor = process_table::live_child(guardian).unwrap();
    let helper = process_table::live_child(supervisor).unwrap();
    let owner = |pid: i32| {
        std::fs::metadata(format!("/proc/{pid}/environ"))
            .unwrap()
            .uid()
    };
    assert_eq!((owner(guardian), owner(supervisor)), (0, 0));
    // It has no secret and writes id maps; it also shows that the look tells the two apart.
    assert_eq!(owner(helper), user);
    kill(guardian, Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn the_workload_neither_sees_nor_signals_who_guards_it() {
    let builder = RunBuilder::sh(
        "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done; trap '' TERM; kill -TERM -1; kill -KILL $PPID; kill -KILL 1; echo alive; exit 9",
    );
    let run = builder.finish();
    assert_eq!(run.code(), 9, "{}", run.stderr);
    assert!(run.stdout.ends_with("alive\n"), "{}", run.stdout);
    for word in ["guardian", "supervisor", "--run-id", "e2e"] {
        assert!(!run.stdout.contains(word), "{word} in {}", run.stdout);
    }
    run.recording.assert_whole();
}

#[test]
fn secrets_are_in_no_environment_and_no_command_line_of_ours() {
    let secret = "Zq8-credential-value-5521";
    let token = "Zq8-token-value-7763-abcdefgh";
    let builder = RunBuilder::sh(WAITING);
    let workspace = builder.workspace();
    let directory = workspace.parent().unwrap().to_owned();
    let file = directory.join("token");
    std::fs::write(&file, token).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let run = builder
        .env("CALLERS_SECRET", secret)
        .flag("--credential")
        .flag("KEY=env:CALLERS_SECRET")
        .flag("--token-file")
        .flag(file.clone())
        .start();
    run.until_stdout("ready");
    let supervisor = run.supervisor_pid();
    let helper = process_table::live_child(supervisor).unwrap();
    let init = process_table::live_child(helper).unwrap();
    for (name, pid) in [
        ("guardian", run.guardian_pid()),
        ("supervisor", supervisor),
        ("helper", helper),
        ("init", init),
    ] {
        for file in ["environ", "cmdline"] {
            let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            assert!(!text.contains("Zq8"), "{file} of the {name}: {text}");
        }
    }
    // The look would find it: the workload has its credential.
    let workload = process_table::live_child(init).unwrap();
    let environ = std::fs::read(format!("/proc/{workload}/environ")).unwrap();
    assert!(String::from_utf8_lossy(&environ).contains(secret));
    assert!(!String::from_utf8_lossy(&environ).contains(token));
    go(&workspace);
    let run = run.finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    // Nor in any file of the recording.
    let found = Command::new("grep")
        .args(["-rl", "Zq8"])
        .arg(run.recording.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

#[test]
fn orphans_leave_no_zombie() {
    for isolation in ["full", "none"] {
        let script = format!(
            "i=0; while [ $i -lt 100 ]; do i=$((i+1)); (sh -c 'sleep 0.01 & ' &); done; {WAITING}"
        );
        let builder = RunBuilder::sh(&script).flag("--isolation").flag(isolation);
        let workspace = builder.workspace();
        let run = builder.start();
        run.until_stdout("ready");
        let guardian = run.guardian_pid();
        until("no zombie is left", || {
            let all = process_table::all();
            let mut tree = vec![guardian];
            let mut at = 0;
            while let Some(parent) = tree.get(at).copied() {
                tree.extend(
                    all.iter()
                        .filter(|process| process.parent == parent)
                        .map(|process| process.pid),
                );
                at += 1;
            }
            let zombies = all
                .iter()
                .filter(|process| process.state == 'Z' && tree.contains(&process.pid));
            (zombies.count() == 0).then_some(())
        });
        go(&workspace);
        assert_eq!(run.finish().code(), 0);
    }
}

#[test]
fn a_command_that_asks_to_be_traced_is_not_dead_when_it_stops() {
    if need("python3").is_none() {
        return;
    }
    let traced = "import ctypes, os, sys; ctypes.CDLL(None).ptrace(0, 0, 0, 0)";
    for isolation in ["full", "container", "none"] {
        for (then, code) in [
            ("os.kill(os.getpid(), 10)", 138),
            ("os.execv('/bin/sh', ['sh', '-c', 'exit 7'])", 7),
            ("os.kill(os.getpid(), 28); sys.exit(5)", 5),
        ] {
            let script = format!("{traced}; {then}");
            let run = RunBuilder::new(["python3", "-c", &script])
                .flag(format!("--isolation={isolation}"))
                .finish();
            assert_eq!(run.code(), code, "{isolation}: {then}: {}", run.stderr);
            let status = run.recording.status();
            assert_eq!(status["survivors"]["killed"], 0, "{isolation}: {then}");
        }
    }
    let script = format!("{traced}; os.kill(os.getpid(), 28); sys.exit(5)");
    let ended = Command::new(crate::harness::run::binary())
        .args(["init", "--", "python3", "-c", &script])
        .output();
    assert_eq!(ended.unwrap().status.code(), Some(5));
}

#[test]
fn a_list_of_processes_names_what_belongs_to_a_run() {
    let run = RunBuilder::sh(WAITING);
    let workspace = run.workspace();
    let run = run.start();
    run.until_stdout("ready");
    let supervisor = run.supervisor_pid();
    let helper = process_table::live_child(supervisor).unwrap();
    let init = process_table::live_child(helper).unwrap();
    let names = [run.guardian_pid(), supervisor, helper, init]
        .map(|pid| process_table::read(pid).unwrap().name);
    let expected = ["stockade", "stockade", "stockade-helper", "stockade-init"];
    assert_eq!(names, expected);
    go(&workspace);
    assert_eq!(run.finish().code(), 0);
}
