//! Results that are too long for an event, as files of the recording.
//!
//! Owns the manifest while the run lives. The text is redacted before it is written, as everything that goes on record.

use std::sync::Arc;

use super::journal::MAX_TEXT_BYTES;
use super::workload::chain;
use crate::event::ArtifactAdded;
use crate::log::Millis;
use crate::recordings::RunDir;
use crate::recordings::artifact::ArtifactWriter;
use crate::recordings::manifest::Manifest;
use crate::redact::Redactor;

/// Largest text that is kept, in bytes. An adapter's line is never longer than 1 MiB; what the steps of a playbook left may
/// be longer: 1 MiB of outputs, of which a byte takes at most six of JSON, beside a result of 1 MiB and the errors.
const MAX_ARTIFACT_BYTES: u64 = 16 << 20;

/// Keeps long results of one run.
#[derive(Debug)]
pub struct Artifacts {
    run_dir: Arc<RunDir>,
    redactor: Redactor,
    manifest: Manifest,
}

impl Artifacts {
    /// For a run that has none yet.
    pub fn new(run_dir: Arc<RunDir>, redactor: Redactor) -> Self {
        let manifest = Manifest::new(run_dir.id().clone());
        Self {
            run_dir,
            redactor,
            manifest,
        }
    }

    /// Stores the whole result of an action that is longer than [`MAX_TEXT_BYTES`], and lists it; none when it cannot be
    /// kept, which is logged and never ends a run.
    pub async fn keep_result(&mut self, step: u64, text: &str) -> Option<ArtifactAdded> {
        debug_assert!(text.len() > MAX_TEXT_BYTES);
        let path = format!("results/{step:06}.txt");
        self.keep(&path, "text/plain; charset=utf-8", text).await
    }

    /// Stores a text under `path`, redacted, and lists it; none when it cannot be kept.
    pub async fn keep(
        &mut self,
        path: &str,
        media_type: &'static str,
        text: &str,
    ) -> Option<ArtifactAdded> {
        let path = path.to_owned();
        let shown = path.clone();
        let text = self.redactor.redact_text(text).into_owned();
        let (run_dir, mut manifest) = (Arc::clone(&self.run_dir), self.manifest.clone());
        let write = move || -> Result<(ArtifactAdded, Manifest), String> {
            let mut writer =
                ArtifactWriter::create(&run_dir, &path, media_type, MAX_ARTIFACT_BYTES)
                    .map_err(|error| chain(&error))?;
            writer
                .write(text.as_bytes())
                .map_err(|error| chain(&error))?;
            let added = writer.finish().map_err(|error| chain(&error))?;
            manifest
                .add(&added, &Millis::now().to_rfc3339())
                .map_err(|error| chain(&error))?;
            manifest.save(&run_dir).map_err(|error| chain(&error))?;
            Ok((added, manifest))
        };
        match tokio::task::spawn_blocking(write)
            .await
            .map_err(|error| error.to_string())
            .flatten()
        {
            Ok((added, manifest)) => {
                self.manifest = manifest;
                Some(added)
            }
            Err(error) => {
                tracing::warn!(path = shown, error, "a long result was cut and not kept");
                None
            }
        }
    }

    /// Lists files that are whole already.
    pub async fn list(&mut self, taken: Vec<ArtifactAdded>) {
        if taken.is_empty() {
            return;
        }
        let now = Millis::now().to_rfc3339();
        for added in &taken {
            if let Err(error) = self.manifest.add(added, &now) {
                tracing::warn!(error = chain(&error), "an artifact is not listed");
            }
        }
        let (run_dir, manifest) = (Arc::clone(&self.run_dir), self.manifest.clone());
        let saved = tokio::task::spawn_blocking(move || manifest.save(&run_dir)).await;
        match saved {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = chain(&error), "the manifest was not written");
            }
            Err(error) => tracing::warn!(%error, "the manifest was not written"),
        }
    }
}
