//! A client that asks without end and reads no answer.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::wait::until_within;
use crate::harness::{RunBuilder, get};
use crate::process_table;

/// Requests on the one connection.
const N_REQUESTS: usize = 50_000;

/// Requests of one write.
const GROUP: usize = 100;

/// Longest time until one answer beside the flood; alone it takes a millisecond.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Longest wait for a part of the flood; a debug build on a busy machine takes a tenth of it.
const FLOOD_LIMIT: Duration = Duration::from_secs(120);

/// Most by which the flood may raise the peak of the supervisor's memory: less than its answers have bytes, so that a server
/// that kept them would be found.
const MAX_GROWTH_BYTES: u64 = 4 * 1024 * 1024;

#[test]
fn a_flood_of_requests_whose_answers_nobody_reads_delays_nobody_and_takes_no_memory() {
    let builder = RunBuilder::sh("until [ -e end ]; do sleep 0.02; done");
    let workspace = builder.workspace();
    let run = builder.start();
    run.until_running();
    let address = run.address();
    let supervisor = run.supervisor_pid();
    let peak = || process_table::memory(supervisor, "VmHWM").unwrap();
    let ask = || {
        let asked = Instant::now();
        assert_eq!(get(&address, "/status").status, 200);
        assert!(asked.elapsed() < ANSWER_LIMIT, "{:?}", asked.elapsed());
    };
    for _ in 0..20 {
        ask();
    }
    let before = peak();
    let mut flood = UnixStream::connect(run.socket()).unwrap();
    let mut answers = flood.try_clone().unwrap();
    let n_sent = Arc::new(AtomicUsize::new(0));
    let sent = Arc::clone(&n_sent);
    let sending = std::thread::spawn(move || {
        let one = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let group = one.repeat(GROUP);
        while sent.load(Ordering::Relaxed) < N_REQUESTS - GROUP {
            flood.write_all(group.as_bytes()).unwrap();
            sent.fetch_add(GROUP, Ordering::Relaxed);
        }
        let last = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let group = one.repeat(GROUP - 1) + last;
        flood.write_all(group.as_bytes()).unwrap();
    });
    // The server takes no more requests than it can answer, and the other client is served all the while.
    let mut n_before = 0;
    until_within(FLOOD_LIMIT, "the flood is held back", || {
        for _ in 0..20 {
            ask();
        }
        let n_now = n_sent.load(Ordering::Relaxed);
        (std::mem::replace(&mut n_before, n_now) == n_now && n_now > 0).then_some(())
    });
    assert!(!sending.is_finished(), "all was taken at once");
    // Each request has its answer once somebody reads it.
    let reading = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        answers.read_to_end(&mut bytes).unwrap();
        bytes
    });
    until_within(FLOOD_LIMIT, "the flood is over", || {
        ask();
        reading.is_finished().then_some(())
    });
    sending.join().unwrap();
    let answers = reading.join().unwrap();
    let n_answers = memchr::memmem::find_iter(&answers, b"HTTP/1.1 200").count();
    assert_eq!(n_answers, N_REQUESTS);
    let growth = peak() - before;
    eprintln!(
        "{} bytes of answers, {growth} bytes of growth",
        answers.len()
    );
    assert!(answers.len() as u64 > MAX_GROWTH_BYTES);
    assert!(growth < MAX_GROWTH_BYTES, "{growth}");
    std::fs::write(workspace.join("end"), b"").unwrap();
    let run = run.finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
}
