//! Rules for what is linked into the binary: the lists of `deny.toml`, held without another tool.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::tree::{Findings, read, root};

/// What cargo knows of the packages of our platform.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version", "1"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let metadata: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}\n{stderr}"));
    let mut packages = metadata["packages"].as_array().unwrap().clone();
    packages.retain(|package| !package["source"].is_null());
    packages
}

fn deny_list(section: &str, key: &str) -> Vec<toml::Value> {
    let deny: toml::Table = read("deny.toml").parse().unwrap();
    deny[section]
        .get(key)
        .and_then(toml::Value::as_array)
        .cloned()
        .unwrap_or_default()
}

/// Whether a licence expression (SPDX, with the old `/` for OR) can be met with what is allowed.
fn is_met(expression: &str, allowed: &[String]) -> bool {
    let expression = expression.trim();
    if let Some((left, right)) = split_outside(expression, " AND ") {
        return is_met(left, allowed) && is_met(right, allowed);
    }
    if let Some((left, right)) =
        split_outside(expression, " OR ").or_else(|| split_outside(expression, "/"))
    {
        return is_met(left, allowed) || is_met(right, allowed);
    }
    match expression
        .strip_prefix('(')
        .and_then(|e| e.strip_suffix(')'))
    {
        Some(inner) => is_met(inner, allowed),
        None => allowed.iter().any(|licence| licence == expression),
    }
}

/// Splits at the first separator that no parenthesis encloses.
fn split_outside<'a>(text: &'a str, separator: &str) -> Option<(&'a str, &'a str)> {
    text.match_indices(separator)
        .find(|(at, _)| {
            let before = &text[..*at];
            before.matches('(').count() == before.matches(')').count()
        })
        .map(|(at, _)| (&text[..at], &text[at + separator.len()..]))
}

#[test]
fn dependencies_have_licences_that_we_may_use() {
    let mut findings = Findings::new(
        "every dependency has a licence of the list in deny.toml",
        "choose another crate, or add the licence with a reason",
    );
    let allowed: Vec<String> = deny_list("licenses", "allow")
        .iter()
        .map(|licence| licence.as_str().unwrap().to_owned())
        .collect();
    assert!(!is_met("GPL-3.0 OR LGPL-3.0", &allowed));
    assert!(is_met("(MIT OR GPL-3.0) AND Unicode-3.0", &allowed));
    assert!(!is_met("MIT AND GPL-3.0", &allowed));
    for package in packages() {
        let licence = package["license"].as_str().unwrap_or("none");
        if !is_met(licence, &allowed) {
            findings.add("Cargo.lock", 0, &format!("{}: {licence}", package["name"]));
        }
    }
    findings.check();
}

#[test]
fn dependencies_come_from_the_registry_and_none_is_banned() {
    let mut findings = Findings::new(
        "every dependency comes from the registry, and none is on the list of bans in deny.toml",
        "use a published version; the reason for a ban stands in deny.toml",
    );
    let banned: Vec<String> = deny_list("bans", "deny")
        .iter()
        .filter_map(|entry| Some(entry.get("crate")?.as_str()?.to_owned()))
        .collect();
    assert!(!banned.is_empty());
    for (line_idx, line) in read("Cargo.lock").lines().enumerate() {
        let is_foreign = line.starts_with("source = ")
            && !line.starts_with("source = \"registry+https://github.com/rust-lang/");
        let is_banned = banned
            .iter()
            .any(|name| line == format!("name = \"{name}\""));
        if is_foreign || is_banned {
            findings.add("Cargo.lock", line_idx, line);
        }
    }
    findings.check();
}

#[test]
fn dependencies_are_there_once() {
    let mut findings = Findings::new(
        "no crate is there in two versions, but for those that deny.toml skips",
        "choose versions that agree, or skip the older one with a reason",
    );
    let skipped: Vec<String> = deny_list("bans", "skip")
        .iter()
        .filter_map(|entry| Some(entry.get("crate")?.as_str()?.to_owned()))
        .collect();
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages() {
        let text = |key: &str| package[key].as_str().unwrap().to_owned();
        let is_skipped = skipped.iter().any(|skipped| {
            let (name, version) = skipped.split_once('@').unwrap_or((skipped, ""));
            name == text("name") && text("version").starts_with(version)
        });
        if !is_skipped {
            versions
                .entry(text("name"))
                .or_default()
                .push(text("version"));
        }
    }
    for (name, versions) in versions {
        if versions.len() > 1 {
            findings.add("Cargo.lock", 0, &format!("{name}: {}", versions.join(", ")));
        }
    }
    findings.check();
}
