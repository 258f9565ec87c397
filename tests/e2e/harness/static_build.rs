//! The static build of the binary, which runs on any image.

use std::path::{Path, PathBuf};

use super::need::skip;

/// Variable with the path of a static build.
const NAMED: &str = "STOCKADE_TEST_STATIC";

/// A static build: the one that is named, else what the commands of docs/operations.md built. Where there is none the test is
/// skipped aloud.
pub fn static_build() -> Option<PathBuf> {
    let named = std::env::var_os(NAMED).map(PathBuf::from);
    let built = || {
        // The binary under test is target/PROFILE/stockade.
        let target = super::run::binary().ancestors().nth(2)?;
        let triple = target.join("x86_64-unknown-linux-gnu");
        let profiles = ["sandbox", "release", "debug"];
        let mut paths = profiles
            .iter()
            .map(|profile| triple.join(profile).join("stockade"));
        paths.find(|path| Path::exists(path))
    };
    let found = named.or_else(built);
    if found.is_none() {
        skip(
            "no static build: cargo build --config .cargo/static.toml --profile sandbox --no-default-features",
        );
    }
    found
}
