//! Presets, and what isolation a run requires: real programs that bring their own sandbox, and real toolchains.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::need::{need, skip};
use crate::harness::run::{Finished, RunBuilder, binary};

/// The reason for which a layer is missing.
fn missing(run: &Finished, layer: &str) -> Option<String> {
    let status = run.recording.status();
    let entries = status["isolation"]["missing"].as_array().unwrap().clone();
    let entry = entries.into_iter().find(|entry| entry["layer"] == layer)?;
    Some(entry["reason"].as_str().unwrap().to_owned())
}

fn policy(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(binary())
        .arg("policy")
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), text)
}

#[test]
fn bubblewrap_runs_in_nested_and_not_in_default() {
    if need("bwrap").is_none() {
        return;
    }
    let script = r#"bwrap --unshare-all --ro-bind / / --dev /dev --proc /proc --tmpfs /tmp sh -c 'test "$(cat /proc/1/comm)" = bwrap && echo inside'"#;
    let nested = RunBuilder::sh(script)
        .flag("--preset")
        .flag("nested")
        .finish();
    assert_eq!(
        (nested.code(), nested.stdout.as_str()),
        (0, "inside\n"),
        "{}",
        nested.stderr
    );
    let why = |layer| missing(&nested, layer).unwrap();
    assert_eq!(why("landlock"), "the policy leaves it off");
    assert_eq!(
        why("seccomp"),
        "only in part: the policy allows the calls of namespaces, mounts"
    );
    assert!(
        why("private-proc").starts_with("only in part: "),
        "{}",
        why("private-proc")
    );
    let strict = RunBuilder::sh(script).finish();
    assert_ne!(strict.code(), 0);
    assert!(!strict.stdout.contains("inside"), "{}", strict.stdout);
    assert_eq!(missing(&strict, "seccomp"), None);
}

#[test]
fn nested_gives_up_nothing_beyond_what_it_says() {
    let script = r#"
test -z "$(cat /etc/shadow 2>/dev/null)" || exit 1
for path in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/vm/overcommit_memory /etc/passwd /usr/x; do
    (echo x > $path) 2>/dev/null && echo "wrote $path" && exit 1
    unshare -Urm sh -c "echo x > $path" 2>/dev/null && echo "wrote $path nested" && exit 1
done
unshare -Urm umount /etc/shadow 2>/dev/null && exit 1
python3 -c 'import socket; socket.socket(40)' 2>/dev/null && exit 1
head -c 1 /proc/kcore 2>/dev/null && exit 1
chmod u+s /tmp/x 2>/dev/null
touch /tmp/x && chmod u+s /tmp/x 2>/dev/null && exit 1
unshare -Ur true && echo fine"#;
    let run = RunBuilder::sh(script)
        .flag("--preset")
        .flag("nested")
        .finish();
    assert_eq!(
        (run.code(), run.stdout.as_str()),
        (0, "fine\n"),
        "{}",
        run.stderr
    );
}

/// A home directory with a toolchain and its credentials.
fn home(run: &RunBuilder) -> PathBuf {
    let home = run.workspace().parent().unwrap().join("home");
    let tool = home.join(".cargo/bin/a-tool");
    fs::create_dir_all(tool.parent().unwrap()).unwrap();
    fs::create_dir_all(home.join(".cargo/registry")).unwrap();
    fs::create_dir_all(home.join(".pyenv/shims")).unwrap();
    fs::write(&tool, "#!/bin/sh\necho tool of $HOME\n").unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(home.join(".cargo/credentials.toml"), "Zq8-secret").unwrap();
    fs::write(home.join(".netrc"), "Zq8-secret").unwrap();
    home
}

#[test]
fn dev_shows_toolchains_and_no_credentials() {
    let script = r#"
a-tool && test "$PYENV_ROOT" = "$CALLER/.pyenv" && test -z "${NVM_DIR-}" || exit 1
case $PATH in /home/agent/.cargo/bin:/home/agent/go/bin:$CALLER/.pyenv/shims:/usr/local/sbin*) ;; *) echo "$PATH"; exit 1;; esac
(echo x > "$HOME/.cargo/bin/x") 2>/dev/null && exit 1
(echo x > "$CALLER/.pyenv/x") 2>/dev/null && exit 1
echo cached > "$HOME/.cargo/cached" || exit 1
grep -rs Zq8 "$HOME" "$CALLER" && exit 1
echo fine"#;
    let run = RunBuilder::sh(script).flag("--preset").flag("dev");
    let home = home(&run);
    let caller = home.to_str().unwrap().to_owned();
    let run = run
        .flag("--env")
        .flag(format!("CALLER={caller}"))
        .env("HOME", &caller)
        .finish();
    let expected = "tool of /home/agent\nfine\n";
    assert_eq!(
        (run.code(), run.stdout.as_str()),
        (0, expected),
        "{}",
        run.stderr
    );
    assert_eq!(missing(&run, "landlock"), None);
    // The twin: without the preset nothing of it is there.
    let plain = RunBuilder::sh("command -v a-tool || test -e /home/agent/.cargo || echo none");
    let plain_home = self::home(&plain);
    let plain = plain.env("HOME", plain_home).finish();
    assert_eq!(plain.stdout, "none\n");
}

#[test]
fn a_crate_is_built_with_the_toolchain_of_the_caller() {
    let caller = std::env::var("HOME").unwrap_or_default();
    let has_rustup = ["/.cargo/bin/cargo", "/.rustup"]
        .iter()
        .all(|path| Path::new(&format!("{caller}{path}")).exists());
    if !has_rustup {
        return skip("the caller has no toolchain by rustup");
    }
    if need("cc").is_none() {
        return;
    }
    let script = "cargo init -q --vcs none --name hello . && cargo build -q --offline && ./target/debug/hello";
    let run = RunBuilder::sh(script)
        .flag("--preset")
        .flag("dev")
        .env("HOME", caller)
        .finish();
    assert_eq!(
        (run.code(), run.stdout.as_str()),
        (0, "Hello, world!\n"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_preset_may_be_a_file_and_its_faults_have_places() {
    let script = "unshare -Ur true && echo allowed; unshare -Urm true 2>/dev/null || echo no mounts; echo $GREETING";
    let run = RunBuilder::sh(script).flag("--preset").flag("./own.yaml");
    let file = run.workspace().parent().unwrap().join("own.yaml");
    fs::write(&file, "allow-calls: [namespaces]\nenv: {GREETING: hello}\n").unwrap();
    let run = run.finish();
    assert_eq!(run.stdout, "allowed\nno mounts\nhello\n", "{}", run.stderr);
    assert_eq!(
        missing(&run, "seccomp").as_deref(),
        Some("only in part: the policy allows the calls of namespaces")
    );
    let run = RunBuilder::sh("true").flag("--preset").flag("./own.toml");
    let file = run.workspace().parent().unwrap().join("own.toml");
    fs::write(&file, "about = 'x'\nlandlok = false\n").unwrap();
    let run = run.finish();
    assert_ne!(run.code(), 0);
    let expected = "preset.landlok in ./own.toml:2:1";
    assert!(
        run.stderr.contains(expected) && run.stderr.contains("did you mean landlock?"),
        "{}",
        run.stderr
    );
    let run = RunBuilder::sh("true").flag("--preset").flag("./own.toml");
    let file = run.workspace().parent().unwrap().join("own.toml");
    fs::write(&file, "mounts = [{ source = \"~/../x\" }]\n").unwrap();
    let run = run.finish();
    let expected = r#"preset.mounts[0].source = "~/../x" in ./own.toml:1:22"#;
    assert!(run.stderr.contains(expected), "{}", run.stderr);
}

#[test]
fn policy_prints_files_that_preset_takes() {
    let (code, list) = policy(&["list"]);
    assert_eq!(code, 0);
    for name in ["default", "nested", "dev"] {
        assert!(list.lines().any(|line| line.starts_with(name)), "{list}");
        let (code, text) = policy(&["show", name]);
        assert_eq!(code, 0);
        let run = RunBuilder::sh("true").flag("--preset").flag("./copy.toml");
        fs::write(run.workspace().parent().unwrap().join("copy.toml"), text).unwrap();
        assert_eq!(run.finish().code(), 0, "{name}");
    }
    assert_eq!(policy(&["show", "absent"]).0, 2);
}

#[test]
fn a_required_layer_that_is_missing_fails_the_run_before_its_command() {
    let run = |isolation: &str, more: &[&str]| {
        let mut run = RunBuilder::sh("echo started")
            .flag("--isolation")
            .flag(isolation);
        for flag in more {
            run = run.flag(*flag);
        }
        run.finish()
    };
    let refused = run("pid-namespace,landlock", &["--preset", "nested"]);
    assert_eq!(refused.code(), 125, "{}", refused.stderr);
    assert_eq!(refused.stdout, "");
    let status = refused.recording.status();
    assert_eq!(status["error"]["code"], "ISOLATION_UNAVAILABLE");
    let message = status["error"]["message"].as_str().unwrap();
    let expected = "the layer landlock is missing: the policy leaves it off; change this host, or do not ask for that layer by `--isolation`";
    assert!(message.ends_with(expected), "{message}");
    // What holds may be required, by name and as a whole, also where the policy itself turns a part off.
    for (isolation, more) in [
        ("best", &[][..]),
        ("pid-namespace,no-new-privileges", &[]),
        ("full", &["--preset", "nested"]),
        ("full", &["--net", "host"]),
        ("none,no-new-privileges", &[]),
    ] {
        let run = run(isolation, more);
        assert_eq!(
            (run.code(), run.stdout.as_str()),
            (0, "started\n"),
            "{isolation}: {}",
            run.stderr
        );
        let isolation_of_run: Value = run.recording.status()["isolation"].clone();
        assert_eq!(isolation_of_run["requested"], isolation);
    }
    let refused = run("none,seccomp", &[]);
    assert_eq!(refused.code(), 125, "{}", refused.stderr);
}

#[test]
fn a_run_within_a_run_has_a_sandbox_of_its_own_in_nested() {
    // The inner run's workload is one sandbox deeper: other processes, other files, and both records are whole.
    let inner = |isolation: &str| {
        format!(
            "mkdir /tmp/inner && cd /tmp/inner && {binary} run --recordings /tmp/records --listen none --socket none --isolation {isolation} --run-id inner -- sh -c 'echo inner; cat /proc/1/comm; echo x > file; test ! -e /tmp/records || echo sees' && {binary} verify /tmp/records/inner > /dev/null && cat /tmp/inner/file",
            binary = "/opt/stockade"
        )
    };
    let outer = |isolation: &str, preset: &str| {
        let run = RunBuilder::sh(&inner(isolation)).with_own_binary();
        let binary = run.workspace().parent().unwrap().join("stockade");
        run.flag("--mount")
            .flag(format!("{}:/opt/stockade", binary.display()))
            .flag("--preset")
            .flag(preset)
            .finish()
    };
    let nested = outer("full,landlock,seccomp", "nested");
    let expected = "inner\nstockade-init\nx\n";
    assert_eq!(
        (nested.code(), nested.stdout.as_str()),
        (0, expected),
        "{}",
        nested.stderr
    );
    // Without namespaces the inner run is one of the tier container, which hides no names, or one without isolation.
    let refused = outer("full", "default");
    assert!(
        refused.stderr.contains("ISOLATION_UNAVAILABLE"),
        "{}",
        refused.stderr
    );
    let container = outer("best", "default");
    let expected = "inner\nstockade-init\nsees\nx\n";
    assert_eq!(
        (container.code(), container.stdout.as_str()),
        (0, expected),
        "{}",
        container.stderr
    );
    assert!(
        container.stderr.contains("isolation container"),
        "{}",
        container.stderr
    );
    let open = outer("none", "default");
    assert_eq!(
        (open.code(), open.stdout.as_str()),
        (0, expected),
        "{}",
        open.stderr
    );
}
