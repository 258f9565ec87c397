//! Skipping aloud.

use std::io::Write;
use std::path::PathBuf;

/// Finds a tool in PATH. Without it the test prints why it is skipped and gets none; with `STOCKADE_TEST_REQUIRE=all` it
/// fails. The count of the lines `SKIPPED` on stderr is the number of skips.
pub fn need(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join(tool))
        .find(|candidate| candidate.is_file());
    if found.is_none() {
        skip(&format!("{tool} is not installed"));
    }
    found
}

/// Says aloud that the test is skipped, or fails where no skip is allowed.
pub fn skip(why: &str) {
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    assert!(
        std::env::var_os("STOCKADE_TEST_REQUIRE").is_none_or(|all| all != "all"),
        "{test}: {why}, and no skip is allowed"
    );
    // Past the capture of the test harness, so that it is seen in every run.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}
