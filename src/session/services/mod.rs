//! Services: programs beside the agent, in its sandbox, from before its start until after its end.
//!
//! Owns their launches, their states and their output; when one is ready is looked at in `readiness`, whether it is started
//! again is decided in `restarting`, and they are stopped by `stopping`. They are no actions: they take no step, tell the
//! agent nothing, and are no sign of life of the run. Invariants: a service begins when the one before is ready or given up,
//! the agent when all are; what a service leaves behind ends with it.
//!
//! ```text
//!              started            ready
//!   waiting ───────────▶ starting ─────▶ ready
//!                         ▲    │          │
//!                   pause │    │ ended, or too slow
//!                         │    ▼          ▼
//!                         └── pausing ◀── ended ──▶ gone (required: the run ends)
//! ```

pub(super) mod readiness;
pub mod restarting;
mod standing;
mod stopping;

use std::sync::Arc;
use std::time::Duration;

use stockade_sandbox::LaunchId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::console::{Use, pipe};
use super::limits::LOOK_INTERVAL;
use super::output::{Destination, Pump};
use super::{CUT_LIMIT, End, Session};
use crate::agent::{Exit, SandboxState};
use crate::cast::{Cast, LineEnds, ScreenStream};
use crate::description;
use crate::event::{Event, Level, Service, ServiceState, Stream};
use crate::redact::StreamRedactor;
use readiness::Looks;
use restarting::{Ended, next_pause};

/// Longest time for killing what a program that has ended left behind; milliseconds for a thousand processes.
const CLEAR_LIMIT: Duration = Duration::from_secs(1);

/// A service that the run cannot do without is gone.
#[derive(Debug)]
pub struct Lost {
    /// Its name.
    pub service: String,
    /// Why, in one clause.
    pub why: String,
    /// Whether the agent had begun.
    pub is_late: bool,
}

/// The services of a run.
#[derive(Debug, Default)]
pub struct Services {
    held: Vec<Held>,
    /// How many have come up or were given up, in their order; the next one is being begun.
    n_begun: usize,
    pumps: TaskTracker,
    cut: CancellationToken,
    /// Looks that nobody waits for any more, and whose end was not reported yet.
    given_up: Vec<LaunchId>,
}

/// One of them.
#[derive(Debug)]
struct Held {
    service: description::Service,
    /// Its program, until what it left is cleared away.
    launch: Option<LaunchId>,
    state: State,
    started_at: Instant,
    ready_at: Option<Instant>,
    n_restarts: u32,
    last_pause: Option<Duration>,
    /// Why its program is killed; none when it ends by itself.
    fault: Option<String>,
}

/// Where one is.
#[derive(Debug)]
enum State {
    /// Not begun.
    Waiting,
    /// Its program runs, and it is looked whether it is ready.
    Starting(Looks),
    Ready,
    /// Its program took too long to get ready and is killed.
    Ending,
    /// It is started again then.
    Pausing(Instant),
    /// It is being stopped.
    Stopping,
    /// Its program has ended in a stop.
    Ended(Exit),
    /// It never comes back.
    Gone,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Start,
    Look,
    EndLook,
    GiveUp,
}

/// Which launch of a service a report is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The program.
    Program(usize),
    /// A look whether it is ready.
    Look(usize),
    /// A look that nobody waits for any more.
    GivenUp(LaunchId),
}

impl Held {
    fn new(service: description::Service) -> Self {
        Self {
            service,
            launch: None,
            state: State::Waiting,
            started_at: Instant::now(),
            ready_at: None,
            n_restarts: 0,
            last_pause: None,
            fault: None,
        }
    }

    /// What is to be done next if nothing happens, and when.
    fn due(&self) -> Option<(Instant, Due)> {
        match &self.state {
            State::Starting(looks) => Some(looks.due()),
            State::Pausing(until) => Some((*until, Due::Start)),
            State::Waiting
            | State::Ready
            | State::Ending
            | State::Stopping
            | State::Ended(_)
            | State::Gone => None,
        }
    }

    fn entered(&self, state: ServiceState) -> Service {
        Service {
            restarts: u64::from(self.n_restarts),
            ..Service::entered(&self.service.name, state)
        }
    }
}

impl Services {
    /// Services that have not begun, in their order.
    pub fn new(services: &[description::Service]) -> Self {
        Self {
            held: services.iter().cloned().map(Held::new).collect(),
            ..Self::default()
        }
    }

    /// Whether there are any.
    pub fn are_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether the agent may begin.
    pub(super) fn are_up(&self) -> bool {
        self.n_begun >= self.held.len()
    }

    /// When something has to be done about one of them.
    pub(super) fn due(&self) -> Option<Instant> {
        let dues = self.held.iter().filter_map(Held::due);
        dues.map(|(at, _)| at).min()
    }

    /// Whose launch that is; none when it is no service's.
    pub(super) fn whose(&self, launch: LaunchId) -> Option<Whose> {
        if self.given_up.contains(&launch) {
            return Some(Whose::GivenUp(launch));
        }
        let is_program = |held: &Held| held.launch == Some(launch);
        if let Some(idx) = self.held.iter().position(is_program) {
            return Some(Whose::Program(idx));
        }
        let is_look = |held: &Held| match &held.state {
            State::Starting(looks) => looks.under_way() == Some(launch),
            _ => false,
        };
        self.held.iter().position(is_look).map(Whose::Look)
    }

    /// Reads what is left of their output; nothing holds their pipes any more.
    pub(super) async fn close_output(&self) {
        self.pumps.close();
        let ended = tokio::time::timeout(CUT_LIMIT, self.pumps.wait()).await;
        if ended.is_err() {
            self.cut.cancel();
            if tokio::time::timeout(CUT_LIMIT, self.pumps.wait())
                .await
                .is_err()
            {
                tracing::warn!("the rest of the output of services was not read in time");
            }
        }
    }
}

impl Session {
    /// Begins the services that may begin now; an end when a required one cannot.
    pub(super) async fn begin_services(&mut self) -> Option<End> {
        if self.services.are_up() {
            return None;
        }
        // The agent cannot do anything yet: no silence of its is counted.
        let deadline = self.settings.began + self.settings.timeout;
        self.quiet_until.send_replace(deadline);
        while let Some(held) = self.services.held.get(self.services.n_begun) {
            if !matches!(held.state, State::Waiting) {
                return None;
            }
            if self.interrupt.is_cancelled() {
                return None;
            }
            let idx = self.services.n_begun;
            if let Some(end) = self.start_service(idx).await {
                return Some(end);
            }
        }
        self.quiet_until.send_replace(Instant::now());
        None
    }

    /// Does what is due about services.
    pub(super) async fn hurry_services(&mut self) -> Option<End> {
        for idx in 0..self.services.held.len() {
            let now = Instant::now();
            let due = self.services.held.get(idx).and_then(Held::due);
            let Some((_, due)) = due.filter(|(at, _)| *at <= now) else {
                continue;
            };
            match due {
                Due::Start => {
                    if let Some(end) = self.start_service(idx).await {
                        return Some(end);
                    }
                }
                Due::Look => self.look_at_service(idx).await,
                Due::EndLook => self.end_look_at_service(idx).await,
                Due::GiveUp => self.give_up_service(idx).await,
            }
        }
        self.begin_services().await
    }

    /// Takes the end of a launch of a service.
    pub(super) async fn take_report_of_service(&mut self, whose: Whose, exit: Exit) -> Option<End> {
        match whose {
            Whose::Program(idx) => {
                if let Some(end) = self.service_ended(idx, exit).await {
                    return Some(end);
                }
            }
            Whose::Look(idx) => {
                if self.take_look_at_service(idx, exit).await {
                    self.service_is_ready(idx);
                }
            }
            Whose::GivenUp(id) => self.forget_look(id).await,
        }
        self.begin_services().await
    }

    /// Starts the program of a service.
    async fn start_service(&mut self, idx: usize) -> Option<End> {
        let held = self.services.held.get_mut(idx)?;
        let event = held.entered(ServiceState::Starting);
        let (service, name) = (held.service.clone(), held.service.name.clone());
        (held.started_at, held.ready_at, held.fault) = (Instant::now(), None, None);
        self.recorder.append(Event::Service(event));
        let streams = nothing().and_then(|stdin| {
            let (stdout, out) = pipe(Use::Output)?;
            let (stderr, err) = pipe(Use::Output)?;
            Ok(([stdin, out, err], stdout, stderr))
        });
        let (stdio, stdout, stderr) = match streams {
            Ok(streams) => streams,
            Err(error) => {
                let why = format!("its standard streams cannot be opened: {error}");
                return self.lose_service(idx, why);
            }
        };
        let launch = stockade_sandbox::Launch {
            argv: service.command.iter().map(Into::into).collect(),
            env: self.environment_of(&service),
            cwd: self.settings.directory.clone(),
            stdio,
            extra: Vec::new(),
        };
        let id = match self.workload.launch_apart(launch).await {
            Ok(id) => id,
            Err(why) => match why.sandbox {
                SandboxState::Lost => return Some(End::SandboxGone(why.message)),
                SandboxState::Works => return self.lose_service(idx, why.message),
            },
        };
        if self.limits_due.is_none() && self.workload.reading().is_some() {
            self.limits_due = Some(Instant::now() + LOOK_INTERVAL);
        }
        self.pump_service(&name, Stream::Stdout, stdout);
        self.pump_service(&name, Stream::Stderr, stderr);
        let held = self.services.held.get_mut(idx)?;
        held.launch = Some(id);
        match &service.ready {
            None => self.service_is_ready(idx),
            Some(ready) => {
                held.state = State::Starting(Looks::new(ready.timeout));
                self.look_at_service(idx).await;
            }
        }
        None
    }

    /// The environment of the workload, with that of the service above it.
    fn environment_of(
        &self,
        service: &description::Service,
    ) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
        let mut environment = self.settings.environment.clone();
        environment.retain(|(name, _)| {
            name.to_str()
                .is_none_or(|name| !service.env.contains_key(name))
        });
        let own = service.env.iter();
        environment.extend(own.map(|(name, value)| (name.into(), value.into())));
        environment
    }

    fn pump_service(&self, service: &str, stream: Stream, pipe: std::os::fd::OwnedFd) {
        let pump = Pump {
            stream,
            destination: Destination::Service {
                service: service.to_owned(),
            },
            settle: None,
            result_lines: None,
            redactor: StreamRedactor::new(&self.redactor),
            log: self.recorder.log().clone(),
            budget: Arc::clone(&self.budget),
            screen: ScreenStream::new(Cast::off(), LineEnds::Translated),
        };
        let run = pump.run(pipe, tokio::io::sink(), self.services.cut.clone());
        self.services.pumps.spawn(async move {
            if let Err(error) = run.await {
                tracing::warn!(%error, "output of a service was not read to its end");
            }
        });
    }

    fn service_is_ready(&mut self, idx: usize) {
        let Some(held) = self.services.held.get_mut(idx) else {
            return;
        };
        held.state = State::Ready;
        held.ready_at = Some(Instant::now());
        let event = Service {
            duration_ms: Some(super::journal::millis(held.started_at.elapsed())),
            ..held.entered(ServiceState::Ready)
        };
        if idx == self.services.n_begun {
            self.services.n_begun += 1;
        }
        self.recorder.append(Event::Service(event));
    }

    /// Kills the program of a service that did not get ready in time; its end is reported.
    async fn give_up_service(&mut self, idx: usize) {
        self.give_up_look(idx).await;
        let Some(held) = self.services.held.get_mut(idx) else {
            return;
        };
        let State::Starting(looks) = &held.state else {
            return;
        };
        held.fault = Some(looks.fault());
        held.state = State::Ending;
        if let Some(id) = held.launch
            && let Err(error) = self.workload.signal_tree(id, nix::libc::SIGKILL).await
        {
            tracing::debug!(%error, "a service that was not ready in time has ended");
        }
    }

    /// Takes the end of the program of a service while the run goes on.
    async fn service_ended(&mut self, idx: usize, exit: Exit) -> Option<End> {
        self.journal.add_usage(&exit);
        self.give_up_look(idx).await;
        self.clear_service(idx).await;
        let held = self.services.held.get_mut(idx)?;
        let fault = held.fault.take();
        let ended = Ended {
            is_success: fault.is_none() && exit.is_success(),
            ready_for: held.ready_at.map(|at| at.elapsed()).unwrap_or_default(),
            n_restarts: held.n_restarts,
            last_pause: held.last_pause,
        };
        let event = Service {
            reason: fault.clone(),
            exit_code: exit.code,
            signal: exit.signal,
            duration_ms: Some(super::journal::millis(exit.duration)),
            ..held.entered(ServiceState::Exited)
        };
        self.recorder.append(Event::Service(event));
        let Some(pause) = next_pause(&held.service, ended) else {
            let why = fault.unwrap_or_else(|| format!("its program {}", exit.describe()));
            let why = match held.n_restarts {
                0 => why,
                n => format!("{why}, after it was started again {n} times"),
            };
            return self.lose_service(idx, why);
        };
        held.n_restarts += 1;
        held.last_pause = Some(pause);
        held.state = State::Pausing(Instant::now() + pause);
        let event = Service {
            delay_ms: Some(super::journal::millis(pause)),
            ..held.entered(ServiceState::Restarting)
        };
        self.recorder.append(Event::Service(event));
        None
    }

    /// Kills what the program of a service left behind; gives what was killed.
    async fn clear_service(&mut self, idx: usize) -> stockade_sandbox::KillReport {
        let Some(held) = self.services.held.get_mut(idx) else {
            return stockade_sandbox::KillReport::default();
        };
        let Some(id) = held.launch.take() else {
            return stockade_sandbox::KillReport::default();
        };
        let name = held.service.name.clone();
        let doubt = match self.workload.end_tree(id, CLEAR_LIMIT).await {
            Ok(report) if report.left == 0 => return report,
            Ok(report) => format!("{} processes could not be ended", report.left),
            Err(error) => error.to_string(),
        };
        let message = format!("the service {name} may have left processes: {doubt}");
        self.recorder.diagnose(Level::Warn, message);
        stockade_sandbox::KillReport::default()
    }

    /// Gives a service up for good; the end of the run where it is required.
    fn lose_service(&mut self, idx: usize, why: String) -> Option<End> {
        let why = self.journal.sentence(why);
        let held = self.services.held.get_mut(idx)?;
        held.state = State::Gone;
        let event = Service {
            reason: Some(why.clone()),
            ..held.entered(ServiceState::Failed)
        };
        let service = held.service.name.clone();
        let is_required = held.service.required;
        self.recorder.append(Event::Service(event));
        let is_late = self.services.are_up();
        if idx == self.services.n_begun {
            self.services.n_begun += 1;
        }
        is_required.then_some(End::ServiceLost(Lost {
            service,
            why,
            is_late,
        }))
    }
}

/// A descriptor that gives nothing and takes everything.
pub(super) fn nothing() -> std::io::Result<std::os::fd::OwnedFd> {
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    Ok(null.into())
}
