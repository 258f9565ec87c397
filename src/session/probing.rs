//! Probes: what the agent wants to know of the sandbox, seen from inside.
//!
//! Owns the one look that may be under way. It runs as a launch of its own, so it has the workload's identity, network and
//! files, and it is killed when it takes too long. Invariant: the agent is told once for each question.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use stockade_sandbox::{LaunchId, MAX_ANSWER_BYTES};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Session;
use super::workload::chain;
use crate::agent::{Exit, Observation, Probe, Seen};
use crate::redact::Redactor;
use crate::text::Excerpt;

/// Time for a look at a file: it is read without waiting, but a file system may hang.
const FILE_LIMIT: Duration = Duration::from_secs(5);

/// What a look gets beyond its own time limit before it is killed.
const MARGIN: Duration = Duration::from_secs(1);

/// Time for the answer of a look that has ended.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// Time for the end of a look that was killed; it takes well below a millisecond.
const ABANDON_LIMIT: Duration = Duration::from_millis(200);

/// A look that is under way.
#[derive(Debug)]
pub(super) struct Looking {
    pub(super) id: LaunchId,
    /// When it is killed.
    due: Instant,
    /// It took too long and is killed.
    is_overdue: bool,
    answer: JoinHandle<io::Result<Vec<u8>>>,
}

impl Looking {
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Its time is later by what the run has stood still.
    pub(super) fn stood(&mut self, time: Duration) {
        self.due += time;
    }
}

impl Session {
    /// Begins a look; the agent is told what was seen.
    pub(super) async fn look(&mut self, probe: Probe) {
        match self.begin_look(probe).await {
            Ok(looking) => {
                self.quiet_until.send_replace(looking.due);
                self.looking = Some(looking);
            }
            Err(why) => self
                .waiting
                .push_back(Observation::Probed(Seen::Failed { why })),
        }
    }

    async fn begin_look(&self, probe: Probe) -> Result<Looking, String> {
        let limit = match &probe.question {
            stockade_sandbox::Probe::File { .. } => FILE_LIMIT,
            stockade_sandbox::Probe::Http { timeout, .. }
            | stockade_sandbox::Probe::Tcp { timeout, .. } => *timeout + MARGIN,
        };
        let told = |error: &dyn std::error::Error| chain(error);
        let (answer, out) =
            nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|error| told(&error))?;
        let null = std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map_err(|error| told(&error))?;
        let stdio = [
            null.try_clone().map_err(|error| told(&error))?.into(),
            out,
            null.into(),
        ];
        let directory = self.settings.directory.join(&probe.directory);
        let id = self
            .workload
            .probe(probe.question, directory, stdio)
            .await
            .map_err(|error| error.message)?;
        Ok(Looking {
            id,
            due: Instant::now() + limit,
            is_overdue: false,
            answer: self.pumps.spawn(read(answer)),
        })
    }

    /// Kills a look that takes too long; its report comes all the same.
    pub(super) async fn end_look(&mut self) {
        if let Some(looking) = &mut self.looking {
            looking.due = Instant::now() + MARGIN;
            looking.is_overdue = true;
            if let Err(error) = self.workload.kill_launch(looking.id).await {
                tracing::debug!(%error, "a look that took too long has ended");
            }
        }
    }

    /// Gives up a look for the end of the run: its process is ours, and must not be counted among what the workload left.
    pub(super) async fn abandon_look(&mut self) {
        let Some(looking) = self.looking.take() else {
            return;
        };
        if let Err(error) = self.workload.kill_launch(looking.id).await {
            tracing::debug!(%error, "a look that is not waited for has ended");
            return;
        }
        let until = Instant::now() + ABANDON_LIMIT;
        loop {
            match tokio::time::timeout_at(until, self.workload.next_report()).await {
                Ok(Ok(report)) if report.launch == looking.id => return,
                Ok(Ok(report)) => self.take_late_report(&report).await,
                Ok(Err(_)) => return,
                Err(_) => {
                    tracing::debug!("a look was killed and is not reaped yet");
                    return;
                }
            }
        }
    }

    /// Takes the answer of a look whose process has ended.
    pub(super) async fn take_look(&mut self, exit: Exit) {
        let Some(looking) = self.looking.take() else {
            return;
        };
        // A look may be silent; what follows it may not.
        self.quiet_until.send_replace(Instant::now());
        let answer = tokio::time::timeout(ANSWER_LIMIT, looking.answer).await;
        let seen = match answer {
            Ok(Ok(Ok(bytes))) => match stockade_sandbox::Seen::from_wire(&bytes) {
                Ok(seen) => readable(seen, &self.redactor),
                // It was killed before it had one, by us if it was due.
                Err(_) => Seen::Failed {
                    why: if looking.is_overdue {
                        "no answer in time".to_owned()
                    } else {
                        format!("the look {}", exit.describe())
                    },
                },
            },
            Ok(Ok(Err(error))) => Seen::Failed {
                why: error.to_string(),
            },
            Ok(Err(error)) => Seen::Failed {
                why: error.to_string(),
            },
            Err(_) => Seen::Failed {
                why: "no answer in time".to_owned(),
            },
        };
        self.waiting.push_back(Observation::Probed(seen));
    }
}

/// Reads what a look wrote.
pub(super) async fn read(answer: OwnedFd) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe::Receiver::from_owned_fd(answer)?
        .take(MAX_ANSWER_BYTES as u64)
        .read_to_end(&mut bytes)
        .await?;
    Ok(bytes)
}

/// The form for the agent: what goes on record has no secret.
fn readable(seen: stockade_sandbox::Seen, redactor: &Redactor) -> Seen {
    let text = |bytes: Vec<u8>, is_whole: bool| {
        let clean = redactor.redact_bytes(&bytes);
        let clean = String::from_utf8_lossy(&clean).into_owned();
        match is_whole {
            true => Excerpt::whole(clean),
            false => Excerpt::cut(clean, String::new()),
        }
    };
    match seen {
        stockade_sandbox::Seen::Nothing => Seen::Nothing,
        stockade_sandbox::Seen::File { content, is_whole } => Seen::File {
            text: text(content, is_whole),
        },
        stockade_sandbox::Seen::Other { kind } => Seen::Other { kind },
        stockade_sandbox::Seen::Answer {
            status,
            body,
            is_whole,
        } => Seen::Answer {
            status,
            body: text(body, is_whole),
        },
        // No playbook asks for that.
        stockade_sandbox::Seen::Connected => Seen::Nothing,
        stockade_sandbox::Seen::Failed { why } => Seen::Failed { why },
    }
}
