//! Which paths inside the sandbox are hidden.
//!
//! Owns the list of secrets below /etc and the translation of masked host paths through the binds.
//! Never hides by refusing access: a mask is a mount on top.

use super::{BindSpec, PlanError};
use crate::policy::Access;
use crate::text::Text;
use std::io;
use std::path::{Path, PathBuf};

/// Secrets of a host, beside the keys of its SSH server.
const SECRETS: [&str; 8] = [
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/security/opasswd",
    "/etc/ssl/private",
];

/// Returns the secrets below /etc that exist. Those that are links are left out: their targets are not in the sandbox.
pub(super) fn system() -> Vec<PathBuf> {
    let mut masks: Vec<PathBuf> = SECRETS.iter().map(PathBuf::from).collect();
    if let Ok(entries) = Path::new("/etc/ssh").read_dir() {
        let keys = entries.flatten().map(|entry| entry.path());
        masks.extend(keys.filter(|path| path.to_string_lossy().ends_with("_key")));
    }
    masks.retain(|path| {
        path.symlink_metadata()
            .is_ok_and(|metadata| !metadata.is_symlink())
    });
    masks
}

/// Returns every other place at which a bind shows one of `secrets`. One that is named itself is shown: that is what was asked
/// for.
pub(super) fn shown_elsewhere(secrets: &[PathBuf], binds: &[BindSpec]) -> Vec<Text> {
    let places = binds.iter().flat_map(|bind| {
        secrets.iter().filter_map(|secret| {
            let rest = secret.strip_prefix(bind.source.as_path()).ok()?;
            let place = bind.target.as_path().join(rest);
            (!rest.as_os_str().is_empty() && place != *secret).then(|| Text::from(place))
        })
    });
    places.collect()
}

/// Returns every place inside at which a bind would show a masked path of the host.
pub(super) fn translate(masks: &[PathBuf], binds: &[BindSpec]) -> Result<Vec<Text>, PlanError> {
    let mut inside = Vec::new();
    for mask in masks {
        let resolved = match mask.canonicalize() {
            Ok(resolved) => resolved,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                refuse_creatable(mask, binds)?;
                continue;
            }
            Err(source) => {
                return Err(PlanError::Mask {
                    path: mask.clone(),
                    source,
                });
            }
        };
        for bind in binds {
            let source = bind.source.as_path();
            if source.starts_with(&resolved) {
                return Err(PlanError::MaskedSource {
                    path: source.to_path_buf(),
                    mask: mask.clone(),
                });
            }
            if let Ok(rest) = resolved.strip_prefix(source) {
                inside.push(Text::from(bind.target.as_path().join(rest)));
            }
        }
    }
    Ok(inside)
}

/// Refuses masks of what lies in a writable bind: who has mounts of his own can leave the mask behind in another mount
/// namespace and rename what it hid.
pub(super) fn refuse_movable(masks: &[PathBuf], binds: &[BindSpec]) -> Result<(), PlanError> {
    let is_writable = |path: &Path| {
        let mut writable = binds.iter().filter(|bind| bind.access == Access::ReadWrite);
        writable.any(|bind| path.starts_with(bind.source.as_path()))
    };
    let movable = masks
        .iter()
        .find(|mask| mask.canonicalize().is_ok_and(|path| is_writable(&path)));
    match movable {
        Some(mask) => Err(PlanError::MaskMovable { path: mask.clone() }),
        None => Ok(()),
    }
}

/// Refuses an absent path below a writable bind: its nearest existing ancestor tells where it would be created.
fn refuse_creatable(mask: &Path, binds: &[BindSpec]) -> Result<(), PlanError> {
    let ancestor = mask
        .ancestors()
        .find_map(|path| path.canonicalize().ok())
        .unwrap_or_default();
    let is_creatable = binds.iter().any(|bind| {
        bind.access == Access::ReadWrite && ancestor.starts_with(bind.source.as_path())
    });
    if is_creatable {
        return Err(PlanError::MaskMissing {
            path: mask.to_path_buf(),
        });
    }
    Ok(())
}
