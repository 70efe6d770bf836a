//! Retention: the months ahead are made, and those that are wholly older than is kept are let go of.

use tokio_util::sync::CancellationToken;

use crate::{
    allocator::decode_entry,
    config::LedgerSettings,
    domain::Timestamp,
    ledger::{DeadLetter, Detached, MonthlyTable, StoredMonth},
    metrics,
    service::{ServiceError, Upkeep},
};

/// Months are made this far ahead.
const AHEAD_MS: i64 = 366 * DAY_MS;
const DAY_MS: i64 = 86_400_000;

/// Rows that one step of a purge looks at.
const PURGE_STEP: u32 = 10_000;

/// Dead letters that are read at a time.
const LETTERS_AT_A_TIME: u32 = 500;

/// For how many days a table's rows are kept. 0: for ever.
fn days_of(table: MonthlyTable, kept: &LedgerSettings) -> i64 {
    i64::from(match table {
        MonthlyTable::Orders => kept.retain_orders_days,
        MonthlyTable::Events => kept.retain_events_days,
    })
}

impl Upkeep {
    /// Removes the slots of numbers that have rested, unless the clocks do not agree: it cannot be undone.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable, or Redis has not told the time yet.
    pub(crate) async fn purge_rests(&self, stop: &CancellationToken) -> Result<(), ServiceError> {
        if !self.compare_clocks().await?.agree() {
            tracing::debug!("no rest is forgotten while the clocks do not agree");
            return Ok(());
        }
        while !stop.is_cancelled() && !self.ledger.purge_slots(self.allocator.now()?, PURGE_STEP).await?.wrapped {}
        Ok(())
    }

    /// Makes the months ahead, and lets go of those that are wholly older than is kept and that nothing needs: no number
    /// that is not free, and no change that was dead-lettered. Any number of daemons may do so at once.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable; a later call does what this one did not.
    pub async fn keep_months(&self, kept: &LedgerSettings, stop: &CancellationToken) -> Result<(), ServiceError> {
        let now = self.allocator.now()?;
        self.ledger.ensure_months(now, now.plus_ms(AHEAD_MS)).await?;
        metrics::months_ahead(self.ledger.months_ahead(now).await?);
        // What a crash left.
        self.drop_months().await?;
        let due = self.months_due(kept, now).await?;
        // It cannot be undone.
        if !due.is_empty() && !self.compare_clocks().await?.agree() {
            tracing::warn!(months = due.len(), "no month is let go of while the clocks do not agree");
            self.ledger.months_over(&[]).await?;
            return Ok(());
        }
        let over = self.ledger.months_over(&due).await?;
        if over.is_empty() {
            return Ok(());
        }
        let needed_from = self.dead_lettered_since().await?;
        for month in over {
            if stop.is_cancelled() {
                return Ok(());
            }
            let (table, first_day) = (month.table.name(), month.first_day);
            if needed_from.is_some_and(|from| from < month.end()) {
                tracing::debug!(table, %first_day, "a month is kept: changes that the ledger refused wait for it");
                continue;
            }
            let recent = now.plus_ms(-days_of(month.table, kept) * DAY_MS);
            match self.ledger.detach_month(month, recent).await? {
                Detached::Done => tracing::info!(table, %first_day, "a month is older than is kept: letting go of it"),
                Detached::InUse => {
                    tracing::debug!(table, %first_day, "a month is kept: one of its orders has a number")
                }
                Detached::Recent => {
                    tracing::debug!(table, %first_day, "a month is kept: one of its orders has changed lately")
                }
                Detached::Busy => tracing::debug!(table, %first_day, "a month is left for later: others work there"),
            }
        }
        self.drop_months().await
    }

    async fn months_due(&self, kept: &LedgerSettings, now: Timestamp) -> Result<Vec<StoredMonth>, ServiceError> {
        let is_due = |month: &StoredMonth| {
            let days = days_of(month.table, kept);
            days > 0 && month.end() <= now.plus_ms(-days * DAY_MS)
        };
        if kept.retain_orders_days == 0 && kept.retain_events_days == 0 {
            return Ok(Vec::new());
        }
        Ok(self.ledger.stored_months().await?.into_iter().filter(is_due).collect())
    }

    async fn drop_months(&self) -> Result<(), ServiceError> {
        for table in self.ledger.drop_detached().await? {
            tracing::info!(table, "dropped a month that was let go of");
        }
        Ok(())
    }

    /// From when on the ledger must be kept as it is for the changes that it refused: they may be written yet.
    async fn dead_lettered_since(&self) -> Result<Option<Timestamp>, ServiceError> {
        let (mut since, mut after) = (None, 0);
        loop {
            let letters = self.ledger.dead_letters(after, LETTERS_AT_A_TIME).await?;
            let Some(last) = letters.last() else { return Ok(since) };
            after = last.id;
            since = letters.iter().map(needs_from).chain(since).min();
        }
    }
}

/// The oldest row that a dead letter is about; one that cannot be read may be about any.
fn needs_from(letter: &DeadLetter) -> Timestamp {
    match decode_entry(letter.partition, letter.sequence, &letter.entry) {
        Ok(event) => event.order().map_or(event.at, |order| event.at.min(order.created_at())),
        Err(_) => Timestamp::from_unix_ms(0),
    }
}
