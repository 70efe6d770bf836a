//! How full pools are and how they are used: what is surveyed, sampled and reported, and the forecast of when a pool
//! has no free number. Pure: the caller brings the time.

mod figures;
mod forecast;
mod span;
mod survey;

use serde::Serialize;
use utoipa::ToSchema;

pub(crate) use self::{
    figures::{Turnover, UsageFigures, UsageSeries},
    forecast::{FORECAST_WINDOW_MS, FreeAt, minutes_to_exhaustion},
    span::{InvalidSpan, UsageSpan},
    survey::{
        EXHAUSTING_WITHIN, History, NumberTotals, RestaurantReport, Snapshot, SurveyReport, UTILIZATION_BOUNDS,
        UtilizationHistogram,
    },
};
use super::{PoolOccupancy, RestaurantId};

/// The numbers of one pool that may be given out at all, by state: `free + live + cooling` is what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occupancy {
    /// Whose pool it is.
    pub restaurant: RestaurantId,
    /// May be given out now.
    pub free: u32,
    /// Held by live orders.
    pub live: u32,
    /// Resting.
    pub cooling: u32,
}

impl Occupancy {
    /// Of a pool as it was read.
    #[must_use]
    pub(crate) const fn of(restaurant: RestaurantId, usage: &PoolOccupancy) -> Self {
        Self { restaurant, free: usage.free, live: usage.live, cooling: usage.cooling }
    }

    /// 1 − free ÷ (free + live + cooling): from 0, nothing is in use, to 1, exhausted. 0 for a pool without numbers.
    #[must_use]
    pub(crate) fn utilization(&self) -> f64 {
        let used = u64::from(self.live) + u64::from(self.cooling);
        let all = used + u64::from(self.free);
        if all == 0 { 0.0 } else { ratio(used, all) }
    }

    /// Whether nothing of it is in use.
    #[must_use]
    pub(crate) const fn is_idle(&self) -> bool {
        self.live == 0 && self.cooling == 0
    }
}

/// What one daemon did for a restaurant within some span of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Numbers given out.
    pub allocations: u32,
    /// Orders that got none, because none was free.
    pub exhaustions: u32,
}

impl Tally {
    /// Adds what happened besides.
    pub(crate) const fn add(&mut self, other: Self) {
        self.allocations = self.allocations.saturating_add(other.allocations);
        self.exhaustions = self.exhaustions.saturating_add(other.exhaustions);
    }
}

/// What is recorded of a restaurant in a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageSample {
    /// Which one.
    pub restaurant: RestaurantId,
    /// Its pool as the survey counted it; None from a daemon that does not survey.
    pub occupancy: Option<Occupancy>,
    /// What happened there.
    pub tally: Tally,
}

/// By what restaurants are ranked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UsageRanking {
    /// How full the pool is.
    #[default]
    Utilization,
    /// Orders that got no number.
    Exhaustions,
    /// Numbers given out.
    Allocations,
    /// Live orders.
    Live,
}

impl UsageRanking {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Utilization, Self::Exhaustions, Self::Allocations, Self::Live];

    /// Its name in JSON.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Utilization => "utilization",
            Self::Exhaustions => "exhaustions",
            Self::Allocations => "allocations",
            Self::Live => "live",
        }
    }
}

/// A restaurant in a ranking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RankedRestaurant {
    /// Which one.
    pub restaurant: RestaurantId,
    /// Its pool; None where nothing of it is in use any more.
    pub occupancy: Option<Occupancy>,
    /// What happened within the last hour.
    pub tally: Tally,
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests;
