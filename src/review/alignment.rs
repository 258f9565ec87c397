//! Which steps of two runs belong together.
//!
//! Owns the alignment: the longest common subsequence of the steps' signatures, by the algorithm of Myers (An O(ND) difference
//! algorithm, 1986). Memory and time are bounded by [`MAX_DIFFERENCES`]. It knows nothing of steps but their signatures.
//! Invariant: every index of both sides stands in exactly one pair, in ascending order.

/// Most insertions and removals that are looked for. With more the runs have little in common, and the rest of both is told
/// as removed and added: 2,000 of them take 16 MB.
pub const MAX_DIFFERENCES: usize = 2_000;

/// A step of the first run, of the second, or of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pair {
    /// The same call in both.
    Both(usize, usize),
    /// Only in the first run.
    First(usize),
    /// Only in the second run.
    Second(usize),
}

/// The alignment of two runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alignment {
    /// Every step of both.
    pub pairs: Vec<Pair>,
    /// False when [`MAX_DIFFERENCES`] was reached, and the middle was not aligned.
    pub is_whole: bool,
}

/// Aligns two sequences of signatures.
pub fn align(first: &[u64], second: &[u64]) -> Alignment {
    let n_before = first.iter().zip(second).take_while(|(a, b)| a == b).count();
    let (first_rest, second_rest) = (
        first.get(n_before..).unwrap_or_default(),
        second.get(n_before..).unwrap_or_default(),
    );
    let n_behind = first_rest
        .iter()
        .rev()
        .zip(second_rest.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let first_middle = first_rest
        .get(..first_rest.len() - n_behind)
        .unwrap_or_default();
    let second_middle = second_rest
        .get(..second_rest.len() - n_behind)
        .unwrap_or_default();
    let mut pairs: Vec<Pair> = (0..n_before).map(|idx| Pair::Both(idx, idx)).collect();
    let middle = middle(first_middle, second_middle);
    let is_whole = middle.is_some();
    let middle = middle.unwrap_or_else(|| {
        let first = (0..first_middle.len()).map(Pair::First);
        first
            .chain((0..second_middle.len()).map(Pair::Second))
            .collect()
    });
    pairs.extend(middle.into_iter().map(|pair| match pair {
        Pair::Both(a, b) => Pair::Both(a + n_before, b + n_before),
        Pair::First(a) => Pair::First(a + n_before),
        Pair::Second(b) => Pair::Second(b + n_before),
    }));
    pairs.extend((0..n_behind).map(|idx| {
        Pair::Both(
            n_before + first_middle.len() + idx,
            n_before + second_middle.len() + idx,
        )
    }));
    Alignment { pairs, is_whole }
}

/// How far the furthest path with so many differences reaches on each diagonal.
struct Reach {
    /// By diagonal (index of the first less index of the second), moved so that the lowest is 0.
    furthest: Vec<usize>,
    offset: isize,
}

impl Reach {
    fn at(&self, diagonal: isize) -> Option<usize> {
        let idx = usize::try_from(diagonal + self.offset).ok()?;
        self.furthest.get(idx).copied()
    }
}

/// The shortest edit between two sequences; none when it is longer than [`MAX_DIFFERENCES`].
fn middle(first: &[u64], second: &[u64]) -> Option<Vec<Pair>> {
    let (n, m) = (to_signed(first.len()), to_signed(second.len()));
    let mut trace: Vec<Reach> = Vec::new();
    for n_differences in 0..=to_signed(MAX_DIFFERENCES) {
        let previous = trace.last();
        let mut reach = Reach {
            furthest: vec![0; usize::try_from(2 * n_differences + 1).unwrap_or(1)],
            offset: n_differences,
        };
        let mut diagonal = -n_differences;
        while diagonal <= n_differences {
            let mut a = start_of(previous, diagonal, n_differences);
            let mut b = to_signed(a) - diagonal;
            while b >= 0
                && to_signed(a) < n
                && b < m
                && first.get(a) == usize::try_from(b).ok().and_then(|b| second.get(b))
            {
                a += 1;
                b += 1;
            }
            if let Some(place) = usize::try_from(diagonal + reach.offset)
                .ok()
                .and_then(|idx| reach.furthest.get_mut(idx))
            {
                *place = a;
            }
            if to_signed(a) >= n && b >= m {
                trace.push(reach);
                return Some(walk_back(&trace, n, m));
            }
            diagonal += 2;
        }
        trace.push(reach);
    }
    None
}

/// Where a path on a diagonal begins: behind a step down (an addition) or right (a removal), whichever reaches further.
fn start_of(previous: Option<&Reach>, diagonal: isize, n_differences: isize) -> usize {
    let Some(previous) = previous else { return 0 };
    match came_down(previous, diagonal, n_differences) {
        true => previous.at(diagonal + 1).unwrap_or(0),
        false => previous.at(diagonal - 1).map_or(0, |a| a + 1),
    }
}

fn came_down(previous: &Reach, diagonal: isize, n_differences: isize) -> bool {
    diagonal == -n_differences
        || (diagonal != n_differences && previous.at(diagonal - 1) < previous.at(diagonal + 1))
}

fn walk_back(trace: &[Reach], n: isize, m: isize) -> Vec<Pair> {
    let (mut a, mut b) = (n, m);
    let mut pairs = Vec::new();
    let idx = |signed: isize| usize::try_from(signed).unwrap_or(0);
    for n_differences in (0..trace.len()).rev() {
        let diagonal = a - b;
        let previous = n_differences.checked_sub(1).and_then(|idx| trace.get(idx));
        let n_signed = to_signed(n_differences);
        let begin = to_signed(start_of(previous, diagonal, n_signed));
        while a > begin && b > 0 {
            a -= 1;
            b -= 1;
            pairs.push(Pair::Both(idx(a), idx(b)));
        }
        if let Some(previous) = previous {
            if came_down(previous, diagonal, n_signed) {
                b -= 1;
                pairs.push(Pair::Second(idx(b)));
            } else {
                a -= 1;
                pairs.push(Pair::First(idx(a)));
            }
        }
    }
    pairs.reverse();
    pairs
}

fn to_signed(n: usize) -> isize {
    isize::try_from(n).unwrap_or(isize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the invariant and gives the number of common steps.
    fn n_common(first: &[u64], second: &[u64]) -> usize {
        let alignment = align(first, second);
        let (mut a, mut b, mut n) = (0, 0, 0);
        for pair in alignment.pairs {
            match pair {
                Pair::Both(x, y) => {
                    assert_eq!((x, y), (a, b));
                    assert_eq!(first[x], second[y]);
                    (a, b, n) = (a + 1, b + 1, n + 1);
                }
                Pair::First(x) => {
                    assert_eq!(x, a);
                    a += 1;
                }
                Pair::Second(y) => {
                    assert_eq!(y, b);
                    b += 1;
                }
            }
        }
        assert_eq!((a, b), (first.len(), second.len()));
        n
    }

    /// The length of the longest common subsequence, by the plain table.
    fn expected(first: &[u64], second: &[u64]) -> usize {
        let mut table = vec![vec![0; second.len() + 1]; first.len() + 1];
        for (i, x) in first.iter().enumerate() {
            for (j, y) in second.iter().enumerate() {
                table[i + 1][j + 1] = match x == y {
                    true => table[i][j] + 1,
                    false => table[i][j + 1].max(table[i + 1][j]),
                };
            }
        }
        table[first.len()][second.len()]
    }

    #[test]
    fn the_alignment_is_the_longest_one() {
        for (first, second) in [
            (&[][..], &[][..]),
            (&[1], &[]),
            (&[], &[1, 2]),
            (&[1, 2, 3], &[1, 2, 3]),
            (&[1, 2, 3], &[4, 5]),
            (&[1, 2, 3, 1, 2, 2, 1], &[3, 2, 1, 2, 1, 3]),
            (&[1, 9, 2, 3], &[1, 2, 8, 3]),
        ] {
            assert_eq!(n_common(first, second), expected(first, second));
        }
    }

    proptest::proptest! {
        #[test]
        fn of_any_two_runs_the_alignment_is_the_longest_one(
            first in proptest::collection::vec(0_u64..5, 0..40),
            second in proptest::collection::vec(0_u64..5, 0..40),
        ) {
            assert_eq!(n_common(&first, &second), expected(&first, &second));
        }
    }

    #[test]
    fn runs_with_nothing_in_common_are_told_and_cost_bounded_memory() {
        let first: Vec<u64> = (0..5_000).collect();
        let second: Vec<u64> = (10_000..15_000).collect();
        let alignment = align(&first, &second);
        assert!(!alignment.is_whole);
        assert_eq!(alignment.pairs.len(), 10_000);
        assert_eq!(n_common(&first, &second), 0);
        // What they share at their ends is still found.
        let mut longer = vec![1, 2, 3];
        longer.extend(&second);
        let mut other = vec![1, 2, 3];
        other.extend(&first);
        assert_eq!(n_common(&longer, &other), 3);
    }
}
