//! Every metric: its name, help, labels and the one place that records it.
//!
//! No label has values that grow with the number of restaurants: 40,000 restaurants times every metric would drown
//! Prometheus. A few series name the fullest restaurants (`usage.top`), and vanish when these leave the top; what belongs
//! to any other restaurant is asked of the API.

mod handles;
mod survey;

use std::time::Duration;

use metrics::{Gauge, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

pub(crate) use self::survey::render_survey;
use crate::domain::{Durability, ScreenCounts, TaskReport, TaskResult};

macro_rules! names {
    ($($(#[doc = $help:literal])+ $constant:ident: $kind:ident $unit:expr, $name:literal;)*) => {
        $($(#[doc = $help])+ pub const $constant: &str = $name;)*

        fn describe() {
            $(names!(@describe $kind, $name, $unit, concat!($($help),+));)*
        }

        /// Every metric name, for the tests that hold dashboards against them.
        pub const ALL: &[&str] = &[$($name),*];

        /// Name, kind and help of each metric; what the survey of all restaurants finds has a kind that begins with `survey_`.
        pub const HELP: &[(&str, &str, &str)] = &[$(($name, stringify!($kind), concat!($($help),+))),*];
    };
    // The recorder knows nothing of what is rendered from the last survey.
    (@describe survey_gauge, $($rest:tt)*) => {};
    (@describe survey_histogram, $($rest:tt)*) => {};
    (@describe counter, $name:literal, $unit:expr, $help:expr) => { describe_counter!($name, $unit, $help.trim()) };
    (@describe gauge, $name:literal, $unit:expr, $help:expr) => { describe_gauge!($name, $unit, $help.trim()) };
    (@describe histogram, $name:literal, $unit:expr, $help:expr) => { describe_histogram!($name, $unit, $help.trim()) };
}

names! {
    /// HTTP requests answered, by route template, method and status.
    HTTP_REQUESTS: counter Unit::Count, "nowserving_http_requests_total";
    /// Time from the request's head to the answer's head, by route template and method.
    HTTP_SECONDS: histogram Unit::Seconds, "nowserving_http_request_duration_seconds";
    /// Connections of clients that are open.
    HTTP_CONNECTIONS: gauge Unit::Count, "nowserving_http_connections";
    /// Requests that are worked on; those that wait for their turn are not counted, nor are probes and metrics.
    HTTP_IN_FLIGHT: gauge Unit::Count, "nowserving_http_requests_in_flight";
    /// What was turned away because there was too much of it, by reason: connections (closed) or requests (503).
    HTTP_SHED: counter Unit::Count, "nowserving_http_shed_total";
    /// When the certificate that clients are shown ends, in Unix time; absent without TLS.
    TLS_EXPIRES: gauge Unit::Seconds, "nowserving_tls_certificate_expires_seconds";
    /// Problem answers, by their code.
    HTTP_PROBLEMS: counter Unit::Count, "nowserving_http_problems_total";
    /// Numbers asked for, by outcome: allocated, replayed, exhausted, taken (the one asked for), refused, unavailable or
    /// failed.
    ALLOCATIONS: counter Unit::Count, "nowserving_allocations_total";
    /// Allocations refused because no number of the restaurant was free.
    POOL_EXHAUSTED: counter Unit::Count, "nowserving_pool_exhausted_total";
    /// Orders ended, by their final status.
    RELEASES: counter Unit::Count, "nowserving_releases_total";
    /// Restaurants whose rings began anew with a business date.
    RINGS_RESET: counter Unit::Count, "nowserving_ring_resets_total";
    /// Rests that gave way: nothing was free, and the number that had rested longest was given before its time.
    RESTS_CUT: counter Unit::Count, "nowserving_rests_cut_total";
    /// Numbers that were passed over since one was live that they are mistaken for.
    PICKS_AVOIDED: counter Unit::Count, "nowserving_picks_avoided_total";
    /// Round trip of a script call to Redis, by script and by whether it was answered.
    SCRIPT_SECONDS: histogram Unit::Seconds, "nowserving_redis_script_duration_seconds";
    /// How often the clock of a Redis master was set by more than a minute.
    REDIS_CLOCK_STEPS: counter Unit::Count, "nowserving_redis_clock_steps_total";
    /// How far clocks are from Redis's, by clock: postgres (NaN while it is unreachable), daemon (its machine's), redis (between the
    /// masters), any (the two of all that are furthest apart).
    CLOCKS_APART: gauge Unit::Seconds, "nowserving_clock_difference_seconds";
    /// Connections to Redis that had to be made for the hot path; the first ones at start-up count too.
    REDIS_CONNECTS: counter Unit::Count, "nowserving_redis_connects_total";
    /// Memory of the Redis server that is nearest to its limit: used, and the limit past which new orders are refused (0: none).
    REDIS_MEMORY: gauge Unit::Bytes, "nowserving_redis_memory_bytes";
    /// Partitions that are open: served by Redis and in step with the ledger.
    PARTITIONS_OPEN: gauge Unit::Count, "nowserving_partitions_open";
    /// Partitions that are closed; their restaurants get 503.
    PARTITIONS_CLOSED: gauge Unit::Count, "nowserving_partitions_closed";
    /// Whether this daemon reports for all what the survey of all restaurants found: 1 on one daemon of a deployment.
    SURVEY_LEADER: gauge Unit::Count, "nowserving_survey_leader";
    /// How long a survey of all restaurants took.
    SURVEY_SECONDS: histogram Unit::Seconds, "nowserving_survey_duration_seconds";
    /// Numbers of all restaurants by state: free, live, cooling, blocked, reserved, quarantined or retiring.
    NUMBERS: survey_gauge Unit::Count, "nowserving_numbers";
    /// Restaurants that have a pool.
    RESTAURANTS: survey_gauge Unit::Count, "nowserving_restaurants";
    /// Restaurants by the utilization of their pool at the last survey, from 0 to 1: 1 - free / (free + live + cooling).
    POOL_UTILIZATION: survey_histogram Unit::Count, "nowserving_pool_utilization";
    /// Restaurants that had no free number at the last survey.
    EXHAUSTED: survey_gauge Unit::Count, "nowserving_restaurants_exhausted";
    /// Restaurants that will have no free number within this time if it goes on as in the last quarter of an hour.
    EXHAUSTING: survey_gauge Unit::Count, "nowserving_restaurants_exhausting";
    /// Live orders older than their restaurant's active window, which clean-up has not expired.
    OVERDUE: survey_gauge Unit::Count, "nowserving_orders_overdue";
    /// Utilization of the pools that are fullest, from 0 to 1.
    RESTAURANT_UTILIZATION: survey_gauge Unit::Count, "nowserving_restaurant_utilization_ratio";
    /// Numbers of the restaurants whose pools are fullest, by range (main and further ones) and state: free, live or cooling.
    RESTAURANT_NUMBERS: survey_gauge Unit::Count, "nowserving_restaurant_numbers";
    /// Time until the restaurants whose pools are fullest have no free number, while they drain.
    RESTAURANT_EXHAUSTION: survey_gauge Unit::Seconds, "nowserving_restaurant_exhaustion_seconds";
    /// Events in Redis that the ledger does not have yet.
    OUTBOX_ENTRIES: gauge Unit::Count, "nowserving_outbox_entries";
    /// Age of the oldest event that the ledger does not have yet; 0 when it has all.
    OUTBOX_LAG_SECONDS: gauge Unit::Seconds, "nowserving_outbox_lag_seconds";
    /// One write-behind transaction, from a batch in hand to its commit.
    BATCH_SECONDS: histogram Unit::Seconds, "nowserving_write_behind_batch_duration_seconds";
    /// Events written by one write-behind transaction.
    BATCH_EVENTS: histogram Unit::Count, "nowserving_write_behind_batch_events";
    /// Events written to the ledger.
    EVENTS_WRITTEN: counter Unit::Count, "nowserving_write_behind_events_total";
    /// Passes of the write-behind that failed, for Redis or for Postgres, and were begun again.
    BATCH_FAILURES: counter Unit::Count, "nowserving_write_behind_failures_total";
    /// Outbox entries that the ledger refused for what they hold; they wait in dead_letters.
    DEAD_LETTERS: counter Unit::Count, "nowserving_dead_letters_total";
    /// Months after this one that have a place in the ledger; -1 where not even this one has. A year is normal.
    MONTHS_AHEAD: gauge Unit::Count, "nowserving_ledger_months_ahead";
    /// Months of the ledger with names that an earlier version folded; they are found in its way until this is 0.
    MONTHS_TO_FOLD: gauge Unit::Count, "nowserving_ledger_months_to_fold";
    /// Outbox entries that wait in dead_letters for the operator to retry or drop them.
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
    /// Orders that this daemon remembers until the ledger has them as they are, and for how many there is room (0: none).
    REMEMBERED: gauge Unit::Count, "nowserving_remembered_orders";
    /// Orders that Redis had lost and that wait for a number, since none is free.
    WITHOUT_NUMBER: gauge Unit::Count, "nowserving_orders_without_number";
    /// Live orders that were given a new number because two had the same one.
    RENUMBERED: counter Unit::Count, "nowserving_orders_renumbered_total";
    /// How often the ledger was found behind what it had confirmed.
    LEDGER_FELL_BACK: counter Unit::Count, "nowserving_ledger_fell_back_total";
    /// Orders that clean-up expired.
    EXPIRED: counter Unit::Count, "nowserving_orders_expired_total";
    /// Completed orders that were reopened, with their number.
    REOPENED: counter Unit::Count, "nowserving_orders_reopened_total";
    /// Served orders that clean-up completed.
    SERVED_COMPLETED: counter Unit::Count, "nowserving_served_orders_completed_total";
    /// Calls of orders, by outcome: first, repeated, joined (the order was called a moment ago), replayed, refused or failed.
    CALLS: counter Unit::Count, "nowserving_calls_total";
    /// Changes that waited for a durability level beyond memory, by level and outcome: reached or unknown.
    LEVELS_AWAITED: counter Unit::Count, "nowserving_durability_total";
    /// How long a change waited for its durability level, after it was made in Redis, by level.
    LEVEL_SECONDS: histogram Unit::Seconds, "nowserving_durability_wait_duration_seconds";
    /// Requests that had to show an API key, by outcome: accepted, unknown (no key, too), expired, forbidden, rate_limited or unavailable.
    AUTH: counter Unit::Count, "nowserving_auth_total";
    /// Streams of feeds that are open, by scope: restaurant or chain.
    FEED_STREAMS: gauge Unit::Count, "nowserving_feed_streams";
    /// Restaurants that this daemon follows for streams.
    FEED_RESTAURANTS: gauge Unit::Count, "nowserving_feed_restaurants";
    /// Changes that were told to the streams that watch them; each counts once, whatever the number of streams.
    FEED_EVENTS: counter Unit::Count, "nowserving_feed_events_total";
    /// How long after a change, by Redis's clock, the feed had it to tell.
    FEED_SECONDS: histogram Unit::Seconds, "nowserving_feed_delay_duration_seconds";
    /// Streams that had to begin anew, by reason: slow, lost, generation, unknown_position or closing.
    FEED_RESETS: counter Unit::Count, "nowserving_feed_resets_total";
    /// Screens that were paired, by freshness: fresh (here, and up to date), stale (here, and not up to date by their own
    /// word), gone (not here for 90 s). Every daemon counts all; NaN while it cannot.
    SCREENS: gauge Unit::Count, "nowserving_screens";
    /// Runs of background tasks that have ended, by task and result: ok or failed.
    TASK_RUNS: counter Unit::Count, "nowserving_task_runs_total";
    /// Time since the last run of a background task ended, or, where none has, since the task was started; by task.
    TASK_AGE: gauge Unit::Seconds, "nowserving_task_last_run_age_seconds";
    /// How long the last run of a background task took, by task.
    TASK_SECONDS: gauge Unit::Seconds, "nowserving_task_last_run_duration_seconds";
    /// Whether the last run of a background task failed: 1 if so, by task.
    TASK_FAILED: gauge Unit::Count, "nowserving_task_last_run_failed";
    /// Always 1; the label says which version runs.
    BUILD_INFO: gauge Unit::Count, "nowserving_build_info";
}

/// What became of a request for a number.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AllocationOutcome {
    /// A new order has it.
    Allocated,
    /// An earlier call with the same `Idempotency-Key` had been given it.
    Replayed,
    /// None was free.
    Exhausted,
    /// The number that was asked for was not free.
    Taken,
    /// Another refusal.
    Refused,
    /// A server was unreachable.
    Unavailable,
    /// A bug.
    Failed,
}

impl AllocationOutcome {
    const ALL: [Self; 7] =
        [Self::Allocated, Self::Replayed, Self::Exhausted, Self::Taken, Self::Refused, Self::Unavailable, Self::Failed];

    const fn label(self) -> &'static str {
        match self {
            Self::Allocated => "allocated",
            Self::Replayed => "replayed",
            Self::Exhausted => "exhausted",
            Self::Taken => "taken",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
        }
    }
}

/// What became of a call of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallOutcome {
    /// It was the first one of the order.
    First,
    /// It was a later one.
    Repeated,
    /// The order was called a moment ago: the two are one call.
    Joined,
    /// It had been made before, and the answer of Redis was lost.
    Replayed,
    /// It was not to be called.
    Refused,
    /// A server was unreachable, or there is a bug.
    Failed,
}

impl CallOutcome {
    const ALL: [Self; 6] = [Self::First, Self::Repeated, Self::Joined, Self::Replayed, Self::Refused, Self::Failed];

    const fn label(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Repeated => "repeated",
            Self::Joined => "joined",
            Self::Replayed => "replayed",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// What there was too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shed {
    /// A connection was closed.
    Connections,
    /// A request was answered with 503.
    Requests,
}

impl Shed {
    const ALL: [Self; 2] = [Self::Connections, Self::Requests];

    const fn label(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Requests => "requests",
        }
    }
}

/// What a stream of a feed tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FeedScope {
    /// One restaurant.
    Restaurant,
    /// All of them.
    Chain,
}

impl FeedScope {
    const ALL: [Self; 2] = [Self::Restaurant, Self::Chain];

    const fn label(self) -> &'static str {
        match self {
            Self::Restaurant => "restaurant",
            Self::Chain => "chain",
        }
    }
}

/// How a partition came to its new generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rebuilt {
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

/// What became of a request that had to show an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthOutcome {
    /// It may go on.
    Accepted,
    /// It showed no key, or none that is known and not revoked.
    Unknown,
    /// Its key has expired.
    Expired,
    /// Its key is not for this call, or not for this restaurant.
    Forbidden,
    /// Its key has been used too often in the last second.
    RateLimited,
    /// Whether its key is good cannot be said now.
    Unavailable,
}

impl AuthOutcome {
    const ALL: [Self; 6] =
        [Self::Accepted, Self::Unknown, Self::Expired, Self::Forbidden, Self::RateLimited, Self::Unavailable];

    const fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Forbidden => "forbidden",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Upper bounds of the latency buckets, in seconds: fine where a script or a request normally ends.
const LATENCY_BUCKETS: [f64; 16] =
    [0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const SURVEY_BUCKETS: [f64; 11] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
const EVENT_BUCKETS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];

/// Installs the recorder for the whole process, with every metric described and at zero.
///
/// # Errors
/// When a recorder is installed already.
pub(crate) fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_duration_seconds".to_owned()), &LATENCY_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(SURVEY_SECONDS.to_owned()), &SURVEY_BUCKETS)?
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
    for outcome in CallOutcome::ALL {
        counter!(CALLS, "outcome" => outcome.label()).absolute(0);
    }
    for outcome in AuthOutcome::ALL {
        counter!(AUTH, "outcome" => outcome.label()).absolute(0);
    }
    for name in [RINGS_RESET, RESTS_CUT, PICKS_AVOIDED] {
        counter!(name).absolute(0);
    }
    for status in ["completed", "cancelled", "expired"] {
        counter!(RELEASES, "status" => status).absolute(0);
    }
    for reason in Shed::ALL {
        counter!(HTTP_SHED, "reason" => reason.label()).absolute(0);
    }
    for how in Rebuilt::ALL {
        counter!(REBUILDS, "how" => how.label()).absolute(0);
    }
    for level in Durability::ALL.into_iter().filter(|level| *level != Durability::Memory) {
        for outcome in ["reached", "unknown"] {
            counter!(LEVELS_AWAITED, "level" => level.as_str(), "outcome" => outcome).absolute(0);
        }
        drop(histogram!(LEVEL_SECONDS, "level" => level.as_str()));
    }
    // One that was asked for is shown, without a sample too.
    for name in [BATCH_SECONDS, BATCH_EVENTS, REBUILD_SECONDS, SURVEY_SECONDS, FEED_SECONDS] {
        drop(histogram!(name));
    }
    for name in [POOL_EXHAUSTED, REDIS_CONNECTS, EVENTS_WRITTEN, BATCH_FAILURES, DEAD_LETTERS, COLLISIONS, EXPIRED] {
        counter!(name).absolute(0);
    }
    counter!(FEED_EVENTS).absolute(0);
    for scope in FeedScope::ALL {
        gauge!(FEED_STREAMS, "scope" => scope.label()).set(0.0);
    }
    feed_restaurants(0);
    for name in [REOPENED, SERVED_COMPLETED, SKIPPED, RESTATED, RENUMBERED, LEDGER_FELL_BACK, REDIS_CLOCK_STEPS] {
        counter!(name).absolute(0);
    }
    survey_leader(false);
    for name in [HTTP_CONNECTIONS, HTTP_IN_FLIGHT, OUTBOX_ENTRIES, OUTBOX_LAG_SECONDS] {
        gauge!(name).set(0.0);
    }
    clocks_apart(["redis", "postgres", "daemon", "any"].map(|clock| (clock, Some(0))));
    for name in [MONTHS_AHEAD, DEAD_LETTERS_WAITING, WITHOUT_NUMBER] {
        gauge!(name).set(0.0);
    }
    screens(Some(ScreenCounts::default()));
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// An HTTP request was answered. `route` is the template, never the path.
pub(crate) fn http_answered(route: &str, method: &'static str, status: u16, elapsed: Duration) {
    handles::answered(route, method, status, elapsed);
}

/// A request that had to show an API key was judged.
pub(crate) fn authenticated(outcome: AuthOutcome) {
    handles::AUTHENTICATED[outcome as usize].increment(1);
}

/// Counts one thing in a gauge for as long as it is held.
#[derive(Debug)]
pub(crate) struct Counted(&'static Gauge);

impl Counted {
    fn of(gauge: &'static Gauge) -> Self {
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// A client's connection is open for as long as this is held.
pub(crate) fn connection_open() -> Counted {
    Counted::of(&handles::CONNECTIONS)
}

/// A request is worked on for as long as this is held.
pub(crate) fn request_in_flight() -> Counted {
    Counted::of(&handles::IN_FLIGHT)
}

/// A stream of a feed is open for as long as this is held.
pub(crate) fn feed_stream_open(scope: FeedScope) -> Counted {
    Counted::of(&handles::FEED_STREAMS[scope as usize])
}

/// Changes were told to the streams that watch them; the last of them happened so long ago.
pub(crate) fn feed_told(events: usize, late: Duration) {
    counter!(FEED_EVENTS).increment(events as u64);
    if events > 0 {
        histogram!(FEED_SECONDS).record(late);
    }
}

/// A stream has to begin anew.
pub(crate) fn feed_reset(reason: &'static str) {
    counter!(FEED_RESETS, "reason" => reason).increment(1);
}

/// How many restaurants are followed for streams.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn feed_restaurants(restaurants: usize) {
    gauge!(FEED_RESTAURANTS).set(restaurants as f64);
}

/// The reasons for which streams may have to begin anew, so that each is there before its first time.
pub(crate) fn feed_reset_reasons<'a>(reasons: impl IntoIterator<Item = &'a str>) {
    for reason in reasons {
        counter!(FEED_RESETS, "reason" => reason.to_owned()).absolute(0);
    }
}

/// Something was turned away because there was too much of it.
pub(crate) fn shed(reason: Shed) {
    counter!(HTTP_SHED, "reason" => reason.label()).increment(1);
}

/// The certificate that clients are shown ends then, in Unix time.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn certificate_expires(unix_seconds: i64) {
    gauge!(TLS_EXPIRES).set(unix_seconds as f64);
}

/// The codes that problems may have, so that each is there before its first problem.
pub(crate) fn problem_codes<'a>(codes: impl IntoIterator<Item = &'a str>) {
    for code in codes {
        counter!(HTTP_PROBLEMS, "code" => code.to_owned()).absolute(0);
    }
}

/// A request was answered with a problem.
pub(crate) fn problem(code: &'static str) {
    counter!(HTTP_PROBLEMS, "code" => code).increment(1);
}

/// How many screens are up to date, and how many are not; None where that cannot be said.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn screens(counts: Option<ScreenCounts>) {
    let all = |counts: ScreenCounts| [("fresh", counts.fresh), ("stale", counts.stale), ("gone", counts.gone)];
    for (freshness, count) in all(counts.unwrap_or_default()) {
        gauge!(SCREENS, "freshness" => freshness).set(counts.map_or(f64::NAN, |_| count as f64));
    }
}

/// A number was asked for.
pub(crate) fn allocation(outcome: AllocationOutcome) {
    handles::ALLOCATED[outcome as usize].increment(1);
    if matches!(outcome, AllocationOutcome::Exhausted) {
        handles::EXHAUSTED.increment(1);
    }
}

/// An order ended.
pub(crate) fn released(status: &'static str) {
    counter!(RELEASES, "status" => status).increment(1);
}

/// The rings of a restaurant began anew with its business date.
pub(crate) fn rings_reset() {
    counter!(RINGS_RESET).increment(1);
}

/// A rest was cut, since nothing else was free.
pub(crate) fn rest_cut() {
    counter!(RESTS_CUT).increment(1);
}

/// A number was passed over that could have been misheard.
pub(crate) fn pick_avoided() {
    counter!(PICKS_AVOIDED).increment(1);
}

/// A script call came back, or failed.
pub(crate) fn script_ran(script: &'static str, answered: bool, elapsed: Duration) {
    handles::called(script, answered, elapsed);
}

/// A connection for the hot path is being made.
pub(crate) fn redis_connecting() {
    counter!(REDIS_CONNECTS).increment(1);
}

/// The clock of a master was set.
pub(crate) fn redis_clock_stepped() {
    counter!(REDIS_CLOCK_STEPS).increment(1);
}

/// How far each of these clocks is from Redis's, in ms, and (`any`) those from each other that differ most; None where
/// that is not known.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn clocks_apart(clocks: impl IntoIterator<Item = (&'static str, Option<i64>)>) {
    for (clock, ms) in clocks {
        gauge!(CLOCKS_APART, "clock" => clock).set(ms.map_or(f64::NAN, |ms| ms as f64 / 1000.0));
    }
}

/// How many orders are remembered until the ledger has them, and for how many there is room.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn remembered(orders: usize, room: usize) {
    gauge!(REMEMBERED, "kind" => "used").set(orders as f64);
    gauge!(REMEMBERED, "kind" => "limit").set(room as f64);
}

/// How many orders that Redis lost wait for a number.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn orders_without_number(orders: usize) {
    gauge!(WITHOUT_NUMBER).set(orders as f64);
}

/// How full the fullest Redis server is, in bytes; `limit` is 0 where there is none.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn redis_memory(used: u64, limit: u64) {
    gauge!(REDIS_MEMORY, "kind" => "used").set(used as f64);
    gauge!(REDIS_MEMORY, "kind" => "limit").set(limit as f64);
}

/// How many connections to Postgres are open and in use, open and not in use, and may be open.
pub(crate) fn ledger_connections(busy: u32, idle: u32, limit: u32) {
    for (state, connections) in [("busy", busy), ("idle", idle), ("limit", limit)] {
        gauge!(LEDGER_CONNECTIONS, "state" => state).set(f64::from(connections));
    }
}

/// How many entries wait in dead_letters.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn dead_letters_waiting(entries: u64) {
    gauge!(DEAD_LETTERS_WAITING).set(entries as f64);
}

/// How many partitions are open, and how many closed.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn partitions(open: usize, closed: usize) {
    gauge!(PARTITIONS_OPEN).set(open as f64);
    gauge!(PARTITIONS_CLOSED).set(closed as f64);
}

/// Whether this daemon reports what the survey finds.
pub(crate) fn survey_leader(leads: bool) {
    gauge!(SURVEY_LEADER).set(if leads { 1.0 } else { 0.0 });
}

/// A survey of all restaurants is complete.
pub(crate) fn surveyed(elapsed: Duration) {
    histogram!(SURVEY_SECONDS).record(elapsed);
}

/// How far the ledger is behind; without a lag that one stays as it was.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn outbox(entries: u64, lag: Option<Duration>) {
    gauge!(OUTBOX_ENTRIES).set(entries as f64);
    if let Some(lag) = lag {
        gauge!(OUTBOX_LAG_SECONDS).set(lag.as_secs_f64());
    }
}

/// A write-behind transaction was committed.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn batch_written(events: usize, dead: usize, collisions: usize, elapsed: Duration) {
    histogram!(BATCH_SECONDS).record(elapsed);
    histogram!(BATCH_EVENTS).record(events as f64);
    counter!(EVENTS_WRITTEN).increment(events as u64);
    counter!(DEAD_LETTERS).increment(dead as u64);
    counter!(COLLISIONS).increment(collisions as u64);
}

/// A write-behind transaction failed and will be tried again.
pub(crate) fn batch_failed() {
    counter!(BATCH_FAILURES).increment(1);
}

/// How many months after this one have a place in the ledger.
pub(crate) fn months_ahead(months: i32) {
    gauge!(MONTHS_AHEAD).set(f64::from(months));
}

/// How many months have names to be folded anew.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn months_to_fold(months: usize) {
    gauge!(MONTHS_TO_FOLD).set(months as f64);
}

/// A partition has a new generation, and is open.
pub(crate) fn rebuilt(how: Rebuilt, elapsed: Duration) {
    counter!(REBUILDS, "how" => how.label()).increment(1);
    histogram!(REBUILD_SECONDS).record(elapsed);
}

/// Numbers rest that may have been given unseen.
pub(crate) fn numbers_skipped(numbers: u32) {
    counter!(SKIPPED).increment(numbers.into());
}

/// Orders that Redis had lost were said again.
pub(crate) fn restated(orders: u64) {
    counter!(RESTATED).increment(orders);
}

/// Two live orders had one number, and one was given a new one. This counts as a collision, too.
pub(crate) fn renumbered() {
    counter!(RENUMBERED).increment(1);
    counter!(COLLISIONS).increment(1);
}

/// The ledger was found behind what it had confirmed.
pub(crate) fn ledger_fell_back() {
    counter!(LEDGER_FELL_BACK).increment(1);
}

/// Clean-up expired orders.
pub(crate) fn expired(orders: usize) {
    counter!(EXPIRED).increment(orders as u64);
}

/// Clean-up completed orders that had been served for long enough.
pub(crate) fn served_completed(orders: usize) {
    counter!(SERVED_COMPLETED).increment(orders as u64);
}

/// An order was called, or was to be.
pub(crate) fn called(outcome: CallOutcome) {
    counter!(CALLS, "outcome" => outcome.label()).increment(1);
}

/// An order was reopened.
pub(crate) fn reopened() {
    counter!(REOPENED).increment(1);
}

/// A change waited for its durability level.
pub(crate) fn level_awaited(level: Durability, reached: bool, elapsed: Duration) {
    let outcome = if reached { "reached" } else { "unknown" };
    counter!(LEVELS_AWAITED, "level" => level.as_str(), "outcome" => outcome).increment(1);
    histogram!(LEVEL_SECONDS, "level" => level.as_str()).record(elapsed);
}

/// A background task was started: its series are there before its first run has ended.
pub(crate) fn task_started(task: &'static str) {
    for result in TaskResult::ALL {
        counter!(TASK_RUNS, "task" => task, "result" => result.as_str()).absolute(0);
    }
    for name in [TASK_AGE, TASK_SECONDS, TASK_FAILED] {
        gauge!(name, "task" => task).set(0.0);
    }
}

/// A run of a background task ended.
pub(crate) fn task_ended(task: &'static str, result: TaskResult, took: Duration) {
    counter!(TASK_RUNS, "task" => task, "result" => result.as_str()).increment(1);
    gauge!(TASK_SECONDS, "task" => task).set(took.as_secs_f64());
    gauge!(TASK_FAILED, "task" => task).set(if result == TaskResult::Failed { 1.0 } else { 0.0 });
}

/// How long ago tasks ended their last runs, just before that is rendered.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn task_ages(reports: Vec<TaskReport>) {
    for TaskReport { task, ago_ms, .. } in reports {
        gauge!(TASK_AGE, "task" => task).set(ago_ms as f64 / 1000.0);
    }
}
