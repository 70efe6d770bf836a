//! Ranges: parts of a restaurant's pool with numbers of their own, each for some of its orders.

use std::{fmt, str::FromStr};

use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{DisplayNumber, NumberFormat, OrderSource, OrderType, SelectionPolicy};

/// What a range is called: 1 to 16 small letters, digits, `-` and `_`; never `main`, which is the range that
/// `min_number`, `max_number`, `policy` and `format` describe.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RangeId(String);

/// What is no name of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 16 small letters, digits, - or _, and not main")]
pub struct InvalidRangeId;

impl RangeId {
    /// What the range is called that is no further one.
    pub const MAIN: &str = "main";

    /// What a range is called, where None is the main one.
    #[must_use]
    pub fn name(range: Option<&Self>) -> &str {
        range.map_or(Self::MAIN, Self::as_str)
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RangeId {
    type Err = InvalidRangeId;

    fn from_str(text: &str) -> Result<Self, InvalidRangeId> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if (1..=16).contains(&text.len()) && text.bytes().all(is_plain) && text != Self::MAIN {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidRangeId)
    }
}

impl TryFrom<String> for RangeId {
    type Error = InvalidRangeId;

    fn try_from(text: String) -> Result<Self, InvalidRangeId> {
        text.parse()
    }
}

impl From<RangeId> for String {
    fn from(id: RangeId) -> Self {
        id.0
    }
}

impl fmt::Display for RangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which orders a range takes: those that have one of these types and one of these sources. An empty list takes all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RangeMatch {
    /// How the guest gets the food.
    pub order_type: Vec<OrderType>,
    /// The channel that the order came in by.
    pub order_source: Vec<OrderSource>,
}

/// A part of the pool beside its main range. The first one whose `match` fits takes an order, else the main range does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RangeSettings {
    /// What it is called: 1 to 16 small letters, digits, `-` and `_`.
    #[garde(skip)]
    #[schema(value_type = String, min_length = 1, max_length = 16)]
    pub id: RangeId,
    /// Its first number.
    #[garde(range(min = 1, max = DisplayNumber::MAX))]
    #[schema(minimum = 1, maximum = 999_999)]
    pub min_number: u32,
    /// Its last number.
    #[garde(range(min = 1, max = DisplayNumber::MAX))]
    #[schema(minimum = 1, maximum = 999_999)]
    pub max_number: u32,
    /// Which of its free numbers is given next.
    #[serde(default)]
    #[garde(skip)]
    pub policy: SelectionPolicy,
    /// How its numbers are shown, as `format` of the settings: `D{n-500:02}` shows 501 as D01.
    #[serde(default)]
    #[garde(skip)]
    #[schema(value_type = String, max_length = 32)]
    pub format: NumberFormat,
    /// Which orders it takes.
    #[serde(default, rename = "match")]
    #[garde(skip)]
    pub takes: RangeMatch,
    /// Whether the main range serves when this one has nothing free. The order says which range it was.
    #[serde(default)]
    #[garde(skip)]
    pub overflow: bool,
}

/// How much of a range is in use at one instant. `free + live + cooling = capacity`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RangeOccupancy {
    /// Which one; `main` is the one beside the further ones.
    #[schema(examples("main"))]
    pub id: String,
    /// Its numbers, less blocked, reserved and quarantined ones.
    pub capacity: u32,
    /// Those that may be given out now, those whose rest is over included.
    pub free: u32,
    /// Those that live orders hold.
    pub live: u32,
    /// Those that rest.
    pub cooling: u32,
    /// 1 − free ÷ capacity.
    pub utilization: f64,
}

/// The most ranges that a restaurant may have beside its main one.
pub(crate) const MOST_RANGES: usize = 16;
