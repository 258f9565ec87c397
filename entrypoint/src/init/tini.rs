//! The command line and the variables of tini.
//!
//! Owns how they change the settings. Never does: act.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::path::Path;

use nix::sys::signal::Signal;

use super::Answer;
use super::options::command;
use super::settings::{Audience, Settings, Subreaper};
use super::signal_set::parse as parse_signal;
use super::words::{Found, Known, Order, read};

/// What `--version` prints. Docker asks its init for this line.
const VERSION: &str = concat!(
    "tini version 0.19.0 (stockade ",
    env!("CARGO_PKG_VERSION"),
    ")"
);

/// Its options, which have no long names.
const KNOWN: [Known; 8] = [
    letter(b'h', false),
    letter(b's', false),
    letter(b'p', true),
    letter(b'v', false),
    letter(b'w', false),
    letter(b'g', false),
    letter(b'e', true),
    letter(b'l', false),
];

const fn letter(letter: u8, takes_value: bool) -> Known {
    Known {
        letter,
        long: "",
        takes_value,
    }
}

/// Reads the command line of a program that was started by this name.
pub(super) fn parse(program: &OsStr, words: Vec<OsString>) -> Result<Settings, Answer> {
    if let [word] = words.as_slice()
        && word == "--version"
    {
        return Err(Answer::printed(VERSION));
    }
    // The C library's, which this variable holds back from looking for options behind the first word that is none.
    let order = match std::env::var_os("POSIXLY_CORRECT") {
        Some(_) => Order::First,
        None => Order::Anywhere,
    };
    let line = read(words, &KNOWN, order);
    let mut settings = Settings::tini();
    for option in &line.options {
        set(&mut settings, option, program)?;
    }
    if let Some(fault) = line.fault {
        let text = format!("{}: {fault}\n{}", program.display(), usage(program));
        return Err(Answer::refused(text, settings.failure));
    }
    if line.operands.is_empty() {
        return Err(Answer::refused(usage(program), settings.failure));
    }
    settings.command = command(line.operands.into_iter());
    read_variables(&mut settings);
    Ok(settings)
}

/// Does what an option says.
fn set(settings: &mut Settings, option: &Found, program: &OsStr) -> Result<(), Answer> {
    let value = option.value.to_str().unwrap_or_default();
    let bad = |letter| {
        let pid = std::process::id();
        let text = format!("[FATAL tini ({pid})] Not a valid option for -{letter}: {value}");
        Err(Answer::refused(text, 1))
    };
    match option.letter {
        b'h' => return Err(Answer::printed(&usage(program))),
        b's' => settings.subreaper = Subreaper::Becomes,
        b'p' => {
            // A name in full, as in SIGTERM; numbers and real-time signals are refused there, too.
            let signal = value
                .strip_prefix("SIG")
                .filter(|name| {
                    name.bytes()
                        .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
                })
                .and_then(parse_signal)
                .and_then(|signal| Signal::try_from(signal).ok());
            match signal {
                Some(signal) => settings.parent_death = Some(signal),
                None => return bad('p'),
            }
        }
        b'v' => settings.verbosity = settings.verbosity.saturating_add(1),
        b'w' => settings.tells_orphans = true,
        b'g' => settings.audience = Audience::Group,
        b'e' => {
            let code = value.trim_ascii_start();
            let code = code.strip_prefix('+').unwrap_or(code);
            // An empty value reads as 0 there.
            let code = if value.is_empty() {
                Ok(0)
            } else {
                code.parse::<u8>()
            };
            match code
                .map(usize::from)
                .map(|code| settings.exit_codes.get_mut(code))
            {
                Ok(Some(given)) => *given = 0,
                Ok(None) | Err(_) => return bad('e'),
            }
        }
        // The last that there is.
        _ => {
            return Err(Answer::printed(concat!(
                "This is stockade in the place of tini, licensed under ",
                env!("CARGO_PKG_LICENSE")
            )));
        }
    }
    Ok(())
}

/// Does what the variables say, which win over options.
fn read_variables(settings: &mut Settings) {
    if std::env::var_os("TINI_SUBREAPER").is_some() {
        settings.subreaper = Subreaper::Becomes;
    }
    if std::env::var_os("TINI_KILL_PROCESS_GROUP").is_some() {
        settings.audience = Audience::Group;
    }
    if let Some(verbosity) = std::env::var_os("TINI_VERBOSITY") {
        settings.verbosity = leading_number(verbosity.to_str().unwrap_or_default());
    }
}

/// The number at the start of a text, 0 without one (atoi(3)).
fn leading_number(text: &str) -> i32 {
    let text = text.trim_ascii_start();
    let sign = usize::from(text.starts_with(['-', '+']));
    let digits = text
        .bytes()
        .skip(sign)
        .take_while(u8::is_ascii_digit)
        .count();
    text.get(..sign + digits)
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// What `-h` prints.
fn usage(program: &OsStr) -> String {
    let name = Path::new(program).file_name().unwrap_or(program).display();
    let mut text = format!("{name} ({VERSION})\n");
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "Usage: {name} [OPTIONS] PROGRAM -- [ARGS] | --version

Runs PROGRAM, passes signals on to it, and reaps orphans.

Options:
  --version     print the version (alone)
  -h            print this
  -s            become a subreaper
  -p SIGNAL     pass on SIGNAL, as in SIGTERM, when the parent ends
  -v            say more; up to three times
  -w            warn of each orphan that is reaped
  -g            pass signals on to the child's process group
  -e EXIT_CODE  end with 0 instead of EXIT_CODE (0 to 255); may be repeated
  -l            print the licence

Variables:
  TINI_SUBREAPER           as -s
  TINI_KILL_PROCESS_GROUP  as -g
  TINI_VERBOSITY           how much is said [default: 1]
"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_line(words: &[&str]) -> Result<Settings, Answer> {
        parse(
            OsStr::new("/sbin/tini"),
            words.iter().map(OsString::from).collect(),
        )
    }

    #[test]
    fn every_option_has_its_effect() {
        let settings = read_line(&[
            "-sgwv", "-p", "SIGUSR1", "-e143", "-e", "7", "--", "sh", "-c", "x",
        ])
        .expect("a command");
        assert_eq!(settings.subreaper, Subreaper::Becomes);
        assert_eq!(settings.audience, Audience::Group);
        assert!(settings.tells_orphans);
        assert_eq!(settings.verbosity, 2);
        assert_eq!(settings.parent_death, Some(Signal::SIGUSR1));
        assert_eq!(
            (
                settings.exit_codes[143],
                settings.exit_codes[7],
                settings.exit_codes[8]
            ),
            (0, 0, 8)
        );
        assert_eq!(settings.command.len(), 3);
    }

    #[test]
    fn what_is_refused_ends_with_1_and_what_is_asked_for_with_0() {
        for (words, code, text) in [
            (&["--version"][..], 0, "tini version"),
            (&["-h"], 0, "Usage: tini"),
            (&["-l"], 0, "Apache-2.0"),
            (&["-h", "-x"], 0, "Usage: tini"),
            (&[], 1, "Usage: tini"),
            (&["--version", "x"], 1, "/sbin/tini: invalid option -- '-'"),
            (&["-p", "KILL", "x"], 1, "Not a valid option for -p: KILL"),
            (&["-p", "SIGRTMIN", "x"], 1, "-p: SIGRTMIN"),
            (&["-e", "256", "x"], 1, "Not a valid option for -e: 256"),
            (&["-e", "x", "x"], 1, "-e: x"),
            (&["sh", "-c", "x"], 1, "invalid option -- 'c'"),
        ] {
            let answer = read_line(words).expect_err(text);
            assert_eq!(answer.code, code, "{words:?}");
            assert!(answer.text.contains(text), "{words:?}: {}", answer.text);
        }
    }

    #[test]
    fn a_verbosity_is_read_as_far_as_it_is_a_number() {
        for (text, expected) in [
            ("3", 3),
            ("-1", -1),
            ("", 0),
            (" 2x", 2),
            ("x", 0),
            ("-", 0),
        ] {
            assert_eq!(leading_number(text), expected, "{text:?}");
        }
    }
}
