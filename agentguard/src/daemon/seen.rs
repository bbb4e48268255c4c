//! Which sequence numbers of an invocation are in the log.

use serde::{Deserialize, Serialize};

/// A set of numbers, as ranges: first and last of each, in order, never two that touch. Nearly always it is one range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seen(Vec<(u64, u64)>);

impl Seen {
    /// Adds a number. False when it was there.
    pub fn add(&mut self, n: u64) -> bool {
        let at = self.0.partition_point(|(first, _)| *first <= n);
        if at > 0 && n <= self.0[at - 1].1 {
            return false;
        }
        let joins_left = at > 0 && self.0[at - 1].1 + 1 == n;
        let joins_right = self.0.get(at).is_some_and(|(first, _)| *first == n + 1);
        match (joins_left, joins_right) {
            (true, true) => {
                self.0[at - 1].1 = self.0[at].1;
                self.0.remove(at);
            }
            (true, false) => self.0[at - 1].1 = n,
            (false, true) => self.0[at].0 = n,
            (false, false) => self.0.insert(at, (n, n)),
        }
        true
    }

    /// Adds all numbers from `first` to `last`.
    pub fn add_range(&mut self, first: u64, last: u64) {
        let mut merged = (first, last);
        self.0.retain(|&(f, l)| {
            let touches = f <= merged.1.saturating_add(1) && merged.0 <= l.saturating_add(1);
            if touches {
                merged = (merged.0.min(f), merged.1.max(l));
            }
            !touches
        });
        let at = self.0.partition_point(|(f, _)| *f < merged.0);
        self.0.insert(at, merged);
    }

    /// How many numbers below `end` there are.
    #[must_use]
    pub fn count_below(&self, end: u64) -> u64 {
        self.0
            .iter()
            .take_while(|(first, _)| *first < end)
            .map(|(first, last)| end.min(last + 1) - first)
            .sum()
    }

    /// The ranges of numbers below `end` that are missing.
    #[must_use]
    pub fn missing_below(&self, end: u64) -> Vec<(u64, u64)> {
        let mut next = 0;
        let mut out = Vec::new();
        for &(first, last) in self.0.iter().filter(|(first, _)| *first < end) {
            if next < first {
                out.push((next, first - 1));
            }
            next = last + 1;
        }
        if next < end {
            out.push((next, end - 1));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Seen;

    #[test]
    fn gaps_are_named() {
        let mut seen = Seen::default();
        for n in [0, 1, 5, 3, 4, 9] {
            assert!(seen.add(n));
        }
        assert!(!seen.add(4));
        assert_eq!(seen.missing_below(12), [(2, 2), (6, 8), (10, 11)]);
        assert_eq!((seen.count_below(12), seen.count_below(4)), (6, 3));
        seen.add_range(2, 8);
        assert_eq!(seen.missing_below(12), [(10, 11)]);
        assert_eq!(Seen::default().missing_below(0), []);
    }

    proptest! {
        #[test]
        fn it_is_a_set(numbers in prop::collection::vec(0u64..60, 0..80), range in (0u64..60, 0u64..9)) {
            let (mut seen, mut set) = (Seen::default(), std::collections::BTreeSet::new());
            for n in numbers {
                prop_assert_eq!(seen.add(n), set.insert(n));
            }
            seen.add_range(range.0, range.0 + range.1);
            set.extend(range.0..=range.0 + range.1);
            prop_assert_eq!(seen.count_below(100), set.len() as u64);
            let missing: u64 = seen.missing_below(100).iter().map(|(first, last)| last - first + 1).sum();
            prop_assert_eq!(missing, 100 - set.len() as u64);
            prop_assert!(seen.0.windows(2).all(|w| w[0].1 + 1 < w[1].0), "{:?}", seen);
        }
    }
}
