//! What this daemon saw acknowledged and the ledger does not have yet: said again where Redis has lost it.
//!
//! One remembered for all partitions, with one entry an order: as it was acknowledged last. Nothing is forgotten before the
//! ledger has it. Where there is no more room, new orders have to wait; releases and changes never do, so they may take
//! some more.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::{Allocator, script::record};
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

impl Remembered {
    fn position(&self) -> (u64, u64) {
        (self.generation, self.sequence)
    }
}

/// The remembered of all partitions.
pub(super) struct RememberedOrders {
    partitions: Vec<Mutex<OfPartition>>,
    orders: AtomicUsize,
    limit: usize,
}

/// The orders of a partition, and their positions: a position is that of one event, and so of one order.
#[derive(Default)]
struct OfPartition {
    orders: HashMap<OrderId, Remembered>,
    positions: BTreeMap<(u64, u64), OrderId>,
}

impl OfPartition {
    /// Answers with whether there is one more order now.
    fn put(&mut self, change: Remembered) -> bool {
        self.positions.insert(change.position(), change.id);
        let known = self.orders.insert(change.id, change);
        if let Some(known) = &known
            && self.orders[&known.id].position() != known.position()
        {
            self.positions.remove(&known.position());
        }
        known.is_none()
    }

    fn remove(&mut self, id: OrderId) -> Option<Remembered> {
        let known = self.orders.remove(&id)?;
        self.positions.remove(&known.position());
        Some(known)
    }
}

impl RememberedOrders {
    /// Has room for so many orders in all; with 0 it remembers nothing.
    pub(super) fn new(partitions: u16, limit: usize) -> Self {
        let partitions = (0..partitions).map(|_| Mutex::default()).collect();
        Self { partitions, orders: AtomicUsize::new(0), limit }
    }

    /// How many orders are remembered, and for how many there is room.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.orders.load(Relaxed), self.limit)
    }

    pub(super) fn push(&self, partition: PartitionId, change: Remembered) {
        if self.limit == 0 {
            return;
        }
        let mut of = self.of(partition);
        // Answers that came over two connections may be taken in the wrong order.
        let change = match of.orders.get_mut(&change.id) {
            Some(known) if known.position() > change.position() => {
                known.idempotency = known.idempotency.or(change.idempotency);
                return;
            }
            known => {
                let idempotency = change.idempotency.or(known.and_then(|known| known.idempotency));
                Remembered { idempotency, ..change }
            }
        };
        if of.put(change) {
            self.orders.fetch_add(1, Relaxed);
        }
    }

    /// Forgets what the ledger has. What was acknowledged under another generation is still to be said again.
    pub(super) fn forget(&self, partition: PartitionId, generation: u64, durable: u64) {
        let mut of = self.of(partition);
        let mut gone = 0;
        while let Some((position, id)) = of.positions.range((generation, 0)..=(generation, durable)).next() {
            let (position, id) = (*position, *id);
            of.positions.remove(&position);
            of.orders.remove(&id);
            gone += 1;
        }
        self.orders.fetch_sub(gone, Relaxed);
    }

    /// The orders that were changed under an older generation last, oldest order first.
    pub(super) fn before(&self, partition: PartitionId, generation: u64) -> Vec<Remembered> {
        let of = self.of(partition);
        let mut found: Vec<_> =
            of.positions.range(..(generation, 0)).filter_map(|(_, id)| of.orders.get(id)).cloned().collect();
        found.sort_unstable_by_key(|change| change.id);
        found
    }

    fn has_before(&self, partition: PartitionId, generation: u64) -> bool {
        self.of(partition).positions.range(..(generation, 0)).next().is_some()
    }

    fn has(&self, partition: PartitionId, id: OrderId) -> bool {
        self.of(partition).orders.contains_key(&id)
    }

    /// These have been said again under this generation, where Redis has them at these sequences: until the ledger has
    /// come so far they are remembered as changes of it. Those without a sequence are forgotten. What came of the same
    /// orders since stays as it is.
    pub(super) fn said_again(&self, partition: PartitionId, generation: u64, said: Vec<(Remembered, Option<u64>)>) {
        let mut of = self.of(partition);
        for (change, sequence) in said {
            if of.orders.get(&change.id).is_none_or(|known| known.position() != change.position()) {
                continue;
            }
            let known = of.remove(change.id);
            match (known, sequence) {
                (Some(known), Some(sequence)) => {
                    of.put(Remembered { generation, sequence, ..known });
                }
                (Some(_), None) => {
                    self.orders.fetch_sub(1, Relaxed);
                }
                (None, _) => {}
            }
        }
    }

    fn of(&self, partition: PartitionId) -> MutexGuard<'_, OfPartition> {
        self.partitions[partition.index()].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Allocator {
    /// Whether this daemon remembers anything from before a generation: an answer may have come late, or an order has no
    /// number yet.
    #[must_use]
    pub(crate) fn remembers_before(&self, partition: PartitionId, generation: u64) -> bool {
        self.remembered.has_before(partition, generation)
    }

    /// Whether this daemon saw an order acknowledged that the ledger does not have as it is.
    #[must_use]
    pub fn remembers(&self, id: OrderId) -> bool {
        self.remembered.has(self.partition_of(id.restaurant()), id)
    }

    /// How many orders this daemon remembers until the ledger has them, and for how many there is room (0: it remembers
    /// none).
    #[must_use]
    pub(crate) fn remembered_size(&self) -> (usize, usize) {
        self.remembered.size()
    }

    /// The orders that this daemon saw changed under generations before this one, as they were last: those that the
    /// ledger did not have yet.
    #[must_use]
    pub(crate) fn remembered_before(&self, partition: PartitionId, generation: u64) -> Vec<Order> {
        let remembered = self.remembered.before(partition, generation);
        remembered.iter().filter_map(|change| record::decode(change.id, &change.packed).ok()).collect()
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

    fn sequences(remembered: &RememberedOrders, generation: u64) -> Vec<u64> {
        remembered.before(P, generation).iter().map(|change| change.sequence).collect()
    }

    #[test]
    fn what_is_durable_is_forgotten_and_the_last_change_of_an_order_counts() {
        let remembered = RememberedOrders::new(1, 4);
        let digest = IdempotencyDigest { key: [1; 16], body: [2; 16] };
        remembered.push(P, Remembered { idempotency: Some(digest), ..change(1, 1, 1) });
        remembered.push(P, change(2, 1, 2));
        remembered.push(P, change(1, 1, 3));
        assert_eq!(remembered.size(), (2, 4), "one entry an order");
        assert_eq!(sequences(&remembered, 2), [3, 2]);
        assert_eq!(remembered.before(P, 2)[0].idempotency, Some(digest), "the key belongs to the order");
        assert_eq!(sequences(&remembered, 1), [0_u64; 0], "its own generation is not lost");
        remembered.forget(P, 2, 9);
        remembered.forget(P, 1, 2);
        assert_eq!(sequences(&remembered, 2), [3]);
        for sequence in 4..14 {
            remembered.push(P, change(sequence, 1, sequence));
        }
        assert_eq!(remembered.size(), (11, 4), "nothing is forgotten for want of room: new orders have to wait");
        let all = remembered.before(P, 2).into_iter().map(|change| (change, None));
        remembered.said_again(P, 2, all.collect());
        assert_eq!((sequences(&remembered, 2), remembered.size().0), (vec![], 0));
    }

    #[test]
    fn answers_that_come_in_the_wrong_order_are_put_right() {
        let remembered = RememberedOrders::new(1, 4);
        let digest = IdempotencyDigest { key: [1; 16], body: [2; 16] };
        remembered.push(P, change(1, 1, 3));
        remembered.push(P, Remembered { idempotency: Some(digest), ..change(1, 1, 2) });
        assert_eq!(sequences(&remembered, 2), [3]);
        assert_eq!(remembered.before(P, 2)[0].idempotency, Some(digest));
        remembered.forget(P, 1, 3);
        assert_eq!(remembered.size().0, 0);
    }

    #[test]
    fn the_partitions_share_the_room() {
        let (remembered, other) = (RememberedOrders::new(64, 10), PartitionId::new(63));
        for sequence in 1..=10 {
            remembered.push(P, change(sequence, 1, sequence));
        }
        remembered.push(other, change(11, 1, 1));
        assert_eq!(remembered.size(), (11, 10));
        assert_eq!(sequences(&remembered, 2).len(), 10, "one busy partition may have it all");
        remembered.forget(other, 1, 1);
        assert_eq!(remembered.size(), (10, 10));
    }

    #[test]
    fn what_was_said_again_is_remembered_until_the_ledger_has_it() {
        let remembered = RememberedOrders::new(1, 10);
        remembered.push(P, change(1, 1, 5));
        remembered.push(P, change(2, 1, 6));
        let said: Vec<_> = remembered.before(P, 2).into_iter().zip([Some(20), Some(21)]).collect();
        // An answer that was under way.
        remembered.push(P, change(2, 1, 7));
        remembered.said_again(P, 2, said);
        assert_eq!(sequences(&remembered, 2), [7], "it has still to be said");
        assert_eq!(sequences(&remembered, 3), [20, 7], "that generation may come to nothing");
        remembered.forget(P, 2, 20);
        assert_eq!(sequences(&remembered, 3), [7], "the ledger has the rest");
        let said: Vec<_> = remembered.before(P, 2).into_iter().map(|change| (change, Some(22))).collect();
        remembered.said_again(P, 2, said);
        remembered.forget(P, 2, 22);
        assert_eq!(remembered.size().0, 0);
    }
}
