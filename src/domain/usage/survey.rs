//! What a survey of all restaurants finds, the surveys of the last quarter of an hour, and what is reported of them.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{FORECAST_WINDOW_MS, FreeAt, Occupancy, minutes_to_exhaustion};
use crate::domain::{NumberState, PoolOccupancy, RangeOccupancy, RestaurantId, Timestamp};

/// The times within which restaurants are counted that will be exhausted, in minutes, with their names.
pub(crate) const EXHAUSTING_WITHIN: [(&str, f64); 3] = [("15m", 15.0), ("1h", 60.0), ("4h", 240.0)];

/// Upper bounds by which restaurants are counted by utilization: idle ones alone, finer where it matters.
pub(crate) const UTILIZATION_BOUNDS: [f64; 15] =
    [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 1.0];

/// What one survey of all restaurants found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Snapshot {
    /// When it was complete.
    pub taken_at: Timestamp,
    /// Each pool, ascending by restaurant.
    pub pools: Vec<Occupancy>,
    /// The numbers of all restaurants.
    pub totals: NumberTotals,
    /// Live orders past their restaurant's active window.
    pub overdue: u64,
}

/// Numbers of many restaurants by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NumberTotals {
    pub free: u64,
    pub live: u64,
    pub cooling: u64,
    pub blocked: u64,
    pub reserved: u64,
    pub quarantined: u64,
    pub retiring: u64,
}

impl NumberTotals {
    /// Adds one restaurant.
    pub(crate) fn add(&mut self, usage: &PoolOccupancy) {
        self.free += u64::from(usage.free);
        self.live += u64::from(usage.live);
        self.cooling += u64::from(usage.cooling);
        self.blocked += u64::from(usage.blocked);
        self.reserved += u64::from(usage.reserved);
        self.quarantined += u64::from(usage.quarantined);
        self.retiring += u64::from(usage.retiring);
    }

    /// Each state with its count.
    #[must_use]
    pub(crate) const fn by_state(&self) -> [(NumberState, u64); 7] {
        [
            (NumberState::Free, self.free),
            (NumberState::Live, self.live),
            (NumberState::Cooling, self.cooling),
            (NumberState::Blocked, self.blocked),
            (NumberState::Reserved, self.reserved),
            (NumberState::Quarantined, self.quarantined),
            (NumberState::Retiring, self.retiring),
        ]
    }
}

/// The surveys of the last quarter of an hour, a few of them, evenly spread: 40,000 restaurants take 640 kB each.
#[derive(Debug, Default)]
pub(crate) struct History(pub(super) VecDeque<Arc<Snapshot>>);

impl History {
    /// How many are kept.
    pub(super) const MOST: usize = 12;

    /// Adds the latest.
    pub(crate) fn push(&mut self, snapshot: Arc<Snapshot>) {
        let since = snapshot.taken_at.unix_ms() - FORECAST_WINDOW_MS;
        self.0.retain(|kept| (since..snapshot.taken_at.unix_ms()).contains(&kept.taken_at.unix_ms()));
        self.0.push_back(snapshot);
        if self.0.len() > Self::MOST {
            // The one whose neighbours are nearest to each other is missed least.
            let gap = |at: &usize| self.0[at + 1].taken_at.unix_ms() - self.0[at - 1].taken_at.unix_ms();
            if let Some(crowded) = (1..self.0.len() - 1).min_by_key(gap) {
                self.0.remove(crowded);
            }
        }
    }

    /// Sums up the latest survey, with forecasts, and the `top` pools that are fullest. None before the first.
    #[must_use]
    pub(crate) fn report(&self, top: usize) -> Option<SurveyReport> {
        let latest = self.0.back()?;
        let mut report = SurveyReport {
            taken_at: latest.taken_at,
            restaurants: latest.pools.len() as u64,
            totals: latest.totals,
            overdue: latest.overdue,
            exhausted: 0,
            exhausting: [0; EXHAUSTING_WITHIN.len()],
            utilization: UtilizationHistogram::default(),
            top: Vec::new(),
        };
        let mut fullest: Vec<RestaurantReport> = Vec::new();
        for (at, pool) in latest.pools.iter().enumerate() {
            report.utilization.count(pool.utilization());
            if pool.is_idle() {
                continue;
            }
            let exhaustion_minutes = minutes_to_exhaustion(&self.points(at, pool.restaurant));
            report.exhausted += u64::from(pool.free == 0);
            for (count, (_, within)) in report.exhausting.iter_mut().zip(EXHAUSTING_WITHIN) {
                *count += u64::from(exhaustion_minutes.is_some_and(|minutes| minutes <= within));
            }
            fullest.push(RestaurantReport { pool: *pool, ranges: Vec::new(), exhaustion_minutes });
        }
        fullest.sort_unstable_by(RestaurantReport::fuller_first);
        fullest.truncate(top);
        report.top = fullest;
        Some(report)
    }

    /// The free numbers of one restaurant, which is usually at the same place in every survey.
    fn points(&self, at: usize, restaurant: RestaurantId) -> Vec<FreeAt> {
        let free = |snapshot: &Snapshot| {
            let here = snapshot.pools.get(at).filter(|pool| pool.restaurant == restaurant);
            let found = || snapshot.pools.binary_search_by_key(&restaurant, |pool| pool.restaurant).ok();
            here.or_else(|| snapshot.pools.get(found()?)).map(|pool| pool.free)
        };
        self.0.iter().filter_map(|kept| Some(FreeAt { at: kept.taken_at, free: free(kept)? })).collect()
    }
}

/// What is reported of the latest survey.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SurveyReport {
    /// When it was complete.
    pub taken_at: Timestamp,
    /// How many restaurants have a pool.
    pub restaurants: u64,
    /// Their numbers by state, summed up.
    pub totals: NumberTotals,
    /// Live orders past their restaurant's active window.
    pub overdue: u64,
    /// How many restaurants have no free number.
    pub exhausted: u64,
    /// How many are forecast to have none within each of [`EXHAUSTING_WITHIN`], those that have none included.
    pub exhausting: [u64; EXHAUSTING_WITHIN.len()],
    /// All restaurants by utilization.
    pub utilization: UtilizationHistogram,
    /// The fullest, most first; never an idle one.
    pub top: Vec<RestaurantReport>,
}

impl SurveyReport {
    /// The same with what a survey counted by range. Only the fullest restaurants keep it.
    #[must_use]
    pub(crate) fn with_ranges(mut self, mut ranges: BTreeMap<RestaurantId, Vec<RangeOccupancy>>) -> Self {
        for RestaurantReport { pool, ranges: of_pool, .. } in &mut self.top {
            *of_pool = ranges.remove(&pool.restaurant).unwrap_or_default();
        }
        self
    }
}

/// What is reported of one restaurant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RestaurantReport {
    /// Its pool, as the survey counted it.
    pub pool: Occupancy,
    /// The same by range; empty where it has the main one alone.
    pub ranges: Vec<RangeOccupancy>,
    /// As [`minutes_to_exhaustion`] says.
    pub exhaustion_minutes: Option<f64>,
}

impl RestaurantReport {
    fn fuller_first(a: &Self, b: &Self) -> Ordering {
        let (a, b) = (a.pool, b.pool);
        let fuller = b.utilization().total_cmp(&a.utilization());
        fuller.then(b.live.cmp(&a.live)).then(a.restaurant.cmp(&b.restaurant))
    }
}

/// How many restaurants have at most each of [`UTILIZATION_BOUNDS`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct UtilizationHistogram {
    /// Cumulative: the last is all of them.
    pub at_most: [u64; UTILIZATION_BOUNDS.len()],
    /// The sum of their utilizations.
    pub sum: f64,
}

impl UtilizationHistogram {
    fn count(&mut self, utilization: f64) {
        for (count, bound) in self.at_most.iter_mut().zip(UTILIZATION_BOUNDS) {
            *count += u64::from(utilization <= bound);
        }
        self.sum += utilization;
    }
}
