//! What an order consists of, for those who cook it.

use std::fmt;

use garde::Validate;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use utoipa::ToSchema;

use super::storable::{no_nul, storable_and_not_blank};

/// Items of one order.
pub(crate) const MOST_ITEMS: usize = 50;

/// One line of an order, as a kitchen cooks it. The engine keeps it as it is, and does not look inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Validate, ToSchema)]
pub struct OrderItem {
    /// What it is: 1 to 100 characters.
    #[garde(length(chars, max = 100), custom(storable_and_not_blank))]
    #[schema(min_length = 1, max_length = 100, examples("Cheeseburger"))]
    pub name: String,
    /// How many of it: 1 to 999.
    #[serde(default = "one")]
    #[garde(range(min = 1, max = 999))]
    #[schema(minimum = 1, maximum = 999)]
    pub quantity: u16,
    /// How it is wanted; at most 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 200), custom(no_nul)))]
    #[schema(max_length = 200)]
    pub note: Option<String>,
    /// Where it is made, as the restaurant names its stations; at most 40 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 40), custom(no_nul)))]
    #[schema(max_length = 40, examples("grill"))]
    pub station: Option<String>,
}

const fn one() -> u16 {
    1
}

/// An object, and nothing else: serde would take a list for the values of the fields in turn.
impl<'de> Deserialize<'de> for OrderItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            name: String,
            #[serde(default = "one")]
            quantity: u16,
            #[serde(default)]
            note: Option<String>,
            #[serde(default)]
            station: Option<String>,
        }

        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = OrderItem;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<OrderItem, A::Error> {
                let fields = Fields::deserialize(MapAccessDeserializer::new(fields))?;
                let Fields { name, quantity, note, station } = fields;
                Ok(OrderItem { name, quantity, note, station })
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn item(value: Value) -> OrderItem {
        serde_json::from_value(value).expect("well-formed")
    }

    #[test]
    fn an_item_is_at_least_its_name() {
        let burger = item(json!({"name": "Burger"}));
        assert_eq!((burger.quantity, &burger.note, &burger.station), (1, &None, &None));
        assert!(burger.validate().is_ok());
        for bad in [
            json!({}),
            json!({"name": "x", "price": 3}),
            json!({"name": "x", "quantity": -1}),
            json!({"name": 5}),
            json!(["x", 1, null, null]),
            json!("x"),
            json!(null),
        ] {
            assert!(serde_json::from_value::<OrderItem>(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn items_have_limits() {
        for good in [
            json!({"name": "é".repeat(100), "quantity": 999, "note": "é".repeat(200), "station": "é".repeat(40)}),
            json!({"name": "x", "note": "", "station": null}),
        ] {
            assert!(item(good.clone()).validate().is_ok(), "{good}");
        }
        for bad in [
            json!({"name": ""}),
            json!({"name": "  "}),
            json!({"name": "é".repeat(101)}),
            json!({"name": "a\0b"}),
            json!({"name": "x", "quantity": 0}),
            json!({"name": "x", "quantity": 1000}),
            json!({"name": "x", "note": "é".repeat(201)}),
            json!({"name": "x", "note": "\0"}),
            json!({"name": "x", "station": "é".repeat(41)}),
            json!({"name": "x", "station": "\0"}),
        ] {
            assert!(item(bad.clone()).validate().is_err(), "{bad}");
        }
    }
}
