//! Clients that people have: curl, httpx-sse, EventSource, and `tail -F … | jq` on the file. They follow one run and see
//! the same thing: live, over a reconnect in mid-run, and after the end.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use stockade::event::EventType;

use crate::harness::need::{need, skip};
use crate::harness::run::{Capture, Finished};
use crate::harness::wait::until_within;
use crate::harness::{DEADLINE, Run, RunBuilder, until};

/// Actions of the run; enough for several reconnects.
const N_ACTIONS: usize = 40;

/// Events after which a client connects again.
const RECONNECT_AFTER: usize = 7;

/// What a client saw of one event: id, type, JSON. A client that is given no id or type has none.
#[derive(Debug, PartialEq, Eq, Clone)]
struct Seen {
    id: String,
    event: String,
    data: String,
}

#[test]
fn curl_sees_the_file_as_sse_and_as_ndjson() {
    let Some(curl) = need("curl") else { return };
    let run = gated_run();
    let url = format!("http://{}/events", run.address());
    let sse = Client::start(Command::new(&curl).args(["-sSN", "--max-time", "30", &url]));
    let mut ndjson = Command::new(&curl);
    ndjson.args(["-sSN", "--max-time", "30", &url]);
    ndjson.args(["-H", "Accept: application/x-ndjson"]);
    let ndjson = Client::start(&mut ndjson);
    sse.until_seen("id: 1\n");
    ndjson.until_seen("\"seq\":1,");
    open_gate(&run);
    assert_same(&sse_of(&sse.output()), &until_complete(&run));
    assert_same(&lines_of(&ndjson.output()), &whole(&run));

    // Both once more, after the end and from the middle.
    let middle = N_ACTIONS.to_string();
    let mut late = Command::new(&curl);
    late.args(["-sSN", "--max-time", "30", &url]);
    late.args(["-H", &format!("Last-Event-ID: {middle}")]);
    let rest = sse_of(&Client::start(&mut late).output());
    assert_same(&rest, &until_complete(&run)[N_ACTIONS..]);
    let mut late = Command::new(&curl);
    late.args(["-sSN", "--max-time", "30"]);
    late.arg(format!("{url}?format=ndjson&after={middle}"));
    let rest = lines_of(&Client::start(&mut late).output());
    assert_same(&rest, &whole(&run)[N_ACTIONS..]);
    let last = whole(&run).len().to_string();
    let mut at_the_end = Command::new(&curl);
    at_the_end.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", &url]);
    at_the_end.args(["-H", &format!("Last-Event-ID: {last}")]);
    assert_eq!(Client::start(&mut at_the_end).output(), "204");
    end(run);
}

#[test]
fn httpx_sse_loses_nothing_over_reconnects() {
    let Some(python) = python_with("httpx, httpx_sse") else {
        return;
    };
    let run = gated_run();
    let url = format!("http://{}/events", run.address());
    let follow = |last_id: &str, per_connection: usize| {
        let mut command = Command::new(&python);
        command.arg(fixture("follow.py")).arg(&url).arg(last_id);
        Client::start(command.arg(per_connection.to_string()))
    };
    let (steady, restless) = (follow("", 0), follow("", RECONNECT_AFTER));
    steady.until_seen("[\"1\"");
    restless.until_seen("[\"1\"");
    open_gate(&run);
    let expected = until_complete(&run);
    assert_same(&triples_of(&steady.output()), &expected);
    let (seen, returns) = restless.both();
    assert_same(&triples_of(&seen), &expected);
    let n_returns = returns.lines().count();
    assert!(n_returns > N_ACTIONS / RECONNECT_AFTER, "{returns}");

    // After the end: the whole, and the rest.
    assert_same(&triples_of(&follow("", 0).output()), &expected);
    assert_same(&triples_of(&follow("9", 0).output()), &expected[9..]);
    end(run);
}

#[test]
fn an_event_source_follows_and_stops_by_itself() {
    let Some((node, path)) = node_with("eventsource") else {
        return;
    };
    let run = gated_run();
    let url = format!("http://{}/events", run.address());
    let follow = || {
        let mut command = Command::new(&node);
        command.env("NODE_PATH", &path);
        command.arg(fixture("follow.cjs")).arg(&url);
        Client::start(command.args(EventType::ALL.into_iter().filter_map(EventType::sse_name)))
    };
    let live = follow();
    live.until_seen("[\"1\"");
    open_gate(&run);
    let expected = until_complete(&run);
    assert_same(&triples_of(&live.output()), &expected);
    assert_same(&triples_of(&follow().output()), &expected);

    // A client that knows no type of ours sees exactly the actions.
    let mut plain = Command::new(&node);
    plain.env("NODE_PATH", &path);
    plain.arg(fixture("follow.cjs")).arg(&url);
    let actions: Vec<Seen> = expected
        .into_iter()
        .filter(|seen| seen.event == "message")
        .collect();
    assert_eq!(actions.len(), N_ACTIONS);
    assert_same(&triples_of(&Client::start(&mut plain).output()), &actions);
    end(run);
}

#[test]
fn tail_and_jq_follow_the_file() {
    let (Some(tail), Some(jq)) = (need("tail"), need("jq")) else {
        return;
    };
    let run = gated_run();
    let mut file = Command::new(tail);
    // It ends with the run.
    file.arg(format!("--pid={}", run.guardian_pid()));
    file.args(["--sleep-interval=0.1", "-n", "+1", "-F"]);
    file.arg(run.recording().path().join("events.jsonl"));
    let mut file = file.stdout(Stdio::piped()).spawn().unwrap();
    let mut filter = Command::new(jq);
    // Versions of jq differ in how they write 0.0.
    filter.args(["--unbuffered", "-c", "del(.usage.cost_usd)"]);
    let follower = Client::start_reading(&mut filter, file.stdout.take().unwrap().into());
    follower.until_seen("\"seq\":1,");
    open_gate(&run);
    let expected = whole(&run);
    follower.until_seen("\"type\":\"complete\"");
    let _kept = end(run);
    let seen = lines_of(&follower.output());
    assert_same(&without_cost(&seen), &without_cost(&expected));
    assert!(file.wait().unwrap().success());
}

/// A run that waits for [`open_gate`], then reports [`N_ACTIONS`] actions over about a second, and lingers.
fn gated_run() -> Run {
    let script = r#"
        echo '{"type":"message","role":"agent","text":"ready"}'
        until [ -e go ]; do sleep 0.02; done
        n=0
        while [ $n -lt 40 ]; do
            n=$((n + 1))
            printf '{"step":%s,"tool":"t","action":"a%s","success":true,"result_text":"line\\nbreak \\u2028 \\u0000 \\ud83d\\ude00 \\"q\\" data: x"}\n' $n $n
            sleep 0.02
        done"#;
    let run = RunBuilder::sh(script)
        .flag("--adapter=jsonl")
        .flag("--linger=60")
        .start();
    run.until_running();
    run
}

fn open_gate(run: &Run) {
    std::fs::write(run.directory.path().join("workspace/go"), "").unwrap();
}

/// The lines of the file, once the run has its end on record.
fn whole(run: &Run) -> Vec<String> {
    until("the run ends on record", || {
        let status = run.recording().status();
        (status["phase"] == "finished").then_some(())
    });
    run.recording().lines()
}

/// What an SSE client has to see of the run.
fn until_complete(run: &Run) -> Vec<Seen> {
    whole(run)
        .into_iter()
        .map(|line| {
            let event: Value = serde_json::from_str(&line).unwrap();
            let name = event["type"].as_str().unwrap();
            Seen {
                id: event["seq"].to_string(),
                // EventSource gives "message" to a frame without a name, so what an agent says goes by another one.
                event: match name {
                    "action" => "message",
                    "message" => "agent.message",
                    other => other,
                }
                .to_owned(),
                data: line,
            }
        })
        .collect()
}

/// A stop signal ends the linger, and changes nothing of how the run ended.
fn end(run: Run) -> Finished {
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    run.recording.assert_whole();
    assert_eq!(run.recording.events_of("action").len(), N_ACTIONS);
    run
}

/// Compares item by item, so that a failure names the first that differs.
fn assert_same<T: PartialEq + std::fmt::Debug>(seen: &[T], expected: &[T]) {
    for (index, (seen, expected)) in seen.iter().zip(expected).enumerate() {
        assert_eq!(seen, expected, "at {index}");
    }
    assert_eq!(seen.len(), expected.len());
}

/// The events of an SSE stream as it came over the wire.
fn sse_of(wire: &str) -> Vec<Seen> {
    wire.split("\n\n")
        .filter_map(|block| {
            let field = |name: &str| {
                let value = block.lines().find_map(|line| line.strip_prefix(name))?;
                Some(value.to_owned())
            };
            Some(Seen {
                data: field("data: ")?,
                id: field("id: ")?,
                event: field("event: ").unwrap_or_else(|| "message".to_owned()),
            })
        })
        .collect()
}

fn triples_of(output: &str) -> Vec<Seen> {
    output
        .lines()
        .map(|line| {
            let (id, event, data) = serde_json::from_str(line).unwrap();
            Seen { id, event, data }
        })
        .collect()
}

fn lines_of(output: &str) -> Vec<String> {
    output.lines().map(str::to_owned).collect()
}

fn without_cost(lines: &[String]) -> Vec<Value> {
    let without = |line: &String| {
        let mut event: Value = serde_json::from_str(line).unwrap();
        if let Some(usage) = event.get_mut("usage").and_then(Value::as_object_mut) {
            usage.remove("cost_usd");
        }
        event
    };
    lines.iter().map(without).collect()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/e2e/fixtures")
        .join(name)
}

/// A Python that can import `modules`, or a skip aloud.
fn python_with(modules: &str) -> Option<PathBuf> {
    let python = need("python3")?;
    let mut probe = Command::new(&python);
    probe.arg("-c").arg(format!("import {modules}"));
    if probe.output().unwrap().status.success() {
        return Some(python);
    }
    skip(&format!("python3 cannot import {modules}"));
    None
}

/// A node that can load `package`, and the NODE_PATH for it, or a skip aloud.
fn node_with(package: &str) -> Option<(PathBuf, String)> {
    let node = need("node")?;
    let path = std::env::var("NODE_PATH").ok().or_else(|| {
        let root = Command::new("npm").args(["root", "-g"]).output().ok()?;
        Some(String::from_utf8(root.stdout).ok()?.trim().to_owned())
    });
    let path = path.unwrap_or_default();
    let mut probe = Command::new(&node);
    probe.env("NODE_PATH", &path).arg("-e");
    probe.arg(format!("require('{package}')"));
    if probe.output().unwrap().status.success() {
        return Some((node, path));
    }
    skip(&format!("node cannot load {package}"));
    None
}

/// A client program and what it prints; killed when it is dropped before its end.
struct Client {
    child: Child,
    stdout: Capture,
    stderr: Capture,
}

impl Client {
    fn start(command: &mut Command) -> Self {
        Self::start_reading(command, Stdio::null())
    }

    fn start_reading(command: &mut Command, stdin: Stdio) -> Self {
        command.stdin(stdin);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = Capture::of(child.stdout.take().unwrap());
        let stderr = Capture::of(child.stderr.take().unwrap());
        Self {
            child,
            stdout,
            stderr,
        }
    }

    fn until_seen(&self, text: &str) {
        until(&format!("the client sees {text:?}"), || {
            self.stdout.so_far().contains(text).then_some(())
        });
    }

    /// Waits for its good end; gives its standard output.
    fn output(self) -> String {
        self.both().0
    }

    /// The same, with standard error.
    fn both(mut self) -> (String, String) {
        let limit = DEADLINE + Duration::from_secs(10);
        let status = until_within(limit, "the client ends", || self.child.try_wait().unwrap());
        let (stdout, stderr) = (self.stdout.all(), self.stderr.all());
        assert!(status.success(), "{status}\n{stdout}\n{stderr}");
        (stdout, stderr)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
