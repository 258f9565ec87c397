//! What is kept of the files that the workload leaves: `recording.artifacts` and its limits.

use serde_json::{Map, Value as Json, json};

use super::checker::{Checker, Unit, plain_text};
use super::error::ErrorKind;
use super::settings::{ArtifactSecrets, Artifacts};
use super::value::Value;
use crate::recordings::manifest::MAX_ARTIFACTS;
use crate::recordings::pattern::Pattern;

/// Most patterns: each is tried on every name of the directories that are entered.
const MAX_PATTERNS: usize = 64;

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

impl Checker<'_> {
    /// The artifacts of the run.
    pub(crate) fn artifacts(&mut self) -> Artifacts {
        let patterns = self.patterns();
        let most = u64::try_from(MAX_ARTIFACTS).unwrap_or(u64::MAX);
        let bytes = Unit::Bytes;
        Artifacts {
            patterns,
            max_files: self.number("recording.artifact_files", Unit::Count, 0..=most, 1_000),
            max_file_bytes: self.number("recording.artifact_bytes", bytes, 1_024..=TIB, 64 * MIB),
            max_total_bytes: self.number(
                "recording.artifact_total_bytes",
                bytes,
                MIB..=TIB,
                256 * MIB,
            ),
            secrets: self.choice(
                "recording.artifact_secrets",
                &[],
                ArtifactSecrets::default(),
            ),
        }
    }

    fn patterns(&mut self) -> Vec<String> {
        let Some((key, given)) = self.take("recording.artifacts") else {
            return Vec::new();
        };
        let Value::List(items) = &given.value else {
            self.faults.add_by_table(ErrorKind::Invalid, key, &given);
            return Vec::new();
        };
        if items.len() > MAX_PATTERNS {
            let expected = format!("give at most {MAX_PATTERNS} patterns");
            self.faults
                .add_excess(key.name, items.len(), &given.origin, expected);
            return Vec::new();
        }
        let mut patterns = Vec::with_capacity(items.len());
        for (idx, item) in items.iter().enumerate() {
            let name = format!("{}[{idx}]", key.name);
            let text = plain_text(item).unwrap_or_default();
            match Pattern::parse(text) {
                Ok(_) => patterns.push(text.to_owned()),
                Err(error) => {
                    let expected =
                        format!("give a path below the workspace, such as target/*.xml: {error}");
                    self.faults.add(ErrorKind::Invalid, name, item, expected);
                }
            }
        }
        patterns
    }
}

impl Artifacts {
    /// The keys of the file, without their group.
    pub(crate) fn public(&self) -> Map<String, Json> {
        let values = [
            ("artifacts", json!(self.patterns)),
            ("artifact_files", json!(self.max_files)),
            ("artifact_bytes", json!(self.max_file_bytes)),
            ("artifact_total_bytes", json!(self.max_total_bytes)),
            ("artifact_secrets", json!(self.secrets)),
        ];
        values
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }
}
