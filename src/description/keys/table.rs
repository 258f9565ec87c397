//! Every key of the run description, in the order of the reference. A table: nothing but rows.

use super::{Exposure, Key, Shape, Support};

const HONOURED: Key = Key {
    name: "",
    alias: None,
    flags: &[],
    type_text: "text",
    bounds: "",
    default: "",
    purpose: "",
    shape: Shape::Scalar,
    exposure: Exposure::Shown,
    support: Support::Honoured,
};

const UNSUPPORTED: Key = Key {
    support: Support::Unsupported {
        since: "a later version",
    },
    ..HONOURED
};

/// Every key, in the order of the reference.
pub const KEYS: &[Key] = &[
    Key {
        name: "run_id",
        flags: &["run-id"],
        bounds: "a DNS label: 1 to 63 of a-z, 0-9, `-`; not `latest`",
        default: "minted, ordered by time",
        purpose: "Names the run and its directory in the recordings.",
        ..HONOURED
    },
    Key {
        name: "resumed_from",
        flags: &["resumed-from"],
        bounds: "a run id, `latest`, or the path of a run's directory; with `from_step`, and a run of the same playbook with the same parameters that has ended",
        default: "none",
        purpose: "The run that this one goes on from: the outputs of its steps that succeeded are taken over for those that are skipped.",
        ..HONOURED
    },
    Key {
        name: "task",
        alias: Some("directive"),
        flags: &["task"],
        bounds: "1 to 10,000 characters, no NUL",
        default: "none",
        purpose: "What the agent is asked to do, in words.",
        ..HONOURED
    },
    Key {
        name: "command",
        flags: &["--"],
        type_text: "a list of text",
        bounds: "1 to 4,096 arguments of at most 131,071 bytes, no NUL",
        default: "required",
        purpose: "The program that runs in the sandbox, and its arguments; no shell is involved.",
        shape: Shape::List,
        ..HONOURED
    },
    Key {
        name: "playbook",
        flags: &["playbook"],
        type_text: "a path",
        bounds: "a file `.yaml`, `.yml` or `.json` of at most 1 MiB, or a directory of at most 256 of them, of which the tags choose by `task`",
        default: "none",
        purpose: "A playbook to run in the place of a command. A relative path in a file is relative to that file.",
        ..HONOURED
    },
    Key {
        name: "parameters",
        flags: &["param"],
        type_text: "a map of name to text, number or boolean",
        bounds: "what the playbook declares; at most 64 KiB each, no NUL; a secret as in `credentials`",
        default: "what the playbook says",
        purpose: "Parameters of the playbook.",
        shape: Shape::Map,
        exposure: Exposure::Masked,
        ..HONOURED
    },
    Key {
        name: "from_step",
        flags: &["from-step"],
        bounds: "the id of a step of the playbook",
        default: "the first step",
        purpose: "The step that the playbook begins with; those before it are skipped.",
        ..HONOURED
    },
    Key {
        name: "agent",
        purpose: "A named agent in the place of a command.",
        ..UNSUPPORTED
    },
    Key {
        name: "model",
        purpose: "The model of the agent.",
        ..UNSUPPORTED
    },
    Key {
        name: "thinking",
        purpose: "How long the model thinks.",
        ..UNSUPPORTED
    },
    Key {
        name: "adapter",
        flags: &["adapter"],
        bounds: "`none`, `jsonl`",
        default: "`none`",
        purpose: "How the command's output becomes actions: not at all, or each JSON line is one.",
        ..HONOURED
    },
    Key {
        name: "image",
        purpose: "The container image of the run.",
        ..UNSUPPORTED
    },
    Key {
        name: "workspace",
        flags: &["workspace"],
        type_text: "a path",
        bounds: "an existing directory, not `/`",
        default: "the current directory",
        purpose: "The directory that the workload works in. A relative path in a file is relative to that file.",
        ..HONOURED
    },
    Key {
        name: "workspace_mode",
        flags: &["workspace-mode"],
        bounds: "`read-write`, `read-only`, `overlay`",
        default: "`read-write`",
        purpose: "What the workload may do with the workspace. With `overlay` it may change all of it, at most 512 MiB in memory, and the host's files stay as they are: a run keeps a list and an archive of its changes as artifacts, `stockade exec` nothing.",
        ..HONOURED
    },
    Key {
        name: "chdir",
        flags: &["chdir"],
        type_text: "a path",
        bounds: "a directory as the workload sees it, of at most 4,095 bytes; a relative one begins at the workspace",
        default: "the workspace",
        purpose: "The directory in which the command, or each step of a playbook, begins.",
        ..HONOURED
    },
    Key {
        name: "env",
        flags: &["env", "env-from"],
        type_text: "a map of name to text",
        bounds: "names of letters, digits and `_`, not beginning with `STOCKADE_`; at most 131,071 bytes each, no NUL",
        default: "empty",
        purpose: "Environment variables of the workload. Numbers and booleans in a file are taken as text.",
        shape: Shape::Map,
        exposure: Exposure::Masked,
        ..HONOURED
    },
    Key {
        name: "credentials",
        flags: &["credential"],
        type_text: "a map of name to `{value}`, `{file}`, `{env}`, `{fd}` or `{ref}`, with `expose`",
        bounds: "at most 64; names as in `env` and not also in `env`; 1 byte to 64 KiB of UTF-8 each, no NUL; the final newline of a file or descriptor is cut; `expose` is `env` or `none`, `file` is UNSUPPORTED",
        default: "empty; `expose` is `env`",
        purpose: "Secrets of the run. They are in no event, status, recording or log line.",
        shape: Shape::Map,
        exposure: Exposure::Masked,
        ..HONOURED
    },
    Key {
        name: "profile",
        flags: &["profile"],
        bounds: "1 to 63 letters, digits, `-` and `_`; `none` is none",
        default: "none",
        purpose: "The named partial description that all other sources stand above.",
        ..HONOURED
    },
    Key {
        name: "labels",
        flags: &["label"],
        type_text: "a map of name to text",
        bounds: "at most 64; names of 1 to 63 characters, values of at most 256, no control characters",
        default: "empty",
        purpose: "Marks by which an orchestrator finds the run again.",
        shape: Shape::Map,
        ..HONOURED
    },
    Key {
        name: "timeout_seconds",
        flags: &["timeout"],
        type_text: "seconds, or text such as `10m`",
        bounds: "1 to 604,800 (7 days)",
        default: "600",
        purpose: "The deadline of the whole run.",
        ..HONOURED
    },
    Key {
        name: "idle_timeout_seconds",
        flags: &["idle-timeout"],
        type_text: "seconds, or text such as `10m`",
        bounds: "0 to 604,800; 0 is off",
        default: "0",
        purpose: "Ends the run when no event was recorded for so long.",
        ..HONOURED
    },
    Key {
        name: "grace_seconds",
        flags: &["grace"],
        type_text: "seconds, or text such as `10m`",
        bounds: "1 to 3,600",
        default: "8",
        purpose: "How long a stop may take in all before everything is killed.",
        ..HONOURED
    },
    Key {
        name: "stop_message_seconds",
        type_text: "seconds, or text such as `10s`",
        bounds: "0 to `grace_seconds`; 0 is off",
        default: "0",
        purpose: "How long the agent has to end by itself after a stop was told it on the descriptor in `STOCKADE_CONTROL_FD`, before SIGTERM; at most half of its time. See [tools](tools.md#to-hear-of-a-stop).",
        ..HONOURED
    },
    Key {
        name: "linger_seconds",
        flags: &["linger"],
        type_text: "seconds, or text such as `10m`",
        bounds: "0 to 3,600",
        default: "0",
        purpose: "How long the terminal status stays readable before the status API ends.",
        ..HONOURED
    },
    Key {
        name: "max_steps",
        flags: &["max-steps"],
        type_text: "an integer",
        bounds: "1 to 1,000,000",
        default: "50",
        purpose: "The most actions that an agent may take.",
        ..HONOURED
    },
    Key {
        name: "tty",
        flags: &["tty"],
        type_text: "a boolean",
        bounds: "true or false",
        default: "`false`",
        purpose: "Whether each launch gets a terminal of its own, with all its output on it; not with an adapter.",
        ..HONOURED
    },
    Key {
        name: "interactive",
        flags: &["interactive"],
        type_text: "a boolean",
        bounds: "true or false",
        default: "`false`",
        purpose: "Whether the workload reads what is typed or piped into the run; otherwise it reads nothing.",
        ..HONOURED
    },
    Key {
        name: "limits.output",
        flags: &["limit-output"],
        type_text: "bytes, or text such as `500MB` or `1GiB`",
        bounds: "1 KiB to 1 TiB",
        default: "1 GiB",
        purpose: "The most output of the command that is recorded; beyond it the run fails with BUDGET_EXCEEDED.",
        ..HONOURED
    },
    Key {
        name: "limits.memory",
        flags: &["memory"],
        type_text: "bytes, or text such as `512MiB` or `2GiB`",
        bounds: "16 MiB to 16 TiB; no more than an outer control group has",
        default: "2 GiB",
        purpose: "The memory of the workload, its files in `/tmp`, home, `/dev/shm` and `/output` included. A program that takes more is killed; if it is the command or agent itself, the run fails with OOM_KILLED.",
        ..HONOURED
    },
    Key {
        name: "limits.swap",
        flags: &["swap"],
        type_text: "bytes, or text such as `512MiB` or `2GiB`",
        bounds: "0 to 16 TiB",
        default: "0",
        purpose: "The swap of the workload, beside its memory.",
        ..HONOURED
    },
    Key {
        name: "limits.pids",
        flags: &["pids"],
        type_text: "an integer",
        bounds: "1 to 1,000,000",
        default: "1,024",
        purpose: "The processes and threads of the workload; beyond it the kernel refuses more (EAGAIN).",
        ..HONOURED
    },
    Key {
        name: "limits.cpus",
        flags: &["cpus"],
        type_text: "a number such as `1.5`",
        bounds: "0.01 to 1,024, at most three places",
        default: "all",
        purpose: "The processors of the workload: its share of their time, and so many of them, rounded up, that programs see.",
        ..HONOURED
    },
    Key {
        name: "limits.disk",
        flags: &["disk"],
        type_text: "bytes, or text such as `512MiB` or `2GiB`",
        bounds: "0 to 16 TiB; 0 is off",
        default: "0",
        purpose: "What the workload may write to the workspace and writable mounts: no file gets larger, and when all of them have grown by more, which is looked at every 2 s, the run fails with BUDGET_EXCEEDED.",
        ..HONOURED
    },
    Key {
        name: "network",
        flags: &["net"],
        type_text: "text, or a table `{allow}`",
        bounds: "`none`, `host`, `allow=RULE,RULE…` with at most 256 rules; `gateway` is UNSUPPORTED",
        default: "`none`; `host` when `isolation` is `none`",
        purpose: "What the workload reaches: nothing but its own loopback, all that the host reaches, or through a proxy what rules name.",
        ..HONOURED
    },
    Key {
        name: "isolation",
        flags: &["isolation"],
        bounds: "`best`, `full`, `container`, `none`, and names of layers, with commas between them and at most one tier",
        default: "`best`",
        purpose: "The isolation that the run requires; where a layer is missing the run fails before its command is started. `best` is the tier `full`, or `container` where the host refuses namespaces; `full` is that tier with all its layers; layers that are named must hold as well. With `none`, a `network` other than `host`, `workspace_mode = \"read-only\"`, `mounts`, `tmpfs`, `uid` and `gid` are refused, because nothing would enforce them.",
        ..HONOURED
    },
    Key {
        name: "preset",
        flags: &["preset"],
        bounds: "`default`, `nested`, `dev`, or a path with a slash in it of a TOML, YAML or JSON file",
        default: "`default`",
        purpose: "In what the sandbox is less strict, or shows more: see [presets](sandbox.md#presets). With `isolation = \"none\"` any but `default` is refused.",
        ..HONOURED
    },
    Key {
        name: "mounts",
        flags: &["mount"],
        type_text: "a list of `{source, target, access}` or `SOURCE[:TARGET][:ro|rw]`",
        bounds: "at most 64; `source` exists; `target` is absolute, without `..`, once, not `/` and not in `/proc`, `/sys`, `/dev`, `/output`; `access` is `read-only` or `read-write`",
        default: "empty; `target` is the source, `access` is `read-only`",
        purpose: "More files and directories of the host that the workload sees.",
        shape: Shape::List,
        ..HONOURED
    },
    Key {
        name: "ro",
        flags: &["ro"],
        type_text: "a list of `SOURCE[:TARGET]`",
        bounds: "as `mounts`, which they count as",
        default: "empty; the target is the source",
        purpose: "More files and directories of the host that the workload reads: a short form of `mounts`.",
        shape: Shape::List,
        ..HONOURED
    },
    Key {
        name: "rw",
        flags: &["rw"],
        type_text: "a list of `SOURCE[:TARGET]`",
        bounds: "as `mounts`, which they count as",
        default: "empty; the target is the source",
        purpose: "The same for those that it also writes.",
        shape: Shape::List,
        ..HONOURED
    },
    Key {
        name: "tmpfs",
        flags: &["tmpfs"],
        type_text: "a list of `TARGET[:SIZE]`",
        bounds: "at most 64; targets as those of `mounts`, and none of them also there; 64 KiB to 16 TiB; not without isolation",
        default: "empty; a size of 512 MiB",
        purpose: "Directories in memory, empty at first, that the workload may write. What they hold counts to `limits.memory`.",
        shape: Shape::List,
        ..HONOURED
    },
    Key {
        name: "uid",
        flags: &["uid"],
        type_text: "an integer",
        bounds: "0 to 4,294,967,294; not without isolation",
        default: "1000 when root starts the run, else the caller's",
        purpose: "The user id that the workload sees as its own. On the host it is an unprivileged one whatever is said here, and 0 gives no capability.",
        ..HONOURED
    },
    Key {
        name: "gid",
        flags: &["gid"],
        type_text: "an integer",
        bounds: "0 to 4,294,967,294; not without isolation",
        default: "as for `uid`",
        purpose: "The group id that the workload sees as its own.",
        ..HONOURED
    },
    Key {
        name: "services",
        type_text: "a list of `{name, command}` with `env`, `ready`, `restart`, `max_restarts`, `stop_signal`, `stop_grace_seconds`, `required`",
        bounds: "at most 16, each with a name of its own",
        default: "empty",
        purpose: "Programs that run beside the agent, in its sandbox: started before it in this order, each when the one before is ready, and stopped after it in the reverse order; see [services](#services).",
        shape: Shape::List,
        ..HONOURED
    },
    Key {
        name: "hooks.pre_stop",
        type_text: "a list of text",
        bounds: "1 to 4,096 arguments",
        default: "none",
        purpose: "A command that runs in the sandbox when a stop begins, before the agent is asked to end; see [hooks](#hooks).",
        shape: Shape::List,
        ..HONOURED
    },
    Key {
        name: "hooks.pre_stop_seconds",
        type_text: "seconds, or text such as `10s`",
        bounds: "1 to `grace_seconds`",
        default: "2",
        purpose: "How long it may take; then it is killed.",
        ..HONOURED
    },
    Key {
        name: "hooks.post_run",
        type_text: "a list of text",
        bounds: "1 to 4,096 arguments",
        default: "none",
        purpose: "A command that runs in the sandbox after the agent has ended, while services run; see [hooks](#hooks).",
        shape: Shape::List,
        ..HONOURED
    },
    Key {
        name: "hooks.post_run_seconds",
        type_text: "seconds, or text such as `10s`",
        bounds: "1 to `grace_seconds`",
        default: "2",
        purpose: "How long it may take; then it is killed.",
        ..HONOURED
    },
    Key {
        name: "guardrails.max_consecutive_errors",
        type_text: "an integer",
        bounds: "0 to 1,000,000, at most `max_steps`; 0 is off",
        default: "10",
        purpose: "The failed actions in a row that end the run, with GUARDRAIL_BLOCKED.",
        ..HONOURED
    },
    Key {
        name: "guardrails.stuck_cycle",
        alias: Some("guardrails.cycle_max_length"),
        type_text: "an integer",
        bounds: "0 to 3; 0 is off",
        default: "3",
        purpose: "The longest cycle of actions that stuck detection looks for; 1 is the same action alone.",
        ..HONOURED
    },
    Key {
        name: "guardrails.stuck_hint",
        type_text: "an integer",
        bounds: "0, or 2 to 1,000 and less than `guardrails.stuck_warn`; 0 is off",
        default: "3",
        purpose: "The rounds of a repetition that leave a hint.",
        ..HONOURED
    },
    Key {
        name: "guardrails.stuck_warn",
        type_text: "an integer",
        bounds: "0, or 2 to 1,000 and less than `guardrails.stuck_stop`; 0 is off",
        default: "5",
        purpose: "The rounds of a repetition that leave a warning.",
        ..HONOURED
    },
    Key {
        name: "guardrails.stuck_stop",
        type_text: "an integer",
        bounds: "0, or 2 to 1,000; times `guardrails.stuck_cycle` at most `max_steps`; 0 is off",
        default: "7",
        purpose: "The rounds of a repetition that end the run, with STUCK.",
        ..HONOURED
    },
    Key {
        name: "guardrails.blocked_domains",
        type_text: "a list of text",
        bounds: "at most 256 names without port; not with `network = \"host\"`",
        default: "empty",
        purpose: "Names that the workload never reaches, each with all that is below it, whatever `network` allows.",
        shape: Shape::List,
        ..HONOURED
    },
    Key {
        name: "recording.durability",
        flags: &["durability"],
        bounds: "`written`, `durable`",
        default: "`written`",
        purpose: "Whether readers may see an event before it is synced to disk.",
        ..HONOURED
    },
    Key {
        name: "recording.segment_bytes",
        type_text: "bytes, or text such as `64MiB`",
        bounds: "1 MiB to 16 GiB",
        default: "256 MiB",
        purpose: "The size at which a file of the action log is sealed.",
        ..HONOURED
    },
    Key {
        name: "recording.on_error",
        bounds: "`stop`, `continue`",
        default: "`stop`",
        purpose: "What the run does when the action log cannot be synced.",
        ..HONOURED
    },
    Key {
        name: "recording.on_full",
        bounds: "`pause`, `fail`",
        default: "`pause`",
        purpose: "What the run does when the disk of the recordings is full.",
        ..HONOURED
    },
    Key {
        name: "recording.terminal",
        type_text: "a boolean",
        bounds: "true or false",
        default: "`true`",
        purpose: "Whether `terminal.cast` is written.",
        ..HONOURED
    },
    Key {
        name: "recording.terminal_bytes",
        type_text: "bytes, or text such as `64MiB`",
        bounds: "64 KiB to 16 GiB",
        default: "64 MiB",
        purpose: "The size at which `terminal.cast` is cut.",
        ..HONOURED
    },
    Key {
        name: "recording.artifacts",
        flags: &["artifact"],
        type_text: "a list of text",
        bounds: "at most 64 patterns of at most 1,024 bytes; `*`, `?` and `**` have a meaning, brackets, braces and backslashes are refused",
        default: "empty",
        purpose: "Files of the workspace that are kept when the run ends, beside those in `STOCKADE_OUTPUT_DIR`.",
        shape: Shape::List,
        ..HONOURED
    },
    Key {
        name: "recording.artifact_files",
        type_text: "an integer",
        bounds: "0 to 10,000",
        default: "1,000",
        purpose: "The most files that are kept. With 0 nothing is, and there is no `STOCKADE_OUTPUT_DIR`.",
        ..HONOURED
    },
    Key {
        name: "recording.artifact_bytes",
        type_text: "bytes, or text such as `500MB` or `1GiB`",
        bounds: "1 KiB to 1 TiB",
        default: "64 MiB",
        purpose: "The largest file that is kept.",
        ..HONOURED
    },
    Key {
        name: "recording.artifact_total_bytes",
        type_text: "bytes, or text such as `500MB` or `1GiB`",
        bounds: "1 MiB to 1 TiB",
        default: "256 MiB",
        purpose: "The most bytes of all files that are kept, and the size of `STOCKADE_OUTPUT_DIR`, which is memory.",
        ..HONOURED
    },
    Key {
        name: "recording.artifact_secrets",
        bounds: "`withhold`, `flag`",
        default: "`withhold`",
        purpose: "What happens to a file in which a secret is found: it is not kept, or it is kept and the record says so.",
        ..HONOURED
    },
    Key {
        name: "output_schema",
        flags: &["output-schema"],
        type_text: "a JSON schema, or the path of a file with one",
        bounds: "at most 256 KiB; draft 2020-12 or 07; references lead into the schema itself",
        default: "none: any result",
        purpose: "The form of the result. A run that would complete without a result of this form fails with OUTPUT_INVALID.",
        ..HONOURED
    },
    Key {
        name: "output_file",
        flags: &["output-file"],
        type_text: "a path below the workspace",
        bounds: "1 to 32 parts, none of them `.` or `..`; at most 1,024 bytes; not with a read-only workspace",
        default: "none: what the agent reports, else the last JSON line of standard output",
        purpose: "The JSON file that the run writes its result to, at most 1 MiB. Without it the run fails with OUTPUT_INVALID.",
        ..HONOURED
    },
    Key {
        name: "browser.display_width",
        type_text: "an integer",
        purpose: "The width of the browser's display, in pixels.",
        ..UNSUPPORTED
    },
    Key {
        name: "browser.display_height",
        type_text: "an integer",
        purpose: "The height of the browser's display, in pixels.",
        ..UNSUPPORTED
    },
    Key {
        name: "browser.start_url",
        purpose: "The first page of the browser.",
        ..UNSUPPORTED
    },
    Key {
        name: "browser.proxy",
        purpose: "The proxy of the browser.",
        exposure: Exposure::Masked,
        ..UNSUPPORTED
    },
    Key {
        name: "webhook",
        purpose: "A URL that is told of the end of the run.",
        exposure: Exposure::Masked,
        ..UNSUPPORTED
    },
];
