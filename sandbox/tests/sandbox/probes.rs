//! Probes: what they see is what the workload sees.

use crate::harness::{LIMIT, Run, Starter, eventually, for_each_starter, full, null};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::time::Duration;
use stockade_sandbox::{End, MAX_SEEN_BYTES, Probe, Seen};

fn look(run: &Run, probe: Probe) -> Seen {
    let mut answer = tempfile::tempfile().expect("temporary file");
    let out: File = answer.try_clone().expect("clone");
    let id = run
        .sandbox
        .probe(
            probe,
            "/tmp".into(),
            [null().into(), out.into(), null().into()],
        )
        .expect("starts");
    assert_eq!(run.wait(id).end, End::Exited { code: 0 });
    let mut bytes = Vec::new();
    answer.rewind().expect("rewind");
    answer.read_to_end(&mut bytes).expect("bytes");
    Seen::from_wire(&bytes).expect("an answer")
}

fn file(path: &str) -> Probe {
    Probe::File { path: path.into() }
}

fn get(port: u16, timeout: Duration) -> Probe {
    Probe::Http {
        addresses: vec![([127, 0, 0, 1], port).into()],
        host: "localhost".to_owned(),
        target: "/hello?x=1".to_owned(),
        timeout,
    }
}

#[test]
fn a_file_is_seen_as_the_workload_sees_it() {
    for_each_starter(|starter| {
        let run = full(starter);
        run.shell("printf 'caf\\351' >/tmp/note; mkdir /tmp/dir; mkfifo /tmp/pipe; head -c 70000 /dev/zero >/tmp/big")
            .success();
        let note = Seen::File {
            content: b"caf\xe9".to_vec(),
            is_whole: true,
        };
        assert_eq!(look(&run, file("note")), note, "from the directory");
        assert_eq!(look(&run, file("/tmp/note")), note);
        assert_eq!(look(&run, file("/tmp/absent")), Seen::Nothing);
        assert_eq!(look(&run, file("/tmp/note/absent")), Seen::Nothing);
        for (path, kind) in [("/tmp/dir", "directory"), ("/tmp/pipe", "pipe")] {
            let kind = kind.to_owned();
            assert_eq!(look(&run, file(path)), Seen::Other { kind });
        }
        match look(&run, file("/tmp/big")) {
            Seen::File { content, is_whole } => {
                assert_eq!((content.len(), is_whole), (MAX_SEEN_BYTES, false));
            }
            other => panic!("{other:?}"),
        }
        // What the host has and the workload does not see is not there.
        let hidden = tempfile::NamedTempFile::new().expect("file of the host");
        assert!(Path::exists(hidden.path()));
        assert_eq!(
            look(&run, file(&hidden.path().display().to_string())),
            Seen::Nothing
        );
        run.shell("chmod 0 /tmp/note").success();
        let unreadable = Seen::Other {
            kind: "file that cannot be read".to_owned(),
        };
        assert_eq!(look(&run, file("/tmp/note")), unreadable);
    });
}

#[test]
fn a_server_of_the_workload_answers_and_one_of_the_host_does_not() {
    let run = full(Starter::User);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listens");
    let port = listener.local_addr().expect("address").port();
    match look(&run, get(port, LIMIT)) {
        Seen::Failed { why } => assert!(why.contains("refused"), "{why}"),
        other => panic!("the host's loopback was reached: {other:?}"),
    }
    let server = "import http.server as h
class H(h.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(203); self.end_headers(); self.wfile.write(self.path.encode())
h.HTTPServer(('127.0.0.1', 7788), H).serve_forever()";
    run.start(&["python3", "-c", server]);
    let expected = Seen::Answer {
        status: 203,
        body: b"/hello?x=1".to_vec(),
        is_whole: true,
    };
    eventually("the server answers", || {
        look(&run, get(7788, LIMIT)) == expected
    });
}

#[test]
fn a_server_that_does_not_answer_costs_its_timeout_and_no_more() {
    let run = full(Starter::User);
    let server = "import socket, time; s = socket.create_server(('127.0.0.1', 7799)); open('/tmp/up', 'w'); time.sleep(600)";
    run.start(&["python3", "-c", server]);
    run.shell("until test -e /tmp/up; do :; done").success();
    match look(&run, get(7799, Duration::from_millis(200))) {
        Seen::Failed { why } => assert_eq!(why, "no answer in time"),
        other => panic!("{other:?}"),
    }
}
