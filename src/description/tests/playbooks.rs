//! The playbook of a run: which one it is, what its parameters are, and where its secrets go.

use super::super::{HandOver, PlaybookRun};
use super::*;
use crate::playbook::Argument;

fn playbook_of(args: &str, environment: &[(&str, &str)], file: &str) -> PlaybookRun {
    match resolve_args(args, environment, file) {
        Ok((description, _)) => description.playbook.expect("a playbook"),
        Err(errors) => panic!("{errors}"),
    }
}

fn text(text: &str) -> Option<Argument> {
    Some(Argument::Text(text.to_owned()))
}

const TOKEN: [(&str, &str); 1] = [("T", "hunter2hunter2")];

#[test]
fn parameters_come_from_every_source_and_the_stronger_wins_for_each_name() {
    let run = playbook_of(
        "--config run.toml --playbook playbooks/greet.yaml --param who=flag --param token=env:T",
        &[
            TOKEN[0],
            (
                "STOCKADE_PARAMETERS",
                r#"{"who": "environment", "times": 2}"#,
            ),
        ],
        "[parameters]\nwho = 'file'\ntimes = 3\npage = 8080\n",
    );
    let argument = |name: &str| run.arguments.get(name).cloned();
    assert_eq!(argument("who"), text("flag"));
    assert_eq!(argument("times"), Some(Argument::Integer(2)));
    assert_eq!(argument("page"), text("8080"));
    assert_eq!(run.from_step, None);
    assert_eq!(run.playbook().unwrap().name, "greet");
}

#[test]
fn a_task_chooses_among_the_playbooks_of_a_directory() {
    let run = playbook_of(
        "--config run.toml",
        &TOKEN,
        "playbook = 'playbooks'\ntask = 'say bye'\n",
    );
    assert_eq!(run.path, "playbooks/part.json");
    let run = playbook_of(
        "--config run.toml --playbook playbooks --param token=env:T",
        &TOKEN,
        "task = \"don't say bye, say hello\"\n",
    );
    assert_eq!(run.path, "playbooks/greet.yaml");
}

#[test]
fn a_secret_parameter_is_in_no_view_and_in_the_hand_over() {
    let args = "--playbook playbooks/greet.yaml --param token=env:T --param who=hunter2hunter2";
    let (description, options) = resolve_args(args, &TOKEN, "").unwrap();
    let shown = format!("{description:?} {}", description.public());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(serde_json::to_string(&description).is_err());
    let names: Vec<&str> = description.secrets().map(|(name, _)| name).collect();
    assert_eq!(names, ["token"]);
    let hand_over = HandOver {
        description,
        options,
    };
    let read = HandOver::from_bytes(&hand_over.to_bytes().unwrap()).unwrap();
    assert_eq!(read, hand_over);
}

#[test]
fn a_secret_parameter_is_given_in_the_forms_of_a_credential() {
    let file = "playbook = 'playbooks/greet.yaml'\nparameters.token = { env = 'T' }\n";
    let run = playbook_of("--config run.toml", &TOKEN, file);
    let secrets: Vec<&str> = run.secrets().map(|(_, secret)| secret.expose()).collect();
    assert_eq!(secrets, ["hunter2hunter2"]);
    let run = playbook_of(
        "--playbook playbooks/greet.yaml --param token=file:plain",
        &[],
        "",
    );
    let secrets: Vec<&str> = run.secrets().map(|(_, secret)| secret.expose()).collect();
    assert_eq!(secrets, ["plain"]);
}

#[test]
fn a_run_may_begin_with_a_later_step_that_needs_nothing_of_those_before() {
    let args = "--playbook playbooks/greet.yaml --param token=env:T --from-step greet";
    let run = playbook_of(args, &TOKEN, "");
    assert_eq!(run.from_step.as_deref(), Some("greet"));
}

#[test]
fn a_limit_that_would_cut_the_playbook_is_an_error_before_the_run() {
    let refused = |args: &str| match resolve_args(args, &TOKEN, "") {
        Ok(_) => None,
        Err(errors) => Some(errors.to_string()),
    };
    let args = "--playbook playbooks/greet.yaml --param token=env:T";
    assert_eq!(refused(&format!("{args} --max-steps 2")), None);
    let told = refused(&format!("{args} --max-steps 1")).unwrap();
    assert!(
        told.contains("max_steps = \"1\" from --max-steps") && told.contains("at least 2 steps"),
        "{told}"
    );
    let last = format!("{args} --max-steps 1 --from-step shout");
    assert!(!refused(&last).is_some_and(|told| told.contains("max_steps")));
}
