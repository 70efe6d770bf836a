//! What this daemon saw acknowledged and the ledger does not have yet: said again where Redis has lost it.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use super::{Allocator, record};
use crate::domain::{IdempotencyDigest, Order, OrderId, PartitionId};

/// A change that was acknowledged: the order after it.
#[derive(Debug, Clone)]
pub(super) struct Remembered {
    pub(super) generation: u64,
    pub(super) sequence: u64,
    pub(super) id: OrderId,
    pub(super) packed: Box<[u8]>,
    pub(super) idempotency: Option<IdempotencyDigest>,
}

/// The memory of all partitions. Bounded: where the ledger is away for long, the oldest changes are forgotten first.
pub(super) struct Memory {
    partitions: Vec<Mutex<VecDeque<Remembered>>>,
    limit: usize,
}

impl Memory {
    /// Holds at most `limit` changes, each partition its share of them.
    pub(super) fn new(partitions: u16, limit: usize) -> Self {
        let limit = limit.div_ceil(usize::from(partitions.max(1)));
        Self { partitions: (0..partitions).map(|_| Mutex::default()).collect(), limit }
    }

    pub(super) fn push(&self, partition: PartitionId, change: Remembered) {
        if self.limit == 0 {
            return;
        }
        let mut changes = self.of(partition);
        if changes.len() >= self.limit {
            changes.pop_front();
        }
        changes.push_back(change);
    }

    /// Forgets what the ledger has. Answers come in nearly the order of their sequences; a straggler stays until those
    /// before it go.
    pub(super) fn forget(&self, partition: PartitionId, generation: u64, durable: u64) {
        let mut changes = self.of(partition);
        while changes.front().is_some_and(|change| change.generation == generation && change.sequence <= durable) {
            changes.pop_front();
        }
    }

    /// The last thing known of each order that was changed under an older generation, oldest order first.
    pub(super) fn before(&self, partition: PartitionId, generation: u64) -> Vec<Remembered> {
        let mut last = std::collections::BTreeMap::new();
        for change in self.of(partition).iter().filter(|change| change.generation < generation) {
            let known: Option<Remembered> = last.remove(&change.id);
            let idempotency = change.idempotency.or(known.and_then(|known| known.idempotency));
            last.insert(change.id, Remembered { idempotency, ..change.clone() });
        }
        last.into_values().collect()
    }

    pub(super) fn forget_before(&self, partition: PartitionId, generation: u64) {
        self.of(partition).retain(|change| change.generation >= generation);
    }

    fn of(&self, partition: PartitionId) -> std::sync::MutexGuard<'_, VecDeque<Remembered>> {
        self.partitions[partition.index()].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Allocator {
    /// The orders that this daemon saw changed under generations before this one, as far as the ledger did not have
    /// them yet, as they were last.
    #[must_use]
    pub fn remembered_before(&self, partition: PartitionId, generation: u64) -> Vec<Order> {
        let remembered = self.memory.before(partition, generation);
        remembered.iter().filter_map(|change| Some(record::decode(change.id, &change.packed).ok()?.0)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{RestaurantId, Timestamp};

    const P: PartitionId = PartitionId::new(0);

    fn change(order: u64, generation: u64, sequence: u64) -> Remembered {
        let restaurant = RestaurantId::new(7).expect("valid");
        let id = OrderId::new(Timestamp::from_unix_ms(1), restaurant, order);
        Remembered { generation, sequence, id, packed: Box::new([]), idempotency: None }
    }

    fn sequences(memory: &Memory, generation: u64) -> Vec<u64> {
        memory.before(P, generation).iter().map(|change| change.sequence).collect()
    }

    #[test]
    fn what_is_durable_is_forgotten_and_the_last_change_of_an_order_counts() {
        let memory = Memory::new(1, 4);
        let digest = IdempotencyDigest { key: [1; 16], body: [2; 16] };
        memory.push(P, Remembered { idempotency: Some(digest), ..change(1, 1, 1) });
        memory.push(P, change(2, 1, 2));
        memory.push(P, change(1, 1, 3));
        assert_eq!(sequences(&memory, 2), [3, 2]);
        assert_eq!(memory.before(P, 2)[0].idempotency, Some(digest), "the key belongs to the order");
        assert_eq!(sequences(&memory, 1), [0_u64; 0], "its own generation is not lost");
        memory.forget(P, 2, 9);
        memory.forget(P, 1, 2);
        assert_eq!(sequences(&memory, 2), [3]);
        for sequence in 4..9 {
            memory.push(P, change(sequence, 1, sequence));
        }
        assert_eq!(sequences(&memory, 2), [5, 6, 7, 8], "it is bounded");
        memory.forget_before(P, 2);
        assert_eq!(sequences(&memory, 2), [0_u64; 0]);
    }
}
