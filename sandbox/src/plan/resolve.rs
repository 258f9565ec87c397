//! The way from a path that an operator names to the file that it means.
//!
//! Owns the one decision that a workload could turn against its operator: a link is followed unless it stands where a workload
//! of this policy may write, for there an earlier one may have put it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Most links on one way, as the kernel has it (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Resolves an absolute path as realpath(3) does, but follows no link that stands in one of `writable`, which are resolved
/// directories.
///
/// # Errors
/// When there is no such file, and at a link that a workload may have made.
pub fn resolve(path: &Path, writable: &[PathBuf]) -> io::Result<PathBuf> {
    let mut rest = parts(path);
    let mut resolved = PathBuf::from("/");
    let mut n_links = 0;
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(&part);
        if !next.symlink_metadata()?.is_symlink() {
            resolved = next;
            continue;
        }
        if let Some(place) = writable.iter().find(|place| resolved.starts_with(place)) {
            return Err(io::Error::other(format!(
                "{} is a link in {}, where the workload may write, so that an earlier one may have made it; name the file itself",
                next.display(),
                place.display()
            )));
        }
        n_links += 1;
        if n_links > MAX_LINKS {
            return Err(io::Error::other("too many links on the way"));
        }
        let to = next.read_link()?;
        if to.is_absolute() {
            resolved = PathBuf::from("/");
        }
        for part in parts(&to).into_iter().rev() {
            rest.push_front(part);
        }
    }
    Ok(resolved)
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let part = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    };
    path.components().filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_but_where_a_workload_may_write() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let root = directory.path().canonicalize().expect("it is there");
        let at = |name: &str| root.join(name);
        std::fs::create_dir_all(at("work/deep")).expect("made");
        std::fs::create_dir_all(at("secret")).expect("made");
        symlink("work", at("outer")).expect("made");
        symlink(at("secret"), at("work/planted")).expect("made");
        symlink("../../secret", at("work/deep/planted")).expect("made");
        symlink("work/planted", at("indirect")).expect("made");
        symlink("loop", at("loop")).expect("made");
        let writable = [at("work")];
        for (given, found) in [
            ("work/deep", "work/deep"),
            ("outer/deep", "work/deep"),
            ("outer/../secret", "secret"),
            ("work", "work"),
        ] {
            assert_eq!(resolve(&at(given), &writable).expect(given), at(found));
        }
        for planted in [
            "work/planted",
            "outer/deep/planted",
            "indirect",
            "work/planted/../x",
        ] {
            let refused = resolve(&at(planted), &writable).expect_err(planted);
            assert!(
                refused.to_string().contains("planted is a link in"),
                "{refused}"
            );
            let followed = resolve(&at(planted), &[]);
            assert_eq!(followed.ok(), at(planted).canonicalize().ok(), "{planted}");
        }
        assert!(resolve(&at("loop"), &[]).is_err());
        assert!(resolve(&at("absent"), &[]).is_err());
    }
}
