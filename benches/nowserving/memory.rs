//! What a deployment takes of Redis's memory: each of its parts by itself, as the growth over thousands of them, and
//! 40,000 restaurants as a whole, brought about by the allocator's own scripts. Beside each stands the simplest that Redis
//! could hold for the same thing, measured on a second server in the same run.

use std::{
    collections::VecDeque,
    iter::repeat_n,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use nowserving::domain::{BlockedNumbers, Order, OrderId, PartitionId, PoolSettings, RestaurantId};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use redis::aio::MultiplexedConnection;
use tokio::task::JoinSet;

use crate::{
    Plan,
    pools::{IN_MEMORY, Memory, PARTITIONS, Rig, at_once, body_of_100_bytes, memory, restaurant},
    report::{Bound, Figure, Reference, Report, Target},
    rounds::Spread,
    support::OwnRedis,
};

const GROUP: &str = "memory";
/// Restaurants of the whole.
const RESTAURANTS: usize = 40_000;
const LIVE: usize = 50;
const COOLING: usize = 300;
/// Restaurants that block all numbers with a 4, as a pattern, and as many with the same as a list.
const BLOCKING: usize = 50;
const GIB: f64 = (1_u64 << 30) as f64;
/// What an allocation and a release take, the way to Redis included, for a guess at how long many of them will.
const CALL: Duration = Duration::from_micros(20);

/// Up to how many members a sorted set is packed (`zset-max-listpack-entries`): what local mode sets, and what Redis does
/// by itself. The cooling numbers of a restaurant are one sorted set.
const PACKINGS: [Packing; 2] = [Packing { members: "512", whole_gib: 1.0 }, Packing { members: "128", whole_gib: 2.5 }];

#[derive(Clone, Copy)]
struct Packing {
    members: &'static str,
    /// What the whole may take.
    whole_gib: f64,
}

impl Packing {
    fn options(self) -> Vec<&'static str> {
        [IN_MEMORY, &["--zset-max-listpack-entries", self.members]].concat()
    }
}

pub async fn measure(plan: &Plan, report: &mut Report) {
    parts(plan, report).await;
    rests(plan, report).await;
    for packing in PACKINGS {
        whole(plan, packing, report).await;
    }
}

/// Cooling numbers where Redis does not pack them, beside those of [`parts`].
async fn rests(plan: &Plan, report: &mut Report) {
    let busy = plan.size(200, 1000);
    let options = PACKINGS[1].options();
    let (rig, plain) = (Arc::new(Rig::start(&options).await), Plain::start(&options).await);
    rig.allocator.ping().await.expect("Redis answers");
    configure(&rig, 0..busy).await;
    let mut fleet = Fleet::of(&rig, 0..busy);
    fleet.turns(LIVE, Turn::Opens).await;
    let (mut growth, mut beside) = (Growth::new(rig.redis.clone()).await, Growth::new(plain.redis.clone()).await);
    fleet.turns(COOLING, Turn::Replaces).await;
    plain.numbers_at_rest(0..busy).await;
    report.figure(Figure {
        group: GROUP,
        name: format!("cooling number, sets packed up to {}", PACKINGS[1].members),
        unit: "B",
        value: Spread::once(growth.each(busy * COOLING).await),
        reference: Reference {
            name: "ZADD, number by time".to_owned(),
            value: Spread::once(beside.each(busy * COOLING).await),
        },
        target: None,
        by_round: None,
    });
}

/// Idle restaurants, live orders in some of them, numbers at rest in the same, and idempotency keys in others: what Redis
/// grows by is theirs.
async fn parts(plan: &Plan, report: &mut Report) {
    let (all, busy) = plan.size((5000, 200), (40_000, 1000));
    let (few_keys, many_keys) = ((busy..2 * busy, 50), (2 * busy..2 * busy + busy / 10, 600));
    let options = PACKINGS[0].options();
    let (rig, plain) = (Arc::new(Rig::start(&options).await), Plain::start(&options).await);
    let mut chance = StdRng::seed_from_u64(plan.seed);
    // Each connection that is used later has been used before the first look.
    rig.allocator.ping().await.expect("Redis answers");
    let (mut growth, mut beside) = (Growth::new(rig.redis.clone()).await, Growth::new(plain.redis.clone()).await);
    let mut add = |name: &str, grown: f64, reference: &str, plain: f64, target: Option<Target>| {
        let reference = Reference { name: reference.to_owned(), value: Spread::once(plain) };
        let value = Spread::once(grown);
        report.figure(Figure {
            group: GROUP,
            name: name.to_owned(),
            unit: "B",
            value,
            reference,
            target,
            by_round: None,
        });
    };
    let at_most = |bytes| Target::value(Bound::AtMost(bytes));

    configure(&rig, 0..all).await;
    plain.restaurants(0..all).await;
    add("idle restaurant", growth.each(all).await, "SET, the settings", beside.each(all).await, at_most(400.0));

    let mut fleet = Fleet::of(&rig, 0..busy);
    fleet.turns(LIVE, Turn::Opens).await;
    plain.orders(0..busy, &mut chance).await;
    let name = "live order with a body of 100 bytes, outbox apart";
    let orders = busy * LIVE;
    add(name, growth.each(orders).await, "HSET, id and body", beside.each(orders).await, at_most(450.0));

    fleet.turns(COOLING, Turn::Replaces).await;
    plain.numbers_at_rest(0..busy).await;
    let numbers = busy * COOLING;
    let (grown, plainly) = (growth.each(numbers).await, beside.each(numbers).await);
    add(
        &format!("cooling number, sets packed up to {}", PACKINGS[0].members),
        grown,
        "ZADD, number by time",
        plainly,
        at_most(60.0),
    );

    for (what, (restaurants, keys)) in [("50 of a restaurant", few_keys), ("600 of a restaurant", many_keys)] {
        let count = restaurants.len() * keys;
        let drawn: Vec<(RestaurantId, [u8; 16])> =
            restaurants.flat_map(|n| repeat_n(restaurant(n), keys)).map(|of| (of, chance.random())).collect();
        remember_keys(&rig, &drawn).await;
        plain.idempotency_keys(&drawn).await;
        let name = format!("idempotency key, {what}");
        add(&name, growth.each(count).await, "SET EX, key and id", beside.each(count).await, None);
    }

    let with_a_4: Vec<u32> = (1..=9999).filter(|n: &u32| n.to_string().contains('4')).collect();
    let pattern: BlockedNumbers = "*4*".parse().expect("a pattern");
    let list: BlockedNumbers = with_a_4.iter().copied().collect();
    for (at, what, blocked_numbers) in [(0, "\"*4*\"", pattern), (1, "the same as a list of 3,439", list)] {
        let restaurants = all + at * BLOCKING..all + (at + 1) * BLOCKING;
        let settings = PoolSettings { blocked_numbers, ..PoolSettings::default() };
        at_once(restaurants.clone().map(|n| rig.configure(restaurant(n), &settings))).await;
        rig.trim_outboxes().await;
        plain.blocked_numbers(restaurants, &with_a_4).await;
        let name = format!("idle restaurant that blocks {what}");
        add(&name, growth.each(BLOCKING).await, "SADD, each number", beside.each(BLOCKING).await, None);
    }
    report.note(
        GROUP,
        format!(
            "The parts are counted as the growth of used_memory over {all} idle restaurants, {orders} live orders and \
             {numbers} cooling numbers in {busy} restaurants, and as many idempotency keys in others."
        ),
    );
}

/// 40,000 restaurants, 50 live orders and 300 cooling numbers in each, none of them made otherwise than by allocations and
/// releases. Reduced, a twentieth of them, and what they take twenty times.
async fn whole(plan: &Plan, packing: Packing, report: &mut Report) {
    let restaurants = plan.size(RESTAURANTS / 20, RESTAURANTS);
    let scale = (RESTAURANTS / restaurants) as f64;
    let options = packing.options();
    let rig = Arc::new(Rig::start(&options).await);
    rig.allocator.ping().await.expect("Redis answers");
    let empty = rig.memory().await;
    let took = load_all(&rig, restaurants).await;
    let full = rig.memory().await;
    drop(rig);

    let plain = Plain::start(&options).await;
    let plain_empty = memory(&plain.redis).await;
    let mut chance = StdRng::seed_from_u64(plan.seed);
    plain.restaurants(0..restaurants).await;
    plain.orders(0..restaurants, &mut chance).await;
    plain.numbers_at_rest(0..restaurants).await;
    let plain_full = memory(&plain.redis).await;

    let scaled = |empty: f64, full: f64| Spread::once(((full - empty) * scale + empty) / GIB);
    let times = if scale > 1.0 { format!(", {restaurants} × {scale}") } else { String::new() };
    let mut add = |what: &str, of: fn(&Memory) -> f64, target: Option<Target>| {
        report.figure(Figure {
            group: GROUP,
            name: format!(
                "40,000 restaurants, 50 live, 300 cooling{times}, sets packed up to {}: {what}",
                packing.members
            ),
            unit: "GiB",
            value: scaled(of(&empty), of(&full)),
            reference: Reference {
                name: "SET, HSET, ZADD for the same".to_owned(),
                value: scaled(of(&plain_empty), of(&plain_full)),
            },
            target,
            by_round: None,
        });
    };
    add("used", |memory| memory.used, Target::value(Bound::AtMost(packing.whole_gib)));
    add("RSS", |memory| memory.resident, None);
    report.note(
        GROUP,
        format!(
            "{restaurants} restaurants were brought to 50 live orders with bodies of 100 bytes and 300 cooling numbers \
             by {} allocations and {} releases without idempotency keys, which took {:.0} s; outboxes were trimmed and \
             finished orders retired as they went.",
            restaurants * (LIVE + COOLING),
            restaurants * COOLING,
            took.as_secs_f64(),
        ),
    );
}

/// Brings that many restaurants to where they shall be, and says how far it is.
async fn load_all(rig: &Arc<Rig>, restaurants: usize) -> Duration {
    configure(rig, 0..restaurants).await;
    let mut fleet = Fleet::of(rig, 0..restaurants);
    let calls = (restaurants * (LIVE + 2 * COOLING)) as u64;
    let guess = CALL.as_secs_f64() * calls as f64;
    eprintln!("  {restaurants} restaurants: {calls} allocations and releases, at 20 µs each {guess:.0} s");
    let started = Instant::now();
    let progress = tokio::spawn(tell_progress(Arc::clone(&fleet.calls), calls));
    fleet.turns(LIVE, Turn::Opens).await;
    fleet.turns(COOLING, Turn::Replaces).await;
    progress.await.expect("all calls were made");
    started.elapsed()
}

/// Says at each tenth how long it took so far, until all calls were made.
async fn tell_progress(made: Arc<AtomicU64>, calls: u64) {
    let (started, mut told) = (Instant::now(), 0);
    while told < 10 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let tenths = 10 * made.load(Relaxed) / calls;
        if tenths > told {
            told = tenths;
            eprintln!("  {told}0 % after {:.0} s", started.elapsed().as_secs_f64());
        }
    }
}

/// Settings as a restaurant has them that never said any.
async fn configure(rig: &Rig, restaurants: Range<usize>) {
    let settings = PoolSettings::default();
    at_once(restaurants.map(|n| rig.configure(restaurant(n), &settings))).await;
    rig.trim_outboxes().await;
}

/// Restaurants and their live orders, those of each partition for themselves: partitions work side by side, each a call
/// at a time.
struct Fleet {
    partitions: Vec<Part>,
    /// Allocations and releases so far.
    calls: Arc<AtomicU64>,
}

struct Part {
    rig: Arc<Rig>,
    restaurants: Vec<(RestaurantId, VecDeque<OrderId>)>,
    calls: Arc<AtomicU64>,
}

/// What happens in a restaurant when it is its turn.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// A new order.
    Opens,
    /// A new order, and the end of the oldest one.
    Replaces,
}

impl Fleet {
    fn of(rig: &Arc<Rig>, restaurants: Range<usize>) -> Self {
        let calls = Arc::new(AtomicU64::new(0));
        let part = |partition| Part {
            rig: Arc::clone(rig),
            restaurants: restaurants
                .clone()
                .map(restaurant)
                .filter(|of| rig.allocator.partition_of(*of) == partition)
                .map(|of| (of, VecDeque::new()))
                .collect(),
            calls: Arc::clone(&calls),
        };
        Self { partitions: PartitionId::all(PARTITIONS).map(part).collect(), calls }
    }

    /// All restaurants have their turn, and then again.
    async fn turns(&mut self, count: usize, turn: Turn) {
        let mut tasks = JoinSet::new();
        for mut part in self.partitions.drain(..) {
            tasks.spawn(async move {
                for _ in 0..count {
                    part.turn(turn).await;
                }
                part
            });
        }
        self.partitions = tasks.join_all().await;
    }
}

impl Part {
    /// As with orders that come a while apart, the ledger has what ended before it is the same restaurant's turn again.
    async fn turn(&mut self, turn: Turn) {
        let mut ended: Vec<Order> = Vec::new();
        for (of, live) in &mut self.restaurants {
            live.push_back(self.rig.allocate(*of, None).await.id);
            self.calls.fetch_add(1, Relaxed);
            if let Turn::Replaces = turn {
                let oldest = live.pop_front().expect("one was just added");
                ended.push(self.rig.release(oldest, false).await);
                self.calls.fetch_add(1, Relaxed);
            }
        }
        self.rig.retire(&ended).await;
        if let Some((of, _)) = self.restaurants.first() {
            self.rig.trim_outbox(self.rig.allocator.partition_of(*of)).await;
        }
    }
}

/// Orders that came with these keys, and are gone: the keys stay.
async fn remember_keys(rig: &Rig, keys: &[(RestaurantId, [u8; 16])]) {
    for some in keys.chunks(1000) {
        let ended = at_once(some.iter().map(async |(of, key)| {
            let order = rig.allocate(*of, Some(*key)).await;
            rig.release(order.id, true).await
        }));
        rig.retire(&ended.await).await;
    }
    rig.trim_outboxes().await;
}

/// How much a server's memory has grown since the last look.
struct Growth {
    redis: MultiplexedConnection,
    before: f64,
}

impl Growth {
    async fn new(redis: MultiplexedConnection) -> Self {
        let before = memory(&redis).await.used;
        Self { redis, before }
    }

    /// Bytes for each of so many things that were added.
    async fn each(&mut self, things: usize) -> f64 {
        let now = memory(&self.redis).await.used;
        let grown = now - self.before;
        self.before = now;
        grown / things as f64
    }
}

/// A server that holds the same things in the simplest way: no rules, no outbox, no generations.
struct Plain {
    redis: MultiplexedConnection,
    _server: OwnRedis,
}

impl Plain {
    async fn start(options: &[&str]) -> Self {
        let server = OwnRedis::start_with(options).await;
        Self { redis: server.connect().await, _server: server }
    }

    /// A key for each restaurant: its settings as JSON.
    async fn restaurants(&self, restaurants: Range<usize>) {
        let settings = serde_json::to_string(&PoolSettings::default()).expect("settings are plain JSON");
        self.each_of(restaurants, |pipe, n| {
            pipe.set(format!("r:{}", restaurant(n)), &settings).ignore();
        })
        .await;
    }

    /// A set for each restaurant: numbers that are not given.
    async fn blocked_numbers(&self, restaurants: Range<usize>, numbers: &[u32]) {
        self.each_of(restaurants, |pipe, n| {
            pipe.sadd(format!("blocked:{}", restaurant(n)), numbers).ignore();
        })
        .await;
    }

    /// A hash for each restaurant: an order's id and its body.
    async fn orders(&self, restaurants: Range<usize>, chance: &mut StdRng) {
        let body = serde_json::to_string(&body_of_100_bytes()).expect("plain JSON");
        self.each_of(restaurants, |pipe, n| {
            let orders: Vec<(Vec<u8>, &str)> =
                (0..LIVE).map(|_| (chance.random::<[u8; 16]>().to_vec(), &*body)).collect();
            pipe.hset_multiple(format!("order:{}", restaurant(n)), &orders).ignore();
        })
        .await;
    }

    /// A sorted set for each restaurant: a number, and when it is free again in ms.
    async fn numbers_at_rest(&self, restaurants: Range<usize>) {
        let now = chrono::Utc::now().timestamp_millis();
        let numbers: Vec<(i64, usize)> = (1..=COOLING).map(|n| (now + 1000 * n as i64, n)).collect();
        self.each_of(restaurants, |pipe, n| {
            pipe.zadd_multiple(format!("cool:{}", restaurant(n)), &numbers).ignore();
        })
        .await;
    }

    /// A key for each idempotency key, which goes after a day: the order's id.
    async fn idempotency_keys(&self, keys: &[(RestaurantId, [u8; 16])]) {
        self.each_of(0..keys.len(), |pipe, n| {
            let (of, key) = keys[n];
            pipe.set_ex(format!("idem:{of}:{:032x}", u128::from_be_bytes(key)), &key[..], 86_400).ignore();
        })
        .await;
    }

    /// Adds a command for each to pipelines, and sends them.
    async fn each_of(&self, all: Range<usize>, mut add: impl FnMut(&mut redis::Pipeline, usize)) {
        let numbers: Vec<usize> = all.collect();
        // A few: three hundred members each are an answer that is waited for.
        for some in numbers.chunks(20) {
            let mut pipe = redis::pipe();
            for n in some {
                add(&mut pipe, *n);
            }
            pipe.exec_async(&mut self.redis.clone()).await.expect("Redis answers");
        }
    }
}
