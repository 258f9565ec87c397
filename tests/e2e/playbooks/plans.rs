//! What is known of a run before it begins: the plan, the first step, and the choice of the playbook.

use super::playbook;
use crate::harness::RunBuilder;

#[test]
fn a_run_that_would_skip_its_first_step_is_refused() {
    let book = "parameters: {deploy: {type: boolean}}\nsteps:\n  - {id: a, run: 'echo a'}\n  - {id: b, if: \"steps.a.status == 'succeeded'\", run: 'echo b'}\n  - {id: c, if: params.deploy, run: 'echo c'}\n  - {id: d, if: \"steps.b.status == 'skipped'\", run: 'echo d'}\n";
    for (first, why) in [("b", "steps.a.status"), ("c", "params.deploy")] {
        let run = playbook(book).flag(format!("--from-step={first}")).finish();
        assert_eq!(run.code(), 125, "{}", run.stderr);
        let told = format!("the run would skip {first} itself");
        assert!(run.stderr.contains(&told), "{}", run.stderr);
        assert!(run.stderr.contains(why), "{}", run.stderr);
    }
    let run = playbook(book)
        .flag("--from-step=c")
        .flag("--param=deploy=true")
        .flag("--dry-run")
        .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let known = "steps.b.status == 'skipped': holds";
    assert!(run.stdout.contains(known), "{}", run.stdout);
}

#[test]
fn what_a_playbook_or_a_parameter_says_cannot_move_the_cursor() {
    let book = r#"description: "d \e]0;pwn\a"
parameters: {q: {}, c: {type: choice, choices: ["\e[32mA", B], default: B}}
steps:
  - id: one
    name: "\e]0;pwn\a\r\nFAKE"
    if: "'\e[31m' != params.q"
    run: "rm -rf x.\e[2K\recho harmless"
    expect: {http: {url: "http://127.0.0.1:1/${{ params.q }}"}}
"#;
    let plan = playbook(book)
        .flag("--dry-run")
        .flag("--param=q=x")
        .finish();
    assert_eq!(plan.code(), 0, "{}", plan.stderr);
    let shown = "rm -rf x.\\u{1b}[2K\\recho harmless";
    assert!(plan.stdout.contains(shown), "{}", plan.stdout);
    for flag in [
        "--param=q=\u{1b}]0;t\u{7}\u{1b}[31m\r\n",
        "--param=c=\u{1b}[32m",
    ] {
        let refused = playbook(book).flag("--dry-run").flag(flag).finish();
        assert_ne!(refused.code(), 0, "{}", refused.stdout);
        for text in [&plan.stdout, &plan.stderr, &refused.stdout, &refused.stderr] {
            let is_harmless = |c: char| c == '\n' || c == '\t' || !c.is_control();
            assert!(text.chars().all(is_harmless), "{text:?}");
        }
    }
}

#[test]
fn a_bad_entry_of_a_directory_is_named_and_hidden_files_are_passed_over() {
    let run = RunBuilder::new::<String>([]);
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("books");
    std::fs::create_dir(&directory).unwrap();
    let book = "version: 1\nname: good\ntags: [release]\nsteps: [{id: one, run: 'true'}]\n";
    std::fs::write(directory.join("good.yaml"), book).unwrap();
    std::fs::write(directory.join(".hidden.yaml"), "no playbook").unwrap();
    std::os::unix::fs::symlink("nowhere", directory.join(".#good.yaml")).unwrap();
    let chosen = |run: RunBuilder| {
        run.flag("--dry-run")
            .flag("--playbook")
            .flag(&directory)
            .flag("--task=release it")
            .finish()
    };
    let run = chosen(run);
    assert_eq!(run.code(), 0, "{}", run.stderr);
    std::os::unix::fs::symlink("nowhere", directory.join("d.yaml")).unwrap();
    let run = chosen(RunBuilder::new::<String>([]));
    assert_eq!(run.code(), 125, "{}", run.stderr);
    assert!(run.stderr.contains("books/d.yaml"), "{}", run.stderr);
}

#[test]
fn a_file_with_more_faults_than_are_told_is_at_fault_like_any_other() {
    for n_faults in [1, 101] {
        let step = |idx: i32| format!("  - {{id: s{idx}, run: 'true', rum: x}}\n");
        let steps: String = (0..n_faults).map(step).collect();
        let run = playbook(&format!("steps:\n{steps}"))
            .flag("--dry-run")
            .finish();
        assert_eq!(run.code(), 125, "{n_faults}: {}", run.stderr);
        let told = run.stderr.contains("1 more faults");
        assert_eq!(told, n_faults == 101, "{}", run.stderr);
    }
}

#[test]
fn an_id_that_a_run_has_is_refused_before_the_run_and_nothing_is_made() {
    let steps = "steps:\n  - {id: one, run: 'true'}\n";
    let recordings = tempfile::tempdir().unwrap();
    let place = recordings.path().join("new");
    let run = |flag: Option<&str>| {
        let run = playbook(steps)
            .with_recordings(&place)
            .flag("--run-id=taken");
        flag.into_iter().fold(run, RunBuilder::flag).finish()
    };
    assert_eq!(run(Some("--dry-run")).code(), 0);
    assert!(!place.exists());
    assert_eq!(run(None).code(), 0);
    let refused = run(Some("--dry-run"));
    assert_eq!(refused.code(), 125);
    assert!(refused.stderr.contains("RUN_EXISTS"), "{}", refused.stderr);
}
