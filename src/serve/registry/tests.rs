//! What is told of a run whose engine is in every state.

use super::*;
use crate::engine::PendingReason;
use crate::engine::scripted::ScriptedEngine;
use crate::recordings::layout;

/// A directory with one run, and the registry over it.
pub(in crate::serve) struct Place {
    _root: tempfile::TempDir,
    pub(in crate::serve) engine: Arc<ScriptedEngine>,
    pub(in crate::serve) registry: Arc<Registry>,
    pub(in crate::serve) id: RunId,
}

/// How far the recording of the run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::serve) enum On {
    Nothing,
    Spec,
    Claim,
    End,
}

impl Place {
    pub(in crate::serve) fn new(state: EngineState, on: On) -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open_or_create(root.path()).unwrap());
        let id: RunId = "fox".parse().unwrap();
        if on != On::Nothing {
            let run = store.create_run(&id).unwrap();
            run.write_atomic(layout::SPEC, br#"{"labels":{"team":"a"}}"#)
                .unwrap();
            if on != On::Spec {
                run.write_atomic(layout::CLAIM, b"{}").unwrap();
                run.write_atomic(layout::STATUS, br#"{"run_id":"fox","status":"running"}"#)
                    .unwrap();
            }
            if on == On::End {
                run.write_atomic(layout::STATUS, br#"{"run_id":"fox","status":"completed"}"#)
                    .unwrap();
            }
        }
        let engine = Arc::new(ScriptedEngine::new(state));
        let registry = Arc::new(Registry::new(
            store,
            Arc::clone(&engine) as Arc<dyn Engine>,
            Arc::default(),
            TaskTracker::new(),
        ));
        Self {
            _root: root,
            engine,
            registry,
            id,
        }
    }

    /// The status document on disk.
    pub(in crate::serve) fn document(&self) -> Value {
        let path = self.registry.store.path().join("fox/status.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    /// The answer in short: status, source, staleness, phase of the handle; or why there is none.
    async fn told(&self) -> String {
        match self.registry.view(&self.id).await {
            Ok(None) => "absent".to_owned(),
            Err(error) => error.to_string(),
            Ok(Some(view)) => {
                let answer = view.to_json();
                let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let code = word(&answer["error"]["code"]);
                format!(
                    "{} {} {} {}{}",
                    word(&answer["status"]),
                    word(&answer["source"]),
                    if answer["stale"] == true {
                        "stale"
                    } else {
                        "fresh"
                    },
                    word(&answer["handle"]["phase"]),
                    if code.is_empty() {
                        code
                    } else {
                        format!(" {code}")
                    },
                )
            }
        }
    }
}

#[tokio::test]
async fn every_state_of_the_engine_meets_every_state_of_the_record() {
    let exited = EngineState::Exited {
        code: Some(0),
        oom: false,
    };
    let pending = EngineState::Pending(PendingReason::Created);
    let lost = "failed persisted fresh failed LOST";
    let unknown = "the engine does not answer, and nothing is recorded of the run";
    let stored = "completed persisted fresh terminated";
    for (state, nothing, spec, claim) in [
        // The limits of the scripted engine are zero, so that what was only asked for has had its time.
        (
            EngineState::Running,
            "starting engine fresh running",
            lost,
            "running persisted stale running",
        ),
        (
            pending,
            "starting engine fresh pending",
            lost,
            "running persisted stale pending",
        ),
        (exited, "starting engine fresh pending", lost, lost),
        (EngineState::Gone, "absent", lost, lost),
        (
            EngineState::Unknown,
            unknown,
            "starting engine stale unknown",
            "running persisted stale unknown",
        ),
    ] {
        for (on, expected) in [
            (On::Nothing, nothing),
            (On::Spec, spec),
            (On::Claim, claim),
            (On::End, stored),
        ] {
            let place = Place::new(state.clone(), on);
            assert_eq!(place.told().await, expected, "{state:?} {on:?}");
            // A second look, and a look by another process, tell the same.
            assert_eq!(place.told().await, expected, "{state:?} {on:?}");
        }
    }
}

#[tokio::test]
async fn a_terminal_status_never_changes_whatever_the_engine_says_later() {
    let place = Place::new(EngineState::Gone, On::Claim);
    assert!(place.told().await.ends_with("LOST"));
    for state in [
        EngineState::Running,
        EngineState::Unknown,
        EngineState::Gone,
    ] {
        place.engine.set(state);
        assert!(place.told().await.ends_with("LOST"));
    }
}

#[tokio::test]
async fn replicas_that_find_a_lost_run_at_once_give_it_one_end() {
    let place = Place::new(EngineState::Gone, On::Claim);
    let looks = (0..8).map(|_| place.registry.view(&place.id));
    let views = futures_util::future::join_all(looks).await;
    for view in views {
        // Whoever came while another one worked may say so; nobody says anything else.
        match view {
            Ok(Some(view)) => assert_eq!(view.status(), "failed"),
            Ok(None) => panic!("absent"),
            Err(error) => assert!(matches!(error, LookError::NoEnd { .. }), "{error}"),
        }
    }
    assert_eq!(place.registry.counters.runs_lost.get(), 1);
    let log =
        std::fs::read_to_string(place.registry.store.path().join("fox/events.jsonl")).unwrap();
    assert_eq!(log.matches("\"type\":\"complete\"").count(), 1, "{log}");
}

#[tokio::test]
async fn what_never_listened_is_killed_before_it_is_called_lost() {
    let place = Place::new(EngineState::Running, On::Spec);
    assert!(place.told().await.ends_with("LOST"));
    assert_eq!(place.engine.asked(), [Force::Kill]);
}

#[tokio::test]
async fn a_lost_run_that_was_asked_to_stop_is_terminated() {
    let place = Place::new(EngineState::Gone, On::Claim);
    let run = place.registry.store.open_run(&place.id).unwrap().unwrap();
    run.write_atomic(layout::STOP, br#"{"by":{"api":true}}"#)
        .unwrap();
    assert_eq!(
        place.told().await,
        "terminated persisted fresh terminated RUN_TERMINATED"
    );
}

#[tokio::test]
async fn a_sandbox_that_the_kernel_killed_for_memory_is_told_as_such_unless_a_stop_was_asked_for() {
    let out_of_memory = EngineState::Exited {
        code: Some(137),
        oom: true,
    };
    let place = Place::new(out_of_memory.clone(), On::Claim);
    assert_eq!(
        place.told().await,
        "failed persisted fresh failed OOM_KILLED"
    );
    let message = place.document()["error"]["message"].to_string();
    for told in ["exit code 137", "the memory limit of its sandbox killed it"] {
        assert!(message.contains(told), "{message}");
    }

    let place = Place::new(out_of_memory, On::Claim);
    let run = place.registry.store.open_run(&place.id).unwrap().unwrap();
    run.write_atomic(layout::STOP, br#"{"by":{"api":true}}"#)
        .unwrap();
    assert_eq!(
        place.told().await,
        "terminated persisted fresh terminated RUN_TERMINATED"
    );
}

#[tokio::test]
async fn an_engine_is_asked_once_for_a_run_that_is_nowhere_and_a_record_is_seen_at_once() {
    let place = Place::new(EngineState::Gone, On::Nothing);
    for _ in 0..20 {
        let views = (0..10).map(|_| place.registry.view(&place.id));
        for view in futures_util::future::join_all(views).await {
            assert!(view.unwrap().is_none());
        }
    }
    assert_eq!(place.engine.n_looks(), 1);
    let run = place.registry.store.create_run(&place.id).unwrap();
    run.write_atomic(layout::SPEC, b"{}").unwrap();
    place.engine.set(EngineState::Running);
    assert!(place.registry.view(&place.id).await.unwrap().is_some());
}
