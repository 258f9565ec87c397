//! What a playbook is read as.

use std::time::Duration;

use super::super::expression::Scope;
use super::super::model::{Invocation, OnFailure, RetryScope, TextExpectation, Verify};
use super::super::plan::Plan;
use super::super::url::LoopbackUrl;
use super::*;
use crate::text::Excerpt;

const EVERYTHING: &str = include_str!("../../../tests/corpus/playbooks/good/everything.yaml");

#[test]
fn every_default_is_filled_in() {
    let playbook = read("version: 1\nname: demo\nsteps:\n  - id: build\n    run: make\n");
    let step = &playbook.steps[0];
    assert_eq!(step.name, "build");
    assert_eq!(step.run.argv(), ["sh", "-c", "make"]);
    assert_eq!(step.timeout, Duration::from_secs(600));
    assert_eq!(step.expect.exit, [0]);
    assert_eq!(step.retries.max, 0);
    assert_eq!(step.on_failure, OnFailure::Abort);
    assert_eq!(step.verify, None);
    assert!(playbook.finally.is_empty());
}

#[test]
fn what_the_file_says_is_what_the_step_is() {
    let playbook = read(EVERYTHING);
    let names = |step: &super::super::model::Step| {
        let names = step.env.iter().map(|(name, _)| name.clone());
        names.collect::<Vec<String>>()
    };
    let [fetch, serve, check] = &playbook.steps[..] else {
        panic!("{} steps", playbook.steps.len());
    };
    assert_eq!(
        names(fetch),
        ["LANG", "COUNT", "VERBOSE", "BRANCH", "TOKEN"]
    );
    assert_eq!(fetch.run.argv()[..3], ["sh", "-eu", "-c"]);
    assert_eq!(fetch.expect.exit, [0, 3]);
    assert_eq!(fetch.expect.stdout.len(), 4);
    assert_eq!(fetch.retries.backoff, 1.5);
    assert_eq!(fetch.outputs.len(), 5);
    assert_eq!(
        serve.run,
        Invocation::Program(
            ["python3", "-m", "http.server", "8080"]
                .map(str::to_owned)
                .to_vec()
        )
    );
    assert_eq!(serve.timeout, Duration::from_secs(60));
    assert_eq!(serve.retries.scope, RetryScope::Verify);
    assert_eq!(serve.on_failure, OnFailure::Goto(0));
    assert_eq!(
        serve.verify,
        Some(Verify {
            within: Duration::from_secs(10),
            every: Duration::from_millis(250)
        })
    );
    assert_eq!((check.retries.max, check.on_failure), (1, OnFailure::Abort));
    assert_eq!(playbook.finally[0].on_failure, OnFailure::Continue);
}

#[test]
fn pauses_grow_up_to_their_limit() {
    let step = |retries: &str| {
        let text = format!(
            "version: 1\nname: demo\nsteps:\n  - id: build\n    run: make\n    retries: {retries}\n"
        );
        read(&text).steps.remove(0).retries
    };
    let delays = |retries: &str| {
        let retries = step(retries);
        [1, 2, 3, 4, 100, u32::MAX].map(|attempt| retries.delay_after(attempt).as_millis())
    };
    assert_eq!(delays("3"), [1_000; 6]);
    assert_eq!(
        delays("{max: 3, delay: 2s, backoff: 2, max_delay: 10s}"),
        [2_000, 4_000, 8_000, 10_000, 10_000, 10_000]
    );
    assert_eq!(delays("{max: 3, delay: 0, backoff: 10}"), [0; 6]);
    assert_eq!(delays("{max: 1, delay: 1m}"), [60_000; 6]);
}

#[test]
fn conditions_and_outputs_have_the_values_that_the_docs_say() {
    let playbook = read(EVERYTHING);
    let arguments = arguments([
        ("branch", text("main")),
        ("dry", Argument::Boolean(false)),
        ("retries", Argument::Integer(3)),
    ]);
    let outputs: BTreeMap<String, String> = playbook.steps[0]
        .outputs
        .iter()
        .map(|(name, output)| {
            let source = match output.source() {
                expression::OutputSource::Stdout => " v7 x\nlast\n",
                expression::OutputSource::Stderr => "",
                expression::OutputSource::Exit => "3",
                expression::OutputSource::File(path) => {
                    assert_eq!(path, "notes.txt");
                    "a\nb\n"
                }
            };
            (name.clone(), output.apply(&Excerpt::whole(source)).unwrap())
        })
        .collect();
    let expected = [
        ("code", "3"),
        ("first", " v7 x"),
        ("head", "v7 x\nlast"),
        ("notes", "b"),
        ("version", "7"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(outputs.clone().into_iter().collect::<Vec<_>>(), expected);
    let no_version = Excerpt::whole("no version");
    assert!(playbook.steps[0].outputs[2].1.apply(&no_version).is_err());

    let mut fetch = succeeded(&[]);
    fetch.outputs = outputs;
    let mut steps = BTreeMap::from([
        ("fetch".to_owned(), fetch),
        ("serve".to_owned(), succeeded(&[])),
    ]);
    let holds = |steps: &BTreeMap<String, StepState>, idx: usize| {
        let scope = Scope {
            arguments: &arguments,
            steps,
            has_failed: false,
        };
        playbook.steps[idx].condition.as_ref().unwrap().holds(scope)
    };
    assert_eq!(holds(&steps, 1), Ok(true));
    assert_eq!(holds(&steps, 2), Ok(true));
    steps.get_mut("serve").unwrap().status = StepStatus::Failed;
    assert_eq!(holds(&steps, 2), Ok(false));
    // What did not run has empty outputs, and an empty text is no number.
    steps.clear();
    assert_eq!(holds(&steps, 1), Ok(false));
    assert_eq!(holds(&steps, 2), Ok(false));
}

#[test]
fn a_text_is_checked_and_a_difference_shows_its_end() {
    let playbook = read(EVERYTHING);
    let arguments = arguments([("branch", text("main"))]);
    let steps = BTreeMap::new();
    let scope = Scope {
        arguments: &arguments,
        steps: &steps,
        has_failed: false,
    };
    let check = |expectation: &TextExpectation, text: &str| {
        let checked = expectation.check("stdout", &Excerpt::whole(text), scope);
        checked.map_err(|mismatch| mismatch.to_string())
    };
    let [a, b, no_error, version] = &playbook.steps[0].expect.stdout[..] else {
        panic!("four expectations");
    };
    assert_eq!(check(a, "cab"), Ok(()));
    assert_eq!(check(b, "b main"), Ok(()));
    assert_eq!(
        check(b, "b next\n"),
        Err("stdout does not contain \"b main\"; it was \"b next\\n\"".to_owned())
    );
    assert_eq!(
        check(no_error, "an error"),
        Err("stdout contains \"error\"; it was \"an error\"".to_owned())
    );
    assert_eq!(
        check(version, ""),
        Err("stdout does not match ^v[0-9]+; it is empty".to_owned())
    );
    let long = format!("{}end", "x".repeat(1_000));
    let told = check(version, &long).unwrap_err();
    assert!(
        told.contains("…\"xxx") && told.ends_with("end\"") && told.len() < 300,
        "{told}"
    );
    assert_eq!(check(&playbook.steps[0].expect.stderr[0], "\r\n\n"), Ok(()));
}

#[test]
fn a_plan_says_what_is_run_and_shows_no_secret() {
    let playbook = read(EVERYTHING);
    let secret = crate::description::Secret::new("hunter2hunter2".to_owned());
    let arguments = arguments([
        ("branch", text("ma\"in")),
        ("dry", Argument::Boolean(true)),
        ("retries", Argument::Integer(0)),
        ("port", Argument::Integer(80)),
        ("token", Argument::Secret(secret)),
    ]);
    let plan = Plan {
        playbook: &playbook,
        arguments: &arguments,
        first_step: 0,
        earlier: &BTreeMap::new(),
    };
    let shown = plan.to_string();
    assert!(!shown.contains("hunter2"), "{shown}");
    for line in [
        "playbook release-notes: Collects the notes of a release.\n",
        "  token = [secret] (secret)\n",
        "  1. fetch: Fetch the branch\n",
        "     $ git fetch origin \"$BRANCH\"\n",
        "     TOKEN=\"Bearer [secret]\"\n",
        "     BRANCH=\"ma\\\"in\"\n",
        "     in sub/dir\n",
        "     at most 30s; 3 retries, 2s apart, 1.5 times longer each, up to 30s\n",
        ": decided in the run\n",
        "     looks again every 250ms within 10s\n",
        "; goes to fetch after a failure\n",
        "\nfinally\n  4. clean\n",
    ] {
        assert!(shown.contains(line), "{line:?} is not in\n{shown}");
    }
    let later = Plan {
        first_step: 1,
        ..plan
    };
    assert!(later.to_string().contains(
        "  1. fetch: Fetch the branch\n     skipped: the run begins with a later step\n"
    ));
}

#[test]
fn only_plain_http_of_the_loopback_is_a_url() {
    for (text, expected) in [
        ("http://127.0.0.1/", "127.0.0.1:80 127.0.0.1 /"),
        (
            "http://127.9.9.9:8080/a?b=c",
            "127.9.9.9:8080 127.9.9.9:8080 /a?b=c",
        ),
        ("http://localhost:1", "127.0.0.1:1 localhost:1 /"),
        ("http://localhost?q", "127.0.0.1:80 localhost /?q"),
        ("http://[::1]:9/x", "[::1]:9 [::1]:9 /x"),
        ("http://[::1]", "[::1]:80 [::1] /"),
    ] {
        let url = LoopbackUrl::parse(text).unwrap();
        let got = format!("{} {} {}", url.address, url.host, url.target);
        assert_eq!(got, expected, "{text}");
    }
    for text in [
        "",
        "https://127.0.0.1/",
        "http://example.org/",
        "http://10.0.0.1/",
        "http://user@127.0.0.1/",
        "http://127.0.0.1@example.org/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:+80/",
        "http://127.0.0.1:65536/",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/\r\nHost: x",
        "http://127.0.0.1/é",
        "http://127.0.0.1/#x",
        "http://127.1/",
        "http://0x7f.0.0.1/",
        "http://[::2]/",
        "HTTP://127.0.0.1/",
        "http://localhost.example.org/",
    ] {
        assert!(LoopbackUrl::parse(text).is_err(), "{text}");
    }
}

#[test]
fn the_schema_has_the_keys_of_the_form() {
    use super::super::definition::keys;
    let schema = schema::schema();
    let names = |pointer: &str| {
        let mut names: Vec<String> = schema
            .pointer(pointer)
            .and_then(serde_json::Value::as_object)
            .unwrap_or_else(|| panic!("no {pointer}"))
            .keys()
            .cloned()
            .collect();
        names.sort();
        names
    };
    for (pointer, keys) in [
        ("/properties", &keys::PLAYBOOK_KEYS[..]),
        ("/$defs/parameter/properties", &keys::PARAMETER_KEYS[..]),
        ("/$defs/defaults/properties", &keys::DEFAULTS_KEYS[..]),
        ("/$defs/step/properties", &keys::STEP_KEYS[..]),
        ("/$defs/finally_step/properties", &keys::STEP_KEYS[..]),
        ("/$defs/retries/anyOf/1/properties", &keys::RETRY_KEYS[..]),
        (
            "/$defs/step/properties/expect/properties",
            &keys::EXPECT_KEYS[..],
        ),
        (
            "/$defs/step/properties/verify/properties",
            &keys::VERIFY_KEYS[..],
        ),
        ("/$defs/text/properties", &keys::TEXT_KEYS[..]),
        ("/$defs/file/properties", &keys::FILE_KEYS[..]),
        ("/$defs/http/properties", &keys::HTTP_KEYS[..]),
    ] {
        let mut keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        keys.sort();
        assert_eq!(names(pointer), keys, "{pointer}");
    }
}

#[test]
fn the_fewest_attempts_leave_out_what_may_be_skipped() {
    let fewest = |steps: &str, first: usize| {
        let playbook = read(&format!("version: 1\nname: demo\n{steps}"));
        fewest_attempts(&playbook, first)
    };
    let steps = "steps:\n  - {id: a, run: x, on_failure: 'goto:d'}\n  - {id: b, run: x}\n  - {id: c, run: x}\n  - {id: d, run: x, if: 'run.failed', on_failure: 'goto:a'}\n  - {id: e, run: x}\nfinally:\n  - {id: f, run: x}\n  - {id: g, run: x, if: 'run.failed'}\n";
    // From the first: a, e and f, since a may go to d, which may be skipped.
    assert_eq!(fewest(steps, 0), 3);
    assert_eq!(fewest(steps, 1), 4);
    assert_eq!(fewest(steps, 4), 2);
    let many: String = (0..60)
        .map(|idx| format!("  - {{id: s{idx}, run: x}}\n"))
        .collect();
    assert_eq!(fewest(&format!("steps:\n{many}"), 0), 60);
    assert_eq!(fewest(&format!("steps:\n{many}"), 59), 1);
}
