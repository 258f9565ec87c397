//! The flags of what a command finds in its sandbox.
//!
//! It owns those that `run`, `doctor` and `exec` have alike. Never checks a value: that is the description's validator.

/// What a command finds in its sandbox: files, environment, ids, layers.
#[expect(
    missing_debug_implementations,
    reason = "the values of --env may be secrets"
)]
#[derive(clap::Args, Default, Clone)]
pub struct SandboxFlags {
    /// Work in DIR [default: the current directory]
    #[arg(long, value_name = "DIR", help_heading = "What the workload sees")]
    pub workspace: Option<String>,

    /// Show a file or directory of the host read-only; may be repeated
    #[arg(
        long,
        value_name = "SOURCE[:TARGET]",
        help_heading = "What the workload sees"
    )]
    pub ro: Vec<String>,

    /// The same, and let the workload write it; may be repeated
    #[arg(
        long,
        value_name = "SOURCE[:TARGET]",
        help_heading = "What the workload sees"
    )]
    pub rw: Vec<String>,

    /// Make a directory in memory, of 512MiB unless a size is said; may be repeated
    #[arg(
        long,
        value_name = "TARGET[:SIZE]",
        help_heading = "What the workload sees"
    )]
    pub tmpfs: Vec<String>,

    /// Begin in DIR of the sandbox [default: the workspace]
    #[arg(long, value_name = "DIR", help_heading = "What the workload sees")]
    pub chdir: Option<String>,

    /// Show the workload this user id as its own [default: 1000 for root, else the caller's]
    #[arg(long, value_name = "ID", help_heading = "What the workload sees")]
    pub uid: Option<String>,

    /// Show the workload this group id as its own [default: as --uid]
    #[arg(long, value_name = "ID", help_heading = "What the workload sees")]
    pub gid: Option<String>,

    /// Set an environment variable; may be repeated
    #[arg(
        long,
        visible_alias = "setenv",
        value_name = "NAME=VALUE",
        help_heading = "What the workload sees"
    )]
    pub env: Vec<String>,

    /// Copy an environment variable from the caller; may be repeated
    #[arg(long, value_name = "NAME", help_heading = "What the workload sees")]
    pub env_from: Vec<String>,

    /// Require isolation: full, container, best of the two, layers by name, or none to run unconfined [default: best]
    #[arg(
        long,
        value_name = "TIER|LAYERS",
        help_heading = "What the workload sees"
    )]
    pub isolation: Option<String>,

    /// Take a preset: default, nested for programs with a sandbox of their own, dev, or a file
    #[arg(
        long,
        value_name = "NAME|FILE",
        help_heading = "What the workload sees"
    )]
    pub preset: Option<String>,
}
