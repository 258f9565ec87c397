//! Opening what is at a path without following any link on the way.
//!
//! Owns the two ways: openat2(2), and a walk that stands in for it where a filter or an old kernel hides the call, as our
//! own filter does within a sandbox. Never opens more than a name (O_PATH). Invariant: what is opened lies beneath the
//! root at that path, and no component was a link.

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::libc;
use nix::sys::stat::{Mode, SFlag, fstat};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

/// Opens the path, absolute or not, beneath a directory that counts as the root.
///
/// # Errors
/// ELOOP if any part is a link, and as openat2(2).
pub(crate) fn open(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(
            ResolveFlag::RESOLVE_IN_ROOT
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        );
    match openat2(root, path, how) {
        // EPERM is the answer of filters that are older than the call.
        Err(Errno::ENOSYS | Errno::EPERM) => walk(root, path),
        other => Ok(other?),
    }
}

/// Opens one component at a time.
fn walk(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut current = openat(root, ".", flags | OFlag::O_DIRECTORY, Mode::empty())?;
    for part in path.components() {
        let name = match part {
            Component::Normal(name) => name,
            Component::RootDir | Component::CurDir => continue,
            // No path of a plan has one: they are resolved, or checked.
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::Error::from_raw_os_error(libc::EXDEV));
            }
        };
        let next = openat(&current, name, flags, Mode::empty())?;
        // With O_PATH a link is opened itself, and as a directory on the way it gives ENOTDIR: both are told as one.
        let format = SFlag::from_bits_truncate(fstat(next.as_fd())?.st_mode) & SFlag::S_IFMT;
        if format == SFlag::S_IFLNK {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        current = next;
    }
    Ok(current)
}

#[cfg(test)]
mod tests {
    use super::{open, walk};
    use nix::sys::stat::fstat;
    use std::fs::{self, File};
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::os::unix::fs::symlink;
    use std::path::Path;

    #[test]
    fn both_ways_open_the_same_and_refuse_the_same() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path();
        fs::create_dir_all(path.join("a/b")).expect("directories");
        fs::write(path.join("a/b/file"), "x").expect("file");
        symlink("a", path.join("link")).expect("link");
        symlink("b/file", path.join("a/last")).expect("link");
        let root = File::open(path).expect("opens");
        let ways: [fn(BorrowedFd<'_>, &Path) -> std::io::Result<OwnedFd>; 2] = [open, walk];
        for way in ways {
            let errno = |path: &str| {
                way(root.as_fd(), Path::new(path))
                    .err()
                    .and_then(|error| error.raw_os_error())
            };
            let opened = way(root.as_fd(), Path::new("/a/b/file")).expect("opens");
            let expected = fs::metadata(path.join("a/b/file")).expect("metadata");
            let inode = std::os::unix::fs::MetadataExt::ino(&expected);
            assert_eq!(fstat(&opened).expect("status").st_ino, inode);
            assert_eq!(errno("/"), None);
            assert_eq!(errno("a/./b"), None);
            for link in ["link", "link/b", "/link/b/file", "a/last"] {
                assert_eq!(errno(link), Some(nix::libc::ELOOP), "{link}");
            }
            assert_eq!(errno("a/absent/file"), Some(nix::libc::ENOENT));
            assert_eq!(errno("a/b/file/x"), Some(nix::libc::ENOTDIR));
        }
    }
}
