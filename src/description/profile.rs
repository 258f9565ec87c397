//! Profiles: partial run descriptions that are kept under a name, and where they are looked for.
//!
//! A profile is the weakest source that somebody wrote: whatever another source sets, be it to the default, stands above
//! it. It names neither a run nor another profile. Invariant: the name of a profile never leads out of its directory.

use std::path::Path;

use super::checker::{Checker, plain_text};
use super::error::ErrorKind;
use super::file::{self, Described};
use super::keys::Key;
use super::layers::{Faults, Layer, suggestion};
use super::resolution::Sources;
use super::value::Given;

/// Longest name of a profile, in bytes, as of a DNS label.
const MAX_NAME_BYTES: usize = 63;

/// The name by which a stronger source says that there is no profile.
const NO_PROFILE: &str = "none";

/// Where the administrator of the machine keeps profiles.
const SYSTEM_DIRECTORY: &str = "/etc/stockade/profiles";

/// Endings of a profile's file.
const EXTENSIONS: [&str; 4] = ["toml", "yaml", "yml", "json"];

/// Most names that an error lists.
const MAX_LISTED_NAMES: usize = 8;

/// Keys that no profile may set, with the reason.
const FORBIDDEN: [(&str, &str); 2] = [
    (
        "run_id",
        "a profile is for many runs; name the run by --run-id, STOCKADE_RUN_ID or in the file",
    ),
    (
        "profile",
        "a profile cannot be based on another one; leave it out",
    ),
];

/// Reads the profile that the stronger sources name; faults leave the layer empty.
pub(crate) fn layer(stronger: &Layer, sources: &mut Sources<'_>, faults: &mut Faults) -> Layer {
    let directories = directories(sources, faults);
    let Some(given) = Key::find("profile").and_then(|key| stronger.get(key)) else {
        return Layer::default();
    };
    // A name that is not one is refused with the other keys.
    let Some(name) = plain_text(given).filter(|name| is_name(name) && *name != NO_PROFILE) else {
        return Layer::default();
    };
    let Some(shown_path) = find(name, given, &directories, sources.current_dir, faults) else {
        return Layer::default();
    };
    let described = Described {
        key: "profile",
        given,
        shown_path: &shown_path,
        format: None,
    };
    let mut layer = file::layer(&described, sources.current_dir, faults);
    for (name, expected) in FORBIDDEN {
        if let Some(given) = Key::find(name).and_then(|key| layer.take(key)) {
            faults.add(ErrorKind::Invalid, name, &given, expected);
        }
    }
    layer
}

impl Checker<'_> {
    /// The name of the profile.
    pub(crate) fn profile(&mut self) -> Option<String> {
        let (key, given) = self.take("profile")?;
        match plain_text(&given) {
            Some(NO_PROFILE) => None,
            Some(name) if is_name(name) => Some(name.to_owned()),
            _ => {
                self.faults.add_by_table(ErrorKind::Invalid, key, &given);
                None
            }
        }
    }
}

/// Whether `name` can name a profile.
fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(is_plain)
}

/// The directories in which a profile is looked for, the first one first: the one that was named, else the usual ones.
fn directories(sources: &mut Sources<'_>, faults: &mut Faults) -> Vec<String> {
    let named = match sources.options.remove("profile-dir") {
        Some(given) => Some(given),
        None => sources.environment.option("STOCKADE_PROFILE_DIR", faults),
    };
    if let Some(given) = named {
        return match plain_text(&given).filter(|path| !path.is_empty()) {
            Some(path) => vec![path.to_owned()],
            None => {
                let expected = "give the path of a directory";
                faults.add(ErrorKind::Invalid, "profile-dir", &given, expected);
                Vec::new()
            }
        };
    }
    // XDG base directories: a relative path is invalid and counts as absent.
    let absolute = |name: &str| {
        let path = sources.environment.get(name)?.to_str()?;
        Path::new(path).is_absolute().then_some(path)
    };
    let config_home = match absolute("XDG_CONFIG_HOME") {
        Some(path) => Some(path.to_owned()),
        None => absolute("HOME").map(|home| format!("{home}/.config")),
    };
    let of_user = config_home.map(|config_home| format!("{config_home}/stockade/profiles"));
    of_user
        .into_iter()
        .chain([SYSTEM_DIRECTORY.to_owned()])
        .collect()
}

/// The path of the profile as people know it. The first directory that has it wins; two files for one name are a fault.
fn find(
    name: &str,
    given: &Given,
    directories: &[String],
    current_dir: &Path,
    faults: &mut Faults,
) -> Option<String> {
    for directory in directories {
        let mut found = Vec::new();
        for extension in EXTENSIONS {
            let shown_path = format!("{}/{name}.{extension}", directory.trim_end_matches('/'));
            match current_dir.join(&shown_path).try_exists() {
                Ok(true) => found.push(shown_path),
                Ok(false) => {}
                Err(error) => {
                    let cause = format!("{shown_path}: {error}");
                    let expected = "give a directory that can be read by --profile-dir";
                    let kind = ErrorKind::Unusable { cause };
                    faults.add(kind, "profile", given, expected);
                    return None;
                }
            }
        }
        match found.as_slice() {
            [] => {}
            [path] => return Some(path.clone()),
            [..] => {
                let expected = format!("{} are one profile; keep one of them", found.join(" and "));
                faults.add(ErrorKind::Conflict, "profile", given, expected);
                return None;
            }
        }
    }
    if !directories.is_empty() {
        let cause = format!("no profile of that name in {}", directories.join(", "));
        let expected = not_found_remedy(name, directories, current_dir);
        faults.add(ErrorKind::Unusable { cause }, "profile", given, expected);
    }
    None
}

fn not_found_remedy(name: &str, directories: &[String], current_dir: &Path) -> String {
    let mut names: Vec<String> = directories
        .iter()
        .filter_map(|directory| std::fs::read_dir(current_dir.join(directory)).ok())
        .flatten()
        .filter_map(|entry| {
            let file = entry.ok()?.file_name().into_string().ok()?;
            let (name, extension) = file.rsplit_once('.')?;
            (is_name(name) && EXTENSIONS.contains(&extension)).then(|| name.to_owned())
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    let otherwise = if names.is_empty() {
        format!("write {name}.toml there, or give its directory by --profile-dir")
    } else {
        let n_more = names.len().saturating_sub(MAX_LISTED_NAMES);
        names.truncate(MAX_LISTED_NAMES);
        let more = match n_more {
            0 => String::new(),
            n_more => format!(" and {n_more} more"),
        };
        format!("the profiles there are {}{more}", names.join(", "))
    };
    suggestion(name, names.iter().map(String::as_str), &otherwise)
}
