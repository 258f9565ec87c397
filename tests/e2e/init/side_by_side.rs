//! The same asked of the init that we stand in for, where it is installed, and of ours: the answers are the same.

use nix::libc;

use super::{Started, Subject, field};
use crate::harness::until;
use crate::process_table;

/// What becomes of a signal that an init gets.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// The command got this one.
    Got(i32),
    Nothing,
    /// The init ended.
    Ended(i32),
    /// The init stopped, and both went on after SIGCONT; the command had printed this.
    Stopped(Vec<String>),
}

/// An answer of an init to a command line that starts nothing, or a command that ends by itself.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs `look` for the original, if it is there, and for ours, and compares.
fn same<T: std::fmt::Debug + PartialEq>(init: &'static str, look: impl Fn(&Subject) -> T) -> T {
    let ours = look(&Subject::instead_of(init));
    if let Some(original) = Subject::original(init) {
        let theirs = look(&original);
        assert_eq!(ours, theirs, "ours, and {init}");
    }
    ours
}

/// Signals that nobody can catch, the one that tells of children, and the two of the C library: the originals cannot block
/// these, and are ended by them. Ours passes them on.
const LEFT_OUT: [i32; 5] = [libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD, 32, 33];

/// The signal with the highest number, which every init passes on.
const LAST: i32 = 64;

/// What becomes of each signal from 1 to 64 with these options.
fn fates(subject: &Subject, options: &[&str]) -> Vec<(i32, Fate)> {
    let mut started = subject.probe(options);
    let mut fates = Vec::new();
    for signal in (1..=64).filter(|signal| !LEFT_OUT.contains(signal)) {
        let is_ignored = subject.name == "tini" && [libc::SIGTTIN, libc::SIGTTOU].contains(&signal);
        let fate = if is_ignored {
            dropped(&started, signal)
        } else {
            fate(&mut started, signal)
        };
        if let Fate::Ended(_) = fate {
            started = subject.probe(options);
        }
        fates.push((signal, fate));
    }
    fates
}

/// Sends a signal to the init and looks what comes of it, by a second one that is passed on by every init.
fn fate(started: &mut Started, signal: i32) -> Fate {
    let before = started.lines().len();
    let marker = if signal == libc::SIGUSR1 {
        libc::SIGUSR2
    } else {
        libc::SIGUSR1
    };
    started.signal(signal);
    let fate = until(&format!("something comes of {signal}"), || {
        if let Some(status) = started.child.try_wait().unwrap() {
            use std::os::unix::process::ExitStatusExt;
            let end = status
                .code()
                .unwrap_or_else(|| 1000 + status.signal().unwrap());
            return Some(Fate::Ended(end));
        }
        if is_stopped(started) {
            return Some(let_go(started, before, marker));
        }
        let got = new_lines(started, before).first()?.parse().ok()?;
        Some(Fate::Got(got))
    });
    fate_after_marker(started, fate, marker, before)
}

fn new_lines(started: &Started, before: usize) -> Vec<String> {
    started.lines().split_off(before)
}

fn is_stopped(started: &Started) -> bool {
    process_table::read(started.pid()).is_some_and(|init| init.state == 'T')
}

/// Continues an init that stopped itself and its command; what the command printed beside what continued it.
fn let_go(started: &Started, before: usize, marker: i32) -> Fate {
    let has = |line: &str| new_lines(started, before).iter().any(|one| one == line);
    // What continues it takes stop signals along that it has not looked at yet: signal(7).
    until("the command got it, or stands", || {
        let command = process_table::read(started.main_child())?;
        (command.state == 'T' || !new_lines(started, before).is_empty()).then_some(())
    });
    started.signal(libc::SIGCONT);
    until("both go on", || has("18").then_some(()));
    started.signal(LAST);
    until("the last signal arrives", || has("64").then_some(()));
    let own = [libc::SIGCONT, LAST, marker].map(|signal| signal.to_string());
    let printed = new_lines(started, before).into_iter();
    Fate::Stopped(printed.filter(|line| !own.contains(line)).collect())
}

/// The fate once the marker has arrived. An init may pass a signal on first and stop itself then: it stands before it
/// passes the marker on.
fn fate_after_marker(started: &Started, mut fate: Fate, marker: i32, before: usize) -> Fate {
    if let Fate::Ended(_) = fate {
        return fate;
    }
    started.signal(marker);
    until("the marker arrives", || {
        if is_stopped(started) {
            fate = let_go(started, before, marker);
        }
        let lines = new_lines(started, before);
        lines.contains(&marker.to_string()).then_some(())
    });
    fate
}

#[test]
fn every_signal_meets_the_same_fate_as_with_tini() {
    for options in [&[][..], &["-s", "-g"]] {
        let fates = same("tini", |subject| fates(subject, options));
        let passed = fates
            .iter()
            .filter(|(_, fate)| matches!(fate, Fate::Got(_)));
        assert!(passed.count() > 45, "{fates:?}");
    }
}

#[test]
fn every_signal_meets_the_same_fate_as_with_dumb_init() {
    for options in [
        &[][..],
        &["-c"],
        &["-r", "15:3", "-r", "1:31", "-r", "31:1", "-r", "20:12"],
    ] {
        let fates = same("dumb-init", |subject| fates(subject, options));
        let stopped = fates
            .iter()
            .filter(|(_, fate)| matches!(fate, Fate::Stopped(_)));
        assert_eq!(stopped.count(), 3, "{fates:?}");
    }
}

/// The fate of a signal that is expected to be dropped, by a marker behind it.
fn dropped(started: &Started, signal: i32) -> Fate {
    let before = started.lines().len();
    started.signal(signal);
    let fate = fate_after_marker(started, Fate::Nothing, libc::SIGUSR1, before);
    if started.lines().len() > before + 1 {
        return Fate::Got(signal);
    }
    fate
}

/// The text with `PID` for each process id: a number in brackets, however few digits it has, or one with more than three.
fn without_ids(text: &str) -> String {
    let words = text.split_inclusive(|letter: char| !letter.is_ascii_digit());
    let mut plain = String::new();
    for word in words {
        let digits = word.trim_end_matches(|letter: char| !letter.is_ascii_digit());
        let is_in_brackets = plain.ends_with('(') && word.ends_with(')') && !digits.is_empty();
        if is_in_brackets || digits.len() > 3 {
            plain.push_str(&word.replace(digits, "PID"));
        } else {
            plain.push_str(word);
        }
    }
    plain
}

/// What an init answers to a command line.
fn answer(subject: &Subject, arguments: &[&str], variables: &[(&str, &str)]) -> Answer {
    let mut command = subject.command(arguments);
    command.envs(variables.iter().copied());
    let mut started = Started::new(command);
    let code = started.end();
    // Names by which it was started and process ids differ.
    let plain = |text: String| {
        let text = text.replace(subject.words[0].to_str().unwrap(), subject.name);
        without_ids(&text)
    };
    Answer {
        code,
        stdout: plain(started.stdout.all()),
        stderr: plain(started.stderr.all()),
    }
}

#[test]
fn command_lines_get_the_same_answers_as_from_tini() {
    for arguments in [
        &["--", "sh", "-c", "echo out; exit 7"][..],
        &["-e", "7", "-e", "143", "--", "sh", "-c", "exit 7"],
        &["-e143", "--", "sh", "-c", "kill $$"],
        &["-e", "7", "--", "sh", "-c", "exit 8"],
        &["-s", "/no/such/program"],
        &["-s", "/"],
        &["-s", "/etc/passwd"],
        &["-s", "/etc/passwd/x"],
        &["-s", "true", "-g"],
        &["-sg", "--", "sh", "-c", "true"],
    ] {
        same("tini", |subject| {
            answer(subject, arguments, &[("TINI_VERBOSITY", "0")])
        });
    }
    for (arguments, variables) in [
        (&["sh", "-c", "exit 7"][..], &[("POSIXLY_CORRECT", "1")][..]),
        (&["sh", "-c", "exit 7"], &[]),
        (&["-x", "true"], &[]),
        (&[], &[]),
        (&["-p", "15", "true"], &[]),
        (&["-p", "SIGNOPE", "true"], &[]),
        (&["-p"], &[]),
        (&["-e", "256", "true"], &[]),
        (&["-e", "-1", "true"], &[]),
        (&["-e", "x", "true"], &[]),
        (&["--version", "true"], &[]),
        (&["--help"], &[]),
        (&["--license"], &[]),
        (&["-h"], &[]),
        (&["-l"], &[]),
        (&["--version"], &[]),
        (&["true"], &[("TINI_SUBREAPER", "")]),
        (&["true"], &[("TINI_VERBOSITY", "x")]),
    ] {
        // Where texts are long they are our own: the code counts, where it is said, and the first words of a fault.
        let (code, is_on_stdout, first) = same("tini", |subject| {
            let answer = answer(subject, arguments, variables);
            let first = answer.stderr.lines().next().unwrap_or_default().to_owned();
            // Their usage and their warning are in words of their own.
            let is_own = first.starts_with("tini (") || first.starts_with("[WARN");
            let first = if is_own { String::new() } else { first };
            (answer.code, !answer.stdout.is_empty(), first)
        });
        assert!(code < 128, "{arguments:?} {is_on_stdout} {first}");
    }
}

#[test]
fn command_lines_get_the_same_answers_as_from_dumb_init() {
    for (arguments, variables) in [
        (&["sh", "-c", "echo out; exit 7"][..], &[][..]),
        (&["--", "sh", "-c", "kill -9 $$"], &[]),
        (&["-c", "sh", "-c", "exit 255"], &[]),
        (&["/no/such/program"], &[]),
        (&["-c", "--", "/no/such/program"], &[]),
        (&["--single-child", "/"], &[]),
        (&["/etc/passwd"], &[]),
        (&[], &[]),
        (&["--"], &[]),
        (&["--yolo", "true"], &[]),
        (&["--ver", "true"], &[]),
        (&["--single", "true"], &[]),
        (&["--verbose=1", "true"], &[]),
        (&["--rewrite"], &[]),
        (&["-x", "true"], &[]),
        (&["-r", "", "true"], &[]),
        (&["-r", "herp:derp", "true"], &[]),
        (&["-r", "15::12", "true"], &[]),
        (&["-r", "15:12", "-r", "1:32", "true"], &[]),
        (&["-V"], &[]),
        (&["--version", "--yolo"], &[]),
        (&["-c", "-v", "true"], &[]),
        (&["-c", "true"], &[("DUMB_INIT_DEBUG", "0")]),
        (&["true"], &[("DUMB_INIT_SETSID", "0")]),
    ] {
        same("dumb-init", |subject| answer(subject, arguments, variables));
    }
    let (code, is_on_stderr) = same("dumb-init", |subject| {
        let answer = answer(subject, &["--help"], &[]);
        (
            answer.code,
            !answer.stderr.is_empty() && answer.stdout.is_empty(),
        )
    });
    assert_eq!((code, is_on_stderr), (0, true));
}

/// Session, group and parent's directory of a command, relative to it and to its init.
fn place(subject: &Subject, options: &[&str]) -> Vec<bool> {
    let script = "echo ready; read -r line";
    let words = ["--", "sh", "-c", script];
    let mut command = subject.command(options.iter().chain(&words));
    command
        .stdin(std::process::Stdio::piped())
        .current_dir("/usr");
    let started = Started::new(command);
    started.until_line("ready");
    let (init, child) = (started.pid(), started.main_child());
    let stat = |pid: i32, idx: usize| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields = stat.rsplit_once(") ").unwrap().1.to_owned();
        fields.split(' ').nth(idx).unwrap().parse::<i32>().unwrap()
    };
    let directory = |pid| std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    // The original leaves its directory after the fork.
    let is_left = until("the directory stays", || {
        let sleeps = process_table::read(init)?.state == 'S';
        sleeps.then(|| directory(init) != directory(child))
    });
    vec![
        stat(child, 2) == child,
        stat(child, 2) == stat(init, 2),
        stat(child, 3) == child,
        is_left,
        directory(child).to_str() == Some("/usr"),
        field(init, "Threads") == "1",
    ]
}

#[test]
fn the_command_stands_where_it_would_stand_below_the_original() {
    assert_eq!(
        same("tini", |subject| place(subject, &["-s"])),
        [true, false, false, false, true, true]
    );
    assert_eq!(
        same("dumb-init", |subject| place(subject, &[])),
        [true, false, true, true, true, true]
    );
    assert_eq!(
        same("dumb-init", |subject| place(subject, &["-c"])),
        [false, true, false, true, true, true]
    );
}

/// Whether a process in the command's group that outlives it gets SIGTERM.
fn is_told(subject: &Subject, options: &[&str]) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let (up, got, end) = (
        directory.path().join("up"),
        directory.path().join("got"),
        directory.path().join("end"),
    );
    let script = format!(
        "sh -c 'trap \"echo > {got}; exit\" TERM; echo > {up}; until [ -e {end} ]; do sleep 0.02; done' & \
         until [ -e {up} ]; do sleep 0.02; done; exit 0",
        got = got.display(),
        up = up.display(),
        end = end.display(),
    );
    let words = ["--", "sh", "-c", &script];
    let mut started = Started::new(subject.command(options.iter().chain(&words)));
    assert_eq!(started.end(), 0);
    let left = || {
        process_table::all().into_iter().find(|process| {
            std::fs::read(format!("/proc/{}/cmdline", process.pid))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(up.to_str().unwrap()))
        })
    };
    // One that was told ends by itself; one that was not sleeps on until it is let go.
    let mut looks = 0;
    let is_told = until("it was told or goes on", || {
        looks += 1;
        if got.exists() {
            return Some(true);
        }
        (looks > 100).then_some(false)
    });
    std::fs::write(&end, "").unwrap();
    until("nobody is left", || left().is_none().then_some(()));
    is_told
}

#[test]
fn what_outlives_the_command_is_told_or_left_as_the_original_does() {
    assert!(!same("tini", |subject| is_told(subject, &["-s"])));
    assert!(same("dumb-init", |subject| is_told(subject, &[])));
    assert!(!same("dumb-init", |subject| is_told(subject, &["-c"])));
}

#[test]
fn orphans_are_told_of_where_it_was_asked_for() {
    let script = "(setsid true &); sleep 0.3; exit 0";
    for (options, variables, warns) in [
        (&["-s"][..], &[][..], false),
        (&["-s", "-w"], &[], true),
        (&["-w"], &[("TINI_SUBREAPER", "1")], true),
        (&["-s", "-w"], &[("TINI_VERBOSITY", "0")], false),
    ] {
        let told = same("tini", |subject| {
            let words: Vec<&str> = options
                .iter()
                .chain(&["--", "sh", "-c", script])
                .copied()
                .collect();
            let answer = answer(subject, &words, variables);
            answer.stderr.contains("Reaped zombie process with pid=")
        });
        assert_eq!(told, warns, "{options:?} {variables:?}");
    }
    let warns = |options: &[&str]| {
        same("tini", |subject| {
            let words: Vec<&str> = options.iter().chain(&["--", "true"]).copied().collect();
            answer(subject, &words, &[])
                .stderr
                .contains("zombie reaping won't work")
        })
    };
    assert!(warns(&[]));
    assert!(!warns(&["-s"]));
}

#[test]
fn a_link_with_the_name_of_an_init_is_that_init() {
    let directory = tempfile::tempdir().unwrap();
    for (name, expected) in [
        ("tini", "tini version 0.19.0"),
        ("tini-static", "tini version 0.19.0"),
        ("docker-init", "tini version 0.19.0"),
        ("dumb-init", "dumb-init v1.2.5"),
    ] {
        let link = directory.path().join(name);
        std::os::unix::fs::symlink(crate::harness::run::binary(), &link).unwrap();
        let subject = Subject {
            name,
            words: vec![link],
        };
        let answered = answer(&subject, &["--version"], &[]);
        let text = format!("{}{}", answered.stdout, answered.stderr);
        assert!(text.starts_with(expected), "{text}");
        let code = answer(&subject, &["--", "sh", "-c", "exit 9"], &[]).code;
        assert_eq!(code, 9, "{name}");
    }
}
