//! Finds and replaces matches in one window of text.
//!
//! Owns the search and the precedence of overlapping matches. It keeps no text. Invariant: places are decided in
//! ascending order, each once, so that a window continued later gives what the whole text gives.
//!
//! Precedence: the leftmost match gives the name; at one place a declared secret comes before a shape, and a longer
//! declared form before a shorter one. Matches that overlap are replaced together, as one span under the first one's
//! name: a secret whose beginning was replaced as the end of another one does not show its rest.

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};

use super::rule::{Edge, Rule, Verdict};

/// Bytes of a literal that the search looks for; the rest is compared where they are found. Four keep the automaton
/// small whatever the length of the secrets, let most encoded forms of a secret share one head, and are rare enough.
const HEAD_BYTES: usize = 4;

/// Most heads for which a table with one entry per byte is built, some 100 secrets: above it the table takes several
/// megabytes, and one that is smaller and three times slower is built.
const MAX_TABLE_HEADS: usize = 1024;

/// Rules with an automaton over their first bytes.
pub(super) struct Matcher {
    /// In order of precedence.
    rules: Vec<Rule>,
    /// Rules by the first byte of their literal, in order of precedence; 256 entries.
    by_first_byte: Vec<Vec<usize>>,
    /// Absent if it could not be built: then every place is compared, which is slow and right.
    heads: Option<AhoCorasick>,
}

/// Where a scan stopped, as offsets into its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stopped {
    /// First place that is not decided; the window's length if all are.
    pub(super) undecided: usize,
    /// What stands before this offset was written, as text or as a replacement; may lie beyond `undecided`.
    pub(super) written: usize,
}

impl Matcher {
    /// Builds from rules in order of precedence.
    pub(super) fn new(rules: Vec<Rule>) -> Self {
        let mut by_first_byte = vec![Vec::new(); 256];
        let mut heads: Vec<&[u8]> = Vec::with_capacity(rules.len());
        for (rule_idx, rule) in rules.iter().enumerate() {
            let first = rule.literal.first().map(|&byte| usize::from(byte));
            if let Some(bucket) = first.and_then(|first| by_first_byte.get_mut(first)) {
                bucket.push(rule_idx);
            }
            let head = rule.literal.get(..HEAD_BYTES).unwrap_or(&rule.literal);
            if !head.is_empty() && !heads.contains(&head) {
                heads.push(head);
            }
        }
        let kind = match heads.len() {
            0..=MAX_TABLE_HEADS => AhoCorasickKind::DFA,
            _ => AhoCorasickKind::ContiguousNFA,
        };
        let heads = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .kind(Some(kind))
            .build(&heads)
            .ok();
        Self {
            rules,
            by_first_byte,
            heads,
        }
    }

    /// True if anything matches.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let mut at = 0;
        while let Some(place) = self.next_place(text, at, Edge::Final) {
            if let (Verdict::Matched(_), _) = self.decide(text, place, Edge::Final) {
                return true;
            }
            at = place.saturating_add(1);
        }
        false
    }

    /// Writes `window` from `from` on with all matches replaced, up to the first place that more bytes would decide.
    /// What stands before `from` is only looked at, and what stands before `written` is not written again.
    pub(super) fn replace(
        &self,
        window: &[u8],
        from: usize,
        written: usize,
        edge: Edge,
        replacements: &[Box<str>],
        out: &mut Vec<u8>,
    ) -> Stopped {
        let mut at = from;
        let mut written = written.max(from);
        let mut write_up_to = |end: usize, written: usize, replacement: Option<usize>| {
            out.extend_from_slice(window.get(written..end).unwrap_or(&[]));
            let text = replacement.and_then(|replacement| replacements.get(replacement));
            out.extend_from_slice(text.map_or(&[], |text| text.as_bytes()));
        };
        while let Some(place) = self.next_place(window, at, edge) {
            match self.decide(window, place, edge) {
                (Verdict::Refuted, _) => {}
                (Verdict::Pending, _) => {
                    write_up_to(place, written, None);
                    return Stopped {
                        undecided: place,
                        written: written.max(place),
                    };
                }
                (Verdict::Matched(n_bytes), replacement) => {
                    if place >= written {
                        write_up_to(place, written, Some(replacement));
                    }
                    written = written.max(place.saturating_add(n_bytes));
                }
            }
            at = place.saturating_add(1);
        }
        write_up_to(window.len(), written, None);
        Stopped {
            undecided: window.len(),
            written: written.max(window.len()),
        }
    }

    /// The next place, from `at` on, at which a rule may match.
    fn next_place(&self, window: &[u8], at: usize, edge: Edge) -> Option<usize> {
        // Within the last bytes of an open window the beginning of a head is enough.
        let partial = match edge {
            Edge::Open => window.len().saturating_sub(HEAD_BYTES - 1).max(at),
            Edge::Final => window.len(),
        };
        let found = match &self.heads {
            Some(heads) if at < partial => heads
                .find(Input::new(window).range(at..))
                .map(|found| found.start()),
            Some(_) => None,
            None => Some(at),
        };
        found
            .filter(|&found| found < partial)
            .or(Some(partial))
            .filter(|&place| place < window.len())
    }

    /// The decision for one place, and the replacement if it matches: that of the first rule that is not refuted.
    fn decide(&self, window: &[u8], place: usize, edge: Edge) -> (Verdict, usize) {
        let bucket = window
            .get(place)
            .and_then(|&first| self.by_first_byte.get(usize::from(first)));
        for rule in bucket
            .into_iter()
            .flatten()
            .filter_map(|&rule| self.rules.get(rule))
        {
            match rule.verdict(window, place, edge) {
                Verdict::Refuted => {}
                verdict @ (Verdict::Pending | Verdict::Matched(_)) => {
                    return (verdict, rule.replacement);
                }
            }
        }
        (Verdict::Refuted, 0)
    }
}
