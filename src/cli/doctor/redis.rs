//! The Redis servers: each by itself, and against what the settings ask of it.

use super::{Report, clocks};
use crate::{
    app::Stores,
    config::Settings,
    domain::Durability,
    service::{AllocatorError, RedisHealth, ServerHealth},
};

/// The part of `maxmemory` from which on Redis is nearly full.
const NEARLY_FULL: f64 = 0.8;

pub(super) async fn examine(report: &mut Report, stores: &Stores, settings: &Settings) -> Result<(), AllocatorError> {
    let servers = stores.service.operations.redis_health().await?;
    let level = settings.durability.level;
    // A server that gives no answer is reported for that.
    let faults = stores.service.operations.level_faults(level).await;
    for server in servers {
        look_at(report, &server, settings, faults.is_empty());
    }
    topology(report, stores, settings).await;
    for reason in &faults {
        report.wrong(
            &format!("durability.level {level} cannot be given: {reason}"),
            "or choose another level: until then `nowserving serve` does not start",
        );
    }
    if faults.is_empty() && level != Durability::Ledger {
        report.good(format!("durability.level {level} can be given"));
    }
    Ok(())
}

fn look_at(report: &mut Report, server: &ServerHealth, settings: &Settings, gives_level: bool) {
    match &server.health {
        Ok(redis) => {
            // An unfit server (replica, too old, evicting) is refused before it comes to this.
            let (version, role, policy) = (&redis.version, &redis.role, &redis.maxmemory_policy);
            let address = &server.address;
            if policy.is_empty() {
                report.note(
                    &format!("Redis {version} at {address} is a {role}, and does not say what it does when it is full"),
                    "see in the settings of that service that its maxmemory-policy is noeviction, or orders are lost",
                );
            } else {
                report.good(format!("Redis {version} at {address} is a {role} with maxmemory-policy {policy}"));
            }
            memory(report, redis);
            packed_rests(report, redis);
            replicas(report, redis, settings, gives_level);
            append_only_file(report, redis);
            snapshots(report, redis);
            clocks(report, "Redis", redis.now);
        }
        Err(error) => report.wrong(
            &format!("the Redis master at {} gives no usable answer: {error}", server.address),
            "see that it runs, or that one of its replicas takes its place: its partitions get 503",
        ),
    }
}

fn memory(report: &mut Report, redis: &RedisHealth) {
    #[expect(clippy::cast_precision_loss, reason = "a share of memory")]
    let used = redis.used_memory as f64 / redis.maxmemory.max(1) as f64;
    let limit = if redis.maxmemory == 0 { "no maxmemory".to_owned() } else { format!("{:.0} %", used * 100.0) };
    report.check(
        redis.maxmemory == 0 || used < NEARLY_FULL,
        format!("Redis uses {} MiB of memory ({limit})", redis.used_memory >> 20),
        &format!("Redis uses {:.0} % of its maxmemory", used * 100.0),
        "raise maxmemory, or see why the outbox does not drain: a full Redis takes no new orders",
    );
}

/// Resting numbers that a server packs.
const PACKED_RESTS: u32 = 512;

fn packed_rests(report: &mut Report, redis: &RedisHealth) {
    if let Some(entries) = redis.packed_rests.filter(|entries| *entries < PACKED_RESTS) {
        report.note(
            &format!("Redis packs sorted sets of up to {entries} members only (zset-max-listpack-entries)"),
            "set `zset-max-listpack-entries 512`: the resting numbers of a busy restaurant take a sixth of the memory then",
        );
    }
}

fn replicas(report: &mut Report, redis: &RedisHealth, settings: &Settings, gives_level: bool) {
    let (connected, min) = (redis.replicas, redis.min_replicas.unwrap_or(0));
    let needed = settings.durability.replicas;
    if connected < min {
        report.wrong(
            &format!("Redis takes no changes: it has {connected} replicas, and min-replicas-to-write is {min}"),
            "bring the replicas back",
        );
    } else if settings.durability.level == Durability::Replica && gives_level && connected < needed {
        report.wrong(
            &format!("Redis has {connected} replicas, and durability.level replica waits for {needed} of them"),
            "bring the replicas back: until then changes are answered with durability_unknown",
        );
    } else if connected > 0 {
        let min = redis.min_replicas.map_or("unknown".to_owned(), |min| min.to_string());
        report.good(format!("Redis has {connected} replicas (min-replicas-to-write {min})"));
    }
}

fn append_only_file(report: &mut Report, redis: &RedisHealth) {
    let appendfsync = redis.appendfsync.as_deref().unwrap_or("unknown");
    let Some(is_kept) = redis.aof else {
        return report.note(
            "Redis does not say whether it keeps an append-only file",
            "see in the settings of that service that it keeps one: without it, a restart loses orders that the ledger does \
             not have yet",
        );
    };
    report.check(
        is_kept,
        format!("Redis keeps an append-only file (appendfsync {appendfsync})"),
        "Redis keeps no append-only file: a restart loses orders that the ledger does not have yet",
        "set `appendonly yes`",
    );
    if !is_kept {
        return;
    }
    if appendfsync == "no" {
        report.note(
            "Redis leaves it to its system when changes go to disk: a power loss may cost half a minute of them",
            "set `appendfsync everysec` or `always`",
        );
    }
    report.check(
        redis.aof_ok,
        "the append-only file is written",
        "Redis could not write its append-only file",
        "look at the disk of the Redis server: it may be full",
    );
    if !redis.aof_rewrite_ok {
        report.wrong(
            "Redis could not write its append-only file anew: it grows, and is slow to read back",
            "look at the log of the Redis server: its disk may be full, or fork may want `vm.overcommit_memory = 1`",
        );
    }
}

fn snapshots(report: &mut Report, redis: &RedisHealth) {
    if !redis.snapshot_ok {
        report.wrong(
            "Redis could not save its last snapshot, and may refuse all changes for it (stop-writes-on-bgsave-error)",
            "look at the log of the Redis server: its disk may be full, or fork may want `vm.overcommit_memory = 1`; \
             where it has an append-only file, it needs no snapshots (`save \"\"`)",
        );
    }
}

/// Where the master may change, acknowledged changes must be on replicas.
async fn topology(report: &mut Report, stores: &Stores, settings: &Settings) {
    let replicated = settings.durability.level >= Durability::Replica;
    if let Some(fault) = stores.service.operations.topology_fault(replicated).await {
        report.wrong(&fault, "until then `nowserving serve` does not start");
    }
}
