//! The mounts of a run, in their long form (`{source, target, access}`) and their short one (`SOURCE[:TARGET][:ro|rw]`).

use std::path::{Component, Path, PathBuf};

use super::checker::{Checker, plain_text};
use super::error::ErrorKind;
use super::layers::suggestion;
use super::settings::{Access, Mount, MountKey};
use super::value::{Given, Value, shown_name};

/// Most mounts of a run: each one is a few system calls at the start of the sandbox.
const MAX_MOUNTS: usize = 64;

/// Directories that the sandbox builds itself; a mount there would undo its masks.
const RESERVED: [&str; 4] = ["/proc", "/sys", "/dev", stockade_sandbox::OUTPUT];

const SHORT_FORM: &str = "give SOURCE[:TARGET][:ro|rw] or {source, target, access}";
const PAIR: &str = "give SOURCE[:TARGET]";
pub(super) const TARGET_REMEDY: &str =
    "give an absolute path without .., not / and not in /proc, /sys, /dev or /output";

/// A mount as it was written.
struct Written {
    source: Given,
    target: Option<Given>,
    access: Access,
}

/// A source as it was written, before its links are followed.
struct Way {
    key: String,
    given: Given,
    path: PathBuf,
}

impl Checker<'_> {
    /// The mounts of the run, whose workspace is writable if there is one.
    pub(crate) fn mounts(&mut self, writable_workspace: Option<&Path>) -> Vec<Mount> {
        let mut mounts: Vec<Mount> = Vec::new();
        let mut ways = Vec::new();
        for key in [MountKey::Mounts, MountKey::Ro, MountKey::Rw] {
            self.add_mounts(key, &mut mounts, &mut ways);
        }
        let writable = writable_places(writable_workspace, &mounts);
        for way in ways {
            if let Err(error) = stockade_sandbox::resolve(&way.path, &writable) {
                let cause = error.to_string();
                let kind = ErrorKind::Unusable { cause };
                let expected = "give a path without links in what the workload may write";
                self.faults.add(kind, way.key, &way.given, expected);
            }
        }
        mounts
    }

    /// Adds the mounts of one key.
    fn add_mounts(&mut self, mount_key: MountKey, mounts: &mut Vec<Mount>, ways: &mut Vec<Way>) {
        let (name, access) = match mount_key {
            MountKey::Mounts => ("mounts", None),
            MountKey::Ro => ("ro", Some(Access::ReadOnly)),
            MountKey::Rw => ("rw", Some(Access::ReadWrite)),
        };
        let Some((key, given)) = self.take(name) else {
            return;
        };
        let Value::List(items) = &given.value else {
            self.faults.add_by_table(ErrorKind::Invalid, key, &given);
            return;
        };
        let count = mounts.len() + items.len();
        if count > MAX_MOUNTS {
            let expected = format!("give at most {MAX_MOUNTS} mounts, not {count}");
            self.faults
                .add_excess(key.name, count, &given.origin, expected);
            return;
        }
        for (idx, item) in items.iter().enumerate() {
            let name = format!("{}[{idx}]", key.name);
            let written = match (&item.value, access) {
                (Value::Text(text), None) => self.short_form(&name, item, text),
                (Value::Text(text), Some(access)) => {
                    self.pair(&name, item, (text.as_str(), access), PAIR)
                }
                (Value::Table(entries), None) => self.long_form(&name, item, entries),
                _ => {
                    let expected = access.map_or(SHORT_FORM, |_| PAIR);
                    self.faults.add(ErrorKind::Invalid, &name, item, expected);
                    None
                }
            };
            let mount = written.and_then(|written| self.mount(&name, written, mount_key, ways));
            let Some(mount) = mount else {
                continue;
            };
            if mounts.iter().any(|other| other.target == mount.target) {
                let expected = "give each target once";
                self.faults.add(ErrorKind::Conflict, name, item, expected);
            } else {
                mounts.push(mount);
            }
        }
    }

    /// `SOURCE[:TARGET]`; what it should be is told by `form`.
    fn pair(
        &mut self,
        name: &str,
        item: &Given,
        (text, access): (&str, Access),
        form: &str,
    ) -> Option<Written> {
        let (source, target) = match text.split_once(':') {
            Some((source, target)) => (source, Some(target)),
            None => (text, None),
        };
        if source.is_empty() || target.is_some_and(|target| target.contains(':')) {
            self.faults.add(ErrorKind::Invalid, name, item, form);
            return None;
        }
        let part = |text: &str| Given::text(text, item.origin.clone());
        Some(Written {
            source: part(source),
            target: target.map(part),
            access,
        })
    }

    fn short_form(&mut self, name: &str, item: &Given, text: &str) -> Option<Written> {
        let written = match text.rsplit_once(':') {
            Some((paths, "ro")) => (paths, Access::ReadOnly),
            Some((paths, "rw")) => (paths, Access::ReadWrite),
            _ => (text, Access::ReadOnly),
        };
        self.pair(name, item, written, SHORT_FORM)
    }

    fn long_form(
        &mut self,
        name: &str,
        item: &Given,
        entries: &[(String, Given)],
    ) -> Option<Written> {
        let (mut source, mut target, mut access) = (None, None, Some(Access::ReadOnly));
        let mut unknown_entries = 0;
        for (entry, given) in entries {
            match entry.as_str() {
                "source" => source = Some(given.clone()),
                "target" => target = Some(given.clone()),
                "access" => {
                    access = match plain_text(given) {
                        Some("read-only") => Some(Access::ReadOnly),
                        Some("read-write") => Some(Access::ReadWrite),
                        _ => None,
                    };
                    if access.is_none() {
                        let key = format!("{name}.access");
                        let expected = r#"give "read-only" or "read-write""#;
                        self.faults.add(ErrorKind::Invalid, key, given, expected);
                    }
                }
                unknown => {
                    let expected = suggestion(unknown, ["source", "target", "access"], SHORT_FORM);
                    let key = format!("{name}.{}", shown_name(unknown));
                    unknown_entries += 1;
                    self.faults.add_without_value(
                        ErrorKind::UnknownKey,
                        key,
                        &given.origin,
                        expected,
                    );
                }
            }
        }
        if source.is_none() {
            let expected = "give it a source, the path on the host";
            self.faults.add(ErrorKind::Invalid, name, item, expected);
        }
        if unknown_entries > 0 {
            return None;
        }
        Some(Written {
            source: source?,
            target,
            access: access?,
        })
    }

    fn mount(
        &mut self,
        name: &str,
        written: Written,
        key: MountKey,
        ways: &mut Vec<Way>,
    ) -> Option<Mount> {
        let source = plain_text(&written.source)
            .filter(|text| !text.is_empty())
            .map(|text| self.absolute(text, &written.source.origin));
        let Some(source) = source else {
            let key = format!("{name}.source");
            let expected = "give a path of the host";
            self.faults
                .add(ErrorKind::Invalid, key, &written.source, expected);
            return None;
        };
        // The target of a link is where the caller said, not where the link leads.
        let target_given = written.target.unwrap_or_else(|| {
            Given::text(
                source.to_string_lossy().into_owned(),
                written.source.origin.clone(),
            )
        });
        let target = plain_text(&target_given).and_then(target_path);
        if target.is_none() {
            let key = format!("{name}.target");
            self.faults
                .add(ErrorKind::Invalid, key, &target_given, TARGET_REMEDY);
        }
        match self.existing(&source) {
            Ok(found) => {
                ways.push(Way {
                    key: format!("{name}.source"),
                    given: written.source,
                    path: source,
                });
                Some(Mount {
                    source: found,
                    target: target?,
                    access: written.access,
                    key,
                })
            }
            Err(kind) => {
                let key = format!("{name}.source");
                let expected = "give a path that exists";
                self.faults.add(kind, key, &written.source, expected);
                None
            }
        }
    }
}

/// Directories and files of the host that the workload may write, whose links an earlier run may have made.
pub(super) fn writable_places(workspace: Option<&Path>, mounts: &[Mount]) -> Vec<PathBuf> {
    let written = mounts
        .iter()
        .filter(|mount| mount.access == Access::ReadWrite);
    let sources = written.map(|mount| mount.source.as_path());
    sources.chain(workspace).map(Path::to_path_buf).collect()
}

/// The target without `.` and doubled slashes, if it may be mounted on.
pub(super) fn target_path(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let is_plain = path.is_absolute()
        && path
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let path: PathBuf = path.components().collect();
    let is_reserved = RESERVED.iter().any(|reserved| path.starts_with(reserved));
    (is_plain && !is_reserved && path != Path::new("/")).then_some(path)
}
