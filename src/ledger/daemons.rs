//! The daemons that run, and what each of them has said again of what it remembers.

use std::time::Duration;

use uuid::Uuid;

use super::{Ledger, LedgerError};
use crate::domain::PartitionId;

/// A daemon that has said that it runs, and not that it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenDaemon {
    /// Which one.
    pub id: Uuid,
    /// How long ago it said so; each does four times a second.
    pub ago: Duration,
}

impl Ledger {
    /// Those that have not said that they end, the latest seen first.
    ///
    /// # Errors
    /// As [`Ledger::daemon_runs`].
    pub async fn daemons(&self) -> Result<Vec<SeenDaemon>, LedgerError> {
        let rows = sqlx::query!(
            r#"SELECT id, extract(epoch FROM now() - seen_at)::float8 AS "ago_s!" FROM daemons ORDER BY seen_at DESC"#
        )
        .fetch_all(self.single());
        let seen = |id, ago_s| SeenDaemon { id, ago: Duration::try_from_secs_f64(ago_s).unwrap_or_default() };
        Ok(self.in_time(rows).await?.into_iter().map(|row| seen(row.id, row.ago_s)).collect())
    }

    /// Says that a daemon runs, and on which Redis servers, by `run_id`, it has partitions open.
    ///
    /// # Errors
    /// [`LedgerError::Away`], [`LedgerError::Schema`]; so for all of these.
    pub async fn daemon_runs(&self, daemon: Uuid, servers: &[String]) -> Result<(), LedgerError> {
        let said = sqlx::query!(
            "INSERT INTO daemons (id, servers) VALUES ($1, $2)
             ON CONFLICT (id) DO UPDATE SET servers = EXCLUDED.servers, seen_at = now()",
            daemon,
            servers
        );
        self.in_time(said.execute(self.single())).await.map(drop)
    }

    /// Whether another daemon, seen within this time, has partitions open on this Redis server.
    ///
    /// # Errors
    /// As [`Ledger::daemon_runs`].
    pub async fn is_served_by_others(
        &self,
        daemon: Uuid,
        run_id: &str,
        seen_within: Duration,
    ) -> Result<bool, LedgerError> {
        let served = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM daemons WHERE id <> $1 AND $2 = ANY (servers)
                                AND seen_at > now() - make_interval(secs => $3)) AS "served!""#,
            daemon,
            run_id,
            seen_within.as_secs_f64()
        )
        .fetch_one(self.single());
        self.in_time(served).await
    }

    /// Forgets a daemon that ends, and those that have ended without a word.
    ///
    /// # Errors
    /// As [`Ledger::daemon_runs`].
    pub async fn daemon_ends(&self, daemon: Uuid) -> Result<(), LedgerError> {
        let gone = sqlx::query!("DELETE FROM daemons WHERE id = $1 OR seen_at < now() - interval '1 hour'", daemon);
        self.in_time(gone.execute(self.single())).await.map(drop)
    }

    /// Records that a daemon has said again what it saw acknowledged of a partition before this generation.
    ///
    /// # Errors
    /// As [`Ledger::daemon_runs`].
    pub async fn recalled(&self, daemon: Uuid, partition: PartitionId, generation: u64) -> Result<(), LedgerError> {
        let said = sqlx::query!(
            "INSERT INTO recalls (daemon, partition, generation) SELECT id, $2, $3 FROM daemons WHERE id = $1
             ON CONFLICT (daemon, partition) DO UPDATE SET generation = EXCLUDED.generation",
            daemon,
            partition.as_i16(),
            generation.cast_signed()
        );
        self.in_time(said.execute(self.single())).await.map(drop)
    }

    /// How many other daemons, seen within this time, have not said yet what they remember of a partition before this
    /// generation.
    ///
    /// # Errors
    /// As [`Ledger::daemon_runs`].
    pub async fn recalls_missing(
        &self,
        daemon: Uuid,
        partition: PartitionId,
        generation: u64,
        seen_within: Duration,
    ) -> Result<u64, LedgerError> {
        let missing = sqlx::query_scalar!(
            r#"SELECT count(*) AS "missing!" FROM daemons AS d
               WHERE d.id <> $1 AND d.seen_at > now() - make_interval(secs => $4)
                 AND NOT EXISTS (SELECT 1 FROM recalls AS r
                     WHERE r.daemon = d.id AND r.partition = $2 AND r.generation >= $3)"#,
            daemon,
            partition.as_i16(),
            generation.cast_signed(),
            seen_within.as_secs_f64()
        )
        .fetch_one(self.single());
        Ok(self.in_time(missing).await?.unsigned_abs())
    }
}
