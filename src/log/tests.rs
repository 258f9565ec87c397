//! The log as a whole: writer, readers, files.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::event::{ActionOutput, Diagnostic, Event, EventType, Level, Stream};
use crate::redact::Redactor;

mod given_up;
mod interleaving;

/// The longest that any test waits for anything: far more than a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Seen(Mutex<Vec<u64>>);

impl Observer for Seen {
    fn written(&self, written: Written) {
        let mut seen = self.0.lock().unwrap();
        assert!(written.entries.iter().all(|e| e.seq <= written.last_seq));
        seen.extend(written.entries.iter().map(|e| e.seq));
    }
}

fn message(text: impl Into<String>) -> Event {
    Event::Log(Diagnostic {
        level: Level::Info,
        message: text.into(),
        source: "test".to_owned(),
    })
}

fn output(text: &str) -> Event {
    Event::ActionOutput(ActionOutput {
        step: Some(1),
        call_id: None,
        stream: Stream::Stdout,
        text: text.to_owned(),
        bytes: text.len() as u64,
        lossy: false,
    })
}

struct Fixture {
    dir: tempfile::TempDir,
    log: ActionLog,
    source: Arc<Source>,
    threads: LogThreads,
    seen: Arc<Seen>,
}

impl Fixture {
    fn new(options: LogOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fd: OwnedFd = std::fs::File::open(dir.path()).unwrap().into();
        let seen = Arc::new(Seen::default());
        let (log, source, threads) = create(
            fd,
            "run-1".parse().unwrap(),
            options,
            Redactor::default(),
            Arc::clone(&seen) as _,
        )
        .unwrap();
        Self {
            dir,
            log,
            source,
            threads,
            seen,
        }
    }

    async fn finish(self) -> (tempfile::TempDir, Arc<Source>, Vec<u64>) {
        self.log
            .append_terminal(message("the end stands in for a terminal event"))
            .unwrap();
        self.log.publish_terminal();
        let last = self.log.last_seq();
        assert!(self.log.synced(last, PATIENCE).await);
        self.log.close();
        self.threads.join();
        let seen = self.seen.0.lock().unwrap().clone();
        (self.dir, self.source, seen)
    }
}

async fn read_all(source: &Arc<Source>, after: u64, max_bytes: usize) -> Vec<u8> {
    let mut reader = source.reader(after, Selection::NDJSON);
    let mut out = Vec::new();
    while !reader.is_finished() {
        tokio::time::timeout(PATIENCE, reader.wait()).await.unwrap();
        while let Some(next) = reader.read(max_bytes).await.unwrap() {
            match next {
                Next::Frames(frames) => out.extend_from_slice(&frames),
                Next::Gap { from, to } => panic!("gap {from}..={to}"),
            }
        }
    }
    out
}

fn file_bytes(dir: &std::path::Path) -> Vec<u8> {
    let fd = std::fs::File::open(dir).unwrap();
    segment::list(&fd)
        .unwrap()
        .iter()
        .flat_map(|name| std::fs::read(dir.join(name)).unwrap())
        .collect()
}

fn ids(lines: &[u8]) -> Vec<u64> {
    lines
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| line::LineHead::parse(l).unwrap().seq)
        .collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn what_a_reader_gets_is_byte_for_byte_what_is_in_the_files() {
    runtime().block_on(async {
        let options = LogOptions {
            segment_bytes: 20_000,
            tail_bytes: 8_000,
            ..LogOptions::default()
        };
        let fixture = Fixture::new(options);
        for n in 0..500 {
            fixture
                .log
                .append(message(format!("line {n}\n\u{1F600}\0\r")))
                .await
                .unwrap();
            fixture.log.append(output("text\n")).await.unwrap();
        }
        let live = read_up_to(&fixture.source, fixture.log.last_seq(), 3_000).await;
        let (dir, source, seen) = fixture.finish().await;
        let on_disk = file_bytes(dir.path());
        assert!(on_disk.starts_with(&live));
        assert_eq!(read_all(&source, 0, 100_000).await, on_disk);
        let (recorded, scan) =
            Source::open_recorded(std::fs::File::open(dir.path()).unwrap()).unwrap();
        assert_eq!(read_all(&recorded, 0, 777).await, on_disk);
        assert_eq!(recorded.epoch(), source.epoch());
        assert_eq!((scan.n_bad_lines, scan.torn_bytes), (0, 0));
        assert!(
            segment::list(std::fs::File::open(dir.path()).unwrap())
                .unwrap()
                .len()
                > 5
        );
        // The observer saw every event that is not output.
        let kinds: BTreeMap<u64, bool> = on_disk
            .split(|b| *b == b'\n')
            .filter_map(line::LineHead::parse)
            .map(|h| (h.seq, h.event_type() != Some(EventType::ActionOutput)))
            .collect();
        assert_eq!(
            seen,
            kinds
                .into_iter()
                .filter(|(_, kept)| *kept)
                .map(|(seq, _)| seq)
                .collect::<Vec<_>>()
        );
    });
}

/// Reads what is there now, of a log that has not ended.
async fn read_up_to(source: &Arc<Source>, last: u64, max_bytes: usize) -> Vec<u8> {
    let mut reader = source.reader(0, Selection::NDJSON);
    let mut out = Vec::new();
    while reader.after() < last {
        tokio::time::timeout(PATIENCE, reader.wait()).await.unwrap();
        if let Some(Next::Frames(frames)) = reader.read(max_bytes).await.unwrap() {
            out.extend_from_slice(&frames);
        }
    }
    out
}

#[test]
fn the_terminal_event_is_not_seen_before_it_is_released_and_nothing_follows_it() {
    runtime().block_on(async {
        let fixture = Fixture::new(LogOptions::default());
        fixture.log.append(message("one")).await.unwrap();
        let terminal = fixture.log.append_terminal(message("end")).unwrap();
        assert!(fixture.log.synced(terminal, PATIENCE).await);
        assert_eq!(
            fixture.source.bounds(),
            Bounds {
                published_seq: terminal - 1,
                terminal_seq: None
            }
        );
        assert_eq!(
            fixture.log.append(message("late")).await,
            Err(AppendError::Sealed)
        );
        assert_eq!(
            fixture.log.append_terminal(message("second end")),
            Err(AppendError::Sealed)
        );
        fixture.log.publish_terminal();
        assert_eq!(
            fixture.source.bounds(),
            Bounds {
                published_seq: terminal,
                terminal_seq: Some(terminal)
            }
        );
        fixture.log.close();
        fixture.threads.join();
    });
}

#[test]
fn durable_readers_see_nothing_that_is_not_synced() {
    runtime().block_on(async {
        let fixture = Fixture::new(LogOptions {
            durability: Durability::Durable,
            ..LogOptions::default()
        });
        for n in 0..200 {
            let seq = fixture.log.append(message(format!("{n}"))).await.unwrap();
            if n % 10 == 0 {
                assert!(fixture.log.synced(seq, PATIENCE).await);
            }
            let published = fixture.source.bounds().published_seq;
            assert!(published <= *fixture.log.shared.synced.borrow());
        }
        fixture.finish().await;
    });
}

#[test]
fn an_abandoned_file_leaves_readers_served_from_memory() {
    runtime().block_on(async {
        let fixture = Fixture::new(LogOptions::default());
        let seq = fixture.log.append(message("on disk")).await.unwrap();
        assert!(fixture.log.synced(seq, PATIENCE).await);
        fixture.log.abandon_files("the test says so");
        fixture.log.append(message("in memory")).await.unwrap();
        fixture.log.append_terminal(message("end")).unwrap();
        fixture.log.publish_terminal();
        assert_eq!(
            ids(&read_all(&fixture.source, 0, 10_000).await),
            [1, 2, 3, 4]
        );
        assert!(!fixture.log.synced(4, PATIENCE).await);
        fixture.log.close();
        fixture.threads.join();
        assert_eq!(ids(&file_bytes(fixture.dir.path())), [1, 2]);
    });
}

#[test]
fn numbers_that_no_file_and_no_memory_has_are_told_as_a_gap() {
    runtime().block_on(async {
        let fixture = Fixture::new(LogOptions {
            tail_bytes: 1,
            ..LogOptions::default()
        });
        fixture.log.abandon_files("the test says so");
        for n in 0..100 {
            fixture.log.append(message(format!("{n}"))).await.unwrap();
        }
        let terminal = fixture.log.append_terminal(message("end")).unwrap();
        fixture.log.publish_terminal();
        let mut reader = fixture.source.reader(0, Selection::NDJSON);
        let mut told = Vec::new();
        while !reader.is_finished() {
            reader.wait().await;
            while let Some(next) = reader.read(1_000).await.unwrap() {
                match next {
                    Next::Frames(frames) => told.extend(ids(&frames)),
                    Next::Gap { from, to } => told.extend(from..=to),
                }
            }
        }
        assert_eq!(told, (1..=terminal).collect::<Vec<_>>());
        fixture.log.close();
        fixture.threads.join();
    });
}

#[derive(Default)]
struct Kept(Mutex<Vec<Entry>>);

impl Observer for Kept {
    fn written(&self, written: Written) {
        self.0.lock().unwrap().extend(written.entries);
    }
}

#[test]
fn secrets_that_equal_our_own_numbers_and_words_break_neither_the_log_nor_its_observers() {
    runtime().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let fd: OwnedFd = std::fs::File::open(dir.path()).unwrap().into();
        let secrets = ["12345678", "supervisor", "hunter2hunter2"]
            .map(|s| (s.to_owned(), s.as_bytes().to_vec()));
        let kept = Arc::new(Kept::default());
        let (log, _, threads) = create(
            fd,
            "run-1".parse().unwrap(),
            LogOptions::default(),
            Redactor::new(secrets),
            Arc::clone(&kept) as _,
        )
        .unwrap();
        let limit = crate::event::Limit {
            rule: crate::event::LimitRule::Output,
            decision: crate::event::LimitDecision::Stop,
            limit: 12_345_678,
            detail: "the word is hunter2hunter2".to_owned(),
        };
        log.append(Event::Limit(limit.clone())).await.unwrap();
        log.close();
        threads.join();
        let text = std::fs::read_to_string(dir.path().join("events.jsonl")).unwrap();
        assert!(
            !text.contains("12345678") && !text.contains("hunter2"),
            "{text}"
        );
        let seen = kept.0.lock().unwrap();
        let Event::Limit(seen) = &seen.last().unwrap().event else {
            panic!("{seen:?}")
        };
        assert_eq!(seen.limit, limit.limit);
        assert!(!seen.detail.contains("hunter2"), "{}", seen.detail);
    });
}
