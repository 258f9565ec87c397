//! From the launch helper's child to the in-sandbox init.
//!
//! Owns the order of confinement. Never returns: it ends in the init's loop or exits.
//! Invariant: when the set-up is reported ready, the process has no privilege, no descriptor and no text of its parents.
//!
//! Order, where a tier has the step at all:
//! 1. the control group, before anything is used that it limits; a death signal, the begin of the network namespace, and a wait for
//!    the id maps: if the launch helper is gone by then, the socket tells; the namespace of control groups, which begins at the own one;
//! 2. an own session and keyring, a higher out-of-memory score, and the argument list overwritten while /proc can still
//!    be written;
//! 3. the sandbox's identity, host name, the private root, the network namespace with its loopback, the proxy's listener, and the
//!    descriptor of the output directory; in a container identity and listener alone;
//! 4. the Landlock domain, then limits of each process and the choice of processors, no_new_privs, capabilities;
//! 5. not dumpable, descriptors closed, the death signal again because credentials changed;
//! 6. the system call filter, which every launch inherits, last because it denies what the steps before need.

use crate::cgroup::Joins;
use crate::domain;
use crate::failure::{At, Failure, Step};
use crate::filter::{
    DENIALS, EVERYWHERE, NO_NETWORK, PROXY_ONLY, Program, SHARED_ID, file_capabilities,
};
use crate::identity::{Identity, Starter};
use crate::init::Init;
use crate::layer::{Layer, MissingLayer};
use crate::plan::PlanSpec;
use crate::policy::{Isolation, Network, OUTPUT, PROXY_ADDRESS};
use crate::protocol::{Go, HandedOver, SetUp, not_asked_for};
use crate::root;
use crate::sys::network_namespace::{Making, Part};
use crate::sys::{credential, descriptor, filter, network, process, signal};
use crate::wire::{self, Deadline};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};
use std::fs::{self, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

/// Host name of every sandbox.
pub const HOST_NAME: &str = "stockade";

/// More capabilities than any kernel has; the loop ends at the first that does not exist.
const MAX_CAPABILITIES: libc::c_ulong = 64;

/// What the child needs.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) plan: Rc<PlanSpec>,
    pub(crate) identity: Identity,
    pub(crate) control: OwnedFd,
    pub(crate) reports: OwnedFd,
    pub(crate) lifeline: OwnedFd,
    pub(crate) joins: Joins,
    pub(crate) planned: Vec<OwnedFd>,
    pub(crate) copied: Option<Vec<OwnedFd>>,
    /// What is made for the supervisor.
    pub(crate) handed_over: HandedOver,
    /// The control group in which launches are born, where the init is not in it.
    pub(crate) birthplace: Option<OwnedFd>,
    /// Whether processes can be found in /proc.
    pub(crate) has_proc: bool,
    pub(crate) deadline: Deadline,
    /// The pid of whoever gave birth.
    pub(crate) helper: i32,
    /// Who gave birth to it.
    pub(crate) parent: Parent,
}

/// From whom a sandbox is born.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parent {
    /// The launch helper, whose signals have their default dispositions.
    Helper,
    /// The process that uses the sandbox; it may ignore signals, and its launches may not.
    Caller,
}

impl Child {
    /// Confines the calling process, becomes the init, and reports how that went.
    pub(crate) fn run(mut self) -> ! {
        let plan = Rc::clone(&self.plan);
        let overlaid = plan.binds.iter().filter(|bind| plan.is_overlaid(bind));
        let in_memory = plan.tmpfs.iter().map(|one| &one.target);
        let in_memory = in_memory.chain(overlaid.map(|bind| &bind.target));
        let in_memory = in_memory.map(|path| path.as_path().to_owned()).collect();
        match self.confine(&plan) {
            Ok(missing) => {
                // Without an init the lifeline closes unanswered, which the launch helper takes as a failure. The init
                // returns when its supervisor or its launch helper is gone.
                let _ = Init::new(
                    self.control,
                    self.reports,
                    self.lifeline,
                    plan.isolation,
                    self.has_proc,
                    self.birthplace,
                )
                .map(|init| init.with_tmpfs(in_memory))
                .and_then(|init| init.run(missing, self.handed_over));
            }
            Err(failure) => {
                let _ = wire::send(self.lifeline.as_fd(), &SetUp::Failed(failure), &[]);
            }
        }
        process::exit_now(0)
    }

    fn confine(&mut self, plan: &PlanSpec) -> Result<Vec<MissingLayer>, Failure> {
        let isolated = plan.isolation == Isolation::Full;
        match self.parent {
            Parent::Helper => {}
            Parent::Caller => signal::reset_dispositions().at(Step::PrepareInit, "signals")?,
        }
        self.joins.enter_lists().at(Step::JoinGroup, "tasks")?;
        let mut network = None;
        if isolated {
            die_with_helper()?;
            if plan.network != Network::Host {
                let begun = Making::begin().at(Step::CreateNamespaces, "the sandbox")?;
                network = Some(begun);
            }
        }
        wire::receive_before::<Go>(self.lifeline.as_fd(), self.deadline)
            .at(Step::Exchange, "the launch helper")?;
        if isolated {
            unshare(CloneFlags::CLONE_NEWCGROUP)
                .at(Step::CreateNamespaces, "the view of control groups")?;
        }
        let _ = nix::unistd::setsid();
        // The launch helper has no secret in its arguments, so a kernel that forbids this loses nothing but tidiness.
        let _ = wipe_arguments();
        // A possessed key could be read whatever the namespaces. Where keyctl is filtered the workload has none either.
        let _ = credential::leave_session_keyring();
        credential::set_name(c"stockade-init").at(Step::PrepareInit, "the name")?;
        umask(Mode::empty());
        let mut missing = Vec::new();
        if isolated {
            missing = self.isolate(plan, network)?;
            if plan.output_bytes.is_some() {
                // Nothing of the workload lives yet, and no bind may lie here: it is the tmpfs that was just made.
                let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
                let output = nix::fcntl::open(OUTPUT, flags | OFlag::O_CLOEXEC, Mode::empty())
                    .at(Step::PrepareInit, OUTPUT)?;
                self.handed_over.output = Some(output);
            }
        } else {
            credential::adopt_orphans().at(Step::PrepareInit, "the adoption of orphans")?;
        }
        match plan.isolation {
            Isolation::Full => {}
            Isolation::Container => missing = self.contain(plan)?,
            Isolation::None => self.birthplace = self.joins.unified.take(),
        }
        umask(Mode::from_bits_truncate(0o022));
        setrlimit(Resource::RLIMIT_CORE, 0, 0).at(Step::DropPrivileges, "core dumps")?;
        let mut limits = plan.limits.clone();
        if plan.isolation == Isolation::Container && !self.identity.is_own {
            limits.leave_processes();
        }
        limits.apply().at(Step::DropPrivileges, "limits")?;
        credential::forbid_new_privileges().at(Step::DropPrivileges, "new privileges")?;
        match plan.isolation {
            Isolation::Full => {
                drop_bounding_set().at(Step::DropPrivileges, "capabilities")?;
                drop_capabilities().at(Step::DropPrivileges, "capabilities")?;
                die_with_helper()?;
            }
            Isolation::Container => {
                drop_capabilities().at(Step::DropPrivileges, "capabilities")?;
            }
            Isolation::None => report_privileges(&mut missing)?,
        }
        credential::forbid_dumps().at(Step::PrepareInit, "no dumps")?;
        self.close_descriptors()?;
        missing.extend(filter_calls(plan, self.identity)?);
        Ok(missing)
    }

    /// Confines without namespaces: an id, the proxy's listener, and the domain.
    fn contain(&mut self, plan: &PlanSpec) -> Result<Vec<MissingLayer>, Failure> {
        // Where it is allowed; no_new_privs makes the set idle.
        let _ = drop_bounding_set();
        let Identity {
            host_user,
            host_group,
            ..
        } = self.identity;
        if !self.identity.is_kept() {
            credential::clear_groups().at(Step::ChangeIdentity, "no groups")?;
            credential::set_group(host_group).at(Step::ChangeIdentity, host_group)?;
            credential::set_user(host_user).at(Step::ChangeIdentity, host_user)?;
        }
        let mut missing = Vec::new();
        let mut port = None;
        let network = match plan.network {
            Network::None => {
                "only in part: the network is the container's, and no socket leads into it"
            }
            Network::Proxy => {
                let listener =
                    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).at(Step::Listen, "127.0.0.1")?;
                let address = listener.local_addr().at(Step::Listen, "127.0.0.1")?;
                port = Some(address.port());
                self.handed_over.listener = Some(listener.into());
                "only in part: the network is the container's, and TCP leads to the port of the proxy, on every host"
            }
            Network::Host => "the policy does not ask for it",
        };
        missing.push(MissingLayer::new(Layer::NetworkNamespace, network));
        missing.extend(domain::enter_container(
            plan,
            &self.planned,
            self.identity,
            port,
        )?);
        refuse_reach(self.helper)?;
        Ok(missing)
    }

    fn isolate(
        &mut self,
        plan: &PlanSpec,
        network: Option<Making>,
    ) -> Result<Vec<MissingLayer>, Failure> {
        let Identity {
            inside_user,
            inside_group,
            starter,
            ..
        } = self.identity;
        if starter != Starter::User {
            credential::clear_groups().at(Step::ChangeIdentity, "no groups")?;
            credential::set_group(inside_group).at(Step::ChangeIdentity, inside_group)?;
            credential::set_user(inside_user).at(Step::ChangeIdentity, inside_user)?;
            die_with_helper()?;
        }
        network::set_host_name(HOST_NAME).at(Step::SetHostName, HOST_NAME)?;
        let planned = std::mem::take(&mut self.planned);
        let entered = root::enter(plan, &planned, self.copied.take());
        // What it cannot do is the first to be told, as if it had been made with the other namespaces.
        let mut missing = Vec::new();
        match network.map(Making::enter).transpose() {
            Ok(Some(())) => {}
            Ok(None) => missing.push(not_asked_for(Layer::NetworkNamespace)),
            Err((Part::Namespace, error)) => {
                return Err(Failure::new(Step::CreateNamespaces, "the sandbox", &error));
            }
            Err((Part::Loopback, error)) => {
                return Err(Failure::new(Step::RaiseLoopback, "lo", &error));
            }
        }
        let entered = entered?;
        if plan.network == Network::Proxy {
            let listener = TcpListener::bind(PROXY_ADDRESS).at(Step::Listen, PROXY_ADDRESS)?;
            self.handed_over.listener = Some(listener.into());
        }
        self.has_proc = entered.has_proc;
        self.handed_over.overlay = entered.overlay;
        missing.extend(entered.missing);
        // From here on nothing can be mounted.
        missing.extend(domain::enter(plan, &entered.binds)?);
        Ok(missing)
    }

    /// Leaves three sockets, what is handed over until it is, the group of the launches, and /dev/null as standard input,
    /// output and error.
    fn close_descriptors(&self) -> Result<(), Failure> {
        let null = nix::fcntl::open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
            .at(Step::CloseDescriptors, "/dev/null")?;
        for number in 0..3 {
            descriptor::place_at(null.as_fd(), number).at(Step::CloseDescriptors, number)?;
        }
        drop(null);
        let mut kept: Vec<u32> = [&self.control, &self.reports, &self.lifeline]
            .into_iter()
            .chain(self.handed_over.descriptors())
            .chain(&self.birthplace)
            .map(|descriptor| descriptor.as_raw_fd().unsigned_abs())
            .collect();
        kept.sort_unstable();
        let mut first = 3;
        for number in kept {
            if first < number {
                descriptor::close_between(first, number - 1).at(Step::CloseDescriptors, first)?;
            }
            first = number + 1;
        }
        descriptor::close_between(first, u32::MAX).at(Step::CloseDescriptors, first)
    }
}

/// Asks for SIGKILL when the launch helper ends. It has one thread, so this is not bound to a thread that ends earlier.
/// Whether it was gone before is told by the lifeline, since getppid is 0 across a pid namespace.
fn die_with_helper() -> Result<(), Failure> {
    credential::die_with_parent(libc::SIGKILL).at(Step::PrepareInit, "the death signal")
}

/// Installs the filter. A kernel without filters is a missing layer, where namespaces are behind it; what a preset allows makes
/// it a part of one.
fn filter_calls(plan: &PlanSpec, identity: Identity) -> Result<Option<MissingLayer>, Failure> {
    let of_container = (plan.isolation == Isolation::Container).then(|| {
        let network = match plan.network {
            Network::None => NO_NETWORK,
            Network::Proxy => PROXY_ONLY,
            Network::Host => &[],
        };
        let ids = if identity.is_own { &[] } else { SHARED_ID };
        let capabilities = file_capabilities(&plan.allowed_calls);
        Program::compile(
            DENIALS,
            &plan.allowed_calls,
            &[EVERYWHERE, network, ids, capabilities],
        )
    });
    let Some(program) = of_container.as_ref().or(plan.filter.as_ref()) else {
        return Ok(None);
    };
    match filter::install(program) {
        Err(error)
            if of_container.is_none()
                && matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) =>
        {
            let failure = Failure::new(Step::FilterCalls, "system calls", &error);
            return Ok(Some(MissingLayer::new(Layer::Seccomp, failure.to_string())));
        }
        other => other.at(Step::FilterCalls, "system calls")?,
    }
    if plan.allowed_calls.is_empty() {
        return Ok(None);
    }
    let allowed: Vec<_> = plan
        .allowed_calls
        .iter()
        .map(|group| group.as_str())
        .collect();
    let reason = format!(
        "only in part: the policy allows the calls of {}",
        allowed.join(", ")
    );
    Ok(Some(MissingLayer::new(Layer::Seccomp, reason)))
}

/// Refuses a sandbox from which the launch helper could be signalled: the init ends everything by a signal to all that it
/// reaches, and that must be its own.
fn refuse_reach(helper: i32) -> Result<(), Failure> {
    let reach = |error| Failure::new(Step::RestrictFiles, "signals to the launch helper", &error);
    match signal::send(helper, 0) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
        Err(error) => Err(reach(error)),
        Ok(()) => Err(reach(io::Error::from_raw_os_error(libc::ENOSYS))),
    }
}

fn drop_bounding_set() -> io::Result<()> {
    for number in 0..MAX_CAPABILITIES {
        match credential::drop_bounding(number) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            other => other?,
        }
    }
    Ok(())
}

fn drop_capabilities() -> io::Result<()> {
    credential::clear_ambient()?;
    credential::clear_capabilities()
}

/// Without isolation the workload keeps the caller's privileges, whatever they are.
fn report_privileges(missing: &mut Vec<MissingLayer>) -> Result<(), Failure> {
    if nix::unistd::geteuid().is_root() {
        missing.push(MissingLayer::new(
            Layer::UnprivilegedId,
            "isolation none keeps the caller's id, which is root",
        ));
    }
    if credential::has_capabilities().at(Step::DropPrivileges, "capabilities")? {
        missing.push(MissingLayer::new(
            Layer::NoCapabilities,
            "isolation none keeps the caller's capabilities",
        ));
    }
    Ok(())
}

/// Overwrites the argument list and the environment that /proc/PID/cmdline and environ show of this process.
///
/// It writes through /proc/self/mem, since their addresses are known to the kernel only, proc_pid_stat(5).
fn wipe_arguments() -> io::Result<()> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, rest) = stat.rsplit_once(") ").ok_or(Errno::EINVAL)?;
    // Fields 48 to 51 of the line, of which 3 is the first here: arg_start, arg_end, env_start, env_end.
    let mut fields = rest
        .split_ascii_whitespace()
        .skip(45)
        .map(|field| field.parse::<u64>().unwrap_or(0));
    let mut memory = OpenOptions::new().write(true).open("/proc/self/mem")?;
    for _ in 0..2 {
        let (start, end) = (fields.next().unwrap_or(0), fields.next().unwrap_or(0));
        let length = usize::try_from(end.saturating_sub(start)).unwrap_or(0);
        if start != 0 && length != 0 {
            memory.seek(SeekFrom::Start(start))?;
            memory.write_all(&vec![0; length])?;
        }
    }
    Ok(())
}
