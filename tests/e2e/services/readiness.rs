//! When services are ready, and what follows when they are not.

use crate::harness::RunBuilder;
use crate::harness::need::need;
use crate::process_table;
use crate::services::{last, left, states, with_services};

/// Answers 503 twice, then 200, to what connects; a look that only connects is not an answer.
const SLOW_SERVER: &str = "use IO::Socket::INET; sleep 1; \
    my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1:4711', Listen => 8, ReuseAddr => 1) or die $!; my $n = 0; \
    while (my $c = $s->accept) { my $line = <$c>; next unless defined $line; while (<$c>) { last if /^\\r?$/ } \
    my $code = $n++ < 2 ? '503 Wait' : '200 OK'; open my $f, '>>', 'answers'; print $f \"$code\\n\"; close $f; \
    print $c \"HTTP/1.1 $code\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n\"; close $c }";

fn assert_ready_before_the_agent(run: &crate::harness::run::Finished) {
    assert_eq!(run.code(), 0, "{}{}", run.stdout, run.stderr);
    let events = run.recording.events();
    let place = |what: &dyn Fn(&serde_json::Value) -> bool| events.iter().position(what).unwrap();
    let ready = place(&|event| event["type"] == "service" && event["state"] == "ready");
    let running = place(&|event| event["type"] == "run.phase" && event["phase"] == "running");
    assert!(ready < running, "{events:#?}");
    let status = run.recording.status();
    assert_eq!(status["services"][0]["state"], "stopped", "{status}");
    // A service is no action.
    assert_eq!(status["action_count"], 1);
    assert_eq!(status["survivors"]["killed"], 0, "{status}");
    run.recording.assert_whole();
}

#[test]
fn an_agent_begins_when_a_file_is_there_or_a_command_succeeds() {
    let command = "sleep 0.3; : > up; exec sleep 600";
    for ready in ["{file: up}", "{exec: [test, -e, up]}"] {
        let services =
            format!("- name: slow\n  command: [sh, -c, {command:?}]\n  ready: {ready}\n");
        let run = with_services("test -e up", &services).finish();
        assert_ready_before_the_agent(&run);
        assert_eq!(
            states(&run.recording, "slow"),
            ["starting", "ready", "stopped"]
        );
    }
}

#[test]
fn an_agent_begins_when_a_port_accepts_or_a_server_answers_well() {
    if need("perl").is_none() {
        return;
    }
    let script = "cat answers 2> /dev/null; exec 3<> /dev/null; \
        perl -e 'use IO::Socket::INET; IO::Socket::INET->new(PeerAddr => \"127.0.0.1:4711\") or die $!'";
    for (ready, answers) in [
        ("{tcp: 4711}", ""),
        (
            "{http: 'http://127.0.0.1:4711/health'}",
            "503 Wait\n503 Wait\n200 OK\n",
        ),
    ] {
        let run = with_services(script, "");
        std::fs::write(run.workspace().join("server.pl"), SLOW_SERVER).unwrap();
        let file = run.workspace().parent().unwrap().join("run.yaml");
        let services =
            format!("services:\n- name: web\n  command: [perl, server.pl]\n  ready: {ready}\n");
        std::fs::write(file, services).unwrap();
        let run = run.finish();
        assert_ready_before_the_agent(&run);
        assert_eq!(run.stdout, answers);
    }
}

#[test]
fn a_service_begins_when_the_one_before_is_ready() {
    let first = "sleep 0.4; : > first; exec sleep 600";
    let second = "test -e first || exit 9; : > second; exec sleep 600";
    let services = format!(
        "- {{name: first, command: [sh, -c, {first:?}], ready: {{file: first}}}}\n\
         - {{name: second, command: [sh, -c, {second:?}], ready: {{file: second}}}}\n"
    );
    let run = with_services("test -e second", &services).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    for name in ["first", "second"] {
        assert_eq!(
            states(&run.recording, name),
            ["starting", "ready", "stopped"]
        );
    }
}

#[test]
fn a_required_service_that_does_not_get_ready_fails_the_run_before_its_agent() {
    let services = "- {name: web, command: [sleep, '600'], ready: {tcp: 4712, timeout_seconds: 1}}\n\
                    - {name: never, command: [touch, never]}\n";
    let run = with_services("touch agent", services).finish();
    assert_eq!(run.code(), 125);
    let status = run.recording.status();
    assert_eq!(status["error"]["code"], "SETUP_FAILED");
    assert_eq!(status["error"]["details"]["service"], "web");
    let message = status["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with(
            "the service web is gone: it was not ready within 1 s; the last look: cannot connect to"
        ),
        "{message}"
    );
    assert_eq!(status["action_count"], 0);
    for file in ["agent", "never"] {
        assert!(!run.directory.path().join("workspace").join(file).exists());
    }
    let states = states(&run.recording, "web");
    assert_eq!(states, ["starting", "exited", "failed"]);
    run.recording.assert_whole();
    assert_eq!(
        process_table::of_run(run.directory.path()),
        Vec::<String>::new()
    );
}

#[test]
fn a_program_that_is_not_there_fails_the_run_by_the_name_of_its_service() {
    let run = with_services("true", "- {name: x, command: [no-such-program]}\n").finish();
    assert_eq!(run.code(), 125);
    let error = &run.recording.status()["error"];
    assert_eq!(error["code"], "SETUP_FAILED");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("service x"), "{message}");
    assert!(message.contains("no-such-program"), "{message}");
}

#[test]
fn a_run_goes_on_without_a_service_that_is_not_required() {
    let services =
        "- {name: extra, command: [sh, -c, 'exit 3'], ready: {file: never}, required: false}\n";
    let run = with_services("echo done", services).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert_eq!(run.stdout, "done\n");
    assert_eq!(
        states(&run.recording, "extra"),
        ["starting", "exited", "failed"]
    );
    let service = &run.recording.status()["services"][0];
    assert_eq!(service["state"], "failed");
    assert_eq!(service["reason"], "its program exited with code 3");
}

#[test]
fn a_look_that_hangs_is_killed_with_all_that_it_started_and_the_next_one_counts() {
    // The first look leaves a process and hangs until its limit; it may not hold up the next.
    let look = "test -e once && exit 0; : > once; setsid sleep 600 & sleep 600";
    let services =
        format!("- {{name: slow, command: [sleep, '600'], ready: {{exec: [sh, -c, {look:?}]}}}}\n");
    let run = with_services("true", &services).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert_eq!(run.recording.status()["survivors"]["killed"], 0);
    let ready = &run.recording.events_of("service")[1];
    assert!(ready["duration_ms"].as_u64().unwrap() >= 5_000, "{ready}");
}

#[test]
fn a_service_has_the_environment_of_the_run_and_its_own_above_it() {
    let services = "- {name: a, command: [sh, -c, 'echo $ONE $TWO > seen; : > up; exec sleep 600'], \
                    env: {TWO: own}, ready: {file: up}}\n";
    let run = with_services("true", services)
        .flag("--env=ONE=1")
        .flag("--env=TWO=2")
        .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert_eq!(left(&run, "seen"), "1 own\n");
}

#[test]
fn the_example_with_a_display_begins_its_agent_when_the_display_is_there() {
    if need("Xvfb").is_none() {
        return;
    }
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/desktop-run.yaml");
    let run = RunBuilder::sh("test -S /tmp/.X11-unix/X99 && echo $DISPLAY")
        .flag("--config")
        .flag(example)
        .flag("--isolation=full")
        .finish();
    assert_eq!(run.code(), 0, "{}{}", run.stdout, run.stderr);
    assert_eq!(run.stdout, ":99\n");
    assert_eq!(
        states(&run.recording, "display"),
        ["starting", "ready", "stopped"]
    );
}

#[test]
fn what_a_service_prints_is_on_record_under_its_name_and_nowhere_else() {
    let services = "- {name: a, command: [sh, -c, 'echo from a; echo hidden-secret-value >&2; : > up; exec sleep 600'], ready: {file: up}}\n";
    let run = with_services("echo from the agent", services)
        .env("HIDDEN", "hidden-secret-value")
        .flag("--credential=KEY=env:HIDDEN")
        .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert_eq!(run.stdout, "from the agent\n");
    assert_eq!(run.recording.output(), "from the agent\n");
    let printed = run.recording.events_of("service.output");
    let text = |stream: &str| -> String {
        let of = printed.iter().filter(|event| event["stream"] == stream);
        of.map(|event| event["text"].as_str().unwrap()).collect()
    };
    assert!(printed.iter().all(|event| event["service"] == "a"));
    assert_eq!(text("stdout"), "from a\n");
    assert!(!text("stderr").is_empty());
    assert!(!text("stderr").contains("hidden-secret-value"));
    assert!(!run.stderr.contains("from a"), "{}", run.stderr);
    assert_eq!(last(&run.recording, "a")["state"], "stopped");
}

#[test]
fn what_services_print_counts_against_the_limit_of_output() {
    let services = "- {name: loud, command: [yes]}\n";
    let run = with_services("exec sleep 600", services)
        .flag("--limit-output=64KiB")
        .finish();
    assert_eq!(run.code(), 1, "{}", run.stderr);
    assert_eq!(run.recording.status()["error"]["code"], "BUDGET_EXCEEDED");
}

#[test]
fn a_chatty_service_is_no_sign_of_life_and_a_slow_one_is_no_silence() {
    let chatty = "- {name: a, command: [sh, -c, 'while :; do echo x; sleep 0.1; done']}\n";
    let idle = |builder: RunBuilder| builder.flag("--idle-timeout=1").finish();
    let run = idle(with_services("exec sleep 600", chatty));
    assert_eq!(run.code(), 124, "{}", run.stderr);
    assert_eq!(run.recording.status()["outcome"]["by"], "idle");
    let slow =
        "- {name: a, command: [sh, -c, 'sleep 2; : > up; exec sleep 600'], ready: {file: up}}\n";
    let run = idle(with_services("true", slow));
    assert_eq!(run.code(), 0, "{}", run.stderr);
}
