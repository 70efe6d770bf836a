//! Every script against a plain model of the pool (`pool_model/model.rs`), step by step, over generated histories.
//!
//! Time does not pass by waiting: cooldowns are multiples of 100 seconds, far longer than a test, and a step moves the
//! instants in the list of resting numbers back by as much. So whether a rest is over never depends on the machine. Where
//! business dates are tested, Redis has a clock of its own, and a step sets that ahead by hours.

mod model;
use crate::support::{self, Clock, OwnRedis};
use std::{
    collections::{BTreeSet, HashSet},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use model::{Model, RecycledNumber, number_of, restaurant};
use nowserving::{
    allocator::{
        Allocated, Allocator, Called, Changed, Configured, Finding, OrderUpdate, PoolSnapshot, Recycled, Reopened,
        Restored,
    },
    domain::{
        Avoid, BlockedNumbers, BusinessDaySettings, Calls, Choice, Context, DisplayNumber, IdempotencyDigest, Order,
        OrderDetails, OrderId, OrderSource, OrderStatus, OrderType, PartitionId, PoolSettings, Quarantine, RangeMatch,
        RangeSettings, Reopening, Reset, SelectionPolicy, SpecialNumbers, Timestamp,
        model::{Answer, Asked, Giving},
    },
};
use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, TestRunner},
};
use redis::{AsyncCommands, aio::MultiplexedConnection};
use tokio::runtime::Runtime;

const SEED: &str = "0123456789abcdef";
const PARTITION: PartitionId = PartitionId::new(0);

#[derive(Debug, Clone)]
enum Step {
    Configure { settings: PoolSettings, only_if_new: bool },
    Allocate { key: Option<(u8, u8)>, wished: Option<u32>, details: OrderDetails },
    Transition { order: Index, status: Option<OrderStatus>, rewrite: Option<String>, expect: Expect },
    Release { order: Index, end: OrderStatus, immediate: bool, rewrite: Option<String>, expect: Expect, before: Before },
    Call { order: Index, place: Option<String>, expect: Expect },
    Recycle { order: Index },
    Reopen { order: Index, rewrite: Option<String>, expect: Expect, as_the_ledger_has_it: bool },
    Restore { wanted: Option<u32>, status: OrderStatus, legacy: Option<String>, details: OrderDetails, twice: bool },
    Retire { durable: Index, orders: Vec<Index> },
    LoseAndReclaim { numbers: Vec<u32> },
    Pass { hundred_seconds: u16 },
}

#[derive(Debug, Clone, Copy)]
enum Expect {
    Nothing,
    Present,
    Another,
}

#[derive(Debug, Clone, Copy)]
enum Before {
    Any,
    LongAgo,
    Tomorrow,
}

#[test]
fn small_pools_behave_as_the_model() {
    check(Config::with_cases(150), settings(1..=30), steps(1..=32, 1..60));
}

#[test]
fn tiny_pools_that_hardly_ever_have_a_free_number_behave_as_the_model() {
    check(Config::with_cases(120), settings(1..=4), steps(1..=5, 1..60));
}

#[test]
fn pools_at_the_top_of_what_can_be_shown_behave_as_the_model() {
    check(Config::with_cases(50), settings(999_985..=999_999), steps(999_980..=999_999, 1..50));
}

#[test]
fn huge_pools_with_few_orders_behave_as_the_model() {
    let wide = settings(1..=20).prop_map(|settings| PoolSettings {
        max_number: 20_000,
        // The others would lie inside.
        ranges: Vec::new(),
        ..settings
    });
    check(Config::with_cases(8), wide, steps(1..=20, 1..20));
    let widest = Just(PoolSettings { max_number: 999_999, ..PoolSettings::default() });
    check(Config::with_cases(1), widest, prop::collection::vec(allocate(1..=20), 3..4));
}

/// Berlin and Lord Howe change their clocks, by an hour and by half of one, within a few days of these instants.
const CLOCKS_CHANGE: [&str; 4] =
    ["2027-03-28T01:00:30Z", "2027-04-03T15:00:30Z", "2027-10-02T15:30:30Z", "2027-10-31T01:00:30Z"];

#[test]
fn business_dates_behave_as_the_model_where_clocks_change() {
    let runtime = Runtime::new().expect("a runtime");
    let clock = Clock::new();
    let server = runtime.block_on(OwnRedis::start_with_clock(&clock, &["--appendonly", "no"]));
    let begins = (prop::sample::select(&CLOCKS_CHANGE[..]), 0_i64..3 * 86_400).prop_map(|(change, before)| {
        let change: chrono::DateTime<chrono::Utc> = change.parse().expect("a time");
        change.timestamp_millis() - before / 900 * 900_000
    });
    let first = (dated_settings(1..=12), begins);
    let config = Config { failure_persistence: None, max_shrink_iters: 300, ..Config::with_cases(60) };
    let mut dates = BTreeSet::new();
    let seen = std::cell::RefCell::new(&mut dates);
    TestRunner::new(config)
        .run(&(first, dated_steps(1..=14, dated_settings(1..=12), 144, 1..50)), |((settings, begins), steps)| {
            runtime.block_on(async {
                let clock = OtherClock::new(&clock, begins);
                let mut run = Run::start(settings, &server.url(), Some(clock)).await;
                run.take_all(steps).await?;
                seen.borrow_mut().extend(run.model.live.values().filter_map(|order| order.business_day));
                Ok(())
            })
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    // The histories are not in vain: they go over many dates, and have more than one order in some.
    let days: BTreeSet<_> = dates.iter().map(|day| day.date).collect();
    assert!(days.len() > 8 && dates.iter().any(|day| day.sequence > 1), "{dates:?}");
}

#[test]
fn pools_with_special_numbers_behave_as_the_model() {
    let runtime = Runtime::new().expect("a runtime");
    let clock = Clock::new();
    let server = runtime.block_on(OwnRedis::start_with_clock(&clock, &["--appendonly", "no"]));
    // Small ones are exhausted; in those with numbers of two digits some are mistaken for others.
    let numbers = prop::sample::select(&[(1_u32, 8_u32), (11, 55)][..]);
    let history = numbers.prop_flat_map(|(first, last)| {
        let settings = || special_settings(first..=last);
        (settings(), dated_steps(first..=last + 2, settings(), 8, 1..60))
    });
    let config = Config { failure_persistence: None, max_shrink_iters: 500, ..Config::with_cases(120) };
    let chosen = std::cell::RefCell::new(Vec::new());
    TestRunner::new(config)
        .run(&history, |(settings, steps)| {
            runtime.block_on(async {
                let clock = OtherClock::new(&clock, SPECIAL_BEGINS_MS);
                let mut run = Run::start(settings, &server.url(), Some(clock)).await;
                run.take_all(steps).await?;
                chosen.borrow_mut().append(&mut run.given);
                Ok(())
            })
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    // The histories are not in vain: each rule was used in some.
    let chosen = chosen.into_inner();
    for choice in [Choice::Reserved, Choice::ReservedIsLive, Choice::ReservedRests, Choice::Wished] {
        assert!(chosen.iter().any(|giving| giving.choice == choice), "{choice:?}");
    }
    assert!(chosen.iter().any(|giving| giving.gave_way_after_ms.is_some()));
    assert!(chosen.iter().any(|giving| giving.passed_over > 0));
    assert!(chosen.iter().any(|giving| giving.overflowed.is_some()));
}

#[test]
fn the_same_seed_and_history_give_the_same_random_numbers() {
    let settings = PoolSettings { policy: SelectionPolicy::Random, ..PoolSettings::default() };
    let draw = |seed: &'static [u8; 16]| {
        let settings = settings.clone();
        async move {
            let pool = Pool::new(&support::redis_url().await, settings, seed).await;
            let mut numbers = Vec::new();
            for _ in 0..50 {
                numbers.push(number_of(&pool.new_order().await));
            }
            numbers
        }
    };
    Runtime::new().expect("a runtime").block_on(async {
        let first = draw(b"0123456789abcdef").await;
        assert_eq!(first, draw(b"0123456789abcdef").await);
        assert_ne!(first, draw(b"fedcba9876543210").await);
        assert_eq!(first.iter().collect::<HashSet<_>>().len(), 50);
    });
}

/// Runs generated histories, each on a pool of its own, and shrinks one that fails.
fn check(config: Config, first: impl Strategy<Value = PoolSettings>, steps: impl Strategy<Value = Vec<Step>>) {
    let runtime = Runtime::new().expect("a runtime");
    let config = Config { failure_persistence: None, max_shrink_iters: 2000, ..config };
    TestRunner::new(config)
        .run(&(first, steps), |(settings, steps)| {
            runtime
                .block_on(async { Run::start(settings, &support::redis_url().await, None).await.take_all(steps).await })
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

fn policy() -> impl Strategy<Value = SelectionPolicy> {
    prop_oneof![
        2 => Just(SelectionPolicy::Sequential),
        1 => Just(SelectionPolicy::Lowest),
        1 => Just(SelectionPolicy::Random)
    ]
}

/// Of half of the pools, the main range is all; the others have one or two beside it, at random places.
fn settings(numbers: std::ops::RangeInclusive<u32>) -> impl Strategy<Value = PoolSettings> {
    let format = prop_oneof![Just("{n:04}"), Just("A-{n:03}"), Just("{n}")];
    let bounds = prop_oneof![
        prop::collection::vec(numbers.clone(), 2..=2),
        prop::collection::btree_set(numbers.clone(), 4..=6).prop_map(Vec::from_iter),
    ];
    let further = prop::collection::vec((policy(), any::<bool>(), range_match()), 2);
    let main = (bounds, any::<Index>(), further);
    let all_but_ranges = (policy(), 0_u32..4, blocked(numbers), format);
    (main, all_but_ranges)
        .prop_map(|((bounds, main, further), (policy, hundred_seconds, blocked_numbers, format))| {
            let mut parts: Vec<(u32, u32)> =
                bounds.chunks_exact(2).map(|pair| (pair[0].min(pair[1]), pair[0].max(pair[1]))).collect();
            let (min_number, max_number) = parts.remove(main.index(parts.len()));
            let ranges = parts.into_iter().zip(["bar", "web"]).zip(further).map(range).collect();
            PoolSettings {
                min_number,
                max_number,
                policy,
                cooldown_seconds: hundred_seconds * 100,
                blocked_numbers,
                format: format.parse().expect("a valid format"),
                ranges,
                ..PoolSettings::default()
            }
        })
        .prop_filter("a pool holds a number", |settings| settings.capacity() > 0)
}

type FurtherRange = (((u32, u32), &'static str), (SelectionPolicy, bool, RangeMatch));

fn range((((min_number, max_number), id), (policy, overflow, takes)): FurtherRange) -> RangeSettings {
    RangeSettings {
        id: id.parse().expect("a name"),
        min_number,
        max_number,
        policy,
        format: format!("{id} {{n}}").parse().expect("a valid format"),
        takes,
        overflow,
    }
}

const TYPES: [OrderType; 2] = [OrderType::DineIn, OrderType::DriveThru];
const SOURCES: [OrderSource; 2] = [OrderSource::Qr, OrderSource::Api];

const TABLES: [&str; 3] = ["1", "2", "patio"];

/// Often all orders, and else some: the first types and sources that there are, or the last ones.
fn range_match() -> impl Strategy<Value = RangeMatch> {
    let types = prop::sample::subsequence(&TYPES[..], 0..=2);
    let sources = prop::sample::subsequence(&SOURCES[..], 0..=1);
    (types, sources).prop_map(|(order_type, order_source)| RangeMatch { order_type, order_source })
}

/// The instant at which histories with special numbers begin, in ms.
const SPECIAL_BEGINS_MS: i64 = 1_811_808_030_000;

/// Settings with numbers that are kept for tables or taken out, rests that may give way, and numbers that are passed over.
/// The cooldown is the same in all of them: scripts tell by it when a rest began.
fn special_settings(numbers: std::ops::RangeInclusive<u32>) -> impl Strategy<Value = PoolSettings> {
    let least = prop::option::of(prop::sample::select(&[0, 300, 600, 1200][..]));
    let avoid = prop::sample::subsequence(&Avoid::ALL[..], 0..=2);
    let reserved = prop::collection::btree_set(1..=*numbers.end() + 2, 0..=3);
    let tables = Just(TABLES).prop_shuffle();
    let until = prop::option::weighted(0.9, 0_i64..40);
    let out = prop::collection::btree_map(numbers.clone(), until, 0..=2);
    (settings(numbers), least, avoid, (reserved, tables), out).prop_map(
        |(settings, cooldown_min_seconds, avoid, (reserved, tables), out)| {
            let free = reserved.into_iter().filter(|number| !settings.blocked_numbers.contains(*number));
            let reservations = free.zip(tables.map(str::to_owned)).collect();
            let out = out.into_iter().map(|(number, quarters)| {
                let until = quarters.map(|quarters| Timestamp::from_unix_ms(SPECIAL_BEGINS_MS + quarters * 900_000));
                (number, Quarantine { reason: "its tile is broken".to_owned(), until })
            });
            PoolSettings {
                cooldown_seconds: 1200,
                cooldown_min_seconds,
                avoid,
                special: SpecialNumbers { reservations, quarantine: out.collect() },
                ..settings
            }
        },
    )
}

/// Settings with business dates of zones that change their clocks.
fn dated_settings(numbers: std::ops::RangeInclusive<u32>) -> impl Strategy<Value = PoolSettings> {
    let zone = prop::sample::select(&["Europe/Berlin", "Australia/Lord_Howe", "UTC"][..]);
    let starts_at = prop::sample::select(&["00:00", "02:15", "02:30", "04:00", "12:00"][..]);
    let reset = prop_oneof![1 => Just(Reset::None), 3 => Just(Reset::Daily)];
    let cooldown_seconds = prop::sample::select(&[0, 1200, 40_000, 200_000][..]);
    let day = (starts_at, reset, prop::option::of(any::<Index>()));
    (settings(numbers), zone, cooldown_seconds, day).prop_map(
        |(settings, zone, cooldown_seconds, (starts_at, reset, first))| {
            let width = (settings.max_number - settings.min_number + 1) as usize;
            let first_number =
                first.map(|first| settings.min_number + u32::try_from(first.index(width)).expect("inside the range"));
            PoolSettings {
                cooldown_seconds,
                time_zone: zone.parse().expect("a zone"),
                business_day: BusinessDaySettings {
                    starts_at: starts_at.parse().expect("a time"),
                    reset,
                    first_number,
                },
                ..settings
            }
        },
    )
}

/// A few numbers, ranges and patterns.
fn blocked(numbers: std::ops::RangeInclusive<u32>) -> impl Strategy<Value = BlockedNumbers> {
    let range =
        (numbers.clone(), 0_u32..4).prop_map(|(first, more)| format!("{first}-{}", (first + more).min(999_999)));
    let pattern = prop::sample::select(&["*4*", "1?", "?", "*0", "2*", "*1", "?3", "*2*3*", "9999?3", "*9?"][..]);
    let entry = prop_oneof![
        4 => numbers.prop_map(|number| number.to_string()),
        1 => range,
        2 => pattern.prop_map(str::to_owned),
    ];
    prop::collection::vec(entry, 0..4).prop_map(|entries| entries.join(",").parse().expect("well-formed"))
}

fn allocate(numbers: std::ops::RangeInclusive<u32>) -> impl Strategy<Value = Step> {
    let key = prop::option::weighted(0.3, (0_u8..8, 0_u8..2));
    let wished = prop::option::weighted(0.15, numbers);
    (key, wished, described()).prop_map(|(key, wished, details)| Step::Allocate { key, wished, details })
}

/// Orders of several types, sources and tables.
fn described() -> impl Strategy<Value = OrderDetails> {
    let order_type = prop::option::of(prop::sample::select(&TYPES[..]));
    let order_source = prop::option::of(prop::sample::select(&SOURCES[..]));
    let table = prop::option::weighted(0.4, prop::sample::select(&TABLES[..]));
    (table, order_type, order_source, note()).prop_map(|(table, order_type, order_source, note)| OrderDetails {
        table_number: table.map(str::to_owned),
        order_type,
        order_source,
        note,
        ..OrderDetails::default()
    })
}

fn note() -> impl Strategy<Value = Option<String>> {
    prop::option::weighted(0.2, "\\PC{0,20}")
}

fn steps(numbers: std::ops::RangeInclusive<u32>, count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    let expect = || prop_oneof![4 => Just(Expect::Nothing), 2 => Just(Expect::Present), 1 => Just(Expect::Another)];
    let before = prop_oneof![6 => Just(Before::Any), 1 => Just(Before::LongAgo), 1 => Just(Before::Tomorrow)];
    let end = prop::sample::select(&OrderStatus::ALL[5..]);
    let any_status = prop::option::weighted(0.8, prop::sample::select(&OrderStatus::ALL[..]));
    let some_numbers = prop::collection::vec(numbers.clone(), 1..8);
    let step = prop_oneof![
        12 => allocate(numbers.clone()),
        8 => (any::<Index>(), end, any::<bool>(), note(), expect(), before).prop_map(
            |(order, end, immediate, rewrite, expect, before)| Step::Release {
                order, end, immediate, rewrite, expect, before
            }
        ),
        3 => (any::<Index>(), any_status, note(), expect())
            .prop_map(|(order, status, rewrite, expect)| Step::Transition { order, status, rewrite, expect }),
        4 => (any::<Index>(), prop::option::of("\\PC{1,40}"), expect())
            .prop_map(|(order, place, expect)| Step::Call { order, place, expect }),
        3 => any::<Index>().prop_map(|order| Step::Recycle { order }),
        4 => (any::<Index>(), note(), expect(), any::<bool>()).prop_map(
            |(order, rewrite, expect, as_the_ledger_has_it)| Step::Reopen {
                order, rewrite, expect, as_the_ledger_has_it
            }
        ),
        3 => restore(numbers.clone()),
        2 => (any::<Index>(), prop::collection::vec(any::<Index>(), 0..6))
            .prop_map(|(durable, orders)| Step::Retire { durable, orders }),
        3 => (1_u16..4).prop_map(|hundred_seconds| Step::Pass { hundred_seconds }),
        3 => (settings(numbers), prop::bool::weighted(0.1))
            .prop_map(|(settings, only_if_new)| Step::Configure { settings, only_if_new }),
        1 => some_numbers.prop_map(|numbers| Step::LoseAndReclaim { numbers }),
    ];
    prop::collection::vec(step, count)
}

fn restore(numbers: std::ops::RangeInclusive<u32>) -> impl Strategy<Value = Step> {
    let live_status = prop::sample::select(&OrderStatus::ALL[..5]);
    (prop::option::of(numbers), live_status, prop::option::of("[A-Z]{1,8}"), described(), any::<bool>())
        .prop_map(|(wanted, status, legacy, details, twice)| Step::Restore { wanted, status, legacy, details, twice })
}

/// What moves numbers, and hours that pass, in quarters.
fn dated_steps(
    numbers: std::ops::RangeInclusive<u32>,
    settings: impl Strategy<Value = PoolSettings>,
    longest_quarters: u16,
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = Vec<Step>> {
    let end = prop::sample::select(&OrderStatus::ALL[5..]);
    let (expect, before) = (Expect::Nothing, Before::Any);
    // Keys are forgotten after a day, which may pass here; other histories test them.
    let allocate = allocate(numbers.clone()).prop_map(|step| match step {
        Step::Allocate { wished, details, .. } => Step::Allocate { key: None, wished, details },
        step => step,
    });
    let step = prop_oneof![
        12 => allocate,
        6 => (any::<Index>(), end, any::<bool>()).prop_map(move |(order, end, immediate)| Step::Release {
            order, end, immediate, rewrite: None, expect, before
        }),
        1 => any::<Index>().prop_map(|order| Step::Recycle { order }),
        2 => (any::<Index>(), any::<bool>()).prop_map(move |(order, as_the_ledger_has_it)| Step::Reopen {
            order, rewrite: None, expect, as_the_ledger_has_it
        }),
        1 => restore(numbers),
        6 => (1..=longest_quarters).prop_map(|quarters| Step::Pass { hundred_seconds: quarters * 9 }),
        2 => settings.prop_map(|settings| Step::Configure { settings, only_if_new: false }),
    ];
    prop::collection::vec(step, count)
}

type Verdict = Result<(), String>;

/// Fails the step instead of the thread, so that a history can be shrunk.
macro_rules! same {
    ($what:expr, $real:expr, $model:expr) => {
        let (real, model) = (&$real, &$model);
        if real != model {
            return Err(format!("{}: Redis has {real:?}, the model {model:?}", $what));
        }
    };
}

/// A pool in Redis, in a namespace of its own.
struct Pool {
    allocator: Allocator,
    redis: MultiplexedConnection,
    namespace: String,
    context: Context,
}

impl Pool {
    async fn new(url: &str, settings: PoolSettings, seed: &[u8; 16]) -> Self {
        let namespace = support::namespace();
        let redis = support::library::redis_settings(&namespace);
        let allocator = Allocator::new(url, &redis, 1, Duration::from_hours(24)).expect("a valid URL");
        let run_id = allocator.server_of(PARTITION).await.expect("Redis answers");
        let made = allocator.create_partition(PARTITION, 1, seed, &run_id).await.expect("Redis answers");
        assert!(made);
        allocator.open_partition(PARTITION, 1, &run_id, 0, 0);
        let client = redis::Client::open(url).expect("a valid URL");
        let redis = client.get_multiplexed_async_connection().await.expect("Redis answers");
        let context = Context::of("model");
        allocator.configure(restaurant(), &settings, false, &context).await.expect("Redis answers");
        Self { allocator, redis, namespace, context }
    }

    async fn new_order(&self) -> Order {
        match self.allocator.allocate(restaurant(), &OrderDetails::default(), None, &self.context).await {
            Ok(Allocated::New(order)) => order,
            other => panic!("{other:?}"),
        }
    }

    async fn snapshot(&self) -> Result<PoolSnapshot, String> {
        self.allocator.snapshot(restaurant()).await.map_err(text)?.ok_or_else(|| "no settings".to_owned())
    }

    /// A key of this pool: the tests reach around the scripts to let time pass and to lose numbers.
    fn key(&self, kind: &str) -> String {
        format!("{}:{{{PARTITION}}}:{kind}:{}", self.namespace, restaurant())
    }

    /// Moves the instants at which resting numbers are free again.
    async fn pass(&mut self, ms: i64) {
        let key = self.key("cool");
        let rests: Vec<(u32, i64)> = self.redis.zrange_withscores(&key, 0, -1).await.expect("Redis answers");
        let moved: Vec<(i64, u32)> = rests.iter().map(|(number, free_at)| (free_at - ms, *number)).collect();
        if !moved.is_empty() {
            let () = self.redis.zadd_multiple(&key, &moved).await.expect("Redis answers");
        }
        // The pool says until when nobody has to look, behind 11 bytes: here it does not know.
        let day: Option<Vec<u8>> = self.redis.hget(self.key("pool"), "day").await.expect("Redis answers");
        if let Some(mut day) = day {
            day[11..].fill(0);
            let () = self.redis.hset(self.key("pool"), "day", day).await.expect("Redis answers");
        }
        // Finished orders say when that is, behind 44 bytes.
        let done: Vec<(Vec<u8>, Vec<u8>)> = self.redis.hgetall(self.key("done")).await.expect("Redis answers");
        for (id, mut packed) in done {
            let free_at = packed[44..50].iter().fold(0_i64, |value, byte| (value << 8) | i64::from(*byte)) - ms;
            packed[44..50].copy_from_slice(&free_at.to_be_bytes()[2..]);
            let () = self.redis.hset(self.key("done"), id, packed).await.expect("Redis answers");
        }
        // Live ones that were called say when that was, behind 46 bytes and, if they were reopened, ten more.
        let live: Vec<(Vec<u8>, Vec<u8>)> = self.redis.hgetall(self.key("order")).await.expect("Redis answers");
        for (id, mut packed) in live.into_iter().filter(|(_, packed)| packed[1] & 2 != 0) {
            let at = if packed[1] & 1 == 0 { 46 } else { 56 };
            let called = packed[at..at + 6].iter().fold(0_i64, |value, byte| (value << 8) | i64::from(*byte)) - ms;
            packed[at..at + 6].copy_from_slice(&called.to_be_bytes()[2..]);
            let () = self.redis.hset(self.key("order"), id, packed).await.expect("Redis answers");
        }
    }

    /// As if the restaurant's orders counted as forgotten after this many seconds.
    async fn set_active_window(&mut self, seconds: i64) {
        let () = self.redis.hset(self.key("pool"), "win", seconds).await.expect("Redis answers");
    }

    /// Drops a free number, as no script would.
    async fn lose(&mut self, number: u32) {
        let snapshot = self.snapshot().await.expect("readable");
        let (first, last) =
            *snapshot.free.iter().find(|(first, last)| (*first..=*last).contains(&number)).expect("it is free");
        let mut pipe = redis::pipe();
        pipe.atomic();
        for range in 0..3 {
            // The run that a range uses up goes on up to the number.
            let field = format!("r{range}");
            let ring: Option<Vec<u8>> = self.redis.hget(self.key("pool"), &field).await.expect("Redis answers");
            if ring.is_some_and(|ring| ring == [&first.to_be_bytes()[1..], &last.to_be_bytes()[1..]].concat()) {
                let ring = [&first.to_be_bytes()[1..], &(number - 1).to_be_bytes()[1..]].concat();
                pipe.hset(self.key("pool"), field, ring);
                if number < last {
                    pipe.zadd(self.key("free"), last, number + 1);
                }
                return pipe.exec_async(&mut self.redis).await.expect("Redis answers");
            }
        }
        pipe.zrem(self.key("free"), last);
        if first < number {
            pipe.zadd(self.key("free"), number - 1, first);
        }
        if number < last {
            pipe.zadd(self.key("free"), last, number + 1);
        }
        pipe.exec_async(&mut self.redis).await.expect("Redis answers");
    }
}

/// The clock of a Redis that has one of its own.
struct OtherClock {
    clock: Clock,
    ahead_ms: i64,
}

impl OtherClock {
    fn new(clock: &Clock, begins_ms: i64) -> Self {
        let other = Self { clock: clock.clone(), ahead_ms: begins_ms - now_ms() };
        other.clock.set_us(other.ahead_ms * 1000);
        other
    }

    fn pass(&mut self, ms: i64) {
        self.ahead_ms += ms;
        self.clock.set_us(self.ahead_ms * 1000);
    }
}

/// One history: the pool in Redis, and the model that it must equal.
struct Run {
    clock: Option<OtherClock>,
    pool: Pool,
    model: Model,
    /// Every order that was released, and how much time had passed by then.
    ended: Vec<(Order, i64)>,
    passed_ms: i64,
    restored: u64,
    /// All numbers that were given to new orders.
    given: Vec<Giving>,
}

impl Run {
    async fn start(settings: PoolSettings, url: &str, clock: Option<OtherClock>) -> Self {
        let pool = Pool::new(url, settings.clone(), SEED.as_bytes().try_into().expect("16 bytes")).await;
        let now = Timestamp::from_unix_ms(now_ms() + clock.as_ref().map_or(0, |clock| clock.ahead_ms));
        Self {
            clock,
            pool,
            model: Model::new(settings, SEED, now),
            ended: Vec::new(),
            passed_ms: 0,
            restored: 0,
            given: Vec::new(),
        }
    }

    async fn take_all(&mut self, steps: Vec<Step>) -> Result<(), TestCaseError> {
        for step in steps {
            let shown = format!("{step:?}");
            self.take(step).await.map_err(|e| TestCaseError::fail(format!("{shown}: {e}")))?;
            self.compare().await.map_err(|e| TestCaseError::fail(format!("after {shown}: {e}")))?;
        }
        Ok(())
    }

    /// What Redis's clock shows, but for the time that a call takes.
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(now_ms() + self.clock.as_ref().map_or(0, |clock| clock.ahead_ms))
    }

    /// An instant that Redis gave, which must be about now.
    fn recent(&self, at: Timestamp) -> Timestamp {
        assert!((self.now().unix_ms() - at.unix_ms()).abs() < 30_000, "{at} is not now");
        at
    }

    async fn take(&mut self, step: Step) -> Verdict {
        match step {
            Step::Configure { settings, only_if_new } => self.configure(settings, only_if_new).await,
            Step::Allocate { key, wished, details } => self.allocate(key, wished, details).await,
            Step::Transition { order, status, rewrite, expect } => {
                self.transition(order, status, rewrite, expect).await
            }
            Step::Release { order, end, immediate, rewrite, expect, before } => {
                let Some(order) = pick(&order, self.model.live.values().chain(self.model.kept.values())) else {
                    return Ok(());
                };
                self.release(order, end, immediate, rewrite, expect, before).await
            }
            Step::Call { order, place, expect } => self.call(order, place, expect).await,
            Step::Recycle { order } => self.recycle(order).await,
            Step::Reopen { order, rewrite, expect, as_the_ledger_has_it } => {
                self.reopen(order, rewrite, expect, as_the_ledger_has_it).await
            }
            Step::Restore { wanted, status, legacy, details, twice } => {
                self.restore(wanted, status, legacy, details, twice).await
            }
            Step::Retire { durable, orders } => self.retire(durable, &orders).await,
            Step::LoseAndReclaim { numbers } => self.lose_and_reclaim(&numbers).await,
            Step::Pass { hundred_seconds } => {
                // A second more than asked, so that a rest that ends just now has ended.
                let ms = i64::from(hundred_seconds) * 100_000 + 1000;
                if let Some(clock) = &mut self.clock {
                    clock.pass(ms);
                    return Ok(());
                }
                self.pool.pass(ms).await;
                self.model.pass(ms);
                self.passed_ms += ms;
                Ok(())
            }
        }
    }

    async fn configure(&mut self, settings: PoolSettings, only_if_new: bool) -> Verdict {
        let done = self.pool.allocator.configure(restaurant(), &settings, only_if_new, &self.pool.context).await;
        if only_if_new {
            same!("configure", done.map_err(text)?, Configured::Exists);
            return Ok(());
        }
        self.model.configure(settings, self.now());
        same!("configure", done.map_err(text)?, Configured::Done(self.model.version));
        Ok(())
    }

    async fn allocate(&mut self, key: Option<(u8, u8)>, wished: Option<u32>, details: OrderDetails) -> Verdict {
        let digest = key.map(|(key, body)| IdempotencyDigest { key: [key; 16], body: [body; 16] });
        let wished_number = wished.and_then(|n| DisplayNumber::new(n.into()).ok());
        let allocate =
            self.pool.allocator.allocate_wished(restaurant(), &details, wished_number, digest, &self.pool.context);
        let answer = allocate.await.map_err(text)?;
        if let Some((id, body)) = key.and_then(|(key, _)| self.model.keys.get(&key)) {
            same!("allocate", answer, Allocated::Replayed { id: *id, body: [*body; 16] });
            return Ok(());
        }
        let now = self.now();
        let given = match &answer {
            Allocated::New(order) => order.given_at.unwrap_or(now),
            Allocated::Exhausted { now, .. } => *now,
            _ => now,
        };
        let asked = asked(&details, wished);
        match self.model.pool.ask(&asked, self.model.sequence + 1, given, now) {
            Answer::Number(giving) => {
                let Allocated::New(order) = answer else {
                    return Err(format!("the model gives {giving:?}, Redis {answer:?}"));
                };
                let model = self.new_order(&order, &giving, OrderStatus::Pending, details, None);
                same!("allocate", order, model);
                if let Some((key, body)) = key {
                    self.model.keys.insert(key, (order.id, body));
                }
                self.model.give(&giving, order);
                self.given.push(giving);
            }
            Answer::Exhausted { next_free_at, range } => {
                let Allocated::Exhausted { next_free_at: next, range: of, .. } = answer else {
                    return Err(format!("the model has nothing, and Redis answers {answer:?}"));
                };
                same!("next free", next, next_free_at);
                same!("exhausted range", of, range);
            }
            Answer::Taken { state } => {
                let holder = wished.and_then(|number| self.model.pool.last_holder(number));
                same!("allocate", answer, Allocated::Taken { state, holder });
            }
        }
        Ok(())
    }

    /// The order that must come of this; id and time are those that Redis gave.
    fn new_order(
        &self,
        real: &Order,
        giving: &Giving,
        status: OrderStatus,
        details: OrderDetails,
        legacy_number: Option<String>,
    ) -> Order {
        let settings = self.model.settings();
        let range = settings.ranges.iter().find(|range| Some(&range.id) == giving.range.as_ref());
        Order {
            id: real.id,
            number: giving.display_number(),
            given_at: real.given_at.map(|at| self.recent(at)),
            format: range.map_or(&settings.format, |range| &range.format).clone(),
            range: giving.range.clone(),
            choice: giving.choice,
            business_day: giving.business_day,
            legacy_number,
            old_number: None,
            status,
            details,
            updated_at: self.recent(real.updated_at),
            released_at: None,
            reopening: None,
            calls: None,
            cooldown_seconds: settings.cooldown_seconds,
            version: 1,
            sequence: self.model.sequence + 1,
        }
    }

    async fn transition(
        &mut self,
        order: Index,
        status: Option<OrderStatus>,
        rewrite: Option<String>,
        expect: Expect,
    ) -> Verdict {
        let Some(order) = pick(&order, self.model.live.values().chain(self.model.kept.values())) else {
            return Ok(());
        };
        let (rewritten, expected_version) = rewriting(&order, rewrite, expect);
        let update =
            OrderUpdate { status, expected_version, rewritten: rewritten.as_ref(), context: &self.pool.context };
        let answer = self.pool.allocator.transition(order.id, update).await.map_err(text)?;
        if order.status.is_final() {
            same!("transition", answer, Changed::Final(order));
            return Ok(());
        }
        if expected_version.is_some_and(|version| version != order.version) {
            same!("transition", answer, Changed::Version(order));
            return Ok(());
        }
        let next = status.unwrap_or(order.status);
        if next != order.status && (next == OrderStatus::Pending || next.is_final()) {
            same!("transition", answer, Changed::Forbidden(order));
            return Ok(());
        }
        if next == order.status && rewritten.is_none() {
            same!("transition", answer, Changed::Done(order));
            return Ok(());
        }
        let Changed::Done(real) = answer else { return Err(format!("{answer:?}")) };
        let model = self.model.changed(rewritten.as_ref().unwrap_or(&order), next, self.recent(real.updated_at));
        same!("transition", real, model);
        self.model.change(real);
        Ok(())
    }

    async fn release(
        &mut self,
        order: Order,
        end: OrderStatus,
        immediate: bool,
        rewrite: Option<String>,
        expect: Expect,
        before: Before,
    ) -> Verdict {
        let (rewritten, expected_version) = rewriting(&order, rewrite, expect);
        let context = self.pool.context.clone();
        let update =
            OrderUpdate { status: Some(end), expected_version, rewritten: rewritten.as_ref(), context: &context };
        let window = match before {
            Before::Any | Before::LongAgo => i64::from(self.model.settings().active_window_seconds),
            Before::Tomorrow => -86_400,
        };
        self.pool.set_active_window(window).await;
        let if_forgotten = !matches!(before, Before::Any);
        let answer = self.pool.allocator.release(order.id, update, immediate, if_forgotten).await.map_err(text)?;
        self.pool.set_active_window(i64::from(self.model.settings().active_window_seconds)).await;
        if order.status.is_final() {
            same!("release", answer, Changed::Final(order));
            return Ok(());
        }
        if expected_version.is_some_and(|version| version != order.version) {
            same!("release", answer, Changed::Version(order));
            return Ok(());
        }
        if matches!(before, Before::LongAgo) {
            same!("release", answer, Changed::Forbidden(order));
            return Ok(());
        }
        let Changed::Done(real) = answer else { return Err(format!("{answer:?}")) };
        let model = self.model.changed(rewritten.as_ref().unwrap_or(&order), end, self.recent(real.updated_at));
        same!("release", real, model);
        self.ended.push((real.clone(), self.passed_ms));
        self.model.release(real, immediate, self.now());
        Ok(())
    }

    /// Every order that has ended, as it would be had the time really passed: the entry of its rest was moved, too.
    fn all_ended(&self) -> Vec<Order> {
        let ended = self.ended.iter().map(|(order, passed_before)| Order {
            released_at: order.released_at.map(|at| at.plus_ms(passed_before - self.passed_ms)),
            ..order.clone()
        });
        ended.collect()
    }

    async fn call(&mut self, order: Index, place: Option<String>, expect: Expect) -> Verdict {
        let Some(order) = pick(&order, self.model.live.values().chain(self.model.kept.values())) else {
            return Ok(());
        };
        let (_, expected_version) = rewriting(&order, None, expect);
        let context = &self.pool.context;
        let called = self.pool.allocator.call(order.id, place.as_deref(), expected_version, context);
        let answer = called.await.map_err(text)?;
        let is_callable = matches!(order.status, OrderStatus::Pending | OrderStatus::Preparing | OrderStatus::Ready);
        if order.status.is_final() {
            same!("call", answer, Called::Final(order));
            return Ok(());
        }
        if is_callable && let (Called::Recent(_), Some(Calls { last_at, .. })) = (&answer, order.calls) {
            // At the end of the three seconds it may have been either.
            same!("call", answer, Called::Recent(order));
            same!("is recent", self.now().unix_ms() - last_at.unix_ms() < 3500, true);
            return Ok(());
        }
        if expected_version.is_some_and(|version| version != order.version) {
            same!("call", answer, Called::Version(order));
            return Ok(());
        }
        if !is_callable {
            same!("call", answer, Called::Forbidden(order));
            return Ok(());
        }
        let Called::Done(real) = answer else { return Err(format!("it was not called lately: {answer:?}")) };
        let at = self.recent(real.updated_at);
        let last_at = self.recent(real.calls.map_or(at, |calls| calls.last_at));
        if let Some(before) = order.calls {
            same!("is late", last_at.unix_ms() - before.last_at.unix_ms() >= 3000, true);
        }
        let count = order.calls.map_or(0, |calls| calls.count) + 1;
        let model =
            Order { calls: Some(Calls { count, last_at }), ..self.model.changed(&order, OrderStatus::Ready, at) };
        same!("call", real, model);
        self.model.change(real);
        Ok(())
    }

    async fn reopen(
        &mut self,
        order: Index,
        rewrite: Option<String>,
        expect: Expect,
        as_the_ledger_has_it: bool,
    ) -> Verdict {
        let ended = self.all_ended();
        let Some(picked) = pick(&order, ended.iter().chain(self.model.live.values())) else { return Ok(()) };
        let (rewritten, expected_version) = rewriting(&picked, rewrite, expect);
        let context = self.pool.context.clone();
        let update = OrderUpdate {
            status: Some(OrderStatus::Preparing),
            expected_version,
            rewritten: rewritten.as_ref(),
            context: &context,
        };
        let known = picked.cooling_until().filter(|_| as_the_ledger_has_it).map(|free_at| (&picked, free_at));
        let answer = self.pool.allocator.reopen(picked.id, update, known).await.map_err(text)?;
        let (live, kept) = (self.model.live.get(&picked.id), self.model.kept.get(&picked.id));
        let Some(here) = live.or(kept).or(known.map(|(order, _)| order)).cloned() else {
            same!("reopen", answer, Reopened::Absent);
            return Ok(());
        };
        if expected_version.is_some_and(|version| version != here.version) {
            same!("reopen", answer, Reopened::Version(here));
            return Ok(());
        }
        if here.status.is_live() {
            same!("reopen", answer, Reopened::Live(here));
            return Ok(());
        }
        if here.status != OrderStatus::Completed {
            same!("reopen", answer, Reopened::Final(here));
            return Ok(());
        }
        if !self.model.rests_for(&picked, self.now().unix_ms()) {
            same!("reopen", answer, Reopened::MovedOn);
            return Ok(());
        }
        let Reopened::Done(real) = answer else { return Err(format!("its number rests, and Redis says {answer:?}")) };
        let details = rewritten.map_or(here.details.clone(), |order| order.details);
        let at = self.recent(real.updated_at);
        let count = here.reopening.map_or(0, |reopening| reopening.count) + 1;
        let model = Order {
            details,
            reopening: Some(Reopening { count, at }),
            ..self.model.changed(&here, OrderStatus::Preparing, at)
        };
        same!("reopen", real, model);
        self.ended.retain(|(order, _)| order.id != real.id);
        self.model.reopen(real);
        Ok(())
    }

    async fn recycle(&mut self, order: Index) -> Verdict {
        let all: Vec<Order> = self.all_ended().into_iter().chain(self.model.live.values().cloned()).collect();
        let Some(order) = pick(&order, all.iter()) else { return Ok(()) };
        let answer = self.pool.allocator.recycle(&order, None, &self.pool.context).await.map_err(text)?;
        let model = match self.model.recycle(&order, self.now()) {
            RecycledNumber::Now => Recycled::Freed,
            RecycledNumber::Already => Recycled::AlreadyFree,
            RecycledNumber::MovedOn => Recycled::MovedOn,
        };
        same!("recycle", answer, model);
        Ok(())
    }

    async fn restore(
        &mut self,
        wanted: Option<u32>,
        status: OrderStatus,
        legacy: Option<String>,
        details: OrderDetails,
        twice: bool,
    ) -> Verdict {
        self.restored += 1;
        let long_ago = self.now().plus_ms(self.restored.cast_signed() - 7_000_000);
        let id = OrderId::new(long_ago, restaurant(), self.restored);
        let number = wanted.and_then(|n| DisplayNumber::new(n.into()).ok());
        let allocator = self.pool.allocator.clone();
        let context = self.pool.context.clone();
        let restore =
            async || allocator.restore(id, number, status, legacy.as_deref(), &details, &context).await.map_err(text);
        let answer = restore().await?;
        let (now, sequence) = (self.now(), self.model.sequence + 1);
        match self.model.pool.take_over(wanted, &asked(&details, None), sequence, now) {
            Answer::Number(giving) => {
                let Restored::New(real) = answer else {
                    return Err(format!("the model gives {giving:?}, Redis {answer:?}"));
                };
                let model = self.new_order(&real, &giving, status, details.clone(), legacy.clone());
                same!("restore", real, model);
                self.model.give(&giving, real.clone());
                if twice {
                    same!("restore again", restore().await?, Restored::Exists(real));
                }
            }
            Answer::Exhausted { next_free_at, .. } => {
                same!("restore", answer, Restored::Exhausted { next_free_at });
            }
            Answer::Taken { .. } => return Err("nothing is wished here".to_owned()),
        }
        Ok(())
    }

    async fn retire(&mut self, durable: Index, orders: &[Index]) -> Verdict {
        let durable = durable.index(usize::try_from(self.model.sequence).expect("few") + 1) as u64;
        let all = || self.model.kept.values().chain(self.model.live.values());
        let ids: Vec<OrderId> = orders.iter().filter_map(|index| pick(index, all())).map(|order| order.id).collect();
        let retired = self.pool.allocator.retire(PARTITION, durable, &ids).await.map_err(text)?;
        same!("retire", retired, self.model.retire(durable, &ids));
        Ok(())
    }

    /// Some free numbers get lost; reclaiming finds just these, whatever it is told.
    async fn lose_and_reclaim(&mut self, numbers: &[u32]) -> Verdict {
        let lost: BTreeSet<u32> = numbers.iter().take(3).copied().filter(|n| self.model.pool.is_free(*n)).collect();
        for &number in &lost {
            self.pool.lose(number).await;
        }
        let leaks: Vec<Finding> = lost.iter().map(|&number| Finding::Leaked { number }).collect();
        same!("findings", self.pool.snapshot().await?.findings(), leaks);
        let told: Vec<DisplayNumber> =
            numbers.iter().chain(numbers).filter_map(|n| DisplayNumber::new((*n).into()).ok()).collect();
        let before = self.now().unix_ms();
        let mut reclaimed = self.pool.allocator.reclaim(restaurant(), &told, &self.pool.context).await.map_err(text)?;
        reclaimed.sort_unstable();
        same!("reclaimed", reclaimed, lost.iter().copied().collect::<Vec<_>>());
        self.model.sequence += u64::from(!lost.is_empty());
        let snapshot = self.pool.snapshot().await?;
        for number in numbers {
            if let Some((free_at, _)) = snapshot.cooling.iter().find(|(_, n)| lost.contains(number) && n == number) {
                let rest = free_at.unix_ms() - before - i64::from(self.model.settings().cooldown_seconds) * 1000;
                if !(-1000..30_000).contains(&rest) {
                    return Err(format!("a reclaimed number is free again {rest} ms late"));
                }
                let since = free_at.unix_ms() - i64::from(self.model.settings().cooldown_seconds) * 1000;
                self.model.pool.rest(*number, since, free_at.unix_ms());
            }
        }
        Ok(())
    }

    /// All that can be asked of the pool, against the model.
    async fn compare(&self) -> Verdict {
        let (model, allocator) = (&self.model, &self.pool.allocator);
        let snapshot = self.pool.snapshot().await?;
        same!("findings", snapshot.findings(), Vec::new());
        same!("settings", &snapshot.settings.settings, model.settings());
        same!("settings version", snapshot.settings.version, model.version);
        same!("sequence", snapshot.sequence, model.sequence);
        same!("sequence known", allocator.known_sequence(PARTITION).1, model.sequence);
        same!("cursors", snapshot.cursors, model.pool.cursors());
        same!("business day", snapshot.business_day, model.pool.business_day());
        same!("retiring", snapshot.retiring, model.pool.retiring());
        let cooling: Vec<_> = snapshot.cooling.iter().map(|(free_at, n)| (free_at.unix_ms(), *n)).collect();
        same!("cooling", cooling, model.pool.resting().collect::<Vec<_>>());
        same!("holders", snapshot.holders, *model.pool.holders());
        same!("live", by_id(snapshot.live.clone()), model.live.values().cloned().collect::<Vec<_>>());
        same!("kept", by_id(snapshot.kept.clone()), model.kept.values().cloned().collect::<Vec<_>>());
        let free: BTreeSet<u32> = snapshot.free.iter().flat_map(|(first, last)| *first..=*last).collect();
        if model.settings().capacity() < 1000 {
            same!("free", free, model.pool.free_numbers().collect::<BTreeSet<_>>());
            // What makes a number free is said twice in the model: by itself, and by an index.
            let by_itself = ranges(model.settings()).flat_map(|(min, max)| min..=max);
            let by_itself = by_itself.filter(|number| model.pool.is_free(*number));
            same!("free by definition", free, by_itself.collect::<BTreeSet<_>>());
        }
        let mut runs = snapshot.free.clone();
        runs.sort_unstable();
        // The ring lets runs be apart: at its cursor, and where the run in use met the next one. So do borders of ranges.
        let cursors = model.pool.cursors();
        let first_ones = ranges(model.settings()).map(|(min, _)| min);
        let borders: BTreeSet<u32> = first_ones.chain(cursors.iter().copied()).collect();
        let apart = runs.windows(2).filter(|pair| pair[0].1 + 1 == pair[1].0 && !borders.contains(&pair[1].0)).count();
        if apart > cursors.iter().filter(|cursor| **cursor > 0).count() {
            return Err(format!("runs {runs:?} are not joined"));
        }

        let now = self.now();
        let count = allocator.count_numbers(restaurant()).await.map_err(text)?.ok_or("no settings")?;
        same!("usage", count.occupancy, model.pool.usage(now));
        same!("kept orders", count.kept as usize, model.kept.len());
        same!("live orders", *allocator.live_orders(restaurant()).await.map_err(text)?, by_id(snapshot.live));
        self.inspect(now).await
    }

    /// A few numbers, inside, outside and at the edges.
    async fn inspect(&self, now: Timestamp) -> Verdict {
        let settings = self.model.settings();
        let step = u32::try_from(self.model.sequence).expect("few") * 7;
        let inside = settings.min_number + step % (settings.max_number - settings.min_number + 1);
        let held = self.model.pool.resting().next().map_or(inside, |(_, number)| number);
        let blocked = settings.blocked_runs().first().map_or(inside, |(first, _)| *first);
        for n in [settings.min_number.max(2) - 1, settings.max_number, settings.max_number + 1, inside, held, blocked] {
            let Ok(number) = DisplayNumber::new(n.into()) else { continue };
            let real = self.pool.allocator.inspect(restaurant(), number).await.map_err(text)?.ok_or("no settings")?;
            same!(format!("state of {n}"), real.state, self.model.pool.state(n, now));
            same!(format!("order of {n}"), real.order.as_ref(), self.model.last_order(n));
        }
        Ok(())
    }
}

/// The first and the last number of each range.
fn ranges(settings: &PoolSettings) -> impl Iterator<Item = (u32, u32)> {
    let further = settings.ranges.iter().map(|range| (range.min_number, range.max_number));
    further.chain([(settings.min_number, settings.max_number)])
}

fn asked(details: &OrderDetails, wished: Option<u32>) -> Asked<'_> {
    Asked {
        order_type: details.order_type,
        order_source: details.order_source,
        table: details.table_number.as_deref(),
        wished,
    }
}

fn details(note: Option<String>) -> OrderDetails {
    OrderDetails { note, ..OrderDetails::default() }
}

/// The order with a new note, if there is to be one, and the version that the call expects.
fn rewriting(order: &Order, note: Option<String>, expect: Expect) -> (Option<Order>, Option<u32>) {
    let expected = match expect {
        Expect::Nothing => None,
        Expect::Present => Some(order.version),
        Expect::Another => Some(order.version + 1),
    };
    // New details need an expected version.
    let rewritten = note.map(|note| Order { details: details(Some(note)), ..order.clone() });
    let expected = expected.or_else(|| rewritten.as_ref().map(|_| order.version));
    (rewritten, expected)
}

fn pick<'a>(index: &Index, orders: impl Iterator<Item = &'a Order>) -> Option<Order> {
    let orders: Vec<&Order> = orders.collect();
    if orders.is_empty() { None } else { Some((*index.get(&orders)).clone()) }
}

fn by_id(mut orders: Vec<Order>) -> Vec<Order> {
    orders.sort_by_key(|order| order.id);
    orders
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since_epoch.as_millis()).expect("before the year 292,000,000")
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
