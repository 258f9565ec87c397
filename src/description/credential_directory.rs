//! Credentials by reference: the directory in which whoever operates the machine keeps one secret a file.
//!
//! It opens files by name beneath that directory and never outside of it. Links between its own files are followed, because
//! a secret of Kubernetes is one; links out of it are not.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::Mode;

use super::checker::plain_text;
use super::error::ErrorKind;
use super::layers::Faults;
use super::resolution::Sources;

/// Longest name of a file, in bytes (NAME_MAX, limits.h).
const MAX_NAME_BYTES: usize = 255;

const NAME_REMEDY: &str = "name a file of the directory of credentials: 1 to 255 letters, digits, -, _ and ., not with a . first";
const DIRECTORY_REMEDY: &str = "keep the secret under that name in the directory that --credentials-dir, STOCKADE_CREDENTIALS_DIR or CREDENTIALS_DIRECTORY names";

/// The directory of the credentials that are given by reference.
pub(crate) struct CredentialDirectory(Option<PathBuf>);

impl CredentialDirectory {
    /// The directory that flag or variable names, else the one that the service manager made (systemd.exec(5)).
    pub(crate) fn of(sources: &mut Sources<'_>, faults: &mut Faults) -> Self {
        let named = match sources.options.remove("credentials-dir") {
            Some(given) => Some(given),
            None => sources
                .environment
                .option("STOCKADE_CREDENTIALS_DIR", faults),
        };
        if let Some(given) = named {
            return match plain_text(&given).filter(|path| !path.is_empty()) {
                Some(path) => Self(Some(sources.current_dir.join(path))),
                None => {
                    let expected = "give the path of a directory";
                    faults.add(ErrorKind::Invalid, "credentials-dir", &given, expected);
                    Self(None)
                }
            };
        }
        let of_manager = sources.environment.get("CREDENTIALS_DIRECTORY");
        Self(
            of_manager
                .map(PathBuf::from)
                .filter(|path| path.is_absolute()),
        )
    }

    /// Opens the file that a credential refers to.
    pub(crate) fn open(&self, name: &str) -> Result<File, (ErrorKind, &'static str)> {
        if !is_name(name) {
            return Err((ErrorKind::Invalid, NAME_REMEDY));
        }
        let unusable = |cause: String| (ErrorKind::Unusable { cause }, DIRECTORY_REMEDY);
        let Some(directory) = &self.0 else {
            return Err(unusable("no directory of credentials is named".to_owned()));
        };
        let shown = directory.join(name);
        let failed = |errno: Errno| match errno {
            Errno::EXDEV | Errno::ELOOP => unusable(format!(
                "{}: it is a link out of the directory",
                shown.display()
            )),
            errno => unusable(format!("{}: {}", shown.display(), errno.desc())),
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(directory, flags, Mode::empty()).map_err(failed)?;
        let file = File::from(beneath(&directory, name).map_err(failed)?);
        let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
        if is_file {
            Ok(file)
        } else {
            Err(unusable(format!("{}: it is no file", shown.display())))
        }
    }
}

/// Opens without waiting, so that a pipe under that name holds nobody up.
fn beneath(directory: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let how = OpenHow::new()
        .flags(flags)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    match openat2(directory, name, how) {
        // Kernels before 5.6 and gVisor do not have the call, and old seccomp filters answer EPERM: then no link is
        // followed at all.
        Err(Errno::ENOSYS | Errno::EPERM) => {
            openat(directory, name, flags | OFlag::O_NOFOLLOW, Mode::empty())
        }
        answer => answer,
    }
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(is_plain)
}
