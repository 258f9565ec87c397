//! Reopens the log of a run whose supervisor is gone, to add its last events.
//!
//! Owns the torn tail: what stands behind the last whole line is kept aside in `events.torn` and cut, and an event says
//! so. Only `finalize` uses this, under the run's lock. Invariant: nothing is ever appended to a torn line.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::creation::{SCHEMA_VERSION, new_epoch};
use super::line::{Envelope, LineHead};
use super::scan::{Hashes, Scan, scan};
use super::segment::{self, TORN_TAIL};
use super::stamp::{Millis, Stamper};
use crate::event::{Diagnostic, Event, EventType, Level, LogOpened};
use crate::run::RunId;

/// Most bytes of a torn tail that are kept aside; more is cut and counted.
pub const MAX_KEPT_TORN_BYTES: u64 = 16 * 1024 * 1024;

/// Why a log could not be reopened or added to.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// A file of the log could not be read.
    #[error("cannot read the log")]
    Read(#[source] io::Error),
    /// The bytes of the torn tail could not be kept aside.
    #[error("cannot keep the torn tail in {TORN_TAIL}")]
    Keep(#[source] io::Error),
    /// The torn tail could not be cut.
    #[error("cannot cut the torn tail")]
    Cut(#[source] io::Error),
    /// An event could not be added.
    #[error("cannot append to the log")]
    Append(#[source] io::Error),
}

/// Who looks at what a reopened log holds.
pub trait Visit {
    /// Whether events of this type are given to [`Visit::event`]. Parsing takes most of the time, so the others are not
    /// parsed: their number, their place in the hash chain and their form at both ends are all that is checked.
    fn looks_at(&self, event_type: EventType) -> bool;

    /// Sees an event of a type that is looked at.
    fn event(&mut self, seq: u64, at: Millis, event: Event);

    /// Sees the number of every other good event; `output_bytes` is what an output event says that the workload wrote, and
    /// 0 for the rest.
    fn passed(&mut self, seq: u64, output_bytes: u64);
}

/// The log of a run whose supervisor is gone, open for its last events.
#[derive(Debug)]
pub struct Reopened {
    /// What the log holds, the added events included.
    pub scan: Scan,
    /// Bytes that were cut.
    pub cut_bytes: u64,
    file: File,
    run_id: RunId,
    stamper: Stamper,
}

impl Reopened {
    /// Repairs the tail of the log in `dir` and opens it. A log that is not there is begun.
    ///
    /// `visit` sees every good event that was there before. When bytes were cut, or the log was empty, a new epoch begins.
    ///
    /// # Errors
    /// When a file cannot be read, cut or written.
    pub fn open(
        dir: impl AsFd,
        run_id: RunId,
        visit: &mut impl Visit,
    ) -> Result<Self, RepairError> {
        let found = scan(&dir, Hashes::Check, |head, line| show(head, line, visit))
            .map_err(RepairError::Read)?;
        let file = if found.has_active {
            segment::open_active(&dir)
        } else {
            segment::create_active(&dir)
        };
        let file = file.map_err(RepairError::Read)?;
        let cut_bytes = found.torn_bytes;
        if cut_bytes > 0 {
            keep_torn(&dir, &file, found.good_end, cut_bytes).map_err(RepairError::Keep)?;
            file.set_len(found.good_end)
                .and_then(|()| file.sync_all())
                .map_err(RepairError::Cut)?;
        }
        let mut stamper = Stamper::default();
        if let Some(last) = Millis::parse(&found.last_ts) {
            stamper.stamp(last);
        }
        let mut log = Self {
            scan: found,
            cut_bytes,
            file,
            run_id,
            stamper,
        };
        let is_ended = log.scan.terminal_seq.is_some();
        if !is_ended && (cut_bytes > 0 || log.scan.last_seq == 0) {
            let (seq, at, event) = log.begin_epoch()?;
            visit.event(seq, at, event);
        }
        Ok(log)
    }

    /// Appends an event; it is on the disk when [`Reopened::sync`] returns.
    ///
    /// # Errors
    /// As write(2).
    pub fn append(&mut self, event: &Event) -> Result<(u64, Millis), RepairError> {
        let encoding = |error: serde_json::Error| RepairError::Append(error.into());
        let mut payload = Vec::new();
        event.write_payload(&mut payload).map_err(encoding)?;
        let seq = self.scan.last_seq + 1;
        let (at, ts) = self.stamper.stamp(Millis::now());
        let envelope = Envelope {
            seq,
            ts,
            event_type: event.event_type(),
            run_id: self.run_id.as_str(),
        };
        let mut line = Vec::with_capacity(payload.len() + 256);
        let head = envelope.encode(&payload, &self.scan.head, &mut line);
        line.push(b'\n');
        (&self.file).write_all(&line).map_err(RepairError::Append)?;
        self.scan.head = head;
        self.scan.last_seq = seq;
        Ok((seq, at))
    }

    /// Syncs what was appended.
    ///
    /// # Errors
    /// As fsync(2).
    pub fn sync(&self) -> Result<(), RepairError> {
        self.file.sync_all().map_err(RepairError::Append)
    }

    fn begin_epoch(&mut self) -> Result<(u64, Millis, Event), RepairError> {
        let epoch = new_epoch().map_err(|error| RepairError::Append(io::Error::other(error)))?;
        let opened = Event::LogOpened(LogOpened {
            epoch: epoch.clone(),
            first_seq: self.scan.last_seq + 1,
            cut_bytes: self.cut_bytes,
            schema_version: SCHEMA_VERSION,
        });
        let (seq, at) = self.append(&opened)?;
        self.scan.epoch = Some(epoch);
        if self.cut_bytes > 0 {
            let cut_bytes = self.cut_bytes;
            self.append(&Event::Log(Diagnostic {
                level: Level::Warn,
                message: format!(
                    "{cut_bytes} bytes of a torn line were cut from the log and kept in {TORN_TAIL}"
                ),
                source: "finalize".to_owned(),
            }))?;
        }
        Ok((seq, at, opened))
    }
}

/// Shows one good line. One whose payload cannot be read is passed over, as one of an unknown type is.
fn show(head: &LineHead<'_>, line: &[u8], visit: &mut impl Visit) {
    let event_type = head.event_type();
    let is_looked_at = event_type.is_some_and(|event_type| visit.looks_at(event_type));
    let parse = || {
        let at = Millis::parse(std::str::from_utf8(head.ts).ok()?)?;
        Some((at, super::scan::parse_event(line)?))
    };
    if let Some((at, event)) = is_looked_at.then(parse).flatten() {
        visit.event(head.seq, at, event);
    } else if matches!(
        event_type,
        Some(EventType::ActionOutput | EventType::ServiceOutput)
    ) {
        visit.passed(head.seq, output_bytes(line).unwrap_or(0));
    } else {
        visit.passed(head.seq, 0);
    }
}

/// The `bytes` of an output event: the last such key of its line, for the text before it is escaped.
fn output_bytes(line: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b"\",\"bytes\":";
    let start = memchr::memmem::rfind(line, KEY)? + KEY.len();
    let rest = line.get(start..)?;
    let n_digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(rest.get(..n_digits)?)
        .ok()?
        .parse()
        .ok()
}

/// Appends the torn bytes to `events.torn` and syncs it, before they are cut.
fn keep_torn(dir: impl AsFd, file: &File, from: u64, bytes: u64) -> io::Result<()> {
    let flags =
        OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let mut torn = File::from(openat(
        dir,
        TORN_TAIL,
        flags,
        Mode::from_bits_truncate(0o640),
    )?);
    let mut block = vec![0; 64 * 1024];
    let mut offset = from;
    let end = from + bytes.min(MAX_KEPT_TORN_BYTES);
    while offset < end {
        let wanted = usize::try_from(end - offset)
            .unwrap_or(usize::MAX)
            .min(block.len());
        let Some(buffer) = block.get_mut(..wanted) else {
            break;
        };
        let n_read = file.read_at(buffer, offset)?;
        if n_read == 0 {
            break;
        }
        torn.write_all(buffer.get(..n_read).unwrap_or_default())?;
        offset += n_read as u64;
    }
    torn.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Text;
    use crate::log::scan::Fault;

    /// Remembers what it was shown; by default it looks at `log.opened` only.
    #[derive(Default)]
    struct Seen {
        looks_at_all: bool,
        events: Vec<u64>,
        passed: Vec<(u64, u64)>,
    }

    impl Seen {
        fn all() -> Self {
            Self {
                looks_at_all: true,
                ..Self::default()
            }
        }
    }

    impl Visit for Seen {
        fn looks_at(&self, event_type: EventType) -> bool {
            self.looks_at_all || event_type == EventType::LogOpened
        }

        fn event(&mut self, seq: u64, _: Millis, _: Event) {
            self.events.push(seq);
        }

        fn passed(&mut self, seq: u64, output_bytes: u64) {
            self.passed.push((seq, output_bytes));
        }
    }

    fn message(text: &str) -> Event {
        Event::Message(Text {
            role: None,
            text: text.to_owned(),
        })
    }

    fn dir_fd(dir: &tempfile::TempDir) -> File {
        File::open(dir.path()).unwrap()
    }

    fn run_id() -> RunId {
        "run-1".parse().unwrap()
    }

    fn lines(dir: &tempfile::TempDir) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(dir.path().join("events.jsonl")).unwrap();
        text.lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect()
    }

    #[test]
    fn a_log_cut_at_any_byte_is_repaired_and_goes_on_with_dense_numbers() {
        let whole = {
            let dir = tempfile::tempdir().unwrap();
            let mut log = Reopened::open(dir_fd(&dir), run_id(), &mut Seen::all()).unwrap();
            for text in ["one", "zwei \u{1F600}", "three"] {
                log.append(&message(text)).unwrap();
            }
            std::fs::read(dir.path().join("events.jsonl")).unwrap()
        };
        for end in (0..=whole.len()).chain([usize::MAX]) {
            let dir = tempfile::tempdir().unwrap();
            let mut bytes = whole[..end.min(whole.len())].to_vec();
            if end == usize::MAX {
                // What ext4 leaves after a power cut: the size was extended, the data was not written.
                bytes.extend_from_slice(&[0; 5000]);
            }
            std::fs::write(dir.path().join("events.jsonl"), &bytes).unwrap();
            let mut log = Reopened::open(dir_fd(&dir), run_id(), &mut Seen::all()).unwrap();
            log.append(&message("after")).unwrap();
            log.sync().unwrap();
            let lines = lines(&dir);
            let seqs: Vec<u64> = lines.iter().map(|l| l["seq"].as_u64().unwrap()).collect();
            assert_eq!(
                seqs,
                (1..=seqs.len() as u64).collect::<Vec<_>>(),
                "cut at {end}"
            );
            let torn = bytes.len()
                - bytes
                    .iter()
                    .rposition(|b| *b == b'\n')
                    .map_or(0, |at| at + 1);
            assert_eq!(log.cut_bytes, torn as u64, "cut at {end}");
            let kept = std::fs::read(dir.path().join("events.torn")).unwrap_or_default();
            assert_eq!(kept, bytes[bytes.len() - torn..], "cut at {end}");
            let last_opening = lines.iter().rfind(|l| l["type"] == "log.opened").unwrap();
            assert_eq!(last_opening["cut_bytes"].as_u64().unwrap(), torn as u64);
            let again = scan(dir_fd(&dir), Hashes::Check, |_, _| ()).unwrap();
            assert_eq!(
                (again.n_bad_lines, again.torn_bytes),
                (0, 0),
                "cut at {end}"
            );
        }
    }

    #[test]
    fn a_bad_line_in_the_middle_is_reported_and_everything_behind_it_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Reopened::open(dir_fd(&dir), run_id(), &mut Seen::all()).unwrap();
        for n in 0..5 {
            log.append(&message(&format!("line {n}"))).unwrap();
        }
        let path = dir.path().join("events.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        let mut all: Vec<String> = text.lines().map(str::to_owned).collect();
        all[2] = "garbage \u{0}\u{0}".to_owned();
        std::fs::write(&path, all.join("\n") + "\n").unwrap();
        // Of the lines behind it, the messages are not parsed and still counted: what is bad is decided by number, form and hash.
        for mut seen in [Seen::all(), Seen::default()] {
            let log = Reopened::open(dir_fd(&dir), run_id(), &mut seen).unwrap();
            let mut numbers = [
                seen.events,
                seen.passed.iter().map(|(seq, _)| *seq).collect(),
            ]
            .concat();
            numbers.sort_unstable();
            assert_eq!((numbers, log.cut_bytes), (vec![1, 2, 4, 5, 6], 0));
            assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 6);
            let faults: Vec<_> = log
                .scan
                .bad_lines
                .iter()
                .map(|bad| (bad.line_number, bad.fault))
                .collect();
            // The garbage, and the line behind it, which follows from what is no longer there.
            let behind = [(4, Fault::HashMismatch), (4, Fault::OutOfOrder)];
            assert_eq!(faults, [&[(3, Fault::NotALine)][..], &behind].concat());
        }
    }

    #[test]
    fn a_changed_byte_in_an_event_that_is_not_parsed_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Reopened::open(dir_fd(&dir), run_id(), &mut Seen::all()).unwrap();
        for text in ["one", "two", "three"] {
            log.append(&message(text)).unwrap();
        }
        let path = dir.path().join("events.jsonl");
        let changed = std::fs::read_to_string(&path)
            .unwrap()
            .replace("two", "TWO");
        std::fs::write(&path, changed).unwrap();
        let mut seen = Seen::default();
        let log = Reopened::open(dir_fd(&dir), run_id(), &mut seen).unwrap();
        let [bad] = &log.scan.bad_lines[..] else {
            panic!("{:?}", log.scan.bad_lines);
        };
        assert_eq!((bad.line_number, bad.fault), (3, Fault::HashMismatch));
        assert_eq!(seen.passed, [(2, 0), (3, 0), (4, 0)]);
    }

    #[test]
    fn only_events_that_are_looked_at_are_parsed_and_all_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Reopened::open(dir_fd(&dir), run_id(), &mut Seen::all()).unwrap();
        let n_events = 20_000;
        for n in 2..=n_events {
            log.append(&message(&format!("line {n}"))).unwrap();
        }
        let mut seen = Seen::default();
        let again = Reopened::open(dir_fd(&dir), run_id(), &mut seen).unwrap();
        assert_eq!(seen.events, [1]);
        let numbers = seen.passed.iter().map(|(seq, _)| *seq);
        assert!(numbers.eq(2..=n_events));
        assert_eq!((again.scan.n_events, again.scan.n_bad_lines), (n_events, 0));
        assert_eq!(again.scan.head, log.scan.head);
    }

    #[test]
    fn the_bytes_of_output_are_found_whatever_its_text_says() {
        let output = |text: &str| {
            Event::ActionOutput(crate::event::ActionOutput {
                step: Some(1),
                call_id: None,
                stream: crate::event::Stream::Stdout,
                text: text.to_owned(),
                bytes: text.len() as u64,
                lossy: true,
            })
        };
        let texts = ["", "plain", r#"","bytes":99,"#, "\n\u{1F600}\"bytes\":1"];
        let dir = tempfile::tempdir().unwrap();
        let mut log = Reopened::open(dir_fd(&dir), run_id(), &mut Seen::all()).unwrap();
        for text in texts {
            log.append(&output(text)).unwrap();
        }
        let mut seen = Seen::default();
        Reopened::open(dir_fd(&dir), run_id(), &mut seen).unwrap();
        let found: Vec<u64> = seen.passed.iter().map(|(_, bytes)| *bytes).collect();
        assert_eq!(found, texts.map(|text| text.len() as u64));
    }
}
