//! What the workload sees of the host's files, as far as it matters for the supervisor's own.
//!
//! It resolves links and opens nothing. Invariant: a path of which no place is found cannot be reached by the workload's
//! file system.

use std::path::{Component, Path, PathBuf};

use super::settings::{Isolation, Mount};

/// Directories of the host that every isolated workload sees; the sandbox binds them.
const SYSTEM: [&str; 8] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc",
];

/// What the workload sees of the host's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// All of them: there is no isolation.
    Everything,
    /// These places and what is below them.
    Places(Vec<Place>),
}

/// A file or directory that the workload sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What people know it by, such as `the workspace`.
    pub name: String,
    /// Where it is on the host, absolute and without links.
    pub path: PathBuf,
}

impl Sight {
    /// The sight of a workload with that isolation, workspace and mounts.
    pub fn of(isolation: Isolation, workspace: &Path, mounts: &[Mount]) -> Self {
        if isolation == Isolation::None {
            return Self::Everything;
        }
        let place = |name: String, path: &Path| Place {
            name,
            path: path.to_owned(),
        };
        let mounts = mounts.iter().map(|mount| {
            let name = format!("the mount at {}", mount.target.display());
            place(name, &mount.source)
        });
        let system = SYSTEM
            .iter()
            .map(|path| place((*path).to_owned(), Path::new(path)));
        // A workspace that was refused has no path.
        let workspace = Some(place("the workspace".to_owned(), workspace))
            .filter(|workspace| workspace.path.is_absolute());
        Self::Places(workspace.into_iter().chain(mounts).chain(system).collect())
    }

    /// The place through which the workload sees the file at `path`, which need not exist yet; none without isolation, where
    /// no place is any better.
    pub fn place_of(&self, path: &Path) -> Option<&Place> {
        let Self::Places(places) = self else {
            return None;
        };
        let path = without_links(path);
        places.iter().find(|place| path.starts_with(&place.path))
    }
}

/// The path with the links of its existing part resolved; what does not exist has none.
pub fn without_links(path: &Path) -> PathBuf {
    let existing = path
        .ancestors()
        .find_map(|ancestor| Some((ancestor, ancestor.canonicalize().ok()?)));
    let Some((ancestor, mut resolved)) = existing else {
        return path.to_owned();
    };
    for part in path.strip_prefix(ancestor).unwrap_or(path).components() {
        match part {
            Component::ParentDir => {
                resolved.pop();
            }
            Component::Normal(_) | Component::RootDir | Component::Prefix(_) => resolved.push(part),
            Component::CurDir => {}
        }
    }
    resolved
}
