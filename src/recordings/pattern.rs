//! Patterns that choose files below a directory: `target/*.xml`, `**/*.log`.
//!
//! Owns their grammar and their matching, component by component, so that a walk enters only directories below which
//! something can still match. It reads no directory.
//!
//! `*` stands for any characters of one name, `?` for one character, and `**` as a whole name for any number of
//! directories, none included. A `*` or `?` matches a leading dot too. Nothing else has a meaning; brackets, braces and
//! backslashes are refused, because elsewhere they have one.

/// Longest pattern, in bytes: that of a path in a recording.
pub const MAX_PATTERN_BYTES: usize = super::path::MAX_PATH_BYTES;

/// Characters that other pattern languages give a meaning.
const REFUSED: [char; 5] = ['[', ']', '{', '}', '\\'];

/// A pattern, by the names that it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `**`
    AnyDirectories,
    /// A name with or without `*` and `?`.
    Name(Vec<char>),
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is empty or too long.
    #[error("it is empty or longer than {MAX_PATTERN_BYTES} bytes")]
    Length,
    /// It does not lie below the directory.
    #[error("it begins with / or has an empty name, \".\" or \"..\"")]
    Outside,
    /// It has a character that means something elsewhere and nothing here.
    #[error(
        "it has a bracket, brace, backslash or control character; only *, ? and ** have a meaning"
    )]
    Character,
    /// It ends with directories, and only files are taken.
    #[error("it ends with **, which stands for directories; write **/*")]
    NoName,
}

/// How far a name has come in the patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// A pattern matches what has this name.
    pub is_match: bool,
    /// A pattern names it without any `*` or `?`, as a file or as a directory on the way.
    pub is_named: bool,
}

/// Where a walk stands in each pattern: indices of patterns and of the part that comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position(Vec<(usize, usize)>);

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// When it is outside the grammar.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() || text.len() > MAX_PATTERN_BYTES {
            return Err(PatternError::Length);
        }
        if text.chars().any(|c| REFUSED.contains(&c) || c.is_control()) {
            return Err(PatternError::Character);
        }
        let mut parts = Vec::new();
        for name in text.split('/') {
            match name {
                "" | "." | ".." => return Err(PatternError::Outside),
                // Two in a row mean what one means.
                "**" if parts.last() == Some(&Part::AnyDirectories) => {}
                "**" => parts.push(Part::AnyDirectories),
                name => parts.push(Part::Name(name.chars().collect())),
            }
        }
        if parts.last() == Some(&Part::AnyDirectories) {
            return Err(PatternError::NoName);
        }
        Ok(Self(parts))
    }
}

/// Where a walk begins.
pub fn start(patterns: &[Pattern]) -> Position {
    let mut position = Position(Vec::new());
    for pattern_idx in 0..patterns.len() {
        enter(patterns, (pattern_idx, 0), &mut position.0);
    }
    position
}

/// Adds a place, and the one behind it where it is `**`, which may stand for no directory.
fn enter(patterns: &[Pattern], place: (usize, usize), places: &mut Vec<(usize, usize)>) {
    if places.contains(&place) {
        return;
    }
    places.push(place);
    let (pattern_idx, part_idx) = place;
    if part_of(patterns, place) == Some(&Part::AnyDirectories) {
        enter(patterns, (pattern_idx, part_idx + 1), places);
    }
}

fn part_of(patterns: &[Pattern], (pattern_idx, part_idx): (usize, usize)) -> Option<&Part> {
    patterns.get(pattern_idx)?.0.get(part_idx)
}

impl Position {
    /// Whether anything can still match below.
    pub fn is_dead(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a name: how it stands itself, and where a walk below it begins.
    pub fn step(&self, patterns: &[Pattern], name: &str) -> (Standing, Position) {
        let name: Vec<char> = name.chars().collect();
        let mut standing = Standing::default();
        let mut below = Vec::new();
        for place in &self.0 {
            let (pattern_idx, part_idx) = *place;
            match part_of(patterns, *place) {
                Some(Part::AnyDirectories) => enter(patterns, *place, &mut below),
                Some(Part::Name(wanted)) if matches(wanted, &name) => {
                    standing.is_named |= !wanted.iter().any(|c| matches!(c, '*' | '?'));
                    let next = (pattern_idx, part_idx + 1);
                    if part_of(patterns, next).is_some() {
                        enter(patterns, next, &mut below);
                    } else {
                        standing.is_match = true;
                    }
                }
                Some(Part::Name(_)) | None => {}
            }
        }
        (standing, Position(below))
    }
}

/// Whether a name is as wanted. Goes back to the last `*` only, so it takes no more than the product of both lengths.
fn matches(wanted: &[char], name: &[char]) -> bool {
    let (mut wanted_idx, mut name_idx) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while let Some(c) = name.get(name_idx) {
        match wanted.get(wanted_idx) {
            Some('*') => {
                last_star = Some((wanted_idx, name_idx));
                wanted_idx += 1;
            }
            Some(w) if *w == '?' || w == c => {
                wanted_idx += 1;
                name_idx += 1;
            }
            _ => match last_star {
                Some((star_idx, taken_to)) => {
                    last_star = Some((star_idx, taken_to + 1));
                    wanted_idx = star_idx + 1;
                    name_idx = taken_to + 1;
                }
                None => return false,
            },
        }
    }
    wanted
        .get(wanted_idx..)
        .is_none_or(|rest| rest.iter().all(|c| *c == '*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(pattern: &str, path: &str) -> bool {
        let patterns = [Pattern::parse(pattern).unwrap()];
        let mut position = start(&patterns);
        let mut standing = Standing::default();
        for name in path.split('/') {
            (standing, position) = position.step(&patterns, name);
        }
        standing.is_match
    }

    #[test]
    fn a_pattern_chooses_what_its_grammar_says() {
        for (pattern, yes, no) in [
            (
                "a.txt",
                &["a.txt"][..],
                &["b.txt", "x/a.txt", "a.txt/b"][..],
            ),
            ("*.xml", &["a.xml", ".xml"], &["x/a.xml", "a.xmlx"]),
            ("a?c", &["abc", "aéc"], &["ac", "abbc"]),
            (
                "target/*/x*y*z",
                &["target/q/xyz", "target/q/x1y2z"],
                &["target/xyz"],
            ),
            ("**/*.log", &["a.log", "x/a.log", "x/y/z/a.log"], &["a.txt"]),
            (
                "a/**/b",
                &["a/b", "a/x/b", "a/x/y/b"],
                &["b", "a/x", "x/a/b"],
            ),
            ("a/**/**/b", &["a/b", "a/x/y/b"], &["a"]),
        ] {
            for path in yes {
                assert!(chosen(pattern, path), "{pattern} {path}");
            }
            for path in no {
                assert!(!chosen(pattern, path), "{pattern} {path}");
            }
        }
    }

    #[test]
    fn a_walk_enters_only_where_something_can_match() {
        let patterns = [Pattern::parse("target/*.xml").unwrap()];
        let (_, target) = start(&patterns).step(&patterns, "target");
        let (_, elsewhere) = start(&patterns).step(&patterns, "node_modules");
        assert!(!target.is_dead());
        assert!(elsewhere.is_dead());
        assert!(target.step(&patterns, "debug").1.is_dead());
    }

    #[test]
    fn what_would_leave_the_directory_or_mean_something_elsewhere_is_refused() {
        for (text, error) in [
            ("", PatternError::Length),
            ("/etc/*", PatternError::Outside),
            ("a/../b", PatternError::Outside),
            ("./a", PatternError::Outside),
            ("a//b", PatternError::Outside),
            ("[ab].txt", PatternError::Character),
            ("{a,b}", PatternError::Character),
            ("a\\*", PatternError::Character),
            ("a\0", PatternError::Character),
            ("a/**", PatternError::NoName),
        ] {
            assert_eq!(Pattern::parse(text), Err(error), "{text:?}");
        }
        let long = "x".repeat(MAX_PATTERN_BYTES + 1);
        assert_eq!(Pattern::parse(&long), Err(PatternError::Length));
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_time() {
        let wanted: Vec<char> = "*a".repeat(100).chars().chain(['b']).collect();
        let name: Vec<char> = "a".repeat(255).chars().collect();
        assert!(!matches(&wanted, &name));
    }
}
