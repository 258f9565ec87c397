//! A host that refuses: the build fails with the step, the object and the errno, and nothing is left.

use crate::harness::{
    LIMIT, Run, Starter, USER, eventually, for_each_starter, helper_program, is_root, skip,
    spawn_helper, with_workspace, workspace,
};
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use stockade_sandbox::{
    Access, BuildError, Helper, Isolation, Landlock, Layer, Network, Policy, Step,
};

/// Starts a launch helper as an ordinary user, in a mount namespace that a script of root has changed before.
pub(crate) fn helper_after(script: &str) -> Helper {
    let program = helper_program();
    let user = USER.to_string();
    let script = format!("{script}; exec \"$@\"");
    let arguments = [
        "-m",
        "--propagation",
        "private",
        "/bin/sh",
        "-ec",
        &script,
        "sh",
        "/usr/bin/setpriv",
        "--reuid",
        &user,
        "--regid",
        &user,
        "--clear-groups",
        program.to_str().expect("path"),
        "sandbox-helper",
    ];
    Helper::spawn(Path::new("/usr/bin/unshare"), &arguments).expect("spawns")
}

#[test]
fn refused_namespaces_are_named_and_none_still_works() {
    if !is_root() {
        return skip("only root can refuse namespaces to a user");
    }
    // In a changed root the kernel refuses user namespaces with EPERM, as a default container's filter does.
    let host = tempfile::tempdir().expect("temporary directory");
    let root = host.path().display();
    let helper = helper_after(&format!(
        "chmod 755 {root}; mount --rbind / {root}; set -- /usr/sbin/chroot {root} \"$@\""
    ));
    let error = helper
        .build(Policy::new(Isolation::Full).plan().expect("plans"), LIMIT)
        .expect_err("refused");
    assert!(error.isolation_unavailable(), "{error:?}");
    let failure = error.failure().expect("a step");
    assert_eq!(
        (failure.step, failure.errno),
        (Step::CreateNamespaces, 1),
        "{failure}"
    );
    let sandbox = helper
        .build(Policy::new(Isolation::None).plan().expect("plans"), LIMIT)
        .expect("builds");
    assert!(!sandbox.enforced().has(Layer::PrivateRoot));
}

#[test]
fn a_refused_network_namespace_is_named_as_the_others_are() {
    if !is_root() {
        return skip("root makes the user for whom it is refused");
    }
    // The user has to reach the program by himself, wherever the checkout lies: he executes it in a namespace of his own.
    let place = tempfile::tempdir().expect("temporary directory");
    std::fs::set_permissions(place.path(), Permissions::from_mode(0o755)).expect("mode");
    let program = place.path().join("helper");
    std::fs::copy(helper_program(), &program).expect("a copy of the helper");
    // A user namespace has limits of its own, which whoever made it may set.
    let script = "echo 0 >/proc/sys/user/max_net_namespaces; exec \"$@\"";
    let helper = helper_after(&format!(
        "set -- \"$1\" \"$2\" \"$3\" \"$4\" \"$5\" \"$6\" \
         unshare --user --map-current-user --keep-caps /bin/sh -ec '{script}' sh {} \"$8\"",
        program.display()
    ));
    let error = helper
        .build(Policy::new(Isolation::Full).plan().expect("plans"), LIMIT)
        .expect_err("refused");
    assert!(error.isolation_unavailable(), "{error:?}");
    let failure = error.failure().expect("a step");
    assert_eq!(
        (failure.step, failure.errno),
        (Step::CreateNamespaces, nix::libc::ENOSPC),
        "{failure}"
    );
    let mut with_network = Policy::new(Isolation::Full);
    with_network.network = Network::Host;
    let sandbox = helper
        .build(with_network.plan().expect("plans"), LIMIT)
        .expect("builds");
    assert!(!sandbox.enforced().has(Layer::NetworkNamespace));
}

#[test]
fn a_refused_procfs_is_reported_and_everything_else_holds() {
    if !is_root() {
        return skip("only root can cover a part of /proc, as container engines do");
    }
    let helper = helper_after("mount -t tmpfs none /proc/fs");
    let sandbox = helper
        .build(Policy::new(Isolation::Full).plan().expect("plans"), LIMIT)
        .expect("builds");
    let run = Run {
        sandbox,
        helper,
        starter: Starter::User,
    };
    let enforced = run.sandbox.enforced();
    assert!(
        enforced
            .missing
            .iter()
            .any(|entry| entry.layer == Layer::PrivateProc),
        "{enforced:?}"
    );
    assert!(enforced.has(Layer::PidNamespace) && enforced.has(Layer::PrivateRoot));
    assert_eq!(
        run.shell("echo /proc/*; test ! -e /work").success(),
        "/proc/*\n"
    );
    run.start(&["sleep", "600"]);
    assert!(run.sandbox.processes().is_err());
    let report = run.sandbox.kill_all(LIMIT).expect("kills");
    assert_eq!((report.killed, report.left), (1, 0));
}

#[test]
fn root_without_administration_is_refused_a_workspace_of_root() {
    if !is_root() {
        return skip("only root can be a root with fewer capabilities");
    }
    let program = helper_program();
    let arguments = [
        "--bounding-set=-sys_admin",
        "--inh-caps=-all",
        program.to_str().expect("path"),
        "sandbox-helper",
    ];
    let helper = Helper::spawn(Path::new("/usr/bin/setpriv"), &arguments).expect("spawns");
    let host = workspace(Starter::Root);
    let policy = with_workspace(host.path(), Access::ReadWrite);
    let error = helper
        .build(policy.plan().expect("plans"), LIMIT)
        .expect_err("refused");
    assert_eq!(
        error.failure().expect("a step").step,
        Step::MapOwners,
        "{error:?}"
    );
    // The workspace of another owner is entered with that owner's id.
    let host = workspace(Starter::User);
    let policy = with_workspace(host.path(), Access::ReadWrite);
    let sandbox = helper
        .build(policy.plan().expect("plans"), LIMIT)
        .expect("builds");
    let run = Run {
        sandbox,
        helper,
        starter: Starter::Root,
    };
    run.shell(&format!("echo text > {}/file", host.path().display()))
        .success();
    let owner = std::fs::metadata(host.path().join("file"))
        .expect("made")
        .uid();
    assert_eq!(owner, USER);
    run.shell("echo no > /etc/x").refused();
}

#[test]
fn a_helper_that_is_no_helper_is_an_error_in_time() {
    let helper = Helper::spawn(Path::new("/bin/true"), &[]).expect("spawns");
    let error = helper
        .build(Policy::new(Isolation::Full).plan().expect("plans"), LIMIT)
        .expect_err("no helper");
    assert!(!error.isolation_unavailable(), "{error:?}");
    assert!(Helper::spawn(Path::new("/no/such/program"), &[]).is_err());
}

#[test]
fn a_sandbox_that_lacks_what_is_required_is_not_handed_out() {
    for_each_starter(|starter| {
        let helper = spawn_helper(starter);
        let mut policy = Policy::new(Isolation::Full);
        policy.landlock = Landlock::LeaveOff;
        assert!(!policy.layers_of_full().contains(&Layer::Landlock));
        policy.required = policy.layers_of_full();
        helper
            .build(policy.plan().expect("plans"), LIMIT)
            .expect("has the rest");
        policy.required = vec![Layer::PidNamespace, Layer::Landlock];
        let error = helper
            .build(policy.plan().expect("plans"), LIMIT)
            .expect_err("lacks one");
        assert!(error.isolation_unavailable(), "{error:?}");
        let BuildError::Lacking(missing) = error else {
            panic!("{error:?}");
        };
        assert_eq!(
            missing.to_string(),
            "the layer landlock is missing: the policy leaves it off"
        );
        // Nothing of it is left.
        let children = format!("/proc/{0}/task/{0}/children", helper.pid());
        eventually("the init is gone", || {
            std::fs::read_to_string(&children)
                .expect("children")
                .is_empty()
        });
    });
}
