//! What the recording of a run says of it.
//!
//! Owns the look into the directory; it changes nothing there.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::intent::Intent;
use super::verdict::Recorded;
use crate::recordings::claim::Occupancy;
use crate::recordings::{RecordingsError, RunDir, Store, layout};
use crate::run::{RunId, Status};

/// Largest `status.json` that is read, in bytes: four times what a document may have.
const MAX_STATUS_BYTES: u64 = 4 << 20;

/// Largest `spec.json` that is read, in bytes.
const MAX_SPEC_BYTES: u64 = 2 << 20;

/// What a recording says.
#[derive(Debug)]
pub struct Evidence {
    /// The directory; none where there is no such run.
    pub run: Option<RunDir>,
    /// Where the run is, as far as the recording tells.
    pub recorded: Recorded,
    /// The last status document, as it is on disk.
    pub document: Option<Map<String, Value>>,
    /// How old that document is.
    pub age: Duration,
    /// The stop that was asked for.
    pub intent: Option<Intent>,
}

#[derive(Deserialize)]
struct StatusOnly {
    status: Status,
}

impl Evidence {
    /// Looks.
    ///
    /// # Errors
    /// When the directory cannot be read. A damaged document counts as none.
    pub fn of(store: &Store, id: &RunId) -> Result<Self, RecordingsError> {
        let nothing = Self {
            run: None,
            recorded: Recorded::Nothing,
            document: None,
            age: Duration::ZERO,
            intent: None,
        };
        let Some(run) = store.open_run(id)? else {
            return Ok(nothing);
        };
        if !run.is_begun()? {
            return Ok(nothing);
        }
        let bytes = run.read(layout::STATUS, MAX_STATUS_BYTES)?;
        let mut bytes = bytes.unwrap_or_default();
        let is_terminal = serde_json::from_slice::<StatusOnly>(&bytes)
            .is_ok_and(|document| document.status.is_terminal());
        let since = |at: Option<SystemTime>| at.and_then(|at| at.elapsed().ok());
        let recorded = if is_terminal {
            Recorded::Terminal
        } else {
            match Occupancy::under_lock(&run)? {
                Occupancy::Vacant => Recorded::Asked(since(run.begun_at()).unwrap_or_default()),
                Occupancy::Finished => {
                    // It got its end since its status was read.
                    bytes = run
                        .read(layout::STATUS, MAX_STATUS_BYTES)?
                        .unwrap_or_default();
                    Recorded::Terminal
                }
                Occupancy::Abandoned | Occupancy::Locked => Recorded::Begun,
            }
        };
        let age = run.modified_at(layout::STATUS);
        Ok(Self {
            intent: Intent::load(&run)?,
            document: serde_json::from_slice(&bytes).ok(),
            age: since(age).unwrap_or_default(),
            run: Some(run),
            recorded,
        })
    }

    /// The labels of the run.
    pub fn labels(&self) -> Map<String, Value> {
        let of_document = self
            .document
            .as_ref()
            .and_then(|document| document.get("labels"));
        if let Some(Value::Object(labels)) = of_document {
            return labels.clone();
        }
        match self.spec().as_ref().and_then(|spec| spec.get("labels")) {
            Some(Value::Object(labels)) => labels.clone(),
            Some(_) | None => Map::new(),
        }
    }

    /// How long its stop may take in all; none where that is not on record.
    pub fn grace(&self) -> Option<Duration> {
        let seconds = self.spec()?.get("grace_seconds")?.as_u64()?;
        Some(Duration::from_secs(seconds))
    }

    /// Its description, as it is on record.
    fn spec(&self) -> Option<Map<String, Value>> {
        let bytes = self
            .run
            .as_ref()?
            .read(layout::SPEC, MAX_SPEC_BYTES)
            .ok()??;
        serde_json::from_slice(&bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grace_of_a_run_is_that_of_its_description() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(root.path()).unwrap();
        let id: RunId = "a-run".parse().unwrap();
        assert_eq!(Evidence::of(&store, &id).unwrap().grace(), None);
        let run = store.create_run(&id).unwrap();
        run.place(layout::SPEC, br#"{"grace_seconds": 60}"#)
            .unwrap();
        let evidence = Evidence::of(&store, &id).unwrap();
        assert_eq!(evidence.grace(), Some(Duration::from_secs(60)));
    }
}
