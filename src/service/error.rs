//! Why a use case gave no result.

use crate::{
    allocator::AllocatorError,
    domain::{Durability, Refusal},
    ledger::LedgerError,
};

/// A server that a use case needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependency {
    /// The allocator's store.
    Redis,
    /// The ledger, Postgres.
    Ledger,
    /// Both, in step: the restaurant's partition is closed.
    Partition,
    /// None that is unreachable: an order, or a restaurant's settings, that changes too often.
    Quiet,
}

impl std::fmt::Display for Dependency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Redis => "Redis",
            Self::Ledger => "the ledger (Postgres)",
            Self::Partition => "the partition",
            Self::Quiet => "a moment without changes",
        })
    }
}

/// Why a use case gave no result.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The state of things does not allow it; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A server that is needed is unreachable; trying again after the given time makes sense.
    #[error("{dependency} is unreachable: {reason}")]
    Unavailable {
        /// Which one.
        dependency: Dependency,
        /// What is known, without secrets.
        reason: String,
        /// Seconds after which to try again.
        retry_after_seconds: u64,
    },
    /// The change was made in Redis and is what is read, but it is not known to have reached the level asked for.
    /// Repeating the request is harmless, and waits for the level again.
    #[error("the change was made, but is not known to have reached durability level {level}")]
    DurabilityUnknown {
        /// The level that was asked for, or the default one.
        level: Durability,
    },
    /// The answer of Redis was lost, and whether the change was made could not be found out.
    #[error("whether the change was made is not known: {reason}")]
    OutcomeUnknown {
        /// What is known, without secrets.
        reason: String,
        /// Seconds after which to look.
        retry_after_seconds: u64,
    },
    /// A bug: logged where it is turned into an answer.
    #[error("internal error: {0}")]
    Internal(#[source] anyhow::Error),
}

impl From<AllocatorError> for ServiceError {
    fn from(error: AllocatorError) -> Self {
        if error.is_bug() {
            return Self::Internal(error.into());
        }
        let (dependency, retry_after_seconds) = match error {
            AllocatorError::OutcomeUnknown(reason) => return Self::OutcomeUnknown { reason, retry_after_seconds: 1 },
            AllocatorError::Closed(_) => (Dependency::Partition, 5),
            AllocatorError::Busy => (Dependency::Quiet, 5),
            _ => (Dependency::Redis, 1),
        };
        Self::Unavailable { dependency, reason: error.reason(), retry_after_seconds }
    }
}

impl From<LedgerError> for ServiceError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Unreachable { .. } | LedgerError::Schema { .. } => {
                Self::Unavailable { dependency: Dependency::Ledger, reason: error.to_string(), retry_after_seconds: 2 }
            }
            other => Self::Internal(other.into()),
        }
    }
}
