//! An allocator by itself: a Redis with all partitions open on it, and no other caller, so that what a script
//! takes there in time and memory can be told.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, stream};
use nowserving::{
    allocator::{Allocated, Allocator, Called, Changed, OrderUpdate, Reopened, Restored},
    config::{RedisSettings, Settings},
    domain::{
        Context, DisplayNumber, IdempotencyDigest, Order, OrderDetails, OrderId, OrderStatus, PartitionId,
        PoolSettings, RestaurantId,
    },
};
use redis::{InfoDict, aio::MultiplexedConnection};

use crate::support::OwnRedis;

/// Calls under way at once: enough that Redis never waits for the client.
const IN_FLIGHT: usize = 64;
pub const PARTITIONS: u16 = 64;
/// Without a limit on its memory, and with nothing written to disk.
pub const IN_MEMORY: &[&str] = &["--maxmemory", "0", "--appendonly", "no"];
/// As local mode runs it.
pub const APPEND_ONLY: &[&str] = &["--maxmemory", "0", "--appendonly", "yes", "--appendfsync", "everysec"];

/// A server, the allocator before it, and a line to the server's statistics.
pub struct Rig {
    pub allocator: Allocator,
    pub redis: MultiplexedConnection,
    pub context: Context,
    body: OrderDetails,
    empty_script: String,
    /// µs that the first script took for each partition.
    pub opening: f64,
    _server: OwnRedis,
}

/// Bytes that a server has in use.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// What its allocator gave out.
    pub used: f64,
    /// What the operating system gave it.
    pub resident: f64,
}

impl Rig {
    pub async fn start(arguments: &[&str]) -> Self {
        // There is no ledger that could ever make it forget, so it remembers nothing.
        Self::start_remembering(arguments, 0).await
    }

    /// With an allocator that remembers so many changes of each partition until it is told that the ledger has them.
    pub async fn start_remembering(arguments: &[&str], changes: usize) -> Self {
        let server = OwnRedis::start_with(arguments).await;
        let settings = RedisSettings {
            namespace: "ns".to_owned(),
            lanes: 1,
            pool_size: 1,
            timeout_ms: 60_000,
            connect_timeout_ms: 5_000,
            ..Settings::default().redis
        };
        let window = Duration::from_hours(24);
        let allocator = Allocator::new(&server.url(), &settings, PARTITIONS, window)
            .expect("a valid URL")
            .with_remembered(changes * usize::from(PARTITIONS))
            // Level `replica` waits for no replica, so what it takes is its script.
            .with_levels(0, Duration::from_secs(1));
        let run_id = allocator.server_of(PartitionId::new(0)).await.expect("Redis answers");
        for partition in PartitionId::all(PARTITIONS) {
            let made = allocator.create_partition(partition, 1, b"0123456789abcdef", &run_id).await;
            assert!(made.expect("Redis answers"), "the server is new");
            allocator.open_partition(partition, 1, &run_id, 0, 0);
        }
        let mut redis = server.connect().await;
        let (micros, calls) = spent_on(&redis, "evalsha").await;
        let mut load = redis::cmd("SCRIPT");
        let empty_script = load.arg("LOAD").arg("#!lua\nreturn 1").query_async(&mut redis).await;
        let context = Context { request_id: Some("0190c2a4-8f5e".to_owned()), ..Context::of("api") };
        Self {
            allocator,
            redis,
            context,
            body: body_of_100_bytes(),
            empty_script: empty_script.expect("Redis answers"),
            opening: micros / calls,
            _server: server,
        }
    }

    pub async fn configure(&self, restaurant: RestaurantId, settings: &PoolSettings) {
        self.allocator.configure(restaurant, settings, false, &self.context).await.expect("Redis answers");
    }

    /// An order with a body of 100 bytes.
    pub async fn allocate(&self, restaurant: RestaurantId, key: Option<[u8; 16]>) -> Order {
        let digest = key.map(|key| IdempotencyDigest { key, body: [7; 16] });
        match self.allocator.allocate(restaurant, &self.body, digest, &self.context).await {
            Ok(Allocated::New(order)) => order,
            other => panic!("no order was made: {other:?}"),
        }
    }

    pub async fn change(&self, id: OrderId, status: OrderStatus) -> Order {
        done(self.allocator.transition(id, self.update(status)).await)
    }

    pub async fn release(&self, id: OrderId, immediate: bool) -> Order {
        done(self.allocator.release(id, self.update(OrderStatus::Completed), immediate, false).await)
    }

    /// Tells its guest.
    pub async fn call(&self, id: OrderId) -> Order {
        match self.allocator.call(id, None, None, &self.context).await {
            Ok(Called::Done(order)) => order,
            other => panic!("the order was not called: {other:?}"),
        }
    }

    /// Takes a completed order back while its number rests.
    pub async fn reopen(&self, id: OrderId) -> Order {
        match self.allocator.reopen(id, self.update(OrderStatus::Preparing), None).await {
            Ok(Reopened::Done(order)) => order,
            other => panic!("the order was not reopened: {other:?}"),
        }
    }

    pub async fn recycle(&self, order: &Order) {
        let recycled = self.allocator.recycle(order, None, &self.context).await.expect("Redis answers");
        assert_eq!(recycled, nowserving::allocator::Recycled::Freed);
    }

    /// Takes over an order of elsewhere, with the next free number.
    pub async fn restore(&self, id: OrderId) -> Restored {
        let restored = self.allocator.restore(id, None, OrderStatus::Pending, None, &self.body, &self.context);
        restored.await.expect("Redis answers")
    }

    /// Leaks numbers that rest, which can only be done behind the scripts' back.
    pub async fn leak(&self, restaurant: RestaurantId, numbers: usize) -> Vec<DisplayNumber> {
        let mut leak = redis::cmd("ZPOPMAX");
        leak.arg(self.key("cool", restaurant)).arg(numbers);
        let leaked: Vec<(i64, f64)> = leak.query_async(&mut self.redis.clone()).await.expect("Redis answers");
        assert_eq!(leaked.len(), numbers);
        leaked.iter().map(|(number, _)| DisplayNumber::new(*number).expect("in range")).collect()
    }

    const fn update(&self, status: OrderStatus) -> OrderUpdate<'_> {
        OrderUpdate { status: Some(status), expected_version: None, rewritten: None, context: &self.context }
    }

    /// Lets go of finished orders and of what the outboxes say, as the write-behind does when the ledger has them.
    pub async fn retire(&self, finished: &[Order]) {
        let mut partitions: BTreeMap<PartitionId, Vec<OrderId>> = BTreeMap::new();
        for order in finished {
            partitions.entry(self.allocator.partition_of(order.restaurant())).or_default().push(order.id);
        }
        for (partition, ids) in partitions {
            let (_, sequence) = self.allocator.known_sequence(partition);
            let retired = self.allocator.retire(partition, sequence, &ids).await.expect("Redis answers");
            assert_eq!(usize::try_from(retired).ok(), Some(ids.len()));
            self.trim_outbox(partition).await;
        }
    }

    /// The ledger has all that has happened in this partition.
    pub async fn trim_outbox(&self, partition: PartitionId) {
        let (generation, sequence) = self.allocator.known_sequence(partition);
        self.allocator.trim_outboxes([(partition, generation, sequence)]).await.expect("Redis answers");
    }

    pub async fn trim_outboxes(&self) {
        let all = PartitionId::all(PARTITIONS).map(|partition| {
            let (generation, sequence) = self.allocator.known_sequence(partition);
            (partition, generation, sequence)
        });
        self.allocator.trim_outboxes(all).await.expect("Redis answers");
    }

    /// What calls bring about, and the µs that each script among them took Redis.
    pub async fn timed<T>(&self, calls: impl Future<Output = T>) -> (f64, T) {
        let ((micros, calls), outcome) = self.spent_in(calls).await;
        (micros / calls, outcome)
    }

    /// As [`Rig::timed`], with the µs of all scripts together.
    pub async fn timed_together<T>(&self, calls: impl Future<Output = T>) -> (f64, T) {
        let ((micros, _), outcome) = self.spent_in(calls).await;
        (micros, outcome)
    }

    async fn spent_in<T>(&self, calls: impl Future<Output = T>) -> ((f64, f64), T) {
        self.reset_statistics().await;
        let outcome = calls.await;
        (spent_on(&self.redis, "evalsha").await, outcome)
    }

    /// µs that Redis takes just now for an empty script, and for an INCR.
    pub async fn references(&self, calls: usize) -> [f64; 2] {
        let mut pipe = redis::pipe();
        for _ in 0..calls {
            pipe.cmd("EVALSHA").arg(&self.empty_script).arg(0).ignore();
            pipe.cmd("INCR").arg("ns:reference").ignore();
        }
        self.reset_statistics().await;
        pipe.exec_async(&mut self.redis.clone()).await.expect("Redis answers");
        let [script, incr] = [spent_on(&self.redis, "evalsha").await, spent_on(&self.redis, "incr").await];
        [script.0 / script.1, incr.0 / incr.1]
    }

    async fn reset_statistics(&self) {
        let mut reset = redis::cmd("CONFIG");
        reset.arg("RESETSTAT").exec_async(&mut self.redis.clone()).await.expect("Redis answers");
    }

    /// Where Redis holds something of a restaurant, for what the allocator would never do.
    pub fn key(&self, kind: &str, of: RestaurantId) -> String {
        format!("ns:{{{}}}:{kind}:{of}", self.allocator.partition_of(of))
    }

    pub async fn memory(&self) -> Memory {
        memory(&self.redis).await
    }
}

/// µs that a server has spent on a command since its statistics were reset, and how often it was called.
async fn spent_on(redis: &MultiplexedConnection, command: &str) -> (f64, f64) {
    let mut info = redis::cmd("INFO");
    let text: String = info.arg("commandstats").query_async(&mut redis.clone()).await.expect("Redis answers");
    let head = format!("cmdstat_{command}:");
    let line = text.lines().find_map(|line| line.strip_prefix(&head)).expect("it was called");
    let field = |name: &str| -> f64 {
        let value = line.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        value.and_then(|value| value.parse().ok()).expect("a number")
    };
    assert_eq!(field("failed_calls") + field("rejected_calls"), 0.0, "{line}");
    (field("usec"), field("calls"))
}

/// What a server has in use. Freed clients, rehashing and the like settle within a few turns of its clock.
pub async fn memory(redis: &MultiplexedConnection) -> Memory {
    let mut last = 0.0_f64;
    for _ in 0..20 {
        let mut ask = redis::cmd("INFO");
        let info: InfoDict = ask.arg("memory").query_async(&mut redis.clone()).await.expect("Redis answers");
        let bytes = |name| info.get::<f64>(name).expect("INFO names it");
        let now = Memory { used: bytes("used_memory"), resident: bytes("used_memory_rss") };
        if (now.used - last).abs() < 256.0 {
            return now;
        }
        last = now.used;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    panic!("the memory in use does not settle, though nothing calls it");
}

/// Makes many calls, some at once; the order of their outcomes is not theirs.
pub async fn at_once<T>(calls: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    stream::iter(calls).buffer_unordered(IN_FLIGHT).collect().await
}

/// One of many, counted from 0.
pub fn restaurant(n: usize) -> RestaurantId {
    RestaurantId::new(i64::try_from(n + 1).expect("there are not so many")).expect("in range")
}

fn done(changed: Result<Changed, nowserving::allocator::AllocatorError>) -> Order {
    match changed {
        Ok(Changed::Done(order)) => order,
        other => panic!("the order was not changed: {other:?}"),
    }
}

/// What is said about an order: 100 bytes of JSON.
pub fn body_of_100_bytes() -> OrderDetails {
    let mut details = OrderDetails { table_number: Some("12".to_owned()), ..OrderDetails::default() };
    let shown = |details: &OrderDetails| serde_json::to_string(details).expect("plain JSON").len();
    details.note = Some(String::new());
    details.note = Some("x".repeat(100 - shown(&details)));
    assert_eq!(shown(&details), 100);
    details
}
