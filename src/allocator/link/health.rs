//! What an operator wants to know of the servers.

use std::sync::Arc;

use redis::{FromRedisValue, InfoDict, Pipeline, Value};

use crate::{
    allocator::{Allocator, AllocatorError},
    domain::Timestamp,
};

/// The state of a Redis server, as far as it concerns the allocator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisHealth {
    /// Its version, as `INFO` has it, such as `7.0.15`; empty where it does not say. So for the other texts.
    pub version: String,
    /// Its clock, to the millisecond.
    pub now: Timestamp,
    /// `master`, or `slave`.
    pub role: String,
    /// Replicas that are connected to it.
    pub replicas: u32,
    /// How many of them must be in step for it to take writes; None where it does not say.
    pub min_replicas: Option<u32>,
    /// What it does when it is full.
    pub maxmemory_policy: String,
    /// Bytes that it may use; 0 for as many as there are.
    pub maxmemory: u64,
    /// Bytes that it uses.
    pub used_memory: u64,
    /// Whether it keeps an append-only file; None where it does not say.
    pub aof: Option<bool>,
    /// Whether the last write of that file went well.
    pub aof_ok: bool,
    /// Whether the last time that file was written anew went well.
    pub aof_rewrite_ok: bool,
    /// Whether the last snapshot went well.
    pub snapshot_ok: bool,
    /// Up to how many members it packs a sorted set into one piece of memory; None where it does not say.
    pub packed_rests: Option<u32>,
    /// How often it makes that file durable; None where it does not say.
    pub appendfsync: Option<String>,
}

/// One of the masters: where it is, and how it is, if it says so.
#[derive(Debug, Clone)]
pub struct ServerHealth {
    /// `host:port`, or the path of its socket.
    pub address: String,
    /// Its state, or why it gave none.
    pub health: Result<RedisHealth, AllocatorError>,
}

/// A fail-over could lose more than the durability level allows.
#[derive(Debug, thiserror::Error)]
pub enum Unsafe {
    /// A master takes writes that no replica has.
    #[error(
        "the Redis master at {address} takes writes that no replica has (min-replicas-to-write is 0): a fail-over would \
         give numbers twice; set `min-replicas-to-write 1` or more on all masters and replicas, or the durability level \
         `replica` or `ledger`"
    )]
    NoReplicas {
        /// `host:port`, or the path of its socket.
        address: String,
    },
    /// A master does not show its settings.
    #[error(
        "the Redis master at {address} does not show whether it waits for replicas (CONFIG is forbidden, and INFO does not \
         say): set `min-replicas-to-write 1` or more on all masters and replicas, or the durability level `replica` or \
         `ledger`"
    )]
    Unknown {
        /// `host:port`, or the path of its socket.
        address: String,
    },
    /// No master could be asked.
    #[error(transparent)]
    Unreachable(#[from] AllocatorError),
}

impl Allocator {
    /// Looks at every master.
    ///
    /// # Errors
    /// When it is not even known which they are.
    pub async fn health(&self) -> Result<Vec<ServerHealth>, AllocatorError> {
        let asked = self.connections.everywhere::<Vec<Value>>(&questions()).await?;
        let health =
            |(address, answer): (String, Result<_, _>)| ServerHealth { address, health: answer.and_then(read) };
        Ok(asked.into_iter().map(health).collect())
    }

    /// Takes note of how full the servers are, as they were looked at last, for [`Allocator::fullest`]. What a server that is
    /// unreachable would say stays unknown.
    pub(crate) fn recheck_memory(&self) {
        let used = self.connections.known_servers().filter_map(|server| server.seen()?.memory());
        // The one that is next to its limit; without limits, the largest.
        let fullest = used.max_by_key(|(used, limit)| (used.saturating_mul(1000).checked_div(*limit), *used));
        self.memory_used.store(Arc::new(fullest));
    }

    /// Of the server that is nearest to its `maxmemory`: how many bytes it uses, and how many it may (0: no limit). None
    /// where no server said so.
    #[must_use]
    pub(crate) fn fullest(&self) -> Option<(u64, u64)> {
        **self.memory_used.load()
    }

    /// Where the master may change, insists on replicas that have what was acknowledged, unless the durability level sees
    /// to that (`level_is_replicated`). Masters that are unreachable are not asked.
    ///
    /// # Errors
    /// With what to set.
    pub async fn check_topology(&self, level_is_replicated: bool) -> Result<(), Unsafe> {
        if !self.connections.fails_over() || level_is_replicated {
            return Ok(());
        }
        for ServerHealth { address, health } in self.health().await? {
            match health.map(|health| health.min_replicas) {
                Ok(Some(0)) => return Err(Unsafe::NoReplicas { address }),
                Ok(Some(_)) => {}
                Ok(None) => return Err(Unsafe::Unknown { address }),
                Err(error) => tracing::warn!(address, %error, "a Redis master cannot be checked"),
            }
        }
        Ok(())
    }
}

/// Managed servers often forbid CONFIG: its answers may be errors.
fn questions() -> Pipeline {
    let mut questions = redis::pipe();
    questions.ignore_errors();
    questions.cmd("INFO").cmd("TIME");
    questions.cmd("CONFIG").arg("GET").arg("appendfsync");
    questions.cmd("CONFIG").arg("GET").arg("min-replicas-*");
    questions.cmd("CONFIG").arg("GET").arg("zset-max-listpack-entries");
    questions
}

fn read(answers: Vec<Value>) -> Result<RedisHealth, AllocatorError> {
    let bug = |e: redis::ParsingError| AllocatorError::Bug(e.to_string());
    let [info, time, appendfsync, min_replicas, packed_rests]: [Value; 5] =
        answers.try_into().map_err(|_| AllocatorError::Bug("five questions, but not five answers".to_owned()))?;
    let info = InfoDict::from_redis_value(info.extract_error()?).map_err(bug)?;
    let (seconds, micros) = <(i64, i64)>::from_redis_value(time.extract_error()?).map_err(bug)?;
    let text = |name: &str| info.get::<String>(name).unwrap_or_default();
    let bytes = |name: &str| info.get::<u64>(name).unwrap_or_default();
    Ok(RedisHealth {
        version: text("redis_version"),
        now: Timestamp::from_unix_ms(seconds * 1000 + micros / 1000),
        role: info.get("role").unwrap_or_else(|| "server of unknown role".to_owned()),
        replicas: info.get("connected_slaves").unwrap_or_default(),
        min_replicas: min_replicas_of(settings(min_replicas), &info),
        maxmemory_policy: text("maxmemory_policy"),
        maxmemory: bytes("maxmemory"),
        used_memory: bytes("used_memory"),
        aof: info.get::<String>("aof_enabled").map(|enabled| enabled == "1"),
        aof_ok: text("aof_last_write_status") != "err",
        aof_rewrite_ok: text("aof_last_bgrewrite_status") != "err",
        snapshot_ok: text("rdb_last_bgsave_status") != "err",
        packed_rests: settings(packed_rests).into_iter().flatten().next().and_then(|(_, value)| value.parse().ok()),
        appendfsync: settings(appendfsync).into_iter().flatten().next().map(|(_, value)| value),
    })
}

/// What CONFIG GET answered: names and values; None where it is forbidden.
fn settings(answer: Value) -> Option<Vec<(String, String)>> {
    Vec::from_redis_value(answer.extract_error().ok()?).ok()
}

/// The replicas that must be in step. A lag of 0 switches the rule off; INFO counts them only while it is on.
fn min_replicas_of(settings: Option<Vec<(String, String)>>, info: &InfoDict) -> Option<u32> {
    let Some(settings) = settings else { return info.get::<u32>("min_slaves_good_slaves").map(|_| 1) };
    let number =
        |name: &str| settings.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.parse::<u32>().ok());
    match number("min-replicas-max-lag") {
        Some(0) => Some(0),
        _ => number("min-replicas-to-write"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn looked_at(info: &str, config: bool) -> RedisHealth {
        let time = Value::Array(vec![text("1800000000"), text("5000")]);
        let setting = |name: &str, value: &str| match config {
            true => Value::Array(vec![text(name), text(value)]),
            false => Value::Nil,
        };
        let answers = vec![
            text(info),
            time,
            setting("appendfsync", "always"),
            setting("min-replicas-to-write", "2"),
            setting("zset-max-listpack-entries", "128"),
        ];
        read(answers).expect("five answers")
    }

    #[test]
    fn what_a_service_leaves_out_is_unknown() {
        let bare = looked_at("run_id:a", false);
        assert_eq!((bare.aof, bare.aof_ok, bare.aof_rewrite_ok, bare.snapshot_ok), (None, true, true, true));
        assert_eq!((bare.min_replicas, bare.appendfsync, bare.maxmemory, bare.replicas), (None, None, 0, 0));
        assert_eq!((&*bare.version, &*bare.maxmemory_policy), ("", ""));
        let whole = looked_at("aof_enabled:0\naof_last_write_status:err\nconnected_slaves:1\nrole:master", true);
        assert_eq!((whole.aof, whole.aof_ok, whole.replicas, &*whole.role), (Some(false), false, 1, "master"));
        assert_eq!((whole.min_replicas, whole.appendfsync.as_deref()), (Some(2), Some("always")));
        assert_eq!((bare.packed_rests, whole.packed_rests), (None, Some(128)));
    }
}
