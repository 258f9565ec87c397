//! Whether a service is ready: one look after another, from inside the sandbox.
//!
//! Owns the looks that are under way. A look is a launch of its own, with the identity, network and files of the workload, and
//! is killed when it takes too long; nothing of it is left when the next one begins. Invariant: a service has at most one.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use stockade_sandbox::{LaunchId, Probe, Seen};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::Session;
use super::super::probing::read;
use super::{CLEAR_LIMIT, Due, State, nothing};
use crate::agent::{Exit, NotStarted};
use crate::description::service::ReadyCheck;
use crate::playbook::url::LoopbackUrl;
use crate::session::workload::chain;

/// Pause before the second look; each is twice the one before.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// Longest pause between two looks.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Time for one look: a service that answers more slowly is not ready.
pub(super) const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Time for the answer of a look that has ended.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// The looks at one service that starts.
#[derive(Debug)]
pub(super) struct Looks {
    deadline: Instant,
    timeout: Duration,
    next: Instant,
    pause: Duration,
    under_way: Option<Look>,
    /// What the last one found, in one clause.
    last: String,
}

/// A look that is under way.
#[derive(Debug)]
struct Look {
    id: LaunchId,
    due: Instant,
    is_overdue: bool,
    /// What a probe writes; a command says all by its exit.
    answer: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl Looks {
    pub(super) fn new(timeout: Duration) -> Self {
        let now = Instant::now();
        Self {
            deadline: now + timeout,
            timeout,
            next: now,
            pause: FIRST_PAUSE,
            under_way: None,
            last: "nobody has looked yet".to_owned(),
        }
    }

    pub(super) fn under_way(&self) -> Option<LaunchId> {
        self.under_way.as_ref().map(|look| look.id)
    }

    pub(super) fn due(&self) -> (Instant, Due) {
        let (at, due) = match &self.under_way {
            None => (self.next, Due::Look),
            Some(look) if look.is_overdue => (self.deadline, Due::GiveUp),
            Some(look) => (look.due, Due::EndLook),
        };
        if self.deadline <= at {
            (self.deadline, Due::GiveUp)
        } else {
            (at, due)
        }
    }

    /// Its times are later by what the run has stood still.
    pub(super) fn stood(&mut self, time: Duration) {
        self.deadline += time;
        self.next += time;
        if let Some(look) = &mut self.under_way {
            look.due += time;
        }
    }

    /// Why the service is given up.
    pub(super) fn fault(&self) -> String {
        let seconds = self.timeout.as_secs();
        format!(
            "it was not ready within {seconds} s; the last look: {}",
            self.last
        )
    }

    /// Notes what a look found, and when the next one is due.
    fn note(&mut self, found: String) {
        self.last = found;
        self.next = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

impl Session {
    /// Begins a look at a service that starts.
    pub(super) async fn look_at_service(&mut self, idx: usize) {
        let Some(held) = self.services.held.get(idx) else {
            return;
        };
        let Some(ready) = held.service.ready.clone() else {
            return;
        };
        let begun = match &ready.check {
            ReadyCheck::Exec(command) => {
                let environment = self.environment_of(&held.service);
                self.begin_command(command, environment).await
            }
            ReadyCheck::Http(url) => match LoopbackUrl::parse(url) {
                Ok(url) => {
                    let probe = Probe::Http {
                        addresses: vec![url.address],
                        host: url.host,
                        target: url.target,
                        timeout: LOOK_LIMIT,
                    };
                    self.begin_probe(probe).await
                }
                Err(error) => Err(error.to_string()),
            },
            ReadyCheck::Tcp(port) => {
                let addresses = vec![
                    SocketAddr::from((Ipv4Addr::LOCALHOST, *port)),
                    SocketAddr::from((Ipv6Addr::LOCALHOST, *port)),
                ];
                let timeout = LOOK_LIMIT;
                self.begin_probe(Probe::Tcp { addresses, timeout }).await
            }
            ReadyCheck::File(path) => {
                let path = path.into();
                self.begin_probe(Probe::File { path }).await
            }
        };
        let Some(State::Starting(looks)) = self.state_of_service(idx) else {
            return;
        };
        match begun {
            Ok(look) => looks.under_way = Some(look),
            Err(why) => looks.note(why),
        }
    }

    fn state_of_service(&mut self, idx: usize) -> Option<&mut State> {
        let held = self.services.held.get_mut(idx)?;
        Some(&mut held.state)
    }

    async fn begin_command(
        &self,
        command: &[String],
        env: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<Look, String> {
        let stdio = (|| Ok([nothing()?, nothing()?, nothing()?]))();
        let stdio = stdio.map_err(|error: io::Error| chain(&error))?;
        let launch = stockade_sandbox::Launch {
            argv: command.iter().map(Into::into).collect(),
            env,
            cwd: self.settings.directory.clone(),
            stdio,
            extra: Vec::new(),
        };
        let launched = self.workload.launch_apart(launch).await;
        Ok(Look::begun(launched.map_err(why)?, None))
    }

    async fn begin_probe(&self, probe: Probe) -> Result<Look, String> {
        let told = |error: &dyn std::error::Error| chain(error);
        let pipe = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC);
        let (answer, out) = pipe.map_err(|error| told(&error))?;
        let null = || nothing().map_err(|error| told(&error));
        let stdio = [null()?, out, null()?];
        let directory = self.settings.directory.clone();
        let launched = self.workload.probe(probe, directory, stdio).await;
        let id = launched.map_err(why)?;
        Ok(Look::begun(
            id,
            Some(self.services.pumps.spawn(read(answer))),
        ))
    }

    /// Takes a look that has ended; true when the service is ready.
    pub(super) async fn take_look_at_service(&mut self, idx: usize, exit: Exit) -> bool {
        let Some(State::Starting(looks)) = self.state_of_service(idx) else {
            return false;
        };
        let Some(look) = looks.under_way.take() else {
            return false;
        };
        let found = match look.answer {
            None => {
                // What the command left behind goes with it.
                if let Err(error) = self.workload.end_tree(look.id, CLEAR_LIMIT).await {
                    tracing::debug!(%error, "a look at a service left something behind");
                }
                match exit.is_success() {
                    true => Ok(()),
                    false => Err(format!("the command {}", exit.describe())),
                }
            }
            Some(answer) => found(answer).await,
        };
        match found {
            Ok(()) => true,
            Err(why) => {
                let why = match look.is_overdue {
                    true => format!("no answer within {} s", LOOK_LIMIT.as_secs()),
                    false => why,
                };
                if let Some(State::Starting(looks)) = self.state_of_service(idx) {
                    looks.note(why);
                }
                false
            }
        }
    }

    /// Kills a look that takes too long; its report comes all the same.
    pub(super) async fn end_look_at_service(&mut self, idx: usize) {
        let Some(State::Starting(looks)) = self.state_of_service(idx) else {
            return;
        };
        let Some(look) = &mut looks.under_way else {
            return;
        };
        look.is_overdue = true;
        let (id, is_command) = (look.id, look.answer.is_none());
        self.kill_look(id, is_command).await;
    }

    /// Kills a look for whose answer nobody waits any more.
    pub(super) async fn give_up_look(&mut self, idx: usize) {
        let Some(State::Starting(looks)) = self.state_of_service(idx) else {
            return;
        };
        let Some(look) = looks.under_way.take() else {
            return;
        };
        self.services.given_up.push(look.id);
        self.kill_look(look.id, look.answer.is_none()).await;
    }

    async fn kill_look(&self, id: LaunchId, is_command: bool) {
        let killed = match is_command {
            true => self.workload.signal_tree(id, nix::libc::SIGKILL).await,
            false => self.workload.kill_launch(id).await,
        };
        if let Err(error) = killed {
            tracing::debug!(%error, "a look at a service has ended");
        }
    }

    /// Takes the end of a look that was given up.
    pub(super) async fn forget_look(&mut self, id: LaunchId) {
        self.services.given_up.retain(|known| *known != id);
        // Only a command has something to let go of.
        let _ = self.workload.end_tree(id, CLEAR_LIMIT).await;
    }
}

impl Look {
    fn begun(id: LaunchId, answer: Option<JoinHandle<io::Result<Vec<u8>>>>) -> Self {
        Self {
            id,
            due: Instant::now() + LOOK_LIMIT,
            is_overdue: false,
            answer,
        }
    }
}

fn why(error: NotStarted) -> String {
    error.message
}

/// What a probe saw: nothing to complain of, or why the service is not ready.
async fn found(answer: JoinHandle<io::Result<Vec<u8>>>) -> Result<(), String> {
    let answer = tokio::time::timeout(ANSWER_LIMIT, answer).await;
    let bytes = match answer {
        Ok(Ok(Ok(bytes))) => bytes,
        Ok(Ok(Err(error))) => return Err(error.to_string()),
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err("no answer in time".to_owned()),
    };
    let seen = Seen::from_wire(&bytes).map_err(|_| "the look was cut off".to_owned())?;
    match seen {
        Seen::File { .. } | Seen::Other { .. } | Seen::Connected => Ok(()),
        Seen::Answer { status, .. } if status < 400 => Ok(()),
        Seen::Answer { status, .. } => Err(format!("it answered with the status {status}")),
        Seen::Nothing => Err("there is no such file".to_owned()),
        Seen::Failed { why } => Err(why),
    }
}
