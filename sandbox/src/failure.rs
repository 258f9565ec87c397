//! Why a set-up or a launch stopped: the step, what it was done to, and the errno.
//!
//! Owns the closed list of steps. Never carries a path of the supervisor that the operator did not name.

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::io;

/// One step of a build or of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The child of the launch helper, in new namespaces.
    CreateNamespaces,
    /// The control group of the sandbox.
    JoinGroup,
    /// The uid and gid maps of the user namespace.
    WriteIdMaps,
    /// The translation of file owners on a bind that the workload may write.
    MapOwners,
    /// The change to the sandbox's user, group and groups.
    ChangeIdentity,
    /// The copy of a mount of the host.
    CopyMount,
    /// The comparison of what a path names now with what the plan opened.
    CheckSource,
    /// A new tmpfs, procfs or devpts.
    MakeFilesystem,
    /// A directory, file or link of the private root.
    MakeEntry,
    /// A directory of the run, in a container.
    MakeDirectory,
    /// The attributes of a mount: read-only, no setuid, no devices.
    RestrictMount,
    /// The attachment of a mount at its target.
    AttachMount,
    /// The hiding of a path.
    MaskPath,
    /// The exchange of the root.
    PivotRoot,
    /// The loopback interface.
    RaiseLoopback,
    /// The listener of the proxy.
    Listen,
    /// The host name.
    SetHostName,
    /// Capabilities, no_new_privs and limits.
    DropPrivileges,
    /// The Landlock domain.
    RestrictFiles,
    /// The filter of system calls.
    FilterCalls,
    /// The parent-death signal, the session and other attributes of the init.
    PrepareInit,
    /// The closing of inherited descriptors.
    CloseDescriptors,
    /// The conversation between supervisor, launch helper and init.
    Exchange,
    /// The fork of a launch.
    Fork,
    /// The session of a launch.
    NewSession,
    /// The placing of a launch's descriptors.
    PlaceDescriptors,
    /// The working directory of a launch.
    EnterDirectory,
    /// The execve of a launch.
    Execute,
}

impl Step {
    /// Returns what the step tries to do, for "cannot ...".
    fn attempt(self) -> &'static str {
        match self {
            Self::CreateNamespaces => "create the namespaces",
            Self::JoinGroup => "join the control group by",
            Self::WriteIdMaps => "write the id maps",
            Self::MapOwners => "map the file owners of",
            Self::ChangeIdentity => "change to the sandbox's identity",
            Self::CopyMount => "copy the mount of",
            Self::CheckSource => "find again what the plan opened as",
            Self::MakeFilesystem => "make the filesystem",
            Self::MakeEntry => "make in the private root",
            Self::MakeDirectory => "make for the run the directory",
            Self::RestrictMount => "restrict the mount of",
            Self::AttachMount => "attach the mount at",
            Self::MaskPath => "mask",
            Self::PivotRoot => "change the root to",
            Self::RaiseLoopback => "bring up the interface",
            Self::Listen => "listen on",
            Self::SetHostName => "set the host name to",
            Self::DropPrivileges => "drop",
            Self::RestrictFiles => "restrict by Landlock",
            Self::FilterCalls => "install the filter of",
            Self::PrepareInit => "prepare the in-sandbox init:",
            Self::CloseDescriptors => "close",
            Self::Exchange => "talk to",
            Self::Fork => "fork for",
            Self::NewSession => "start a session for",
            Self::PlaceDescriptors => "place the descriptors of",
            Self::EnterDirectory => "enter the directory",
            Self::Execute => "execute",
        }
    }

    /// Returns what the operator can do about it where that is not plain, with what joins it to the errno.
    fn remedy(self, errno: Errno) -> &'static str {
        match (self, errno) {
            (Self::MapOwners, _) => {
                "; files of another owner need an id map, which is not to be had there: name a directory of an ordinary user, or let the workload only read it"
            }
            (Self::MakeEntry, Errno::ENOENT | Errno::EROFS | Errno::EACCES) => {
                "; it is not in what is shown there, where nothing is made: make it on the host first, or choose a place that nothing else is shown at"
            }
            (Self::MakeEntry, Errno::ENOTDIR | Errno::ELOOP) => {
                "; a part of the path is a file or a link in what is shown there, and links are not followed: choose a path of directories alone"
            }
            _ => "",
        }
    }
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("cannot {} {object}: {}{}", .step.attempt(), Errno::from_raw(*.errno), .step.remedy(Errno::from_raw(*.errno)))]
pub struct Failure {
    /// What was tried.
    pub step: Step,
    /// What it was tried on: a path, an interface, a set.
    pub object: String,
    /// The errno that the kernel gave.
    pub errno: i32,
}

impl Failure {
    /// Makes a failure from an error of the system.
    pub(crate) fn new(step: Step, object: impl ToString, error: &io::Error) -> Self {
        let errno = error.raw_os_error().unwrap_or(match error.kind() {
            io::ErrorKind::TimedOut => Errno::ETIMEDOUT as i32,
            io::ErrorKind::BrokenPipe => Errno::EPIPE as i32,
            io::ErrorKind::InvalidInput => Errno::EINVAL as i32,
            _ => Errno::EIO as i32,
        });
        Self {
            step,
            object: object.to_string(),
            errno,
        }
    }

    /// Tells whether the host refused isolation as such, so that no other policy of the same tier can succeed.
    #[must_use]
    pub fn isolation_unavailable(&self) -> bool {
        let refused = matches!(
            Errno::from_raw(self.errno),
            Errno::EPERM | Errno::ENOSYS | Errno::EACCES
        );
        match self.step {
            Step::CreateNamespaces | Step::WriteIdMaps => true,
            // Without a word over the mounts of this namespace; EACCES is a path that the caller may not open.
            Step::CopyMount => matches!(Errno::from_raw(self.errno), Errno::EPERM | Errno::ENOSYS),
            Step::ChangeIdentity
            | Step::MakeFilesystem
            | Step::RestrictMount
            | Step::PivotRoot
            | Step::RaiseLoopback
            | Step::SetHostName
            | Step::DropPrivileges
            | Step::RestrictFiles
            | Step::FilterCalls => refused,
            Step::JoinGroup
            | Step::MapOwners
            | Step::CheckSource
            | Step::MakeEntry
            | Step::MakeDirectory
            | Step::AttachMount
            | Step::MaskPath
            | Step::Listen
            | Step::PrepareInit
            | Step::CloseDescriptors
            | Step::Exchange
            | Step::Fork
            | Step::NewSession
            | Step::PlaceDescriptors
            | Step::EnterDirectory
            | Step::Execute => false,
        }
    }
}

/// Gives a result of the system its step and object.
pub(crate) trait At<T> {
    /// Names the step that failed and what it was done to.
    fn at(self, step: Step, object: impl ToString) -> Result<T, Failure>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, step: Step, object: impl ToString) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(step, object, &error))
    }
}

impl<T> At<T> for nix::Result<T> {
    fn at(self, step: Step, object: impl ToString) -> Result<T, Failure> {
        self.map_err(|errno| Failure::new(step, object, &io::Error::from(errno)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, Step};

    #[test]
    fn a_failure_names_step_object_and_errno() {
        let failure = Failure {
            step: Step::AttachMount,
            object: "/usr".to_owned(),
            errno: 1,
        };
        assert_eq!(
            failure.to_string(),
            "cannot attach the mount at /usr: EPERM: Operation not permitted"
        );
    }
}
