//! What a workload of the tier container reaches of the container: of its network and of its processes.

use crate::container::{container, policy};
use crate::harness::{
    LIMIT, Run, Starter, USER, build, eventually, for_each_starter, is_root, mark, marked,
};
use crate::lifetime::send;
use nix::sys::signal::Signal;
use std::io::Read;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use stockade_sandbox::{End, Network, Target};

/// A process outside of the sandbox with the id of whoever started it; it ends with the test.
struct Bystander(std::process::Child);

impl Bystander {
    fn start(starter: Starter, mark: &str) -> Self {
        let mut command = Command::new("sleep");
        command.arg(mark).stdout(Stdio::null());
        if starter == Starter::User && is_root() {
            command.uid(USER).gid(USER);
        }
        let child = command.spawn().expect("starts");
        eventually("it runs", || marked(mark) == 1);
        Self(child)
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Tries a socket and prints the name of the error, or `made`.
fn socket(family: &str, kind: &str, protocol: i32) -> String {
    format!(
        "import errno, socket\ntry: socket.socket(socket.{family}, socket.{kind}, {protocol}); print('made')\nexcept OSError as e: print(errno.errorcode[e.errno])"
    )
}

#[test]
fn with_no_network_no_socket_of_the_container_is_made() {
    for_each_starter(|starter| {
        let (run, _scratch) = container(starter);
        for (family, kind) in [
            ("AF_INET", "SOCK_STREAM"),
            ("AF_INET6", "SOCK_STREAM"),
            ("AF_INET", "SOCK_DGRAM"),
            ("AF_NETLINK", "SOCK_RAW"),
            ("AF_VSOCK", "SOCK_STREAM"),
        ] {
            let answer = run.python(&socket(family, kind, 0)).success();
            assert_eq!(answer, "EAFNOSUPPORT\n", "{family} {kind}");
        }
        for kind in ["SOCK_STREAM", "SOCK_DGRAM"] {
            assert_eq!(run.python(&socket("AF_UNIX", kind, 0)).success(), "made\n");
        }
        // Also of another process of the container with an abstract name.
        let name = format!("stockade-container-{}", mark());
        let address = SocketAddr::from_abstract_name(&name).expect("address");
        let _listening = UnixListener::bind_addr(&address).expect("listens");
        run.python(&format!(
            "import socket; socket.socket(socket.AF_UNIX).connect('\\0{name}')"
        ))
        .refused();
        run.python(
            "import socket; a = socket.socket(socket.AF_UNIX); a.bind('\\0own'); a.listen(); \
             socket.socket(socket.AF_UNIX).connect('\\0own')",
        )
        .success();
    });
}

#[test]
fn with_a_proxy_tcp_leads_to_its_port_and_nothing_leads_around_it() {
    for_each_starter(|starter| {
        let (mut policy, _scratch) = policy(starter);
        policy.network = Network::Proxy;
        let run = build(starter, &policy);
        let listener = run.sandbox.listener().expect("listener");
        let listener = TcpListener::from(listener.try_clone_to_owned().expect("descriptor"));
        let port = listener.local_addr().expect("address").port();
        let client = run.start(&[
            "python3",
            "-c",
            &format!("import socket; socket.create_connection(('127.0.0.1', {port}), 5).sendall(b'hello')"),
        ]);
        let mut heard = String::new();
        let (mut stream, _) = listener.accept().expect("accepts");
        stream.read_to_string(&mut heard).expect("reads");
        assert_eq!(heard, "hello");
        assert_eq!(run.wait(client).end, End::Exited { code: 0 });

        let other = TcpListener::bind("127.0.0.1:0").expect("listens");
        let other = other.local_addr().expect("address").port();
        let closed = [
            format!("s = socket.create_connection(('127.0.0.1', {other}), 5)"),
            "socket.socket().bind(('127.0.0.1', 0))".to_owned(),
            format!("socket.socket().sendto(b'x', 0x20000000, ('127.0.0.1', {other}))"),
            format!("socket.socket().sendmsg([b'x'], [], 0x20000000, ('127.0.0.1', {other}))"),
            "socket.socket().setsockopt(6, 30, 1)".to_owned(),
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)".to_owned(),
            "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)".to_owned(),
            "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)".to_owned(),
            "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)".to_owned(),
        ];
        for attempt in closed {
            let text = run.python(&format!("import socket\n{attempt}")).refused();
            assert!(text.contains("Error"), "{attempt}: {text}");
        }
        run.python("import socket; socket.socket().setsockopt(6, 1, 1)")
            .success();
    });
}

#[test]
fn nobody_outside_is_signalled_traced_read_or_slowed_down() {
    for_each_starter(|starter| {
        let (run, _scratch) = container(starter);
        let mark = mark();
        let bystander = Bystander::start(starter, &mark);
        let outside = bystander.0.id();
        let attempts = [
            "os.kill({}, 0)",
            "os.kill({}, 9)",
            "signal.pidfd_send_signal(os.pidfd_open({}), 9)",
            "open('/proc/{}/environ').read()",
            "os.readlink('/proc/{}/fd/0')",
            "os.readlink('/proc/{}/cwd')",
            "open('/proc/{}/mem', 'rb')",
            "open('/proc/{}/oom_score_adj', 'w').write('1000')",
            "assert libc.ptrace(16, {}, 0, 0) == 0",
            "resource.prlimit({}, resource.RLIMIT_CPU, (1, 1))",
            "os.sched_setaffinity({}, [0])",
            "os.setpriority(os.PRIO_PROCESS, {}, 19)",
        ];
        let prelude = "import ctypes, os, resource, signal; libc = ctypes.CDLL(None)";
        for victim in [outside, run.helper.pid().unsigned_abs()] {
            for attempt in attempts {
                let attempt = attempt.replace("{}", &victim.to_string());
                run.python(&format!("{prelude}\n{attempt}")).refused();
            }
        }
        assert_eq!(marked(&mark), 1);
        // The twins, on itself and on a child of its own.
        for attempt in attempts
            .iter()
            .filter(|attempt| !attempt.contains("ptrace"))
        {
            let attempt = match *attempt {
                "open('/proc/{}/oom_score_adj', 'w').write('1000')" if starter == Starter::User => {
                    // Landlock closes /proc for writing where the id is shared.
                    continue;
                }
                attempt
                    if attempt.contains("prlimit")
                        || attempt.contains("sched")
                        || attempt.contains("priority") =>
                {
                    attempt.replace("{}", "0")
                }
                attempt => attempt.replace("{}", "child"),
            };
            let attempt = attempt.replace("'/proc/child", "f'/proc/{child}");
            run.python(&format!(
                "{prelude}, subprocess\nchild = subprocess.Popen(['sleep', '600']).pid\n{attempt}\nos.kill(child, 9)"
            ).replace(", subprocess", "\nimport subprocess"))
            .success();
        }
    });
}

#[test]
fn a_tree_that_is_deaf_is_killed_at_once_and_nobody_else() {
    for_each_starter(|starter| {
        let (run, _scratch) = container(starter);
        let (mark, other) = (mark(), mark());
        let _bystander = Bystander::start(starter, &other);
        run.shell(&format!(
            "trap '' TERM HUP INT; for i in 1 2 3 4 5 6 7 8 9 10; do setsid -f sleep {mark}; done"
        ))
        .success();
        eventually("all run", || marked(&mark) == 10);
        assert_eq!(run.sandbox.processes().expect("count"), 10);
        run.sandbox.signal(Target::All, 15).expect("signals");
        assert_eq!(marked(&mark), 10);
        let report = run.sandbox.kill_all(LIMIT).expect("kills");
        assert_eq!((report.killed, report.left), (10, 0), "{report:?}");
        assert_eq!((marked(&mark), marked(&other)), (0, 1));
        // It can be used again.
        run.shell("true").success();
    });
}

#[test]
fn nothing_survives_when_the_init_or_the_helper_of_a_container_is_killed() {
    for_each_starter(|starter| {
        for victim in [
            |run: &Run| run.helper.pid(),
            |run: &Run| run.sandbox.init_pid(),
        ] {
            let (run, _scratch) = container(starter);
            let mark = mark();
            run.shell(&format!("setsid setsid -f sleep {mark}"))
                .success();
            run.start(&["sleep", &mark]);
            eventually("both run", || marked(&mark) == 2);
            send(victim(&run), Signal::SIGKILL);
            eventually("nothing is left", || marked(&mark) == 0);
        }
    });
}
