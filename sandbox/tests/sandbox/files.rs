//! What the workload sees of the host's files, and what it may do with them.

use crate::harness::{
    LIMIT, Starter, USER, build, for_each_starter, full, is_root, skip, spawn_helper,
    with_workspace, workspace,
};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use stockade_sandbox::{Access, Bind, Isolation, Layer, PlanError, Policy, Step};

#[test]
fn the_host_is_not_visible() {
    for_each_starter(|starter| {
        let host = tempfile::tempdir().expect("temporary directory");
        let run = full(starter);
        let path = host.path().display();
        run.shell(&format!("test ! -e {path}")).success();
        run.shell("test ! -e /root -a ! -e /work -a ! -e /.stockade -a ! -e /boot")
            .success();
        assert_eq!(
            run.shell("ls -A /tmp /home/agent /run /var/tmp/ /sys | tr '\\n' ' '")
                .success(),
            "/home/agent:  /run:  /sys:  /tmp:  /var/tmp/: "
        );
        let root = run.shell("ls -A /").success();
        let expected = [
            "bin", "dev", "etc", "home", "lib", "proc", "run", "sys", "tmp", "usr", "var",
        ];
        for name in expected {
            assert!(root.lines().any(|line| line == name), "{name}: {root}");
        }
        let mut known: Vec<&str> = expected.to_vec();
        known.extend(["sbin", "lib32", "lib64", "libx32"]);
        assert!(root.lines().all(|line| known.contains(&line)), "{root}");
    });
}

#[test]
fn only_the_private_directories_are_writable() {
    for_each_starter(|starter| {
        let run = full(starter);
        for path in [
            "/x", "/usr/x", "/etc/x", "/bin/x", "/dev/x", "/run/x", "/var/x", "/proc/x", "/home/x",
        ] {
            run.shell(&format!("echo no > {path}")).refused();
        }
        for path in ["/tmp/x", "/var/tmp/y", "/home/agent/x", "/dev/shm/x"] {
            run.shell(&format!("echo yes > {path} && cat {path}"))
                .success();
        }
        run.shell("touch /usr/bin/env").refused();
        run.shell("chmod 777 /").refused();
    });
}

#[test]
fn secrets_of_the_host_are_masked() {
    for_each_starter(|starter| {
        let run = full(starter);
        for path in ["/etc/shadow", "/etc/gshadow"] {
            if !fs::exists(path).expect("exists") {
                continue;
            }
            run.shell(&format!("cat {path}")).refused();
            run.shell(&format!("chmod 644 {path}")).refused();
            assert_eq!(run.shell(&format!("stat -c %s {path}")).success(), "0\n");
        }
        run.shell("grep -q root /etc/passwd").success();
    });
}

#[test]
fn a_workspace_is_written_as_its_owner() {
    for_each_starter(|starter| {
        let host = workspace(starter);
        let owner = fs::metadata(host.path()).expect("metadata").uid();
        fs::write(host.path().join("before"), "old\n").expect("write");
        let run = build(starter, &with_workspace(host.path(), Access::ReadWrite));
        let path = host.path().display();
        let text = run.shell(&format!(
            "cd {path} && cat before && echo new > after && mkdir sub && id -u"
        ));
        let inside = if starter == Starter::Root {
            1_000
        } else {
            if is_root() { USER } else { owner }
        };
        assert_eq!(text.success(), format!("old\n{inside}\n"));
        for name in ["after", "sub"] {
            let metadata = fs::metadata(host.path().join(name)).expect("made on the host");
            assert_eq!(metadata.uid(), owner, "{name}");
        }
        assert_eq!(
            run.sandbox.enforced().has(Layer::IdMappedWorkspace),
            starter == Starter::Root
        );
        assert_eq!(run.starter, starter);
    });
}

#[test]
fn a_read_only_workspace_is_not_written() {
    for_each_starter(|starter| {
        let host = workspace(starter);
        fs::write(host.path().join("file"), "text\n").expect("write");
        let run = build(starter, &with_workspace(host.path(), Access::ReadOnly));
        let path = host.path().display();
        assert_eq!(run.shell(&format!("cat {path}/file")).success(), "text\n");
        run.shell(&format!("echo no > {path}/file")).refused();
        run.shell(&format!("touch {path}/new")).refused();
    });
}

#[test]
fn a_workspace_may_be_seen_elsewhere() {
    let host = workspace(Starter::User);
    let mut policy = with_workspace(host.path(), Access::ReadWrite);
    if let Some(workspace) = &mut policy.workspace {
        workspace.inside = "/srv/agent/work".into();
    }
    let run = build(Starter::User, &policy);
    run.shell("echo text > /srv/agent/work/file").success();
    run.shell(&format!("test ! -e {}", host.path().display()))
        .success();
    assert_eq!(
        fs::read_to_string(host.path().join("file")).expect("read"),
        "text\n"
    );
}

#[test]
fn setuid_files_and_devices_have_no_effect() {
    for_each_starter(|starter| {
        let host = workspace(starter);
        if is_root() {
            let copy = host.path().join("id");
            fs::copy("/usr/bin/id", &copy).expect("copy");
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).expect("chmod");
            let device = host.path().join("null");
            let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
            let kind = nix::sys::stat::SFlag::S_IFCHR;
            nix::sys::stat::mknod(&device, kind, mode, nix::sys::stat::makedev(1, 3))
                .expect("mknod");
            fs::set_permissions(&device, fs::Permissions::from_mode(0o666)).expect("chmod");
        } else {
            skip("only root can make devices");
            return;
        }
        let run = build(starter, &with_workspace(host.path(), Access::ReadWrite));
        let path = host.path().display();
        let own = run.shell("id -u").success();
        assert_eq!(run.shell(&format!("{path}/id -u")).success(), own);
        run.shell(&format!("echo x > {path}/null")).refused();
        run.shell("echo x > /dev/null").success();
        run.shell("mknod /tmp/null c 1 3").refused();
    });
}

#[test]
fn a_bind_below_a_closed_directory_works_for_root() {
    if !is_root() {
        return skip(
            "only root has a closed directory that its sandbox may still be given a part of",
        );
    }
    let host = tempfile::tempdir().expect("temporary directory");
    let tool = host.path().join("closed/tool");
    fs::create_dir_all(&tool).expect("directories");
    fs::write(tool.join("file"), "tool\n").expect("write");
    fs::set_permissions(
        host.path().join("closed"),
        fs::Permissions::from_mode(0o700),
    )
    .expect("chmod");
    let mut policy = Policy::new(Isolation::Full);
    policy.binds.push(Bind {
        source: tool.clone(),
        target: tool.clone(),
        access: Access::ReadOnly,
    });
    let single = host.path().join("closed/single");
    fs::write(&single, "single\n").expect("write");
    policy.binds.push(Bind {
        source: single,
        target: "/opt/single".into(),
        access: Access::ReadOnly,
    });
    let run = build(Starter::Root, &policy);
    assert_eq!(
        run.shell(&format!("cat {}/file /opt/single", tool.display()))
            .success(),
        "tool\nsingle\n"
    );
    run.shell(&format!("echo no > {}/file", tool.display()))
        .refused();
}

#[test]
fn a_mask_hides_what_a_bind_would_show() {
    for_each_starter(|starter| {
        let host = workspace(starter);
        for name in ["recordings", "open"] {
            fs::create_dir(host.path().join(name)).expect("directory");
            fs::write(host.path().join(name).join("file"), "text\n").expect("write");
        }
        fs::write(host.path().join("secret"), "secret\n").expect("write");
        let mut policy = with_workspace(host.path(), Access::ReadWrite);
        policy.masks = vec![host.path().join("recordings"), host.path().join("secret")];
        let run = build(starter, &policy);
        let path = host.path().display();
        assert_eq!(
            run.shell(&format!("cat {path}/open/file; ls -A {path}/recordings"))
                .success(),
            "text\n"
        );
        run.shell(&format!("cat {path}/secret")).refused();
        run.shell(&format!("touch {path}/recordings/new")).refused();
        run.shell(&format!("mv {path}/recordings {path}/away"))
            .refused();
        run.shell(&format!("rm -rf {path}/recordings")).refused();
        assert!(host.path().join("recordings/file").exists());
    });
}

#[test]
fn a_source_that_is_swapped_after_the_plan_is_not_shown() {
    for_each_starter(|starter| {
        check_swapped_source(starter, |secret, source| symlink(secret, source));
        check_swapped_source(starter, |secret, source| fs::rename(secret, source));
    });
}

fn check_swapped_source(starter: Starter, swap: impl Fn(&Path, &Path) -> std::io::Result<()>) {
    let host = workspace(starter);
    let (source, secret) = (host.path().join("source"), host.path().join("secret"));
    for (directory, text) in [(&source, "planned\n"), (&secret, "secret\n")] {
        fs::create_dir(directory).expect("directory");
        fs::write(directory.join("file"), text).expect("write");
    }
    let mut policy = Policy::new(Isolation::Full);
    policy.binds.push(Bind {
        source: source.clone(),
        target: "/opt/bound".into(),
        access: Access::ReadOnly,
    });
    let plan = policy.plan().expect("plans");
    fs::rename(&source, host.path().join("moved")).expect("rename");
    swap(&secret, &source).expect("swaps");
    let helper = spawn_helper(starter);
    // Root shows what was planned, wherever it is now; an ordinary user must find it again, and refuses.
    match helper.build(plan, LIMIT) {
        Ok(sandbox) => {
            assert_eq!(starter, Starter::Root);
            let run = crate::harness::Run {
                sandbox,
                helper,
                starter,
            };
            assert_eq!(run.shell("cat /opt/bound/file").success(), "planned\n");
        }
        Err(error) => {
            assert_eq!(starter, Starter::User, "{error:?}");
            let failure = error.failure().expect("a step");
            assert_eq!(failure.step, Step::CheckSource, "{failure}");
            assert!(!error.isolation_unavailable());
        }
    }
}

#[test]
fn a_plan_names_what_it_cannot_open() {
    let mut policy = Policy::new(Isolation::Full);
    policy.binds.push(Bind {
        source: "/no/such/source".into(),
        target: "/opt/x".into(),
        access: Access::ReadOnly,
    });
    assert!(matches!(policy.plan(), Err(PlanError::Source { .. })));
    policy.binds.clear();
    policy.masks.push("/no/such/mask".into());
    policy
        .plan()
        .expect("what nothing shows and nobody can create needs no mask");
}

#[test]
fn tmp_has_a_limit() {
    let mut policy = Policy::new(Isolation::Full);
    policy.tmp_bytes = 4 << 20;
    let run = build(Starter::User, &policy);
    run.shell("head -c 3M /dev/zero > /tmp/fits").success();
    run.shell("head -c 3M /dev/zero > /dev/shm/too-much")
        .refused();
    run.shell("rm /tmp/fits; head -c 2M /dev/zero > /home/agent/fits")
        .success();
    run.shell("mkdir /tmp/d && cd /tmp/d && for i in $(seq 2000); do : > $i || exit 1; done")
        .refused();
}

#[test]
fn a_target_behind_a_link_is_refused_with_what_to_do() {
    for_each_starter(|starter| {
        let host = workspace(starter);
        symlink("/usr/bin", host.path().join("link")).expect("links");
        let mut policy = with_workspace(host.path(), Access::ReadWrite);
        let inside = policy
            .workspace
            .as_ref()
            .expect("a workspace")
            .inside
            .clone();
        policy.binds = vec![Bind {
            source: "/usr/bin".into(),
            target: inside.join("link/place"),
            access: Access::ReadOnly,
        }];
        let error = spawn_helper(starter)
            .build(policy.plan().expect("plans"), LIMIT)
            .expect_err("refused");
        let told = error.failure().expect("a step").to_string();
        assert!(told.contains("links are not followed"), "{told}");
    });
}

#[test]
fn devices_are_minimal_and_terminals_are_own() {
    for_each_starter(|starter| {
        let run = full(starter);
        assert_eq!(
            run.shell("cd /dev && echo *").success(),
            "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero\n"
        );
        assert_eq!(
            run.python("import os; print(os.ttyname(os.openpty()[1]))")
                .success(),
            "/dev/pts/0\n"
        );
        run.shell("head -c 8 /dev/urandom | wc -c && echo x > /dev/null")
            .success();
        run.shell(": < /dev/tty").refused();
    });
}

#[test]
fn every_mount_is_restricted() {
    for_each_starter(|starter| {
        let host = workspace(starter);
        let run = build(starter, &with_workspace(host.path(), Access::ReadWrite));
        let own = host.path().to_str().expect("path");
        let table = run.shell("cat /proc/self/mountinfo").success();
        assert!(
            table.lines().any(|line| line.contains(" /proc/sys ")),
            "{table}"
        );
        if Path::new("/proc/pressure").exists() {
            run.shell(": > /proc/pressure/memory").refused();
        }
        for line in table.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let (target, options) = (fields[4], fields[5]);
            let has = |option: &str| options.split(',').any(|one| one == option);
            assert!(has("nosuid"), "{line}");
            assert!(has("nodev") || target.starts_with("/dev/"), "{line}");
            let is_writable = ["/tmp", "/home/agent", "/dev/shm", "/dev/pts", "/proc", own]
                .contains(&target)
                || target.starts_with("/dev/");
            assert!(has("ro") || is_writable, "{line}");
            // Nothing propagates to or from the host.
            assert!(
                !line.contains("shared:") && !line.contains("master:"),
                "{line}"
            );
        }
    });
}

#[test]
fn the_output_directory_is_read_from_outside_when_nothing_lives_there_any_more() {
    for_each_starter(|starter| {
        let mut policy = Policy::new(Isolation::Full);
        policy.output_bytes = Some(1 << 20);
        let run = build(starter, &policy);
        run.shell(
            "echo kept > /output/file && mkdir /output/deep && echo inner > /output/deep/file",
        )
        .success();
        // It has its own limit, beside that of /tmp.
        run.shell("head -c 2000000 /dev/zero > /output/large")
            .refused();
        run.shell("rm /output/large && chmod 000 /output").success();
        let output = run.sandbox.output().expect("an output directory");
        let output = output.try_clone_to_owned().expect("a descriptor");
        drop(run);
        let open = nix::sys::stat::Mode::S_IRWXU;
        nix::sys::stat::fchmod(&output, open).expect("chmod");
        for (path, content) in [("file", "kept\n"), ("deep/file", "inner\n")] {
            let flags = nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_NOFOLLOW;
            let mode = nix::sys::stat::Mode::empty();
            let file = nix::fcntl::openat(&output, path, flags, mode).expect("opens");
            let text = std::io::read_to_string(fs::File::from(file)).expect("reads");
            assert_eq!(text, content);
        }
    });
}

#[test]
fn a_sandbox_has_no_output_directory_unless_it_is_asked_for() {
    for_each_starter(|starter| {
        let run = full(starter);
        assert!(run.sandbox.output().is_none());
        run.shell("test ! -e /output").success();
    });
}

#[test]
fn a_target_that_is_missing_below_a_bind_is_not_made_in_the_host() {
    for_each_starter(|starter| {
        for target in ["missing/place", "missing"] {
            let host = workspace(starter);
            let mut policy = with_workspace(host.path(), Access::ReadWrite);
            let inside = policy
                .workspace
                .as_ref()
                .expect("a workspace")
                .inside
                .clone();
            policy.binds = vec![Bind {
                source: "/usr/bin".into(),
                target: inside.join(target),
                access: Access::ReadOnly,
            }];
            let error = spawn_helper(starter)
                .build(policy.plan().expect("plans"), LIMIT)
                .expect_err("refused");
            let failure = error.failure().expect("a step");
            assert_eq!(failure.step, Step::MakeEntry, "{failure}");
            let told = failure.to_string();
            assert!(told.contains("make it on the host first"), "{told}");
            let mut entries = fs::read_dir(host.path()).expect("lists");
            assert!(entries.next().is_none(), "{starter:?}: {target} was made");
        }
    });
}
