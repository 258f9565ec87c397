//! Rows "launch": a sandbox and its first program, and a program in a sandbox that stands already.

pub(crate) mod floor;
mod rounds;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use floor::Programs;
use rounds::{Order, Times};

use crate::machine::find_program;
use crate::report::{Report, Row, Target, median, millis, quantile};
use crate::scale::Scale;

pub(crate) use rounds::{ROUNDS, serve};

/// The ordinary user of the rounds that root does not run: nobody.
const USER: u32 = 65_534;

/// Memory of the supervisor whose launches must cost the same, in bytes.
const BALLAST: usize = 1 << 30;

/// Builds at the same time.
const AT_ONCE: [usize; 4] = [1, 4, 16, 64];

/// Most by which a launch may cost more than its floor.
const OVER_FLOOR: f64 = 1.25;

/// The same for the command line, whose program is executed first.
const EXEC_OVER_FLOOR: f64 = 1.75;

/// Most by which a gigabyte of memory may make a launch dearer: what two runs of the same thing differ by.
const OVER_SMALL: f64 = 1.15;

/// Most by which the tier container may cost more than its floor.
const CONTAINER_OVER_FLOOR: f64 = 1.5;

/// `static_binary` is the one whose `exec` is measured, if it was built: it is what users install.
pub(crate) fn run(
    report: &mut Report,
    scale: &Scale,
    dir: &Path,
    stockade: &Path,
    static_binary: Option<&Path>,
) {
    let Some(programs) = Programs::compile(dir) else {
        report.absent("launch: no C compiler for the floor");
        return;
    };
    if find_program("bwrap").is_none() {
        report.absent("bubblewrap beside the launch: no bwrap on the PATH");
    }
    if static_binary.is_none() {
        report.absent("launch by stockade exec of the static binary: it is that of cargo build");
    }
    // An ordinary user has to reach the programs, and so has a workload of root's with an id of its own.
    let open = std::fs::Permissions::from_mode(0o755);
    for path in dir.ancestors().take(2) {
        std::fs::set_permissions(path, open.clone()).expect("open the directory");
    }
    let order = Order {
        stockade: stockade.to_owned(),
        exec: static_binary.unwrap_or(stockade).to_owned(),
        floor: programs.sandbox,
        nothing: programs.nothing,
        deaf: programs.deaf,
        n_rounds: scale.n_launches,
        resident_bytes: 0,
        n_at_once: 1,
    };
    let as_caller = measure(&order, None);
    let is_root = nix::unistd::geteuid().is_root();
    push(report, if is_root { "root" } else { "user" }, &as_caller);
    if is_root {
        push(report, "user", &measure(&order, Some(USER)));
    } else {
        report.absent("launch as root: this is an ordinary user");
    }
    let heavy = Order {
        resident_bytes: BALLAST,
        n_rounds: scale.n_launches / 4,
        ..order.clone()
    };
    let heavy = measure(&heavy, None);
    report.push(
        row(
            "sandbox built, true, gone, 1 GiB resident in the supervisor",
            &heavy["built"],
        )
        .target(Target::RatioAtMost(OVER_SMALL))
        .beside("the same without", median(&as_caller["built"])),
    );
    for n_at_once in AT_ONCE {
        let order = Order {
            n_at_once,
            n_rounds: scale.n_launches,
            ..order.clone()
        };
        let times = measure(&order, None);
        let share = times
            .get("share")
            .map_or_else(|| median(&times["built"]), |share| share[0]);
        let per_second = 1_000.0 / share;
        let what = format!("sandbox built, true, gone, {n_at_once} at once");
        report.push(row(&what, &times["built"]).note(format!(
            "{}; {per_second:.0} sandboxes a second in all",
            spread(&times["built"])
        )));
    }
}

/// The rows of one user.
fn push(report: &mut Report, who: &str, times: &Times) {
    let at = |name: &str| times.get(name).map(|times| median(times));
    let mut add = |what: &str, ours: &str, target: Target, beside: &[(&str, &str)]| {
        let Some(ours) = times.get(ours) else { return };
        let mut row = row(&format!("{what}, {who}"), ours).target(target);
        for (name, key) in beside {
            if let Some(value) = at(key) {
                row = row.beside(*name, value);
            }
        }
        report.push(row);
    };
    let plain = ("vfork + exec of the same program", "plain");
    let wrapped = ("bwrap, its layers only", "bubblewrap");
    add(
        "static true in the standing sandbox",
        "standing",
        Target::RatioAtMost(2.0),
        &[plain],
    );
    add(
        "/bin/true of the distribution there",
        "usual",
        Target::RatioAtMost(2.0),
        &[("vfork + exec of the same program", "usual plain")],
    );
    add(
        "sandbox built, true, gone",
        "built",
        Target::RatioAtMost(OVER_FLOOR),
        &[("floor, the same layers in C", "floor"), wrapped, plain],
    );
    add(
        "the same in a control group of version 1",
        "grouped",
        Target::None,
        &[("floor, the same in C", "floor grouped")],
    );
    add(
        "the same with a fresh launch helper",
        "cold",
        Target::None,
        &[("floor, the same layers in C", "floor"), wrapped],
    );
    add(
        "the same by stockade exec",
        "exec",
        Target::None,
        &[("floor, the same layers in C", "floor"), wrapped],
    );
    add(
        "by stockade exec, bwrap's layers only",
        "exec bubblewrap",
        Target::RatioAtMost(EXEC_OVER_FLOOR),
        &[("floor, its layers in C", "floor bubblewrap"), wrapped],
    );
    add(
        "sandbox of the tier container built, true, gone",
        "container",
        Target::RatioAtMost(CONTAINER_OVER_FLOOR),
        &[
            ("floor, Landlock, filter and limits in C", "floor container"),
            plain,
        ],
    );
    let namespace = ("their pid namespace killed, in C", "floor kill");
    add(
        "600 deaf processes killed and reaped",
        "kill",
        Target::AtMost(50.0),
        &[namespace],
    );
    add(
        "600 deaf processes killed and reaped in the tier container",
        "container kill",
        Target::AtMost(250.0),
        &[namespace],
    );
    add(
        "bwrap itself",
        "bubblewrap",
        Target::None,
        &[("floor, its layers in C", "floor bubblewrap")],
    );
}

fn row(what: &str, times: &[f64]) -> Row {
    Row::new("launch", format!("{what}, p50"), millis(median(times))).note(spread(times))
}

fn spread(times: &[f64]) -> String {
    format!(
        "p10 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms",
        quantile(times, 10),
        quantile(times, 90),
        quantile(times, 99)
    )
}

/// Runs the rounds in a process of their own.
fn measure(order: &Order, user: Option<u32>) -> Times {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .arg(ROUNDS)
        .arg(serde_json::to_string(order).expect("an order"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let output = command.output().expect("start the rounds");
    assert!(
        output.status.success(),
        "the rounds failed: {}",
        output.status
    );
    serde_json::from_slice(&output.stdout).expect("times")
}
