//! Who the workload is, and what it cannot do to the init and the kernel.

use crate::harness::{Starter, USER, build, for_each_starter, full, is_root, launch, skip};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use stockade_sandbox::{CallGroup, End, FIRST_HOST_ID, Isolation, Landlock, Layer, Policy};

#[test]
fn the_workload_has_an_unprivileged_id_on_the_host() {
    for_each_starter(|starter| {
        let run = full(starter);
        let mark = crate::harness::mark();
        run.start(&["sleep", &mark]);
        let owners: Vec<u32> = fs::read_dir("/proc")
            .expect("procfs")
            .flatten()
            .filter(|entry| {
                fs::read(entry.path().join("cmdline"))
                    .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&mark))
            })
            .filter_map(|entry| Some(fs::metadata(entry.path()).ok()?.uid()))
            .collect();
        let expected = match starter {
            Starter::Root => FIRST_HOST_ID + run.helper.pid().unsigned_abs(),
            Starter::User if is_root() => USER,
            Starter::User => nix::unistd::geteuid().as_raw(),
        };
        assert_eq!(owners, [expected]);
        assert!(run.sandbox.enforced().has(Layer::UnprivilegedId));
    });
}

#[test]
fn the_workload_has_no_privilege() {
    for_each_starter(|starter| {
        let run = full(starter);
        let status = run.output(launch(&["cat", "/proc/self/status"])).success();
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert!(
                status.contains(&format!("{set}:\t0000000000000000\n")),
                "{status}"
            );
        }
        assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
        if starter == Starter::Root {
            assert!(status.contains("Groups:\t \n"), "{status}");
        }
        run.shell("hostname elsewhere").refused();
        assert_eq!(run.shell("uname -n").success(), "stockade\n");
    });
}

#[test]
fn the_init_reveals_nothing_and_cannot_be_harmed() {
    for_each_starter(|starter| {
        let run = full(starter);
        run.shell("cat /proc/1/environ").refused();
        let line = run.shell("tr -d '\\0' < /proc/1/cmdline").success();
        assert_eq!(line, "");
        assert_eq!(run.shell("cat /proc/1/comm").success(), "stockade-init\n");
        for path in ["exe", "cwd", "root"] {
            run.shell(&format!("readlink /proc/1/{path}")).refused();
        }
        for path in ["fd", "maps", "mem"] {
            run.shell(&format!("ls /proc/1/{path}/ || cat /proc/1/{path}"))
                .refused();
        }
        let attach = "import ctypes, sys; c = ctypes.CDLL(None, use_errno=True); sys.exit(c.ptrace(16, PID, 0, 0) != 0)";
        run.python(&attach.replace("PID", "1")).refused();
        run.python(&format!(
            "import os, time\nif (p := os.fork()) == 0: time.sleep(600)\nPID = p\ntry:\n    {}\nfinally: os.kill(p, 9)",
            attach.replace("; ", "\n    ")
        ))
        .success();
        run.shell("kill -9 1; kill -TERM 1; kill -STOP 1; true")
            .success();
        run.shell("true").success();
        let own = run.shell("kill -TERM $$; echo alive");
        assert_eq!(
            own.report.end,
            End::Signaled {
                signal: 15,
                core_dumped: false
            }
        );
        let pid: u32 = run.shell("echo $$").success().trim().parse().expect("pid");
        assert!(pid > 1);
    });
}

#[test]
fn switches_of_the_kernel_stay_closed() {
    for_each_starter(|starter| {
        let run = full(starter);
        for path in [
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/hostname",
            "/proc/sys/vm/overcommit_memory",
            "/proc/sysrq-trigger",
            "/proc/sys/net/ipv4/ip_forward",
            "/proc/sys/user/max_user_namespaces",
        ] {
            run.shell(&format!("echo 1 > {path}")).refused();
        }
        run.shell("cat /proc/sys/kernel/core_pattern /proc/meminfo /proc/cpuinfo")
            .success();
        for path in [
            "/proc/kcore",
            "/proc/kallsyms",
            "/proc/keys",
            "/proc/timer_list",
            "/proc/kmsg",
        ] {
            if fs::exists(path).unwrap_or(false) {
                run.shell(&format!("head -c 1 {path}")).refused();
            }
        }
    });
}

#[test]
fn mounts_cannot_be_changed_even_from_a_nested_user_namespace() {
    for_each_starter(|starter| {
        full(starter).shell("unshare -Urm true").refused();
        let mut policy = Policy::new(Isolation::Full);
        policy.allowed_calls = vec![CallGroup::Namespaces, CallGroup::Mounts];
        policy.landlock = Landlock::LeaveOff;
        let run = build(starter, &policy);
        for command in [
            "mount -t tmpfs none /tmp",
            "umount /etc/shadow",
            "umount /proc/sys",
            "mount -o remount,rw /",
            "unshare -m true",
            "unshare -n true",
            "chroot / true",
        ] {
            run.shell(command).refused();
        }
        // A nested user namespace has capabilities over its own mounts, but those that it inherits are locked.
        run.shell("unshare -Urm true").success();
        for command in [
            "umount /etc/shadow",
            "umount -l /proc/sys",
            "umount /tmp",
            "mount -o remount,bind,rw /usr",
            "mount -o remount,bind,rw /proc/sys",
            "echo core > /proc/sys/kernel/core_pattern",
            "mount -o remount,bind,rw / && touch /x",
            "chmod 777 /etc/shadow",
            "mkdir /tmp/copy && mount --bind /proc /tmp/copy",
            "mkdir /tmp/etc && mount --bind /etc /tmp/etc",
        ] {
            run.shell(&format!("unshare -Urm sh -c '{command}'"))
                .refused();
        }
        // Its root may open the mask, which is empty.
        let shadow = run.shell("unshare -Urm cat /etc/shadow");
        assert!(
            shadow.text.is_empty() || shadow.report.status != 0,
            "{shadow:?}"
        );
        // A procfs that the nested namespaces mount anew must not show more than this one does.
        run.shell("unshare -Urmpf sh -c 'mount -t proc none /proc && echo core > /proc/sys/kernel/core_pattern'")
            .refused();
    });
}

#[test]
fn the_init_itself_has_no_privilege_and_no_descriptor_of_the_host() {
    for_each_starter(|starter| {
        let run = full(starter);
        let process = Path::new("/proc").join(run.sandbox.init_pid().to_string());
        let status = fs::read_to_string(process.join("status")).expect("status");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert!(
                status.contains(&format!("{set}:\t0000000000000000\n")),
                "{status}"
            );
        }
        assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
        // Not even its own user may list them from outside.
        if is_root() {
            let links = fs::read_dir(process.join("fd")).expect("descriptors");
            let mut names: Vec<String> = links
                .flatten()
                .filter_map(|entry| fs::read_link(entry.path()).ok())
                .map(|name| name.display().to_string())
                .map(|name| name.split(':').next().unwrap_or_default().to_owned())
                .collect();
            names.sort_unstable();
            let null = "/dev/null";
            let expected = [null, null, null, "anon_inode", "socket", "socket", "socket"];
            assert_eq!(names, expected);
        }
    });
}

#[test]
fn two_runs_of_root_have_different_ids_on_the_host() {
    if !is_root() {
        return skip("only root gives ids away");
    }
    let ids = [full(Starter::Root), full(Starter::Root)].map(|run| {
        run.start(&["sleep", "60"]);
        let status = format!("/proc/{}/status", run.sandbox.init_pid());
        let status = fs::read_to_string(status).expect("status");
        let line = status.lines().find(|line| line.starts_with("Uid:"));
        line.expect("an id").to_owned()
    });
    assert_ne!(ids[0], ids[1]);
}
