//! Use cases, free of any transport: what `http`, `cli` and the benches call.
//!
//! Redis has the truth of every order that is live or not yet durable, the ledger that of the rest. A read asks Redis
//! first and then the ledger, so what was acknowledged is what is read; a list drawn from both is joined by id, and the
//! higher version wins.

mod audit;
mod backfill;
mod cleanup;
mod clocks;
mod diagnosis;
mod durability;
mod keys;
mod numbers;
mod orders;
mod partitions;
mod pools;
mod put_aside;
mod readiness;
mod rebuild;
mod recall;
mod retention;
mod search;
mod survey;
#[cfg(test)]
pub mod testing;
mod trail;
mod usage;
mod verify;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

pub use self::{
    audit::EventPage,
    backfill::{BackFillBatch, BackFillRefusal, BackFilled, ForeignOrder, Numbers, back_filled_id},
    clocks::Clocks,
    diagnosis::{Condition, Diagnosis},
    durability::Extent,
    keys::{HeldKey, KeyRing, Renewed, create_key},
    pools::ChangedSettings,
    readiness::Readiness,
    rebuild::{PARTITIONS_AT_A_TIME, Unknown},
    retention::Retention,
    survey::RENEW_LEASE_EVERY,
    usage::{Ranking, RestaurantUsage, Sampler, UsageSettings},
    verify::Verified,
};
use arc_swap::ArcSwapOption;
use uuid::Uuid;

#[cfg(test)]
pub use crate::ledger::ApiKeyChanges;
use crate::{
    allocator::{Allocator, AllocatorError},
    domain::{
        DisplayNumber, Durability, Metadata, NumberState, Order, OrderId, OrderSource, OrderStatus, OrderType, Refusal,
        Scope,
    },
    ledger::{Ledger, LedgerError},
};

/// An order that was created, now or by an earlier call with the same `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq)]
pub struct Created {
    /// The order as it now stands.
    pub order: Order,
    /// Whether an earlier call created it.
    pub replayed: bool,
}

/// An order after a change.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangedOrder {
    /// The order as it now stands.
    pub order: Order,
    /// Whether the change had been made before, by the same call: the first answer of Redis was lost.
    pub replayed: bool,
}

impl From<Order> for ChangedOrder {
    fn from(order: Order) -> Self {
        Self { order, replayed: false }
    }
}

/// What a caller wants changed. The outer `None` leaves a field alone; `Some(None)` clears it.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of OrderDetails")]
pub struct OrderChange {
    pub status: Option<OrderStatus>,
    pub table_number: Option<Option<String>>,
    pub order_source: Option<Option<OrderSource>>,
    pub order_type: Option<Option<OrderType>>,
    pub external_id: Option<Option<String>>,
    pub customer_name: Option<Option<String>>,
    pub note: Option<Option<String>>,
    pub metadata: Option<Option<Metadata>>,
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page<C = OrderId> {
    /// At most this many; at least 1.
    pub limit: usize,
    /// Go on behind this one: the last one of the page before.
    pub after: Option<C>,
}

/// A part of a list of orders.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderPage {
    /// The orders of this page.
    pub orders: Vec<Order>,
    /// Where the next page begins; None at the end.
    pub next: Option<OrderId>,
}

/// Who has a number, or had it last.
#[derive(Debug, Clone, PartialEq)]
pub struct NumberReport {
    /// The number.
    pub number: DisplayNumber,
    /// What it is (or was) doing.
    pub state: NumberState,
    /// Its holder, or last holder; None where nobody ever had it.
    pub order: Option<Order>,
}

/// What a clean-up did, or would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Cleanup {
    /// The orders that were expired (with `dry_run`: that would be), oldest first.
    pub orders: Vec<Order>,
    /// Whether more are waiting: call again.
    pub more: bool,
}

/// A server that a use case needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependency {
    /// The allocator's store.
    Redis,
    /// The ledger, Postgres.
    Ledger,
    /// Both, in step: the restaurant's partition is closed.
    Partition,
}

impl std::fmt::Display for Dependency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Redis => "Redis",
            Self::Ledger => "the ledger (Postgres)",
            Self::Partition => "the partition",
        })
    }
}

/// Why a use case gave no result.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The state of things does not allow it; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A server that is needed is away; trying again after the given time makes sense.
    #[error("{dependency} is away: {reason}")]
    Unavailable {
        /// Which one.
        dependency: Dependency,
        /// What is known, without secrets.
        reason: String,
        /// Seconds after which to try again.
        retry_after_seconds: u64,
    },
    /// The change was made in Redis and is what is read, but it is not known to have reached the level asked for.
    /// Repeating the request is harmless, and waits for the level again.
    #[error("the change was made, but is not known to have reached durability level {level}")]
    DurabilityUnknown {
        /// The level.
        level: Durability,
    },
    /// The answer of Redis was lost, and whether the change was made could not be found out.
    #[error("whether the change was made is not known: {reason}")]
    OutcomeUnknown {
        /// What is known, without secrets.
        reason: String,
        /// Seconds after which to look.
        retry_after_seconds: u64,
    },
    /// A bug: logged where it is turned into an answer.
    #[error("internal error: {0}")]
    Internal(#[source] anyhow::Error),
}

impl From<AllocatorError> for ServiceError {
    fn from(error: AllocatorError) -> Self {
        if error.is_bug() {
            return Self::Internal(error.into());
        }
        let (dependency, retry_after_seconds) = match error {
            AllocatorError::OutcomeUnknown(reason) => return Self::OutcomeUnknown { reason, retry_after_seconds: 1 },
            AllocatorError::Closed(_) => (Dependency::Partition, 5),
            _ => (Dependency::Redis, 1),
        };
        Self::Unavailable { dependency, reason: error.to_string(), retry_after_seconds }
    }
}

impl From<LedgerError> for ServiceError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Away { .. } | LedgerError::Schema { .. } => {
                Self::Unavailable { dependency: Dependency::Ledger, reason: error.to_string(), retry_after_seconds: 2 }
            }
            other => Self::Internal(other.into()),
        }
    }
}

/// How long somebody who asks how things are waits for a server.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// What the use cases need to know of the settings.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// Whether a restaurant nobody has configured gets the default settings with its first order.
    pub auto_provision: bool,
    /// Events that may wait for the ledger; past it no new orders are taken.
    pub outbox_limit: u64,
    /// Whether other daemons may use the same Redis; none does where it is a private one.
    pub shared: bool,
    /// Bytes that a Redis server may use; past it no new orders are taken. None: nine tenths of its `maxmemory`.
    pub memory_limit: Option<u64>,
    /// How the numbers of the seconds before a loss are counted.
    pub unknown: Unknown,
    /// The durability level of a change whose caller does not name one.
    pub level: Durability,
    /// What is counted and kept of usage.
    pub usage: UsageSettings,
}

/// The use cases. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    allocator: Allocator,
    ledger: Ledger,
    settings: ServiceSettings,
    /// When a builder was last left without an answer by another daemon.
    impatient_since: Arc<Mutex<Option<Instant>>>,
    /// Orders that Redis lost and that have no number yet.
    without_number: Arc<Mutex<HashSet<OrderId>>>,
    /// Who this daemon is, to others that would rebuild a partition too.
    builder: Uuid,
    /// Held by whoever looks at the ledger for all who wait for it.
    looks: Arc<tokio::sync::Mutex<()>>,
    keys: KeyRing,
    readiness: Arc<readiness::LastLook>,
    /// How far the clocks were apart when they were compared last.
    clocks: Arc<ArcSwapOption<Clocks>>,
    /// The restaurants whose orders the caller may see.
    scope: Scope,
    /// What the survey of all restaurants found.
    surveyed: Arc<survey::Surveyed>,
    /// What this daemon did for each restaurant since its last sample.
    tallies: Arc<usage::Tallies>,
}

impl Service {
    /// Puts the use cases on their two stores.
    #[must_use]
    pub fn new(allocator: Allocator, ledger: Ledger, settings: ServiceSettings) -> Self {
        let builder = Uuid::from_u128(rand::random());
        Self {
            allocator,
            ledger,
            settings,
            builder,
            looks: Arc::default(),
            impatient_since: Arc::default(),
            without_number: Arc::default(),
            surveyed: Arc::default(),
            tallies: Arc::default(),
            keys: KeyRing::default(),
            readiness: Arc::default(),
            clocks: Arc::default(),
            scope: Scope::All,
        }
    }

    /// The same use cases for somebody who may see the orders of these restaurants only: an id that leads to another
    /// one's is as one that nobody has.
    #[must_use]
    pub fn within(&self, scope: &Scope) -> Self {
        Self { scope: scope.clone(), ..self.clone() }
    }

    /// The Redis side, for the background work that is built on it.
    #[must_use]
    pub fn allocator(&self) -> &Allocator {
        &self.allocator
    }

    /// The Postgres side, for the background work that is built on it.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}
