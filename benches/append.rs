//! Rows "append": the log's door, group commit and `status.json`, beside the bare system calls.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use stockade::log::{Durability, LogOptions};
use tokio::task::JoinSet;

use crate::frames::EventMaker;
use crate::process::Memory;
use crate::report::{
    Figure, Report, Row, Target, Unit, median, millis, per_second, quantile, to_mebibytes,
};
use crate::scale::Scale;
use crate::stockade_server::{Record, append, now_ms, runtime};

/// Longest wait for a sync in a benchmark.
const SYNC_WAIT: Duration = Duration::from_secs(30);

/// Most by which the memory of a long log may be above that of a short one: what an allocator keeps.
const OVER_SHORT: f64 = 1.1;

/// Measures all rows; `dir` is an empty directory on the disk that is measured.
pub(crate) fn run(report: &mut Report, scale: &Scale, dir: &Path) {
    written_and_sustained(report, scale, dir);
    append_to_ack(report, scale, dir);
    status_json(report, scale, dir);
    memory(report, scale, &dir.join("memory"));
}

fn written_and_sustained(report: &mut Report, scale: &Scale, dir: &Path) {
    let n_events = scale.n_appends;
    let (mut written, mut durable) = (Vec::new(), Vec::new());
    let (mut raw_one, mut raw_group) = (Vec::new(), Vec::new());
    let mut raw_sync = Vec::new();
    for round in 0..scale.n_rounds {
        let at = |name: &str| dir.join(format!("{name}-{round}"));
        raw_one.push(raw_writes(&at("raw-1"), n_events, 1, Sync::Never));
        raw_group.push(raw_writes(&at("raw-1000"), n_events, 1_000, Sync::Never));
        raw_sync.push(raw_writes(&at("raw-s"), n_events, 1_000, Sync::EachWrite));
        written.push(log_appends(&at("written"), n_events, Durability::Written));
        durable.push(log_appends(&at("durable"), n_events, Durability::Durable));
    }
    report.push(
        Row::new(
            "append",
            "written, to the last one published",
            per_second(median(&written)),
        )
        .target(Target::AtLeast(500_000.0))
        .beside("write(2) one by one", median(&raw_one))
        .quiet_floor(937_000.0)
        .beside("write(2) in groups of 1,000", median(&raw_group)),
    );
    report.push(
        Row::new(
            "append",
            "durable, sustained, to the last one synced",
            per_second(median(&durable)),
        )
        .target(Target::AtLeast(250_000.0))
        .beside(
            "write(2) + fdatasync(2) in groups of 1,000",
            median(&raw_sync),
        )
        .quiet_floor(1_720_000.0),
    );
}

fn log_appends(dir: &Path, n_events: u64, durability: Durability) -> f64 {
    let record = Record::create(
        dir,
        LogOptions {
            durability,
            ..LogOptions::default()
        },
    );
    let maker = EventMaker::new();
    let elapsed = runtime().block_on(async {
        let mut bounds = record.source.watch();
        let began = Instant::now();
        let last = append(&record.log, &maker, n_events).await;
        let published = bounds.wait_for(|bounds| bounds.published_seq >= last).await;
        assert!(published.is_ok(), "the log was closed");
        began.elapsed()
    });
    record.close();
    remove(dir);
    n_events as f64 / elapsed.as_secs_f64()
}

/// Memory of a log of any length is that of a log of a tenth of it.
fn memory(report: &mut Report, scale: &Scale, dir: &Path) {
    let record = Record::create(dir, LogOptions::default());
    let maker = EventMaker::new();
    let resident = |n_events: u64| {
        runtime().block_on(async {
            let mut bounds = record.source.watch();
            let last = append(&record.log, &maker, n_events).await;
            let published = bounds.wait_for(|bounds| bounds.published_seq >= last).await;
            assert!(published.is_ok(), "the log was closed");
        });
        to_mebibytes(Memory::of(std::process::id()).rss)
    };
    let first = resident(scale.n_long / 10);
    let whole = resident(scale.n_long - scale.n_long / 10);
    record.close();
    remove(dir);
    let figure = Figure {
        value: whole,
        unit: Unit::Mebibytes,
    };
    let what = format!("resident after {} events", scale.n_long);
    report.push(
        Row::new("append", what, figure)
            .target(Target::RatioAtMost(OVER_SHORT))
            .beside("after a tenth of them", first),
    );
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sync {
    Never,
    EachWrite,
}

fn raw_writes(path: &Path, n_events: u64, group: usize, sync: Sync) -> f64 {
    let maker = EventMaker::new();
    let mut line = maker.line(1);
    line.push(b'\n');
    let block = line.repeat(group);
    let mut file = File::create_new(path).expect("a fresh file");
    let began = Instant::now();
    for _ in 0..n_events / group as u64 {
        file.write_all(&block).expect("write");
        if sync == Sync::EachWrite {
            file.sync_data().expect("fdatasync");
        }
    }
    let elapsed = began.elapsed();
    std::fs::remove_file(path).expect("remove");
    n_events as f64 / elapsed.as_secs_f64()
}

fn append_to_ack(report: &mut Report, scale: &Scale, dir: &Path) {
    let (mut acks, mut raw) = (Vec::new(), Vec::new());
    for round in 0..scale.n_rounds {
        raw.extend(raw_syncs(
            &dir.join(format!("raw-ack-{round}")),
            scale.n_acks,
        ));
        acks.extend(log_acks(&dir.join(format!("ack-{round}")), scale.n_acks));
    }
    report.push(
        Row::new(
            "append",
            "durable, append to ack p50, 1,000 events/s",
            millis(median(&acks)),
        )
        .target(Target::AtMost(0.7))
        .beside(
            "write(2) + fdatasync(2) one by one, back to back",
            median(&raw),
        )
        .quiet_floor(0.197)
        .note(format!(
            "p99 {:.2} ms; floor p99 {:.2} ms",
            quantile(&acks, 99),
            quantile(&raw, 99)
        )),
    );
}

fn log_acks(dir: &Path, n_events: u64) -> Vec<f64> {
    let options = LogOptions {
        durability: Durability::Durable,
        ..LogOptions::default()
    };
    let record = Record::create(dir, options);
    let maker = EventMaker::new();
    let latencies = runtime().block_on(async {
        let mut acks = JoinSet::new();
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        for _ in 0..n_events {
            ticks.tick().await;
            let (log, event) = (record.log.clone(), maker.event());
            acks.spawn(async move {
                let began = Instant::now();
                let seq = log.append(event).await.expect("the log is open");
                assert!(log.synced(seq, SYNC_WAIT).await, "not synced");
                began.elapsed()
            });
        }
        acks.join_all().await
    });
    record.close();
    remove(dir);
    latencies.into_iter().map(in_millis).collect()
}

fn raw_syncs(path: &Path, n_events: u64) -> Vec<f64> {
    let mut line = EventMaker::new().line(1);
    line.push(b'\n');
    let mut file = File::create_new(path).expect("a fresh file");
    let latencies = (0..n_events)
        .map(|_| {
            let began = Instant::now();
            file.write_all(&line).expect("write");
            file.sync_data().expect("fdatasync");
            in_millis(began.elapsed())
        })
        .collect();
    std::fs::remove_file(path).expect("remove");
    latencies
}

fn status_json(report: &mut Report, scale: &Scale, dir: &Path) {
    let recordings = dir.join("status");
    let record = Record::create(&recordings, LogOptions::default());
    let raw_dir = dir.join("status-raw");
    std::fs::create_dir(&raw_dir).expect("a directory");
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    for _ in 0..scale.n_status_writes {
        let began = Instant::now();
        let bytes = record.board.file_bytes(now_ms()).expect("a document");
        record.run.write_status(&bytes).expect("status.json");
        ours.push(in_millis(began.elapsed()));
        let began = Instant::now();
        raw_replace(&raw_dir, &bytes);
        raw.push(in_millis(began.elapsed()));
    }
    record.close();
    remove(&recordings);
    remove(&raw_dir);
    report.push(
        Row::new("append", "status.json p50", millis(median(&ours)))
            .target(Target::AtMost(1.0))
            .beside("write, fsync, rename, fsync of the directory", median(&raw))
            .quiet_floor(0.537)
            .note(format!(
                "p99 {:.2} ms; floor p99 {:.2} ms",
                quantile(&ours, 99),
                quantile(&raw, 99)
            )),
    );
}

fn raw_replace(dir: &Path, bytes: &[u8]) {
    let (fresh, name) = (dir.join("fresh"), dir.join("status.json"));
    let mut file = File::create(&fresh).expect("create");
    file.write_all(bytes).expect("write");
    file.sync_all().expect("fsync");
    std::fs::rename(&fresh, name).expect("rename");
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .expect("fsync of the directory");
}

fn remove(dir: &Path) {
    std::fs::remove_dir_all(dir).expect("remove what we made");
}

pub(crate) fn in_millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
