//! What an operator wants to know of the server.

use super::{Ledger, LedgerError};
use crate::domain::Timestamp;

/// The state of the database, as far as it concerns the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerHealth {
    /// The server's version, as it names itself.
    pub version: String,
    /// The server's clock.
    pub now: Timestamp,
    /// Of this month and the eleven after it, how many have no partition yet.
    pub missing_months: u32,
    /// Entries that wait in `dead_letters`.
    pub dead_letters: u64,
    /// `fsync` of the server: without it a power loss may cost everything.
    pub fsync: bool,
    /// `synchronous_commit` of this connection: `off` may cost the last fraction of a second.
    pub synchronous_commit: String,
}

impl Ledger {
    /// Looks at the server.
    ///
    /// # Errors
    /// [`LedgerError::Away`], [`LedgerError::Schema`].
    pub async fn health(&self) -> Result<LedgerHealth, LedgerError> {
        let row = sqlx::query!(
            r#"SELECT current_setting('server_version') AS "version!", clock_timestamp() AS "now!",
                      (SELECT count(*) FROM generate_series(0, 11) AS ahead
                       WHERE to_regclass('orders' || to_char((now() AT TIME ZONE 'UTC') + make_interval(months => ahead),
                                                             '"_y"YYYY"m"MM')) IS NULL) AS "missing_months!",
                      (SELECT count(*) FROM dead_letters) AS "dead_letters!",
                      current_setting('fsync') = 'on' AS "fsync!",
                      current_setting('synchronous_commit') AS "synchronous_commit!""#
        )
        .fetch_one(self.single());
        let row = self.in_time(row).await?;
        Ok(LedgerHealth {
            version: row.version,
            now: row.now.into(),
            missing_months: u32::try_from(row.missing_months).unwrap_or(u32::MAX),
            dead_letters: row.dead_letters.unsigned_abs(),
            fsync: row.fsync,
            synchronous_commit: row.synchronous_commit,
        })
    }
}
