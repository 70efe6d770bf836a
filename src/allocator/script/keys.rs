//! Every Redis key, spelled once.
//!
//! All keys of a partition carry the hash tag `{p}`, the partition's index. So Redis Cluster keeps them on one master,
//! and a script may touch them together. Nothing else in a key has braces.

use std::fmt::Write;

use crate::domain::{PartitionId, RestaurantId};

/// How many slots a cluster has. Where there is no cluster, one server has them all.
pub(in crate::allocator) const SLOTS: u16 = 16384;

/// A kind of key, by the name that the scripts' headers use for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::allocator) enum KeyKind {
    /// Hash: generation, sequence, last stamp, seed, `run_id` and layout of the partition.
    Partition,
    /// Stream: one entry for each event that the ledger may not have yet.
    Outbox,
    /// Set: the restaurants of the partition that have settings.
    Restaurants,
    /// Hash: the settings of the pool as the scripts need them, its cursor and its counts.
    Pool,
    /// Sorted set: runs of free numbers; member = last, score = first.
    Free,
    /// List: cooling numbers with the instant they are free again, ordered by it.
    Cool,
    /// Set: blocked numbers; absent where there are none.
    Block,
    /// Hash: order id → live order, packed.
    Order,
    /// Hash: number → id of its holder, or of its last holder while that one is in `done`.
    Num,
    /// Hash: order id → finished order that the ledger may not have yet, packed.
    Done,
    /// String: written before a durability level is awaited, so that the wait covers all that was written earlier.
    Barrier,
}

impl KeyKind {
    const ALL: [Self; 11] = [
        Self::Partition,
        Self::Outbox,
        Self::Restaurants,
        Self::Pool,
        Self::Free,
        Self::Cool,
        Self::Block,
        Self::Order,
        Self::Num,
        Self::Done,
        Self::Barrier,
    ];

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What the scripts' headers call it, and keys of this kind.
    const fn name(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::Outbox => "outbox",
            Self::Restaurants => "restaurants",
            Self::Pool => "pool",
            Self::Free => "free",
            Self::Cool => "cool",
            Self::Block => "block",
            Self::Order => "order",
            Self::Num => "num",
            Self::Done => "done",
            Self::Barrier => "barrier",
        }
    }

    const fn is_of_a_partition(self) -> bool {
        matches!(self, Self::Partition | Self::Outbox | Self::Restaurants | Self::Barrier)
    }
}

/// Spells keys for one namespace: deployments that share a Redis are told apart by it.
#[derive(Debug, Clone)]
pub(in crate::allocator) struct Keys {
    /// What the keys of each partition begin with: `ns:{p}:`. A call has a dozen keys, so this is spelled once.
    prefixes: Vec<String>,
}

impl Keys {
    pub(in crate::allocator) fn new(namespace: &str, partitions: u16) -> Self {
        Self { prefixes: PartitionId::all(partitions).map(|p| format!("{namespace}:{{{p}}}:")).collect() }
    }

    pub(in crate::allocator) fn partition_of(&self, restaurant: RestaurantId) -> PartitionId {
        restaurant.partition(u16::try_from(self.prefixes.len()).expect("made from a u16"))
    }

    fn prefix(&self, partition: PartitionId) -> &str {
        &self.prefixes[partition.index()]
    }

    /// The key of this kind, of the restaurant or of its partition.
    pub(in crate::allocator) fn of(&self, kind: KeyKind, restaurant: RestaurantId) -> String {
        let mut key = String::new();
        self.write(&mut key, kind, restaurant);
        key
    }

    /// As [`Keys::of`], to where it is wanted.
    pub(in crate::allocator) fn write(&self, to: &mut String, kind: KeyKind, restaurant: RestaurantId) {
        to.push_str(self.prefix(self.partition_of(restaurant)));
        to.push_str(kind.name());
        if !kind.is_of_a_partition() {
            write!(to, ":{restaurant}").expect("a String takes everything");
        }
    }

    pub(in crate::allocator) fn partition(&self, partition: PartitionId) -> String {
        self.of_partition(KeyKind::Partition, partition)
    }

    pub(in crate::allocator) fn outbox(&self, partition: PartitionId) -> String {
        self.of_partition(KeyKind::Outbox, partition)
    }

    pub(in crate::allocator) fn restaurants(&self, partition: PartitionId) -> String {
        self.of_partition(KeyKind::Restaurants, partition)
    }

    pub(in crate::allocator) fn barrier(&self, partition: PartitionId) -> String {
        self.of_partition(KeyKind::Barrier, partition)
    }

    pub(in crate::allocator) fn order(&self, restaurant: RestaurantId) -> String {
        self.of(KeyKind::Order, restaurant)
    }

    pub(in crate::allocator) fn num(&self, restaurant: RestaurantId) -> String {
        self.of(KeyKind::Num, restaurant)
    }

    pub(in crate::allocator) fn done(&self, restaurant: RestaurantId) -> String {
        self.of(KeyKind::Done, restaurant)
    }

    /// Hash: digest of an idempotency key → order id and digest of the body, for one span of time.
    pub(in crate::allocator) fn idem(&self, restaurant: RestaurantId, bucket: i64) -> String {
        let prefix = self.prefix(self.partition_of(restaurant));
        format!("{prefix}idem:{restaurant}:{bucket}")
    }

    fn of_partition(&self, kind: KeyKind, partition: PartitionId) -> String {
        [self.prefix(partition), kind.name()].concat()
    }
}

/// The slot of a cluster that all keys of a partition are in: that of their hash tag.
pub(in crate::allocator) fn slot(partition: PartitionId) -> u16 {
    crc16(partition.to_string().as_bytes()) % SLOTS
}

/// CRC-16/XMODEM, as Redis Cluster has it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_that_redis_computes() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(crc16(b"foo") % SLOTS, 12182);
        // `CLUSTER KEYSLOT ns:{63}:outbox`
        assert_eq!([0, 1, 63].map(|p| slot(PartitionId::new(p))), [13907, 9842, 10499]);
    }

    #[test]
    fn all_keys_of_a_restaurant_share_the_partitions_hash_tag() {
        let keys = Keys::new("ns", 64);
        let r = RestaurantId::new(7).expect("valid");
        let tag = format!("ns:{{{}}}:", keys.partition_of(r));
        let named = ["partition", "outbox", "restaurants", "pool", "free", "cool", "block", "order", "num", "done"]
            .map(|name| keys.of(KeyKind::from_name(name).expect("a kind"), r));
        let others = [keys.idem(r, 41_000), keys.barrier(keys.partition_of(r))];
        for key in named.iter().chain(&others) {
            assert!(key.starts_with(&tag), "{key}");
        }
    }
}
