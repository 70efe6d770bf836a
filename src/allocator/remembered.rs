//! What this daemon saw acknowledged and the ledger does not have yet: said again where Redis has lost it.

use std::{
    collections::{HashMap, VecDeque},
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
        let is_durable = |change: &Remembered| change.generation == generation && change.sequence <= durable;
        while changes.front().is_some_and(is_durable) {
            changes.pop_front();
        }
        // What is still to be said again is not in the way of the rest.
        if changes.front().is_some_and(|change| change.generation < generation) {
            changes.retain(|change| !is_durable(change));
        }
    }

    /// The last thing known of each order that was changed under an older generation, oldest order first.
    pub(super) fn before(&self, partition: PartitionId, generation: u64) -> Vec<Remembered> {
        let mut last = std::collections::BTreeMap::new();
        for change in self.of(partition).iter().filter(|change| change.generation < generation) {
            let known: Option<Remembered> = last.remove(&change.id);
            let idempotency = change.idempotency.or(known.as_ref().and_then(|known| known.idempotency));
            // Answers that came over two connections may be taken in the wrong order.
            let place = |change: &Remembered| (change.generation, change.sequence);
            let newest = known.filter(|known| place(known) > place(change)).unwrap_or_else(|| change.clone());
            last.insert(change.id, Remembered { idempotency, ..newest });
        }
        last.into_values().collect()
    }

    /// These have been said again under this generation, where Redis has them at these sequences: until the ledger has
    /// come so far they are remembered as changes of it. Those without a sequence are forgotten. Changes of the same
    /// orders that came later stay as they are.
    pub(super) fn said_again(&self, partition: PartitionId, generation: u64, said: Vec<(Remembered, Option<u64>)>) {
        let until: HashMap<OrderId, (u64, u64)> =
            said.iter().map(|(change, _)| (change.id, (change.generation, change.sequence))).collect();
        let is_said = |change: &Remembered| {
            change.generation < generation
                && until.get(&change.id).is_some_and(|until| (change.generation, change.sequence) <= *until)
        };
        let mut changes = self.of(partition);
        changes.retain(|change| !is_said(change));
        let kept = said
            .into_iter()
            .filter_map(|(change, sequence)| sequence.map(|sequence| Remembered { generation, sequence, ..change }));
        changes.extend(kept);
    }

    fn of(&self, partition: PartitionId) -> std::sync::MutexGuard<'_, VecDeque<Remembered>> {
        self.partitions[partition.index()].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Allocator {
    /// Whether this daemon remembers anything from before a generation: an answer may have come late.
    #[must_use]
    pub fn remembers_before(&self, partition: PartitionId, generation: u64) -> bool {
        self.memory.of(partition).iter().any(|change| change.generation < generation)
    }

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
        let all = memory.before(P, 2).into_iter().map(|change| (change, None));
        memory.said_again(P, 2, all.collect());
        assert_eq!(sequences(&memory, 2), [0_u64; 0]);
    }

    #[test]
    fn answers_that_come_in_the_wrong_order_are_put_right() {
        let memory = Memory::new(1, 4);
        memory.push(P, change(1, 1, 3));
        memory.push(P, change(1, 1, 2));
        assert_eq!(sequences(&memory, 2), [3]);
    }

    #[test]
    fn what_was_said_again_is_remembered_until_the_ledger_has_it() {
        let memory = Memory::new(1, 10);
        memory.push(P, change(1, 1, 5));
        memory.push(P, change(2, 1, 6));
        let said: Vec<_> = memory.before(P, 2).into_iter().zip([Some(20), Some(21)]).collect();
        // An answer that was under way.
        memory.push(P, change(2, 1, 7));
        memory.said_again(P, 2, said);
        assert_eq!(sequences(&memory, 2), [7], "it has still to be said");
        memory.forget(P, 2, 20);
        assert_eq!(sequences(&memory, 3), [21], "that generation came to nothing");
        memory.forget(P, 2, 21);
        assert_eq!(sequences(&memory, 3), [7], "the ledger has the rest");
    }
}
