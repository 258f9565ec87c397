//! The command line and the variables of dumb-init.
//!
//! Owns how they change the settings. Never does: act.

use std::ffi::{OsStr, OsString};

use nix::libc;

use super::Answer;
use super::options::command;
use super::settings::{Audience, Place, Settings};
use super::words::{Known, Order, read};

/// The version that this one stands in for, as `--version` prints it.
const VERSION: &str = "dumb-init v1.2.5";

/// The largest signal that can be rewritten.
const LAST_REWRITTEN: i32 = 31;

/// Signals that stop a job. An orphaned group, as that of a new session, is never stopped by them (setpgid(2)), so the
/// group gets SIGSTOP in their place unless something else is asked for.
const JOB_STOPS: [i32; 3] = [libc::SIGTSTP, libc::SIGTTOU, libc::SIGTTIN];

/// What is said to a rewriting that cannot be read.
const BAD_REWRITE: &str = "\
Usage: -r option takes <signum>:<signum>, where <signum> is between 1 and 31.
This option can be specified multiple times.
Use --help for full usage.";

const KNOWN: [Known; 5] = [
    option(b'h', "help", false),
    option(b'c', "single-child", false),
    option(b'r', "rewrite", true),
    option(b'v', "verbose", false),
    option(b'V', "version", false),
];

const fn option(letter: u8, long: &'static str, takes_value: bool) -> Known {
    Known {
        letter,
        long,
        takes_value,
    }
}

/// Reads the command line of a program that was started by this name.
pub(super) fn parse(program: &OsStr, words: Vec<OsString>) -> Result<Settings, Answer> {
    let name = program.display();
    let line = read(words, &KNOWN, Order::First);
    let mut settings = Settings::dumb_init();
    let mut rewritten = [false; LAST_REWRITTEN as usize + 1];
    for option in &line.options {
        match option.letter {
            b'h' => return Err(Answer::told(usage(program))),
            b'V' => return Err(Answer::told(VERSION.to_owned())),
            b'c' => be_single(&mut settings),
            b'r' => {
                let pair = rewrite(option.value.to_str().unwrap_or_default());
                let (from, to) =
                    pair.ok_or_else(|| Answer::refused(BAD_REWRITE.to_owned(), settings.failure))?;
                settings.rewrites.set(from, to);
                if let Some(is_rewritten) = usize::try_from(from)
                    .ok()
                    .and_then(|from| rewritten.get_mut(from))
                {
                    *is_rewritten = true;
                }
            }
            // The last that there is.
            _ => settings.verbosity = 1,
        }
    }
    if let Some(fault) = line.fault {
        return Err(Answer::refused(
            format!("{name}: {fault}"),
            settings.failure,
        ));
    }
    if line.operands.is_empty() {
        let text =
            format!("Usage: {name} [option] program [args]\nTry {name} --help for full usage.");
        return Err(Answer::refused(text, settings.failure));
    }
    settings.command = command(line.operands.into_iter());
    if std::env::var_os("DUMB_INIT_DEBUG").is_some_and(|value| value == "1") {
        settings.verbosity = 1;
    }
    if std::env::var_os("DUMB_INIT_SETSID").is_some_and(|value| value == "0") {
        be_single(&mut settings);
    }
    if settings.place == Place::OwnSession {
        for signal in JOB_STOPS {
            let is_rewritten = usize::try_from(signal)
                .ok()
                .and_then(|signal| rewritten.get(signal));
            if is_rewritten != Some(&true) {
                settings.rewrites.set(signal, libc::SIGSTOP);
            }
        }
    }
    Ok(settings)
}

/// The mode in which only the main child counts.
fn be_single(settings: &mut Settings) {
    settings.place = Place::Shared;
    settings.audience = Audience::Child;
}

/// Reads FROM:TO as sscanf(3) does: blanks before a number and anything behind the second are passed over.
fn rewrite(text: &str) -> Option<(i32, i32)> {
    let (from, rest) = number(text)?;
    let (to, _) = number(rest.strip_prefix(':')?)?;
    let is_right = (1..=LAST_REWRITTEN).contains(&from) && (0..=LAST_REWRITTEN).contains(&to);
    is_right.then_some((from, to))
}

/// The number at the start of a text, and what follows it.
fn number(text: &str) -> Option<(i32, &str)> {
    let text = text.trim_ascii_start();
    let sign = usize::from(text.starts_with(['-', '+']));
    let digits = text
        .bytes()
        .skip(sign)
        .take_while(u8::is_ascii_digit)
        .count();
    let (number, rest) = text.split_at_checked(sign + digits)?;
    Some((number.parse().ok()?, rest))
}

/// What `--help` prints.
fn usage(program: &OsStr) -> String {
    format!(
        "{VERSION} (stockade {})
Usage: {} [option] command [[arg] ...]

Runs a command in a session of its own, passes signals on to its process group, and reaps orphans.

Options:
   -c, --single-child   no session; pass signals on to the command alone
   -r, --rewrite s:r    pass on signal r for signal s (1 to 31); r of 0 drops it; may be repeated
   -v, --verbose        say on stderr what happens
   -h, --help           print this
   -V, --version        print the version

Variables:
   DUMB_INIT_DEBUG=1    as --verbose
   DUMB_INIT_SETSID=0   as --single-child",
        env!("CARGO_PKG_VERSION"),
        program.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_line(words: &[&str]) -> Result<Settings, Answer> {
        parse(
            OsStr::new("dumb-init"),
            words.iter().map(OsString::from).collect(),
        )
    }

    #[test]
    fn rewriting_has_the_defaults_of_a_session_unless_something_else_is_asked_for() {
        let settings =
            read_line(&["-r", "15:3", "--rewrite=20:1", "sh", "-c", "x"]).expect("a command");
        let rewrites = |signal| settings.rewrites.of(signal);
        assert_eq!(
            (rewrites(15), rewrites(20), rewrites(21), rewrites(22)),
            (Some(3), Some(1), Some(19), Some(19))
        );
        assert_eq!(
            (settings.place, settings.audience),
            (Place::OwnSession, Audience::Group)
        );
        let settings = read_line(&["-c", "-r", "2:0", "sh"]).expect("a command");
        assert_eq!(
            (settings.rewrites.of(20), settings.rewrites.of(2)),
            (Some(20), None)
        );
        assert_eq!(
            (settings.place, settings.audience),
            (Place::Shared, Audience::Child)
        );
    }

    #[test]
    fn rewritings_are_read_as_far_as_they_are_numbers() {
        for (text, expected) in [
            ("15:12", Some((15, 12))),
            (" 1: 31", Some((1, 31))),
            ("+2:0x", Some((2, 0))),
            ("", None),
            ("herp", None),
            ("herp:derp", None),
            ("15", None),
            ("15::12", None),
            ("15 :12", None),
            ("15:derp", None),
            ("1:32", None),
            ("0:1", None),
            ("1:-1", None),
            ("99999999999:1", None),
        ] {
            assert_eq!(rewrite(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_refused_ends_with_1_and_what_is_asked_for_with_0() {
        for (words, code, text) in [
            (&["-V"][..], 0, "dumb-init v1.2.5"),
            (&["--help", "--yolo"], 0, "Usage: dumb-init"),
            (&[], 1, "Usage: dumb-init [option] program [args]"),
            (&["--"], 1, "Try dumb-init --help"),
            (
                &["--yolo", "/bin/true"],
                1,
                "dumb-init: unrecognized option '--yolo'",
            ),
            (&["-r", "15:12", "-r", "1:32", "x"], 1, "between 1 and 31"),
        ] {
            let answer = read_line(words).expect_err(text);
            assert_eq!(answer.code, code, "{words:?}");
            assert!(answer.text.contains(text), "{words:?}: {}", answer.text);
        }
    }
}
