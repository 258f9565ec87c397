//! Which playbook a task asks for: by tags, as whole words, and never by a guess.

use std::cmp::Reverse;

/// Words that mean that a tag behind them is not asked for; so does every word that ends in `n't`.
const NEGATIONS: [&str; 8] = [
    "not", "never", "no", "without", "dont", "wont", "cant", "cannot",
];

/// Words that a negation reaches over, itself included, within its sentence and up to a comma: "do not ever run" is one, and
/// what is far behind is another matter.
const NEGATION_REACH: usize = 4;

/// What makes one word with what follows its hyphen.
const PREFIXES: [&str; 9] = [
    "anti", "de", "mis", "non", "over", "post", "pre", "re", "un",
];

/// A playbook that may be asked for.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its name.
    pub name: &'a str,
    /// The file that it was read from, for people.
    pub file: &'a str,
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

/// A word of a task, in lower case; an apostrophe belongs to its word.
struct Word {
    text: String,
    end: End,
}

/// What stands behind a word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// A blank, or what ends nothing.
    None,
    /// A comma.
    Comma,
    /// The end of a sentence or line.
    Sentence,
}

fn words(task: &str) -> Vec<Word> {
    let task = task.to_lowercase().replace('\u{2019}', "'");
    let is_of_word = |c: char| c.is_alphanumeric() || c == '\'' || c == '-';
    let mut words: Vec<Word> = Vec::new();
    let mut rest = task.as_str();
    while let Some(start) = rest.find(is_of_word) {
        let behind = rest.get(start..).unwrap_or_default();
        let length = behind.find(|c| !is_of_word(c)).unwrap_or(behind.len());
        let (run, after) = behind.split_at(length);
        let gap = after.split(is_of_word).next().unwrap_or_default();
        let end = match gap {
            gap if ends_sentence(gap) => End::Sentence,
            gap if gap.contains(',') => End::Comma,
            _ => End::None,
        };
        for part in parts(run) {
            words.push(Word {
                text: part.to_owned(),
                end: End::None,
            });
        }
        // A lone hyphen is no word: what stood before it holds as well.
        if let Some(last) = words.last_mut() {
            last.end = last.end.max(end);
        }
        rest = after;
    }
    words
}

/// Whether what stands between two words ends a sentence or line: a blank follows the mark, or what closes a quotation and
/// then a blank. A dot with a word directly behind it is one of a name: "do not run ./build" is one sentence.
fn ends_sentence(gap: &str) -> bool {
    let is_mark = |c: char| matches!(c, '.' | '!' | '?' | ';');
    let is_closing =
        |c: char| is_mark(c) || matches!(c, '"' | ')' | ']' | '}' | '*' | '\u{201d}' | '\u{bb}');
    let is_behind_a_mark = |(idx, _): (usize, &str)| {
        let behind = gap.get(idx + 1..).unwrap_or_default();
        let behind = behind.trim_start_matches(is_closing);
        behind.starts_with(char::is_whitespace)
    };
    gap.contains('\n') || gap.match_indices(is_mark).any(is_behind_a_mark)
}

/// The words that hyphens join, but for a prefix, which makes another word of what follows: to pre-build is not to build.
fn parts(run: &str) -> impl Iterator<Item = &str> {
    let is_one = run
        .split_once('-')
        .is_some_and(|(first, _)| PREFIXES.contains(&first));
    run.split(move |c| c == '-' && !is_one)
        .map(|part| part.trim_matches(['\'', '-']))
        .filter(|part| !part.is_empty())
}

/// Whether a tag stands in the words of a task, and nowhere behind a negation.
fn is_asked_for(words: &[Word], tag: &str) -> bool {
    let tag: Vec<&str> = tag.split(' ').flat_map(parts).collect();
    let mut is_there = false;
    for (idx, window) in words.windows(tag.len()).enumerate() {
        if !window.iter().map(|word| &word.text).eq(&tag) {
            continue;
        }
        if words.get(..idx).is_some_and(is_negated) {
            return false;
        }
        is_there = true;
    }
    is_there
}

/// Whether a negation reaches over the end of these words.
fn is_negated(before: &[Word]) -> bool {
    for word in before.iter().rev().take(NEGATION_REACH) {
        let is_negation = NEGATIONS.contains(&word.text.as_str()) || word.text.ends_with("n't");
        match word.end {
            End::Sentence => return false,
            // "No, cancel it" asks for it; "never, ever cancel it" does not.
            End::Comma if !is_negation || word.text == "no" => return false,
            End::Comma | End::None if is_negation => return true,
            End::Comma | End::None => {}
        }
    }
    false
}

/// The candidates with their tags, for an error.
fn listed(candidates: &[Candidate<'_>]) -> String {
    /// More would hide the error.
    const MAX_LISTED: usize = 20;
    let mut names: Vec<String> = candidates
        .iter()
        .take(MAX_LISTED)
        .map(|candidate| {
            let Candidate { name, file, tags } = candidate;
            format!("{name} ({}) in {file}", tags.join(", "))
        })
        .collect();
    if candidates.len() > MAX_LISTED {
        names.push(format!("and {} more", candidates.len() - MAX_LISTED));
    }
    names.join(", ")
}
