//! A restaurant at noon: its tills at work, without and with 200 screens that poll its kitchen list. A screen asks each
//! second, and all of it goes to one restaurant: to the same keys of one Redis.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use hdrhistogram::Histogram;
use rand::{SeedableRng, rngs::StdRng};

use crate::{
    Plan,
    client::{Call, Connection, Site, counted_loop, order_id},
    deployment::Deployment,
    latency::millis,
    open_loop::{self, Work},
    report::{Bound, Figure, Report, Target},
};

const GROUP: &str = "hot_list";
const RESTAURANT: u64 = 1;
const TILLS: usize = 16;
/// Orders a second of all tills together. Each is created and one that was made before is completed, so twice as many
/// requests.
const ORDERS: f64 = 100.0;
/// Orders that are live: what a list shows.
const LIVE: u64 = 50;
const SCREENS: usize = 200;
/// Of all screens together, a second.
const POLLS: f64 = 200.0;

pub async fn measure(plan: &Plan, report: &mut Report) {
    let time = Duration::from_secs(plan.size(2, 15));
    let deployment = Deployment::start(&[]).await;
    let site = Site::here(deployment.host());
    Connection::to(&site).await.ok(Call::widen(RESTAURANT)).await;
    let tills = Arc::new(Tills::default());
    let live = Arc::clone(&tills);
    counted_loop(&site, TILLS, LIVE, |_| Call::allocate(RESTAURANT), move |_, body| live.made(&body)).await;
    // To warm up.
    work(&site, &tills, Duration::from_secs(1), plan.seed).await;
    let [mut alone, mut beside, mut lists] = [const { Vec::new() }; 3];
    for round in 0..plan.size(3, 5) {
        let seed = plan.seed + round;
        alone.push(work(&site, &tills, time, seed).await);
        let (work, polls) = tokio::join!(work(&site, &tills, time, seed), poll(&site, time, seed));
        beside.push(work);
        lists.push(polls);
    }
    for (name, quantile, most) in [("p50", 0.5, None), ("p99", 0.99, Some(2.0)), ("p99.9", 0.999, None)] {
        let of = |rounds: &[Histogram<u64>]| rounds.iter().map(|round| millis(round, quantile)).collect::<Vec<f64>>();
        let target = most.map(Bound::AtMost).and_then(Target::ratio);
        let title = format!("{name} of tills beside 200 screens on one kitchen list");
        report.figure(Figure::of_rounds(
            GROUP,
            title,
            "ms",
            &of(&beside),
            ("without the screens", &of(&alone)),
            target,
        ));
        let title = format!("{name} of the screens' lists of {LIVE} orders");
        report.figure(Figure::of_rounds(GROUP, title, "ms", &of(&lists), ("the tills meanwhile", &of(&beside)), None));
    }
    report.note(
        GROUP,
        "16 tills of one restaurant create 100 orders a second and complete as many, in an open loop; 50 are live. 200 \
         screens, on a connection each, read the list of the same restaurant once a second.",
    );
}

/// The orders that are live.
#[derive(Default)]
struct Tills {
    live: Mutex<Vec<String>>,
}

impl Tills {
    fn made(&self, body: &[u8]) {
        self.live.lock().expect("no holder panics").push(order_id(body));
    }
}

impl Work for Tills {
    /// Whether an order is created, or one that is live completed.
    type Due = bool;

    async fn send(&self, connection: &mut Connection, create: bool) {
        if create {
            let body = connection.ok(Call::allocate(RESTAURANT)).await;
            self.made(&body);
        } else {
            let id = self.live.lock().expect("no holder panics").pop().expect("some are live");
            connection.ok(Call::status(&id, "completed")).await;
        }
    }
}

/// Latencies of the tills, in µs.
async fn work(site: &Site, tills: &Arc<Tills>, time: Duration, seed: u64) -> Histogram<u64> {
    let mut random = StdRng::seed_from_u64(seed);
    let arrivals = open_loop::arrivals(2.0 * ORDERS, time, &mut random);
    let schedule = arrivals.into_iter().enumerate().map(|(n, at)| (at, n % 2 == 0)).collect();
    histogram(&open_loop::run(site, TILLS, schedule, Arc::clone(tills)).await)
}

struct Screens;

impl Work for Screens {
    type Due = ();

    async fn send(&self, connection: &mut Connection, (): ()) {
        connection.ok(Call::kitchen_list(RESTAURANT)).await;
    }
}

/// Latencies of the screens, in µs. Screens do not agree on a time, so their polls are spread.
async fn poll(site: &Site, time: Duration, seed: u64) -> Histogram<u64> {
    let mut random = StdRng::seed_from_u64(!seed);
    let arrivals = open_loop::arrivals(POLLS, time, &mut random);
    let schedule = arrivals.into_iter().map(|at| (at, ())).collect();
    histogram(&open_loop::run(site, SCREENS, schedule, Arc::new(Screens)).await)
}

fn histogram<T>(found: &[(T, Duration)]) -> Histogram<u64> {
    let mut all = Histogram::<u64>::new(3).expect("three digits are allowed");
    for (_, late) in found {
        all.record(u64::try_from(late.as_micros()).expect("short")).expect("it grows by itself");
    }
    all
}
