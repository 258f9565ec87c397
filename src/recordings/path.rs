//! Relative paths that may be given to the kernel.
//!
//! Owns the grammar; it does no input or output. Invariant: a [`RelativePath`] has no component that could leave the
//! directory it is opened in, other than a symbolic link, which the opener refuses.

use std::fmt;

/// Longest path, in bytes. Four times the longest name is more than any recording needs, and keeps log lines short.
pub const MAX_PATH_BYTES: usize = 1_024;
/// Longest component, in bytes (`NAME_MAX` of Linux file systems).
pub const MAX_COMPONENT_BYTES: usize = 255;
/// Most components. Removing a tree holds one descriptor for each level, so the depth must stay far below `ulimit -n`.
pub const MAX_COMPONENTS: usize = 32;

/// A path below some directory: 1 to 32 components of 1 to 255 bytes, none of them `.` or `..`, without control
/// characters, 1,024 bytes in all.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelativePath(String);

/// Why a text is no relative path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathFlaw {
    /// There is nothing in it.
    Empty,
    /// It has more than [`MAX_PATH_BYTES`].
    TooLong,
    /// It starts at the root.
    Absolute,
    /// It has NUL or another control character.
    ControlCharacter,
    /// It has an empty component, `.` or `..`.
    Component,
    /// A component has more than [`MAX_COMPONENT_BYTES`].
    ComponentTooLong,
    /// It has more than [`MAX_COMPONENTS`].
    TooDeep,
    /// It has a '/' where a single name is wanted.
    NotAName,
}

impl fmt::Display for PathFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::TooLong => write!(f, "it has more than {MAX_PATH_BYTES} bytes"),
            Self::Absolute => f.write_str("it starts with '/'"),
            Self::ControlCharacter => f.write_str("it has a control character"),
            Self::Component => f.write_str("it has a component that is empty, '.' or '..'"),
            Self::ComponentTooLong => {
                write!(
                    f,
                    "it has a component of more than {MAX_COMPONENT_BYTES} bytes"
                )
            }
            Self::TooDeep => write!(f, "it has more than {MAX_COMPONENTS} components"),
            Self::NotAName => f.write_str("it has a '/' where a name is wanted"),
        }
    }
}

/// The given text is no path below a directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("path {given:?} is refused: {flaw}")]
pub struct InvalidPath {
    /// What was given, cut to 80 characters.
    pub given: String,
    /// What is wrong with it.
    pub flaw: PathFlaw,
}

impl RelativePath {
    /// Parses an untrusted text. Percent signs mean nothing here: decoding is over before this point.
    ///
    /// # Errors
    /// When the text is outside the grammar of [`RelativePath`].
    pub fn parse(given: &str) -> Result<Self, InvalidPath> {
        Self::checked(given, Self::flaw(given))
    }

    /// Parses a path of one component.
    ///
    /// # Errors
    /// When the text is outside the grammar, or has a `/`.
    pub fn parse_name(given: &str) -> Result<Self, InvalidPath> {
        let separator = given.contains('/').then_some(PathFlaw::NotAName);
        Self::checked(given, Self::flaw(given).or(separator))
    }

    fn checked(given: &str, flaw: Option<PathFlaw>) -> Result<Self, InvalidPath> {
        match flaw {
            None => Ok(Self(given.to_owned())),
            Some(flaw) => Err(InvalidPath {
                given: given.chars().take(80).collect(),
                flaw,
            }),
        }
    }

    fn flaw(given: &str) -> Option<PathFlaw> {
        if given.is_empty() {
            return Some(PathFlaw::Empty);
        }
        if given.len() > MAX_PATH_BYTES {
            return Some(PathFlaw::TooLong);
        }
        if given.starts_with('/') {
            return Some(PathFlaw::Absolute);
        }
        if given.bytes().any(|byte| byte.is_ascii_control()) {
            return Some(PathFlaw::ControlCharacter);
        }
        let mut n_components = 0_usize;
        for component in given.split('/') {
            n_components += 1;
            if matches!(component, "" | "." | "..") {
                return Some(PathFlaw::Component);
            }
            if component.len() > MAX_COMPONENT_BYTES {
                return Some(PathFlaw::ComponentTooLong);
            }
        }
        (n_components > MAX_COMPONENTS).then_some(PathFlaw::TooDeep)
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Splits the last component off; the parents may be none.
    pub fn split_last(&self) -> (Vec<&str>, &str) {
        match self.0.rsplit_once('/') {
            Some((parents, last)) => (parents.split('/').collect(), last),
            None => (Vec::new(), &self.0),
        }
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_paths_are_accepted() {
        let longest_component = "a".repeat(255);
        let deepest = ["a"; 32].join("/");
        for good in [
            "a",
            ".bashrc",
            "a/b.txt",
            "%2e%2e/x",
            "..a",
            "é",
            &longest_component,
            &deepest,
        ] {
            assert_eq!(RelativePath::parse(good).unwrap().as_str(), good);
        }
        let too_long = ["a".repeat(250).as_str(); 5].join("/");
        let long_component = "a".repeat(256);
        let too_deep = ["a"; 33].join("/");
        for (bad, flaw) in [
            ("", PathFlaw::Empty),
            (too_long.as_str(), PathFlaw::TooLong),
            ("/etc/passwd", PathFlaw::Absolute),
            ("a\0b", PathFlaw::ControlCharacter),
            ("a\nb", PathFlaw::ControlCharacter),
            ("..", PathFlaw::Component),
            ("a/../b", PathFlaw::Component),
            ("a/..", PathFlaw::Component),
            (".", PathFlaw::Component),
            ("a//b", PathFlaw::Component),
            ("a/", PathFlaw::Component),
            (long_component.as_str(), PathFlaw::ComponentTooLong),
            (too_deep.as_str(), PathFlaw::TooDeep),
        ] {
            assert_eq!(RelativePath::parse(bad).unwrap_err().flaw, flaw, "{bad:?}");
        }
    }

    #[test]
    fn the_last_component_is_split_off() {
        let path = RelativePath::parse("a/b/c").unwrap();
        assert_eq!(path.split_last(), (vec!["a", "b"], "c"));
        let name = RelativePath::parse("c").unwrap();
        assert_eq!(name.split_last(), (Vec::new(), "c"));
    }

    #[test]
    fn a_name_has_one_component() {
        assert_eq!(RelativePath::parse_name("c").unwrap().as_str(), "c");
        let flaw = |given| RelativePath::parse_name(given).unwrap_err().flaw;
        assert_eq!(flaw("a/c"), PathFlaw::NotAName);
        assert_eq!(flaw(".."), PathFlaw::Component);
    }
}
