//! Which playbook a task asks for.

use super::*;

fn chosen(task: &str, playbooks: &[(&str, &[&str])]) -> Result<String, MatchError> {
    let tags: Vec<Vec<String>> = playbooks
        .iter()
        .map(|(_, tags)| tags.iter().map(|tag| (*tag).to_owned()).collect())
        .collect();
    let candidates: Vec<Candidate<'_>> = playbooks
        .iter()
        .zip(&tags)
        .map(|((name, _), tags)| Candidate {
            name,
            file: "a.yaml",
            tags,
        })
        .collect();
    best_match(task, &candidates).map(|idx| playbooks[idx].0.to_owned())
}

#[test]
fn a_task_is_matched_by_whole_words_and_most_tags() {
    let playbooks: [(&str, &[&str]); 3] = [
        ("cancel-order", &["cancel", "order"]),
        ("list-orders", &["list", "orders"]),
        ("release", &["release notes", "release"]),
    ];
    for (task, expected) in [
        ("Cancel my order, please!", "cancel-order"),
        ("CANCEL it", "cancel-order"),
        ("list all orders", "list-orders"),
        ("write the release notes", "release"),
        (
            "an order was not listed: list it, but never orders",
            "cancel-order",
        ),
    ] {
        assert_eq!(chosen(task, &playbooks), Ok(expected.to_owned()), "{task}");
    }
}

#[test]
fn a_word_inside_another_or_behind_a_negation_is_no_match() {
    let playbooks: [(&str, &[&str]); 1] = [("cancel-order", &["cancel"])];
    for task in [
        "show cancellations",
        "precancel",
        "don't cancel",
        "don’t cancel my order",
        "do not cancel",
        "never cancel",
        "we won't cancel, so cancel nothing",
        "do not ever cancel",
        "don't you dare cancel it",
        "never, ever cancel",
        "pre-cancel it",
        "do not run ./cancel",
        "never touch .cancel",
        "never - cancel",
        "do not touch order.cancel",
        "",
    ] {
        let expected = MatchError::NoMatch("cancel-order (cancel) in a.yaml".to_owned());
        assert_eq!(chosen(task, &playbooks), Err(expected), "{task}");
    }
    assert_eq!(
        chosen("no: cancel", &playbooks),
        Err(MatchError::NoMatch(
            "cancel-order (cancel) in a.yaml".to_owned()
        ))
    );
    for task in [
        "it is not right, cancel",
        "No, cancel it",
        "Do not wait. Cancel it",
        "do not stop\ncancel",
        "- never push\n- cancel it",
        "Do not wait. - cancel it",
        "he said \"do not wait.\" Cancel it",
        "(do not wait.) Cancel it",
        "I do not know where my order is, cancel it",
        "use the cancel-order playbook",
    ] {
        assert_eq!(
            chosen(task, &playbooks),
            Ok("cancel-order".to_owned()),
            "{task}"
        );
    }
}

#[test]
fn a_tie_is_an_error_that_names_the_candidates() {
    let playbooks: [(&str, &[&str]); 3] =
        [("a", &["deploy"]), ("b", &["deploy"]), ("c", &["test"])];
    assert_eq!(
        chosen("deploy it", &playbooks),
        Err(MatchError::Tie(
            "a (deploy) in a.yaml, b (deploy) in a.yaml".to_owned()
        ))
    );
}

#[test]
fn a_word_with_a_prefix_is_a_tag_of_its_own() {
    let playbooks: [(&str, &[&str]); 2] = [("checks", &["pre-commit"]), ("all", &["build-all"])];
    for (task, expected) in [
        ("run the pre-commit checks", "checks"),
        ("build-all, please", "all"),
        ("build all of it", "all"),
    ] {
        assert_eq!(chosen(task, &playbooks), Ok(expected.to_owned()), "{task}");
    }
    assert!(chosen("commit it", &playbooks).is_err());
}
