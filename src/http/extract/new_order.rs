//! The body of a new order: what it holds, and the number that it asks for.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IntoDeserializer, MapAccess, Unexpected, Visitor, value::MapAccessDeserializer},
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{ObjectBuilder, OneOfBuilder, Type},
    },
};

use super::body::Body;
use crate::{
    domain::{DisplayNumber, OrderDetails},
    http::problem::Fault,
    service::NewOrder,
};

/// The field beside those of [`OrderDetails`].
const REQUESTED_NUMBER: &str = "requested_number";

/// A new order, as a client asks for it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct NewOrderRequest(pub NewOrder);

impl Body for NewOrderRequest {
    const OBJECT_FIELDS: &'static [&'static str] = OrderDetails::OBJECT_FIELDS;
    const WORD_FIELDS: &'static [&'static str] = OrderDetails::WORD_FIELDS;

    fn check(&self, faults: &mut Vec<Fault>) {
        self.0.details.check(faults);
    }
}

impl<'de> Deserialize<'de> for NewOrderRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = NewOrderRequest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<NewOrderRequest, A::Error> {
                let mut requested = None;
                let others = Others { fields, requested: &mut requested };
                let details = OrderDetails::deserialize(MapAccessDeserializer::new(others))?;
                Ok(NewOrderRequest(NewOrder { details, requested_number: requested.flatten() }))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// The fields of an order, but for the number that it asks for: that is taken out on the way.
struct Others<'a, A> {
    fields: A,
    requested: &'a mut Option<Option<DisplayNumber>>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Others<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, mut seed: K) -> Result<Option<K::Value>, A::Error> {
        loop {
            match self.fields.next_key_seed(KeyOfOther(seed))? {
                None => return Ok(None),
                Some(Key::Other(key)) => return Ok(Some(key)),
                Some(Key::Requested(_)) if self.requested.is_some() => {
                    return Err(A::Error::duplicate_field(REQUESTED_NUMBER));
                }
                Some(Key::Requested(same)) => {
                    *self.requested = Some(self.fields.next_value::<Requested>()?.0);
                    seed = same;
                }
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.fields.next_value_seed(seed)
    }
}

/// A key is looked at before the one that expects the fields of an order sees it.
struct KeyOfOther<K>(K);

enum Key<K, V> {
    Requested(K),
    Other(V),
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for KeyOfOther<K> {
    type Value = Key<K, K::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let key = String::deserialize(deserializer)?;
        if key == REQUESTED_NUMBER {
            return Ok(Key::Requested(self.0));
        }
        self.0.deserialize(key.into_deserializer()).map(Key::Other)
    }
}

/// A number that is asked for: an integer, or digits as text, as many tills keep it.
struct Requested(Option<DisplayNumber>);

impl<'de> Deserialize<'de> for Requested {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Requested;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number from 1 to {}, or its digits as text", DisplayNumber::MAX)
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Requested, E> {
                let known = DisplayNumber::new(number).map(|number| Requested(Some(number)));
                known.map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Requested, E> {
                self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Requested, E> {
                let known = text.trim_matches(' ').parse().map(|number| Requested(Some(number)));
                known.map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }

            fn visit_unit<E: Error>(self) -> Result<Requested, E> {
                Ok(Requested(None))
            }
        }

        deserializer.deserialize_any(Number)
    }
}

impl PartialSchema for NewOrderRequest {
    fn schema() -> RefOr<Schema> {
        let mut schema = OrderDetails::schema();
        if let RefOr::T(Schema::Object(order)) = &mut schema {
            let number = ObjectBuilder::new()
                .schema_type(Type::Integer)
                .minimum(Some(1))
                .maximum(Some(DisplayNumber::MAX))
                .build();
            let digits = ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some("^0*[1-9][0-9]{0,5}$"))
                .max_length(Some(32));
            let requested = OneOfBuilder::new()
                .item(number)
                .item(digits.build())
                .item(ObjectBuilder::new().schema_type(Type::Null).build())
                .description(Some(
                    "A number that the order asks for, of whichever range. It gets that one or none: `number_taken` says \
                     why not.",
                ));
            order.properties.insert(REQUESTED_NUMBER.to_owned(), RefOr::T(Schema::OneOf(requested.build())));
            order.description =
                Some("A new order: everything a caller may say about it. All fields are optional.".to_owned());
        }
        schema
    }
}

impl ToSchema for NewOrderRequest {
    fn name() -> std::borrow::Cow<'static, str> {
        // The API keeps the name that bodies of new orders have had: clients are generated from it.
        "OrderDetails".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        OrderDetails::schemas(schemas);
    }
}
