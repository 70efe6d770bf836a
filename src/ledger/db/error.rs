//! What can go wrong with the ledger, told apart by what to do about it.

use std::{fmt, io};

/// Why the ledger did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Postgres cannot do it now: not reached, too slow, stopping, full, read-only, or the account may not. Trying again
    /// makes sense. What was being written is written either wholly or not at all.
    #[error("{}: {source}", source.kind().what())]
    Unreachable {
        /// What the driver knows; it never holds the password.
        #[source]
        source: Cause,
    },
    /// Postgres will never take this content (SQLSTATE classes 22 and 23).
    #[error("Postgres refuses the content ({sqlstate}): {reason}")]
    Content {
        /// The five characters of the SQLSTATE.
        sqlstate: String,
        /// The server's message, without the values.
        reason: String,
    },
    /// The database does not have the tables that this version needs.
    #[error("the database is not migrated ({reason}): run `nowserving migrate`")]
    Schema {
        /// What is missing.
        reason: String,
    },
    /// The database belongs to a deployment that was made otherwise, to another program, or to a server that does not
    /// fit.
    #[error("{what}: {advice}")]
    Mismatch {
        /// What is so.
        what: String,
        /// What to do about it.
        advice: String,
    },
    /// The connection URL cannot be used.
    #[error("the database URL is not usable: {0}")]
    Url(String),
    /// A stored row does not make sense to this version.
    #[error("unreadable row in the ledger: {0}")]
    Unreadable(String),
}

/// What the driver says, without its words around it and without the line of Postgres's own source that it adds.
#[derive(Debug)]
pub struct Cause(sqlx::Error);

impl Cause {
    /// What kind of trouble it is.
    fn kind(&self) -> Trouble {
        match &self.0 {
            sqlx::Error::Database(said) => Trouble::of(&said.code().unwrap_or_default()),
            sqlx::Error::Tls(_) => Trouble::Tls,
            _ => Trouble::Away,
        }
    }

    /// Whether Postgres itself has said it.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self.0, sqlx::Error::Database(_))
    }
}

impl From<sqlx::Error> for Cause {
    fn from(error: sqlx::Error) -> Self {
        Self(error)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            sqlx::Error::Database(said) => f.write_str(said.message()),
            sqlx::Error::Io(error) => write!(f, "{error}"),
            sqlx::Error::Tls(error) | sqlx::Error::Configuration(error) => write!(f, "{error}"),
            sqlx::Error::PoolTimedOut => f.write_str("no connection became free in time"),
            other => write!(f, "{other}"),
        }
    }
}

impl std::error::Error for Cause {}

/// Kinds of trouble with a Postgres, by what is done about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Away,
    Busy,
    Starting,
    Login,
    NoDatabase,
    Rights,
    TooMany,
    Space,
    ReadOnly,
    Taken,
    Tls,
    Refusal,
}

impl Trouble {
    /// By the SQLSTATE.
    fn of(sqlstate: &str) -> Self {
        match sqlstate {
            "42501" => Self::Rights,
            "3D000" => Self::NoDatabase,
            "25006" => Self::ReadOnly,
            "53100" => Self::Space,
            "53300" => Self::TooMany,
            "57P03" => Self::Starting,
            "55P03" | "57014" | "40001" | "40P01" => Self::Busy,
            "42P07" | "42710" | "42723" => Self::Taken,
            _ => match sqlstate.get(..2) {
                Some("28") => Self::Login,
                Some("08" | "53" | "57" | "58") => Self::Away,
                _ => Self::Refusal,
            },
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Away | Self::Busy | Self::Starting | Self::TooMany => "Postgres is not available",
            Self::Login => "Postgres does not let this account in",
            Self::NoDatabase => "Postgres has no such database",
            Self::Rights => "this account may not do that in Postgres",
            Self::Space => "Postgres cannot write",
            Self::ReadOnly => "Postgres takes no changes",
            Self::Tls => "no TLS connection to Postgres can be made",
            Self::Taken | Self::Refusal => "Postgres refused a statement",
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Away => "check database_url (NOWSERVING_DATABASE_URL) and that the server runs",
            Self::Busy => "other sessions hold its tables (pg_stat_activity shows them): wait, then try again",
            Self::Starting => "it starts, or stops: wait, then try again",
            Self::Login => {
                "check the user and the password in database_url (NOWSERVING_DATABASE_URL; PGPASSWORD where that has none), \
                 and pg_hba.conf there"
            }
            Self::NoDatabase => {
                "correct its name in database_url (NOWSERVING_DATABASE_URL), or make it: CREATE DATABASE … OWNER … ENCODING \
                 'UTF8' TEMPLATE template0"
            }
            Self::Rights => {
                "the account must own the tables, and may connect and make more of them: see docs/operations/managed.md, and \
                 `nowserving doctor`"
            }
            Self::TooMany => "raise max_connections there, lower ledger.max_connections, or put a pgbouncer in between",
            Self::Space => "free some space on the disk of that server",
            Self::ReadOnly => {
                "let database_url lead to the primary (the service's address for writers, or a proxy), or switch \
                 default_transaction_read_only off"
            }
            Self::Taken => {
                "another program has that name there: give the account a schema of its own, or use another database"
            }
            Self::Tls => {
                "check the certificate: sslrootcert=FILE in database_url (NOWSERVING_DATABASE_URL) names the CA that signed \
                 it; sslmode=verify-full also wants the host's name in it, verify-ca does not"
            }
            Self::Refusal => "see the log of Postgres for the statement",
        }
    }
}

impl LedgerError {
    /// What is so, and what to do where the database cannot be used at all.
    #[must_use]
    pub(crate) fn finding(&self) -> (String, String) {
        match self {
            Self::Mismatch { what, advice } => (what.clone(), advice.clone()),
            Self::Schema { reason } => {
                (format!("it is not migrated ({reason})"), "run `nowserving migrate`".to_owned())
            }
            Self::Unreachable { source } => (self.to_string(), advice_on(source).to_owned()),
            Self::Url(_) => (self.to_string(), "write postgres://user:password@host:5432/database".to_owned()),
            Self::Content { .. } | Self::Unreadable(_) => {
                (self.to_string(), "see that no other program writes to these tables".to_owned())
            }
        }
    }

    /// The answer that did not come in time.
    #[must_use]
    pub(crate) fn timed_out() -> Self {
        let late = sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
        Self::Unreachable { source: late.into() }
    }

    /// Whether a month was missing: Postgres reports it as a violated check that has no name.
    pub(in crate::ledger) fn is_missing_month(&self) -> bool {
        matches!(self, Self::Content { sqlstate, reason } if sqlstate == "23514" && reason.contains("no partition"))
    }
}

/// What to do about what the driver or Postgres said.
fn advice_on(cause: &Cause) -> &'static str {
    let (text, kind) = (cause.to_string(), cause.kind());
    match kind {
        Trouble::Tls if text.contains("does not support TLS") => {
            "switch TLS on there (`ssl = on`), or leave sslmode out of database_url (NOWSERVING_DATABASE_URL) where the network \
             is yours alone"
        }
        Trouble::Rights if text.contains("permission denied for database") => {
            "as an administrator: GRANT CONNECT ON DATABASE … TO … (docs/operations/managed.md)"
        }
        // A socket has no TLS.
        Trouble::Login if text.contains("no encryption") && !text.contains("\"[local]\"") => {
            "the server wants TLS from here: put sslmode=verify-full and sslrootcert=FILE into database_url \
             (NOWSERVING_DATABASE_URL)"
        }
        // The driver does not say of each that it is about TLS.
        Trouble::Away if text.contains("certificate") => Trouble::Tls.advice(),
        _ => kind.advice(),
    }
}

impl From<sqlx::Error> for LedgerError {
    fn from(source: sqlx::Error) -> Self {
        match &source {
            sqlx::Error::Database(error) => {
                let sqlstate = error.code().unwrap_or_default().into_owned();
                if is_of_content(&sqlstate) {
                    Self::Content { sqlstate, reason: error.message().to_owned() }
                } else if is_undefined(&sqlstate) {
                    Self::Schema { reason: error.message().to_owned() }
                } else {
                    Self::Unreachable { source: source.into() }
                }
            }
            _ if is_unreadable(&source) => Self::Unreadable(source.to_string()),
            _ => Self::Unreachable { source: source.into() },
        }
    }
}

/// Whether an error becomes [`LedgerError::Unreachable`].
pub(super) fn is_unreachable(source: &sqlx::Error) -> bool {
    match source {
        sqlx::Error::Database(error) => {
            let sqlstate = error.code().unwrap_or_default();
            !is_of_content(&sqlstate) && !is_undefined(&sqlstate)
        }
        _ => !is_unreadable(source),
    }
}

fn is_unreadable(source: &sqlx::Error) -> bool {
    use sqlx::Error::{ColumnDecode, ColumnNotFound, Decode};
    matches!(source, ColumnDecode { .. } | Decode(_) | ColumnNotFound(_))
}

/// Bad data, or a violated constraint.
fn is_of_content(sqlstate: &str) -> bool {
    matches!(sqlstate.get(..2), Some("22" | "23"))
}

/// An undefined table, column, function or object.
fn is_undefined(sqlstate: &str) -> bool {
    matches!(sqlstate, "42P01" | "42703" | "42883" | "42704")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_about_it_follows_from_what_postgres_says() {
        for (sqlstate, kind) in [
            ("28P01", Trouble::Login),
            ("28000", Trouble::Login),
            ("3D000", Trouble::NoDatabase),
            ("42501", Trouble::Rights),
            ("53300", Trouble::TooMany),
            ("53100", Trouble::Space),
            ("57P03", Trouble::Starting),
            ("57P01", Trouble::Away),
            ("55P03", Trouble::Busy),
            ("25006", Trouble::ReadOnly),
            ("42P07", Trouble::Taken),
            ("42601", Trouble::Refusal),
            ("", Trouble::Refusal),
        ] {
            assert_eq!(Trouble::of(sqlstate), kind, "{sqlstate}");
        }
        let refused = LedgerError::from(sqlx::Error::Tls("server does not support TLS".into()));
        let (what, advice) = refused.finding();
        assert_eq!(what, "no TLS connection to Postgres can be made: server does not support TLS");
        assert!(advice.contains("`ssl = on`"), "{advice}");
        let late = LedgerError::timed_out();
        assert_eq!(late.to_string(), "Postgres is not available: no answer in time");
    }
}
