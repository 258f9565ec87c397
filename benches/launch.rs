//! Rows "launch": a sandbox and its first program, and a program in a sandbox that stands already.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use stockade_sandbox::{Helper, Isolation, Launch, Policy, Sandbox};

use crate::append::in_millis;
use crate::machine::find_program;
use crate::report::{Report, Row, Target, median, millis, quantile};
use crate::scale::Scale;

/// The program that does nothing.
const TRUE: &str = "/bin/true";

/// Longest wait for any step.
const LIMIT: Duration = Duration::from_secs(10);

/// bubblewrap with the layers that it has in common with ours.
const BWRAP: [&str; 20] = [
    "--unshare-user",
    "--unshare-pid",
    "--unshare-net",
    "--unshare-ipc",
    "--die-with-parent",
    "--new-session",
    "--ro-bind",
    "/usr",
    "/usr",
    "--symlink",
    "usr/bin",
    "/bin",
    "--symlink",
    "usr/lib",
    "/lib",
    "--symlink",
    "usr/lib64",
    "/lib64",
    "--proc",
    "/proc",
];

pub(crate) fn run(report: &mut Report, scale: &Scale, stockade: &Path) {
    let helper = Helper::spawn(stockade, &["sandbox-helper"]).expect("the launch helper");
    let policy = Policy::new(Isolation::Full);
    let standing = match helper.build(policy.plan().expect("a plan"), LIMIT) {
        Ok(sandbox) => sandbox,
        Err(error) => {
            report.absent(format!("launch: this host refuses the sandbox: {error}"));
            return;
        }
    };
    let bwrap = find_program("bwrap");
    if bwrap.is_none() {
        report.absent("bubblewrap beside the launch: no bwrap on the PATH");
    }
    let (mut build, mut cold, mut warm, mut plain, mut wrapped) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.n_launches {
        plain.push(time(|| run_to_end(&mut Command::new(TRUE))));
        warm.push(time(|| launch(&standing)));
        build.push(time(|| {
            let plan = policy.plan().expect("a plan");
            let sandbox = helper.build(plan, LIMIT).expect("a sandbox");
            launch(&sandbox);
            helper.destroy(&sandbox, LIMIT).expect("its end");
        }));
        cold.push(time(|| {
            let helper = Helper::spawn(stockade, &["sandbox-helper"]).expect("the helper");
            let plan = policy.plan().expect("a plan");
            let sandbox = helper.build(plan, LIMIT).expect("a sandbox");
            launch(&sandbox);
            helper.destroy(&sandbox, LIMIT).expect("its end");
        }));
        if let Some(bwrap) = &bwrap {
            wrapped.push(time(|| {
                run_to_end(
                    Command::new(bwrap)
                        .args(BWRAP)
                        .args(["--dev", "/dev", "--tmpfs", "/tmp", TRUE]),
                );
            }));
        }
    }
    helper.destroy(&standing, LIMIT).expect("its end");
    let spread = |times: &[f64]| {
        format!(
            "p10 {:.2} ms, p90 {:.2} ms",
            quantile(times, 10),
            quantile(times, 90)
        )
    };
    report.push(
        Row::new(
            "launch",
            "true in the standing sandbox, p50",
            millis(median(&warm)),
        )
        .target(Target::RatioAtMost(2.0))
        .beside("vfork + exec of the same program", median(&plain))
        .note(spread(&warm)),
    );
    let mut rows = [
        Row::new(
            "launch",
            "sandbox built, true, sandbox gone, p50",
            millis(median(&build)),
        )
        .note(spread(&build)),
        Row::new(
            "launch",
            "the same with a fresh launch helper, p50",
            millis(median(&cold)),
        )
        .note(spread(&cold)),
    ];
    if bwrap.is_some() {
        rows = rows.map(|row| row.beside("bwrap, its layers only", median(&wrapped)));
    }
    for row in rows {
        report.push(row.beside("vfork + exec of the same program", median(&plain)));
    }
}

fn time(act: impl FnOnce()) -> f64 {
    let began = Instant::now();
    act();
    in_millis(began.elapsed())
}

fn run_to_end(command: &mut Command) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start");
    assert!(child.wait().expect("its end").success());
}

fn launch(sandbox: &Sandbox) {
    let null = || {
        File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .expect("/dev/null")
            .into()
    };
    let launch = Launch {
        argv: vec![OsString::from(TRUE)],
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        cwd: "/".into(),
        stdio: [null(), null(), null()],
        extra: Vec::new(),
    };
    sandbox.launch(launch).expect("a launch");
    let report = sandbox.wait_report(LIMIT).expect("its report");
    assert_eq!(report.status, 0);
}
