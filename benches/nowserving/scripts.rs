//! What each script costs Redis in time, as Redis itself tells for EVALSHA (`INFO commandstats`), so that the client does
//! not matter. It is wall time: where the machine is busy a round may be slow for reasons of its own, so there are many
//! short rounds, and what is compared is measured in turn in each of them.

use std::{collections::BTreeSet, ops::Range, time::Duration};

use nowserving::domain::{DisplayNumber, Order, OrderStatus, PoolSettings, RestaurantId, SelectionPolicy};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::{
    Plan,
    pools::{APPEND_ONLY, IN_MEMORY, Rig, at_once, restaurant},
    report::{Axis, Bound, Figure, Plot, Reference, Report, Series, Target},
    rounds::Spread,
};

const GROUP: &str = "scripts";
/// As many as a pool has by default.
const NUMBERS: u32 = 9999;
/// Calls of each script in a round. With few of them, what is measured is mostly how cold everything is at first.
const CALLS: usize = 64;
/// Restaurants that share a round of allocations: with 99.9 % held, each has only ten numbers to give.
const ALIKE: usize = 8;
const FILLS: [f64; 5] = [1.0, 50.0, 90.0, 99.0, 99.9];
const POLICIES: [SelectionPolicy; 3] = [SelectionPolicy::Sequential, SelectionPolicy::Lowest, SelectionPolicy::Random];
/// What a restaurant holds while the scripts other than allocate are measured.
const LIVE: usize = 50;
const COOLING: usize = 300;
const LONG_REST: u32 = 14_400;

pub async fn measure(plan: &Plan, report: &mut Report) {
    report.note(
        GROUP,
        "Each allocate writes its outbox entry, checks the generation, and comes with an idempotency key of its own. \
         Redis has no append-only file except where it is said. A fragmented pool holds numbers drawn at random from \
         9,999, a compact one the lowest; the fills of a policy are measured in turn in each round, each over eight \
         restaurants that are alike. What is said to be at rest rests for hours.",
    );
    let rig = Rig::start(IN_MEMORY).await;
    allocations_by_fill(&rig, plan, report).await;
    allocations_that_take_back(&rig, plan, report).await;
    append_only_file(&rig, plan, report).await;
    other_scripts(&rig, plan, report).await;
}

/// What the empty script and an INCR took in the same rounds.
#[derive(Default)]
struct References {
    empty_script: Vec<f64>,
    increment: Vec<f64>,
}

impl References {
    async fn measure(&mut self, rig: &Rig) {
        let [empty_script, increment] = rig.references(CALLS).await;
        self.empty_script.push(empty_script);
        self.increment.push(increment);
    }

    fn empty_script(&self) -> Reference {
        reference("an empty script", Spread::of(self.empty_script.iter().copied()))
    }

    fn report(self, what: &str, report: &mut Report) {
        let value = self.empty_script().value;
        let increment = reference("INCR", Spread::of(self.increment));
        report.figure(micros(&format!("an empty script, {what}"), value, increment, None));
    }
}

fn reference(name: &str, value: Spread) -> Reference {
    Reference { name: name.to_owned(), value }
}

fn micros(name: &str, value: Spread, reference: Reference, target: Option<Target>) -> Figure {
    Figure { group: GROUP, name: name.to_owned(), unit: "µs", value, reference, target }
}

const fn at_most(micros: f64) -> Option<Target> {
    Target::value(Bound::AtMost(micros))
}

/// Where Redis holds something of a restaurant, for what the allocator would never do.
fn key(rig: &Rig, kind: &str, of: RestaurantId) -> String {
    format!("ns:{{{}}}:{kind}:{of}", rig.allocator.partition_of(of))
}

/// How the numbers lie that are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Fragmented,
    Compact,
}

impl Layout {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Fragmented => "fragmented",
            Self::Compact => "compact",
        }
    }
}

impl Layout {
    /// The numbers that are held with so many % full.
    fn held(self, percent: f64, chance: &mut StdRng) -> BTreeSet<u32> {
        let mut numbers: Vec<u32> = (1..=NUMBERS).collect();
        if self == Self::Fragmented {
            numbers.shuffle(chance);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 9,999")]
        let count = (f64::from(NUMBERS) * percent / 100.0).round() as usize;
        numbers.into_iter().take(count).collect()
    }
}

/// Restaurants that are alike, a part of whose numbers are held.
struct Pools<'a> {
    rig: &'a Rig,
    restaurants: Vec<RestaurantId>,
    settings: PoolSettings,
    live: Vec<Order>,
    chance: StdRng,
    micros: Vec<f64>,
}

impl<'a> Pools<'a> {
    /// Pools with these numbers held, and all others blocked until they are opened.
    async fn fill(rig: &'a Rig, ids: Range<usize>, layout: Layout, percent: f64, rest: u32, seed: u64) -> Self {
        let chance = StdRng::seed_from_u64(seed.wrapping_add(ids.start as u64));
        let restaurants = ids.map(restaurant).collect();
        let settings = PoolSettings { max_number: NUMBERS, cooldown_seconds: rest, ..PoolSettings::default() };
        let mut pools = Self { rig, restaurants, settings, live: Vec::new(), chance, micros: Vec::new() };
        for at in 0..pools.restaurants.len() {
            let held = layout.held(percent, &mut pools.chance);
            pools.hold(pools.restaurants[at], &held).await;
        }
        pools
    }

    /// Makes live orders with just these numbers: while they are made, all others are blocked.
    async fn hold(&mut self, restaurant: RestaurantId, held: &BTreeSet<u32>) {
        let blocked_numbers = (1..=NUMBERS).filter(|number| !held.contains(number)).collect();
        let settings = PoolSettings { blocked_numbers, ..self.settings.clone() };
        self.rig.configure(restaurant, &settings).await;
        self.live.extend(at_once(held.iter().map(|_| self.rig.allocate(restaurant, None))).await);
        self.rig.trim_outboxes().await;
    }

    /// Settings under which all numbers may be given that are not held.
    async fn open(&self, policy: SelectionPolicy) {
        let settings = PoolSettings { policy, ..self.settings.clone() };
        at_once(self.restaurants.iter().map(|of| self.rig.configure(*of, &settings))).await;
        self.finish_growth().await;
    }

    /// A table that has grown is moved to its new place a step with each look at it, and every call is slower until that
    /// is over. It comes with filling a pool in a moment, so it is over before anything is measured.
    async fn finish_growth(&self) {
        const LOOKS: usize = 10_000;
        let nothing = vec!["?"; LOOKS];
        for of in &self.restaurants {
            let mut looks = redis::pipe();
            for (command, kind) in [("HMGET", "order"), ("HMGET", "num"), ("ZMSCORE", "free")] {
                looks.cmd(command).arg(key(self.rig, kind, *of)).arg(&nothing).ignore();
            }
            looks.exec_async(&mut self.rig.redis.clone()).await.expect("Redis answers");
        }
    }

    /// Orders with an idempotency key each, one restaurant after the other.
    async fn allocate(&mut self, count: usize) -> Vec<Order> {
        let Self { rig, restaurants, chance, .. } = self;
        let asked: Vec<_> = restaurants.iter().cycle().take(count).map(|of| (*of, chance.random())).collect();
        at_once(asked.into_iter().map(|(of, key)| rig.allocate(of, Some(key)))).await
    }

    async fn release(&self, ended: &[Order], immediate: bool) -> Vec<Order> {
        at_once(ended.iter().map(|order| self.rig.release(order.id, immediate))).await
    }

    async fn end(&self, ended: &[Order], immediate: bool) {
        self.rig.retire(&self.release(ended, immediate).await).await;
    }

    /// What a round of allocations takes. The numbers are given back at once, so the pools stay as full and as
    /// fragmented as they are.
    async fn round_of_allocations(&mut self) {
        let (micros, made) = self.rig.timed(self.allocate(CALLS)).await;
        self.micros.push(micros);
        self.end(&made, true).await;
    }

    fn take_spread(&mut self) -> Spread {
        Spread::of(self.micros.drain(..))
    }
}

async fn allocations_by_fill(rig: &Rig, plan: &Plan, report: &mut Report) {
    let mut lines = [Layout::Fragmented, Layout::Compact].map(|layout| (layout, Vec::new()));
    let mut pools = Vec::new();
    for (layout, _) in &lines {
        for fill in FILLS {
            let first = ALIKE * pools.len();
            pools.push(Pools::fill(rig, first..first + ALIKE, *layout, fill, LONG_REST, plan.seed).await);
        }
    }
    for policy in POLICIES {
        let mut references = References::default();
        for alike in &pools {
            alike.open(policy).await;
        }
        for _ in 0..plan.size(40, 200) {
            for alike in &mut pools {
                alike.round_of_allocations().await;
            }
            references.measure(rig).await;
        }
        for ((layout, series), pools) in lines.iter_mut().zip(pools.chunks_mut(FILLS.len())) {
            let fills: Vec<Spread> = pools.iter_mut().map(Pools::take_spread).collect();
            series.push(report_fills(policy, *layout, &fills, &references, report));
        }
        references.report(&format!("rounds of {}", policy.as_str()), report);
    }
    for (layout, series) in lines {
        report.plots.push(Plot {
            group: GROUP,
            title: format!("Redis time of allocate by fill, {} pool", layout.as_str()),
            x: Axis::linear("% of the numbers held"),
            y: Axis::linear("µs"),
            series,
        });
    }
}

/// A figure for each fill, and one for how the fullest compares with the emptiest; the line that they make.
fn report_fills(
    policy: SelectionPolicy,
    layout: Layout,
    fills: &[Spread],
    references: &References,
    report: &mut Report,
) -> Series {
    let (policy, layout) = (policy.as_str(), layout.as_str());
    for (fill, spread) in FILLS.into_iter().zip(fills) {
        let name = format!("allocate, {policy}, {layout}, {fill} % full");
        report.figure(micros(&name, *spread, references.empty_script(), at_most(20.0)));
    }
    let [emptiest, .., fullest] = fills else { unreachable!("there are five") };
    report.figure(micros(
        &format!("allocate, {policy}, {layout}, 99.9 % full beside 1 %"),
        *fullest,
        reference("the same at 1 % full", *emptiest),
        Target::ratio(Bound::AtMost(1.25)),
    ));
    let points = FILLS.into_iter().zip(fills.iter().map(|spread| spread.median)).collect();
    Series { name: policy.to_owned(), points }
}

/// Each allocation finds two numbers whose rest is over. The rests are waited for, so there are few rounds.
async fn allocations_that_take_back(rig: &Rig, plan: &Plan, report: &mut Report) {
    const REST: Duration = Duration::from_millis(1100);
    let mut references = References::default();
    let mut in_order = Pools::fill(rig, 500..501, Layout::Compact, 50.0, 1, plan.seed).await;
    let mut scattered = Pools::fill(rig, 501..502, Layout::Fragmented, 50.0, 1, plan.seed).await;
    for pool in [&in_order, &scattered] {
        pool.open(SelectionPolicy::Sequential).await;
    }
    for _ in 0..plan.size(8, 30) {
        scattered.live.shuffle(&mut scattered.chance);
        for pool in [&mut in_order, &mut scattered] {
            let ended: Vec<Order> = pool.live.drain(..4 * CALLS).collect();
            pool.end(&ended, false).await;
        }
        tokio::time::sleep(REST).await;
        for pool in [&mut in_order, &mut scattered] {
            // After the wait everything is cold, so the first calls do not count.
            let first = pool.allocate(CALLS).await;
            let (micros, made) = rig.timed(pool.allocate(CALLS)).await;
            pool.micros.push(micros);
            // The pool is as full again as it was.
            let rest = pool.allocate(2 * CALLS).await;
            pool.live.extend(first.into_iter().chain(made).chain(rest));
        }
        rig.trim_outboxes().await;
        references.measure(rig).await;
    }
    for (what, mut pool) in [("oldest orders end first", in_order), ("any orders end", scattered)] {
        let name = format!("allocate that takes back two, {what}");
        report.figure(micros(&name, pool.take_spread(), references.empty_script(), at_most(28.0)));
    }
    references.report("rounds of two taken back", report);
}

/// The same pools on two servers, one of which writes an append-only file.
async fn append_only_file(rig: &Rig, plan: &Plan, report: &mut Report) {
    let with_file = Rig::start(APPEND_ONLY).await;
    let mut servers = Vec::new();
    for rig in [&with_file, rig] {
        let pools = Pools::fill(rig, 600..600 + ALIKE, Layout::Fragmented, 50.0, LONG_REST, plan.seed).await;
        pools.open(SelectionPolicy::Sequential).await;
        servers.push(pools);
    }
    for _ in 0..plan.size(40, 200) {
        for pools in &mut servers {
            pools.round_of_allocations().await;
        }
    }
    let [with, without] = [0, 1].map(|at: usize| servers[at].take_spread());
    let beside = reference("the same without the file", without);
    report.figure(micros("allocate, sequential, fragmented, 50 % full, append-only file", with, beside, at_most(20.0)));
}

/// Rows in the order in which they were first measured.
#[derive(Default)]
struct Rows(Vec<(String, Vec<f64>)>);

impl Rows {
    fn add(&mut self, name: &str, micros: f64) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, rounds)) => rounds.push(micros),
            None => self.0.push((name.to_owned(), vec![micros])),
        }
    }
}

/// All the scripts that requests and the daemon's own work call, on a restaurant with 50 live orders and 300 numbers at
/// rest.
async fn other_scripts(rig: &Rig, plan: &Plan, report: &mut Report) {
    let (mut rows, mut references) = (Rows::default(), References::default());
    let mut pool = Pools::fill(rig, 700..701, Layout::Compact, 0.0, LONG_REST, plan.seed).await;
    pool.open(SelectionPolicy::Sequential).await;
    let at_rest = pool.allocate(COOLING).await;
    pool.end(&at_rest, false).await;
    pool.live = pool.allocate(LIVE).await;
    for round in 0..plan.size(40, 200) {
        changes(&mut pool, &mut rows).await;
        reads(&mut pool, &mut rows).await;
        repairs(&pool, &mut rows).await;
        settings(&pool, 1000 + round * CALLS, &mut rows).await;
        rig.trim_outboxes().await;
        references.measure(rig).await;
    }
    for (name, rounds) in rows.0 {
        report.figure(micros(&name, Spread::of(rounds), references.empty_script(), None));
    }
    references.report("rounds of the other scripts", report);
}

/// Orders from their first change to their end.
async fn changes(pool: &mut Pools<'_>, rows: &mut Rows) {
    let rig = pool.rig;
    let made = pool.allocate(CALLS).await;
    let changes = at_once(made.iter().map(|order| rig.change(order.id, OrderStatus::Preparing)));
    rows.add("transition to another live status", rig.timed(changes).await.0);
    let (micros, ended) = rig.timed(pool.release(&made, false)).await;
    rows.add("release, the number rests", micros);
    rows.add("retire, 64 finished orders in one call", rig.timed(rig.retire(&ended)).await.0);
    let recycled = at_once(ended.iter().map(|order| rig.recycle(order)));
    rows.add("recycle, one of 364 at rest", rig.timed(recycled).await.0);
    let made = pool.allocate(CALLS).await;
    let (micros, ended) = rig.timed(pool.release(&made, true)).await;
    rows.add("release, the number is free at once", micros);
    rig.retire(&ended).await;
}

/// What changes nothing: settings, usage, one number, and all of them for the proof.
async fn reads(pool: &mut Pools<'_>, rows: &mut Rows) {
    let (allocator, of) = (&pool.rig.allocator, pool.restaurants[0]);
    let rig = pool.rig;
    let (micros, found) = rig.timed(at_once((0..CALLS).map(|_| allocator.settings(of)))).await;
    assert!(found.into_iter().all(|settings| settings.expect("Redis answers").is_some()));
    rows.add("settings", micros);
    let (micros, found) = rig.timed(at_once((0..CALLS).map(|_| allocator.survey(of)))).await;
    for survey in found {
        let usage = survey.expect("Redis answers").expect("it has settings").usage;
        assert_eq!([usage.live, usage.cooling].map(|count| count as usize), [LIVE, COOLING]);
    }
    rows.add("usage, 50 live and 300 at rest", micros);
    let numbers: Vec<i64> = (0..CALLS).map(|_| pool.chance.random_range(1..=i64::from(NUMBERS))).collect();
    let numbers = numbers.into_iter().map(|number| DisplayNumber::new(number).expect("in range"));
    let (micros, found) = rig.timed(at_once(numbers.map(|number| allocator.inspect(of, number)))).await;
    assert!(found.into_iter().all(|number| number.expect("Redis answers").is_some()));
    rows.add("inspect, any number, 300 at rest", micros);
    let (micros, found) = rig.timed(at_once((0..CALLS).map(|_| allocator.snapshot(of)))).await;
    assert!(found.into_iter().all(|pool| pool.expect("Redis answers").is_some()));
    rows.add("snapshot, 50 live and 300 at rest", micros);
}

/// Leaks numbers, which can only be done behind the scripts' back, and has them reclaimed as clean-up does: all in one
/// call.
async fn repairs(pool: &Pools<'_>, rows: &mut Rows) {
    let (rig, of) = (pool.rig, pool.restaurants[0]);
    let mut leak = redis::cmd("RPOP");
    leak.arg(key(rig, "cool", of)).arg(CALLS);
    let leaked: Vec<Vec<u8>> = leak.query_async(&mut rig.redis.clone()).await.expect("Redis answers");
    let leaked: Vec<DisplayNumber> = leaked.iter().map(|entry| number_of(entry)).collect();
    let (micros, reclaimed) = rig.timed(rig.allocator.reclaim(of, &leaked)).await;
    assert_eq!(reclaimed.expect("Redis answers").len(), CALLS);
    rows.add("reclaim, 64 leaked numbers in one call, 50 live and 236 at rest", micros);
}

/// The number in an entry of the list of those at rest: its last three bytes.
fn number_of(entry: &[u8]) -> DisplayNumber {
    let [.., high, middle, low] = entry else { panic!("an entry has nine bytes") };
    DisplayNumber::new(i64::from(u32::from_be_bytes([0, *high, *middle, *low]))).expect("a number was at rest")
}

/// First settings for restaurants that have none, and the same ones again for the busy one.
async fn settings(pool: &Pools<'_>, first_id: usize, rows: &mut Rows) {
    let (rig, settings) = (pool.rig, PoolSettings::default());
    let new = at_once((first_id..first_id + CALLS).map(|id| rig.configure(restaurant(id), &settings)));
    rows.add("configure, a new restaurant", rig.timed(new).await.0);
    let again = at_once((0..CALLS).map(|_| rig.configure(pool.restaurants[0], &settings)));
    rows.add("configure, 50 live and 300 at rest", rig.timed(again).await.0);
}
