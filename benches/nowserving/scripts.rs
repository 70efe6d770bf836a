//! What each script costs Redis in time, as Redis itself tells for EVALSHA (`INFO commandstats`), so that the client does
//! not matter. It is wall time: where the machine is busy a round may be slow for reasons of its own, so there are many
//! short rounds, and what is compared is measured in turn in each of them.

mod by_fill;
mod calls;
mod filled;
mod matrix;
mod rebuild;

use std::time::Duration;

use nowserving::domain::{Order, OrderId, OrderStatus, PoolSettings, SelectionPolicy};
use rand::seq::SliceRandom;

use self::filled::{LONG_REST, Layout, Pools};
use crate::{
    Plan,
    pools::{APPEND_ONLY, IN_MEMORY, Rig, at_once, restaurant},
    report::{Bound, Figure, Reference, Report, Target},
    rounds::Spread,
};

const GROUP: &str = "scripts";
/// Calls of each script in a round. With few of them, what is measured is mostly how cold everything is at first.
const CALLS: usize = 64;
/// Restaurants that share a round of allocations: with 99.9 % held, each has only ten numbers to give.
const ALIKE: usize = 8;
/// What a usual restaurant holds.
const LIVE: usize = 50;
const COOLING: usize = 300;

pub async fn measure(plan: &Plan, report: &mut Report) {
    report.note(
        GROUP,
        "Each allocate writes its outbox entry, checks the generation, and comes with an idempotency key of its own. \
         Redis has no append-only file except where it is said. A fragmented pool holds numbers drawn at random from \
         9,999, a compact one the lowest; the fills of a policy are measured in turn in each round, each over eight \
         restaurants that are alike. What is said to be at rest rests for hours. Of the other scripts the table has the \
         fullest pools beside the emptiest, all policies together; report.json and report.html have each of them at \
         each fill, under each policy, and in both kinds of pool. Those of a rebuild load one restaurant with a hundred \
         idempotency keys, and say four orders again that only the daemon knows of; load, recall and furnish stand \
         together, for all of the restaurant.",
    );
    let rig = Rig::start(IN_MEMORY).await;
    by_fill::measure(&rig, plan, report).await;
    allocations_that_take_back(&rig, plan, report).await;
    append_only_file(&rig, plan, report).await;
    of_usual_restaurants(&rig, plan, report).await;
    of_orders_that_change_often(&rig, plan, report).await;
    rebuild::measure(plan, report).await;
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
    Figure { group: GROUP, name: name.to_owned(), unit: "µs", value, reference, target, by_round: None }
}

const fn at_most(micros: f64) -> Option<Target> {
    Target::value(Bound::AtMost(micros))
}

/// Each allocation finds two numbers whose rest is over. The rests are waited for, so there are few rounds.
async fn allocations_that_take_back(rig: &Rig, plan: &Plan, report: &mut Report) {
    const REST: Duration = Duration::from_millis(1100);
    let mut references = References::default();
    let mut in_order = Pools::fill(rig, 500..501, Layout::Compact, 50.0, 1, plan.seed).await;
    let mut scattered = Pools::fill(rig, 501..502, Layout::Fragmented, 50.0, 1, plan.seed).await;
    for pool in [&mut in_order, &mut scattered] {
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
            pool.allocations.push(micros);
            // The pool is as full again as it was.
            let rest = pool.allocate(2 * CALLS).await;
            pool.live.extend(first.into_iter().chain(made).chain(rest));
        }
        rig.trim_outboxes().await;
        references.measure(rig).await;
    }
    for (what, mut pool) in [("oldest orders end first", in_order), ("any orders end", scattered)] {
        let name = format!("allocate that takes back two, {what}");
        report.figure(micros(&name, pool.take_allocations(), references.empty_script(), at_most(28.0)));
    }
    references.report("rounds of two taken back", report);
}

/// The same pools on two servers, one of which writes an append-only file.
async fn append_only_file(rig: &Rig, plan: &Plan, report: &mut Report) {
    let with_file = Rig::start(APPEND_ONLY).await;
    let mut servers = Vec::new();
    for rig in [&with_file, rig] {
        let mut pools = Pools::fill(rig, 600..600 + ALIKE, Layout::Fragmented, 50.0, LONG_REST, plan.seed).await;
        pools.open(SelectionPolicy::Sequential).await;
        servers.push(pools);
    }
    for _ in 0..plan.size(40, 200) {
        for pools in &mut servers {
            let made = pools.round_of_allocations().await;
            pools.end(&made, true).await;
        }
    }
    let [with, without] = [0, 1].map(|at: usize| servers[at].take_allocations());
    let beside = reference("the same without the file", without);
    report.figure(micros("allocate, sequential, fragmented, 50 % full, append-only file", with, beside, at_most(20.0)));
}

/// The scripts other than allocate on restaurants as they mostly are: with 50 live orders and 300 numbers at rest.
async fn of_usual_restaurants(rig: &Rig, plan: &Plan, report: &mut Report) {
    let mut references = References::default();
    let mut pools = Pools::fill(rig, 700..700 + ALIKE, Layout::Compact, 0.0, LONG_REST, plan.seed).await;
    pools.open(SelectionPolicy::Sequential).await;
    let at_rest = pools.allocate(ALIKE * COOLING).await;
    pools.end(&at_rest, false).await;
    pools.allocate(ALIKE * LIVE).await;
    let mut new = Vec::new();
    for round in 0..plan.size(40, 200) {
        let made = pools.allocate(CALLS).await;
        pools.round_of_others(made).await;
        let (settings, first) = (PoolSettings::default(), 1000 + round * CALLS);
        let configured = at_once((first..first + CALLS).map(|id| rig.configure(restaurant(id), &settings)));
        new.push(rig.timed(configured).await.0);
        rig.trim_outboxes().await;
        references.measure(rig).await;
    }
    for of in &pools.restaurants {
        let occupancy =
            rig.allocator.count_numbers(*of).await.expect("Redis answers").expect("it has settings").occupancy;
        assert_eq!(
            [occupancy.live, occupancy.cooling].map(|count| count as usize),
            [LIVE, COOLING],
            "rounds leave no trace"
        );
    }
    for (name, rounds) in pools.rows.0 {
        let name = format!("{name}, 50 live and 300 at rest");
        report.figure(micros(&name, Spread::of(rounds), references.empty_script(), None));
    }
    report.figure(micros("configure, a new restaurant", Spread::of(new), references.empty_script(), None));
    references.report("rounds of usual restaurants", report);
}

/// Changes of orders that have changed so often within the last seconds: each change is remembered in the order's record.
async fn of_orders_that_change_often(rig: &Rig, plan: &Plan, report: &mut Report) {
    const BEFORE: [usize; 3] = [0, 96, 192];
    const IN_A_ROUND: usize = 32;
    let mut references = References::default();
    let mut pools = Pools::fill(rig, 800..801, Layout::Compact, 0.0, LONG_REST, plan.seed).await;
    pools.open(SelectionPolicy::Sequential).await;
    let mut rounds = [const { Vec::new() }; BEFORE.len()];
    for _ in 0..plan.size(40, 200) {
        let orders = pools.allocate(1).await;
        let mut made = 0;
        for (before, rounds) in BEFORE.into_iter().zip(&mut rounds) {
            change(rig, orders[0].id, before - made).await;
            rounds.push(rig.timed(change(rig, orders[0].id, IN_A_ROUND)).await.0);
            made = before + IN_A_ROUND;
        }
        pools.end(&orders, true).await;
        rig.trim_outboxes().await;
        references.measure(rig).await;
    }
    for (before, rounds) in BEFORE.into_iter().zip(rounds) {
        let name = format!("transition, of an order with {before} changes just before");
        report.figure(micros(&name, Spread::of(rounds), references.empty_script(), None));
    }
    references.report("rounds of orders that change often", report);
}

/// Changes an order so many times, one after the other.
async fn change(rig: &Rig, id: OrderId, times: usize) {
    for time in 0..times {
        let status = if time % 2 == 0 { OrderStatus::Preparing } else { OrderStatus::Ready };
        rig.change(id, status).await;
    }
}
