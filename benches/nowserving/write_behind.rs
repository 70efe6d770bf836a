//! The way from Redis into the ledger: how many events a second go, and how long each is under way.
//!
//! The orders live through the library (see `lives`). A backlog is made while no daemon writes; then one starts that
//! does, and the ledger is watched until it has everything. Its rate counts from the moment the daemon listens, the
//! time to drain from the start of its process.
//!
//! The lag of an event is the time from its change in Redis, by Redis's clock, until the ledger says that it has it.
//! The ledger is asked every 10 ms, which counts as lag.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use nowserving::{domain::Timestamp, ledger::Ledger};

use crate::{
    Plan,
    deployment::Deployment,
    lives::{Change, EVENTS, Lives},
    plain_events::PlainEvents,
    report::{Bound, Figure, Reference, Report, Target},
    rounds::Spread,
    support::{Daemon, DaemonOptions},
};

pub const GROUP: &str = "write_behind";
/// The figure that the model looks up.
pub const DRAINED: &str = "events/s drained";

/// Connections of the plain inserts.
const PLAIN_CONNECTIONS: usize = 8;
/// How often the ledger is asked how far it is.
const EVERY: Duration = Duration::from_millis(10);
/// Longer than any backlog takes that is made here.
const PATIENCE: Duration = Duration::from_mins(5);
/// Orders a second of the lag.
const RATE: f64 = 5000.0;

pub async fn measure(plan: &Plan, report: &mut Report) {
    // The daemon that is always there leaves the writing to others, which come and go.
    let deployment = Deployment::start(&[("NOWSERVING_WRITE_BEHIND_ENABLED", "false")]).await;
    let writing = deployment.options.clone().with("NOWSERVING_WRITE_BEHIND_ENABLED", "true");
    let plain = PlainEvents::create(&deployment.postgres).await;
    let lives = Lives::join(&deployment.options, plan).await;
    drain_once(&lives, &writing).await;
    drain(plan, report, &lives, &writing, &plain).await;
    lag(plan, report, &lives, &writing, &plain).await;
}

async fn drain(plan: &Plan, report: &mut Report, lives: &Lives, writing: &DaemonOptions, plain: &PlainEvents) {
    let (rounds, events) = (3, plan.size(60_000, 1_000_000));
    let time = Duration::from_secs(plan.size(2, 5));
    let [mut rates, mut times, mut one_by_one, mut in_bulk] = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        lives.live(events / EVENTS, None, |_| ()).await;
        let drained = drain_once(lives, writing).await;
        rates.push(drained.per_second);
        times.push(drained.took.as_secs_f64());
        one_by_one.push(plain.one_by_one(PLAIN_CONNECTIONS, time).await.per_second());
        in_bulk.push(plain.in_bulk(time).await.per_second());
    }
    let [rate, time, one_by_one, in_bulk] = [rates, times, one_by_one, in_bulk].map(Spread::of);

    let mut add = |name: &str, unit, value, reference: &str, beside, target| {
        let reference = Reference { name: reference.to_owned(), value: beside };
        report.figure(Figure { group: GROUP, name: name.to_owned(), unit, value, reference, target, by_round: None });
    };
    let plainly = "plain INSERT, one a commit, 8 connections";
    add(DRAINED, "/s", rate, plainly, one_by_one, Target::value(Bound::AtLeast(25_000.0)));
    add(DRAINED, "/s", rate, "INSERT of 1,000 rows, no index", in_bulk, None);
    let backlog = plan.size("time to drain a backlog of 60,000 events", "time to drain a backlog of a million events");
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let events = events as f64;
    let would_take = Spread::of([one_by_one.min, one_by_one.median, one_by_one.max].map(|rate| events / rate));
    add(backlog, "s", time, "as plain INSERTs", would_take, None);
}

/// How fast a backlog went.
struct Drained {
    per_second: f64,
    took: Duration,
}

/// Starts a daemon that writes, and ends it when all is written.
async fn drain_once(lives: &Lives, writing: &DaemonOptions) -> Drained {
    let started = Instant::now();
    let writer = Daemon::start(writing);
    let (listening, before) = (Instant::now(), lives.written().await);
    lives.durable(PATIENCE).await;
    let (took, since) = (started.elapsed(), listening.elapsed());
    let written = lives.made() - before;
    let (status, output) = writer.terminate();
    assert!(status.success(), "{status}: {output}");
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    Drained { per_second: written as f64 / since.as_secs_f64(), took }
}

async fn lag(plan: &Plan, report: &mut Report, lives: &Lives, writing: &DaemonOptions, plain: &PlainEvents) {
    let (rounds, seconds) = (3, plan.size(5, 30));
    let writer = Daemon::start(writing);
    let [mut p50, mut p99, mut commit_p50, mut commit_p99, mut rates] = [const { Vec::new() }; 5];
    for _ in 0..rounds {
        let round = lag_once(lives, plain, seconds).await;
        for (milliseconds, histogram, quantile) in [
            (&mut p50, &round.lags, 0.5),
            (&mut p99, &round.lags, 0.99),
            (&mut commit_p50, &round.commits, 0.5),
            (&mut commit_p99, &round.commits, 0.99),
        ] {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            milliseconds.push(histogram.value_at_quantile(quantile) as f64 / 1000.0);
        }
        rates.push(round.per_second);
    }
    drop(writer);
    let [p50, p99, commit_p50, commit_p99, rate] = [p50, p99, commit_p50, commit_p99, rates].map(Spread::of);

    let mut add = |name: &str, unit, value, reference: &str, beside, target| {
        let reference = Reference { name: reference.to_owned(), value: beside };
        report.figure(Figure { group: GROUP, name: name.to_owned(), unit, value, reference, target, by_round: None });
    };
    add("lag at 5,000 orders/s, p50", "ms", p50, "INSERT and commit of a row, p50", commit_p50, None);
    let target = Target::value(Bound::AtMost(250.0));
    add("lag at 5,000 orders/s, p99", "ms", p99, "INSERT and commit of a row, p99", commit_p99, target);
    add("orders/s that the lag was measured at", "/s", rate, "asked for", Spread::once(RATE), None);
    report.note(
        GROUP,
        format!(
            "Lag: whole lives of four events, {:.0} orders a second of {RATE:.0} that were asked for, through \
             the library; a rate below what was asked for says that the machine was too small for load and \
             daemon together.",
            rate.median
        ),
    );
}

/// What one round of the lag found, in µs.
struct Lagged {
    lags: Histogram<u64>,
    commits: Histogram<u64>,
    per_second: f64,
}

async fn lag_once(lives: &Lives, plain: &PlainEvents, seconds: usize) -> Lagged {
    let partitions = usize::from(lives.allocator().partition_count());
    let waiting: Arc<Waiting> = Arc::new((0..partitions).map(|_| Mutex::default()).collect());
    let over = Arc::new(AtomicBool::new(false));
    let (ledger, watched, until) = (lives.ledger().clone(), Arc::clone(&waiting), Arc::clone(&over));
    let watching = tokio::spawn(async move { watch(&ledger, &watched, &until).await });
    let (inserting, until) = (plain.clone(), Arc::clone(&over));
    let committing = tokio::spawn(async move { inserting.commits(&until).await });

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
    let orders = seconds * RATE as usize;
    let add = move |change: Change| {
        let mut changes = waiting[change.partition.index()].lock().expect("no holder panics");
        changes.insert(change.sequence, change.at);
    };
    let per_second = lives.live(orders, Some(RATE), add).await;
    over.store(true, Relaxed);
    let (lags, commits) = (watching.await.expect("it ends well"), committing.await.expect("it ends well"));
    Lagged { lags, commits, per_second }
}

/// The changes of each partition that the ledger is not known to have: when each was made, by its sequence.
type Waiting = Vec<Mutex<BTreeMap<u64, Timestamp>>>;

/// Asks the ledger how far it is until the load is over and all is written: µs that each change was under way.
async fn watch(ledger: &Ledger, waiting: &Waiting, over: &AtomicBool) -> Histogram<u64> {
    let mut micros = Histogram::new(3).expect("three digits");
    let mut last_written = Instant::now();
    loop {
        tokio::time::sleep(EVERY).await;
        // Looked at before the ledger is: nothing is added after it.
        let was_over = over.load(Relaxed);
        let progress = ledger.progress().await.expect("Postgres answers");
        let now = chrono::Utc::now().timestamp_micros();
        let mut left = 0;
        for position in progress {
            let mut changes = waiting[position.partition.index()].lock().expect("no holder panics");
            while let Some(change) = changes.first_entry().filter(|change| *change.key() <= position.sequence) {
                let at = change.remove();
                let lag = u64::try_from(now - at.unix_ms() * 1000).unwrap_or_default();
                micros.record(lag).expect("it grows as it must");
                last_written = Instant::now();
            }
            left += changes.len();
        }
        if was_over && left == 0 {
            return micros;
        }
        assert!(last_written.elapsed() < PATIENCE, "the ledger stands still");
    }
}
