//! Why Redis gave no answer that can be used.

use std::sync::Arc;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::partitions::Closed;

/// Why Redis gave no answer that can be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AllocatorError {
    /// Redis is unreachable, busy or unfit. What the driver says of it is in the message, in plainer words.
    #[error("Redis: {}", told(.0))]
    Redis(Arc<RedisError>),
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

/// What an account of Redis must be allowed to do, as `ACL SETUSER` takes it: each command that is sent, by a script or
/// not. `docs/operations/managed.md` says which of them can be done without.
pub(crate) const RIGHTS: &str = "+ping +info +time +script|load +eval +evalsha +exists +del +set +pexpireat +hget +hset \
     +hsetnx +hmget +hgetall +hdel +hexists +hincrby +hkeys +hlen +hvals +hscan +lrange +sadd +scard +sismember \
     +smembers +srem +sscan +type +xadd +xrange +xrevrange +xsetid +xtrim +zadd +zcard +zcount +zrange +zrangebyscore +zrem \
     +zrevrangebyscore +zscore +wait +config|get +bgrewriteaof";

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

/// What messages begin with.
const PREFIX: &str = "Redis: ";

/// What the driver knows, without its names for kinds of errors and for places in a pipeline.
fn told(error: &RedisError) -> String {
    if let Some(answers) = RedisError::clone(error).into_server_errors()
        && let Some((_, answer)) = answers.first()
    {
        return format!("{} {}", answer.code(), answer.details().unwrap_or_default())
            .trim_end_matches([' ', '.'])
            .to_owned();
    }
    match (error.kind(), error.detail()) {
        // A server that may not be used: see `link/proof.rs`.
        (ErrorKind::InvalidClientConfig, Some(detail)) => detail.to_owned(),
        (kind, _) => error.to_string().replace(&format!(" - {kind:?}"), ""),
    }
}

impl AllocatorError {
    /// The message where what is said before it names Redis already.
    #[must_use]
    pub(crate) fn reason(&self) -> String {
        self.to_string().replace(PREFIX, "")
    }

    /// What to do where Redis cannot be used at all, by a URL with TLS or without; None where the message says it.
    #[must_use]
    pub(crate) fn advice(&self, tls: bool) -> Option<String> {
        let text = self.to_string();
        let is = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if is(&["NOPERM", "can't run this command", "No permissions to access"]) {
            return Some(format!(
                "give the account the rights that it needs, for this namespace (docs/operations/managed.md): ACL SETUSER … \
                 ~ns:* {RIGHTS}"
            ));
        }
        if is(&["WRONGPASS", "NOAUTH", "uthentication"]) {
            return Some("check the user and the password in redis_url (NOWSERVING_REDIS_URL)".to_owned());
        }
        if is(&["LOADING"]) {
            return Some("it reads its data: try again when it has".to_owned());
        }
        if is(&["DENIED", "protected mode"]) {
            return Some("give that server a password (requirepass), and write it into redis_url".to_owned());
        }
        if is(&["max number of clients"]) {
            return Some("raise maxclients there, or lower redis.pool_size and redis.lanes".to_owned());
        }
        if is(&["ertificate", "TLS", "tls"]) {
            return Some(
                "check redis.ca_file and the host name in redis_url; rediss:// is for servers with TLS only".to_owned(),
            );
        }
        match self {
            Self::Redis(error) if error.kind() == ErrorKind::InvalidClientConfig => None,
            Self::NoConnection(reason) if reason.contains("redis+cluster://") => None,
            _ => {
                let other = if tls { "it has no TLS, write redis://" } else { "it wants TLS, write rediss://" };
                Some(format!("check redis_url (NOWSERVING_REDIS_URL) and that the server runs; where {other}"))
            }
        }
    }

    /// Whether the account lacks a right, of its own or within a script.
    fn is_forbidden(&self) -> bool {
        self.any_answer(|error| {
            error.code() == "NOPERM"
                || error.details().is_some_and(|text| text.contains("The user executing the script"))
        })
    }

    /// The answer did not come: whether the call was served is unknown.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Self::Redis(e) if e.is_io_error() || e.is_connection_dropped() || e.is_timeout())
    }

    /// The answer did not come in time, over a connection that is open.
    pub(super) fn is_late(&self) -> bool {
        matches!(self, Self::Redis(e) if e.is_timeout())
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
                    && !self.is_forbidden()
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
