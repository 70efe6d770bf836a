//! What users would otherwise pick, over HTTP with the same 16 clients in the same rounds: the slot table with row locks
//! behind a small axum service, and the older system's stack in Python. Below both, the bare slot table as the floor.
//!
//! The references commit durably before they answer. Level `memory` answers when Redis has the order, level `ledger` when
//! Postgres has committed it, so the second is the one that compares like with like.

use std::time::Duration;

use crate::{
    Plan,
    client::{Call, Connection, Site, counted_loop, timed_loop},
    closed_loop::Timed,
    deployment::Deployment,
    latency::millis,
    older_stack,
    report::{Bound, Figure, Report, Target},
    rounds::Rows,
    slot_service,
    slot_table::{SlotTable, Slots},
};

const GROUP: &str = "references";
const CLIENTS: usize = 16;
const RESTAURANTS: u64 = 2_000;

/// Which restaurants take the orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    Hot,
    Spread,
}

impl Load {
    const BOTH: [Self; 2] = [Self::Hot, Self::Spread];

    const fn name(self) -> &'static str {
        match self {
            Self::Hot => "one restaurant",
            Self::Spread => "2,000 restaurants",
        }
    }

    const fn restaurant(self, n: u64) -> u64 {
        match self {
            Self::Hot => 1,
            Self::Spread => 2 + n % RESTAURANTS,
        }
    }
}

/// A way to ask for a number.
#[derive(Debug, Clone, Copy)]
enum Api {
    Nowserving { level: &'static str },
    Slots,
}

impl Api {
    fn allocate(self, restaurant: u64) -> Call {
        let call = Call::allocate(restaurant);
        match self {
            Self::Nowserving { level } => Call { durability: Some(level), ..call },
            Self::Slots => Call { path: format!("/restaurants/{restaurant}/orders"), ..call },
        }
    }
}

const MEMORY: Api = Api::Nowserving { level: "memory" };
const LEDGER: Api = Api::Nowserving { level: "ledger" };
const SERVICE: &str = "slot table, axum and sqlx";
const OLDER: &str = "slot table, Flask and SQLAlchemy";
const FLOOR: &str = "slot table, without HTTP";

pub async fn measure(plan: &Plan, report: &mut Report) {
    let time = Duration::from_secs(plan.size(1, 8));
    let slots = Slots { hot: plan.size(150_000, 800_000), restaurants: RESTAURANTS, each: plan.size(60, 400) };
    let deployment = Deployment::start(&[]).await;
    let ours = Site::here(deployment.host());
    let [floor, service_table, older_table] = [
        SlotTable::fill(&deployment.postgres, "floor", slots).await,
        SlotTable::fill(&deployment.postgres, "slot_service", slots).await,
        SlotTable::fill(&deployment.postgres, "older_stack", slots).await,
    ];
    let service = slot_service::start(&service_table);
    let older = older_stack::start(&older_table).await;
    if let Err(why) = &older {
        report.note(GROUP, format!("The older system's stack in Python is left out: {why}."));
    }
    Connection::to(&ours).await.ok(Call::widen(1)).await;
    counted_loop(&ours, CLIENTS, RESTAURANTS, |n| MEMORY.allocate(2 + n), |_, _| ()).await;
    for site in [Some(service.site()), older.as_ref().ok().map(|server| server.site())].into_iter().flatten() {
        counted_loop(&site, CLIENTS, 500, |n| Api::Slots.allocate(Load::Spread.restaurant(n)), |_, _| ()).await;
    }
    deployment.drained().await;

    let mut found = Found::default();
    for _ in 0..plan.size(3, 5) {
        for load in Load::BOTH {
            for (level, api) in [("memory", MEMORY), ("ledger", LEDGER)] {
                let timed = timed_loop(&ours, CLIENTS, time, move |n| api.allocate(load.restaurant(n))).await;
                found.add(&format!("level {level}, {}", load.name()), &timed);
                if level == "memory" {
                    deployment.drained().await;
                }
            }
            let slots = move |n| Api::Slots.allocate(load.restaurant(n));
            found.add(&format!("{SERVICE}, {}", load.name()), &timed_loop(&service.site(), CLIENTS, time, slots).await);
            if let Ok(older) = &older {
                found.add(&format!("{OLDER}, {}", load.name()), &timed_loop(&older.site(), CLIENTS, time, slots).await);
            }
            let restaurants = if load == Load::Hot { 1 } else { RESTAURANTS };
            found.rates.add(
                &format!("{FLOOR}, {}", load.name()),
                floor.closed_loop(CLIENTS, time, restaurants).await.per_second(),
            );
        }
        let alone = timed_loop(&ours, 1, time, |n| LEDGER.allocate(Load::Spread.restaurant(n))).await;
        found.add("level ledger, one client", &alone);
        let alone = timed_loop(&service.site(), 1, time, |n| Api::Slots.allocate(Load::Spread.restaurant(n))).await;
        found.add(&format!("{SERVICE}, one client"), &alone);
    }
    figures(report, &found);
    report.note(
        GROUP,
        "16 clients, closed loop, all on one machine. The references run as processes of their own on the Postgres of \
         the ledger, and commit durably before they answer; at level `memory` this is not waited for. The service in \
         axum takes a number with one prepared statement; the stack in Python has two gunicorn workers for each core, \
         and one, with four threads each.",
    );
}

/// Orders a second, and percentiles in ms, by load and server.
#[derive(Default)]
struct Found {
    rates: Rows,
    medians: Rows,
    tails: Rows,
}

impl Found {
    fn add(&mut self, name: &str, timed: &Timed) {
        self.rates.add(name, timed.looped.per_second());
        self.medians.add(name, millis(&timed.latencies, 0.5));
        self.tails.add(name, millis(&timed.latencies, 0.99));
    }
}

fn figures(report: &mut Report, found: &Found) {
    let at_least = |least| Target::ratio(Bound::AtLeast(least));
    let beside =
        [(SERVICE, at_least(3.0), at_least(1.5)), (OLDER, at_least(35.0), at_least(10.0)), (FLOOR, None, None)];
    let mut add = |rows: &Rows, what: &str, load: &str, level: &str, reference: &str, unit, target| {
        let values = rows.of(&format!("level {level}, {load}")).expect("it was measured");
        // Where a reference cannot be had, there is no figure.
        if let Some(others) = rows.of(&format!("{reference}, {load}")) {
            let name = format!("{what}, {load}, level {level}");
            report.figure(Figure::of_rounds(GROUP, name, unit, values, (reference, others), target));
        }
    };
    for load in Load::BOTH.map(Load::name) {
        for (reference, memory, ledger) in beside {
            for (level, target) in [("memory", memory), ("ledger", ledger)] {
                add(&found.rates, "allocate, 16 clients", load, level, reference, "/s", target);
            }
        }
        for (what, rows) in [("p50, 16 clients", &found.medians), ("p99, 16 clients", &found.tails)] {
            for level in ["memory", "ledger"] {
                add(rows, what, load, level, SERVICE, "ms", None);
            }
        }
    }
    let alone = "one client";
    add(&found.rates, "allocate", alone, "ledger", SERVICE, "/s", None);
    add(&found.medians, "p50", alone, "ledger", SERVICE, "ms", Target::ratio(Bound::AtMost(2.0)));
    add(&found.tails, "p99", alone, "ledger", SERVICE, "ms", None);
}
