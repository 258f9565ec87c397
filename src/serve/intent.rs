//! The intent to stop a run: a file beside its record, so that any control plane can carry it through.
//!
//! Owns `stop.json` as the control plane writes it, and the two instants that follow from it. The first request stands; a later
//! one may only bring the end nearer. It has no reason in it: only the run knows which words are secret.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::recordings::directory::Creation;
use crate::recordings::{RecordingsError, RunDir, layout};

/// Largest `stop.json` that is read, in bytes: a reason has at most 1,024 characters, each at most 12 bytes in JSON.
const MAX_INTENT_BYTES: u64 = 64 << 10;

/// Grace where neither the request nor the description tells one: the default of the key `grace_seconds`.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(8);

/// Longest grace that counts: that of the key `grace_seconds`.
const MAX_GRACE: Duration = Duration::from_secs(3600);

/// Time beyond the grace before a run that was asked is killed by its engine: its own order of ending has had its time.
pub const KILL_MARGIN: Duration = Duration::from_secs(10);

/// A stop that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intent {
    /// When.
    pub requested_at: SystemTime,
    /// How long it may take at most, where the request told it.
    pub grace: Option<Duration>,
}

#[derive(Deserialize)]
struct Written {
    requested_at_ms: u64,
    grace_seconds: Option<f64>,
}

impl Intent {
    /// What is on record; none where nobody asked. What cannot be read was asked for when the file was written.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn load(run: &RunDir) -> Result<Option<Self>, RecordingsError> {
        let Some(bytes) = run.read(layout::STOP, MAX_INTENT_BYTES)? else {
            return Ok(None);
        };
        let written = serde_json::from_slice::<Written>(&bytes).ok();
        let at = written
            .as_ref()
            .and_then(|written| {
                SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(written.requested_at_ms))
            })
            .or_else(|| run.modified_at(layout::STOP));
        let grace = written.and_then(|written| written.grace_seconds);
        Ok(Some(Self {
            requested_at: at.unwrap_or_else(SystemTime::now),
            grace: grace.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        }))
    }

    /// Puts a request of this moment on record, durably. An earlier request stands, and is given less time where this one
    /// leaves less; of two requests that do so at the same time the time of either stands.
    ///
    /// # Errors
    /// When the file can be neither read nor written.
    pub fn persist(run: &RunDir, grace: Option<Duration>) -> Result<(), RecordingsError> {
        let now = SystemTime::now();
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH);
        let now_ms = u64::try_from(since_epoch.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
        let intent = json!({
            "requested_at_ms": now_ms,
            "by": {"api": true},
            "reason": null,
            "grace_seconds": grace.map(|grace| grace.as_secs_f64()),
        });
        if run.create_if_absent(layout::STOP, format!("{intent}\n").as_bytes())?
            == Creation::Created
        {
            return Ok(());
        }
        let (Some(wanted), Some(earlier)) = (grace, Self::load(run)?) else {
            return Ok(());
        };
        let wanted = now.duration_since(earlier.requested_at).unwrap_or_default() + wanted;
        if earlier.grace.is_some_and(|grace| grace <= wanted) {
            return Ok(());
        }
        let bytes = run
            .read(layout::STOP, MAX_INTENT_BYTES)?
            .unwrap_or_default();
        let mut kept: Map<String, Value> = serde_json::from_slice(&bytes).unwrap_or_default();
        kept.entry("requested_at_ms").or_insert(now_ms.into());
        kept.insert("grace_seconds".to_owned(), wanted.as_secs_f64().into());
        run.write_atomic(
            layout::STOP,
            format!("{}\n", Value::Object(kept)).as_bytes(),
        )
    }

    /// When a run whose description allows `own` has had its time to end by itself. A request may only shorten that.
    pub fn due_at(&self, own: Option<Duration>) -> SystemTime {
        // A container may write what it likes: no sum of these may overflow.
        let own = own.unwrap_or(DEFAULT_GRACE).min(MAX_GRACE);
        self.requested_at + self.grace.map_or(own, |grace| grace.min(own))
    }

    /// Whether the run is to be killed by its engine.
    pub fn is_overdue(&self, own: Option<Duration>, now: SystemTime) -> bool {
        now >= self.due_at(own) + KILL_MARGIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recordings::Store;

    fn run() -> (tempfile::TempDir, RunDir) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(root.path()).unwrap();
        let run = store.create_run(&"fox".parse().unwrap()).unwrap();
        (root, run)
    }

    fn due_in(run: &RunDir, own: u64) -> f64 {
        let intent = Intent::load(run).unwrap().unwrap();
        let due = intent.due_at(Some(Duration::from_secs(own)));
        due.duration_since(intent.requested_at)
            .unwrap()
            .as_secs_f64()
    }

    #[test]
    fn a_later_request_brings_the_end_nearer_and_never_farther() {
        let (_root, run) = run();
        assert_eq!(Intent::load(&run).unwrap(), None);
        Intent::persist(&run, None).unwrap();
        assert!((due_in(&run, 60) - 60.0).abs() < 1e-6);
        Intent::persist(&run, Some(Duration::from_secs(20))).unwrap();
        let nearer = due_in(&run, 60);
        assert!((20.0..59.0).contains(&nearer), "{nearer}");
        Intent::persist(&run, Some(Duration::from_secs(50))).unwrap();
        Intent::persist(&run, None).unwrap();
        assert!((due_in(&run, 60) - nearer).abs() < 1e-6);
        // Nor than the description allows.
        assert!((due_in(&run, 3) - 3.0).abs() < 1e-6);
    }

    #[test]
    fn what_the_supervisor_wrote_of_a_stop_stays_when_the_time_gets_shorter() {
        let (_root, run) = run();
        let bytes = br#"{"requested_at_ms":1000,"by":{"signal":15},"reason":"enough"}"#;
        run.write_atomic(layout::STOP, bytes).unwrap();
        Intent::persist(&run, Some(Duration::from_secs(1))).unwrap();
        let kept = run.read(layout::STOP, 4096).unwrap().unwrap();
        let kept: Value = serde_json::from_slice(&kept).unwrap();
        assert_eq!(kept["by"]["signal"], 15);
        assert_eq!(
            (&kept["reason"], &kept["requested_at_ms"]),
            (&json!("enough"), &json!(1000))
        );
        assert!(kept["grace_seconds"].is_f64());
    }

    #[test]
    fn a_grace_that_no_description_can_have_is_cut_and_overflows_nothing() {
        let (_root, run) = run();
        Intent::persist(&run, None).unwrap();
        let cut = due_in(&run, u64::MAX);
        assert!((cut - MAX_GRACE.as_secs_f64()).abs() < 1e-6, "{cut}");
    }

    #[test]
    fn a_damaged_intent_counts_from_when_it_was_written() {
        let (_root, run) = run();
        run.write_atomic(layout::STOP, b"{").unwrap();
        let intent = Intent::load(&run).unwrap().unwrap();
        let now = SystemTime::now();
        assert!(!intent.is_overdue(None, now));
        assert!(intent.is_overdue(None, now + DEFAULT_GRACE + KILL_MARGIN));
        assert!(!intent.is_overdue(
            Some(Duration::from_secs(60)),
            now + DEFAULT_GRACE + KILL_MARGIN
        ));
    }
}
