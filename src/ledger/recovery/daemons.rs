//! The daemons that run, how their background tasks do, and what each of them has said again of what it remembers.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::types::Json;
use uuid::Uuid;

use crate::{
    domain::{PartitionId, TaskReport, fold::FOLD, time_zone},
    ledger::{Ledger, LedgerError},
};

/// A daemon that has said that it runs, and not that it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenDaemon {
    /// Its id, another one for each process.
    pub id: Uuid,
    /// How long ago it said so; each does at least once a second.
    pub ago: Duration,
    /// How its background tasks do, as of now; empty where it does not say, as earlier versions do not.
    pub tasks: Vec<TaskReport>,
    /// The version of its time zones; empty where it does not say.
    pub time_zones: String,
}

impl Ledger {
    /// Those that have not said that they end, the latest seen first.
    ///
    /// # Errors
    /// As [`Ledger::daemon_runs`].
    pub(crate) async fn daemons(&self) -> Result<Vec<SeenDaemon>, LedgerError> {
        let rows = sqlx::query!(
            r#"SELECT id, extract(epoch FROM now() - seen_at)::float8 AS "ago_s!", tasks, time_zones
               FROM daemons ORDER BY seen_at DESC"#
        )
        .fetch_all(self.single());
        let seen = |id, ago_s, tasks, time_zones| {
            let ago = Duration::try_from_secs_f64(ago_s).unwrap_or_default();
            SeenDaemon { id, ago, tasks: reports(tasks, ago), time_zones }
        };
        Ok(self
            .in_time(rows)
            .await?
            .into_iter()
            .map(|row| seen(row.id, row.ago_s, row.tasks, row.time_zones))
            .collect())
    }

    /// Whether a daemon, seen within this time, runs such a task for the deployment; `daemon` itself does not count. One that
    /// does not say that it only stands by, does.
    ///
    /// # Errors
    /// As [`Ledger::daemon_runs`].
    pub(crate) async fn is_worked_on_by_others(
        &self,
        daemon: Uuid,
        task: &str,
        seen_within: Duration,
    ) -> Result<bool, LedgerError> {
        let worked_on = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM daemons WHERE id <> $1 AND NOT tasks @> $2
                                AND seen_at > now() - make_interval(secs => $3)) AS "worked_on!""#,
            daemon,
            json!([{"task": task, "stands_by": true}]),
            seen_within.as_secs_f64()
        )
        .fetch_one(self.single());
        self.in_time(worked_on).await
    }

    /// Says that a daemon runs, on which Redis servers, by `run_id`, it has partitions open, and how its tasks do; and how
    /// it folds names, and which time zones it has.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`]; so for all of these.
    pub(crate) async fn daemon_runs(
        &self,
        daemon: Uuid,
        servers: &[String],
        tasks: &[TaskReport],
    ) -> Result<(), LedgerError> {
        let said = sqlx::query!(
            "INSERT INTO daemons (id, servers, tasks, name_fold, time_zones) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (id) DO UPDATE SET servers = EXCLUDED.servers, tasks = EXCLUDED.tasks, seen_at = now()",
            daemon,
            servers,
            Json(tasks) as Json<&[TaskReport]>,
            FOLD,
            time_zone::VERSION
        );
        self.in_time(said.execute(self.single())).await.map(drop)
    }

    /// Whether another daemon, seen within this time, has partitions open on this Redis server.
    ///
    /// # Errors
    /// As [`Ledger::daemon_runs`].
    pub(crate) async fn is_served_by_others(
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
    pub(crate) async fn daemon_ends(&self, daemon: Uuid) -> Result<(), LedgerError> {
        let gone = sqlx::query!("DELETE FROM daemons WHERE id = $1 OR seen_at < now() - interval '1 hour'", daemon);
        self.in_time(gone.execute(self.single())).await.map(drop)
    }

    /// Records that a daemon has said again what it saw acknowledged of a partition before this generation.
    ///
    /// # Errors
    /// As [`Ledger::daemon_runs`].
    pub(crate) async fn recalled(
        &self,
        daemon: Uuid,
        partition: PartitionId,
        generation: u64,
    ) -> Result<(), LedgerError> {
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
    pub(crate) async fn recalls_missing(
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

/// What a daemon said this long ago. A report that this version cannot read is left out: a newer one may have made it.
fn reports(said: Value, ago: Duration) -> Vec<TaskReport> {
    let Value::Array(said) = said else { return Vec::new() };
    let read = said.into_iter().filter_map(|report| serde_json::from_value::<TaskReport>(report).ok());
    read.map(|report| report.after(ago)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_another_version_are_left_out() {
        let good = json!({"task": "months", "every_ms": 60_000, "ago_ms": 5, "took_ms": 2, "result": "ok"});
        let read = reports(json!([good, {"task": "other"}, 7]), Duration::from_secs(2));
        assert_eq!(read.iter().map(|report| (&*report.task, report.ago_ms)).collect::<Vec<_>>(), [("months", 2005)]);
        assert_eq!(reports(json!({"months": 1}), Duration::ZERO), []);
    }
}
