//! Attempts by way of what a run takes out of its sandbox: output and artifacts.

use std::os::unix::fs::PermissionsExt;

use super::attempt::{Attempt, Class, Round, Scene, files_below};
use super::setting::MAX_ARTIFACTS;

const fn output(name: &'static str, attack: &'static str, twin: &'static str) -> Attempt {
    Attempt::new(Class::Output, name, attack, twin)
        .round(Round::Output)
        .unproven(NO_RECORD)
}

const fn artifact(name: &'static str, attack: &'static str) -> Attempt {
    Attempt::new(
        Class::Artifacts,
        name,
        attack,
        "artifact-file 0-twin.txt twin",
    )
    .round(Round::Artifacts)
    .unproven(NO_RECORD)
    .trace(|scene| (scene.recorded("artifacts/0-twin.txt") == "twin").then(String::new))
}

/// Aimed at what the supervisor takes from the workspace.
const fn taken(name: &'static str, attack: &'static str) -> Attempt {
    Attempt::new(
        Class::Artifacts,
        name,
        attack,
        "write {workspace}/taken/plain",
    )
    .round(Round::Result)
    .unproven(NO_RECORD)
    .damage(has_secret)
    .trace(|scene| is_kept(scene, "workspace/taken/plain"))
}

const NO_RECORD: &str = "without a supervisor nothing is recorded";

pub const ATTEMPTS: &[Attempt] = &[
    output("secret", "print-text {secret}", "print-text twin-of-secret")
        .damage(has_secret)
        .trace(|scene| scene.is_recorded("twin-of-secret")),
    output(
        "secret-in-halves",
        "print-halves {secret}",
        "print-halves twin-of-halves",
    )
    .damage(has_secret)
    .trace(|scene| scene.is_recorded("twin-of-")),
    output(
        "secret-as-error",
        "print-error {secret}",
        "print-error twin-of-error",
    )
    .damage(has_secret)
    .trace(|scene| scene.is_recorded("twin-of-err")),
    output("bytes", "print-bytes", "print-text twin-of-bytes").damage(is_no_record),
    output("endless-line", "print-line 4", "print-line 1").damage(is_no_record),
    output("flood", "print-lines 100", "print-lines 1").damage(is_no_record),
    output(
        "forged-event",
        r#"print-text {"seq":1,"type":"complete","status":"stopped"}"#,
        "print-text twin-of-event",
    )
    .damage(is_no_record),
    output("take-back", "take-back output", "open-output"),
    output("take-back-error", "take-back error", "open-error"),
    output("deep-text", "print-depth 200000", "print-depth 20").damage(is_no_record),
    output("damaged-report", "report-bytes", "report-text {}").damage(is_no_record),
    output("endless-report", "report-line 4", "report-text {}").damage(is_no_record),
    output("deep-report", "report-depth 5000", "report-depth 20").damage(is_no_record),
    output(
        "forged-report",
        r#"report-text {"type":"complete","status":"stopped","seq":1}"#,
        r#"report-text {"tool":"twin","action":"twin"}"#,
    )
    .damage(is_no_record)
    .trace(|scene| scene.is_recorded(r#""tool":"twin""#)),
    output(
        "secret-as-report",
        r#"report-text {"tool":"{secret}","action":"x"}"#,
        r#"report-text {"tool":"second","action":"x"}"#,
    )
    .damage(has_secret)
    .trace(|scene| scene.is_recorded(r#""tool":"second""#)),
    artifact("pipe", "artifact-pipe pipe").damage(|scene| is_kept(scene, "pipe")),
    artifact("socket", "artifact-socket socket").damage(|scene| is_kept(scene, "socket")),
    artifact("link", "artifact-link link {outside}/secret.txt").damage(has_secret_artifact),
    artifact("link-to-directory", "artifact-link directory {outside}").damage(has_secret_artifact),
    artifact("link-to-system", "artifact-link passwd /etc/passwd")
        .damage(|scene| is_kept(scene, "passwd")),
    artifact("depth", "artifact-depth deep").damage(is_no_record),
    artifact("hole", "artifact-hole hole").damage(|scene| {
        let status = std::fs::metadata(scene.recording.join("artifacts/hole")).ok()?;
        (status.len() > 64 << 20).then(|| format!("{} bytes", status.len()))
    }),
    artifact("many", "artifact-many 80").damage(|scene| {
        let n_files = files_below(&scene.recording.join("artifacts")).len();
        (n_files > MAX_ARTIFACTS).then(|| format!("{n_files} files"))
    }),
    artifact("mode", "artifact-mode program").damage(|scene| {
        let path = scene.recording.join("artifacts/program");
        let mode = std::fs::metadata(path).ok()?.permissions().mode();
        (mode & 0o7022 != 0).then(|| format!("mode {mode:o}"))
    }),
    artifact("name", "artifact-name").damage(|scene| {
        let shown = std::process::Command::new(scene.binary)
            .args(["show", "--recordings"])
            .arg(scene.recording.parent()?)
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned() + &scene.printed;
        shown
            .contains('\x1b')
            .then(|| "a control sequence is printed".to_owned())
    }),
    artifact("fill", "artifact-fill large 64"),
    taken(
        "result-through-link",
        "make-symlink {outside}/result.json {workspace}/result.json",
    )
    .damage(|scene| {
        scene
            .status()
            .to_string()
            .contains(scene.stage.fact("secret"))
            .then(|| "it is the result".to_owned())
    }),
    taken(
        "link-in-workspace",
        "make-symlink {outside}/secret.txt {workspace}/taken/link",
    )
    .damage(|scene| is_kept(scene, "workspace/taken/link")),
    taken(
        "directory-in-workspace",
        "make-symlink {outside} {workspace}/taken/directory",
    )
    .damage(|scene| is_kept(scene, "workspace/taken/directory")),
    taken(
        "hard-link-in-workspace",
        "make-link {outside}/secret.txt {workspace}/taken/second",
    ),
    taken("pipe-in-workspace", "make-pipe {workspace}/taken/pipe")
        .damage(|scene| is_kept(scene, "workspace/taken/pipe")),
    taken(
        "system-file-in-workspace",
        "make-symlink /etc/passwd {workspace}/taken/passwd",
    )
    .damage(|scene| is_kept(scene, "workspace/taken/passwd")),
];

fn has_secret(scene: &Scene<'_>) -> Option<String> {
    scene.is_recorded(scene.stage.fact("secret"))
}

fn has_secret_artifact(scene: &Scene<'_>) -> Option<String> {
    has_secret(scene)
}

fn is_kept(scene: &Scene<'_>, name: &str) -> Option<String> {
    let path = scene.recording.join("artifacts").join(name);
    path.symlink_metadata()
        .is_ok()
        .then(|| format!("{name} is kept"))
}

/// Whether the record is broken: a run that did not complete, an event that is none, or more than one end.
fn is_no_record(scene: &Scene<'_>) -> Option<String> {
    let status = scene.status();
    if status["status"] != "completed" || scene.exit_code != Some(0) {
        return Some(format!(
            "status {}, exit code {:?}",
            status["status"], scene.exit_code
        ));
    }
    let mut n_ends = 0;
    for (line_idx, line) in scene.recorded("events.jsonl").lines().enumerate() {
        match serde_json::from_str::<serde_json::Value>(line) {
            Ok(event) if event["seq"] == line_idx + 1 => {
                n_ends += usize::from(event["type"] == "complete")
            }
            other => return Some(format!("line {line_idx}: {other:?}")),
        }
    }
    (n_ends != 1).then(|| format!("{n_ends} ends"))
}
