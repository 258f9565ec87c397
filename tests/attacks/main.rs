//! The attack corpus: programs that try what a sandbox must not allow, each beside the nearest thing that it must.
//!
//! Every attempt is made without a sandbox, which shows that it is one, and behind each wall. Inside, a probe tries and says
//! what it was answered; what counts is what the host finds, where it can look: canary files, victims, survivors, the record.
//! Nothing but canaries is ever harmed: calls that would change the machine lack something on purpose.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by a panic that says where"
)]
#![expect(
    unreachable_pub,
    reason = "a test binary has no outside; pub marks what modules offer to each other"
)]

mod attempt;
mod owner;
mod stage;
mod setting;
mod matrix;
mod gap;
mod files;
mod privileges;
mod processes;
mod kernel;
mod network;
mod resources;
mod life;
mod terminals;
mod inherited;
mod output;
mod run;
#[path = "../e2e/harness/need.rs"]
mod need;
#[path = "../e2e/harness/wait.rs"]
mod wait;
#[path = "../e2e/harness/engine.rs"]
#[expect(dead_code, reason = "the end-to-end tests use more of it")]
mod engine;

use std::collections::BTreeSet;

use attempt::{Class, Control, Round};
use matrix::{attempts, matrix};
use owner::Owner;
use setting::{Answer, Wall};

/// The least that the corpus has, and the least of a class.
const MIN_ATTEMPTS: usize = 300;
const MIN_OF_A_CLASS: usize = 6;

#[test]
fn no_attempt_succeeds_in_the_tier_full_and_in_a_container_none_but_listed_gaps() {
    let Some(matrix) = matrix() else { return };
    let mut found = Vec::new();
    for setting in matrix.confined() {
        let has_gaps = setting.wall == Wall::Container;
        for attempt in &matrix.attempts {
            match matrix
                .outcome(attempt, setting)
                .map(|outcome| &outcome.attack)
            {
                Some(Answer::Refused(_)) => {}
                Some(Answer::Got(_)) if has_gaps && gap::is_listed(&attempt.id()) => {}
                // Without a supervisor there is none to be aimed at, and not each limit. A container has no masks, and no
                // processes of its own.
                Some(Answer::NotTried) if setting.wall != Wall::Full => {}
                // Only a runner that is root can make what they are aimed at.
                Some(Answer::NotTried) if may_lack_its_aim(attempt) => {}
                other => found.push(format!("{}: {}: {other:?}", setting.name(), attempt.id())),
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Ordinary containers, and what makes them so.
const CONTAINERS: [&[&str]; 3] = [
    &["--name=attacks-root"],
    &["--name=attacks-user", "--user=1000:1000"],
    &[
        "--name=attacks-bare-root",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
    ],
];

#[test]
fn in_ordinary_containers_nothing_gets_through_but_listed_gaps() {
    if run::probe_inside().is_some() {
        return;
    }
    let Some(engine) = engine::Engine::shared() else {
        return;
    };
    let workshop = matrix::workshop();
    let Some(probe) = matrix::probe_of(&workshop) else {
        return;
    };
    let play = |kind: &[&str]| {
        let mut flags = run::flags_of_container(&probe);
        flags.push("--rm".to_owned());
        flags.extend(kind.iter().map(|flag| (*flag).to_owned()));
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let own = run::command_inside();
        // The same tests, played inside.
        let command = [own.as_str(), "no_attempt_succeeds", "every_twin_works"];
        let output = engine.run(&flags, &command);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && printed.contains("test result: ok. 2 passed"),
            "{kind:?}: {:?}\n{printed}",
            output.status
        );
        // It was not the tests that were skipped.
        assert!(printed.contains(&format!("succeeded of {}", attempts().len())));
        assert!(printed.contains("cont/"), "{printed}");
    };
    std::thread::scope(|scope| {
        for kind in CONTAINERS {
            scope.spawn(|| play(kind));
        }
    });
}

#[test]
fn every_gap_of_a_container_stands_in_the_documentation() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sandbox.md");
    let faults = gap::faults(&std::fs::read_to_string(page).unwrap(), &attempts());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A program of root's, and a control group that can be entered, are not there for everybody, and an overlay is a
/// command's alone.
fn may_lack_its_aim(attempt: &attempt::Attempt) -> bool {
    let attack = attempt.attack;
    attack.contains("{setuid}") || attack.contains("{cgroup}") || attempt.round == Round::Overlay
}

#[test]
fn every_twin_works_in_every_setting() {
    let Some(matrix) = matrix() else { return };
    let mut found = Vec::new();
    for setting in &matrix.settings {
        for attempt in &matrix.attempts {
            match matrix
                .outcome(attempt, *setting)
                .map(|outcome| &outcome.twin)
            {
                Some(Answer::Got(_)) => {}
                Some(Answer::NotTried)
                    if setting.wall != Wall::Full || attempt.round == Round::Overlay => {}
                Some(Answer::Refused(_))
                    if setting.wall == Wall::Container && gap::is_listed(&attempt.twin_id()) => {}
                other => found.push(format!(
                    "{}: {}: {other:?}",
                    setting.name(),
                    attempt.twin_id()
                )),
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn without_a_sandbox_the_attempts_succeed() {
    let Some(matrix) = matrix() else { return };
    let mut found = Vec::new();
    let mut n_real = 0;
    for attempt in &matrix.attempts {
        let succeeds = |owner| matrix.succeeds_unconfined(attempt, owner);
        let is_root_there = nix::unistd::geteuid().is_root();
        n_real += usize::from(succeeds(Owner::Root) || succeeds(Owner::User));
        let is_as_expected = match attempt.control {
            Control::Anyone => succeeds(Owner::User),
            Control::Root => succeeds(Owner::Root) || !is_root_there,
            Control::Unproven(why) => !why.is_empty(),
        };
        if !is_as_expected {
            let outcomes: Vec<_> = matrix
                .settings
                .iter()
                .map(|setting| (setting.name(), matrix.outcome(attempt, *setting)))
                .collect();
            found.push(format!("{}: {outcomes:?}", attempt.id()));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    let n_attempts = matrix.attempts.len();
    assert!(
        n_real * 3 >= n_attempts * 2,
        "{n_real} of {n_attempts} succeed without a sandbox"
    );
}

#[test]
fn there_are_as_many_attempts_as_the_corpus_promises() {
    let attempts = attempts();
    assert!(attempts.len() >= MIN_ATTEMPTS, "{}", attempts.len());
    let ids: BTreeSet<_> = attempts.iter().map(attempt::Attempt::id).collect();
    assert_eq!(ids.len(), attempts.len(), "two attempts have one name");
    for class in Class::ALL {
        let n_attempts = attempts.iter().filter(|a| a.class == class).count();
        assert!(
            n_attempts >= MIN_OF_A_CLASS,
            "{}: {n_attempts}",
            class.name()
        );
    }
    assert!(attempts.iter().all(|a| a.attack != a.twin));
}
