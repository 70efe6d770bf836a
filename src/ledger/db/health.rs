//! What an operator wants to know of the server.

use crate::{
    domain::Timestamp,
    ledger::{Ledger, LedgerError},
};

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
    /// When the oldest of them was put there.
    pub oldest_dead_letter: Option<Timestamp>,
    /// Whether it follows another server, or is still reading its log.
    pub in_recovery: bool,
    /// `default_transaction_read_only` of this connection.
    pub read_only: bool,
    /// How many connections it lets callers have in all.
    pub connections: u32,
    /// Whether what is said to it crosses a network in the clear.
    pub in_the_clear: bool,
    /// `fsync` of the server: without it a power loss may cost everything.
    pub fsync: bool,
    /// `synchronous_commit` of this connection: `off` may cost the last fraction of a second.
    pub synchronous_commit: String,
    /// The account of this connection. This and the names below are quoted where need be.
    pub account: String,
    /// The role that the tables belong to.
    pub owner: String,
    /// Whether the account has that role: months are made and dropped by the owner only.
    pub owns: bool,
    /// The schema of the tables.
    pub schema: String,
    /// The schema that a new month goes into; None where there is none.
    pub schema_of_new: Option<String>,
    /// Whether the account may make tables there.
    pub may_create: bool,
}

impl Ledger {
    /// The server's clock.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`].
    pub(crate) async fn clock(&self) -> Result<Timestamp, LedgerError> {
        let now = sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#).fetch_one(self.single());
        Ok(self.in_time(now).await?.into())
    }

    /// Looks at the server.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`].
    pub async fn health(&self) -> Result<LedgerHealth, LedgerError> {
        let row = sqlx::query!(
            r#"SELECT current_setting('server_version') AS "version!", clock_timestamp() AS "now!",
                      (SELECT count(*) FROM generate_series(0, 11) AS ahead
                       WHERE to_regclass('orders' || to_char((now() AT TIME ZONE 'UTC') + make_interval(months => ahead),
                                                             '"_y"YYYY"m"MM')) IS NULL) AS "missing_months!",
                      (SELECT count(*) FROM dead_letters) AS "dead_letters!",
                      (SELECT min(created_at) FROM dead_letters) AS oldest_dead_letter,
                      pg_is_in_recovery() AS "in_recovery!",
                      current_setting('default_transaction_read_only') = 'on' AS "read_only!",
                      current_setting('max_connections')::int
                          - current_setting('superuser_reserved_connections')::int AS "connections!",
                      coalesce(NOT (inet_client_addr() <<= '127.0.0.0/8' OR inet_client_addr() = '::1'), false)
                          AND NOT coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)
                          AS "in_the_clear!",
                      current_setting('fsync') = 'on' AS "fsync!",
                      current_setting('synchronous_commit') AS "synchronous_commit!",
                      quote_ident(current_user) AS "account!", quote_ident(pg_get_userbyid(o.relowner)) AS "owner!",
                      pg_has_role(o.relowner, 'USAGE') AS "owns!", o.relnamespace::regnamespace::text AS "schema!",
                      quote_ident(current_schema()) AS schema_of_new,
                      coalesce(has_schema_privilege(current_schema()::text, 'CREATE'), false) AS "may_create!"
               FROM pg_class AS o WHERE o.oid = 'orders'::regclass"#
        )
        .fetch_one(self.single());
        let row = self.in_time(row).await?;
        Ok(LedgerHealth {
            version: row.version,
            now: row.now.into(),
            missing_months: u32::try_from(row.missing_months).unwrap_or(u32::MAX),
            dead_letters: row.dead_letters.unsigned_abs(),
            oldest_dead_letter: row.oldest_dead_letter.map(Into::into),
            in_recovery: row.in_recovery,
            read_only: row.read_only,
            connections: row.connections.unsigned_abs(),
            in_the_clear: row.in_the_clear,
            fsync: row.fsync,
            synchronous_commit: row.synchronous_commit,
            account: row.account,
            owner: row.owner,
            owns: row.owns,
            schema: row.schema,
            schema_of_new: row.schema_of_new,
            may_create: row.may_create,
        })
    }
}
