//! Ranges: parts of a restaurant's pool with numbers of their own, each for some of its orders.

use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{DisplayNumber, NumberFormat, OrderSource, OrderType, RangeId, SelectionPolicy};

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
