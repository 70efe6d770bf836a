//! Latency at a fixed rate, open loop: every request has an intended time, and its latency counts from there, so that
//! waiting for a free connection or a slow answer is never left out. Beside it `/healthz` at the same rate of requests.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::sync::{Mutex, mpsc, watch};

use crate::{
    Plan,
    client::{CONNECTIONS, Call, Connection},
    deployment::Deployment,
    report::{Axis, Bound, Figure, Plot, Reference, Report, Series, Target},
    rounds::Spread,
};

const GROUP: &str = "latency";
const RESTAURANTS: u64 = 40_000;
const STEPS: usize = 6;
/// After the last order of a round: the time that its steps take, and five seconds more.
const GIVE_UP: Duration = Duration::from_secs(6);

/// An order under way: what its later steps need.
struct Order {
    restaurant: u64,
    id: OnceLock<String>,
    done: watch::Sender<usize>,
}

type Due = (Duration, usize, usize);

/// What the latencies of one round were, in µs, from the intended time of each request.
struct Round {
    all: Histogram<u64>,
    allocations: Histogram<u64>,
    /// Requests answered within a second of when they should have been sent, ÷ all that should have been.
    in_time: f64,
}

pub async fn measure(plan: &Plan, report: &mut Report) {
    let deployment = Deployment::start(&[]).await;
    let host = deployment.host();
    let time = Duration::from_secs(plan.size(2, 20));
    let mut curves = Vec::new();
    for rate in [500_u32, 2_000, 5_000] {
        let (mut mixed, mut health) = (Vec::new(), Vec::new());
        for round in 0..=plan.size(3, 5) {
            let seed = plan.seed + round;
            // The first round, a short one, warms up.
            let time = if round == 0 { Duration::from_secs(1) } else { time };
            let found = [run(&host, rate, time, seed, true).await, run(&host, rate, time, seed, false).await];
            deployment.drained().await;
            if round > 0 {
                let [mix, reference] = found;
                mixed.push(mix);
                health.push(reference);
            }
        }
        figures(report, rate, &mixed, &health);
        curves.push(curve(rate, &mixed));
    }
    report.plots.push(Plot {
        group: GROUP,
        title: "Latency by percentile".to_owned(),
        x: Axis::logarithmic("1 in so many requests is slower"),
        y: Axis::logarithmic("ms"),
        series: curves,
    });
    report.note(
        GROUP,
        "Open loop: each request counts from the time at which it was to be sent, whatever held it up. An order is six \
         requests within a second: it is created, listed with the others of its kitchen, set to preparing, looked \
         up, set to ready, and completed. Where the share answered in time is below 1 the rate is more than this \
         machine can do with the client on it, and the percentiles are those of a queue.",
    );
}

fn figures(report: &mut Report, rate: u32, mixed: &[Round], health: &[Round]) {
    let mut add = |name: String, unit, value, reference: &str, beside, target| {
        let reference = Reference { name: reference.to_owned(), value: beside };
        report.figure(Figure { group: GROUP, name, unit, value, reference, target, by_round: None });
    };
    type Part = fn(&Round) -> &Histogram<u64>;
    let all: Part = |round| &round.all;
    let of =
        |rounds: &[Round], part: Part, quantile| Spread::of(rounds.iter().map(|round| millis(part(round), quantile)));
    for (name, quantile, most) in [("p50", 0.5, Some(0.6)), ("p99", 0.99, Some(3.0)), ("p99.9", 0.999, None)] {
        let target = most.filter(|_| rate == 2_000).and_then(|most| Target::value(Bound::AtMost(most)));
        let name = format!("{name} at {rate} orders/s, all requests");
        let beside = of(health, all, quantile);
        add(name, "ms", of(mixed, all, quantile), "GET /healthz at the same rate", beside, target);
    }
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        let value = of(mixed, |round| &round.allocations, quantile);
        let name = format!("{name} at {rate} orders/s, allocations");
        add(name, "ms", value, "GET /healthz at the same rate", of(health, all, quantile), None);
    }
    let in_time = |rounds: &[Round]| Spread::of(rounds.iter().map(|round| round.in_time));
    let name = format!("answered within a second at {rate} orders/s");
    add(name, "of all", in_time(mixed), "GET /healthz at the same rate", in_time(health), None);
}

/// The whole distribution of a rate, all rounds together.
fn curve(rate: u32, rounds: &[Round]) -> Series {
    let mut all = Histogram::<u64>::new(3).expect("three digits are allowed");
    for round in rounds {
        all.add(&round.all).expect("it grows by itself");
    }
    let points = [1.25, 2.0, 4.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0];
    let points = points.map(|one_in| (one_in, millis(&all, 1.0 - 1.0 / one_in).max(0.001)));
    Series { name: format!("{rate} orders/s"), points: points.to_vec() }
}

pub fn millis(found: &Histogram<u64>, quantile: f64) -> f64 {
    Duration::from_micros(found.value_at_quantile(quantile)).as_secs_f64() * 1e3
}

/// One round. What has not begun five seconds after its end is given up, and counts as slower than all others.
async fn run(host: &str, rate: u32, time: Duration, seed: u64, mix: bool) -> Round {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut schedule, mut orders, mut at) = (Vec::<Due>::new(), Vec::new(), 0.0_f64);
    while at < time.as_secs_f64() {
        let mut offsets: Vec<f64> = (1..STEPS).map(|_| random.random_range(0.0..1.0)).collect();
        offsets.sort_by(f64::total_cmp);
        offsets.insert(0, 0.0);
        for (step, offset) in offsets.into_iter().enumerate() {
            schedule.push((Duration::from_secs_f64(at + offset), orders.len(), step));
        }
        let restaurant = 1 + random.random_range(0..RESTAURANTS);
        orders.push(Order { restaurant, id: OnceLock::new(), done: watch::Sender::new(0) });
        // Arrivals of a Poisson process.
        at -= (1.0 - random.random::<f64>()).ln() / f64::from(rate);
    }
    schedule.sort_unstable();
    let asked = schedule.len() as u64;
    let (sender, due) = mpsc::unbounded_channel();
    let (orders, due) = (Arc::new(orders), Arc::new(Mutex::new(due)));
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(host).await);
    }
    let started = Instant::now();
    // A thread of its own: the system wakes it within a fraction of the millisecond that tokio's timers are good for.
    std::thread::spawn(move || {
        for next in schedule {
            std::thread::sleep(next.0.saturating_sub(started.elapsed()));
            if sender.send(next).is_err() {
                break;
            }
        }
    });
    let mut clients = tokio::task::JoinSet::new();
    for mut connection in connections {
        let (orders, due) = (Arc::clone(&orders), Arc::clone(&due));
        clients.spawn(async move {
            let mut found = Vec::new();
            while started.elapsed() < time + GIVE_UP {
                let next = due.lock().await.recv().await;
                let Some((intended, order, step)) = next else { break };
                if mix {
                    advance(&mut connection, &orders[order], step).await;
                } else {
                    connection.ok(Call::get("/healthz")).await;
                }
                found.push((step, started.elapsed().saturating_sub(intended)));
            }
            found
        });
    }
    let [mut all, mut allocations] = [(); 2].map(|()| Histogram::<u64>::new(3).expect("three digits are allowed"));
    let mut in_time = 0.0;
    for (step, late) in clients.join_all().await.into_iter().flatten() {
        let micros = u64::try_from(late.as_micros()).expect("short");
        all.record(micros).expect("it grows by itself");
        if step == 0 {
            allocations.record(micros).expect("it grows by itself");
        }
        in_time += f64::from(u8::from(late < Duration::from_secs(1)));
    }
    let given_up = asked - all.len();
    let slower = u64::try_from((time + GIVE_UP).as_micros()).expect("short");
    all.record_n(slower, given_up).expect("it grows by itself");
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let in_time = in_time / asked as f64;
    Round { all, allocations, in_time }
}

/// The next request of an order, as soon as the one before is answered.
async fn advance(connection: &mut Connection, order: &Order, step: usize) {
    order.done.subscribe().wait_for(|done| *done >= step).await.expect("the order holds the sender");
    let id = || order.id.get().expect("the first step sets it");
    let call = match step {
        0 => Call::allocate(order.restaurant),
        1 => Call::get(format!("/v1/restaurants/{}/orders", order.restaurant)),
        2 => Call::status(id(), "preparing"),
        3 => Call::get(format!("/v1/orders/{}", id())),
        4 => Call::status(id(), "ready"),
        _ => Call::status(id(), "completed"),
    };
    let body = connection.ok(call).await;
    if step == 0 {
        let answer: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let id = answer["internal_order_id"].as_str().expect("an order has an id").to_owned();
        order.id.set(id).expect("set once");
    }
    order.done.send_replace(step + 1);
}
