//! Use cases, free of any transport: what `http`, `cli` and the benches call.
//!
//! Redis has the truth of every order that is live or not yet durable, the ledger that of the rest. A read asks Redis
//! first and then the ledger, so what was acknowledged is what is read; a list drawn from both is joined by id, and the
//! higher version wins.

mod dead_letters;
mod error;
mod feed;
mod keys;
mod levels;
mod operations;
mod orders;
mod recovery;
mod restaurants;
mod screens;
mod tally;
#[cfg(test)]
pub(crate) mod testing;
mod trail;
mod upkeep;
mod usage;

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use self::tally::Tallies;
pub(crate) use self::{
    dead_letters::{DeadLetters, TriedAgain, event_of},
    error::{Dependency, ServiceError},
    feed::{
        CaughtUp, ChainOpening, ChainStream, Feed, FeedEvent, News, Opening, ResetReason, RestaurantStream, Snapshot,
        TooSlow,
    },
    keys::{HeldKey, KeyStore, KeyWatch, Keys, RENEW_KEYS_EVERY, Renewed},
    levels::{Levels, Reach, writers::Writers},
    operations::{LedgerState, Operations},
    orders::{
        ChangedOrder, Created, NewOrder, OrderChange, OrderPage, Orders,
        audit::EventPage,
        backfill::{
            Again, BackFillBatch, BackFillRefusal, BackFilled, DEFAULT_SOURCE, ForeignOrder, Import, Known, Numbers,
            back_filled_id,
        },
        numbers::{NumberReport, When},
        search::Wanted,
    },
    recovery::{
        Recovery, condition::Condition, daemons::MAY_RUN_FOR, diagnosis::Diagnosis, readiness::Readiness,
        rebuild::PARTITIONS_AT_A_TIME,
    },
    restaurants::{ChangedSettings, PresentSettings, Restaurants, business_date::ChangedDate, cleanup::Cleanup},
    screens::{ScreenPart, ScreenStore, Screens, sessions::ScreenStream},
    upkeep::Upkeep,
    usage::{
        Ranking, RestaurantUsage, Sampler, Usage,
        rehearsal::{Rehearsals, RehearsedTime},
        survey::RENEW_LEASE_EVERY,
    },
};
#[cfg(test)]
pub(crate) use crate::ledger::ApiKeyChanges;
use crate::{
    allocator::Allocator,
    config::{AdmissionSettings, RecoverySettings, Settings, UsageSettings},
    domain::{Durability, OrderId},
    ledger::Ledger,
};
// What the commands show is what the stores say of themselves.
pub(crate) use crate::{
    allocator::{AllocatorError, CLOCKS_APART_MS, Finding, HeldDate, RedisHealth, ServerHealth},
    ledger::{Adopted, DeadLetter, Difference, ForeignTable, LedgerError, LedgerHealth, Progress, SeenDaemon},
};

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page<C = OrderId> {
    /// At most this many; at least 1.
    pub limit: usize,
    /// Go on behind this one: the last one of the page before.
    pub after: Option<C>,
}

/// How long a client that asks how things are waits for a server.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// What the use cases need to know of the settings: whole sections, and single keys of what others have.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// Whether a restaurant that has not been configured gets the default settings with its first order.
    pub auto_provision: bool,
    /// Whether other daemons may use the same Redis; none does where it is a private one. Not a setting: it follows from
    /// how the daemon was started.
    pub shared_redis: bool,
    /// When no new orders are taken.
    pub admission: AdmissionSettings,
    /// How the numbers of the seconds before a loss are counted.
    pub recovery: RecoverySettings,
    /// The durability level of a change whose caller does not name one.
    pub level: Durability,
    /// Whether this daemon writes into the ledger.
    pub writes: bool,
    /// What is counted and kept of usage.
    pub usage: UsageSettings,
}

impl ServiceSettings {
    /// The part of all settings.
    #[must_use]
    pub fn of(settings: &Settings, shared_redis: bool) -> Self {
        Self {
            auto_provision: settings.auto_provision,
            shared_redis,
            admission: settings.admission.clone(),
            recovery: settings.recovery.clone(),
            level: settings.durability.level,
            writes: settings.write_behind.enabled,
            usage: settings.usage.clone(),
        }
    }
}

/// The use cases: a handle for each subject, over the same two stores. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    /// Orders: created, changed, released and read.
    pub orders: Arc<Orders>,
    /// Restaurants: their settings, their pools and what is forgotten there.
    pub restaurants: Restaurants,
    /// What people in the room see, as it happens.
    pub(crate) feed: Feed,
    /// API keys.
    pub keys: Keys,
    /// Screens: paired, listed, and what they say of themselves.
    pub screens: Screens,
    /// How pools were used, and the survey of all of them.
    pub usage: Usage,
    /// Partitions: opened, judged, rebuilt and verified.
    pub recovery: Recovery,
    /// What is let go of after its time, and the clocks.
    pub upkeep: Upkeep,
    /// Changes and durability levels.
    pub levels: Levels,
    /// What operators look at and change.
    pub operations: Operations,
    allocator: Allocator,
    ledger: Ledger,
}

impl Service {
    /// Puts the use cases on their two stores.
    #[must_use]
    pub fn new(allocator: Allocator, ledger: Ledger, settings: &ServiceSettings) -> Self {
        // Another one for each process: what one that was killed had begun is not taken for its own by the next.
        let daemon = Uuid::from_u128(rand::random());
        let tallies = Arc::new(Tallies::default());
        let restaurants = Restaurants::new(allocator.clone(), ledger.clone(), settings.auto_provision);
        let writers = Writers::new(ledger.clone(), daemon, settings.writes);
        let levels = Levels::new(allocator.clone(), ledger.clone(), settings.level, writers);
        let keys = Keys::new(allocator.clone(), ledger.clone());
        let upkeep = Upkeep::new(allocator.clone(), ledger.clone(), daemon);
        let orders = Arc::new(Orders::new(
            restaurants.clone(),
            ledger.clone(),
            settings.admission.clone(),
            levels.clone(),
            tallies.clone(),
        ));
        Self {
            feed: Feed::new(allocator.clone(), ledger.clone(), restaurants.clone(), orders.clone()),
            orders,
            screens: Screens::new(keys.clone(), ledger.clone(), daemon),
            keys,
            usage: Usage::new(restaurants.clone(), upkeep.clone(), ledger.clone(), settings, daemon, tallies),
            recovery: Recovery::new(allocator.clone(), ledger.clone(), settings, daemon, upkeep.clone()),
            operations: Operations::new(allocator.clone(), ledger.clone()),
            restaurants,
            upkeep,
            levels,
            allocator,
            ledger,
        }
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
