use std::sync::atomic::AtomicBool;

use super::super::sample::{NOON, NOON_MS, end, opened, phase};
use super::*;
use crate::event::Text;

fn board() -> StatusBoard {
    StatusBoard::new(StatusFold::new("r1".parse().unwrap()), NOON_MS).unwrap()
}

fn running() -> Event {
    phase(Phase::Running, Status::Running)
}

fn complete() -> Event {
    end(Status::Completed)
}

fn message() -> Event {
    Event::Message(Text {
        role: None,
        text: "hello".to_owned(),
    })
}

fn decode(bytes: &[u8]) -> StatusDocument {
    StatusDocument::decode(bytes).unwrap()
}

#[test]
fn ordinary_events_show_after_the_interval_and_phases_at_once() {
    let board = board();
    board.apply(1, NOON, &opened());
    assert_eq!(board.rendered(NOON_MS).etag, "\"e1-1-starting\"");
    board.apply(2, NOON, &message());
    assert_eq!(board.rendered(NOON_MS + 4).last_event_id, 1);
    assert_eq!(board.rendered(NOON_MS + 5).last_event_id, 2);
    board.apply(3, NOON, &message());
    board.apply(4, NOON, &running());
    let rendered = board.rendered(NOON_MS + 5);
    assert_eq!(rendered.etag, "\"e1-4-running\"");
    assert_eq!(decode(&rendered.tail).status, Status::Running);
    assert_eq!(decode(&rendered.none), decode(&rendered.tail));
}

#[test]
fn an_unchanged_document_is_the_same_bytes_for_a_second() {
    let board = board();
    board.apply(1, NOON, &opened());
    let first = board.rendered(NOON_MS);
    assert!(Arc::ptr_eq(&first, &board.rendered(NOON_MS + 999)));
    let second = board.rendered(NOON_MS + 1_000);
    assert_eq!(decode(&second.tail).duration_ms, Some(1_000));
    assert_eq!(second.etag, first.etag);
    // A clock that was set back does not stop it.
    assert_eq!(
        board.rendered(NOON_MS - 5_000).rendered_at_ms,
        NOON_MS - 5_000
    );
}

#[test]
fn the_end_is_seen_when_it_is_published_and_not_before() {
    let board = board();
    board.apply(1, NOON, &opened());
    board.apply(2, NOON, &running());
    assert_eq!(board.publish_terminal(NOON_MS).unwrap_err(), NotTerminal);
    board.apply(3, NOON, &complete());
    for later in [0, 10, 2_000] {
        let seen = board.rendered(NOON_MS + later);
        assert_eq!((seen.status, seen.last_event_id), (Status::Running, 2));
        assert_eq!(decode(&seen.tail).status, Status::Running);
    }
    let file = decode(&board.file_bytes(NOON_MS).unwrap());
    assert_eq!((file.status, file.last_event_id), (Status::Completed, 3));
    assert_eq!(board.latest(NOON_MS).status, Status::Completed);
    let published = board.publish_terminal(NOON_MS + 3_000).unwrap();
    assert_eq!(published.etag, "\"e1-3-finished\"");
    // What is served is what was written.
    assert_eq!(published.tail, board.file_bytes(NOON_MS + 9_000).unwrap());
    assert_eq!(decode(&published.tail), file);
    assert!(Arc::ptr_eq(&published, &board.rendered(NOON_MS + 9_000)));
}

#[test]
fn a_failed_rename_is_seen_before_and_after_the_end() {
    let board = board();
    board.apply(1, NOON, &opened());
    board.apply(2, NOON, &complete());
    board.set_recordings_health(RecordingsHealth::bad("cannot rename"));
    let seen = decode(&board.rendered(NOON_MS).tail);
    assert_eq!(seen.status, Status::Starting);
    assert!(!seen.recordings.healthy);
    let published = decode(&board.publish_terminal(NOON_MS).unwrap().tail);
    assert_eq!(published.status, Status::Completed);
    assert_eq!(published.recordings.error.as_deref(), Some("cannot rename"));
}

#[test]
fn no_reader_sees_the_end_early_or_an_older_document_after_a_newer() {
    let board = board();
    let may_end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let (mut now_ms, mut last) = (NOON_MS, 0);
                loop {
                    now_ms += 7;
                    let may_end = may_end.load(Ordering::SeqCst);
                    let seen = board.rendered(now_ms);
                    assert!(seen.last_event_id >= last);
                    last = seen.last_event_id;
                    assert_eq!(decode(&seen.tail).last_event_id, last);
                    if seen.status.is_terminal() {
                        break;
                    }
                    assert!(!may_end, "the end was published and not seen");
                }
            });
        }
        board.apply(1, NOON, &opened());
        board.apply(2, NOON, &running());
        for seq in 3..5_000 {
            board.apply(seq, NOON, &message());
        }
        board.apply(5_000, NOON, &complete());
        assert!(!board.rendered(NOON_MS + 1_000_000).status.is_terminal());
        board.publish_terminal(NOON_MS).unwrap();
        may_end.store(true, Ordering::SeqCst);
    });
    assert_eq!(board.rendered(NOON_MS).last_event_id, 5_000);
}

/// Far above what a wake-up takes on a loaded machine, and never waited for in full.
const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_waiting_reader_is_woken_by_changes_and_by_the_limit() {
    let board = board();
    board.apply(1, NOON, &opened());
    let began = std::time::Instant::now();
    let clock = move || NOON_MS + u64::try_from(began.elapsed().as_millis()).unwrap();
    let first = board.rendered(clock());

    let short = Duration::from_millis(20);
    let seen = board.wait_for_change(&first.etag, short, &clock).await;
    assert_eq!(seen.etag, first.etag);
    assert!(began.elapsed() >= short);

    // The second of two messages comes at an age at which the first rendering is too young to be replaced: the reader
    // must find it without a further wake-up.
    for seq in [2, 3] {
        let before = board.rendered(clock());
        let (seen, ()) = tokio::join!(board.wait_for_change(&before.etag, LIMIT, &clock), async {
            board.apply(seq, NOON, &message())
        },);
        assert_eq!(seen.last_event_id, seq);
    }

    // The terminal event alone wakes nobody; its publication does.
    let before = board.rendered(clock());
    board.apply(4, NOON, &complete());
    let seen = board.wait_for_change(&before.etag, short, &clock).await;
    assert_eq!(seen.etag, before.etag);
    let (seen, ()) = tokio::join!(board.wait_for_change(&before.etag, LIMIT, &clock), async {
        board.publish_terminal(clock()).unwrap();
    });
    assert_eq!(seen.status, Status::Completed);
    let answer = board.wait_for_change("\"another\"", LIMIT, &clock).await;
    assert_eq!(answer.etag, seen.etag);
    assert!(began.elapsed() < LIMIT, "no wait ran into its limit");
}
