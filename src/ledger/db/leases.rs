//! Leases: which daemon does what only one of a deployment has to do. A lease spares the others the work, and proves
//! nothing: its holder may have been stopped for longer than it lasts.

use std::time::Duration;

use uuid::Uuid;

use crate::ledger::{Ledger, LedgerError};

impl Ledger {
    /// Takes a lease, or renews it for this long, by the server's clock. False while another has it.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`].
    pub(crate) async fn take_lease(&self, name: &str, holder: Uuid, lasts: Duration) -> Result<bool, LedgerError> {
        let taken = sqlx::query!(
            "INSERT INTO leases AS lease (name, holder, until) VALUES ($1, $2, now() + make_interval(secs => $3))
             ON CONFLICT (name) DO UPDATE SET holder = EXCLUDED.holder, until = EXCLUDED.until
             WHERE lease.holder = EXCLUDED.holder OR lease.until < now()",
            name,
            holder,
            lasts.as_secs_f64()
        )
        .execute(self.single());
        Ok(self.in_time(taken).await?.rows_affected() == 1)
    }

    /// Gives a lease back, if this one holds it.
    ///
    /// # Errors
    /// As [`Ledger::take_lease`].
    pub(crate) async fn give_back_lease(&self, name: &str, holder: Uuid) -> Result<(), LedgerError> {
        let given = sqlx::query!("DELETE FROM leases WHERE name = $1 AND holder = $2", name, holder);
        self.in_time(given.execute(self.single())).await.map(drop)
    }
}
