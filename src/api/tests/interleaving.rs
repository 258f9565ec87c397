//! Readers that connect, stall and reconnect around the end of a run and of its API.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::client::{Client, ids};
use super::fixture::{Fixture, Setup, action_of, patiently};
use crate::api::{Limits, Reach};
use crate::log::{Next, Selection, Source};

/// Bytes of an event's text: two dozen of them are more than a Unix socket's buffer and a chunk hold, so that a stalled reader
/// is one.
const TEXT_BYTES: usize = 20_000;

/// What a busy machine may add to the drain limit.
const SLACK: Duration = Duration::from_secs(15);

/// What a reader does in a task of its own; moments are parts of 255 of the run's steps, of which the last is its end.
#[derive(Debug, Clone)]
struct Plan {
    connects_at: u8,
    after_part: u8,
    turns: Vec<Turn>,
    then: Then,
}

#[derive(Debug, Clone)]
enum Turn {
    Read(u8),
    StallUntil(u8),
    Reconnect,
}

/// What a reader does after its turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Read,
    /// Takes no byte before the API is gone.
    Stall,
}

fn plan() -> impl Strategy<Value = Plan> {
    let turn = prop_oneof![
        3 => (1..4_u8).prop_map(Turn::Read),
        2 => any::<u8>().prop_map(Turn::StallUntil),
        1 => Just(Turn::Reconnect),
    ];
    let then = prop_oneof![7 => Just(Then::Read), 1 => Just(Then::Stall)];
    // Half of the readers want all of it.
    let after_part = prop_oneof![Just(0), any::<u8>()];
    (
        any::<u8>(),
        after_part,
        prop::collection::vec(turn, 0..6),
        then,
    )
        .prop_map(|(connects_at, after_part, turns, then)| Plan {
            connects_at,
            after_part,
            turns,
            then,
        })
}

/// What all sides of one case share.
#[derive(Clone)]
struct Stage {
    socket: PathBuf,
    source: Arc<Source>,
    n_steps: usize,
    n_done: watch::Sender<usize>,
    n_connected: watch::Sender<usize>,
    is_api_gone: watch::Sender<bool>,
}

/// How the live part of a reader ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LiveEnd {
    /// It was told that nothing follows.
    Whole,
    /// Its connection was cut.
    Cut,
    /// It came back to an API that was gone.
    Gone,
}

/// What a reader got.
struct Followed {
    after: u64,
    got: Vec<u64>,
    end: LiveEnd,
}

impl Followed {
    fn cursor(&self) -> u64 {
        self.got.last().copied().unwrap_or(self.after)
    }
}

/// One connection of a reader.
struct Connection {
    client: Client,
    text: Vec<u8>,
}

/// What a read gave.
enum Read {
    Some,
    End(LiveEnd),
}

impl Connection {
    async fn open(stage: &Stage, after: u64) -> Result<Self, LiveEnd> {
        let cursor = after.to_string();
        let answer = Client::begin(&stage.socket, "/events", &[("Last-Event-ID", &cursor)]).await;
        match answer {
            None => Err(LiveEnd::Gone),
            Some((_, head)) if head.status == 204 => Err(LiveEnd::Whole),
            Some((client, head)) => {
                assert_eq!(head.status, 200, "{}", head.head);
                Ok(Self {
                    client,
                    text: Vec::new(),
                })
            }
        }
    }

    /// Takes one chunk; the events that are whole go into `got`.
    async fn read(&mut self, got: &mut Vec<u64>) -> Read {
        let Some(chunk) = self.client.chunk_or_cut().await else {
            return Read::End(LiveEnd::Cut);
        };
        let Some(chunk) = chunk else {
            assert!(self.text.is_empty(), "the stream ends within an event");
            return Read::End(LiveEnd::Whole);
        };
        self.text.extend_from_slice(&chunk);
        if let Some(end) = memchr::memmem::rfind(&self.text, b"\n\n") {
            let whole: Vec<u8> = self.text.drain(..end + 2).collect();
            got.extend(ids(std::str::from_utf8(&whole).unwrap()));
        }
        Read::Some
    }
}

impl Stage {
    fn moment(&self, part: u8) -> usize {
        self.n_steps * usize::from(part) / 255
    }

    async fn follow(self, plan: Plan) -> Followed {
        at_least(&self.n_done, self.moment(plan.connects_at)).await;
        let after = self.source.bounds().published_seq * u64::from(plan.after_part) / 255;
        let mut it = Followed {
            after,
            got: Vec::new(),
            end: LiveEnd::Whole,
        };
        let connection = Connection::open(&self, after).await;
        self.n_connected.send_modify(|n| *n += 1);
        it.end = match connection {
            Ok(connection) => self.go_on(plan, connection, &mut it).await,
            Err(end) => end,
        };
        it
    }

    async fn go_on(&self, plan: Plan, mut connection: Connection, it: &mut Followed) -> LiveEnd {
        for turn in plan.turns {
            match turn {
                Turn::Read(n_chunks) => {
                    for _ in 0..n_chunks {
                        if let Read::End(end) = connection.read(&mut it.got).await {
                            return end;
                        }
                    }
                }
                Turn::StallUntil(part) => at_least(&self.n_done, self.moment(part)).await,
                Turn::Reconnect => {
                    drop(connection);
                    connection = match Connection::open(self, it.cursor()).await {
                        Ok(connection) => connection,
                        Err(end) => return end,
                    };
                }
            }
        }
        if plan.then == Then::Stall {
            let mut is_gone = self.is_api_gone.subscribe();
            patiently(is_gone.wait_for(|is_gone| *is_gone))
                .await
                .unwrap();
        }
        loop {
            if let Read::End(end) = connection.read(&mut it.got).await {
                return end;
            }
        }
    }
}

async fn at_least(count: &watch::Sender<usize>, n: usize) {
    let mut count = count.subscribe();
    patiently(count.wait_for(|count| *count >= n))
        .await
        .unwrap();
}

/// The numbers of a recording behind a cursor.
async fn recorded_behind(source: &Arc<Source>, after: u64) -> Vec<u64> {
    let mut reader = source.reader(after, Selection::SSE);
    let mut text = Vec::new();
    while !reader.is_finished() {
        match patiently(reader.read(1 << 20)).await.unwrap() {
            Some(Next::Frames(frames)) => text.extend_from_slice(&frames),
            other => panic!("{other:?} behind {}", reader.after()),
        }
    }
    match text.is_empty() {
        true => Vec::new(),
        false => ids(std::str::from_utf8(&text).unwrap()),
    }
}

/// How the readers of a case ended.
async fn case(steps: Vec<u8>, plans: Vec<Plan>) -> Vec<LiveEnd> {
    let is_held_up = plans.iter().any(|plan| plan.then == Then::Stall);
    // Who reads is never cut, however busy the machine is; who does not, soon.
    let (drain_stall, drain) = match is_held_up {
        true => (Duration::from_millis(200), Duration::from_secs(2)),
        false => (Duration::from_secs(20), Duration::from_secs(40)),
    };
    let mut fixture = Fixture::with(Setup {
        limits: Limits {
            drain_stall,
            drain,
            ..Limits::default()
        },
        socket: Some(Reach::Private),
        ..Setup::default()
    });
    let stage = Stage {
        socket: fixture.socket.clone(),
        source: Arc::clone(&fixture.source),
        n_steps: steps.len() + 1,
        n_done: watch::Sender::new(0),
        n_connected: watch::Sender::new(0),
        is_api_gone: watch::Sender::new(false),
    };
    let begin_at: Vec<usize> = plans
        .iter()
        .map(|plan| stage.moment(plan.connects_at))
        .collect();
    let tasks = TaskTracker::new();
    let readers: Vec<_> = plans
        .into_iter()
        .map(|plan| tasks.spawn(stage.clone().follow(plan)))
        .collect();
    let text = "x".repeat(TEXT_BYTES);
    let done = async |n_done: usize| {
        stage.n_done.send_replace(n_done);
        let n_due = begin_at.iter().filter(|at| **at <= n_done).count();
        at_least(&stage.n_connected, n_due).await;
    };
    done(0).await;
    for (idx, n_events) in steps.iter().enumerate() {
        for step in 0..*n_events {
            let event = action_of(u64::from(step), None, &text);
            fixture.log.append(event).await.unwrap();
        }
        done(idx + 1).await;
    }
    let end = fixture.complete().await;
    done(steps.len() + 1).await;

    let (log, dir) = (fixture.log.clone(), fixture.dir.path().to_owned());
    let kept = std::mem::replace(&mut fixture.dir, tempfile::tempdir().unwrap());
    let began = Instant::now();
    let drained = fixture.shut_down().await;
    assert!(began.elapsed() < drain + SLACK, "{:?}", began.elapsed());
    stage.is_api_gone.send_replace(true);
    if !is_held_up {
        assert_eq!(drained.n_cut, 0, "{drained:?}");
    }
    log.close();
    let (recorded, _) = Source::open_recorded(std::fs::File::open(dir).unwrap()).unwrap();
    let mut ends = Vec::new();
    for reader in readers {
        let mut followed = patiently(reader).await.unwrap();
        if followed.end != LiveEnd::Whole {
            let cursor = followed.cursor();
            followed
                .got
                .extend(recorded_behind(&recorded, cursor).await);
        }
        let expected: Vec<u64> = (followed.after + 1..=end).collect();
        assert_eq!(followed.got, expected, "{:?}", followed.end);
        assert!(is_held_up || followed.end != LiveEnd::Cut);
        ends.push(followed.end);
    }
    drop(kept);
    ends
}

/// Each reader gets every event once and in order, the terminal one included, before the drain ends; or its connection is
/// cut, and from where it was the recording gives the rest.
#[test]
fn readers_around_the_end_get_every_event_once_or_a_cut_from_which_they_resume() {
    let (n_whole, n_cut) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let config = ProptestConfig {
        cases: 64,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let cases = (
        prop::collection::vec(0..16_u8, 1..8),
        prop::collection::vec(plan(), 1..5),
    );
    TestRunner::new(config)
        .run(&cases, |(steps, plans)| {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            for end in runtime.block_on(case(steps, plans)) {
                match end {
                    LiveEnd::Whole => n_whole.fetch_add(1, Ordering::Relaxed),
                    LiveEnd::Cut => n_cut.fetch_add(1, Ordering::Relaxed),
                    LiveEnd::Gone => 0,
                };
            }
            Ok(())
        })
        .unwrap();
    let (n_whole, n_cut) = (n_whole.into_inner(), n_cut.into_inner());
    assert!(n_whole > 10 && n_cut > 0, "{n_whole} whole, {n_cut} cut");
}
