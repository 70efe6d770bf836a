//! A table of another system, read from beginning to end for the back-fill.

use std::str::FromStr;

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};

use crate::ledger::{
    Ledger,
    db::{error::Cause, session::Session},
};

/// Why a table cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForeignError {
    /// The URL makes no sense. What the parser says is dropped: it may quote the password.
    #[error("not a Postgres URL; write postgres://user:password@host:5432/database")]
    Url,
    /// No connection.
    #[error("the database that holds the table cannot be reached: {0}; check --source-url, and that the server runs")]
    Unreachable(#[source] Cause),
    /// No such table.
    #[error("there is no table or view {0} (write schema.table, and a name with capitals in \"quotes\")")]
    NotFound(String),
    /// It cannot be read, or not to its end.
    #[error("the table cannot be read: {0}; the account must be allowed to (GRANT SELECT)")]
    Read(#[source] Cause),
}

/// A table being read, in one read-only transaction: all of it as it was at one instant.
#[derive(Debug)]
pub(crate) struct ForeignTable {
    connection: PgConnection,
    name: String,
    columns: Vec<String>,
    estimate: Option<u64>,
    in_utc: bool,
}

/// The driver takes any scheme for its own.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// The names of UTC.
const UTC: [&str; 7] = ["UTC", "Etc/UTC", "Etc/UCT", "UCT", "GMT", "Etc/GMT", "Zulu"];

const CURSOR: &str = "nowserving_backfill";

impl Ledger {
    /// Opens a table or view, named as in SQL, in the database at `url`; None: in the ledger's own.
    ///
    /// # Errors
    /// [`ForeignError`].
    pub(crate) async fn foreign_table(&self, url: Option<&str>, table: &str) -> Result<ForeignTable, ForeignError> {
        let options = match url {
            Some(url) if SCHEMES.iter().any(|scheme| url.starts_with(scheme)) => {
                PgConnectOptions::from_str(url).map_err(|_| ForeignError::Url)?
            }
            Some(_) => return Err(ForeignError::Url),
            None => self.connect_options(),
        };
        let options = options.application_name("nowserving backfill").extra_float_digits(None);
        let connection = self
            .connect_anew(&options.disable_statement_logging())
            .await
            .map_err(|e| ForeignError::Unreachable(e.into()))?;
        ForeignTable::open(connection, table).await
    }
}

impl ForeignTable {
    async fn open(mut connection: PgConnection, table: &str) -> Result<Self, ForeignError> {
        // The whole table takes as long as it takes, and between two pieces of it other servers are at work.
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0; \
                     SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL timezone = 'UTC'";
        sqlx::raw_sql(begin).execute(&mut connection).await.map_err(unread)?;
        // Postgres itself reads the name, by its own rules of quoting and with its search path, and gives it back
        // qualified and quoted: nothing of what the user wrote gets into a statement.
        let found = sqlx::query!(
            r#"SELECT format('%I.%I', n.nspname, c.relname) AS "name!", c.reltuples::bigint AS "estimate!",
                      ARRAY(SELECT a.attname::text FROM pg_attribute AS a
                            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                            ORDER BY a.attnum) AS "columns!"
               FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
               WHERE c.oid = to_regclass($1) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"#,
            table
        )
        .fetch_optional(&mut Session::within(&mut connection))
        .await
        .map_err(|error| match &error {
            // A name that is none: a syntax error, too many parts, another database's.
            sqlx::Error::Database(refused)
                if refused.code().is_some_and(|code| code.starts_with("42") || code == "0A000") =>
            {
                ForeignError::NotFound(table.to_owned())
            }
            _ => unread(error),
        })?
        .ok_or_else(|| ForeignError::NotFound(table.to_owned()))?;
        // Postgres does not know the size of a view, nor that of a table it has never looked at.
        let estimate = u64::try_from(found.estimate).ok().filter(|rows| *rows > 0);
        // The driver sets the session's zone. The zone of the server's log comes from its machine, as that of its
        // sessions does.
        let zone: String = sqlx::query_scalar("SELECT current_setting('log_timezone')")
            .fetch_one(&mut Session::within(&mut connection))
            .await
            .map_err(unread)?;
        let in_utc = UTC.iter().any(|name| zone.eq_ignore_ascii_case(name));
        Ok(Self { connection, name: found.name, columns: found.columns, estimate, in_utc })
    }

    /// The name, qualified.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The names of its columns.
    #[must_use]
    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// About how many rows it has, where Postgres knows.
    #[must_use]
    pub(crate) fn estimate(&self) -> Option<u64> {
        self.estimate
    }

    /// Whether its server keeps UTC: then times without a zone are UTC, be they its own or an application's.
    #[must_use]
    pub(crate) fn is_in_utc(&self) -> bool {
        self.in_utc
    }

    /// Begins to read these of its columns; those in `as_text` keep all their digits.
    ///
    /// # Errors
    /// [`ForeignError::Read`].
    pub(crate) async fn select(&mut self, columns: &[&str], as_text: &[&str]) -> Result<(), ForeignError> {
        let part = |column: &&str| {
            let quoted = quote(column);
            if as_text.contains(column) { format!("{quoted}::text AS {quoted}") } else { quoted }
        };
        let columns: Vec<String> = columns.iter().map(part).collect();
        // Which columns there are, and of which types, is known only now, so this cannot be a checked query; and as JSON
        // it needs no knowledge of the types: Postgres writes times, numbers and texts alike in one known way. Only
        // names that Postgres has given us are in the statement, and they are quoted.
        let declare = format!(
            "DECLARE {CURSOR} NO SCROLL CURSOR FOR SELECT row_to_json(o)::text FROM (SELECT {} FROM {}) AS o",
            columns.join(", "),
            self.name
        );
        sqlx::raw_sql(AssertSqlSafe(declare)).execute(&mut self.connection).await.map_err(unread)?;
        Ok(())
    }

    /// The next rows, each as a JSON object; none at the end.
    ///
    /// # Errors
    /// [`ForeignError::Read`].
    pub(crate) async fn next(&mut self, limit: u32) -> Result<Vec<String>, ForeignError> {
        let fetch = format!("FETCH {limit} FROM {CURSOR}");
        sqlx::query_scalar(AssertSqlSafe(fetch))
            .fetch_all(&mut Session::within(&mut self.connection))
            .await
            .map_err(unread)
    }

    /// Ends the transaction and the connection.
    pub(crate) async fn close(mut self) {
        // Nothing was written, so it does not matter how it ends; but a pooler keeps a server only where it ends in order.
        let _ = sqlx::raw_sql("COMMIT").execute(&mut self.connection).await;
        let _ = self.connection.close().await;
    }
}

fn unread(error: sqlx::Error) -> ForeignError {
    ForeignError::Read(error.into())
}

/// A name as Postgres takes it, whatever is in it.
fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn quoted_names_stay_names() {
        assert_eq!(quote("id"), r#""id""#);
        assert_eq!(quote(r#"a"; DROP TABLE orders; --"#), r#""a""; DROP TABLE orders; --""#);
    }
}
