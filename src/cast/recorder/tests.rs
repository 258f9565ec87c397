use std::os::unix::fs::FileExt;
use std::sync::mpsc;

use super::*;
use crate::cast::entry::{Entry, VERSION, parse_entry};

const LIMIT: Duration = Duration::from_secs(10);

fn header() -> Header {
    Header {
        version: VERSION,
        width: 80,
        height: 24,
        timestamp: Some(1_700_000_000),
        command: None,
        title: None,
        env: std::collections::BTreeMap::new(),
    }
}

fn begin(max_bytes: u64) -> (Cast, File, mpsc::Receiver<String>) {
    let file = tempfile::tempfile().unwrap();
    let (sender, told) = mpsc::channel();
    let tell = move |message| sender.send(message).unwrap();
    let cast = Cast::begin(file.try_clone().unwrap(), &header(), max_bytes, tell).unwrap();
    (cast, file, told)
}

fn entries(file: &File) -> Vec<Entry> {
    let n_bytes = file.metadata().unwrap().len();
    let mut bytes = vec![0; usize::try_from(n_bytes).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.ends_with('\n'));
    let mut lines = text.lines();
    let first: Header = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(first, header());
    lines.map(|line| parse_entry(line).unwrap()).collect()
}

#[tokio::test]
async fn everything_is_kept_in_order_and_times_never_go_back() {
    let (cast, file, told) = begin(1 << 20);
    cast.mark("step 1: first");
    for idx in 0..500 {
        cast.output(&format!("{idx}\r\n")).await;
        if idx == 250 {
            let size = WindowSize {
                columns: 100,
                rows: 30,
            };
            cast.resize(size);
        }
    }
    assert!(cast.finish(LIMIT).await);
    // Behind the end nothing is taken, and nobody waits.
    cast.output("late").await;
    let entries = entries(&file);
    assert!(entries.is_sorted_by_key(|entry| entry.at));
    let shown: String = entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::Output)
        .map(|entry| entry.text.as_str())
        .collect();
    let expected: String = (0..500).map(|idx| format!("{idx}\r\n")).collect();
    assert_eq!(shown, expected);
    assert_eq!(
        (entries[0].kind, entries[0].text.as_str()),
        (EntryKind::Marker, "step 1: first")
    );
    assert_eq!(
        (entries[252].kind, entries[252].text.as_str()),
        (EntryKind::Resize, "100x30")
    );
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_cast_never_grows_beyond_its_limit_and_says_that_it_was_cut() {
    let max_bytes = 20_000;
    let (cast, file, told) = begin(max_bytes);
    for _ in 0..1_000 {
        cast.output(&"x".repeat(100)).await;
    }
    assert!(cast.finish(LIMIT).await);
    let n_bytes = file.metadata().unwrap().len();
    assert!(
        (max_bytes - 1_000..=max_bytes).contains(&n_bytes),
        "{n_bytes}"
    );
    let entries = entries(&file);
    let last = entries.last().unwrap();
    assert_eq!(last.kind, EntryKind::Marker);
    assert!(last.text.contains("recording.terminal_bytes = 20000"));
    assert_eq!(told.try_recv().unwrap(), last.text);
    assert!(!cast.takes_more());
}

#[tokio::test]
async fn what_found_no_room_is_counted_and_the_cast_says_where() {
    let (cast, file, told) = begin(64 << 20);
    let shared = cast.shared.clone().unwrap();
    {
        // A writer that does not come: what it would take is full.
        let mut waiting = shared.lock();
        waiting.text = "x".repeat(MAX_WAITING_BYTES);
        waiting.entries.push(Pending {
            at: Duration::ZERO,
            kind: EntryKind::Output,
            n_bytes: MAX_WAITING_BYTES,
        });
        assert_eq!(waiting.missing_bytes, 0);
        waiting.missing_bytes = 7;
        // Under the same lock, or the writer could come before it.
        let taken = shared.push_locked(&mut waiting, EntryKind::Output, "12345");
        assert_eq!(taken, Taken::Yes);
    }
    shared.changed.notify_all();
    assert!(cast.finish(LIMIT).await);
    let entries = entries(&file);
    let last = entries.last().unwrap();
    assert_eq!(last.kind, EntryKind::Marker);
    assert!(
        last.text.starts_with("12 bytes of output are missing"),
        "{}",
        last.text
    );
    assert!(told.try_recv().unwrap().contains("12 bytes"));
}

#[tokio::test]
async fn a_stream_waits_for_a_full_queue_no_longer_than_its_patience() {
    let (cast, _file, _told) = begin(64 << 20);
    let shared = cast.shared.clone().unwrap();
    // The writer waits for this lock, so nothing makes room.
    let held = Arc::clone(&shared);
    let (locked, is_locked) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let keeper = std::thread::spawn(move || {
        let mut waiting = held.lock();
        waiting.text = "x".repeat(MAX_WAITING_BYTES);
        locked.send(()).unwrap();
        drop(waiting);
        // Nothing wakes the writer: the entries are empty.
        released.recv().unwrap();
    });
    is_locked.recv().unwrap();
    let begun = Instant::now();
    tokio::time::timeout(LIMIT, cast.output("late"))
        .await
        .unwrap();
    assert!(begun.elapsed() >= FULL_PATIENCE);
    assert_eq!(shared.lock().missing_bytes, 4);
    release.send(()).unwrap();
    keeper.join().unwrap();
}

#[tokio::test]
async fn room_that_is_made_in_the_last_moment_is_used_and_ends_no_recording() {
    let (cast, file, told) = begin(64 << 20);
    let shared = cast.shared.clone().unwrap();
    // The patience of a stream is over just when the writer has taken everything.
    shared.push_or_miss("late ");
    cast.output("and what follows").await;
    assert!(cast.finish(LIMIT).await);
    let texts: Vec<String> = entries(&file).into_iter().map(|entry| entry.text).collect();
    assert_eq!(texts, ["late ", "and what follows"]);
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_told_once_and_holds_nobody() {
    let full = std::fs::OpenOptions::new()
        .append(true)
        .open("/dev/full")
        .unwrap();
    let (sender, told) = mpsc::channel();
    let tell = move |message| sender.send(message).unwrap();
    assert!(Cast::begin(full, &header(), 1 << 20, |_| ()).is_err());
    // A pipe that nobody reads any more takes the header and no more.
    let (reader, writer) = io::pipe().unwrap();
    let file = File::from(std::os::fd::OwnedFd::from(writer));
    let cast = Cast::begin(file, &header(), 1 << 20, tell).unwrap();
    drop(reader);
    for _ in 0..10 {
        cast.output("never written").await;
    }
    assert!(cast.finish(LIMIT).await);
    let told: Vec<String> = told.try_iter().collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("cannot be written"), "{told:?}");
    assert!(
        told[1].contains("130 bytes of output are missing"),
        "{told:?}"
    );
}

#[tokio::test]
async fn no_entry_is_longer_than_what_a_reader_takes() {
    let (cast, file, told) = begin(64 << 20);
    // NUL is written as six characters, and the letters of three bytes cross the cut.
    let text = "\0".repeat(MAX_WAITING_BYTES) + &"€".repeat(MAX_ENTRY_BYTES);
    cast.output(&text).await;
    cast.mark("");
    assert!(cast.finish(LIMIT).await);
    assert!(told.try_recv().is_err());
    let n_bytes = file.metadata().unwrap().len();
    let mut bytes = vec![0; usize::try_from(n_bytes).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let (_, mut reader) = crate::cast::reader::CastReader::open(bytes.as_slice()).unwrap();
    let mut shown = String::new();
    let mut n_markers = 0;
    while let Some(entry) = reader.next_entry().unwrap() {
        match entry.kind {
            EntryKind::Output => shown.push_str(&entry.text),
            EntryKind::Marker | EntryKind::Resize => n_markers += 1,
        }
    }
    assert_eq!(
        (shown == text, n_markers, reader.n_passed_over),
        (true, 1, 0)
    );
}
