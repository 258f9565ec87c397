//! Rules for the pages: all are there, their links lead somewhere, and the architecture is that of the code.

use std::collections::BTreeSet;
use std::path::Path;

use crate::tree::{CRATES, Findings, manifest_path, manifest_table, pages, read, root, rust};

/// Pages that must be there.
const PAGES: [&str; 13] = [
    "architecture",
    "api",
    "authentication",
    "configuration",
    "engines",
    "guardrails",
    "observability",
    "operations",
    "playbooks",
    "recording",
    "sandbox",
    "tools",
    "changelog",
];

/// Each acceptance check of the init, with the tests that check it.
const CHECKS: &str = "tests/e2e/init/checks.md";

#[test]
fn every_check_of_the_init_has_tests_that_are_there() {
    let mut findings = Findings::new(
        "every row of the table of checks names tests that exist",
        "write the test, or name the one that took its place",
    );
    let page = read(CHECKS);
    let rows = page
        .lines()
        .enumerate()
        .filter(|(_, line)| line.starts_with("| "));
    let mut n_checks = 0;
    for (line_idx, row) in rows.skip(2) {
        n_checks += 1;
        let named: Vec<_> = row.split('`').filter(|part| part.contains("::")).collect();
        if named.is_empty() {
            findings.add(CHECKS, line_idx, "a check without a test");
        }
        for test in named {
            let (path, function) = test.split_once("::").unwrap();
            let is_there = root().join(path).is_file()
                && read(path).contains(&format!("#[test]\nfn {function}() {{"));
            if !is_there {
                findings.add(CHECKS, line_idx, &format!("{test}: no such test"));
            }
        }
    }
    assert!(n_checks >= 19, "{n_checks} checks");
    findings.check();
}

#[test]
fn every_page_is_there_and_every_link_leads_somewhere() {
    let mut findings = Findings::new(
        "every page of the list exists, README.md leads to it, and every link resolves",
        "write the page, or correct the link",
    );
    let pages = pages();
    let readme = read("README.md");
    for name in PAGES {
        let path = format!("docs/{name}.md");
        if !root().join(&path).is_file() {
            findings.add(&path, 0, "the page is missing");
        }
        if !readme.contains(&format!("]({path})")) {
            findings.add("README.md", 0, &format!("no link to {path}"));
        }
    }
    if readme.lines().count() >= 150 {
        findings.add("README.md", readme.lines().count() - 1, "150 lines or more");
    }
    for page in &pages {
        let directory = root().join(&page.path);
        let directory = directory.parent().unwrap();
        for (line_idx, target) in links_of(&page.text) {
            if target.contains("://") {
                findings.add(&page.path, line_idx, &format!("{target}: an outside host"));
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = if path.is_empty() {
                root().join(&page.path)
            } else {
                directory.join(path)
            };
            if !path.exists() {
                findings.add(&page.path, line_idx, &format!("{target}: no such file"));
            } else if !anchor.is_empty()
                && !headings_of(&std::fs::read_to_string(&path).unwrap())
                    .contains(&anchor.to_owned())
            {
                findings.add(&page.path, line_idx, &format!("{target}: no such heading"));
            }
        }
    }
    findings.check();
}

/// Line and target of every link outside of code.
fn links_of(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut in_code = false;
    for (line_idx, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            if let Some((target, _)) = line[at + 2..].split_once(')') {
                links.push((line_idx, target.to_owned()));
            }
        }
    }
    links
}

/// Anchors of a page, as the usual renderers make them.
fn headings_of(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

/// The part of architecture.md under a heading.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let start = text
        .find(heading)
        .unwrap_or_else(|| panic!("docs/architecture.md has no {heading:?}"));
    let rest = &text[start + heading.len()..];
    rest.find("\n#").map_or(rest, |end| &rest[..end])
}

/// First cells of the rows of a table that are code.
fn first_cells(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(cell, _)| cell.to_owned())
        .collect()
}

#[test]
fn every_dependency_has_its_reason_and_is_used() {
    let mut findings = Findings::new(
        "a dependency has a line of reason in docs/architecture.md, and code that uses it",
        "add why, weight and alternative under Dependencies, or remove the dependency",
    );
    let architecture = read("docs/architecture.md");
    let rust = rust();
    for (name, directory) in CRATES {
        let path = manifest_path(directory);
        let wanted = manifest_table(&read(&path), "dependencies");
        let given = first_cells(section(&architecture, &format!("\n### `{name}`\n")));
        for dependency in &wanted {
            if !given.contains(dependency) {
                findings.add(
                    "docs/architecture.md",
                    0,
                    &format!("{dependency} of {name} has no line"),
                );
            }
            let code = format!("{}::", dependency.replace('-', "_"));
            let folder = Path::new(directory).join("src").join("");
            let is_used = rust
                .iter()
                .filter(|source| Path::new(&source.path).starts_with(&folder))
                .any(|source| source.text.contains(&code));
            if !is_used {
                findings.add(&path, 0, &format!("{dependency} is not used in {name}"));
            }
        }
        for dependency in given.iter().filter(|given| !wanted.contains(given)) {
            findings.add(
                "docs/architecture.md",
                0,
                &format!("{dependency} is no dependency of {name}"),
            );
        }
    }
    findings.check();
}

#[test]
fn the_map_of_the_code_shows_every_module_and_the_tests_that_it_names_exist() {
    let mut findings = Findings::new(
        "docs/architecture.md has every top-level module and names tests that exist",
        "add a line to the map of the crate, or correct the name of the test",
    );
    let architecture = read("docs/architecture.md");
    for (name, directory) in CRATES {
        let folder = Path::new(directory).join("src");
        let path = folder.join("lib.rs").to_string_lossy().into_owned();
        let heading = format!("\n### `{}` (crate `{name}`)", folder.display());
        let shown: BTreeSet<_> = first_cells(section(&architecture, &heading))
            .into_iter()
            .collect();
        let exist: BTreeSet<String> = read(&path)
            .lines()
            .filter_map(|line| {
                let line = line.strip_prefix("pub ").unwrap_or(line);
                Some(line.strip_prefix("mod ")?.strip_suffix(';')?.to_owned())
            })
            .collect();
        for module in exist.symmetric_difference(&shown) {
            findings.add("docs/architecture.md", 0, &format!("{name}: {module}"));
        }
    }
    let rust = rust();
    for row in section(&architecture, "\n## Invariants\n").lines() {
        let Some(proofs) = row.rsplit('|').nth(1) else {
            continue;
        };
        for test in proofs.split('`').skip(1).step_by(2) {
            let definition = format!("fn {test}(");
            if !rust.iter().any(|source| source.text.contains(&definition)) {
                findings.add("docs/architecture.md", 0, &format!("no test {test}"));
            }
        }
        for file in row.split('`').skip(1).step_by(2) {
            if file.ends_with(".rs") && !root().join(file).is_file() {
                findings.add("docs/architecture.md", 0, &format!("no file {file}"));
            }
        }
    }
    findings.check();
}
