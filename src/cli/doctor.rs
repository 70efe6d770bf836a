//! `nowserving doctor`: looks at everything that the service stands on, and says what to do about what is wrong.

use std::{process::ExitCode, time::Duration};

use chrono::Utc;

use super::{FOUND_SOMETHING, stores::Stores};
use crate::{
    allocator::{AllocatorError, RedisHealth, ServerHealth},
    config::Settings,
    domain::Timestamp,
    ledger::{LedgerError, LedgerHealth, Progress},
};

/// Clocks that differ by more than this make logs and events hard to read together. Numbers do not depend on it.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);

/// The part of `maxmemory` from which on Redis is nearly full.
const NEARLY_FULL: f64 = 0.8;

/// What was found, in the order in which it was looked at.
#[derive(Default)]
struct Report {
    lines: Vec<String>,
    wrong: usize,
    /// Whether neither server could be looked at.
    nothing_seen: bool,
}

impl Report {
    fn good(&mut self, what: impl Into<String>) {
        self.lines.push(format!("ok     {}", what.into()));
    }

    fn wrong(&mut self, what: &str, advice: &str) {
        self.lines.push(format!("WRONG  {what}\n       → {advice}"));
        self.wrong += 1;
    }

    fn check(&mut self, is_good: bool, good: impl Into<String>, wrong: &str, advice: &str) {
        if is_good { self.good(good) } else { self.wrong(wrong, advice) }
    }
}

pub(super) async fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    let stores = Stores::find_or_start_unchecked(settings, "doctor").await?;
    let report = examine(&stores, settings).await;
    stores.close().await;
    for line in &report.lines {
        println!("{line}");
    }
    anyhow::ensure!(!report.nothing_seen, "neither server can be used: nothing else could be looked at");
    Ok(if report.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(FOUND_SOMETHING) })
}

/// Looks at each server by itself: what is wrong with one must not hide the other. What needs both comes last.
async fn examine(stores: &Stores, settings: &Settings) -> Report {
    let mut report = Report::default();
    let redis = examine_redis(&mut report, stores).await;
    if let Err(error) = &redis {
        let what = format!("the Redis at {} cannot be used: {error}", settings.redis_url.masked());
        report.wrong(&what, "check redis_url (NOWSERVING_REDIS_URL) and that the server runs");
    }
    let ledger = examine_ledger(&mut report, stores).await;
    if let Err(error) = &ledger {
        let what = format!("the database at {} cannot be used: {error}", settings.database_url.masked());
        report.wrong(&what, error.advice());
    }
    report.nothing_seen = redis.is_err() && matches!(ledger, Err(LedgerError::Away { .. }));
    if redis.is_ok()
        && let Ok(Tables::UpToDate) = ledger
        && let Err(error) = partitions(&mut report, stores).await
    {
        report.wrong(&format!("the partitions cannot be looked at: {error:#}"), "look again");
    }
    report
}

async fn examine_redis(report: &mut Report, stores: &Stores) -> Result<(), AllocatorError> {
    let allocator = stores.service.allocator();
    // Also says whether it is a server that may be used.
    allocator.ping().await?;
    for server in allocator.health().await? {
        redis_server(report, &server);
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tables {
    UpToDate,
    Old,
}

async fn examine_ledger(report: &mut Report, stores: &Stores) -> Result<Tables, LedgerError> {
    let ledger = stores.service.ledger();
    ledger.check().await?;
    let pending = ledger.pending_migrations().await?;
    if !pending.is_empty() {
        report.wrong(
            &format!("the ledger's tables are not up to date: {}", pending.join(", ")),
            "run `nowserving migrate`, then look again",
        );
        return Ok(Tables::Old);
    }
    report.good("the ledger's tables are up to date");
    let health = ledger.health().await?;
    ledger_server(report, &health);
    clocks(report, "Postgres", health.now);
    let deployment = ledger.deployment(stores.service.allocator().partition_count()).await?;
    report.good(format!("deployment {} with {} partitions", deployment.id, deployment.partitions));
    Ok(Tables::UpToDate)
}

fn redis_server(report: &mut Report, server: &ServerHealth) {
    match &server.health {
        Ok(redis) => {
            redis_role(report, &server.address, redis);
            redis_persistence(report, redis);
            clocks(report, "Redis", redis.now);
        }
        Err(error) => report.wrong(
            &format!("the Redis master at {} gives no usable answer: {error}", server.address),
            "see that it runs, or that one of its replicas takes its place: its partitions get 503",
        ),
    }
}

fn redis_role(report: &mut Report, address: &str, redis: &RedisHealth) {
    // An unfit server (replica, too old, evicting) is refused before it comes to this.
    let (version, role, policy) = (&redis.version, &redis.role, &redis.maxmemory_policy);
    report.good(format!("Redis {version} at {address} is a {role} with maxmemory-policy {policy}"));
    if redis.replicas > 0 || redis.min_replicas.is_some_and(|min| min > 0) {
        let min = redis.min_replicas.map_or("unknown".to_owned(), |min| min.to_string());
        report.good(format!("Redis has {} replicas (min-replicas-to-write {min})", redis.replicas));
    }
    #[expect(clippy::cast_precision_loss, reason = "a share of memory")]
    let used = redis.used_memory as f64 / redis.maxmemory.max(1) as f64;
    report.check(
        redis.maxmemory == 0 || used < NEARLY_FULL,
        format!("Redis uses {} MiB of memory", redis.used_memory >> 20),
        &format!("Redis uses {:.0} % of its maxmemory", used * 100.0),
        "raise maxmemory, or see why the outbox does not drain: a full Redis takes no new orders",
    );
}

fn redis_persistence(report: &mut Report, redis: &RedisHealth) {
    report.check(
        redis.aof,
        format!("Redis keeps an append-only file (appendfsync {})", redis.appendfsync.as_deref().unwrap_or("unknown")),
        "Redis keeps no append-only file: a restart loses orders that the ledger does not have yet",
        "set `appendonly yes`",
    );
    if redis.aof {
        report.check(
            redis.aof_ok,
            "the append-only file is written",
            "Redis could not write its append-only file",
            "look at the disk of the Redis server: it may be full",
        );
    }
}

fn clocks(report: &mut Report, server: &str, theirs: Timestamp) {
    let apart_ms = (theirs.unix_ms() - Timestamp::from(Utc::now()).unix_ms()).unsigned_abs();
    report.check(
        u128::from(apart_ms) <= CLOCK_TOLERANCE.as_millis(),
        format!("the clock of {server} agrees with this machine's"),
        &format!("the clock of {server} is {apart_ms} ms apart from this machine's"),
        "run an NTP client on both; numbers stay right meanwhile, since Redis's clock is the one that counts",
    );
}

fn ledger_server(report: &mut Report, health: &LedgerHealth) {
    report.good(format!("Postgres {}", health.version));
    report.check(
        health.fsync && health.synchronous_commit != "off",
        "Postgres makes commits durable",
        &format!(
            "Postgres runs with fsync {} and synchronous_commit {}",
            on_off(health.fsync),
            health.synchronous_commit
        ),
        "set `fsync = on` and `synchronous_commit = on`: what the ledger confirms is deleted from Redis",
    );
    report.check(
        health.missing_months == 0,
        "the months ahead exist in the ledger",
        &format!("{} of the coming 12 months have no partition in the ledger", health.missing_months),
        "let a daemon run (`nowserving serve`): it makes them within a minute",
    );
    report.check(
        health.dead_letters == 0,
        "no dead letters",
        &format!("{} entries wait in dead_letters: they are not in orders or order_events", health.dead_letters),
        "see why with `nowserving dead-letters list`; then retry or drop them",
    );
}

fn on_off(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

async fn partitions(report: &mut Report, stores: &Stores) -> anyhow::Result<()> {
    let service = &stores.service;
    service.open_partitions().await?;
    let closed = service.allocator().closed_partitions();
    for closed in &closed {
        report.wrong(&closed.to_string(), "its restaurants get 503; see \"Recovery\" in the README");
    }
    if closed.is_empty() {
        report.good(format!("all {} partitions are open", service.allocator().partition_count()));
    }
    let recorded: Vec<Progress> = service.ledger().progress().await?;
    let heads = service.allocator().heads().await;
    let behind: u64 = recorded
        .iter()
        .filter_map(|progress| {
            let head = heads.get(progress.partition.index())?.as_ref().ok()?.head.as_ref()?;
            Some(head.sequence.saturating_sub(progress.sequence))
        })
        .sum();
    let writers = recorded.iter().filter(|progress| progress.writer.is_some()).count();
    report.check(
        behind == 0 || writers > 0,
        format!("the ledger is {behind} events behind"),
        &format!("{behind} events wait in Redis, and no daemon is writing them"),
        "run `nowserving serve` with write_behind.enabled = true",
    );
    Ok(())
}
