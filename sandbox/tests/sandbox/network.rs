//! The network that the workload sees.

use crate::harness::{Starter, build, for_each_starter, full};
use std::io::Read;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use stockade_sandbox::{Isolation, Layer, Network, PROXY_ADDRESS, Policy};

/// Connects to a port of the loopback address.
fn connect(port: u16) -> String {
    format!("import socket; socket.create_connection(('127.0.0.1', {port}), 5)")
}

#[test]
fn network_none_has_loopback_and_nothing_else() {
    for_each_starter(|starter| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
        let port = listener.local_addr().expect("address").port();
        let run = full(starter);
        assert_eq!(
            run.python("import socket; print(socket.if_nameindex())")
                .success(),
            "[(1, 'lo')]\n"
        );
        run.python(&connect(port)).refused();
        run.python(
            "import socket; s = socket.create_server(('127.0.0.1', 0)); \
             socket.create_connection(s.getsockname(), 5); s.accept()",
        )
        .success();
        assert!(run.sandbox.enforced().has(Layer::NetworkNamespace));
        // An abstract socket of the host is in its network namespace, a path socket is not in the private root.
        let name = format!("stockade-test-{port}");
        let address = SocketAddr::from_abstract_name(&name).expect("address");
        let _listening = UnixListener::bind_addr(&address).expect("listens");
        run.python(&format!(
            "import socket; socket.socket(socket.AF_UNIX).connect('\\0{name}')"
        ))
        .refused();
    });
}

#[test]
fn network_proxy_has_loopback_and_a_listener_that_the_supervisor_holds() {
    for_each_starter(|starter| {
        let mut policy = Policy::new(Isolation::Full);
        policy.network = Network::Proxy;
        policy.output_bytes = Some(1 << 20);
        let run = build(starter, &policy);
        let listener = run.sandbox.listener().expect("listener");
        let listener = TcpListener::from(listener.try_clone_to_owned().expect("descriptor"));
        assert_eq!(listener.local_addr().expect("address"), PROXY_ADDRESS);
        assert!(run.sandbox.output().is_some());
        assert!(run.sandbox.enforced().has(Layer::NetworkNamespace));
        // Its port is taken inside, and no program has a descriptor of it.
        run.python("import socket; socket.create_server(('127.0.0.1', 3128))")
            .refused();
        let open = run.python("import os; print(sorted(os.listdir('/proc/self/fd')))");
        assert_eq!(open.success(), "['0', '1', '2', '3']\n");
        let client = run.start(&[
            "python3",
            "-c",
            "import socket; socket.create_connection(('127.0.0.1', 3128), 5).sendall(b'hello')",
        ]);
        let (mut stream, from) = listener.accept().expect("accepts");
        assert!(from.ip().is_loopback());
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("reads");
        assert_eq!(text, "hello");
        let report = run.sandbox.wait_report(crate::harness::LIMIT);
        let report = report.expect("report");
        assert_eq!((report.launch, report.status), (client, 0));
    });
}

#[test]
fn network_host_reaches_the_host_and_says_so() {
    for_each_starter(|starter| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
        let port = listener.local_addr().expect("address").port();
        let mut policy = Policy::new(Isolation::Full);
        policy.network = Network::Host;
        let run = build(starter, &policy);
        run.python(&connect(port)).success();
        let enforced = run.sandbox.enforced();
        assert!(
            enforced
                .missing
                .iter()
                .any(|entry| entry.layer == Layer::NetworkNamespace),
            "{enforced:?}"
        );
    });
}

#[test]
fn launches_share_one_loopback() {
    let run = full(Starter::User);
    let server = "import socket; s = socket.create_server(('127.0.0.1', 7777)); open('/tmp/up', 'w'); s.accept()";
    let server = run.start(&["python3", "-c", server]);
    let client = run.start(&[
        "sh", "-c",
        "until test -e /tmp/up; do :; done; python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 7777), 5)'",
    ]);
    let mut ended = [
        run.sandbox.wait_report(crate::harness::LIMIT),
        run.sandbox.wait_report(crate::harness::LIMIT),
    ]
    .map(|report| report.expect("report"));
    ended.sort_by_key(|report| report.launch);
    assert_eq!(
        ended.each_ref().map(|report| report.launch),
        [server, client]
    );
    assert!(ended.iter().all(|report| report.status == 0), "{ended:?}");
}
