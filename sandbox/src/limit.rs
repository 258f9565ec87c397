//! The limits of a sandbox: which of them what holds.
//!
//! Owns the choice between control group, resource limit, choice of processors and looks from time to time. Never claims a
//! means that was not set up. Invariant: every limit of the policy is among the enforced ones exactly once, with the value
//! that holds; swap is where the kernel counts it.

use crate::cgroup::{ControlGroup, EnforcedLimit, GroupSpec, LimitKind, Means, Surroundings};
use crate::layer::{Layer, MissingLayer};
use crate::policy::{Isolation, Limits, Movable};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::utsname::uname;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::OwnedFd;

/// The first Linux that counts the processes of a user namespace for themselves: before, RLIMIT_NPROC counted all processes
/// of the same id on the host.
const COUNTS_BY_NAMESPACE: (u32, u32) = (5, 14);

/// What the sandbox's first process does about limits, on the wire.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct LimitSpec {
    pub(crate) group: Option<GroupSpec>,
    /// Most processes of the user namespace.
    processes: Option<u64>,
    /// Largest file, in bytes.
    file_bytes: Option<u64>,
    /// The processors to run on; all of them if there is none.
    processors: Vec<usize>,
}

/// Limits that are set up as far as it can be done from outside.
#[derive(Debug, Default)]
pub(crate) struct Limiting {
    pub(crate) group: Option<ControlGroup>,
    /// The ways into the group, in the order of the wire.
    pub(crate) descriptors: Vec<OwnedFd>,
    pub(crate) spec: LimitSpec,
    pub(crate) enforced: Vec<EnforcedLimit>,
    pub(crate) missing: Option<MissingLayer>,
}

impl Limiting {
    /// Makes the group, if the policy names one, and finds a means for every limit.
    ///
    /// # Errors
    /// If the group that was made cannot be opened.
    pub(crate) fn prepare(
        limits: &Limits,
        group: Option<(&str, Movable)>,
        isolation: Isolation,
    ) -> io::Result<Self> {
        let mut limiting = Self::default();
        let mut reason = "the policy names no control group".to_owned();
        if let Some((name, movable)) = group {
            let made = ControlGroup::make(name, limits, isolation, movable);
            if let Some(group) = &made.group {
                let (spec, descriptors) = group.joins()?;
                limiting.spec.group = Some(spec);
                limiting.descriptors = descriptors;
            }
            limiting.group = made.group;
            limiting.enforced = made.limits;
            reason = made.refusals.join("; ");
        }
        let asked = [
            (LimitKind::Memory, limits.memory_bytes),
            (LimitKind::Pids, limits.pids.map(u64::from)),
            (LimitKind::Cpus, limits.cpu_millis.map(u64::from)),
        ];
        let asked = asked
            .into_iter()
            .filter_map(|(kind, value)| Some((kind, value?)));
        let asked: Vec<_> = asked.collect();
        let mut otherwise = Vec::new();
        for (kind, value) in &asked {
            if !limiting.holds(*kind) {
                otherwise.push(name_of(*kind));
            }
            limiting.hold(*kind, *value, isolation);
        }
        if let Some(bytes) = limits.file_bytes {
            limiting.spec.file_bytes = Some(bytes);
            limiting.enforced.push(EnforcedLimit {
                limit: LimitKind::FileSize,
                value: bytes,
                by: Means::Rlimit,
            });
        }
        limiting.missing = if asked.is_empty() {
            Some("the policy asks for no limit".to_owned())
        } else if otherwise.is_empty() {
            None
        } else {
            Some(format!("{} by other means: {reason}", otherwise.join(", ")))
        }
        .map(|reason| MissingLayer::new(Layer::CgroupLimits, reason));
        Ok(limiting)
    }

    fn holds(&self, kind: LimitKind) -> bool {
        self.enforced.iter().any(|enforced| enforced.limit == kind)
    }

    /// Finds the means for a limit that no group holds, and the processors that go with a quota.
    fn hold(&mut self, kind: LimitKind, value: u64, isolation: Isolation) {
        let is_held = self.holds(kind);
        let (by, value) = match kind {
            LimitKind::Cpus => {
                let n_processors = self.choose_processors(value);
                (Means::Affinity, n_processors.saturating_mul(1_000))
            }
            // In a container it counts the id, and is given up again where the workload gets one that others have.
            LimitKind::Pids
                if isolation == Isolation::Container
                    || isolation == Isolation::Full && counts_by_namespace() =>
            {
                if !is_held {
                    // The in-sandbox init has the same id.
                    self.spec.processes = Some(value.saturating_add(1));
                }
                (Means::Rlimit, value)
            }
            // More than the group around the program has would be no limit of ours.
            LimitKind::Memory if !is_held => {
                let around = Surroundings::find().map_or(u64::MAX, |group| group.memory_bytes());
                (Means::Sampled, value.min(around))
            }
            LimitKind::Memory | LimitKind::Swap | LimitKind::Pids | LimitKind::FileSize => {
                (Means::Sampled, value)
            }
        };
        if !is_held {
            let limit = kind;
            self.enforced.push(EnforcedLimit { limit, value, by });
        }
    }

    /// Chooses so many processors that the quota fits on them, so that programs that count them learn the truth; runs begin
    /// at different ones. Returns how many the sandbox has.
    fn choose_processors(&mut self, cpu_millis: u64) -> u64 {
        let available = available_processors();
        let wanted = usize::try_from(cpu_millis.div_ceil(1_000).max(1)).unwrap_or(usize::MAX);
        if wanted < available.len() {
            let first = usize::try_from(std::process::id()).unwrap_or(0) % available.len();
            let chosen = available.iter().cycle().skip(first).take(wanted);
            self.spec.processors = chosen.copied().collect();
        }
        u64::try_from(wanted.min(available.len())).unwrap_or(u64::MAX)
    }
}

impl LimitSpec {
    /// Leaves the number of processes to whoever looks from time to time: the id that it would count has others, too.
    pub(crate) fn leave_processes(&mut self) {
        self.processes = None;
    }

    /// Limits the calling process and all that it will start.
    pub(crate) fn apply(&self) -> io::Result<()> {
        if let Some(bytes) = self.file_bytes {
            lower(Resource::RLIMIT_FSIZE, bytes)?;
        }
        if let Some(count) = self.processes {
            lower(Resource::RLIMIT_NPROC, count)?;
        }
        if !self.processors.is_empty() {
            let mut set = CpuSet::new();
            for processor in &self.processors {
                set.set(*processor)?;
            }
            sched_setaffinity(Pid::from_raw(0), &set)?;
        }
        Ok(())
    }
}

/// Sets a limit that can only get lower.
fn lower(resource: Resource, wanted: u64) -> io::Result<()> {
    let (_, hard) = getrlimit(resource)?;
    let limit = wanted.min(hard);
    Ok(setrlimit(resource, limit, limit)?)
}

fn available_processors() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else {
        return Vec::new();
    };
    (0..CpuSet::count())
        .filter(|processor| set.is_set(*processor).unwrap_or(false))
        .collect()
}

fn counts_by_namespace() -> bool {
    // Not from /proc/sys, whose tree is walked name by name.
    let Ok(kernel) = uname() else {
        return false;
    };
    let release = kernel.release().to_string_lossy();
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= COUNTS_BY_NAMESPACE,
        _ => false,
    }
}

fn name_of(kind: LimitKind) -> &'static str {
    match kind {
        LimitKind::Memory => "memory",
        LimitKind::Swap => "swap",
        LimitKind::Pids => "pids",
        LimitKind::Cpus => "cpus",
        LimitKind::FileSize => "file size",
    }
}

#[cfg(test)]
mod tests {
    use super::{LimitKind, Limiting, Means, available_processors};
    use crate::policy::{Isolation, Limits};

    #[test]
    fn every_limit_is_enforced_by_exactly_one_means() {
        let limits = Limits {
            memory_bytes: Some(1 << 30),
            pids: Some(9),
            cpu_millis: Some(500),
            file_bytes: Some(1 << 20),
            ..Limits::default()
        };
        for isolation in [Isolation::Full, Isolation::Container, Isolation::None] {
            let limiting = Limiting::prepare(&limits, None, isolation).unwrap();
            let of = |kind| {
                let found = limiting.enforced.iter().filter(|one| one.limit == kind);
                let found: Vec<_> = found.collect();
                assert_eq!(found.len(), 1, "{kind:?}");
                (found[0].by, found[0].value)
            };
            assert_eq!(of(LimitKind::Memory), (Means::Sampled, 1 << 30));
            assert_eq!(of(LimitKind::FileSize), (Means::Rlimit, 1 << 20));
            // Half a processor cannot be chosen; what holds is one.
            assert_eq!(of(LimitKind::Cpus), (Means::Affinity, 1_000));
            let pids = match isolation {
                Isolation::Full | Isolation::Container => Means::Rlimit,
                Isolation::None => Means::Sampled,
            };
            assert_eq!(of(LimitKind::Pids), (pids, 9));
            let missing = limiting.missing.unwrap();
            assert_eq!(
                missing.reason,
                "memory, pids, cpus by other means: the policy names no control group"
            );
        }
    }

    #[test]
    fn no_more_processors_are_chosen_than_there_are() {
        let limits = Limits {
            cpu_millis: Some(1_000_000),
            ..Limits::default()
        };
        let limiting = Limiting::prepare(&limits, None, Isolation::Full).unwrap();
        assert!(limiting.spec.processors.is_empty());
        let n_available = u64::try_from(available_processors().len()).unwrap();
        assert_eq!(limiting.enforced[0].value, n_available * 1_000);
    }
}
