//! Row "size": the static, stripped binaries, the whole one and the one for sandboxes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::report::{Figure, Report, Row, Target, Unit};
use crate::scale::Scale;

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// The static builds that are there.
pub(crate) struct StaticBinaries {
    /// The default features.
    pub(crate) whole: Option<PathBuf>,
    /// Built for size and without default features: what goes into sandboxes and images.
    pub(crate) sandbox: Option<PathBuf>,
}

/// Builds the static binaries (the full run only), as `.ci/run` does, and gives their paths.
pub(crate) fn static_binaries(
    report: &mut Report,
    scale: &Scale,
    stockade: &Path,
) -> StaticBinaries {
    let target = stockade
        .parent()
        .and_then(Path::parent)
        .expect("a target directory");
    let mut binary = |profile: &str, flags: &[&str]| {
        if scale.is_full {
            build(target, &[&["--profile", profile], flags].concat());
        }
        let path = target.join(TRIPLE).join(profile).join("stockade");
        if path.is_file() {
            return Some(path);
        }
        report.absent(format!(
            "static binary of the profile {profile}: not built yet; the full run builds it"
        ));
        None
    };
    StaticBinaries {
        sandbox: binary("sandbox", &["--no-default-features"]),
        whole: binary("release", &[]),
    }
}

fn build(target: &Path, flags: &[&str]) {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--config", ".cargo/static.toml", "--quiet"])
        .args(["--bin", "stockade"])
        .args(flags)
        .env_remove("RUSTFLAGS")
        .env("CARGO_TARGET_DIR", target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null());
    let mut build = cargo.spawn().expect("start cargo");
    assert!(
        build.wait().expect("its end").success(),
        "the static build failed: {flags:?}"
    );
}

pub(crate) fn run(report: &mut Report, binaries: &StaticBinaries) {
    let mut push = |path: &Option<PathBuf>, name: &str, max_megabytes: f64| {
        let Some(path) = path else { return };
        let n_bytes = std::fs::metadata(path).expect("a file").len();
        let ours = Figure {
            value: n_bytes as f64 / 1e6,
            unit: Unit::Megabytes,
        };
        report.push(Row::new("size", name, ours).target(Target::AtMost(max_megabytes)));
    };
    push(
        &binaries.sandbox,
        "static binary for sandboxes, stripped",
        6.0,
    );
    push(&binaries.whole, "static binary, whole, stripped", 15.0);
}
