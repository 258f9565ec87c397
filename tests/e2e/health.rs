//! `stockade health`: what a health check learns, and when it does not wait any longer.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

use crate::harness::RunBuilder;
use crate::harness::run::binary;

/// Asks with nothing of this machine's own runs in sight.
fn health(arguments: &[&str], variables: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(binary());
    command.arg("health").args(arguments).env_clear();
    command.envs(variables.iter().copied()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_run_is_healthy_until_it_has_ended() {
    let run = RunBuilder::sh("sleep 600").start();
    run.until_running();
    let socket = run.socket();
    let here = [
        ("STOCKADE_LISTEN", Path::new("none")),
        ("STOCKADE_SOCKET", socket.as_path()),
    ];
    for question in [&[][..], &["--ready"]] {
        let answer = health(question, &here);
        assert_eq!(answer.status.code(), Some(0), "{}", said(&answer));
        assert_eq!(said(&answer).trim(), format!("unix:{}", socket.display()));
    }
    let directory = run.recording().path().display().to_string();
    let answer = health(&[&directory], &[]);
    assert_eq!(answer.status.code(), Some(0), "{}", said(&answer));
    run.signal(nix::sys::signal::Signal::SIGTERM);
    let ended = run.finish();
    let answer = health(&[], &here);
    assert_eq!(answer.status.code(), Some(1), "{}", said(&answer));
    let directory = ended.recording.path().display().to_string();
    let answer = health(&[&directory], &[]);
    assert_eq!(answer.status.code(), Some(1));
    assert!(
        said(&answer).contains("nobody works on run"),
        "{}",
        said(&answer)
    );
}

#[test]
fn who_accepts_and_says_nothing_is_not_healthy() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("silent.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let answer = health(
        &[],
        &[
            ("STOCKADE_LISTEN", Path::new("none")),
            ("STOCKADE_SOCKET", &socket),
        ],
    );
    assert_eq!(answer.status.code(), Some(1));
    assert!(
        said(&answer).contains("no answer within 3 s"),
        "{}",
        said(&answer)
    );
    drop(listener);
}

#[test]
fn of_many_sockets_the_newest_are_asked_and_few_failures_are_told() {
    let place = tempfile::tempdir().unwrap();
    let sockets = place.path().join("stockade");
    std::fs::create_dir(&sockets).unwrap();
    // What runs that were killed left.
    for idx in 0..40 {
        drop(UnixListener::bind(sockets.join(format!("dead-{idx}.sock"))).unwrap());
    }
    let here = [
        ("STOCKADE_LISTEN", Path::new("none")),
        ("XDG_RUNTIME_DIR", place.path()),
    ];
    let answer = health(&[], &here);
    assert_eq!(answer.status.code(), Some(1));
    assert!(said(&answer).contains("and 13 more"), "{}", said(&answer));
    let run = RunBuilder::sh("sleep 600")
        .flag("--socket")
        .flag(sockets.join("live.sock"))
        .start();
    run.until_running();
    let answer = health(&[], &here);
    assert_eq!(answer.status.code(), Some(0), "{}", said(&answer));
    assert!(said(&answer).contains("live.sock"));
}

#[test]
fn where_nothing_listens_that_is_said() {
    let empty = tempfile::tempdir().unwrap();
    let here = [
        ("STOCKADE_LISTEN", Path::new("none")),
        ("XDG_RUNTIME_DIR", empty.path()),
    ];
    let answer = health(&[], &here);
    assert_eq!(answer.status.code(), Some(1));
    assert!(
        said(&answer).contains("no run listens here"),
        "{}",
        said(&answer)
    );
}
