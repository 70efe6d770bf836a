//! Patterns of numbers: `*4*`.
//!
//! A pattern is compared with the plain decimal number, without leading zeros: `?` is one digit, `*` any digits or none.

use std::collections::HashMap;

use super::DisplayNumber;

/// First and last of numbers without a gap.
pub(crate) type Run = (u32, u32);

/// A pattern that some number matches: digits, `?` and `*`, at least one of the latter. Of several `?` and `*` in a row,
/// the `?` come first and one `*` last, so that one pattern has one spelling.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NumberPattern(String);

impl NumberPattern {
    /// The digits of the largest number.
    pub(crate) const MOST_DIGITS: usize = 6;

    /// None where no number matches it.
    pub(super) fn new(text: &str) -> Option<Self> {
        let mut spelled = String::with_capacity(text.len());
        let mut any_follow = false;
        for sign in text.chars() {
            match sign {
                '*' => any_follow = true,
                '?' => spelled.push('?'),
                digit => {
                    if std::mem::take(&mut any_follow) {
                        spelled.push('*');
                    }
                    spelled.push(digit);
                }
            }
        }
        if any_follow {
            spelled.push('*');
        }
        let fixed = spelled.bytes().filter(|sign| *sign != b'*').count();
        (fixed <= Self::MOST_DIGITS && !spelled.starts_with('0')).then_some(Self(spelled))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn matches(&self, number: u32) -> bool {
        let digits = number.to_string();
        let (signs, digits) = (self.0.as_bytes(), digits.as_bytes());
        let (mut sign, mut digit) = (0, 0);
        // Where to go on when it turns out that the last `*` stands for one digit more.
        let mut again = None;
        while let Some(&next) = digits.get(digit) {
            match signs.get(sign) {
                Some(b'*') => {
                    again = Some((sign + 1, digit));
                    sign += 1;
                }
                Some(&wanted) if wanted == b'?' || wanted == next => {
                    sign += 1;
                    digit += 1;
                }
                _ => {
                    let Some((behind, from)) = again else { return false };
                    again = Some((behind, from + 1));
                    (sign, digit) = (behind, from + 1);
                }
            }
        }
        signs.get(sign..).unwrap_or_default().iter().all(|rest| *rest == b'*')
    }
}

/// Several patterns at once, to find all numbers of a range that match one of them.
///
/// Their signs stand one behind the other, and a set of places says how far the digits so far have come in each. The
/// digits are walked as a tree: a branch in which all numbers match, or none, is not walked. Few sets of places are ever
/// reached, so each is worked out once.
pub(super) struct Matcher {
    /// Places that a digit leads on from.
    leads_on: [Places; 10],
    /// Places of a `*`, which stay.
    stays: Places,
    /// Places behind the last sign of a pattern.
    ends: Places,
    /// Places of a `*` that is the last sign: whatever follows matches.
    ends_with_any: Places,
    reached: Vec<Reached>,
    known: HashMap<Places, usize>,
}

/// A bit for each sign of the patterns, and one behind each pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Places(Vec<u64>);

/// A set of places that digits lead to.
struct Reached {
    places: Places,
    /// What the digits so far match.
    matched: Matched,
    /// Where each digit leads on to, once it is known.
    next: [Option<usize>; 10],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Matched {
    /// Nothing, whatever follows.
    Never,
    /// Nothing so far.
    NotYet,
    /// A pattern, if nothing follows.
    Now,
    /// A pattern, whatever follows.
    Always,
}

impl Places {
    fn none(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    fn add(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / 64) {
            *word |= 1 << (place % 64);
        }
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(word, other)| word & other != 0)
    }
}

impl Matcher {
    pub(super) fn of(patterns: &[&NumberPattern]) -> Self {
        let count = patterns.iter().map(|pattern| pattern.0.len() + 1).sum();
        let none = || Places::none(count);
        let mut matcher = Self {
            leads_on: std::array::from_fn(|_| none()),
            stays: none(),
            ends: none(),
            ends_with_any: none(),
            reached: Vec::new(),
            known: HashMap::new(),
        };
        let (mut starts, mut place) = (none(), 0);
        for pattern in patterns {
            starts.add(place);
            for sign in pattern.0.bytes() {
                match sign {
                    b'*' => matcher.stays.add(place),
                    b'?' => matcher.leads_on.iter_mut().for_each(|digit| digit.add(place)),
                    digit => {
                        if let Some(digit) = matcher.leads_on.get_mut(usize::from(digit.wrapping_sub(b'0'))) {
                            digit.add(place);
                        }
                    }
                }
                place += 1;
            }
            if pattern.0.ends_with('*') {
                matcher.ends_with_any.add(place - 1);
            }
            matcher.ends.add(place);
            place += 1;
        }
        matcher.reach(starts);
        matcher
    }

    /// The index of a set of places, with those behind each `*` in it: it may stand for nothing. No two `*` stand in a
    /// row.
    fn reach(&mut self, mut places: Places) -> usize {
        let mut carried = 0;
        for (word, stays) in places.0.iter_mut().zip(&self.stays.0) {
            let at_any = *word & stays;
            *word |= (at_any << 1) | carried;
            carried = at_any >> 63;
        }
        if let Some(known) = self.known.get(&places) {
            return *known;
        }
        let matched = match &places {
            places if places.is_empty() => Matched::Never,
            places if places.meets(&self.ends_with_any) => Matched::Always,
            places if places.meets(&self.ends) => Matched::Now,
            _ => Matched::NotYet,
        };
        self.known.insert(places.clone(), self.reached.len());
        self.reached.push(Reached { places, matched, next: [None; 10] });
        self.reached.len() - 1
    }

    /// Where a digit leads on to.
    fn step(&mut self, from: usize, digit: usize) -> usize {
        let (reached, leads_on) = (&self.reached[from], &self.leads_on[digit]);
        if let Some(known) = reached.next[digit] {
            return known;
        }
        let mut places = reached.places.clone();
        let mut carried = 0;
        for ((word, leads_on), stays) in places.0.iter_mut().zip(&leads_on.0).zip(&self.stays.0) {
            let on = *word & leads_on;
            *word = (*word & stays) | (on << 1) | carried;
            carried = on >> 63;
        }
        let next = self.reach(places);
        self.reached[from].next[digit] = Some(next);
        next
    }

    /// The numbers from `first` to `last` that match, as runs in ascending order.
    pub(super) fn within(mut self, first: u32, last: u32) -> Vec<Run> {
        let mut runs = Vec::new();
        // In order of their length, numbers are in order of their digits.
        let mut span = 1;
        while span <= DisplayNumber::MAX {
            for digit in 1..10 {
                let begun = self.step(0, digit as usize);
                self.walk(begun, digit, span, (first, last), &mut runs);
            }
            span *= 10;
        }
        runs
    }

    /// The numbers of `span` digits' worth behind the digits of `prefix`, which have led to `at`.
    fn walk(&mut self, at: usize, prefix: u32, span: u32, range: Run, runs: &mut Vec<Run>) {
        let (from, to) = (prefix * span, prefix * span + (span - 1));
        if to < range.0 || from > range.1 {
            return;
        }
        match (self.reached[at].matched, span) {
            (Matched::Never, _) | (Matched::NotYet, 1) => {}
            (Matched::Always, _) | (Matched::Now, 1) => match runs.last_mut() {
                Some(before) if before.1 + 1 == from => before.1 = to,
                _ => runs.push((from, to)),
            },
            _ => {
                for digit in 0..10 {
                    let next = self.step(at, digit as usize);
                    self.walk(next, prefix * 10 + digit, span / 10, range, runs);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As plainly as can be: each `*` is tried with every number of digits.
    fn plainly(pattern: &[u8], digits: &[u8]) -> bool {
        match (pattern.split_first(), digits.split_first()) {
            (None, none) => none.is_none(),
            (Some((b'*', behind)), _) => (0..=digits.len()).any(|taken| plainly(behind, &digits[taken..])),
            (Some((sign, behind)), Some((digit, rest))) => (*sign == b'?' || sign == digit) && plainly(behind, rest),
            (Some(_), None) => false,
        }
    }

    #[test]
    fn a_pattern_is_compared_with_the_plain_number() {
        let matches = |pattern: &str, number| NumberPattern::new(pattern).expect("some number does").matches(number);
        for (pattern, yes, no) in [
            ("*4*", [4, 40, 140_000], [5, 55, 123]),
            ("4*", [4, 42, 499_999], [14, 24, 34]),
            ("*4", [4, 14, 999_994], [41, 40, 45]),
            ("?", [1, 9, 5], [10, 100, 55]),
            ("1?3", [103, 113, 193], [13, 1003, 123_456]),
            ("*1*2*", [12, 102, 991_992], [21, 1, 2]),
            ("*0", [10, 200, 999_990], [1, 101, 9]),
            ("??*", [10, 100, 999_999], [1, 9, 5]),
        ] {
            assert!(yes.iter().all(|number| matches(pattern, *number)), "{pattern}");
            assert!(!no.iter().any(|number| matches(pattern, *number)), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn the_numbers_of_patterns_are_those_that_match(
            texts in prop::collection::vec("[0-9?*]{1,7}", 1..5),
            from in 1_u32..=999_999,
            width in 0_u32..3000,
        ) {
            let patterns: Vec<NumberPattern> = texts.iter().filter_map(|text| NumberPattern::new(text)).collect();
            let all: Vec<&NumberPattern> = patterns.iter().collect();
            let to = (from + width).min(999_999);
            let runs = Matcher::of(&all).within(from, to);
            for number in from..=to {
                let digits = number.to_string();
                let expected = texts.iter().any(|text| plainly(text.as_bytes(), digits.as_bytes()));
                prop_assert_eq!(patterns.iter().any(|pattern| pattern.matches(number)), expected, "{}", number);
                prop_assert_eq!(runs.iter().any(|(a, b)| (*a..=*b).contains(&number)), expected, "{}", number);
            }
        }

        #[test]
        fn one_language_is_kept_through_respelling(text in "[0-9?*]{1,7}", number in 1_u32..=999_999) {
            let expected = plainly(text.as_bytes(), number.to_string().as_bytes());
            let found = NumberPattern::new(&text).is_some_and(|pattern| pattern.matches(number));
            prop_assert_eq!(found, expected);
        }
    }
}
