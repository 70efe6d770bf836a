//! What a script costs Redis, in time and in memory: `cargo bench --bench scripts`.
//!
//! Times are those that Redis itself takes for EVALSHA (`INFO commandstats`), so the client does not matter. They are
//! wall time: on a busy machine a round may be slow for reasons of its own, so each figure is the median of many short
//! rounds, with the quickest round beside it. In the same rounds an empty script and an INCR show what the machine and
//! Redis cost by themselves. Results go to `target/bench/scripts.json`, too.

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Duration;

use futures_util::{StreamExt, stream};
use nowserving::{
    allocator::{Allocated, Allocator, Changed, OrderUpdate, RedisSettings, RedisTls},
    domain::{
        Context, IdempotencyDigest, OrderDetails, OrderId, OrderStatus, PartitionId, PoolSettings, RestaurantId,
        SelectionPolicy,
    },
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use redis::{InfoDict, aio::MultiplexedConnection};
use serde_json::{Value, json};
use support::OwnRedis;

/// Calls under way at once: enough that Redis never waits for the client.
const IN_FLIGHT: usize = 64;
const PARTITIONS: u16 = 64;
const NUMBERS: u32 = 9999;
const ROUNDS: usize = 40;
const CALLS: usize = 50;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!("Redis time of one call, µs (budget of an allocation: 25)\n");
    println!("{:<52} {:>8} {:>8} {:>8} {:>8}", "", "median", "quickest", "empty", "INCR");
    let bench = Bench::start(&["--appendonly", "no"]).await;
    let mut times = Vec::new();
    for (id, policy) in [(1, SelectionPolicy::Sequential), (2, SelectionPolicy::Lowest), (3, SelectionPolicy::Random)] {
        times.extend(Pool::full(&bench, id, policy, 14_400).await.allocations_by_fill().await);
    }
    for (id, what, order) in [
        (4, "allocate, two taken back, oldest orders first", Order::OldestFirst),
        (6, "allocate, two taken back, scattered", Order::Random),
    ] {
        let pool = Pool::full(&bench, id, SelectionPolicy::Sequential, 1).await;
        times.push(pool.allocations_that_take_back(what, order).await);
    }
    times.push(Pool::full(&bench, 5, SelectionPolicy::Sequential, 14_400).await.releases().await);
    let with_aof = Bench::start(&["--appendonly", "yes"]).await;
    times.push(Pool::full(&with_aof, 1, SelectionPolicy::Sequential, 14_400).await.allocations_with_aof().await);

    println!("\nRedis memory, bytes\n");
    let memory = memory().await;
    let report = json!({ "unit_of_times": "µs", "times": times, "memory_bytes": memory });
    std::fs::create_dir_all("target/bench").expect("target/ can be written");
    let text = serde_json::to_string_pretty(&report).expect("plain JSON");
    std::fs::write("target/bench/scripts.json", text).expect("target/ can be written");
}

/// A server, an allocator before it that uses one connection, and a line to the server's statistics.
struct Bench {
    _server: OwnRedis,
    allocator: Allocator,
    redis: MultiplexedConnection,
    context: Context,
    empty_script: String,
}

impl Bench {
    async fn start(arguments: &[&str]) -> Self {
        let server = OwnRedis::start_with(arguments).await;
        let settings = RedisSettings {
            url: server.url(),
            lanes: 1,
            pool_size: 1,
            timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(5),
            tls: RedisTls::default(),
        };
        let window = Duration::from_hours(24);
        let allocator = Allocator::new(&settings, "ns", PARTITIONS, window).expect("a valid URL");
        let run_id = allocator.server_of(PartitionId::new(0)).await.expect("Redis answers");
        for partition in PartitionId::all(PARTITIONS) {
            let made = allocator.create_partition(partition, 1, b"0123456789abcdef", &run_id).await;
            assert!(made.expect("Redis answers"));
            allocator.open_partition(partition, 1, &run_id, 0, 0);
        }
        let mut redis = server.connect().await;
        let mut load = redis::cmd("SCRIPT");
        let empty_script = load.arg("LOAD").arg("#!lua\nreturn 1").query_async(&mut redis).await;
        let context = Context { request_id: Some("0190c2a4-8f5e".to_owned()), ..Context::of("api") };
        Self { allocator, redis, context, empty_script: empty_script.expect("Redis answers"), _server: server }
    }

    async fn configure(&self, restaurant: RestaurantId, settings: &PoolSettings) {
        self.allocator.configure(restaurant, settings, false, &self.context).await.expect("Redis answers");
    }

    async fn allocate(&self, restaurant: RestaurantId, details: &OrderDetails, key: Option<[u8; 16]>) -> OrderId {
        let digest = key.map(|key| IdempotencyDigest { key, body: [7; 16] });
        match self.allocator.allocate(restaurant, details, digest, &self.context).await {
            Ok(Allocated::New(order)) => order.id,
            other => panic!("{other:?}"),
        }
    }

    async fn release(&self, id: OrderId, immediate: bool) -> u64 {
        let update = OrderUpdate {
            status: Some(OrderStatus::Completed),
            expected_version: None,
            rewritten: None,
            context: &self.context,
        };
        match self.allocator.release(id, update, immediate, None).await {
            Ok(Changed::Done(order)) => order.sequence,
            other => panic!("{other:?}"),
        }
    }

    async fn let_go(&self, finished: &[(OrderId, u64)]) {
        for (id, sequence) in finished {
            let partition = self.allocator.partition_of(id.restaurant());
            self.allocator.retire(partition, *sequence, &[*id]).await.expect("Redis answers");
        }
        self.trim_outboxes().await;
    }

    async fn trim_outboxes(&self) {
        for partition in PartitionId::all(PARTITIONS) {
            let known = self.allocator.known_sequence(partition);
            self.allocator.trim_outboxes([(partition, known.1)]).await.expect("Redis answers");
        }
    }

    /// µs that Redis took for each call of `command` since the statistics were reset.
    async fn micros_per_call(&self, command: &str) -> f64 {
        let mut info = redis::cmd("INFO");
        let text: String = info.arg("commandstats").query_async(&mut self.redis.clone()).await.expect("Redis answers");
        let head = format!("cmdstat_{command}:");
        let line = text.lines().find_map(|line| line.strip_prefix(&head)).expect("it was called");
        let field = |name: &str| -> f64 {
            let value = line.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
            value.and_then(|value| value.parse().ok()).expect("a number")
        };
        field("usec") / field("calls")
    }

    async fn reset_statistics(&self) {
        let mut reset = redis::cmd("CONFIG");
        reset.arg("RESETSTAT").exec_async(&mut self.redis.clone()).await.expect("Redis answers");
    }

    /// What an empty script and an INCR cost just now.
    async fn references(&self) -> (f64, f64) {
        let mut pipe = redis::pipe();
        for _ in 0..CALLS {
            pipe.cmd("EVALSHA").arg(&self.empty_script).arg(0).ignore();
            pipe.cmd("INCR").arg("ns:reference").ignore();
        }
        self.reset_statistics().await;
        pipe.exec_async(&mut self.redis.clone()).await.expect("Redis answers");
        (self.micros_per_call("evalsha").await, self.micros_per_call("incr").await)
    }

    async fn used_memory(&self) -> i64 {
        // Freed clients, rehashing and the like settle within a few turns of the server's clock.
        let mut last = 0;
        loop {
            let info: InfoDict = redis::cmd("INFO").query_async(&mut self.redis.clone()).await.expect("Redis answers");
            let used: i64 = info.get("used_memory").expect("INFO names it");
            if (used - last).abs() < 256 {
                return used;
            }
            last = used;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
}

/// Rounds of one measurement.
#[derive(Default)]
struct Rounds {
    measured: Vec<f64>,
    empty_scripts: Vec<f64>,
    increments: Vec<f64>,
}

impl Rounds {
    async fn add(&mut self, bench: &Bench, micros: f64) {
        self.measured.push(micros);
        let (empty, increment) = bench.references().await;
        self.empty_scripts.push(empty);
        self.increments.push(increment);
    }

    fn report(&mut self, what: &str) -> Value {
        let quickest = self.measured.iter().copied().fold(f64::INFINITY, f64::min);
        let [median, empty, increment] =
            [&mut self.measured, &mut self.empty_scripts, &mut self.increments].map(|rounds| middle(rounds));
        println!("{what:<52} {median:>8.1} {quickest:>8.1} {empty:>8.1} {increment:>8.1}");
        json!({
            "what": what, "median": median, "quickest": quickest, "empty_script": empty, "incr": increment,
            "rounds": self.measured.len(),
        })
    }
}

fn middle(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Which orders end first.
#[derive(Clone, Copy)]
enum Order {
    Random,
    OldestFirst,
}

/// A restaurant whose numbers are all held, to begin with.
struct Pool<'a> {
    bench: &'a Bench,
    restaurant: RestaurantId,
    policy: SelectionPolicy,
    details: OrderDetails,
    live: Vec<OrderId>,
    chance: StdRng,
}

impl<'a> Pool<'a> {
    async fn full(bench: &'a Bench, id: i64, policy: SelectionPolicy, cooldown_seconds: u32) -> Self {
        let restaurant = RestaurantId::new(id).expect("in range");
        let settings = PoolSettings { max_number: NUMBERS, policy, cooldown_seconds, ..PoolSettings::default() };
        bench.configure(restaurant, &settings).await;
        let (details, chance) = (body_of_100_bytes(), StdRng::seed_from_u64(42));
        let mut pool = Self { bench, restaurant, policy, details, live: Vec::new(), chance };
        pool.allocate(NUMBERS as usize).await;
        bench.trim_outboxes().await;
        pool
    }

    /// Each with an idempotency key of its own.
    async fn allocate(&mut self, count: usize) {
        let keys: Vec<[u8; 16]> = (0..count).map(|_| self.chance.random()).collect();
        let calls = stream::iter(keys).map(|key| self.bench.allocate(self.restaurant, &self.details, Some(key)));
        let made: Vec<OrderId> = calls.buffer_unordered(IN_FLIGHT).collect().await;
        self.live.extend(made);
    }

    /// Ends orders picked at random, so that the free numbers lie as scattered as can be.
    async fn release_some(&mut self, count: usize, immediate: bool) {
        self.end_some(count, immediate, Order::Random).await;
    }

    async fn end_some(&mut self, count: usize, immediate: bool, order: Order) {
        if matches!(order, Order::Random) {
            self.live.shuffle(&mut self.chance);
        }
        let ended: Vec<OrderId> = self.live.drain(..count).collect();
        let bench = self.bench;
        let calls = stream::iter(ended).map(|id| async move { (id, bench.release(id, immediate).await) });
        let finished: Vec<(OrderId, u64)> = calls.buffer_unordered(IN_FLIGHT).collect().await;
        let partition = self.bench.allocator.partition_of(self.restaurant);
        let durable = finished.iter().map(|(_, sequence)| *sequence).max().unwrap_or_default();
        let ids: Vec<OrderId> = finished.into_iter().map(|(id, _)| id).collect();
        self.bench.allocator.retire(partition, durable, &ids).await.expect("Redis answers");
    }

    async fn allocations_by_fill(mut self) -> Vec<Value> {
        let mut reports = Vec::new();
        for percent in [99, 90, 50, 1] {
            self.release_some(self.live.len() - NUMBERS as usize * percent / 100, true).await;
            let what = format!("allocate, {}, {percent} % full", self.policy.as_str());
            reports.push(self.allocations(&what).await);
        }
        reports
    }

    async fn allocations_with_aof(mut self) -> Value {
        self.release_some(NUMBERS as usize / 2, true).await;
        self.allocations("allocate, sequential, 50 % full, Redis with AOF").await
    }

    async fn allocations(&mut self, what: &str) -> Value {
        let mut rounds = Rounds::default();
        for _ in 0..ROUNDS {
            self.bench.reset_statistics().await;
            self.allocate(CALLS).await;
            rounds.add(self.bench, self.bench.micros_per_call("evalsha").await).await;
            self.release_some(CALLS, true).await;
        }
        self.bench.trim_outboxes().await;
        rounds.report(what)
    }

    /// Each allocation finds two numbers whose rest is over. The rests are waited for, so there are few rounds.
    async fn allocations_that_take_back(mut self, what: &str, order: Order) -> Value {
        let mut rounds = Rounds::default();
        self.end_some(NUMBERS as usize / 2, true, order).await;
        for _ in 0..6 {
            self.end_some(4 * CALLS, false, order).await;
            tokio::time::sleep(Duration::from_millis(1100)).await;
            self.bench.reset_statistics().await;
            self.allocate(2 * CALLS).await;
            rounds.add(self.bench, self.bench.micros_per_call("evalsha").await).await;
            self.allocate(2 * CALLS).await;
        }
        self.bench.trim_outboxes().await;
        rounds.report(what)
    }

    async fn releases(mut self) -> Value {
        let mut rounds = Rounds::default();
        for _ in 0..ROUNDS {
            self.live.shuffle(&mut self.chance);
            let ended = self.live.split_off(self.live.len() - CALLS);
            self.bench.reset_statistics().await;
            let calls = stream::iter(ended).map(|id| self.bench.release(id, false));
            calls.buffer_unordered(IN_FLIGHT).collect::<Vec<u64>>().await;
            rounds.add(self.bench, self.bench.micros_per_call("evalsha").await).await;
        }
        rounds.report("release")
    }
}

/// What the parts of a deployment take, each as the growth over thousands of them.
async fn memory() -> Value {
    const RESTAURANTS: usize = 5000;
    const BUSY: usize = 200;
    const ORDERS: usize = 100;
    let bench = Bench::start(&["--appendonly", "no"]).await;
    bench.allocator.ping().await.expect("Redis answers");
    let empty = bench.used_memory().await;

    let restaurants: Vec<RestaurantId> =
        (0..RESTAURANTS).map(|n| RestaurantId::new(10_000 + n as i64).expect("in range")).collect();
    for restaurant in &restaurants {
        bench.configure(*restaurant, &PoolSettings::default()).await;
    }
    bench.trim_outboxes().await;
    let idle = bench.used_memory().await;

    let details = body_of_100_bytes();
    let wanted = restaurants[..BUSY].iter().flat_map(|restaurant| std::iter::repeat_n(*restaurant, ORDERS));
    let calls = stream::iter(wanted).map(|restaurant| bench.allocate(restaurant, &details, None));
    let orders: Vec<OrderId> = calls.buffer_unordered(IN_FLIGHT).collect().await;
    bench.trim_outboxes().await;
    let live = bench.used_memory().await;

    let mut finished = Vec::new();
    for id in &orders {
        finished.push((*id, bench.release(*id, false).await));
    }
    bench.let_go(&finished).await;
    let cooling = bench.used_memory().await;

    let keys = stream::iter(0..orders.len() as u128).map(|n| {
        let restaurant = restaurants[BUSY + n as usize % BUSY];
        let key = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).to_be_bytes();
        let (bench, details) = (&bench, &details);
        async move { bench.allocate(restaurant, details, Some(key)).await }
    });
    let with_key: Vec<OrderId> = keys.buffer_unordered(IN_FLIGHT).collect().await;
    bench.trim_outboxes().await;
    let keyed = bench.used_memory().await - (live - idle);

    let share = |from: i64, to: i64, count: usize| (to - from) as f64 / count as f64;
    let parts = [
        ("idle restaurant", 1024, share(empty, idle, RESTAURANTS)),
        ("live order with a body of 100 bytes", 600, share(idle, live, orders.len())),
        ("cooling number", 60, share(idle, cooling, orders.len())),
        ("idempotency key", 64, share(cooling, keyed, with_key.len())),
    ];
    for (what, budget, bytes) in parts {
        println!("{what:<52} {bytes:>8.0}   (budget {budget})");
    }
    parts.into_iter().map(|(what, budget, bytes)| json!({"what": what, "bytes": bytes, "budget": budget})).collect()
}

fn body_of_100_bytes() -> OrderDetails {
    let mut details = OrderDetails { table_number: Some("12".to_owned()), ..OrderDetails::default() };
    let shown = |details: &OrderDetails| serde_json::to_string(details).expect("plain JSON").len();
    details.note = Some(String::new());
    details.note = Some("x".repeat(100 - shown(&details)));
    assert_eq!(shown(&details), 100);
    details
}
