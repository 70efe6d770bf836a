//! Entries that cannot be written for what they hold.

use sqlx::PgConnection;

use super::{LedgerError, batch::DueEntry};

/// An entry, and why it is put aside.
pub(super) struct DeadLetter<'a> {
    pub due: DueEntry<'a>,
    /// None if it could not even be read.
    pub sqlstate: Option<String>,
    pub reason: String,
}

/// Keeps the entries' bytes.
pub(super) async fn bury(connection: &mut PgConnection, dead: &[DeadLetter<'_>]) -> Result<(), LedgerError> {
    if dead.is_empty() {
        return Ok(());
    }
    let partitions: Vec<i16> = dead.iter().map(|letter| letter.due.partition.as_i16()).collect();
    let generations: Vec<i64> = dead.iter().map(|letter| letter.due.generation.cast_signed()).collect();
    let sequences: Vec<i64> = dead.iter().map(|letter| letter.due.entry.sequence.cast_signed()).collect();
    let entries: Vec<&[u8]> = dead.iter().map(|letter| letter.due.entry.raw.as_slice()).collect();
    let sqlstates: Vec<Option<&str>> = dead.iter().map(|letter| letter.sqlstate.as_deref()).collect();
    // A reason may quote the entry, and Postgres stores no NUL.
    let reasons: Vec<String> = dead.iter().map(|letter| letter.reason.replace('\0', "\\0")).collect();
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
