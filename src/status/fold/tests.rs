use super::super::sample::{NOON, NOON_MS, action, end, ended, opened, phase, started};
use super::*;
use crate::event::action::ProcessUsage;
use crate::event::lifecycle::MissingLayer;
use crate::event::{ActionOutput, Service, ServiceState, Stream, Text};
use crate::run::EndedBy;

fn fold() -> StatusFold {
    StatusFold::new("r1".parse().unwrap())
}

fn feed(fold: &mut StatusFold, events: &[Event]) {
    for event in events {
        fold.apply(fold.last_event_id() + 1, NOON, event);
    }
}

#[test]
fn status_phase_and_transitions_follow_the_log() {
    use Phase::{Finished, Running, Starting, Stopping};
    let start = || vec![opened(), phase(Starting, Status::Starting)];
    let with = |events: Vec<Event>| [start(), events].concat();
    // Events, phase, status, transitions in the document.
    let table = [
        (vec![], Starting, Status::Starting, 0),
        (start(), Starting, Status::Starting, 1),
        (
            with(vec![phase(Running, Status::Running)]),
            Running,
            Status::Running,
            2,
        ),
        (
            with(vec![
                phase(Running, Status::Running),
                phase(Stopping, Status::Running),
            ]),
            Stopping,
            Status::Running,
            3,
        ),
        (
            with(vec![phase(Stopping, Status::Starting)]),
            Stopping,
            Status::Starting,
            2,
        ),
        (with(vec![end(Status::Failed)]), Finished, Status::Failed, 2),
        (
            with(vec![
                phase(Running, Status::Running),
                end(Status::Completed),
            ]),
            Finished,
            Status::Completed,
            3,
        ),
        // A terminal status never changes.
        (
            with(vec![
                end(Status::Completed),
                end(Status::Failed),
                phase(Running, Status::Running),
            ]),
            Finished,
            Status::Completed,
            2,
        ),
        // A phase never goes back.
        (
            with(vec![
                phase(Stopping, Status::Running),
                phase(Running, Status::Running),
            ]),
            Stopping,
            Status::Running,
            2,
        ),
        // Only the terminal event ends a run, and only with a terminal status.
        (
            with(vec![phase(Finished, Status::Failed)]),
            Starting,
            Status::Starting,
            1,
        ),
        (
            with(vec![phase(Running, Status::Failed)]),
            Starting,
            Status::Starting,
            1,
        ),
        (
            with(vec![end(Status::Running)]),
            Starting,
            Status::Starting,
            1,
        ),
    ];
    for (number, (events, phase, status, n_transitions)) in table.into_iter().enumerate() {
        let mut fold = fold();
        feed(&mut fold, &events);
        let document = fold.document(NOON_MS);
        assert_eq!(
            (document.phase, document.status, document.transitions.len()),
            (Some(phase), status, n_transitions),
            "row {number}"
        );
        assert_eq!(fold.is_terminal(), status.is_terminal(), "row {number}");
        assert_eq!(document.last_event_id, u64::try_from(events.len()).unwrap());
    }
}

#[test]
fn the_terminal_event_decides_everything_about_the_end() {
    let mut fold = fold();
    feed(
        &mut fold,
        &[opened(), phase(Phase::Starting, Status::Starting), ended(1)],
    );
    fold.apply(4, "2026-01-02T12:00:06.500Z", &end(Status::Failed));
    fold.set_log_head(LogHead {
        head: "aa".to_owned(),
        seq: 9,
    });
    let document = fold.document(NOON_MS + 1_000_000);
    assert_eq!(document.duration_ms, Some(5_000));
    assert_eq!(document.started_at.as_deref(), Some(NOON));
    assert_eq!(
        document.ended_at.as_deref(),
        Some("2026-01-02T12:00:06.500Z")
    );
    assert_eq!(document.error.as_ref().unwrap().code, "COMMAND_FAILED");
    assert_eq!(document.result.as_deref(), Some("done"));
    assert_eq!(document.usage.cpu_ms, 77);
    assert_eq!(document.outcome.as_ref().unwrap().by, EndedBy::Agent);
    assert_eq!(document.survivors, Some(Survivors::default()));
    assert_eq!(fold.etag(), "\"e1-4-finished\"");
    let read = StatusDocument::decode(&document.encode().unwrap()).unwrap();
    assert_eq!(read, document);
}

#[test]
fn a_duration_is_that_of_the_moment_until_the_end() {
    let mut fold = fold();
    assert_eq!(fold.document(NOON_MS).duration_ms, None);
    feed(&mut fold, &[opened()]);
    assert_eq!(fold.document(NOON_MS + 250).duration_ms, Some(250));
    assert_eq!(fold.document(NOON_MS - 250).duration_ms, Some(0));
}

#[test]
fn services_are_shown_where_they_are_now_and_no_more_of_them_than_there_can_be() {
    let mut fold = StatusFold::new("r1".parse().unwrap());
    let event = |name: &str, state, restarts| {
        Event::Service(Service {
            restarts,
            ..Service::entered(name, state)
        })
    };
    feed(
        &mut fold,
        &[
            event("a", ServiceState::Starting, 0),
            event("b", ServiceState::Starting, 0),
            event("a", ServiceState::Restarting, 2),
            event("b", ServiceState::Stopped, 0),
        ],
    );
    let shown = |fold: &StatusFold| {
        let services = fold.document(NOON_MS).services.into_iter();
        services
            .map(|service| (service.name, service.state, service.restarts))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        shown(&fold),
        [
            ("a".to_owned(), ServiceState::Restarting, 2),
            ("b".to_owned(), ServiceState::Stopped, 0)
        ]
    );
    for n in 0..100 {
        feed(
            &mut fold,
            &[event(&format!("s{n}"), ServiceState::Ready, 0)],
        );
    }
    assert_eq!(shown(&fold).len(), 16);
}

#[test]
fn listen_isolation_and_description_are_shown() {
    let described = Described {
        labels: BTreeMap::from([("team".to_owned(), "blue".to_owned())]),
        resumed_from: Some("r0".parse().unwrap()),
    };
    let mut fold = StatusFold::with_description("r1".parse().unwrap(), described);
    let listen = Listen {
        address: Some("127.0.0.1:8090".to_owned()),
        socket: None,
    };
    let isolation = Isolation {
        requested: "full".to_owned(),
        enforced: "container".to_owned(),
        layers: vec!["seccomp".to_owned()],
        missing: vec![MissingLayer {
            layer: "pid".to_owned(),
            reason: "refused".to_owned(),
        }],
        network: "none".to_owned(),
        landlock_abi: None,
        limits: Vec::new(),
        groups: Vec::new(),
    };
    feed(
        &mut fold,
        &[
            Event::RunPhase(RunPhase {
                phase: Phase::Starting,
                status: Status::Starting,
                reason: Some("r".repeat(1_000)),
                listen: Some(listen.clone()),
            }),
            Event::Isolation(isolation.clone()),
        ],
    );
    let document = fold.document(NOON_MS);
    assert_eq!(document.listen, Some(listen));
    assert_eq!(document.isolation, Some(isolation));
    assert_eq!(document.labels["team"], "blue");
    assert_eq!(document.resumed_from.unwrap().as_str(), "r0");
    assert!(
        document.transitions[0]
            .reason
            .as_ref()
            .unwrap()
            .ends_with('…')
    );
}

#[test]
fn the_last_hundred_actions_are_shown_and_all_are_counted() {
    let mut fold = fold();
    for (n_actions, n_shown, first) in [
        (0, 0, 1),
        (1, 1, 1),
        (100, 100, 1),
        (101, 100, 2),
        (250, 100, 151),
    ] {
        while fold.action_count() < n_actions {
            let step = fold.action_count() + 1;
            feed(&mut fold, &[ended(step)]);
        }
        let document = fold.document(NOON_MS);
        assert_eq!(document.action_count, n_actions);
        assert_eq!(document.actions.len(), n_shown);
        assert_eq!(document.actions_from, first);
        if let Some(action) = document.actions.first() {
            assert_eq!(action.decode().unwrap().step, first);
        }
    }
    assert_eq!(
        fold.document(NOON_MS).actions[99].decode().unwrap(),
        action(250)
    );
}

#[test]
fn usage_adds_up_while_the_run_lives() {
    let mut fold = fold();
    for (tokens, rss) in [(Some(10), 500), (None, 300)] {
        let mut action = action(1);
        action.tokens = tokens;
        action.cost_usd = Some(0.5);
        action.usage = Some(ProcessUsage {
            user_cpu_ms: 20,
            system_cpu_ms: 5,
            max_rss_bytes: rss,
            ..ProcessUsage::default()
        });
        feed(&mut fold, &[Event::Action(Box::new(action))]);
    }
    let output = Event::ActionOutput(ActionOutput {
        step: Some(1),
        call_id: None,
        stream: Stream::Stdout,
        text: "x".to_owned(),
        bytes: 7,
        lossy: false,
    });
    feed(&mut fold, &[output.clone(), output]);
    assert_eq!(
        fold.document(NOON_MS).usage,
        Usage {
            cpu_ms: 50,
            max_rss_bytes: 500,
            output_bytes: 14,
            tokens: 10,
            cost_usd: 1.0,
            ..Usage::default()
        }
    );
}

#[test]
fn actions_are_open_from_their_start_to_their_end() {
    let steps = |fold: &StatusFold| -> Vec<u64> {
        fold.open_actions()
            .iter()
            .map(|open| open.started.step)
            .collect()
    };
    let mut fold = fold();
    feed(
        &mut fold,
        &[started(1), started(2), started(3), ended(2), ended(9)],
    );
    assert_eq!(steps(&fold), [1, 3]);
    assert_eq!(fold.open_actions()[0].started_at, NOON);
    feed(&mut fold, &[ended(3), ended(1)]);
    assert!(steps(&fold).is_empty());
    for step in 0..3_000 {
        feed(&mut fold, &[started(step)]);
    }
    assert_eq!(fold.open_actions().len(), MAX_OPEN_ACTIONS);
    assert_eq!(steps(&fold).last(), Some(&2_999));
}

#[test]
fn events_that_the_document_does_not_show_change_only_the_event_id() {
    let mut fold = fold();
    feed(&mut fold, &[opened()]);
    let before = fold.document(NOON_MS);
    feed(
        &mut fold,
        &[Event::Message(Text {
            role: None,
            text: "hi".to_owned(),
        })],
    );
    let mut after = fold.document(NOON_MS);
    assert_eq!(after.last_event_id, 2);
    after.last_event_id = 1;
    assert_eq!(after, before);
}

#[test]
fn the_validator_tells_epoch_event_phase_and_health() {
    let mut fold = fold();
    assert_eq!(fold.etag(), "\"-0-starting\"");
    feed(
        &mut fold,
        &[opened(), phase(Phase::Running, Status::Running)],
    );
    assert_eq!(fold.etag(), "\"e1-2-running\"");
    fold.set_recordings_health(RecordingsHealth::bad("disk"));
    assert_eq!(fold.etag(), "\"e1-2-running-unhealthy\"");
}
