//! Why Redis gave no answer that can be used.

use std::sync::Arc;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::partitions::Closed;

/// Why Redis gave no answer that can be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AllocatorError {
    /// Redis is unreachable, busy or unfit.
    #[error("Redis: {0}")]
    Redis(#[source] Arc<RedisError>),
    /// The pool of connections gave none.
    #[error("Redis: {0}")]
    NoConnection(String),
    /// The partition is not served now.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The partition's server is not the one that its generation was made on.
    #[error("Redis was restarted, promoted or replaced")]
    AnotherServer,
    /// Redis has not told the time yet.
    #[error("Redis has not said yet what time it is")]
    NoTime,
    /// An answer was lost, and the call that was sent again could not tell what became of the first one.
    #[error("whether the change was made is not known: {0}")]
    OutcomeUnknown(String),
    /// The same order or restaurant was changed too often within seconds for each change to be remembered.
    #[error("it is being changed too often")]
    Busy,
    /// Redis holds something that no script of ours wrote.
    #[error("{0}")]
    Odd(String),
    /// Something that must not happen.
    #[error("a bug: {0}")]
    Bug(String),
}

impl From<RedisError> for AllocatorError {
    fn from(error: RedisError) -> Self {
        Self::Redis(Arc::new(error))
    }
}

impl From<deadpool_redis::PoolError> for AllocatorError {
    fn from(error: deadpool_redis::PoolError) -> Self {
        use deadpool_redis::{HookError, PoolError};
        match error {
            PoolError::Backend(e) | PoolError::PostCreateHook(HookError::Backend(e)) => e.into(),
            other => Self::NoConnection(other.to_string()),
        }
    }
}

impl AllocatorError {
    /// The answer did not come: whether the call was served is unknown.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Self::Redis(e) if e.is_io_error() || e.is_connection_dropped() || e.is_timeout())
    }

    /// The server is no master any more; it still answers, but of no use.
    pub(super) fn is_demoted(&self) -> bool {
        matches!(self, Self::Redis(e) if matches!(
            e.kind(),
            ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown | ServerErrorKind::BusyLoading)
        ))
    }

    /// A node of a cluster does not serve a slot, now or any more: other slots of its may well be served.
    pub(super) fn is_of_a_slot(&self) -> bool {
        matches!(self, Self::Redis(e) if e.is_cluster_error())
    }

    /// One key is not what it should be; that says nothing about the others of its server.
    #[must_use]
    pub(crate) fn is_odd(&self) -> bool {
        matches!(self, Self::Odd(_))
            || self.is_of_a_foreign_entry()
            || self.any_answer(|error| error.code() == "WRONGTYPE")
    }

    /// An outbox takes no more entries, since it holds a foreign one that comes behind all of ours.
    pub(super) fn is_of_a_foreign_entry(&self) -> bool {
        let says = |text: &str| text.contains("specified in XADD") || text.contains("last possible ID");
        self.any_answer(|error| error.details().is_some_and(says))
    }

    /// Whether a server has answered with such an error, to one command or to any of several.
    fn any_answer(&self, is_such: impl Fn(&redis::ServerError) -> bool) -> bool {
        let Self::Redis(error) = self else { return false };
        let answers = RedisError::clone(error).into_server_errors();
        answers.is_some_and(|answers| answers.iter().any(|(_, error)| is_such(error)))
    }

    /// A failure of this program, not of a server.
    #[must_use]
    pub fn is_bug(&self) -> bool {
        match self {
            Self::Bug(_) => true,
            // A script that raises an error is a bug, except where the server stopped it for want of memory.
            Self::Redis(e) => {
                e.kind() == ErrorKind::Server(ServerErrorKind::ResponseError)
                    && e.code() == Some("ERR")
                    && !self.is_of_a_foreign_entry()
            }
            Self::NoConnection(_)
            | Self::AnotherServer
            | Self::Closed(_)
            | Self::NoTime
            | Self::OutcomeUnknown(_)
            | Self::Odd(_)
            | Self::Busy => false,
        }
    }
}
