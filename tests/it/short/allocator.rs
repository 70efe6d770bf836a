//! The allocator against real servers: many callers at once, lost answers, servers that lost data or are unfit.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::support::{self, OwnRedis, Proxy};
use futures_util::{StreamExt, stream};
use nowserving::{
    allocator::{
        Allocated, Allocator, AllocatorError, Called, Changed, Head, OrderUpdate, OutboxEntries, OutboxReader,
        PoolSnapshot, Recycled, Released, Reopened, Restored, RunId, decode_entry,
    },
    config::RedisSettings,
    domain::{
        Calls, Context, DisplayNumber, EventKind, IdempotencyDigest, NumberAfter, Order, OrderDetails, OrderId,
        OrderStatus, OutboxEntry, PartitionId, PoolSettings, Reopening, RestaurantId, Timestamp,
    },
};
use redis::{AsyncCommands, Value, aio::MultiplexedConnection};
use serde_json::json;
use tokio::task::JoinSet;

const SEED: &[u8; 16] = b"0123456789abcdef";
const PARTITION: PartitionId = PartitionId::new(0);
const DAY: Duration = Duration::from_hours(24);
const DEADLINE: Duration = Duration::from_secs(20);

/// A daemon's allocator with its one partition open, and what the tests need beside it.
#[derive(Clone)]
struct Daemon {
    allocator: Allocator,
    redis: MultiplexedConnection,
    namespace: String,
    generation: u64,
    run_id: RunId,
}

impl Daemon {
    /// On the server that the tests of this file share.
    async fn new() -> Self {
        Self::on(&support::redis_url().await, DAY).await
    }

    async fn on(url: &str, idempotency_window: Duration) -> Self {
        let namespace = support::namespace();
        let allocator = allocator(url, &namespace, idempotency_window);
        let run_id = allocator.server_of(PARTITION).await.expect("Redis answers");
        let made = allocator.create_partition(PARTITION, 1, SEED, &run_id).await.expect("Redis answers");
        assert!(made);
        allocator.open_partition(PARTITION, 1, &run_id, 0, 0);
        let client = redis::Client::open(url).expect("a valid URL");
        let redis = client.get_multiplexed_async_connection().await.expect("Redis answers");
        Self { allocator, redis, namespace, generation: 1, run_id }
    }

    /// Believes, or believes again, that the partition is open.
    fn open(&self) {
        self.allocator.open_partition(PARTITION, self.generation, &self.run_id, 0, 0);
    }

    /// What Redis holds of the partition.
    async fn head(&self) -> Option<Head> {
        self.allocator.heads().await.remove(0).expect("Redis answers").head
    }

    /// With numbers from 1 to `max_number`.
    async fn with_numbers(self, max_number: u32, cooldown_seconds: u32) -> Self {
        self.configure(&PoolSettings { max_number, cooldown_seconds, ..PoolSettings::default() }).await;
        self
    }

    async fn configure(&self, settings: &PoolSettings) {
        self.allocator.configure(restaurant(), settings, false, &context()).await.expect("Redis answers");
        // The first call of a business date only asks for it: as if it had one without end, calls that get lost are orders.
        let key = format!("{}:{{{PARTITION}}}:pool:{}", self.namespace, restaurant());
        let day = [&[0x51_u8, 0x00][..], &[0x7f; 6], &[0; 9]].concat();
        let () = self.redis.clone().hset_nx(key, "day", day).await.expect("Redis answers");
    }

    async fn allocate(&self) -> Result<Allocated, AllocatorError> {
        self.allocator.allocate(restaurant(), &OrderDetails::default(), None, &context()).await
    }

    async fn new_order(&self) -> Order {
        match self.allocate().await {
            Ok(Allocated::New(order)) => order,
            other => panic!("{other:?}"),
        }
    }

    async fn release(&self, id: OrderId, immediate: bool) -> Result<Released, AllocatorError> {
        self.allocator.release(id, to(OrderStatus::Completed, &context()), immediate, false).await
    }

    async fn finish(&self, id: OrderId, immediate: bool) -> Order {
        match self.release(id, immediate).await {
            Ok(Changed::Done(order)) => order,
            other => panic!("{other:?}"),
        }
    }

    async fn reopen(&self, id: OrderId) -> Reopened {
        self.allocator.reopen(id, to(OrderStatus::Preparing, &context()), None).await.expect("Redis answers")
    }

    async fn call(&self, id: OrderId, place: Option<&str>, version: Option<u32>) -> Called {
        self.allocator.call(id, place, version, &context()).await.expect("Redis answers")
    }

    /// Calls it as soon as that is a call of its own.
    async fn called(&self, id: OrderId) -> Order {
        support::eventually(DEADLINE, || async {
            match self.call(id, None, None).await {
                Called::Done(order) => Some(order),
                Called::Recent(_) => None,
                other => panic!("{other:?}"),
            }
        })
        .await
    }

    async fn overdue(&self) -> u32 {
        let count = self.allocator.count_numbers(restaurant()).await.expect("Redis answers").expect("it has settings");
        self.allocator.overdue(restaurant(), &count).await.expect("Redis answers")
    }

    async fn reopened(&self, id: OrderId) -> Order {
        match self.reopen(id).await {
            Reopened::Done(order) => order,
            other => panic!("{other:?}"),
        }
    }

    async fn snapshot(&self) -> PoolSnapshot {
        self.allocator.snapshot(restaurant()).await.expect("Redis answers").expect("the restaurant has settings")
    }

    /// Every number is in one state, and what is there fits together.
    async fn assert_sound(&self) {
        assert_eq!(self.snapshot().await.findings(), []);
    }

    async fn outbox(&self) -> Vec<OutboxEntry> {
        let mut reader = OutboxReader::new(self.allocator.clone());
        let mut read = reader.read(&[(PARTITION, 0)], 100_000, None).await.expect("Redis answers");
        read.pop().map(|(_, entries)| entries).unwrap_or_default()
    }

    /// All keys of this namespace.
    async fn keys(&self) -> Vec<String> {
        let mut redis = self.redis.clone();
        let mut scan = redis.scan_match::<_, String>(format!("{}:*", self.namespace)).await.expect("Redis answers");
        let mut keys = Vec::new();
        while let Some(key) = scan.next_item().await {
            keys.push(key.expect("a key is text"));
        }
        keys
    }

    /// Takes away all that this namespace has, as a server does that lost its data.
    async fn lose_everything(&self) {
        let keys = self.keys().await;
        self.redis.clone().del::<_, ()>(keys).await.expect("Redis answers");
    }

    fn partition_key(&self) -> String {
        format!("{}:{{{PARTITION}}}:partition", self.namespace)
    }
}

fn allocator(url: &str, namespace: &str, idempotency_window: Duration) -> Allocator {
    let settings = RedisSettings { lanes: 3, ..support::library::redis_settings(namespace) };
    Allocator::new(url, &settings, 1, idempotency_window).expect("a valid URL")
}

fn restaurant() -> RestaurantId {
    RestaurantId::new(7).expect("in range")
}

fn context() -> Context {
    Context::of("test")
}

fn to(status: OrderStatus, context: &Context) -> OrderUpdate<'_> {
    OrderUpdate { status: Some(status), expected_version: None, rewritten: None, context }
}

fn number(n: u32) -> DisplayNumber {
    DisplayNumber::new(n.into()).expect("in range")
}

fn number_of(order: &Order) -> u32 {
    order.number.expect("orders in Redis have a number").get()
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since_epoch.as_millis()).expect("not that late")
}

// Many callers at once

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_creations_at_once_get_two_hundred_numbers() {
    let daemon = Daemon::new().await.with_numbers(9999, 14_400).await;
    let mut callers = JoinSet::new();
    for _ in 0..200 {
        let daemon = daemon.clone();
        callers.spawn(async move { number_of(&daemon.new_order().await) });
    }
    let numbers: BTreeSet<u32> = callers.join_all().await.into_iter().collect();
    assert_eq!(numbers, (1..=200).collect());
    daemon.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ten_thousandth_live_order_is_refused() {
    let daemon = Daemon::new().await.with_numbers(9999, 14_400).await;
    let orders = stream::iter(0..9999).map(|_| daemon.new_order()).buffer_unordered(64).collect::<Vec<_>>().await;
    let numbers: HashSet<u32> = orders.iter().map(number_of).collect();
    assert_eq!(numbers.len(), 9999);
    let refused = daemon.allocate().await;
    assert!(matches!(refused, Ok(Allocated::Exhausted { next_free_at: None, .. })), "{refused:?}");
    daemon.assert_sound().await;

    // One comes back at once, and is the only one there is.
    daemon.finish(orders[4711].id, true).await;
    assert_eq!(daemon.new_order().await.number, orders[4711].number);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_repeats_of_one_request_make_one_order() {
    let daemon = Daemon::new().await.with_numbers(9999, 14_400).await;
    let digest = IdempotencyDigest { key: [7; 16], body: [8; 16] };
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let daemon = daemon.clone();
        callers.spawn(async move {
            let details = OrderDetails::default();
            daemon.allocator.allocate(restaurant(), &details, Some(digest), &context()).await.expect("Redis answers")
        });
    }
    let (mut made, mut replayed) = (Vec::new(), Vec::new());
    for answer in callers.join_all().await {
        match answer {
            Allocated::New(order) => made.push(order.id),
            Allocated::Replayed { id, body } => {
                assert_eq!(body, digest.body);
                replayed.push(id);
            }
            other => panic!("{other:?}"),
        }
    }
    let [id] = made[..] else { panic!("made {made:?}") };
    assert_eq!(replayed, vec![id; 99]);
    assert_eq!(daemon.allocator.live_orders(restaurant()).await.expect("Redis answers").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_a_hundred_thousand_orders_pass_through_one_restaurant() {
    const CALLERS: u32 = 24;
    const EACH: u32 = 4_200;
    let daemon = Daemon::new().await.with_numbers(40, 0).await;
    let live = Arc::new(Mutex::new(HashSet::new()));
    let given = Arc::new(AtomicU32::new(0));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (daemon, live, given) = (daemon.clone(), Arc::clone(&live), Arc::clone(&given));
        callers.spawn(async move {
            let mut finished = Vec::new();
            for round in 0..EACH {
                let order = daemon.new_order().await;
                assert!(live.lock().expect("not poisoned").insert(number_of(&order)), "{order:?} has a live number");
                given.fetch_add(1, Relaxed);
                // From here on another order may be given it.
                live.lock().expect("not poisoned").remove(&number_of(&order));
                finished.push(daemon.finish(order.id, (caller + round) % 2 == 0).await);
                if finished.len() == 300 {
                    let_go(&daemon, &mut finished).await;
                }
            }
            let_go(&daemon, &mut finished).await;
        });
    }
    callers.join_all().await;
    assert!(given.load(Relaxed) > 100_000);
    daemon.assert_sound().await;
    let snapshot = daemon.snapshot().await;
    assert_eq!((snapshot.live.len(), snapshot.kept.len(), snapshot.holders.len()), (0, 0, 0));
    assert_eq!(snapshot.sequence, u64::from(CALLERS * EACH) * 2 + 1);
}

/// What the write-behind does once the ledger has these orders.
async fn let_go(daemon: &Daemon, finished: &mut Vec<Order>) {
    let durable = finished.iter().map(|order| order.sequence).max().unwrap_or_default();
    let ids: Vec<OrderId> = finished.drain(..).map(|order| order.id).collect();
    let retired = daemon.allocator.retire(PARTITION, durable, &ids).await.expect("Redis answers");
    assert_eq!(retired as usize, ids.len());
    daemon.allocator.trim_outboxes([(PARTITION, 1, durable)]).await.expect("Redis answers");
}

/// What a script, or a hand, left wrong about special numbers and ranges.
#[tokio::test]
async fn odd_states_of_special_numbers_and_ranges_are_found() {
    let settings: PoolSettings = serde_json::from_value(json!({
        "max_number": 40, "cooldown_seconds": 600, "ranges": [{"id": "app", "min_number": 101, "max_number": 110}],
        "special": {"reservations": {"3": "12"}, "quarantine": {"9": {"reason": "r"}}},
    }))
    .expect("settings");
    let (free, cool) = ("free", "cool");
    let odd: [(&str, &[&str], &str); 9] = [
        ("HDEL", &["pool", "res:3"], "number 3 of table 12"),
        ("HDEL", &["pool", "tab:12"], "number 3 of table 12"),
        ("HDEL", &["pool", "sp"], "the field sp"),
        ("HDEL", &["pool", "rng"], "ranges"),
        ("HDEL", &["pool", "qua:9"], "number 9 is taken out"),
        ("ZADD", &[cool, "5", "9"], "number 9 is taken out, and comes back"),
        ("ZREM", &[cool, "9"], "number 9 is neither"),
        ("ZADD", &[free, "9", "9"], "number 9 is taken out and free"),
        ("ZADD", &[free, "3", "3"], "number 3 is free, but does not belong"),
    ];
    for (command, arguments, expected) in odd {
        let pool = Daemon::new().await;
        pool.configure(&settings).await;
        pool.assert_sound().await;
        let key = format!("{}:{{{PARTITION}}}:{}:{}", pool.namespace, arguments[0], restaurant());
        let mut spoil = redis::cmd(command);
        spoil.arg(key).arg(&arguments[1..]);
        spoil.exec_async(&mut pool.redis.clone()).await.expect("Redis answers");
        let found: Vec<String> = pool.snapshot().await.findings().iter().map(ToString::to_string).collect();
        assert!(found.iter().any(|what| what.contains(expected)), "{command} {arguments:?}: {found:#?}");
    }
}

#[tokio::test]
async fn a_number_is_given_again_when_its_rest_is_over_and_not_before() {
    let daemon = Daemon::new().await.with_numbers(1, 1).await;
    let finished = daemon.finish(daemon.new_order().await.id, false).await;
    let free_at = finished.cooling_until().expect("it is finished");
    let refused = daemon.allocate().await;
    let Ok(Allocated::Exhausted { next_free_at, now, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(next_free_at, Some(free_at));
    assert!(now < free_at);
    support::eventually_true(DEADLINE, || async {
        match daemon.allocate().await {
            Ok(Allocated::New(order)) => {
                assert!(order.updated_at >= free_at, "given at {}, resting until {free_at}", order.updated_at);
                true
            }
            Ok(Allocated::Exhausted { now, .. }) => {
                assert!(now < free_at, "refused at {now}, free since {free_at}");
                false
            }
            other => panic!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_shortened_cooldown_keeps_resting_numbers_in_order() {
    let daemon = Daemon::new().await.with_numbers(6, 14_400).await;
    let mut orders = Vec::new();
    for cooldown_seconds in [300, 200, 250, 300, 100, 200] {
        daemon.configure(&PoolSettings { max_number: 6, cooldown_seconds, ..PoolSettings::default() }).await;
        orders.push(daemon.new_order().await);
    }
    for order in &orders {
        daemon.finish(order.id, false).await;
        daemon.assert_sound().await;
    }
    let resting: Vec<u32> = daemon.snapshot().await.cooling.iter().map(|(_, number)| *number).collect();
    assert_eq!(resting, [5, 2, 6, 3, 1, 4]);
    let next = daemon.snapshot().await.cooling[0].0;
    let refused = daemon.allocate().await;
    assert!(matches!(refused, Ok(Allocated::Exhausted { next_free_at, .. }) if next_free_at == Some(next)));
}

#[tokio::test]
async fn an_idempotency_key_is_forgotten_after_its_window() {
    const WINDOW_MS: i64 = 600;
    let window = Duration::from_millis(WINDOW_MS.cast_unsigned());
    let daemon = Daemon::on(&support::redis_url().await, window).await.with_numbers(9999, 14_400).await;
    let details = OrderDetails::default();
    // Keys are kept in buckets of a window. These fall into all parts of one, so none is helped by where it falls.
    let forgotten = stream::iter(0..8_u8).map(|nth| {
        let (daemon, details) = (&daemon, &details);
        async move {
            tokio::time::sleep(Duration::from_millis(u64::from(nth) * 80)).await;
            let digest = Some(IdempotencyDigest { key: [nth; 16], body: [2; 16] });
            let ask = async || daemon.allocator.allocate(restaurant(), details, digest, &context()).await;
            let Ok(Allocated::New(first)) = ask().await else { panic!("a new key makes an order") };
            let first_at = first.created_at().unix_ms();
            support::eventually_true(DEADLINE, || async {
                let asked_at = now_ms();
                match ask().await.expect("Redis answers") {
                    Allocated::Replayed { id, .. } => {
                        assert_eq!(id, first.id);
                        assert!(asked_at <= first_at + WINDOW_MS, "known after {} ms", asked_at - first_at);
                        false
                    }
                    Allocated::New(second) => {
                        let age = second.updated_at.unix_ms() - first_at;
                        assert!(age >= WINDOW_MS, "forgotten after {age} ms");
                        true
                    }
                    other => panic!("{other:?}"),
                }
            })
            .await;
        }
    });
    forgotten.buffer_unordered(8).collect::<Vec<()>>().await;
    // The buckets themselves go, too.
    support::eventually_true(DEADLINE, || async { !daemon.keys().await.iter().any(|key| key.contains(":idem:")) })
        .await;
}

#[tokio::test]
async fn buckets_of_two_windows_that_begin_together_both_go() {
    // The third span of one window and the second of another, twice as long, began at the same instant.
    let window_ms = now_ms() * 2 / 5;
    let url = support::redis_url().await;
    let daemon = Daemon::on(&url, DAY).await.with_numbers(9999, 14_400).await;
    for times in [1_u8, 2] {
        let window = Duration::from_millis((i64::from(times) * window_ms).cast_unsigned());
        let other = allocator(&url, &daemon.namespace, window);
        other.open_partition(PARTITION, daemon.generation, &daemon.run_id, 0, 0);
        let digest = Some(IdempotencyDigest { key: [times; 16], body: [2; 16] });
        let made = other.allocate(restaurant(), &OrderDetails::default(), digest, &context()).await;
        assert!(matches!(made, Ok(Allocated::New(_))), "{made:?}");
    }
    let buckets: Vec<String> = daemon.keys().await.into_iter().filter(|key| key.contains(":idem:")).collect();
    assert_eq!(buckets.len(), 2, "{buckets:?}");
    for bucket in buckets {
        let ttl_ms: i64 = daemon.redis.clone().pttl(&bucket).await.expect("Redis answers");
        assert!(ttl_ms > 0, "{bucket} never goes");
    }
}

// Calls that are repeated, lost or late

#[tokio::test]
async fn a_call_whose_answer_is_lost_is_repeated_without_a_second_order() {
    let server = OwnRedis::start().await;
    let proxy = Proxy::start(&server.socket());
    let daemon = Daemon::on(&proxy.url(), DAY).await.with_numbers(9999, 14_400).await;

    proxy.lose(1);
    let order = daemon.new_order().await;
    assert_eq!((proxy.to_lose(), number_of(&order)), (0, 1));
    let live = daemon.allocator.live_orders(restaurant()).await.expect("Redis answers");
    assert_eq!(live.as_slice(), std::slice::from_ref(&order));

    proxy.lose(1);
    let digest = IdempotencyDigest { key: [7; 16], body: [8; 16] };
    let details = OrderDetails::default();
    let answer = daemon.allocator.allocate(restaurant(), &details, Some(digest), &context()).await;
    assert!(matches!(&answer, Ok(Allocated::New(order)) if number_of(order) == 2), "{answer:?}");

    proxy.lose(1);
    let ready = daemon.allocator.transition(order.id, to(OrderStatus::Ready, &context())).await;
    assert!(matches!(&ready, Ok(Changed::Replayed { order, version: 2 }) if order.version == 2), "{ready:?}");

    proxy.lose(1);
    let finished = match daemon.release(order.id, false).await {
        Ok(Changed::Replayed { order, version: 3 }) => order,
        other => panic!("{other:?}"),
    };
    assert_eq!((proxy.to_lose(), finished.version), (0, 3));

    proxy.lose(1);
    assert_eq!(daemon.allocator.recycle(&finished, None, &context()).await.expect("Redis answers"), Recycled::Replayed);
    assert_eq!(daemon.outbox().await.len(), 6);
    daemon.assert_sound().await;
}

#[tokio::test]
async fn a_repeat_finds_its_order_where_it_took_the_last_number() {
    let server = OwnRedis::start().await;
    let proxy = Proxy::start(&server.socket());
    let daemon = Daemon::on(&proxy.url(), DAY).await.with_numbers(1, 14_400).await;
    proxy.lose(1);
    let order = daemon.new_order().await;
    assert_eq!((proxy.to_lose(), number_of(&order)), (0, 1));
    assert!(matches!(daemon.allocate().await, Ok(Allocated::Exhausted { .. })));
    daemon.assert_sound().await;
}

#[tokio::test]
async fn calls_go_on_when_every_connection_was_cut() {
    let server = OwnRedis::start().await;
    let daemon = Daemon::on(&server.url(), DAY).await.with_numbers(9999, 14_400).await;
    for round in 1..5 {
        let mut cut = redis::cmd("CLIENT");
        cut.arg("KILL").arg("SKIPME").arg("yes");
        cut.exec_async(&mut server.connect().await).await.expect("the server answers");
        assert_eq!(number_of(&daemon.new_order().await), round);
    }
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_sent_again() {
    let server = OwnRedis::start().await;
    let daemon = Daemon::on(&server.url(), DAY).await.with_numbers(9999, 14_400).await;
    redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut server.connect().await).await.expect("the server answers");
    let order = daemon.new_order().await;
    redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut server.connect().await).await.expect("the server answers");
    daemon.finish(order.id, false).await;
    daemon.assert_sound().await;
}

#[tokio::test]
async fn a_late_duplicate_brings_no_order_back_to_life() {
    let server = OwnRedis::start().await;
    let proxy = Proxy::start(&server.socket());
    let daemon = Daemon::on(&proxy.url(), DAY).await.with_numbers(9999, 14_400).await;
    let order = daemon.new_order().await;
    let mut allocate = proxy.recorded("EVALSHA").pop().expect("it went through the proxy");
    let send = async |command: &support::proxy::Command| -> Vec<Value> {
        let mut cmd = redis::Cmd::new();
        command.iter().for_each(|part| {
            cmd.arg(part);
        });
        cmd.query_async(&mut server.connect().await).await.expect("the server answers")
    };
    let name = |reply: &[Value]| match &reply[0] {
        Value::BulkString(name) => String::from_utf8_lossy(name).into_owned(),
        other => panic!("{other:?}"),
    };

    // While the order is known, a duplicate finds it: live, and then finished.
    assert_eq!(name(&send(&allocate).await), "ok");
    let finished = daemon.finish(order.id, true).await;
    assert_eq!(name(&send(&allocate).await), "ok");
    assert_eq!(daemon.snapshot().await.live, []);
    assert_eq!(daemon.allocator.order(order.id).await.expect("Redis answers"), Some(finished.clone()));

    // It is let go of only after a duplicate has become too old to be served. Here its order is made out to be so old:
    // its id, which begins with the time, is an argument, behind name, sha, count and 9 keys, and 2 other arguments.
    let retired = daemon.allocator.retire(PARTITION, finished.sequence, &[order.id]).await;
    assert_eq!(retired.expect("Redis answers"), 1);
    let made = &mut allocate[3 + 9 + 2][..6];
    assert_eq!(*made, order.created_at().unix_ms().to_be_bytes()[2..]);
    made.copy_from_slice(&(order.created_at().unix_ms() - 10_001).to_be_bytes()[2..]);
    assert_eq!(name(&send(&allocate).await), "stale");
    let snapshot = daemon.snapshot().await;
    assert_eq!((snapshot.live.len(), snapshot.kept.len(), snapshot.sequence), (0, 0, finished.sequence));
}

/// The first call is held up until its bucket has become the one before; meanwhile another daemon uses the key in the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_at_the_turn_of_its_bucket_makes_one_order() {
    const WINDOW_MS: i64 = 2000;
    let window = Duration::from_millis(WINDOW_MS.cast_unsigned());
    let server = OwnRedis::start().await;
    let proxy = Proxy::start(&server.socket());
    let held = Daemon::on(&proxy.url(), window).await.with_numbers(9999, 14_400).await;
    let quick = allocator(&server.url(), &held.namespace, window);
    quick.open_partition(PARTITION, held.generation, &held.run_id, 0, 0);
    quick.ping().await.expect("Redis answers");
    let (details, context) = (OrderDetails::default(), context());
    let digest = Some(IdempotencyDigest { key: [1; 16], body: [2; 16] });
    let bucket = || quick.now().expect("Redis told it").unix_ms() / WINDOW_MS;

    let first_bucket = bucket();
    proxy.hold();
    let first = tokio::spawn({
        let (held, details, context) = (held.clone(), details.clone(), context.clone());
        async move { held.allocator.allocate(restaurant(), &details, digest, &context).await }
    });
    support::eventually_true(DEADLINE, || async { bucket() > first_bucket }).await;
    let made = quick.allocate(restaurant(), &details, digest, &context).await;
    let Ok(Allocated::New(order)) = made else { panic!("{made:?}") };
    proxy.go_on();
    let first = first.await.expect("it ends");
    assert!(matches!(first, Ok(Allocated::Replayed { id, .. }) if id == order.id), "{first:?}");
    assert_eq!(held.snapshot().await.live, [order]);
}

#[tokio::test]
async fn a_daemon_whose_clock_is_off_is_put_right() {
    let server = OwnRedis::start().await;
    for ahead_seconds in [-86_400, -11, 11, 3600] {
        let proxy = Proxy::start(&server.socket());
        proxy.put_clock_off(ahead_seconds);
        let daemon = Daemon::on(&proxy.url(), DAY).await;
        let off = daemon.allocator.now().expect("Redis told it").unix_ms() - now_ms();
        assert!((off - ahead_seconds * 1000).abs() < 5000, "{off} ms");
        let daemon = daemon.with_numbers(9999, 14_400).await;
        let digest = IdempotencyDigest { key: [1; 16], body: [1; 16] };
        let details = OrderDetails::default();
        for _ in 0..2 {
            let answer = daemon.allocator.allocate(restaurant(), &details, Some(digest), &context()).await;
            let id = match answer {
                Ok(Allocated::New(order)) => order.id,
                Ok(Allocated::Replayed { id, .. }) => id,
                other => panic!("{other:?}"),
            };
            assert!((id.created_at().unix_ms() - now_ms()).abs() < 5000);
            assert!((daemon.allocator.now().expect("Redis told it").unix_ms() - now_ms()).abs() < 5000);
        }
        assert_eq!(daemon.snapshot().await.live.len(), 1);
    }
}

// Servers that lost data, or are unfit

/// Every kind of call, each by a daemon that believes the partition open. Answers with those that were not refused.
async fn calls_that_are_served(daemon: &Daemon, live: &Order, finished: &Order) -> Vec<&'static str> {
    let (a, context) = (&daemon.allocator, context());
    let mut served = Vec::new();
    macro_rules! refused {
        ($($name:literal: $call:expr;)*) => {$(
            daemon.open();
            match $call.await {
                Err(AllocatorError::Closed(closed)) => assert_eq!(closed.partition, PARTITION),
                _ => served.push($name),
            }
        )*};
    }
    let details = OrderDetails::default();
    refused! {
        "allocate": daemon.allocate();
        "transition": a.transition(live.id, to(OrderStatus::Ready, &context));
        "release": daemon.release(live.id, true);
        "call": a.call(live.id, None, None, &context);
        "complete served": a.complete_served(live.id, &context);
        "reopen": a.reopen(finished.id, to(OrderStatus::Preparing, &context), None);
        "recycle": a.recycle(finished, None, &context);
        "restore": a.restore(live.id, None, OrderStatus::Ready, None, &details, &context);
        "configure": a.configure(restaurant(), &PoolSettings::default(), true, &context);
        "count_numbers": a.count_numbers(restaurant());
        "inspect": a.inspect(restaurant(), number(1));
        "reclaim": a.reclaim(restaurant(), &[number(1)], &context);
        "retire": a.retire(PARTITION, finished.sequence, &[finished.id]);
        "order": a.order(live.id);
        "live orders": a.live_orders(restaurant());
        "kept orders": a.kept_orders(restaurant());
        "settings": a.settings(restaurant());
        "snapshot": a.snapshot(restaurant());
        "restaurants": a.restaurants(PARTITION);
    }
    served
}

#[tokio::test]
async fn a_server_that_lost_everything_is_closed_and_nothing_is_made_there() {
    let daemon = Daemon::new().await.with_numbers(9999, 14_400).await;
    let live = daemon.new_order().await;
    let finished = daemon.finish(daemon.new_order().await.id, false).await;
    daemon.lose_everything().await;
    assert_eq!(calls_that_are_served(&daemon, &live, &finished).await, Vec::<&str>::new());
    assert_eq!(daemon.keys().await, Vec::<String>::new());
    assert_eq!(daemon.allocator.closed_partitions().len(), 1);
    assert_eq!(daemon.head().await, None);

    // Closed stays closed, with a reason that says what is the matter.
    daemon.open();
    daemon.allocate().await.expect_err("there is nothing");
    let refused = daemon.allocate().await.expect_err("the partition is closed").to_string();
    assert!(refused.contains("lost"), "{refused}");
}

#[tokio::test]
async fn a_server_that_is_behind_is_closed() {
    let daemon = Daemon::new().await.with_numbers(9999, 14_400).await;
    let live = daemon.new_order().await;
    let finished = daemon.finish(daemon.new_order().await.id, false).await;
    let before = daemon.snapshot().await;
    daemon.redis.clone().hset::<_, _, _, ()>(daemon.partition_key(), "seq", 3).await.expect("Redis answers");
    assert_eq!(calls_that_are_served(&daemon, &live, &finished).await, Vec::<&str>::new());
    daemon.redis.clone().hset::<_, _, _, ()>(daemon.partition_key(), "seq", 4).await.expect("Redis answers");
    daemon.open();
    assert_eq!(daemon.snapshot().await, before);

    daemon.redis.clone().hset::<_, _, _, ()>(daemon.partition_key(), "seq", 3).await.expect("Redis answers");
    let refused = daemon.allocate().await.expect_err("the server is behind").to_string();
    assert!(refused.contains("behind"), "{refused}");
}

#[tokio::test]
async fn another_generation_is_closed() {
    let daemon = Daemon::new().await.with_numbers(9999, 14_400).await;
    let live = daemon.new_order().await;
    let finished = daemon.finish(daemon.new_order().await.id, false).await;
    let before = daemon.snapshot().await;
    let other = Daemon { generation: 2, ..daemon.clone() };
    assert_eq!(calls_that_are_served(&other, &live, &finished).await, Vec::<&str>::new());
    daemon.open();
    assert_eq!(daemon.snapshot().await, before);
}

#[tokio::test]
async fn a_partition_is_made_once() {
    let daemon = Daemon::new().await;
    let before = daemon.head().await;
    let elsewhere = RunId::recorded("elsewhere");
    let again = daemon.allocator.create_partition(PARTITION, 9, b"another seed 16B", &elsewhere).await;
    assert!(!again.expect("Redis answers"));
    assert_eq!(daemon.head().await, before);
}

#[tokio::test]
async fn a_replica_is_refused_until_it_is_a_master_again() {
    let server = OwnRedis::start().await;
    let daemon = Daemon::on(&server.url(), DAY).await.with_numbers(9999, 14_400).await;
    daemon.new_order().await;
    let replicate = async |host: &str, port: &str| {
        let mut cmd = redis::cmd("REPLICAOF");
        cmd.arg(host).arg(port).exec_async(&mut server.connect().await).await.expect("the server answers");
    };
    // Of a master that is none: it serves reads, stale as they are.
    replicate("127.0.0.1", "1").await;
    for _ in 0..6 {
        let error = daemon.allocate().await.expect_err("a replica takes no writes");
        assert!(matches!(error, AllocatorError::Redis(_)) && !error.is_bug(), "{error:?}");
    }
    let error = daemon.allocate().await.expect_err("a replica is no good").to_string();
    assert!(error.contains("replica"), "{error}");
    // Meanwhile another one may have been the master: no daemon goes on as if nothing had happened.
    replicate("NO", "ONE").await;
    let error = daemon.allocate().await.expect_err("it was promoted");
    assert!(matches!(error, AllocatorError::Closed(_)), "{error:?}");
    let promoted = daemon.allocator.server_of(PARTITION).await.expect("Redis answers");
    daemon.allocator.open_partition(PARTITION, 1, &promoted, 0, 0);
    assert_eq!(number_of(&daemon.new_order().await), 2);
}

#[tokio::test]
async fn a_full_server_takes_no_orders_but_lets_them_end() {
    let server = OwnRedis::start().await;
    let daemon = Daemon::on(&server.url(), DAY).await.with_numbers(9999, 14_400).await;
    let first = daemon.new_order().await;
    let second = daemon.new_order().await;
    let before = daemon.snapshot().await;
    let limit = async |bytes: &str| {
        let mut cmd = redis::cmd("CONFIG");
        cmd.arg("SET").arg("maxmemory").arg(bytes);
        cmd.exec_async(&mut server.connect().await).await.expect("the server answers");
    };
    limit("1").await;
    let error = daemon.allocate().await.expect_err("Redis is full");
    assert!(matches!(&error, AllocatorError::Redis(e) if e.code() == Some("OOM")) && !error.is_bug(), "{error:?}");
    let refused = daemon.allocator.transition(first.id, to(OrderStatus::Ready, &context())).await;
    assert!(refused.is_err(), "{refused:?}");
    // Reads go on.
    assert_eq!(daemon.snapshot().await, before);
    let settings = daemon.allocator.settings(restaurant()).await.expect("Redis answers");
    assert_eq!(settings, Some(before.settings));
    let count = daemon.allocator.count_numbers(restaurant()).await.expect("Redis answers").expect("it has settings");
    assert_eq!((count.occupancy.free, count.occupancy.live), (9997, 2));
    let inspected = daemon.allocator.inspect(restaurant(), number(1)).await.expect("Redis answers");
    assert_eq!(inspected.and_then(|inspected| inspected.order), Some(first.clone()));
    assert_eq!(daemon.allocator.live_orders(restaurant()).await.expect("Redis answers").len(), 2);

    let finished = daemon.finish(first.id, false).await;
    daemon.finish(second.id, true).await;
    assert_eq!(daemon.allocator.recycle(&finished, None, &context()).await.expect("Redis answers"), Recycled::Freed);
    daemon.assert_sound().await;
    let sequence = daemon.snapshot().await.sequence;
    let retired = daemon.allocator.retire(PARTITION, sequence, &[first.id, second.id]).await;
    assert_eq!(retired.expect("Redis answers"), 2);
    daemon.allocator.trim_outboxes([(PARTITION, 1, sequence)]).await.expect("Redis answers");

    limit("0").await;
    assert_eq!(number_of(&daemon.new_order().await), 3);
    daemon.assert_sound().await;
}

#[tokio::test]
async fn a_server_that_evicts_is_refused() {
    let server = OwnRedis::start_with(&["--maxmemory-policy", "allkeys-lru"]).await;
    let allocator = allocator(&server.url(), &support::namespace(), DAY);
    for _ in 0..4 {
        let error = allocator.ping().await.expect_err("it would evict").to_string();
        assert!(error.contains("allkeys-lru") && error.contains("noeviction"), "{error}");
    }
    let mut cmd = redis::cmd("CONFIG");
    cmd.arg("SET").arg("maxmemory-policy").arg("noeviction");
    cmd.exec_async(&mut server.connect().await).await.expect("the server answers");
    allocator.ping().await.expect("now it will do");
}

// What the write-behind reads

#[tokio::test]
async fn every_kind_of_event_is_read_back_as_it_happened() {
    let daemon = Daemon::new().await.with_numbers(9999, 14_400).await;
    let details = OrderDetails { note: Some("no onions: ñ, \u{1f9c5}".to_owned()), ..OrderDetails::default() };
    let digest = IdempotencyDigest { key: [0xff; 16], body: [0; 16] };
    let foreign = Context { foreign_id: Some(uuid::Uuid::from_u128(1)), ..context() };

    let created = daemon.allocator.allocate(restaurant(), &details, Some(digest), &context()).await;
    let Ok(Allocated::New(created)) = created else { panic!("{created:?}") };
    let plain = daemon.new_order().await;
    let changed = daemon.allocator.transition(created.id, to(OrderStatus::Ready, &context())).await;
    let Ok(Changed::Done(changed)) = changed else { panic!("{changed:?}") };
    let Called::Done(called) = daemon.call(created.id, Some("Counter 2, left"), None).await else {
        panic!("it is ready")
    };
    let Called::Done(plainly) = daemon.call(plain.id, None, None).await else { panic!("it is pending") };
    let bumped = daemon.finish(created.id, false).await;
    let reopened = daemon.reopened(created.id).await;
    let ended = daemon.finish(created.id, false).await;
    daemon.allocator.recycle(&ended, None, &context()).await.expect("Redis answers");
    let ended_at_once = daemon.finish(plain.id, true).await;
    let id = OrderId::new(Timestamp::from_unix_ms(1_700_000_000_123), restaurant(), 42);
    let restored =
        daemon.allocator.restore(id, Some(number(77)), OrderStatus::Held, Some("R7-LEGACY"), &details, &foreign).await;
    let Ok(Restored::New(imported)) = restored else { panic!("{restored:?}") };

    let entries = daemon.outbox().await;
    let sequences: Vec<u64> = entries.iter().map(|entry| entry.sequence).collect();
    assert_eq!(sequences, (1..=12).collect::<Vec<_>>());
    let mut kinds = Vec::new();
    for entry in &entries {
        let event = entry.event.clone().expect("readable");
        assert_eq!((entry.generation, event.generation, event.partition), (1, 1, PARTITION));
        assert_eq!(event.sequence, entry.sequence);
        assert_eq!(decode_entry(PARTITION, entry.sequence, &entry.raw), Ok(event.clone()));
        assert!((event.at.unix_ms() - now_ms()).abs() < 30_000, "{}", event.at);
        assert_eq!(event.context, if event.name() == "imported" { foreign.clone() } else { context() });
        kinds.push(event.kind);
    }
    let EventKind::Configured(change) = kinds.remove(0) else { panic!("settings come first") };
    assert_eq!((change.restaurant, change.settings, change.version), (restaurant(), PoolSettings::default(), 1));
    let resting = |ended: &Order| NumberAfter::Cooling(ended.cooling_until().expect("it is finished"));
    let (rested_first, rested) = (resting(&bumped), resting(&ended));
    let expected = [
        EventKind::Created { order: created, idempotency: Some(digest) },
        EventKind::Created { order: plain, idempotency: None },
        EventKind::Changed { order: changed, before: OrderStatus::Pending },
        EventKind::Called { order: called, before: OrderStatus::Ready, place: Some("Counter 2, left".to_owned()) },
        EventKind::Called { order: plainly, before: OrderStatus::Pending, place: None },
        EventKind::Released { order: bumped, before: OrderStatus::Ready, number: rested_first },
        EventKind::Reopened { order: reopened, before: OrderStatus::Completed },
        EventKind::Released { order: ended.clone(), before: OrderStatus::Preparing, number: rested },
        EventKind::Recycled { order: Order { ..ended } },
        EventKind::Released { order: ended_at_once, before: OrderStatus::Ready, number: NumberAfter::Free },
        EventKind::Imported { order: imported },
    ];
    assert_eq!(kinds, expected);

    // What was cut short is no event, and no panic.
    for entry in &entries {
        for length in 0..entry.raw.len() {
            assert!(decode_entry(PARTITION, entry.sequence, &entry.raw[..length]).is_err());
        }
    }
    daemon.allocator.trim_outboxes([]).await.expect("nothing to do is no error");
    daemon.allocator.trim_outboxes([(PARTITION, 1, 6)]).await.expect("Redis answers");
    let left: Vec<u64> = daemon.outbox().await.iter().map(|entry| entry.sequence).collect();
    assert_eq!(left, [7, 8, 9, 10, 11, 12]);
}

fn sequences(read: Result<OutboxEntries, AllocatorError>) -> Vec<u64> {
    read.expect("Redis answers").iter().flat_map(|(_, entries)| entries).map(|entry| entry.sequence).collect()
}

#[tokio::test]
async fn a_read_that_was_given_up_answers_the_next_one() {
    let redis = OwnRedis::start().await;
    let daemon = Daemon::on(&redis.url(), DAY).await.with_numbers(9, 0).await;
    daemon.new_order().await;
    let mut reader = OutboxReader::new(daemon.allocator.clone());
    let from = [(PARTITION, 0)];
    assert_eq!(sequences(reader.read(&from, 10, None).await), [1, 2]);
    redis.pause();
    let given_up = tokio::time::timeout(Duration::from_millis(50), reader.read(&from, 10, None)).await;
    given_up.expect_err("the server hangs");
    // Longer than a read waits for the last of several servers: this one is the only one.
    let resume = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        redis.resume();
    };
    let (read, ()) = tokio::join!(reader.read(&from, 10, None), resume);
    assert_eq!(sequences(read), [1, 2]);
}

#[tokio::test]
async fn what_was_read_ahead_counts_only_where_it_goes_on() {
    let daemon = Daemon::new().await.with_numbers(9, 0).await;
    for _ in 0..3 {
        daemon.new_order().await;
    }
    let mut reader = OutboxReader::new(daemon.allocator.clone());
    for block in [None, Some(DEADLINE)] {
        for (ahead, position, expected) in [
            (2, 2, &[3, 4][..]),
            // What was to be written before it was not.
            (2, 0, &[1, 2, 3, 4]),
            // Another one wrote more meanwhile.
            (1, 3, &[4]),
        ] {
            reader.read_ahead(&[(PARTITION, ahead)], 10);
            let read = reader.read(&[(PARTITION, position)], 10, block).await;
            assert_eq!(sequences(read), expected, "{position} after {ahead}");
        }
    }
    reader.read_ahead(&[(PARTITION, 2)], 10);
    let nothing = sequences(reader.read(&[], 10, None).await);
    assert!(nothing.is_empty(), "it is not asked for any more");
}

/// What a daemon has seen last is always one event ago, through every change of the number of digits.
#[tokio::test]
async fn daemons_that_take_turns_are_both_served() {
    let one = Daemon::new().await.with_numbers(999, 0).await;
    let url = support::redis_url().await;
    let other = Daemon { allocator: allocator(&url, &one.namespace, DAY), ..one.clone() };
    other.open();
    for _ in 0..60 {
        other.new_order().await;
        one.new_order().await;
    }
    assert_eq!(one.head().await.map(|head| head.sequence), Some(121));
}

/// Of two daemons, one reads the outboxes of both, and has much to do itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_write_is_noticed_however_much_is_written_here() {
    let (url, namespace) = (support::redis_url().await, support::namespace());
    let daemon = || Allocator::new(&url, &support::library::redis_settings(&namespace), 2, DAY).expect("a valid URL");
    let (reading, other) = (daemon(), daemon());
    let mut restaurants = Vec::new();
    for partition in PartitionId::all(2) {
        let run_id = other.server_of(partition).await.expect("Redis answers");
        assert!(other.create_partition(partition, 1, SEED, &run_id).await.expect("Redis answers"));
        for allocator in [&reading, &other] {
            allocator.open_partition(partition, 1, &run_id, 0, 0);
        }
        let its = |id: &RestaurantId| id.partition(2) == partition;
        let restaurant = (1..).filter_map(|id| RestaurantId::new(id).ok()).find(its).expect("there are many");
        let settings = PoolSettings { cooldown_seconds: 0, ..PoolSettings::default() };
        other.configure(restaurant, &settings, false, &context()).await.expect("Redis answers");
        restaurants.push(restaurant);
    }
    let create = async |allocator: &Allocator, restaurant| {
        let created = allocator.allocate(restaurant, &OrderDetails::default(), None, &context()).await;
        match created.expect("Redis answers") {
            Allocated::New(order) => order,
            other => panic!("{other:?}"),
        }
    };
    let (here, there) = (restaurants[0], restaurants[1]);
    let busy = tokio::spawn({
        let reading = reading.clone();
        async move {
            loop {
                let order = create(&reading, here).await;
                let status = Some(OrderStatus::Completed);
                let (context, expected_version, rewritten) = (context(), None, None);
                let update = OrderUpdate { status, expected_version, rewritten, context: &context };
                reading.release(order.id, update, true, false).await.expect("Redis answers");
            }
        }
    });
    let mut reader = OutboxReader::new(reading);
    let mut positions = [(PartitionId::new(0), 0), (PartitionId::new(1), 0)];
    // Reads on until the outboxes have come so far, that of the other daemon's restaurant last.
    let mut read_to = async |at_least: [u64; 2]| {
        let read_on = async {
            while positions.iter().zip(at_least).any(|((_, position), least)| *position < least) {
                let read = reader.read(&positions, 1000, Some(Duration::from_secs(1))).await.expect("Redis answers");
                for (partition, entries) in read {
                    let last = entries.last().expect("those without are left out").sequence;
                    let of = positions.iter_mut().find(|(one, _)| *one == partition).expect("it was asked for");
                    of.1 = last;
                }
            }
            positions[0].1
        };
        tokio::time::timeout(DEADLINE, read_on).await.expect("it is noticed")
    };
    let mut here_at = read_to([1, 1]).await;
    for there_at in 2..5 {
        // By then it is known that nothing more is there.
        here_at = read_to([here_at + 100, 0]).await;
        create(&other, there).await;
        here_at = read_to([here_at, there_at]).await;
    }
    busy.abort();
}

#[tokio::test]
async fn a_finished_order_stays_until_the_ledger_has_it() {
    let daemon = Daemon::new().await.with_numbers(9999, 14_400).await;
    let order = daemon.new_order().await;
    let finished = daemon.finish(order.id, false).await;
    let live = daemon.new_order().await;
    let everything = [order.id, live.id, OrderId::new(order.created_at(), restaurant(), 1)];

    let retire = async |durable| daemon.allocator.retire(PARTITION, durable, &everything).await.expect("Redis answers");
    assert_eq!(retire(finished.sequence - 1).await, 0);
    assert_eq!(daemon.allocator.order(order.id).await.expect("Redis answers"), Some(finished.clone()));
    assert_eq!(retire(finished.sequence).await, 1);
    assert_eq!(daemon.allocator.order(order.id).await.expect("Redis answers"), None);
    // The one that is live stays, however far the ledger has come.
    assert_eq!(retire(live.sequence).await, 0);
    assert_eq!(daemon.allocator.order(live.id).await.expect("Redis answers"), Some(live));
    daemon.assert_sound().await;
}

/// What the caller believes counts for nothing.
#[tokio::test]
async fn only_leaked_numbers_are_reclaimed() {
    let daemon = Daemon::new().await.with_numbers(9, 14_400).await;
    let orders = [daemon.new_order().await, daemon.new_order().await, daemon.new_order().await];
    daemon.finish(orders[1].id, false).await;
    // Number 4 leaks.
    let pool = format!("{}:{{0}}:pool:7", daemon.namespace);
    let ring: Vec<u8> = daemon.redis.clone().hget(&pool, "r0").await.expect("Redis answers");
    assert_eq!(ring, [0, 0, 4, 0, 0, 9], "the run in use is from 4 to 9");
    let () = daemon.redis.clone().hset(&pool, "r0", &[0, 0, 5, 0, 0, 9]).await.expect("Redis answers");
    let before = daemon.snapshot().await;
    let all: Vec<DisplayNumber> = (1..=9).chain([4, 10]).map(number).collect();
    let reclaimed = daemon.allocator.reclaim(restaurant(), &all, &context()).await.expect("Redis answers");
    assert_eq!(reclaimed, [4]);
    let after = daemon.snapshot().await;
    assert_eq!((after.live, after.free), (before.live, before.free));
    assert_eq!(after.cooling.iter().map(|(_, number)| *number).collect::<Vec<_>>(), [2, 4]);
    daemon.assert_sound().await;
    let last = daemon.outbox().await.pop().expect("there are some").event.expect("readable");
    assert!(matches!(&last.kind, EventKind::Rested(rests) if rests.numbers == [number(4)]), "{last:?}");
}

/// Whether an order is old enough is judged where it is, by Redis's clock.
#[tokio::test]
async fn only_forgotten_orders_are_expired() {
    let daemon = Daemon::new().await;
    daemon.configure(&PoolSettings { active_window_seconds: 3600, ..PoolSettings::default() }).await;
    let context = context();
    let created_at = daemon.allocator.now().expect("Redis told it").plus_ms(-3_601_000);
    let (old, details) = (OrderId::new(created_at, restaurant(), 1), OrderDetails::default());
    let restored = daemon.allocator.restore(old, None, OrderStatus::Ready, None, &details, &context).await;
    assert!(matches!(restored, Ok(Restored::New(_))), "{restored:?}");
    let young = daemon.new_order().await;
    let expire = async |id| {
        daemon.allocator.release(id, to(OrderStatus::Expired, &context), false, true).await.expect("answers")
    };
    assert_eq!(expire(young.id).await, Changed::Forbidden(young.clone()));
    assert!(matches!(expire(old).await, Changed::Done(order) if order.status == OrderStatus::Expired));
    assert_eq!(daemon.snapshot().await.live, [young]);
}

// Calls

#[tokio::test]
async fn a_call_makes_an_order_ready_and_counts() {
    let daemon = Daemon::new().await.with_numbers(9, 600).await;
    for before in [OrderStatus::Pending, OrderStatus::Preparing, OrderStatus::Ready] {
        let mut order = daemon.new_order().await;
        if before != OrderStatus::Pending {
            let changed = daemon.allocator.transition(order.id, to(before, &context())).await;
            let Ok(Changed::Done(changed)) = changed else { panic!("{changed:?}") };
            order = changed;
        }
        let Called::Done(called) = daemon.call(order.id, None, Some(order.version)).await else { panic!("{before}") };
        let expected = Order {
            status: OrderStatus::Ready,
            calls: Some(Calls { count: 1, last_at: called.updated_at }),
            updated_at: called.updated_at,
            version: order.version + 1,
            sequence: called.sequence,
            ..order
        };
        assert_eq!(called, expected, "all else is as it was");
        assert!(daemon.snapshot().await.live.contains(&called));
    }
    daemon.assert_sound().await;
}

/// However many screens call at once, and whatever version each of them has seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn screens_that_call_at_once_make_one_call_and_a_later_one_is_a_repeat() {
    let daemon = Daemon::new().await.with_numbers(9, 600).await;
    let order = daemon.new_order().await;
    let calls = stream::iter(0..20).map(|screen: u32| {
        let (daemon, id) = (daemon.clone(), order.id);
        // The first screens have seen it as it was.
        async move { daemon.call(id, None, screen.is_multiple_of(2).then_some(1)).await }
    });
    let (mut done, mut recent) = (Vec::new(), Vec::new());
    for called in calls.buffer_unordered(20).collect::<Vec<_>>().await {
        match called {
            Called::Done(order) => done.push(order),
            Called::Recent(order) => recent.push(order),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((done.len(), recent.len()), (1, 19));
    assert!(recent.iter().all(|order| *order == done[0]));
    let count = |order: &Order| order.calls.expect("it was called").count;
    assert_eq!(count(&done[0]), 1);

    // It counts again after three seconds, not before, whatever was changed meanwhile.
    let moved = daemon.allocator.transition(order.id, to(OrderStatus::Preparing, &context())).await;
    let Ok(Changed::Done(moved)) = moved else { panic!("{moved:?}") };
    let again = daemon.called(order.id).await;
    assert_eq!((again.status, count(&again), again.version), (OrderStatus::Ready, 2, moved.version + 1));
    let last_at = |order: &Order| order.calls.expect("it was called").last_at.unix_ms();
    assert!(last_at(&again) - last_at(&done[0]) >= 3000, "{again:?}");
    let kinds = daemon.outbox().await.into_iter().filter_map(|entry| Some(entry.event.ok()?.name()));
    assert_eq!(kinds.collect::<Vec<_>>(), ["configured", "created", "called", "changed", "called"]);
}

#[tokio::test]
async fn an_order_that_nobody_waits_for_is_not_called() {
    let daemon = Daemon::new().await.with_numbers(9, 600).await;
    for status in [OrderStatus::Served, OrderStatus::Held] {
        let id = daemon.new_order().await.id;
        let changed = daemon.allocator.transition(id, to(status, &context())).await;
        let Ok(Changed::Done(order)) = changed else { panic!("{changed:?}") };
        assert_eq!(daemon.call(id, None, None).await, Called::Forbidden(order.clone()));
        assert_eq!(daemon.call(id, None, Some(1)).await, Called::Version(order.clone()));
        // It goes back where it came from: what was served by mistake is cooked on.
        let back = daemon.allocator.transition(id, to(OrderStatus::Preparing, &context())).await;
        let Ok(Changed::Done(back)) = back else { panic!("{back:?}") };
        assert_eq!((back.status, back.version), (OrderStatus::Preparing, 3));
        assert_eq!(daemon.call(id, None, Some(2)).await, Called::Version(back));
        assert!(matches!(daemon.call(id, None, Some(3)).await, Called::Done(_)));
    }
    let id = daemon.new_order().await.id;
    let called = daemon.called(id).await;
    let ended = daemon.finish(id, false).await;
    assert_eq!(ended.calls, called.calls, "the count stays with the order");
    assert_eq!(daemon.call(id, None, None).await, Called::Final(ended.clone()), "also right after a call");
    assert_eq!(daemon.reopened(id).await.calls, called.calls);
    let unknown = OrderId::new(Timestamp::from_unix_ms(1), restaurant(), 1);
    assert_eq!(daemon.call(unknown, None, None).await, Called::Absent);
    daemon.assert_sound().await;
}

// Served orders

#[tokio::test]
async fn only_orders_that_were_served_for_long_enough_are_completed() {
    let daemon = Daemon::new().await;
    let settings = |served_seconds| PoolSettings { served_seconds, ..PoolSettings::default() };
    daemon.configure(&settings(1)).await;
    let complete = async |id| daemon.allocator.complete_served(id, &context()).await.expect("Redis answers");
    let serve = async || {
        let id = daemon.new_order().await.id;
        let served = daemon.allocator.transition(id, to(OrderStatus::Served, &context())).await;
        let Ok(Changed::Done(order)) = served else { panic!("{served:?}") };
        order
    };
    let ready = daemon.new_order().await;
    let (one, other) = (serve().await, serve().await);
    let over = other.updated_at.plus_ms(1001);
    support::eventually_true(DEADLINE, || async { daemon.allocator.now().is_ok_and(|now| now > over) }).await;
    assert_eq!(complete(ready.id).await, Changed::Forbidden(ready));
    assert!(matches!(complete(one.id).await, Changed::Done(order) if order.status == OrderStatus::Completed));
    let fresh = serve().await;
    assert_eq!(complete(fresh.id).await, Changed::Forbidden(fresh));
    // Who still writes on it is not done with it.
    let noted =
        Order { details: OrderDetails { note: Some("tip".to_owned()), ..other.details.clone() }, ..other.clone() };
    let context = context();
    let update = OrderUpdate { status: None, expected_version: Some(2), rewritten: Some(&noted), context: &context };
    let changed = daemon.allocator.transition(other.id, update).await;
    let Ok(Changed::Done(other)) = changed else { panic!("{changed:?}") };
    assert_eq!(complete(other.id).await, Changed::Forbidden(other.clone()));
    // Where the settings do not ask for it, none is.
    let over = other.updated_at.plus_ms(1001);
    support::eventually_true(DEADLINE, || async { daemon.allocator.now().is_ok_and(|now| now > over) }).await;
    daemon.configure(&settings(0)).await;
    assert_eq!(complete(other.id).await, Changed::Forbidden(other));
    daemon.assert_sound().await;
}

/// What no served order is older than is noted by the walk that looks for them, unless one comes back meanwhile.
#[tokio::test]
async fn a_walk_for_served_orders_is_due_only_when_one_may_be() {
    let daemon = Daemon::new().await;
    daemon.configure(&PoolSettings { served_seconds: 3600, ..PoolSettings::default() }).await;
    let is_due = async || {
        let count = daemon.allocator.count_numbers(restaurant()).await.expect("Redis answers");
        count.expect("it has settings").is_served_due
    };
    let begin = async || daemon.allocator.begin_served_walk(restaurant()).await.expect("Redis answers");
    let end = async |walk, oldest| daemon.allocator.end_served_walk(walk, oldest).await.expect("Redis answers");
    assert!(is_due().await, "none has looked yet");
    let walk = begin().await;
    assert!(is_due().await, "this one may not come to its end");
    end(walk, None).await;
    assert!(!is_due().await);
    let now = daemon.allocator.now().expect("Redis told it");
    for (age_ms, expected) in [(3_590_000, false), (3_600_000, true)] {
        let walk = begin().await;
        end(walk, Some(now.plus_ms(-age_ms))).await;
        assert_eq!(is_due().await, expected, "{age_ms}");
    }
    // Of two walks, the one that began later is the one that knows.
    let (first, second) = (begin().await, begin().await);
    end(first, None).await;
    assert!(is_due().await);
    end(second, None).await;
    assert!(!is_due().await);
    daemon.configure(&PoolSettings::default()).await;
    let walk = begin().await;
    assert!(!is_due().await, "the settings do not ask for it");
    end(walk, Some(now.plus_ms(-7_200_000))).await;
    assert!(!is_due().await);
    daemon.assert_sound().await;
}

// Reopened orders

#[tokio::test]
async fn a_reopened_order_has_its_number_again_and_counts_how_often() {
    let daemon = Daemon::new().await.with_numbers(2, 3600).await;
    let order = daemon.new_order().await;
    let mut ended = daemon.finish(order.id, false).await;
    for count in 1..=3 {
        let reopened = daemon.reopened(order.id).await;
        let expected = Order {
            status: OrderStatus::Preparing,
            released_at: None,
            reopening: Some(Reopening { count, at: reopened.updated_at }),
            updated_at: reopened.updated_at,
            version: ended.version + 1,
            sequence: ended.sequence + 1,
            ..ended.clone()
        };
        assert_eq!(reopened, expected, "all else is as it was, when the number was given too");
        assert!(reopened.updated_at >= ended.updated_at);
        let snapshot = daemon.snapshot().await;
        assert_eq!((snapshot.live, snapshot.kept.len(), snapshot.cooling.len()), (vec![reopened.clone()], 0, 0));
        assert_eq!(daemon.reopen(order.id).await, Reopened::Live(reopened), "it is open");
        ended = daemon.finish(order.id, false).await;
        let snapshot = daemon.snapshot().await;
        assert_eq!((snapshot.kept, snapshot.cooling.len()), (vec![ended.clone()], 1));
        daemon.assert_sound().await;
    }
    // The number goes to no other order.
    daemon.reopened(order.id).await;
    daemon.new_order().await;
    assert!(matches!(daemon.allocate().await, Ok(Allocated::Exhausted { next_free_at: None, .. })));
    daemon.assert_sound().await;
}

#[tokio::test]
async fn an_order_is_reopened_only_while_its_number_rests_for_it() {
    let daemon = Daemon::new().await.with_numbers(9, 3600).await;
    let context = context();
    // Called off, or forgotten.
    for end in [OrderStatus::Cancelled, OrderStatus::Expired] {
        let id = daemon.new_order().await.id;
        let ended = daemon.allocator.release(id, to(end, &context), false, false).await;
        let Ok(Changed::Done(ended)) = ended else { panic!("{ended:?}") };
        assert_eq!(daemon.reopen(id).await, Reopened::Final(ended));
    }
    // Free at once; freed early; in no store.
    let at_once = daemon.finish(daemon.new_order().await.id, true).await;
    assert_eq!(daemon.reopen(at_once.id).await, Reopened::MovedOn);
    let early = daemon.finish(daemon.new_order().await.id, false).await;
    assert_eq!(daemon.allocator.recycle(&early, None, &context).await.expect("Redis answers"), Recycled::Freed);
    assert_eq!(daemon.reopen(early.id).await, Reopened::MovedOn);
    let unknown = OrderId::new(daemon.allocator.now().expect("Redis told it"), restaurant(), 42);
    assert_eq!(daemon.reopen(unknown).await, Reopened::Absent);

    // Its rest is over, whether another order has taken the number by then or not.
    let daemon = Daemon::new().await.with_numbers(1, 1).await;
    let first = daemon.finish(daemon.new_order().await.id, false).await;
    let free_at = first.cooling_until().expect("it rests");
    support::eventually_true(DEADLINE, || async { daemon.allocator.now().is_ok_and(|now| now > free_at) }).await;
    assert_eq!(daemon.reopen(first.id).await, Reopened::MovedOn);
    let next = daemon.new_order().await;
    assert_eq!((next.number, daemon.reopen(first.id).await), (first.number, Reopened::MovedOn));
    daemon.finish(next.id, false).await;
    assert_eq!(daemon.reopen(first.id).await, Reopened::MovedOn, "it rests for the next one");
    daemon.reopened(next.id).await;
    daemon.assert_sound().await;

    // No rest at all.
    let daemon = Daemon::new().await.with_numbers(9, 0).await;
    let ended = daemon.finish(daemon.new_order().await.id, false).await;
    assert_eq!(daemon.reopen(ended.id).await, Reopened::MovedOn);
}

#[tokio::test]
async fn a_reopening_may_be_of_one_version_only_and_bring_new_details() {
    let daemon = Daemon::new().await.with_numbers(9, 3600).await;
    let (ended, context) = (daemon.finish(daemon.new_order().await.id, false).await, context());
    let details = OrderDetails { note: Some("bumped by mistake".to_owned()), ..OrderDetails::default() };
    let rewritten = Order { details: details.clone(), ..ended.clone() };
    let reopen = async |version| {
        let update = OrderUpdate {
            status: Some(OrderStatus::Preparing),
            expected_version: Some(version),
            rewritten: Some(&rewritten),
            context: &context,
        };
        daemon.allocator.reopen(ended.id, update, None).await.expect("Redis answers")
    };
    assert_eq!(reopen(ended.version - 1).await, Reopened::Version(ended.clone()));
    let Reopened::Done(order) = reopen(ended.version).await else { panic!("it is at that version") };
    assert_eq!((order.version, &order.details), (ended.version + 1, &details));
    assert_eq!(reopen(ended.version).await, Reopened::Version(order));
}

/// An order that Redis let go of, since the ledger has it.
#[tokio::test]
async fn an_order_that_was_let_go_of_is_reopened_as_the_ledger_has_it() {
    let daemon = Daemon::new().await.with_numbers(9, 3600).await;
    let ended = daemon.finish(daemon.new_order().await.id, false).await;
    let free_at = ended.cooling_until().expect("it rests");
    assert_eq!(daemon.allocator.retire(PARTITION, ended.sequence, &[ended.id]).await.expect("Redis answers"), 1);
    assert_eq!(daemon.reopen(ended.id).await, Reopened::Absent, "by itself it knows nothing of it");
    let context = context();
    let as_known = async |order: &Order, free_at| {
        let known = Some((order, free_at));
        daemon.allocator.reopen(order.id, to(OrderStatus::Preparing, &context), known).await.expect("Redis answers")
    };
    assert_eq!(as_known(&ended, free_at.plus_ms(1)).await, Reopened::MovedOn, "that rest is none of its own");
    let stale = Order { status: OrderStatus::Cancelled, ..ended.clone() };
    assert!(matches!(as_known(&stale, free_at).await, Reopened::Final(_)));
    let Reopened::Done(order) = as_known(&ended, free_at).await else { panic!("its number rests for it") };
    assert_eq!((order.number, order.given_at, order.version), (ended.number, ended.given_at, ended.version + 1));
    assert_eq!(as_known(&ended, free_at).await, Reopened::Live(order), "what the ledger has is older");
    daemon.assert_sound().await;
    assert_eq!(daemon.snapshot().await.holders.get(&number_of(&ended)), Some(&ended.id));
}

/// Many orders come for a number at the moment in which its last one is reopened: it is that one's, or was given before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_reopening_and_a_new_order_one_gets_the_number() {
    for turn in 0..8 {
        let daemon = Daemon::new().await.with_numbers(1, 1).await;
        let ended = daemon.finish(daemon.new_order().await.id, false).await;
        let free_at = ended.cooling_until().expect("it rests").plus_ms(turn - 4);
        let mut callers = JoinSet::new();
        for caller in 0..6 {
            let daemon = daemon.clone();
            callers.spawn(async move {
                support::eventually_true(DEADLINE, || async { daemon.allocator.now().is_ok_and(|now| now >= free_at) })
                    .await;
                match caller {
                    0 => matches!(daemon.reopen(ended.id).await, Reopened::Done(_)),
                    _ => matches!(daemon.allocate().await, Ok(Allocated::New(_))),
                }
            });
        }
        let got_it = callers.join_all().await.into_iter().filter(|got_it| *got_it).count();
        assert!(got_it <= 1, "{got_it} orders have one number");
        assert_eq!(daemon.snapshot().await.live.len(), got_it);
        daemon.assert_sound().await;
    }
}

/// The range changed while the number rested, or it was blocked: the guest has it in the hand, and it is retiring.
#[tokio::test]
async fn a_reopened_order_keeps_a_number_that_the_pool_no_longer_has() {
    let daemon = Daemon::new().await.with_numbers(9, 3600).await;
    let (first, second) = (daemon.new_order().await.id, daemon.new_order().await.id);
    for id in [first, second] {
        daemon.finish(id, false).await;
    }
    let blocked_numbers = [1].into();
    let settings = PoolSettings { min_number: 1, max_number: 1, cooldown_seconds: 60, ..PoolSettings::default() };
    daemon.configure(&PoolSettings { max_number: 5, min_number: 3, ..settings.clone() }).await;
    assert_eq!(daemon.snapshot().await.retiring, (0, 2));
    assert_eq!(number_of(&daemon.reopened(second).await), 2);
    assert_eq!(daemon.snapshot().await.retiring, (1, 1));
    daemon.configure(&PoolSettings { max_number: 9, blocked_numbers, ..settings }).await;
    assert_eq!(daemon.snapshot().await.retiring, (0, 1));
    assert_eq!(number_of(&daemon.reopened(first).await), 1);
    assert_eq!(daemon.snapshot().await.retiring, (1, 0));
    daemon.assert_sound().await;
    for id in [first, second] {
        daemon.finish(id, true).await;
    }
    assert_eq!(daemon.snapshot().await.retiring, (0, 0));
    daemon.assert_sound().await;
}

#[tokio::test]
async fn the_active_window_of_a_reopened_order_begins_anew() {
    let daemon = Daemon::new().await;
    daemon.configure(&PoolSettings { active_window_seconds: 3600, ..PoolSettings::default() }).await;
    let context = context();
    let created_at = daemon.allocator.now().expect("Redis told it").plus_ms(-7_200_000);
    let mut old = Vec::new();
    for unique in 0..3 {
        let (id, details) = (OrderId::new(created_at, restaurant(), unique), OrderDetails::default());
        let restored = daemon.allocator.restore(id, None, OrderStatus::Ready, None, &details, &context).await;
        assert!(matches!(restored, Ok(Restored::New(_))), "{restored:?}");
        old.push(id);
    }
    let overdue = async || daemon.overdue().await;
    assert_eq!(overdue().await, 3);
    let reopened = old[1];
    daemon.finish(reopened, false).await;
    let order = daemon.reopened(reopened).await;
    assert_eq!((order.created_at(), order.active_from()), (created_at, order.updated_at));
    assert_eq!(overdue().await, 2, "the reopened one is not");
    let expire = async |id| {
        daemon.allocator.release(id, to(OrderStatus::Expired, &context), false, true).await.expect("answers")
    };
    assert_eq!(expire(reopened).await, Changed::Forbidden(order.clone()));
    assert!(matches!(expire(old[0]).await, Changed::Done(_)));
    // It is forgotten when the window is over again.
    let window = PoolSettings { active_window_seconds: 1, ..PoolSettings::default() };
    daemon.configure(&window).await;
    let over = order.updated_at.plus_ms(1001);
    support::eventually_true(DEADLINE, || async { daemon.allocator.now().is_ok_and(|now| now > over) }).await;
    assert_eq!(overdue().await, 2);
    assert!(matches!(expire(reopened).await, Changed::Done(order) if order.status == OrderStatus::Expired));
    daemon.assert_sound().await;
}

/// More overdue orders than one command reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_overdue_orders_are_counted() {
    let daemon = Daemon::new().await;
    daemon.configure(&PoolSettings { active_window_seconds: 3600, ..PoolSettings::default() }).await;
    let created_at = daemon.allocator.now().expect("Redis told it").plus_ms(-7_200_000);
    let restored = stream::iter(0..1_201).map(|unique| {
        let daemon = daemon.clone();
        async move {
            let (id, details) = (OrderId::new(created_at, restaurant(), unique), OrderDetails::default());
            let taken = daemon.allocator.restore(id, None, OrderStatus::Ready, None, &details, &context()).await;
            assert!(matches!(taken, Ok(Restored::New(_))), "{taken:?}");
        }
    });
    assert_eq!(restored.buffer_unordered(32).count().await, 1_201);
    for unique in [0, 600, 1_200] {
        let id = OrderId::new(created_at, restaurant(), unique);
        daemon.finish(id, false).await;
        daemon.reopened(id).await;
    }
    assert_eq!(daemon.overdue().await, 1_198);
}

/// More live orders than a script looks through: the oldest is found outside of it, and noted for the next one that asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_of_many_live_orders_is_known() {
    let daemon = Daemon::new().await.with_numbers(9999, 14_400).await;
    let mut made: Vec<Order> = stream::iter(0..300)
        .map(|_| {
            let daemon = daemon.clone();
            async move { daemon.new_order().await }
        })
        .buffer_unordered(32)
        .collect()
        .await;
    made.sort_by_key(|order| order.id);
    let oldest = async || {
        let count = daemon.allocator.count_numbers(restaurant()).await.expect("Redis answers").expect("one");
        count.occupancy.oldest_live_at.expect("some are live")
    };
    assert_eq!(oldest().await, made[0].created_at());
    let key = format!("{}:{{0}}:pool:7", daemon.namespace);
    let noted: Vec<u8> = daemon.redis.clone().hget(key, "old").await.expect("Redis answers");
    assert_eq!(noted, made[0].id.as_bytes(), "nobody has to look for it again");
    assert_eq!(oldest().await, made[0].created_at());
    daemon.finish(made[0].id, true).await;
    assert_eq!(oldest().await, made[1].created_at());
    // While another daemon looks for it, what is noted is no order.
    let key = format!("{}:{{0}}:pool:7", daemon.namespace);
    let () = daemon.redis.clone().hset(key, "old", &[0xff_u8; 16]).await.expect("Redis answers");
    assert_eq!(oldest().await, made[1].created_at());
    // One that is taken over, or back, may be older than what was noted.
    let older = made[0].created_at().plus_ms(-60_000);
    let id = OrderId::new(older, restaurant(), 1);
    let taken =
        daemon.allocator.restore(id, None, OrderStatus::Ready, None, &OrderDetails::default(), &context()).await;
    assert!(matches!(taken, Ok(Restored::New(_))), "{taken:?}");
    assert_eq!(oldest().await, older);
    daemon.finish(id, false).await;
    assert_eq!(oldest().await, made[1].created_at());
    daemon.reopened(id).await;
    assert_eq!(oldest().await, older);
}
