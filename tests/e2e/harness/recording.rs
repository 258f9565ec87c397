//! A run's directory, as a reader finds it.

use std::path::{Path, PathBuf};

use serde_json::Value;
use stockade::log::{Next, Selection, Source};

/// Read at a time in a replay; small, so that every recording takes several reads.
const REPLAY_BYTES: usize = 16 * 1024;

/// A run's directory.
#[derive(Debug, Clone)]
pub struct Recording {
    path: PathBuf,
}

impl Recording {
    /// The directory at `path`; it need not exist yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `status.json`, if it is there; it is whole whenever it is.
    pub fn try_status(&self) -> Option<Value> {
        let bytes = std::fs::read(self.path.join("status.json")).ok()?;
        Some(
            serde_json::from_slice(&bytes)
                .unwrap_or_else(|error| panic!("torn status.json: {error}\n{bytes:?}")),
        )
    }

    /// `status.json`.
    pub fn status(&self) -> Value {
        self.try_status()
            .unwrap_or_else(|| panic!("no status.json in {}", self.path.display()))
    }

    /// All whole lines of the log, in order, sealed segments included.
    pub fn lines(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(&self.path)
            .unwrap_or_else(|error| panic!("{}: {error}", self.path.display()))
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("events-") && name.ends_with(".jsonl"))
            .collect();
        names.sort();
        names.push("events.jsonl".to_owned());
        let mut lines = Vec::new();
        for name in names {
            let text =
                String::from_utf8(std::fs::read(self.path.join(name)).unwrap_or_default()).unwrap();
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            lines.extend(whole.lines().map(str::to_owned));
        }
        lines
    }

    /// All events of the log.
    pub fn events(&self) -> Vec<Value> {
        self.lines()
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The first and last number of the first hole between the events of the log; none in one without a hole.
    pub fn missing(&self) -> Option<(u64, u64)> {
        let numbers: Vec<u64> = self
            .events()
            .iter()
            .map(|event| event["seq"].as_u64().unwrap())
            .collect();
        numbers
            .windows(2)
            .find(|pair| pair[1] != pair[0] + 1)
            .map(|pair| (pair[0] + 1, pair[1] - 1))
    }

    /// The events of one type.
    pub fn events_of(&self, event_type: &str) -> Vec<Value> {
        self.events()
            .into_iter()
            .filter(|event| event["type"] == event_type)
            .collect()
    }

    /// What the log has of the workload's output, in its order.
    pub fn output(&self) -> String {
        self.events_of("action.output")
            .iter()
            .map(|event| event["text"].as_str().unwrap())
            .collect()
    }

    /// The whole log once more, as the library gives it to readers of a finished recording.
    pub fn replayed(&self, selection: Selection) -> Vec<u8> {
        let directory = std::fs::File::open(&self.path).unwrap();
        let (source, found) = Source::open_recorded(directory).unwrap();
        assert!(found.terminal_seq.is_some(), "{found:?}");
        let mut reader = source.reader(0, selection);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let mut replayed = Vec::new();
        while !reader.is_finished() {
            match runtime.block_on(reader.read(REPLAY_BYTES)).unwrap() {
                Some(Next::Frames(frames)) => replayed.extend_from_slice(&frames),
                other => panic!("{other:?} after {} of a whole recording", reader.after()),
            }
        }
        replayed
    }

    /// Asserts of a recording that lacks events that status and `verify` say how many and which, and that all else is in order.
    pub fn assert_missing_is_told(&self) {
        let (first, last) = self.missing().unwrap();
        let numbers = if first == last {
            first.to_string()
        } else {
            format!("{first} to {last}")
        };
        let told = format!(
            "events that the log does not have: {}, with the numbers {numbers}",
            last + 1 - first
        );
        let status = self.status();
        assert_eq!(status["recordings"]["healthy"], false, "{status}");
        let error = status["recordings"]["error"].as_str().unwrap();
        assert!(error.ends_with(&told), "{error} and not {told}");
        let events = self.events();
        let end = events.last().unwrap();
        assert_eq!(end["type"], "complete");
        assert_eq!(end["status"], status["status"]);
        assert_eq!(end["seq"], status["last_event_id"]);
        let verified = self.verified();
        assert!(!verified.status.success());
        let findings = String::from_utf8_lossy(&verified.stdout).into_owned();
        assert!(findings.contains(&told), "{findings}");
    }

    /// What `stockade verify` says of it.
    pub fn verified(&self) -> std::process::Output {
        std::process::Command::new(super::run::binary())
            .arg("verify")
            .arg(&self.path)
            .output()
            .unwrap()
    }

    /// Waits until the run has ended; gives its status.
    pub fn until_finished(&self) -> Value {
        super::until("the run has ended", || {
            self.try_status()
                .filter(|status| status["phase"] == "finished")
        })
    }

    /// Asserts what holds for every finished recording: dense numbers, one terminal event at the end, a sound chain, and a
    /// status that agrees with it.
    pub fn assert_whole(&self) {
        let events = self.events();
        let seqs: Vec<u64> = events
            .iter()
            .map(|event| event["seq"].as_u64().unwrap())
            .collect();
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
        let terminal: Vec<_> = events
            .iter()
            .filter(|event| event["type"] == "complete")
            .collect();
        assert_eq!(
            terminal.len(),
            1,
            "terminal events in {}",
            self.path.display()
        );
        let last = events.last().unwrap();
        assert_eq!(last["type"], "complete");
        let status = self.status();
        assert_eq!(status["status"], last["status"]);
        assert_eq!(status["last_event_id"], last["seq"]);
        assert_eq!(status["phase"], "finished");
        let verified = self.verified();
        assert!(
            verified.status.success(),
            "{}",
            String::from_utf8_lossy(&verified.stdout)
        );
    }
}
