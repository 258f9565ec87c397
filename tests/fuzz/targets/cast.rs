//! What must hold for every terminal recording: whatever is shown, however it is split, and wherever its file is cut.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, ErrorKind};
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::time::Duration;

use stockade::cast::entry::{VERSION, parse_entry, write_entry};
use stockade::cast::reader::{CastError, CastReader};
use stockade::cast::repair::cut_torn_line;
use stockade::cast::{Cast, Entry, EntryKind, Header, LineEnds, ScreenStream, WindowSize};
use stockade::redact::{Redactor, StreamRedactor};
use stockade::session::output::CHUNK_BYTES;

/// Declared secrets: one that begins another, line ends, characters of several bytes, and what JSON escapes.
const SECRETS: [(&str, &str); 6] = [
    ("plain", "hunter2-hunter2"),
    ("longer", "hunter2-hunter2-and-more"),
    ("lines", "first line\nsecond line"),
    ("returns", "one\rtwo\r\nthree"),
    ("letters", "pässwörd-漢字-🦀"),
    ("quoted", "a\"b\\c\u{1b}[31md\u{7}"),
];

/// Most bytes that one input shows: three times as many as text, when none is a character, may wait for the writer, so that
/// nothing is lost to a slow disk.
const MAX_SHOWN_BYTES: usize = 300 * 1024;

/// Most places at which one file is cut.
const MAX_CUTS: usize = 8;

/// Longest wait for the writer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Records what `input` says: its first three bytes choose line ends and limit, the rest is read as a list of deeds.
pub(crate) fn check(input: &[u8]) {
    check_reader(input);
    let mut deeds = Deeds(input);
    let [choice, limit, columns] = [deeds.byte(), deeds.byte(), deeds.byte()];
    let header = Header {
        version: VERSION,
        width: u16::from(columns),
        height: u16::from(limit),
        timestamp: (choice & 4 != 0).then_some(u64::from(columns) << 32),
        command: (choice & 8 != 0).then(|| deeds.text()),
        title: (choice & 16 != 0).then(|| deeds.text()),
        env: BTreeMap::from_iter((choice & 32 != 0).then(|| ("TERM".to_owned(), deeds.text()))),
    };
    let n_header = header.line().unwrap().len() as u64;
    let max_bytes = match choice & 64 {
        0 => 1 << 30,
        _ => n_header + 1024 + 64 * u64::from(limit),
    };
    let line_ends = [choice & 1, choice & 2].map(|bit| match bit {
        0 => LineEnds::Translated,
        _ => LineEnds::AsTheyAre,
    });
    let file = temporary_file();
    let (sender, told) = mpsc::channel();
    let tell = move |message| sender.send(message).unwrap_or_default();
    let cast = match Cast::begin(file.try_clone().unwrap(), &header, max_bytes, tell) {
        Ok(cast) => cast,
        // The machine has no thread to give just now: others use it, too.
        Err(error) if error.kind() == ErrorKind::WouldBlock => return,
        Err(error) => panic!("{error}"),
    };
    let redactor =
        Redactor::new(SECRETS.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())));
    let size = WindowSize {
        columns: header.width,
        rows: header.height,
    };
    let mut show = Show::new(cast, size, line_ends, &redactor);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let is_written = runtime.block_on(async {
        show.perform(&mut deeds).await;
        show.cast.finish(PATIENCE).await
    });
    assert!(is_written, "the recording does not end");
    let whole = content(&file);
    assert!(whole.len() as u64 <= max_bytes, "beyond the limit");
    let entries = check_lines(&whole, &header);
    let told: Vec<String> = told.try_iter().collect();
    show.check(&entries, &told, &redactor);
    for cut in show.cuts {
        let at = file.metadata().unwrap().len() * u64::from(cut) / u64::from(u16::MAX);
        file.set_len(at).unwrap();
        check_repaired(&file, at, &whole, &entries);
    }
}

/// Input as a list of deeds; behind its end all bytes are 0.
struct Deeds<'a>(&'a [u8]);

impl<'a> Deeds<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn bytes(&mut self) -> &'a [u8] {
        let n_bytes = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(n_bytes);
        self.0 = rest;
        bytes
    }

    fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }
}

/// Two streams on one terminal, and what they must look like.
struct Show {
    cast: Cast,
    streams: [Shown; 2],
    /// What the terminal has; the same size once more is not recorded.
    size: WindowSize,
    /// Marks and sizes in their order. Before each piece of a stream stands a mark of its own, which says whose it is.
    between: Vec<(EntryKind, String)>,
    cuts: Vec<u16>,
    n_shown: usize,
}

struct Shown {
    line_ends: LineEnds,
    redactor: StreamRedactor,
    screen: ScreenStream,
    /// What was written to it, secrets and all.
    written: Vec<u8>,
}

impl Show {
    fn new(cast: Cast, size: WindowSize, line_ends: [LineEnds; 2], redactor: &Redactor) -> Self {
        let streams = line_ends.map(|line_ends| Shown {
            line_ends,
            redactor: StreamRedactor::new(redactor),
            screen: ScreenStream::new(cast.clone(), line_ends),
            written: Vec::new(),
        });
        Self {
            cast,
            streams,
            size,
            between: Vec::new(),
            cuts: Vec::new(),
            n_shown: 0,
        }
    }

    async fn perform(&mut self, deeds: &mut Deeds<'_>) {
        while !deeds.0.is_empty() {
            let deed = deeds.byte();
            let of = usize::from(deed >> 7);
            match deed % 8 {
                0..=2 => self.write(of, deeds.bytes()).await,
                3 => {
                    // A secret, in two pieces.
                    let which = usize::from(deed >> 3) % SECRETS.len();
                    let secret = SECRETS[which].1.as_bytes();
                    let at = usize::from(deeds.byte()) % (secret.len() + 1);
                    self.write(of, &secret[..at]).await;
                    self.write(of, &secret[at..]).await;
                }
                4 => {
                    let piece = deeds.bytes();
                    let n_times = usize::from(deeds.byte()) * 16;
                    self.write(of, &piece.repeat(n_times)).await;
                }
                5 => {
                    let label = deeds.text();
                    self.cast.mark(&label);
                    self.between.push((EntryKind::Marker, label));
                }
                6 => {
                    let (columns, rows) = (deeds.number(), deeds.number());
                    let size = WindowSize { columns, rows };
                    self.cast.resize(size);
                    if std::mem::replace(&mut self.size, size) != size {
                        let text = format!("{columns}x{rows}");
                        self.between.push((EntryKind::Resize, text));
                    }
                }
                _ => {
                    if self.cuts.len() < MAX_CUTS {
                        self.cuts.push(deeds.number());
                    }
                }
            }
        }
        for of in [0, 1] {
            self.announce(of);
            let shown = &mut self.streams[of];
            let mut clean = Vec::new();
            shown.redactor.finish(&mut clean);
            shown.screen.push(&clean).await;
            shown.screen.finish().await;
        }
    }

    fn announce(&mut self, of: usize) {
        let label = format!("stream {of}");
        self.cast.mark(&label);
        self.between.push((EntryKind::Marker, label));
    }

    async fn write(&mut self, of: usize, bytes: &[u8]) {
        if self.n_shown + bytes.len() > MAX_SHOWN_BYTES {
            return;
        }
        self.n_shown += bytes.len();
        self.streams[of].written.extend_from_slice(bytes);
        for piece in bytes.chunks(CHUNK_BYTES) {
            self.announce(of);
            let shown = &mut self.streams[of];
            let mut clean = Vec::new();
            shown.redactor.push(piece, &mut clean);
            shown.screen.push(&clean).await;
        }
    }

    /// Nothing is lost but what is told, and no secret is shown.
    fn check(&self, entries: &[Entry], told: &[String], redactor: &Redactor) {
        let mut entries = entries;
        let is_cut = !told.is_empty();
        if is_cut {
            let (last, before) = entries.split_last().unwrap();
            assert_eq!(told, std::slice::from_ref(&last.text));
            assert_eq!(last.kind, EntryKind::Marker);
            assert!(last.text.starts_with("the terminal recording is cut here"));
            entries = before;
        }
        let mut between = self.between.iter();
        let mut shown = [String::new(), String::new()];
        let mut of = 0;
        for entry in entries {
            match entry.kind {
                EntryKind::Output => shown[of].push_str(&entry.text),
                EntryKind::Marker | EntryKind::Resize => {
                    let (kind, text) = between.next().expect("an entry that nobody made");
                    assert_eq!((entry.kind, &entry.text), (*kind, text));
                    match text.as_str() {
                        "stream 0" => of = 0,
                        "stream 1" => of = 1,
                        _ => {}
                    }
                }
            }
        }
        assert!(is_cut || between.next().is_none(), "an entry is missing");
        for (stream, shown) in self.streams.iter().zip(&shown) {
            let clean = redactor.redact_bytes(&stream.written);
            let mut expected = String::from_utf8_lossy(&clean).into_owned();
            if stream.line_ends == LineEnds::Translated {
                expected = expected.replace("\r\n", "\n").replace('\n', "\r\n");
            }
            match is_cut {
                true => assert!(expected.starts_with(shown), "{shown:?} of {expected:?}"),
                false => assert_eq!(shown, &expected),
            }
            let with_line_feeds = shown.replace("\r\n", "\n");
            for (name, secret) in SECRETS {
                assert!(!shown.contains(secret), "{name} is shown");
                assert!(!with_line_feeds.contains(secret), "{name} is shown");
            }
        }
    }
}

/// The file is as asciicast v2 says, and the reader reads what stands there.
fn check_lines(bytes: &[u8], header: &Header) -> Vec<Entry> {
    let text = std::str::from_utf8(bytes).expect("UTF-8");
    assert!(text.ends_with('\n'));
    let mut lines = text.split_terminator('\n');
    let first: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(first["version"], 2);
    assert_eq!(first["width"], header.width);
    assert_eq!(first["height"], header.height);
    let (read_header, mut reader) = CastReader::open(bytes).unwrap();
    assert_eq!(&read_header, header);
    let mut entries: Vec<Entry> = Vec::new();
    let mut last_at = 0.0;
    for line in lines {
        let (at, code, text): (f64, String, String) = serde_json::from_str(line).expect("JSON");
        assert!(at >= last_at, "time goes back");
        last_at = at;
        match code.as_str() {
            "o" | "m" => {}
            "r" => {
                let (columns, rows) = text.split_once('x').unwrap();
                assert!(columns.parse::<u16>().is_ok() && rows.parse::<u16>().is_ok());
            }
            other => panic!("an entry of the kind {other:?}"),
        }
        let entry = reader.next_entry().unwrap().expect("one entry a line");
        assert_eq!((entry.kind.code(), &entry.text), (code.as_str(), &text));
        entries.push(entry);
    }
    assert!(reader.next_entry().unwrap().is_none());
    assert_eq!(reader.n_passed_over, 0);
    entries
}

/// What is left of a file that was cut `at` a byte is all whole lines before it, and is read.
fn check_repaired(file: &File, at: u64, whole: &[u8], entries: &[Entry]) {
    let at = usize::try_from(at).unwrap();
    let n_whole = whole[..at]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |line_end| line_end + 1);
    assert_eq!(cut_torn_line(file).unwrap(), (at - n_whole) as u64);
    let left = content(file);
    assert_eq!(left, whole[..n_whole]);
    let mut reader = match CastReader::open(BufReader::new(left.as_slice())) {
        Ok((_, reader)) => reader,
        Err(CastError::NoHeader) => return assert!(left.is_empty()),
        Err(error) => panic!("{error}"),
    };
    let mut n_read = 0;
    while let Some(entry) = reader.next_entry().unwrap() {
        assert_eq!(entry, entries[n_read]);
        n_read += 1;
    }
    assert_eq!(reader.n_passed_over, 0);
    assert_eq!(
        n_read + 1,
        left.split_inclusive(|byte| *byte == b'\n').count()
    );
}

/// Any bytes behind a header are entries, or are counted as passed over; an entry that is written again is the same.
fn check_reader(input: &[u8]) {
    // Whatever it begins with is a header or an error.
    let _ = CastReader::open(input);
    let header: &[u8] = b"{\"version\":2,\"width\":80,\"height\":24}\n";
    let file = [header, input].concat();
    let (_, mut reader) = CastReader::open(file.as_slice()).unwrap();
    let mut n_entries = 0;
    while let Some(entry) = reader.next_entry().unwrap() {
        n_entries += 1;
        let mut line = Vec::new();
        write_entry(&mut line, entry.at, entry.kind, &entry.text);
        let line = String::from_utf8(line).unwrap();
        let again = parse_entry(line.strip_suffix('\n').unwrap()).expect("an entry");
        assert!(!line.trim_end_matches('\n').contains('\n'));
        assert_eq!((again.kind, &again.text), (entry.kind, &entry.text));
        let seconds = entry.at.as_secs_f64();
        let apart = (again.at.as_secs_f64() - seconds).abs();
        assert!(apart <= 2e-6 + seconds * 1e-12, "{apart} seconds apart");
    }
    let n_lines = input.split_inclusive(|byte| *byte == b'\n').count() as u64;
    assert_eq!(n_entries + reader.n_passed_over, n_lines);
}

/// A file for appending that has no name.
fn temporary_file() -> File {
    let path = std::env::temp_dir().join(format!("stockade-fuzz-cast-{}", std::process::id()));
    let file = OpenOptions::new()
        .append(true)
        .read(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    file
}

fn content(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}
