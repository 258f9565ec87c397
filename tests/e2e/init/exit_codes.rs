//! What an init ends with.

use super::{Started, Subject};

/// Signals that end a process and leave no core.
const FATAL: [i32; 20] = [
    1, 2, 9, 10, 12, 13, 14, 15, 16, 26, 27, 29, 30, 34, 35, 40, 50, 62, 63, 64,
];

/// Ends with each argument after a line; 1000 + n is signal n.
const ENDS: &str =
    "ulimit -c 0; if [ $0 -lt 1000 ]; then exit $0; else kill -$(($0 - 1000)) $$; fi";

#[test]
fn the_exit_code_of_the_command_is_that_of_the_init() {
    for subject in [
        Subject::own(&[]),
        Subject::instead_of("tini"),
        Subject::instead_of("dumb-init"),
    ] {
        // Ours with each, and the others, whose way it is too, with some of them.
        let step = if subject.name == "stockade init" {
            1
        } else {
            17
        };
        for code in (0..=255).step_by(step) {
            let command = subject.command(["--", "sh", "-c", ENDS, &code.to_string()]);
            assert_eq!(Started::new(command).end(), code, "{}", subject.name);
        }
    }
}

#[test]
fn a_death_by_signal_n_is_128_and_n() {
    for subject in [
        Subject::own(&[]),
        Subject::instead_of("tini"),
        Subject::instead_of("dumb-init"),
    ] {
        for signal in FATAL.into_iter().chain([3, 4, 5, 6, 7, 8, 11, 24, 25, 31]) {
            let how = (1000 + signal).to_string();
            let command = subject.command(["--", "sh", "-c", ENDS, &how]);
            let name = subject.name;
            assert_eq!(Started::new(command).end(), 128 + signal, "{name} {signal}");
        }
    }
}

#[test]
fn an_exit_code_is_turned_into_what_was_asked_for_and_no_other_is() {
    let subject = Subject::own(&["--exit-code", "143:0", "--exit-code=7:9"]);
    for (how, expected) in [
        ("7", 9),
        ("8", 8),
        ("0", 0),
        ("143", 0),
        ("1015", 0),
        ("1009", 137),
    ] {
        let command = subject.command(["--", "sh", "-c", ENDS, how]);
        assert_eq!(Started::new(command).end(), expected, "{how}");
    }
}

#[test]
fn a_command_that_cannot_be_executed_ends_with_126_and_one_that_is_not_there_with_127() {
    let directory = tempfile::tempdir().unwrap();
    let plain = directory.path().join("plain");
    std::fs::write(&plain, "exit 5\n").unwrap();
    let script = directory.path().join("script");
    std::fs::write(&script, "exit 5\n").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, executable).unwrap();
    for (program, code, reason) in [
        ("/no/such/program", 127, "No such file or directory"),
        ("no-such-program-in-path", 127, "No such file or directory"),
        (plain.to_str().unwrap(), 126, "Permission denied"),
        ("/", 126, "Permission denied"),
        // execvp(3) gives a file without a known format to the shell.
        (script.to_str().unwrap(), 5, ""),
    ] {
        let mut started = Started::new(Subject::own(&[]).command([program]));
        assert_eq!(started.end(), code, "{program}");
        let said = started.stderr.all();
        let expected = if reason.is_empty() {
            String::new()
        } else {
            format!("stockade init: cannot execute {program}: {reason}\n")
        };
        assert_eq!(said, expected);
    }
}

#[test]
fn a_wrong_command_line_ends_with_2_and_names_what_is_wrong() {
    for (arguments, text) in [
        (&["--gracious", "--", "true"][..], "--gracious"),
        (&["--grace", "soon", "--", "true"], "expected a time"),
        (&[], "there is no command"),
    ] {
        let mut started = Started::new(Subject::own(&[]).command(arguments));
        assert_eq!(started.end(), 2, "{arguments:?}");
        assert!(started.stderr.all().contains(text), "{arguments:?}");
    }
}

#[test]
fn help_is_that_of_every_command() {
    let mut started = Started::new(Subject::own(&[]).command(["--help"]));
    assert_eq!(started.end(), 0);
    let help = started.stdout.all();
    for flag in stockade_entrypoint::init::FLAGS {
        assert!(help.contains(&format!("--{}", flag.long)), "{help}");
    }
}
