//! Row "size": the static, stripped binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::report::{Figure, Report, Row, Target, Unit};
use crate::scale::Scale;

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Builds the static binary (the full run only) and gives its path, if it is there.
pub(crate) fn static_binary(
    report: &mut Report,
    scale: &Scale,
    stockade: &Path,
) -> Option<PathBuf> {
    let target = stockade.parent()?.parent()?;
    let path = target.join(TRIPLE).join("release").join("stockade");
    if scale.is_full {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args([
                "build",
                "--release",
                "--quiet",
                "--bin",
                "stockade",
                "--target",
                TRIPLE,
            ])
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .env("CARGO_TARGET_DIR", target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null());
        let mut build = cargo.spawn().expect("start cargo");
        assert!(
            build.wait().expect("its end").success(),
            "the static build failed"
        );
    }
    if !path.is_file() {
        report.absent("static binary: not built yet; the full run builds it");
        return None;
    }
    Some(path)
}

pub(crate) fn run(report: &mut Report, path: &Path) {
    let n_bytes = std::fs::metadata(path).expect("a file").len();
    let ours = Figure {
        value: n_bytes as f64 / 1e6,
        unit: Unit::Megabytes,
    };
    report.push(Row::new("size", "static, stripped binary", ours).target(Target::AtMost(6.0)));
}
