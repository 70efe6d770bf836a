//! Numbers of orders as other systems show them: `#1042`, `A-043`, `No. 44`, `１０４５`, `1,046`.
//!
//! What a guest holds in hand is read as one number, or not at all: where two numbers could be meant, none is guessed.

use std::mem;

use super::{
    DisplayNumber, NumberFormat,
    fold::{decimal_digit, is_invisible, plain as compatible},
};

/// The frame of a key-cap, 4️⃣: it surrounds a digit.
const KEY_CAP: char = '\u{20e3}';

/// Longer texts show no number.
const LONGEST_SHOWN: usize = 48;

/// What stands before a number and says that it is one: `No. 44`.
const MARKERS: [&str; 11] = ["#", "no", "no.", "nr", "nr.", "n°", "num", "num.", "number", "nummer", "order"];

/// Why a text shows no number that could be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unclear {
    /// It has no digit.
    #[error("it has no digits")]
    NoDigits,
    /// More than one number could be meant.
    #[error("it could be more than one number")]
    Several,
    /// It is below zero.
    #[error("it is negative")]
    Negative,
    /// It is no display number.
    #[error("it is not from 1 to {}", DisplayNumber::MAX)]
    OutOfRange,
    /// It is a sentence.
    #[error("it is longer than {LONGEST_SHOWN} characters")]
    TooLong,
}

/// Reads a number as it was shown: its digits, of whatever script, without what groups or surrounds them. `restaurants`
/// are the ids that its restaurant has, here and there: `R7-42` is number 42 of restaurant 7.
///
/// # Errors
/// Why it cannot be read: nothing is guessed.
pub(crate) fn read(text: &str, restaurants: &[&str]) -> Result<DisplayNumber, Unclear> {
    if text.chars().count() > LONGEST_SHOWN {
        return Err(Unclear::TooLong);
    }
    let pieces = pieces(text);
    if let [Piece::Other(sign), Piece::Digits(_), ..] = pieces.as_slice()
        && matches!(sign.trim(), "-" | "\u{2212}")
    {
        return Err(Unclear::Negative);
    }
    let digits = match plain(&pieces) {
        Some(digits) => digits,
        None => one_run(&grouped(pieces), restaurants)?,
    };
    let significant = digits.trim_start_matches('0');
    if significant.len() > 6 {
        return Err(Unclear::OutOfRange);
    }
    significant.parse().map_err(|_| Unclear::OutOfRange)
}

/// What an order was called there, where that is not what it is called here: the number as it was shown, unless it is the
/// number that it has, in this format or with more or fewer zeros.
#[must_use]
pub(crate) fn old_name(shown: &str, number: Option<DisplayNumber>, format: &NumberFormat) -> Option<String> {
    let shown = shown.trim();
    let is_ours = number.is_some_and(|number| shown.parse() == Ok(number) || format.render(number) == shown);
    (!shown.is_empty() && !is_ours).then(|| shown.to_owned())
}

/// The format in which a number looks as it was shown, where there is such a format: `A-043` is `A-{n:03}`. One without a
/// leading zero and without anything around it does not tell.
#[must_use]
pub(crate) fn format_of(shown: &str, number: DisplayNumber) -> Option<NumberFormat> {
    let from = shown.find(|c: char| c.is_ascii_digit())?;
    let digits = shown[from..].split(|c: char| !c.is_ascii_digit()).next()?;
    let (prefix, suffix) = (&shown[..from], &shown[from + digits.len()..]);
    let padded = digits.starts_with('0');
    if prefix.is_empty() && suffix.is_empty() && !padded {
        return None;
    }
    let placeholder = if padded { format!("{{n:0{}}}", digits.len()) } else { "{n}".to_owned() };
    let format: NumberFormat = format!("{prefix}{placeholder}{suffix}").parse().ok()?;
    (format.render(number) == shown).then_some(format)
}

/// A run of decimal digits, as ASCII, or what stands between two of them, in compatibility form.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Digits(String),
    Other(String),
}

fn pieces(text: &str) -> Vec<Piece> {
    let (mut pieces, mut digits, mut other) = (Vec::new(), String::new(), String::new());
    let end_digits = |digits: &mut String, pieces: &mut Vec<Piece>| {
        if !digits.is_empty() {
            pieces.push(Piece::Digits(mem::take(digits)));
        }
    };
    let end_other = |other: &mut String, pieces: &mut Vec<Piece>| {
        if !other.is_empty() {
            pieces.push(Piece::Other(mem::take(other)));
        }
    };
    for c in text.trim().chars().filter(|c| !is_invisible(*c) && *c != KEY_CAP) {
        if let Some(digit) = decimal_digit(c) {
            end_other(&mut other, &mut pieces);
            digits.push(digit);
            continue;
        }
        // A circled or raised number is one of its own: 42² is not 422.
        end_digits(&mut digits, &mut pieces);
        for c in compatible(c.encode_utf8(&mut [0; 4])).chars() {
            match decimal_digit(c) {
                Some(digit) => {
                    end_other(&mut other, &mut pieces);
                    digits.push(digit);
                }
                None => {
                    end_digits(&mut digits, &mut pieces);
                    other.push(c);
                }
            }
        }
        end_digits(&mut digits, &mut pieces);
    }
    end_digits(&mut digits, &mut pieces);
    end_other(&mut other, &mut pieces);
    pieces
}

/// Whether digits behind a point leave a whole number as it is. Three zeros may be thousands, too.
pub(crate) fn is_fraction_of_nothing(digits: &str) -> bool {
    digits.len() != 3 && digits.bytes().all(|digit| digit == b'0')
}

/// A whole number as programs write it, with a fraction of zeros or not: `42`, `42.0`, `42,00`.
fn plain(pieces: &[Piece]) -> Option<String> {
    match pieces {
        [Piece::Digits(digits)] => Some(digits.clone()),
        [Piece::Digits(whole), Piece::Other(point), Piece::Digits(fraction)]
            if matches!(point.as_str(), "." | ",") && is_fraction_of_nothing(fraction) =>
        {
            Some(whole.clone())
        }
        _ => None,
    }
}

/// Joins the groups of digits that make up one number: `1,046`, `1.046`, `1 046`, `1'046`, `1,00,046`. Beside a word they
/// may as well be two numbers.
fn grouped(pieces: Vec<Piece>) -> Vec<Piece> {
    let is_word = |piece: &Piece| match piece {
        Piece::Other(text) => {
            text.chars().any(char::is_alphabetic) && marker(text).is_none_or(|before| !before.is_empty())
        }
        Piece::Digits(_) => false,
    };
    let runs: Vec<usize> = (0..pieces.len()).filter(|at| matches!(pieces[*at], Piece::Digits(_))).collect();
    let (Some(first), Some(last)) = (runs.first().copied(), runs.last().copied()) else { return pieces };
    if pieces.iter().any(is_word) {
        return pieces;
    }
    let Some(joined) = joined(&pieces[first..=last]) else { return pieces };
    let mut around = pieces;
    around.splice(first..=last, [Piece::Digits(joined)]);
    around
}

fn joined(pieces: &[Piece]) -> Option<String> {
    let (mut groups, mut separators) = (Vec::new(), Vec::new());
    for piece in pieces {
        match piece {
            Piece::Digits(digits) => groups.push(digits.as_str()),
            Piece::Other(text) => separators.push(text.as_str()),
        }
    }
    let separator = *separators.first()?;
    let groups_digits = matches!(separator, "," | "." | " " | "'" | "\u{2019}" | "\u{66c}" | "\u{b7}");
    let one_kind = separators.iter().all(|other| *other == separator) && groups.len() == separators.len() + 1;
    if !groups_digits || !one_kind {
        return None;
    }
    let ([first, middle @ .., last], 2..) = (groups.as_slice(), groups.len()) else { return None };
    let thousands = (1..=3).contains(&first.len()) && middle.iter().all(|group| group.len() == 3);
    let lakhs = separator == "," && (1..=2).contains(&first.len()) && middle.iter().all(|group| group.len() == 2);
    // 1.000 is a thousand, or one with a fraction of nothing.
    let may_be_a_fraction = separator == "." && groups.len() == 2 && *last == "000";
    let fits = last.len() == 3 && !first.starts_with('0') && (thousands || lakhs) && !may_be_a_fraction;
    fits.then(|| groups.concat())
}

/// The one number that is meant.
fn one_run(pieces: &[Piece], restaurants: &[&str]) -> Result<String, Unclear> {
    if let [Piece::Other(prefix), Piece::Digits(restaurant), Piece::Other(hyphen), Piece::Digits(number)] = pieces
        && prefix.trim_start_matches('#').trim().eq_ignore_ascii_case("r")
        && hyphen == "-"
        && restaurants.iter().any(|known| known.trim_start_matches('0') == restaurant.trim_start_matches('0'))
    {
        return Ok(number.clone());
    }
    let runs: Vec<usize> = (0..pieces.len()).filter(|at| matches!(pieces[*at], Piece::Digits(_))).collect();
    let digits_at = |at: usize| match &pieces[at] {
        Piece::Digits(digits) => digits.clone(),
        Piece::Other(_) => String::new(),
    };
    match runs.as_slice() {
        [] => Err(Unclear::NoDigits),
        [run] => Ok(digits_at(*run)),
        // Of several, the last one if it is the only one that is called a number: `T5 #44`.
        [.., last] => {
            let is_marked = |at: &usize| match at.checked_sub(1).map(|before| &pieces[before]) {
                Some(Piece::Other(text)) => marker(text).is_some(),
                _ => false,
            };
            let marked: Vec<&usize> = runs.iter().filter(|run| is_marked(run)).collect();
            if marked == [last] { Ok(digits_at(*last)) } else { Err(Unclear::Several) }
        }
    }
}

/// What stands before the marker at the end of a text, without spaces; None where there is no marker.
fn marker(text: &str) -> Option<String> {
    let text = text.to_lowercase();
    let text = text.trim().trim_end_matches(':').trim_end();
    let mut before: &str = text;
    let mut found = false;
    // `Order #` and `order no.` have two.
    while let Some(rest) = MARKERS
        .iter()
        .filter_map(|marker| before.strip_suffix(marker))
        .filter(|rest| before.ends_with('#') || !rest.ends_with(char::is_alphabetic))
        .min_by_key(|rest| rest.len())
    {
        (before, found) = (rest.trim_end(), true);
    }
    found.then(|| before.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Result<u32, Unclear> {
        read(text, &["7", "0031"]).map(DisplayNumber::get)
    }

    #[test]
    fn what_shows_one_number_is_that_number() {
        for (text, expected) in [
            ("42", 42),
            (" 0047 ", 47),
            ("#1042", 1042),
            ("# 1042", 1042),
            ("A-043", 43),
            ("a043", 43),
            ("043-B", 43),
            ("No. 44", 44),
            ("no44", 44),
            ("№ 44", 44),
            ("N° 44", 44),
            ("nº44", 44),
            ("Nr.44", 44),
            ("Order #44", 44),
            ("Bestellung 44!", 44),
            ("¡44!", 44),
            ("+44", 44),
            ("１０４５", 1045),
            ("＃１０４５", 1045),
            ("١٠٤٥", 1045),
            ("۱۰۴۵", 1045),
            ("१०४५", 1045),
            ("๑๐๔๕", 1045),
            ("১০৪৫", 1045),
            ("༡༠༤༥", 1045),
            ("𝟙𝟘𝟜𝟝", 1045),
            ("㊷", 42),
            ("4\u{fe0f}\u{20e3}2\u{fe0f}\u{20e3}", 42),
            ("\u{200f}#١٠\u{200b}٤٥", 1045),
            ("1,046", 1046),
            ("1.046", 1046),
            ("1 046", 1046),
            ("1\u{a0}046", 1046),
            ("1\u{202f}046", 1046),
            ("1'046", 1046),
            ("1’046", 1046),
            ("١٬٠٤٦", 1046),
            ("#1,046", 1046),
            ("No. 1,046", 1046),
            ("1,00,046", 100_046),
            ("1,000", 1000),
            ("42.0", 42),
            ("42.00", 42),
            ("42,0", 42),
            ("1042.0000", 1042),
            ("R7-42", 42),
            ("r7-0042", 42),
            ("#R7-42", 42),
            ("R31-42", 42),
            ("T5 #44", 44),
            ("Table 5, No. 44", 44),
            ("POS1 order no. 44", 44),
            ("999999", 999_999),
        ] {
            assert_eq!(number(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_could_be_two_numbers_is_none() {
        for text in [
            "12-A-5",
            "R8-42",
            "3/4",
            "42/2026",
            "12:30",
            "1e3",
            "2026-03-14",
            "1.5",
            "1.000",
            "0,046",
            "1,0465",
            "1,046.5",
            "1,046'123",
            "1-046",
            "12 34",
            "A1,046",
            "Table 5 100",
            "42²",
            "①②",
            "½",
            "Nr. 5/44",
            "#42 of 50",
        ] {
            assert_eq!(number(text), Err(Unclear::Several), "{text}");
        }
    }

    #[test]
    fn other_texts_show_no_number() {
        for (text, why) in [
            ("", Unclear::NoDigits),
            ("forty-two", Unclear::NoDigits),
            ("四十二", Unclear::NoDigits),
            ("—", Unclear::NoDigits),
            ("-42", Unclear::Negative),
            ("− 42", Unclear::Negative),
            ("0", Unclear::OutOfRange),
            ("#0000", Unclear::OutOfRange),
            ("1000000", Unclear::OutOfRange),
            ("99999999999999999999999", Unclear::OutOfRange),
            (&"4".repeat(49), Unclear::TooLong),
        ] {
            assert_eq!(number(text), Err(why), "{text}");
        }
    }

    #[test]
    fn a_name_is_old_where_it_is_not_ours() {
        let n = |number| DisplayNumber::new(number).ok();
        let format = |text: &str| text.parse::<NumberFormat>().expect("valid");
        for (shown, given, template, old) in [
            ("0042", n(42), "{n:04}", None),
            ("42", n(42), "{n:04}", None),
            ("A-042", n(42), "A-{n:03}", None),
            ("#42", n(42), "{n:04}", Some("#42")),
            ("A-042", n(43), "A-{n:03}", Some("A-042")),
            (" 42 ", n(43), "{n:04}", Some("42")),
            ("12-A-5", None, "{n:04}", Some("12-A-5")),
            (" ", n(1), "{n:04}", None),
        ] {
            assert_eq!(old_name(shown, given, &format(template)).as_deref(), old, "{shown}");
        }
    }

    #[test]
    fn a_format_shows_a_number_as_it_was() {
        let of = |shown, number| {
            format_of(shown, DisplayNumber::new(number).expect("valid")).map(|format| format.as_str().to_owned())
        };
        assert_eq!(of("A-043", 43).as_deref(), Some("A-{n:03}"));
        assert_eq!(of("#1042", 1042).as_deref(), Some("#{n}"));
        assert_eq!(of("0042", 42).as_deref(), Some("{n:04}"));
        assert_eq!(of("No. 44!", 44).as_deref(), Some("No. {n}!"));
        for (shown, number) in [("42", 42), ("1,046", 1046), ("１０４５", 1045), ("{42}", 42), ("R7-42", 42)] {
            assert_eq!(of(shown, number), None, "{shown}");
        }
    }

    proptest! {
        #[test]
        fn digits_alone_are_what_they_are(number in 1..=999_999_i64, zeros in 0..5_usize, prefix in "[A-Z#]{0,4}[- ]?") {
            let text = format!("{prefix}{}{number}", "0".repeat(zeros));
            if !text.starts_with('-') {
                prop_assert_eq!(read(&text, &[]).map(|read| i64::from(read.get())), Ok(number));
            }
        }

        #[test]
        fn no_text_is_a_panic(text: String) {
            if let Ok(number) = read(&text, &["7"]) {
                let _ = format_of(&text, number);
            }
            let _ = old_name(&text, None, &NumberFormat::default());
        }
    }
}
