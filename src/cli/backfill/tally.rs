//! What was understood of a source, counted: words and what they were taken for, words for nothing.

use std::collections::{BTreeMap, HashMap};

/// A field whose words have meanings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    Status,
    OrderSource,
    OrderType,
}

impl Field {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::OrderSource => "order_source",
            Self::OrderType => "order_type",
        }
    }
}

/// What a word was taken for, and in how many rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    /// None: its meaning is not known.
    pub(super) meaning: Option<&'static str>,
    pub(super) rows: u64,
}

/// So many words of a field are told apart.
const MAX_WORDS: usize = 500;

/// What the others are called.
const OTHERS: &str = "(others)";

#[derive(Debug, Default)]
pub(super) struct Tally {
    words: BTreeMap<Field, HashMap<String, Taken>>,
    /// Words for nothing.
    pub(super) nothing: HashMap<String, u64>,
}

impl Tally {
    pub(super) fn add(&mut self, field: Field, word: &str, meaning: Option<&'static str>) {
        let words = self.words.entry(field).or_default();
        if let Some(taken) = words.get_mut(word) {
            taken.rows += 1;
            return;
        }
        let word = if words.len() < MAX_WORDS { word } else { OTHERS };
        words.entry(word.to_owned()).or_insert(Taken { meaning, rows: 0 }).rows += 1;
    }

    /// The words of each field, the most frequent first.
    pub(super) fn words(&self) -> Vec<(Field, &str, Taken)> {
        let mut all: Vec<_> = self
            .words
            .iter()
            .flat_map(|(field, words)| words.iter().map(|(word, taken)| (*field, word.as_str(), *taken)))
            .collect();
        all.sort_by(|a, b| (a.0, b.2.rows, a.1).cmp(&(b.0, a.2.rows, b.1)));
        all
    }

    /// The words for nothing, the most frequent first.
    pub(super) fn nothing(&self) -> Vec<(&str, u64)> {
        let mut all: Vec<_> = self.nothing.iter().map(|(word, count)| (word.as_str(), *count)).collect();
        all.sort_by(|a, b| (b.1, a.0).cmp(&(a.1, b.0)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_with_their_meaning() {
        let mut tally = Tally::default();
        for (word, meaning) in [("paid", None), ("Done", Some("completed")), ("paid", None)] {
            tally.add(Field::Status, word, meaning);
        }
        tally.add(Field::OrderType, "To go", Some("takeaway"));
        let words = tally.words();
        assert_eq!(words[0], (Field::Status, "paid", Taken { meaning: None, rows: 2 }));
        assert_eq!(words[1], (Field::Status, "Done", Taken { meaning: Some("completed"), rows: 1 }));
        assert_eq!(words[2].0, Field::OrderType);
        for n in 0..2 * MAX_WORDS {
            tally.add(Field::Status, &n.to_string(), None);
        }
        let rows: u64 = tally.words().iter().map(|(_, _, taken)| taken.rows).sum();
        assert_eq!(rows, 4 + 2 * MAX_WORDS as u64, "none is lost");
        assert!(tally.words().len() <= MAX_WORDS + 2);
    }
}
