//! Numbers that a restaurant never gives, as its managers write them: numbers, ranges and patterns.
//!
//! They are kept as they were written, in one canonical order, so that "none with a 4" stays one line. Which numbers of
//! a range they are is worked out here alone: the scripts are given the runs.

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
    str::FromStr,
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Unexpected},
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{Array, Object, OneOf, RefOr, Schema, schema::Type},
};

use super::{
    DisplayNumber,
    number_pattern::{Matcher, NumberPattern, Run},
};

/// The entries that a restaurant may have, once numbers in a row are joined: any choice of the numbers up to 9999 fits.
pub(crate) const MOST_ENTRIES: usize = 5000;
/// The patterns among them.
pub(crate) const MOST_PATTERNS: usize = 32;
/// So many single numbers stay as they were written; of more, those in a row are joined into ranges.
pub(crate) const MOST_UNJOINED: usize = 512;
/// Numbers in a row that are worth a range.
const WORTH_A_RANGE: u32 = 3;

/// One line of the blocked numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BlockedEntry {
    /// `13`
    Number(u32),
    /// `400-499`
    Range(u32, u32),
    /// `*4*`
    Pattern(NumberPattern),
    /// `unlucky-japan`: it becomes the numbers that people there avoid.
    Unlucky(Unlucky),
}

/// Numbers that guests of a place would rather not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unlucky {
    name: &'static str,
    numbers: &'static [u32],
}

/// Where which numbers are unlucky.
const UNLUCKY: [Unlucky; 5] = [
    Unlucky { name: "unlucky-western", numbers: &[13] },
    Unlucky { name: "unlucky-italy", numbers: &[17] },
    Unlucky { name: "unlucky-brazil", numbers: &[17] },
    Unlucky { name: "unlucky-china", numbers: &[4, 14] },
    Unlucky { name: "unlucky-japan", numbers: &[4, 9] },
];

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidEntry {
    #[error("is empty: write a number, a range such as 400-499, or a pattern such as *4*")]
    Empty,
    #[error("is no list of unlucky numbers: there are unlucky-western, -italy, -brazil, -china and -japan")]
    Unlucky,
    #[error("has the character {0:?}: digits make a number, a dash a range, and * and ? a pattern")]
    Character(char),
    #[error("is no range: write one number on each side of one dash, such as 400-499")]
    Range,
    #[error("runs backwards: write {1}-{0}")]
    Backwards(u32, u32),
    #[error("must be from 1 to {}", DisplayNumber::MAX)]
    OutOfRange,
    #[error("matches no number: numbers have no leading zeros, and at most {} digits", NumberPattern::MOST_DIGITS)]
    MatchesNothing,
}

fn number(text: &str) -> Result<u32, InvalidEntry> {
    text.parse().map(DisplayNumber::get).map_err(|_| InvalidEntry::OutOfRange)
}

impl FromStr for BlockedEntry {
    type Err = InvalidEntry;

    fn from_str(text: &str) -> Result<Self, InvalidEntry> {
        let text = text.trim_matches(' ');
        if text.is_empty() {
            return Err(InvalidEntry::Empty);
        }
        if text.starts_with("unlucky") {
            let known = UNLUCKY.into_iter().find(|unlucky| unlucky.name == text);
            return known.map(Self::Unlucky).ok_or(InvalidEntry::Unlucky);
        }
        // Word processors make an en dash of a hyphen.
        let is_dash = |c: char| matches!(c, '-' | '–');
        let known = |c: &char| c.is_ascii_digit() || matches!(c, '*' | '?' | ' ') || is_dash(*c);
        if let Some(other) = text.chars().find(|c| !known(c)) {
            return Err(InvalidEntry::Character(other));
        }
        if let Some((first, last)) = text.split_once(is_dash) {
            let (first, last) = (first.trim_end_matches(' '), last.trim_start_matches(' '));
            let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if !is_number(first) || !is_number(last) {
                return Err(InvalidEntry::Range);
            }
            return match (number(first)?, number(last)?) {
                (first, last) if first > last => Err(InvalidEntry::Backwards(first, last)),
                (first, last) if first == last => Ok(Self::Number(first)),
                (first, last) => Ok(Self::Range(first, last)),
            };
        }
        if text.contains(' ') {
            return Err(InvalidEntry::Character(' '));
        }
        if text.contains(['*', '?']) {
            return NumberPattern::new(text).map(Self::Pattern).ok_or(InvalidEntry::MatchesNothing);
        }
        number(text).map(Self::Number)
    }
}

impl fmt::Display for BlockedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
            Self::Pattern(pattern) => f.write_str(pattern.as_str()),
            Self::Unlucky(unlucky) => f.write_str(unlucky.name),
        }
    }
}

impl Serialize for BlockedEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u32(*number),
            _ => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for BlockedEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = BlockedEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(
                    f,
                    "a number from 1 to {}, a range such as \"400-499\" or a pattern such as \"*4*\"",
                    DisplayNumber::MAX
                )
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<BlockedEntry, E> {
                let known = DisplayNumber::new(number).map(|number| BlockedEntry::Number(number.get()));
                known.map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<BlockedEntry, E> {
                match i64::try_from(number) {
                    Ok(number) => self.visit_i64(number),
                    Err(_) => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<BlockedEntry, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// The blocked numbers of a restaurant, in their canonical form: numbers and ranges in ascending order, none in another,
/// then patterns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<BlockedEntry>")]
pub struct BlockedNumbers(Vec<BlockedEntry>);

impl From<Vec<BlockedEntry>> for BlockedNumbers {
    fn from(entries: Vec<BlockedEntry>) -> Self {
        let (mut numbers, mut ranges, mut patterns) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
        for entry in entries {
            match entry {
                BlockedEntry::Number(number) => _ = numbers.insert(number),
                BlockedEntry::Range(first, last) => ranges.push((first, last)),
                BlockedEntry::Pattern(pattern) => _ = patterns.insert(pattern),
                BlockedEntry::Unlucky(unlucky) => numbers.extend(unlucky.numbers),
            }
        }
        let mut ranges = joined(ranges);
        numbers.retain(|number| !is_in(&ranges, *number));
        if numbers.len() > MOST_UNJOINED {
            let rows = joined(numbers.iter().map(|number| (*number, *number)).collect());
            ranges.extend(rows.into_iter().filter(|(first, last)| last - first + 1 >= WORTH_A_RANGE));
            ranges = joined(ranges);
            numbers.retain(|number| !is_in(&ranges, *number));
        }
        let mut ordered: Vec<Run> = numbers.into_iter().map(|number| (number, number)).chain(ranges).collect();
        ordered.sort_unstable();
        let entry = |(first, last)| match last {
            last if last == first => BlockedEntry::Number(first),
            last => BlockedEntry::Range(first, last),
        };
        Self(ordered.into_iter().map(entry).chain(patterns.into_iter().map(BlockedEntry::Pattern)).collect())
    }
}

impl FromIterator<u32> for BlockedNumbers {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        Self::from(numbers.into_iter().map(BlockedEntry::Number).collect::<Vec<_>>())
    }
}

impl<const N: usize> From<[u32; N]> for BlockedNumbers {
    fn from(numbers: [u32; N]) -> Self {
        numbers.into_iter().collect()
    }
}

/// Entries with commas between them, as stores keep them.
impl fmt::Display for BlockedNumbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, entry) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_char(',')?;
            }
            entry.fmt(f)?;
        }
        Ok(())
    }
}

/// An entry that a store has, and that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the blocked numbers {entry:?}: {source}")]
pub struct BadEntry {
    entry: String,
    source: InvalidEntry,
}

impl FromStr for BlockedNumbers {
    type Err = BadEntry;

    fn from_str(text: &str) -> Result<Self, BadEntry> {
        let entry = |text: &str| text.parse().map_err(|source| BadEntry { entry: text.to_owned(), source });
        let entries = text.split(',').filter(|entry| !entry.is_empty()).map(entry);
        entries.collect::<Result<Vec<_>, _>>().map(Self::from)
    }
}

impl BlockedNumbers {
    /// The single numbers among the entries.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.0.iter().filter_map(|entry| match entry {
            BlockedEntry::Number(number) => Some(*number),
            _ => None,
        })
    }

    /// Whether there are ranges or patterns among the entries.
    #[must_use]
    pub(crate) fn has_rules(&self) -> bool {
        // Numbers may stand between ranges, and patterns come last.
        self.0.iter().any(|entry| !matches!(entry, BlockedEntry::Number(_)))
    }

    /// How many entries there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn patterns(&self) -> impl Iterator<Item = &NumberPattern> {
        self.0.iter().filter_map(|entry| match entry {
            BlockedEntry::Pattern(pattern) => Some(pattern),
            _ => None,
        })
    }

    /// How many of the entries are patterns.
    #[must_use]
    pub(crate) fn pattern_count(&self) -> usize {
        self.patterns().count()
    }

    /// Whether an entry blocks this number.
    #[must_use]
    pub fn contains(&self, number: u32) -> bool {
        // Numbers and ranges are in order, none in another; patterns stand behind them.
        let behind = self.0.partition_point(|entry| match entry {
            BlockedEntry::Number(first) | BlockedEntry::Range(first, _) => *first <= number,
            BlockedEntry::Pattern(_) | BlockedEntry::Unlucky(_) => false,
        });
        let listed = match behind.checked_sub(1).and_then(|at| self.0.get(at)) {
            Some(BlockedEntry::Number(only)) => *only == number,
            Some(BlockedEntry::Range(_, last)) => number <= *last,
            Some(BlockedEntry::Pattern(_) | BlockedEntry::Unlucky(_)) | None => false,
        };
        listed || self.patterns().any(|pattern| pattern.matches(number))
    }

    /// The blocked numbers from `first` to `last`, as runs in ascending order, none of which touch.
    #[must_use]
    pub fn within(&self, first: u32, last: u32) -> Vec<Run> {
        let mut runs: Vec<Run> = self
            .0
            .iter()
            .filter_map(|entry| match entry {
                BlockedEntry::Number(number) => Some((*number, *number)),
                BlockedEntry::Range(first, last) => Some((*first, *last)),
                BlockedEntry::Pattern(_) | BlockedEntry::Unlucky(_) => None,
            })
            .collect();
        let patterns: Vec<&NumberPattern> = self.patterns().collect();
        if !patterns.is_empty() {
            runs.extend(Matcher::of(&patterns).within(first, last));
        }
        let clip = |(from, to): Run| (from.max(first), to.min(last));
        joined(runs.into_iter().map(clip).filter(|(from, to)| from <= to).collect())
    }
}

/// Runs in ascending order, those that overlap or touch as one.
fn joined(mut runs: Vec<Run>) -> Vec<Run> {
    runs.sort_unstable();
    let mut joined: Vec<Run> = Vec::with_capacity(runs.len());
    for (first, last) in runs {
        match joined.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}

/// Whether one of these runs, which are in ascending order, holds the number.
pub(crate) fn is_in(runs: &[Run], number: u32) -> bool {
    let behind = runs.partition_point(|(first, _)| *first <= number);
    behind.checked_sub(1).and_then(|at| runs.get(at)).is_some_and(|(_, last)| number <= *last)
}

impl PartialSchema for BlockedNumbers {
    fn schema() -> RefOr<Schema> {
        let number = Object::builder()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(DisplayNumber::MAX))
            .description(Some("One number."))
            .build();
        let rule = Object::builder()
            .schema_type(Type::String)
            .min_length(Some(1))
            .description(Some(
                "A range, `400-499`; a pattern of digits, `?` for one digit and `*` for any digits or none, `*4*`; \
                 or one number.",
            ))
            .build();
        let entry = OneOf::builder().item(number).item(rule).build();
        let mut list = Array::new(RefOr::T(Schema::OneOf(entry)));
        list.examples = vec![serde_json::json!([13, "400-499", "*4*"])];
        RefOr::T(Schema::Array(list))
    }
}

impl ToSchema for BlockedNumbers {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn blocked(json: serde_json::Value) -> BlockedNumbers {
        serde_json::from_value(json).expect("well-formed")
    }

    #[test]
    fn lists_of_unlucky_numbers_become_their_numbers() {
        for (text, numbers) in [
            ("unlucky-western", "13"),
            ("unlucky-italy,unlucky-brazil", "17"),
            ("unlucky-china,9,unlucky-japan", "4,9,14"),
            ("1-20,unlucky-western", "1-20"),
        ] {
            assert_eq!(text.parse::<BlockedNumbers>().map(|numbers| numbers.to_string()), Ok(numbers.to_owned()));
        }
        assert!("unlucky-mars".parse::<BlockedNumbers>().is_err_and(|error| error.to_string().contains("-western")));
        assert!("unlucky".parse::<BlockedNumbers>().is_err());
    }

    #[test]
    fn entries_are_read_as_people_write_them() {
        for (written, kept) in [
            (json!([]), json!([])),
            (json!([666, 13, 13]), json!([13, 666])),
            (json!(["13", "007", " 21 "]), json!([7, 13, 21])),
            (json!(["400-499", "400 - 499", "400–499", "0400-0499"]), json!(["400-499"])),
            (json!(["13-13"]), json!([13])),
            (json!(["*4*", "*7", 13, "1?", "20-29"]), json!([13, "20-29", "*4*", "*7", "1?"])),
            (json!(["**4**", "*?", "?*", "*?*?"]), json!(["*4*", "?*", "??*"])),
            // Ranges that overlap or touch are one, and a number inside of one goes.
            (json!(["30-39", "10-19", "20-25", "15-22", 12, 26, 99]), json!(["10-25", 26, "30-39", 99])),
            // A few numbers in a row stay as they were written.
            (json!([14, 15, 13]), json!([13, 14, 15])),
        ] {
            let read = blocked(written.clone());
            assert_eq!(json!(read), kept, "{written}");
            assert_eq!(blocked(kept.clone()), read, "what was read is written as it is");
            assert_eq!(read.to_string().parse::<BlockedNumbers>().as_ref(), Ok(&read), "{read}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_entry_is_said() {
        use InvalidEntry::{Backwards, Character, Empty, MatchesNothing, OutOfRange, Range};
        for (text, wrong) in [
            ("", Empty),
            ("   ", Empty),
            ("x", Character('x')),
            ("4.5", Character('.')),
            ("1,2", Character(',')),
            ("4 5", Character(' ')),
            ("* 4", Character(' ')),
            ("٤", Character('٤')),
            ("499-400", Backwards(499, 400)),
            ("-5", Range),
            ("5-", Range),
            ("-", Range),
            ("1-2-3", Range),
            ("4*-5*", Range),
            ("1 2-3", Range),
            ("0", OutOfRange),
            ("0-5", OutOfRange),
            ("1-1000000", OutOfRange),
            ("1000000", OutOfRange),
            ("99999999999999999999", OutOfRange),
            ("0*", MatchesNothing),
            ("0?", MatchesNothing),
            ("???????", MatchesNothing),
            ("1*23*4567*", MatchesNothing),
        ] {
            assert_eq!(text.parse::<BlockedEntry>(), Err(wrong), "{text:?}");
        }
    }

    #[test]
    fn long_lists_are_joined_into_ranges() {
        let list: BlockedNumbers = (1..=9999).filter(|n: &u32| n.to_string().contains('4')).collect();
        let pattern = blocked(json!(["*4*"]));
        assert_eq!(list.within(1, 9999), pattern.within(1, 9999));
        assert!(list.len() < 1000, "{}", list.len());
        assert_eq!(list, list.to_string().parse().expect("as it was written"));
        // The list of the most pieces that a default range can have.
        let every_other: BlockedNumbers = (1..=9999).step_by(2).collect();
        assert_eq!(every_other.len(), MOST_ENTRIES);
    }

    #[test]
    fn numbers_are_counted_up_to_the_widest_range() {
        let count = |list: &BlockedNumbers| -> u32 {
            list.within(1, 999_999).iter().map(|(first, last)| last - first + 1).sum()
        };
        for (entries, blocked_numbers) in [
            (json!(["*4*"]), 999_999 - (9_u32.pow(6) - 1)),
            (json!(["*"]), 999_999),
            (json!(["*4"]), 100_000),
            (json!(["4*"]), 111_111),
            (json!(["??"]), 90),
            (json!(["1-999999", "*4*", 13]), 999_999),
            (json!(["13", "*13"]), 10_000),
        ] {
            assert_eq!(count(&blocked(entries.clone())), blocked_numbers, "{entries}");
        }
    }
}
