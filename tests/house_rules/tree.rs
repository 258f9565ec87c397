//! The files of the project, and what is found in them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Directories that are no part of the project's text.
pub const SKIPPED_DIRECTORIES: [&str; 3] = ["target", ".git", "scratch"];

/// The three crates: name, directory.
pub const CRATES: [(&str, &str); 3] = [
    ("stockade", ""),
    ("stockade-sandbox", "sandbox"),
    ("stockade-entrypoint", "entrypoint"),
];

/// A text file of the project.
pub struct Source {
    /// Path from the root, with slashes.
    pub path: String,
    /// What stands in it.
    pub text: String,
}

/// What is wrong, gathered so that one run of the tests shows everything.
pub struct Findings {
    rule: &'static str,
    remedy: &'static str,
    found: String,
}

impl Findings {
    pub fn new(rule: &'static str, remedy: &'static str) -> Self {
        Self {
            rule,
            remedy,
            found: String::new(),
        }
    }

    pub fn add(&mut self, path: &str, line_idx: usize, what: &str) {
        let _ = writeln!(self.found, "  {path}:{}: {what}", line_idx + 1);
    }

    pub fn check(self) {
        assert!(
            self.found.is_empty(),
            "\nrule: {}\nremedy: {}\n{}",
            self.rule,
            self.remedy,
            self.found
        );
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file with one of the endings, without what the tools make.
pub fn sources(endings: &[&str]) -> Vec<Source> {
    fn walk(directory: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                if !SKIPPED_DIRECTORIES.contains(&name.as_str()) {
                    walk(&path, endings, found);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    walk(root(), endings, &mut paths);
    paths.sort();
    paths
        .into_iter()
        .filter_map(|path| {
            let text = std::fs::read_to_string(&path).ok()?;
            let path = path.strip_prefix(root()).unwrap();
            Some(Source {
                path: path.to_string_lossy().into_owned(),
                text,
            })
        })
        .collect()
}

pub fn rust() -> Vec<Source> {
    sources(&[".rs"])
}

pub fn pages() -> Vec<Source> {
    let mut pages = sources(&[".md"]);
    pages.retain(|page| page.path == "README.md" || page.path.starts_with("docs/"));
    pages
}

/// The line without its comment; good enough for words that we search for.
pub fn code_of(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// Whether `word` stands in `text` as a whole word.
pub fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// Entries of a table of a manifest, such as `[dependencies]`.
pub fn manifest_table(manifest: &str, table: &str) -> Vec<String> {
    let header = format!("[{table}]");
    manifest
        .lines()
        .skip_while(|line| line.trim() != header)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| {
            let name = line.split(['=', '.']).next()?.trim();
            (!name.is_empty() && !name.starts_with('#')).then(|| name.to_owned())
        })
        .collect()
}

pub fn manifest_path(directory: &str) -> String {
    Path::new(directory)
        .join("Cargo.toml")
        .to_string_lossy()
        .into_owned()
}
