//! One group: made by the supervisor, joined by the sandbox's first process, removed when nothing is in it.
//!
//! Owns its directories, one in each hierarchy that is used. Never attaches a process of somebody else.
//! Invariant: a dropped group is removed, unless a process of it cannot be killed; then whoever finds it later removes it.

use super::host::Host;
use super::place::{self, refused};
use super::reading::{self, GroupReading};
use super::{Controller, EnforcedLimit, GROUP_PREFIX, LimitKind, Means, freezer, remains};
use crate::pausing::PauseMeans;
use crate::policy::{Isolation, Limits, Movable};
use crate::text::Text;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time that a dropped group waits for the end of its last process, which was killed before.
const REMOVE_LIMIT: Duration = Duration::from_secs(2);

/// Most groups of the same name; more than one is there only when two runs in different pid namespaces share it.
const MAX_NAMESAKES: u32 = 16;

/// The period of a quota, in microseconds; the kernel's default.
const PERIOD_US: u64 = 100_000;

/// A group on the wire.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GroupSpec {
    /// For the removal by whoever is left.
    pub(crate) directories: Vec<Text>,
    /// Task lists of version 1 among the descriptors.
    n_lists: usize,
    /// Whether the descriptor of a directory of version 2 precedes them.
    has_unified: bool,
}

/// The ways into a group, in the launch helper and its child.
#[derive(Debug, Default)]
pub(crate) struct Joins {
    /// The directory of version 2, into which a process is born.
    pub(crate) unified: Option<OwnedFd>,
    lists: Vec<OwnedFd>,
}

impl Joins {
    /// Takes what belongs to the group from the descriptors of a request.
    pub(crate) fn take(
        spec: Option<&GroupSpec>,
        descriptors: &mut impl Iterator<Item = OwnedFd>,
    ) -> Self {
        let Some(spec) = spec else {
            return Self::default();
        };
        Self {
            unified: spec.has_unified.then(|| descriptors.next()).flatten(),
            lists: descriptors.take(spec.n_lists).collect(),
        }
    }

    /// The directory into which a process is to be born.
    pub(crate) fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    /// Moves the calling process, which has one thread, into the hierarchies of version 1.
    pub(crate) fn enter_lists(&self) -> io::Result<()> {
        for list in &self.lists {
            nix::unistd::write(list, b"0")?;
        }
        Ok(())
    }

    /// Moves a process that waits into the tree of version 2, where it could not be born there.
    pub(crate) fn attach(&self, pid: i32) -> io::Result<()> {
        let Some(unified) = &self.unified else {
            return Ok(());
        };
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let list = nix::fcntl::openat(unified, "cgroup.procs", flags, Mode::empty())?;
        nix::unistd::write(list, pid.to_string().as_bytes())?;
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

#[derive(Debug)]
struct Member {
    directory: PathBuf,
    version: Version,
    controllers: Vec<Controller>,
}

/// A group that was made.
#[derive(Debug)]
pub(crate) struct ControlGroup {
    members: Vec<Member>,
    isolation: Isolation,
    /// Of version 2, where the kernel begins a new peak for whoever wrote to this very descriptor.
    peak: Option<File>,
}

/// What came of making a group.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// The group, if any directory of it could be made.
    pub(crate) group: Option<ControlGroup>,
    /// The limits that it holds.
    pub(crate) limits: Vec<EnforcedLimit>,
    /// Why the others are not held, for people.
    pub(crate) refusals: Vec<String>,
}

impl ControlGroup {
    /// Makes a group below that of the calling process and writes its limits. Whatever is refused is told, not fatal.
    pub(crate) fn make(
        name: &str,
        limits: &Limits,
        isolation: Isolation,
        movable: Movable,
    ) -> Made {
        let host = Host::find();
        let mut made = Made::default();
        let mut members: Vec<Member> = Vec::new();
        let wanted = Controller::wanted(limits);
        let (old, new): (Vec<_>, Vec<_>) = wanted
            .into_iter()
            .partition(|controller| host.legacy.contains_key(controller));
        // The tree of version 2 counts processor time and freezes without any controller.
        let always: &[_] = match host.unified {
            Some(_) => &[],
            None => &[Controller::CpuAccounting, Controller::Freezer],
        };
        for controller in old.into_iter().chain(always.iter().copied()) {
            let Some(parent) = host.legacy.get(&controller) else {
                continue;
            };
            let known = members
                .iter_mut()
                .find(|member| member.directory.parent() == Some(parent.as_path()));
            if let Some(member) = known {
                member.controllers.push(controller);
                continue;
            }
            match make_directory(parent, name) {
                Ok(directory) => members.push(Member {
                    directory,
                    version: Version::One,
                    controllers: vec![controller],
                }),
                Err(refusal) => made.refusals.push(refusal),
            }
        }
        match &host.unified {
            None => {
                let missing = new.iter().map(|controller| controller.name());
                let missing: Vec<_> = missing.collect();
                if !missing.is_empty() {
                    let names = missing.join(", ");
                    made.refusals.push(format!(
                        "the host mounts no control group controller {names}"
                    ));
                }
            }
            Some(unified) => {
                let (place, controllers) = match place::find(unified, &new, movable) {
                    Ok(place) => (place, new),
                    Err(refusal) => {
                        made.refusals.push(refusal);
                        (unified.own.clone(), Vec::new())
                    }
                };
                match make_directory(&place, name) {
                    Ok(directory) => members.push(Member {
                        directory,
                        version: Version::Two,
                        controllers,
                    }),
                    Err(refusal) => made.refusals.push(refusal),
                }
            }
        }
        for member in &members {
            member.limit(limits, isolation, &mut made);
        }
        made.group = (!members.is_empty()).then(|| Self {
            peak: open_peak(&members),
            members,
            isolation,
        });
        made
    }

    /// Its wire form, and the descriptors that [`Joins::take`] expects.
    pub(crate) fn joins(&self) -> io::Result<(GroupSpec, Vec<OwnedFd>)> {
        let (two, one): (Vec<_>, Vec<_>) = self
            .members
            .iter()
            .partition(|member| member.version == Version::Two);
        let mut descriptors = Vec::new();
        for member in &two {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            descriptors.push(nix::fcntl::open(&member.directory, flags, Mode::empty())?);
        }
        for member in &one {
            let list = member.directory.join("tasks");
            let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            descriptors.push(nix::fcntl::open(&list, flags, Mode::empty())?);
        }
        let directories = self.directories();
        let spec = GroupSpec {
            directories: directories
                .iter()
                .map(|path| Text::from(path.as_path()))
                .collect(),
            n_lists: one.len(),
            has_unified: !two.is_empty(),
        };
        Ok((spec, descriptors))
    }

    /// Its directories, one in each hierarchy.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let directories = self.members.iter().map(|member| member.directory.clone());
        directories.collect()
    }

    /// What the kernel counted.
    pub(crate) fn read(&self) -> GroupReading {
        let mut all = GroupReading::default();
        for member in &self.members {
            let mut reading = match member.version {
                Version::One => reading::legacy(&member.directory),
                Version::Two => reading::unified(&member.directory),
            };
            let n_inits = u64::from(member.has_init(self.isolation));
            for count in [&mut reading.pids, &mut reading.pids_peak] {
                *count = count.map(|count| count.saturating_sub(n_inits));
            }
            all = all.merge(reading);
        }
        if let Some(since) = self.peak.as_ref().and_then(read_peak) {
            all.memory_peak_bytes = Some(since);
        }
        all
    }

    /// Begins a new peak of memory, where the kernel can.
    pub(crate) fn begin_peak(&self) {
        if let Some(peak) = &self.peak {
            let _ = peak.write_at(b"0", 0);
        }
        for member in &self.members {
            if member.version == Version::One && member.has(Controller::Memory) {
                let _ = fs::write(member.directory.join("memory.max_usage_in_bytes"), "0");
            }
        }
    }

    /// Kills every process in it, the in-sandbox init of an isolated sandbox among them, in one step that no fork outruns.
    /// False where the kernel has no such step.
    pub(crate) fn kill(&self) -> bool {
        let mut two = self
            .members
            .iter()
            .filter(|member| member.version == Version::Two);
        two.any(|member| member.write("cgroup.kill", "1").is_ok())
    }

    /// Lets every process in it stand still, the in-sandbox init where that is in it; none where the kernel cannot, or not in
    /// time, and then everything goes on.
    pub(crate) fn freeze(&self) -> Option<PauseMeans> {
        let means = |member: &&Member| match member.version {
            Version::Two => Some(PauseMeans::CgroupV2),
            Version::One => member
                .has(Controller::Freezer)
                .then_some(PauseMeans::CgroupV1),
        };
        let mut members = self.members.iter();
        let (member, means) = members.find_map(|member| Some((member, means(&member)?)))?;
        match freezer::freeze(&member.directory, means) {
            Ok(()) => Some(means),
            Err(_) => {
                let _ = freezer::thaw(&member.directory);
                None
            }
        }
    }

    /// Lets it go on, wherever it stands still.
    pub(crate) fn thaw(&self) -> io::Result<()> {
        let thawed = self
            .members
            .iter()
            .map(|member| freezer::thaw(&member.directory));
        thawed.fold(Ok(()), Result::and)
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        for member in &self.members {
            let _ = remains::remove(&member.directory, REMOVE_LIMIT);
        }
    }
}

impl Member {
    /// Whether the in-sandbox init is in it as well; without isolation only its launches are born in a group of version 2.
    fn has_init(&self, isolation: Isolation) -> bool {
        self.version == Version::One || isolation != Isolation::None
    }

    fn has(&self, controller: Controller) -> bool {
        self.controllers.contains(&controller)
    }

    /// Writes the limits of the controllers that are here.
    fn limit(&self, limits: &Limits, isolation: Isolation, made: &mut Made) {
        let by = match self.version {
            Version::One => Means::CgroupV1,
            Version::Two => Means::CgroupV2,
        };
        let mut held = |limit, value| made.limits.push(EnforcedLimit { limit, value, by });
        let mut refusals = Vec::new();
        if let Some(bytes) = limits.memory_bytes.filter(|_| self.has(Controller::Memory)) {
            // More than an outer group has would be no limit of ours.
            let bytes = bytes.min(self.outer_memory());
            match self.limit_memory(bytes, limits.swap_bytes) {
                Ok(is_swap_limited) => {
                    held(LimitKind::Memory, bytes);
                    if is_swap_limited {
                        held(LimitKind::Swap, limits.swap_bytes);
                    }
                }
                Err(refusal) => refusals.push(refusal),
            }
        }
        if let Some(pids) = limits.pids.filter(|_| self.has(Controller::Pids)) {
            let most = u64::from(pids) + u64::from(self.has_init(isolation));
            match self.write("pids.max", &most.to_string()) {
                Ok(()) => held(LimitKind::Pids, u64::from(pids)),
                Err(refusal) => refusals.push(refusal),
            }
        }
        if let Some(millis) = limits.cpu_millis.filter(|_| self.has(Controller::Cpu)) {
            let quota = u64::from(millis) * PERIOD_US / 1_000;
            let written = match self.version {
                Version::One => self
                    .write("cpu.cfs_period_us", &PERIOD_US.to_string())
                    .and_then(|()| self.write("cpu.cfs_quota_us", &quota.to_string())),
                Version::Two => self.write("cpu.max", &format!("{quota} {PERIOD_US}")),
            };
            match written {
                Ok(()) => held(LimitKind::Cpus, u64::from(millis)),
                Err(refusal) => refusals.push(refusal),
            }
        }
        made.refusals.append(&mut refusals);
    }

    /// Limits memory, and swap beside it where the kernel counts it; tells whether it does.
    fn limit_memory(&self, bytes: u64, swap: u64) -> Result<bool, String> {
        match self.version {
            Version::One => {
                self.write("memory.limit_in_bytes", &bytes.to_string())?;
                let both = bytes.saturating_add(swap).to_string();
                Ok(self.write("memory.memsw.limit_in_bytes", &both).is_ok())
            }
            Version::Two => {
                self.write("memory.max", &bytes.to_string())?;
                Ok(self.write("memory.swap.max", &swap.to_string()).is_ok())
            }
        }
    }

    /// The least limit of the groups around it, as far as they can be seen.
    fn outer_memory(&self) -> u64 {
        let directory = &self.directory;
        match self.version {
            Version::One => reading::entry(directory, "memory.stat", "hierarchical_memory_limit"),
            Version::Two => {
                let outer = directory.ancestors().skip(1);
                let outer = outer.take_while(|group| group.join("cgroup.procs").exists());
                outer
                    .filter_map(|group| reading::number(group, "memory.max"))
                    .min()
            }
        }
        .unwrap_or(u64::MAX)
    }

    fn write(&self, file: &str, text: &str) -> Result<(), String> {
        let file = self.directory.join(file);
        // Never made: a file that the kernel does not have is a limit that it does not have.
        let opened = OpenOptions::new().write(true).open(&file);
        opened
            .and_then(|opened| opened.write_at(text.as_bytes(), 0))
            .map(drop)
            .map_err(|error| refused("cannot write", &file, &error))
    }
}

/// Makes a directory of the name, or of the name with a number behind it.
fn make_directory(parent: &Path, name: &str) -> Result<PathBuf, String> {
    let mut directory = parent.join(format!("{GROUP_PREFIX}{name}"));
    for number in 2..=MAX_NAMESAKES + 1 {
        match fs::create_dir(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                directory = parent.join(format!("{GROUP_PREFIX}{name}-{number}"));
            }
            Err(error) => return Err(refused("cannot make", &directory, &error)),
        }
    }
    let error = io::Error::from(io::ErrorKind::AlreadyExists);
    Err(refused("cannot make", &directory, &error))
}

/// Opens the peak of version 2 for a new beginning, which Linux 6.12 and later have.
fn open_peak(members: &[Member]) -> Option<File> {
    let mut two = members
        .iter()
        .filter(|member| member.version == Version::Two && member.has(Controller::Memory));
    let path = two.next()?.directory.join("memory.peak");
    let peak = OpenOptions::new().read(true).write(true).open(path).ok()?;
    peak.write_at(b"0", 0).is_ok().then_some(peak)
}

fn read_peak(peak: &File) -> Option<u64> {
    let mut text = [0; 32];
    let length = peak.read_at(&mut text, 0).ok()?;
    let text = std::str::from_utf8(text.get(..length)?).ok()?;
    text.trim_end().parse().ok()
}
