//! Latency at a share of what the machine can do: 10, 25, 50 and 75 % of the orders a second that a closed loop reaches
//! in the same run, in an open loop. Beside it `/healthz` at the same share of its own closed loop.
//!
//! The same is measured of a deployment that runs elsewhere (`target.rs`); there, what Redis says of itself is missing.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::{
    Plan,
    client::{self, CONNECTIONS, Call, Connection, Site, timed_loop},
    deployment::{Deployment, drained},
    mix::{self, Kind, Restaurants},
    multiples::script_micros,
    open_loop::GIVE_UP,
    report::{Axis, Bound, Figure, Plot, Report, Series, Target},
    rounds::Rows,
    support::OwnRedis,
};

pub const GROUP: &str = "latency";
const RESTAURANTS: Restaurants = Restaurants { first: 1, count: 40_000 };
const SHARES: [u32; 4] = [10, 25, 50, 75];
/// The share whose targets are set, and which the table has for each kind of request.
const USUAL: u32 = 25;
/// What a caller does not notice.
const SOON: Duration = Duration::from_millis(1);
const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

/// What is driven, and what of it can be looked into.
pub struct Driven<'a> {
    pub site: Site,
    pub restaurants: Restaurants,
    /// Its Redis, where it is of this run.
    pub redis: Option<&'a OwnRedis>,
    /// Whether it shows its metrics.
    pub metrics: bool,
}

pub async fn measure(plan: &Plan, report: &mut Report) {
    let deployment = Deployment::start(&[]).await;
    let driven = Driven {
        site: Site::here(deployment.host()),
        restaurants: RESTAURANTS,
        redis: Some(&deployment.redis),
        metrics: true,
    };
    measure_site(plan, report, &driven).await;
}

pub async fn measure_site(plan: &Plan, report: &mut Report, driven: &Driven<'_>) {
    let (rounds, time) = (plan.size(3, 5), Duration::from_secs(plan.size(2, 20)));
    let most = Most::find(driven, rounds, Duration::from_secs(plan.size(1, 5))).await;
    let [orders, requests] = [&most.orders, &most.health].map(|rates| median(rates));
    let name = "orders, six requests each, closed loop";
    report.figure(Figure::of_rounds(GROUP, name, "/s", &most.orders, ("GET /healthz", &most.health), None));
    let mut curves = Vec::new();
    for share in SHARES {
        let (mut mixed, mut health) = (Vec::new(), Vec::new());
        let part = f64::from(share) / 100.0;
        for round in 0..rounds {
            let seed = plan.seed + u64::try_from(round).expect("a few");
            mixed.push(Round::of_mix(driven, orders * part, time, seed).await);
            health.push(Round::of_health(driven, requests * part, time, seed).await);
        }
        figures(report, share, &mixed, &health);
        times(report, share, &mixed);
        curves.push(curve(share, &mixed));
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
        format!(
            "Open loop: each request counts from the time at which it was to be sent, whatever held it up. 100 % are \
             {orders:.0} orders a second, six requests each within a second, and {requests:.0} requests to /healthz: \
             what {CONNECTIONS} connections reached in a closed loop of this run. Where the share answered in time is \
             below 1 the percentiles are those of a queue: an open loop costs the client more than a closed one."
        ),
    );
}

/// What a closed loop reaches, a second, in rounds.
struct Most {
    orders: Vec<f64>,
    health: Vec<f64>,
}

impl Most {
    async fn find(driven: &Driven<'_>, rounds: usize, time: Duration) -> Self {
        let (site, mut most) = (&driven.site, Self { orders: Vec::new(), health: Vec::new() });
        // Many restaurants get their settings with their first order: not in a round that counts.
        mix::closed_loop(site, CONNECTIONS, 3 * time, driven.restaurants).await;
        for _ in 0..rounds {
            most.orders.push(mix::closed_loop(site, CONNECTIONS, time, driven.restaurants).await.per_second());
            let health = timed_loop(site, CONNECTIONS, time, |_| Call::get("/healthz")).await;
            most.health.push(health.looped.per_second());
        }
        driven.rest().await;
        most
    }
}

impl Driven<'_> {
    /// Until the ledger has everything, where that can be seen.
    async fn rest(&self) {
        if self.metrics {
            drained(&self.site).await;
        }
    }

    /// What it has told of its own times so far.
    async fn told(&self) -> Option<Told> {
        if !self.metrics {
            return None;
        }
        let metrics = Connection::to(&self.site).await.ok(Call::get("/metrics")).await;
        let metrics = std::str::from_utf8(&metrics).expect("text");
        let sum = |name, words: &[&str]| 1e3 * client::total(metrics, name, words);
        let scripts = match self.redis {
            Some(redis) => {
                let mut connection = redis.connect().await;
                let mut ask = redis::cmd("INFO");
                let info = ask.arg("commandstats").query_async(&mut connection).await.expect("Redis answers");
                Some(script_micros(&info) / 1e3)
            }
            None => None,
        };
        Some(Told {
            changes: CHANGES.iter().map(|words| client::total(metrics, ANSWERED, words)).sum(),
            http: CHANGES.iter().map(|words| sum(ANSWERS, words)).sum(),
            calls: SCRIPTS.iter().map(|script| sum(CALLS, &[script])).sum(),
            scripts,
        })
    }
}

const ANSWERED: &str = "nowserving_http_request_duration_seconds_count";
const ANSWERS: &str = "nowserving_http_request_duration_seconds_sum";
const CALLS: &str = "nowserving_redis_script_duration_seconds_sum";
/// The requests of the mix that change something, by their labels, and the scripts that each of them calls one of.
const CHANGES: [&[&str]; 2] =
    [&["method=\"POST\"", "route=\"/v1/restaurants/"], &["method=\"PATCH\"", "route=\"/v1/orders/"]];
const SCRIPTS: [&str; 3] = ["script=\"allocate\"", "script=\"transition\"", "script=\"release\""];

/// ms, all changes together.
#[derive(Clone, Copy)]
struct Told {
    changes: f64,
    /// From the request's head to the answer's.
    http: f64,
    /// Calls of scripts, with the queue before them.
    calls: f64,
    /// Redis's own account of its scripts, to which the write-behind adds a short one for each batch.
    scripts: Option<f64>,
}

impl Told {
    /// For each change since.
    fn each_since(self, before: Self) -> Self {
        let changes = self.changes - before.changes;
        let each = |now: f64, then: f64| (now - then) / changes;
        Self {
            changes,
            http: each(self.http, before.http),
            calls: each(self.calls, before.calls),
            scripts: self.scripts.zip(before.scripts).map(|(now, then)| each(now, then)),
        }
    }
}

/// What the latencies of one round were, in µs, from the intended time of each request.
struct Round {
    all: Histogram<u64>,
    kinds: [Histogram<u64>; Kind::ALL.len()],
    /// Requests answered within a second of when they should have been sent, ÷ all that should have been.
    in_time: f64,
    /// Allocations, or all requests where there are no kinds, that were answered soon, ÷ all of them.
    soon: f64,
    told: Option<Told>,
}

impl Round {
    async fn of_mix(driven: &Driven<'_>, rate: f64, time: Duration, seed: u64) -> Self {
        let before = driven.told().await;
        let (found, asked) = mix::open_loop(&driven.site, CONNECTIONS, rate, time, seed, driven.restaurants).await;
        let told = driven.told().await.zip(before).map(|(now, before)| now.each_since(before));
        driven.rest().await;
        let mut round = Self::of(found.iter().map(|(_, late)| *late), asked, time);
        for (kind, late) in &found {
            let at = Kind::ALL.iter().position(|known| known == kind).expect("all are listed");
            round.kinds[at].record(micros(*late)).expect("it grows by itself");
        }
        let allocations = found.iter().filter(|(kind, _)| *kind == Kind::Allocate).map(|(_, late)| *late);
        round.soon = share(allocations, asked / mix::STEPS.len(), SOON);
        Self { told, ..round }
    }

    async fn of_health(driven: &Driven<'_>, rate: f64, time: Duration, seed: u64) -> Self {
        let (found, asked) = mix::health(&driven.site, CONNECTIONS, rate, time, seed).await;
        Self::of(found.iter().copied(), asked, time)
    }

    /// ms, of the requests that change something.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn mean_of_changes(&self) -> f64 {
        let kinds = Kind::ALL.into_iter().zip(&self.kinds);
        let changes = kinds.filter(|(kind, _)| !matches!(kind, Kind::List | Kind::LookUp)).map(|(_, found)| found);
        let (sum, count) = changes.fold((0.0, 0.0), |(sum, count), found| {
            (sum + found.mean() * found.len() as f64, count + found.len() as f64)
        });
        sum / count / 1e3
    }

    /// What was given up counts as slower than all others.
    fn of(found: impl Iterator<Item = Duration> + Clone, asked: usize, time: Duration) -> Self {
        let [mut all, a, b, c, d, e] = [(); 6].map(|()| Histogram::<u64>::new(3).expect("three digits are allowed"));
        for late in found.clone() {
            all.record(micros(late)).expect("it grows by itself");
        }
        let given_up = asked as u64 - all.len();
        all.record_n(micros(time + GIVE_UP), given_up).expect("it grows by itself");
        let in_time = share(found.clone(), asked, Duration::from_secs(1));
        Self { all, kinds: [a, b, c, d, e], in_time, soon: share(found, asked, SOON), told: None }
    }
}

/// Of what was asked for, what came sooner.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn share(found: impl Iterator<Item = Duration>, asked: usize, within: Duration) -> f64 {
    found.filter(|late| *late <= within).count() as f64 / asked as f64
}

fn micros(late: Duration) -> u64 {
    u64::try_from(late.as_micros()).expect("short")
}

fn figures(report: &mut Report, share: u32, mixed: &[Round], health: &[Round]) {
    const BESIDE: &str = "GET /healthz at the same share";
    type Part<'a> = &'a dyn Fn(&Round) -> f64;
    let of = |rounds: &[Round], part: Part<'_>| rounds.iter().map(part).collect::<Vec<f64>>();
    let figure = |name: String, unit, value: Part<'_>, beside: Part<'_>, target| {
        Figure::of_rounds(GROUP, name, unit, &of(mixed, value), (BESIDE, &of(health, beside)), target)
    };
    for (percentile, quantile) in QUANTILES {
        let is_bound = percentile == "p99" && share == USUAL;
        let target = is_bound.then_some(Bound::AtMost(8.0)).and_then(Target::ratio);
        let all: Part<'_> = &|round| millis(&round.all, quantile);
        report.figure(figure(format!("{percentile} at {share} %, all requests"), "ms", all, all, target));
    }
    for (at, kind) in Kind::ALL.into_iter().enumerate() {
        for (percentile, quantile) in QUANTILES {
            let name = format!("{percentile} at {share} %, {}", kind.name());
            let value: Part<'_> = &|round| millis(&round.kinds[at], quantile);
            let found = figure(name, "ms", value, &|round| millis(&round.all, quantile), None);
            if kind == Kind::Allocate || share == USUAL {
                report.figure(found);
            } else {
                report.details.push(found);
            }
        }
    }
    let name = format!("allocations answered within 1 ms at {share} %");
    report.figure(figure(name, "of all", &|round| round.soon, &|round| round.soon, None));
    let name = format!("answered within a second at {share} %");
    report.figure(figure(name, "of all", &|round| round.in_time, &|round| round.in_time, None));
}

/// Where the time of a change goes, on the average: what is left of the whole when one part is told from the next. Reads
/// call no script, so the daemon does not tell their time in Redis.
fn times(report: &mut Report, share: u32, mixed: &[Round]) {
    let (mut rows, mut whole) = (Rows::default(), Vec::new());
    for round in mixed {
        let Some(told) = round.told else { return };
        let mean = round.mean_of_changes();
        whole.push(mean);
        match told.scripts {
            Some(scripts) => {
                rows.add("in Redis's scripts", scripts);
                rows.add("in the queue before Redis, and on the way", told.calls - scripts);
            }
            None => rows.add("in Redis, with the queue before it", told.calls),
        }
        rows.add("elsewhere in the daemon", told.http - told.calls);
        rows.add("outside of the daemon", mean - told.http);
    }
    for (part, rounds) in rows.0 {
        let name = format!("mean of a change at {share} %, {part}");
        report.figure(Figure::of_rounds(GROUP, name, "ms", &rounds, ("the whole at the caller", &whole), None));
    }
}

/// The whole distribution of a share, all rounds together.
fn curve(share: u32, rounds: &[Round]) -> Series {
    let mut all = Histogram::<u64>::new(3).expect("three digits are allowed");
    for round in rounds {
        all.add(&round.all).expect("it grows by itself");
    }
    let points = [1.25, 2.0, 4.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0];
    let points = points.map(|one_in| (one_in, millis(&all, 1.0 - 1.0 / one_in).max(0.001)));
    Series { name: format!("{share} %"), points: points.to_vec() }
}

fn median(rates: &[f64]) -> f64 {
    crate::rounds::Spread::of(rates.iter().copied()).median
}

/// A percentile, in ms.
pub fn millis(found: &Histogram<u64>, quantile: f64) -> f64 {
    Duration::from_micros(found.value_at_quantile(quantile)).as_secs_f64() * 1e3
}
