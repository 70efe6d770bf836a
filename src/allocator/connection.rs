//! Connections to Redis: made, proved and lent.
//!
//! The hot path multiplexes over a few shared lanes: a pooled connection for each request was five times slower. The
//! pool makes every connection and lends those that must not be shared (blocking reads, long scans). A connection is
//! lent only after its server has proved itself; one that failed is thrown away, never repaired.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;
use deadpool_redis::{Hook, HookError, Manager, Pool, PoolConfig, Runtime, Timeouts};
use redis::{
    AsyncConnectionConfig, Cmd, FromRedisValue, InfoDict, Pipeline, RedisError, ServerErrorKind, Value,
    aio::MultiplexedConnection,
};
use tokio::sync::Mutex;

use super::{
    AllocatorError, RunId,
    scripts::{self, Call},
};
use crate::{
    domain::{PartitionId, Timestamp},
    metrics,
};

/// How to reach Redis.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// `redis://…` or `unix://…`.
    pub url: String,
    /// Shared connections for the hot path.
    pub lanes: usize,
    /// Connections that are lent, one user at a time.
    pub pool_size: usize,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Acknowledged changes that are remembered until the ledger has them, at most.
    pub remembered: usize,
}

pub(super) struct Connections {
    pool: Pool,
    lanes: Vec<Lane>,
    next_lane: AtomicUsize,
    clock: Arc<Clock>,
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

impl Connections {
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, AllocatorError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.connect_timeout))
            .set_response_timeout(Some(settings.timeout));
        let manager = Manager::new_with_config(settings.url.as_str(), config).map_err(AllocatorError::from)?;
        let clock = Arc::new(Clock::default());
        let proved = Arc::clone(&clock);
        let pool = Pool::builder(manager)
            .config(PoolConfig::new(settings.pool_size + settings.lanes))
            .timeouts(Timeouts { wait: Some(settings.timeout), create: None, recycle: Some(settings.timeout) })
            .runtime(Runtime::Tokio1)
            .post_create(Hook::async_fn(move |connection, _| {
                let clock = Arc::clone(&proved);
                Box::pin(async move { prove(connection, &clock).await.map_err(HookError::Backend) })
            }))
            .build()
            .map_err(|e| AllocatorError::Bug(e.to_string()))?;
        let lanes = (0..settings.lanes.max(1)).map(|_| Lane::default()).collect();
        Ok(Self { pool, lanes, next_lane: AtomicUsize::new(0), clock })
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A connection of one's own, for blocking reads and long scans; it returns to the pool when dropped.
    pub(super) async fn own(&self, _partition: PartitionId) -> Result<deadpool_redis::Connection, AllocatorError> {
        self.pool.get().await.map_err(AllocatorError::from)
    }

    /// The partitions, each list those of one server.
    pub(super) fn groups(&self, partitions: impl Iterator<Item = PartitionId>) -> Vec<Vec<PartitionId>> {
        vec![partitions.collect()]
    }

    /// Who the server of a partition is.
    pub(super) async fn server_of(&self, _partition: PartitionId) -> Result<RunId, AllocatorError> {
        Ok(self.connected(self.lane()).await?.run_id.clone())
    }

    /// Runs a script. It is sent again once if its answer is lost: every script makes a repeat harmless.
    pub(super) async fn run<T: FromRedisValue>(&self, call: Call) -> Result<T, AllocatorError> {
        let started = Instant::now();
        // Again over the same lane: it makes a new connection, while the others may not know yet that theirs are gone.
        let lane = self.lane();
        let result = match self.run_over(lane, &call).await {
            Err(e) if e.is_lost() => self.run_over(lane, &call).await,
            result => result,
        };
        metrics::script_ran(call.script.name, result.is_ok(), started.elapsed());
        result
    }

    /// Sends one command, and again once if its answer is lost: only for those that a repeat does not hurt.
    pub(super) async fn send<T: FromRedisValue>(
        &self,
        _partition: PartitionId,
        cmd: &Cmd,
    ) -> Result<T, AllocatorError> {
        let lane = self.lane();
        match self.send_over(lane, None, cmd).await {
            Err(e) if e.is_lost() => self.send_over(lane, None, cmd).await,
            result => result,
        }
    }

    /// Sends a pipeline of reads, and again once if the answer is lost.
    pub(super) async fn pipeline<T: FromRedisValue>(
        &self,
        _partition: PartitionId,
        run_id: Option<&RunId>,
        pipeline: &Pipeline,
    ) -> Result<T, AllocatorError> {
        let lane = self.lane();
        match self.pipeline_over(lane, run_id, pipeline).await {
            Err(e) if e.is_lost() => self.pipeline_over(lane, run_id, pipeline).await,
            result => result,
        }
    }

    async fn run_over<T: FromRedisValue>(&self, lane: &Lane, call: &Call) -> Result<T, AllocatorError> {
        let run_id = call.run_id.as_ref();
        match self.send_over(lane, run_id, &call.evalsha()).await {
            Err(AllocatorError::Redis(e)) if e.kind() == ServerErrorKind::NoScript.into() => {
                self.send_over(lane, run_id, &call.eval()).await
            }
            result => result,
        }
    }

    async fn send_over<T: FromRedisValue>(
        &self,
        lane: &Lane,
        run_id: Option<&RunId>,
        cmd: &Cmd,
    ) -> Result<T, AllocatorError> {
        let connection = self.connection(lane, run_id).await?;
        let mut shared = connection.connection.clone();
        let result = shared.send_packed_command(cmd).await;
        Self::settle(lane, &connection, result.and_then(|value| value.extract_error())).and_then(convert)
    }

    async fn pipeline_over<T: FromRedisValue>(
        &self,
        lane: &Lane,
        run_id: Option<&RunId>,
        reads: &Pipeline,
    ) -> Result<T, AllocatorError> {
        let connection = self.connection(lane, run_id).await?;
        let mut shared = connection.connection.clone();
        let result = reads.query_async::<T>(&mut shared).await;
        Self::settle(lane, &connection, result)
    }

    fn lane(&self) -> &Lane {
        &self.lanes[self.next_lane.fetch_add(1, Ordering::Relaxed) % self.lanes.len()]
    }

    /// The lane's connection, made where there is none; refused where its server is not the one that is expected.
    async fn connection(&self, lane: &Lane, run_id: Option<&RunId>) -> Result<Arc<Proved>, AllocatorError> {
        let proved = self.connected(lane).await?;
        match run_id {
            Some(expected) if !proved.run_id.continues(expected) => Err(AllocatorError::AnotherServer),
            _ => Ok(proved),
        }
    }

    async fn connected(&self, lane: &Lane) -> Result<Arc<Proved>, AllocatorError> {
        if let Some(connection) = lane.current.load_full() {
            return Ok(connection);
        }
        // One connects, the others wait for what comes of it: a server that is away is not asked once a request.
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
        let connection = self.pool.get().await.map_err(AllocatorError::from)?;
        let mut connection = deadpool_redis::Connection::take(connection);
        let run_id = run_id(&mut connection).await?;
        Ok(Proved { connection, run_id })
    }

    /// Throws the lane's connection away if the error says that it, or its server, is of no more use.
    fn settle<T>(lane: &Lane, used: &Arc<Proved>, result: Result<T, RedisError>) -> Result<T, AllocatorError> {
        result.map_err(|error| {
            let error = AllocatorError::from(error);
            if error.is_lost() || error.is_demoted() {
                // Only if nobody has replaced it already.
                let _ = lane.current.compare_and_swap(used, None);
            }
            error
        })
    }
}

fn convert<T: FromRedisValue>(value: Value) -> Result<T, AllocatorError> {
    T::from_redis_value(value).map_err(|e| AllocatorError::Bug(format!("a reply of another shape: {e}")))
}

/// Who a server is.
async fn run_id(connection: &mut MultiplexedConnection) -> Result<RunId, AllocatorError> {
    let info: InfoDict = redis::cmd("INFO").query_async(connection).await?;
    let text = |name: &str| info.get::<String>(name).unwrap_or_default();
    Ok(RunId::new(&text("run_id"), &text("master_replid2")))
}

/// What a server must show before a connection to it is used: it is a master, keeps what it is given, and knows the
/// scripts. Sets the clock by it, too.
async fn prove(connection: &mut MultiplexedConnection, clock: &Clock) -> Result<(), RedisError> {
    let info: InfoDict = redis::cmd("INFO").query_async(connection).await?;
    let text = |name: &str| info.get::<String>(name).unwrap_or_default();
    let refuse = |why: String| Err(RedisError::from((redis::ErrorKind::InvalidClientConfig, "unfit server", why)));
    let version = text("redis_version");
    if version.split('.').next().and_then(|major| major.parse::<u32>().ok()).unwrap_or(0) < 7 {
        return refuse(format!("Redis is version {version}, 7.0 or newer is needed: upgrade it"));
    }
    if text("role") != "master" {
        return refuse("Redis is a replica: point redis_url at the master".to_owned());
    }
    if text("maxmemory_policy") != "noeviction" {
        return refuse(format!(
            "Redis evicts keys ({}): set `maxmemory-policy noeviction`, or orders are lost",
            text("maxmemory_policy")
        ));
    }
    for script in scripts::all() {
        script.load().exec_async(connection).await?;
    }
    let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(connection).await?;
    clock.set(Timestamp::from_unix_ms(seconds * 1000 + micros / 1000));
    Ok(())
}

/// Redis's clock, as this daemon knows it: the local one and the difference seen last.
#[derive(Default)]
pub(super) struct Clock {
    ahead_ms: AtomicI64,
}

impl Clock {
    pub(super) fn now(&self) -> Timestamp {
        self.now_with_micros().0
    }

    /// The instant, and the microseconds within its millisecond.
    pub(super) fn now_with_micros(&self) -> (Timestamp, u16) {
        let (local, micros) = local_now();
        (local.plus_ms(self.ahead_ms.load(Ordering::Relaxed)), micros)
    }

    pub(super) fn set(&self, redis_now: Timestamp) {
        self.ahead_ms.store(redis_now.unix_ms() - local_now().0.unix_ms(), Ordering::Relaxed);
    }
}

fn local_now() -> (Timestamp, u16) {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ms = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
    (Timestamp::from_unix_ms(ms), u16::try_from(since_epoch.subsec_micros() % 1000).unwrap_or_default())
}
