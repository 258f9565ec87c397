//! The tier container: no namespaces, and yet nothing of the container is the workload's but what the policy names.
//!
//! It needs no container: what it does without is what a container forbids.

use crate::harness::{
    LIMIT, Run, Starter, USER, build, eventually, for_each_starter, helper_program, is_root,
    launch, mark, marked, skip, spawn_helper, workspace,
};
use crate::refusals::helper_after;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use stockade_sandbox::{
    Access, BestError, BuildError, Helper, Isolation, Landlock, Layer, Limits, Means, PlanError,
    Policy, SCRATCH_DIRECTORIES, Tier, Workspace,
};
use tempfile::TempDir;

/// A policy with a directory for the run, which ends with the guard.
pub(crate) fn policy(starter: Starter) -> (Policy, TempDir) {
    let scratch = workspace(starter);
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o700))
        .expect("chmod");
    let mut policy = Policy::new(Isolation::Container);
    policy.scratch = Some(scratch.path().to_path_buf());
    (policy, scratch)
}

pub(crate) fn container(starter: Starter) -> (Run, TempDir) {
    let (policy, scratch) = policy(starter);
    (build(starter, &policy), scratch)
}

fn with_workspace(policy: Policy, host: &Path, access: Access) -> Policy {
    Policy {
        workspace: Some(Workspace {
            host: host.to_path_buf(),
            inside: host.to_path_buf(),
            access,
        }),
        ..policy
    }
}

/// A launch helper of root without these capabilities, as in a container that drops them.
fn helper_without(capabilities: &str) -> Helper {
    let program = helper_program();
    let bounding = format!("--bounding-set={capabilities}");
    let arguments = [
        &bounding,
        "--inh-caps=-all",
        program.to_str().expect("path"),
        "sandbox-helper",
    ];
    Helper::spawn(Path::new("/usr/bin/setpriv"), &arguments).expect("spawns")
}

fn run_of(helper: Helper, policy: &Policy, starter: Starter) -> Run {
    let sandbox = helper
        .build(policy.plan().expect("plans"), LIMIT)
        .expect("builds");
    Run {
        sandbox,
        helper,
        starter,
    }
}

fn uid(run: &Run) -> u32 {
    let text = run.output(launch(&["id", "-u"])).success();
    text.trim().parse().expect("a number")
}

#[test]
fn it_says_exactly_what_holds_and_why_not_the_rest() {
    for_each_starter(|starter| {
        let (run, _scratch) = container(starter);
        let enforced = run.sandbox.enforced();
        assert_eq!(enforced.tier, Tier::Container);
        let expected = [
            Layer::UnprivilegedId,
            Layer::NoNewPrivileges,
            Layer::NoCapabilities,
            Layer::ClosedDescriptors,
            Layer::CleanEnvironment,
            Layer::OwnSession,
            Layer::InSandboxInit,
            Layer::Landlock,
            Layer::Seccomp,
        ];
        assert_eq!(enforced.layers, expected, "{enforced:?}");
        assert!(
            enforced
                .missing
                .iter()
                .all(|missing| !missing.reason.is_empty())
        );
        let status = run.output(launch(&["cat", "/proc/self/status"])).success();
        for line in [
            "NoNewPrivs:\t1\n",
            "CapEff:\t0000000000000000\n",
            "Seccomp:\t2\n",
        ] {
            assert!(status.contains(line), "{status}");
        }
    });
}

#[test]
fn the_workload_sees_the_system_and_what_the_policy_names_and_nothing_else() {
    for_each_starter(|starter| {
        let (policy, scratch) = policy(starter);
        let host = workspace(starter);
        let closed = workspace(starter);
        std::fs::write(closed.path().join("secret"), "x").expect("writes");
        let run = build(
            starter,
            &with_workspace(policy, host.path(), Access::ReadOnly),
        );
        let script = format!(
            "ls /usr/bin > /dev/null && cat /etc/passwd > /dev/null && ls {}",
            host.path().display()
        );
        run.shell(&script).success();
        let scratch = scratch.path().display();
        for name in SCRATCH_DIRECTORIES {
            run.shell(&format!(
                "echo x > {scratch}/{name}/f && cat {scratch}/{name}/f"
            ))
            .success();
        }
        for attempt in [
            format!("cat {}/secret", closed.path().display()),
            format!("ls {}", closed.path().display()),
            "ls /".to_owned(),
            "ls /tmp".to_owned(),
            "ls /root".to_owned(),
            "ls /sys".to_owned(),
            "ls /run".to_owned(),
            "cat /etc/shadow".to_owned(),
            "echo x > /tmp/x".to_owned(),
            format!("echo x > {scratch}/x"),
            format!("echo x > {}/x", host.path().display()),
            "echo x > /etc/x".to_owned(),
        ] {
            run.shell(&attempt).refused();
        }
    });
}

#[test]
fn a_writable_workspace_is_written_by_its_owner_also_where_that_is_root() {
    for_each_starter(|starter| {
        let (policy, _scratch) = policy(starter);
        let host = workspace(starter);
        let policy = with_workspace(policy, host.path(), Access::ReadWrite);
        let run = build(starter, &policy);
        let path = host.path().display();
        run.shell(&format!(
            "mkdir {path}/a {path}/b && echo x > {path}/a/f && mv {path}/a/f {path}/b && rm -r {path}/a"
        ))
        .success();
        let enforced = run.sandbox.enforced();
        match starter {
            Starter::User => assert_eq!(uid(&run), USER),
            Starter::Root => {
                assert_eq!(uid(&run), 0);
                assert!(!enforced.has(Layer::UnprivilegedId), "{enforced:?}");
                assert!(enforced.has(Layer::NoCapabilities), "{enforced:?}");
                let status = run.output(launch(&["cat", "/proc/self/status"])).success();
                for set in ["CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                    assert!(
                        status.contains(&format!("{set}:\t0000000000000000\n")),
                        "{status}"
                    );
                }
                // Root owns it, and so only Landlock keeps it closed.
                run.shell("cat /etc/shadow").refused();
                run.shell("cat /etc/passwd").success();
                run.shell("ls /etc/ssl/certs").success();
            }
        }
    });
    if !is_root() {
        return;
    }
    // Also where the set that bounds capabilities may not be emptied.
    let host = workspace(Starter::Root);
    let (of_root, _own) = policy(Starter::Root);
    let of_root = with_workspace(of_root, host.path(), Access::ReadWrite);
    let run = run_of(helper_without("-setpcap"), &of_root, Starter::Root);
    let status = run.output(launch(&["cat", "/proc/self/status"])).success();
    assert!(status.contains("Uid:\t0\t"), "{status}");
    for set in ["CapPrm", "CapEff"] {
        assert!(
            status.contains(&format!("{set}:\t0000000000000000\n")),
            "{status}"
        );
    }
    let host = workspace(Starter::User);
    let (policy, _scratch) = policy(Starter::Root);
    let run = build(
        Starter::Root,
        &with_workspace(policy, host.path(), Access::ReadWrite),
    );
    run.shell(&format!("echo x > {}/f", host.path().display()))
        .success();
    assert_eq!(uid(&run), USER);
}

#[test]
fn root_gives_each_run_an_id_of_its_own_and_keeps_its_own_where_it_may_not() {
    if !is_root() {
        return skip("only root can give ids");
    }
    let (first, _one) = container(Starter::Root);
    let (second, _two) = container(Starter::Root);
    let ids = [uid(&first), uid(&second)];
    assert!(ids[0] != ids[1] && ids[0] >= 0x7000_0000, "{ids:?}");
    let (policy, _scratch) = policy(Starter::Root);
    let run = run_of(helper_without("-all"), &policy, Starter::Root);
    assert_eq!(uid(&run), 0);
    let enforced = run.sandbox.enforced();
    let missing = enforced.missing.iter();
    let mut missing = missing.filter(|missing| missing.layer == Layer::UnprivilegedId);
    let reason = missing.next().map(|missing| missing.reason.as_str());
    assert_eq!(
        reason,
        Some("root may not change ids here, it lacks capabilities")
    );
    assert!(enforced.has(Layer::NoCapabilities) && enforced.has(Layer::Landlock));
    run.shell("cat /etc/shadow").refused();
}

#[test]
fn what_only_a_mount_could_do_is_refused() {
    let host = tempfile::tempdir().expect("temporary directory");
    let mut policy = with_workspace(
        Policy::new(Isolation::Container),
        host.path(),
        Access::ReadWrite,
    );
    policy.plan().expect("plans");
    let masked = host.path().join("recordings");
    std::fs::create_dir(&masked).expect("makes");
    policy.masks = vec![masked];
    let refused = policy.plan();
    assert!(
        matches!(refused, Err(PlanError::MaskShown { .. })),
        "{refused:?}"
    );
    policy.masks.clear();
    policy.landlock = Landlock::LeaveOff;
    let refused = policy.plan();
    assert!(
        matches!(refused, Err(PlanError::NotInContainer(_))),
        "{refused:?}"
    );
    policy.landlock = Landlock::Restrict;
    if let Some(workspace) = &mut policy.workspace {
        workspace.inside = PathBuf::from("/elsewhere");
    }
    let refused = policy.plan();
    assert!(
        matches!(refused, Err(PlanError::Target { .. })),
        "{refused:?}"
    );
}

#[test]
fn processes_are_limited_by_the_id_where_it_is_its_own_and_sampled_where_not() {
    for_each_starter(|starter| {
        let (mut policy, _scratch) = policy(starter);
        policy.limits = Limits {
            pids: Some(12),
            ..Limits::default()
        };
        let run = build(starter, &policy);
        let by = run.sandbox.enforced().limits[0].by;
        let made = run.python(
            "import os\nn = 0\nfor _ in range(40):\n  try: pid = os.fork()\n  except OSError: break\n  if pid == 0: os.execvp('sleep', ['sleep', '600'])\n  n += 1\nprint(n)",
        );
        let made = made.success();
        match starter {
            Starter::Root => assert_eq!((by, made.as_str()), (Means::Rlimit, "11\n")),
            Starter::User => assert_eq!((by, made.as_str()), (Means::Sampled, "40\n")),
        }
        run.sandbox.kill_all(LIMIT).expect("kills");
    });
}

#[test]
fn a_launch_of_a_container_has_a_terminal() {
    for_each_starter(|starter| {
        let (run, _scratch) = container(starter);
        let size = stockade_sandbox::TerminalSize {
            columns: 91,
            rows: 33,
        };
        let terminal = run.sandbox.open_terminal(size).expect("a terminal");
        let mut program = launch(&["sh", "-c", "stty size; echo by name > /dev/tty"]);
        let copy = || terminal.slave.try_clone().expect("a copy");
        program.stdio = [copy(), copy(), copy()];
        let launched = run.sandbox.launch(program).expect("starts");
        drop(terminal.slave);
        let mut shown = Vec::new();
        let _ = std::fs::File::from(terminal.master).read_to_end(&mut shown);
        run.wait(launched);
        assert_eq!(String::from_utf8_lossy(&shown), "33 91\r\nby name\r\n");
    });
}

#[test]
fn the_best_tier_is_found_by_doing_it_and_says_what_refused_the_better_one() {
    for_each_starter(|starter| {
        let helper = spawn_helper(starter);
        let sandbox = helper
            .build_best(Policy::new(Isolation::Full), || None, LIMIT)
            .expect("builds");
        assert_eq!(sandbox.enforced().tier, Tier::Full);
    });
    if !is_root() {
        return skip("only root can refuse namespaces to a user");
    }
    let host = tempfile::tempdir().expect("temporary directory");
    let root = host.path().display();
    let helper = helper_after(&format!(
        "chmod 755 {root}; mount --rbind / {root}; set -- /usr/sbin/chroot {root} \"$@\""
    ));
    let sandbox = helper
        .build_best(Policy::new(Isolation::Full), || None, LIMIT)
        .expect("builds");
    let enforced = sandbox.enforced();
    assert_eq!(enforced.tier, Tier::Container);
    let why = "cannot create the namespaces the sandbox: EPERM: Operation not permitted";
    let refused = enforced
        .missing
        .iter()
        .filter(|missing| missing.reason == why);
    assert!(refused.count() >= 6, "{enforced:?}");
    drop(sandbox);
    // A layer that is required is not done without.
    let mut policy = Policy::new(Isolation::Full);
    policy.required = vec![Layer::PidNamespace];
    let refused = helper
        .build_best(policy, || None, LIMIT)
        .expect_err("refused");
    let is_lacking = matches!(
        &refused,
        BestError::Container { source: BuildError::Lacking(missing), .. } if missing.layer == Layer::PidNamespace
    );
    assert!(is_lacking && refused.isolation_unavailable(), "{refused:?}");
}

#[test]
fn what_a_killed_init_leaves_to_the_launch_helper_is_swept_also_beside_another_sandbox() {
    for_each_starter(|starter| {
        let (policy, _scratch) = policy(starter);
        let run = build(starter, &policy);
        let beside = run
            .helper
            .build(Policy::new(Isolation::Full).plan().expect("plans"), LIMIT)
            .expect("builds");
        let mark = mark();
        let script = format!("setsid sleep {mark} & setsid sleep {mark} & wait");
        run.start(&["sh", "-c", &script]);
        eventually("both run", || marked(&mark) == 2);
        run.helper.destroy(&run.sandbox, LIMIT).expect("destroys");
        assert_eq!(marked(&mark), 0);
        assert_eq!(beside.kill_all(LIMIT).expect("answers").killed, 0);
    });
}
