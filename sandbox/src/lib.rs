//! Confines a process tree and launches into it: `Policy -> plan -> Sandbox -> launch* -> report`.
//!
//! Owns namespaces, the private root, the in-sandbox init and the launches. Never decides what the policy is, never
//! writes a log, and has neither threads nor an async runtime. Invariant: what [`Sandbox::enforced`] names was done, and
//! nothing that was launched outlives the [`Helper`].
//!
//! ```text
//!   supervisor --exec--> launch helper --clone--> in-sandbox init --fork, exec--> launches
//!       |                     ^                        ^
//!       |--- build, destroy --+                        |
//!       +--- launch, signal, kill; reports <-----------+
//! ```

#[cfg(not(target_os = "linux"))]
compile_error!("stockade-sandbox confines with Linux namespaces and builds on Linux only");

mod beneath;
mod caller;
mod cgroup;
mod confine;
mod domain;
mod ending;
mod failure;
mod filter;
mod helper;
mod host_mount;
mod identity;
mod init;
mod launch;
mod layer;
mod limit;
mod marked;
mod pausing;
mod plan;
mod policy;
mod preset;
mod probe;
mod process_table;
mod protocol;
mod root;
mod sandbox;
mod survey;
mod sweep;
mod sys;
mod taken;
mod terminal;
mod text;
mod wire;

pub use cgroup::{
    EnforcedLimit, GROUP_PREFIX, GroupReading, LimitKind, Means, Surroundings,
    kill_recorded_groups, remove_recorded_groups, remove_stale_groups,
};
pub use confine::HOST_NAME;
pub use failure::{Failure, Step};
pub use filter::{Call, CallGroup, Check, DENIALS, Denial, HIGHEST_CALL};
pub use helper::{BestError, BuildError, DestroyError, Helper, OwnSandbox, helper_main};
pub use identity::{FIRST_HOST_ID, NARROW_HOST_ID, SANDBOX_ID};
pub use init::MAX_UNREPORTED_LAUNCHES;
pub use launch::{HIGHEST_EXTRA, Launch, LaunchError, MAX_EXTRA};
pub use layer::{Enforced, Layer, MissingLayer, Tier};
pub use marked::kill_marked;
pub use pausing::PauseMeans;
pub use plan::{Plan, PlanError, resolve};
pub use policy::{
    Access, Bind, DEFAULT_TMP_BYTES, HOME, Isolation, Landlock, Limits, Movable, Network, OUTPUT,
    PROXY_ADDRESS, Policy, Proc, SCRATCH_DIRECTORIES, Tmpfs, Workspace,
};
pub use preset::{PRESETS, PresetFile};
pub use probe::{MAX_ANSWER_BYTES, MAX_SEEN_BYTES, Probe, Seen};
pub use protocol::{Destruction, End, LaunchId, Overlay, Report, Target};
pub use sandbox::{KillError, Sandbox};
pub use survey::{Finding, Refusal, Trial, survey};
pub use sweep::{KillReport, MAX_REPORTED_NAMES};
pub use taken::Taken;
pub use terminal::{Terminal, TerminalSize};
