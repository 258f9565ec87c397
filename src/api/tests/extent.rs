//! Where NDJSON answers end, and that their heads say it.

use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;

use tokio_util::task::TaskTracker;

use super::client::{Response, get};
use super::fixture::{Fixture, Setup, action, note, patiently};
use crate::log::LogOptions;

/// The numbers of the lines; a gap counts as its last one, a reset as 0.
fn seqs(response: &Response) -> Vec<u64> {
    let seq = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        [&line["seq"], &line["to"]]
            .into_iter()
            .find_map(serde_json::Value::as_u64)
            .unwrap_or(0)
    };
    response.text().lines().map(seq).collect()
}

fn last_id(response: &Response) -> u64 {
    response.header("x-last-event-id").unwrap().parse().unwrap()
}

/// Asks again and again from the id that the last answer named, until the run has ended.
async fn follow(address: SocketAddr, query: &str, max_lines: usize) -> Vec<u64> {
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let path = format!("/events?format=ndjson&{query}&after={after}");
        let response = patiently(get(address, &path)).await;
        if response.status == 204 {
            return seen;
        }
        let given = seqs(&response);
        assert!(given.len() <= max_lines, "{path} gave {given:?}");
        if given.len() == max_lines {
            assert_eq!(given.last(), Some(&last_id(&response)), "{path}");
        }
        assert!(given.iter().all(|seq| *seq <= last_id(&response)), "{path}");
        seen.extend(given);
        after = last_id(&response);
    }
}

/// Regression: the head of a limited answer named the end of the log, so that its reader skipped what lay between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_limited_answers_sees_every_event_once() {
    for tail_bytes in [1, LogOptions::default().tail_bytes] {
        let fixture = Fixture::with(Setup {
            options: LogOptions {
                tail_bytes,
                ..LogOptions::default()
            },
            ..Setup::default()
        });
        for step in 1..=40 {
            fixture.push(action(step)).await;
            fixture.push(note("between")).await;
        }
        let end = fixture.complete().await;
        let all: Vec<_> = (1..=end).collect();
        let actions: Vec<_> = (2..end).step_by(2).chain([end]).collect();
        for end_of_answer in ["wait=5", "follow=false", "wait=0", "follow=true"] {
            for max_lines in [1, 3, 10, 82, 1_000] {
                let query = format!("{end_of_answer}&limit={max_lines}");
                assert_eq!(
                    follow(fixture.address, &query, max_lines).await,
                    all,
                    "{query}"
                );
                let query = format!("{query}&types=action");
                assert_eq!(
                    follow(fixture.address, &query, max_lines).await,
                    actions,
                    "{query}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_ends_never_goes_beyond_its_head_while_events_come() {
    let fixture = Fixture::start();
    let log = fixture.log.clone();
    let pushing = TaskTracker::new().spawn(async move {
        for step in 1..=3_000 {
            log.append(action(step)).await.unwrap();
        }
    });
    let (mut after, mut seen) = (0, Vec::new());
    while after < 3_001 {
        let path = format!("/events?format=ndjson&wait=5&after={after}");
        let response = patiently(get(fixture.address, &path)).await;
        let given = seqs(&response);
        assert_eq!(given.last(), Some(&last_id(&response)));
        seen.extend(given);
        after = last_id(&response);
    }
    pushing.await.unwrap();
    assert_eq!(seen, (1..=3_001).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limited_answer_that_follows_waits_for_its_last_line() {
    let fixture = Fixture::start();
    fixture.push(note("2")).await;
    let following = get(fixture.address, "/events?format=ndjson&limit=3&after=1");
    let pushing = async {
        for _ in 0..3 {
            fixture.push(note("more")).await;
        }
    };
    let (response, ()) = patiently(async { tokio::join!(following, pushing) }).await;
    assert_eq!(seqs(&response), [2, 3, 4]);
    assert!((2..=4).contains(&last_id(&response)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gap_and_reset_are_lines_of_a_limited_answer() {
    let fixture = Fixture::with(Setup {
        options: LogOptions {
            tail_bytes: 1,
            ..LogOptions::default()
        },
        ..Setup::default()
    });
    for n in 0..4 {
        fixture.push(note(format!("{n}"))).await;
    }
    let lines = fixture.lines();
    let offset = (lines[0].len() + 1) as u64;
    let lost = lines[1].len() + 1 + lines[2].len();
    std::fs::OpenOptions::new()
        .write(true)
        .open(fixture.dir.path().join("events.jsonl"))
        .unwrap()
        .write_all_at("x".repeat(lost).as_bytes(), offset)
        .unwrap();
    let get = async |query: &str| {
        let path = format!("/events?format=ndjson&wait=5&{query}");
        let response = get(fixture.address, &path).await;
        (seqs(&response), last_id(&response))
    };
    assert_eq!(get("limit=2").await, (vec![1, 3], 3));
    assert_eq!(get("limit=1&after=1").await, (vec![3], 3));
    assert_eq!(get("limit=1&after=3").await, (vec![4], 4));
    assert_eq!(get("limit=1&after=50").await, (vec![0], 0));
    assert_eq!(get("limit=2&after=50").await, (vec![0, 1], 1));
}
