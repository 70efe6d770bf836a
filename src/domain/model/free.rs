//! Free numbers, as runs: an index of what the model says of each number, so that a choice needs no walk over numbers.

use std::collections::BTreeMap;

/// Numbers as runs without gaps, first → last. Runs that touch are one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FreeNumbers {
    runs: BTreeMap<u32, u32>,
    len: u32,
}

impl FreeNumbers {
    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.runs.iter().flat_map(|(first, last)| *first..=*last)
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.run_of(number).is_some()
    }

    /// Adds a run of which no number is there yet.
    pub(super) fn insert_run(&mut self, mut first: u32, mut last: u32) {
        self.len += last - first + 1;
        if let Some((left, _)) = first.checked_sub(1).and_then(|before| self.run_of(before)) {
            self.runs.remove(&left);
            first = left;
        }
        if let Some(end) = self.runs.remove(&(last + 1)) {
            last = end;
        }
        self.runs.insert(first, last);
    }

    pub(super) fn insert(&mut self, number: u32) {
        if !self.contains(number) {
            self.insert_run(number, number);
        }
    }

    pub(super) fn remove(&mut self, number: u32) {
        let Some((first, last)) = self.run_of(number) else { return };
        self.len -= 1;
        self.runs.remove(&first);
        if first < number {
            self.runs.insert(first, number - 1);
        }
        if number < last {
            self.runs.insert(number + 1, last);
        }
    }

    /// The first one from `from` to `to`.
    pub(super) fn first_within(&self, from: u32, to: u32) -> Option<u32> {
        if from > to {
            return None;
        }
        if self.contains(from) {
            return Some(from);
        }
        self.runs.range(from..=to).next().map(|(first, _)| *first)
    }

    /// The number itself; else, of the free numbers in a row that come next before it and not before `low`, the first.
    pub(super) fn at_or_run_before(&self, number: u32, low: u32) -> Option<u32> {
        let (first, last) = self.runs.range(..=number).next_back()?;
        match *last {
            last if last >= number => Some(number),
            last if last >= low => Some((*first).max(low)),
            _ => None,
        }
    }

    fn run_of(&self, number: u32) -> Option<(u32, u32)> {
        let (first, last) = self.runs.range(..=number).next_back()?;
        (*last >= number).then_some((*first, *last))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_are_what_a_set_of_numbers_is(
            changes in prop::collection::vec((any::<bool>(), 1_u32..40), 0..200),
            from in 1_u32..40, low in 1_u32..40,
        ) {
            let (mut runs, mut plain) = (FreeNumbers::default(), BTreeSet::new());
            for (is_added, number) in changes {
                if is_added {
                    runs.insert(number);
                    plain.insert(number);
                } else {
                    runs.remove(number);
                    plain.remove(&number);
                }
            }
            prop_assert_eq!(runs.iter().collect::<Vec<_>>(), plain.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(runs.len() as usize, plain.len());
            prop_assert_eq!(runs.first_within(from, 30), plain.range(from..).next().copied().filter(|n| *n <= 30));
            if low <= from {
                let before = (low..=from).rev().find(|number| plain.contains(number));
                let row = before.map(|last| (low..=last).rev().take_while(|n| plain.contains(n)).last().unwrap_or(last));
                let expected = if plain.contains(&from) { Some(from) } else { row };
                prop_assert_eq!(runs.at_or_run_before(from, low), expected);
            }
        }
    }
}
