//! A filter over the first bytes of all literals: where may one begin?
//!
//! Owns the one loop that sees every byte of the record. It may say yes in vain and never says no wrongly. Its speed and its
//! size are the same for one secret and for a thousand.

/// Bytes of a literal that the filter looks at. Four let most encoded forms of a secret share one head, and are rare enough in
/// other text.
const HEAD_BYTES: usize = 4;

/// Logarithm of the number of bits: 8 KiB, which stay in the nearest cache. A thousand heads set 1.5 % of them.
const INDEX_BITS: u32 = 16;

/// Bits of one word of the table.
const WORD_BITS: usize = u64::BITS as usize;

/// Words of the table.
const WORDS: usize = (1 << INDEX_BITS) / WORD_BITS;

/// One bit for each hash of a head.
pub(super) struct Heads {
    bits: Box<[u64; WORDS]>,
}

impl Heads {
    /// Builds from literals that are not empty.
    pub(super) fn of<'a>(literals: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut heads = Self {
            bits: Box::new([0; WORDS]),
        };
        for literal in literals {
            match *literal {
                [a, b, c, d, ..] => heads.insert([a, b, c, d]),
                [a, b, c] => (0..=u8::MAX).for_each(|any| heads.insert([a, b, c, any])),
                // A shorter one may begin anywhere; there is none among the shapes, and no declared value is that short.
                _ => heads.bits.fill(u64::MAX),
            }
        }
        heads
    }

    /// The first place from `at` on at which a literal may begin. Of the last places of `text`, which have no whole head, each
    /// is one.
    pub(super) fn find(&self, text: &[u8], at: usize) -> Option<usize> {
        let last = text.len().saturating_sub(HEAD_BYTES - 1).max(at);
        let rest = text.get(at..).unwrap_or_default();
        let mut heads = rest.array_windows();
        let found = heads.position(|head| self.has(*head));
        let found = found.map_or(last, |offset| at + offset);
        Some(found).filter(|found| *found < text.len())
    }

    fn insert(&mut self, head: [u8; HEAD_BYTES]) {
        let index = index_of(head);
        if let Some(word) = self.bits.get_mut(index / WORD_BITS) {
            *word |= 1 << (index % WORD_BITS);
        }
    }

    fn has(&self, head: [u8; HEAD_BYTES]) -> bool {
        let index = index_of(head);
        self.bits
            .get(index / WORD_BITS)
            .is_some_and(|word| word >> (index % WORD_BITS) & 1 == 1)
    }
}

/// The upper bits of a multiplicative hash (Knuth, volume 3, section 6.4).
fn index_of(head: [u8; HEAD_BYTES]) -> usize {
    const GOLDEN_RATIO: u32 = 0x9E37_79B1;
    (u32::from_ne_bytes(head).wrapping_mul(GOLDEN_RATIO) >> (u32::BITS - INDEX_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_place_is_passed_over_at_which_a_literal_begins() {
        let literals: [&[u8]; 3] = [b"sk-", b"ghp_", b"a long literal"];
        let heads = Heads::of(literals.into_iter());
        for literal in literals {
            for before in 0..20 {
                for behind in 0..5 {
                    let text = [&vec![b'.'; before][..], literal, &vec![b'.'; behind]].concat();
                    let mut places = Vec::new();
                    while let Some(place) = heads.find(&text, places.last().map_or(0, |at| at + 1))
                    {
                        places.push(place);
                    }
                    assert!(places.contains(&before), "{before} {behind}: {places:?}");
                    assert!(places.is_sorted());
                }
            }
        }
    }

    #[test]
    fn other_text_is_passed_over() {
        let heads = Heads::of([&b"ghp_"[..]].into_iter());
        let text = b"the quick brown fox jumps over the lazy dog";
        assert_eq!(heads.find(text, 0), Some(text.len() - 3));
        assert_eq!(heads.find(text, text.len()), None);
        assert_eq!(heads.find(b"", 0), None);
    }
}
