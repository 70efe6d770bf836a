//! Events: one for each change, as they travel from the outbox to the ledger.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{DateChange, DisplayNumber, Order, OrderStatus, PartitionId, PoolSettings, RestaurantId, Timestamp};

/// One change, at the position that the partition's sequence gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The partition whose outbox held it.
    pub partition: PartitionId,
    /// Which build of the partition's data it belongs to.
    pub generation: u64,
    /// Its position in the partition, counted from 1 without gaps.
    pub sequence: u64,
    /// When it happened, by Redis's clock.
    pub at: Timestamp,
    /// Who asked for it.
    pub context: Context,
    /// What happened.
    pub kind: EventKind,
}

/// One outbox entry: its position, its bytes, and what they say.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxEntry {
    /// Its position in the partition.
    pub sequence: u64,
    /// Which build of the partition's data it belongs to.
    pub generation: u64,
    /// The bytes, kept in case the entry has to become dead letters.
    pub raw: Vec<u8>,
    /// The event, or why the bytes are none.
    pub event: Result<Event, String>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// An order was created and given a number.
    Created {
        /// The new order.
        order: Order,
        /// Set if the caller gave an `Idempotency-Key`.
        idempotency: Option<IdempotencyDigest>,
    },
    /// An order that another system had created was taken over, still live.
    Imported {
        /// The order as it was taken over.
        order: Order,
    },
    /// A live order changed its status, its description or both.
    Changed {
        /// The order after the change.
        order: Order,
        /// Its status before.
        before: OrderStatus,
    },
    /// An order became final and gave its number back.
    Released {
        /// The order after the change.
        order: Order,
        /// Its status before.
        before: OrderStatus,
        /// What became of the number.
        number: NumberAfter,
    },
    /// A completed order was taken back with its number, which had not rested long enough yet.
    Reopened {
        /// The order after the change.
        order: Order,
        /// Its status before.
        before: OrderStatus,
    },
    /// A live order was called: it is ready, and its guest was told.
    Called {
        /// The order after the change.
        order: Order,
        /// Its status before.
        before: OrderStatus,
        /// Where it is to be picked up, as the caller said it.
        place: Option<String>,
    },
    /// A resting number was freed before its time; the order, its last holder, is unchanged.
    Recycled {
        /// The number's last holder.
        order: Order,
    },
    /// An order is said again as it is: Redis, or the ledger, had lost it. Its version repeats one that was made
    /// before.
    Restated {
        /// The order as it is.
        order: Order,
        /// What became of its number, if it is final.
        number: Option<NumberAfter>,
        /// What identified the request that made it, if it is live and a daemon remembers that.
        idempotency: Option<IdempotencyDigest>,
    },
    /// Two live orders had one number; this one, the later, was given a new one.
    Renumbered {
        /// The order with its new number.
        order: Order,
        /// The number that it had.
        previous: DisplayNumber,
        /// What identified the request that made it, if it is said again with this and a daemon remembers that.
        idempotency: Option<IdempotencyDigest>,
    },
    /// Free numbers were put to rest without an order.
    Rested(Rests),
    /// A restaurant got settings, its first or new ones.
    Configured(SettingsChange),
    /// A restaurant's business date was set by hand.
    Dated(DateChange),
}

/// Numbers that were put to rest without an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rests {
    /// The restaurant.
    pub restaurant: RestaurantId,
    /// The numbers.
    pub numbers: Vec<DisplayNumber>,
    /// Until when they rest.
    pub until: Timestamp,
    /// Why.
    pub cause: RestCause,
}

/// Why numbers rest that no order has given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RestCause {
    /// They may have been given in the seconds before a loss, of which nothing is known.
    Skipped,
    /// They had leaked: they were neither free, live nor cooling.
    Reclaimed,
}

/// What became of a number when its order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberAfter {
    /// It rests until this instant.
    Cooling(Timestamp),
    /// It is free at once.
    Free,
}

/// A restaurant's settings after a change.
#[derive(Debug, Clone, PartialEq)]
pub struct SettingsChange {
    /// The restaurant.
    pub restaurant: RestaurantId,
    /// All of its settings.
    pub settings: PoolSettings,
    /// Counts the changes of the settings, from 1.
    pub version: u32,
}

/// What identifies a client's request for a while: digests only, never the key itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotencyDigest {
    /// The first 16 bytes of SHA-256 over the key.
    pub key: [u8; 16],
    /// The first 16 bytes of SHA-256 over the canonical JSON of the body.
    pub body: [u8; 16],
}

/// Who asked for a change, and what it takes to tell it afterwards. Opaque to the scripts; stored with the event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Context {
    /// `api`, `cleanup`, `backfill`, … or the id of an API key.
    #[serde(rename = "a", skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The `X-Request-Id` of the call.
    #[serde(rename = "r", skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The UUID under which another system knows an imported order.
    #[serde(rename = "f", skip_serializing_if = "Option::is_none")]
    pub foreign_id: Option<Uuid>,
    /// What the descriptive fields held that the change touches, null where nothing: the order that travels with the
    /// event says what they hold after it. No larger than an order's own fields may be.
    #[serde(rename = "b", skip_serializing_if = "Map::is_empty")]
    pub before: Map<String, Value>,
    /// The system whose import makes the change.
    #[serde(rename = "s", skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// An import takes the order again.
    #[serde(rename = "g", skip_serializing_if = "std::ops::Not::not")]
    pub replaced: bool,
}

impl Context {
    /// A change that this service makes on its own account.
    #[must_use]
    pub fn of(actor: &str) -> Self {
        Self { actor: Some(actor.to_owned()), ..Self::default() }
    }
}

impl Event {
    /// The order after the change; None for what is about a whole restaurant.
    #[must_use]
    pub fn order(&self) -> Option<&Order> {
        match &self.kind {
            EventKind::Created { order, .. }
            | EventKind::Imported { order }
            | EventKind::Changed { order, .. }
            | EventKind::Released { order, .. }
            | EventKind::Reopened { order, .. }
            | EventKind::Called { order, .. }
            | EventKind::Recycled { order }
            | EventKind::Restated { order, .. }
            | EventKind::Renumbered { order, .. } => Some(order),
            EventKind::Rested(_) | EventKind::Configured(_) | EventKind::Dated(_) => None,
        }
    }

    /// The restaurant concerned.
    #[must_use]
    pub(crate) fn restaurant(&self) -> RestaurantId {
        match &self.kind {
            EventKind::Configured(change) => change.restaurant,
            EventKind::Dated(change) => change.restaurant,
            EventKind::Rested(rests) => rests.restaurant,
            EventKind::Created { order, .. }
            | EventKind::Imported { order }
            | EventKind::Changed { order, .. }
            | EventKind::Released { order, .. }
            | EventKind::Reopened { order, .. }
            | EventKind::Called { order, .. }
            | EventKind::Recycled { order }
            | EventKind::Restated { order, .. }
            | EventKind::Renumbered { order, .. } => order.restaurant(),
        }
    }

    /// The order's status before the change, where it had one.
    #[must_use]
    pub(crate) fn status_before(&self) -> Option<OrderStatus> {
        match &self.kind {
            EventKind::Changed { before, .. }
            | EventKind::Released { before, .. }
            | EventKind::Reopened { before, .. }
            | EventKind::Called { before, .. } => Some(*before),
            EventKind::Recycled { order } | EventKind::Renumbered { order, .. } => Some(order.status),
            EventKind::Created { .. }
            | EventKind::Imported { .. }
            | EventKind::Restated { .. }
            | EventKind::Rested(_)
            | EventKind::Configured(_)
            | EventKind::Dated(_) => None,
        }
    }

    /// The name of the kind in the ledger: where numbers rest, as where orders are, is what recovery says again.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self.kind {
            EventKind::Created { .. } => "created",
            EventKind::Imported { .. } => "imported",
            EventKind::Changed { .. } => "changed",
            EventKind::Released { .. } => "released",
            EventKind::Reopened { .. } => "reopened",
            EventKind::Called { .. } => "called",
            EventKind::Recycled { .. } => "recycled",
            EventKind::Restated { .. } | EventKind::Rested(_) => "restated",
            EventKind::Renumbered { .. } => "renumbered",
            EventKind::Configured(_) => "configured",
            EventKind::Dated(_) => "business_date_set",
        }
    }
}
