//! Resting numbers, in the order in which Redis has them.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

/// Why a number rests, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rest {
    /// When it began, in ms.
    pub(super) since: i64,
    /// When it ends, in ms.
    pub(super) free_at: i64,
}

/// A number at its place in the order: where two rests end at once, Redis compares the numbers as texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    free_at: i64,
    number: u32,
}

impl Place {
    fn key(self) -> (i64, [u8; 10]) {
        let mut digits = [0; 10];
        let (mut rest, mut len) = (self.number, 0);
        while rest > 0 || len == 0 {
            digits[len] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
            len += 1;
        }
        digits[..len].reverse();
        (self.free_at, digits)
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The numbers that rest, each with its rest.
#[derive(Debug, Clone, Default)]
pub(super) struct Rests {
    by_number: BTreeMap<u32, Rest>,
    in_order: BTreeSet<Place>,
}

impl Rests {
    pub(super) fn of(&self, number: u32) -> Option<Rest> {
        self.by_number.get(&number).copied()
    }

    /// Puts a number to rest, or gives it another one.
    pub(super) fn begin(&mut self, number: u32, rest: Rest) {
        self.end(number);
        self.by_number.insert(number, rest);
        self.in_order.insert(Place { free_at: rest.free_at, number });
    }

    /// Ends a rest; false where there is none.
    pub(super) fn end(&mut self, number: u32) -> bool {
        let Some(rest) = self.by_number.remove(&number) else { return false };
        self.in_order.remove(&Place { free_at: rest.free_at, number })
    }

    /// When each is free, and which it is.
    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, u32)> {
        self.in_order.iter().map(|place| (place.free_at, place.number))
    }

    /// The numbers whose rest is over.
    pub(super) fn over(&self, now: i64) -> impl Iterator<Item = u32> {
        self.iter().take_while(move |(free_at, _)| *free_at <= now).map(|(_, number)| number)
    }

    /// Lets so many ms go by for all of them.
    pub(super) fn pass(&mut self, ms: i64) {
        let rests = std::mem::take(self);
        for (number, Rest { since, free_at }) in rests.by_number {
            self.begin(number, Rest { since: since - ms, free_at: free_at - ms });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_that_end_at_once_are_ordered_as_texts() {
        let mut rests = Rests::default();
        for (number, free_at) in [(9, 5), (10, 5), (100, 5), (2, 5), (1, 6), (3, 4)] {
            rests.begin(number, Rest { since: 0, free_at });
        }
        assert_eq!(rests.over(5).collect::<Vec<_>>(), [3, 10, 100, 2, 9]);
        assert!(rests.end(10) && !rests.end(10));
        rests.pass(1);
        assert_eq!(rests.iter().collect::<Vec<_>>(), [(3, 3), (4, 100), (4, 2), (4, 9), (5, 1)]);
    }
}
