//! `run --dry-run`: what it finds is what the run would find, and nothing is left of it.

use crate::harness::RunBuilder;
use crate::harness::tree::snapshot;
use crate::process_table;

#[test]
fn what_the_run_would_fail_of_is_found_by_trying_it() {
    for (flags, told) in [
        (&["--chdir=absent"][..], "absent: ENOENT"),
        (&["--tmpfs=/etc/hostname:1MiB"], "/etc/hostname: ENOTDIR"),
        (
            &["--ro=/usr/bin/env:/etc/passwd/below"],
            "/etc/passwd/below: ENOTDIR",
        ),
        (
            &["--socket=/nonexistent/api.sock"],
            "cannot listen on the socket /nonexistent/api.sock",
        ),
    ] {
        let finished = |dry: bool| {
            let mut run = RunBuilder::new(["true"]);
            for flag in flags {
                run = run.flag(*flag);
            }
            if dry { run.flag("--dry-run") } else { run }.finish()
        };
        let (dry, real) = (finished(true), finished(false));
        assert_eq!(dry.code(), 125, "{flags:?}: {}", dry.stderr);
        assert!(dry.stderr.contains(told), "{flags:?}: {}", dry.stderr);
        assert_eq!(dry.stdout, "", "{flags:?}");
        assert_eq!(real.code(), 125, "{flags:?}: {}", real.stderr);
        assert!(real.stderr.contains(told), "{flags:?}: {}", real.stderr);
    }

    let unusable = RunBuilder::new(["true"])
        .flag("--dry-run")
        .with_recordings("/etc/hostname/runs")
        .finish();
    assert_eq!(unusable.code(), 125, "{}", unusable.stderr);
    let told = "RECORDINGS_UNUSABLE: cannot create /etc/hostname: ";
    assert!(unusable.stderr.contains(told), "{}", unusable.stderr);
}

#[test]
fn recordings_in_the_workspace_are_no_obstacle_and_are_not_made() {
    // The tier container has no mount that would hide them.
    for (tier, code) in [("full", 0), ("container", 125)] {
        let run = || {
            let run = RunBuilder::new(["true"]).flag(format!("--isolation={tier}"));
            let recordings = run.workspace().join("runs");
            run.with_recordings(recordings)
        };
        let (dry, real) = (run().flag("--dry-run"), run());
        let workspace = dry.workspace();
        let before = snapshot(&workspace);
        let (dry, real) = (dry.finish(), real.finish());
        assert_eq!(dry.code(), code, "{tier}: {}", dry.stderr);
        assert_eq!(real.code(), code, "{tier}: {}", real.stderr);
        assert!(workspace.is_dir());
        assert_eq!(snapshot(&workspace).len(), before.len(), "{tier}");
    }
}

#[test]
fn nothing_is_left_of_a_sandbox_that_was_tried() {
    for tier in ["full", "container", "none"] {
        let run = RunBuilder::new(["true"])
            .flag(format!("--isolation={tier}"))
            .flag("--dry-run");
        let directory = run.workspace().parent().unwrap().to_owned();
        let before = snapshot(&directory);
        let finished = run.finish();
        assert_eq!(finished.code(), 0, "{tier}: {}", finished.stderr);
        assert_eq!(finished.stderr, "", "{tier}");
        assert_eq!(snapshot(&directory), before, "{tier}");
        let left = process_table::of_run(&directory);
        assert!(left.is_empty(), "{tier}: {left:?}");
    }
}

#[test]
fn what_is_hardly_meant_is_a_warning_of_the_plan_and_of_the_run() {
    let book = "version: 1\nname: p\nparameters: {n: {type: string}}\nsteps:\n  - {id: long, run: 'true', timeout: 20m}\n  - {id: bad, run: 'true', env: {N: '${{ number(params.n) }}'}, on_failure: continue}\n  - {id: off, run: 'true', if: \"params.n == '1'\", env: {M: '${{ number(params.n) }}'}}\n  - {id: perhaps, run: 'true', if: 'steps.long.exit == 5', env: {M: '${{ number(params.n) }}'}}\n";
    let run = || {
        RunBuilder::playbook(book).flag("--param=n=x").env(
            "STOCKADE_CREDENTIALS",
            r#"{"N": "correct-horse-battery-staple"}"#,
        )
    };
    let longer = "the step long may take 1200 s, and the run ends after timeout_seconds = 600; give a longer --timeout";
    let bad = "the step bad fails: its variable N has no value: number() was given a text that is no whole number";
    let hidden = "the step bad has a N of its own, and not the credential";
    let dry = run().flag("--dry-run").finish();
    assert_eq!(dry.code(), 0, "{}", dry.stderr);
    let warnings: Vec<_> = dry.stderr.lines().collect();
    assert_eq!(
        warnings,
        [bad, longer, hidden].map(|warning| format!("warning: {warning}"))
    );
    let real = run().finish();
    assert_eq!(real.code(), 0, "{}", real.stderr);
    let logs = real.recording.events_of("log");
    for warning in [longer, hidden] {
        let is_it = |log: &serde_json::Value| log["message"] == warning;
        assert!(logs.iter().any(is_it), "{warning}: {logs:?}");
    }
}
