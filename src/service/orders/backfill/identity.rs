//! Which orders the rows of another system are. That is recorded (`imported_orders`), and asked first; orders that runs of
//! earlier versions took, which recorded nothing, are recognized and recorded then.

use std::collections::{BTreeSet, HashMap};

use uuid::Uuid;

use super::foreign::{BackFillBatch, DEFAULT_SOURCE, ForeignOrder, Import};
use crate::{
    domain::{OrderId, RestaurantId},
    ledger::Reservation,
    service::{Orders, ServiceError},
};

/// How often an id that another order has is drawn anew: ids of one millisecond and restaurant differ in 43 bits.
const ATTEMPTS: u32 = 4;

/// How a row stands to the order that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its id has just been recorded.
    New,
    /// It was recorded before as one of this source: it may be here.
    Ours,
    /// It is here, and came from another source.
    Elsewhere(String),
}

/// An order of a run of an earlier version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Earlier {
    id: OrderId,
    /// Its UUID says so, which no other order has.
    by_uuid: bool,
}

impl Orders {
    /// Gives the orders of a batch that are not done with their ids, and says how they stand.
    pub(super) async fn identify(
        &self,
        batch: &mut BackFillBatch,
        import: &Import,
    ) -> Result<HashMap<usize, Standing>, ServiceError> {
        let keys: Vec<_> = batch.pending().map(|(at, order)| (at, order.foreign_key())).collect();
        let of_keys: Vec<_> = keys.iter().map(|(_, key)| key.clone()).collect();
        let reserved = self.ledger.reserved_imports(&import.source, &of_keys).await?;
        let mut standings = HashMap::new();
        let mut unknown = Vec::new();
        for (at, key) in &keys {
            match reserved.get(key) {
                Some(id) => {
                    batch.orders[*at].id = *id;
                    standings.insert(*at, Standing::Ours);
                }
                None => unknown.push(*at),
            }
        }
        if unknown.is_empty() {
            return Ok(standings);
        }
        let earlier = self.earlier(batch, &unknown).await?;
        let ids: Vec<OrderId> = earlier.values().map(|earlier| earlier.id).collect();
        let names = if ids.is_empty() { HashMap::new() } else { self.ledger.sources_of(&ids).await? };
        let mut wanted = Vec::new();
        for at in unknown {
            let order = &mut batch.orders[at];
            let found = earlier.get(&at).filter(|found| {
                // What is called the same in a system that is named is another one, unless it looks the same, too.
                let looks_same = (found.id.created_at().unix_ms() - order.created_at.unix_ms()).abs() < 1000;
                found.by_uuid || import.source == DEFAULT_SOURCE || looks_same
            });
            let standing = match found.map(|found| (found, names.get(&found.id))) {
                Some((found, Some(there))) if there.source == import.source => {
                    order.id = found.id;
                    Standing::Ours
                }
                Some((found, Some(there))) if found.by_uuid => {
                    order.id = found.id;
                    Standing::Elsewhere(there.source.clone())
                }
                Some((found, None)) => {
                    order.id = found.id;
                    wanted.push((at, Reservation { key: order.foreign_key(), id: found.id, shown: None }));
                    Standing::Ours
                }
                Some((_, Some(_))) | None => {
                    let (key, id) = (order.foreign_key(), order.id_from(&import.source, 0));
                    order.id = id;
                    wanted.push((at, Reservation { key, id, shown: order.shown_there() }));
                    Standing::New
                }
            };
            standings.insert(at, standing);
        }
        if !import.trial {
            self.reserve(batch, import, wanted, &mut standings).await?;
        }
        Ok(standings)
    }

    async fn reserve(
        &self,
        batch: &mut BackFillBatch,
        import: &Import,
        mut wanted: Vec<(usize, Reservation)>,
        standings: &mut HashMap<usize, Standing>,
    ) -> Result<(), ServiceError> {
        let now = self.allocator.now()?;
        for attempt in 1..=ATTEMPTS {
            if wanted.is_empty() {
                return Ok(());
            }
            let rows: Vec<Reservation> = wanted.iter().map(|(_, wanted)| wanted.clone()).collect();
            let reserved = self.ledger.reserve_imports(&import.source, rows, now).await?;
            let mut taken = Vec::new();
            for (at, mut reservation) in wanted {
                let order = &mut batch.orders[at];
                match reserved.get(&reservation.key) {
                    Some(id) => {
                        if *id != reservation.id {
                            // Another run was faster.
                            standings.insert(at, Standing::Ours);
                        }
                        order.id = *id;
                    }
                    None => {
                        reservation.id = order.id_from(&import.source, attempt);
                        reservation.shown = order.shown_there();
                        taken.push((at, reservation));
                    }
                }
            }
            wanted = taken;
        }
        match wanted.first() {
            None => Ok(()),
            Some((_, reservation)) => Err(ServiceError::Internal(anyhow::anyhow!(
                "order {:?} finds no id that no other order has",
                reservation.key
            ))),
        }
    }

    /// Those that runs of earlier versions took: known by their UUID, by the id that followed from their row, or by an
    /// external id that led to one with the same name in its id. By then, the time that is in the id does not matter.
    async fn earlier(&self, batch: &BackFillBatch, unknown: &[usize]) -> Result<HashMap<usize, Earlier>, ServiceError> {
        let orders: Vec<(usize, &ForeignOrder)> = unknown.iter().map(|at| (*at, &batch.orders[*at])).collect();
        let uuids: Vec<Uuid> = orders.iter().filter_map(|(_, order)| order.foreign_id).collect();
        let by_uuid = if uuids.is_empty() { HashMap::new() } else { self.ledger.by_aliases(&uuids).await? };
        let first_ids: Vec<OrderId> = orders.iter().flat_map(|(_, order)| order.earlier_ids()).collect();
        let here = self.ledger.has_orders(&first_ids).await?;
        let mut found = HashMap::new();
        let mut others = Vec::new();
        for (at, order) in orders {
            let alias = order.foreign_id.and_then(|uuid| by_uuid.get(&uuid));
            let same_row = order.earlier_ids().into_iter().find(|id| here.contains(id));
            if let Some(id) = alias {
                found.insert(at, Earlier { id: *id, by_uuid: true });
            } else if let Some(id) = same_row {
                found.insert(at, Earlier { id, by_uuid: false });
            } else if order.foreign_id.is_none() {
                others.push((at, order));
            }
        }
        if others.is_empty() {
            return Ok(found);
        }
        let restaurants: BTreeSet<RestaurantId> = others.iter().map(|(_, order)| order.restaurant).collect();
        let restaurants: Vec<RestaurantId> = restaurants.into_iter().collect();
        let external = |order: &ForeignOrder| order.earlier_keys().into_iter().chain(order.details.external_id.clone());
        let external_ids: BTreeSet<String> = others.iter().flat_map(|(_, order)| external(order)).collect();
        let external_ids: Vec<String> = external_ids.into_iter().collect();
        let tails: Vec<String> = others.iter().flat_map(|(_, order)| order.earlier_ids()).map(tail).collect();
        let candidates = self.ledger.by_external_ids(&restaurants, &external_ids, &tails).await?;
        for (at, order) in others {
            let mut earlier = candidates.iter().filter(|id| order.is_earlier(**id));
            if let Some(id) = earlier.next() {
                found.insert(at, Earlier { id: *id, by_uuid: false });
            }
        }
        Ok(found)
    }
}

/// The last ten hexadecimal digits, in which nothing is but the digest of the name.
fn tail(id: OrderId) -> String {
    id.to_string().split_off(26)
}
