//! What can go wrong with the ledger, told apart by what to do about it.

use std::io;

/// Why the ledger did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Postgres cannot do it now: not reached, too slow, stopping, full, read-only. Trying again makes sense. What was
    /// being written is written either wholly or not at all.
    #[error("Postgres is not available: {source}")]
    Unreachable {
        /// What the driver knows; it never holds the password.
        #[source]
        source: sqlx::Error,
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
    /// The database belongs to a deployment that was made otherwise, or to a server that is too old.
    #[error("{0}")]
    Mismatch(String),
    /// The connection URL cannot be used.
    #[error("the database URL is not usable: {0}")]
    Url(String),
    /// A stored row does not make sense to this version.
    #[error("unreadable row in the ledger: {0}")]
    Unreadable(String),
}

impl LedgerError {
    /// What to do where the database cannot be used at all.
    #[must_use]
    pub(crate) fn advice(&self) -> &'static str {
        let text = self.to_string();
        if matches!(self, Self::Mismatch(_)) {
            "its version or its deployment does not fit these settings"
        } else if matches!(self, Self::Schema { .. }) {
            "run `nowserving migrate`"
        } else if text.contains("certificate") {
            "check its certificate: sslrootcert=FILE in database_url (NOWSERVING_DATABASE_URL) names the CA that signed \
             it; sslmode=verify-full also wants the host's name in it, verify-ca does not"
        } else if text.contains("no encryption") {
            "the server wants TLS from here: put sslmode=verify-full and sslrootcert=FILE into database_url \
             (NOWSERVING_DATABASE_URL)"
        } else {
            "check database_url (NOWSERVING_DATABASE_URL) and that the server runs"
        }
    }

    /// The answer that did not come in time.
    #[must_use]
    pub(crate) fn timed_out() -> Self {
        Self::Unreachable { source: sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")) }
    }

    /// Whether a month was missing: Postgres reports it as a violated check that has no name.
    pub(in crate::ledger) fn is_missing_month(&self) -> bool {
        matches!(self, Self::Content { sqlstate, reason } if sqlstate == "23514" && reason.contains("no partition"))
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
                    Self::Unreachable { source }
                }
            }
            _ if is_unreadable(&source) => Self::Unreadable(source.to_string()),
            _ => Self::Unreachable { source },
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
