//! What is taken out of a run: from the description to the open directories.
//!
//! Owns the choice of the output directory: a tmpfs inside the sandbox where there is a mount namespace, in a container one of
//! the directories of the run, else a directory of the host. It is made before the workload begins, and what cannot be made is told and never fails a run.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::description::RunDescription;
use crate::description::settings::{ArtifactSecrets, Isolation};
use crate::recordings::RunDir;
use crate::recordings::collect::{Limits, Secrets, changes};
use crate::recordings::pattern::Pattern;
use crate::recordings::staging::Staging;
use crate::session::collection::{Collection, Layered};
use crate::session::workload::{Workload, chain};

/// Name of the variable that tells the workload where its output directory is.
pub(super) const OUTPUT_VARIABLE: &str = "STOCKADE_OUTPUT_DIR";

/// What was prepared.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// What the session takes out at the end.
    pub(super) collection: Option<Collection>,
    /// The output directory, as the workload sees it.
    pub(super) directory: Option<PathBuf>,
    /// What could not be made, one sentence.
    pub(super) complaint: Option<String>,
}

/// Prepares it for a workload that is built.
pub(super) async fn prepare(
    description: &RunDescription,
    workload: &Workload,
    run_dir: &Arc<RunDir>,
    scratch: Option<Staging>,
) -> Prepared {
    let mut prepared = Prepared::default();
    let wanted = &description.artifacts;
    let max_files = usize::try_from(wanted.max_files).unwrap_or(usize::MAX);
    if max_files == 0 && workload.overlay().is_some() {
        prepared.complaint = Some(
            "recording.artifact_files is 0: what the workload changes in its workspace is not kept"
                .to_owned(),
        );
    }
    if max_files == 0 && scratch.is_none() {
        return prepared;
    }
    let has_scratch = scratch.is_some();
    let mut collection = Collection {
        limits: Limits {
            max_files,
            max_file_bytes: wanted.max_file_bytes,
            max_total_bytes: wanted.max_total_bytes,
            secrets: match wanted.secrets {
                ArtifactSecrets::Withhold => Secrets::Withhold,
                ArtifactSecrets::Flag => Secrets::Flag,
            },
        },
        output: None,
        staging: None,
        scratch,
        workspace: None,
        overlay: None,
        patterns: Vec::new(),
    };
    if max_files > 0 {
        collection.overlay = overlay(description, workload).unwrap_or_else(|error| {
            prepared.complaint = Some(format!("{}: {error}", changes::NOT_TAKEN));
            None
        });
    }
    match description.isolation {
        _ if max_files == 0 => {}
        _ if has_scratch => {
            let made = collection.scratch.as_ref().map(|scratch| {
                let [_, _, name] = stockade_sandbox::SCRATCH_DIRECTORIES;
                let path = scratch.path().join(name);
                let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
                open(&path, flags | OFlag::O_CLOEXEC, Mode::empty()).map(|output| (path, output))
            });
            match made {
                Some(Ok((path, output))) => {
                    collection.output = Some(output);
                    prepared.directory = Some(path);
                }
                Some(Err(error)) => {
                    prepared.complaint = Some(format!("there is no output directory: {error}"));
                }
                None => {}
            }
        }
        Isolation::Full | Isolation::Container => match workload
            .output()
            .map(|output| output.try_clone_to_owned())
        {
            Some(Ok(output)) => {
                collection.output = Some(output);
                prepared.directory = Some(PathBuf::from(stockade_sandbox::OUTPUT));
            }
            Some(Err(error)) => {
                prepared.complaint = Some(format!("there is no output directory: {error}"));
            }
            None => prepared.complaint = Some("the sandbox gave no output directory".to_owned()),
        },
        Isolation::None => {
            let run_dir = Arc::clone(run_dir);
            match tokio::task::spawn_blocking(move || Staging::make(&run_dir)).await {
                Ok(Ok(staging)) => {
                    prepared.directory = Some(staging.path().to_owned());
                    collection.staging = Some(staging);
                }
                Ok(Err(error)) => prepared.complaint = Some(chain(&error)),
                Err(error) => prepared.complaint = Some(error.to_string()),
            }
        }
    }
    let patterns = wanted.patterns.iter();
    collection.patterns = patterns
        .filter_map(|pattern| Pattern::parse(pattern).ok())
        .collect();
    if !collection.patterns.is_empty() {
        // As the workload sees it.
        let opened = match &collection.overlay {
            Some(overlay) => overlay.sides.merged.try_clone(),
            None => File::open(&description.workspace).map(Into::into),
        };
        match opened {
            Ok(workspace) => collection.workspace = Some(workspace),
            Err(error) => {
                prepared.complaint = Some(format!("the workspace cannot be read: {error}"));
            }
        }
    }
    prepared.collection = Some(collection);
    prepared
}

/// The workspace as an overlay, if it is one.
fn overlay(description: &RunDescription, workload: &Workload) -> io::Result<Option<Layered>> {
    let Some(sides) = workload.overlay() else {
        return Ok(None);
    };
    let host = std::fs::metadata(&description.workspace)?;
    Ok(Some(Layered {
        sides: sides.try_clone()?,
        path: description.workspace.clone(),
        owner: (host.uid(), host.gid()),
    }))
}
