//! Entries that cannot be written for what they hold: kept as they were, and taken up again when the operator says
//! so.

use chrono::{DateTime, Utc};

use super::{
    batch::DueEntry,
    fold::{SlotChange, SlotKey},
    slots, write_records,
};
use crate::{
    domain::{Event, EventKind, IdempotencyDigest, OrderId, OutboxEntry, PartitionId, Timestamp},
    ledger::{
        Collision, Ledger, LedgerError,
        db::{connect::in_task, session::Session},
        tables::months::Month,
    },
};

/// An entry that is to become a dead letter, and why.
pub(super) struct Unwritable<'a> {
    pub due: DueEntry<'a>,
    /// None if it could not even be read.
    pub sqlstate: Option<String>,
    pub reason: String,
}

/// An entry that was dead-lettered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Counts all that ever became dead letters.
    pub id: i64,
    /// The partition whose outbox held it.
    pub partition: PartitionId,
    /// Which build of the partition's data it belongs to.
    pub generation: u64,
    /// Its position in the partition.
    pub sequence: u64,
    /// The bytes, as they came from the outbox.
    pub entry: Vec<u8>,
    /// What Postgres said; None if the bytes could not even be read.
    pub sqlstate: Option<String>,
    /// Why the ledger refused it, or why it stayed when it was last tried.
    pub reason: String,
    /// When it became a dead letter.
    pub at: Timestamp,
}

/// What became of an entry that was tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Retried {
    /// It is written, and no dead letter any more.
    Written {
        /// Numbers that another order holds by now: they were left to it.
        collisions: Vec<Collision>,
    },
    /// Postgres still refuses it: it stays, with this reason.
    Refused {
        /// The five characters of the SQLSTATE.
        sqlstate: String,
        /// The server's message.
        reason: String,
    },
    /// Another process has written or dropped it.
    Gone,
}

impl Ledger {
    /// Dead letters in the order in which they became dead letters: those behind the id `after`, at most `limit`.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`]; so for all of these.
    pub async fn dead_letters(&self, after: i64, limit: u32) -> Result<Vec<DeadLetter>, LedgerError> {
        let rows = sqlx::query_as!(
            DeadLetterRow,
            "SELECT id, partition, generation, sequence, entry, sqlstate, reason, created_at FROM dead_letters
             WHERE id > $1 ORDER BY id LIMIT $2",
            after,
            i64::from(limit)
        )
        .fetch_all(self.single());
        Ok(self.in_time(rows).await?.into_iter().map(Into::into).collect())
    }

    /// As [`Ledger::dead_letters`], those of one partition.
    ///
    /// # Errors
    /// As [`Ledger::dead_letters`].
    pub(crate) async fn dead_letters_of(
        &self,
        partition: PartitionId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, LedgerError> {
        let rows = sqlx::query_as!(
            DeadLetterRow,
            "SELECT id, partition, generation, sequence, entry, sqlstate, reason, created_at FROM dead_letters
             WHERE partition = $1 AND id > $2 ORDER BY id LIMIT $3",
            partition.as_i16(),
            after,
            i64::from(limit)
        )
        .fetch_all(self.single());
        Ok(self.in_time(rows).await?.into_iter().map(Into::into).collect())
    }

    /// Those of these ids that are there, in order.
    ///
    /// # Errors
    /// As [`Ledger::dead_letters`].
    pub(crate) async fn dead_letters_among(&self, ids: &[i64]) -> Result<Vec<DeadLetter>, LedgerError> {
        let rows = sqlx::query_as!(
            DeadLetterRow,
            "SELECT id, partition, generation, sequence, entry, sqlstate, reason, created_at FROM dead_letters
             WHERE id = ANY($1) ORDER BY id",
            ids
        )
        .fetch_all(self.single());
        Ok(self.in_time(rows).await?.into_iter().map(Into::into).collect())
    }

    /// The dead letter that holds this event of a partition; None where it was written, or dropped. Sequences go on from
    /// one generation to the next.
    ///
    /// # Errors
    /// As [`Ledger::dead_letters`].
    pub(crate) async fn dead_letter_of(
        &self,
        partition: PartitionId,
        sequence: u64,
    ) -> Result<Option<i64>, LedgerError> {
        let found = sqlx::query_scalar!(
            "SELECT id FROM dead_letters WHERE partition = $1 AND sequence = $2 ORDER BY id DESC LIMIT 1",
            partition.as_i16(),
            sequence.cast_signed()
        )
        .fetch_optional(self.single());
        self.in_time(found).await
    }

    /// Writes the event that a dead letter holds into its position, and removes the letter, in one transaction. What has
    /// happened to its order and its number since then stays.
    ///
    /// # Errors
    /// As [`Ledger::dead_letters`]; it may be called again in any case.
    pub(crate) async fn retry_dead_letter(&self, letter: &DeadLetter, event: &Event) -> Result<Retried, LedgerError> {
        let (ledger, letter, event) = (self.clone(), letter.clone(), event.clone());
        in_task(async move {
            // The month may have been let go of meanwhile.
            ledger.months.forget();
            ledger.ensure(Month::of_event(&event)).await?;
            ledger.transaction(async |transaction| retry(transaction, &letter, &event).await).await
        })
        .await
    }

    /// Removes dead letters for good; answers which of them were there.
    ///
    /// # Errors
    /// As [`Ledger::dead_letters`]. After `Unreachable` they may be gone.
    pub(crate) async fn drop_dead_letters(&self, ids: &[i64]) -> Result<Vec<i64>, LedgerError> {
        let dropped = sqlx::query_scalar!("DELETE FROM dead_letters WHERE id = ANY($1) RETURNING id", ids)
            .fetch_all(self.single());
        self.in_time(dropped).await
    }
}

struct DeadLetterRow {
    id: i64,
    partition: i16,
    generation: i64,
    sequence: i64,
    entry: Vec<u8>,
    sqlstate: Option<String>,
    reason: String,
    created_at: DateTime<Utc>,
}

impl From<DeadLetterRow> for DeadLetter {
    fn from(row: DeadLetterRow) -> Self {
        Self {
            id: row.id,
            partition: PartitionId::new(row.partition.cast_unsigned()),
            generation: row.generation.cast_unsigned(),
            sequence: row.sequence.cast_unsigned(),
            entry: row.entry,
            sqlstate: row.sqlstate,
            reason: row.reason,
            at: row.created_at.into(),
        }
    }
}

/// Keeps the entries' bytes.
pub(super) async fn bury(connection: &mut Session<'_>, dead: &[Unwritable<'_>]) -> Result<(), LedgerError> {
    if dead.is_empty() {
        return Ok(());
    }
    let partitions: Vec<i16> = dead.iter().map(|letter| letter.due.partition.as_i16()).collect();
    let generations: Vec<i64> = dead.iter().map(|letter| letter.due.generation.cast_signed()).collect();
    let sequences: Vec<i64> = dead.iter().map(|letter| letter.due.entry.sequence.cast_signed()).collect();
    let entries: Vec<&[u8]> = dead.iter().map(|letter| letter.due.entry.raw.as_slice()).collect();
    let sqlstates: Vec<Option<&str>> = dead.iter().map(|letter| letter.sqlstate.as_deref()).collect();
    let reasons: Vec<String> = dead.iter().map(|letter| storable(&letter.reason)).collect();
    sqlx::query!(
        "INSERT INTO dead_letters (partition, generation, sequence, entry, sqlstate, reason)
         SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::text[], $6::text[])
         ON CONFLICT (partition, generation, sequence) DO NOTHING",
        &partitions,
        &generations,
        &sequences,
        &entries as &[&[u8]],
        &sqlstates as &[Option<&str>],
        &reasons
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A reason may quote the entry, and Postgres stores no NUL.
fn storable(reason: &str) -> String {
    reason.replace('\0', "\\0")
}

async fn retry(connection: &mut Session<'_>, letter: &DeadLetter, event: &Event) -> Result<Retried, LedgerError> {
    // Locked: of two processes that try it, one writes it and the other finds it gone.
    let is_there = sqlx::query_scalar!("SELECT id FROM dead_letters WHERE id = $1 FOR UPDATE", letter.id)
        .fetch_optional(&mut *connection)
        .await?
        .is_some();
    if !is_there {
        return Ok(Retried::Gone);
    }
    match connection.attempt(async |connection| write_late(connection, letter, event).await).await {
        Ok(collisions) => {
            sqlx::query!("DELETE FROM dead_letters WHERE id = $1", letter.id).execute(connection).await?;
            Ok(Retried::Written { collisions })
        }
        Err(LedgerError::Content { sqlstate, reason }) => {
            let reason = storable(&reason);
            sqlx::query!(
                "UPDATE dead_letters SET sqlstate = $2, reason = $3 WHERE id = $1",
                letter.id,
                sqlstate,
                reason
            )
            .execute(connection)
            .await?;
            Ok(Retried::Refused { sqlstate, reason })
        }
        Err(error) => Err(error),
    }
}

/// As the write-behind writes it, but after what came later.
async fn write_late(
    connection: &mut Session<'_>,
    letter: &DeadLetter,
    event: &Event,
) -> Result<Vec<Collision>, LedgerError> {
    let entry =
        OutboxEntry { sequence: letter.sequence, generation: letter.generation, raw: vec![], event: Ok(event.clone()) };
    let position = DueEntry { partition: letter.partition, generation: letter.generation, entry: &entry };
    let changes = write_records(connection, &[(position, event)]).await?;

    let Some(order) = event.order() else { return Ok(Vec::new()) };
    if let EventKind::Created { idempotency: Some(digest), .. } = &event.kind {
        add_digest(connection, order.id, digest).await?;
    }
    let recorded = sqlx::query!(
        r#"SELECT version, released_at IS NULL AS "is_live!" FROM orders WHERE internal_order_id = $1 FOR UPDATE"#,
        order.id.as_uuid()
    )
    .fetch_one(&mut *connection)
    .await?;
    let is_latest = recorded.version.cast_unsigned() == order.version;
    // Of what came later, only an end has had its own say on the number.
    let is_due = |change: &SlotChange| is_latest || recorded.is_live && matches!(change, SlotChange::Take { .. });
    let mut due = changes;
    due.retain(|(_, changes)| changes.iter().all(is_due));
    let mut collisions = slots::write(connection, &due).await?;
    collisions.extend(give_to_live(connection, &due).await?);
    // A number that was free at once may well have been given to another order since.
    if due.iter().flat_map(|(_, changes)| changes).all(|change| matches!(change, SlotChange::Free { .. })) {
        collisions.clear();
    }
    Ok(collisions)
}

/// The number that an order let go of may have been given to another one since. The claim of that one was refused as
/// long as this end was missing.
async fn give_to_live(
    connection: &mut Session<'_>,
    let_go: &[(SlotKey, Vec<SlotChange>)],
) -> Result<Vec<Collision>, LedgerError> {
    let mut taken = Vec::new();
    for (key, changes) in let_go {
        if changes.iter().any(|change| matches!(change, SlotChange::Take { .. })) {
            continue;
        }
        let (restaurant, number) = key;
        let holder = sqlx::query_scalar!(
            "SELECT internal_order_id FROM orders
             WHERE restaurant_id = $1 AND display_order_number = $2 AND released_at IS NULL
             ORDER BY internal_order_id DESC LIMIT 1",
            restaurant.as_i32(),
            number.as_i32()
        )
        .fetch_optional(&mut *connection)
        .await?;
        let Some(holder) = holder else { continue };
        let order = OrderId::try_from(holder).map_err(|_| LedgerError::Unreadable(format!("the order {holder}")))?;
        taken.push((*key, vec![SlotChange::Take { order, at: order.created_at() }]));
    }
    slots::write(connection, &taken).await
}

/// A row that is newer already keeps all its columns, and never had these.
async fn add_digest(
    connection: &mut Session<'_>,
    order: OrderId,
    digest: &IdempotencyDigest,
) -> Result<(), LedgerError> {
    sqlx::query!(
        "UPDATE orders SET idempotency_key = $2, idempotency_body = $3
         WHERE internal_order_id = $1 AND idempotency_key IS NULL",
        order.as_uuid(),
        digest.key.as_slice(),
        digest.body.as_slice()
    )
    .execute(connection)
    .await?;
    Ok(())
}
