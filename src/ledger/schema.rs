//! The database's shape: migrations, and what was fixed when the deployment was made.

use sqlx::migrate::{Migrate, MigrateError, Migrator};
use uuid::Uuid;

use super::{Ledger, LedgerError, connect::in_task};
use crate::domain::PartitionId;

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

const MIGRATIONS_TABLE: &str = "_sqlx_migrations";

/// Names the lock under which daemons take turns to migrate.
const MIGRATION_LOCK: &str = "nowserving migrate";

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!();
    // Its lock belongs to a session, which pgbouncer does not have; the lock of our transaction does the same.
    migrator.set_locking(false);
    migrator
}

impl Ledger {
    /// Brings the database to the shape that this version needs: all of it or, on an error, none. Safe to call from
    /// several daemons at once, and again.
    ///
    /// # Errors
    /// [`LedgerError::Schema`] if the database has been migrated by a newer version, or otherwise.
    pub async fn migrate(&self) -> Result<(), LedgerError> {
        let ledger = self.clone();
        in_task(async move {
            ledger
                .transaction(async |transaction| {
                    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", MIGRATION_LOCK)
                        .execute(&mut **transaction)
                        .await?;
                    migrator().run_direct(None, &mut **transaction, false).await.map_err(explain)
                })
                .await
        })
        .await
    }

    /// The migrations that this version has and the database has not; empty when it is ready.
    ///
    /// # Errors
    /// [`LedgerError::Away`].
    pub async fn pending_migrations(&self) -> Result<Vec<String>, LedgerError> {
        let ledger = self.clone();
        in_task(async move {
            let mut connection = ledger.pool.acquire().await?;
            let exists = sqlx::query_scalar!(r#"SELECT to_regclass($1) IS NOT NULL AS "exists!""#, MIGRATIONS_TABLE)
                .fetch_one(&mut *connection)
                .await?;
            let applied = if exists {
                connection.list_applied_migrations(MIGRATIONS_TABLE).await.map_err(explain)?
            } else {
                vec![]
            };
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
}

async fn found(connection: &mut sqlx::PgConnection, partitions: u16) -> Result<Deployment, LedgerError> {
    sqlx::query!(
        "INSERT INTO deployment (partitions, seed)
         VALUES ($1, substring(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) FROM 1 FOR 16))
         ON CONFLICT DO NOTHING",
        partitions.cast_signed()
    )
    .execute(&mut *connection)
    .await?;
    let row = sqlx::query!("SELECT id, partitions, seed FROM deployment").fetch_one(&mut *connection).await?;
    let deployment = Deployment {
        id: row.id,
        partitions: row.partitions.cast_unsigned(),
        seed: row.seed.try_into().map_err(|_| LedgerError::Unreadable("the deployment's seed".to_owned()))?,
    };
    if deployment.partitions != partitions {
        return Err(LedgerError::Mismatch(format!(
            "this database was made for {} partitions, and the settings say {partitions}: the number is fixed when a \
             deployment is made",
            deployment.partitions
        )));
    }
    let all: Vec<i16> = PartitionId::all(partitions).map(PartitionId::as_i16).collect();
    sqlx::query!("INSERT INTO outbox_progress (partition) SELECT unnest($1::smallint[]) ON CONFLICT DO NOTHING", &all)
        .execute(&mut *connection)
        .await?;
    Ok(deployment)
}

fn explain(error: MigrateError) -> LedgerError {
    match error {
        MigrateError::Execute(error) => error.into(),
        MigrateError::ExecuteMigration(error, version) => match LedgerError::from(error) {
            LedgerError::Away { source } if source.as_database_error().is_some() => {
                LedgerError::Mismatch(format!("migration {version} cannot be applied: {source}"))
            }
            other => other,
        },
        MigrateError::VersionMissing(version) => LedgerError::Mismatch(format!(
            "the database has migration {version}, which this version does not know: run the newer nowserving"
        )),
        other => LedgerError::Mismatch(format!("the database cannot be migrated: {other}")),
    }
}
