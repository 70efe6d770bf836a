//! The Redis side: which order has which number now.
//!
//! One atomic script makes a change and appends it to the outbox; nothing here knows of the ledger. Keys are spelled in
//! `script::keys`, scripts put together in `script`, and no other module talks to Redis.
//!
//! Every call carries the generation of its partition and the highest sequence that this daemon has seen; a server
//! that does not fit them is refused by the script itself, and the partition is closed here until it is opened again.

mod error;
mod levels;
mod link;
mod orders;
mod outbox;
mod partitions;
mod pools;
mod recovery;
mod remembered;
mod script;
mod timing;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use arc_swap::ArcSwap;

pub use self::{
    error::AllocatorError,
    orders::{Allocated, Changed, OrderUpdate, Recycled, Released, Reopened, Restored, calls::Called},
    outbox::{OutboxEntries, OutboxReader, decode_entry},
    partitions::RunId,
    pools::{
        Configured, ServedWalk,
        business_date::{DateSet, HeldDate, SeenDate},
        snapshot::{Finding, PoolSnapshot},
    },
    recovery::{
        opening::{Head, Seen},
        rebuilding::{Build, Renumbered, Restated},
    },
};
use self::{
    levels::Levels,
    link::connection::Connections,
    orders::lists::Lists,
    outbox::Bell,
    partitions::{Fence, Partitions},
    remembered::RememberedOrders,
    script::keys::Keys,
};
pub(crate) use self::{
    link::{
        clock::CLOCKS_APART_MS,
        health::{RedisHealth, ServerHealth},
        pulse::Pulse,
    },
    orders::lists::LivePage,
    partitions::{Closed, Mark, Moment},
    pools::{NumberCount, SeenSettings, StoredSettings, active_since},
    script::record::NamesThere,
    timing::KEPT_AFTER_DURABLE,
};
use crate::{
    config::RedisSettings,
    domain::{PartitionId, RestaurantId, Timestamp},
};

/// Orders that are remembered, unless it is said otherwise.
const REMEMBERED: usize = 1_000_000;

/// Gives out and takes back numbers. Cheap to clone; all clones share connections and knowledge.
#[derive(Clone)]
pub struct Allocator {
    connections: Arc<Connections>,
    partitions: Arc<Partitions>,
    keys: Arc<Keys>,
    remembered: Arc<RememberedOrders>,
    lists: Arc<Lists>,
    /// Partitions that were closed for what their outboxes hold.
    odd: Arc<Mutex<HashSet<PartitionId>>>,
    idempotency_window: Duration,
    levels: Arc<Levels>,
    /// Bytes used and allowed, of the fullest server.
    memory_used: Arc<ArcSwap<Option<(u64, u64)>>>,
}

impl Allocator {
    /// Builds an allocator; connections are made when they are first needed, so that Redis may come up later. The URL is
    /// not always that of the settings: a private server has its own.
    ///
    /// # Errors
    /// When the URL cannot be read.
    pub fn new(
        url: &str,
        settings: &RedisSettings,
        partitions: u16,
        idempotency_window: Duration,
    ) -> Result<Self, AllocatorError> {
        Ok(Self {
            connections: Arc::new(Connections::new(url, settings)?),
            partitions: Arc::new(Partitions::new(partitions)),
            keys: Arc::new(Keys::new(&settings.namespace, partitions)),
            remembered: Arc::new(RememberedOrders::new(partitions, REMEMBERED)),
            lists: Arc::default(),
            odd: Arc::default(),
            idempotency_window,
            levels: Arc::default(),
            memory_used: Arc::default(),
        })
    }

    /// Remembering so many acknowledged orders that the ledger does not have as they are, before new ones have to wait; 0:
    /// remembering none.
    #[must_use]
    pub fn with_remembered(self, orders: usize) -> Self {
        Self { remembered: Arc::new(RememberedOrders::new(self.partition_count(), orders)), ..self }
    }

    /// Redis's clock, as this daemon knows it; of several masters that of the middle.
    ///
    /// # Errors
    /// [`AllocatorError::NoTime`] before any of them has told it.
    pub fn now(&self) -> Result<Timestamp, AllocatorError> {
        let mut clocks = self.clocks();
        clocks.sort_unstable();
        clocks.get(clocks.len() / 2).copied().ok_or(AllocatorError::NoTime)
    }

    /// As if every master that is known had told this time.
    #[cfg(test)]
    pub(crate) fn pretend_time(&self, now: Timestamp) {
        self.connections.known_servers().for_each(|server| server.clock().told_ms(now));
    }

    /// What the clock of each master says that has told it.
    #[must_use]
    pub(crate) fn clocks(&self) -> Vec<Timestamp> {
        self.connections.known_servers().filter_map(|server| server.clock().now()).collect()
    }

    /// By how many ms the clock of a master was set lately, the largest such step.
    #[must_use]
    pub(crate) fn clock_step_ms(&self) -> Option<i64> {
        self.connections.known_servers().filter_map(|server| server.clock().recent_step_ms()).max_by_key(|ms| ms.abs())
    }

    /// How many partitions the deployment has.
    #[must_use]
    pub fn partition_count(&self) -> u16 {
        self.partitions.count()
    }

    /// The partition of a restaurant.
    #[must_use]
    pub fn partition_of(&self, restaurant: RestaurantId) -> PartitionId {
        self.partitions.of(restaurant)
    }

    /// The partitions that are not served, and why.
    #[must_use]
    pub fn closed_partitions(&self) -> Vec<Closed> {
        self.partitions.closed()
    }

    /// Whether a partition is not served.
    #[must_use]
    pub fn is_closed(&self, partition: PartitionId) -> bool {
        !self.partitions.is_open(partition)
    }

    /// The generation under which a partition is open; None while it is closed.
    #[must_use]
    pub(crate) fn generation(&self, partition: PartitionId) -> Option<u64> {
        self.served_generation(partition).ok()
    }

    /// The generation of a partition.
    ///
    /// # Errors
    /// When it is closed.
    pub(crate) fn served_generation(&self, partition: PartitionId) -> Result<u64, AllocatorError> {
        Ok(self.partitions.fence(partition)?.generation)
    }

    /// The partitions that are open here, each with its generation and server.
    #[must_use]
    pub fn open_builds(&self) -> Vec<Build> {
        let fences = PartitionId::all(self.partition_count()).filter_map(|p| self.partitions.fence(p).ok());
        fences.map(|Fence { partition, generation, run_id, .. }| Build { partition, generation, run_id }).collect()
    }

    /// The servers on which this daemon has partitions open, as they were looked at last.
    #[must_use]
    pub(crate) fn open_servers(&self) -> Vec<RunId> {
        let open = PartitionId::all(self.partition_count()).filter_map(|partition| {
            let (fence, seen) = (self.partitions.fence(partition).ok()?, self.connections.seen(partition)?);
            seen.continues(&fence.run_id).then_some(fence.run_id)
        });
        let mut servers: Vec<RunId> = open.collect();
        servers.sort_unstable();
        servers.dedup();
        servers
    }

    /// Whether something else than a fixed address says where masters are: Sentinel, or a cluster.
    #[must_use]
    pub(crate) fn fails_over(&self) -> bool {
        self.connections.fails_over()
    }

    /// Remembers how far the ledger has come with a generation.
    pub fn made_durable(&self, partition: PartitionId, generation: u64, sequence: u64) {
        self.partitions.saw(partition, generation, sequence);
        self.partitions.made_durable(partition, generation, sequence);
        self.remembered.forget(partition, generation, sequence);
    }

    /// The sequence up to which the ledger is durable, as far as this daemon knows.
    #[must_use]
    pub(crate) fn durable(&self, partition: PartitionId) -> u64 {
        self.partitions.durable(partition)
    }

    /// Events of all partitions that the ledger does not have yet, as far as this daemon knows.
    #[must_use]
    pub(crate) fn undurable_events(&self) -> u64 {
        self.partitions.undurable()
    }

    /// As [`Allocator::undurable_events`], where it is at least `limit`; so cheap that each new order may ask.
    #[must_use]
    pub(crate) fn undurable_events_past(&self, limit: u64) -> Option<u64> {
        self.partitions.undurable_past(limit)
    }

    /// Whether Redis answers; of a cluster, whether any master does.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), AllocatorError> {
        let mut ping = redis::pipe();
        ping.cmd("PING");
        self.connections.anywhere::<(String,)>(&ping).await.map(drop)
    }

    /// Asks again which servers are the masters, and each of them whether it is still the one that proved itself: one
    /// that was demoted and promoted again, or replaced, under a living connection is not used any more. Cheap; for
    /// every second.
    pub async fn recheck_servers(&self) {
        self.connections.recheck().await;
    }

    /// Asks which servers are the masters; where there is one server only, there is nothing to ask.
    ///
    /// # Errors
    /// When no server says: those that were masters may be no more.
    pub(crate) async fn locate_servers(&self) -> Result<(), AllocatorError> {
        self.connections.locate().await
    }

    /// Waits until some partition is closed; a closing that no task waited for counts.
    pub(crate) async fn partition_closed(&self) {
        self.partitions.closed.notified().await;
    }

    /// Waits until a caller begins to wait for the ledger; one that no task was told of counts.
    pub(crate) async fn ledger_awaited(&self) {
        self.partitions.awaited.notified().await;
    }

    /// The partitions of which callers wait for the ledger to have more, and where it stands, as far as this daemon knows.
    #[must_use]
    pub(crate) fn awaited_of_ledger(&self) -> Vec<(PartitionId, u64)> {
        self.partitions.awaited()
    }

    /// Waits until a new sequence is seen; one that no task waited for counts.
    async fn partition_moved(&self, bell: Bell) {
        match bell {
            Bell::Writer => self.partitions.moved.notified().await,
            Bell::Feed => self.partitions.told.notified().await,
        }
    }
}
