//! System calls that the filter refuses, and those beside them that it must not.

use crate::harness::{
    Run, Starter, build, for_each_starter, full, is_root, launch, null, skip, workspace,
};
use std::collections::BTreeMap;
use std::path::Path;
use stockade_sandbox::{
    Access, CallGroup, DENIALS, End, Isolation, Landlock, Layer, Policy, TerminalSize, Workspace,
};

/// Calls with six arguments of -1, which no call takes for good: without a filter they fail otherwise.
const CALL_ALL: &str = r"
import ctypes, sys
c = ctypes.CDLL(None, use_errno=True)
for number in map(int, sys.argv[1:]):
    ctypes.set_errno(0)
    c.syscall(ctypes.c_long(number), *[ctypes.c_long(-1)] * 6)
    print(number, ctypes.get_errno())
";

/// One call, its arguments as they stand; prints its errno, 0 when it succeeded.
const CALL_ONE: &str = r"
import ctypes, os, sys
c = ctypes.CDLL(None, use_errno=True)
def text(argument):
    return ctypes.c_char_p(argument[1:].encode()) if argument.startswith('=') else ctypes.c_ulong(int(argument, 0))
result = c.syscall(*[text(argument) for argument in sys.argv[1:]])
if result == 0 and int(sys.argv[1], 0) == CLONE: os._exit(0)
print(0 if result >= 0 else ctypes.get_errno())
";

const EPERM: i32 = 1;
const ENOSYS: i32 = 38;
const EPROTONOSUPPORT: i32 = 93;
const EAFNOSUPPORT: i32 = 97;

fn answers(run: &Run, numbers: &[String]) -> BTreeMap<u32, i32> {
    let mut arguments = vec!["python3", "-c", CALL_ALL];
    arguments.extend(numbers.iter().map(String::as_str));
    let text = run.output(launch(&arguments)).success();
    text.lines()
        .filter_map(|line| {
            let (number, errno) = line.split_once(' ')?;
            Some((number.parse().ok()?, errno.parse().ok()?))
        })
        .collect()
}

fn call(run: &Run, arguments: &[&str]) -> i32 {
    let script = CALL_ONE.replace("CLONE", &nix::libc::SYS_clone.to_string());
    let mut line = vec!["python3", "-c", &script];
    line.extend(arguments);
    let text = run.output(launch(&line)).success();
    text.trim().parse().expect("an errno")
}

fn none(starter: Starter) -> Run {
    build(starter, &Policy::new(Isolation::None))
}

#[test]
fn every_call_that_is_always_denied_gets_the_answer_of_the_table() {
    let rows = || DENIALS.iter().filter(|row| row.checks.is_empty());
    let numbers: Vec<String> = rows()
        .flat_map(|row| row.calls)
        .map(|call| call.number.to_string())
        .collect();
    for_each_starter(|starter| {
        let run = full(starter);
        assert!(run.sandbox.enforced().has(Layer::Seccomp));
        let answers = answers(&run, &numbers);
        for row in rows() {
            for call in row.calls {
                let answer = answers.get(&call.number).copied();
                assert_eq!(answer, Some(row.answer as i32), "{}", call.name);
            }
        }
    });
    // The twin: the same calls, as root and without a filter, fail for what they were given.
    if !is_root() {
        return skip("to an ordinary user the kernel itself refuses most of them");
    }
    let without = answers(&none(Starter::Root), &numbers);
    let told_apart = rows()
        .flat_map(|row| row.calls.iter().map(move |call| (row, call)))
        .filter(|(row, call)| without.get(&call.number) != Some(&(row.answer as i32)));
    let names: Vec<_> = told_apart.map(|(_, call)| call.name).collect();
    assert!(names.len() >= 45, "{names:?}");
}

#[test]
fn arguments_decide_where_the_table_says_so() {
    use nix::libc;
    let number = |number: libc::c_long| number.to_string();
    let [clone, socket, socketpair, personality] = [
        number(libc::SYS_clone),
        number(libc::SYS_socket),
        number(libc::SYS_socketpair),
        number(libc::SYS_personality),
    ];
    // NEWUSER, NEWNS, NEWNET and a plain fork; SIGCHLD is 17.
    let clone = clone.as_str();
    let socket = socket.as_str();
    let table: &[(&[&str], i32, i32)] = &[
        (&[clone, "0x10000011", "0", "0", "0", "0"], EPERM, 0),
        (
            &[clone, "0x1000000020011", "0", "0", "0", "0"],
            EPERM,
            EPERM,
        ),
        (&[clone, "17", "0", "0", "0", "0"], 0, 0),
        (&[socket, "40", "1", "0"], EAFNOSUPPORT, 0),
        (&[socket, "0x100000028", "1", "0"], EAFNOSUPPORT, 0),
        (&[socket, "38", "5", "0"], EAFNOSUPPORT, EAFNOSUPPORT),
        (&[socket, "17", "3", "0"], EAFNOSUPPORT, EPERM),
        (&[socket, "31", "3", "0"], EAFNOSUPPORT, EAFNOSUPPORT),
        (
            &[socketpair.as_str(), "30", "1", "0", "0"],
            EAFNOSUPPORT,
            EAFNOSUPPORT,
        ),
        (&[socket, "2", "3", "1"], EPERM, EPERM),
        (&[socket, "2", "10", "0"], EPERM, EPERM),
        (&[socket, "2", "1", "132"], EPROTONOSUPPORT, EPROTONOSUPPORT),
        (&[socket, "16", "3", "9"], EPROTONOSUPPORT, 0),
        (&[socket, "16", "3", "0"], 0, 0),
        (&[socket, "1", "1", "0"], 0, 0),
        (&[socket, "2", "0x80801", "6"], 0, 0),
        (&[socket, "10", "0x80002", "17"], 0, 0),
        (&[personality.as_str(), "0x40000"], EPERM, 0),
        (&[personality.as_str(), "0xffffffff"], 0, 0),
    ];
    for_each_starter(|starter| {
        let (with, without) = (full(starter), none(Starter::User));
        for (arguments, filtered, plain) in table {
            assert_eq!(call(&with, arguments), *filtered, "{arguments:?}");
            // What a kernel lacks it answers by itself; what it has must work where nothing is filtered.
            if *plain == 0 {
                let answer = call(&without, arguments);
                assert!(
                    answer == 0 || matches!(answer, EAFNOSUPPORT | EPROTONOSUPPORT),
                    "{arguments:?}: {answer}"
                );
            }
        }
    });
}

#[test]
fn setuid_and_setgid_bits_cannot_be_set_on_any_way() {
    for_each_starter(|starter| {
        let host = workspace(starter);
        let mut policy = Policy::new(Isolation::Full);
        policy.workspace = Some(Workspace {
            host: host.path().to_path_buf(),
            inside: host.path().to_path_buf(),
            access: Access::ReadWrite,
        });
        let run = build(starter, &policy);
        let script = r"
import os, sys, ctypes
os.umask(0)
os.chdir(sys.argv[1])
open('file', 'w').close()
c = ctypes.CDLL(None, use_errno=True)
def refused(what, act, errno=1):
    try: act()
    except OSError as error: assert error.errno == errno, (what, error)
    else: raise SystemExit(what + ' was allowed')
def raw(number, *arguments):
    if c.syscall(number, *arguments) < 0: raise OSError(ctypes.get_errno(), 'raw')
descriptor = os.open('file', os.O_RDWR)
root = os.open('.', os.O_RDONLY)
for mode in (0o4755, 0o2755, 0o6777):
    refused('chmod', lambda: os.chmod('file', mode))
    refused('fchmod', lambda: os.fchmod(descriptor, mode))
    refused('fchmodat', lambda: os.chmod('file', mode, dir_fd=root))
    refused('fchmodat2', lambda: raw(452, root, b'file', mode, 0))
    refused('open', lambda: os.open('made', os.O_CREAT | os.O_WRONLY, mode))
    refused('tmpfile', lambda: os.open('.', os.O_TMPFILE | os.O_WRONLY, mode))
    refused('mknod', lambda: os.mknod('made', mode | 0o100000))
    how = (ctypes.c_uint64 * 3)(os.O_CREAT | os.O_WRONLY, mode, 0)
    refused('openat2', lambda: raw(437, root, b'made', how, 24), 38)
    if os.uname().machine == 'x86_64':
        refused('creat', lambda: raw(85, b'made', mode))
        refused('old open', lambda: raw(2, b'made', os.O_CREAT | os.O_WRONLY, mode))
        refused('old chmod', lambda: raw(90, b'file', mode))
        refused('old mknod', lambda: raw(133, b'made', mode | 0o100000, 0))
assert not os.path.exists('made')
# What is allowed beside them: every other bit, and a mode that is not read.
os.chmod('file', 0o755)
os.mkdir('directory', 0o1777)
os.chmod('directory', 0o1777)
os.close(os.open('made', os.O_CREAT | os.O_WRONLY, 0o755))
raw(257, root, b'file', os.O_RDONLY, 0o4755)
";
        let path = host.path().to_str().expect("path");
        run.output(launch(&["python3", "-c", script, path]))
            .success();
        for entry in std::fs::read_dir(host.path()).expect("directory").flatten() {
            let mode = std::os::unix::fs::MetadataExt::mode(&entry.metadata().expect("metadata"));
            assert_eq!(mode & 0o6000, 0, "{:?}", entry.path());
        }
    });
}

#[test]
fn nobody_types_into_a_terminal() {
    // TIOCSTI and TIOCLINUX, also with upper bits that a comparison of 64 would not see past.
    let script = r"
import ctypes, fcntl, os, sys, termios
c = ctypes.CDLL(None, use_errno=True)
for request in (0x5412, 0x541c, 0x5423, 0x100005412, 0xffffffff0000541c):
    result = c.syscall(ctypes.c_long(IOCTL), ctypes.c_long(0), ctypes.c_ulong(request), b'x')
    assert (result, ctypes.get_errno()) == (-1, 1), (hex(request), result, ctypes.get_errno())
termios.tcgetattr(0)
fcntl.ioctl(0, termios.TIOCGWINSZ, b'........')
"
    .replace("IOCTL", &nix::libc::SYS_ioctl.to_string());
    for_each_starter(|starter| {
        let run = full(starter);
        let size = TerminalSize {
            columns: 80,
            rows: 24,
        };
        let terminal = run.sandbox.open_terminal(size).expect("a terminal");
        let mut launch = launch(&["python3", "-c", &script]);
        launch.stdio[0] = terminal.slave.try_clone().expect("clone");
        run.output(launch).success();
    });
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_i386_entry_ends_the_process_and_x32_is_not_there() {
    // mov eax, 20 (getpid of i386); int 0x80; ret.
    let script = r"
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex('b814000000cd80c3'))
print('before', flush=True)
print(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))() > 0)
";
    for_each_starter(|starter| {
        let run = full(starter);
        let killed = run.python(script);
        let by_sigsys = End::Signaled {
            signal: nix::libc::SIGSYS,
            core_dumped: false,
        };
        assert_eq!(
            (killed.report.end, killed.text.as_str()),
            (by_sigsys, "before\n")
        );
        // getpid of x32.
        assert_eq!(call(&run, &["0x40000027"]), ENOSYS);
        run.shell("true").success();
    });
    let without = none(Starter::User).python(script);
    // A kernel without the i386 entry ends the process as well, but not with SIGSYS.
    let sigsys = End::Signaled {
        signal: nix::libc::SIGSYS,
        core_dumped: false,
    };
    assert_ne!(without.report.end, sigsys, "{without:?}");
}

#[test]
fn a_policy_that_allows_calls_is_reported_as_weaker() {
    for_each_starter(|starter| {
        let mut policy = Policy::new(Isolation::Full);
        policy.allowed_calls = vec![CallGroup::Namespaces, CallGroup::Mounts];
        policy.landlock = Landlock::LeaveOff;
        let run = build(starter, &policy);
        run.shell("unshare -Urm mount -t tmpfs none /tmp").success();
        let missing = &run.sandbox.enforced().missing;
        let reason = missing
            .iter()
            .find(|entry| entry.layer == Layer::Seccomp)
            .map(|entry| entry.reason.as_str());
        let expected = "only in part: the policy allows the calls of namespaces, mounts";
        assert_eq!(reason, Some(expected));
        // The rest of the table holds, also in the nested namespace.
        let key = call(&run, &[&nix::libc::SYS_keyctl.to_string(), "0", "0"]);
        assert_eq!(key, EPERM);
    });
}

#[test]
fn debuggers_and_threads_and_everyday_programs_work() {
    let have = |program: &str| {
        ["/usr/bin", "/bin", "/usr/local/bin"]
            .iter()
            .any(|directory| Path::new(directory).join(program).exists())
    };
    let programs = [
        (
            "python3",
            "python3 -c 'import threading, subprocess; t = threading.Thread(target=print, args=(1,)); t.start(); t.join(); subprocess.run([\"true\"], check=True)'",
        ),
        (
            "node",
            "node -e 'require(\"fs\").promises.readFile(\"/etc/passwd\").then(() => new (require(\"worker_threads\").Worker)(\"1\", {eval: true}))'",
        ),
        (
            "git",
            "cd /tmp && git init -q repository && cd repository && echo x > x && git add x && git -c user.name=n -c user.email=e commit -qm m && git gc -q",
        ),
        (
            "gcc",
            "cd /tmp && echo 'int main(void) { return 0; }' > x.c && gcc -o x x.c && ./x",
        ),
        (
            "strace",
            "strace -f -o /tmp/trace sh -c 'true; /bin/true' && grep -q execve /tmp/trace",
        ),
        (
            "gdb",
            "gdb -nx -batch -ex run -ex 'info proc' --args /bin/true 2>&1 | grep -q 'exited normally'",
        ),
        (
            "tmux",
            "export LANG=C.UTF-8; tmux -f /dev/null new-session -d 'sleep 600' && tmux list-sessions && tmux kill-server",
        ),
    ];
    for_each_starter(|starter| {
        let run = full(starter);
        for (program, script) in programs {
            if !have(program) {
                skip(&format!("there is no {program}"));
                continue;
            }
            let mut launch = launch(&["sh", "-ec", script]);
            launch.env.push(("HOME".into(), "/home/agent".into()));
            launch.env.push(("TERM".into(), "xterm".into()));
            launch.stdio[0] = null().into();
            let output = run.output(launch);
            assert_eq!(
                output.report.end,
                End::Exited { code: 0 },
                "{program}: {output:?}"
            );
        }
    });
}
