//! Tables as callers write them: as text, or as the integer that older tills send.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};

/// A table, or none. An integer is kept as text.
///
/// # Errors
/// Where it is anything else.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<Table>::deserialize(deserializer)?.map(|Table(text)| text))
}

/// A table.
///
/// # Errors
/// Where it is anything else, or null.
pub(crate) fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Table::deserialize(deserializer).map(|Table(text)| text)
}

/// A table that was given, or the null that clears it: for a field that is absent where it was not given.
///
/// # Errors
/// As [`deserialize`].
#[expect(clippy::option_option, reason = "null is not absent")]
pub(crate) fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    deserialize(deserializer).map(Some)
}

struct Table(String);

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TableVisitor)
    }
}

struct TableVisitor;

impl Visitor<'_> for TableVisitor {
    type Value = Table;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an integer")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Table, E> {
        Ok(Table(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Table, E> {
        Ok(Table(text))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Table, E> {
        Ok(Table(number.to_string()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Table, E> {
        Ok(Table(number.to_string()))
    }
}

/// What the OpenAPI document says of such a field.
pub(crate) fn schema() -> Object {
    let description =
        "The table, as the restaurant names it; at most 32 characters. An integer is taken for the text that it is.";
    schema_of([Type::String, Type::Integer, Type::Null], description).build()
}

/// What it says of [`required`].
pub(crate) fn required_schema() -> Object {
    let description = "The table, as orders name it: 1 to 32 characters. An integer is taken for the text that it is.";
    schema_of([Type::String, Type::Integer], description).min_length(Some(1)).build()
}

fn schema_of(types: impl IntoIterator<Item = Type>, description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::from_iter(types)).max_length(Some(32)).description(Some(description))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::domain::OrderDetails;

    #[test]
    fn a_table_is_text_or_an_integer() {
        let read = |table| serde_json::from_value::<OrderDetails>(json!({"table_number": table}));
        for (table, text) in [
            (json!("T5"), Some("T5")),
            (json!("05"), Some("05")),
            (json!(5), Some("5")),
            (json!(-1), Some("-1")),
            (json!(u64::MAX), Some("18446744073709551615")),
            (json!(null), None),
        ] {
            assert_eq!(read(table.clone()).expect("a table").table_number.as_deref(), text, "{table}");
        }
        for other in [json!(5.5), json!(5.0), json!(true), json!([5]), json!({"a": 1})] {
            let error = read(other.clone()).expect_err("no table").to_string();
            assert!(error.contains("a string or an integer"), "{other}: {error}");
        }
    }
}
