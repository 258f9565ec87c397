//! The options of the supervisor: where it listens, what it logs, where it records. They are no part of the run description.
//!
//! It resolves them from flags and environment, flags first; it opens nothing but the files of tokens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Serialize};

use super::credentials::read_secret_file;
use super::environment::Environment;
use super::error::ErrorKind;
use super::layers::Faults;
use super::listen::Listen;
use super::origin::Origin;
use super::quantity;
use super::secret::Secret;
use super::sight::Sight;
use super::value::{Given, Value};
use super::variables::VARIABLES;
use crate::progress::mode::{FinalStatus, Progress};
use crate::recordings::prune::{MAX_KEEP_DAYS, MAX_KEEP_RUNS, Retention};

/// Shortest token, in characters: 16 of base64 hold 96 bits, which cannot be guessed over a network.
pub const MIN_TOKEN_CHARS: usize = 16;
/// Longest token, in characters: it must fit into one request header.
pub const MAX_TOKEN_CHARS: usize = 4_096;
/// Most bytes that a limit of retention may name: an exbibyte.
const MAX_KEEP_BYTES: u64 = 1 << 60;
/// Longest path of a Unix socket, in bytes (unix(7): 108 with the final NUL).
const MAX_SOCKET_BYTES: usize = 107;

/// The options of the supervisor. Serialising them with a token is an error: `HandOver` does it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisorOptions {
    /// The address of the status API.
    pub listen: Listen,
    /// The Unix socket of the status API.
    pub socket: Socket,
    /// The directory of all recordings, absolute; it need not exist yet.
    pub recordings: PathBuf,
    /// What of the earlier recordings is kept when the run begins; without any limit nothing goes.
    pub keep: Retention,
    /// The bearer token with the scopes `read` and `control`.
    pub token: Option<Secret>,
    /// The bearer token with the scope `read` alone; never equal to `token`.
    pub read_token: Option<Secret>,
    /// Whether an address that is not loopback needs a token.
    pub authentication: Authentication,
    /// The form of log lines.
    pub log_format: LogFormat,
    /// The least important log lines that are written.
    pub log_level: LogLevel,
    /// What people see of the run on stderr.
    pub progress: Progress,
    /// Whether the status document is printed at the end; the command line alone says so.
    pub final_status: FinalStatus,
    /// The exit code of a run that was stopped; absent for the convention of 128 + the signal.
    pub stop_exit_code: Option<u8>,
    /// The file that gets a copy of the report of a playbook, absolute.
    #[serde(default)]
    pub junit: Option<PathBuf>,
    /// The file that gets the outcome when it exists, absolute.
    pub termination_log: PathBuf,
}

/// The Unix socket of the status API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Socket {
    /// Nobody named one: `stockade/<run id>.sock` under the runtime directory, if there is one.
    Default {
        /// `XDG_RUNTIME_DIR`, if it is set and absolute.
        runtime_dir: Option<PathBuf>,
    },
    /// This one and no other, absolute.
    Path(PathBuf),
    /// None.
    Off,
}

/// Whether an address that is not loopback needs a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Authentication {
    /// It does.
    Required,
    /// It does not; somebody said `--insecure-no-auth`.
    Waived,
}

/// The form of log lines on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// The least important log lines that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What may fail.
    Warn,
    /// The life of a run, in about ten lines.
    #[default]
    Info,
    /// Each action.
    Debug,
    /// Everything.
    Trace,
}

/// Resolves the options. Gives the recordings directory even if anything else is at fault, so that the fault can be recorded.
pub(crate) fn options(
    flags: BTreeMap<&'static str, Given>,
    environment: &Environment,
    current_dir: &Path,
    sight: &Sight,
    faults: &mut Faults,
) -> (Option<PathBuf>, Option<SupervisorOptions>) {
    let mut reader = OptionReader {
        flags,
        environment,
        current_dir,
        sight,
        faults,
    };
    let recordings = reader.recordings();
    let options = reader.options(recordings.clone());
    (recordings, options)
}

/// The recordings directory, before anything else is resolved; what is wrong with it is told by [`options`].
pub(crate) fn recordings(
    flags: &BTreeMap<&'static str, Given>,
    environment: &Environment,
    current_dir: &Path,
) -> Option<PathBuf> {
    let mut reader = OptionReader {
        flags: flags.clone(),
        environment,
        current_dir,
        sight: &Sight::Everything,
        faults: &mut Faults::default(),
    };
    reader.recordings()
}

struct OptionReader<'a> {
    flags: BTreeMap<&'static str, Given>,
    environment: &'a Environment,
    current_dir: &'a Path,
    sight: &'a Sight,
    faults: &'a mut Faults,
}

impl OptionReader<'_> {
    fn options(&mut self, recordings: Option<PathBuf>) -> Option<SupervisorOptions> {
        let token = self.token("token-file", "STOCKADE_TOKEN", "STOCKADE_TOKEN_FILE");
        let read_token = self.token(
            "read-token-file",
            "STOCKADE_READ_TOKEN",
            "STOCKADE_READ_TOKEN_FILE",
        );
        let authentication = self.authentication();
        let has_token = token.is_some() || read_token.is_some();
        let token = token.map(|(_, secret, _)| secret);
        if let Some((key, secret, origin)) = &read_token
            && token.as_ref() == Some(secret)
        {
            let expected = "give two different tokens, or leave out the one for reading";
            self.faults
                .add_masked(ErrorKind::Conflict, *key, origin, expected);
        }
        let listen = self.listen(has_token);
        if let Some((given, Listen::Address(address))) = &listen
            && !address.ip().is_loopback()
            && !has_token
            && authentication == Authentication::Required
        {
            let expected = "an address that is not loopback needs a token; give --token-file, a loopback address, or --insecure-no-auth";
            self.faults
                .add(ErrorKind::Conflict, "listen", given, expected);
        }
        Some(SupervisorOptions {
            listen: listen.map_or(Listen::Default, |(_, listen)| listen),
            socket: self.socket(),
            token,
            read_token: read_token.map(|(_, secret, _)| secret),
            authentication,
            log_format: self.choice("log-format", "STOCKADE_LOG_FORMAT"),
            log_level: self.choice("log-level", "STOCKADE_LOG_LEVEL"),
            progress: self.choice("progress", "STOCKADE_PROGRESS"),
            final_status: FinalStatus::default(),
            stop_exit_code: self.stop_exit_code(),
            junit: self.junit(),
            termination_log: self.termination_log(),
            keep: self.keep(),
            recordings: recordings?,
        })
    }

    /// What the flag says, else what the variable says.
    fn given(&mut self, flag: &str, variable: &'static str) -> Option<Given> {
        match self.flags.remove(flag) {
            Some(given) => Some(given),
            None => self.environment.option(variable, self.faults),
        }
    }

    fn refuse(&mut self, kind: ErrorKind, flag: &str, given: &Given) {
        let row = VARIABLES.iter().find(|row| row.flag == Some(flag));
        let form = row.map_or("", |row| row.form).replace('`', "\"");
        let expected = format!("give {form}");
        self.faults.add(kind, flag, given, expected);
    }

    fn recordings(&mut self) -> Option<PathBuf> {
        if let Some(given) = self.given("recordings", "STOCKADE_RECORDINGS") {
            return match path_text(&given) {
                Some(path) => Some(self.current_dir.join(path)),
                None => {
                    self.refuse(ErrorKind::Invalid, "recordings", &given);
                    None
                }
            };
        }
        let state_home = self.absolute_variable("XDG_STATE_HOME").or_else(|| {
            self.absolute_variable("HOME")
                .map(|home| home.join(".local/state"))
        });
        if state_home.is_none() {
            let expected =
                "give --recordings DIR, or set STOCKADE_RECORDINGS, XDG_STATE_HOME or HOME";
            self.faults.add_without_value(
                ErrorKind::Missing,
                "recordings",
                &Origin::Unset,
                expected,
            );
        }
        state_home.map(|state_home| state_home.join("stockade/runs"))
    }

    /// The path in a variable that is not ours; one that is relative or not UTF-8 counts as absent (XDG base directories).
    fn absolute_variable(&self, name: &str) -> Option<PathBuf> {
        let text = self.environment.get(name)?.to_str()?;
        let path = PathBuf::from(text);
        path.is_absolute().then_some(path)
    }

    fn listen(&mut self, has_token: bool) -> Option<(Given, Listen)> {
        let given = self.given("listen", "STOCKADE_LISTEN")?;
        let listen = match &given.value {
            Value::Text(text) => Listen::parse(text, has_token),
            _ => None,
        };
        if listen.is_none() {
            let expected = "give an IP address, no name, and a port, such as 127.0.0.1:8090 or [::1]:0, or \"none\", or \"image\"";
            self.faults
                .add(ErrorKind::Invalid, "listen", &given, expected);
        }
        listen.map(|listen| (given, listen))
    }

    fn socket(&mut self) -> Socket {
        let default = Socket::Default {
            runtime_dir: self.absolute_variable("XDG_RUNTIME_DIR"),
        };
        let Some(given) = self.given("socket", "STOCKADE_SOCKET") else {
            return default;
        };
        match path_text(&given) {
            Some("none") => Socket::Off,
            Some(text) => {
                let path = self.current_dir.join(text);
                if path.as_os_str().len() > MAX_SOCKET_BYTES {
                    self.refuse(ErrorKind::OutOfBounds, "socket", &given);
                }
                // Whoever connects has control of the run.
                if let Some(place) = self.sight.place_of(&path) {
                    let expected = format!(
                        "the workload sees it in {}; give a path outside of that, or \"none\"",
                        place.name
                    );
                    self.faults
                        .add(ErrorKind::Conflict, "socket", &given, expected);
                }
                Socket::Path(path)
            }
            None => {
                self.refuse(ErrorKind::Invalid, "socket", &given);
                default
            }
        }
    }

    fn authentication(&mut self) -> Authentication {
        let Some(given) = self.given("insecure-no-auth", "STOCKADE_INSECURE_NO_AUTH") else {
            return Authentication::Required;
        };
        match &given.value {
            Value::Bool(true) => return Authentication::Waived,
            Value::Text(text) if text == "true" || text == "1" => return Authentication::Waived,
            Value::Text(text) if text == "false" || text == "0" => {}
            _ => self.refuse(ErrorKind::Invalid, "insecure-no-auth", &given),
        }
        Authentication::Required
    }

    fn choice<T: DeserializeOwned + Default>(
        &mut self,
        flag: &'static str,
        variable: &'static str,
    ) -> T {
        let Some(given) = self.given(flag, variable) else {
            return T::default();
        };
        let chosen = match &given.value {
            Value::Text(text) => {
                let text: StrDeserializer<'_, serde::de::value::Error> =
                    text.as_str().into_deserializer();
                T::deserialize(text).ok()
            }
            _ => None,
        };
        chosen.unwrap_or_else(|| {
            self.refuse(ErrorKind::Invalid, flag, &given);
            T::default()
        })
    }

    fn junit(&mut self) -> Option<PathBuf> {
        let given = self.flags.remove("junit")?;
        let path = path_text(&given).map(|path| self.current_dir.join(path));
        let path = path.filter(|path| path.file_name().is_some());
        if path.is_none() {
            self.refuse(ErrorKind::Invalid, "junit", &given);
        }
        path
    }

    fn stop_exit_code(&mut self) -> Option<u8> {
        let given = self.given("stop-exit-code", "STOCKADE_STOP_EXIT_CODE")?;
        let code = match &given.value {
            Value::Text(text) => text.parse().ok(),
            _ => None,
        };
        if code.is_none() {
            self.refuse(ErrorKind::OutOfBounds, "stop-exit-code", &given);
        }
        code
    }

    fn keep(&mut self) -> Retention {
        let plain = |text: &str| text.parse().ok();
        let days = self.limit("keep-days", "STOCKADE_KEEP_DAYS", MAX_KEEP_DAYS, plain);
        let runs = self.limit(
            "keep-runs",
            "STOCKADE_KEEP_RUNS",
            MAX_KEEP_RUNS.into(),
            plain,
        );
        let bytes = self.limit(
            "keep-bytes",
            "STOCKADE_KEEP_BYTES",
            MAX_KEEP_BYTES,
            quantity::bytes,
        );
        let runs = runs.and_then(|runs| usize::try_from(runs).ok());
        Retention::of(days, runs, bytes)
    }

    fn limit(
        &mut self,
        flag: &str,
        variable: &'static str,
        max: u64,
        read: impl Fn(&str) -> Option<u64>,
    ) -> Option<u64> {
        let given = self.given(flag, variable)?;
        let limit = path_text(&given)
            .and_then(read)
            .filter(|n| (1..=max).contains(n));
        if limit.is_none() {
            self.refuse(ErrorKind::OutOfBounds, flag, &given);
        }
        limit
    }

    fn termination_log(&mut self) -> PathBuf {
        let given = self
            .environment
            .option("STOCKADE_TERMINATION_LOG", self.faults);
        match given.as_ref().and_then(path_text) {
            Some(path) => self.current_dir.join(path),
            None => PathBuf::from("/dev/termination-log"),
        }
    }

    /// A token with the flag or variable that won: from the file that the flag names, else from the environment, as text or as a file.
    fn token(
        &mut self,
        flag: &'static str,
        variable: &'static str,
        file_variable: &'static str,
    ) -> Option<(&'static str, Secret, Origin)> {
        let file = self.flags.remove(flag);
        let by_name = self.environment.option(variable, self.faults);
        let by_file_name = self.environment.option(file_variable, self.faults);
        let (key, given, is_file) = match (file, by_name, by_file_name) {
            (Some(given), _, _) => (flag, given, true),
            (None, Some(_), Some(given)) => {
                let expected = format!("{variable} is set as well; unset one of them");
                self.faults
                    .add(ErrorKind::Conflict, file_variable, &given, expected);
                return None;
            }
            (None, Some(given), None) => (variable, given, false),
            (None, None, Some(given)) => (file_variable, given, true),
            (None, None, None) => return None,
        };
        let origin = given.origin.clone();
        let secret = if is_file {
            let path = self.current_dir.join(path_text(&given).unwrap_or_default());
            match read_secret_file(&path) {
                Ok(secret) => secret,
                Err((kind, expected)) => {
                    self.faults.add(kind, key, &given, expected);
                    return None;
                }
            }
        } else {
            Secret::new(path_text(&given).unwrap_or_default().to_owned())
        };
        let chars = secret.expose().len();
        if !(MIN_TOKEN_CHARS..=MAX_TOKEN_CHARS).contains(&chars)
            || !secret.expose().bytes().all(|byte| byte.is_ascii_graphic())
        {
            let expected = "give a token of 16 to 4,096 visible ASCII characters";
            self.faults
                .add_masked(ErrorKind::Invalid, key, &origin, expected);
            return None;
        }
        Some((key, secret, origin))
    }
}

fn path_text(given: &Given) -> Option<&str> {
    super::checker::plain_text(given).filter(|text| !text.is_empty())
}
