//! How the next number is chosen.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which free number is given next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SelectionPolicy {
    /// A ring, like a deli counter: the longest possible rest before a number comes again.
    #[default]
    Sequential,
    /// The lowest free number: short numbers in quiet hours.
    Lowest,
    /// An unpredictable one: a rival's orders cannot be counted.
    Random,
}

impl SelectionPolicy {
    /// The name used in JSON and in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Lowest => "lowest",
            Self::Random => "random",
        }
    }
}
