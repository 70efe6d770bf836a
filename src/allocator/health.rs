//! What an operator wants to know of the server.

use redis::InfoDict;

use super::{Allocator, AllocatorError};
use crate::domain::{PartitionId, Timestamp};

/// The state of the Redis server, as far as it concerns the allocator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisHealth {
    /// Its version.
    pub version: String,
    /// Its clock.
    pub now: Timestamp,
    /// What it does when it is full.
    pub maxmemory_policy: String,
    /// Bytes that it may use; 0 for as many as there are.
    pub maxmemory: u64,
    /// Bytes that it uses.
    pub used_memory: u64,
    /// Whether it keeps an append-only file.
    pub aof: bool,
    /// Whether the last write of that file went well.
    pub aof_ok: bool,
    /// How often it makes that file durable; None where it does not say.
    pub appendfsync: Option<String>,
}

impl Allocator {
    /// Looks at the server.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn health(&self) -> Result<RedisHealth, AllocatorError> {
        let info: InfoDict = self.connections.send(PartitionId::new(0), &redis::cmd("INFO")).await?;
        let (seconds, micros): (i64, i64) = self.connections.send(PartitionId::new(0), &redis::cmd("TIME")).await?;
        // Managed servers often forbid CONFIG.
        let mut config = redis::cmd("CONFIG");
        config.arg("GET").arg("appendfsync");
        let appendfsync: Option<(String, String)> =
            self.connections.send(PartitionId::new(0), &config).await.unwrap_or_default();
        let text = |name: &str| info.get::<String>(name).unwrap_or_default();
        let bytes = |name: &str| info.get::<u64>(name).unwrap_or_default();
        Ok(RedisHealth {
            version: text("redis_version"),
            now: Timestamp::from_unix_ms(seconds * 1000 + micros / 1000),
            maxmemory_policy: text("maxmemory_policy"),
            maxmemory: bytes("maxmemory"),
            used_memory: bytes("used_memory"),
            aof: text("aof_enabled") == "1",
            aof_ok: text("aof_last_write_status") == "ok",
            appendfsync: appendfsync.map(|(_, value)| value),
        })
    }
}
