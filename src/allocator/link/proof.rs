//! What a server must show before a connection to it is used, and who it is.

use redis::{ErrorKind, InfoDict, RedisError, aio::MultiplexedConnection};

use super::clock::Clock;
use crate::{
    allocator::{RunId, script},
    clock::boot_us,
};

/// What tells a server from others, and a master from a replica.
pub(in crate::allocator) struct Identity {
    server: InfoDict,
    replication: InfoDict,
    /// Bytes used and allowed (0: no limit); None where that was not asked.
    memory: Option<(u64, u64)>,
}

impl Identity {
    pub(in crate::allocator) async fn ask(connection: &mut MultiplexedConnection) -> Result<Self, RedisError> {
        let mut reads = redis::pipe();
        reads.cmd("INFO").arg("server").cmd("INFO").arg("replication");
        let (server, replication) = reads.query_async(connection).await?;
        Ok(Self { server, replication, memory: None })
    }

    /// As [`Identity::ask`], with how full it is, and sets the clock.
    pub(super) async fn ask_and_tell(
        connection: &mut MultiplexedConnection,
        clock: &Clock,
    ) -> Result<Self, RedisError> {
        let mut reads = redis::pipe();
        reads.cmd("INFO").arg("server").arg("replication").arg("memory").cmd("TIME");
        let asked_us = boot_us();
        let (info, time): (InfoDict, _) = reads.query_async(connection).await?;
        clock.told(asked_us, time);
        let used = info.get::<u64>("used_memory");
        let memory = used.map(|used| (used, info.get::<u64>("maxmemory").unwrap_or_default()));
        Ok(Self { server: info.clone(), replication: info, memory })
    }

    pub(in crate::allocator) fn run_id(&self) -> RunId {
        RunId::new(&text(&self.server, "run_id"), &text(&self.replication, "master_replid2"))
    }

    pub(in crate::allocator) fn memory(&self) -> Option<(u64, u64)> {
        self.memory
    }

    pub(super) fn is_master(&self) -> bool {
        text(&self.replication, "role") == "master"
    }
}

/// It is a master, keeps what it is given, and knows the scripts. Its clock is set by it, too.
pub(in crate::allocator) async fn prove(
    connection: &mut MultiplexedConnection,
    clock: &Clock,
) -> Result<(), RedisError> {
    let info: InfoDict = redis::cmd("INFO").query_async(connection).await?;
    let version = text(&info, "redis_version");
    if version.split('.').next().and_then(|major| major.parse::<u32>().ok()).unwrap_or(0) < 7 {
        return Err(unfit(format!("Redis is version {version}, 7.0 or newer is needed: upgrade it")));
    }
    if text(&info, "role") != "master" {
        return Err(replica());
    }
    let policy = text(&info, "maxmemory_policy");
    if policy != "noeviction" {
        let advice = "set `maxmemory-policy noeviction`, or orders are lost";
        return Err(unfit(format!("Redis evicts keys ({policy}): {advice}")));
    }
    // All at once: a server that is far away has them after one round trip.
    let mut loads = redis::pipe();
    for script in script::all() {
        loads.add_command(script.load()).ignore();
    }
    loads.exec_async(connection).await?;
    let asked_us = boot_us();
    clock.told(asked_us, redis::cmd("TIME").query_async(connection).await?);
    Ok(())
}

/// A server that proved itself once, and may have been demoted since.
pub(super) async fn still_master(connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
    if Identity::ask(connection).await?.is_master() { Ok(()) } else { Err(replica()) }
}

fn text(info: &InfoDict, name: &str) -> String {
    info.get(name).unwrap_or_default()
}

fn replica() -> RedisError {
    unfit("Redis is a replica: point redis_url at the master".to_owned())
}

fn unfit(why: String) -> RedisError {
    RedisError::from((ErrorKind::InvalidClientConfig, "unfit server", why))
}
