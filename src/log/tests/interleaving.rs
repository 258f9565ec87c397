//! Any interleaving of append, complete, publish, connect, stall and reconnect.

use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::*;

/// What the one side does.
#[derive(Debug, Clone)]
enum Op {
    Append(u8),
    AppendTerminal,
    Publish,
}

/// What a reader does in a task of its own; moments are parts of 255 of the ops.
#[derive(Debug, Clone)]
struct Plan {
    connects_at: u8,
    after_part: u8,
    max_bytes: usize,
    turns: Vec<Turn>,
}

#[derive(Debug, Clone)]
enum Turn {
    Read(u8),
    StallUntil(u8),
    Reconnect,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1..40_u8).prop_map(Op::Append),
        1 => Just(Op::AppendTerminal),
        1 => Just(Op::Publish),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let turn = prop_oneof![
        3 => (1..5_u8).prop_map(Turn::Read),
        2 => any::<u8>().prop_map(Turn::StallUntil),
        1 => Just(Turn::Reconnect),
    ];
    let max_bytes = prop_oneof![Just(1_usize), Just(300), Just(5_000), Just(100_000)];
    (
        any::<u8>(),
        any::<u8>(),
        max_bytes,
        prop::collection::vec(turn, 0..8),
    )
        .prop_map(|(connects_at, after_part, max_bytes, turns)| Plan {
            connects_at,
            after_part,
            max_bytes,
            turns,
        })
}

/// What all sides of one case share.
#[derive(Clone)]
struct Stage {
    source: Arc<Source>,
    n_ops: usize,
    /// Ops that are done.
    n_done: watch::Sender<usize>,
    n_connected: watch::Sender<usize>,
    /// Set before the terminal event may be seen.
    is_released: Arc<AtomicBool>,
}

impl Stage {
    fn moment(&self, part: u8) -> usize {
        self.n_ops * usize::from(part) / 255
    }

    async fn reached(&self, moment: usize) {
        at_least(&self.n_done, moment).await;
    }

    fn take(&self, reader: &Reader, next: Next, got: &mut Vec<u64>) {
        let Next::Frames(frames) = next else {
            panic!("{next:?}")
        };
        got.extend(ids(&frames));
        assert!(
            !reader.is_finished() || self.is_released.load(Ordering::SeqCst),
            "the terminal event was seen before its release"
        );
    }

    /// The numbers that a reader got, and the one behind which it began.
    async fn follow(self, plan: Plan) -> (u64, Vec<u64>) {
        self.reached(self.moment(plan.connects_at)).await;
        let after = self.source.bounds().published_seq * u64::from(plan.after_part) / 255;
        let mut reader = self.source.reader(after, Selection::NDJSON);
        self.n_connected.send_modify(|n| *n += 1);
        let mut got = Vec::new();
        for turn in plan.turns {
            match turn {
                Turn::Read(n_times) => {
                    for _ in 0..n_times {
                        if let Some(next) = reader.read(plan.max_bytes).await.unwrap() {
                            self.take(&reader, next, &mut got);
                        }
                    }
                }
                Turn::StallUntil(part) => self.reached(self.moment(part)).await,
                Turn::Reconnect => {
                    reader = self.source.reader(reader.after(), Selection::NDJSON);
                }
            }
        }
        while !reader.is_finished() {
            tokio::time::timeout(PATIENCE, reader.wait()).await.unwrap();
            while let Some(next) = reader.read(plan.max_bytes).await.unwrap() {
                self.take(&reader, next, &mut got);
            }
        }
        (after, got)
    }
}

async fn at_least(count: &watch::Sender<usize>, n: usize) {
    let mut count = count.subscribe();
    tokio::time::timeout(PATIENCE, count.wait_for(|count| *count >= n))
        .await
        .unwrap()
        .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Each reader gets exactly what is behind its start, then the terminal event: also who connects between the terminal
    /// event and its release, or after the end while the log is live. What comes after the terminal event is refused.
    #[test]
    fn every_reader_gets_every_number_once_in_order(
        ops in prop::collection::vec(op(), 1..24),
        plans in prop::collection::vec(plan(), 1..8),
        segment_bytes in prop_oneof![Just(700_u64), Just(5_000), Just(1 << 30)],
        tail_bytes in prop_oneof![Just(1_usize), Just(2_000), Just(1 << 20)],
    ) {
        runtime().block_on(async {
            let fixture = Fixture::new(LogOptions { segment_bytes, tail_bytes, ..LogOptions::default() });
            let stage = Stage {
                source: Arc::clone(&fixture.source),
                n_ops: ops.len(),
                n_done: watch::Sender::new(0),
                n_connected: watch::Sender::new(0),
                is_released: Arc::default(),
            };
            let begin_at: Vec<usize> = plans.iter().map(|plan| stage.moment(plan.connects_at)).collect();
            let tasks = TaskTracker::new();
            let readers: Vec<_> =
                plans.into_iter().map(|plan| tasks.spawn(stage.clone().follow(plan))).collect();
            let release = || {
                stage.is_released.store(true, Ordering::SeqCst);
                fixture.log.publish_terminal();
            };
            let mut terminal = None;
            for (idx, op) in ops.iter().enumerate() {
                match op {
                    Op::Append(n) => {
                        for i in 0..*n {
                            let taken = fixture.log.append(if i % 3 == 0 { output("o") } else { message("m") }).await;
                            assert_eq!(taken.err(), terminal.map(|_| AppendError::Sealed));
                        }
                    }
                    Op::AppendTerminal => {
                        let taken = fixture.log.append_terminal(message("end"));
                        assert_eq!(taken.clone().err(), terminal.map(|_| AppendError::Sealed));
                        terminal = terminal.or(taken.ok());
                    }
                    Op::Publish => release(),
                }
                stage.n_done.send_replace(idx + 1);
                // Who is to connect now has done so before anything else happens.
                at_least(&stage.n_connected, begin_at.iter().filter(|at| **at <= idx + 1).count()).await;
            }
            let terminal = terminal.unwrap_or_else(|| fixture.log.append_terminal(message("end")).unwrap());
            release();
            for reader in readers {
                let (after, got) = reader.await.unwrap();
                assert_eq!(got, (after + 1..=terminal).collect::<Vec<_>>());
            }
            fixture.log.close();
            fixture.threads.join();
            assert_eq!(ids(&file_bytes(fixture.dir.path())), (1..=terminal).collect::<Vec<_>>());
            // Later, from the recording alone.
            let dir = std::fs::File::open(fixture.dir.path()).unwrap();
            let (recorded, _) = Source::open_recorded(dir).unwrap();
            for after in [0, terminal / 2, terminal - 1] {
                let replayed = read_all(&recorded, after, 3_000).await;
                assert_eq!(ids(&replayed), (after + 1..=terminal).collect::<Vec<_>>());
            }
        });
    }
}
