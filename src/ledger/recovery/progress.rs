//! How far each partition's outbox has been written, and which build of its data that was.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    domain::{PartitionId, Timestamp},
    ledger::{Ledger, LedgerError, db::session::Session},
};

/// Where the ledger stands with one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The partition.
    pub partition: PartitionId,
    /// The generation that is being written; None until the first is opened.
    pub generation: Option<u64>,
    /// The last sequence written; 0 before the first.
    pub sequence: u64,
    /// The latest stamp of an event written.
    pub stamp: Timestamp,
    /// The Redis server that the generation was made on.
    pub run_id: Option<String>,
    /// The daemon that is writing it just now, if the lease still runs.
    pub writer: Option<Uuid>,
}

/// The daemon that is building a partition's next generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Builder {
    /// The partition.
    pub partition: PartitionId,
    /// The one that holds the lease on it.
    pub daemon: Uuid,
}

/// How far a partition has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The partition.
    pub partition: PartitionId,
    /// The generation that is being written; None until the first is opened.
    pub generation: Option<u64>,
    /// The last sequence written; 0 before the first.
    pub sequence: u64,
}

impl Ledger {
    /// Where the ledger stands with every partition, in order. Empty before [`Ledger::deployment`] was called.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`].
    pub async fn progress(&self) -> Result<Vec<Progress>, LedgerError> {
        let rows = sqlx::query!(
            "SELECT partition, generation, sequence, stamped_at, run_id, CASE WHEN writer_until > now() THEN writer END AS writer
             FROM outbox_progress ORDER BY partition"
        )
        .fetch_all(self.single());
        let progress = self.in_time(rows).await?.into_iter().map(|row| Progress {
            partition: PartitionId::new(row.partition.cast_unsigned()),
            generation: row.generation.map(i64::cast_unsigned),
            sequence: row.sequence.cast_unsigned(),
            stamp: row.stamped_at.map_or(Timestamp::from_unix_ms(0), Into::into),
            run_id: row.run_id,
            writer: row.writer,
        });
        Ok(progress.collect())
    }

    /// Opens generation `new` of a partition, made on the Redis server `run_id`, if the present one is `expected`
    /// (None: none was ever opened). Answers with the sequence that it goes on from: the one recorded, or `from` if that
    /// is further. None if another daemon was first.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`]. After `Unreachable` it may have happened: read [`Ledger::progress`].
    pub async fn advance_generation(
        &self,
        partition: PartitionId,
        expected: Option<u64>,
        new: u64,
        run_id: &str,
        from: u64,
    ) -> Result<Option<u64>, LedgerError> {
        let opened = sqlx::query_scalar!(
            "UPDATE outbox_progress
             SET generation = $3, run_id = $4, sequence = greatest(sequence, $5), writer = NULL, writer_until = NULL,
                 updated_at = now()
             WHERE partition = $1 AND generation IS NOT DISTINCT FROM $2
             RETURNING sequence",
            partition.as_i16(),
            expected.map(u64::cast_signed),
            new.cast_signed(),
            run_id,
            from.cast_signed()
        )
        .fetch_optional(self.single());
        Ok(self.in_time(opened).await?.map(i64::cast_unsigned))
    }

    /// The daemons that are building something, as their leases say.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`].
    pub(crate) async fn builders(&self) -> Result<Vec<Builder>, LedgerError> {
        let rows = sqlx::query!(
            r#"SELECT partition, builder AS "builder!" FROM outbox_progress
               WHERE builder_until > now() ORDER BY partition"#
        )
        .fetch_all(self.single());
        let builder =
            |partition: i16, daemon| Builder { partition: PartitionId::new(partition.cast_unsigned()), daemon };
        Ok(self.in_time(rows).await?.into_iter().map(|row| builder(row.partition, row.builder)).collect())
    }

    /// Takes or renews the lease on building a partition's next generation. False while another builder has it.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`].
    pub(crate) async fn claim_build(
        &self,
        partition: PartitionId,
        builder: Uuid,
        lease: Duration,
    ) -> Result<bool, LedgerError> {
        let claimed = sqlx::query!(
            "UPDATE outbox_progress SET builder = $2, builder_until = now() + make_interval(secs => $3)
             WHERE partition = $1 AND (builder IS NULL OR builder = $2 OR builder_until < now())",
            partition.as_i16(),
            builder,
            lease.as_secs_f64()
        )
        .execute(self.single());
        Ok(self.in_time(claimed).await?.rows_affected() == 1)
    }

    /// Gives the lease back, if this builder has it.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`].
    pub(crate) async fn release_build(&self, partition: PartitionId, builder: Uuid) -> Result<(), LedgerError> {
        let released = sqlx::query!(
            "UPDATE outbox_progress SET builder = NULL, builder_until = NULL WHERE partition = $1 AND builder = $2",
            partition.as_i16(),
            builder
        )
        .execute(self.single());
        self.in_time(released).await.map(drop)
    }
}

/// What becomes of partitions whose rows another writer has locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ledger) enum IfLocked {
    /// They are left out.
    Leave,
    /// That writer's end is waited for.
    Await,
}

struct LockedRow {
    partition: i16,
    generation: Option<i64>,
    sequence: i64,
}

/// Locks the rows of these partitions, in order.
pub(in crate::ledger) async fn lock(
    connection: &mut Session<'_>,
    partitions: &[PartitionId],
    if_locked: IfLocked,
) -> Result<Vec<Position>, LedgerError> {
    let partitions: Vec<i16> = partitions.iter().map(|partition| partition.as_i16()).collect();
    let rows = match if_locked {
        IfLocked::Leave => {
            sqlx::query_as!(
                LockedRow,
                "SELECT partition, generation, sequence FROM outbox_progress
                 WHERE partition = ANY($1) ORDER BY partition FOR UPDATE SKIP LOCKED",
                &partitions
            )
            .fetch_all(connection)
            .await?
        }
        IfLocked::Await => {
            sqlx::query_as!(
                LockedRow,
                "SELECT partition, generation, sequence FROM outbox_progress
                 WHERE partition = ANY($1) ORDER BY partition FOR UPDATE",
                &partitions
            )
            .fetch_all(connection)
            .await?
        }
    };
    let positions = rows.into_iter().map(|row| Position {
        partition: PartitionId::new(row.partition.cast_unsigned()),
        generation: row.generation.map(i64::cast_unsigned),
        sequence: row.sequence.cast_unsigned(),
    });
    Ok(positions.collect())
}

/// Moves locked partitions to these positions, each with the latest stamp of what was written of it, and takes or renews
/// the lease.
pub(in crate::ledger) async fn advance(
    connection: &mut Session<'_>,
    positions: &[Position],
    stamps: &HashMap<PartitionId, Timestamp>,
    writer: Uuid,
    lease: Duration,
) -> Result<(), LedgerError> {
    let (partitions, sequences): (Vec<i16>, Vec<i64>) =
        positions.iter().map(|p| (p.partition.as_i16(), p.sequence.cast_signed())).unzip();
    let stamps: Vec<Option<DateTime<Utc>>> =
        positions.iter().map(|p| stamps.get(&p.partition).map(|at| at.to_datetime())).collect();
    let moved = sqlx::query!(
        "UPDATE outbox_progress AS p
         SET sequence = new.sequence, stamped_at = greatest(p.stamped_at, new.stamped_at), writer = $3,
             writer_until = now() + make_interval(secs => $4), updated_at = now()
         FROM unnest($1::smallint[], $2::bigint[], $5::timestamptz[]) AS new (partition, sequence, stamped_at)
         WHERE p.partition = new.partition",
        &partitions,
        &sequences,
        writer,
        lease.as_secs_f64(),
        &stamps as &[Option<DateTime<Utc>>]
    )
    .execute(connection)
    .await?;
    if moved.rows_affected() != positions.len() as u64 {
        return Err(LedgerError::Unreadable("outbox_progress lost a row while it was locked".to_owned()));
    }
    Ok(())
}
