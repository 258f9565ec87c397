//! Names of what stands in the store and in the directory of a run.
//!
//! One table, so that a name is spelled once; it does no input or output.

/// Store: directory for what belongs to no run. It cannot be a run id, for it starts with a dot.
pub const STORE_INTERNAL: &str = ".stockade";
/// Store-internal: prefix of a run's directory that is being removed.
pub const TRASH_PREFIX: &str = "trash-";
/// Store-internal: directory with one file for each run that retention must leave alone.
pub const PINS: &str = "pins";
/// Store-internal: directory with one file for each idempotency key.
pub const IDEMPOTENCY: &str = "idempotency";
/// Store-internal: the token that the control plane minted.
pub const TOKEN: &str = "token";

/// The key from which a control plane makes the tokens of its runs in containers; in [`STORE_INTERNAL`].
pub const ENGINE_KEY: &str = "engine-key";
/// Run: who created it, and the description without its secrets.
pub const SPEC: &str = "spec.json";
/// Run: the one supervisor that the run has in its life.
pub const CLAIM: &str = "claim.json";
/// Run: the file whose flock(2) means that somebody works in the directory.
pub const LOCK: &str = "run.lock";
/// Run: the active file of the action log.
pub const EVENTS: &str = "events.jsonl";
/// Run: bytes that were cut from a torn tail.
pub const EVENTS_TORN: &str = "events.torn";
/// Run: the status document.
pub const STATUS: &str = "status.json";
/// Run: the durable intent to stop.
pub const STOP: &str = "stop.json";
/// Run: list of the artifacts.
pub const MANIFEST: &str = "manifest.json";
/// Run: path of the output directory on the host, while a run without a mount namespace has one.
pub const OUTPUT_PATH: &str = ".output";
/// Run: directory of the artifacts.
pub const ARTIFACTS: &str = "artifacts";
/// Run: the terminal recording.
pub const TERMINAL_CAST: &str = "terminal.cast";
