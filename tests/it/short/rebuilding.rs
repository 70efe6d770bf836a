//! What a rebuild does in Redis: which numbers rest, what is loaded, and what is said again, whatever came before.

use crate::support;
use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use nowserving::{
    allocator::{
        Allocated, Allocator, AllocatorError, Build, Called, Changed, Configured, OrderUpdate, OutboxReader,
        PoolSnapshot, Renumbered, Reopened, Restated, RunId,
    },
    domain::{
        Context, DateImage, DisplayNumber, EventKind, IdempotencyDigest, NumberAfter, Order, OrderDetails, OrderId,
        OrderStatus, PartitionId, PoolImage, PoolSettings, RestaurantId, SelectionPolicy, SettingsChange, Timestamp,
    },
};
use proptest::prelude::*;

const PARTITION: PartitionId = PartitionId::new(0);
const SEED: &[u8; 16] = b"0123456789abcdef";

fn restaurant() -> RestaurantId {
    RestaurantId::new(7).expect("in range")
}

fn number_of(order: &Order) -> u32 {
    order.number.map_or(0, DisplayNumber::get)
}

/// A deployment of one partition in a namespace of its own, with one daemon or several.
#[derive(Clone)]
struct Pool {
    url: String,
    namespace: String,
    allocator: Allocator,
    run_id: RunId,
}

impl Pool {
    async fn new(settings: &PoolSettings) -> Self {
        Self::on(support::redis_url().await, settings).await
    }

    async fn on(url: String, settings: &PoolSettings) -> Self {
        let namespace = support::namespace();
        let allocator = allocator(&url, &namespace);
        let run_id = allocator.server_of(PARTITION).await.expect("Redis answers");
        assert!(allocator.create_partition(PARTITION, 1, SEED, &run_id).await.expect("Redis answers"));
        let pool = Self { url, namespace, allocator, run_id };
        pool.open(1);
        pool.allocator.configure(restaurant(), settings, false, &Context::of("test")).await.expect("Redis answers");
        pool
    }

    /// Another daemon, which believes that this generation is open.
    fn daemon(&self, generation: u64) -> Self {
        let other = Self { allocator: allocator(&self.url, &self.namespace), ..self.clone() };
        other.open(generation);
        other
    }

    fn open(&self, generation: u64) {
        self.allocator.open_partition(PARTITION, generation, &self.run_id, 0, 0);
    }

    /// Waits until orders of this daemon come after this one: two daemons take the time for some milliseconds apart.
    async fn is_past(&self, order: &Order) {
        let is_past = || async { self.allocator.now().is_ok_and(|now| now > order.created_at()) };
        support::eventually_true(support::PATIENCE, is_past).await;
    }

    async fn new_order(&self) -> Order {
        let (details, context) = (OrderDetails::default(), Context::of("test"));
        match self.allocator.allocate(restaurant(), &details, None, &context).await {
            Ok(Allocated::New(order)) => order,
            other => panic!("{other:?}"),
        }
    }

    async fn finish(&self, id: OrderId, immediate: bool) -> Order {
        let context = Context::of("test");
        let update = OrderUpdate {
            status: Some(OrderStatus::Completed),
            expected_version: None,
            rewritten: None,
            context: &context,
        };
        match self.allocator.release(id, update, immediate, false).await {
            Ok(Changed::Done(order)) => order,
            other => panic!("{other:?}"),
        }
    }

    async fn reopen(&self, id: OrderId) -> Order {
        let context = Context::of("test");
        let status = Some(OrderStatus::Preparing);
        let update = OrderUpdate { status, expected_version: None, rewritten: None, context: &context };
        match self.allocator.reopen(id, update, None).await {
            Ok(Reopened::Done(order)) => order,
            other => panic!("{other:?}"),
        }
    }

    async fn change(&self, id: OrderId, status: OrderStatus) {
        let context = Context::of("test");
        let update = OrderUpdate { status: Some(status), expected_version: None, rewritten: None, context: &context };
        self.allocator.transition(id, update).await.expect("Redis answers");
    }

    /// Calls it, unless that was done a moment ago.
    async fn call(&self, id: OrderId) -> Order {
        match self.allocator.call(id, None, None, &Context::of("test")).await {
            Ok(Called::Done(order) | Called::Recent(order)) => order,
            other => panic!("{other:?}"),
        }
    }

    async fn redis(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url.as_str()).expect("a valid URL");
        client.get_multiplexed_async_connection().await.expect("Redis answers")
    }

    async fn snapshot(&self) -> PoolSnapshot {
        self.allocator.snapshot(restaurant()).await.expect("Redis answers").expect("it has settings")
    }

    /// Fences generation `of` off, and begins to build the next one behind this sequence.
    async fn begin(&self, of: u64, sequence: u64) {
        assert!(self.allocator.fence_off(PARTITION, of, &self.run_id).await.expect("Redis answers"));
        let begun =
            self.allocator.begin_build(&self.build(of + 1), sequence, Timestamp::from_unix_ms(0), SEED, false).await;
        begun.expect("no other daemon builds");
    }

    fn build(&self, generation: u64) -> Build {
        Build { partition: PARTITION, generation, run_id: self.run_id.clone() }
    }

    async fn finish_build(&self, generation: u64) {
        self.allocator.finish_build(&self.build(generation)).await.expect("no other daemon builds");
        self.open(generation);
    }

    async fn load(&self, generation: u64, image: &PoolImage) {
        self.allocator.load_pool(&self.build(generation), image).await.expect("no other daemon builds");
    }

    /// Says everything again that this daemon remembers from before a generation.
    async fn restate(&self, generation: u64) -> Vec<(OrderId, Restated)> {
        self.say_again(generation, false).await
    }

    async fn say_again(&self, generation: u64, patient: bool) -> Vec<(OrderId, Restated)> {
        let context = Context::of("test");
        self.allocator.restate(&self.build(generation), |_| true, patient, &context).await.expect("it is served")
    }
}

fn allocator(url: &str, namespace: &str) -> Allocator {
    let settings = support::library::redis_settings(namespace);
    Allocator::new(url, &settings, 1, Duration::from_hours(24)).expect("a valid URL")
}

fn empty_image(settings: &PoolSettings) -> PoolImage {
    let settings = SettingsChange { restaurant: restaurant(), settings: settings.clone(), version: 1 };
    PoolImage {
        settings,
        live: vec![],
        cooling: vec![],
        odd_cooldowns: HashMap::new(),
        last_given: vec![],
        business_day: DateImage::default(),
        keys: vec![],
    }
}

/// What the ledger would know of a pool.
fn image_of(snapshot: &PoolSnapshot) -> PoolImage {
    PoolImage {
        settings: SettingsChange {
            restaurant: restaurant(),
            settings: snapshot.settings.settings.clone(),
            version: snapshot.settings.version,
        },
        live: snapshot.live.clone(),
        odd_cooldowns: HashMap::new(),
        cooling: snapshot
            .cooling
            .iter()
            .map(|(until, number)| (*until, DisplayNumber::new(i64::from(*number)).expect("in range")))
            .collect(),
        last_given: snapshot
            .live
            .iter()
            .max_by_key(|order| order.id)
            .and_then(|order| Some((order.range.clone(), order.number?)))
            .into_iter()
            .collect(),
        business_day: DateImage { day: snapshot.business_day, ..DateImage::default() },
        keys: vec![],
    }
}

const POLICIES: [SelectionPolicy; 3] = [SelectionPolicy::Sequential, SelectionPolicy::Lowest, SelectionPolicy::Random];

#[tokio::test]
async fn the_numbers_that_would_have_been_given_are_the_ones_that_rest() {
    for policy in POLICIES {
        let settings = PoolSettings { policy, max_number: 200, ..PoolSettings::default() };
        // Two pools with one history; one of them goes on, the other one's next orders are lost.
        let (goes_on, is_cut) = (Pool::new(&settings).await, Pool::new(&settings).await);
        for pool in [&goes_on, &is_cut] {
            for turn in 0..20 {
                let order = pool.new_order().await;
                if turn % 3 == 0 {
                    pool.finish(order.id, turn % 2 == 0).await;
                }
            }
        }
        let before = is_cut.snapshot().await;
        assert_eq!(before.free, goes_on.snapshot().await.free, "{policy:?}");
        let mut given = BTreeSet::new();
        for _ in 0..12 {
            given.insert(number_of(&goes_on.new_order().await));
        }
        is_cut.begin(1, before.sequence).await;
        let skipped = is_cut
            .allocator
            .skip_numbers(restaurant(), &is_cut.build(2), 12, 12, &Context::of("recovery"))
            .await
            .expect("it is being built");
        is_cut.finish_build(2).await;
        let after = is_cut.snapshot().await;
        let rests: BTreeSet<u32> = after.cooling[before.cooling.len()..].iter().map(|(_, number)| *number).collect();
        assert_eq!((skipped, &rests), (12, &given), "{policy:?}");
        for (until, _) in &after.cooling[before.cooling.len()..] {
            let rest_ms = until.unix_ms() - is_cut.allocator.now().expect("Redis told it").unix_ms();
            assert!((14_390_000..14_410_000).contains(&rest_ms), "a whole cooldown: {rest_ms} ms");
        }
        assert_eq!(after.findings(), [], "{policy:?}");
        assert!(!given.contains(&number_of(&is_cut.new_order().await)), "{policy:?}");
    }
}

#[tokio::test]
async fn a_small_pool_does_not_run_dry() {
    for policy in POLICIES {
        let settings = PoolSettings { policy, max_number: 5, ..PoolSettings::default() };
        let pool = Pool::new(&settings).await;
        pool.new_order().await;
        let sequence = pool.snapshot().await.sequence;
        pool.begin(1, sequence).await;
        assert_eq!(
            pool.allocator.skip_numbers(restaurant(), &pool.build(2), 500, 500, &Context::of("recovery")).await.ok(),
            Some(2),
            "half of four"
        );
        pool.finish_build(2).await;
        assert_eq!(pool.snapshot().await.findings(), []);
        pool.new_order().await;
    }
}

#[tokio::test]
async fn only_the_latest_builder_is_served_and_no_other() {
    let pool = Pool::new(&PoolSettings::default()).await;
    let order = pool.new_order().await;
    let (old, context) = (pool.daemon(1), Context::of("test"));
    pool.begin(1, 10).await;
    let refused = old.allocator.allocate(restaurant(), &OrderDetails::default(), None, &context).await;
    assert!(matches!(refused, Err(AllocatorError::Closed(_))), "the old generation is fenced off: {refused:?}");
    assert!(pool.allocator.order(order.id).await.is_err(), "reads are, too");
    // Another builder takes over, with the next generation.
    let image = empty_image(&PoolSettings::default());
    pool.allocator.begin_build(&pool.build(3), 20, Timestamp::from_unix_ms(0), SEED, false).await.expect("it is newer");
    assert!(pool.allocator.begin_build(&pool.build(2), 10, Timestamp::from_unix_ms(0), SEED, false).await.is_err());
    assert!(pool.allocator.load_pool(&pool.build(2), &image).await.is_err());
    assert!(pool.allocator.skip_numbers(restaurant(), &pool.build(2), 1, 1, &Context::of("recovery")).await.is_err());
    assert!(pool.allocator.emit(&pool.build(2), &[(order, None)], &[], &context).await.is_err());
    assert!(pool.allocator.finish_build(&pool.build(2)).await.is_err());
    pool.load(3, &image).await;
    assert_eq!(pool.allocator.finish_build(&pool.build(3)).await.ok(), Some(20));
    assert_eq!(pool.allocator.finish_build(&pool.build(3)).await.ok(), Some(20), "its answer may have been lost");
    assert!(!pool.allocator.fence_off(PARTITION, 2, &pool.run_id).await.expect("Redis answers"), "it is another one");
    pool.open(3);
    assert_eq!(pool.new_order().await.sequence, 21);
    // Nor is one whose server has been replaced meanwhile.
    let elsewhere = Build { run_id: RunId::recorded("another"), ..pool.build(3) };
    assert!(matches!(pool.allocator.finish_build(&elsewhere).await, Err(AllocatorError::AnotherServer)));
}

#[tokio::test]
async fn idempotency_keys_come_back() {
    let settings = PoolSettings::default();
    let pool = Pool::new(&settings).await;
    let (digest, context) = (IdempotencyDigest { key: [1; 16], body: [2; 16] }, Context::of("test"));
    let ask = async |pool: &Pool| {
        let details = OrderDetails::default();
        pool.allocator.allocate(restaurant(), &details, Some(digest), &context).await.expect("Redis answers")
    };
    let Allocated::New(order) = ask(&pool).await else { panic!("it is new") };
    pool.begin(1, 10).await;
    let image = PoolImage { keys: vec![(digest, order.id)], live: vec![order.clone()], ..empty_image(&settings) };
    pool.load(2, &image).await;
    // A key that is there already has been used since, and stays what it is.
    let former = OrderId::new(order.created_at(), restaurant(), 1);
    let other = IdempotencyDigest { key: [3; 16], body: [4; 16] };
    let image = PoolImage { keys: vec![(digest, former), (other, former)], ..image };
    pool.load(2, &image).await;
    pool.finish_build(2).await;
    assert_eq!(ask(&pool).await, Allocated::Replayed { id: order.id, body: digest.body });
    // The bucket goes when the last key that it may hold is out of the window: a day behind its end.
    let bucket_ms = 86_400_000;
    let gone_at = (order.created_at().unix_ms() / bucket_ms + 2) * bucket_ms;
    let mut redis = pool.redis().await;
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg(format!("{}:*:idem:*", pool.namespace))
        .query_async(&mut redis)
        .await
        .expect("Redis answers");
    let [key] = &keys[..] else { panic!("{keys:?}") };
    let goes_at: i64 = redis::cmd("PEXPIRETIME").arg(key).query_async(&mut redis).await.expect("Redis answers");
    assert_eq!(goes_at, gone_at);
}

/// Its key was lost with it.
#[tokio::test]
async fn an_order_that_is_said_again_is_found_under_its_key() {
    let settings = PoolSettings::default();
    let pool = Pool::new(&settings).await;
    let (digest, context) = (IdempotencyDigest { key: [1; 16], body: [2; 16] }, Context::of("test"));
    let ask = async || {
        let details = OrderDetails::default();
        pool.allocator.allocate(restaurant(), &details, Some(digest), &context).await.expect("Redis answers")
    };
    let Allocated::New(order) = ask().await else { panic!("it is new") };
    pool.begin(1, 10).await;
    pool.load(2, &empty_image(&settings)).await;
    assert_eq!(pool.restate(2).await, [(order.id, Restated::Back(None))]);
    pool.finish_build(2).await;
    assert_eq!(ask().await, Allocated::Replayed { id: order.id, body: digest.body });
}

#[tokio::test]
async fn of_two_orders_with_one_number_the_later_is_renumbered_whichever_is_said_again() {
    for lost_is_later in [false, true] {
        let settings = PoolSettings { policy: SelectionPolicy::Lowest, max_number: 9, ..PoolSettings::default() };
        let pool = Pool::new(&settings).await;
        let other = pool.daemon(1);
        // The loser is remembered by the other daemon only, and its number is given again.
        let first = other.new_order().await;
        pool.begin(1, 100).await;
        pool.load(2, &empty_image(&settings)).await;
        pool.finish_build(2).await;
        pool.is_past(&first).await;
        let second = pool.new_order().await;
        assert_eq!((number_of(&first), number_of(&second)), (1, 1));
        let (keeper, later) = if lost_is_later {
            // A third generation loses the second order; it comes back when the first one is there.
            pool.begin(2, 200).await;
            pool.load(3, &PoolImage { live: vec![first.clone()], ..empty_image(&settings) }).await;
            pool.finish_build(3).await;
            assert_eq!(
                pool.restate(3).await,
                [(
                    second.id,
                    Restated::Back(Some(Renumbered {
                        order: second.id,
                        previous: first.number.expect("one"),
                        keeper: first.id
                    }))
                )]
            );
            (first, second)
        } else {
            let found = Renumbered { order: second.id, previous: first.number.expect("one"), keeper: first.id };
            assert_eq!(other.restate(2).await, [(first.id, Restated::Back(Some(found)))]);
            (first, second)
        };
        let after = pool.snapshot().await;
        assert_eq!(after.findings(), []);
        let now = |id| after.live.iter().find(|order| order.id == id).expect("it is live");
        assert_eq!(number_of(now(keeper.id)), 1);
        assert_eq!((number_of(now(later.id)), now(later.id).version), (2, later.version + 1));
    }
}

/// What a daemon does before Redis loses some of it.
#[derive(Debug, Clone, Copy)]
enum Act {
    Order,
    Finish { which: usize, immediate: bool },
    Reopen { which: usize },
    Change { which: usize },
    Call { which: usize },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => Just(Act::Order),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(which, immediate)| Act::Finish { which, immediate }),
        1 => any::<usize>().prop_map(|which| Act::Reopen { which }),
        1 => any::<usize>().prop_map(|which| Act::Change { which }),
        1 => any::<usize>().prop_map(|which| Act::Call { which }),
    ];
    prop::collection::vec(act, 1..25)
}

async fn play(pool: &Pool, acts: &[Act]) {
    let context = Context::of("test");
    for act in acts {
        let live = pool.snapshot().await.live;
        let pick = |which: usize| live.get(which % live.len().max(1)).map(|order| order.id);
        match *act {
            Act::Order => {
                let details = OrderDetails::default();
                pool.allocator.allocate(restaurant(), &details, None, &context).await.expect("Redis answers");
            }
            Act::Finish { which, immediate } => {
                if let Some(id) = pick(which) {
                    pool.finish(id, immediate).await;
                }
            }
            Act::Reopen { which } => {
                let kept = pool.snapshot().await.kept;
                if let Some(order) = kept.get(which % kept.len().max(1)) {
                    let status = Some(OrderStatus::Preparing);
                    let update = OrderUpdate { status, expected_version: None, rewritten: None, context: &context };
                    pool.allocator.reopen(order.id, update, None).await.expect("Redis answers");
                }
            }
            Act::Change { which } => {
                if let Some(id) = pick(which) {
                    pool.change(id, OrderStatus::Ready).await;
                }
            }
            Act::Call { which } => {
                if let Some(id) = pick(which) {
                    pool.call(id).await;
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the ledger knew when Redis lost everything, and whatever was done since: what this daemon saw
    /// acknowledged is as it was, and every number is in one state.
    #[test]
    fn what_was_seen_is_said_again(
        known in acts(), lost in acts(), since in acts(), policy in 0..3_usize, max_number in 4..40_u32,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("starts");
        runtime.block_on(async {
            let settings = PoolSettings { policy: POLICIES[policy], max_number, ..PoolSettings::default() };
            let pool = Pool::new(&settings).await;
            play(&pool, &known).await;
            let ledger = pool.snapshot().await;
            // What the ledger has is forgotten; the rest is remembered.
            pool.allocator.made_durable(PARTITION, 1, ledger.sequence);
            play(&pool, &lost).await;
            let before = pool.snapshot().await;

            // Another daemon, which remembers nothing, builds the next generation, and goes on.
            let builder = pool.daemon(1);
            builder.begin(1, before.sequence).await;
            builder.load(2, &image_of(&ledger)).await;
            builder.finish_build(2).await;
            play(&builder, &since).await;
            let restated = pool.restate(2).await;
            pool.open(2);

            let after = pool.snapshot().await;
            prop_assert_eq!(after.findings(), []);
            let without_number: BTreeSet<OrderId> =
                restated.iter().filter(|(_, what)| *what == Restated::NoNumber).map(|(id, _)| *id).collect();
            // Where the builder reopened an order more often than what was lost, or has ended it, that counts, at whichever
            // version.
            let is_as_far = |here: &Order, order: &Order| match reopenings(here).cmp(&reopenings(order)) {
                Ordering::Greater => true,
                Ordering::Equal => here.version >= order.version || here.status.is_final(),
                Ordering::Less => false,
            };
            for order in before.live.iter().filter(|order| order.sequence > ledger.sequence) {
                let here = after.live.iter().chain(&after.kept).find(|here| here.id == order.id);
                prop_assert!(here.is_some_and(|here| is_as_far(here, order)) || without_number.contains(&order.id));
            }
            for order in before.kept.iter().filter(|order| order.sequence > ledger.sequence) {
                let is_undone = |live: &Order| live.id == order.id && reopenings(live) <= reopenings(order);
                prop_assert!(!after.live.iter().any(is_undone), "it has ended");
            }
            Ok(())
        })?;
    }
}

fn reopenings(order: &Order) -> u32 {
    order.reopening.map_or(0, |reopening| reopening.count)
}

fn after(ms: i64, number: i64) -> (nowserving::domain::Timestamp, DisplayNumber) {
    let at = nowserving::domain::Timestamp::from_unix_ms(4_000_000_000_000 + ms);
    (at, DisplayNumber::new(number).expect("in range"))
}

#[tokio::test]
async fn a_repeat_of_any_piece_of_a_load_does_no_harm() {
    let redis = support::OwnRedis::start().await;
    let proxy = support::Proxy::start(&redis.socket());
    let pool = Pool::on(proxy.url(), &PoolSettings::default()).await;
    pool.begin(1, 10).await;
    let cooling = (1..=1200).map(|n| after(n, n)).collect();
    let before = proxy.recorded("EVALSHA").len();
    pool.load(2, &PoolImage { cooling, ..empty_image(&PoolSettings::default()) }).await;
    let calls = proxy.recorded("EVALSHA").split_off(before);
    assert_eq!(calls.len(), 4, "three pieces and the settings");
    // The answer to the last piece was lost, and the call is made again.
    let mut again = redis::cmd("EVALSHA");
    again.arg(&calls[2][1..]);
    again.exec_async(&mut redis.connect().await).await.expect("Redis answers");
    pool.finish_build(2).await;
    let snapshot = pool.snapshot().await;
    assert_eq!((snapshot.cooling.len(), snapshot.findings()), (1200, vec![]));
}

#[tokio::test]
async fn a_late_repeat_of_the_beginning_of_a_build_loses_nothing() {
    let pool = Pool::new(&PoolSettings::default()).await;
    let order = pool.new_order().await;
    pool.begin(1, 10).await;
    pool.load(2, &empty_image(&PoolSettings::default())).await;
    assert_eq!(pool.restate(2).await.len(), 1);
    pool.allocator
        .begin_build(&pool.build(2), 10, Timestamp::from_unix_ms(0), SEED, false)
        .await
        .expect("no other daemon builds");
    pool.finish_build(2).await;
    let waiting = pool.allocator.waiting_entries(PARTITION, 10, 10).await.expect("Redis answers");
    assert_eq!(waiting.len(), 1, "{order:?}");
}

/// All packets of a load come once more, when what its restaurant's daemon remembers has been said again.
#[tokio::test]
async fn a_late_repeat_of_a_load_takes_nothing_back() {
    let redis = support::OwnRedis::start().await;
    let proxy = support::Proxy::start(&redis.socket());
    let pool = Pool::on(proxy.url(), &PoolSettings::default()).await;
    let (changed, ended) = (pool.new_order().await, pool.new_order().await);
    let ledger = image_of(&pool.snapshot().await);
    let context = Context::of("test");
    let ready =
        OrderUpdate { status: Some(OrderStatus::Ready), expected_version: None, rewritten: None, context: &context };
    pool.allocator.transition(changed.id, ready).await.expect("Redis answers");
    pool.finish(ended.id, false).await;
    let later = pool.new_order().await;
    pool.begin(1, 10).await;
    let before = proxy.recorded("EVALSHA").len();
    pool.load(2, &ledger).await;
    let calls = proxy.recorded("EVALSHA").split_off(before);
    pool.restate(2).await;
    let mut late = redis.connect().await;
    for call in &calls {
        redis::cmd("EVALSHA").arg(&call[1..]).exec_async(&mut late).await.expect("Redis answers");
    }
    pool.finish_build(2).await;
    let after = pool.snapshot().await;
    let status = |id| after.live.iter().find(|order| order.id == id).map(|order| order.status);
    assert_eq!(status(changed.id), Some(OrderStatus::Ready));
    assert_eq!((status(ended.id), status(later.id)), (None, Some(OrderStatus::Pending)));
    assert_eq!((after.cooling.len(), after.findings()), (1, vec![]));
}

#[tokio::test]
async fn an_order_that_others_have_ended_is_not_brought_back_to_life() {
    let pool = Pool::new(&PoolSettings::default()).await;
    let other = pool.daemon(1);
    let order = pool.new_order().await;
    let ledger = image_of(&pool.snapshot().await);
    // The other daemon has changed it twice, which is lost. It hangs, and meanwhile the order is ended.
    let context = Context::of("test");
    for status in [OrderStatus::Preparing, OrderStatus::Ready] {
        let update = OrderUpdate { status: Some(status), expected_version: None, rewritten: None, context: &context };
        other.allocator.transition(order.id, update).await.expect("Redis answers");
    }
    pool.begin(1, 100).await;
    pool.load(2, &ledger).await;
    pool.finish_build(2).await;
    pool.finish(order.id, false).await;
    assert_eq!(other.restate(2).await, [(order.id, Restated::Known)]);
    let after = pool.snapshot().await;
    assert_eq!((after.live.len(), after.kept.len(), after.findings()), (0, 1, vec![]));
}

/// Two orders had number 1, and the later one has number 2 by now. What else is remembered of it, of when its number
/// was 1, is about number 2.
#[tokio::test]
async fn what_is_remembered_of_a_renumbered_order_is_about_its_new_number() {
    for ends in [false, true] {
        let settings = PoolSettings { policy: SelectionPolicy::Lowest, max_number: 9, ..PoolSettings::default() };
        let pool = Pool::new(&settings).await;
        let (other, third) = (pool.daemon(1), pool.daemon(1));
        let first = other.new_order().await;
        // Lost, but for the memory of `other`.
        pool.begin(1, 100).await;
        pool.load(2, &empty_image(&settings)).await;
        pool.finish_build(2).await;
        pool.is_past(&first).await;
        let second = pool.new_order().await;
        assert_eq!((number_of(&first), number_of(&second)), (1, 1));
        let ledger = image_of(&pool.snapshot().await);
        // A third daemon changes the second order; that is lost, too.
        third.open(2);
        for status in [OrderStatus::Preparing, OrderStatus::Ready, OrderStatus::Served] {
            let context = Context::of("test");
            let update =
                OrderUpdate { status: Some(status), expected_version: None, rewritten: None, context: &context };
            third.allocator.transition(second.id, update).await.expect("Redis answers");
        }
        if ends {
            third.finish(second.id, false).await;
        }
        pool.begin(2, 200).await;
        pool.load(3, &ledger).await;
        pool.finish_build(3).await;
        other.restate(3).await;
        let given_at = |orders: &[Order]| orders.iter().find(|order| order.id == second.id).map(|order| order.given_at);
        let renumbered = given_at(&pool.snapshot().await.live);
        third.restate(3).await;
        let after = pool.snapshot().await;
        assert_eq!(after.findings(), []);
        // So is its life: it begins with that number, and does not end before.
        assert_eq!(given_at(if ends { &after.kept } else { &after.live }), renumbered);
        assert!(after.kept.iter().all(|order| order.released_at >= order.given_at));
        let numbers: BTreeSet<u32> = after.live.iter().map(number_of).collect();
        assert_eq!(numbers, (1..=if ends { 1 } else { 2 }).collect());
    }
}

#[tokio::test]
async fn a_full_redis_is_rebuilt() {
    let redis = support::OwnRedis::start().await;
    let pool = Pool::on(redis.url(), &PoolSettings::default()).await;
    let other = pool.daemon(1);
    let lost = other.new_order().await;
    pool.begin(1, 10).await;
    let full = redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(1).to_owned();
    full.exec_async(&mut redis.connect().await).await.expect("Redis answers");
    pool.load(2, &empty_image(&PoolSettings::default())).await;
    pool.allocator
        .skip_numbers(restaurant(), &pool.build(2), 3, 3, &Context::of("recovery"))
        .await
        .expect("it needs no room");
    assert_eq!(other.restate(2).await, [(lost.id, Restated::Back(None))]);
    pool.finish_build(2).await;
    pool.finish(lost.id, false).await;
}

/// A number went through the hands of two orders since the ledger last heard of it: it rests until the second one's rest is
/// over, and the second one is its last holder.
#[tokio::test]
async fn a_number_rests_after_its_last_order_of_several_that_were_lost() {
    let settings = PoolSettings { policy: SelectionPolicy::Lowest, max_number: 9, ..PoolSettings::default() };
    for (ledger_has_first, twice_lost) in [(false, false), (true, false), (true, true)] {
        let pool = Pool::new(&settings).await;
        let first = pool.new_order().await;
        let ledger = if ledger_has_first { image_of(&pool.snapshot().await) } else { empty_image(&settings) };
        let first = pool.finish(first.id, false).await;
        pool.allocator.recycle(&first, None, &Context::of("test")).await.expect("Redis answers");
        let second = pool.new_order().await;
        assert_eq!(number_of(&second), number_of(&first));
        pool.finish(second.id, false).await;
        let rest = pool.snapshot().await.cooling;
        let losses = if twice_lost { 2 } else { 1 };
        for generation in 2..2 + losses {
            pool.begin(generation - 1, 100 * generation).await;
            pool.load(generation, &ledger).await;
            pool.finish_build(generation).await;
            pool.restate(generation).await;
        }
        let after = pool.snapshot().await;
        assert_eq!(after.findings(), []);
        assert_eq!(after.cooling, rest);
        assert_eq!(after.holders.get(&number_of(&first)), Some(&second.id));
    }
}

/// As before, but two daemons remember one order each, and the one with the later order speaks first.
#[tokio::test]
async fn a_number_rests_after_its_last_order_whichever_daemon_speaks_first() {
    let settings = PoolSettings { policy: SelectionPolicy::Lowest, max_number: 9, ..PoolSettings::default() };
    let pool = Pool::new(&settings).await;
    let other = pool.daemon(1);
    let first = pool.new_order().await;
    let ledger = image_of(&pool.snapshot().await);
    let first = pool.finish(first.id, false).await;
    pool.allocator.recycle(&first, None, &Context::of("test")).await.expect("Redis answers");
    // It connects, and so has a time.
    other.snapshot().await;
    other.is_past(&first).await;
    let second = other.new_order().await;
    assert_eq!(number_of(&second), number_of(&first));
    other.finish(second.id, false).await;
    let rest = pool.snapshot().await.cooling;

    pool.begin(1, 100).await;
    pool.load(2, &ledger).await;
    pool.finish_build(2).await;
    assert_eq!(other.say_again(2, true).await, [(second.id, Restated::Held)]);
    assert_eq!(pool.say_again(2, true).await, [(first.id, Restated::Back(None))]);
    assert_eq!(other.restate(2).await, [(second.id, Restated::Back(None))]);
    let after = pool.snapshot().await;
    assert_eq!(after.findings(), []);
    assert_eq!(after.cooling, rest);
    assert_eq!(after.holders.get(&number_of(&first)), Some(&second.id));
}

#[tokio::test]
async fn what_was_said_again_and_lost_again_is_said_again() {
    let settings = PoolSettings::default();
    let pool = Pool::new(&settings).await;
    let lost = pool.new_order().await;
    for generation in [2, 3, 4] {
        pool.begin(generation - 1, 100).await;
        pool.load(generation, &empty_image(&settings)).await;
        assert_eq!(pool.restate(generation).await, [(lost.id, Restated::Back(None))], "generation {generation}");
        pool.finish_build(generation).await;
    }
    pool.allocator.made_durable(PARTITION, 4, 101);
    pool.begin(4, 200).await;
    assert_eq!(pool.restate(5).await, [], "the ledger has it");
}

#[tokio::test]
async fn what_the_ledger_does_not_know_of_the_generation_before_goes() {
    let settings = PoolSettings::default();
    let pool = Pool::new(&settings).await;
    let (digest, context) = (IdempotencyDigest { key: [1; 16], body: [2; 16] }, Context::of("test"));
    let ask = async |restaurant| {
        let details = OrderDetails::default();
        pool.allocator.allocate(restaurant, &details, Some(digest), &context).await
    };
    // Of the one restaurant the ledger does not know the key, of the other one nothing at all.
    let unknown = RestaurantId::new(8).expect("in range");
    pool.allocator.configure(unknown, &settings, true, &context).await.expect("Redis answers");
    let Ok(Allocated::New(lost)) = ask(restaurant()).await else { panic!("the key is new") };
    assert!(matches!(ask(unknown).await, Ok(Allocated::New(_))));
    pool.finish(lost.id, false).await;

    let builder = pool.daemon(1);
    builder.begin(1, 100).await;
    builder.load(2, &empty_image(&settings)).await;
    let forgotten = builder.allocator.forget_others(&builder.build(2), &[restaurant()]).await;
    assert_eq!(forgotten.expect("no other daemon builds"), 1);
    builder.finish_build(2).await;
    pool.open(2);
    assert!(matches!(ask(unknown).await, Ok(Allocated::Unprovisioned)), "it is as if it had never been");
    let again = ask(restaurant()).await;
    assert!(matches!(&again, Ok(Allocated::New(order)) if order.id != lost.id), "{again:?}");
    let mut redis = pool.redis().await;
    let keys = format!("{}:*", pool.namespace);
    let mut keys: Vec<String> = redis::cmd("KEYS").arg(keys).query_async(&mut redis).await.expect("Redis answers");
    keys.retain(|key| key.contains(":8"));
    assert_eq!(keys, Vec::<String>::new());
    assert_eq!(pool.allocator.restaurants(PARTITION).await.expect("Redis answers"), [restaurant()]);
}

/// What was read of an outbox says what may be trimmed of it, and of no other.
#[tokio::test]
async fn a_late_trim_spares_the_next_generation() {
    let pool = Pool::new(&PoolSettings::default()).await;
    for _ in 0..5 {
        pool.new_order().await;
    }
    let late = pool.daemon(1);
    // Another one builds the next generation from a ledger that had not come so far.
    let builder = pool.daemon(1);
    builder.begin(1, 2).await;
    builder.load(2, &empty_image(&PoolSettings::default())).await;
    builder.finish_build(2).await;
    let order = builder.new_order().await;
    assert_eq!(order.sequence, 3);
    late.open(1);
    assert!(late.allocator.trim_outboxes([(PARTITION, 1, 6)]).await.is_err());
    assert_eq!(builder.allocator.waiting_entries(PARTITION, 2, 10).await.expect("Redis answers").len(), 1);
}

/// Of each generation's own outbox so much goes as the ledger has of it.
#[tokio::test]
async fn a_trim_leaves_what_the_ledger_lacks() {
    let pool = Pool::new(&PoolSettings::default()).await;
    for _ in 0..5 {
        pool.new_order().await;
    }
    let left = async || -> Vec<u64> {
        let entries = pool.allocator.waiting_entries(PARTITION, 0, 100).await.expect("Redis answers");
        entries.iter().map(|entry| entry.sequence).collect()
    };
    assert_eq!(left().await, [1, 2, 3, 4, 5, 6]);
    pool.allocator.trim_outboxes([(PARTITION, 1, 4)]).await.expect("Redis answers");
    assert_eq!(left().await, [5, 6]);
    // The next generation goes on behind less than the one before had come to.
    pool.begin(1, 2).await;
    pool.load(2, &empty_image(&PoolSettings::default())).await;
    pool.finish_build(2).await;
    pool.new_order().await;
    assert_eq!(left().await, [3]);
    pool.allocator.trim_outboxes([(PARTITION, 1, 6)]).await.expect("it is passed over");
    assert_eq!(left().await, [3], "the ledger had this of the generation before");
}

/// A build that keeps what is there must find what its builder saw.
#[tokio::test]
async fn what_was_to_stay_must_be_there() {
    let pool = Pool::new(&PoolSettings::default()).await;
    let order = pool.new_order().await;
    assert!(pool.allocator.fence_off(PARTITION, 1, &pool.run_id).await.expect("Redis answers"));
    let begin = async |sequence, whole| {
        pool.allocator.begin_build(&pool.build(2), sequence, Timestamp::from_unix_ms(0), SEED, whole).await
    };
    let refused = begin(order.sequence + 1, true).await;
    assert!(matches!(refused, Err(AllocatorError::Closed(_))), "{refused:?}");
    begin(order.sequence, true).await.expect("no other daemon builds");
    pool.finish_build(2).await;
    assert_eq!(pool.snapshot().await.live, [order]);
}

/// Whichever of the two has lost something.
#[tokio::test]
async fn stamps_go_on_behind_those_of_the_ledger_and_of_redis() {
    let pool = Pool::new(&PoolSettings::default()).await;
    let later = pool.new_order().await.updated_at.plus_ms(3_600_000);
    let begin = async |generation, stamp| {
        assert!(pool.allocator.fence_off(PARTITION, generation - 1, &pool.run_id).await.expect("Redis answers"));
        let begun = pool.allocator.begin_build(&pool.build(generation), 100, stamp, SEED, false).await;
        begun.expect("no other daemon builds");
        pool.load(generation, &empty_image(&PoolSettings::default())).await;
        pool.finish_build(generation).await;
        pool.new_order().await.given_at.expect("it was given")
    };
    assert_eq!(begin(2, later).await, later, "the ledger's is later");
    assert_eq!(begin(3, Timestamp::from_unix_ms(0)).await, later, "Redis's is");
}

/// The order in which they are read from the ledger is not that of their ends.
#[tokio::test]
async fn rests_are_loaded_in_the_order_of_their_ends() {
    let pool = Pool::new(&PoolSettings::default()).await;
    pool.begin(1, 10).await;
    let cooling = (1..=600).map(|n| after(n * 7 % 601, n)).collect();
    pool.load(2, &PoolImage { cooling, ..empty_image(&PoolSettings::default()) }).await;
    pool.finish_build(2).await;
    let snapshot = pool.snapshot().await;
    assert_eq!((snapshot.cooling.len(), snapshot.findings()), (600, vec![]));
}

/// Of the changes that were acknowledged, those that the ledger has are forgotten, and no other.
#[tokio::test]
async fn a_change_is_remembered_until_the_ledger_has_it() {
    let pool = Pool::new(&PoolSettings::default()).await;
    let (first, second) = (pool.new_order().await, pool.new_order().await);
    pool.allocator.made_durable(PARTITION, 1, first.sequence);
    assert!(!pool.allocator.remembers(first.id) && pool.allocator.remembers(second.id));
    // The next generation says nothing of what was lost with the one before, however far it comes.
    pool.open(2);
    pool.allocator.made_durable(PARTITION, 2, second.sequence + 100);
    assert!(pool.allocator.remembers(second.id));
}

/// Where others went on with an order whose end was lost, it ends after all.
#[tokio::test]
async fn an_end_stays_an_end_where_others_went_on() {
    let pool = Pool::new(&PoolSettings::default()).await;
    let other = pool.daemon(1);
    let order = pool.new_order().await;
    let ledger = image_of(&pool.snapshot().await);
    other.finish(order.id, false).await;
    // The end is lost, and the order changed twice since.
    pool.begin(1, 100).await;
    pool.load(2, &ledger).await;
    pool.finish_build(2).await;
    let context = Context::of("test");
    for status in [OrderStatus::Preparing, OrderStatus::Ready] {
        let update = OrderUpdate { status: Some(status), expected_version: None, rewritten: None, context: &context };
        pool.allocator.transition(order.id, update).await.expect("Redis answers");
    }
    assert_eq!(other.restate(2).await, [(order.id, Restated::Back(None))]);
    let after = pool.snapshot().await;
    let ended: Vec<_> = after.kept.iter().map(|order| (order.id, order.status, order.version)).collect();
    assert_eq!(ended, [(order.id, OrderStatus::Completed, 4)]);
    assert_eq!((after.live.len(), after.cooling.len(), after.findings()), (0, 1, vec![]));
}

/// What the ledger has of it is loaded, and what it lacks is said again: a board still knows which call it has sounded.
#[tokio::test]
async fn calls_are_known_after_a_loss_as_before() {
    let pool = Pool::new(&PoolSettings::default()).await;
    let (known, lost) = (pool.new_order().await, pool.new_order().await);
    let known = pool.call(known.id).await;
    let ledger = image_of(&pool.snapshot().await);
    let lost = pool.call(lost.id).await;
    pool.begin(1, 100).await;
    pool.load(2, &ledger).await;
    pool.finish_build(2).await;
    let calls = async || {
        let live: HashMap<_, _> = pool.snapshot().await.live.into_iter().map(|order| (order.id, order.calls)).collect();
        [live[&known.id], live[&lost.id]]
    };
    assert_eq!(calls().await, [known.calls, None]);
    // A screen that calls it once more at once makes no second call of it.
    let context = Context::of("test");
    assert!(matches!(pool.allocator.call(known.id, None, None, &context).await, Ok(Called::Recent(_))));
    assert_eq!(pool.restate(2).await, [(lost.id, Restated::Back(None))]);
    assert_eq!(calls().await, [known.calls, lost.calls]);
    assert!(matches!(pool.allocator.call(lost.id, None, None, &context).await, Ok(Called::Recent(_))));
    assert_eq!(pool.snapshot().await.findings(), []);
}

/// The end of an order was lost, and others have called it since: it has ended, and was called.
#[tokio::test]
async fn a_call_that_others_made_meanwhile_stays_with_the_order() {
    let pool = Pool::new(&PoolSettings::default()).await;
    let other = pool.daemon(1);
    let order = pool.new_order().await;
    let ledger = image_of(&pool.snapshot().await);
    other.finish(order.id, false).await;
    pool.begin(1, 100).await;
    pool.load(2, &ledger).await;
    pool.finish_build(2).await;
    pool.change(order.id, OrderStatus::Preparing).await;
    let called = pool.call(order.id).await;
    assert_eq!(other.restate(2).await, [(order.id, Restated::Back(None))]);
    let after = pool.snapshot().await;
    let ended: Vec<_> = after.kept.iter().map(|order| (order.status, order.version, order.calls)).collect();
    assert_eq!(ended, [(OrderStatus::Completed, 4, called.calls)]);
    assert_eq!(after.findings(), []);
}

/// Every call of a builder comes once more: when another one has taken over, and when the generation is open.
#[tokio::test]
async fn a_piece_of_a_build_that_comes_too_late_changes_nothing() {
    let redis = support::OwnRedis::start().await;
    let proxy = support::Proxy::start(&redis.socket());
    let pool = Pool::on(redis.url(), &PoolSettings::default()).await;
    let context = Context::of("test");
    // The builder remembers an order, whose key was used, and finds a restaurant that the ledger does not know.
    let builder = Pool { url: proxy.url(), ..pool.clone() }.daemon(1);
    let (digest, details) = (IdempotencyDigest { key: [1; 16], body: [2; 16] }, OrderDetails::default());
    let made = builder.allocator.allocate(restaurant(), &details, Some(digest), &context).await;
    let Ok(Allocated::New(order)) = made else { panic!("{made:?}") };
    let unknown = RestaurantId::new(8).expect("in range");
    pool.allocator.configure(unknown, &PoolSettings::default(), true, &context).await.expect("Redis answers");

    assert!(pool.allocator.fence_off(PARTITION, 1, &pool.run_id).await.expect("Redis answers"));
    let before = proxy.recorded("EVALSHA").len();
    let build = builder.build(2);
    builder.allocator.begin_to_tell(&build).await.expect("no other daemon builds");
    builder
        .allocator
        .begin_build(&build, 100, Timestamp::from_unix_ms(0), SEED, false)
        .await
        .expect("no other daemon builds");
    builder.allocator.forget_others(&build, &[restaurant()]).await.expect("no other daemon builds");
    let cooling = vec![after(0, 40)];
    builder
        .load(2, &PoolImage { cooling, keys: vec![(digest, order.id)], ..empty_image(&PoolSettings::default()) })
        .await;
    builder.allocator.skip_numbers(restaurant(), &build, 3, 3, &context).await.expect("no other daemon builds");
    builder.allocator.emit(&build, &[(order.clone(), None)], &[], &context).await.expect("no other daemon builds");
    assert_eq!(builder.restate(2).await, [(order.id, Restated::Back(None))]);
    builder.allocator.invite(&build).await.expect("no other daemon builds");
    let pieces = proxy.recorded("EVALSHA").split_off(before);
    assert!(pieces.len() >= 10, "only {} pieces", pieces.len());
    let again = async || -> Vec<String> {
        let (mut late, mut names) = (redis.connect().await, Vec::new());
        for piece in &pieces {
            let reply: redis::Value =
                redis::cmd("EVALSHA").arg(&piece[1..]).query_async(&mut late).await.expect("Redis answers");
            let redis::Value::Array(reply) = reply else { panic!("{reply:?}") };
            names.push(redis::from_redis_value(reply[0].clone()).expect("a name"));
        }
        names
    };
    // Everything that Redis holds, but for what no two looks have in common.
    let everything = async || -> Vec<(String, Vec<u8>)> {
        let mut redis = redis.connect().await;
        let mut keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut redis).await.expect("Redis answers");
        keys.sort_unstable();
        let mut held = Vec::new();
        for key in keys {
            let dumped = redis::cmd("DUMP").arg(&key).query_async(&mut redis).await.expect("Redis answers");
            held.push((key, dumped));
        }
        held
    };

    // Another builder has overtaken this one, and loaded both restaurants and the key's next order.
    let next = pool.build(3);
    pool.allocator.begin_build(&next, 200, Timestamp::from_unix_ms(0), SEED, false).await.expect("it is newer");
    let settings = PoolSettings { max_number: 77, ..PoolSettings::default() };
    pool.load(3, &empty_image(&settings)).await;
    let of_unknown = SettingsChange { restaurant: unknown, settings: settings.clone(), version: 1 };
    pool.load(3, &PoolImage { settings: of_unknown, ..empty_image(&settings) }).await;
    let built = everything().await;
    assert_eq!(again().await, vec!["closed"; pieces.len()]);
    assert_eq!(everything().await, built);
    pool.finish_build(3).await;
    let open = everything().await;
    assert_eq!(again().await, vec!["closed"; pieces.len()]);
    assert_eq!(everything().await, open);
}

/// A daemon that was not told that its generation is open repeats what it did to build it.
#[tokio::test]
async fn a_piece_of_a_build_that_comes_when_it_is_open_puts_nothing_back() {
    let redis = support::OwnRedis::start().await;
    let proxy = support::Proxy::start(&redis.socket());
    let (settings, context) = (PoolSettings::default(), Context::of("test"));
    let pool = Pool::on(redis.url(), &settings).await;
    let unknown = RestaurantId::new(8).expect("in range");
    pool.allocator.configure(unknown, &settings, true, &context).await.expect("Redis answers");
    let builder = Pool { url: proxy.url(), ..pool.clone() }.daemon(1);
    builder.begin(1, 10).await;
    let (build, before) = (builder.build(2), proxy.recorded("EVALSHA").len());
    assert_eq!(builder.allocator.forget_others(&build, &[restaurant()]).await.ok(), Some(1));
    builder.load(2, &PoolImage { cooling: vec![after(0, 40)], ..empty_image(&settings) }).await;
    assert_eq!(builder.allocator.skip_numbers(restaurant(), &build, 3, 3, &context).await.ok(), Some(3));
    builder.allocator.invite(&build).await.expect("no other daemon builds");
    let pieces = proxy.recorded("EVALSHA").split_off(before);
    builder.finish_build(2).await;
    pool.open(2);
    // Others go on with it.
    let wider = PoolSettings { max_number: 77, ..settings };
    for restaurant in [restaurant(), unknown] {
        pool.allocator.configure(restaurant, &wider, false, &context).await.expect("Redis answers");
    }
    pool.new_order().await;
    let served = async || {
        let other = pool.allocator.snapshot(unknown).await.expect("Redis answers");
        (pool.snapshot().await, other.expect("it has settings"))
    };
    let before = served().await;
    let mut late = redis.connect().await;
    for piece in &pieces {
        redis::cmd("EVALSHA").arg(&piece[1..]).exec_async(&mut late).await.expect("Redis answers");
    }
    assert_eq!(served().await, before);
}

/// One daemon ended the order and another one took it back; both are lost. Whichever is said again first, the reopening
/// counts.
#[tokio::test]
async fn a_reopening_is_not_undone_by_the_end_before_it() {
    for end_comes_first in [false, true] {
        let pool = Pool::new(&PoolSettings::default()).await;
        let other = pool.daemon(1);
        let order = pool.new_order().await;
        let ledger = image_of(&pool.snapshot().await);
        pool.finish(order.id, false).await;
        let reopened = other.reopen(order.id).await;
        pool.begin(1, 100).await;
        pool.load(2, &ledger).await;
        pool.finish_build(2).await;
        if end_comes_first {
            assert_eq!(pool.restate(2).await, [(order.id, Restated::Back(None))]);
            assert_eq!(pool.snapshot().await.kept.len(), 1);
            assert_eq!(other.restate(2).await, [(order.id, Restated::Back(None))]);
        } else {
            assert_eq!(other.restate(2).await, [(order.id, Restated::Back(None))]);
            assert_eq!(pool.restate(2).await, [(order.id, Restated::Known)], "that was before");
        }
        let after = pool.snapshot().await;
        let live: Vec<_> =
            after.live.iter().map(|live| Order { sequence: reopened.sequence, ..live.clone() }).collect();
        assert_eq!(live, [reopened], "{end_comes_first}");
        assert_eq!((after.kept.len(), after.cooling.len(), after.findings()), (0, 0, vec![]));
    }
}

/// The ledger has the end, and the number at rest; the reopening is lost.
#[tokio::test]
async fn an_order_that_the_ledger_has_as_ended_is_reopened_after_all() {
    for number_was_given in [false, true] {
        let settings = PoolSettings { policy: SelectionPolicy::Lowest, max_number: 9, ..PoolSettings::default() };
        let pool = Pool::new(&settings).await;
        let other = pool.daemon(1);
        let order = pool.new_order().await;
        pool.finish(order.id, false).await;
        let ledger = pool.snapshot().await;
        pool.allocator.made_durable(PARTITION, 1, ledger.sequence);
        let reopened = other.reopen(order.id).await;
        pool.begin(1, 100).await;
        // Finished orders are not loaded. Where the rest of its number is over by now, another order may get that.
        let cooling = if number_was_given { vec![] } else { image_of(&ledger).cooling };
        pool.load(2, &PoolImage { cooling, ..image_of(&ledger) }).await;
        pool.finish_build(2).await;
        pool.is_past(&order).await;
        let next = pool.new_order().await;
        assert_eq!(number_of(&next), if number_was_given { 1 } else { 2 });
        let found = Renumbered { order: next.id, previous: order.number.expect("one"), keeper: order.id };
        let restated = Restated::Back(number_was_given.then_some(found));
        assert_eq!(other.restate(2).await, [(order.id, restated)]);
        let after = pool.snapshot().await;
        let here = |id| after.live.iter().find(|order| order.id == id).expect("it is live");
        assert_eq!((here(order.id).reopening, here(order.id).version), (reopened.reopening, reopened.version));
        assert_eq!((number_of(here(order.id)), number_of(here(next.id))), (1, 2));
        assert_eq!((after.cooling.len(), after.findings()), (0, vec![]));
    }
}

/// Others went on with the order as it was before its end, or ended it once more, and did not know of the reopening.
#[tokio::test]
async fn a_reopening_counts_over_what_was_done_without_it() {
    for others_ended_it in [false, true] {
        let pool = Pool::new(&PoolSettings::default()).await;
        let other = pool.daemon(1);
        let order = pool.new_order().await;
        let ledger = image_of(&pool.snapshot().await);
        other.finish(order.id, false).await;
        let reopened = other.reopen(order.id).await;
        pool.begin(1, 100).await;
        pool.load(2, &ledger).await;
        pool.finish_build(2).await;
        for status in [OrderStatus::Preparing, OrderStatus::Held, OrderStatus::Served] {
            pool.change(order.id, status).await;
        }
        let (status, version) = if others_ended_it {
            pool.finish(order.id, false).await;
            (OrderStatus::Preparing, 6)
        } else {
            (OrderStatus::Served, 5)
        };
        assert_eq!(other.restate(2).await, [(order.id, Restated::Back(None))]);
        let after = pool.snapshot().await;
        let live: Vec<_> = after.live.iter().map(|live| (live.status, live.version, live.reopening)).collect();
        assert_eq!(live, [(status, version, reopened.reopening)]);
        assert_eq!((after.kept.len(), after.cooling.len(), after.findings()), (0, 0, vec![]));
    }
}

/// It ended a second time, and only the first end is known.
#[tokio::test]
async fn the_end_behind_a_reopening_counts_over_the_one_before() {
    let pool = Pool::new(&PoolSettings::default()).await;
    let other = pool.daemon(1);
    let order = pool.new_order().await;
    let ledger = image_of(&pool.snapshot().await);
    pool.finish(order.id, false).await;
    other.reopen(order.id).await;
    let ended = other.finish(order.id, false).await;
    let rest = pool.snapshot().await.cooling;
    pool.begin(1, 100).await;
    pool.load(2, &ledger).await;
    pool.finish_build(2).await;
    assert_eq!(pool.restate(2).await, [(order.id, Restated::Back(None))], "the first end");
    assert_eq!(other.restate(2).await, [(order.id, Restated::Back(None))]);
    let after = pool.snapshot().await;
    let kept: Vec<_> = after.kept.iter().map(|kept| Order { sequence: ended.sequence, ..kept.clone() }).collect();
    assert_eq!((kept, after.cooling.clone(), after.findings()), (vec![ended], rest, vec![]));
    // And is taken back once more, as by any daemon.
    assert_eq!(reopenings(&pool.reopen(order.id).await), 2);
    assert_eq!(pool.snapshot().await.findings(), []);
}

/// It was freed at its second end, and only the rest since the first one is known: that goes on, in both stores.
#[tokio::test]
async fn a_rest_that_is_back_after_it_was_ended_is_in_the_log() {
    let pool = Pool::new(&PoolSettings::default()).await;
    let order = pool.new_order().await;
    pool.finish(order.id, false).await;
    let ledger = pool.snapshot().await;
    pool.allocator.made_durable(PARTITION, 1, ledger.sequence);
    pool.reopen(order.id).await;
    pool.finish(order.id, true).await;
    assert_eq!(pool.snapshot().await.cooling, []);
    pool.begin(1, 100).await;
    pool.load(2, &PoolImage { live: vec![], ..image_of(&ledger) }).await;
    pool.finish_build(2).await;
    assert_eq!(pool.restate(2).await, [(order.id, Restated::Back(None))]);
    let after = pool.snapshot().await;
    assert_eq!((&after.cooling, after.findings()), (&ledger.cooling, vec![]));
    let mut read =
        OutboxReader::new(pool.allocator.clone()).read(&[(PARTITION, 0)], 1000, None).await.expect("it answers");
    let (_, entries) = read.pop().expect("its outbox");
    let said = entries.last().expect("an entry").event.clone().expect("readable");
    let EventKind::Restated { number: Some(NumberAfter::Cooling(until)), .. } = said.kind else { panic!("{said:?}") };
    assert_eq!(after.cooling.iter().map(|(until, _)| *until).collect::<Vec<_>>(), [until]);
}

/// A number outside the range by now, which an order has again.
#[tokio::test]
async fn a_reopening_that_is_said_again_counts_its_number_as_retiring() {
    let settings = PoolSettings { max_number: 9, ..PoolSettings::default() };
    let pool = Pool::new(&settings).await;
    let other = pool.daemon(1);
    let order = pool.new_order().await;
    let ledger = image_of(&pool.snapshot().await);
    pool.finish(order.id, false).await;
    other.reopen(order.id).await;
    pool.begin(1, 100).await;
    let narrower = PoolSettings { min_number: 5, ..settings };
    pool.load(2, &PoolImage { live: ledger.live, ..empty_image(&narrower) }).await;
    pool.finish_build(2).await;
    pool.restate(2).await;
    assert_eq!(pool.snapshot().await.retiring, (0, 1));
    other.restate(2).await;
    let after = pool.snapshot().await;
    assert_eq!((after.retiring, after.findings()), ((1, 0), vec![]));
}

#[tokio::test]
async fn settings_that_were_seen_in_an_earlier_build_are_not_the_present_ones() {
    let context = Context::of("manager");
    let of = |max_number| PoolSettings { max_number, ..PoolSettings::default() };
    let pool = Pool::new(&of(100)).await;
    let moved = |seen, max_number| {
        let (pool, context) = (pool.clone(), context.clone());
        async move {
            let done = pool.allocator.reconfigure(restaurant(), &of(max_number), &seen, &context).await;
            done.expect("Redis answers")
        }
    };
    let see = async || pool.allocator.see_settings(restaurant()).await.expect("Redis answers");
    let first = see().await;
    assert_eq!(moved(first.clone(), 200).await, Configured::Done(2));
    assert_eq!(moved(first, 300).await, Configured::Moved, "another manager was there");
    let lost = see().await;

    // The second version is lost, and given to other settings in the next build.
    let sequence = pool.snapshot().await.sequence;
    pool.begin(1, sequence).await;
    pool.load(2, &empty_image(&of(100))).await;
    pool.finish_build(2).await;
    let kept = see().await;
    assert_eq!(kept.stored.as_ref().map(|stored| (stored.version, stored.settings.max_number)), Some((1, 100)));
    assert_eq!(moved(kept, 400).await, Configured::Done(2));
    assert_eq!(moved(lost, 500).await, Configured::Moved, "its version was that of others");
    assert_eq!(pool.snapshot().await.settings.settings.max_number, 400);
}

#[tokio::test]
async fn ranges_and_patterns_block_numbers_after_a_rebuild_as_before() {
    for blocked in ["*4*,20-29,31", "1,3,5", "1-9,4?"] {
        let settings = PoolSettings {
            max_number: 60,
            cooldown_seconds: 600,
            blocked_numbers: blocked.parse().expect("well-formed"),
            ..PoolSettings::default()
        };
        // Numbers that were given before they were blocked are held, or rest.
        let pool = Pool::new(&PoolSettings { blocked_numbers: [].into(), ..settings.clone() }).await;
        for _ in 0..25 {
            let order = pool.new_order().await;
            if number_of(&order).is_multiple_of(3) {
                pool.finish(order.id, false).await;
            }
        }
        pool.allocator.configure(restaurant(), &settings, false, &Context::of("test")).await.expect("Redis answers");
        let before = pool.snapshot().await;
        assert_eq!(before.findings(), []);
        pool.begin(1, before.sequence).await;
        pool.load(2, &image_of(&before)).await;
        pool.finish_build(2).await;
        let after = pool.snapshot().await;
        assert_eq!(after.findings(), [], "{blocked}");
        let free = |snapshot: &PoolSnapshot| -> BTreeSet<u32> {
            snapshot.free.iter().flat_map(|(first, last)| *first..=*last).collect()
        };
        assert_eq!((free(&after), after.retiring), (free(&before), before.retiring), "{blocked}");
        assert_eq!(after.settings, before.settings, "{blocked}");
    }
}
