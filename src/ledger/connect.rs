//! Reaching Postgres: the pool, its limits and timeouts.

use std::{future::Future, panic, sync::Arc, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgPool, Postgres, Transaction,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::timeout;

use super::{LedgerError, months::KnownMonths, slots::PurgeCursor};

/// How the ledger is reached.
#[derive(Debug, Clone)]
pub struct LedgerSettings {
    /// `postgres://user:password@host/database?…`
    pub url: String,
    /// At most this many connections at once.
    pub max_connections: u32,
    /// How long one statement may take.
    pub timeout_ms: u64,
    /// How long to wait for a connection.
    pub connect_timeout_ms: u64,
}

/// The durable record of orders. Cheap to clone: clones share their connections.
#[derive(Debug, Clone)]
pub struct Ledger {
    pub(super) pool: PgPool,
    pub(super) months: Arc<KnownMonths>,
    pub(super) purge_cursor: Arc<PurgeCursor>,
    timeout: Duration,
}

/// The oldest server that has all that the ledger uses.
const OLDEST_SERVER: i32 = 150_000;

/// A transaction may take this many times as long as one statement.
const STATEMENTS_A_TRANSACTION: u32 = 4;

impl Ledger {
    /// Prepares everything without connecting: Postgres may be away.
    ///
    /// # Errors
    /// [`LedgerError::Url`].
    pub fn lazy(settings: &LedgerSettings) -> Result<Self, LedgerError> {
        let mut options: PgConnectOptions =
            settings.url.parse().map_err(|error: sqlx::Error| LedgerError::Url(error.to_string()))?;
        // pgbouncer knows no extra_float_digits, and the ledger stores no floating point numbers.
        options = options.application_name("nowserving").extra_float_digits(None).disable_statement_logging();
        let timeout_ms = settings.timeout_ms;
        let pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(Duration::from_millis(settings.connect_timeout_ms))
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    let limit = format!("SET statement_timeout = {timeout_ms}");
                    sqlx::raw_sql(AssertSqlSafe(limit)).execute(connection).await.map(drop)
                })
            })
            .connect_lazy_with(options);
        Ok(Self {
            pool,
            months: Arc::default(),
            purge_cursor: Arc::default(),
            timeout: Duration::from_millis(timeout_ms),
        })
    }

    /// Connects and checks the server.
    ///
    /// # Errors
    /// As [`Ledger::lazy`] and [`Ledger::check`].
    pub async fn connect(settings: &LedgerSettings) -> Result<Self, LedgerError> {
        let ledger = Self::lazy(settings)?;
        ledger.check().await?;
        Ok(ledger)
    }

    /// Whether a server answers and is recent enough. Connects anew, so that it can say what is wrong.
    ///
    /// # Errors
    /// [`LedgerError::Away`], or [`LedgerError::Mismatch`] if the server is too old.
    pub async fn check(&self) -> Result<(), LedgerError> {
        let options = self.pool.connect_options();
        let limit = self.pool.options().get_acquire_timeout();
        let mut connection = timeout(limit, options.connect()).await.map_err(|_| LedgerError::timed_out())??;
        let server = self
            .in_time(
                sqlx::query!(
                    r#"SELECT current_setting('server_version_num')::int AS "number!",
                              current_setting('server_version') AS "name!""#
                )
                .fetch_one(&mut connection),
            )
            .await?;
        // A connection that cannot be closed is gone as well.
        let _ = connection.close().await;
        if server.number < OLDEST_SERVER {
            let oldest = OLDEST_SERVER / 10_000;
            return Err(LedgerError::Mismatch(format!(
                "Postgres {} is too old: nowserving needs version {oldest} or newer",
                server.name
            )));
        }
        Ok(())
    }

    /// Closes all connections; what still runs is finished first.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Awaits one statement, but not for ever: a server that is stopped or cut off never answers.
    pub(super) async fn in_time<T>(
        &self,
        statement: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, LedgerError> {
        let limit = self.timeout + self.pool.options().get_acquire_timeout();
        Ok(timeout(limit, statement).await.map_err(|_| LedgerError::timed_out())??)
    }

    /// Runs `work` in one transaction and commits it. To be called inside [`in_task`].
    ///
    /// If it takes too long or fails for any reason but its content, the connection is not used again.
    pub(super) async fn transaction<T>(
        &self,
        work: impl AsyncFnOnce(&mut Transaction<'_, Postgres>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let mut connection = self.pool.acquire().await?;
        let done = timeout(self.timeout * STATEMENTS_A_TRANSACTION, async {
            let mut transaction = self.begin(&mut connection).await?;
            match work(&mut transaction).await {
                Ok(value) => transaction.commit().await.map(|()| value).map_err(LedgerError::from),
                Err(error) => {
                    // Now, not some time after the drop: whoever tries again must not find its own locks.
                    let rolled_back = transaction.rollback().await;
                    if !matches!(error, LedgerError::Away { .. }) {
                        rolled_back?;
                    }
                    Err(error)
                }
            }
        })
        .await
        .unwrap_or_else(|_| Err(LedgerError::timed_out()));
        if matches!(done, Err(LedgerError::Away { .. })) {
            connection.close_on_drop();
        }
        done
    }

    /// One round trip: the transaction and its limits. A daemon that is stopped in the middle must not hold its locks
    /// for ever.
    async fn begin<'c>(
        &self,
        connection: &'c mut PoolConnection<Postgres>,
    ) -> Result<Transaction<'c, Postgres>, LedgerError> {
        let ms = self.timeout.as_millis();
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {ms}; SET LOCAL lock_timeout = {}; \
             SET LOCAL idle_in_transaction_session_timeout = {}",
            ms / 2 + 1,
            ms * 2
        );
        Ok(connection.begin_with(AssertSqlSafe(begin)).await?)
    }
}

/// Runs `work` to its end even if the caller goes away. It is bounded by the ledger's timeouts, and so needs no other
/// owner.
pub(super) async fn in_task<T: Send + 'static>(
    work: impl Future<Output = Result<T, LedgerError>> + Send + 'static,
) -> Result<T, LedgerError> {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(ended) if ended.is_panic() => panic::resume_unwind(ended.into_panic()),
        Err(_) => Err(LedgerError::Away { source: sqlx::Error::WorkerCrashed }),
    }
}
