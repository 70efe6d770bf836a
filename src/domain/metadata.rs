//! `metadata`: the JSON object that callers attach to an order, in the form in which both stores give it back.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Number, Value};
use utoipa::ToSchema;

/// An object of JSON, its numbers in one form.
///
/// Redis keeps text, where `1e16`, `1.0` and `-0.0` stay what they are. Postgres keeps decimal numbers: it gives back
/// `10000000000000000`, `1.0` and `0.0`. So a float without a fraction becomes the integer that it is, as far as 64
/// bits hold it. All ways to make one do that, whether it comes from a caller, from another system or out of a store;
/// so equal values have equal text, which digests and limits rely on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(description = "An object with fields of the caller's own, of any kind.", value_type = HashMap<String, Value>)]
pub struct Metadata(Map<String, Value>);

/// The largest `metadata`, in bytes of compact JSON.
pub(crate) const MAX_METADATA_BYTES: usize = 2048;

/// How many levels of objects and arrays `metadata` may have. Parsers of JSON, serde's among them, often stop at 127,
/// and an event in a list of events wraps it in six levels more.
pub(crate) const MAX_METADATA_LEVELS: usize = 100;

/// Whether a number that was read as a float is the one that was written, but for the rounding of digits behind the
/// 15th. Integers beyond 64 bits are read as floats: an identifier of twenty digits would come back as another one.
#[must_use]
pub(crate) fn is_kept(value: f64) -> bool {
    value > BELOW_I64 && value < ABOVE_U64
}

/// -2⁶³ is an integer of 64 bits, but what was read as a float and is as low was lower before it was rounded.
const BELOW_I64: f64 = -9_223_372_036_854_775_808.0;
const ABOVE_U64: f64 = 18_446_744_073_709_551_616.0;

impl Metadata {
    /// Whether there is nothing in it.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it has a number that is not kept as it was written (see [`is_kept`]).
    #[must_use]
    pub fn has_rounded_numbers(&self) -> bool {
        any(&self.0, &|value| value.as_f64().is_some_and(|number| value.is_f64() && !is_kept(number)))
    }

    /// Whether a text in it, or a name, has a NUL character: jsonb cannot hold one.
    pub(super) fn has_nul(&self) -> bool {
        let in_text = |value: &Value| value.as_str().is_some_and(|text| text.contains('\0'));
        let in_name = |value: &Value| value.as_object().is_some_and(names_have_nul);
        names_have_nul(&self.0) || any(&self.0, &|value| in_text(value) || in_name(value))
    }

    /// How many levels of objects and arrays it has, itself included.
    pub(super) fn levels(&self) -> usize {
        1 + self.0.values().map(levels).max().unwrap_or_default()
    }
}

impl From<Map<String, Value>> for Metadata {
    fn from(mut fields: Map<String, Value>) -> Self {
        fields.values_mut().for_each(settle);
        Self(fields)
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::deserialize(deserializer).map(Self::from)
    }
}

/// Gives every number in a value its one form.
fn settle(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(integer) = number.as_f64().filter(|_| number.is_f64()).and_then(integer) {
                *number = integer;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(settle),
        Value::Object(fields) => fields.values_mut().for_each(settle),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// The integer of 64 bits that a float is, if it is one; 0 for -0.0.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole, and within the range")]
fn integer(value: f64) -> Option<Number> {
    if value.fract() != 0.0 || !(BELOW_I64..ABOVE_U64).contains(&value) {
        return None;
    }
    Some(if value < 0.0 { (value as i64).into() } else { (value as u64).into() })
}

/// Whether something holds of a value in an object, at any depth.
fn any(fields: &Map<String, Value>, holds: &impl Fn(&Value) -> bool) -> bool {
    fields.values().any(|value| any_in(value, holds))
}

fn any_in(value: &Value, holds: &impl Fn(&Value) -> bool) -> bool {
    holds(value)
        || match value {
            Value::Array(items) => items.iter().any(|item| any_in(item, holds)),
            Value::Object(fields) => any(fields, holds),
            _ => false,
        }
}

fn names_have_nul(fields: &Map<String, Value>) -> bool {
    fields.keys().any(|name| name.contains('\0'))
}

fn levels(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(levels).max().unwrap_or_default(),
        Value::Object(fields) => 1 + fields.values().map(levels).max().unwrap_or_default(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn metadata(text: &str) -> Metadata {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn json(metadata: &Metadata) -> String {
        serde_json::to_string(metadata).expect("is JSON")
    }

    #[test]
    fn floats_without_a_fraction_become_integers() {
        for (sent, kept) in [
            ("1", "1"),
            ("1.0", "1"),
            ("1.000", "1"),
            ("10e-1", "1"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("0e5", "0"),
            ("-0e-5", "0"),
            ("1e16", "10000000000000000"),
            ("-1e17", "-100000000000000000"),
            ("12345678901234567.0", "12345678901234568"),
            ("9007199254740993", "9007199254740993"),
            ("9223372036854775808.0", "9223372036854775808"),
            ("18446744073709551615", "18446744073709551615"),
            ("18446744073709549568.0", "18446744073709549568"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("-9223372036854775808.0", "-9223372036854775808"),
            ("1.50", "1.5"),
            ("-12.10", "-12.1"),
            ("1e-7", "1e-7"),
            ("5e-324", "5e-324"),
            ("4e-324", "5e-324"),
            ("1e-320", "1e-320"),
            // Smaller than any float: rounded before it comes here.
            ("1e-400", "0"),
            ("-1e-400", "0"),
            ("4503599627370495.5", "4503599627370495.5"),
            ("18446744073709551616", "1.8446744073709552e+19"),
            ("1e300", "1e+300"),
            ("\"1.0\"", "\"1.0\""),
        ] {
            for (sent, kept) in [
                (format!(r#"{{"k":{sent}}}"#), format!(r#"{{"k":{kept}}}"#)),
                (format!(r#"{{"k":[[],{{"":{sent}}}]}}"#), format!(r#"{{"k":[[],{{"":{kept}}}]}}"#)),
            ] {
                assert_eq!(json(&metadata(&sent)), kept);
                let map: Map<String, Value> = serde_json::from_str(&sent).expect("is JSON");
                assert_eq!(Metadata::from(map), metadata(&sent), "however it is made");
            }
        }
    }

    #[test]
    fn integers_beyond_64_bits_are_not_kept() {
        for (number, rounded) in [
            ("18446744073709551615", false),
            ("18446744073709551616", true),
            ("18446744073709549568.0", false),
            ("89014103211118510720", true),
            ("-9223372036854775808", false),
            ("1e19", false),
            ("1e20", true),
            ("1e300", true),
            ("-1e19", true),
            ("5e-324", false),
            ("0.1234567890123456789012345", false),
        ] {
            assert_eq!(metadata(&format!(r#"{{"k":[{{"k":{number}}}]}}"#)).has_rounded_numbers(), rounded, "{number}");
        }
        // What was read as a float had been rounded to it.
        assert!(!is_kept(-9_223_372_036_854_775_809_f64) && is_kept(-9_223_372_036_854_774_784.0) && is_kept(-0.0));
    }

    #[test]
    fn levels_are_counted() {
        for (text, levels) in [(r"{}", 1), (r#"{"a":1}"#, 1), (r#"{"a":[]}"#, 2), (r#"{"a":[{}],"b":[[[1]]]}"#, 4)] {
            assert_eq!(metadata(text).levels(), levels, "{text}");
        }
    }

    #[test]
    fn the_last_of_two_equal_keys_counts_and_keys_are_in_order() {
        assert_eq!(json(&metadata(r#"{"b":1,"a":1.5,"":{},"a":2.0}"#)), r#"{"":{},"a":2,"b":1}"#);
    }

    proptest! {
        /// What is written is read as the same number: serde_json does not promise that without its `float_roundtrip`.
        #[test]
        fn every_float_comes_back_from_its_text(bits: u64) {
            let Some(number) = Number::from_f64(f64::from_bits(bits)) else { return Ok(()) };
            let once = Metadata::from(Map::from_iter([("k".to_owned(), Value::Number(number))]));
            let text = json(&once);
            prop_assert_eq!(json(&metadata(&text)), text);
            prop_assert_eq!(metadata(&json(&once)), once);
        }
    }
}
