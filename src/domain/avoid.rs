//! Numbers that are mistaken for others when they are called out.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A kind of mistake that is avoided: a number is passed over while one that it is mistaken for is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Avoid {
    /// 13 and 30, 14 and 40, and so on to 19 and 90, as the last two digits.
    TeenTy,
    /// 24 and 42: the last two digits swapped, as languages do that say four-and-twenty.
    Swapped,
}
