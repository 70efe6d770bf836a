//! Order ids: UUID version 8 that sort by time and name their restaurant.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{RestaurantId, Timestamp};

/// The identifier that systems keep for ever.
///
/// A UUID version 8 (RFC 9562, section 5.8), big-endian:
///
/// | bits | holds |
/// |---|---|
/// | 48 | Unix milliseconds of the order's creation |
/// | 4 | version, `8` |
/// | 12 | restaurant, upper 12 of its 31 bits |
/// | 2 | variant, `10` |
/// | 19 | restaurant, lower 19 bits |
/// | 43 | distinguishing: microseconds within the millisecond (10) and random (33); for imported orders a digest |
///
/// So ids sort like version 7, also within a millisecond (RFC 9562, section 6.2, method 3). A bare id finds its
/// restaurant, and so its partition, with no index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Uuid", into = "Uuid")]
pub struct OrderId(Uuid);

/// A UUID that this service did not make: not version 8, or with no restaurant in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an order id: it must be a UUID version 8 made by this service")]
pub struct ForeignId;

const RANDOM_BITS: u32 = 43;
const MICROS_BITS: u32 = 10;
const LOWER_RESTAURANT_BITS: u32 = 19;

impl OrderId {
    /// Builds the id of an order that is created `micros` (0 to 999) after the millisecond `created_at`; only the lower
    /// 33 bits of `random` are used.
    #[must_use]
    pub fn at(created_at: Timestamp, micros: u16, restaurant: RestaurantId, random: u64) -> Self {
        let random = random & ((1 << (RANDOM_BITS - MICROS_BITS)) - 1);
        Self::new(created_at, restaurant, u64::from(micros.min(999)) << (RANDOM_BITS - MICROS_BITS) | random)
    }

    /// Builds an id from its parts; only the lower 43 bits of `random` are used.
    #[must_use]
    pub fn new(created_at: Timestamp, restaurant: RestaurantId, random: u64) -> Self {
        let restaurant = u64::from(restaurant.get());
        let high = (created_at.unix_ms().cast_unsigned() << 16) | (0x8 << 12) | (restaurant >> LOWER_RESTAURANT_BITS);
        let low = (0b10 << 62)
            | ((restaurant & ((1 << LOWER_RESTAURANT_BITS) - 1)) << RANDOM_BITS)
            | (random & ((1 << RANDOM_BITS) - 1));
        Self(Uuid::from_u64_pair(high, low))
    }

    /// When the order was created, to the millisecond.
    #[must_use]
    pub fn created_at(self) -> Timestamp {
        Timestamp::from_unix_ms((self.0.as_u64_pair().0 >> 16).cast_signed())
    }

    /// The restaurant that the order belongs to.
    #[must_use]
    pub(crate) fn restaurant(self) -> RestaurantId {
        Self::restaurant_of(self.0).expect("checked when the id was made")
    }

    /// The id as a plain UUID.
    #[must_use]
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }

    /// The 16 bytes under which Redis keeps the order.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    fn restaurant_of(id: Uuid) -> Option<RestaurantId> {
        let (high, low) = id.as_u64_pair();
        let restaurant =
            ((high & 0xfff) << LOWER_RESTAURANT_BITS) | ((low >> RANDOM_BITS) & ((1 << LOWER_RESTAURANT_BITS) - 1));
        RestaurantId::new(restaurant.cast_signed()).ok()
    }
}

impl TryFrom<Uuid> for OrderId {
    type Error = ForeignId;

    fn try_from(id: Uuid) -> Result<Self, Self::Error> {
        let ours = id.get_version_num() == 8
            && id.get_variant() == uuid::Variant::RFC4122
            && Self::restaurant_of(id).is_some();
        ours.then_some(Self(id)).ok_or(ForeignId)
    }
}

impl From<OrderId> for Uuid {
    fn from(id: OrderId) -> Self {
        id.0
    }
}

impl FromStr for OrderId {
    type Err = ForeignId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map_err(|_| ForeignId)?.try_into()
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_survive_the_round_trip(ms in 0..=Timestamp::MAX_MS, restaurant in 1..=i64::from(i32::MAX), random: u64) {
            let restaurant = RestaurantId::new(restaurant).expect("in range");
            let id = OrderId::new(Timestamp::from_unix_ms(ms), restaurant, random);
            prop_assert_eq!(id.created_at().unix_ms(), ms);
            prop_assert_eq!(id.restaurant(), restaurant);
            prop_assert_eq!(id.to_string().parse::<OrderId>(), Ok(id));
        }

        #[test]
        fn later_orders_sort_later(ms in 0..Timestamp::MAX_MS, a: u64, b: u64) {
            let restaurant = RestaurantId::new(7).expect("in range");
            let earlier = OrderId::new(Timestamp::from_unix_ms(ms), restaurant, a);
            let later = OrderId::new(Timestamp::from_unix_ms(ms + 1), restaurant, b);
            prop_assert!(earlier < later);
        }
    }

    proptest! {
        #[test]
        fn orders_of_one_millisecond_sort_by_microsecond(micros in 0..999_u16, a: u64, b: u64) {
            let (at, restaurant) = (Timestamp::from_unix_ms(1), RestaurantId::new(7).expect("in range"));
            prop_assert!(OrderId::at(at, micros, restaurant, a) < OrderId::at(at, micros + 1, restaurant, b));
        }
    }

    #[test]
    fn foreign_uuids_are_told_apart() {
        for foreign in [
            "00000000-0000-0000-0000-000000000000",
            "7f0c2a5e-3b1d-4c8f-9a6e-1d2b3c4d5e6f",
            "019aae2e-5d00-8000-8000-000000000000", // version 8, but no restaurant in it
            "forty-two",
        ] {
            assert_eq!(foreign.parse::<OrderId>(), Err(ForeignId), "{foreign}");
        }
    }
}
