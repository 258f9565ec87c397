//! Floods of output, lines of any size and content, slow readers, and long runs: nobody is delayed, nothing is lost, and the
//! memory stays where it is.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::crash_follower::{Reader, events_of_answer, over_socket, rounds, wait_until};
use crate::harness::wait::until_within;
use crate::harness::{Recording, RunBuilder, until};
use crate::process_table;

/// Most memory that the supervisor may ever have had: 8 MiB of tail, 4 MiB that wait for the writer, buffers of two pipes and
/// of the readers' chunks, and the pages of a debug binary.
const MAX_PEAK_BYTES: u64 = 60 * 1024 * 1024;

/// Longest wait for a flood; a debug build on a busy machine takes a tenth of it.
const FLOOD_LIMIT: Duration = Duration::from_secs(120);

/// Shortest time for which the stalled reader takes nothing.
const STALL: Duration = Duration::from_secs(8);

/// Most times longer that the flood may take beside the stalled reader than without it. What else the machine does between
/// the two makes a factor of two; a run that waits for its reader never gets there.
const MAX_DELAY: u32 = 3;

/// What the rest of the machine may take of a flood beside that; it is less than [`STALL`].
const NOISE: Duration = Duration::from_secs(4);

fn go(workspace: &Path, name: &str) {
    std::fs::write(workspace.join(name), b"").unwrap();
}

/// A run whose output nobody but its recording takes.
struct Flood {
    child: Child,
    /// Ends it when the test fails.
    _guard: process_table::KillOnPanic,
    workspace: PathBuf,
    recording: Recording,
    socket: PathBuf,
    supervisor: i32,
}

impl Flood {
    /// Starts it and waits until it runs.
    fn start(builder: &RunBuilder) -> Self {
        let mut command = builder.command();
        let silent = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = silent.spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let guard = process_table::KillOnPanic(pid);
        let recording = Recording::at(builder.recordings().join("run"));
        until("the run is running", || {
            (recording.try_status()?["phase"] == "running").then_some(())
        });
        let workspace = builder.workspace();
        Self {
            child,
            _guard: guard,
            socket: workspace.with_file_name("api.sock"),
            workspace,
            recording,
            supervisor: process_table::live_child(pid).unwrap(),
        }
    }
}

/// Waits until a flood has ended well.
fn until_ended(child: &mut Child) {
    let status = until_within(FLOOD_LIMIT, "the run ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

/// The run of a flood of 80 MB, which begins with the file `start` and ends with the file `end`.
fn flood_of_80_mb() -> RunBuilder {
    let line = "0123456789".repeat(10);
    RunBuilder::sh(&format!(
        "until [ -e start ]; do sleep 0.02; done; yes {line} | head -c 80000000; echo; echo flooded; until [ -e end ]; do sleep 0.02; done"
    ))
}

/// Lets the flood begin and waits until all of it is on record and with the reader; gives when it began and how long it took.
fn until_flooded(flood: &Flood, reader: &Reader) -> (Instant, Duration) {
    go(&flood.workspace, "start");
    let began = Instant::now();
    until_within(
        FLOOD_LIMIT,
        "the flood is on record and with the reader",
        || {
            let (_, status) = over_socket(&flood.socket, "GET", "/status?actions=none", "");
            let written = status["usage"]["output_bytes"].as_u64().unwrap();
            (written > 80_000_000 && reader.seen_bytes() > 80_000_000).then_some(())
        },
    );
    (began, began.elapsed())
}

#[test]
fn a_stalled_reader_delays_nobody_and_gets_every_event() {
    // The same without a stalled reader, here and now.
    let builder = flood_of_80_mb();
    let mut flood = Flood::start(&builder);
    let reader = Reader::start(flood.socket.clone());
    let (_, alone) = until_flooded(&flood, &reader);
    go(&flood.workspace, "end");
    until_ended(&mut flood.child);
    reader.finish();

    let builder = flood_of_80_mb();
    let mut flood = Flood::start(&builder);
    let mut stalled = UnixStream::connect(&flood.socket).unwrap();
    stalled
        .write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let reader = Reader::start(flood.socket.clone());
    // The stalled one does not read one byte all this time: the run goes on to its end, and the other reader has it all.
    let (began, took) = until_flooded(&flood, &reader);
    wait_until(began + STALL);
    // Now it does; and once it has caught up the run ends.
    let catching_up = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stalled.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let peak = process_table::memory(flood.supervisor, "VmHWM").unwrap();
    go(&flood.workspace, "end");
    until_ended(&mut flood.child);
    let late = events_of_answer(&catching_up.join().unwrap());
    let prompt = reader.finish();
    let lines = flood.recording.lines();
    for (name, seen) in [("prompt", &prompt), ("stalled", &late)] {
        assert_eq!(seen.len(), lines.len(), "{name}");
        assert!(seen.values().eq(lines.iter()), "{name}");
    }
    assert!(peak < MAX_PEAK_BYTES, "peak of {} MiB", peak >> 20);
    eprintln!(
        "80 MB in {took:?}, alone in {alone:?}, {} events, peak {} MiB",
        lines.len(),
        peak >> 20
    );
    assert!(
        took <= alone * MAX_DELAY + NOISE,
        "{took:?}, alone {alone:?}"
    );
    flood.recording.assert_whole();
}

#[test]
fn a_line_of_64_mib_and_bytes_of_any_kind_are_recorded_within_bounds() {
    let script = "until [ -e start ]; do sleep 0.02; done; \
        head -c 67108864 /dev/zero | tr '\\0' a; echo; \
        head -c 300000 /dev/urandom; head -c 100000 /dev/zero; echo; \
        i=0; while [ $i -lt 2000 ]; do i=$((i+1)); printf '\\033[31mred\\033[0m \\007 \\342\\202 \\377\\376 \\355\\240\\200\\n'; done; \
        until [ -e end ]; do sleep 0.02; done";
    let builder = RunBuilder::sh(script);
    let mut flood = Flood::start(&builder);
    let (workspace, recording, socket) = (&flood.workspace, &flood.recording, &flood.socket);
    let supervisor = flood.supervisor;
    go(workspace, "start");
    let expected = 67_108_864 + 1 + 400_000 + 1 + 2000 * 25;
    until_within(FLOOD_LIMIT, "all of it is on record", || {
        let (_, status) = over_socket(socket, "GET", "/status?actions=none", "");
        (status["usage"]["output_bytes"].as_u64().unwrap() >= expected).then_some(())
    });
    let peak = process_table::memory(supervisor, "VmHWM").unwrap();
    assert!(peak < MAX_PEAK_BYTES, "peak of {} MiB", peak >> 20);
    go(workspace, "end");
    until_ended(&mut flood.child);
    // Every line is JSON and so UTF-8, and none is longer than one event may be.
    let longest = recording.lines().iter().map(String::len).max().unwrap();
    assert!(longest < 1024 * 1024, "a line of {longest} bytes");
    let recorded: u64 = recording
        .events_of("action.output")
        .iter()
        .map(|event| event["bytes"].as_u64().unwrap())
        .sum();
    assert_eq!(recorded, expected);
    recording.assert_whole();
}

/// Most by which the memory after any number of events may be above that after a few: the 4 MiB that may wait for the writer, what
/// the allocator keeps for each of the threads through which they go, which a flood reaches within 500,000 events, and the sparse
/// index, of which 10,000,000 of these events need 140 KiB.
const MAX_GROWTH_BYTES: u64 = 14 * 1024 * 1024;

/// The same after 1,000 finished actions more.
const MAX_GROWTH_OF_ACTIONS: u64 = 2 * 1024 * 1024;

#[test]
fn the_memory_is_flat_over_many_actions_and_events() {
    // In a soak the last part is 10,000,000 events.
    let many = rounds(60) * 1000;
    let action = r#"{"type":"action","tool":"shell","action":"run","input_summary":"make check","success":true,"result_text":"0123456789012345678901234567890123456789","duration_ms":5}"#;
    let message = r#"{"type":"message","text":"0123456789012345678901234567890123456789"}"#;
    // First more than the 8 MiB of events that stay in memory, then 1,000 actions, then many events.
    let parts = [(action, 40_000), (action, 1000), (message, many)];
    let script = parts
        .iter()
        .enumerate()
        .map(|(part, (line, n))| {
            format!("until [ -e part{part} ]; do sleep 0.02; done; yes '{line}' | head -n {n}; ")
        })
        .collect::<String>()
        + "until [ -e end ]; do sleep 0.02; done";
    let builder = RunBuilder::sh(&script)
        .flag("--adapter")
        .flag("jsonl")
        .flag("--max-steps")
        .flag("1000000")
        .flag("--limit-output")
        .flag("1TiB")
        .flag("--timeout")
        .flag("2h")
        .env("STOCKADE_GUARDRAILS_STUCK_CYCLE", "0");
    let mut flood = Flood::start(&builder);
    let (workspace, recording, socket) = (&flood.workspace, &flood.recording, &flood.socket);
    let supervisor = flood.supervisor;
    let mut total = 0;
    let mut resident = Vec::new();
    for (part, (_, n)) in parts.iter().enumerate() {
        total += n;
        go(workspace, &format!("part{part}"));
        // A debug build takes 5,000 a second where it is alone.
        let limit = FLOOD_LIMIT + Duration::from_millis(*n);
        until_within(limit, &format!("{total} events are on record"), || {
            let (_, status) = over_socket(socket, "GET", "/status?actions=none", "");
            (status["last_event_id"].as_u64().unwrap() >= total).then_some(())
        });
        resident.push(process_table::memory(supervisor, "VmRSS").unwrap());
    }
    go(workspace, "end");
    until_ended(&mut flood.child);
    eprintln!("resident after each part: {resident:?}");
    assert!(
        resident[1] < resident[0] + MAX_GROWTH_OF_ACTIONS,
        "{resident:?}"
    );
    for (part, bytes) in resident.iter().enumerate() {
        assert!(
            *bytes < resident[0] + MAX_GROWTH_BYTES,
            "{part}: {resident:?}"
        );
        assert!(*bytes < MAX_PEAK_BYTES, "{part}: {resident:?}");
    }
    recording.assert_whole();
    assert_eq!(recording.status()["action_count"], 41_000);
}
