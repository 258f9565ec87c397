//! What is attacked, and whether that happens in a container.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where programs are in a container that this program starts itself in.
const INSIDE: &str = "/attacks";

/// The binary under attack: the one that `STOCKADE_TEST_BINARY` names, else that of this build.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let named = std::env::var_os("STOCKADE_TEST_BINARY");
        named.map_or_else(|| env!("CARGO_BIN_EXE_stockade").into(), PathBuf::from)
    })
}

/// The probe that was built outside, in such a container.
pub fn probe_inside() -> Option<PathBuf> {
    let probe = Path::new(INSIDE).join("probe");
    probe.is_file().then_some(probe)
}

/// Flags of the engine by which a container has this program, the binary and the probe.
pub fn flags_of_container(probe: &Path) -> Vec<String> {
    let own = std::env::current_exe().unwrap();
    let shown = |from: &Path, name: &str| format!("--volume={}:{INSIDE}/{name}:ro", from.display());
    vec![
        "--volume=/usr:/usr:ro".to_owned(),
        shown(&own, "attacks"),
        shown(&binary().canonicalize().unwrap(), "stockade"),
        shown(probe, "probe"),
        format!("--env=STOCKADE_TEST_BINARY={INSIDE}/stockade"),
        "--env=PATH=/usr/bin:/bin".to_owned(),
    ]
}

/// This program, as a container has it.
pub fn command_inside() -> String {
    format!("{INSIDE}/attacks")
}
