//! Playbooks as runs: steps, attempts, checks, values, stops, and what is on record of them.

use std::path::Path;
use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::run::{Finished, kill};
use crate::harness::{RunBuilder, need::need, until};

/// A run of a playbook with these steps.
fn playbook(steps: &str) -> RunBuilder {
    RunBuilder::playbook(&format!("version: 1\nname: test\n{steps}"))
}

/// Fields of the actions of the playbook.
fn attempts(run: &Finished) -> Vec<Value> {
    run.recording
        .events_of("action")
        .into_iter()
        .filter(|action| action["tool"] == "playbook")
        .map(|action| {
            json!([
                action["action"],
                action["attempt"],
                action["of"],
                action["success"],
                action["exit_code"],
                action["error"]
            ])
        })
        .collect()
}

fn junit(run: &Finished) -> String {
    std::fs::read_to_string(run.recording.path().join("artifacts/junit.xml")).unwrap()
}

#[test]
fn steps_share_the_sandbox_and_each_attempt_is_an_action() {
    let run = playbook(
        "steps:\n  - {id: one, run: 'echo text >/tmp/shared; echo one'}\n  - {id: two, run: [cat, /tmp/shared], outputs: {text: 'stdout.trim()'}}\n  - {id: three, run: 'printf %s \"$TEXT\"', env: {TEXT: '${{ steps.two.outputs.text }}'}, expect: {stdout: {equals: text}}}\n",
    )
    .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    run.recording.assert_whole();
    let row = |id: &str| json!([id, 1, 1, true, 0, null]);
    assert_eq!(attempts(&run), [row("one"), row("two"), row("three")]);
    let status = run.recording.status();
    assert_eq!(status["status"], "completed");
    assert_eq!(
        status["result"],
        "3 of 3 steps of the playbook test succeeded"
    );
    assert_eq!(status["data"]["playbook"], "test");
    assert_eq!(
        status["data"]["steps"]["two"]["outputs"],
        json!({"text": "text"})
    );
    assert!(
        run.stdout.contains("one\ntext\ntext"),
        "output passes through: {}",
        run.stdout
    );
}

#[test]
fn a_flaky_step_is_retried_on_record_and_a_failed_one_ends_the_run_with_its_code() {
    let run = playbook(
        "steps:\n  - {id: flaky, run: 'echo x >>/tmp/n; test $(wc -l </tmp/n) -ge 3', retries: {max: 4, delay: 10ms}}\n  - {id: fatal, run: 'echo last words >&2; exit 23'}\n  - {id: never, run: 'echo never'}\nfinally:\n  - {id: clean, run: 'echo clean'}\n",
    )
    .finish();
    assert_eq!(run.code(), 23, "{}", run.stderr);
    let error = "the command exited with code 1";
    let last = "the command exited with code 23";
    assert_eq!(
        attempts(&run),
        [
            json!(["flaky", 1, 5, false, 1, error]),
            json!(["flaky", 2, 5, false, 1, error]),
            json!(["flaky", 3, 5, true, 0, null]),
            json!(["fatal", 1, 1, false, 23, last]),
            json!(["clean", 1, 1, true, 0, null]),
        ]
    );
    let retries: Vec<_> = run
        .recording
        .events_of("retry")
        .iter()
        .map(|retry| {
            json!([
                retry["step"],
                retry["action"],
                retry["attempt"],
                retry["delay_ms"]
            ])
        })
        .collect();
    assert_eq!(
        retries,
        [json!([1, "flaky", 1, 10]), json!([2, "flaky", 2, 10])]
    );
    let status = run.recording.status();
    assert_eq!(status["error"]["code"], "COMMAND_FAILED");
    assert_eq!(
        status["error"]["message"],
        "step fatal: the command exited with code 23"
    );
    assert_eq!(status["outcome"]["exit_code"], 23);
    let junit = junit(&run);
    assert!(
        junit.contains("tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"0\""),
        "{junit}"
    );
    assert_eq!(junit.matches("<flakyFailure").count(), 2, "{junit}");
    assert!(
        junit.contains("<system-err>last words\n</system-err>"),
        "{junit}"
    );
}

/// Values that would be code wherever they were pasted into some.
const ODD: [&str; 10] = [
    "it's \"quoted\" `id` $(touch /tmp/pwned)",
    "; touch /tmp/pwned #",
    "' ; touch /tmp/pwned ; '",
    "\" && touch /tmp/pwned && \"",
    "two\nlines\n\ttab",
    "${{ params.other }}",
    "{ } }} ${{ '${{' }}",
    "$OTHER ${OTHER} %s \\n \\",
    "-n --help",
    "é\u{1F600}\u{7f}\u{1b}[0m",
];

#[test]
fn a_value_reaches_a_step_byte_for_byte_and_never_changes_what_is_run() {
    let book = "parameters:\n  value: {type: string}\n  other: {type: string, default: from the other}\nsteps:\n  - {id: keep, run: 'printf %s \"$VALUE\" >value', env: {VALUE: '${{ params.value }}', OTHER: '${{ params.other }}'}}\n  - {id: program, run: [sh, -c, 'printf %s \"$VALUE\" >value2', '${VALUE}'], env: {VALUE: '${{ params.value }}'}}\n  - {id: again, run: 'printf %s \"$VALUE\"', env: {VALUE: '${{ params.value }}'}, outputs: {same: stdout}}\n  - {id: handed_on, run: 'printf %s \"$VALUE\" >value3', env: {VALUE: '${{ steps.again.outputs.same }}'}}\n  - {id: unharmed, run: 'true', expect: {file: {path: /tmp/pwned, exists: false}}}\n";
    for value in ODD {
        let run = playbook(book)
            .flag("--param")
            .flag(format!("value={value}"))
            .finish();
        assert_eq!(run.code(), 0, "{value:?}: {}", run.stderr);
        let workspace = run.directory.path().join("workspace");
        for file in ["value", "value2", "value3"] {
            let kept = std::fs::read(workspace.join(file)).unwrap();
            assert_eq!(String::from_utf8(kept).unwrap(), value, "{file}");
        }
        let commands: Vec<_> = run
            .recording
            .events_of("action.started")
            .iter()
            .map(|action| action["input_summary"].clone())
            .collect();
        assert_eq!(commands[0], "printf %s \"$VALUE\" >value", "{value:?}");
    }
}

#[test]
fn a_value_with_nul_is_refused() {
    let run = playbook(
        "parameters: {value: {type: string}}\nsteps: [{id: one, run: 'echo \"$V\"', env: {V: '${{ params.value }}'}}]\n",
    );
    let description = run.workspace().with_file_name("run.json");
    std::fs::write(
        &description,
        json!({"parameters": {"value": "a\u{0}b"}}).to_string(),
    )
    .unwrap();
    let run = run.flag("--config").flag(description).finish();
    assert_ne!(run.code(), 0);
    assert!(
        run.stderr.contains("parameters.value") && run.stderr.contains("NUL"),
        "{}",
        run.stderr
    );
    // What a step puts out may hold one, and is no value of a variable either.
    let run = playbook(
        "steps:\n  - {id: one, run: 'printf \"a\\0b\"', outputs: {text: stdout}}\n  - {id: two, run: 'printf %s \"$T\" >text', env: {T: '${{ steps.one.outputs.text }}'}}\n",
    )
    .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let text = std::fs::read(run.directory.path().join("workspace/text")).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), "a\u{fffd}b");
}

#[test]
fn a_secret_reaches_its_step_and_no_record() {
    const SECRET: &str = "s3cret-of-a-playbook";
    let run = playbook(
        "parameters: {token: {type: secret, required: true}}\nsteps:\n  - {id: use, run: 'printf %s \"$TOKEN\" >token; echo \"the token is $TOKEN\"', env: {TOKEN: '${{ params.token }}'}, outputs: {said: stdout}}\n  - {id: fail, run: 'printf %s \"$SAID\" >said; echo \"$TOKEN\" >&2; exit 1', env: {SAID: '${{ steps.use.outputs.said }}', TOKEN: '${{ params.token }}'}, expect: {stderr: {equals: nothing}, exit: 1}}\n",
    )
    .env("TOKEN_OF_TEST", SECRET)
    .flag("--param")
    .flag("token=env:TOKEN_OF_TEST")
    .finish();
    assert_eq!(run.code(), 1, "{}", run.stderr);
    let workspace = run.directory.path().join("workspace");
    let read = |name: &str| std::fs::read_to_string(workspace.join(name)).unwrap();
    assert_eq!(read("token"), SECRET, "the step got it");
    assert!(
        !read("said").contains(SECRET),
        "outputs come from redacted text"
    );
    assert!(
        run.stdout.contains("the token is [redacted:"),
        "{}",
        run.stdout
    );
    for text in [run.stdout.clone(), run.stderr.clone()]
        .into_iter()
        .chain(files_below(run.recording.path()))
    {
        assert!(!text.contains(SECRET), "{text}");
    }
    assert!(junit(&run).contains("[redacted:"));
}

/// The content of every file, so that nothing is overlooked.
fn files_below(directory: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts.extend(files_below(&path));
        } else if path.is_file() {
            texts.push(String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned());
        }
    }
    texts
}

#[test]
fn a_step_that_is_too_slow_is_ended_with_its_children_and_nothing_else() {
    let begun = Instant::now();
    let run = playbook(
        "steps:\n  - {id: background, run: 'setsid sh -c \"while :; do echo alive >/tmp/alive; sleep 0.05; done\" >/dev/null 2>&1 &'}\n  - {id: slow, run: 'trap : TERM; sleep 600 & setsid -w sleep 600', timeout: 300ms, on_failure: continue}\n  - {id: look, run: 'rm -f /tmp/alive; until test -e /tmp/alive; do :; done; ! ps -eo args 2>/dev/null | grep -q \"^sleep 600\"'}\n",
    )
    .finish();
    assert_eq!(run.code(), 0, "{}\n{:#?}", run.stderr, attempts(&run));
    let slow = &run.recording.status()["data"]["steps"]["slow"];
    assert_eq!(slow["error"], "it took longer than its timeout of 300ms");
    let limits = run.recording.events_of("limit");
    assert_eq!(limits.len(), 1, "{limits:?}");
    assert_eq!(
        (&limits[0]["limit"], &limits[0]["value"]),
        (&json!("step_timeout"), &json!(300))
    );
    assert!(begun.elapsed().as_secs() < 60);
    let survivors = &run.recording.status()["survivors"];
    assert_ne!(
        survivors["killed"], 0,
        "the background did not outlive the run"
    );
}

#[test]
fn what_a_step_leaves_in_the_background_is_recorded_and_costs_no_time() {
    let run = playbook(
        "steps:\n  - {id: start, run: '(i=0; while test ! -e /tmp/stop; do i=$((i+1)); echo tick $i; sleep 0.05; done; echo background is done) & echo started', expect: {stdout: {contains: started}}}\n  - {id: wait, run: 'sleep 0.3; touch /tmp/stop; sleep 0.3'}\n",
    )
    .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let outputs = run.recording.events_of("action.output");
    let late = outputs
        .iter()
        .find(|output| {
            output["text"]
                .as_str()
                .is_some_and(|text| text.contains("background is done"))
        })
        .expect("its output is on record to its end");
    assert_eq!(late["step"], 1, "as output of the step that left it");
    let actions = run.recording.events_of("action");
    let took = actions[0]["duration_ms"].as_u64().unwrap();
    assert!(took < 900, "nobody waited for its pipe: {took} ms");
}

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
fn a_stop_ends_the_step_and_runs_nothing_more() {
    for pause in ["sleep 600", "exit 1"] {
        let run = playbook(&format!(
            "steps:\n  - {{id: first, run: 'true'}}\n  - {{id: long, run: 'echo begun; {pause}', retries: {{max: 1, delay: 5m, max_delay: 5m}}}}\n  - {{id: never, run: 'true'}}\nfinally:\n  - {{id: clean, run: 'true'}}\n"
        ))
        .start();
        run.until_stdout("begun");
        if pause == "exit 1" {
            until("the pause begins", || {
                (!run.recording().events_of("retry").is_empty()).then_some(())
            });
        }
        run.signal(Signal::SIGTERM);
        let run = run.finish();
        assert_eq!(run.code(), 143, "{}", run.stderr);
        let status = run.recording.status();
        assert_eq!(status["error"]["code"], "RUN_TERMINATED");
        let steps = &status["data"]["steps"];
        assert_eq!(steps["first"]["status"], "succeeded", "{status}");
        assert_eq!(steps["long"]["status"], "failed");
        assert_eq!((steps.get("never"), steps.get("clean")), (None, None));
        let ids: Vec<_> = attempts(&run).iter().map(|row| row[0].clone()).collect();
        assert_eq!(ids, ["first", "long"]);
        run.recording.assert_whole();
        let error = steps["long"]["error"].as_str().unwrap();
        let (told, in_report) = match pause {
            "exit 1" => (
                "the command exited with code 1; the run ended before attempt 2",
                "<failure message=\"the command exited with code 1\"",
            ),
            _ => (
                "the run ended before the step did",
                "the run ended before the step did",
            ),
        };
        assert_eq!(error, told);
        assert!(junit(&run).contains(in_report));
        assert!(!junit(&run).contains("rerunFailure"));
    }
}

#[test]
fn the_limits_of_the_run_hold() {
    let book = "steps:\n  - {id: again, run: 'echo x; exit 1', retries: {max: 20, delay: 0s}}\n";
    let run = playbook(book).flag("--max-steps=3").finish();
    assert_eq!(run.code(), 1);
    assert_eq!(run.recording.status()["error"]["code"], "BUDGET_EXCEEDED");
    assert_eq!(attempts(&run).len(), 3);
    let again = &run.recording.status()["data"]["steps"]["again"];
    assert_eq!(again["attempts"], 3, "what did not begin is none: {again}");
    let run = playbook("steps:\n  - {id: slow, run: 'sleep 600', timeout: 10m}\n")
        .flag("--timeout=1")
        .finish();
    assert_eq!(run.code(), 124);
    assert_eq!(run.recording.status()["error"]["code"], "TIMEOUT");
    let run = playbook("steps:\n  - {id: loud, run: 'yes'}\n")
        .flag("--limit-output=64KiB")
        .finish();
    assert_eq!(run.recording.status()["error"]["code"], "BUDGET_EXCEEDED");
}

#[test]
fn a_step_that_cannot_start_says_why() {
    let run = playbook("steps:\n  - {id: one, run: [no-such-program]}\n").finish();
    assert_eq!(run.code(), 127, "{}", run.stderr);
    let run = playbook("steps:\n  - {id: one, run: 'true', directory: not/there}\n").finish();
    assert_eq!(run.code(), 1, "{}", run.stderr);
    let message = run.recording.status()["error"]["message"].clone();
    assert!(message.as_str().unwrap().contains("not/there"), "{message}");
    let row = &attempts(&run)[0];
    assert_eq!((&row[0], &row[3]), (&json!("one"), &json!(false)));
}

#[test]
fn a_step_may_report_actions_of_its_own() {
    let run = playbook(
        "steps:\n  - {id: one, run: 'echo ''{\"tool\":\"mine\",\"action\":\"did it\",\"success\":true}'' >&3'}\n  - {id: two, run: 'echo ''{\"tool\":\"mine\",\"action\":\"again\",\"success\":true}'' >&3'}\n",
    )
    .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let reported: Vec<_> = run
        .recording
        .events_of("action")
        .iter()
        .filter(|action| action["tool"] == "mine")
        .map(|action| action["action"].clone())
        .collect();
    assert_eq!(reported, ["did it", "again"]);
}

#[test]
fn the_report_is_copied_where_it_was_asked_for() {
    let run = playbook("steps:\n  - {id: one, run: 'true'}\n");
    let wanted = run.workspace().with_file_name("report.xml");
    std::fs::write(&wanted, "an older one").unwrap();
    let run = run.flag("--junit").flag(&wanted).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let report = std::fs::read_to_string(&wanted).unwrap();
    assert_eq!(report, junit(&run));
    assert!(report.contains("<testcase name=\"one\""), "{report}");

    // When the supervisor dies, the report of an earlier run does not stand for this one.
    let run = playbook("steps:\n  - {id: one, run: 'echo begun; sleep 600'}\n");
    let wanted = run.workspace().with_file_name("report.xml");
    std::fs::write(&wanted, "an older one").unwrap();
    let run = run.flag("--junit").flag(&wanted).start();
    run.until_stdout("begun");
    kill(run.supervisor_pid(), Signal::SIGKILL);
    let run = run.finish();
    assert_eq!(run.code(), 125, "{}", run.stderr);
    assert!(!wanted.exists());

    let run = playbook("steps:\n  - {id: one, run: 'touch ran'}\n");
    let run = run.flag("--junit=/no/such/place/report.xml").finish();
    assert_eq!(run.code(), 125, "{}", run.stderr);
    assert!(!run.directory.path().join("workspace/ran").exists());
    let run = RunBuilder::sh("true").flag("--junit=report.xml").finish();
    assert_eq!(run.code(), 2, "{}", run.stderr);
    assert!(run.stderr.contains("--playbook"), "{}", run.stderr);
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
fn a_loop_ends_when_its_condition_does() {
    let run = playbook(
        "steps:\n  - {id: count, run: 'echo x >>/tmp/n; wc -l </tmp/n', outputs: {n: 'stdout.trim()'}}\n  - {id: enough, run: 'test \"$N\" -ge 3', env: {N: '${{ steps.count.outputs.n }}'}, on_failure: 'goto:count'}\n  - {id: after, run: 'true', directory: sub}\n",
    );
    std::fs::create_dir(run.workspace().join("sub")).unwrap();
    let run = run.finish();
    assert_eq!(run.code(), 0, "{}\n{:#?}", run.stderr, attempts(&run));
    let ids: Vec<_> = attempts(&run).iter().map(|row| row[0].clone()).collect();
    assert_eq!(
        ids,
        [
            "count", "enough", "count", "enough", "count", "enough", "after"
        ]
    );
    assert_eq!(
        run.recording.status()["data"]["steps"]["count"]["outputs"]["n"],
        "3"
    );
    assert_eq!(junit(&run).matches("<testcase name=\"count\"").count(), 3);
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
