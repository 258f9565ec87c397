//! The value of a parameter is data in every run: it never changes what is run and is never read as an expression.

use proptest::prelude::*;

use super::super::expression::Scope;
use super::*;

const PLAYBOOK: &str = r#"
version: 1
name: injection
parameters:
  word: {}
  other: {default: "of the other"}
  token: {type: secret}
env:
  OF_PLAYBOOK: "${{ params.word }}"
steps:
  - id: shell
    run: printf '%s' "$WORD" ${word} {{ params.word }} $WORD
    env:
      WORD: "${{ params.word }}"
      BOTH: "<${{ params.word }}|${{ params.other }}>"
      TOKEN: "Bearer ${{ params.token }}"
    expect: {stdout: {contains: "${{ params.word }}"}}
  - id: program
    run: [printf, "%s", $WORD, "${word}"]
    env: {FROM: "${{ steps.shell.outputs.said }}"}
    if: steps.shell.outputs.said == params.word
"#;

fn playbook() -> Playbook {
    let with_output = PLAYBOOK.replace(
        "    expect: {stdout",
        "    outputs: {said: stdout}\n    expect: {stdout",
    );
    read(&with_output)
}

/// The arguments of a command and its environment.
type Launch = (Vec<String>, Vec<(String, String)>);

/// Everything of each step that is run, with the values in its environment.
fn launches(word: &str) -> Vec<Launch> {
    let playbook = playbook();
    let arguments = arguments([
        ("word", text(word)),
        ("other", text("of the other")),
        (
            "token",
            Argument::Secret(crate::description::Secret::new(word.to_owned())),
        ),
    ]);
    let steps = BTreeMap::from([("shell".to_owned(), succeeded(&[("said", word)]))]);
    let scope = Scope {
        arguments: &arguments,
        steps: &steps,
        has_failed: false,
    };
    let rendered = |step: &super::super::model::Step| {
        let env = step.env.iter().map(|(name, value)| {
            let value = value.render(scope).expect("texts have values");
            (name.clone(), value)
        });
        (step.run.argv(), env.collect())
    };
    for step in &playbook.steps {
        if let Some(condition) = &step.condition {
            assert_eq!(condition.holds(scope), Ok(true), "{word:?}");
        }
    }
    playbook.steps.iter().map(rendered).collect()
}

fn check(word: &str) {
    let launches = launches(word);
    let value = |launch: usize, name: &str| {
        let (_, env) = &launches[launch];
        let found = env.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    };
    assert_eq!(
        launches[0].0,
        [
            "sh",
            "-c",
            "printf '%s' \"$WORD\" ${word} {{ params.word }} $WORD"
        ]
    );
    assert_eq!(launches[1].0, ["printf", "%s", "$WORD", "${word}"]);
    assert_eq!(value(0, "WORD"), Some(word));
    assert_eq!(value(0, "OF_PLAYBOOK"), Some(word));
    assert_eq!(value(0, "BOTH"), Some(&*format!("<{word}|of the other>")));
    assert_eq!(value(0, "TOKEN"), Some(&*format!("Bearer {word}")));
    assert_eq!(value(1, "FROM"), Some(word));
}

#[test]
fn a_param_with_signs_of_the_shell_or_of_expressions_never_changes_what_is_run() {
    for word in [
        "",
        "'",
        "\"; rm -rf / #",
        "$(id)",
        "`id`",
        "${WORD}",
        "a\nb",
        "{{ params.other }}",
        "${{ params.other }}",
        "${{ params.word }}",
        "}}",
        "${{",
        "{other}",
        "%s%s%n",
        "\\",
        "😀",
    ] {
        check(word);
    }
}

proptest! {
    #[test]
    fn no_param_changes_what_is_run(
        word in "[ -~\n\té😀]{0,20}(\\$\\{\\{ ?params\\.(word|other|token) ?\\}\\})?['\"`$(){}\\\\;&|\n]{0,10}",
    ) {
        check(&word);
    }
}
