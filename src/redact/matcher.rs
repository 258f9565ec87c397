//! Finds and replaces matches in one window of text.
//!
//! Owns the search and the precedence of overlapping matches. It keeps no text. Invariant: places are decided in
//! ascending order, each once, so that a window continued later gives what the whole text gives.
//!
//! Precedence: the leftmost match gives the name; at one place a declared secret comes before a shape, and a longer
//! declared form before a shorter one. Matches that overlap are replaced together, as one span under the first one's
//! name: a secret whose beginning was replaced as the end of another one does not show its rest.

use super::heads::Heads;
use super::rule::{Edge, Rule, Verdict};

/// Rules with a filter over their first bytes.
pub(super) struct Matcher {
    /// In order of precedence.
    rules: Vec<Rule>,
    /// Rules by the first byte of their literal, in order of precedence; 256 entries.
    by_first_byte: Vec<Vec<usize>>,
    heads: Heads,
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
        for (rule_idx, rule) in rules.iter().enumerate() {
            let first = rule.literal.first().map(|&byte| usize::from(byte));
            if let Some(bucket) = first.and_then(|first| by_first_byte.get_mut(first)) {
                bucket.push(rule_idx);
            }
        }
        Self {
            heads: Heads::of(rules.iter().map(|rule| &*rule.literal)),
            rules,
            by_first_byte,
        }
    }

    /// True if anything matches.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let mut at = 0;
        while let Some(place) = self.heads.find(text, at) {
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
        while let Some(place) = self.heads.find(window, at) {
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
