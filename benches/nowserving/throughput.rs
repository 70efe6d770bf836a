//! Allocations a second over HTTP, closed loop, with the daemon, Redis, Postgres, the write-behind and the client all on
//! one machine; beside them the daemon's own `/healthz`, and the slot table that this design replaces.

use std::time::Duration;

use crate::{
    Plan,
    client::{CONNECTIONS, Call, Connection, closed_loop},
    deployment::Deployment,
    report::{Bound, Figure, Reference, Report, Target},
    rounds::Spread,
    slot_table::{SlotTable, Slots},
};

const GROUP: &str = "throughput";
/// Restaurants of the spread load.
const RESTAURANTS: u64 = 40_000;
const PAUSED: &[(&str, &str)] =
    &[("NOWSERVING_WRITE_BEHIND_ENABLED", "false"), ("NOWSERVING_ADMISSION_OUTBOX_LIMIT", "100000000")];

pub async fn measure(plan: &Plan, report: &mut Report) {
    let (rounds, time) = (plan.size(3, 5), Duration::from_secs(plan.size(2, 10)));
    let deployment = Deployment::start(&[]).await;
    let host = deployment.host();
    Connection::open(&host).await.ok(Call::widen(1)).await;
    // A deployment whose daemon leaves the writing to another one, which is not there.
    let paused = Deployment::start(PAUSED).await;

    let numbers = Slots { hot: plan.size(200_000, 1_000_000), restaurants: RESTAURANTS, each: plan.size(10, 50) };
    let slots = SlotTable::fill(&deployment.postgres, "slot_table", numbers).await;
    let [mut healthz, mut hot, mut spread, mut slots_hot, mut slots_spread] = [const { Vec::new() }; 5];
    let [mut paused_healthz, mut paused_spread] = [const { Vec::new() }; 2];
    let everywhere = |n: u64| Call::allocate(2 + n % RESTAURANTS);
    // Every restaurant gets its settings with its first order.
    for host in [&host, &paused.host()] {
        closed_loop(host, CONNECTIONS, time, everywhere).await;
    }
    deployment.drained().await;
    for _ in 0..rounds {
        healthz.push(closed_loop(&host, CONNECTIONS, time, |_| Call::get("/healthz")).await.per_second());
        hot.push(closed_loop(&host, CONNECTIONS, time, |_| Call::allocate(1)).await.per_second());
        deployment.drained().await;
        spread.push(closed_loop(&host, CONNECTIONS, time, everywhere).await.per_second());
        deployment.drained().await;
        let host = paused.host();
        paused_healthz.push(closed_loop(&host, CONNECTIONS, time, |_| Call::get("/healthz")).await.per_second());
        paused_spread.push(closed_loop(&host, CONNECTIONS, time, everywhere).await.per_second());
        slots_hot.push(slots.closed_loop(CONNECTIONS, time, 1).await.per_second());
        slots_spread.push(slots.closed_loop(CONNECTIONS, time, RESTAURANTS).await.per_second());
    }
    let (healthz, hot, spread) = (Spread::of(healthz), Spread::of(hot), Spread::of(spread));
    let [slots_hot, slots_spread] = [slots_hot, slots_spread].map(Spread::of);
    let [paused_healthz, paused_spread] = [paused_healthz, paused_spread].map(Spread::of);

    let mut add = |name: &str, value: Spread, reference: &str, beside: Spread, target: Option<Target>| {
        let reference = Reference { name: reference.to_owned(), value: beside };
        report.figure(Figure {
            group: GROUP,
            name: name.to_owned(),
            unit: "/s",
            value,
            reference,
            target,
            by_round: None,
        });
    };
    let (slot_table, health) = ("slot table, SKIP LOCKED", "GET /healthz");
    add("allocate, one restaurant", hot, slot_table, slots_hot, Target::ratio(Bound::AtLeast(10.0)));
    add("allocate, 40,000 restaurants", spread, slot_table, slots_spread, Target::ratio(Bound::AtLeast(8.0)));
    add("allocate, one restaurant", hot, health, healthz, Target::ratio(Bound::AtLeast(0.25)));
    add("allocate, 40,000 restaurants", spread, health, healthz, Target::ratio(Bound::AtLeast(0.25)));
    let target = Target::ratio(Bound::AtLeast(0.35));
    add("allocate, 40,000 restaurants, write-behind paused", paused_spread, health, paused_healthz, target);
    report.note(
        GROUP,
        "Durability level `memory`, the default; Redis syncs its append-only file each second, Postgres commits \
         durably. 64 connections everywhere. The client takes its share of the cores in all of these.",
    );
}
