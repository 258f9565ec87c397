//! Making a container and giving it its description.
//!
//! Owns the order: the directory is the container's, the container is made, the stream to its first process stands, the
//! process starts, the description goes over. A failure behind the second step removes the container again.

use std::os::unix::fs::{PermissionsExt as _, chown, lchown};
use std::path::Path;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::{
    AttachContainerOptions, CreateContainerOptions, RemoveContainerOptions, StartContainerOptions,
};
use tokio::io::AsyncWriteExt as _;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use super::{ANSWER_LIMIT, DockerEngine, Named, container, refusal, status_of, token};
use crate::engine::{Bound, EngineError, EngineState, Order, PendingReason};
use crate::run::RunId;

/// The user of a container where the control plane is root: that of our image.
const IMAGE_UID: u32 = 65532;

/// Time between two looks for a container that is being made.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How long somebody else may leave a container that they made without starting it: an engine that answers takes milliseconds
/// for that, and who was killed in between never starts it.
const START_LIMIT: Duration = Duration::from_secs(5);

/// Attempts to make a container whose name is taken.
const MAX_TRIES: usize = 3;

/// Whose container it is that has the name already.
enum Taken {
    /// It was started, or has ended even.
    Started(Bound),
    /// Whoever made it never started it.
    Left {
        /// Its id.
        container: String,
    },
    /// A foreign one's, or nobody's after all.
    NotOurs,
}

/// Whether a container goes that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Discard {
    /// It goes.
    Always,
    /// It stays.
    UnlessStarted,
}

impl DockerEngine {
    /// What became of the container that somebody else makes, or made.
    async fn made_by_another(&self, run_id: &RunId) -> Result<Taken, EngineError> {
        let began_at = Instant::now();
        loop {
            let passed = began_at.elapsed();
            match self.find(run_id).await? {
                Named::Ours {
                    state: EngineState::Pending(PendingReason::Created),
                    container,
                    ..
                } if passed >= START_LIMIT => return Ok(Taken::Left { container }),
                Named::Ours {
                    state: EngineState::Pending(PendingReason::Created),
                    ..
                } => {}
                Named::Ours { bound, .. } => return Ok(Taken::Started(bound)),
                Named::Foreign => return Ok(Taken::NotOurs),
                // The engine takes the name before it has the container.
                Named::Nothing if passed < ANSWER_LIMIT => {}
                Named::Nothing => return Ok(Taken::NotOurs),
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    pub(super) async fn start(&self, order: &Order) -> Result<Bound, EngineError> {
        let (client, name) = (self.client().await?, self.name(&order.run_id));
        let refused = |source: Error| refusal(&order.run_id, source.into());
        let owner_id = self.hand_over(&order.run_id).await?;
        let image = order.accepted.image.clone().unwrap_or_default();
        let body = container::body(&container::Wanted {
            owner: &self.owner,
            run_id: &order.run_id,
            image,
            user: owner_id,
            program: self.program.file(),
            recordings: self.program.recordings(),
            token: &token::of_run(&self.key, &order.run_id),
            trace: order.trace.as_deref(),
            spec: &order.spec,
        });
        let options = CreateContainerOptions {
            name: Some(name.clone()),
            ..CreateContainerOptions::default()
        };
        let mut n_tries = 0;
        let made = loop {
            n_tries += 1;
            let asked = client.create_container(Some(options.clone()), body.clone());
            match asked.await {
                Ok(made) => break made.id,
                // Docker says 409 of a name that is taken, Podman 500. Whoever took it starts it, too, if they live.
                Err(error) if matches!(status_of(&error), Some(409 | 500)) => {
                    match self.made_by_another(&order.run_id).await? {
                        Taken::Started(bound) => return Ok(bound),
                        Taken::Left { container } if n_tries < MAX_TRIES => {
                            self.discard(client, &container, Discard::UnlessStarted)
                                .await;
                        }
                        Taken::Left { .. } | Taken::NotOurs => return Err(refused(error)),
                    }
                }
                Err(error) => return Err(refused(error)),
            }
        };
        if let Err(source) = self.begin(client, &made, &order.accepted.delivered).await {
            // What was made for a run that is refused stays nowhere.
            self.discard(client, &made, Discard::Always).await;
            // Somebody took this one for left, and has made another: theirs is the run.
            let is_gone = source.downcast_ref::<Error>().and_then(status_of) == Some(404);
            if is_gone && let Taken::Started(bound) = self.made_by_another(&order.run_id).await? {
                return Ok(bound);
            }
            return Err(refusal(&order.run_id, source));
        }
        Ok(Bound {
            run_id: order.run_id.clone(),
            instance_id: None,
        })
    }

    /// Starts a container and gives it the description. The stream is there before the process, so no byte is lost.
    async fn begin(
        &self,
        client: &Docker,
        container: &str,
        description: &[u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let options = AttachContainerOptions {
            stdin: true,
            stream: true,
            ..AttachContainerOptions::default()
        };
        let mut attached = client.attach_container(container, Some(options)).await?;
        client
            .start_container(container, None::<StartContainerOptions>)
            .await?;
        timeout(ANSWER_LIMIT, async {
            attached.input.write_all(description).await?;
            attached.input.flush().await?;
            attached.input.shutdown().await
        })
        .await??;
        Ok(())
    }

    /// Removes that very container, whoever has its name meanwhile.
    async fn discard(&self, client: &Docker, container: &str, discard: Discard) {
        let options = RemoveContainerOptions {
            force: discard == Discard::Always,
            v: true,
            ..RemoveContainerOptions::default()
        };
        let removed = client.remove_container(container, Some(options)).await;
        if let Err(error) = removed {
            match (status_of(&error), discard) {
                // Somebody else was faster, or has started it after all.
                (Some(404), _) | (Some(409), Discard::UnlessStarted) => {}
                _ => tracing::warn!(%error, "a container that did not start was not removed"),
            }
        }
    }

    /// Makes the directory of a run that of its container's user, and gives that user.
    async fn hand_over(&self, run_id: &RunId) -> Result<u32, EngineError> {
        let own = nix::unistd::geteuid();
        if !own.is_root() {
            return Ok(own.as_raw());
        }
        let directory = self.program.recordings().join(run_id.as_str());
        let handed = spawn_blocking(move || hand_over(&directory, IMAGE_UID)).await;
        match handed {
            Ok(Ok(())) => Ok(IMAGE_UID),
            Ok(Err(error)) => Err(refusal(run_id, error.into())),
            Err(error) => Err(refusal(run_id, error.into())),
        }
    }
}

/// The directory belongs to the container's user; what the control plane writes there later has its group.
fn hand_over(directory: &Path, id: u32) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        // Never through a link; what a run of the same request wrote here is its user's already.
        lchown(entry?.path(), Some(id), Some(id))?;
    }
    chown(directory, Some(id), Some(id))?;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o2750))
}
