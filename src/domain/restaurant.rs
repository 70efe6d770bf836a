//! Restaurants and the partitions they are sharded into.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A restaurant's identifier: 1 to 2³¹ − 1, given by the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "u32")]
pub struct RestaurantId(u32);

/// `restaurant_id` was not a whole number from 1 to 2³¹ − 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("restaurant_id must be a whole number from 1 to 2147483647")]
pub struct InvalidRestaurantId;

impl RestaurantId {
    /// The largest identifier: it must fit the 31 bits that an order id has for it.
    pub(crate) const MAX: u32 = i32::MAX as u32;

    /// Checks the range.
    ///
    /// # Errors
    /// [`InvalidRestaurantId`] outside 1 to 2³¹ − 1.
    pub fn new(id: i64) -> Result<Self, InvalidRestaurantId> {
        u32::try_from(id).ok().filter(|id| (1..=Self::MAX).contains(id)).map(Self).ok_or(InvalidRestaurantId)
    }

    /// The identifier as a plain number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The identifier as the ledger's column type.
    #[must_use]
    pub const fn as_i32(self) -> i32 {
        self.0.cast_signed()
    }

    /// The partition that holds this restaurant when there are `partitions` of them.
    ///
    /// The identifier is scrambled first (the finalizer of SplitMix64, Steele, Lea & Flood 2014): chains that number
    /// their restaurants in steps still spread evenly. The result is part of the stored data's layout: it must never
    /// change for a deployment.
    #[must_use]
    pub fn partition(self, partitions: u16) -> PartitionId {
        let mut x = u64::from(self.0).wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        #[expect(clippy::cast_possible_truncation, reason = "a remainder of a u16 fits a u16")]
        PartitionId((x % u64::from(partitions.max(1))) as u16)
    }
}

impl TryFrom<i64> for RestaurantId {
    type Error = InvalidRestaurantId;

    fn try_from(id: i64) -> Result<Self, Self::Error> {
        Self::new(id)
    }
}

impl From<RestaurantId> for u32 {
    fn from(id: RestaurantId) -> Self {
        id.0
    }
}

impl FromStr for RestaurantId {
    type Err = InvalidRestaurantId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidRestaurantId);
        }
        Self::new(text.parse().map_err(|_| InvalidRestaurantId)?)
    }
}

impl fmt::Display for RestaurantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The index of a partition, the unit of sharding: 0 to `partitions` − 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId(u16);

impl PartitionId {
    /// Names a partition by its index; the caller keeps it below the deployment's number of partitions.
    #[must_use]
    pub const fn new(index: u16) -> Self {
        Self(index)
    }

    /// All partitions of a deployment, in order.
    pub fn all(partitions: u16) -> impl Iterator<Item = Self> {
        (0..partitions).map(Self)
    }

    /// The index, for slices and labels.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The index as the ledger's column type.
    #[must_use]
    pub const fn as_i16(self) -> i16 {
        self.0.cast_signed()
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_documented_range_parses() {
        for good in ["1", "7", "2147483647", "0007"] {
            assert!(good.parse::<RestaurantId>().is_ok(), "{good}");
        }
        for bad in ["", "0", "-1", "+1", "2147483648", "99999999999999999999", "1.0", "seven", " 1"] {
            assert!(bad.parse::<RestaurantId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_partition_of_a_restaurant_never_changes() {
        // Stored data depends on these: a new value here loses every restaurant of every deployment.
        let of = |id| RestaurantId::new(id).expect("valid").partition(64).index();
        assert_eq!([of(1), of(7), of(40_000), of(i64::from(i32::MAX))], PINNED);
    }

    const PINNED: [usize; 4] = [1, 23, 8, 39];

    #[test]
    fn restaurants_spread_evenly() {
        let mut counts = [0_u32; 64];
        for id in 1..=64_000 {
            counts[RestaurantId::new(id).expect("valid").partition(64).index()] += 1;
        }
        assert!(counts.iter().all(|&n| (850..1150).contains(&n)), "{counts:?}");
    }
}
