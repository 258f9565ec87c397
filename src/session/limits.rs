//! The limits of the workload while the run goes on: what the kernel counted, what is told of it, and who died of it.
//!
//! Owns the comparison of one look at the sandbox's control group with those before. Never kills, and never decides the end
//! of a run. Invariant: what the kernel refused or killed is told at the latest with the end of the launch in which it
//! happened, and each limit no more often than every [`TELL_AGAIN`].

use std::collections::VecDeque;
use std::time::Duration;

use stockade_sandbox::GroupReading;
use tokio::time::Instant;

use crate::agent::Exit;
use crate::event::lifecycle::{Isolation, Usage};
use crate::event::{Limit, LimitDecision, LimitRule};
use crate::run::Oom;

/// How often the group is looked at: a few small files of the kernel, read in well below a millisecond.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Shortest time between two events of one limit.
pub const TELL_AGAIN: Duration = Duration::from_secs(10);

/// Longest time between the kernel's kill of a process for its memory and the report of its death. A SIGKILL within it is that
/// kill; a kill that is older was another process's.
pub const DEATH_LIMIT: Duration = Duration::from_secs(2);

/// What was told of a limit.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    at: Option<Instant>,
    count: u64,
}

impl Told {
    /// How much more there is to tell, if it is time.
    fn more(&mut self, count: Option<u64>, now: Instant, is_last: bool) -> Option<u64> {
        let count = count?;
        let more = count.checked_sub(self.count).filter(|more| *more > 0)?;
        let is_early = self.at.is_some_and(|at| now < at + TELL_AGAIN);
        if is_early && !is_last {
            return None;
        }
        *self = Self {
            at: Some(now),
            count,
        };
        Some(more)
    }
}

/// Looks at the limits of one sandbox.
#[derive(Debug, Default)]
pub struct LimitWatch {
    memory_bytes: Option<u64>,
    pids: Option<u64>,
    at_launch: GroupReading,
    told_memory: Told,
    told_pids: Told,
    /// Counts of kills, the oldest first: the first is the newest that is older than [`DEATH_LIMIT`], or the launch's.
    kills: VecDeque<(Instant, u64)>,
    /// The highest of all peaks; each launch begins its own.
    peak_bytes: Option<u64>,
    last: GroupReading,
}

impl LimitWatch {
    /// A watch over the limits that a sandbox has.
    pub fn new(isolation: &Isolation) -> Self {
        let value = |name: &str| {
            let mut held = isolation.limits.iter().filter(|held| held.limit == name);
            held.next().map(|held| held.value)
        };
        Self {
            memory_bytes: value("memory"),
            pids: value("pids"),
            ..Self::default()
        }
    }

    /// Takes what was counted before a launch.
    pub fn begin(&mut self, reading: GroupReading, now: Instant) {
        self.at_launch = reading;
        self.kills = VecDeque::from([(now, reading.oom_kills.unwrap_or(0))]);
        self.note(reading);
    }

    /// Takes a look, and gives what is to be told of it.
    pub fn look(&mut self, reading: GroupReading, now: Instant) -> Vec<Limit> {
        if let Some(kills) = reading.oom_kills {
            self.kills.push_back((now, kills));
            let is_old = |look: Option<&(Instant, u64)>| {
                look.is_some_and(|(at, _)| now.duration_since(*at) >= DEATH_LIMIT)
            };
            while is_old(self.kills.get(1)) {
                self.kills.pop_front();
            }
        }
        self.note(reading);
        self.tell(now, false)
    }

    /// Takes the look behind the end of a launch: completes what it used, and says whether the kernel killed it for its
    /// memory.
    pub fn end(&mut self, reading: GroupReading, exit: &mut Exit, now: Instant) -> Vec<Limit> {
        self.note(reading);
        let since = |now: Option<u64>, then: Option<u64>| {
            now.unwrap_or(0).saturating_sub(then.unwrap_or(0))
        };
        let oom_kills = since(reading.oom_kills, self.at_launch.oom_kills);
        let throttled = reading.throttled.unwrap_or_default();
        let throttled = throttled.saturating_sub(self.at_launch.throttled.unwrap_or_default());
        exit.usage.peak_memory_bytes = reading.memory_peak_bytes;
        exit.usage.oom_kills = oom_kills;
        exit.usage.throttled_ms = millis(throttled);
        let before = self.kills.front().map(|(_, kills)| *kills);
        if exit.signal == Some(nix::libc::SIGKILL) && since(reading.oom_kills, before) > 0 {
            exit.oom = self.oom(reading.memory_peak_bytes, oom_kills);
        }
        self.tell(now, true)
    }

    /// What the record says of a kill for memory; none without a limit of it.
    pub fn oom(&self, peak_bytes: Option<u64>, kills: u64) -> Option<Oom> {
        let limit_bytes = self.memory_bytes?;
        Some(Oom {
            limit_bytes,
            peak_bytes,
            kills,
        })
    }

    /// The kill that took the sandbox itself, if one was counted since the last launch.
    pub fn oom_of_sandbox(&self, reading: GroupReading) -> Option<Oom> {
        let before = self.at_launch.oom_kills.unwrap_or(0);
        let kills = reading.oom_kills?.checked_sub(before).filter(|n| *n > 0)?;
        self.oom(reading.memory_peak_bytes, kills)
    }

    /// Completes what the run used.
    pub fn complete(&self, usage: &mut Usage) {
        usage.peak_memory_bytes = self.peak_bytes;
        usage.peak_pids = self.last.pids_peak;
        usage.oom_kills = self.last.oom_kills.unwrap_or(0);
        usage.throttled_ms = self.last.throttled.map_or(0, millis);
        // All of it, also of what nobody waited for.
        usage.cpu_ms = usage.cpu_ms.max(self.last.cpu_time.map_or(0, millis));
    }

    fn note(&mut self, reading: GroupReading) {
        self.peak_bytes = self.peak_bytes.max(reading.memory_peak_bytes);
        self.last = reading;
    }

    fn tell(&mut self, now: Instant, is_last: bool) -> Vec<Limit> {
        let mut told = Vec::new();
        let (kills, refused) = (self.last.oom_kills, self.last.forks_refused);
        if let (Some(limit), Some(more)) = (
            self.memory_bytes,
            self.told_memory.more(kills, now, is_last),
        ) {
            let processes = if more == 1 { "process" } else { "processes" };
            told.push(Limit {
                rule: LimitRule::Memory,
                decision: LimitDecision::KillProcess,
                limit,
                detail: format!("the kernel killed {more} {processes} of the workload"),
            });
        }
        if let (Some(limit), Some(more)) = (self.pids, self.told_pids.more(refused, now, is_last)) {
            let times = if more == 1 { "time" } else { "times" };
            told.push(Limit {
                rule: LimitRule::Pids,
                decision: LimitDecision::RefuseProcess,
                limit,
                detail: format!("the kernel refused a new process or thread {more} {times}"),
            });
        }
        told
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::action::ProcessUsage;
    use crate::event::lifecycle::EnforcedLimit;

    fn watch() -> LimitWatch {
        let held = |limit: &str, value| EnforcedLimit {
            limit: limit.to_owned(),
            value,
            by: "cgroup-v1".to_owned(),
        };
        LimitWatch::new(&Isolation {
            limits: vec![held("memory", 64), held("pids", 9)],
            ..Isolation::default()
        })
    }

    fn reading(oom_kills: u64) -> GroupReading {
        GroupReading {
            oom_kills: Some(oom_kills),
            memory_peak_bytes: Some(60),
            ..GroupReading::default()
        }
    }

    fn exit(code: Option<i32>, signal: Option<i32>) -> Exit {
        Exit {
            code,
            signal,
            duration: Duration::ZERO,
            usage: ProcessUsage::default(),
            oom: None,
        }
    }

    #[test]
    fn a_sigkill_with_a_kill_of_the_kernel_is_out_of_memory_and_nothing_else_is() {
        let began = Instant::now();
        for (code, signal, kills, is_oom) in [
            (None, Some(9), 1, true),
            (None, Some(9), 0, false),
            (Some(137), None, 1, false),
            (None, Some(15), 1, false),
        ] {
            let mut watch = watch();
            watch.begin(reading(0), began);
            let mut exit = exit(code, signal);
            watch.end(reading(kills), &mut exit, began);
            assert_eq!(exit.oom.is_some(), is_oom, "{code:?} {signal:?} {kills}");
            assert_eq!(exit.usage.oom_kills, kills);
            if let Some(oom) = exit.oom {
                assert_eq!(
                    (oom.limit_bytes, oom.peak_bytes, oom.kills),
                    (64, Some(60), 1)
                );
            }
        }
    }

    #[test]
    fn a_kill_that_is_older_than_a_death_takes_was_of_another_process() {
        let began = Instant::now();
        let mut watch = watch();
        watch.begin(reading(0), began);
        for n_looks in 1..=6 {
            watch.look(reading(1), began + LOOK_INTERVAL * n_looks);
        }
        let mut killed = exit(None, Some(9));
        watch.end(reading(1), &mut killed, began + LOOK_INTERVAL * 7);
        assert_eq!(killed.oom, None);
        let mut killed = exit(None, Some(9));
        watch.end(reading(2), &mut killed, began + LOOK_INTERVAL * 7);
        assert_eq!(killed.oom.map(|oom| oom.kills), Some(2));
    }

    #[test]
    fn a_limit_is_told_at_once_then_seldom_and_at_last() {
        let began = Instant::now();
        let refused = |count| GroupReading {
            forks_refused: Some(count),
            ..GroupReading::default()
        };
        let mut watch = watch();
        watch.begin(refused(0), began);
        assert_eq!(watch.look(refused(0), began), []);
        let told = watch.look(refused(1), began);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].rule, told[0].limit), (LimitRule::Pids, 9));
        assert_eq!(watch.look(refused(500), began + LOOK_INTERVAL), []);
        let mut ended = exit(Some(0), None);
        let told = watch.end(refused(501), &mut ended, began + LOOK_INTERVAL * 2);
        let expected = "the kernel refused a new process or thread 500 times";
        assert_eq!(told[0].detail, expected);
        assert_eq!(watch.look(refused(501), began + TELL_AGAIN * 2), []);
    }
}
