//! What the ledger refused: a dead letter is not in the ledger's tables, and was acknowledged all the same. So a rebuild
//! that reads the tables reads the letters, too; else their numbers would be given a second time.

use std::collections::HashMap;

use crate::{
    allocator::decode_entry,
    domain::{
        Event, EventKind, IdempotencyDigest, NumberAfter, Order, OrderId, PartitionId, PoolImage, RestaurantId, Rests,
        SettingsChange,
    },
    ledger::DeadLetter,
    service::{Recovery, ServiceError},
};

/// Letters that are read at a time.
const LETTERS_AT_A_TIME: u32 = 200;

/// What the dead letters of a partition say that the ledger's tables do not.
#[derive(Debug, Default)]
pub(super) struct DeadLettered {
    /// The latest state of each order, and what became of its number if it has ended.
    orders: HashMap<OrderId, (Order, Option<NumberAfter>)>,
    settings: HashMap<RestaurantId, SettingsChange>,
    rests: Vec<Rests>,
    keys: Vec<(IdempotencyDigest, OrderId)>,
}

impl Recovery {
    /// Reads the dead letters of a partition, and what the ledger has of the same orders by now.
    pub(super) async fn dead_lettered(&self, partition: PartitionId) -> Result<DeadLettered, ServiceError> {
        let mut found = DeadLettered::default();
        let mut after = 0;
        loop {
            let letters = self.ledger.dead_letters_of(partition, after, LETTERS_AT_A_TIME).await?;
            let Some(last) = letters.last() else { break };
            after = last.id;
            letters.iter().for_each(|letter| found.learn(letter));
        }
        let ids: Vec<OrderId> = found.orders.keys().copied().collect();
        for some in ids.chunks(LETTERS_AT_A_TIME as usize) {
            // Each entry holds the whole order, so a later one may well have been written. Of a live order the table of
            // slots may lack the number all the same: its letter would have said so.
            for order in self.ledger.orders(some).await? {
                found.orders.entry(order.id).and_modify(|known| {
                    if known.0.stage() <= order.stage() {
                        *known = (order, None);
                    }
                });
            }
        }
        Ok(found)
    }
}

impl DeadLettered {
    fn learn(&mut self, letter: &DeadLetter) {
        let Ok(event) = decode_entry(letter.partition, letter.sequence, &letter.entry) else {
            // Nothing that a script of ours wrote.
            return;
        };
        if let EventKind::Configured(change) = event.kind {
            let known = self.settings.entry(change.restaurant).or_insert_with(|| change.clone());
            if known.version < change.version {
                *known = change;
            }
            return;
        }
        if let EventKind::Rested(rests) = event.kind {
            self.rests.push(rests);
            return;
        }
        if let EventKind::Created { order, idempotency: Some(digest) }
        | EventKind::Restated { order, idempotency: Some(digest), .. }
        | EventKind::Renumbered { order, idempotency: Some(digest), .. } = &event.kind
        {
            self.keys.push((*digest, order.id));
        }
        let number = number_after(&event);
        let Some(order) = event.order() else { return };
        if self.orders.get(&order.id).is_none_or(|(known, _)| known.stage() <= order.stage()) {
            self.orders.insert(order.id, (order.clone(), number));
        }
    }

    /// The restaurants whose settings it has, which may be their first ones.
    pub(in crate::service) fn restaurants(&self) -> impl Iterator<Item = RestaurantId> + '_ {
        self.settings.keys().copied()
    }

    /// The settings of these restaurants: as the ledger's tables have them, or newer ones.
    pub(super) fn settings_of(&self, some: &[RestaurantId], tables: Vec<SettingsChange>) -> Vec<SettingsChange> {
        let mut latest: HashMap<_, _> = tables.into_iter().map(|change| (change.restaurant, change)).collect();
        for change in some.iter().filter_map(|restaurant| self.settings.get(restaurant)) {
            if latest.get(&change.restaurant).is_none_or(|known| known.version < change.version) {
                latest.insert(change.restaurant, change.clone());
            }
        }
        latest.into_values().collect()
    }

    /// Adds to a pool, as the ledger's tables have it, what they lack. A number that a live order holds stays with it.
    pub(super) fn add_to(&self, image: &mut PoolImage) {
        let restaurant = image.settings.restaurant;
        let mut orders: Vec<_> = self.orders.values().filter(|(order, _)| order.restaurant() == restaurant).collect();
        // First those that ended, since others may have got their numbers.
        orders.sort_by_key(|(order, _)| (order.status.is_live(), order.id));
        for (order, number) in orders {
            add_order(image, order, *number);
        }
        for rests in self.rests.iter().filter(|rests| rests.restaurant == restaurant) {
            for number in &rests.numbers {
                let is_live = image.live.iter().any(|order| order.number == Some(*number));
                if !is_live && image.cooling.iter().all(|(_, resting)| resting != number) {
                    image.cooling.push((rests.until, *number));
                }
            }
        }
        let known: Vec<_> = image.keys.iter().map(|(digest, _)| digest.key).collect();
        let lacking =
            |key: &&(IdempotencyDigest, OrderId)| key.1.restaurant() == restaurant && !known.contains(&key.0.key);
        image.keys.extend(self.keys.iter().filter(lacking));
    }
}

fn add_order(image: &mut PoolImage, order: &Order, after: Option<NumberAfter>) {
    image.live.retain(|known| known.id != order.id);
    let Some(number) = order.number else { return };
    if image.live.iter().any(|known| known.number == Some(number)) {
        tracing::error!(
            order = %order.id, %number, restaurant = %order.restaurant(),
            "an order that was dead-lettered as a dead letter has the number of another live order, and is not loaded"
        );
        return;
    }
    match after {
        _ if order.status.is_live() => {
            image.cooling.retain(|(_, resting)| *resting != number);
            image.live.push(order.clone());
        }
        Some(NumberAfter::Cooling(until)) if image.cooling.iter().all(|(_, resting)| *resting != number) => {
            image.cooling.push((until, number));
        }
        _ => {}
    }
}

fn number_after(event: &Event) -> Option<NumberAfter> {
    match &event.kind {
        EventKind::Released { number, .. } => Some(*number),
        EventKind::Restated { number, .. } => *number,
        EventKind::Recycled { .. } => Some(NumberAfter::Free),
        _ => None,
    }
}
