//! Descriptors of a service manager, which are meant for a process by its number (sd_listen_fds(3)).

use std::path::PathBuf;

use super::{Started, Subject, as_pid_1};

/// Starts the subject with descriptor 3 and `LISTEN_PID`, which is a word of sh(1); gives what the command sees: the variable,
/// its own number and how many descriptors there are, then what is in the first.
fn seen(mut subject: Subject, prefix: Vec<PathBuf>, listen_pid: &str) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "a socket\n").unwrap();
    let script = format!(
        "export LISTEN_PID={listen_pid} LISTEN_FDS=1; exec 3< {}; exec \"$@\"",
        file.path().display()
    );
    let shell = ["sh", "-c", &script, "sh"].map(PathBuf::from).to_vec();
    subject.words = [prefix, shell, subject.words].concat();
    let script = "echo $LISTEN_PID $$ $LISTEN_FDS; cat <&3";
    let mut started = Started::new(subject.command(["--", "sh", "-c", script]));
    assert_eq!(started.end(), 0, "{}", started.stderr.so_far());
    let text = started.stdout.all();
    let (numbers, content) = text.split_once('\n').unwrap();
    assert_eq!(content, "a socket\n");
    numbers.split(' ').map(str::to_owned).collect()
}

#[test]
fn what_was_for_the_init_is_for_the_command_and_nothing_else_is() {
    let seen_by_own = seen(Subject::own(&[]), vec![], "$$");
    assert_eq!(seen_by_own[0], seen_by_own[1]);
    assert_eq!(seen_by_own[2], "1");
    // Those of somebody else are not taken from it.
    let of_others = seen(Subject::own(&[]), vec![], "4194304");
    assert_eq!(of_others[0], "4194304");
    // As the originals do.
    for init in ["tini", "dumb-init"] {
        let seen = seen(Subject::instead_of(init), vec![], "$$");
        assert_ne!(seen[0], seen[1], "{init}");
    }
}

#[test]
fn what_was_for_pid_1_is_for_its_command() {
    let Some(words) = as_pid_1() else {
        return;
    };
    // There is room for a number that has more digits than 1.
    let seen = seen(Subject::own(&[]), words, "1");
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0], "1");
}
