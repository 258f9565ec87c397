//! The command line of `stockade init`.
//!
//! Owns the table of its flags, which help and man page are made from as well. Never does: guess; the flags end at the
//! first word that is none.

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::form::Form;
use super::settings::{Audience, Rest, Settings};
use super::signal_set::{is_never_passed_on, parse as parse_signal};

/// Longest time that a flag takes.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What a flag is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Compat,
    Forward,
    Rewrite,
    ExitCode,
    Grace,
    StopTimeout,
    ParentDeath,
    Verbose,
}

/// A flag of `stockade init`.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Its name, without the two dashes.
    pub long: &'static str,
    /// Its letter.
    pub short: Option<char>,
    /// What its value is called; none for a flag without one.
    pub value: Option<&'static str>,
    /// Whether it may be given again.
    pub repeats: bool,
    /// What it does.
    pub help: &'static str,
    subject: Subject,
}

/// All flags, in the order of the help.
pub const FLAGS: [Flag; 8] = [
    Flag {
        long: "compat",
        short: None,
        value: Some("INIT"),
        repeats: false,
        help: "Stand in for tini or dumb-init: what follows is that program's own command line",
        subject: Subject::Compat,
    },
    Flag {
        long: "forward",
        short: None,
        value: Some("WHOM"),
        repeats: false,
        help: "Pass signals on to the child, its process group, or all that descend from the init: child, group or all [default: group]",
        subject: Subject::Forward,
    },
    Flag {
        long: "rewrite",
        short: None,
        value: Some("FROM:TO"),
        repeats: true,
        help: "Pass on signal TO for signal FROM, as in TERM:INT; a TO of 0 drops it; may be repeated",
        subject: Subject::Rewrite,
    },
    Flag {
        long: "exit-code",
        short: None,
        value: Some("FROM:TO"),
        repeats: true,
        help: "End with TO where the child's exit code is FROM, as in 143:0; may be repeated",
        subject: Subject::ExitCode,
    },
    Flag {
        long: "grace",
        short: None,
        value: Some("TIME"),
        repeats: false,
        help: "Give what is left when the child has ended so long between SIGTERM and SIGKILL [default: 1s]",
        subject: Subject::Grace,
    },
    Flag {
        long: "stop-timeout",
        short: None,
        value: Some("TIME"),
        repeats: false,
        help: "Kill the child when it has not ended so long after TERM, INT, QUIT or HUP [default: never]",
        subject: Subject::StopTimeout,
    },
    Flag {
        long: "parent-death",
        short: None,
        value: Some("SIGNAL"),
        repeats: false,
        help: "Pass on SIGNAL when the process that started the init ends",
        subject: Subject::ParentDeath,
    },
    Flag {
        long: "verbose",
        short: Some('v'),
        value: None,
        repeats: false,
        help: "Say on stderr what is passed on, and what ends",
        subject: Subject::Verbose,
    },
];

/// What a command line asks for.
#[derive(Debug)]
pub(super) enum Asked {
    /// An init.
    Start(Box<Settings>),
    /// Another init, with the words of its command line.
    Compat(Form, Vec<OsString>),
    /// The help.
    Help,
}

/// Why a command line is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OptionError {
    /// No flag has this name.
    Unknown(OsString),
    /// A flag at the end, without its value.
    NoValue(&'static str),
    /// A flag that takes none has a value.
    Value(&'static str),
    /// A value that the flag does not allow.
    BadValue {
        flag: &'static str,
        value: OsString,
        expected: &'static str,
    },
    /// Nothing to start.
    NoCommand,
}

impl fmt::Display for OptionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(word) => write!(formatter, "there is no flag {word:?}"),
            Self::NoValue(flag) => write!(formatter, "--{flag} has no value"),
            Self::Value(flag) => write!(formatter, "--{flag} takes no value"),
            Self::BadValue {
                flag,
                value,
                expected,
            } => write!(formatter, "--{flag} is {value:?}, expected {expected}"),
            Self::NoCommand => formatter.write_str("there is no command"),
        }?;
        formatter.write_str("; stockade init --help tells the flags")
    }
}

impl std::error::Error for OptionError {}

/// Reads what follows `stockade init`.
pub(super) fn parse(arguments: Vec<OsString>) -> Result<Asked, OptionError> {
    let mut settings = Settings::own();
    let mut words = arguments.into_iter();
    let first = loop {
        let word = words.next().ok_or(OptionError::NoCommand)?;
        match word.as_bytes() {
            b"--" => break words.next().ok_or(OptionError::NoCommand)?,
            b"--help" | b"-h" => return Ok(Asked::Help),
            [b'-', _, ..] => {}
            _ => break word,
        }
        let (flag, attached) = find(&word)?;
        let value = match (flag.value, attached) {
            (None, None) => OsString::new(),
            (None, Some(_)) => return Err(OptionError::Value(flag.long)),
            (Some(_), Some(value)) => value,
            (Some(_), None) => words.next().ok_or(OptionError::NoValue(flag.long))?,
        };
        if flag.subject == Subject::Compat {
            let form = Form::named(&value).ok_or_else(|| bad(flag, &value, "tini or dumb-init"))?;
            return Ok(Asked::Compat(form, words.collect()));
        }
        set(&mut settings, flag, &value)?;
    };
    settings.command = command(std::iter::once(first).chain(words));
    Ok(Asked::Start(Box::new(settings)))
}

/// The words of a command as the kernel wants them.
pub(super) fn command(words: impl Iterator<Item = OsString>) -> Vec<CString> {
    // An argument that was passed by execve holds no zero byte, so nothing is cut.
    words
        .map(|word| CString::new(word.into_vec()).unwrap_or_default())
        .collect()
}

/// The flag that a word names, and the value after its `=`.
fn find(word: &OsStr) -> Result<(&'static Flag, Option<OsString>), OptionError> {
    let bytes = word.as_bytes();
    let place = bytes.iter().position(|byte| *byte == b'=');
    let (name, value) = match place.and_then(|place| bytes.split_at_checked(place)) {
        Some((name, value)) => (name, value.get(1..)),
        None => (bytes, None),
    };
    let is_named = |flag: &&Flag| match name {
        [b'-', b'-', long @ ..] => long == flag.long.as_bytes(),
        [b'-', short] => flag
            .short
            .is_some_and(|letter| letter == char::from(*short)),
        _ => false,
    };
    let flag = FLAGS
        .iter()
        .find(is_named)
        .ok_or_else(|| OptionError::Unknown(word.to_owned()))?;
    Ok((flag, value.map(|value| OsStr::from_bytes(value).to_owned())))
}

/// Does what a flag says.
fn set(settings: &mut Settings, flag: &'static Flag, value: &OsStr) -> Result<(), OptionError> {
    let text = value.to_str().unwrap_or_default();
    match flag.subject {
        // Ends the flags before it comes here.
        Subject::Compat => {}
        Subject::Forward => {
            settings.audience = match text {
                "child" => Audience::Child,
                "group" => Audience::Group,
                "all" => Audience::All,
                _ => return Err(bad(flag, value, "child, group or all")),
            };
        }
        Subject::Rewrite => {
            let (from, to) = rewrite(text).ok_or_else(|| {
                bad(
                    flag,
                    value,
                    "two signals such as TERM:INT, of which FROM can be caught and TO may be 0",
                )
            })?;
            settings.rewrites.set(from, to);
        }
        Subject::ExitCode => {
            let codes = text
                .split_once(':')
                .and_then(|(from, to)| Some((from.parse::<u8>().ok()?, to.parse::<u8>().ok()?)));
            let (from, to) = codes
                .ok_or_else(|| bad(flag, value, "two exit codes from 0 to 255, such as 143:0"))?;
            if let Some(given) = settings.exit_codes.get_mut(usize::from(from)) {
                *given = to;
            }
        }
        Subject::Grace => settings.rest = Rest::Ended(time(flag, value)?),
        Subject::StopTimeout => settings.stop_timeout = Some(time(flag, value)?),
        Subject::ParentDeath => {
            let signal = parse_signal(text).and_then(|signal| Signal::try_from(signal).ok());
            settings.parent_death = Some(
                signal.ok_or_else(|| bad(flag, value, "a signal from 1 to 31, such as TERM"))?,
            );
        }
        Subject::Verbose => settings.verbosity = 1,
    }
    Ok(())
}

/// Reads FROM:TO.
fn rewrite(text: &str) -> Option<(i32, i32)> {
    let (from, to) = text.split_once(':')?;
    let from = parse_signal(from).filter(|from| !is_never_passed_on(*from))?;
    let to = if to == "0" { 0 } else { parse_signal(to)? };
    Some((from, to))
}

/// Reads a time: seconds, or a number with ms, s, m or h.
fn time(flag: &'static Flag, value: &OsStr) -> Result<Duration, OptionError> {
    let text = value.to_str().unwrap_or_default();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let millis_each = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    number
        .parse::<u64>()
        .ok()
        .filter(|_| millis_each > 0)
        .and_then(|number| number.checked_mul(millis_each))
        .map(Duration::from_millis)
        .filter(|time| *time <= LONGEST)
        .ok_or_else(|| {
            bad(
                flag,
                value,
                "a time of at most 24h, such as 500ms, 2s or 1m",
            )
        })
}

/// A value that the flag does not allow.
fn bad(flag: &'static Flag, value: &OsStr, expected: &'static str) -> OptionError {
    OptionError::BadValue {
        flag: flag.long,
        value: value.to_owned(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Asked, OptionError> {
        parse(words.iter().map(OsString::from).collect())
    }

    fn started(words: &[&str]) -> Settings {
        match read(words) {
            Ok(Asked::Start(settings)) => *settings,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn flags_end_at_the_first_word_that_is_none() {
        for words in [
            &["sh", "-v", "--", "x"][..],
            &["--", "sh", "-v", "--", "x"],
            &["--grace", "2s", "--", "sh", "-v", "--", "x"],
            &["--grace=2s", "sh", "-v", "--", "x"],
        ] {
            let settings = started(words);
            let command: Vec<_> = settings.command.iter().map(|word| word.to_str()).collect();
            assert_eq!(
                command,
                [Ok("sh"), Ok("-v"), Ok("--"), Ok("x")],
                "{words:?}"
            );
            assert_eq!(settings.verbosity, 0);
        }
    }

    #[test]
    fn every_flag_has_its_effect() {
        let settings = started(&[
            "--forward=all",
            "--rewrite",
            "TERM:RTMIN+1",
            "--rewrite=2:0",
            "--exit-code",
            "143:0",
            "--grace=250ms",
            "--stop-timeout=2m",
            "--parent-death",
            "HUP",
            "-v",
            "true",
        ]);
        assert_eq!(settings.audience, Audience::All);
        assert_eq!(
            (settings.rewrites.of(15), settings.rewrites.of(2)),
            (Some(35), None)
        );
        assert_eq!(
            (settings.exit_codes[143], settings.exit_codes[142]),
            (0, 142)
        );
        assert_eq!(settings.rest, Rest::Ended(Duration::from_millis(250)));
        assert_eq!(settings.stop_timeout, Some(Duration::from_secs(120)));
        assert_eq!(settings.parent_death, Some(Signal::SIGHUP));
        assert_eq!(settings.verbosity, 1);
    }

    #[test]
    fn another_init_gets_the_rest_of_the_line() {
        let Ok(Asked::Compat(Form::Tini, words)) = read(&["--compat", "tini", "-g", "--", "x"])
        else {
            panic!("not tini");
        };
        assert_eq!(words, ["-g", "--", "x"]);
        assert!(matches!(
            read(&["--compat=dumb-init"]),
            Ok(Asked::Compat(Form::DumbInit, _))
        ));
    }

    #[test]
    fn a_wrong_flag_is_named_with_its_value_and_what_would_be_right() {
        for (words, text) in [
            (&["--gracious", "x"][..], "no flag \"--gracious\""),
            (&["-x", "x"], "no flag \"-x\""),
            (&["-vv", "x"], "no flag \"-vv\""),
            (&["--grace"], "--grace has no value"),
            (
                &["--grace", "soon", "x"],
                "--grace is \"soon\", expected a time",
            ),
            (&["--grace", "25h", "x"], "at most 24h"),
            (&["--grace=-1", "x"], "expected a time"),
            (&["--verbose=yes", "x"], "--verbose takes no value"),
            (&["--rewrite", "KILL:TERM", "x"], "FROM can be caught"),
            (&["--rewrite", "TERM", "x"], "two signals"),
            (&["--rewrite", "0:15", "x"], "two signals"),
            (&["--exit-code", "256:0", "x"], "0 to 255"),
            (&["--forward", "none", "x"], "child, group or all"),
            (&["--parent-death", "RTMIN", "x"], "from 1 to 31"),
            (&["--compat", "s6"], "tini or dumb-init"),
            (&[], "no command"),
            (&["-v", "--"], "no command"),
        ] {
            let error = read(words).expect_err(text).to_string();
            assert!(error.contains(text), "{words:?}: {error}");
        }
        assert!(matches!(read(&["-v", "--help"]), Ok(Asked::Help)));
    }
}
