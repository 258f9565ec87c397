//! The words of a command line as getopt(3) reads them, for the inits whose command lines are read by it.
//!
//! Never does: know what an option means. Invariant: each option before a fault is given, in order.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// An option that a program has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// Its letter, by which it is given to the caller.
    pub(super) letter: u8,
    /// Its long name; empty for none.
    pub(super) long: &'static str,
    pub(super) takes_value: bool,
}

/// Where options may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Before the first word that is none.
    First,
    /// Anywhere before `--`.
    Anywhere,
}

/// An option as found, with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) letter: u8,
    pub(super) value: OsString,
}

/// What is wrong with an option, in the words of the C library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    UnknownLetter(u8),
    NoValue(u8),
    UnknownName(String),
    Ambiguous(String, Vec<&'static str>),
    NoValueOf(&'static str),
    ValueOf(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownLetter(letter) => {
                write!(formatter, "invalid option -- '{}'", char::from(*letter))
            }
            Self::NoValue(letter) => write!(
                formatter,
                "option requires an argument -- '{}'",
                char::from(*letter)
            ),
            Self::UnknownName(name) => write!(formatter, "unrecognized option '--{name}'"),
            Self::Ambiguous(name, known) => {
                write!(formatter, "option '--{name}' is ambiguous; possibilities:")?;
                known
                    .iter()
                    .try_for_each(|known| write!(formatter, " '--{known}'"))
            }
            Self::NoValueOf(name) => write!(formatter, "option '--{name}' requires an argument"),
            Self::ValueOf(name) => write!(formatter, "option '--{name}' doesn't allow an argument"),
        }
    }
}

/// A command line that was read.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) options: Vec<Found>,
    /// The first fault; nothing behind it was read.
    pub(super) fault: Option<Fault>,
    /// What is no option.
    pub(super) operands: Vec<OsString>,
}

/// Reads a command line.
pub(super) fn read(words: Vec<OsString>, known: &[Known], order: Order) -> Line {
    let mut line = Line::default();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let result = match word.as_bytes() {
            b"--" => break,
            [b'-', b'-', name @ ..] if known.iter().any(|option| !option.long.is_empty()) => {
                read_long(name, known, &mut words, &mut line.options)
            }
            [b'-', letters @ ..] if !letters.is_empty() => {
                read_letters(letters, known, &mut words, &mut line.options)
            }
            _ => {
                line.operands.push(word);
                match order {
                    Order::First => break,
                    Order::Anywhere => continue,
                }
            }
        };
        if let Err(fault) = result {
            line.fault = Some(fault);
            return line;
        }
    }
    line.operands.extend(words);
    line
}

/// Reads `--name`, `--name=value`, `--name value`, and every beginning of a name that only one has.
fn read_long(
    word: &[u8],
    known: &[Known],
    words: &mut impl Iterator<Item = OsString>,
    options: &mut Vec<Found>,
) -> Result<(), Fault> {
    let mut parts = word.splitn(2, |byte| *byte == b'=');
    let name = parts.next().unwrap_or_default();
    let attached = parts.next();
    let begins =
        |option: &&Known| !option.long.is_empty() && option.long.as_bytes().starts_with(name);
    let text = || String::from_utf8_lossy(name).into_owned();
    let candidates: Vec<&Known> = known.iter().filter(begins).collect();
    let exact = candidates
        .iter()
        .find(|option| option.long.as_bytes() == name);
    let option = match (exact, candidates.as_slice()) {
        (Some(option), _) => option,
        (None, [option]) => option,
        (None, []) => {
            return Err(Fault::UnknownName(
                String::from_utf8_lossy(word).into_owned(),
            ));
        }
        (None, several) => {
            let names = several.iter().map(|option| option.long).collect();
            return Err(Fault::Ambiguous(text(), names));
        }
    };
    let value = match (option.takes_value, attached) {
        (false, None) => OsString::new(),
        (false, Some(_)) => return Err(Fault::ValueOf(option.long)),
        (true, Some(value)) => OsStr::from_bytes(value).to_owned(),
        (true, None) => words.next().ok_or(Fault::NoValueOf(option.long))?,
    };
    options.push(Found {
        letter: option.letter,
        value,
    });
    Ok(())
}

/// Reads `-abc`, where the rest of the word, or the next word, is the value of the first letter that takes one.
fn read_letters(
    letters: &[u8],
    known: &[Known],
    words: &mut impl Iterator<Item = OsString>,
    options: &mut Vec<Found>,
) -> Result<(), Fault> {
    let mut rest = letters;
    while let [letter, others @ ..] = rest {
        let option = known
            .iter()
            .find(|option| option.letter == *letter)
            .ok_or(Fault::UnknownLetter(*letter))?;
        let value = match (option.takes_value, others) {
            (false, _) => OsString::new(),
            (true, []) => words.next().ok_or(Fault::NoValue(*letter))?,
            (true, attached) => OsString::from_vec(attached.to_vec()),
        };
        options.push(Found {
            letter: *letter,
            value,
        });
        rest = if option.takes_value { &[] } else { others };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Known; 4] = [
        Known {
            letter: b'v',
            long: "verbose",
            takes_value: false,
        },
        Known {
            letter: b'V',
            long: "version",
            takes_value: false,
        },
        Known {
            letter: b'r',
            long: "rewrite",
            takes_value: true,
        },
        Known {
            letter: b'g',
            long: "",
            takes_value: false,
        },
    ];

    fn summary(words: &[&str], order: Order) -> String {
        let line = read(words.iter().map(OsString::from).collect(), &KNOWN, order);
        let options: Vec<String> = line
            .options
            .iter()
            .map(|found| format!("{}{}", char::from(found.letter), found.value.display()))
            .collect();
        let operands: Vec<_> = line
            .operands
            .iter()
            .map(|word| word.display().to_string())
            .collect();
        let fault = line
            .fault
            .map(|fault| format!(" ! {fault}"))
            .unwrap_or_default();
        format!("{} | {}{fault}", options.join(" "), operands.join(" "))
    }

    #[test]
    fn words_are_read_as_the_c_library_reads_them() {
        use Order::{Anywhere, First};
        for (words, order, expected) in [
            (
                &["-vg", "-r", "1:2", "sh", "-v"][..],
                First,
                "v g r1:2 | sh -v",
            ),
            (&["-vg", "sh", "-v", "x"], Anywhere, "v g v | sh x"),
            (&["sh", "--", "-v"], Anywhere, " | sh -v"),
            (&["--", "-v"], First, " | -v"),
            (&["-", "x"], First, " | - x"),
            (&["-r1:2", "x"], First, "r1:2 | x"),
            (&["-vr3", "x"], First, "v r3 | x"),
            (&["--rewrite=1:2", "x"], First, "r1:2 | x"),
            (&["--rew", "1:2", "x"], First, "r1:2 | x"),
            (&["--verb", "x"], First, "v | x"),
            (
                &["-v", "--ver"],
                First,
                "v |  ! option '--ver' is ambiguous; possibilities: '--verbose' '--version'",
            ),
            (
                &["--yolo", "x"],
                First,
                " |  ! unrecognized option '--yolo'",
            ),
            (
                &["--verbose=1", "x"],
                First,
                " |  ! option '--verbose' doesn't allow an argument",
            ),
            (
                &["--rewrite"],
                First,
                " |  ! option '--rewrite' requires an argument",
            ),
            (&["-r"], First, " |  ! option requires an argument -- 'r'"),
            (&["-vx"], First, "v |  ! invalid option -- 'x'"),
        ] {
            assert_eq!(summary(words, order), expected, "{words:?}");
        }
    }
}
