//! One upstream for each run that has readers, however many they are.
//!
//! Owns the mirrors: a [`Mirror`] that one [`Follower`] feeds, from the run itself while it can be reached and from its
//! recording afterwards. Readers are cursors into the mirror's source. A mirror ends with its last reader; its task ends with
//! it. Invariants: a reader is given 1..N and the end, whatever dies meanwhile; a run that is only out of reach is waited for.

use std::collections::HashMap;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::registry::Registry;
use crate::api::metrics::Held;
use crate::client::follow::{Ending, Extent, Follower, Item, Want};
use crate::log::Source;
use crate::log::mirror::Mirror;
use crate::recordings::RunDir;
use crate::run::RunId;
use crate::session::workload::chain;

/// Longest wait for the first event of a run that is being started.
const OPENING_LIMIT: Duration = Duration::from_secs(20);

/// Time between two looks for that event.
const OPENING_INTERVAL: Duration = Duration::from_millis(25);

/// Time between two attempts to follow a run that is out of reach.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// A log that is followed.
#[derive(Debug)]
pub struct Followed {
    source: Arc<Source>,
    /// Cancelled when the log was begun anew and what was given is not on record.
    retired: CancellationToken,
    task: Option<JoinHandle<()>>,
    _counted: Option<Held>,
}

impl Followed {
    /// What readers read.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Cancelled when readers have to come again.
    pub fn retired(&self) -> &CancellationToken {
        &self.retired
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// The mirrors of all runs that have readers.
#[derive(Debug)]
pub struct Hub {
    registry: Arc<Registry>,
    followed: Mutex<HashMap<RunId, Arc<tokio::sync::Mutex<Weak<Followed>>>>>,
}

/// Why a log cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The run has no event yet.
    #[error("the run has no event yet")]
    NotOpen,
    /// Its recording cannot be read.
    #[error("cannot read the log: {message}")]
    Log {
        /// Why.
        message: String,
    },
}

impl Hub {
    /// No mirror yet.
    pub fn new(registry: Arc<Registry>) -> Self {
        Self {
            registry,
            followed: Mutex::default(),
        }
    }

    /// The log of a run, followed until nobody holds it.
    ///
    /// # Errors
    /// When it is not open in time, or cannot be read.
    pub async fn follow(&self, id: &RunId) -> Result<Arc<Followed>, FollowError> {
        let place = {
            let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
            // Places of runs that nobody reads and nobody is about to read.
            followed.retain(|_, place| {
                Arc::strong_count(place) > 1
                    || place.try_lock().is_ok_and(|weak| weak.strong_count() > 0)
            });
            Arc::clone(followed.entry(id.clone()).or_default())
        };
        // Of many first readers one opens the log; the others wait for it.
        let mut place = place.lock().await;
        if let Some(followed) = place.upgrade()
            && !followed.retired.is_cancelled()
        {
            return Ok(followed);
        }
        let followed = Arc::new(self.open(id).await?);
        *place = Arc::downgrade(&followed);
        Ok(followed)
    }

    /// The last event that readers of a run may see; none where that is all of the record.
    async fn published(&self, id: &RunId) -> Result<Option<u64>, FollowError> {
        let looked = self
            .registry
            .view(id)
            .await
            .map_err(|error| FollowError::Log {
                message: chain(&error),
            })?;
        let Some(view) = looked.filter(|view| !view.is_terminal()) else {
            return Ok(None);
        };
        if let Some(bound) = &view.bound
            && let Ok((mut connection, _)) = self.registry.connect(bound).await
            && let Ok(answer) = connection
                .ask(Method::HEAD, "/events", &[], Bytes::new())
                .await
            && let Some(last) = answer.headers().get("x-last-event-id")
            && let Some(last) = last.to_str().ok().and_then(|last| last.parse().ok())
        {
            return Ok(Some(last));
        }
        // What status.json has seen is synced.
        let recorded = view.evidence.document.as_ref();
        let last = recorded.and_then(|document| document.get("last_event_id")?.as_u64());
        Ok(Some(last.unwrap_or(0)))
    }

    async fn open(&self, id: &RunId) -> Result<Followed, FollowError> {
        let until = Instant::now() + OPENING_LIMIT;
        let (run, mirror) = loop {
            let published = self.published(id).await?;
            let (store, wanted) = (Arc::clone(&self.registry.store), id.clone());
            let opening = spawn_blocking(move || {
                let run = store.open_run(&wanted).map_err(|error| chain(&error))?;
                let Some(run) = run else {
                    return Ok(None);
                };
                let mirror =
                    Mirror::open(run.as_fd(), published).map_err(|error| error.to_string())?;
                Ok::<_, String>(mirror.map(|mirror| (run, mirror)))
            });
            match opening.await {
                Ok(Ok(Some(opened))) => break opened,
                Ok(Ok(None)) if Instant::now() < until => sleep(OPENING_INTERVAL).await,
                Ok(Ok(None)) => return Err(FollowError::NotOpen),
                Ok(Err(message)) => return Err(FollowError::Log { message }),
                Err(error) => {
                    return Err(FollowError::Log {
                        message: error.to_string(),
                    });
                }
            }
        };
        let source = Arc::clone(mirror.source());
        let retired = CancellationToken::new();
        if source.bounds().terminal_seq.is_some() {
            return Ok(Followed {
                source,
                retired,
                task: None,
                _counted: None,
            });
        }
        let feeding = feed(Arc::clone(&self.registry), run, mirror, retired.clone());
        Ok(Followed {
            source,
            retired,
            task: Some(self.registry.tasks.spawn(feeding)),
            _counted: Some(Held::new(&self.registry.counters.upstreams)),
        })
    }
}

/// Feeds a mirror until the terminal event, or until it is of no more use.
async fn feed(
    registry: Arc<Registry>,
    run: RunDir,
    mut mirror: Mirror,
    retired: CancellationToken,
) {
    let id = run.id().clone();
    let target = registry.engine.target(run);
    let token = registry.engine.token(&id);
    let mut follower = Follower::new(
        &target,
        &token,
        Vec::new(),
        Extent::ToTheEnd,
        mirror.last_seq(),
    );
    loop {
        let mut is_of_use = true;
        let mut take = |item: Item<'_>| {
            match item {
                Item::Event { seq, line } => {
                    if let Err(error) = mirror.append(seq, line) {
                        tracing::warn!(%error, "cannot read the files of a run that is followed");
                        is_of_use = false;
                    }
                }
                // What readers were given is not on record any more.
                Item::Rewound { .. } | Item::Beyond { .. } => is_of_use = false,
                // The reader finds the hole by itself.
                Item::Gap { .. } | Item::Lost(_) | Item::FromRecording => {}
            }
            if is_of_use { Want::More } else { Want::Nothing }
        };
        let ending = follower.follow(&mut take).await;
        if !is_of_use {
            retired.cancel();
            return;
        }
        match ending {
            Ok(Ending::Terminal) => return,
            // Nobody works on it: the look gives it its end, which is then followed.
            Ok(Ending::WithoutEnd | Ending::Asked) => {
                if let Err(error) = registry.view(&id).await {
                    tracing::warn!(error = chain(&error), "a run without an end got none");
                }
            }
            Err(error) => tracing::debug!(error = chain(&error), "a run is out of reach"),
        }
        sleep(RETRY_INTERVAL).await;
    }
}
