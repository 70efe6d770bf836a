//! Durability levels: what a change has come through before its caller hears of it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How safe a change is when it is answered. Each level is awaited on top of the change in Redis, never instead of it,
/// and the later ones survive more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// In the memory of Redis, which writes it to disk in its own time.
    Memory,
    /// On the disk of Redis.
    Fsync,
    /// With as many replicas of Redis as the settings say.
    Replica,
    /// Committed in the ledger.
    Ledger,
}

/// No level has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be one of memory, fsync, replica, ledger")]
pub struct UnknownDurability;

impl Durability {
    /// Every level, from the quickest to the safest.
    pub(crate) const ALL: [Self; 4] = [Self::Memory, Self::Fsync, Self::Replica, Self::Ledger];

    /// The word for it in headers, settings and metrics.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Fsync => "fsync",
            Self::Replica => "replica",
            Self::Ledger => "ledger",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Durability {
    type Err = UnknownDurability;

    fn from_str(text: &str) -> Result<Self, UnknownDurability> {
        Self::ALL.into_iter().find(|level| level.as_str() == text).ok_or(UnknownDurability)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_read_as_it_is_written() {
        for level in Durability::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
            assert_eq!(serde_json::to_value(level).expect("a word"), level.as_str());
        }
        for unknown in ["", "Memory", "disk", "fsync, replica", " ledger"] {
            assert_eq!(unknown.parse::<Durability>(), Err(UnknownDurability), "{unknown}");
        }
        assert!(Durability::ALL.is_sorted());
    }
}
