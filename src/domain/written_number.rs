//! Numbers as people write them: `42`, `#0042`, `No. 42`, `４２`, `A-042`, `a 42`, `R7-0042`.

use std::collections::BTreeSet;

use super::{
    DisplayNumber, NumberFormat, Order, RestaurantId,
    fold::{fold, is_letter},
    shown_number,
};

/// What is read of a number that was written by hand: its letters, and its digits without leading zeros. Punctuation,
/// symbols, spaces, case and the script of the digits do not matter, and neither do words such as `No.` or `Order`. Two
/// texts that people take for the same number are equal.
///
/// The ledger keeps what imported orders were called in this form. A change of it raises [`FOLD`](super::fold::FOLD), as a
/// change of the fold does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WrittenNumber(String);

/// A text was not a number in any form in which numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a number, as 42 or as it is shown")]
pub(crate) struct NotWritten;

/// The longest text that is read as a number, in bytes, as it is kept.
const MAX_BYTES: usize = 64;

/// The longest digits of a number.
const MAX_DIGITS: usize = 6;

/// Words before a number that only say that one follows, folded; the longer ones first.
const WORDS: [&str; 29] = [
    "bestellnummer",
    "bestelnummer",
    "ordernummer",
    "bestellung",
    "bestelling",
    "zamowienie",
    "encomenda",
    "commande",
    "comanda",
    "siparis",
    "number",
    "numero",
    "nummer",
    "orden",
    "order",
    "ordine",
    "ordre",
    "pedido",
    "ticket",
    "token",
    "заказ",
    "номер",
    "注文",
    "番号",
    "주문",
    "번호",
    "num",
    "no",
    "nr",
];

/// Counting words behind a number.
const COUNTERS: [char; 5] = ['番', '号', '號', '번', '호'];

impl WrittenNumber {
    /// Reads what was shown or typed. None where nothing is left of it, or too much.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let key = without_words(&letters_and_digits(&fold(text)));
        (!key.is_empty() && key.len() <= MAX_BYTES).then_some(Self(key))
    }

    /// Reads what has to be a number: it has digits, and is not below zero.
    ///
    /// # Errors
    /// [`NotWritten`].
    pub(crate) fn parse(text: &str) -> Result<Self, NotWritten> {
        let number = Self::of(text).filter(|number| number.0.contains(|c: char| c.is_ascii_digit()));
        number.filter(|_| !is_negative(text)).ok_or(NotWritten)
    }

    /// The number, where the text is nothing but that.
    pub(crate) fn number(&self) -> Option<DisplayNumber> {
        self.0.parse().ok()
    }

    /// Whether the text is nothing but digits, which need not be those of a display number.
    pub(crate) fn is_bare(&self) -> bool {
        self.0.bytes().all(|b| b.is_ascii_digit())
    }

    /// The number, where the text is the order number of this restaurant's orders: `R7-0042`.
    pub(crate) fn order_number_of(&self, restaurant: RestaurantId) -> Option<DisplayNumber> {
        let (of, number) = self.0.strip_prefix('r')?.split_once(' ')?;
        number.parse().ok().filter(|_| of.parse() == Ok(restaurant))
    }

    /// Every figure that the text could show, in whatever format: digits of a format may stand beside those of the figure.
    /// It is the number, unless the format has an offset.
    pub(crate) fn figures_within(&self) -> BTreeSet<DisplayNumber> {
        let runs = self.0.split(|c: char| !c.is_ascii_digit());
        let parts = runs.flat_map(|run| {
            let up_to = move |from: usize| run.len().min(from + MAX_DIGITS);
            (0..run.len()).flat_map(move |from| (from + 1..=up_to(from)).map(move |to| &run[from..to]))
        });
        parts.filter_map(|digits| digits.parse().ok()).collect()
    }

    /// The numbers above its offset that a format shows so.
    pub(crate) fn shown_in(&self, format: &NumberFormat) -> impl Iterator<Item = DisplayNumber> {
        let figures = self.figures_within().into_iter().map(|figure| i64::from(figure.get()));
        let numbers = figures.filter_map(|figure| DisplayNumber::new(figure + i64::from(format.offset())).ok());
        numbers.filter(|number| self.is_shown(*number, format))
    }

    /// Whether an order's number is or was shown so, now or by the system that it was imported from.
    pub(crate) fn names(&self, order: &Order) -> bool {
        order.number.is_some_and(|number| self.number() == Some(number))
            || order.number.is_some_and(|number| self.is_shown(number, &order.format))
            || self.is_called(order)
            || order.legacy_number.is_none()
                && order.old_number.is_none()
                && order.number.is_some()
                && self.order_number_of(order.restaurant()) == order.number
    }

    /// Whether the system that an order was imported from called it so.
    pub(crate) fn is_called(&self, order: &Order) -> bool {
        Self::called(order).contains(self)
    }

    /// All that the system called an order that it was imported from: its order number, its number as it was shown, and
    /// the number that this is.
    pub(crate) fn called(order: &Order) -> BTreeSet<Self> {
        Self::of_names(order.restaurant().get(), order.legacy_number.as_deref(), order.old_number.as_deref())
    }

    /// As [`WrittenNumber::called`], of an order number and a number as it was shown.
    pub(crate) fn of_names(restaurant: u32, legacy_number: Option<&str>, old_number: Option<&str>) -> BTreeSet<Self> {
        let restaurant = restaurant.to_string();
        let there = old_number.and_then(|shown| shown_number::read(shown, &[&restaurant]).ok());
        let there = there.map(|number| Self(number.to_string()));
        [legacy_number, old_number].into_iter().flatten().filter_map(Self::of).chain(there).collect()
    }

    /// Whether a number is shown so in this format.
    pub(crate) fn is_shown(&self, number: DisplayNumber, format: &NumberFormat) -> bool {
        // Most orders are passed over by a look at their digits.
        self.0.contains(&format.figure(number).to_string()) && self.is(&format.render(number))
    }

    /// Whether a text is the same number.
    fn is(&self, shown: &str) -> bool {
        Self::of(shown).as_ref() == Some(self)
    }

    /// As it is stored and compared.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a text is a sign and digits.
pub(crate) fn is_negative(text: &str) -> bool {
    let folded = fold(text);
    folded.strip_prefix('-').is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The letters, and the digits of each number without leading zeros; a space between two numbers.
fn letters_and_digits(folded: &str) -> String {
    let mut key = String::with_capacity(folded.len());
    let mut rest = folded;
    while let Some(c) = rest.chars().next() {
        if c.is_ascii_digit() {
            let (digits, behind) = split_number(rest);
            if key.ends_with(|c: char| c.is_ascii_digit()) {
                key.push(' ');
            }
            let significant = digits.trim_start_matches('0');
            key.push_str(if significant.is_empty() { "0" } else { significant });
            rest = behind;
            continue;
        }
        match c {
            // `n°` is an `nº` that was typed in a hurry.
            '°' if key.ends_with('n') => key.push('o'),
            _ if is_letter(c) => key.push(c),
            _ => {}
        }
        rest = &rest[c.len_utf8()..];
    }
    key
}

/// The digits that a text begins with, and what is behind them. Thousands may be set apart: `1,046`.
fn split_number(text: &str) -> (String, &str) {
    let digits_of = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (first, mut rest) = text.split_at(digits_of(text));
    let mut digits = first.to_owned();
    while first.len() <= 3
        && let Some(behind) = rest.strip_prefix([',', '.', '\u{66c}'])
        && digits_of(behind) == 3
    {
        digits.push_str(&behind[..3]);
        rest = &behind[3..];
    }
    (digits, rest)
}

/// Leaves out words that only say that a number comes, or has come.
fn without_words(key: &str) -> String {
    let Some(first) = key.find(|c: char| c.is_ascii_digit()) else { return key.to_owned() };
    let (words, number) = key.split_at(first);
    let mut left = words;
    while let Some(behind) = WORDS.iter().find_map(|word| left.strip_prefix(word)) {
        left = behind;
    }
    if !matches!(left, "" | "第") {
        return key.to_owned();
    }
    let counted = number.trim_end_matches(COUNTERS);
    if counted.ends_with(|c: char| c.is_ascii_digit()) { counted.to_owned() } else { number.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{OrderDetails, OrderId, OrderStatus, Timestamp};

    fn key(text: &str) -> Option<String> {
        WrittenNumber::of(text).map(|number| number.0)
    }

    #[test]
    fn a_number_is_read_however_it_is_written() {
        for (read, texts) in [
            ("42", &["42", "0042", " 42 ", "#42", "# 0042", "４２", "００４２", "٤٢", "۴۲", "४२", "๔๒", "𝟒𝟐"][..]),
            ("42", &["No. 42", "no42", "№42", "№ 0042", "Nr. 42", "NR 42", "N° 42", "nº42", "N.º 42", "n.° 42"]),
            ("42", &["\"42\"", "“42”", "(42)", "[42]", "42.", "42!", "*42*", "Order #42", "ORDER NO. 42", "Numéro 42"]),
            (
                "42",
                &["42番", "第42号", "注文番号 ４２", "42번", "Заказ № 42", "Sipariş 42", "Ticket-42", "Token No: 42"],
            ),
            ("a42", &["A-042", "a-042", "A042", "A42", "a 42", "A 0042", "Ａ－０４２", "Á-42", "#A-42"]),
            ("r7 42", &["R7-0042", "r7-42", "R7 42", "r7/0042", "R 7 42", "Ｒ７－４２", "#R7-0042"]),
            ("1046", &["1,046", "1.046", "1'046", "1’046", "1٬046", "1046", "#1,046"]),
            ("1234567", &["1,234,567", "1.234.567"]),
            ("4 2", &["4.2", "4-2", "4 2", "4,2", "04/02"]),
            ("42 7", &["42-7", "0042 007"]),
            ("0", &["0", "0000", "#0"]),
            ("old1", &["Old-1", "OLD 01", "old1"]),
            ("abc", &["ABC", "a.b.c."]),
        ] {
            for text in texts {
                assert_eq!(key(text).as_deref(), Some(read), "{text}");
            }
        }
        for nothing in ["", " ", "#", "…", "🍕", "-", &"7".repeat(65)] {
            assert_eq!(key(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn numbers_that_differ_are_told_apart() {
        for (a, b) in [
            ("42", "420"),
            ("42", "A42"),
            ("A42", "B42"),
            ("R7-42", "R742"),
            ("R7-42", "R8-42"),
            ("42", "Nora 42"),
            ("42", "T42"),
            ("7-42", "742"),
            ("1,46", "146"),
            ("१२", "21"),
        ] {
            assert_ne!(key(a), key(b), "{a} {b}");
        }
    }

    #[test]
    fn what_has_to_be_a_number_has_digits_and_no_sign() {
        for good in ["42", "#42", "A-042", "+42", "42 ", "0", "12345678"] {
            assert!(WrittenNumber::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "x", "forty", "-1", "−42", "－４２", "№", "\0"] {
            assert_eq!(WrittenNumber::parse(bad), Err(NotWritten), "{bad}");
        }
    }

    #[test]
    fn an_order_is_named_by_all_that_was_shown_of_it() {
        let at = Timestamp::from_unix_ms(1_795_402_241_123);
        let restaurant = RestaurantId::new(7).expect("valid");
        let order = |format: &str, number: Option<i64>, legacy: Option<&str>| Order {
            id: OrderId::new(at, restaurant, 99),
            given_at: number.map(|_| at),
            number: number.and_then(|number| DisplayNumber::new(number).ok()),
            format: format.parse().expect("valid"),
            range: None,
            choice: crate::domain::Choice::Next,
            business_day: None,
            legacy_number: legacy.map(str::to_owned),
            old_number: None,
            status: OrderStatus::Pending,
            details: OrderDetails::default(),
            updated_at: at,
            released_at: None,
            reopening: None,
            calls: None,
            cooldown_seconds: 60,
            version: 1,
            sequence: 1,
        };
        let names = |text: &str, order: &Order| WrittenNumber::of(text).expect("a number").names(order);
        let ours = order("A-{n:03}", Some(42), None);
        for text in ["42", "#0042", "A-042", "a 42", "R7-42", "r7 0042"] {
            assert!(names(text, &ours), "{text}");
        }
        for text in ["4", "420", "B-42", "R8-42", "R7-043", "7-42"] {
            assert!(!names(text, &ours), "{text}");
        }
        let imported = order("{n:04}", Some(57), Some("#1,042"));
        assert!(["1042", "#1042", "No. 1042", "57"].iter().all(|text| names(text, &imported)));
        assert!(!names("R7-57", &imported), "it has another order number");
        let without = order("{n:04}", None, Some("Old-1"));
        assert!(names("old 01", &without) && !names("1", &without));
        assert!(!names("R7-1", &order("{n:04}", None, None)));
    }

    #[test]
    fn what_is_shown_with_an_offset_leads_to_its_number() {
        let found = |text: &str, template: &str| {
            let format: NumberFormat = template.parse().expect("valid");
            let written = WrittenNumber::of(text).expect("a number");
            written.shown_in(&format).map(DisplayNumber::get).collect::<Vec<u32>>()
        };
        for (text, template, numbers) in [
            ("D01", "D{n-500:02}", &[501][..]),
            ("d 1", "D{n-500:02}", &[501]),
            ("D99", "D{n-500:02}", &[599]),
            ("501", "D{n-500:02}", &[]),
            ("1", "{n-500:02}", &[501]),
            ("42", "{n:04}", &[42]),
            ("105", "1{n-90:02}", &[95]),
        ] {
            assert_eq!(found(text, template), numbers, "{text} {template}");
        }
    }

    #[test]
    fn every_shown_number_is_among_those_of_the_text() {
        for (template, number) in [
            ("{n:04}", 42),
            ("2{n}5", 7),
            ("№{n:09}!", 999_999),
            ("1{n:02}", 5),
            ("٤{n}", 2),
            ("1.{n:03}", 7),
            ("0{n}0", 3),
            ("½{n}", 6),
        ] {
            let number = DisplayNumber::new(number).expect("valid");
            let shown = template.parse::<NumberFormat>().expect("valid").render(number);
            let read = WrittenNumber::of(&shown).expect("a number");
            assert!(read.figures_within().contains(&number), "{shown}");
        }
    }
}
