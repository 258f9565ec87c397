//! Where the workload begins, as whom, and the directories in memory that it has beside the usual ones.
//!
//! It reads the keys `chdir`, `uid`, `gid` and `tmpfs`. What exists in the sandbox is found when it is built.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::checker::{Checker, Unit, plain_text};
use super::error::ErrorKind;
use super::keys::Key;
use super::mounts::{TARGET_REMEDY, target_path};
use super::origin::Origin;
use super::quantity;
use super::settings::{Mount, Tmpfs};
use super::value::{Given, Value};

/// Most directories in memory of a run.
const MAX_TMPFS: usize = 64;
/// The least and most size of one: sixteen pages, and what memory may have.
const TMPFS_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=16 << 40;
/// The size of one that nobody sizes.
const DEFAULT_TMPFS_BYTES: u64 = 512 << 20;
/// Longest path, in bytes: PATH_MAX (limits.h) less the final NUL.
const MAX_PATH_BYTES: usize = 4_095;
/// The highest id; the one above it means none (chown(2)).
const MAX_ID: u64 = 0xffff_fffe;

const TMPFS_FORM: &str = "give TARGET[:SIZE], such as /data:64MiB";

impl Checker<'_> {
    /// The directory in which each launch begins.
    pub(crate) fn chdir(&mut self, workspace: &Path) -> PathBuf {
        let Some((key, given)) = self.take("chdir") else {
            return workspace.to_owned();
        };
        match plain_text(&given) {
            Some(path) if !path.is_empty() && path.len() <= MAX_PATH_BYTES => workspace.join(path),
            _ => {
                self.faults.add_by_table(ErrorKind::Invalid, key, &given);
                workspace.to_owned()
            }
        }
    }

    /// A user or group id; none for the usual one.
    pub(crate) fn id(&mut self, name: &str) -> Option<u32> {
        Key::find(name).and_then(|key| self.layer.get(key))?;
        u32::try_from(self.number(name, Unit::Count, 0..=MAX_ID, 0)).ok()
    }

    /// Refuses what only isolation could give, where there is none.
    pub(crate) fn refuse_unenforced(
        &mut self,
        key: &str,
        value: Option<String>,
        origins: &BTreeMap<String, Origin>,
    ) {
        let Some(value) = value else {
            return;
        };
        let origin = origins.get(key).cloned().unwrap_or(Origin::Unset);
        let given = Given::text(value, origin);
        let expected = "with isolation = \"none\" nothing enforces it; give none, or leave isolation at \"best\"";
        self.faults.add(ErrorKind::Conflict, key, &given, expected);
    }

    /// The directories in memory; `mounts` are those of the run.
    pub(crate) fn tmpfs(&mut self, mounts: &[Mount]) -> Vec<Tmpfs> {
        let Some((key, given)) = self.take("tmpfs") else {
            return Vec::new();
        };
        let Value::List(items) = &given.value else {
            self.faults.add_by_table(ErrorKind::Invalid, key, &given);
            return Vec::new();
        };
        if items.len() > MAX_TMPFS {
            let expected = format!("give at most {MAX_TMPFS}, not {}", items.len());
            self.faults
                .add_excess(key.name, items.len(), &given.origin, expected);
            return Vec::new();
        }
        let mut all: Vec<Tmpfs> = Vec::new();
        for (idx, item) in items.iter().enumerate() {
            let name = format!("tmpfs[{idx}]");
            let one = match one_tmpfs(item) {
                Ok(one) => one,
                Err((kind, expected)) => {
                    self.faults.add(kind, name, item, expected);
                    continue;
                }
            };
            let is_taken = mounts.iter().any(|mount| mount.target == one.target)
                || all.iter().any(|other| other.target == one.target);
            if is_taken {
                let expected = "give each target once";
                self.faults.add(ErrorKind::Conflict, name, item, expected);
            } else {
                all.push(one);
            }
        }
        all
    }
}

/// Reads `TARGET[:SIZE]`.
fn one_tmpfs(given: &Given) -> Result<Tmpfs, (ErrorKind, &'static str)> {
    let text = plain_text(given).ok_or((ErrorKind::Invalid, TMPFS_FORM))?;
    let (target, bytes) = match text.rsplit_once(':') {
        None => (text, DEFAULT_TMPFS_BYTES),
        Some((target, size)) => {
            let bytes = quantity::bytes(size).ok_or((ErrorKind::Invalid, TMPFS_FORM))?;
            (target, bytes)
        }
    };
    if !TMPFS_BYTES.contains(&bytes) {
        return Err((ErrorKind::OutOfBounds, "give a size of 64 KiB to 16 TiB"));
    }
    let target = target_path(target).ok_or((ErrorKind::Invalid, TARGET_REMEDY))?;
    Ok(Tmpfs { target, bytes })
}
