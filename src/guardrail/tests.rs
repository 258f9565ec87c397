use proptest::prelude::*;

use super::*;
use crate::agent::ReportedAction;
use crate::event::GuardrailDecision::{Hint, Stop, Warn};

const OFF: Guardrails = Guardrails {
    max_consecutive_errors: 0,
    stuck_cycle: 0,
    stuck_hint: 0,
    stuck_warn: 0,
    stuck_stop: 0,
};

/// An action that differs from every other one of another number, and neither fails nor succeeds.
fn numbered(n: u32) -> Seen {
    let reported = ReportedAction {
        tool: Some("t".to_owned()),
        input_summary: Some(n.to_string()),
        ..ReportedAction::default()
    };
    Seen {
        signature: Call::of(&reported).ended(&reported),
        success: None,
    }
}

fn with_success(n: u32, success: bool) -> Seen {
    Seen {
        success: Some(success),
        ..numbered(n)
    }
}

/// What was found, each with the number of the action (from 1).
fn found(guardrails: Guardrails, actions: impl IntoIterator<Item = Seen>) -> Vec<(usize, Finding)> {
    let mut watch = Watch::new(guardrails);
    let found = actions.into_iter().enumerate();
    found
        .filter_map(|(idx, action)| Some((idx + 1, watch.saw(action)?)))
        .collect()
}

fn decisions(
    guardrails: Guardrails,
    actions: impl IntoIterator<Item = Seen>,
) -> Vec<(usize, GuardrailDecision)> {
    let found = found(guardrails, actions);
    found.into_iter().map(|(at, f)| (at, f.decision)).collect()
}

#[test]
fn exactly_the_nth_error_in_a_row_stops_the_run() {
    for n in [1, 2, 3, 10] {
        let guardrails = Guardrails {
            max_consecutive_errors: n,
            ..OFF
        };
        let errors = |count: u32| (0..count).map(|i| with_success(i, false));
        assert_eq!(found(guardrails, errors(n - 1)), []);
        for count in [n, n + 1, n + 5] {
            let expected = Finding {
                rule: GuardrailRule::ConsecutiveErrors,
                decision: Stop,
                seen: u64::from(n),
                limit: Some(u64::from(n)),
                cycle: 1,
            };
            assert_eq!(found(guardrails, errors(count)), [(n as usize, expected)]);
        }
    }
}

#[test]
fn a_success_takes_the_errors_back_and_an_unknown_one_does_not() {
    let guardrails = Guardrails {
        max_consecutive_errors: 3,
        ..OFF
    };
    let (bad, good, unknown) = (with_success(1, false), with_success(2, true), numbered(3));
    assert_eq!(decisions(guardrails, [bad, bad, good, bad, bad]), []);
    assert_eq!(decisions(guardrails, [unknown; 20]), []);
    assert_eq!(
        decisions(guardrails, [bad, unknown, bad, unknown, unknown, bad]),
        [(6, Stop)]
    );
}

#[test]
fn each_level_fires_once_at_its_exact_round_for_every_length() {
    for cycle in 1..=MAX_CYCLE {
        let actions = |rounds: u32| (0..rounds * cycle).map(move |i| numbered(i % cycle));
        let defaults = Guardrails::default();
        let cycle = cycle as usize;
        let all = [(3 * cycle, Hint), (5 * cycle, Warn), (7 * cycle, Stop)];
        for (rounds, n_found) in [
            (2, 0),
            (3, 1),
            (4, 1),
            (5, 2),
            (6, 2),
            (7, 3),
            (8, 3),
            (30, 3),
        ] {
            assert_eq!(
                decisions(defaults, actions(rounds)),
                all[..n_found],
                "{cycle} {rounds}"
            );
        }
        let stop = found(defaults, actions(7))[2].1;
        let expected = Finding {
            rule: match cycle {
                1 => GuardrailRule::RepeatedAction,
                _ => GuardrailRule::RepeatedCycle,
            },
            decision: Stop,
            seen: 7,
            limit: Some(7),
            cycle,
        };
        assert_eq!(stop, expected);
    }
}

#[test]
fn a_level_that_is_off_is_left_out() {
    let same = |guardrails| decisions(guardrails, [numbered(1); 40]);
    let defaults = Guardrails::default();
    let without = |change: fn(&mut Guardrails)| {
        let mut guardrails = defaults;
        change(&mut guardrails);
        same(guardrails)
    };
    assert_eq!(without(|g| g.stuck_hint = 0), [(5, Warn), (7, Stop)]);
    assert_eq!(without(|g| g.stuck_warn = 0), [(3, Hint), (7, Stop)]);
    assert_eq!(without(|g| g.stuck_stop = 0), [(3, Hint), (5, Warn)]);
    assert_eq!(without(|g| g.stuck_cycle = 0), []);
    // A cycle that is longer than the longest that is looked for is no repetition.
    let guardrails = Guardrails {
        stuck_cycle: 2,
        ..defaults
    };
    assert_eq!(decisions(guardrails, (0..60).map(|i| numbered(i % 3))), []);
    assert_eq!(decisions(defaults, (0..60).map(|i| numbered(i % 4))), []);
}

#[test]
fn what_breaks_a_repetition_begins_a_new_count() {
    let (a, b) = (numbered(1), numbered(2));
    let defaults = Guardrails::default();
    assert_eq!(decisions(defaults, [a, a, b, a, a, b, a, a]), []);
    let untold = Seen {
        signature: None,
        success: None,
    };
    assert_eq!(decisions(defaults, [a, a, untold, a, a, untold, a]), []);
    assert_eq!(decisions(defaults, [untold; 40]), []);
    let mut watch = Watch::new(defaults);
    for _ in 0..20 {
        assert_eq!(watch.saw(a), None);
        assert_eq!(watch.saw(a), None);
        watch.begin_anew();
    }
}

#[test]
fn what_was_typed_and_what_came_back_make_the_difference() {
    let base = ReportedAction {
        tool: Some("browser".to_owned()),
        action: Some("type".to_owned()),
        input_summary: Some("type into #name".to_owned()),
        success: Some(true),
        ..ReportedAction::default()
    };
    let signature = |change: fn(&mut ReportedAction)| {
        let mut reported = base.clone();
        change(&mut reported);
        Call::of(&reported).ended(&reported)
    };
    let same = signature(|_| {});
    assert!(same.is_some());
    let unlike: [fn(&mut ReportedAction); 9] = [
        |r| r.tool = Some("shell".to_owned()),
        |r| r.action = Some("click".to_owned()),
        |r| r.input_summary = Some("type into #town".to_owned()),
        |r| r.input = Some(serde_json::json!({"text": "a"})),
        |r| r.success = None,
        |r| r.result_text = Some("done".to_owned()),
        |r| r.error = Some("no".to_owned()),
        |r| r.exit_code = Some(0),
        |r| r.signal = Some(9),
    ];
    for (idx, change) in unlike.into_iter().enumerate() {
        assert_ne!(signature(change), same, "{idx}");
    }
    let alike: [fn(&mut ReportedAction); 6] = [
        |r| r.step = Some(7),
        |r| r.call_id = Some("c7".to_owned()),
        |r| r.parent_call_id = Some("c6".to_owned()),
        |r| r.duration_ms = Some(1.5),
        |r| r.tokens = Some(9),
        |r| r.cost_usd = Some(0.1),
    ];
    for (idx, change) in alike.into_iter().enumerate() {
        assert_eq!(signature(change), same, "{idx}");
    }
    let in_order: fn(&mut ReportedAction) =
        |r| r.input = serde_json::from_str(r#"{"a": {"c": 1, "d": 2}, "b": 3}"#).ok();
    let in_another: fn(&mut ReportedAction) =
        |r| r.input = serde_json::from_str(r#"{"b": 3, "a": {"d": 2, "c": 1}}"#).ok();
    assert_eq!(signature(in_order), signature(in_another));
}

#[test]
fn an_action_that_tells_neither_input_nor_result_is_never_the_same() {
    let untold = ReportedAction {
        tool: Some("t".to_owned()),
        action: Some("a".to_owned()),
        ..ReportedAction::default()
    };
    assert_eq!(Call::of(&untold).ended(&untold), None);
    // What its beginning told counts.
    let began = Call::of(&ReportedAction {
        input: Some(serde_json::json!(1)),
        ..untold.clone()
    });
    assert!(Call::of(&untold).begun_as(began).ended(&untold).is_some());
}

proptest! {
    /// Whatever came before, no cycle up to the longest escapes the defaults.
    #[test]
    fn no_cycle_escapes_the_defaults(
        before in prop::collection::vec(0..4_u32, 0..40),
        cycle in prop::collection::vec(0..4_u32, 1..=MAX_CYCLE as usize),
    ) {
        let rounds = Guardrails::default().stuck_stop as usize;
        let repeated = cycle.iter().copied().cycle().take(cycle.len() * rounds);
        let actions = before.iter().copied().chain(repeated).map(numbered);
        let last = decisions(Guardrails::default(), actions).pop();
        let stopped_by = before.len() + cycle.len() * rounds;
        prop_assert!(matches!(last, Some((at, Stop)) if at <= stopped_by), "{last:?}");
    }

    /// What is found is what a plain look at the whole history finds.
    #[test]
    fn counting_finds_what_looking_back_finds(
        history in prop::collection::vec(0..3_u32, 0..60),
        bounds in (1..=MAX_CYCLE, 2..4_u32, 4..6_u32, 6..8_u32),
    ) {
        let (stuck_cycle, stuck_hint, stuck_warn, stuck_stop) = bounds;
        let guardrails = Guardrails { max_consecutive_errors: 0, stuck_cycle, stuck_hint, stuck_warn, stuck_stop };
        let mut expected = Vec::new();
        for end in 1..=history.len() {
            let is_shortest = |cycle: usize| (1..cycle).all(|d| !cycle.is_multiple_of(d)
                || history[end - cycle..end].iter().enumerate().any(|(i, n)| *n != history[end - cycle + i % d]));
            let level = (1..=(stuck_cycle as usize).min(end)).filter(|c| is_shortest(*c)).find_map(|cycle| {
                let equal = (0..end - cycle).take_while(|i| history[end - 1 - i] == history[end - 1 - i - cycle]).count();
                let level = [(stuck_stop, Stop), (stuck_warn, Warn), (stuck_hint, Hint)];
                let is_round = equal > 0 && equal.is_multiple_of(cycle);
                let level = level.into_iter().find(|(at, _)| *at as usize == equal / cycle + 1)?;
                is_round.then_some(level.1)
            });
            if let Some(level) = level {
                expected.push((end, level));
                if level == Stop { break; }
            }
        }
        prop_assert_eq!(decisions(guardrails, history.into_iter().map(numbered)), expected);
    }
}
