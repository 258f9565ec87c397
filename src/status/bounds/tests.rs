use std::collections::BTreeMap;

use super::super::document::{LogHead, RecordingsHealth, StatusDocument};
use super::super::fold::{Described, StatusFold};
use super::super::sample::{action, complete};
use super::*;
use crate::event::action::ProcessUsage;
use crate::event::lifecycle::Listen;
use crate::event::{Event, RunPhase, Service, ServiceState};
use crate::run::{ErrorCode, Phase, RunError, Status};

#[test]
fn data_within_its_share_is_kept_and_larger_data_becomes_a_note() {
    let small = serde_json::json!({ "a": "x".repeat(60_000) });
    assert_eq!(bounded_json(small.clone()), small);
    let note = bounded_json(serde_json::json!({ "a": "x".repeat(70_000) }));
    assert_eq!(note["truncated"]["total_bytes"], 70_008);
    assert!(note["note"].as_str().unwrap().contains("log"));
}

#[test]
fn the_largest_document_is_within_its_bound() {
    // What takes most when encoded: six bytes for one.
    let huge = "\u{1}".repeat(100_000);
    let names: Vec<_> = (0..500).map(|_| huge.clone()).collect();
    let labels = (0..200).map(|number| (format!("{number:03}{huge}"), huge.clone()));
    let described = Described {
        labels: labels.collect::<BTreeMap<_, _>>(),
        resumed_from: Some("a".repeat(63).parse().unwrap()),
    };
    let mut fold = StatusFold::with_description("b".repeat(63).parse().unwrap(), described);
    let listen = Listen {
        address: Some(huge.clone()),
        socket: Some(huge.clone()),
    };
    let entered = Event::RunPhase(RunPhase {
        phase: Phase::Starting,
        status: Status::Starting,
        reason: Some(huge.clone()),
        listen: Some(listen),
    });
    let isolation = Event::Isolation(Isolation {
        requested: huge.clone(),
        enforced: huge.clone(),
        layers: names.iter().take(100).cloned().collect(),
        missing: (0..100)
            .map(|_| MissingLayer {
                layer: huge.clone(),
                reason: huge.clone(),
            })
            .collect(),
        network: huge.clone(),
        landlock_abi: Some(u32::MAX),
        limits: vec![
            EnforcedLimit {
                limit: huge.clone(),
                value: u64::MAX,
                by: huge.clone(),
            };
            100
        ],
        groups: vec![huge.clone(); 100],
    });
    let mut large = action(u64::MAX);
    for text in [
        &mut large.timestamp,
        &mut large.tool,
        &mut large.action,
        &mut large.input_summary,
        &mut large.call_id,
    ] {
        text.clone_from(&huge);
    }
    for text in [
        &mut large.result_text,
        &mut large.error,
        &mut large.parent_call_id,
    ] {
        *text = Some(huge.clone());
    }
    large.artifact = Some("a".repeat(384));
    (large.duration_ms, large.tokens, large.cost_usd) =
        (Some(u64::MAX), Some(u64::MAX), Some(f64::MIN));
    (large.exit_code, large.signal, large.agent_step) =
        (Some(i32::MIN), Some(i32::MIN), Some(i64::MIN));
    large.cancelled = true;
    large.usage = Some(ProcessUsage {
        user_cpu_ms: u64::MAX,
        system_cpu_ms: u64::MAX,
        max_rss_bytes: u64::MAX,
        wait_status: Some(i32::MIN),
        peak_memory_bytes: Some(u64::MAX),
        oom_kills: u64::MAX,
        throttled_ms: u64::MAX,
    });
    for _ in 0..100 {
        fold.apply(u64::MAX, &huge, &entered);
        fold.apply(u64::MAX, &huge, &Event::Action(Box::new(large.clone())));
    }
    fold.apply(u64::MAX, &huge, &isolation);
    for n in 0..100 {
        let service = Service {
            reason: Some(huge.clone()),
            restarts: u64::MAX,
            ..Service::entered(&format!("{n}{huge}"), ServiceState::Restarting)
        };
        fold.apply(u64::MAX, &huge, &Event::Service(service));
    }
    let mut last = complete(Status::Failed);
    last.result = Some(huge.clone());
    last.outcome.reason = huge.clone();
    let details = serde_json::json!("x".repeat(65_534));
    last.data = Some(details.clone());
    last.error = Some(RunError {
        code: ErrorCode::RecordingsUnusable,
        message: huge.clone(),
        details: Some(details),
    });
    last.survivors.names = names;
    fold.apply(u64::MAX, &huge, &Event::Complete(Box::new(last)));
    fold.set_recordings_health(RecordingsHealth::bad(huge.clone()));
    fold.set_log_head(LogHead {
        head: huge,
        seq: u64::MAX,
    });
    let document = fold.document(u64::MAX);
    assert_eq!(document.actions.len(), 100);
    let bytes = document.encode().unwrap();
    assert!(bytes.len() <= MAX_DOCUMENT_BYTES, "{}", bytes.len());
    assert_eq!(StatusDocument::decode(&bytes).unwrap(), document);
    let truncated = document.actions[0].decode().unwrap().truncated.unwrap();
    assert_eq!(truncated.total_bytes, 100_000);
}
