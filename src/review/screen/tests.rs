use std::collections::BTreeMap;

use super::*;
use crate::event::lifecycle::Usage;
use crate::review::account::{Artifacts, Counts, LogFacts, PhaseTime};
use crate::status::document::RecordingsHealth;

fn account() -> Account {
    let step = |step: u64, ms: u64, success: bool| StepView {
        step,
        tool: "command".to_owned(),
        action: "run".to_owned(),
        input_summary: format!(
            "make \u{1b}]0;title\u{7}target-{step} {}",
            "long ".repeat(40)
        ),
        duration_ms: Some(ms),
        success: Some(success),
        cancelled: false,
        exit_code: Some(i32::from(!success)),
        signal: None,
        error: None,
        result: None,
        result_digest: 0,
        signature: step,
    };
    Account {
        run_id: "demo".parse().unwrap(),
        path: "/recordings/demo".to_owned(),
        life: Life::Ended,
        status: Status::Failed,
        exit_status: Some(1),
        outcome: None,
        error: None,
        task: Some("build\n\u{1b}[2Jit".to_owned()),
        command: vec!["sh".to_owned(), "-c".to_owned(), "it's here".to_owned()],
        labels: BTreeMap::new(),
        started_at: Some("2026-11-22T14:15:37.123Z".to_owned()),
        ended_at: None,
        duration_ms: Some(4_200),
        phases: vec![PhaseTime {
            phase: "running".to_owned(),
            duration_ms: Some(4_000),
        }],
        result: None,
        in_actions_ms: 1_500,
        isolation: None,
        usage: Usage::default(),
        survivors: None,
        services: Vec::new(),
        hooks: Vec::new(),
        actions: Counts {
            total: 40,
            succeeded: 30,
            failed: 10,
            cancelled: 0,
            open: 0,
        },
        slowest: (1..=20).map(|n| step(n, 100_000 - n, true)).collect(),
        failed: (30..=40).map(|n| step(n, n, false)).collect(),
        open: Vec::new(),
        n_retries: 3,
        notes: vec!["guardrail stuck: stop".to_owned(); 5],
        n_notes: 5,
        artifacts: Artifacts {
            n_kept: 2,
            bytes: 2_048,
            names: vec!["report.md".to_owned()],
            withheld: BTreeMap::from([("secret", 1)]),
        },
        output_tail: (0..50).map(|n| format!("line {n}")).collect(),
        log: LogFacts {
            n_events: 99,
            last_seq: 99,
            n_bad_lines: 1,
            torn_bytes: 0,
        },
        recordings: RecordingsHealth::good(),
    }
}

#[test]
fn the_screen_is_filled_and_never_exceeded() {
    for (columns, rows) in [(80, 24), (60, 20), (200, 60), (10, 5)] {
        let size = Size { columns, rows };
        let text = render(&account(), size, Colours::None);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines.len() <= rows.max(MIN_ROWS),
            "{rows}: {}\n{text}",
            lines.len()
        );
        assert!(
            lines.len() + 2 >= rows.min(40),
            "{rows}: {}\n{text}",
            lines.len()
        );
        for line in lines {
            let width = plain::columns(line);
            assert!(width <= columns.max(MIN_COLUMNS), "{width}: {line}");
            assert!(!line.contains(char::is_control), "{line:?}");
        }
    }
}

#[test]
fn what_matters_stands_on_the_smallest_screen() {
    let text = render(&account(), Size::default(), Colours::None);
    for part in [
        "demo",
        "failed, exit 1",
        "'it'\\''s here'",
        "took 4.2 s",
        "running 4.0 s; 1.5 s of it in actions",
        "40, 30 ok, 10 failed, 3 made again",
        "#40",
        "#1 ",
        "line 49",
        "2 artifacts",
        "withheld: 1 secret",
        "1 bad line",
        "guardrail stuck: stop",
        "and 3 more",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn what_ran_beside_the_agent_is_told_and_what_went_wrong_with_it_comes_first() {
    let service = |name: &str, state, restarts| ServiceStatus {
        name: name.to_owned(),
        state,
        restarts,
        reason: None,
    };
    let account = Account {
        services: vec![
            service("display", ServiceState::Stopped, 0),
            service("db", ServiceState::Failed, 2),
        ],
        hooks: vec![crate::event::Hook {
            hook: crate::event::HookName::PostRun,
            success: false,
            error: Some("the hook exited with code 9".to_owned()),
            exit_code: Some(9),
            signal: None,
            duration_ms: 12,
            result_text: None,
            truncated: None,
        }],
        ..account()
    };
    let text = render(&account, Size::default(), Colours::None);
    assert!(
        text.contains("services  db failed, 2 restarts; display stopped\n"),
        "{text}"
    );
    assert!(
        text.contains("post_run failed (12 ms): the hook exited with code 9\n"),
        "{text}"
    );
}

#[test]
fn colours_come_only_where_they_are_wanted() {
    let plain = render(&account(), Size::default(), Colours::None);
    assert!(!plain.contains('\u{1b}'));
    let painted = render(&account(), Size::default(), Colours::Kept);
    assert!(painted.contains("\u{1b}[31m"));
}

#[test]
fn a_run_that_was_cut_off_is_told_with_its_remedy() {
    let account = Account {
        life: Life::CutOff,
        status: Status::Running,
        exit_status: None,
        ..account()
    };
    let text = render(&account, Size::default(), Colours::None);
    assert!(text.contains("cut off while running"), "{text}");
    assert!(text.contains("stockade finalize"), "{text}");
}

#[test]
fn the_last_line_says_where_the_recording_is_also_of_a_damaged_one() {
    let mut account = account();
    for health in [RecordingsHealth::good(), RecordingsHealth::bad("torn")] {
        let is_damaged = !health.healthy;
        account.recordings = health;
        let text = render(&account, Size::default(), Colours::None);
        let last = text.lines().last().unwrap();
        assert!(last.ends_with(" in /recordings/demo"), "{text}");
        assert_eq!(text.contains("damage    torn"), is_damaged, "{text}");
    }
}
