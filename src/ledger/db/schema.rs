//! The database's shape: migrations, and what was fixed when the deployment was made.

use std::borrow::Cow;

use sqlx::{AssertSqlSafe, migrate::Migrator};
use uuid::Uuid;

use super::{connect::in_task, session::Session};
use crate::{
    domain::PartitionId,
    ledger::{Ledger, LedgerError},
};

/// What was fixed when a deployment was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Tells deployments apart.
    pub id: Uuid,
    /// Into how many partitions the restaurants are sharded.
    pub partitions: u16,
    /// Keys the hash that the `random` policy draws from.
    pub seed: [u8; 16],
}

/// The table of sqlx's own tool, so that it can be used as well. It is made with the first migration.
const MIGRATIONS_TABLE: &str = "_sqlx_migrations";

const MAKE_MIGRATIONS_TABLE: &str = "CREATE TABLE _sqlx_migrations (
    version        bigint      PRIMARY KEY,
    description    text        NOT NULL,
    installed_on   timestamptz NOT NULL DEFAULT now(),
    success        boolean     NOT NULL,
    checksum       bytea       NOT NULL,
    execution_time bigint      NOT NULL
)";

/// Names the lock under which daemons take turns to migrate. It belongs to the transaction: a pooler has no sessions.
const MIGRATION_LOCK: &str = "nowserving migrate";

/// The migrations of this version. sqlx could also run them, but leaves named statements on the server.
fn migrator() -> Migrator {
    sqlx::migrate!()
}

impl Ledger {
    /// Brings the database to the shape that this version needs: all of it or, on an error, none. Safe to call from
    /// several daemons at once, and again. Takes as long as a migration needs for the rows that are there; where another
    /// one migrates, waits for its end.
    ///
    /// # Errors
    /// [`LedgerError::Schema`] if the database has been migrated by a newer version, or otherwise.
    pub async fn migrate(&self) -> Result<(), LedgerError> {
        let ledger = self.clone();
        in_task(async move {
            ledger
                .long_transaction(async |transaction| {
                    take_turn(transaction, ledger.lock_timeout_ms()).await?;
                    apply_pending(transaction).await
                })
                .await
        })
        .await
    }

    /// The migrations that this version has and the database has not; empty when it is ready.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`].
    pub async fn pending_migrations(&self) -> Result<Vec<String>, LedgerError> {
        let ledger = self.clone();
        in_task(async move {
            let applied = ledger.transaction(async |transaction| applied(transaction).await).await?.unwrap_or_default();
            let is_applied = |version| applied.iter().any(|migration| migration.version == version);
            let migrator = migrator();
            let pending = migrator.iter().filter(|migration| !is_applied(migration.version));
            Ok(pending.map(|migration| format!("{:04} {}", migration.version, migration.description)).collect())
        })
        .await
    }

    /// The deployment that this database belongs to; made, with so many partitions, where there is none yet.
    ///
    /// # Errors
    /// [`LedgerError::Mismatch`] if it was made with another number of partitions.
    pub async fn deployment(&self, partitions: u16) -> Result<Deployment, LedgerError> {
        let ledger = self.clone();
        in_task(async move { ledger.transaction(async |transaction| found(transaction, partitions).await).await }).await
    }

    /// The deployment that this database belongs to; None where no daemon has used it yet. Makes nothing.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`], [`LedgerError::Unreadable`].
    pub(crate) async fn known_deployment(&self) -> Result<Option<Deployment>, LedgerError> {
        let row = sqlx::query!("SELECT id, partitions, seed FROM deployment").fetch_optional(self.single());
        let row = self.in_time(row).await?;
        row.map(|row| deployment(row.id, row.partitions, row.seed)).transpose()
    }
}

fn deployment(id: Uuid, partitions: i16, seed: Vec<u8>) -> Result<Deployment, LedgerError> {
    let seed = seed.try_into().map_err(|_| LedgerError::Unreadable("the deployment's seed".to_owned()))?;
    Ok(Deployment { id, partitions: partitions.cast_unsigned(), seed })
}

async fn found(connection: &mut Session<'_>, partitions: u16) -> Result<Deployment, LedgerError> {
    sqlx::query!(
        "INSERT INTO deployment (partitions, seed)
         VALUES ($1, substring(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) FROM 1 FOR 16))
         ON CONFLICT DO NOTHING",
        partitions.cast_signed()
    )
    .execute(&mut *connection)
    .await?;
    let row = sqlx::query!("SELECT id, partitions, seed FROM deployment").fetch_one(&mut *connection).await?;
    let deployment = deployment(row.id, row.partitions, row.seed)?;
    if deployment.partitions != partitions {
        return Err(LedgerError::Mismatch(format!(
            "this database was made for {0} partitions, and the settings say {partitions}: the number is fixed when a \
             deployment is made; set partitions to {0}",
            deployment.partitions
        )));
    }
    let all: Vec<i16> = PartitionId::all(partitions).map(PartitionId::as_i16).collect();
    sqlx::query!("INSERT INTO outbox_progress (partition) SELECT unnest($1::smallint[]) ON CONFLICT DO NOTHING", &all)
        .execute(&mut *connection)
        .await?;
    Ok(deployment)
}

/// A migration that the database has.
struct Applied {
    version: i64,
    checksum: Vec<u8>,
}

/// What the database has; None before its first migration.
async fn applied(connection: &mut Session<'_>) -> Result<Option<Vec<Applied>>, LedgerError> {
    let exists = sqlx::query_scalar!(r#"SELECT to_regclass($1) IS NOT NULL AS "exists!""#, MIGRATIONS_TABLE)
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(None);
    }
    // Not a checked query: no migration makes this table.
    let rows: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations WHERE success").fetch_all(connection).await?;
    Ok(Some(rows.into_iter().map(|(version, checksum)| Applied { version, checksum }).collect()))
}

/// Waits while another one migrates, for as long as that takes. What the migrations then wait for is a table, and the
/// daemons wait behind them: that stays bounded.
async fn take_turn(connection: &mut Session<'_>, lock_timeout_ms: u128) -> Result<(), LedgerError> {
    sqlx::raw_sql("SET LOCAL lock_timeout = 0").execute(&mut *connection).await?;
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", MIGRATION_LOCK)
        .execute(&mut *connection)
        .await?;
    let bounded = format!("SET LOCAL lock_timeout = {lock_timeout_ms}");
    sqlx::raw_sql(AssertSqlSafe(bounded)).execute(&mut *connection).await?;
    Ok(())
}

async fn apply_pending(connection: &mut Session<'_>) -> Result<(), LedgerError> {
    let applied = match applied(connection).await? {
        Some(applied) => applied,
        None => {
            sqlx::raw_sql(MAKE_MIGRATIONS_TABLE).execute(&mut *connection).await?;
            Vec::new()
        }
    };
    let migrator = migrator();
    if let Some(unknown) = applied.iter().find(|applied| !migrator.version_exists(applied.version)) {
        return Err(LedgerError::Mismatch(format!(
            "the database has migration {}, which this version does not know: run the newer nowserving",
            unknown.version
        )));
    }
    for migration in migrator.iter() {
        let version = migration.version;
        match applied.iter().find(|applied| applied.version == version) {
            Some(applied) if Cow::Borrowed(applied.checksum.as_slice()) == migration.checksum => {}
            Some(_) => {
                return Err(LedgerError::Mismatch(format!(
                    "migration {version} was applied by a version that had it otherwise: use a release of nowserving"
                )));
            }
            None => {
                tracing::info!("applying migration {version:04} {}", migration.description);
                let done = sqlx::raw_sql(migration.sql.clone()).execute(&mut *connection).await;
                done.map_err(|error| cannot_apply(version, error))?;
                sqlx::query(
                    "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                     VALUES ($1, $2, true, $3, -1)",
                )
                .bind(version)
                .bind(&*migration.description)
                .bind(&*migration.checksum)
                .execute(&mut *connection)
                .await?;
            }
        }
    }
    Ok(())
}

/// An error that trying again would only repeat, when the server has said so.
fn cannot_apply(version: i64, error: sqlx::Error) -> LedgerError {
    match LedgerError::from(error) {
        LedgerError::Unreachable { source } if source.as_database_error().is_some() => {
            LedgerError::Mismatch(format!("migration {version} cannot be applied: {source}"))
        }
        other => other,
    }
}
