//! The commands that ask about recordings, and what they answer.

use std::path::Path;
#[cfg(feature = "operator")]
use std::process::Child;
use std::process::{Command, Output, Stdio};

use super::run::binary;

/// The binary, asked about the recordings of a run.
pub fn asked(recordings: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .arg("--recordings")
        .arg(recordings)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A command that was started; ended by SIGKILL when it is dropped before its end.
#[cfg(feature = "operator")]
pub struct Asked(pub Child);

#[cfg(feature = "operator")]
impl Drop for Asked {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

/// Its exit code, stdout and stderr.
pub fn ask(recordings: &Path, arguments: &[&str]) -> (i32, String, String) {
    told(&asked(recordings, arguments).output().unwrap())
}

fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr),
    )
}
