//! Every script against a plain model of the pool (`pool_model/model.rs`), step by step, over generated histories.
//!
//! Time does not pass by waiting: cooldowns are multiples of 100 seconds, far longer than a test, and a step moves the
//! instants in the list of resting numbers back by as much. So whether a rest is over never depends on the machine.

mod model;
use crate::support;
use std::{
    collections::{BTreeSet, HashSet},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use model::{Model, RecycledNumber, number_of, restaurant};
use nowserving::{
    allocator::{
        Allocated, Allocator, Changed, Configured, Finding, OrderUpdate, PoolSnapshot, Recycled, Reopened, Restored,
    },
    domain::{
        BlockedNumbers, Choice, Context, DisplayNumber, IdempotencyDigest, Order, OrderDetails, OrderId, OrderStatus,
        PartitionId, PoolSettings, Reopening, SelectionPolicy, Timestamp,
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
    Allocate { key: Option<(u8, u8)>, note: Option<String> },
    Transition { order: Index, status: Option<OrderStatus>, rewrite: Option<String>, expect: Expect },
    Release { order: Index, end: OrderStatus, immediate: bool, rewrite: Option<String>, expect: Expect, before: Before },
    Recycle { order: Index },
    Reopen { order: Index, rewrite: Option<String>, expect: Expect, as_the_ledger_has_it: bool },
    Restore { wanted: Option<u32>, status: OrderStatus, legacy: Option<String>, twice: bool },
    Retire { durable: Index, orders: Vec<Index> },
    LoseAndReclaim { numbers: Vec<u32> },
    Pass { hundred_seconds: u8 },
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
    check(Config::with_cases(160), settings(1..=30), steps(1..=32, 1..60));
}

#[test]
fn tiny_pools_that_hardly_ever_have_a_free_number_behave_as_the_model() {
    check(Config::with_cases(160), settings(1..=4), steps(1..=5, 1..60));
}

#[test]
fn pools_at_the_top_of_what_can_be_shown_behave_as_the_model() {
    check(Config::with_cases(60), settings(999_985..=999_999), steps(999_980..=999_999, 1..50));
}

#[test]
fn huge_pools_with_few_orders_behave_as_the_model() {
    let wide = settings(1..=20).prop_map(|settings| PoolSettings { max_number: 20_000, ..settings });
    check(Config::with_cases(8), wide, steps(1..=20, 1..20));
    let widest = Just(PoolSettings { max_number: 999_999, ..PoolSettings::default() });
    check(Config::with_cases(1), widest, prop::collection::vec(allocate(), 3..4));
}

#[test]
fn the_same_seed_and_history_give_the_same_random_numbers() {
    let settings = PoolSettings { policy: SelectionPolicy::Random, ..PoolSettings::default() };
    let draw = |seed: &'static [u8; 16]| {
        let settings = settings.clone();
        async move {
            let pool = Pool::new(settings, seed).await;
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
            runtime.block_on(async {
                let mut run = Run::start(settings).await;
                for step in steps {
                    let shown = format!("{step:?}");
                    run.take(step).await.map_err(|e| TestCaseError::fail(format!("{shown}: {e}")))?;
                    run.compare().await.map_err(|e| TestCaseError::fail(format!("after {shown}: {e}")))?;
                }
                Ok(())
            })
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

fn settings(numbers: std::ops::RangeInclusive<u32>) -> impl Strategy<Value = PoolSettings> {
    let policy = prop_oneof![
        2 => Just(SelectionPolicy::Sequential),
        1 => Just(SelectionPolicy::Lowest),
        1 => Just(SelectionPolicy::Random)
    ];
    let format = prop_oneof![Just("{n:04}"), Just("A-{n:03}"), Just("{n}")];
    let blocked = blocked(numbers.clone());
    (numbers.clone(), numbers, policy, 0_u32..4, blocked, format)
        .prop_map(|(a, b, policy, hundred_seconds, blocked_numbers, format)| PoolSettings {
            min_number: a.min(b),
            max_number: a.max(b),
            policy,
            cooldown_seconds: hundred_seconds * 100,
            blocked_numbers,
            format: format.parse().expect("a valid format"),
            ..PoolSettings::default()
        })
        .prop_filter("a pool holds a number", |settings| settings.capacity() > 0)
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

fn allocate() -> impl Strategy<Value = Step> {
    let key = prop::option::weighted(0.3, (0_u8..8, 0_u8..2));
    (key, note()).prop_map(|(key, note)| Step::Allocate { key, note })
}

fn note() -> impl Strategy<Value = Option<String>> {
    prop::option::weighted(0.2, "\\PC{0,20}")
}

fn steps(numbers: std::ops::RangeInclusive<u32>, count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    let live_status = || prop::sample::select(&OrderStatus::ALL[..5]);
    let expect = || prop_oneof![4 => Just(Expect::Nothing), 2 => Just(Expect::Present), 1 => Just(Expect::Another)];
    let before = prop_oneof![6 => Just(Before::Any), 1 => Just(Before::LongAgo), 1 => Just(Before::Tomorrow)];
    let end = prop::sample::select(&OrderStatus::ALL[5..]);
    let any_status = prop::option::weighted(0.8, prop::sample::select(&OrderStatus::ALL[..]));
    let some_numbers = prop::collection::vec(numbers.clone(), 1..8);
    let step = prop_oneof![
        12 => allocate(),
        8 => (any::<Index>(), end, any::<bool>(), note(), expect(), before).prop_map(
            |(order, end, immediate, rewrite, expect, before)| Step::Release {
                order, end, immediate, rewrite, expect, before
            }
        ),
        3 => (any::<Index>(), any_status, note(), expect())
            .prop_map(|(order, status, rewrite, expect)| Step::Transition { order, status, rewrite, expect }),
        3 => any::<Index>().prop_map(|order| Step::Recycle { order }),
        4 => (any::<Index>(), note(), expect(), any::<bool>()).prop_map(
            |(order, rewrite, expect, as_the_ledger_has_it)| Step::Reopen {
                order, rewrite, expect, as_the_ledger_has_it
            }
        ),
        3 => (prop::option::of(numbers.clone()), live_status(), prop::option::of("[A-Z]{1,8}"), any::<bool>())
            .prop_map(|(wanted, status, legacy, twice)| Step::Restore { wanted, status, legacy, twice }),
        2 => (any::<Index>(), prop::collection::vec(any::<Index>(), 0..6))
            .prop_map(|(durable, orders)| Step::Retire { durable, orders }),
        3 => (1_u8..4).prop_map(|hundred_seconds| Step::Pass { hundred_seconds }),
        3 => (settings(numbers), prop::bool::weighted(0.1))
            .prop_map(|(settings, only_if_new)| Step::Configure { settings, only_if_new }),
        1 => some_numbers.prop_map(|numbers| Step::LoseAndReclaim { numbers }),
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
    async fn new(settings: PoolSettings, seed: &[u8; 16]) -> Self {
        let (url, namespace) = (support::redis_url().await, support::namespace());
        let redis = support::library::redis_settings(&namespace);
        let allocator = Allocator::new(&url, &redis, 1, Duration::from_hours(24)).expect("a valid URL");
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
        let ring: Option<Vec<u8>> = self.redis.hget(self.key("pool"), "r0").await.expect("Redis answers");
        if ring.is_some_and(|ring| ring == [&first.to_be_bytes()[1..], &last.to_be_bytes()[1..]].concat()) {
            // The run in use goes on up to the number.
            let ring = [&first.to_be_bytes()[1..], &(number - 1).to_be_bytes()[1..]].concat();
            pipe.hset(self.key("pool"), "r0", ring);
            if number < last {
                pipe.zadd(self.key("free"), last, number + 1);
            }
            return pipe.exec_async(&mut self.redis).await.expect("Redis answers");
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

/// One history: the pool in Redis, and the model that it must equal.
struct Run {
    pool: Pool,
    model: Model,
    /// Every order that was released, and how much time had passed by then.
    ended: Vec<(Order, i64)>,
    passed_ms: i64,
    restored: u64,
}

impl Run {
    async fn start(settings: PoolSettings) -> Self {
        let pool = Pool::new(settings.clone(), SEED.as_bytes().try_into().expect("16 bytes")).await;
        Self { pool, model: Model::new(settings, 0, SEED), ended: Vec::new(), passed_ms: 0, restored: 0 }
    }

    async fn take(&mut self, step: Step) -> Verdict {
        match step {
            Step::Configure { settings, only_if_new } => self.configure(settings, only_if_new).await,
            Step::Allocate { key, note } => self.allocate(key, details(note)).await,
            Step::Transition { order, status, rewrite, expect } => {
                self.transition(order, status, rewrite, expect).await
            }
            Step::Release { order, end, immediate, rewrite, expect, before } => {
                let Some(order) = pick(&order, self.model.live.values().chain(self.model.kept.values())) else {
                    return Ok(());
                };
                self.release(order, end, immediate, rewrite, expect, before).await
            }
            Step::Recycle { order } => self.recycle(order).await,
            Step::Reopen { order, rewrite, expect, as_the_ledger_has_it } => {
                self.reopen(order, rewrite, expect, as_the_ledger_has_it).await
            }
            Step::Restore { wanted, status, legacy, twice } => self.restore(wanted, status, legacy, twice).await,
            Step::Retire { durable, orders } => self.retire(durable, &orders).await,
            Step::LoseAndReclaim { numbers } => self.lose_and_reclaim(&numbers).await,
            Step::Pass { hundred_seconds } => {
                // A second more than asked, so that a rest that ends just now has ended.
                let ms = i64::from(hundred_seconds) * 100_000 + 1000;
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
        self.model.configure(settings);
        same!("configure", done.map_err(text)?, Configured::Done(self.model.version));
        Ok(())
    }

    async fn allocate(&mut self, key: Option<(u8, u8)>, details: OrderDetails) -> Verdict {
        let digest = key.map(|(key, body)| IdempotencyDigest { key: [key; 16], body: [body; 16] });
        let answer =
            self.pool.allocator.allocate(restaurant(), &details, digest, &self.pool.context).await.map_err(text)?;
        if let Some((id, body)) = key.and_then(|(key, _)| self.model.keys.get(&key)) {
            same!("allocate", answer, Allocated::Replayed { id: *id, body: [*body; 16] });
            return Ok(());
        }
        let now = now_ms();
        self.model.settle(now);
        let Some(number) = self.model.choose() else {
            let Allocated::Exhausted { next_free_at, .. } = answer else { return Err(format!("{answer:?}")) };
            same!("next free", next_free_at, self.model.next_free_at(now));
            return Ok(());
        };
        let Allocated::New(order) = answer else {
            return Err(format!("the model gives {number}, Redis {answer:?}"));
        };
        let model = self.new_order(&order, number, OrderStatus::Pending, details, None);
        same!("allocate", order, model);
        if let Some((key, body)) = key {
            self.model.keys.insert(key, (order.id, body));
        }
        self.model.of_date += 1;
        same!("place in the date", order.business_day.map(|day| day.sequence), Some(self.model.of_date));
        same!("choice", order.choice, Choice::Next);
        self.model.hold(order, true);
        Ok(())
    }

    /// The order that must come of taking `number`; id and time are those that Redis gave.
    fn new_order(
        &self,
        real: &Order,
        number: u32,
        status: OrderStatus,
        details: OrderDetails,
        legacy_number: Option<String>,
    ) -> Order {
        Order {
            id: real.id,
            number: DisplayNumber::new(number.into()).ok(),
            given_at: real.given_at.map(recent),
            format: self.model.settings.format.clone(),
            range: None,
            choice: real.choice,
            business_day: real.business_day,
            legacy_number,
            old_number: None,
            status,
            details,
            updated_at: recent(real.updated_at),
            released_at: None,
            reopening: None,
            cooldown_seconds: self.model.settings.cooldown_seconds,
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
        let model = self.model.changed(rewritten.as_ref().unwrap_or(&order), next, recent(real.updated_at));
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
            Before::Any | Before::LongAgo => i64::from(self.model.settings.active_window_seconds),
            Before::Tomorrow => -86_400,
        };
        self.pool.set_active_window(window).await;
        let if_forgotten = !matches!(before, Before::Any);
        let answer = self.pool.allocator.release(order.id, update, immediate, if_forgotten).await.map_err(text)?;
        self.pool.set_active_window(i64::from(self.model.settings.active_window_seconds)).await;
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
        let model = self.model.changed(rewritten.as_ref().unwrap_or(&order), end, recent(real.updated_at));
        same!("release", real, model);
        self.ended.push((real.clone(), self.passed_ms));
        self.model.release(real, immediate);
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
        if !self.model.rests_for(&picked, now_ms()) {
            same!("reopen", answer, Reopened::MovedOn);
            return Ok(());
        }
        let Reopened::Done(real) = answer else { return Err(format!("its number rests, and Redis says {answer:?}")) };
        let details = rewritten.map_or(here.details.clone(), |order| order.details);
        let at = recent(real.updated_at);
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
        let model = match self.model.recycle(&order) {
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
        twice: bool,
    ) -> Verdict {
        self.restored += 1;
        let long_ago = Timestamp::from_unix_ms(now_ms() - 7_000_000 + self.restored.cast_signed());
        let id = OrderId::new(long_ago, restaurant(), self.restored);
        let details = details(Some("restored".to_owned()));
        let number = wanted.and_then(|n| DisplayNumber::new(n.into()).ok());
        let allocator = self.pool.allocator.clone();
        let context = self.pool.context.clone();
        let restore =
            async || allocator.restore(id, number, status, legacy.as_deref(), &details, &context).await.map_err(text);
        let answer = restore().await?;
        let now = now_ms();
        self.model.settle_all(now);
        let own = wanted.filter(|n| self.model.is_free(*n));
        let Some(number) = own.or_else(|| self.model.choose()) else {
            same!("restore", answer, Restored::Exhausted { next_free_at: self.model.next_free_at(now) });
            return Ok(());
        };
        let Restored::New(real) = answer else { return Err(format!("the model gives {number}, Redis {answer:?}")) };
        let model = self.new_order(&real, number, status, details.clone(), legacy.clone());
        same!("restore", real, model);
        same!("choice", real.choice, if own.is_some() { Choice::Wished } else { Choice::Next });
        same!("business day", real.business_day, None);
        self.model.hold(real.clone(), own.is_none());
        if twice {
            same!("restore again", restore().await?, Restored::Exists(real));
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
        let lost: BTreeSet<u32> = numbers.iter().take(3).copied().filter(|n| self.model.is_free(*n)).collect();
        for &number in &lost {
            self.pool.lose(number).await;
        }
        let leaks: Vec<Finding> = lost.iter().map(|&number| Finding::Leaked { number }).collect();
        same!("findings", self.pool.snapshot().await?.findings(), leaks);
        let told: Vec<DisplayNumber> =
            numbers.iter().chain(numbers).filter_map(|n| DisplayNumber::new((*n).into()).ok()).collect();
        let before = now_ms();
        let mut reclaimed = self.pool.allocator.reclaim(restaurant(), &told, &self.pool.context).await.map_err(text)?;
        reclaimed.sort_unstable();
        same!("reclaimed", reclaimed, lost.iter().copied().collect::<Vec<_>>());
        self.model.sequence += u64::from(!lost.is_empty());
        let snapshot = self.pool.snapshot().await?;
        for number in numbers {
            if let Some((free_at, _)) = snapshot.cooling.iter().find(|(_, n)| lost.contains(number) && n == number) {
                let rest = free_at.unix_ms() - before - i64::from(self.model.settings.cooldown_seconds) * 1000;
                if !(-1000..30_000).contains(&rest) {
                    return Err(format!("a reclaimed number is free again {rest} ms late"));
                }
                if !self.model.cooling.contains(&(free_at.unix_ms(), *number)) {
                    self.model.rest(*number, free_at.unix_ms());
                }
            }
        }
        Ok(())
    }

    /// All that can be asked of the pool, against the model.
    async fn compare(&self) -> Verdict {
        let (model, allocator) = (&self.model, &self.pool.allocator);
        let snapshot = self.pool.snapshot().await?;
        same!("findings", snapshot.findings(), Vec::new());
        same!("settings", snapshot.settings.settings, model.settings);
        same!("settings version", snapshot.settings.version, model.version);
        same!("sequence", snapshot.sequence, model.sequence);
        same!("sequence known", allocator.known_sequence(PARTITION).1, model.sequence);
        same!("cursor", snapshot.cursors, [model.cursor]);
        same!("orders of the date", snapshot.business_day.map_or(0, |day| day.sequence), model.of_date);
        same!("retiring", snapshot.retiring, model.retiring());
        let cooling: Vec<_> = snapshot.cooling.iter().map(|(free_at, n)| (free_at.unix_ms(), *n)).collect();
        same!("cooling", cooling, model.cooling);
        same!("holders", snapshot.holders, model.holders);
        same!("live", by_id(snapshot.live.clone()), model.live.values().cloned().collect::<Vec<_>>());
        same!("kept", by_id(snapshot.kept.clone()), model.kept.values().cloned().collect::<Vec<_>>());
        let free: BTreeSet<u32> = snapshot.free.iter().flat_map(|(first, last)| *first..=*last).collect();
        if model.settings.capacity() < 1000 {
            same!("free", free, model.free_numbers());
        }
        let mut runs = snapshot.free.clone();
        runs.sort_unstable();
        // The ring lets runs be apart: at its cursor, and where the run in use met the next one.
        let apart = runs.windows(2).filter(|pair| pair[0].1 + 1 == pair[1].0 && pair[1].0 != model.cursor).count();
        if apart > usize::from(model.cursor > 0) {
            return Err(format!("runs {runs:?} are not joined"));
        }

        let now = now_ms();
        let count = allocator.count_numbers(restaurant()).await.map_err(text)?.ok_or("no settings")?;
        same!("usage", count.occupancy, model.usage(now));
        same!("kept orders", count.kept as usize, model.kept.len());
        same!("live orders", *allocator.live_orders(restaurant()).await.map_err(text)?, by_id(snapshot.live));
        self.inspect(now).await
    }

    /// A few numbers, inside, outside and at the edges.
    async fn inspect(&self, now: i64) -> Verdict {
        let settings = &self.model.settings;
        let step = u32::try_from(self.model.sequence).expect("few") * 7;
        let inside = settings.min_number + step % (settings.max_number - settings.min_number + 1);
        let held = self.model.cooling.first().map_or(inside, |(_, number)| *number);
        let blocked = settings.blocked_runs().first().map_or(inside, |(first, _)| *first);
        for n in [settings.min_number.max(2) - 1, settings.max_number, settings.max_number + 1, inside, held, blocked] {
            let Ok(number) = DisplayNumber::new(n.into()) else { continue };
            let real = self.pool.allocator.inspect(restaurant(), number).await.map_err(text)?.ok_or("no settings")?;
            same!(format!("state of {n}"), real.state, self.model.state(n, now));
            same!(format!("order of {n}"), real.order.as_ref(), self.model.last_order(n));
        }
        Ok(())
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

/// An instant that Redis gave, which must be about now.
fn recent(at: Timestamp) -> Timestamp {
    assert!((now_ms() - at.unix_ms()).abs() < 30_000, "{at} is not now");
    at
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since_epoch.as_millis()).expect("before the year 292,000,000")
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
