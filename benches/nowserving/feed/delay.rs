//! From the answer to a change to the bytes at each screen: of changes that the screens' own daemon made, and of those
//! that another one made.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::sync::watch;

use super::{
    GROUP, PER_RESTAURANT, SCREENS, restaurants,
    screens::{Arrival, OrderText, Screens},
};
use crate::{
    Plan,
    client::{Call, Connection, Site, order_id},
    deployment::{Deployment, host},
    latency::millis,
    mix,
    open_loop::{self, Work},
    report::{Bound, Figure, Report, Target},
    support::Daemon,
};

const ORDERS: f64 = 500.0;
const TILLS: usize = 32;
/// What becomes of an order, and what its status is then.
const STEPS: [&str; 4] = ["pending", "preparing", "ready", "completed"];
/// For the last events, after the last answer.
const UNTIL_TOLD: Duration = Duration::from_millis(500);

pub async fn measure(plan: &Plan, report: &mut Report) {
    let deployment = Deployment::start(&[]).await;
    let own = Site::here(deployment.host());
    rounds(plan, report, &deployment, &own, "").await;
    let other = Daemon::start(&deployment.options);
    rounds(plan, report, &deployment, &Site::here(host(&other)), ", changed by another daemon").await;
    report.note(
        GROUP,
        "500 orders a second are created, prepared, ready and completed, each within a second, in 500 restaurants; \
         1,000 screens follow them, two a restaurant. What is measured is from a till's answer to the last byte at \
         each screen, zero where the screen has it first. GET /healthz is asked as often as orders are changed, of the \
         tills' daemon, with the screens connected.",
    );
}

async fn rounds(plan: &Plan, report: &mut Report, deployment: &Deployment, tills: &Site, whose: &str) {
    let time = Duration::from_secs(plan.size(2, 10));
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let rate = ORDERS * STEPS.len() as f64;
    round(deployment, tills, Duration::from_secs(1), plan.seed).await;
    let [mut delays, mut health] = [const { Vec::new() }; 2];
    for number in 0..plan.size(3, 5) {
        let seed = plan.seed + number;
        delays.push(round(deployment, tills, time, seed).await);
        let screens = Screens::open(&deployment.host(), restaurants(1, SCREENS)).await;
        let (found, _) = mix::health(tills, TILLS, rate, time, seed).await;
        screens.close().await;
        let mut all = histogram();
        found.into_iter().for_each(|late| record(&mut all, late));
        health.push(all);
    }
    for (name, quantile, target) in
        [("p50", 0.5, None), ("p99", 0.99, Target::value(Bound::AtMost(20.0))), ("p99.9", 0.999, None)]
    {
        let of = |rounds: &[Histogram<u64>]| rounds.iter().map(|round| millis(round, quantile)).collect::<Vec<f64>>();
        let title = format!("{name} from a change to 1,000 screens at 500 orders/s{whose}");
        let reference = ("GET /healthz at the same rate", &*of(&health));
        report.figure(Figure::of_rounds(GROUP, title, "ms", &of(&delays), reference, target));
    }
}

/// How long after its answer each change was at each screen, in µs.
async fn round(deployment: &Deployment, tills: &Site, time: Duration, seed: u64) -> Histogram<u64> {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut schedule, mut orders) = (Vec::new(), Vec::new());
    for at in open_loop::arrivals(ORDERS, time, &mut random) {
        let mut offsets = [0.0; STEPS.len()].map(|_: f64| random.random_range(0.0..1.0));
        offsets.sort_by(f64::total_cmp);
        let steps = offsets.into_iter().enumerate();
        schedule.extend(steps.map(|(step, offset)| (at + Duration::from_secs_f64(offset), (orders.len(), step))));
        let restaurant = random.random_range(1..=SCREENS / PER_RESTAURANT);
        orders.push(Order { restaurant, id: OnceLock::new(), answers: watch::Sender::new(Vec::new()) });
    }
    schedule.sort_unstable();
    let screens = Screens::open(&deployment.host(), restaurants(1, SCREENS)).await;
    let orders = Arc::new(Orders(orders));
    open_loop::run(tills, TILLS, schedule, Arc::clone(&orders)).await;
    tokio::time::sleep(UNTIL_TOLD).await;
    delays(&orders.0, &screens.close().await)
}

fn delays(orders: &[Order], told: &[Arrival]) -> Histogram<u64> {
    let known: HashMap<OrderText, &Order> = orders.iter().map(|order| (order.text(), order)).collect();
    let mut all = histogram();
    for Arrival { order, status, at } in told {
        let step = STEPS.iter().position(|known| known == status).expect("a status that was set");
        record(&mut all, at.saturating_duration_since(known[order].answers.borrow()[step]));
    }
    let wanted = orders.len() as u64 * STEPS.len() as u64 * PER_RESTAURANT;
    assert_eq!(all.len(), wanted, "each screen is told each change once");
    all
}

/// An order under way: what its later steps need, and when each was answered.
struct Order {
    restaurant: u64,
    id: OnceLock<String>,
    answers: watch::Sender<Vec<Instant>>,
}

impl Order {
    fn text(&self) -> OrderText {
        let id = self.id.get().expect("it was created");
        id.as_bytes().try_into().expect("an id has 36 characters")
    }
}

struct Orders(Vec<Order>);

impl Work for Orders {
    /// The order, and its step.
    type Due = (usize, usize);

    async fn send(&self, connection: &mut Connection, (order, step): (usize, usize)) {
        let order = &self.0[order];
        order.answers.subscribe().wait_for(|answers| answers.len() >= step).await.expect("the order holds the sender");
        match order.id.get() {
            None => {
                let body = connection.ok(Call::allocate(order.restaurant)).await;
                order.answered();
                order.id.set(order_id(&body)).expect("set once");
            }
            Some(id) => {
                connection.ok(Call::status(id, STEPS[step])).await;
                order.answered();
            }
        }
    }
}

impl Order {
    fn answered(&self) {
        let at = Instant::now();
        self.answers.send_modify(|answers| answers.push(at));
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are allowed")
}

fn record(histogram: &mut Histogram<u64>, late: Duration) {
    histogram.record(u64::try_from(late.as_micros()).expect("short")).expect("it grows by itself");
}
