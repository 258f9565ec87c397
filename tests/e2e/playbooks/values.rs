//! Values of parameters and outputs: they reach a step, and nothing else does by them.

use std::path::Path;

use serde_json::json;

use super::{junit, playbook};
use crate::harness::RunBuilder;

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
fn a_secret_that_is_too_short_to_be_hidden_is_told() {
    let book = "parameters: {token: {type: secret, required: true}, unused: {type: secret}}\nsteps:\n  - {id: use, run: 'test \"$TOKEN\" = abc1234', env: {TOKEN: '${{ params.token }}'}}\n";
    let run = playbook(book)
        .env("TOKEN_OF_TEST", "abc1234")
        .flag("--param=token=env:TOKEN_OF_TEST")
        .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let told = "the secret token is shorter than 8 bytes";
    assert!(run.stderr.contains(told), "{}", run.stderr);
    assert!(!run.stderr.contains("unused"), "{}", run.stderr);
    let warned = run.recording.events_of("log");
    let is_told = |log: &&serde_json::Value| {
        log["level"] == "warn" && log["message"].as_str().unwrap().contains(told)
    };
    assert_eq!(warned.iter().filter(is_told).count(), 1, "{warned:?}");
}

#[test]
fn a_variable_that_no_process_can_be_given_fails_its_step_or_the_plan() {
    let long = json!({"version": 1, "name": "test", "parameters": {"p": {}}, "steps": [
        {"id": "one", "run": "head -c 60000 /dev/zero | tr '\\0' x", "outputs": {"o": "stdout"}},
        {"id": "two", "run": "true", "retries": 3,
         "env": {"X": "${{ steps.one.outputs.o }}${{ steps.one.outputs.o }}${{ params.p }}"}},
    ]});
    let run = RunBuilder::playbook(&long.to_string())
        .flag(format!("--param=p={}", "y".repeat(20_000)))
        .finish();
    assert_eq!(run.code(), 1, "{}", run.stderr);
    assert_eq!(
        run.recording.status()["error"]["message"],
        "step two: env X would have 140000 bytes, of which a process can be given 131069; hand it on in a file"
    );
    let book = "parameters: {p: {}}\nsteps:\n  - {id: one, run: 'true', env: {X: '${{ params.p }}${{ params.p }}${{ params.p }}'}}\n";
    let run = playbook(book)
        .flag(format!("--param=p={}", "y".repeat(60_000)))
        .flag("--dry-run")
        .finish();
    assert_eq!(run.code(), 125, "{}", run.stderr);
    let told = "env X would have 180000 bytes";
    assert!(run.stderr.contains(told), "{}", run.stderr);
}
