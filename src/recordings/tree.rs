//! Directory trees: their size and their removal, without following links.
//!
//! Holds one descriptor for each level. Invariant: nothing outside of the tree is read or removed, whatever renames and
//! links another process makes meanwhile.

use std::os::fd::AsFd;

use nix::unistd::UnlinkatFlags;

use super::directory::Directory;
use super::error::RecordingsError;
use super::path::MAX_COMPONENTS;
use super::store::is_directory;

/// Deepest tree: an artifact of the longest path, with its directory and the run's own, and room to spare.
const MAX_DEPTH: usize = MAX_COMPONENTS + 8;

/// Sum of the sizes of everything in a directory that is not a directory, in bytes. What vanishes meanwhile counts as
/// nothing, and so does what has a name that is not UTF-8, which we never make.
pub(super) fn size_of(directory: Directory<'_>) -> Result<u64, RecordingsError> {
    size_below(directory, MAX_DEPTH)
}

fn size_below(directory: Directory<'_>, depth_left: usize) -> Result<u64, RecordingsError> {
    let mut total = 0_u64;
    for name in directory.names()? {
        let Some(name) = name.to_str() else { continue };
        let Some(stat) = directory.stat(name)? else {
            continue;
        };
        let size = if is_directory(&stat) {
            let path = directory.path_of(name);
            let Some(depth_left) = depth_left.checked_sub(1) else {
                return Err(too_deep(path));
            };
            match directory.open_directory(name) {
                Ok(child) => size_below(Directory::new(child.as_fd(), &path), depth_left)?,
                Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => 0,
                Err(error) => return Err(error),
            }
        } else {
            u64::try_from(stat.st_size).unwrap_or(0)
        };
        total = total.saturating_add(size);
    }
    Ok(total)
}

/// Removes the directory `name` of `parent` with everything in it. What vanishes meanwhile counts as removed.
pub(super) fn remove(parent: Directory<'_>, name: &str) -> Result<(), RecordingsError> {
    remove_below(parent, name, MAX_DEPTH)
}

fn remove_below(
    parent: Directory<'_>,
    name: &str,
    depth_left: usize,
) -> Result<(), RecordingsError> {
    let path = parent.path_of(name);
    let child = match parent.open_directory(name) {
        Ok(child) => child,
        Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => return Ok(()),
        Err(error) => return Err(error),
    };
    let directory = Directory::new(child.as_fd(), &path);
    for entry in directory.names()? {
        let Some(entry) = entry.to_str() else {
            // Left in place; removing the directory then says that it is not empty.
            continue;
        };
        let Some(stat) = directory.stat(entry)? else {
            continue;
        };
        if is_directory(&stat) {
            let Some(depth_left) = depth_left.checked_sub(1) else {
                return Err(too_deep(directory.path_of(entry)));
            };
            remove_below(directory, entry, depth_left)?;
        } else {
            directory.remove(entry, UnlinkatFlags::NoRemoveDir)?;
        }
    }
    parent.remove(name, UnlinkatFlags::RemoveDir)
}

fn too_deep(path: std::path::PathBuf) -> RecordingsError {
    RecordingsError::TooDeep {
        path,
        max_depth: MAX_DEPTH,
    }
}
