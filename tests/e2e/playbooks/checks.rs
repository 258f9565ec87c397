//! What steps expect of files, servers and output.

use serde_json::json;

use super::{attempts, playbook, steps};
use crate::harness::{RunBuilder, need::need};

#[test]
fn files_and_servers_are_looked_at_from_inside() {
    if need("python3").is_none() {
        return;
    }
    let run = playbook(
        "steps:\n  - {id: serve, run: 'mkdir -p /tmp/w && cd /tmp/w && echo hello >index.txt && (sleep 0.3; exec python3 -m http.server 8123 --bind 127.0.0.1) >/dev/null 2>&1 &', expect: {http: {url: 'http://localhost:8123/index.txt', matches: '^hello'}}, verify: {within: 10s, every: 50ms}}\n  - {id: missing, run: 'true', expect: {http: {url: 'http://127.0.0.1:8123/none', status: 404}, file: {path: /tmp/w/none, exists: false}}}\n  - {id: hidden, run: 'true', expect: {file: {path: /tmp/w/index.txt, contains: goodbye}}}\n",
    )
    .finish();
    assert_eq!(run.code(), 1, "{}\n{:#?}", run.stderr, attempts(&run));
    let status = run.recording.status();
    assert_eq!(status["error"]["code"], "AGENT_FAILED");
    assert_eq!(
        status["error"]["message"],
        "step hidden: the file /tmp/w/index.txt does not contain \"goodbye\"; it was \"hello\\n\""
    );
    assert_eq!(status["data"]["steps"]["missing"]["status"], "succeeded");
}

#[test]
fn a_look_that_gets_no_answer_is_given_up_and_looked_again() {
    if need("python3").is_none() {
        return;
    }
    // It takes connections and says nothing on the first one.
    let server = "import socket; s = socket.create_server(('127.0.0.1', 8124)); open('/tmp/up', 'w'); first = s.accept(); second, _ = s.accept(); second.recv(9999); second.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok'); s.accept()";
    let book = json!({"version": 1, "name": "test", "steps": [
        {"id": "serve", "run": "python3 -c \"$SERVER\" >/dev/null 2>&1 & until test -e /tmp/up; do :; done", "env": {"SERVER": server}},
        {"id": "ask", "run": "echo once >>/tmp/asked; wc -l </tmp/asked",
         "expect": {"http": {"url": "http://127.0.0.1:8124/", "matches": "^ok$", "timeout": "200ms"}},
         "retries": {"max": 2, "delay": "10ms", "retry": "verify"}, "outputs": {"runs": "stdout.trim()"}},
    ]});
    let run = RunBuilder::playbook(&book.to_string()).finish();
    assert_eq!(run.code(), 0, "{}\n{:#?}", run.stderr, attempts(&run));
    let error = "http://127.0.0.1:8124/ gave no answer: no answer in time";
    assert_eq!(
        attempts(&run)[1..],
        [
            json!(["ask", 1, 3, false, 0, error]),
            json!(["ask", 2, 3, true, null, null]),
        ]
    );
    let ask = &run.recording.status()["data"]["steps"]["ask"];
    assert_eq!(ask["outputs"]["runs"], "1", "the command ran once");
}

#[test]
fn an_error_behind_what_is_looked_at_never_passes_as_absent() {
    let steps = "steps:\n  - {id: out, run: 'yes ok | head -c 400000; echo ERROR; yes ok | head -c 400000', expect: {stdout: {not_contains: ERROR}}, on_failure: continue}\n  - {id: mark, run: 'yes ok | head -c 400000', outputs: {n: \"stdout.match('left out|cut')\"}, on_failure: continue}\n  - {id: file, run: '(yes ok | head -c 100000; echo ERROR) >big.log', expect: {file: {path: big.log, not_contains: ERROR}}, on_failure: continue}\n  - {id: small, run: 'yes ok | head -c 200000', expect: {stdout: {not_contains: ERROR}}}\n";
    let run = playbook(steps).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let data = &run.recording.status()["data"]["steps"];
    for (id, bytes) in [("out", "262144"), ("mark", "262144"), ("file", "65536")] {
        assert_eq!(data[id]["status"], "failed", "{data}");
        let error = data[id]["error"].as_str().unwrap();
        assert!(
            error.contains(&format!("longer than the {bytes} bytes")),
            "{error}"
        );
    }
    assert_eq!(data["small"]["status"], "succeeded", "{data}");
}

#[test]
fn what_is_there_exists_whether_or_not_it_can_be_read() {
    let run = playbook(
        "steps:\n  - {id: closed, run: 'echo text >closed; chmod 000 closed', expect: {file: {path: closed}}}\n  - {id: content, run: 'true', expect: {file: {path: closed, contains: text}}, on_failure: continue}\n  - {id: dangling, run: 'ln -s nowhere dangling', expect: {file: {path: dangling, exists: false}}, on_failure: continue}\n  - {id: absent, run: 'true', expect: {file: [{path: nowhere, exists: false}, {path: closed/below, exists: false}]}}\n",
    )
    .finish();
    assert_eq!(run.code(), 0, "{}\n{:#?}", run.stderr, attempts(&run));
    let steps = steps(&run);
    assert_eq!(
        steps["content"]["error"],
        "closed is a file that cannot be read"
    );
    assert_eq!(steps["dangling"]["error"], "the file dangling exists");
}
