//! Which playbook a task asks for: by tags, as whole words, and never by a guess.

use std::cmp::Reverse;

/// Words that, directly before a tag, mean that it is not asked for; so does every word that ends in `n't`.
const NEGATIONS: [&str; 6] = ["not", "never", "no", "without", "dont", "cannot"];

/// A playbook that may be asked for.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its tags, in lower case.
    pub tags: &'a [String],
}

/// No playbook can be chosen without a guess.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatchError {
    /// No tag stands in the task.
    #[error("the task has no tag of a playbook; the tags are {0}")]
    NoMatch(String),
    /// Several fit equally well.
    #[error("the task fits several playbooks equally well: {0}")]
    Tie(String),
}

/// The number of the playbook whose tags stand in the task: most tags first, then the longest in all.
///
/// # Errors
/// No playbook fits, or several fit equally well.
pub fn best_match(task: &str, candidates: &[Candidate<'_>]) -> Result<usize, MatchError> {
    let words = words(task);
    let scores = candidates
        .iter()
        .enumerate()
        .filter_map(|(idx, candidate)| {
            let matched: Vec<&String> = candidate
                .tags
                .iter()
                .filter(|tag| is_asked_for(&words, tag))
                .collect();
            let length: usize = matched.iter().map(|tag| tag.chars().count()).sum();
            (!matched.is_empty()).then_some(((matched.len(), length), idx))
        });
    let mut scores: Vec<((usize, usize), usize)> = scores.collect();
    scores.sort_by_key(|(score, idx)| (Reverse(*score), *idx));
    let Some((best, idx)) = scores.first().copied() else {
        return Err(MatchError::NoMatch(listed(candidates)));
    };
    let tied: Vec<Candidate<'_>> = scores
        .iter()
        .filter(|(score, _)| *score == best)
        .filter_map(|(_, idx)| candidates.get(*idx).copied())
        .collect();
    match tied.len() {
        1 => Ok(idx),
        _ => Err(MatchError::Tie(listed(&tied))),
    }
}

/// The words of a text, in lower case; an apostrophe belongs to its word.
fn words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .replace('\u{2019}', "'")
        .split(|c: char| !c.is_alphanumeric() && c != '\'')
        .map(|word| word.trim_matches('\'').to_owned())
        .filter(|word| !word.is_empty())
        .collect()
}

/// Whether a tag stands in the words of a task, and nowhere behind a negation.
fn is_asked_for(words: &[String], tag: &str) -> bool {
    let tag: Vec<&str> = tag.split(' ').collect();
    let mut is_there = false;
    for (idx, window) in words.windows(tag.len()).enumerate() {
        if window != tag.as_slice() {
            continue;
        }
        let before = idx.checked_sub(1).and_then(|before| words.get(before));
        let is_negated =
            before.is_some_and(|word| NEGATIONS.contains(&word.as_str()) || word.ends_with("n't"));
        if is_negated {
            return false;
        }
        is_there = true;
    }
    is_there
}

/// The candidates with their tags, for an error.
fn listed(candidates: &[Candidate<'_>]) -> String {
    /// More would hide the error.
    const MAX_LISTED: usize = 20;
    let mut names: Vec<String> = candidates
        .iter()
        .take(MAX_LISTED)
        .map(|candidate| format!("{} ({})", candidate.name, candidate.tags.join(", ")))
        .collect();
    if candidates.len() > MAX_LISTED {
        names.push(format!("and {} more", candidates.len() - MAX_LISTED));
    }
    names.join(", ")
}
