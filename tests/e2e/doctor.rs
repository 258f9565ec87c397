//! `stockade doctor` on this host, and on hosts that refuse something.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::asked::ask;
use crate::harness::need::need;
use crate::harness::run::{RunBuilder, binary};

fn doctor(arguments: &[&str]) -> (i32, Value) {
    let place = tempfile::tempdir().unwrap();
    doctor_of(&place.path().join("records"), arguments)
}

fn doctor_of(recordings: &Path, arguments: &[&str]) -> (i32, Value) {
    let all = [&["doctor", "--json"], arguments].concat();
    let (code, stdout, stderr) = ask(recordings, &all);
    let answer = serde_json::from_str(&stdout);
    (
        code,
        answer.unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}")),
    )
}

/// The trials that were refused, with call and errno.
fn refused(examination: &Value) -> Vec<(String, String, i64)> {
    let trials = examination["trials"].as_array().unwrap();
    let refused = trials.iter().filter(|trial| !trial["refusal"].is_null());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let parts = refused.map(|trial| {
        let refusal = &trial["refusal"];
        let errno = refusal["errno"].as_i64().unwrap();
        (text(&trial["trial"]), text(&refusal["call"]), errno)
    });
    parts.collect()
}

#[test]
fn what_the_doctor_promises_is_what_a_run_gets() {
    let (code, examination) = doctor(&[]);
    assert_eq!(code, 0, "{examination}");
    assert_eq!(examination["holds"], true);
    let promised = &examination["sandbox"]["enforced"];
    let run = RunBuilder::sh("true").finish();
    let kept = run.recording.status();
    assert_eq!(promised["tier"], kept["isolation"]["enforced"]);
    assert_eq!(promised["layers"], kept["isolation"]["layers"]);
    assert_eq!(promised["landlock_abi"], kept["isolation"]["landlock_abi"]);
    let storage = &examination["recordings"];
    assert!(
        storage["sync_ms"].is_number() && storage["error"].is_null(),
        "{storage}"
    );
}

#[test]
fn a_layer_that_is_asked_for_and_not_there_is_told_by_the_exit_code() {
    // The preset leaves Landlock off, so that it cannot be had.
    let (code, examination) = doctor(&["--preset", "nested", "--isolation", "landlock"]);
    assert_eq!((code, &examination["holds"]), (1, &Value::Bool(false)));
    let reason = examination["sandbox"]["refused"]["reason"]
        .as_str()
        .unwrap();
    assert!(reason.contains("the layer landlock is missing"), "{reason}");
    // The host itself allows it.
    let names: Vec<_> = refused(&examination).into_iter().map(|one| one.0).collect();
    assert!(!names.contains(&"landlock".to_owned()), "{names:?}");
}

#[test]
fn a_host_without_user_namespaces_is_told_by_call_errno_and_switch() {
    let Some(unshare) = need("unshare") else {
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let doctor = format!(
        "echo 0 > /proc/sys/user/max_user_namespaces && exec {} doctor --json --isolation full --recordings {}",
        binary().display(),
        place.path().join("records").display()
    );
    let output = Command::new(unshare)
        .args(["--user", "--map-root-user", "sh", "-c", &doctor])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let examination: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = refused(&examination);
    let enospc = i64::from(nix::libc::ENOSPC);
    let expected = (
        "user-namespace".to_owned(),
        "unshare(CLONE_NEWUSER)".to_owned(),
        enospc,
    );
    assert_eq!(found[0], expected);
    // All that needs a user namespace stops at the same call; the rest does not.
    assert!(
        found
            .iter()
            .all(|one| one.2 == enospc || one.0 == "other-id"),
        "{found:?}"
    );
    assert!(
        !found
            .iter()
            .any(|one| one.0 == "landlock" || one.0 == "seccomp")
    );
    let change = examination["advice"][0]["change"].as_str().unwrap();
    assert_eq!(change, "sysctl -w user.max_user_namespaces=15000");
}

#[test]
fn a_port_that_is_taken_and_a_place_that_cannot_be_written_are_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (_, examination) = doctor_of(Path::new("/proc/records"), &["--listen", &address]);
    let whys: Vec<_> = examination["advice"]
        .as_array()
        .unwrap()
        .iter()
        .map(|advice| advice["why"].as_str().unwrap().to_owned())
        .collect();
    assert!(whys.iter().any(|why| why.contains(&address)), "{whys:?}");
    assert!(
        whys.iter()
            .any(|why| why.contains("recordings cannot be written")),
        "{whys:?}"
    );
}

#[test]
fn the_page_for_people_says_the_same_without_colours() {
    let place = tempfile::tempdir().unwrap();
    let (code, stdout, _) = ask(&place.path().join("records"), &["doctor"]);
    assert_eq!(code, 0);
    assert!(!stdout.contains('\u{1b}'));
    for word in [
        "stockade ",
        "sandbox ",
        "  holds ",
        "this host ",
        "recordings ",
    ] {
        assert!(stdout.contains(word), "{word}: {stdout}");
    }
    assert!(
        stdout
            .trim_end()
            .ends_with("A run with these flags gets its sandbox.")
    );
}
