//! What a stream has missed that comes back: from the outbox as far as that reaches back, else from the ledger.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use super::{
    Feed,
    event::{Call, FeedEvent, News, Wire},
};
use crate::domain::{
    ChainPosition, EVENT_KINDS, FeedPosition, Order, OrderId, PartitionId, RecordedEvent, RestaurantId,
};

/// A stream that has missed more events of its partition begins anew: that is cheaper, and shows as much.
const MOST_OF_A_PARTITION: u64 = 20_000;

/// A stream that comes back later begins anew.
const MISSED_FOR_MS: i64 = 2 * 86_400_000;

/// Entries of an outbox that are read at once.
const AT_ONCE: usize = 1000;

/// Events of a partition, of whichever restaurant, that are looked at in the ledger at once.
const LOOKED_AT: u64 = 5000;

/// Events of the ledger that a stream is told; of the whole chain, for each partition.
const MOST_FROM_LEDGER: usize = 500;

impl Feed {
    /// The events of a partition in `(last, stands]`, those of one restaurant or of all. None where they are not to be had.
    pub(super) async fn missed(
        &self,
        partition: PartitionId,
        last: FeedPosition,
        stands: FeedPosition,
        restaurant: Option<RestaurantId>,
    ) -> Option<Vec<Arc<FeedEvent>>> {
        let missed = stands.sequence.checked_sub(last.sequence)?;
        if last.generation != stands.generation || missed > MOST_OF_A_PARTITION {
            return None;
        }
        let (mut found, mut behind) = (Vec::new(), last.sequence);
        let wanted = |event: &FeedEvent| restaurant.is_none_or(|restaurant| event.restaurant == restaurant);
        while behind < stands.sequence {
            let entries = self.allocator.waiting_entries(partition, behind, AT_ONCE).await.ok()?;
            let first = entries.first().map_or(stands.sequence + 1, |entry| entry.sequence);
            if first > behind + 1 {
                // What an outbox does not have any more, the ledger has.
                let up_to = (first - 1).min(stands.sequence).min(behind + LOOKED_AT);
                found.extend(
                    self.recorded(partition, FeedPosition { sequence: behind, ..last }, up_to, restaurant).await?,
                );
                behind = up_to;
                if up_to + 1 < first {
                    continue;
                }
            }
            for entry in entries {
                if entry.generation != last.generation {
                    return None;
                }
                if entry.sequence <= stands.sequence {
                    behind = entry.sequence;
                    let event = FeedEvent::of(entry.event.ok()?);
                    found.extend(event.filter(&wanted).map(Arc::new));
                }
            }
        }
        Some(found)
    }

    /// As [`Feed::missed`], of all partitions up to where they `stand`. Of those that are not followed just now nothing is
    /// said: once they are, the stream ends.
    pub(super) async fn missed_of_chain(
        &self,
        last: &ChainPosition,
        stand: &ChainPosition,
    ) -> Option<Vec<Arc<FeedEvent>>> {
        let mut found = Vec::new();
        for (partition, stands) in stand.iter() {
            found.extend(self.missed(partition, last.get(partition)?, stands, None).await?);
        }
        found.sort_by_key(|event| event.at);
        Some(found)
    }

    /// Events as the ledger has them, each with its order's present state: the ledger keeps changes, not whole orders.
    async fn recorded(
        &self,
        partition: PartitionId,
        last: FeedPosition,
        up_to: u64,
        restaurant: Option<RestaurantId>,
    ) -> Option<Vec<Arc<FeedEvent>>> {
        let limit = MOST_FROM_LEDGER + 1;
        let since = self.now().ok()?.plus_ms(-MISSED_FOR_MS);
        let recorded = self.ledger.events_between(partition, last, up_to, restaurant, since, limit).await.ok()?;
        // What is too long ago, or was dropped, is not among them.
        let is_whole = recorded.first().is_some_and(|first| first.position.sequence == last.sequence + 1);
        if !is_whole || recorded.len() > MOST_FROM_LEDGER {
            return None;
        }
        let mut orders: HashMap<OrderId, Order> = HashMap::new();
        let mut found = Vec::with_capacity(recorded.len());
        let wanted = |event: &RecordedEvent| restaurant.is_none_or(|restaurant| event.restaurant == restaurant);
        for event in recorded.into_iter().filter(wanted) {
            let news = match (event.kind.as_str(), event.order) {
                ("configured", _) => {
                    let settings = self.restaurants.settings(event.restaurant).await.ok()?.settings;
                    News::Settings(Box::new(settings))
                }
                (_, None) | ("recycled", _) => continue,
                (_, Some(id)) => {
                    let order = match orders.entry(id) {
                        Entry::Occupied(known) => known.get().clone(),
                        Entry::Vacant(unknown) => unknown.insert(self.orders.get(id.as_uuid()).await.ok()?).clone(),
                    };
                    News::Order { kind: kind_of(&event)?, order: Box::new(order), call: call_of(&event) }
                }
            };
            let position = FeedPosition { generation: event.position.generation, sequence: event.position.sequence };
            let (restaurant, at) = (event.restaurant, event.position.at);
            found.push(Arc::new(FeedEvent {
                restaurant,
                position,
                at,
                news,
                wire: Wire::default(),
                chain_wire: Wire::default(),
            }));
        }
        Some(found)
    }
}

fn kind_of(event: &RecordedEvent) -> Option<&'static str> {
    EVENT_KINDS.into_iter().find(|kind| *kind == event.kind)
}

fn call_of(event: &RecordedEvent) -> Option<Call> {
    let place = |detail: &serde_json::Value| detail.get("place")?.as_str().map(str::to_owned);
    (event.kind == "called").then(|| Call { place: event.detail.as_ref().and_then(place) })
}
