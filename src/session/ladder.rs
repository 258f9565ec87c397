//! The clock of a stop: how long the workload may take to end by itself, and the one loop that waits by it.
//!
//! Owns the rule that requests only shorten what is left. It asks nobody to end and kills nothing. Invariant: whatever is
//! waited for, requests are heard and reports are taken meanwhile, and nobody is waited for beyond the clock.

use std::time::Duration;

use tokio::time::Instant;

use super::ending::{COUNT_INTERVAL, KILL_LIMIT, PERSIST_RESERVE, SECOND_SIGNAL_GRACE};
use super::{IN_HAND_LIMIT, Session};
use crate::control::{StopAnswer, StopCall, StopCause, StopRequest};
use crate::event::HookName;

/// Longest time that processes get which the command left behind, once the command itself has ended.
const LEFTOVER_GRACE: Duration = Duration::from_secs(1);

/// How long the workload may take to end by itself.
#[derive(Debug)]
pub(super) struct Ladder {
    /// When that time was set: at the beginning, or when it was made shorter.
    set_at: Instant,
    kill_at: Instant,
    n_signals: u32,
}

impl Ladder {
    pub(super) fn new(begun: Instant, grace: Duration) -> Self {
        // A short grace is shared between asking and killing.
        let asking = grace
            .saturating_sub(PERSIST_RESERVE + KILL_LIMIT)
            .max(grace / 2);
        Self {
            set_at: begun,
            kill_at: begun + asking,
            n_signals: 0,
        }
    }

    /// Takes a request; time only becomes shorter. Signals are counted alone, as the guardian counts them: a caller of the API
    /// who asks again asks the same, a signal that is repeated is impatience.
    pub(super) fn note(&mut self, request: &StopRequest) {
        let shortened = match request.cause {
            StopCause::Api => request.grace,
            StopCause::Signal { .. } => {
                self.n_signals += 1;
                match self.n_signals {
                    1 => request.grace,
                    2 => Some(SECOND_SIGNAL_GRACE),
                    _ => Some(Duration::ZERO),
                }
            }
        };
        let now = Instant::now();
        if let Some(kill_at) = shortened.map(|grace| now + grace)
            && kill_at < self.kill_at
        {
            self.kill_at = kill_at;
            self.set_at = now;
        }
    }

    /// How many signals were taken.
    pub(super) fn n_signals(&self) -> u32 {
        self.n_signals
    }

    /// When the agent's time ends if it keeps `reserve` for what comes later, at most half of the whole.
    fn agent_until(&self, reserve: Duration) -> Instant {
        let whole = self.kill_at.saturating_duration_since(self.set_at);
        self.kill_at - reserve.min(whole / 2)
    }

    /// As [`Ladder::left`], of a time that keeps `reserve` for what comes later, at most half of the whole.
    pub(super) fn left_before(
        &self,
        reserve: Duration,
        main_ended_at: Option<Instant>,
    ) -> Option<Duration> {
        let earlier = Self {
            kill_at: self.agent_until(reserve),
            ..*self
        };
        earlier.left(main_ended_at)
    }

    /// What is left for a hook that runs before the agent is asked, by the time as it stands now: the agent keeps half of its
    /// own, however much of it was taken away meanwhile.
    pub(super) fn left_before_agent(&self, reserve: Duration) -> Option<Duration> {
        let agents = self
            .agent_until(reserve)
            .saturating_duration_since(self.set_at);
        let earlier = Self {
            kill_at: self.set_at + agents / 2,
            ..*self
        };
        earlier.left(None)
    }

    /// What is left of the grace; none when it is over. Processes that outlive the command get less.
    pub(super) fn left(&self, main_ended_at: Option<Instant>) -> Option<Duration> {
        let leftovers = main_ended_at.map(|ended| ended + LEFTOVER_GRACE);
        let until = leftovers.map_or(self.kill_at, |leftovers| leftovers.min(self.kill_at));
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

/// Whose end a stop waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// The process that was launched last, and then all that was not launched apart.
    Agent,
    /// The program of the service at this place, and then all that it started.
    Service(usize),
    /// The hook that runs, alone: what it leaves is killed.
    Hook(HookName),
}

impl Session {
    /// Waits until that has ended, for as long as `left` says: it is given when the process itself ended.
    pub(super) async fn await_end(
        &mut self,
        of: Awaited,
        ladder: &mut Ladder,
        left: impl Fn(&Ladder, Option<Instant>) -> Option<Duration>,
    ) {
        // What the agent reports on its way out belongs to the record, and it must not wait for the session.
        let takes_lines = match of {
            Awaited::Agent | Awaited::Hook(HookName::PreStop) => true,
            Awaited::Service(_) | Awaited::Hook(HookName::PostRun) => false,
        };
        let mut ended_at = None;
        loop {
            if self.has_ended(of) {
                ended_at.get_or_insert_with(Instant::now);
                if self.processes_left_of(of).await == Some(0) {
                    return;
                }
            }
            let Some(left) = left(ladder, ended_at).filter(|left| !left.is_zero()) else {
                return;
            };
            let pause = match ended_at {
                Some(_) => left.min(COUNT_INTERVAL),
                None => left,
            };
            // All arms are cancel safe: requests, reports and lines wait in their channels.
            tokio::select! {
                biased;
                Some(StopCall { request, answer }) = self.calls.recv() => {
                    ladder.note(&request);
                    // Who does not wait for the answer any more has not asked for one.
                    let _ = answer.send(StopAnswer::Stopping);
                }
                report = self.workload.next_report() => match report {
                    Ok(report) => self.take_late_report(&report).await,
                    Err(error) => {
                        tracing::debug!(%error, "nothing is waited for, the sandbox is gone");
                        return;
                    }
                },
                Some(observation) = super::next_observation(&mut self.observations), if takes_lines => {
                    // What the agent decides now comes too late. A full disk must not hold the ladder.
                    let _ = tokio::time::timeout(IN_HAND_LIMIT, self.tell(observation)).await;
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Waits for the report of a process that was killed, for at most [`KILL_LIMIT`].
    pub(super) async fn await_killed(&mut self, of: Awaited) {
        let until = Instant::now() + KILL_LIMIT;
        while !self.has_ended(of) {
            match tokio::time::timeout_at(until, self.workload.next_report()).await {
                Ok(Ok(report)) => self.take_late_report(&report).await,
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    fn has_ended(&self, of: Awaited) -> bool {
        match of {
            Awaited::Agent => !self.is_running(),
            Awaited::Service(idx) => self.exit_of_service(idx).is_some(),
            Awaited::Hook(_) => self.hook.is_none_or(|hook| hook.exit.is_some()),
        }
    }

    /// How many processes are waited for once the first has ended; none when that cannot be known.
    async fn processes_left_of(&self, of: Awaited) -> Option<u32> {
        match of {
            Awaited::Agent if self.services.are_any() => self.workload.processes_of_rest().await,
            Awaited::Agent => self.workload.processes().await,
            // Where the number is not known, nobody is waited for.
            Awaited::Service(idx) => match self.launch_of_service(idx) {
                Some(id) => Some(self.workload.processes_of(id).await.unwrap_or(0)),
                None => Some(0),
            },
            Awaited::Hook(_) => Some(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(cause: StopCause, grace: Option<Duration>) -> StopRequest {
        StopRequest {
            cause,
            reason: None,
            grace,
        }
    }

    const SIGNAL: StopCause = StopCause::Signal {
        signo: 15,
        sender: None,
    };

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_leaves_a_second_and_a_third_nothing() {
        let mut ladder = Ladder::new(Instant::now(), Duration::from_secs(8));
        ladder.note(&request(SIGNAL, None));
        assert_eq!(ladder.left(None), Some(Duration::from_secs(6)));
        ladder.note(&request(SIGNAL, None));
        assert_eq!(ladder.left(None), Some(SECOND_SIGNAL_GRACE));
        ladder.note(&request(SIGNAL, None));
        assert_eq!(ladder.left(None), None);
    }

    #[tokio::test(start_paused = true)]
    async fn signals_are_counted_and_requests_through_the_api_are_not() {
        let api = |grace| request(StopCause::Api, grace);
        let six = Some(Duration::from_secs(6));
        let mut ladder = Ladder::new(Instant::now(), Duration::from_secs(8));
        for (request, left) in [
            (api(None), six),
            (api(None), six),
            (request(SIGNAL, None), six),
            (api(None), six),
            (
                api(Some(Duration::from_secs(5))),
                Some(Duration::from_secs(5)),
            ),
            (request(SIGNAL, None), Some(SECOND_SIGNAL_GRACE)),
            (api(None), Some(SECOND_SIGNAL_GRACE)),
            (request(SIGNAL, None), None),
        ] {
            ladder.note(&request);
            assert_eq!(ladder.left(None), left, "{request:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_hook_before_the_agent_leaves_it_half_of_its_time_also_when_that_is_shortened() {
        let seconds = Duration::from_secs_f64;
        for (reserve, agent, hook, hurried_agent, hurried_hook) in
            [(0.0, 6.0, 3.0, 1.0, 0.5), (2.0, 4.0, 2.0, 0.5, 0.25)]
        {
            let reserve = seconds(reserve);
            let mut ladder = Ladder::new(Instant::now(), Duration::from_secs(8));
            assert_eq!(ladder.left_before(reserve, None), Some(seconds(agent)));
            assert_eq!(ladder.left_before_agent(reserve), Some(seconds(hook)));
            tokio::time::advance(seconds(1.5)).await;
            ladder.note(&request(SIGNAL, None));
            ladder.note(&request(SIGNAL, None));
            assert_eq!(
                ladder.left_before(reserve, None),
                Some(seconds(hurried_agent))
            );
            assert_eq!(
                ladder.left_before_agent(reserve),
                Some(seconds(hurried_hook))
            );
            tokio::time::advance(seconds(hurried_hook)).await;
            assert_eq!(ladder.left_before_agent(reserve), None);
            assert!(ladder.left_before(reserve, None).is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_may_only_shorten_the_grace() {
        let mut ladder = Ladder::new(Instant::now(), Duration::from_secs(8));
        ladder.note(&request(StopCause::Api, Some(Duration::from_secs(3))));
        assert_eq!(ladder.left(None), Some(Duration::from_secs(3)));
        ladder.note(&request(StopCause::Api, Some(Duration::from_secs(60))));
        ladder.note(&request(StopCause::Api, None));
        assert_eq!(ladder.left(None), Some(Duration::from_secs(3)));
        ladder.note(&request(StopCause::Api, Some(Duration::ZERO)));
        assert_eq!(ladder.left(None), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_picture_of_a_stop_has_the_times_of_the_code() {
        let page = include_str!("../../docs/operations.md");
        let grace = Duration::from_secs(8);
        let ladder = Ladder::new(Instant::now(), grace);
        let kill = ladder.left(None).unwrap();
        let least = ladder.left_before(grace, None).unwrap();
        let persisted = grace - PERSIST_RESERVE;
        assert_eq!(persisted, kill + KILL_LIMIT);
        for (at, what) in [
            (Duration::ZERO, "┬ guardian     passes the signal on"),
            (least, "┼ sandbox      the agent's time is over, if"),
            (kill, "┼ sandbox      everything is killed"),
            (persisted, "┼ supervisor   nothing is left"),
            (grace, "┼ supervisor   tells the exit code"),
        ] {
            let line = format!("\n{:>3} s {what}", at.as_secs());
            assert!(page.contains(&line), "{line}");
        }
        let step = format!(
            "a step takes at most {} s",
            super::super::recorder::PERSIST_STEP_LIMIT.as_secs_f64()
        );
        assert!(page.contains(&step), "{step}");
        let second = format!("A second signal leaves {} s", SECOND_SIGNAL_GRACE.as_secs());
        assert!(page.contains(&second), "{second}");
    }
}
