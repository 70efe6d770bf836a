//! The database's shape: migrations, and what was fixed when the deployment was made.

use std::borrow::Cow;

use sqlx::{AssertSqlSafe, migrate::Migrator};
use uuid::Uuid;

use super::{connect::in_task, error::Cause, place, session::Session};
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

/// The migration that made the search by name as it was before [`TAKEN_BACK`].
const SEARCH: i64 = 3;

/// Statements of landed migrations that make something which a later one takes away again. A database that gets them all
/// at once does without: they need extensions, and not every account may create these.
const TAKEN_BACK: [&str; 4] = [
    "CREATE EXTENSION IF NOT EXISTS pg_trgm;",
    "CREATE EXTENSION IF NOT EXISTS btree_gin;",
    "CREATE INDEX orders_by_customer_name ON orders USING gin (restaurant_id, customer_name_folded gin_trgm_ops)
    WHERE customer_name_folded IS NOT NULL;",
    "DROP INDEX orders_by_customer_name;",
];

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
    /// [`LedgerError::Mismatch`] if the database has been migrated by a newer version, or otherwise, or is no place for a
    /// ledger.
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
            let applied = ledger.transaction(async |transaction| applied(transaction).await).await?;
            let is_applied = |version| applied.iter().any(|migration| migration.version == version);
            let migrator = migrator();
            let pending = migrator.iter().filter(|migration| !is_applied(migration.version));
            Ok(pending.map(|migration| format!("{:04} {}", migration.version, migration.description)).collect())
        })
        .await
    }

    /// Whether the ledger's tables can be made in this database, where there are none.
    ///
    /// # Errors
    /// [`LedgerError::Mismatch`] with what to do first; [`LedgerError::Unreachable`].
    pub(crate) async fn check_place(&self) -> Result<(), LedgerError> {
        let ledger = self.clone();
        in_task(async move {
            let tables = tables(&migrator());
            ledger
                .transaction(async |transaction| {
                    let is_new = applied(transaction).await?.is_empty();
                    if is_new { place::check_new(transaction, &tables).await } else { Ok(()) }
                })
                .await
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
        let made_for = deployment.partitions;
        return Err(LedgerError::Mismatch {
            what: format!("this database was made for {made_for} partitions, and the settings say {partitions}"),
            advice: format!("set partitions to {made_for}: the number is fixed when a deployment is made"),
        });
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

/// What the database has: nothing before its first migration. What another program has applied to tables of its own, with
/// the same tool, is none of ours.
async fn applied(connection: &mut Session<'_>) -> Result<Vec<Applied>, LedgerError> {
    // Asked of the catalog: to_regclass may still remember that there was nothing before the wait for another one that
    // migrates.
    let exists = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM pg_class WHERE relname = $1::text AND pg_table_is_visible(oid)) AS "exists!""#,
        MIGRATIONS_TABLE
    )
    .fetch_one(&mut *connection)
    .await?;
    if !exists {
        return Ok(Vec::new());
    }
    // Not a checked query: no migration makes this table.
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations WHERE success")
        .fetch_all(&mut *connection)
        .await?;
    let applied: Vec<Applied> = rows.into_iter().map(|(version, checksum)| Applied { version, checksum }).collect();
    let is_ours = applied.iter().any(is_of_this_program) || place::has_ledger(connection).await?;
    Ok(if is_ours { applied } else { Vec::new() })
}

fn is_of_this_program(applied: &Applied) -> bool {
    migrator().iter().any(|ours| ours.version == applied.version && *ours.checksum == *applied.checksum)
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
    let (applied, migrator) = (applied(connection).await?, migrator());
    if applied.is_empty() {
        place::check_new(connection, &tables(&migrator)).await?;
        sqlx::raw_sql(MAKE_MIGRATIONS_TABLE).execute(&mut *connection).await?;
    }
    if let Some(unknown) = applied.iter().find(|applied| !migrator.version_exists(applied.version)) {
        return Err(LedgerError::Mismatch {
            what: format!("the database has migration {}, which this version does not know", unknown.version),
            advice: "run the newer nowserving".to_owned(),
        });
    }
    let is_new = applied.iter().all(|applied| applied.version != SEARCH);
    for migration in migrator.iter() {
        let version = migration.version;
        match applied.iter().find(|applied| applied.version == version) {
            Some(applied) if Cow::Borrowed(applied.checksum.as_slice()) == migration.checksum => {}
            Some(_) => {
                return Err(LedgerError::Mismatch {
                    what: format!("migration {version} was applied by a version that had it otherwise"),
                    advice: "use a release of nowserving".to_owned(),
                });
            }
            None => {
                tracing::info!("applying migration {version:04} {}", migration.description);
                let mut text = migration.sql.as_str().to_owned();
                if is_new {
                    for statement in TAKEN_BACK {
                        text = text.replace(statement, "");
                    }
                }
                let done = sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut *connection).await;
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

/// The tables and sequences that migrations make outside of functions.
fn tables(migrator: &Migrator) -> Vec<String> {
    let made = |line: &str| {
        let rest = ["CREATE TABLE ", "CREATE SEQUENCE "].iter().find_map(|made| line.strip_prefix(made))?;
        Some(rest.split([' ', '(', ';']).next()?.to_owned())
    };
    let own = std::iter::once(MIGRATIONS_TABLE.to_owned());
    own.chain(migrator.iter().flat_map(|migration| migration.sql.as_str().lines().filter_map(made))).collect()
}

/// An error that trying again would only repeat, when the server has said so.
fn cannot_apply(version: i64, error: sqlx::Error) -> LedgerError {
    let source = Cause::from(error);
    if !source.is_answer() {
        return LedgerError::Unreachable { source };
    }
    let (what, advice) = LedgerError::Unreachable { source }.finding();
    LedgerError::Mismatch { what: format!("migration {version} cannot be applied: {what}"), advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_back_stands_in_the_migrations() {
        let migrator = migrator();
        let all: String = migrator.iter().map(|migration| migration.sql.as_str()).collect();
        for statement in TAKEN_BACK {
            assert_eq!(all.matches(statement).count(), 1, "{statement}");
        }
        let left = TAKEN_BACK.iter().fold(all, |text, statement| text.replace(statement, ""));
        assert!(!left.contains("EXTENSION") && !left.contains("USING gin"), "an extension is needed for something");
        assert!(
            migrator
                .iter()
                .any(|migration| migration.version == SEARCH && migration.sql.as_str().contains(TAKEN_BACK[0]))
        );
    }

    #[test]
    fn the_tables_are_those_that_the_migrations_make() {
        let tables = tables(&migrator());
        for name in ["_sqlx_migrations", "orders", "order_events", "import_sequence", "api_keys", "agreed_settings"] {
            assert!(tables.iter().any(|table| table == name), "{name}: {tables:?}");
        }
        assert!(tables.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_')), "{tables:?}");
    }
}
