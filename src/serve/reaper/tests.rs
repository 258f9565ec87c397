//! Rounds over runs in every state.

use super::*;
use crate::engine::{EngineState, Force};
use crate::recordings::layout;
use crate::serve::registry::tests::{On, Place};

/// A round of a reaper that has seen nothing yet, as another control plane would have.
async fn first_round(place: &Place) -> Round {
    let reaper = Reaper::new(Arc::clone(&place.registry));
    reaper.round(&CancellationToken::new()).await.unwrap()
}

fn code(place: &Place) -> String {
    let document = place.document();
    let code = document
        .pointer("/error/code")
        .and_then(serde_json::Value::as_str);
    code.unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_lost_run_gets_its_end_though_nobody_asks() {
    let place = Place::new(EngineState::Gone, On::Claim);
    assert_eq!(
        first_round(&place).await,
        Round {
            looked_at: 1,
            active: 0
        }
    );
    assert_eq!(code(&place), "LOST");
}

#[tokio::test]
async fn reapers_that_come_at_once_give_one_end() {
    let place = Place::new(EngineState::Gone, On::Claim);
    futures_util::future::join_all((0..8).map(|_| first_round(&place))).await;
    assert_eq!(code(&place), "LOST");
    assert_eq!(place.registry.counters.runs_lost.get(), 1);
    let log =
        std::fs::read_to_string(place.registry.store.path().join("fox/events.jsonl")).unwrap();
    assert_eq!(log.matches("\"type\":\"complete\"").count(), 1, "{log}");
}

#[tokio::test]
async fn an_engine_that_does_not_answer_loses_no_run() {
    let place = Place::new(EngineState::Unknown, On::Claim);
    assert_eq!(
        first_round(&place).await,
        Round {
            looked_at: 1,
            active: 1
        }
    );
    assert_eq!(code(&place), "");
}

#[tokio::test]
async fn an_ended_run_is_looked_at_once_and_again_when_its_recording_is_another() {
    let place = Place::new(EngineState::Gone, On::End);
    let reaper = Reaper::new(Arc::clone(&place.registry));
    let cancelled = CancellationToken::new();
    let looked_at = async || reaper.round(&cancelled).await.unwrap().looked_at;
    assert_eq!(looked_at().await, 1);
    assert_eq!(looked_at().await, 0);
    // A run of the same name, whose recording begins with another time.
    let run = place.registry.store.open_run(&place.id).unwrap().unwrap();
    run.write_atomic(layout::STATUS, br#"{"run_id":"fox","status":"running"}"#)
        .unwrap();
    assert_eq!(looked_at().await, 1);
    assert_eq!(code(&place), "LOST");
    std::fs::remove_dir_all(place.registry.store.path().join("fox")).unwrap();
    assert_eq!(looked_at().await, 0);
    assert!(reaper.ended.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_stop_that_is_overdue_is_carried_out_by_whoever_finds_it() {
    for (seconds_ago, grace, killed) in [(300, None, true), (15, Some(1), true), (5, None, false)] {
        let place = Place::new(EngineState::Running, On::Claim);
        let run = place.registry.store.open_run(&place.id).unwrap().unwrap();
        let at = SystemTime::now() - Duration::from_secs(seconds_ago);
        let at = at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_millis();
        let intent = serde_json::json!({"requested_at_ms": u64::try_from(at).unwrap(), "grace_seconds": grace});
        run.write_atomic(layout::STOP, intent.to_string().as_bytes())
            .unwrap();
        assert_eq!(first_round(&place).await.active, 1);
        let expected: &[Force] = if killed { &[Force::Kill] } else { &[] };
        assert_eq!(place.engine.asked(), expected, "{seconds_ago} {grace:?}");
        assert_eq!(
            place.registry.counters.stops_enforced.get(),
            u64::from(killed)
        );
    }
}

#[tokio::test]
async fn a_run_that_nobody_asked_to_stop_is_left_alone() {
    let place = Place::new(EngineState::Running, On::Claim);
    assert_eq!(
        first_round(&place).await,
        Round {
            looked_at: 1,
            active: 1
        }
    );
    assert_eq!(place.engine.asked(), []);
}

#[tokio::test]
async fn the_sandbox_of_an_ended_run_goes_and_that_of_another_stays() {
    let place = Place::new(EngineState::Gone, On::End);
    place.engine.lists(&["fox"]);
    first_round(&place).await;
    assert_eq!(place.engine.listed(), [""; 0]);
    assert_eq!(place.engine.asked(), [], "what has ended is not killed");
    let place = Place::new(EngineState::Running, On::Claim);
    place.engine.lists(&["fox"]);
    first_round(&place).await;
    assert_eq!(place.engine.listed(), ["fox"]);
}

#[tokio::test]
async fn a_sandbox_without_a_recording_goes_when_two_rounds_found_none() {
    let place = Place::new(EngineState::Running, On::Claim);
    place.engine.lists(&["fox", "ghost"]);
    let reaper = Reaper::new(Arc::clone(&place.registry));
    let cancelled = CancellationToken::new();
    reaper.round(&cancelled).await.unwrap();
    assert_eq!(place.engine.listed(), ["fox", "ghost"]);
    reaper.round(&cancelled).await.unwrap();
    assert_eq!(place.engine.listed(), ["fox"]);
    assert_eq!(place.engine.asked(), [Force::Kill]);
}
