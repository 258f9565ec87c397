//! What control groups the host gives: where they are mounted, and in which of them this process is.
//!
//! Owns the parsing of mountinfo (proc_pid_mountinfo(5)) and of `/proc/self/cgroup` (cgroups(7)). Never writes.
//! Invariant: a directory that it names was there, and is that of the calling process or, where that cannot be seen as in a
//! container, the visible root.

use super::Controller;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The tree of version 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unified {
    /// Where it is mounted.
    pub(super) mount: PathBuf,
    /// The group of the calling process.
    pub(super) own: PathBuf,
}

/// The groups of the calling process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Host {
    /// In the hierarchies of version 1; controllers that are mounted together share a directory.
    pub(super) legacy: BTreeMap<Controller, PathBuf>,
    /// In the tree of version 2, which has no controllers where version 1 has them all.
    pub(super) unified: Option<Unified>,
}

impl Host {
    /// Looks. A host that shows nothing has no groups.
    pub(super) fn find() -> Self {
        let read = |path| fs::read(path).unwrap_or_default();
        let mounts = read("/proc/self/mountinfo");
        let groups = read("/proc/self/cgroup");
        Self::parse(&mounts, &String::from_utf8_lossy(&groups), Path::is_dir)
    }

    fn parse(mounts: &[u8], groups: &str, is_there: impl Fn(&Path) -> bool) -> Self {
        let mut host = Self::default();
        for mount in mounts.split(|byte| *byte == b'\n').filter_map(Mount::parse) {
            let own = |wanted: &dyn Fn(&str) -> bool| {
                let path = own_path(groups, wanted)?;
                let own = mount.directory_of(path);
                let visible = [own, mount.point.clone()];
                visible.into_iter().find(|directory| is_there(directory))
            };
            if mount.is_unified {
                host.unified = host.unified.or_else(|| {
                    Some(Unified {
                        own: own(&str::is_empty)?,
                        mount: mount.point.clone(),
                    })
                });
                continue;
            }
            for controller in Controller::ALL {
                let name = controller.name();
                let is_its = mount.options.split(',').any(|option| option == name);
                let directory = own(&|names| names.split(',').any(|one| one == name));
                if let (true, Some(directory)) = (is_its, directory) {
                    host.legacy.entry(controller).or_insert(directory);
                }
            }
        }
        host
    }
}

/// The path behind the line of /proc/self/cgroup whose controllers are wanted; version 2 has none.
fn own_path<'a>(groups: &'a str, wanted: &dyn Fn(&str) -> bool) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        wanted(controllers).then_some(path)
    })
}

struct Mount {
    root: PathBuf,
    point: PathBuf,
    is_unified: bool,
    options: String,
}

impl Mount {
    /// Reads a line, if it is one of control groups.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let root = unescape(fields.nth(3)?);
        let point = unescape(fields.next()?);
        // Optional fields end at a lone hyphen.
        fields.by_ref().find(|field| *field == b"-")?;
        let is_unified = match fields.next()? {
            b"cgroup2" => true,
            b"cgroup" => false,
            _ => return None,
        };
        let options = String::from_utf8_lossy(fields.nth(1)?).into_owned();
        Some(Self {
            root,
            point,
            is_unified,
            options,
        })
    }

    /// Where a group's path is below the mount point; one that lies outside of what is mounted is the mount point.
    fn directory_of(&self, path: &str) -> PathBuf {
        let path = Path::new(path);
        let has_parent = path.components().any(|part| part.as_os_str() == "..");
        match path.strip_prefix(&self.root) {
            Ok(below) if !has_parent => self.point.join(below),
            _ => self.point.clone(),
        }
    }
}

/// Undoes the escapes of mountinfo: a backslash and three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        let digits = behind.get(..3).and_then(|d| std::str::from_utf8(d).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (first, code) {
            (b'\\', Some(code)) => {
                bytes.push(code);
                rest = behind.get(3..).unwrap_or_default();
            }
            _ => bytes.push(first),
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::{Controller, Host, Unified};
    use std::path::Path;

    const HYBRID: &[u8] = b"31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    fn parse(mounts: &[u8], groups: &str) -> Host {
        Host::parse(mounts, groups, |_| true)
    }

    #[test]
    fn a_hybrid_host_has_limits_in_version_1_and_a_tree_of_version_2() {
        let groups = "4:memory:/a/b\n2:cpu,cpuacct:/c\n1:name=systemd:/\n0::/u\n";
        let host = parse(HYBRID, groups);
        let of = |controller| {
            host.legacy
                .get(&controller)
                .map(|path| path.to_str().unwrap())
        };
        assert_eq!(of(Controller::Memory), Some("/sys/fs/cgroup/memory/a/b"));
        assert_eq!(of(Controller::Cpu), Some("/sys/fs/cgroup/cpu,cpuacct/c"));
        assert_eq!(
            of(Controller::CpuAccounting),
            Some("/sys/fs/cgroup/cpu,cpuacct/c")
        );
        assert_eq!(of(Controller::Pids), None);
        let unified = Unified {
            mount: "/sys/fs/cgroup/unified".into(),
            own: "/sys/fs/cgroup/unified/u".into(),
        };
        assert_eq!(host.unified, Some(unified));
    }

    #[test]
    fn in_a_container_the_visible_root_is_the_own_group() {
        // Without a cgroup namespace the mount shows its root; with one, an outer path or nothing but dots.
        for (root, path) in [
            ("/docker/x", "/docker/x"),
            ("/", "/"),
            ("/", "/../outer"),
            ("/docker/x", "/elsewhere"),
        ] {
            let mounts = format!("9 8 0:1 {root} /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
            let host = parse(mounts.as_bytes(), &format!("0::{path}\n"));
            let own = host.unified.map(|unified| unified.own);
            assert_eq!(own.as_deref(), Some(Path::new("/sys/fs/cgroup")), "{path}");
        }
    }

    #[test]
    fn a_group_that_cannot_be_seen_is_the_visible_root() {
        let mounts = b"9 8 0:1 / /sys/fs/cgroup/my\\040groups rw - cgroup2 cgroup rw\n";
        let root = Path::new("/sys/fs/cgroup/my groups");
        let host = Host::parse(mounts, "0::/hidden\n", |path| path == root);
        assert_eq!(
            host.unified.map(|unified| unified.own).as_deref(),
            Some(root)
        );
    }

    #[test]
    fn a_host_without_control_groups_has_none() {
        assert_eq!(
            parse(b"31 23 0:28 / / rw - ext4 /dev/vda rw\n", ""),
            Host::default()
        );
    }
}
