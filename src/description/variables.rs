//! The environment variables beside the run description: options of the supervisor, and names that are not ours.
//!
//! It owns the list of their names and the shape of the variables that Kubernetes makes; reading them is done elsewhere.

use super::keys::Exposure;

/// A variable that begins with `STOCKADE_` and is no key of the run description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// The whole name; absent where only the flag exists.
    pub name: Option<&'static str>,
    /// The flag of `stockade run` that says the same and wins, without hyphens.
    pub flag: Option<&'static str>,
    /// Form and bounds, for people.
    pub form: &'static str,
    /// The default, for people.
    pub default: &'static str,
    /// What it does, for people.
    pub purpose: &'static str,
    /// Who reads it.
    pub reader: Reader,
    /// Whether its value may be shown.
    pub exposure: Exposure,
}

/// Who reads a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// The supervisor, as one of its options.
    Supervisor,
    /// Nobody in this process; it may be set and has no effect here.
    Elsewhere,
}

const OPTION: Variable = Variable {
    name: None,
    flag: None,
    form: "a path",
    default: "none",
    purpose: "",
    reader: Reader::Supervisor,
    exposure: Exposure::Shown,
};

/// Every such variable, in the order of the reference.
pub const VARIABLES: &[Variable] = &[
    Variable {
        name: Some("STOCKADE_CONFIG"),
        flag: Some("config"),
        form: "a path, or `-` for standard input",
        purpose: "The file with the run description, in TOML, YAML or JSON, at most 1 MiB.",
        ..OPTION
    },
    Variable {
        flag: Some("config-format"),
        form: "`toml`, `yaml`, `json`",
        default: "by the ending of the file, else `toml`",
        purpose: "The format of that file.",
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_PROFILE_DIR"),
        flag: Some("profile-dir"),
        default: "`$XDG_CONFIG_HOME/stockade/profiles` (else `$HOME/.config/…`), then `/etc/stockade/profiles`",
        purpose: "The directory in which the profile is looked for.",
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_CREDENTIALS_DIR"),
        flag: Some("credentials-dir"),
        default: "`$CREDENTIALS_DIRECTORY`, which systemd sets for a service",
        purpose: "The directory of the credentials that are given by reference.",
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_RECORDINGS"),
        flag: Some("recordings"),
        default: "`$XDG_STATE_HOME/stockade/runs`, else `$HOME/.local/state/stockade/runs`",
        purpose: "The directory that keeps the recordings of all runs.",
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_KEEP_DAYS"),
        flag: Some("keep-days"),
        form: "1 to 36,500",
        purpose: "Removes recordings older than so many days when the run begins.",
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_KEEP_RUNS"),
        flag: Some("keep-runs"),
        form: "1 to 1,000,000",
        purpose: "Removes the oldest recordings beyond so many runs when the run begins.",
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_KEEP_BYTES"),
        flag: Some("keep-bytes"),
        form: "bytes, or text such as `500MB` or `1GiB`",
        purpose: "Removes the oldest recordings beyond so many bytes when the run begins.",
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_LISTEN"),
        flag: Some("listen"),
        form: "`ADDRESS:PORT`, `none`, or `image`",
        default: "127.0.0.1:8090, or the next free port",
        purpose: "The address of the status API. An address that is not loopback needs a token. `image` is 0.0.0.0:8090 where there is a token, else 127.0.0.1:8090, and no other port.",
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_SOCKET"),
        flag: Some("socket"),
        form: "a path of at most 107 bytes, or `none`",
        default: "`$XDG_RUNTIME_DIR/stockade/<run id>.sock`",
        purpose: "The Unix socket of the status API. It is refused, and by default absent, where the workload would see it.",
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_TOKEN"),
        exposure: Exposure::Masked,
        form: "16 to 4,096 visible ASCII characters",
        purpose: "The bearer token with the scopes `read` and `control`.",
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_TOKEN_FILE"),
        flag: Some("token-file"),
        purpose: "A file with that token; its final newline is cut.",
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_READ_TOKEN"),
        exposure: Exposure::Masked,
        form: "16 to 4,096 visible ASCII characters",
        purpose: "The bearer token with the scope `read` alone.",
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_READ_TOKEN_FILE"),
        flag: Some("read-token-file"),
        purpose: "A file with that token; its final newline is cut.",
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_INSECURE_NO_AUTH"),
        flag: Some("insecure-no-auth"),
        form: "`true`, `false`, `1`, `0`",
        default: "`false`",
        purpose: "Serves an address that is not loopback without any token.",
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_SERVER"),
        form: "`http://HOST:PORT`, `HOST:PORT` or `unix:PATH`",
        purpose: "Read by the [commands for a control plane](operations.md#asking-a-control-plane): where it listens. A run ignores it.",
        reader: Reader::Elsewhere,
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_LOG_FORMAT"),
        flag: Some("log-format"),
        form: "`human`, `json`",
        default: "`human`",
        purpose: "The form of the log lines on stderr.",
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_LOG_LEVEL"),
        flag: Some("log-level"),
        form: "`error`, `warn`, `info`, `debug`, `trace`",
        default: "`info`",
        purpose: "The least important log lines that are written.",
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_PROGRESS"),
        flag: Some("progress"),
        form: "`auto`, `live`, `plain`, `log`, `none`",
        default: "`auto`",
        purpose: "What people see of the run on stderr: `auto` is `live` on a terminal, else `plain`.",
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_STOP_EXIT_CODE"),
        flag: Some("stop-exit-code"),
        form: "0 to 255",
        default: "128 + the signal, 143 through the API",
        purpose: "The exit code of a run that was stopped.",
        ..OPTION
    },
    Variable {
        flag: Some("junit"),
        form: "a path to a file in an existing directory",
        purpose: "The file that gets a copy of the JUnit report of a playbook; a regular file that is there is replaced, anything else is refused.",
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_TERMINATION_LOG"),
        default: "`/dev/termination-log`",
        purpose: "The file that gets the outcome when it exists.",
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_SEED_ENV"),
        form: "`1`, `0`",
        default: "`0`",
        purpose: "Reads the bare variable names of the predecessor, too.",
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_ACTIONS_FD"),
        form: "a descriptor",
        purpose: "Set for workloads. A stockade that is itself a workload ignores it.",
        reader: Reader::Elsewhere,
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_CONTROL_FD"),
        form: "a descriptor",
        purpose: "Set for workloads, with `stop_message_seconds`. A stockade that is itself a workload ignores it.",
        reader: Reader::Elsewhere,
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_CLAIM"),
        form: "text",
        purpose: "Set for workloads: 32 random digits of the run, by which `stockade finalize` finds what outlived it. A stockade that is itself a workload ignores it.",
        reader: Reader::Elsewhere,
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_OUTPUT_DIR"),
        form: "a path",
        purpose: "Set for workloads: the directory whose files become artifacts. A stockade that is itself a workload ignores it.",
        reader: Reader::Elsewhere,
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_HOOK"),
        form: "text",
        purpose: "Set for [hooks](#hooks): `pre_stop` or `post_run`. A stockade that is itself a workload ignores it.",
        reader: Reader::Elsewhere,
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_RUN_STATUS"),
        form: "text",
        purpose: "Set for [hooks](#hooks): the status that the run ends with. A stockade that is itself a workload ignores it.",
        reader: Reader::Elsewhere,
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_RUN_ERROR"),
        form: "text",
        purpose: "Set for [hooks](#hooks): its error code, empty for a run that completes. A stockade that is itself a workload ignores it.",
        reader: Reader::Elsewhere,
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_RUN_EXIT_CODE"),
        form: "text",
        purpose: "Set for [hooks](#hooks): the exit code of the agent, empty when there is none. A stockade that is itself a workload ignores it.",
        reader: Reader::Elsewhere,
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_BLESS"),
        form: "`1`",
        purpose: "Read by the tests alone: rewrites the files that they compare.",
        reader: Reader::Elsewhere,
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_TEST_REQUIRE"),
        form: "a list",
        purpose: "Read by the tests alone: what they may not skip.",
        reader: Reader::Elsewhere,
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_TEST_BINARY"),
        form: "a path",
        purpose: "Read by the tests alone: the binary that the attack corpus is aimed at, in the place of that of their build.",
        reader: Reader::Elsewhere,
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_TEST_STATIC"),
        form: "a path",
        purpose: "Read by the tests alone: the static build that is taken into machines and containers.",
        reader: Reader::Elsewhere,
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_TEST_KERNEL"),
        form: "a path",
        purpose: "Read by the tests alone: the kernel that is booted.",
        reader: Reader::Elsewhere,
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_SOAK_ROUNDS"),
        form: "a number",
        purpose: "Read by the tests alone: how often a test of chance, or of what is left behind, is repeated.",
        reader: Reader::Elsewhere,
        ..OPTION
    },
    Variable {
        name: Some("STOCKADE_SOAK_SEED"),
        form: "a number",
        purpose: "Read by the tests alone: repeats a test of chance as it was.",
        reader: Reader::Elsewhere,
        ..OPTION
    },
];

impl Variable {
    /// The variable of that whole name.
    pub fn find(name: &str) -> Option<&'static Self> {
        VARIABLES
            .iter()
            .find(|variable| variable.name == Some(name))
    }
}

/// Whether Kubernetes makes a variable of this name and value for a service called `stockade` or `stockade-…`.
///
/// `suffix` is what follows `STOCKADE_`. `PORT` and `PORT_<number>_<protocol>` have a value such as `tcp://10.0.0.1:80`;
/// with any other that is not empty they are what a person wrote for something else. The shapes are `SERVICE_HOST`, `SERVICE_PORT[_NAME]`, `PORT` and
/// `PORT_<number>_<protocol>[_PROTO|_PORT|_ADDR]`, each also behind the rest of a longer service name
/// (<https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>).
pub(crate) fn is_service_link(suffix: &str, value: &[u8]) -> bool {
    let is_link = |text| match link_shape(text) {
        Some(LinkValue::Any) => true,
        Some(LinkValue::Url) => {
            value.is_empty() || value.windows(3).any(|separator| separator == b"://")
        }
        None => false,
    };
    // The service's own name may contain any of these words, so every place where the shape may begin is tried.
    std::iter::once(suffix)
        .chain(
            suffix
                .match_indices('_')
                .filter_map(|(idx, _)| suffix.get(idx + 1..)),
        )
        .any(is_link)
}

/// What the value of a service link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LinkValue {
    /// A host, a number or a word.
    Any,
    /// `<protocol>://<host>:<number>`.
    Url,
}

fn link_shape(text: &str) -> Option<LinkValue> {
    match text {
        "SERVICE_HOST" | "SERVICE_PORT" => return Some(LinkValue::Any),
        "PORT" => return Some(LinkValue::Url),
        _ => {}
    }
    if let Some(port_name) = text.strip_prefix("SERVICE_PORT_") {
        return (!port_name.is_empty()).then_some(LinkValue::Any);
    }
    let (port, protocol) = text.strip_prefix("PORT_")?.split_once('_')?;
    let part = ["_PROTO", "_PORT", "_ADDR"]
        .iter()
        .find_map(|part| protocol.strip_suffix(part));
    let is_link = !port.is_empty()
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && matches!(part.unwrap_or(protocol), "TCP" | "UDP" | "SCTP");
    is_link.then_some(match part {
        Some(_) => LinkValue::Any,
        None => LinkValue::Url,
    })
}
