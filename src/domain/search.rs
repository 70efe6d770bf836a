//! What a search finds: one meaning for live orders in memory and for all others in the ledger.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{DisplayNumber, Order};

/// What was typed to find an order of one restaurant. An order is found by any of
///
/// - its number, with or without zeros, as it was shown, or its order number (`42`, `0042`, `A-042`, `R7-0042`);
/// - its id, or at least the first eight hexadecimal digits of it;
/// - its external id or its table, whole;
/// - a part of the customer's name, or with fewer than three characters the beginning of it.
///
/// Upper and lower case are the same: for names in every script, for codes in ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchQuery {
    code: String,
    name: String,
    number: Option<DisplayNumber>,
    shown_numbers: BTreeSet<DisplayNumber>,
    ids: Option<(Uuid, Uuid)>,
}

/// A search text was empty, too long or not storable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a search needs 1 to 128 characters, without NUL")]
pub struct InvalidSearch;

impl SearchQuery {
    /// The longest search text, in characters: that of the longest field.
    pub(crate) const MAX_CHARS: usize = 128;

    /// Below this many characters, only the beginning of a name is compared.
    const MIN_PART_CHARS: usize = 3;

    /// Reads a search text; spaces around it do not count.
    ///
    /// # Errors
    /// [`InvalidSearch`] if nothing is left, it is too long or it holds a NUL.
    pub fn parse(text: &str) -> Result<Self, InvalidSearch> {
        let text = text.trim();
        if text.is_empty() || text.chars().count() > Self::MAX_CHARS || text.contains('\0') {
            return Err(InvalidSearch);
        }
        Ok(Self {
            code: text.to_ascii_lowercase(),
            name: fold_case(text),
            number: text.parse().ok(),
            shown_numbers: numbers_within(text),
            ids: id_range(text),
        })
    }

    /// Whether the search finds this order.
    #[must_use]
    pub fn matches(&self, order: &Order) -> bool {
        let is_code = |field: Option<&str>| field.is_some_and(|text| text.eq_ignore_ascii_case(&self.code));
        let is_id = |(first, last)| (first..=last).contains(&order.id.as_uuid());
        self.number.is_some() && self.number == order.number
            || is_code(order.formatted_number().as_deref())
            || is_code(order.order_number().as_deref())
            || is_code(order.details.external_id.as_deref())
            || is_code(order.details.table_number.as_deref())
            || self.ids.is_some_and(is_id)
            || order.details.customer_name.as_deref().is_some_and(|name| self.matches_name(&fold_case(name)))
    }

    fn matches_name(&self, folded: &str) -> bool {
        if self.name_anywhere() { folded.contains(&self.name) } else { folded.starts_with(&self.name) }
    }

    /// The text as codes are compared with it: in lower case, ASCII only.
    #[must_use]
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// The text as names are compared with it (see [`fold_case`]).
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the text may stand anywhere in a name, or only at its beginning.
    #[must_use]
    pub(crate) fn name_anywhere(&self) -> bool {
        self.name.chars().count() >= Self::MIN_PART_CHARS
    }

    /// The number, if the text is one.
    #[must_use]
    pub(crate) fn number(&self) -> Option<DisplayNumber> {
        self.number
    }

    /// Every number that the text could show, in whatever format: an order whose formatted number or own order number
    /// is the text has one of these. So the ledger needs an index of numbers only.
    #[must_use]
    pub(crate) fn shown_numbers(&self) -> &BTreeSet<DisplayNumber> {
        &self.shown_numbers
    }

    /// The first and the last id that the text is a beginning of.
    #[must_use]
    pub(crate) fn ids(&self) -> Option<(Uuid, Uuid)> {
        self.ids
    }
}

/// Folds case without regard to language or to what stands around a letter: a part of a text folds to a part of the
/// folded text.
#[must_use]
pub(crate) fn fold_case(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

fn numbers_within(text: &str) -> BTreeSet<DisplayNumber> {
    // Longer than the longest format with the widest number, or order number: it shows none.
    const LONGEST_SHOWN: usize = 48;
    if text.len() > LONGEST_SHOWN {
        return BTreeSet::new();
    }
    let runs = text.split(|c: char| !c.is_ascii_digit());
    runs.flat_map(|run| (0..run.len()).flat_map(move |from| (from + 1..=run.len()).map(move |to| &run[from..to])))
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// The ids that begin with these hexadecimal digits. Eight of them are 65 seconds of one restaurant's orders; fewer
/// would make every number a time range.
fn id_range(text: &str) -> Option<(Uuid, Uuid)> {
    const MIN_DIGITS: usize = 8;
    let hyphen_fits = |(at, c): (usize, char)| c != '-' || matches!(at, 8 | 13 | 18 | 23);
    if text.len() > 36 || !text.char_indices().all(hyphen_fits) {
        return None;
    }
    let digits = text.replace('-', "");
    if !(MIN_DIGITS..=32).contains(&digits.len()) {
        return None;
    }
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let filled_up = |text: String| u128::from_str_radix(&text, 16).ok().map(Uuid::from_u128);
    filled_up(format!("{digits:0<32}")).zip(filled_up(format!("{digits:f<32}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{OrderDetails, OrderId, OrderStatus, RestaurantId, Timestamp};

    fn order() -> Order {
        let at = Timestamp::from_unix_ms(1_795_402_241_123);
        Order {
            id: OrderId::new(at, RestaurantId::new(7).expect("valid"), 99),
            given_at: Some(at),
            number: DisplayNumber::new(42).ok(),
            format: "A-{n:03}".parse().expect("valid"),
            legacy_number: None,
            status: OrderStatus::Pending,
            details: OrderDetails {
                table_number: Some("T12".to_owned()),
                external_id: Some("POS-9".to_owned()),
                customer_name: Some("María ΣΟΦΟΣ".to_owned()),
                ..OrderDetails::default()
            },
            updated_at: at,
            released_at: None,
            cooldown_seconds: 60,
            version: 1,
            sequence: 1,
        }
    }

    fn finds(text: &str) -> bool {
        SearchQuery::parse(text).expect("valid").matches(&order())
    }

    #[test]
    fn an_order_is_found_by_everything_that_names_it() {
        let id = order().id.to_string();
        for text in
            ["42", "0042", " 42 ", "a-042", "R7-0042", "r7-0042", "t12", "pos-9", "MARÍA", "σοφο", "ar\u{ed}a", "ma"]
        {
            assert!(finds(text), "{text}");
        }
        for digits in [8, 10, 14, 36] {
            assert!(finds(&id[..digits].to_uppercase()), "{digits} of {id}");
        }
        assert!(finds(&id.replace('-', "")));
    }

    #[test]
    fn and_by_nothing_else() {
        let id = order().id.to_string();
        for text in
            ["4", "2", "420", "A-42", "R8-0042", "R7-42", "T1", "T123", "POS", "ía", "%", "_", &id[..7], "019a0000"]
        {
            assert!(!finds(text), "{text}");
        }
    }

    #[test]
    fn what_an_import_was_called_replaces_our_own_order_number() {
        let imported = Order { legacy_number: Some("Old-1".to_owned()), ..order() };
        let finds = |text| SearchQuery::parse(text).expect("valid").matches(&imported);
        assert!(finds("old-1") && finds("42") && !finds("R7-0042"));
    }

    #[test]
    fn every_shown_number_is_among_those_of_the_text() {
        for (template, number) in [("{n:04}", 42), ("2{n}5", 7), ("№{n:09}!", 999_999), ("1{n:02}", 5)] {
            let number = DisplayNumber::new(number).expect("valid");
            let shown = template.parse::<crate::domain::NumberFormat>().expect("valid").render(number);
            assert!(SearchQuery::parse(&shown).expect("valid").shown_numbers().contains(&number), "{shown}");
        }
    }

    #[test]
    fn empty_long_and_unstorable_texts_are_refused() {
        for bad in ["", "  ", "a\0b", &"x".repeat(129)] {
            assert_eq!(SearchQuery::parse(bad), Err(InvalidSearch), "{bad:?}");
        }
        assert!(SearchQuery::parse(&"é".repeat(128)).is_ok());
    }
}
