//! The number of a row, and how it was shown to its guest.

use serde_json::Value;

use super::reason::{Adjusted, Remark};
use crate::domain::{
    DisplayNumber, NumberFormat,
    shown_number::{format_of, is_fraction_of_nothing, read},
};

/// As many bytes of what was shown as there is room for.
const MAX_SHOWN_BYTES: usize = 64;

/// What the columns of a row say of its number.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ShownNumber {
    pub(super) number: Option<DisplayNumber>,
    /// The format in which the number looks as it was shown, where there is one.
    pub(super) format: NumberFormat,
    /// What the guest holds in hand.
    pub(super) text: Option<String>,
}

/// Reads the columns that are not empty, the barest first: the first number counts, and the last text is what was shown.
/// `restaurants` are the ids that the restaurant has, here and there.
pub(super) fn shown_number(
    values: &[&Value],
    restaurants: &[&str],
    adjusted: &mut Vec<Remark<Adjusted>>,
) -> ShownNumber {
    let texts: Vec<String> = values.iter().filter_map(|value| text(value)).collect();
    let says_something = |text: &&String| text.chars().any(char::is_alphanumeric);
    let Some(shown) = texts.iter().rev().find(says_something) else {
        if let Some(value) = values.first() {
            adjusted.push(Remark::shown(Adjusted::LeftOut, value).about("the display number"));
        }
        return ShownNumber::default();
    };
    let readings: Vec<_> = texts.iter().map(|text| read(text, restaurants)).collect();
    let number = readings.iter().find_map(|reading| reading.ok());
    let other = readings.iter().find_map(|reading| reading.ok().filter(|read| Some(*read) != number));
    match (number, other, read(shown, restaurants)) {
        (None, _, Err(why)) => adjusted.push(Remark::new(Adjusted::NumberUnclear, format!("{shown}: {why}"))),
        (Some(number), Some(other), _) => {
            let both = format!("one column says {number}, another one {other}: it is {number}, shown as {shown}");
            adjusted.push(Remark::new(Adjusted::NumberUnclear, both));
        }
        _ => {}
    }
    let format = number.and_then(|number| format_of(shown, number)).unwrap_or_default();
    if shown.len() > MAX_SHOWN_BYTES {
        let detail = format!("the display number: longer than {MAX_SHOWN_BYTES} bytes");
        adjusted.push(Remark::new(Adjusted::LeftOut, detail));
        return ShownNumber { number, format, text: None };
    }
    ShownNumber { number, format, text: Some(shown.clone()) }
}

/// A value as text: a whole number without the fraction that some programs write.
fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.chars().filter(|c| !c.is_control()).collect(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let text = text.trim();
    let whole = match text.split_once(['.', ',']) {
        Some((whole, fraction))
            if !whole.is_empty()
                && whole.bytes().all(|digit| digit.is_ascii_digit())
                && is_fraction_of_nothing(fraction) =>
        {
            whole
        }
        _ => text,
    };
    (!whole.is_empty()).then(|| whole.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(values: &[Value]) -> (Option<u32>, Option<String>, String, Vec<Adjusted>) {
        let values: Vec<&Value> = values.iter().collect();
        let mut adjusted = Vec::new();
        let ShownNumber { number, format, text } = shown_number(&values, &["7"], &mut adjusted);
        let reasons = adjusted.iter().map(|remark| remark.reason).collect();
        (number.map(DisplayNumber::get), text, format.as_str().to_owned(), reasons)
    }

    #[test]
    fn the_digits_are_the_number_and_what_was_shown_is_kept() {
        for (value, number, text, format) in [
            (json!(42), 42, "42", "{n:04}"),
            (json!(42.0), 42, "42", "{n:04}"),
            (json!("42.00"), 42, "42", "{n:04}"),
            (json!(" 0047"), 47, "0047", "{n:04}"),
            (json!("#1042"), 1042, "#1042", "#{n}"),
            (json!("A-043"), 43, "A-043", "A-{n:03}"),
            (json!("１０４５"), 1045, "１０４５", "{n:04}"),
            (json!("1,046"), 1046, "1,046", "{n:04}"),
            (json!("R7-42"), 42, "R7-42", "{n:04}"),
        ] {
            let found = of(std::slice::from_ref(&value));
            assert_eq!(found, (Some(number), Some(text.to_owned()), format.to_owned(), vec![]), "{value}");
        }
    }

    #[test]
    fn what_is_no_number_is_said_and_kept() {
        for (value, text, reason) in [
            (json!("12-A-5"), Some("12-A-5"), Adjusted::NumberUnclear),
            (json!("forty-two"), Some("forty-two"), Adjusted::NumberUnclear),
            (json!(0), Some("0"), Adjusted::NumberUnclear),
            (json!(-42), Some("-42"), Adjusted::NumberUnclear),
            (json!(1.5), Some("1.5"), Adjusted::NumberUnclear),
            (json!(10_000_000), Some("10000000"), Adjusted::NumberUnclear),
            (json!("—"), None, Adjusted::LeftOut),
            (json!([42]), None, Adjusted::LeftOut),
        ] {
            let (number, shown, _, reasons) = of(std::slice::from_ref(&value));
            assert_eq!((number, shown.as_deref(), reasons), (None, text, vec![reason]), "{value}");
        }
        let (_, shown, _, reasons) = of(&[json!("x".repeat(65))]);
        assert_eq!((shown, reasons), (None, vec![Adjusted::NumberUnclear, Adjusted::LeftOut]));
    }

    #[test]
    fn columns_that_disagree_are_said() {
        let disagree = of(&[json!(42), json!("A-043")]);
        assert_eq!((disagree.0, disagree.1.as_deref()), (Some(42), Some("A-043")));
        assert_eq!(disagree.3, [Adjusted::NumberUnclear]);
        assert_eq!(of(&[json!(0), json!("7")]), (Some(7), Some("7".to_owned()), "{n:04}".to_owned(), vec![]));
        assert_eq!(of(&[json!(42), json!("042")]).2, "{n:03}");
        assert_eq!(of(&[]), (None, None, "{n:04}".to_owned(), vec![]));
    }
}
