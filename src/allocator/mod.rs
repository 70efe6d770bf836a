//! The Redis side: who has which number now.
//!
//! One atomic script makes a change and appends it to the outbox; nothing here knows of the ledger. Keys are spelled in
//! `keys`, scripts put together in `scripts`, and no other module talks to Redis.
//!
//! Every call carries the generation of its partition and the highest sequence that this daemon has seen; a server
//! that does not fit them is refused by the script itself, and the partition is closed here until it is opened again.

mod barrier;
mod clock;
mod connection;
mod dial;
mod durability;
mod health;
mod joined;
mod keys;
mod lists;
mod message;
mod opening;
mod orders;
mod outbox;
mod partitions;
mod pools;
mod proof;
mod pulse;
mod rebuilding;
mod record;
mod remembered;
mod reply;
mod scout;
mod scripts;
mod server;
mod topology;
mod verify;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use arc_swap::ArcSwap;
use redis::{ErrorKind, RedisError, ServerErrorKind};

pub use self::{
    clock::CLOCKS_APART_MS,
    dial::{RedisSettings, RedisTls},
    durability::LevelSettings,
    health::{RedisHealth, ServerHealth, Unsafe},
    lists::LivePage,
    opening::{Head, Seen},
    orders::{Allocated, Changed, OrderUpdate, Recycled, Released, Restored},
    outbox::{OutboxEntries, OutboxReader, decode_entry},
    partitions::{Closed, Mark, Moment, RunId},
    pools::{Configured, Inspected, StoredSettings, Survey, active_since},
    pulse::Pulse,
    rebuilding::{Build, Renumbered, Restated},
    record::BadRecord,
    verify::{Finding, PoolSnapshot},
};
use self::{
    connection::Connections,
    durability::Levels,
    keys::Keys,
    lists::Lists,
    partitions::{Fence, Partitions},
    remembered::Memory,
};
use crate::domain::{PartitionId, RestaurantId, Timestamp};

/// How long after an order id was made it may still be created. A call that was held up longer is refused, so that its
/// late arrival cannot bring an order back to life that has come and gone.
const FRESHNESS: Duration = Duration::from_secs(10);

/// How far the clock of a daemon may be ahead of that of its master: it is put right each second, and by answers.
const DRIFT: Duration = Duration::from_secs(1);

/// Orders that are remembered, unless it is said otherwise.
const REMEMBERED: usize = 1_000_000;

/// How long a finished order is kept after the ledger has it: for as long as a late repeat of a call may find it.
pub const KEPT_AFTER_DURABLE: Duration = Duration::from_secs(15);
const _: () = assert!(KEPT_AFTER_DURABLE.as_millis() > FRESHNESS.as_millis() + DRIFT.as_millis());

/// Gives out and takes back numbers. Cheap to clone; all clones share connections and knowledge.
#[derive(Clone)]
pub struct Allocator {
    connections: Arc<Connections>,
    partitions: Arc<Partitions>,
    keys: Arc<Keys>,
    memory: Arc<Memory>,
    lists: Arc<Lists>,
    /// Partitions that were closed for what their outboxes hold.
    odd: Arc<Mutex<HashSet<PartitionId>>>,
    idempotency_window: Duration,
    levels: Arc<Levels>,
    /// Bytes used and allowed, of the fullest server.
    memory_used: Arc<ArcSwap<Option<(u64, u64)>>>,
}

/// Why Redis gave no answer that can be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AllocatorError {
    /// Redis is away, busy or unfit.
    #[error("Redis: {0}")]
    Redis(#[source] Arc<RedisError>),
    /// The pool of connections gave none.
    #[error("Redis: {0}")]
    NoConnection(String),
    /// The partition serves nobody now.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The partition's server is not the one that its generation was made on.
    #[error("Redis was restarted, promoted or replaced")]
    AnotherServer,
    /// Redis has not told the time yet.
    #[error("Redis has not said yet what time it is")]
    NoTime,
    /// An answer was lost, and the call that was sent again could not tell what became of the first one.
    #[error("whether the change was made is not known: {0}")]
    OutcomeUnknown(String),
    /// The same order or restaurant was changed too often within seconds for each change to be remembered.
    #[error("it is being changed too often")]
    Busy,
    /// Redis holds something that no script of ours wrote.
    #[error("{0}")]
    Odd(String),
    /// Something that must not happen.
    #[error("a bug: {0}")]
    Bug(String),
}

impl From<RedisError> for AllocatorError {
    fn from(error: RedisError) -> Self {
        Self::Redis(Arc::new(error))
    }
}

impl From<BadRecord> for AllocatorError {
    fn from(error: BadRecord) -> Self {
        Self::Bug(error.to_string())
    }
}

impl From<deadpool_redis::PoolError> for AllocatorError {
    fn from(error: deadpool_redis::PoolError) -> Self {
        use deadpool_redis::{HookError, PoolError};
        match error {
            PoolError::Backend(e) | PoolError::PostCreateHook(HookError::Backend(e)) => e.into(),
            other => Self::NoConnection(other.to_string()),
        }
    }
}

impl AllocatorError {
    /// The answer did not come: whether the call was served is unknown.
    fn is_lost(&self) -> bool {
        matches!(self, Self::Redis(e) if e.is_io_error() || e.is_connection_dropped() || e.is_timeout())
    }

    /// The server is no master any more; it still answers, but of no use.
    fn is_demoted(&self) -> bool {
        matches!(self, Self::Redis(e) if matches!(
            e.kind(),
            ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown | ServerErrorKind::BusyLoading)
        ))
    }

    /// A node of a cluster does not serve a slot, now or any more: other slots of its may well be served.
    fn is_of_a_slot(&self) -> bool {
        matches!(self, Self::Redis(e) if e.is_cluster_error())
    }

    /// One key is not what it should be; that says nothing about the others of its server.
    #[must_use]
    pub fn is_odd(&self) -> bool {
        matches!(self, Self::Odd(_))
            || self.is_of_a_foreign_entry()
            || self.any_answer(|error| error.code() == "WRONGTYPE")
    }

    /// An outbox takes no more entries, since somebody has put one into it that comes behind all of ours.
    fn is_of_a_foreign_entry(&self) -> bool {
        let says = |text: &str| text.contains("specified in XADD") || text.contains("last possible ID");
        self.any_answer(|error| error.details().is_some_and(says))
    }

    /// Whether a server has answered with such an error, to one command or to any of several.
    fn any_answer(&self, is_such: impl Fn(&redis::ServerError) -> bool) -> bool {
        let Self::Redis(error) = self else { return false };
        let answers = RedisError::clone(error).into_server_errors();
        answers.is_some_and(|answers| answers.iter().any(|(_, error)| is_such(error)))
    }

    /// A failure of this program, not of a server.
    #[must_use]
    pub fn is_bug(&self) -> bool {
        match self {
            Self::Bug(_) => true,
            // A script that raises an error is a bug, except where the server stopped it for want of memory.
            Self::Redis(e) => {
                e.kind() == ErrorKind::Server(ServerErrorKind::ResponseError)
                    && e.code() == Some("ERR")
                    && !self.is_of_a_foreign_entry()
            }
            Self::NoConnection(_)
            | Self::AnotherServer
            | Self::Closed(_)
            | Self::NoTime
            | Self::OutcomeUnknown(_)
            | Self::Odd(_)
            | Self::Busy => false,
        }
    }
}

impl Allocator {
    /// Builds an allocator; connections are made when they are first needed, so that Redis may come up later.
    ///
    /// # Errors
    /// When the URL cannot be read.
    pub fn new(
        redis: &RedisSettings,
        namespace: &str,
        partitions: u16,
        idempotency_window: Duration,
    ) -> Result<Self, AllocatorError> {
        Ok(Self {
            connections: Arc::new(Connections::new(redis)?),
            partitions: Arc::new(Partitions::new(partitions)),
            keys: Arc::new(Keys::new(namespace, partitions)),
            memory: Arc::new(Memory::new(partitions, REMEMBERED)),
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
    pub fn with_memory(self, orders: usize) -> Self {
        Self { memory: Arc::new(Memory::new(self.partition_count(), orders)), ..self }
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
    pub fn pretend_time(&self, now: Timestamp) {
        self.connections.known_servers().for_each(|server| server.clock().told_ms(now));
    }

    /// What the clock of each master says that has told it.
    #[must_use]
    pub fn clocks(&self) -> Vec<Timestamp> {
        self.connections.known_servers().filter_map(|server| server.clock().now()).collect()
    }

    /// By how many ms the clock of a master was set lately, the largest such step.
    #[must_use]
    pub fn clock_step_ms(&self) -> Option<i64> {
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

    /// The partitions that serve nobody, and why.
    #[must_use]
    pub fn closed_partitions(&self) -> Vec<Closed> {
        self.partitions.closed()
    }

    /// Whether a partition serves nobody.
    #[must_use]
    pub fn is_closed(&self, partition: PartitionId) -> bool {
        !self.partitions.is_open(partition)
    }

    /// The generation under which a partition is open; None while it is closed.
    #[must_use]
    pub fn generation(&self, partition: PartitionId) -> Option<u64> {
        self.partitions.fence(partition).ok().map(|fence| fence.generation)
    }

    /// The partitions that are open here, each with its generation and server.
    #[must_use]
    pub fn open_builds(&self) -> Vec<Build> {
        let fences = PartitionId::all(self.partition_count()).filter_map(|p| self.partitions.fence(p).ok());
        fences.map(|Fence { partition, generation, run_id, .. }| Build { partition, generation, run_id }).collect()
    }

    /// The servers on which this daemon has partitions open, as they were looked at last.
    #[must_use]
    pub fn open_servers(&self) -> Vec<RunId> {
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
    pub fn fails_over(&self) -> bool {
        self.connections.fails_over()
    }

    /// Remembers how far the ledger has come with a generation.
    pub fn made_durable(&self, partition: PartitionId, generation: u64, sequence: u64) {
        self.partitions.saw(partition, generation, sequence);
        self.partitions.made_durable(partition, generation, sequence);
        self.memory.forget(partition, generation, sequence);
    }

    /// The sequence up to which the ledger is durable, as far as this daemon knows.
    #[must_use]
    pub fn durable(&self, partition: PartitionId) -> u64 {
        self.partitions.durable(partition)
    }

    /// Events of all partitions that the ledger does not have yet, as far as this daemon knows.
    #[must_use]
    pub fn undurable_events(&self) -> u64 {
        self.partitions.undurable()
    }

    /// As [`Allocator::undurable_events`], where it is at least `limit`; so cheap that each new order may ask.
    #[must_use]
    pub fn undurable_events_past(&self, limit: u64) -> Option<u64> {
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

    /// Asks again who the masters are, and each of them whether it is still the one that proved itself: one that was
    /// demoted and promoted again, or replaced, under a living connection is not used any more. Cheap; for every second.
    pub async fn recheck_servers(&self) {
        self.connections.recheck().await;
    }

    /// Asks who the masters are; where there is one server only, there is nothing to ask.
    ///
    /// # Errors
    /// When nobody says: those that were masters may be no more.
    pub async fn locate_servers(&self) -> Result<(), AllocatorError> {
        self.connections.locate().await
    }

    /// Waits until some partition is closed; a closing that nobody waited for counts.
    pub async fn partition_closed(&self) {
        self.partitions.closed.notified().await;
    }

    /// Waits until a new sequence is seen; one that nobody waited for counts.
    pub async fn partition_moved(&self) {
        self.partitions.moved.notified().await;
    }
}
