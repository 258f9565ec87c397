//! What steps look at, for how long, and what is said of what was not looked at.

use super::*;

#[test]
fn what_was_not_looked_at_is_never_judged() {
    let cut = Attempted {
        stdout: Excerpt::cut("first\nab".to_owned(), "yz\nlast\n".to_owned()),
        ..attempted(0, "")
    };
    let unknown = |claim: &str| {
        Some(format!(
            "stdout is longer than the 16 bytes that are looked at, so nothing tells whether it {claim}; check it in the command itself"
        ))
    };
    for (expect, failure) in [
        ("contains: first", None),
        ("contains: last", None),
        ("contains: ERROR", unknown("contains \"ERROR\"")),
        ("contains: abyz", unknown("contains \"abyz\"")),
        ("contains: cut", unknown("contains \"cut\"")),
        ("not_contains: ERROR", unknown("contains \"ERROR\"")),
        (
            "not_contains: yz",
            Some("stdout contains \"yz\"; it was \"yz\\nlast\\n\"".to_owned()),
        ),
        ("equals: first", unknown("is \"first\"")),
        ("matches: 'la.t'", None),
        ("matches: '^fi'", None),
        ("matches: '^yz'", unknown("matches ^yz")),
        ("matches: 'ab$'", unknown("matches ab$")),
        ("matches: '^[^E]*$'", unknown("matches ^[^E]*$")),
    ] {
        let book = playbook(&format!(
            "steps:\n  - {{id: one, run: a, expect: {{stdout: {{{expect}}}}}}}\n"
        ));
        let story = run(book, |_| Some(cut.clone()));
        let expected = failure.map(|failure| format!("step one: {failure}"));
        assert_eq!(
            story.verdict.error.map(|(_, message)| message),
            expected,
            "{expect}"
        );
    }
    for (output, expected) in [
        ("stdout.lines().first()", Some("first")),
        (
            "stdout.trim().lines().last().match('l(.*)', 1)",
            Some("ast"),
        ),
        ("stdout", None),
        ("stdout.match('[a-z]+')", None),
    ] {
        let book = playbook(&format!(
            "steps:\n  - {{id: one, run: a, outputs: {{o: \"{output}\"}}}}\n"
        ));
        let story = run(book, |_| Some(cut.clone()));
        let given = story.data()["steps"]["one"]["outputs"]["o"].as_str();
        assert_eq!(given, expected, "{output}");
        assert_eq!(
            story.verdict.error.is_none(),
            expected.is_some(),
            "{output}"
        );
    }
    // Of a file and of an answer there is the beginning alone.
    let beginning = || Excerpt::cut("no newline".to_owned(), String::new());
    for (expect, seen) in [
        (
            "file: {path: f, not_contains: x}",
            Seen::File { text: beginning() },
        ),
        (
            "http: {url: 'http://127.0.0.1:1/', not_contains: x}",
            Seen::Answer {
                status: 200,
                body: beginning(),
            },
        ),
    ] {
        let book = playbook(&format!(
            "steps:\n  - {{id: one, run: a, expect: {{{expect}}}}}\n"
        ));
        let story = run_with(book, BTreeMap::new(), 0, |_| None, |_| seen.clone());
        let (_, message) = story.verdict.error.unwrap();
        assert!(message.contains("longer than the 10 bytes"), "{message}");
    }
}

#[test]
fn a_look_gets_no_more_time_than_is_left_to_look() {
    let steps = "steps:\n  - {id: up, run: a, expect: {http: {url: 'http://127.0.0.1:1/', timeout: 4s}}, verify: {within: 1s, every: 450ms}}\n";
    let mut limits = Vec::new();
    let story = run_with(
        playbook(steps),
        BTreeMap::new(),
        0,
        |_| None,
        |probe| {
            let stockade_sandbox::Probe::Http { timeout, .. } = &probe.question else {
                panic!("{probe:?}");
            };
            limits.push(timeout.as_millis());
            Seen::Failed {
                why: "no answer in time".to_owned(),
            }
        },
    );
    assert_eq!(limits, [1_000, 550, 100, 100]);
    assert!(story.verdict.error.is_some());
}

#[test]
fn files_are_looked_at_until_they_hold_or_the_time_is_over() {
    let steps = "steps:\n  - {id: up, run: a, expect: {file: {path: log, contains: ready}}, verify: {within: 2s, every: 500ms}}\n";
    let uneven = steps.replace("500ms", "900ms");
    for (n_looks, code) in [(4, None), (5, Some(ErrorCode::AgentFailed))] {
        let mut looks = 0;
        let seen = |is_ready: bool| Seen::File {
            text: Excerpt::whole(if is_ready { "ready" } else { "not yet" }),
        };
        let story = run_with(
            playbook(&uneven),
            BTreeMap::new(),
            0,
            |_| None,
            |_| {
                looks += 1;
                seen(looks >= n_looks)
            },
        );
        assert_eq!(story.verdict.error.map(|(code, _)| code), code);
        assert_eq!(looks, 4, "at 0, 0.9, 1.8 and 2 s");
    }
    for (n_looks, code) in [(3, None), (9, Some(ErrorCode::AgentFailed))] {
        let mut looks = 0;
        let story = run_with(
            playbook(steps),
            BTreeMap::new(),
            0,
            |_| None,
            |_| {
                looks += 1;
                let text = if looks >= n_looks { "ready" } else { "not yet" };
                Seen::File {
                    text: Excerpt::whole(text),
                }
            },
        );
        assert_eq!(story.verdict.error.map(|(code, _)| code), code);
        assert_eq!(looks, n_looks.min(5), "one look, then one each 500 ms");
    }
}

#[test]
fn only_the_checks_are_repeated_where_that_was_asked_for() {
    let steps = "steps:\n  - {id: up, run: a, expect: {file: {path: ready}}, retries: {max: 4, delay: 1s, backoff: 2, retry: verify}}\n";
    let mut looks = 0;
    let story = run_with(
        playbook(steps),
        BTreeMap::new(),
        0,
        |_| None,
        |_| {
            looks += 1;
            match looks {
                3 => Seen::File {
                    text: Excerpt::whole(""),
                },
                _ => Seen::Nothing,
            }
        },
    );
    assert_eq!(
        story.lines,
        [
            "up 1/5",
            "failed: the file ready does not exist",
            "retry 1/5",
            "wait 1s",
            "checked Some(false) the file ready does not exist",
            "retry 2/5",
            "wait 2s",
            "checked Some(true) ",
        ]
    );
    assert_eq!(story.verdict.error, None);
    // A command that failed itself is never run again.
    let story = run(playbook(steps), |_| Some(attempted(1, "")));
    assert_eq!(
        story.lines,
        ["up 1/5", "failed: the command exited with code 1"]
    );
}
