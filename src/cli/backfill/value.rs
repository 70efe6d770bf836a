//! The values of a row, and words that stand for none.

use std::{borrow::Cow, collections::HashMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{
    column::Column,
    dialect::Dialect,
    names::{Clash, Match, Names},
    reason::{Remark, Skipped},
};

/// The values of a row; those that are missing are null.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Row {
    values: [Value; Column::ALL.len()],
    /// Columns whose name says that their times are UTC, a bit each.
    in_utc: u32,
}

impl Row {
    pub(super) fn set(&mut self, column: Column, value: Value) {
        self.values[column as usize] = value;
    }

    /// A value of a column that matches.
    pub(super) fn set_matched(&mut self, found: Match, value: Value) {
        let bit = 1 << found.column as u32;
        self.in_utc = if found.utc { self.in_utc | bit } else { self.in_utc & !bit };
        self.set(found.column, value);
    }

    pub(super) fn get(&self, column: Column) -> &Value {
        &self.values[column as usize]
    }

    pub(super) fn is_in_utc(&self, column: Column) -> bool {
        self.in_utc & (1 << column as u32) != 0
    }

    /// The id as it was written, for the report: also of a row that cannot be taken.
    pub(super) fn id(&self) -> Option<String> {
        self.word(Column::Id)
    }

    /// A value that has one plain text: nothing for null, for empty text and for what is no such value.
    pub(super) fn word(&self, column: Column) -> Option<String> {
        match self.get(column) {
            Value::String(text) => {
                let text = Some(text.trim()).filter(|text| !text.is_empty())?;
                let text = if column.is_whole() { whole(text) } else { text };
                // A spreadsheet has taken digits away: it could be the id of several orders.
                (column != Column::Id || !is_scientific(text)).then(|| text.to_owned())
            }
            Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
                None => Some(number.to_string()),
                // One with a fraction, or with more digits than there is room for, is none.
                Some(float) => is_exact(float).then(|| format!("{float:.0}")),
            },
            _ => None,
        }
    }

    /// The text of a time: Unix time may be a number with a fraction.
    pub(super) fn moment(&self, column: Column) -> Option<Cow<'_, str>> {
        match self.get(column) {
            Value::String(text) => Some(Cow::Borrowed(text.trim())).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(match number.as_f64().filter(|_| number.is_f64()) {
                Some(float) => Cow::Owned(float.to_string()),
                None => Cow::Owned(number.to_string()),
            }),
            _ => None,
        }
    }

    /// Makes nothing of the words for nothing, and counts them.
    pub(super) fn clear_nothing(&mut self, nothing: &Nothing, counts: &mut HashMap<String, u64>) {
        for value in &mut self.values {
            let Value::String(text) = value else { continue };
            if !nothing.is(text.trim()) {
                continue;
            }
            match counts.get_mut(text.trim()) {
                Some(count) => *count += 1,
                None => _ = counts.insert(text.trim().to_owned(), 1),
            }
            *value = Value::Null;
        }
    }
}

/// Whether there is no value.
pub(super) fn is_absent(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        _ => false,
    }
}

/// `42.0` and `42.00` are 42.
fn whole(text: &str) -> &str {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('.') {
        Some((whole, zeros))
            if digits(whole.strip_prefix('-').unwrap_or(whole))
                && !zeros.is_empty()
                && zeros.bytes().all(|byte| byte == b'0') =>
        {
            whole
        }
        _ => text,
    }
}

/// `1.23457E+11`
fn is_scientific(text: &str) -> bool {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else { return false };
    mantissa.contains('.') && mantissa.parse::<f64>().is_ok() && exponent.starts_with('+')
}

/// A whole number that a float holds with all its digits.
fn is_exact(float: f64) -> bool {
    float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0
}

/// Words for no value, as databases, spreadsheets and programs write them.
#[derive(Debug, Clone, Default)]
pub(super) struct Nothing {
    /// What `--null` adds.
    pub(super) told: Vec<String>,
    /// Without those that are known.
    pub(super) only_told: bool,
}

/// Exactly these: a guest may be called Null, None or Nan, but hardly NULL.
pub(super) const NOTHING: [&str; 20] = [
    "NULL",
    "null",
    "\\N",
    "None",
    "nil",
    "NaN",
    "nan",
    "NaT",
    "NA",
    "N/A",
    "n/a",
    "#N/A",
    "<NA>",
    "(null)",
    "(NULL)",
    "[null]",
    "[NULL]",
    "<null>",
    "undefined",
    "-",
];

impl Nothing {
    fn is(&self, text: &str) -> bool {
        (!self.only_told && text.len() <= 9 && NOTHING.contains(&text)) || self.told.iter().any(|told| told == text)
    }
}

/// Reads objects of JSON, and remembers which of their names are which field.
#[derive(Debug)]
pub(super) struct Objects {
    names: Names,
    known: HashMap<String, Option<Match>>,
    /// Names in the order in which they came, until they are asked for.
    fresh: Vec<(String, Option<Column>)>,
}

/// So many names are remembered: objects that use their keys for values have a name a row.
const REMEMBERED_NAMES: usize = 1000;

impl Objects {
    pub(super) fn new(names: Names) -> Self {
        Self { names, known: HashMap::new(), fresh: Vec::new() }
    }

    /// The names that came since the last call, each once, and the fields that they are.
    pub(super) fn fresh(&mut self) -> Vec<(String, Option<Column>)> {
        std::mem::take(&mut self.fresh)
    }

    /// The row that a text is.
    ///
    /// # Errors
    /// Why it is none.
    pub(super) fn row(&mut self, bytes: &[u8]) -> Result<Row, Remark<Skipped>> {
        let text = std::str::from_utf8(bytes).map_err(|_| not_utf8(bytes))?;
        let unreadable =
            |error: serde_json::Error| Remark::new(Skipped::Unreadable, format!("not a JSON object: {error}"));
        let Fields(fields) = serde_json::from_str(text).map_err(unreadable)?;
        let mut row = Row::default();
        // By which name each field was set.
        let mut set: [Option<(u8, usize)>; Column::ALL.len()] = [None; Column::ALL.len()];
        for (at, (name, raw)) in fields.iter().enumerate() {
            let mut offered = Vec::new();
            let found = self.of(name);
            if raw.get().starts_with(['{', '[']) && self.names.below(name).next().is_some() {
                let inner: Value = serde_json::from_str(raw.get()).map_err(unreadable)?;
                let below = self.names.below(name);
                let values = below.filter_map(|(path, column)| Some((Names::of_path(column), at_path(&inner, path)?)));
                offered.extend(values.map(|(found, value)| (found, value.clone())));
            } else if let Some(found) = found {
                let value = plain(found.column, value(raw).map_err(unreadable)?, self.names.dialect);
                offered.push((found, value));
            }
            for (found, value) in offered {
                let before = &mut set[found.column as usize];
                match *before {
                    _ if is_absent(&value) && before.is_some() => continue,
                    Some((rank, _)) if rank < found.rank => continue,
                    Some((rank, other)) if rank == found.rank && !is_absent(row.get(found.column)) => {
                        let names = [fields[other].0.clone(), name.clone()];
                        let clash = Clash { column: found.column, names };
                        return Err(Remark::new(Skipped::TwoColumns, clash.to_string()));
                    }
                    _ => {}
                }
                *before = Some((if is_absent(&value) { u8::MAX } else { found.rank }, at));
                row.set_matched(found, value);
            }
        }
        Ok(row)
    }

    fn of(&mut self, name: &str) -> Option<Match> {
        if let Some(known) = self.known.get(name) {
            return *known;
        }
        let found = self.names.of(name);
        if self.known.len() < REMEMBERED_NAMES {
            self.known.insert(name.to_owned(), found);
            let below = self.names.below(name).map(|(path, column)| (format!("{name}.{path}"), Some(column)));
            let paths: Vec<_> = below.collect();
            if paths.is_empty() {
                self.fresh.push((name.to_owned(), found.map(|found| found.column)));
            }
            self.fresh.extend(paths);
        }
        found
    }
}

/// Bytes that are no UTF-8: no text of them is taken.
pub(super) fn not_utf8(bytes: &[u8]) -> Remark<Skipped> {
    let near = match std::str::from_utf8(bytes) {
        Ok(_) => bytes,
        Err(error) => &bytes[error.valid_up_to().saturating_sub(20)..],
    };
    let near = &near[..near.len().min(40)];
    Remark::new(Skipped::Encoding, format!("near {}", near.escape_ascii()))
}

/// A number of more digits than there is room for stays a text, with all of them.
fn value(raw: &RawValue) -> serde_json::Result<Value> {
    let text = raw.get();
    let is_whole = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if is_whole && text.parse::<i64>().is_err() && text.parse::<u64>().is_err() {
        return Ok(Value::String(text.to_owned()));
    }
    serde_json::from_str(text)
}

/// What a database wraps in a type, without the wrapping.
fn plain(column: Column, mut value: Value, dialect: Option<Dialect>) -> Value {
    if column == Column::Metadata {
        return value;
    }
    // MongoDB: `{"$oid": "…"}`, `{"$date": {"$numberLong": "…"}}`.
    while let Value::Object(object) = &mut value
        && object.len() == 1
        && let Some((_, inner)) = object.iter_mut().next().filter(|(name, _)| name.starts_with('$'))
    {
        value = inner.take();
    }
    if dialect != Some(Dialect::Odoo) {
        return value;
    }
    // Odoo: false for nothing, and `[3, "Bar"]` for what is in another table.
    match &mut value {
        Value::Bool(false) => Value::Null,
        Value::Array(pair) if pair.len() == 2 && pair[0].is_number() => {
            pair[usize::from(column != Column::RestaurantId)].take()
        }
        _ => value,
    }
}

/// What a path such as `0.pickup_details.note` leads to.
fn at_path<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, part| match value {
        Value::Object(object) => object.get(part),
        Value::Array(list) => list.get(part.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The fields of an object as they came, the same name twice as well.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(16);
                while let Some(entry) = map.next_entry()? {
                    fields.push(entry);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Collect).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn object(text: &str) -> Result<Row, Remark<Skipped>> {
        Objects::new(Names::default()).row(text.as_bytes())
    }

    fn words(text: &str, column: Column) -> Option<String> {
        object(text).expect("an object").word(column)
    }

    #[test]
    fn whole_numbers_with_a_fraction_of_zeros_are_whole() {
        for (value, word) in [
            (json!("8001.0"), Some("8001")),
            (json!("7.00"), Some("7")),
            (json!("-7.0"), Some("-7")),
            (json!(8001.0), Some("8001")),
            (json!(8.001e3), Some("8001")),
            (json!("7.5"), Some("7.5")),
            (json!("7."), Some("7.")),
            (json!("A7.0"), Some("A7.0")),
            (json!("1.2.0"), Some("1.2.0")),
            (json!(7.5), None),
            (json!(1e20), None),
            (json!("1.23457E+11"), None),
            (json!("12E4"), Some("12E4")),
            (json!([7]), None),
        ] {
            let mut row = Row::default();
            row.set(Column::Id, value.clone());
            assert_eq!(row.word(Column::Id).as_deref(), word, "{value}");
        }
        let mut row = Row::default();
        row.set(Column::Note, json!("7.0"));
        assert_eq!(row.word(Column::Note).as_deref(), Some("7.0"), "a note is no number");
    }

    #[test]
    fn ids_keep_all_their_digits() {
        let digits = "123456789012345678901234567890";
        assert_eq!(words(&format!(r#"{{"id": {digits}}}"#), Column::Id).as_deref(), Some(digits));
        assert_eq!(words(r#"{"id": 18446744073709551615}"#, Column::Id).as_deref(), Some("18446744073709551615"));
        assert_eq!(words(r#"{"id": -9223372036854775809}"#, Column::Id).as_deref(), Some("-9223372036854775809"));
        assert_eq!(words(r#"{"id": 9007199254740993}"#, Column::Id).as_deref(), Some("9007199254740993"));
    }

    #[test]
    fn words_for_nothing_are_nothing() {
        let clear = |nothing: &Nothing, text: &str| {
            let (mut row, mut counts) = (Row::default(), HashMap::new());
            row.set(Column::Note, json!(text));
            row.clear_nothing(nothing, &mut counts);
            assert_eq!(counts.len(), usize::from(row.get(Column::Note).is_null()));
            row.word(Column::Note)
        };
        let usual = Nothing::default();
        for word in NOTHING {
            assert_eq!(clear(&usual, &format!(" {word}")), None, "{word}");
        }
        for guest in ["Null", "none", "Nan", "Nil", "Na", "NULLA", "no", "--"] {
            assert_eq!(clear(&usual, guest).as_deref(), Some(guest));
        }
        let told = Nothing { told: vec!["keine".to_owned()], only_told: true };
        assert_eq!(clear(&told, "keine"), None);
        assert_eq!(clear(&told, "NULL").as_deref(), Some("NULL"));
    }

    #[test]
    fn two_names_for_one_field_are_refused_where_both_have_a_value() {
        let remark = object(r#"{"id": 1, "createdAt": "x", "created_at": "y"}"#).expect_err("two for one");
        assert_eq!(remark.reason, Skipped::TwoColumns);
        assert!(remark.detail.contains("\"createdAt\" and \"created_at\""), "{}", remark.detail);
        assert_eq!(object(r#"{"id": 1, "id": 2}"#).expect_err("twice").reason, Skipped::TwoColumns);
        assert_eq!(words(r#"{"createdAt": null, "created_at": "y"}"#, Column::CreatedAt).as_deref(), Some("y"));
        assert_eq!(words(r#"{"created_at": "y", "createdAt": ""}"#, Column::CreatedAt).as_deref(), Some("y"));
        // The own name counts, before or after the other one, unless it is empty.
        assert_eq!(words(r#"{"created": "x", "created_at": "y"}"#, Column::CreatedAt).as_deref(), Some("y"));
        assert_eq!(words(r#"{"created_at": "y", "created": "x"}"#, Column::CreatedAt).as_deref(), Some("y"));
        assert_eq!(words(r#"{"created_at": null, "created": "x"}"#, Column::CreatedAt).as_deref(), Some("x"));
    }

    #[test]
    fn a_dialect_leads_into_objects() {
        let names = Names { dialect: Some(Dialect::Square), ..Names::default() };
        let mut objects = Objects::new(names);
        let row = objects
            .row(
                br#"{"id": "a", "location_id": "L1", "state": "OPEN", "source": {"name": "Square Online"},
                     "fulfillments": [{"type": "PICKUP", "state": "PREPARED",
                                       "pickup_details": {"recipient": {"display_name": "Ada"}, "note": "no ice"}}]}"#,
            )
            .expect("an object");
        for (column, word) in [
            (Column::RestaurantId, "L1"),
            (Column::Status, "OPEN"),
            (Column::FulfillmentStatus, "PREPARED"),
            (Column::OrderType, "PICKUP"),
            (Column::OrderSource, "Square Online"),
            (Column::CustomerName, "Ada"),
            (Column::Note, "no ice"),
        ] {
            assert_eq!(row.word(column).as_deref(), Some(word));
        }
        let shopify = Names { dialect: Some(Dialect::Shopify), ..Names::default() };
        let row = Objects::new(shopify).row(br#"{"customer": {"first_name": "Ada", "id": 9}, "id": 1}"#);
        let row = row.expect("an object");
        assert_eq!((row.word(Column::FirstName).as_deref(), row.id().as_deref()), (Some("Ada"), Some("1")));
        assert!(is_absent(row.get(Column::CustomerName)));
        let fresh = objects.fresh();
        assert!(fresh.contains(&("source.name".to_owned(), Some(Column::OrderSource))), "{fresh:?}");
        assert!(objects.fresh().is_empty());
    }

    #[test]
    fn what_databases_wrap_is_unwrapped() {
        let text = r#"{"_id": {"$oid": "65a4"}, "createdAt": {"$date": {"$numberLong": "1795402241123"}},
                       "metadata": {"$x": 1}, "note": {"a": 1}}"#;
        assert_eq!(words(text, Column::Id).as_deref(), Some("65a4"));
        assert_eq!(words(text, Column::CreatedAt).as_deref(), Some("1795402241123"));
        let row = object(text).expect("an object");
        assert_eq!((row.get(Column::Metadata), row.get(Column::Note)), (&json!({"$x": 1}), &json!({"a": 1})));
        let names = Names { dialect: Some(Dialect::Odoo), ..Names::default() };
        let row = Objects::new(names).row(br#"{"config_id": [3, "Bar"], "partner_id": [9, "Ada"], "table_id": false}"#);
        let row = row.expect("an object");
        assert_eq!(row.word(Column::RestaurantId).as_deref(), Some("3"));
        assert_eq!(row.word(Column::CustomerName).as_deref(), Some("Ada"));
        assert!(row.get(Column::TableNumber).is_null());
    }

    #[test]
    fn bytes_that_are_no_text_are_told() {
        let remark = Objects::new(Names::default()).row(b"{\"id\": 1, \"note\": \"caf\xe9\"}").expect_err("no UTF-8");
        assert_eq!(remark.reason, Skipped::Encoding);
        assert!(remark.detail.contains("caf\\xe9"), "{}", remark.detail);
    }

    proptest! {
        #[test]
        fn no_line_makes_the_reader_panic(bytes: Vec<u8>, json in "[\\[\\]{}:,\"a-e0-9.\\\\ ]{0,60}", square: bool) {
            let names = Names { dialect: square.then_some(Dialect::Square), ..Names::default() };
            let mut objects = Objects::new(names);
            for line in [&bytes[..], json.as_bytes(), format!("{{\"id\":{json}}}").as_bytes()] {
                let _ = objects.row(line).map(|row| row.id());
            }
        }
    }
}
