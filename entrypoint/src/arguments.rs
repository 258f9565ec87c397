//! The command line of the guardian.
//!
//! Owns the flags of `stockade guardian`, for the CLI that writes them and for the guardian that reads them.
//! Never does: guess; an unknown, doubled or missing flag is an error, because both sides come from one binary.
//! Invariant: parsing the encoding of arguments gives the arguments.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::RawFd;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// What the guardian needs to know of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardianArguments {
    /// The run's directory, open for reading (`--run-dir-fd`).
    pub run_dir_fd: RawFd,
    /// `run.lock`, already locked with flock (`--lock-fd`).
    pub lock_fd: RawFd,
    /// The run description, for the supervisor (`--spec-fd`).
    pub spec_fd: RawFd,
    /// Time after which the supervisor is killed whatever it does; whole milliseconds, `None` is 0 on the command line (`--backstop-ms`).
    pub backstop: Option<Duration>,
    /// Time that a stop may take; whole milliseconds (`--grace-ms`).
    pub grace: Duration,
    /// Longest silence of a supervisor that is asked whether it is alive; whole milliseconds, it is not asked when absent
    /// (`--watchdog-ms`).
    pub watchdog: Option<Duration>,
    /// Absolute path of the program that knows `supervisor` and `finalize`; `/proc/self/exe` when absent (`--program`).
    pub program: Option<PathBuf>,
    /// Name in the run's directory of the crash status prepared at the start (`--crash-status`).
    pub crash_status: Option<OsString>,
    /// Exit code of a stopped run, passed on to `finalize` (`--stop-exit-code`).
    pub stop_exit_code: Option<u8>,
    /// Whether the supervisor reads from the terminal on standard input: it then shares the guardian's process group, and the
    /// guardian restores the terminal (`--reads-terminal yes`).
    pub reads_terminal: bool,
    /// Whether the status document is printed at the end, passed on to `finalize` (`--print-status yes`).
    pub print_status: bool,
    /// What follows `--`: arguments of the supervisor after those that the guardian writes.
    pub supervisor_arguments: Vec<OsString>,
}

/// Why a command line is not one of the guardian's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArgumentError {
    /// An argument before `--` that is no flag of ours.
    Unknown(OsString),
    /// A flag that was given before.
    Doubled(&'static str),
    /// A flag that must be there.
    Missing(&'static str),
    /// A flag at the end, without its value.
    NoValue(&'static str),
    /// A value that the flag does not allow.
    BadValue {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: OsString,
        /// What would be right.
        expected: &'static str,
    },
    /// The `--` that ends the flags.
    NoEnd,
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(argument) => write!(formatter, "unknown argument {argument:?}"),
            Self::Doubled(flag) => write!(formatter, "{flag} is given twice"),
            Self::Missing(flag) => write!(formatter, "{flag} is missing"),
            Self::NoValue(flag) => write!(formatter, "{flag} has no value"),
            Self::BadValue {
                flag,
                value,
                expected,
            } => write!(formatter, "{flag} is {value:?}, expected {expected}"),
            Self::NoEnd => formatter.write_str("-- is missing"),
        }
    }
}

impl std::error::Error for ArgumentError {}

/// The flags as found, before the required ones are asked for.
#[derive(Default)]
struct Found {
    run_dir_fd: Option<OsString>,
    lock_fd: Option<OsString>,
    spec_fd: Option<OsString>,
    backstop_ms: Option<OsString>,
    grace_ms: Option<OsString>,
    watchdog_ms: Option<OsString>,
    program: Option<OsString>,
    crash_status: Option<OsString>,
    stop_exit_code: Option<OsString>,
    reads_terminal: Option<OsString>,
    print_status: Option<OsString>,
}

impl Found {
    /// The name and the place of a flag.
    fn slot(&mut self, flag: &OsStr) -> Option<(&'static str, &mut Option<OsString>)> {
        Some(match flag.to_str()? {
            "--run-dir-fd" => ("--run-dir-fd", &mut self.run_dir_fd),
            "--lock-fd" => ("--lock-fd", &mut self.lock_fd),
            "--spec-fd" => ("--spec-fd", &mut self.spec_fd),
            "--backstop-ms" => ("--backstop-ms", &mut self.backstop_ms),
            "--grace-ms" => ("--grace-ms", &mut self.grace_ms),
            "--watchdog-ms" => ("--watchdog-ms", &mut self.watchdog_ms),
            "--program" => ("--program", &mut self.program),
            "--crash-status" => ("--crash-status", &mut self.crash_status),
            "--stop-exit-code" => ("--stop-exit-code", &mut self.stop_exit_code),
            "--print-status" => ("--print-status", &mut self.print_status),
            "--reads-terminal" => ("--reads-terminal", &mut self.reads_terminal),
            _ => return None,
        })
    }
}

impl GuardianArguments {
    /// Reads the arguments that follow `stockade guardian`.
    ///
    /// # Errors
    /// When a flag is unknown, given twice, missing, without value or with a value that it does not allow, or when `--` is
    /// missing.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, ArgumentError> {
        let mut arguments = arguments.into_iter();
        let mut found = Found::default();
        loop {
            let argument = arguments.next().ok_or(ArgumentError::NoEnd)?;
            if argument == "--" {
                break;
            }
            let Some((flag, slot)) = found.slot(&argument) else {
                return Err(ArgumentError::Unknown(argument));
            };
            let value = arguments.next().ok_or(ArgumentError::NoValue(flag))?;
            if slot.replace(value).is_some() {
                return Err(ArgumentError::Doubled(flag));
            }
        }
        Ok(Self {
            run_dir_fd: descriptor("--run-dir-fd", found.run_dir_fd)?,
            lock_fd: descriptor("--lock-fd", found.lock_fd)?,
            spec_fd: descriptor("--spec-fd", found.spec_fd)?,
            backstop: Some(milliseconds("--backstop-ms", found.backstop_ms)?)
                .filter(|backstop| !backstop.is_zero()),
            grace: milliseconds("--grace-ms", found.grace_ms)?,
            watchdog: found
                .watchdog_ms
                .map(|text| milliseconds("--watchdog-ms", Some(text)))
                .transpose()?
                .filter(|watchdog| !watchdog.is_zero()),
            program: found.program.map(absolute_path).transpose()?,
            crash_status: found.crash_status.map(file_name).transpose()?,
            stop_exit_code: found.stop_exit_code.map(exit_code).transpose()?,
            reads_terminal: found
                .reads_terminal
                .map(|text| yes("--reads-terminal", text))
                .transpose()?
                .is_some(),
            print_status: found
                .print_status
                .map(|text| yes("--print-status", text))
                .transpose()?
                .is_some(),
            supervisor_arguments: arguments.collect(),
        })
    }

    /// Writes the arguments that follow `stockade guardian`.
    #[must_use]
    pub fn encode(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut push =
            |flag: &str, value: OsString| arguments.extend([OsString::from(flag), value]);
        push("--run-dir-fd", self.run_dir_fd.to_string().into());
        push("--lock-fd", self.lock_fd.to_string().into());
        push("--spec-fd", self.spec_fd.to_string().into());
        push(
            "--backstop-ms",
            self.backstop
                .unwrap_or_default()
                .as_millis()
                .to_string()
                .into(),
        );
        push("--grace-ms", self.grace.as_millis().to_string().into());
        if let Some(watchdog) = self.watchdog {
            push("--watchdog-ms", watchdog.as_millis().to_string().into());
        }
        if let Some(program) = &self.program {
            push("--program", program.into());
        }
        if let Some(name) = &self.crash_status {
            push("--crash-status", name.clone());
        }
        if let Some(code) = self.stop_exit_code {
            push("--stop-exit-code", code.to_string().into());
        }
        if self.print_status {
            push("--print-status", "yes".into());
        }
        if self.reads_terminal {
            push("--reads-terminal", "yes".into());
        }
        arguments.push("--".into());
        arguments.extend(self.supervisor_arguments.iter().cloned());
        arguments
    }
}

/// Reads a value with `read`, naming flag, value and what would be right if it fails.
fn value<T>(
    flag: &'static str,
    value: OsString,
    expected: &'static str,
    read: impl Fn(&OsStr) -> Option<T>,
) -> Result<T, ArgumentError> {
    read(&value).ok_or(ArgumentError::BadValue {
        flag,
        value,
        expected,
    })
}

/// Reads a descriptor number.
fn descriptor(flag: &'static str, text: Option<OsString>) -> Result<RawFd, ArgumentError> {
    let text = text.ok_or(ArgumentError::Missing(flag))?;
    value(flag, text, "a descriptor from 3 to 63", |text| {
        text.to_str()?
            .parse()
            .ok()
            .filter(|number| (3..=63).contains(number))
    })
}

/// Reads a time.
fn milliseconds(flag: &'static str, text: Option<OsString>) -> Result<Duration, ArgumentError> {
    let text = text.ok_or(ArgumentError::Missing(flag))?;
    value(flag, text, "whole milliseconds", |text| {
        text.to_str()?.parse().ok().map(Duration::from_millis)
    })
}

/// Reads an exit code.
fn exit_code(text: OsString) -> Result<u8, ArgumentError> {
    value("--stop-exit-code", text, "a number from 0 to 255", |text| {
        text.to_str()?.parse().ok()
    })
}

/// Reads the one value of a flag that is left out otherwise.
fn yes(flag: &'static str, text: OsString) -> Result<(), ArgumentError> {
    value(flag, text, "yes", |text| (text == "yes").then_some(()))
}

/// Reads a path that means the same in every working directory: guardian and supervisor differ in theirs.
fn absolute_path(text: OsString) -> Result<PathBuf, ArgumentError> {
    value("--program", text, "an absolute path", |text| {
        Some(PathBuf::from(text)).filter(|path| path.is_absolute())
    })
}

/// Reads a name that cannot lead out of the run's directory.
fn file_name(text: OsString) -> Result<OsString, ArgumentError> {
    value("--crash-status", text, "a file name", |text| {
        let mut components = Path::new(text).components();
        match (components.next(), components.next()) {
            (Some(Component::Normal(name)), None) if name == text => Some(name.to_owned()),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> GuardianArguments {
        GuardianArguments {
            run_dir_fd: 3,
            lock_fd: 63,
            spec_fd: 5,
            backstop: Some(Duration::from_millis(610_000)),
            grace: Duration::from_millis(8_000),
            watchdog: Some(Duration::from_millis(30_000)),
            program: Some("/bin/stockade".into()),
            crash_status: Some("status.crashed".into()),
            stop_exit_code: Some(0),
            print_status: true,
            reads_terminal: true,
            supervisor_arguments: vec!["--".into(), "--run-dir-fd".into()],
        }
    }

    #[test]
    fn every_command_line_survives_the_exec() {
        let full = arguments();
        let bare = GuardianArguments {
            backstop: None,
            watchdog: None,
            program: None,
            crash_status: None,
            stop_exit_code: None,
            print_status: false,
            reads_terminal: false,
            supervisor_arguments: vec![],
            ..arguments()
        };
        for expected in [full, bare] {
            assert_eq!(GuardianArguments::parse(expected.encode()), Ok(expected));
        }
    }

    #[test]
    fn what_the_cli_never_writes_is_refused() {
        let usual = "--run-dir-fd 3 --lock-fd 4 --spec-fd 5 --backstop-ms 0 --grace-ms 1";
        for (line, message) in [
            (usual.to_owned(), "-- is missing"),
            (
                format!("{usual} --verbose --"),
                "unknown argument \"--verbose\"",
            ),
            (
                format!("{usual} --grace-ms 2 --"),
                "--grace-ms is given twice",
            ),
            (format!("{usual} --program"), "--program has no value"),
            ("--run-dir-fd 3 --".to_owned(), "--lock-fd is missing"),
            (
                "--run-dir-fd 2 --".to_owned(),
                "--run-dir-fd is \"2\", expected a descriptor from 3 to 63",
            ),
            (
                format!("{usual} --program bin/sh --"),
                "--program is \"bin/sh\", expected an absolute path",
            ),
            (
                format!("{usual} --crash-status ../s --"),
                "--crash-status is \"../s\", expected a file name",
            ),
            (
                format!("{usual} --crash-status s/ --"),
                "--crash-status is \"s/\", expected a file name",
            ),
            (
                format!("{usual} --stop-exit-code 256 --"),
                "--stop-exit-code is \"256\", expected a number from 0 to 255",
            ),
            (
                format!("{usual} --print-status 0 --"),
                "--print-status is \"0\", expected yes",
            ),
        ] {
            let error =
                GuardianArguments::parse(line.split(' ').map(OsString::from)).expect_err(&line);
            assert_eq!(error.to_string(), message, "{line}");
        }
    }
}
