//! The closest known name to an unknown one.

/// Shortest beginning of a name, in bytes, that is taken for the name: two letters would match too much.
const MIN_BEGINNING: usize = 3;

/// The candidate with the fewest edits from `given`, if at most half of its characters differ.
///
/// A candidate that `given` is the beginning of (`timeout` for `timeout_seconds`) counts as one edit away.
pub(crate) fn closest<'a>(
    given: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| {
            let is_beginning = given.len() >= MIN_BEGINNING && candidate.starts_with(given);
            let edits = if is_beginning {
                1
            } else {
                distance(given, candidate)
            };
            (edits, candidate)
        })
        .filter(|(edits, candidate)| edits * 2 <= candidate.len().max(given.len()))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance: insertions, deletions and substitutions of one character each.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (from_idx, from_char) in from.chars().enumerate() {
        let mut left = from_idx + 1;
        let mut next = Vec::with_capacity(row.len());
        next.push(left);
        for (to_char, pair) in to.iter().zip(row.windows(2)) {
            let [diagonal, above] = pair else { break };
            let substituted = diagonal + usize::from(from_char != *to_char);
            left = substituted.min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
