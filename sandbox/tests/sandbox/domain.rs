//! The Landlock domain: the second wall refuses what the first one would let through, and everyday work goes on.

use crate::harness::{
    LIMIT, Run, Starter, build, eventually, for_each_starter, full, is_root, launch, mark, marked,
    skip, with_workspace, workspace,
};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use stockade_sandbox::{
    Access, Bind, CallGroup, Isolation, Landlock, Layer, Network, Policy, TerminalSize,
};

/// Tells whether the kernel has a Landlock that is used, and skips the test if not.
fn has_landlock(run: &Run) -> bool {
    let enforced = run.sandbox.enforced();
    if enforced.has(Layer::Landlock) {
        assert!(enforced.landlock_abi >= Some(2), "{enforced:?}");
        return true;
    }
    skip("the kernel has no Landlock");
    false
}

fn left_off(mut policy: Policy) -> Policy {
    policy.landlock = Landlock::LeaveOff;
    policy
}

#[test]
fn the_version_is_reported_and_so_is_a_policy_that_leaves_it_off() {
    for_each_starter(|starter| {
        if !has_landlock(&full(starter)) {
            return;
        }
        let run = build(starter, &left_off(Policy::new(Isolation::Full)));
        let enforced = run.sandbox.enforced();
        let reason = enforced
            .missing
            .iter()
            .find(|entry| entry.layer == Layer::Landlock)
            .map(|entry| entry.reason.as_str());
        assert_eq!(reason, Some("the policy leaves it off"));
        assert_eq!(enforced.landlock_abi, None);
    });
}

#[test]
fn it_refuses_what_the_private_root_would_let_through() {
    for_each_starter(|starter| {
        let run = full(starter);
        if !has_landlock(&run) {
            return;
        }
        let without = build(starter, &left_off(Policy::new(Isolation::Full)));
        // A device file that anybody may make: overlayfs hides names with it.
        let device = "import os; os.mknod('/tmp/device', 0o20000 | 0o600, 0)";
        run.python(device).refused();
        without.python(device).success();
        // Even with the calls allowed, no mount.
        let mut policy = Policy::new(Isolation::Full);
        policy.allowed_calls = vec![CallGroup::Namespaces, CallGroup::Mounts];
        let mount = "unshare -Urm mount -t tmpfs none /tmp";
        build(starter, &policy).shell(mount).refused();
        build(starter, &left_off(policy)).shell(mount).success();
    });
}

#[test]
fn with_the_network_of_the_host_its_abstract_sockets_are_out_of_reach() {
    let name = format!("stockade-test-{}", mark());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let listener = UnixListener::bind_addr(&address).expect("listens");
    let connect = format!("import socket; socket.socket(socket.AF_UNIX).connect('\\0{name}')");
    for_each_starter(|starter| {
        let mut policy = Policy::new(Isolation::Full);
        policy.network = Network::Host;
        let run = build(starter, &policy);
        if !has_landlock(&run) {
            return;
        }
        if run.sandbox.enforced().landlock_abi < Some(6) {
            return skip("the kernel's Landlock has no scopes");
        }
        run.python(&connect).refused();
        build(starter, &left_off(policy)).python(&connect).success();
        // Abstract sockets of its own work.
        run.python(
            "import socket as s; a = s.socket(s.AF_UNIX); a.bind('\\0own'); a.listen(); s.socket(s.AF_UNIX).connect('\\0own')",
        )
        .success();
    });
    drop(listener);
}

#[test]
fn everyday_work_with_files_goes_on_wherever_the_policy_allows_writing() {
    const WORK: &str = r"
import ctypes, errno, fcntl, mmap, os, pty, socket, stat, sys
os.umask(0o022)
def work(place):
    os.chdir(place)
    os.makedirs('one/two'); os.mkdir('other')
    with open('one/two/file', 'w') as file:
        file.write('text'); file.flush(); os.fsync(file.fileno()); fcntl.flock(file, fcntl.LOCK_EX)
    open('one/two/file', 'w').close()
    os.truncate('one/two/file', 100)
    os.rename('one/two/file', 'other/moved')
    os.link('other/moved', 'one/linked')
    os.symlink('other/moved', 'one/link')
    os.rename('one/two', 'other/two')
    os.mkfifo('other/fifo'); os.chmod('other/fifo', 0o600)
    server = socket.socket(socket.AF_UNIX); server.bind('other/socket'); server.listen()
    socket.socket(socket.AF_UNIX).connect('other/socket')
    with open('other/moved', 'r+b') as file: mmap.mmap(file.fileno(), 100)[0] = 65
    os.close(os.open('.', os.O_TMPFILE | os.O_RDWR, 0o600))
    os.setxattr('other/moved', 'user.name', b'value') if place.startswith('/work') else None
    with open('program', 'w') as file: file.write('#!/bin/sh\nexit 7\n')
    os.chmod('program', 0o755)
    assert os.spawnl(os.P_WAIT, './program', 'program') == 7
    for name in ('one/linked', 'one/link', 'other/moved', 'other/fifo', 'other/socket', 'program'): os.unlink(name)
    for name in ('other/two', 'other', 'one'): os.rmdir(name)
for place in sys.argv[1:]: work(place)
# /dev and /proc.
for name in ('null', 'zero', 'full', 'tty'):
    try: os.close(os.open('/dev/' + name, os.O_RDWR))
    except OSError as error: assert (name, error.errno) == ('tty', errno.ENXIO), (name, error)
os.close(os.open('/dev/null', os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
with open('/dev/null', 'w') as null: assert not null.isatty()
with open('/proc/self/comm', 'w') as comm: comm.write('renamed')
assert open('/proc/self/comm').read() == 'renamed\n'
with open('/proc/self/oom_score_adj', 'w') as score: score.write('1000')
master, slave = pty.openpty()
os.write(master, b'x\n'); assert os.read(slave, 2) == b'x\n'
assert os.ttyname(slave).startswith('/dev/pts/')
os.close(os.open(os.ttyname(slave), os.O_RDWR))
# What has no name: pipes and memory, also opened again through /proc.
reader, writer = os.pipe()
os.write(os.open('/proc/self/fd/%d' % writer, os.O_WRONLY), b'x'); assert os.read(reader, 1) == b'x'
memory = os.memfd_create('memory')
os.close(os.open('/proc/self/fd/%d' % memory, os.O_RDWR))
# And nothing else.
for path in ('/file', '/etc/file', '/usr/file', '/dev/file', '/proc/file', '/var/file', '/home/file'):
    try: os.open(path, os.O_CREAT | os.O_WRONLY)
    except OSError as error: assert error.errno in (errno.EACCES, errno.EROFS, errno.ENOENT, errno.EPERM), (path, error)
    else: raise SystemExit(path)
";
    for_each_starter(|starter| {
        let (one, two, seen) = (workspace(starter), workspace(starter), workspace(starter));
        std::fs::write(seen.path().join("file"), "text").expect("writes");
        let mut policy = with_workspace(one.path(), Access::ReadWrite);
        policy.output_bytes = Some(1 << 20);
        for (directory, target, access) in [
            (&two, "/more", Access::ReadWrite),
            (&seen, "/seen", Access::ReadOnly),
        ] {
            policy.binds.push(Bind {
                source: directory.path().to_path_buf(),
                target: target.into(),
                access,
            });
        }
        for policy in [policy.clone(), left_off(policy)] {
            let run = build(starter, &policy);
            let own = one.path().to_str().expect("path");
            let places = [own, "/tmp", "/home/agent", "/dev/shm", "/output", "/more"];
            let mut line = vec!["python3", "-c", WORK];
            line.extend(places);
            run.output(launch(&line)).success();
            run.shell("cat /seen/file && ls / /usr /etc /proc && ! echo x > /seen/file")
                .success();
        }
    });
}

#[test]
fn a_file_that_is_bound_alone_is_written_and_a_terminal_is_controlled() {
    for_each_starter(|starter| {
        let host = workspace(starter);
        let file = host.path().join("file");
        std::fs::write(&file, "before").expect("writes");
        if starter == Starter::User && is_root() {
            let user = Some(crate::harness::USER);
            std::os::unix::fs::chown(&file, user, user).expect("chown");
        }
        let mut policy = Policy::new(Isolation::Full);
        policy.binds.push(Bind {
            source: file.clone(),
            target: "/data".into(),
            access: Access::ReadWrite,
        });
        let run = build(starter, &policy);
        run.shell("printf after > /data").success();
        assert_eq!(std::fs::read_to_string(&file).expect("reads"), "after");
        let size = TerminalSize {
            columns: 80,
            rows: 24,
        };
        let terminal = run.sandbox.open_terminal(size).expect("a terminal");
        let mut launch = launch(&[
            "sh",
            "-c",
            "stty -echo < /dev/tty && stty size > /tmp/size && grep -q '24 80' /tmp/size",
        ]);
        launch.stdio = [(); 3].map(|()| terminal.slave.try_clone().expect("clone"));
        let id = run.sandbox.launch(launch).expect("starts");
        assert_eq!(run.wait(id).status, 0);
    });
}

#[test]
fn signals_within_the_sandbox_work() {
    for_each_starter(|starter| {
        let run = full(starter);
        let mark = mark();
        let sleeper = run.start(&["sleep", &mark]);
        eventually("it runs", || marked(&mark) == 1);
        let killer = run.start(&["pkill", "-x", "sleep"]);
        let mut ends: Vec<_> = (0..2)
            .map(|_| run.sandbox.wait_report(LIMIT).expect("a report"))
            .map(|report| (report.launch, report.status))
            .collect();
        ends.sort_unstable();
        assert_eq!(ends, [(sleeper, 15), (killer, 0)]);
    });
}
