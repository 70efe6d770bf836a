//! Every metric: its name, help, labels and the one place that records it.
//!
//! No label has values that grow with the number of restaurants: 40,000 restaurants times every metric would drown
//! Prometheus. What belongs to one restaurant is asked of the API.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::domain::{Durability, NumberState, PoolUsage};

macro_rules! names {
    ($($(#[doc = $help:literal])+ $constant:ident: $kind:ident $unit:expr, $name:literal;)*) => {
        $($(#[doc = $help])+ pub const $constant: &str = $name;)*

        fn describe() {
            $(names!(@describe $kind, $name, $unit, concat!($($help),+));)*
        }

        /// Every metric name, for the tests that hold dashboards against them.
        pub const ALL: &[&str] = &[$($name),*];
    };
    (@describe counter, $name:literal, $unit:expr, $help:expr) => { describe_counter!($name, $unit, $help.trim()) };
    (@describe gauge, $name:literal, $unit:expr, $help:expr) => { describe_gauge!($name, $unit, $help.trim()) };
    (@describe histogram, $name:literal, $unit:expr, $help:expr) => { describe_histogram!($name, $unit, $help.trim()) };
}

names! {
    /// HTTP requests answered, by route template, method and status.
    HTTP_REQUESTS: counter Unit::Count, "nowserving_http_requests_total";
    /// Time from the request's head to the answer's head, by route template and method.
    HTTP_SECONDS: histogram Unit::Seconds, "nowserving_http_request_duration_seconds";
    /// Problem answers, by their code.
    HTTP_PROBLEMS: counter Unit::Count, "nowserving_http_problems_total";
    /// Numbers asked for, by outcome: allocated, replayed, exhausted, refused, unavailable or failed.
    ALLOCATIONS: counter Unit::Count, "nowserving_allocations_total";
    /// Allocations refused because no number of the restaurant was free.
    POOL_EXHAUSTED: counter Unit::Count, "nowserving_pool_exhausted_total";
    /// Orders ended, by their final status.
    RELEASES: counter Unit::Count, "nowserving_releases_total";
    /// Round trip of a script call to Redis, by script and by whether it was answered.
    SCRIPT_SECONDS: histogram Unit::Seconds, "nowserving_redis_script_duration_seconds";
    /// Connections to Redis that had to be made for the hot path; the first ones at start-up count too.
    REDIS_CONNECTS: counter Unit::Count, "nowserving_redis_connects_total";
    /// Memory of the Redis server that is nearest to its limit: used, and the limit past which new orders are refused (0: none).
    REDIS_MEMORY: gauge Unit::Bytes, "nowserving_redis_memory_bytes";
    /// Partitions that are open: served by Redis and in step with the ledger.
    PARTITIONS_OPEN: gauge Unit::Count, "nowserving_partitions_open";
    /// Partitions that are closed; their restaurants get 503.
    PARTITIONS_CLOSED: gauge Unit::Count, "nowserving_partitions_closed";
    /// Numbers of all restaurants by state: free, live, cooling, blocked, reserved or retiring.
    NUMBERS: gauge Unit::Count, "nowserving_numbers";
    /// Restaurants that have a pool.
    RESTAURANTS: gauge Unit::Count, "nowserving_restaurants";
    /// Events in Redis that the ledger does not have yet.
    OUTBOX_ENTRIES: gauge Unit::Count, "nowserving_outbox_entries";
    /// Age of the oldest event that the ledger does not have yet; 0 when it has all.
    OUTBOX_LAG_SECONDS: gauge Unit::Seconds, "nowserving_outbox_lag_seconds";
    /// One write-behind transaction, from its first statement to its commit.
    BATCH_SECONDS: histogram Unit::Seconds, "nowserving_write_behind_batch_duration_seconds";
    /// Events written by one write-behind transaction.
    BATCH_EVENTS: histogram Unit::Count, "nowserving_write_behind_batch_events";
    /// Events written to the ledger.
    EVENTS_WRITTEN: counter Unit::Count, "nowserving_write_behind_events_total";
    /// Write-behind transactions that failed and were tried again.
    BATCH_FAILURES: counter Unit::Count, "nowserving_write_behind_failures_total";
    /// Outbox entries that the ledger refused for what they hold; they wait in dead_letters.
    DEAD_LETTERS: counter Unit::Count, "nowserving_dead_letters_total";
    /// Outbox entries that wait in dead_letters for somebody to retry or drop them.
    DEAD_LETTERS_WAITING: gauge Unit::Count, "nowserving_dead_letters_waiting";
    /// Connections to Postgres: busy, idle, and the limit of how many may be open.
    LEDGER_CONNECTIONS: gauge Unit::Count, "nowserving_ledger_connections";
    /// Numbers that were found with two holders.
    COLLISIONS: counter Unit::Count, "nowserving_slot_collisions_total";
    /// Generations that were opened for partitions in use: continued (Redis had everything), from_ledger, or ledger_lost.
    REBUILDS: counter Unit::Count, "nowserving_partition_rebuilds_total";
    /// How long a partition's rebuild took, from the first look to its opening.
    REBUILD_SECONDS: histogram Unit::Seconds, "nowserving_partition_rebuild_duration_seconds";
    /// Numbers that were put to rest because they may have been given in the seconds before a loss.
    SKIPPED: counter Unit::Count, "nowserving_numbers_skipped_total";
    /// Orders that Redis had lost and that this daemon, which saw them acknowledged, said again.
    RESTATED: counter Unit::Count, "nowserving_orders_restated_total";
    /// Live orders that were given a new number because two had the same one.
    RENUMBERED: counter Unit::Count, "nowserving_orders_renumbered_total";
    /// How often the ledger was found behind what it had confirmed.
    LEDGER_FELL_BACK: counter Unit::Count, "nowserving_ledger_fell_back_total";
    /// Orders that clean-up expired.
    EXPIRED: counter Unit::Count, "nowserving_orders_expired_total";
    /// Changes that waited for a durability level beyond memory, by level and outcome: reached or unknown.
    LEVELS_AWAITED: counter Unit::Count, "nowserving_durability_total";
    /// How long a change waited for its durability level, after it was made in Redis, by level.
    LEVEL_SECONDS: histogram Unit::Seconds, "nowserving_durability_wait_duration_seconds";
    /// Always 1; the label says which version runs.
    BUILD_INFO: gauge Unit::Count, "nowserving_build_info";
}

/// What became of a request for a number.
#[derive(Debug, Clone, Copy)]
pub enum AllocationOutcome {
    /// A new order has it.
    Allocated,
    /// An earlier call with the same `Idempotency-Key` had been given it.
    Replayed,
    /// None was free.
    Exhausted,
    /// Another refusal.
    Refused,
    /// A server was away.
    Unavailable,
    /// A bug.
    Failed,
}

impl AllocationOutcome {
    const ALL: [Self; 6] =
        [Self::Allocated, Self::Replayed, Self::Exhausted, Self::Refused, Self::Unavailable, Self::Failed];

    const fn label(self) -> &'static str {
        match self {
            Self::Allocated => "allocated",
            Self::Replayed => "replayed",
            Self::Exhausted => "exhausted",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
        }
    }
}

/// How a partition came to its new generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebuilt {
    /// Redis had everything.
    Continued,
    /// Redis had lost something: everything was loaded from the ledger.
    FromLedger,
    /// The ledger had lost something: Redis told it again what is live.
    LedgerLost,
}

impl Rebuilt {
    const ALL: [Self; 3] = [Self::Continued, Self::FromLedger, Self::LedgerLost];

    const fn label(self) -> &'static str {
        match self {
            Self::Continued => "continued",
            Self::FromLedger => "from_ledger",
            Self::LedgerLost => "ledger_lost",
        }
    }
}

/// Upper bounds of the latency buckets, in seconds: fine where a script or a request normally ends.
const LATENCY_BUCKETS: [f64; 16] =
    [0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const EVENT_BUCKETS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];

/// Installs the recorder for the whole process, with every metric described and at zero.
///
/// # Errors
/// When a recorder is installed already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_duration_seconds".to_owned()), &LATENCY_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(BATCH_EVENTS.to_owned()), &EVENT_BUCKETS)?
        .install_recorder()?;
    describe();
    zero();
    Ok(handle)
}

/// A series that appears only with its first event hides that event from `rate()`: all start at zero.
fn zero() {
    for outcome in AllocationOutcome::ALL {
        counter!(ALLOCATIONS, "outcome" => outcome.label()).absolute(0);
    }
    for status in ["completed", "cancelled", "expired"] {
        counter!(RELEASES, "status" => status).absolute(0);
    }
    for how in Rebuilt::ALL {
        counter!(REBUILDS, "how" => how.label()).absolute(0);
    }
    for level in Durability::ALL.into_iter().filter(|level| *level != Durability::Memory) {
        for outcome in ["reached", "unknown"] {
            counter!(LEVELS_AWAITED, "level" => level.as_str(), "outcome" => outcome).absolute(0);
        }
    }
    for name in [POOL_EXHAUSTED, REDIS_CONNECTS, EVENTS_WRITTEN, BATCH_FAILURES, DEAD_LETTERS, COLLISIONS, EXPIRED] {
        counter!(name).absolute(0);
    }
    for name in [SKIPPED, RESTATED, RENUMBERED, LEDGER_FELL_BACK] {
        counter!(name).absolute(0);
    }
    gauge!(OUTBOX_ENTRIES).set(0.0);
    gauge!(OUTBOX_LAG_SECONDS).set(0.0);
    gauge!(DEAD_LETTERS_WAITING).set(0.0);
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// An HTTP request was answered. `route` is the template, never the path.
pub fn http_answered(route: &str, method: &str, status: u16, elapsed: Duration) {
    counter!(HTTP_REQUESTS, "route" => route.to_owned(), "method" => method.to_owned(), "status" => status.to_string())
        .increment(1);
    histogram!(HTTP_SECONDS, "route" => route.to_owned(), "method" => method.to_owned()).record(elapsed);
}

/// The codes that problems may have, so that each is there before its first problem.
pub fn problem_codes<'a>(codes: impl IntoIterator<Item = &'a str>) {
    for code in codes {
        counter!(HTTP_PROBLEMS, "code" => code.to_owned()).absolute(0);
    }
}

/// A request was answered with a problem.
pub fn problem(code: &'static str) {
    counter!(HTTP_PROBLEMS, "code" => code).increment(1);
}

/// A number was asked for.
pub fn allocation(outcome: AllocationOutcome) {
    counter!(ALLOCATIONS, "outcome" => outcome.label()).increment(1);
    if matches!(outcome, AllocationOutcome::Exhausted) {
        counter!(POOL_EXHAUSTED).increment(1);
    }
}

/// An order ended.
pub fn released(status: &'static str) {
    counter!(RELEASES, "status" => status).increment(1);
}

/// A script call came back, or failed.
pub fn script_ran(script: &'static str, answered: bool, elapsed: Duration) {
    histogram!(SCRIPT_SECONDS, "script" => script, "answered" => if answered { "yes" } else { "no" }).record(elapsed);
}

/// A connection for the hot path is being made.
pub fn redis_connecting() {
    counter!(REDIS_CONNECTS).increment(1);
}

/// How full the fullest Redis server is, in bytes; `limit` is 0 where there is none.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn redis_memory(used: u64, limit: u64) {
    gauge!(REDIS_MEMORY, "kind" => "used").set(used as f64);
    gauge!(REDIS_MEMORY, "kind" => "limit").set(limit as f64);
}

/// How many connections to Postgres are open and in use, open and not in use, and may be open.
pub fn ledger_connections(busy: u32, idle: u32, limit: u32) {
    for (state, connections) in [("busy", busy), ("idle", idle), ("limit", limit)] {
        gauge!(LEDGER_CONNECTIONS, "state" => state).set(f64::from(connections));
    }
}

/// How many entries wait in dead_letters.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn dead_letters_waiting(entries: u64) {
    gauge!(DEAD_LETTERS_WAITING).set(entries as f64);
}

/// How many partitions are open, and how many closed.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn partitions(open: usize, closed: usize) {
    gauge!(PARTITIONS_OPEN).set(open as f64);
    gauge!(PARTITIONS_CLOSED).set(closed as f64);
}

/// The sum over all restaurants, as the last survey counted it.
pub fn numbers(restaurants: u64, total: &[(NumberState, u64)]) {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    for (state, count) in total {
        let state = match state {
            NumberState::Free => "free",
            NumberState::Live => "live",
            NumberState::Cooling => "cooling",
            NumberState::Blocked => "blocked",
            NumberState::Reserved => "reserved",
            NumberState::Retiring => "retiring",
        };
        gauge!(NUMBERS, "state" => state).set(*count as f64);
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    gauge!(RESTAURANTS).set(restaurants as f64);
}

/// Adds one restaurant's usage to a sum for [`numbers`].
pub fn add_usage(total: &mut [(NumberState, u64)], usage: &PoolUsage) {
    for (state, count) in total {
        *count += u64::from(match state {
            NumberState::Free => usage.free,
            NumberState::Live => usage.live,
            NumberState::Cooling => usage.cooling,
            NumberState::Blocked => usage.blocked,
            NumberState::Reserved => usage.reserved,
            NumberState::Retiring => usage.retiring,
        });
    }
}

/// How far the ledger is behind.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn outbox(entries: u64, lag: Duration) {
    gauge!(OUTBOX_ENTRIES).set(entries as f64);
    gauge!(OUTBOX_LAG_SECONDS).set(lag.as_secs_f64());
}

/// A write-behind transaction was committed.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn batch_written(events: usize, dead: usize, collisions: usize, elapsed: Duration) {
    histogram!(BATCH_SECONDS).record(elapsed);
    histogram!(BATCH_EVENTS).record(events as f64);
    counter!(EVENTS_WRITTEN).increment(events as u64);
    counter!(DEAD_LETTERS).increment(dead as u64);
    counter!(COLLISIONS).increment(collisions as u64);
}

/// A write-behind transaction failed and will be tried again.
pub fn batch_failed() {
    counter!(BATCH_FAILURES).increment(1);
}

/// A partition has a new generation, and is open.
pub fn rebuilt(how: Rebuilt, elapsed: Duration) {
    counter!(REBUILDS, "how" => how.label()).increment(1);
    histogram!(REBUILD_SECONDS).record(elapsed);
}

/// Numbers rest that may have been given unseen.
pub fn numbers_skipped(numbers: u32) {
    counter!(SKIPPED).increment(numbers.into());
}

/// Orders that Redis had lost were said again.
pub fn restated(orders: u64) {
    counter!(RESTATED).increment(orders);
}

/// Two live orders had one number, and one was given a new one. This counts as a collision, too.
pub fn renumbered() {
    counter!(RENUMBERED).increment(1);
    counter!(COLLISIONS).increment(1);
}

/// The ledger was found behind what it had confirmed.
pub fn ledger_fell_back() {
    counter!(LEDGER_FELL_BACK).increment(1);
}

/// Clean-up expired orders.
pub fn expired(orders: usize) {
    counter!(EXPIRED).increment(orders as u64);
}

/// A change waited for its durability level.
pub fn level_awaited(level: Durability, reached: bool, elapsed: Duration) {
    let outcome = if reached { "reached" } else { "unknown" };
    counter!(LEVELS_AWAITED, "level" => level.as_str(), "outcome" => outcome).increment(1);
    histogram!(LEVEL_SECONDS, "level" => level.as_str()).record(elapsed);
}
