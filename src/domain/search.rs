//! What a search finds: one meaning for live orders in memory and for all others in the ledger.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{
    Order,
    fold::{composed, fold, plain},
    written_number::WrittenNumber,
};

/// What was typed to find an order of one restaurant. An order is found by any of
///
/// - its number, what was shown of it, or its order number, as people write them (see [`WrittenNumber`]): `42`, `#0042`,
///   `４２`, `A-042`, `a 42`, `R7-0042`, `r7 42`;
/// - if it was imported, what it was called there;
/// - its id, or at least the first eight hexadecimal digits of it;
/// - its external id or its table, whole, in upper or lower case (of ASCII), in full width or with digits of any script;
/// - a part of the customer's name, or with fewer than three characters the beginning of it, as people write names (see
///   [`fold`]): `jose` finds `José`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchQuery {
    codes: BTreeSet<String>,
    name: Option<NamePart>,
    written: Option<WrittenNumber>,
    ids: Option<(Uuid, Uuid)>,
}

/// A part of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamePart {
    /// As names are folded.
    pub folded: String,
    /// In lower case only, as names were folded before, where that differs. What it finds among those is also found by
    /// the other once they are folded anew.
    pub cased: Option<String>,
    /// Whether it may stand anywhere in a name, or only at its beginning.
    pub anywhere: bool,
}

/// A search text was empty, too long or not storable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a search needs 1 to 128 characters, without NUL")]
pub struct InvalidSearch;

impl SearchQuery {
    /// The longest search text, in characters: that of the longest field.
    pub(crate) const MAX_CHARS: usize = 128;

    /// Reads a search text; spaces around it do not count.
    ///
    /// # Errors
    /// [`InvalidSearch`] if nothing is left, it is too long or it holds a NUL.
    pub fn parse(text: &str) -> Result<Self, InvalidSearch> {
        let text = text.trim();
        if text.is_empty() || text.chars().count() > Self::MAX_CHARS || text.contains('\0') {
            return Err(InvalidSearch);
        }
        Ok(Self { codes: codes(text), name: NamePart::of(text), written: WrittenNumber::of(text), ids: id_range(text) })
    }

    /// Whether the search finds this order.
    #[must_use]
    pub fn matches(&self, order: &Order) -> bool {
        let is_code = |field: Option<&str>| field.is_some_and(|text| self.codes.contains(&text.to_ascii_lowercase()));
        let is_id = |(first, last)| (first..=last).contains(&order.id.as_uuid());
        is_code(order.legacy_number.as_deref())
            || is_code(order.old_number.as_deref())
            || is_code(order.details.external_id.as_deref())
            || is_code(order.details.table_number.as_deref())
            || self.ids.is_some_and(is_id)
            || self.written.as_ref().is_some_and(|written| written.names(order))
            || self.finds_name(order.details.customer_name.as_deref())
    }

    fn finds_name(&self, name: Option<&str>) -> bool {
        self.name.as_ref().zip(name).is_some_and(|(part, name)| part.is_in(&fold(name)))
    }

    /// The text as codes are compared with it: in lower case, ASCII only.
    pub(crate) fn codes(&self) -> impl Iterator<Item = &str> {
        self.codes.iter().map(String::as_str)
    }

    /// The part of a name that the text is; None where it is nothing that a name has.
    #[must_use]
    pub(crate) fn name(&self) -> Option<&NamePart> {
        self.name.as_ref()
    }

    /// The number that the text is.
    #[must_use]
    pub(crate) fn written(&self) -> Option<&WrittenNumber> {
        self.written.as_ref()
    }

    /// The first and the last id that the text is a beginning of.
    #[must_use]
    pub(crate) fn ids(&self) -> Option<(Uuid, Uuid)> {
        self.ids
    }
}

impl NamePart {
    /// Below this many characters, only the beginning of a name is compared.
    const MIN_PART_CHARS: usize = 3;

    fn of(text: &str) -> Option<Self> {
        let folded = fold(text);
        if folded.is_empty() {
            return None;
        }
        let cased: String = text.chars().flat_map(char::to_lowercase).collect();
        // Of both, so that neither a ligature nor an apostrophe makes a part of a name too short.
        let chars = folded.chars().count().max(composed(text).count());
        Some(Self { cased: (cased != folded).then_some(cased), folded, anywhere: chars >= Self::MIN_PART_CHARS })
    }

    fn is_in(&self, name: &str) -> bool {
        if self.anywhere { name.contains(&self.folded) } else { name.starts_with(&self.folded) }
    }
}

/// A code as it was typed, and as it was meant: on some keyboards, letters are of full width, or digits are not ASCII's.
fn codes(text: &str) -> BTreeSet<String> {
    [text.to_owned(), plain(text)].into_iter().map(|code| code.to_ascii_lowercase()).collect()
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
    use crate::domain::{DisplayNumber, OrderDetails, OrderId, OrderStatus, RestaurantId, Timestamp};

    fn order() -> Order {
        let at = Timestamp::from_unix_ms(1_795_402_241_123);
        Order {
            id: OrderId::new(at, RestaurantId::new(7).expect("valid"), 99),
            given_at: Some(at),
            number: DisplayNumber::new(42).ok(),
            format: "A-{n:03}".parse().expect("valid"),
            range: None,
            choice: crate::domain::Choice::Next,
            business_day: None,
            legacy_number: None,
            old_number: None,
            status: OrderStatus::Pending,
            details: OrderDetails {
                table_number: Some("T12".to_owned()),
                external_id: Some("POS-9".to_owned()),
                customer_name: Some("María ΣΟΦΟΣ".to_owned()),
                ..OrderDetails::default()
            },
            updated_at: at,
            released_at: None,
            reopening: None,
            calls: None,
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
        let texts = "42|0042| 42 |#42|#0042|４２|٤٢|४२|No. 42|№42|\"42\"|Order #42|a-042|A-42|A042|a 42|R7-0042|r7-0042|R7-42|r7 42|\
                     t12|Ｔ１２|T١٢|pos-9|ＰＯＳ－９|MARÍA|maria|mari\u{301}a|ａｒｉ|σοφο|σοφος|ar\u{ed}a|ma|ma\u{200d}r";
        for text in texts.split('|') {
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
        for text in [
            "4",
            "2",
            "420",
            "B-42",
            "R8-0042",
            "R8-42",
            "T1",
            "T123",
            "POS",
            "ía",
            "ia",
            "'",
            "%",
            "_",
            &id[..7],
            "019a0000",
        ] {
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
    fn an_imported_order_is_found_by_the_number_in_its_guests_hand() {
        let moved = Order {
            number: DisplayNumber::new(9).ok(),
            legacy_number: Some("Old-1".to_owned()),
            old_number: Some("#A-1042".to_owned()),
            ..order()
        };
        let finds = |text| SearchQuery::parse(text).expect("valid").matches(&moved);
        for text in ["#A-1042", "a1042", "1,042", "1042", "01042", "9", "old-1"] {
            assert!(finds(text), "{text}");
        }
        assert!(!finds("42") && !finds("R7-0009"));
    }

    #[test]
    fn what_an_import_was_called_is_read_as_people_write_it() {
        let imported = Order { legacy_number: Some("#1,042".to_owned()), ..order() };
        let finds = |text| SearchQuery::parse(text).expect("valid").matches(&imported);
        for text in ["1042", "#1042", "#1,042", "１０４２", "No. 1042", "A-042"] {
            assert!(finds(text), "{text}");
        }
        assert!(!finds("104") && !finds("A-1042"));
        let unreadable = Order { legacy_number: Some("#?!".to_owned()), ..order() };
        assert!(SearchQuery::parse("#?!").expect("valid").matches(&unreadable));
        assert!(!SearchQuery::parse("#?").expect("valid").matches(&unreadable));
    }

    #[test]
    fn three_characters_stand_anywhere_however_they_are_typed() {
        let anywhere = |text: &str| SearchQuery::parse(text).expect("valid").name().map(|part| part.anywhere);
        for (text, expected) in [
            ("ana", Some(true)),
            ("an", Some(false)),
            ("jé", Some(false)),
            ("je\u{301}", Some(false)),
            ("ﬃ", Some(true)),
            ("o’b", Some(true)),
            ("山田", Some(false)),
            ("'", None),
        ] {
            assert_eq!(anywhere(text), expected, "{text}");
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
