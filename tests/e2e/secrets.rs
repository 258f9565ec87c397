//! Secrets: declared values are found in no event, status, recording, artifact, log line or standard stream.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::harness::{RunBuilder, until};
use crate::process_table;

/// Plain, and one with everything that JSON and URLs escape.
const SECRETS: [(&str, &str); 2] = [
    ("API_KEY", "correct-horse-battery-staple"),
    ("DB_PASSWORD", "p\"a\\s/s w\u{f6}rd&=+%0123"),
];

/// SEED, regression 18: a password that a tool typed stood in the stream, in the status and in the logs.
#[test]
fn regression_18_secrets_are_found_nowhere() {
    // Each of the script's lines is another way out.
    let script = r#"
        key=$1 escaped=$2 base64=$3 url=$4
        for field in tool action input_summary result_text error call_id parent_call_id; do
            echo "{\"tool\":\"t\",\"$field\":\"a $escaped z\"}"
        done
        for type in message thought log unknown; do
            echo "{\"type\":\"$type\",\"text\":\"$escaped\",\"message\":\"$escaped\"}"
        done
        echo "{\"type\":\"action.started\",\"call_id\":\"open\",\"tool\":\"$escaped\"}"
        printf '%s' "{\"tool\":\"long\",\"result_text\":\""
        printf '%20000s' x
        echo "$escaped\"}"
        echo "plain $key and $base64 and $url"
        echo "{ broken $escaped"
        echo "on stderr $key $base64" >&2
        echo "{\"tool\":\"$escaped\"}" >&3
        # Split over writes, further apart than a partial line is held back.
        printf '%s' "split ${key%????????}" >&2
        sleep 0.3
        echo "${key#"${key%????????}"} end" >&2
        echo "{\"type\":\"result\",\"result\":\"$escaped\",\"data\":{\"$escaped\":[\"$escaped\"]}}"
        exit 3
    "#;
    for (name, secret) in SECRETS {
        let escaped = serde_json::to_string(secret).unwrap();
        let escaped = &escaped[1..escaped.len() - 1];
        let forms = [
            secret.to_owned(),
            escaped.to_owned(),
            base64(secret.as_bytes()),
            url_encoded(secret),
        ];
        for adapter in ["none", "jsonl"] {
            let mut command: Vec<String> = ["sh", "-c", script, "sh"].map(str::to_owned).into();
            command.extend(forms.iter().cloned());
            let run = RunBuilder::new(command)
                .flag(format!("--adapter={adapter}"))
                .flag("--log-level=trace")
                .flag(format!("--credential={name}=env:GIVEN"))
                .flag(format!("--task=use {} and {}", forms[0], forms[2]))
                .flag(format!("--label=note=it is {}", forms[0]))
                .flag(format!("--env=COPY={}", forms[3]))
                .env("GIVEN", secret)
                .finish();
            let what = format!("{name} with adapter {adapter}");
            for form in &forms {
                assert_absent(form, "standard output", run.stdout.as_bytes(), &what);
                assert_absent(form, "standard error", run.stderr.as_bytes(), &what);
                for file in files_below(run.recording.path()) {
                    let content = std::fs::read(&file).unwrap();
                    assert_absent(form, &file.display().to_string(), &content, &what);
                }
            }
            // The rest of the text is there: it was replaced, not dropped.
            assert!(run.stdout.contains("plain "), "{what}: {}", run.stdout);
            assert!(run.stderr.contains(" end"), "{what}: {}", run.stderr);
            run.recording.assert_whole();
        }
    }
}

/// A credential reaches the workload, or there would be nothing to hide.
#[test]
fn a_credential_is_in_the_environment_of_the_workload() {
    let (name, secret) = SECRETS[0];
    let run = RunBuilder::sh("printf %s \"$API_KEY\" | sha256sum | cut -c 1-64")
        .flag(format!("--credential={name}=env:GIVEN"))
        .env("GIVEN", secret)
        .finish();
    let expected: String = Sha256::digest(secret)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(run.stdout.trim(), expected);
}

/// The environments of guardian, supervisor, helper and init, of which only root may read the first three, and of the
/// workload, which gets what is declared for it and nothing else.
#[test]
fn a_secret_is_in_no_environment_but_that_of_the_workload() {
    let credentials = r#"{"SHOWN": {"env": "GIVEN"}, "HIDDEN": {"value": "hidden-battery-staple", "expose": "none"}}"#;
    let run = RunBuilder::sh("echo hidden-battery-staple; exec sleep 60")
        .env("GIVEN", SECRETS[0].1)
        .env("STOCKADE_CREDENTIALS", credentials)
        .env("STOCKADE_TOKEN", "token-of-twenty-four-let")
        .start();
    run.until_stdout("[redacted:HIDDEN]");
    let workload = until("the workload is its last program", || {
        let processes = family(run.guardian_pid());
        let is_workload = |pid: &i32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim() == "sleep")
        };
        processes.into_iter().find(is_workload)
    });
    let processes = family(run.guardian_pid());
    // Guardian, supervisor, helper, init, workload.
    assert!(processes.len() >= 5, "{processes:?}");
    let environ = |pid: i32| std::fs::read(format!("/proc/{pid}/environ"));
    let has = |environment: &[u8], text: &str| {
        environment
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    let secrets = [
        SECRETS[0].1,
        "hidden-battery-staple",
        "token-of-twenty-four-let",
    ];
    let mut n_read = 0;
    for pid in processes.into_iter().filter(|pid| *pid != workload) {
        // The processes of the supervisor are not dumpable: for anybody but root these files are closed (proc(5)).
        let Ok(environment) = environ(pid) else {
            continue;
        };
        n_read += 1;
        for secret in secrets {
            assert!(
                !has(&environment, secret),
                "{secret} is in /proc/{pid}/environ"
            );
        }
    }
    if nix::unistd::geteuid().is_root() {
        assert!(n_read >= 4, "only {n_read} environments were read");
    }
    let of_workload = environ(workload).unwrap();
    assert!(has(&of_workload, "SHOWN=correct-horse-battery-staple"));
    for absent in ["HIDDEN", "GIVEN", secrets[1], secrets[2]] {
        assert!(!has(&of_workload, absent), "{absent} is in the workload");
    }
    run.signal(nix::sys::signal::Signal::SIGTERM);
    let finished = run.finish();
    assert!(
        !finished.stdout.contains("hidden-battery"),
        "{}",
        finished.stdout
    );
}

/// A process and all that descend from it.
fn family(guardian: i32) -> Vec<i32> {
    let mut family = vec![guardian];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(
            process_table::children(parent)
                .iter()
                .map(|child| child.pid),
        );
        next += 1;
    }
    family
}

fn assert_absent(secret: &str, place: &str, content: &[u8], what: &str) {
    let found = content
        .windows(secret.len())
        .position(|window| window == secret.as_bytes());
    if let Some(at) = found {
        let from = at.saturating_sub(200);
        let around = String::from_utf8_lossy(&content[from..content.len().min(at + 200)]);
        panic!("{what}: {secret:?} is in {place}: …{around}…");
    }
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                files.push(path);
            }
        }
    }
    assert!(!files.is_empty(), "{} is empty", directory.display());
    files
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bytes
        .chunks(3)
        .flat_map(|chunk| {
            let byte = |idx: usize| chunk.get(idx).copied().unwrap_or(0);
            let word = u32::from_be_bytes([0, byte(0), byte(1), byte(2)]);
            [18, 12, 6, 0]
                .into_iter()
                .enumerate()
                .map(move |(idx, shift)| {
                    if idx > chunk.len() {
                        '='
                    } else {
                        DIGITS[(word >> shift) as usize & 63] as char
                    }
                })
        })
        .collect()
}

fn url_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// A fault of a description quotes what it was given.
#[test]
fn faults_of_a_description_show_no_secret() {
    let token = format!("ghp_{}", "a1B2".repeat(9));
    let declared = "correct-horse-battery-staple";
    for (name, value) in [
        ("STOCKADE_TIMEOUT_SECONDS", token.as_str()),
        ("STOCKADE_PLAYBOOK", &token),
        ("STOCKADE_LOG_LEVEL", declared),
        (
            "STOCKADE_CONFIG_JSON",
            &format!(r#"{{"{token}": 1, "{declared}": 2}}"#),
        ),
        (
            "STOCKADE_MOUNTS_JSON",
            &format!(r#"[{{"source": "/nope/{token}"}}]"#),
        ),
    ] {
        let run = RunBuilder::sh("true")
            .env("GIVEN", declared)
            .flag("--credential=API_KEY=env:GIVEN")
            .env(name, value)
            .finish();
        assert_ne!(run.code(), 0, "{name}");
        let status = run.recording.status().to_string();
        let events = run.recording.lines().join("\n");
        for text in [&run.stderr, &status, &events] {
            assert!(
                !text.contains(&token) && !text.contains(declared),
                "{name}: {text}"
            );
        }
    }
}
