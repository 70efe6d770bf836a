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
        run_id(&self.server, &self.replication)
    }

    pub(in crate::allocator) fn memory(&self) -> Option<(u64, u64)> {
        self.memory
    }

    pub(super) fn is_master(&self) -> bool {
        is_master(&self.replication)
    }
}

/// Which process a server is, by these sections of its `INFO`. One that keeps that to itself is told by the name of its
/// data, which a restart changes, too.
pub(in crate::allocator) fn run_id(server: &InfoDict, replication: &InfoDict) -> RunId {
    let process: Option<String> = server.get("run_id").or_else(|| replication.get("master_replid"));
    RunId::new(&process.unwrap_or_default(), &text(replication, "master_replid2"))
}

/// A server that leaves it out shows what it is at the first write.
fn is_master(replication: &InfoDict) -> bool {
    replication.get::<String>("role").is_none_or(|role| role == "master")
}

/// Whether a server may be used, by its whole `INFO`; if not, why, and what to do. Services leave things out: what is not
/// said speaks against no server. An older one does not take the scripts.
fn judge(info: &InfoDict) -> Result<(), String> {
    let said = |name: &str| info.get::<String>(name);
    let major = |version: &str| version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if let Some(version) = said("redis_version").filter(|version| major(version).is_some_and(|major| major < 7)) {
        return Err(format!("Redis is version {version}, 7.0 or newer is needed: upgrade it"));
    }
    if !is_master(info) {
        return Err(REPLICA.to_owned());
    }
    if let Some(policy) = said("maxmemory_policy").filter(|policy| policy != "noeviction") {
        let advice = "set `maxmemory-policy noeviction` there, or orders are lost";
        return Err(format!("Redis evicts keys ({policy}): {advice}"));
    }
    if run_id(info, info).as_str().is_empty() {
        return Err(
            "Redis does not say which process it is (INFO has no run_id), so a restart would go unnoticed: use a \
                    service that says so"
                .to_owned(),
        );
    }
    Ok(())
}

/// It is a master, keeps what it is given, and knows the scripts. Its clock is set by it, too.
pub(in crate::allocator) async fn prove(
    connection: &mut MultiplexedConnection,
    clock: &Clock,
) -> Result<(), RedisError> {
    let info: InfoDict = redis::cmd("INFO").query_async(connection).await?;
    judge(&info).map_err(unfit)?;
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
    if Identity::ask(connection).await?.is_master() { Ok(()) } else { Err(unfit(REPLICA.to_owned())) }
}

fn text(info: &InfoDict, name: &str) -> String {
    info.get(name).unwrap_or_default()
}

const REPLICA: &str = "Redis is a replica: point redis_url at the master";

fn unfit(why: String) -> RedisError {
    RedisError::from((ErrorKind::InvalidClientConfig, "unfit server", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(text: &str) -> InfoDict {
        InfoDict::new(text)
    }

    #[test]
    fn what_a_service_leaves_out_speaks_against_it_only_where_it_must() {
        for good in [
            "redis_version:7.0.15\nrun_id:a\nrole:master\nmaxmemory_policy:noeviction",
            "redis_version:7.2.4\nvalkey_version:8.1.1\nrun_id:a\nrole:master\nmaxmemory_policy:noeviction",
            "run_id:a",
            "master_replid:b",
            "redis_version:unstable\nrun_id:a",
        ] {
            assert_eq!(judge(&info(good)), Ok(()), "{good}");
        }
        for (bad, part) in [
            ("redis_version:6.2.14\nrun_id:a\nrole:master", "7.0 or newer"),
            ("run_id:a\nrole:slave", "point redis_url at the master"),
            ("run_id:a\nmaxmemory_policy:volatile-lru", "(volatile-lru): set `maxmemory-policy noeviction`"),
            ("redis_version:7.2.0\nrole:master", "no run_id"),
            ("", "no run_id"),
        ] {
            assert!(judge(&info(bad)).is_err_and(|reason| reason.contains(part)), "{bad}");
        }
    }

    #[test]
    fn a_process_has_a_name() {
        let name = |server: &str, replication: &str| run_id(&info(server), &info(replication)).as_str().to_owned();
        assert_eq!(name("run_id:a", "master_replid:b\nmaster_replid2:0000"), "a");
        assert_eq!(name("run_id:a", "master_replid:b\nmaster_replid2:c"), "a+c");
        assert_eq!(name("", "master_replid:b"), "b");
    }
}
