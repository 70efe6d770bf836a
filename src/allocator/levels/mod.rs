//! Durability levels, as far as Redis gives them.

pub(super) mod barrier;

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use redis::InfoDict;

use self::barrier::{Barriers, Proof};
use super::{Allocator, AllocatorError, Mark, Moment, RunId};
use crate::domain::{Durability, PartitionId};

/// What is known of the servers' ways to give a level.
pub(super) struct Levels {
    /// How many replicas level `replica` needs.
    replicas: u32,
    /// How long a level is waited for.
    timeout: Duration,
    /// Whether the Redis is a private one, which no replica follows.
    alone: bool,
    pub(super) barriers: Barriers,
    /// How each server proves that its disk has a change. Only those that can are kept: the others are asked again.
    synced: Mutex<HashMap<RunId, Proof>>,
    /// Partitions whose master has had replicas: they may be away, and come back.
    replicated: Mutex<HashSet<PartitionId>>,
}

impl Default for Levels {
    fn default() -> Self {
        let (barriers, synced, replicated) = (Barriers::default(), Mutex::default(), Mutex::default());
        Self { replicas: 1, timeout: Duration::from_secs(1), alone: false, barriers, synced, replicated }
    }
}

impl Allocator {
    /// Level `replica` needs so many replicas, and each level is waited for so long.
    #[must_use]
    pub fn with_levels(self, replicas: u32, timeout: Duration) -> Self {
        Self { levels: Levels { replicas, timeout, ..Levels::default() }.into(), ..self }
    }

    /// As [`Allocator::with_levels`], on a private Redis: it never has replicas.
    #[must_use]
    pub(crate) fn with_levels_of_private_redis(self, timeout: Duration) -> Self {
        Self { levels: Levels { timeout, alone: true, ..Levels::default() }.into(), ..self }
    }

    /// How long a level is waited for.
    #[must_use]
    pub(crate) fn level_timeout(&self) -> Duration {
        self.levels.timeout
    }

    /// Whether the server of a partition can give a level at all; if not, why, and what would have to be set. How many
    /// replicas it has just now does not count, where it has had any: they come and go. Whether the ledger is written is
    /// not known here.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub(crate) async fn can_give(
        &self,
        level: Durability,
        partition: PartitionId,
    ) -> Result<Result<(), String>, AllocatorError> {
        match level {
            Durability::Memory | Durability::Ledger => Ok(Ok(())),
            Durability::Fsync => {
                let run_id = self.connections.server_of(partition).await?;
                Ok(self.sync_proof(partition, &run_id).await?.map(drop))
            }
            Durability::Replica => self.can_replicate(partition).await,
        }
    }

    /// Whether the server of a partition has, or has had, replicas.
    async fn can_replicate(&self, partition: PartitionId) -> Result<Result<(), String>, AllocatorError> {
        if self.levels.alone {
            let reason = "a private Redis has no replicas: let redis_url lead to one that has some";
            return Ok(Err(reason.to_owned()));
        }
        let known = || self.levels.replicated.lock().unwrap_or_else(PoisonError::into_inner);
        if known().contains(&partition) {
            return Ok(Ok(()));
        }
        let mut read = redis::cmd("INFO");
        read.arg("replication");
        let info: InfoDict = self.connections.send(partition, &read).await?;
        if !may_have_replicas(&info) {
            let reason = "Redis has no replicas, and has had none of late: let some follow it (`replicaof`)";
            return Ok(Err(reason.to_owned()));
        }
        known().insert(partition);
        Ok(Ok(()))
    }

    /// This instant, to be taken before a change.
    #[must_use]
    pub fn moment(&self) -> Moment {
        self.partitions.moment()
    }

    /// The mark of a change that was made after `since`; None where it is not certain that the generation it was made in
    /// still is. Without a `sequence` it stands for all that this daemon has seen of the partition.
    #[must_use]
    pub fn mark(&self, since: Moment, partition: PartitionId, sequence: Option<u64>) -> Option<Mark> {
        self.partitions.mark(since, partition, sequence)
    }

    /// Waits until the server's disk has a change; false where that is not known in time.
    pub(crate) async fn on_disk(&self, mark: &Mark) -> bool {
        match self.sync_proof(mark.partition, mark.run_id()).await {
            Ok(Ok(proof)) => {
                let reached = self.prove(mark, proof, self.levels.timeout).await;
                if !reached {
                    // Perhaps because it was told to do otherwise.
                    self.synced().remove(mark.run_id());
                }
                reached
            }
            Ok(Err(reason)) => {
                tracing::debug!(reason, "the server no longer gives level fsync");
                false
            }
            Err(error) => {
                tracing::debug!(%error, "whether the server gives level fsync is unknown");
                false
            }
        }
    }

    /// Waits until enough replicas have a change; false where that is not known in time.
    pub async fn on_replicas(&self, mark: &Mark) -> bool {
        self.prove(mark, Proof::Replicas(self.levels.replicas), self.levels.timeout).await
    }

    /// Waits until the ledger has a change, as far as this daemon is told; false where the generation of the partition
    /// ends before. It has no end of its own.
    pub(crate) async fn in_ledger(&self, mark: &Mark) -> bool {
        self.partitions.durable_at(mark).await
    }

    /// How a server proves that its disk has a change; if it cannot, why.
    async fn sync_proof(
        &self,
        partition: PartitionId,
        run_id: &RunId,
    ) -> Result<Result<Proof, String>, AllocatorError> {
        if let Some(proof) = self.synced().get(run_id) {
            return Ok(Ok(*proof));
        }
        let info: InfoDict = self.connections.send(partition, &redis::cmd("INFO")).await?;
        let mut command = redis::cmd("CONFIG");
        command.arg("GET").arg("appendfsync");
        // Managed servers often forbid it.
        let config: Option<(String, String)> = self.connections.send(partition, &command).await.unwrap_or_default();
        let version: String = info.get("redis_version").unwrap_or_default();
        let aof = info.get::<u8>("aof_enabled") == Some(1);
        let proof = how_synced(&version, aof, config.as_ref().map(|(_, value)| value.as_str()));
        if let Ok(proof) = &proof {
            let mut synced = self.synced();
            if synced.len() > 100 {
                // Servers that have ended long ago.
                synced.clear();
            }
            synced.insert(run_id.clone(), *proof);
        }
        Ok(proof)
    }

    fn synced(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, Proof>> {
        self.levels.synced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a server has replicas, or has had some within the hour for which it keeps what they would miss
/// (`repl-backlog-ttl`). One that does not say may have some.
fn may_have_replicas(replication: &InfoDict) -> bool {
    let is_none = |name: &str| replication.get::<u64>(name) == Some(0);
    !is_none("connected_slaves") || !is_none("repl_backlog_active")
}

/// `WAITAOF` came with 7.2. Before it, nothing but `appendfsync always` tells when the disk has a change.
fn how_synced(version: &str, aof: bool, appendfsync: Option<&str>) -> Result<Proof, String> {
    if !aof {
        return Err("Redis keeps no append-only file: set `appendonly yes` there".to_owned());
    }
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let has_waitaof = (parts.next(), parts.next()) >= (Some(7), Some(2));
    match appendfsync {
        Some("no") => {
            Err("Redis leaves it to its system when changes go to disk (`appendfsync no`): set `appendfsync \
                           always` or `everysec` there"
                .to_owned())
        }
        _ if has_waitaof => Ok(Proof::AppendOnlyFile),
        Some("always") => Ok(Proof::AlwaysSynced),
        Some(other) => Err(format!(
            "Redis {version} does not say when changes are on its disk (`appendfsync {other}`): set `appendfsync always` \
             there, or upgrade it to 7.2 or newer"
        )),
        None => Err(format!(
            "Redis {version} does not say when changes are on its disk, and forbids CONFIG GET: upgrade it to 7.2 or newer"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_that_are_away_are_told_from_none() {
        for (said, may) in [
            ("connected_slaves:0\nrepl_backlog_active:0", false),
            ("connected_slaves:1\nrepl_backlog_active:1", true),
            ("connected_slaves:0\nrepl_backlog_active:1", true),
            ("connected_slaves:0", true),
            ("", true),
        ] {
            assert_eq!(may_have_replicas(&InfoDict::new(said)), may, "{said}");
        }
    }

    #[test]
    fn a_server_syncs_when_it_says_so() {
        let always = Some("always");
        assert_eq!(how_synced("7.0.15", true, always), Ok(Proof::AlwaysSynced));
        for version in ["7.2.4", "7.4.1", "8.0.0", "10.0.0"] {
            for config in [always, Some("everysec"), None] {
                assert_eq!(how_synced(version, true, config), Ok(Proof::AppendOnlyFile), "{version} {config:?}");
            }
        }
        for (version, aof, config, what) in [
            ("7.0.15", true, Some("everysec"), "set `appendfsync always` there, or upgrade"),
            ("7.0.15", true, None, "forbids CONFIG GET"),
            ("7.0.15", false, always, "set `appendonly yes`"),
            ("7.2.4", false, always, "set `appendonly yes`"),
            ("7.2.4", true, Some("no"), "`everysec`"),
        ] {
            let reason = how_synced(version, aof, config).expect_err(what);
            assert!(reason.contains(what), "{reason}");
        }
    }
}
