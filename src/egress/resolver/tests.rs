use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::thread::JoinHandle;

use super::*;

fn name(text: &str) -> HostName {
    HostName::parse(text).unwrap()
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn hosts_are_read_as_the_c_library_reads_them() {
    let text = "# 1.1.1.1 a.example\n127.0.0.1 localhost\n10.0.0.1\tA.Example. b.example # a.example\n\
                ::2 a.example\n10.0.0.1 a.example\n10.0.0.2 c.a.example\nnonsense a.example\n\n";
    for (host, expected) in [
        ("a.example", &["10.0.0.1", "::2"][..]),
        ("b.example", &["10.0.0.1"]),
        ("c.example", &[]),
    ] {
        assert_eq!(
            addresses_in_hosts(text, &name(host)),
            addresses(expected),
            "{host}"
        );
    }
}

#[test]
fn servers_are_read_within_bounds() {
    let servers = Servers::parse(
        "search example.com\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\nnameserver ::1\noptions rotate timeout:1 attempts:9\n\
         nameserver 10.0.0.2\nnameserver 10.0.0.3\n",
        53,
    );
    let expected = ["10.0.0.1:53", "[::1]:53", "10.0.0.2:53"];
    assert_eq!(
        servers.addresses,
        expected.map(|text| text.parse().unwrap())
    );
    assert_eq!(
        (servers.limit, servers.attempts),
        (Duration::from_secs(1), ATTEMPTS)
    );
    let unset = Servers::parse("options timeout:99 attempts:1\n", 53);
    assert_eq!(unset.addresses, ["127.0.0.1:53".parse().unwrap()]);
    assert_eq!((unset.limit, unset.attempts), (SERVER_LIMIT, 1));
}

/// A server that gives, for each question in turn, what `answer` makes of it.
struct Server {
    files: tempfile::TempDir,
    port: u16,
    thread: Option<JoinHandle<()>>,
    socket: UdpSocket,
}

impl Server {
    fn start(
        answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
        tcp: Option<TcpListener>,
    ) -> Self {
        let socket = match &tcp {
            Some(tcp) => UdpSocket::bind(tcp.local_addr().unwrap()).unwrap(),
            None => UdpSocket::bind("127.0.0.1:0").unwrap(),
        };
        let port = socket.local_addr().unwrap().port();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
        let own = socket.try_clone().unwrap();
        let serve = move || {
            let mut buffer = [0; 2_048];
            // An empty packet is the end.
            while let Ok((n_bytes @ 1.., from)) = own.recv_from(&mut buffer) {
                for packet in answer(&buffer[..n_bytes]) {
                    own.send_to(&packet, from).unwrap();
                }
                if let Some(tcp) = &tcp {
                    let (mut stream, _) = tcp.accept().unwrap();
                    let mut length = [0; 2];
                    stream.read_exact(&mut length).unwrap();
                    let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                    stream.read_exact(&mut question).unwrap();
                    let reply = reply(&question, 0x8180, &[[7, 7, 7, 7]]);
                    let length = u16::try_from(reply.len()).unwrap();
                    stream.write_all(&length.to_be_bytes()).unwrap();
                    stream.write_all(&reply).unwrap();
                }
            }
        };
        Self {
            files,
            port,
            thread: Some(std::thread::spawn(serve)),
            socket,
        }
    }

    fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let directory = self.files.path();
        let resolver = Resolver::with(
            &directory.join("hosts"),
            &directory.join("resolv.conf"),
            self.port,
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(resolver.lookup(&name(host)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let own = self.socket.local_addr().unwrap();
        self.socket.send_to(&[], own).unwrap();
        let joined = self.thread.take().unwrap().join();
        assert!(joined.is_ok() || std::thread::panicking());
    }
}

/// An answer to that question with addresses of IPv4, unless it asks for IPv6.
fn reply(question: &[u8], flags: u16, v4: &[[u8; 4]]) -> Vec<u8> {
    let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let is_v4 = question[end - 3] == 1;
    let v4 = if is_v4 { v4 } else { &[] };
    let mut out = question[..2].to_vec();
    out.extend_from_slice(&flags.to_be_bytes());
    out.extend_from_slice(&[0, 1, 0, u8::try_from(v4.len()).unwrap(), 0, 0, 0, 0]);
    out.extend_from_slice(&question[12..end]);
    for address in v4 {
        out.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        out.extend_from_slice(address);
    }
    out
}

#[test]
fn a_name_is_asked_for_and_a_forged_answer_before_the_true_one_is_passed_over() {
    let server = Server::start(
        |question| {
            let mut forged = reply(question, 0x8180, &[[6, 6, 6, 6]]);
            forged[0] ^= 0xff;
            vec![
                forged,
                reply(question, 0x8180, &[[1, 2, 3, 4], [1, 2, 3, 5]]),
            ]
        },
        None,
    );
    let found = server.lookup("a.example").unwrap();
    assert_eq!(found, addresses(&["1.2.3.4", "1.2.3.5"]));
}

#[test]
fn hosts_come_before_the_servers_and_localhost_before_both() {
    let server = Server::start(
        |question| vec![reply(question, 0x8180, &[[1, 2, 3, 4]])],
        None,
    );
    std::fs::write(
        server.files.path().join("hosts"),
        "10.0.0.9 a.example a.localhost\n",
    )
    .unwrap();
    assert_eq!(
        server.lookup("a.example").unwrap(),
        addresses(&["10.0.0.9"])
    );
    assert_eq!(server.lookup("b.example").unwrap(), addresses(&["1.2.3.4"]));
    assert_eq!(server.lookup("a.localhost").unwrap(), LOOPBACK);
}

#[test]
fn a_name_that_does_not_exist_and_a_server_that_fails_are_told_apart() {
    let none = Server::start(|question| vec![reply(question, 0x8183, &[])], None);
    assert!(matches!(
        none.lookup("a.example"),
        Err(ResolveError::NoAddress)
    ));
    let failing = Server::start(|question| vec![reply(question, 0x8182, &[])], None);
    assert!(matches!(
        failing.lookup("a.example"),
        Err(ResolveError::Failed)
    ));
}

#[test]
fn an_answer_that_does_not_fit_is_asked_for_over_tcp() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::start(|question| vec![reply(question, 0x8380, &[])], Some(tcp));
    assert_eq!(server.lookup("a.example").unwrap(), addresses(&["7.7.7.7"]));
}
