//! Reaching Postgres: the pool, its limits and timeouts.

use std::{future::Future, panic, sync::Arc, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgConnection, Postgres,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::timeout;
use tracing::Instrument;

use super::{
    error::is_unreachable,
    session::{Session, Single},
};
use crate::{
    config::LedgerSettings,
    ledger::{Ledger, LedgerError},
    telemetry,
};

/// The connections to Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Connections {
    /// Open, and in use.
    pub busy: u32,
    /// Open, and not in use.
    pub idle: u32,
    /// How many may be open.
    pub limit: u32,
}

/// The oldest server that has all that the ledger uses.
const OLDEST_SERVER: i32 = 150_000;

/// The encoding that has all letters, and in which Postgres knows them for letters.
const ENCODING: &str = "UTF8";

/// A transaction may take this many times as long as one statement.
const STATEMENTS_A_TRANSACTION: u32 = 4;

impl Ledger {
    /// Prepares everything without connecting: Postgres may be unreachable. The URL is not always that of the settings: a
    /// private server has its own.
    ///
    /// # Errors
    /// [`LedgerError::Url`].
    pub fn lazy(url: &str, settings: &LedgerSettings) -> Result<Self, LedgerError> {
        let mut options: PgConnectOptions =
            url.parse().map_err(|error: sqlx::Error| LedgerError::Url(error.to_string()))?;
        // pgbouncer knows no extra_float_digits, and floating point numbers travel as they are, not as digits.
        options = options.application_name("nowserving").extra_float_digits(None).disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(Duration::from_millis(settings.connect_timeout_ms))
            .connect_lazy_with(options);
        Ok(Self {
            pool,
            months: Arc::default(),
            purge_cursor: Arc::default(),
            timeout: Duration::from_millis(settings.timeout_ms),
        })
    }

    /// Connects and checks the server.
    ///
    /// # Errors
    /// As [`Ledger::lazy`] and [`Ledger::check`].
    pub async fn connect(url: &str, settings: &LedgerSettings) -> Result<Self, LedgerError> {
        let ledger = Self::lazy(url, settings)?;
        ledger.check().await?;
        Ok(ledger)
    }

    /// Whether a server answers, is recent enough, and can keep every text. Connects anew, so that it can say what is
    /// wrong.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], or [`LedgerError::Mismatch`] if the server or the database does not fit.
    pub async fn check(&self) -> Result<(), LedgerError> {
        let mut connection = self.connect_anew(&self.connect_options()).await?;
        let answer = async {
            self.begin(&mut connection).await?;
            let server = sqlx::query!(
                r#"SELECT current_setting('server_version_num')::int AS "number!",
                          current_setting('server_version') AS "name!", current_database()::text AS "database!",
                          current_setting('server_encoding') AS "encoding!""#
            )
            .fetch_one(&mut Session::within(&mut connection))
            .await?;
            sqlx::raw_sql("COMMIT").execute(&mut connection).await?;
            Ok(server)
        };
        let server = self.in_time(answer).await?;
        // A connection that cannot be closed is gone as well.
        let _ = connection.close().await;
        if server.number < OLDEST_SERVER {
            let oldest = OLDEST_SERVER / 10_000;
            return Err(LedgerError::Mismatch {
                what: format!("Postgres {} is too old", server.name),
                advice: format!("nowserving needs version {oldest} or newer"),
            });
        }
        if server.encoding != ENCODING {
            return Err(LedgerError::Mismatch {
                what: format!("the database {} is encoded in {}, not {ENCODING}", server.database, server.encoding),
                advice: format!(
                    "make another one (CREATE DATABASE nowserving ENCODING '{ENCODING}' TEMPLATE template0), and let database_url \
                     lead there: names with letters like é or 🌮 cannot be kept, or not be found, in this one"
                ),
            });
        }
        Ok(())
    }

    /// How many connections there are at this moment.
    #[must_use]
    pub(crate) fn connections(&self) -> Connections {
        let idle = u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX);
        let busy = self.pool.size().saturating_sub(idle);
        Connections { busy, idle, limit: self.pool.options().get_max_connections() }
    }

    /// Closes all connections; what still runs is finished first.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// How the ledger's database is reached.
    pub(in crate::ledger) fn connect_options(&self) -> PgConnectOptions {
        (*self.pool.connect_options()).clone()
    }

    /// A connection outside of the pool.
    pub(in crate::ledger) async fn connect_anew(
        &self,
        options: &PgConnectOptions,
    ) -> Result<PgConnection, sqlx::Error> {
        let limit = self.pool.options().get_acquire_timeout();
        timeout(limit, options.connect())
            .await
            .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
    }

    /// Runs one statement. To be awaited within [`Ledger::in_time`].
    pub(in crate::ledger) fn single(&self) -> Single<'_> {
        Single(self)
    }

    /// Awaits one statement, but not for ever: a server that is stopped or cut off never answers.
    pub(in crate::ledger) async fn in_time<T>(
        &self,
        statement: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, LedgerError> {
        let limit = self.timeout + self.pool.options().get_acquire_timeout();
        let answer = timeout(limit, statement).instrument(telemetry::postgres_span());
        Ok(answer.await.map_err(|_| LedgerError::timed_out())??)
    }

    /// Runs `work` in one transaction and commits it. To be called inside [`in_task`], so that what was begun is done.
    ///
    /// If it takes too long or fails for any reason but its content, the connection is not used again.
    pub(in crate::ledger) async fn transaction<T>(
        &self,
        work: impl AsyncFnOnce(&mut Session<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let limit = self.timeout * STATEMENTS_A_TRANSACTION;
        let done = timeout(limit, self.lend(work, |error| matches!(error, LedgerError::Unreachable { .. }))).await;
        done.unwrap_or_else(|_| Err(LedgerError::timed_out()))
    }

    /// As [`Ledger::transaction`], for work that takes as long as the tables are large. Only what waits for a lock is
    /// bounded, because others queue behind it. A caller that goes away undoes it.
    pub(super) async fn long_transaction<T>(
        &self,
        work: impl AsyncFnOnce(&mut Session<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let unbounded = async |session: &mut Session<'_>| {
            sqlx::raw_sql("SET LOCAL statement_timeout = 0").execute(&mut *session).await?;
            work(session).await
        };
        self.lend(unbounded, |error| matches!(error, LedgerError::Unreachable { .. })).await
    }

    /// How long a statement may wait for a lock.
    pub(super) fn lock_timeout_ms(&self) -> u128 {
        self.timeout.as_millis() / 2 + 1
    }

    /// Runs one statement in a transaction, for [`Single`].
    pub(super) async fn single_statement<T>(
        &self,
        work: impl AsyncFnOnce(&mut Session<'_>) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        self.lend(work, is_unreachable).await
    }

    async fn lend<T, E: From<sqlx::Error>>(
        &self,
        work: impl AsyncFnOnce(&mut Session<'_>) -> Result<T, E>,
        is_unreachable: impl Fn(&E) -> bool,
    ) -> Result<T, E> {
        let mut lent = Lent { connection: self.pool.acquire().await?, is_clean: false };
        self.begin(&mut lent.connection).await?;
        match work(&mut Session::within(&mut lent.connection)).await {
            Ok(value) => {
                sqlx::raw_sql("COMMIT").execute(&mut *lent.connection).await?;
                lent.is_clean = true;
                Ok(value)
            }
            Err(error) => {
                // Now, not some time after the drop: a caller that tries again must not find its own locks.
                let rolled_back = sqlx::raw_sql("ROLLBACK").execute(&mut *lent.connection).await;
                if !is_unreachable(&error) {
                    rolled_back?;
                    lent.is_clean = true;
                }
                Err(error)
            }
        }
    }

    /// One round trip: the transaction and its limits, which the server keeps when this process does not. A daemon that
    /// is stopped in the middle must not hold its locks for ever. A statement that no caller waits for any more must
    /// end.
    async fn begin(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let ms = self.timeout.as_millis();
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {ms}; SET LOCAL lock_timeout = {}; \
             SET LOCAL idle_in_transaction_session_timeout = {}",
            self.lock_timeout_ms(),
            ms * 2
        );
        sqlx::raw_sql(AssertSqlSafe(begin)).execute(connection).await.map(drop)
    }
}

/// A connection of the pool, which takes it back only after the transaction has ended: a call that was dropped half-way
/// leaves an answer on it that the next caller would take for its own.
struct Lent {
    connection: PoolConnection<Postgres>,
    is_clean: bool,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.is_clean {
            self.connection.close_on_drop();
        }
    }
}

/// Runs `work` to its end even if the caller goes away. It is bounded by the ledger's timeouts, and so needs no other
/// owner.
pub(in crate::ledger) async fn in_task<T: Send + 'static>(
    work: impl Future<Output = Result<T, LedgerError>> + Send + 'static,
) -> Result<T, LedgerError> {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(ended) if ended.is_panic() => panic::resume_unwind(ended.into_panic()),
        Err(_) => Err(LedgerError::Unreachable { source: sqlx::Error::WorkerCrashed.into() }),
    }
}
