//! What 40,000 restaurants and 50 million orders a day need, worked out from what this run has measured.
//!
//! A calculation and no measurement: everything that a chain knows of itself is a constant below, everything that it
//! costs is a figure of the report. Where one is missing, because its group was not run, there is no answer.

use crate::{
    cost, cpu, ledger,
    report::{Figure, Reference, Report, number},
    rounds::Spread,
    write_behind,
};

const GROUP: &str = "model";

/// Restaurants of the chain.
const RESTAURANTS: f64 = 40_000.0;
/// Orders of one day, in all restaurants.
const ORDERS_A_DAY: f64 = 50_000_000.0;
/// Which part of a day's orders its busiest hour has.
const PEAK_HOUR_SHARE: f64 = 0.12;
/// How far the busiest minutes of that hour lie above its average.
const PEAK_WITHIN_HOUR: f64 = 1.5;
/// Changes of an order in its whole life: it is created, changed twice and completed. Each is one call and one event,
/// and is taken to cost the daemon and Redis as much as an allocation does.
const CHANGES: f64 = 4.0;
/// Look-ups for each order: kitchen lists, boards, guests who ask. Taken to cost the daemon and Redis as much as an
/// allocation, and Postgres nothing: orders that a client asks for are live.
const READS: f64 = 4.0;
/// What a caller says about an order.
const BODY_BYTES: f64 = 100.0;
/// How long an order is live, in seconds.
const LIVE_SECONDS: f64 = 1200.0;
/// Which part of a day's orders ended within the last cooldown, at most: four hours over noon.
const COOLING_SHARE: f64 = 0.4;
/// How many days' orders have an idempotency key that Redis holds, at most: all have one, and the bucket of a day goes
/// when its last key is a day old.
const KEY_DAYS: f64 = 2.0;
/// How busy a core is planned to be at peak.
const BUSY: f64 = 0.6;
/// How much more memory Redis is given than its data takes: its append-only file is rewritten by a copy of the
/// process.
const MEMORY_HEADROOM: f64 = 1.5;

/// What things cost, as measured.
struct Costs {
    daemon_micros: f64,
    redis_micros: f64,
    /// Postgres and the write-behind, for an order's whole life.
    ledger_micros: f64,
    idle_restaurant_bytes: f64,
    live_order_bytes: f64,
    cooling_number_bytes: f64,
    idempotency_key_bytes: f64,
    ledger_bytes: f64,
    events_drained: f64,
}

impl Costs {
    /// Err: the figure that is missing.
    fn measured(report: &Report) -> Result<Self, String> {
        let of = |group, name| measured(report, group, name).ok_or_else(|| format!("{group}: {name}"));
        Ok(Self {
            daemon_micros: of(cost::GROUP, cost::DAEMON)?,
            redis_micros: of(cost::GROUP, cost::REDIS)?,
            ledger_micros: of(cost::GROUP, cost::LEDGER)?,
            idle_restaurant_bytes: of("memory", "idle restaurant")?,
            live_order_bytes: of("memory", "live order with a body of 100 bytes, outbox apart")?,
            cooling_number_bytes: of("memory", "cooling number")?,
            idempotency_key_bytes: of("memory", "idempotency key, 600 of a restaurant")?,
            ledger_bytes: of(ledger::GROUP, ledger::BYTES)?,
            events_drained: of(write_behind::GROUP, write_behind::DRAINED)?,
        })
    }
}

/// The median of a figure, if it was measured.
fn measured(report: &Report, group: &str, name: &str) -> Option<f64> {
    report.figures.iter().find(|figure| figure.group == group && figure.name == name).map(|figure| figure.value.median)
}

/// What a day needs.
#[derive(Debug)]
struct Needs {
    orders_per_second: f64,
    events_per_second: f64,
    daemon_cores: f64,
    redis_cores: f64,
    redis_bytes: f64,
    ledger_cores: f64,
    disk_bytes_a_day: f64,
    /// Orders a second that this machine could carry alone, all its cores as busy as planned.
    machine_orders_per_second: f64,
}

impl Needs {
    fn of(costs: &Costs, cores: f64) -> Self {
        let orders_per_second = ORDERS_A_DAY * PEAK_HOUR_SHARE / 3600.0 * PEAK_WITHIN_HOUR;
        let calls = CHANGES + READS;
        // Cores that are busy for each order that comes in a second.
        let [daemon, redis, ledger] =
            [calls * costs.daemon_micros, calls * costs.redis_micros, costs.ledger_micros].map(|micros| micros / 1e6);
        let at_peak = |cores_an_order: f64| orders_per_second * cores_an_order / BUSY;
        let data = RESTAURANTS * costs.idle_restaurant_bytes
            + orders_per_second * LIVE_SECONDS * costs.live_order_bytes
            + ORDERS_A_DAY * COOLING_SHARE * costs.cooling_number_bytes
            + ORDERS_A_DAY * KEY_DAYS * costs.idempotency_key_bytes;
        Self {
            orders_per_second,
            events_per_second: orders_per_second * CHANGES,
            daemon_cores: at_peak(daemon),
            redis_cores: at_peak(redis),
            redis_bytes: data * MEMORY_HEADROOM,
            ledger_cores: at_peak(ledger),
            disk_bytes_a_day: ORDERS_A_DAY * costs.ledger_bytes,
            machine_orders_per_second: cores * BUSY / (daemon + redis + ledger),
        }
    }
}

pub fn work_out(report: &mut Report) {
    let costs = match Costs::measured(report) {
        Ok(costs) => costs,
        Err(missing) => return report.note(GROUP, format!("Not worked out: this run has not measured `{missing}`.")),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let (cores, gib) = (cores as f64, f64::from(1 << 30));
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let memory = cpu::memory_bytes() as f64;
    let needs = Needs::of(&costs, cores);
    let mut add = |name: &str, unit, value, reference: &str, beside| {
        let reference = Reference { name: reference.to_owned(), value: Spread::once(beside) };
        let value = Spread::once(value);
        report.figure(Figure {
            group: GROUP,
            name: name.to_owned(),
            unit,
            value,
            reference,
            target: None,
            by_round: None,
        });
    };
    let here = "cores of this machine";
    add("orders at peak", "/s", needs.orders_per_second, "this machine alone", needs.machine_orders_per_second);
    add("events at peak", "/s", needs.events_per_second, "drained in this run", costs.events_drained);
    add("daemon cores", "cores", needs.daemon_cores, here, cores);
    add("Redis cores", "cores", needs.redis_cores, here, cores);
    add("Postgres and write-behind cores", "cores", needs.ledger_cores, here, cores);
    add("Redis memory", "GiB", needs.redis_bytes / gib, "memory of this machine", memory / gib);
    let bodies = ORDERS_A_DAY * BODY_BYTES / gib;
    add("ledger on disk, a day", "GiB", needs.disk_bytes_a_day / gib, "the bodies of the orders alone", bodies);
    report.note(GROUP, paragraph(&needs));
}

fn paragraph(needs: &Needs) -> String {
    let gib = f64::from(1 << 30);
    format!(
        "{} restaurants with {} million orders a day, {:.0} % of them in the busiest hour and its busiest \
         minutes {PEAK_WITHIN_HOUR} times above that, come to {} orders and {} events a second. With cores \
         that are {:.0} % busy then, that takes {} cores for daemons, {} for Redis (a Redis uses one: so many \
         masters, rounded up) and {} for Postgres and the write-behind; {} GiB of memory for Redis; and {} \
         GiB of disk a day for the ledger. A machine as this one, with everything on it, would carry {} \
         orders a second.",
        number(RESTAURANTS),
        ORDERS_A_DAY / 1e6,
        PEAK_HOUR_SHARE * 100.0,
        number(needs.orders_per_second),
        number(needs.events_per_second),
        BUSY * 100.0,
        number(needs.daemon_cores),
        number(needs.redis_cores),
        number(needs.ledger_cores),
        number(needs.redis_bytes / gib),
        number(needs.disk_bytes_a_day / gib),
        number(needs.machine_orders_per_second),
    )
}
