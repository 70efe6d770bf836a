//! One master: its connections, made, proved and lent.
//!
//! The hot path multiplexes over a few shared lanes: a pooled connection for each request was five times slower. The
//! pool makes every connection and lends those that must not be shared (long scans). A connection is lent only after
//! its server has proved itself; one that failed is thrown away, never repaired.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use arc_swap::ArcSwapOption;
use deadpool_redis::{Hook, HookError, Manager, Pool, PoolConfig, Runtime, Timeouts};
use redis::{
    AsyncConnectionConfig, ConnectionInfo, FromRedisValue, Pipeline, RedisError, Value, aio::MultiplexedConnection,
};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::{
    clock::Clock,
    message::Message,
    proof::{Identity, prove, still_master},
};
use crate::{
    allocator::{AllocatorError, RunId},
    config::RedisSettings,
    domain::Timestamp,
    metrics,
};

/// Lists that are read at a time: a server reads one after the other, and decoding takes a processor.
const LISTS_AT_A_TIME: usize = 2;

pub(in crate::allocator) struct Server {
    /// `host:port`, or the path of its socket.
    address: String,
    pool: Pool,
    lanes: Vec<Lane>,
    /// For long answers.
    bulk: Lane,
    /// For lists that callers ask for.
    lists: Lane,
    list_permits: Arc<Semaphore>,
    clock: Arc<Clock>,
    seen: ArcSwapOption<Identity>,
    next_lane: AtomicUsize,
    /// Whether something spoke against its being the right one since it was last resolved.
    doubted: AtomicBool,
    /// Whether it was called by an ASK since the map was last drawn.
    asked: AtomicBool,
}

#[derive(Default)]
struct Lane {
    current: ArcSwapOption<Proved>,
    connecting: Mutex<Option<(Instant, AllocatorError)>>,
}

/// A connection whose server has proved itself, and who that was.
struct Proved {
    connection: MultiplexedConnection,
    run_id: RunId,
}

impl Server {
    pub(in crate::allocator) fn new(
        info: ConnectionInfo,
        config: AsyncConnectionConfig,
        settings: &RedisSettings,
    ) -> Result<Self, AllocatorError> {
        let (address, clock) = (info.addr().to_string(), Arc::new(Clock::default()));
        let told = Arc::clone(&clock);
        let manager = Manager::new_with_config(info, config)?;
        let pool = Pool::builder(manager)
            .config(PoolConfig::new(settings.pool_size + settings.lanes))
            .timeouts(Timeouts { wait: Some(settings.timeout()), create: None, recycle: Some(settings.timeout()) })
            .runtime(Runtime::Tokio1)
            .post_create(Hook::async_fn(move |connection, _| {
                let clock = Arc::clone(&told);
                Box::pin(async move { prove(connection, &clock).await.map_err(HookError::Backend) })
            }))
            // A server that was demoted still answers the pool's PING.
            .post_recycle(Hook::async_fn(|connection, _| {
                Box::pin(async move { still_master(connection).await.map_err(HookError::Backend) })
            }))
            .build()
            .map_err(|e| AllocatorError::Bug(e.to_string()))?;
        let lanes = (0..settings.lanes.max(1)).map(|_| Lane::default()).collect();
        let (doubted, asked) = (AtomicBool::new(false), AtomicBool::new(false));
        let (bulk, lists, next_lane) = (Lane::default(), Lane::default(), AtomicUsize::new(0));
        let (seen, list_permits) = (ArcSwapOption::empty(), Arc::new(Semaphore::new(LISTS_AT_A_TIME)));
        Ok(Self { address, pool, lanes, bulk, lists, list_permits, clock, seen, next_lane, doubted, asked })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(in crate::allocator) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The time by this server's clock; connects where it has never told it.
    pub(in crate::allocator) async fn time(&self) -> Result<(Timestamp, u16), AllocatorError> {
        if let Some(now) = self.clock.now_with_micros() {
            return Ok(now);
        }
        Box::pin(self.connected(self.lane())).await?;
        self.clock.now_with_micros().ok_or(AllocatorError::NoTime)
    }

    /// Whether it should be asked again which server the master is.
    pub(super) fn is_doubted(&self) -> bool {
        self.doubted.load(Relaxed)
    }

    pub(super) fn set_doubted(&self, doubted: bool) {
        self.doubted.store(doubted, Relaxed);
    }

    pub(super) fn was_asked(&self) -> bool {
        self.asked.swap(false, Relaxed)
    }

    pub(super) fn set_asked(&self) {
        self.asked.store(true, Relaxed);
    }

    /// A connection of one's own; it returns to the pool when dropped.
    pub(in crate::allocator) async fn own(&self) -> Result<deadpool_redis::Connection, AllocatorError> {
        // Boxed: it is long, and every call would carry room for it though nearly none needs it.
        Box::pin(self.pool.get()).await.map_err(|error| self.failed_to_connect(error))
    }

    /// Leave to read a part of a list, and to decode it.
    pub(in crate::allocator) async fn permit_for_list(&self) -> Result<OwnedSemaphorePermit, AllocatorError> {
        let permit = Arc::clone(&self.list_permits).acquire_owned().await;
        permit.map_err(|error| AllocatorError::Bug(error.to_string()))
    }

    pub(in crate::allocator) async fn run_id(&self) -> Result<RunId, AllocatorError> {
        Ok(self.connected(self.lane()).await?.run_id.clone())
    }

    /// Sends a message, and again once if its answer is lost: every one is such that a repeat does no harm. Says in `resent`
    /// that this was done, so that the answer may be that to a repeat. A list whose answer is late is not sent again: the
    /// caller that wanted it may have gone, and a server that is slow is not helped by it. A connection that was closed
    /// while it was idle, as many services do it, says nothing of the server.
    pub(in crate::allocator) async fn send(
        &self,
        message: &Message<'_>,
        run_id: Option<&RunId>,
        asking: bool,
        resent: &mut bool,
    ) -> Result<Value, AllocatorError> {
        // Again over the same lane: it makes a new connection, while the others may not know yet that theirs are gone.
        let lane = match message {
            Message::Bulk(_) => &self.bulk,
            Message::List(_) => &self.lists,
            _ => self.lane(),
        };
        let connection = self.connection(lane, run_id).await?;
        match self.send_over(lane, &connection, message, asking).await {
            Err(e) if e.is_lost() && !(e.is_late() && matches!(message, Message::List(_))) => {
                *resent = true;
                let connection = self.connection(lane, run_id).await?;
                self.send_over(lane, &connection, message, asking).await
            }
            result => result,
        }
    }

    async fn send_over(
        &self,
        lane: &Lane,
        connection: &Arc<Proved>,
        message: &Message<'_>,
        asking: bool,
    ) -> Result<Value, AllocatorError> {
        let mut shared = connection.connection.clone();
        let result = message.send(&mut shared, asking).await;
        self.settle(lane, connection, result)
    }

    /// Reads a little over one of the lanes.
    pub(in crate::allocator) async fn ask<T: FromRedisValue>(&self, reads: &Pipeline) -> Result<T, AllocatorError> {
        let answer = self.send(&Message::Pipeline(reads), None, false, &mut false).await?;
        T::from_redis_value(answer).map_err(|e| AllocatorError::Bug(e.to_string()))
    }

    /// Who it was when it was looked at last, and how full; None where it did not answer then.
    pub(in crate::allocator) fn seen(&self) -> Option<Arc<Identity>> {
        self.seen.load_full()
    }

    /// Compares who answers with who proved itself on each lane, and throws away what is not the same any more. Lanes lead to
    /// one process, nearly always, so one of them is asked; a lane that leads to another one is asked for itself. Sets the
    /// clock, too.
    pub(in crate::allocator) async fn recheck(&self) {
        // A server that gets no calls is looked at all the same.
        if self.all_lanes().all(|lane| lane.current.load().is_none()) {
            let _ = self.connected(&self.lanes[0]).await;
        }
        let mut asked: Vec<(RunId, Result<Arc<Identity>, AllocatorError>)> = Vec::new();
        for lane in self.all_lanes() {
            let Some(proved) = lane.current.load_full() else { continue };
            let of_process = |(run_id, _): &&(RunId, _)| proved.run_id.is_process_of(run_id);
            let now = match asked.iter().find(of_process) {
                Some((_, now)) => now.clone(),
                None => {
                    let mut shared = proved.connection.clone();
                    let now = Identity::ask_and_tell(&mut shared, &self.clock).await;
                    let now = self.settle(lane, &proved, now).map(Arc::new);
                    asked.push((proved.run_id.clone(), now.clone()));
                    now
                }
            };
            match now {
                Ok(now) if now.is_master() && now.run_id().continues(&proved.run_id) => {}
                Ok(_) => self.throw_away(lane, &proved),
                Err(error) => tracing::debug!(address = self.address, %error, "a server cannot be checked"),
            }
        }
        self.seen.store(asked.into_iter().find_map(|(_, now)| now.ok()));
    }

    fn all_lanes(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().chain([&self.bulk, &self.lists])
    }

    fn lane(&self) -> &Lane {
        &self.lanes[self.next_lane.fetch_add(1, Relaxed) % self.lanes.len()]
    }

    /// The lane's connection, made where there is none; refused where its server is not the one that is expected.
    async fn connection(&self, lane: &Lane, run_id: Option<&RunId>) -> Result<Arc<Proved>, AllocatorError> {
        let mut proved = self.connected(lane).await?;
        let Some(expected) = run_id else { return Ok(proved) };
        if !proved.run_id.continues(expected) && proved.run_id.is_process_of(expected) {
            // A server forgets its promotion after a while, and this connection may be older than that.
            let _ = lane.current.compare_and_swap(&proved, None);
            proved = self.connected(lane).await?;
        }
        if proved.run_id.continues(expected) { Ok(proved) } else { Err(AllocatorError::AnotherServer) }
    }

    async fn connected(&self, lane: &Lane) -> Result<Arc<Proved>, AllocatorError> {
        if let Some(connection) = lane.current.load_full() {
            return Ok(connection);
        }
        // One connects, the others wait for what comes of it: a server that is unreachable is not asked once a request.
        let waiting_since = Instant::now();
        let mut failure = lane.connecting.lock().await;
        if let Some(connection) = lane.current.load_full() {
            return Ok(connection);
        }
        if let Some((at, error)) = &*failure
            && *at >= waiting_since
        {
            return Err(error.clone());
        }
        metrics::redis_connecting();
        match self.prove_lane().await {
            Ok(proved) => {
                let proved = Arc::new(proved);
                lane.current.store(Some(Arc::clone(&proved)));
                *failure = None;
                Ok(proved)
            }
            Err(error) => {
                *failure = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn prove_lane(&self) -> Result<Proved, AllocatorError> {
        let connection = self.own().await?;
        let mut connection = deadpool_redis::Connection::take(connection);
        let identity = Identity::ask(&mut connection).await.map_err(|error| self.failed_to_connect(error))?;
        Ok(Proved { connection, run_id: identity.run_id() })
    }

    fn failed_to_connect(&self, error: impl Into<AllocatorError>) -> AllocatorError {
        self.set_doubted(true);
        error.into()
    }

    /// Throws the lane's connection away if the error says that it, or its server, is of no more use.
    fn settle<T>(&self, lane: &Lane, used: &Arc<Proved>, result: Result<T, RedisError>) -> Result<T, AllocatorError> {
        result.map_err(|error| {
            let error = AllocatorError::from(error);
            if error.is_lost() || error.is_demoted() {
                self.throw_away(lane, used);
            }
            error
        })
    }

    fn throw_away(&self, lane: &Lane, used: &Arc<Proved>) {
        self.set_doubted(true);
        // Only if no other call has replaced it already.
        let _ = lane.current.compare_and_swap(used, None);
    }
}
