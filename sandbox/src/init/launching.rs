//! The fork and the exec of a launch.
//!
//! Owns the order between them. Everything that can be made before the fork is; after it, system calls only: the child of a
//! launch has the init's own memory until it executes.
//! Invariant: a child that cannot exec tells step and errno over a pipe and exits, so a launch is started or failed, never
//! half.

use super::keeper::{self, Told};
use crate::failure::{At, Failure, Step};
use crate::policy::Isolation;
use crate::probe::Probe;
use crate::protocol::LaunchSpec;
use crate::sys::process::{self, Image};
use crate::sys::sharing::{self, Left, Stack};
use crate::sys::{credential, descriptor, signal, terminal};
use crate::text::Text;
use crate::wire::{self, Deadline, Received};
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::signal::SigSet;
use nix::sys::stat::Mode;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Time from fork to exec; a dead network filesystem must not hold the init for ever.
const EXEC_LIMIT: Duration = Duration::from_secs(5);

/// Where programs are searched if the launch's environment has no PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";

/// The steps that a child may report, by their index on the pipe.
const CHILD_STEPS: [Step; 7] = [
    Step::Fork,
    Step::NewSession,
    Step::PlaceDescriptors,
    Step::EnterDirectory,
    Step::Execute,
    Step::Exchange,
    Step::JoinGroup,
];

/// What was started.
pub(super) struct Started {
    /// The pid of the launched process, as the init sees it.
    pub(super) leader: i32,
    /// The keeper's pid and its socket, if the launch has one.
    pub(super) keeper: Option<(i32, OwnedFd)>,
}

/// Launches. A launch without a keeper that executes a program shares this process's memory until then, on `stack`; any other
/// one is a fork.
pub(super) fn start(
    launch: &LaunchSpec,
    descriptors: Vec<OwnedFd>,
    isolation: Isolation,
    birthplace: Option<&Birthplace>,
    stack: &mut Option<Stack>,
) -> Result<Started, Failure> {
    let program = launch
        .arguments
        .first()
        .map(Text::to_string)
        .unwrap_or_default();
    let targets: Vec<i32> = (0..3).chain(launch.extra.iter().copied()).collect();
    if targets.len() != descriptors.len() {
        let error = io::Error::from(io::ErrorKind::InvalidInput);
        return Err(Failure::new(Step::PlaceDescriptors, program, &error));
    }
    let work = match &launch.probe {
        Some(probe) => Work::Probe(probe),
        None => Work::Program(image(launch).at(Step::Execute, &program)?),
    };
    let directory = launch
        .directory
        .to_c()
        .at(Step::EnterDirectory, &launch.directory)?;
    let highest = targets.iter().copied().max().unwrap_or(2);
    let descriptors = descriptors
        .into_iter()
        .map(|source| above(source, highest))
        .collect::<io::Result<Vec<_>>>()
        .at(Step::PlaceDescriptors, &program)?;
    let (listen, tell) = nix::unistd::pipe2(OFlag::O_CLOEXEC).at(Step::Fork, &program)?;
    let tell = above(tell, highest).at(Step::Fork, &program)?;
    let born_in = birthplace.and_then(Birthplace::to_be_born_in);
    let child = Child {
        targets: &targets,
        descriptors: &descriptors,
        directory: &directory,
        work: &work,
        isolation,
        takes_terminal: launch.takes_terminal,
        born_in,
        attach: birthplace.and_then(Birthplace::to_be_attached_to),
    };
    let begun = match work {
        Work::Program(_) if !launch.is_kept && born_in.is_none() => {
            let run = |tell: BorrowedFd<'_>| child.run(tell);
            sharing::run(stack, listen.as_fd(), tell, EXEC_LIMIT, &run)
                .map(|(pid, left)| (pid, left, None))
        }
        Work::Program(_) | Work::Probe(_) => fork(&child, launch.is_kept, &listen, tell),
    };
    let (pid, left, ours) = begun.at(Step::Fork, &program)?;
    match left {
        // The pipe was closed by the exec. A child that was killed before it is a started launch that was killed.
        Left::Silently => match ours {
            None => Ok(Started {
                leader: pid,
                keeper: None,
            }),
            Some(socket) => match wire::receive(socket.as_fd()) {
                Ok(Received::Message(Told::Leads(leader), _)) => Ok(Started {
                    leader,
                    keeper: Some((pid, socket)),
                }),
                // It was killed before it could tell.
                Ok(_) => Err(io::ErrorKind::BrokenPipe.into()),
                Err(error) => Err(error),
            }
            .at(Step::Fork, &program),
        },
        Left::WithWord([step, a, b, c, d, ..]) => {
            let step = CHILD_STEPS
                .get(usize::from(step))
                .copied()
                .unwrap_or(Step::Exchange);
            let error = io::Error::from_raw_os_error(i32::from_le_bytes([a, b, c, d]));
            discard(pid, ours);
            let object = if step == Step::EnterDirectory {
                launch.directory.to_string()
            } else {
                program
            };
            Err(Failure::new(step, object, &error))
        }
        Left::Killed(error) => {
            discard(pid, ours);
            Err(Failure::new(Step::Execute, program, &error))
        }
    }
}

/// Moves a descriptor out of the way of the numbers up to `highest`.
fn above(given: OwnedFd, highest: i32) -> io::Result<OwnedFd> {
    if given.as_raw_fd() > highest {
        return Ok(given);
    }
    descriptor::copy_above(given.as_fd(), highest + 1)
}

/// Starts a child that has a copy of this process's memory, and waits until it has executed or failed; with the socket to the
/// keeper, if it is to be one.
fn fork(
    child: &Child<'_>,
    is_kept: bool,
    listen: &OwnedFd,
    tell: OwnedFd,
) -> io::Result<(i32, Left, Option<OwnedFd>)> {
    let (ours, theirs) = is_kept.then(wire::pair).transpose()?.unzip();
    // A keeper is the init's, and no part of what the workload may have.
    let group = child.born_in.filter(|_| !is_kept);
    let Some(pid) = process::clone_into(0, group)? else {
        match theirs {
            Some(socket) => child.run_kept(tell, socket),
            None => child.run(tell.as_fd()),
        }
    };
    drop((tell, theirs));
    let mut word = [0_u8; 8];
    let told = wire::wait_readable(listen.as_fd(), Deadline::after(EXEC_LIMIT))
        .and_then(|()| Ok(nix::unistd::read(listen, &mut word)?));
    let left = match told {
        Ok(0) => Left::Silently,
        Ok(_) => Left::WithWord(word),
        Err(error) => {
            let _ = signal::send(pid, libc::SIGKILL);
            Left::Killed(error)
        }
    };
    Ok((pid, left, ours))
}

/// Ends the keeper of a launch that did not start, and the launch with it; nothing of it is ever counted or told.
fn discard(keeper: i32, socket: Option<OwnedFd>) {
    let Some(socket) = socket else {
        return;
    };
    let _ = signal::send(keeper, libc::SIGKILL);
    if let Ok(Received::Message(Told::Leads(leader), _)) = wire::receive(socket.as_fd()) {
        let _ = signal::send(leader, libc::SIGKILL);
    }
    let _ = process::reap_exactly(keeper);
}

/// Finds the files to try, as execvp(3) does, except that an empty entry of PATH is not the working directory.
fn image(launch: &LaunchSpec) -> io::Result<Image> {
    let to_c = |texts: &[Text]| texts.iter().map(Text::to_c).collect::<io::Result<Vec<_>>>();
    let arguments = to_c(&launch.arguments)?;
    let environment = to_c(&launch.environment)?;
    let program = arguments.first().ok_or(io::ErrorKind::InvalidInput)?;
    let candidates = if program.as_bytes().contains(&b'/') || program.is_empty() {
        vec![program.clone()]
    } else {
        launch
            .environment
            .iter()
            .find_map(|entry| entry.as_bytes().strip_prefix(b"PATH="))
            .unwrap_or(DEFAULT_PATH)
            .split(|byte| *byte == b':')
            .filter(|directory| !directory.is_empty())
            .map(|directory| CString::new([directory, b"/", program.as_bytes()].concat()))
            .collect::<Result<_, _>>()?
    };
    Ok(Image::new(candidates, arguments, environment))
}

/// The control group of version 2 in which launches are born, where the init is not in it.
#[derive(Debug)]
pub(crate) struct Birthplace {
    directory: OwnedFd,
    was_killed: bool,
}

impl Birthplace {
    pub(crate) fn new(directory: OwnedFd) -> Self {
        Self {
            directory,
            was_killed: false,
        }
    }

    /// The directory, for a kill of everything in it. The kernel then kills whatever is born there by a process of another
    /// group: it compares the number of kills of the parent's group (`kill_seq` in `cgroup_css_set_fork`). What comes later
    /// attaches itself, which costs a grace period.
    pub(super) fn mark_killed(&mut self) -> BorrowedFd<'_> {
        self.was_killed = true;
        self.directory.as_fd()
    }

    fn to_be_born_in(&self) -> Option<BorrowedFd<'_>> {
        (!self.was_killed).then(|| self.directory.as_fd())
    }

    fn to_be_attached_to(&self) -> Option<BorrowedFd<'_>> {
        self.was_killed.then(|| self.directory.as_fd())
    }
}

/// Moves the calling process into a group.
fn attach_to(group: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let list = nix::fcntl::openat(group, "cgroup.procs", flags, Mode::empty())?;
    nix::unistd::write(list, b"0")?;
    Ok(())
}

/// What the child becomes.
enum Work<'a> {
    Program(Image),
    Probe(&'a Probe),
}

/// What the child uses between fork and exec.
struct Child<'a> {
    targets: &'a [i32],
    /// All above the targets.
    descriptors: &'a [OwnedFd],
    directory: &'a CString,
    work: &'a Work<'a>,
    isolation: Isolation,
    takes_terminal: bool,
    /// The group in which a keeper's launch is born.
    born_in: Option<BorrowedFd<'a>>,
    attach: Option<BorrowedFd<'a>>,
}

impl Child<'_> {
    /// Becomes the keeper of the launch.
    fn run_kept(&self, tell: OwnedFd, socket: OwnedFd) -> ! {
        match keeper::prepare().and_then(|()| process::clone_into(0, self.born_in)) {
            Ok(None) => self.run(tell.as_fd()),
            // What it tells is on its way before its copy of the pipe is closed, behind which the init reads it.
            Ok(Some(leader)) => keeper::keep(leader, socket),
            Err(error) => report(tell.as_fd(), (Step::Fork, error)),
        }
    }

    /// Becomes what is launched. The pipe is above the targets, so that telling works at every step.
    fn run(&self, tell: BorrowedFd<'_>) -> ! {
        let (step, error) = match (self.prepare(), self.work) {
            (Err(told), _) => told,
            (Ok(()), Work::Program(image)) => (Step::Execute, image.execute()),
            // It executes nothing. That all but its streams are closed says that it has started.
            (Ok(()), Work::Probe(probe)) => look(probe),
        };
        report(tell, (step, error))
    }

    fn prepare(&self) -> Result<(), (Step, io::Error)> {
        if let Some(group) = self.attach
            && let Err(error) = attach_to(group)
        {
            return Err((Step::JoinGroup, error));
        }
        if let Err(errno) = nix::unistd::setsid() {
            return Err((Step::NewSession, errno.into()));
        }
        if let Err(error) = self.place() {
            return Err((Step::PlaceDescriptors, error));
        }
        if self.takes_terminal
            && let Err(error) = terminal::take_control()
        {
            return Err((Step::NewSession, error));
        }
        if let Err(errno) = nix::unistd::chdir(self.directory.as_c_str()) {
            return Err((Step::EnterDirectory, errno.into()));
        }
        if self.isolation != Isolation::Full {
            // Without a pid namespace the workload would outlive a killed init until the launch helper's sweep.
            let _ = credential::die_with_parent(libc::SIGKILL);
        }
        // Dispositions are the default already, since the launch helper reset them and the init installs none. The mask is
        // emptied last: what was sent to this launch since the fork is delivered now, and by default.
        SigSet::empty()
            .thread_set_mask()
            .map_err(|errno| (Step::NewSession, errno.into()))
    }

    /// Marks everything close-on-exec and only then fills the targets: so nothing else survives the exec. Every source is
    /// above all targets, so that none is overwritten.
    fn place(&self) -> io::Result<()> {
        descriptor::close_on_exec_from(0)?;
        for (source, target) in self.descriptors.iter().zip(self.targets) {
            descriptor::place_at(source.as_fd(), *target)?;
        }
        Ok(())
    }
}

/// Tells why a child does not become what it was to be, and exits.
fn report(tell: BorrowedFd<'_>, (step, error): (Step, io::Error)) -> ! {
    let index = CHILD_STEPS.iter().position(|known| *known == step);
    let [a, b, c, d] = error.raw_os_error().unwrap_or(libc::EIO).to_le_bytes();
    let step = index
        .and_then(|index| u8::try_from(index).ok())
        .unwrap_or(u8::MAX);
    let _ = nix::unistd::write(tell, &[step, a, b, c, d, 0, 0, 0]);
    process::exit_now(127)
}

/// Looks from a child that executes nothing. The init's descriptors are closed first: what the probe reads comes from the
/// workload.
fn look(probe: &Probe) -> ! {
    let is_alone = descriptor::close_between(3, u32::MAX).is_ok();
    process::exit_now(if is_alone {
        probe.run(io::stdout().lock())
    } else {
        1
    })
}
