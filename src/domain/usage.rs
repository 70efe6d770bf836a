//! How full pools are and how they are used: what a survey of all restaurants finds, its history, and the forecast of when a
//! pool has no free number. Pure: whoever calls brings the time.

use std::{cmp::Ordering, collections::VecDeque, sync::Arc, time::Duration};

use serde::Serialize;
use utoipa::ToSchema;

use super::{NumberState, PoolUsage, RestaurantId, Timestamp};

/// How far back a forecast looks.
pub const FORECAST_WINDOW_MS: i64 = 15 * 60_000;

/// A forecast from less than this much time would be made of noise.
const SHORTEST_SPAN_MS: i64 = 60_000;

/// A forecast from fewer points would be, too.
const FEWEST_POINTS: usize = 3;

/// What is further away is not forecast: no restaurant goes on for so long as it did for a quarter of an hour.
const LONGEST_FORECAST_MINUTES: f64 = 24.0 * 60.0;

/// The times within which restaurants are counted that will be exhausted, in minutes, with their names.
pub const EXHAUSTING_WITHIN: [(&str, f64); 3] = [("15m", 15.0), ("1h", 60.0), ("4h", 240.0)];

/// Upper bounds by which restaurants are counted by utilization: idle ones alone, finer where it matters.
pub const UTILIZATION_BOUNDS: [f64; 15] =
    [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 1.0];

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
    pub const fn of(restaurant: RestaurantId, usage: &PoolUsage) -> Self {
        Self { restaurant, free: usage.free, live: usage.live, cooling: usage.cooling }
    }

    /// 1 − free ÷ (free + live + cooling): from 0, nothing is in use, to 1, exhausted. 0 for a pool without numbers.
    #[must_use]
    pub fn utilization(&self) -> f64 {
        let used = u64::from(self.live) + u64::from(self.cooling);
        let all = used + u64::from(self.free);
        if all == 0 { 0.0 } else { ratio(used, all) }
    }

    /// Whether nothing of it is in use.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.live == 0 && self.cooling == 0
    }
}

/// What one survey of all restaurants found.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
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
#[expect(missing_docs, reason = "the fields are those of PoolUsage")]
pub struct NumberTotals {
    pub free: u64,
    pub live: u64,
    pub cooling: u64,
    pub blocked: u64,
    pub reserved: u64,
    pub retiring: u64,
}

impl NumberTotals {
    /// Adds one restaurant.
    pub fn add(&mut self, usage: &PoolUsage) {
        self.free += u64::from(usage.free);
        self.live += u64::from(usage.live);
        self.cooling += u64::from(usage.cooling);
        self.blocked += u64::from(usage.blocked);
        self.reserved += u64::from(usage.reserved);
        self.retiring += u64::from(usage.retiring);
    }

    /// Each state with its count.
    #[must_use]
    pub const fn by_state(&self) -> [(NumberState, u64); 6] {
        [
            (NumberState::Free, self.free),
            (NumberState::Live, self.live),
            (NumberState::Cooling, self.cooling),
            (NumberState::Blocked, self.blocked),
            (NumberState::Reserved, self.reserved),
            (NumberState::Retiring, self.retiring),
        ]
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
    pub const fn add(&mut self, other: Self) {
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
pub enum UsageRanking {
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
    pub const ALL: [Self; 4] = [Self::Utilization, Self::Exhaustions, Self::Allocations, Self::Live];

    /// Its name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
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
pub struct RankedRestaurant {
    /// Which one.
    pub restaurant: RestaurantId,
    /// Its pool; None where nothing of it is in use any more.
    pub occupancy: Option<Occupancy>,
    /// What happened within the last hour.
    pub tally: Tally,
}

/// The free numbers of a pool at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeAt {
    /// When.
    pub at: Timestamp,
    /// How many.
    pub free: u32,
}

/// Forecasts in how many minutes a pool has no free number, from how many it had in the last quarter of an hour (at least
/// 3 points over at least a minute; ascending by time; the last is the present). 0 where there is none now; None
/// while the pool does not drain, or where it would take more than a day.
///
/// The rate is the median of the slopes between every two points (Theil–Sen), which a few leaps do not move, and the
/// forecast is `free now ÷ −rate`. Numbers come back in waves, as they went a cooldown before, so that free numbers
/// rise and fall like a saw: a falling rate alone would be an alarm on every tooth. Therefore a pool counts as draining
/// only while it is also lower now than it ever was in the older half of the points' time. What a tooth longer than that
/// will bring back is not known here: the forecast says what becomes of the present rate, and no more.
#[must_use]
pub fn minutes_to_exhaustion(points: &[FreeAt]) -> Option<f64> {
    let now = *points.last()?;
    if now.free == 0 {
        return Some(0.0);
    }
    let since = now.at.unix_ms() - FORECAST_WINDOW_MS;
    let points = &points[points.partition_point(|point| point.at.unix_ms() < since)..];
    let first = points.first()?;
    let span_ms = now.at.unix_ms() - first.at.unix_ms();
    if points.len() < FEWEST_POINTS || span_ms < SHORTEST_SPAN_MS {
        return None;
    }
    let older = points.iter().take_while(|point| point.at.unix_ms() - first.at.unix_ms() <= span_ms / 2);
    if older.map(|point| point.free).min()? <= now.free {
        return None;
    }
    let rate = median_slope(points)?;
    let minutes = f64::from(now.free) / -rate;
    (rate < 0.0 && minutes <= LONGEST_FORECAST_MINUTES).then_some(minutes)
}

/// The median of the slopes between every two points, in numbers a minute.
fn median_slope(points: &[FreeAt]) -> Option<f64> {
    let mut slopes = Vec::with_capacity(points.len() * (points.len() - 1) / 2);
    for (i, later) in points.iter().enumerate() {
        for earlier in &points[..i] {
            let minutes = minutes_between(earlier.at, later.at);
            if minutes > 0.0 {
                slopes.push((f64::from(later.free) - f64::from(earlier.free)) / minutes);
            }
        }
    }
    if slopes.is_empty() {
        return None;
    }
    let middle = slopes.len() / 2;
    let (below, median, _) = slopes.select_nth_unstable_by(middle, f64::total_cmp);
    let median = *median;
    let before = below.iter().copied().max_by(f64::total_cmp);
    // Of an even number, the middle of the two in the middle.
    let is_even = slopes.len() % 2 == 0;
    Some(before.filter(|_| is_even).map_or(median, |before| f64::midpoint(before, median)))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 ms")]
fn minutes_between(from: Timestamp, to: Timestamp) -> f64 {
    (to.unix_ms() - from.unix_ms()) as f64 / 60_000.0
}

/// The surveys of the last quarter of an hour, a few of them, evenly spread: 40,000 restaurants take 640 kB each.
#[derive(Debug, Default)]
pub struct History(VecDeque<Arc<Snapshot>>);

impl History {
    /// How many are kept.
    const MOST: usize = 12;

    /// Adds the latest.
    pub fn push(&mut self, snapshot: Arc<Snapshot>) {
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

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Sums up the latest survey, with forecasts, and the `top` pools that are fullest. None before the first.
    #[must_use]
    pub fn report(&self, top: usize) -> Option<SurveyReport> {
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
            fullest.push(RestaurantReport { pool: *pool, exhaustion_minutes });
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
pub struct SurveyReport {
    /// When it was complete.
    pub taken_at: Timestamp,
    /// How many restaurants have a pool.
    pub restaurants: u64,
    /// Their numbers.
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

/// What is reported of one restaurant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RestaurantReport {
    /// Its pool.
    pub pool: Occupancy,
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
pub struct UtilizationHistogram {
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

/// What a restaurant's pool did in one step of time. Means and peaks are over the samples that the survey took in it, and
/// null where it took none; a pool of which nothing is in use is not sampled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = UsageFigures)]
pub struct UsageFigures {
    /// How many samples there are.
    pub samples: u64,
    /// Live numbers, in the mean.
    #[schema(required = true)]
    pub live_mean: Option<f64>,
    /// Live numbers, at most.
    #[schema(required = true)]
    pub live_peak: Option<u32>,
    /// Cooling numbers, in the mean.
    #[schema(required = true)]
    pub cooling_mean: Option<f64>,
    /// Cooling numbers, at most.
    #[schema(required = true)]
    pub cooling_peak: Option<u32>,
    /// Free numbers, at least.
    #[schema(required = true)]
    pub free_least: Option<u32>,
    /// 1 − free ÷ (free + live + cooling), in the mean.
    #[schema(required = true)]
    pub utilization_mean: Option<f64>,
    /// The same, at most.
    #[schema(required = true)]
    pub utilization_peak: Option<f64>,
    /// Numbers given out.
    pub allocations: u64,
    /// Orders that got none, because none was free.
    pub exhaustions: u64,
}

impl UsageFigures {
    /// Sums up steps: means weighted by their samples.
    #[must_use]
    pub fn sum<'a>(steps: impl IntoIterator<Item = &'a Self>) -> Self {
        steps.into_iter().fold(Self::default(), |sum, step| Self {
            samples: sum.samples + step.samples,
            live_mean: weighted(&sum, step, |figures| figures.live_mean),
            live_peak: sum.live_peak.max(step.live_peak),
            cooling_mean: weighted(&sum, step, |figures| figures.cooling_mean),
            cooling_peak: sum.cooling_peak.max(step.cooling_peak),
            free_least: [sum.free_least, step.free_least].into_iter().flatten().min(),
            utilization_mean: weighted(&sum, step, |figures| figures.utilization_mean),
            utilization_peak: [sum.utilization_peak, step.utilization_peak]
                .into_iter()
                .flatten()
                .max_by(f64::total_cmp),
            allocations: sum.allocations + step.allocations,
            exhaustions: sum.exhaustions + step.exhaustions,
        })
    }
}

fn weighted(a: &UsageFigures, b: &UsageFigures, mean: impl Fn(&UsageFigures) -> Option<f64>) -> Option<f64> {
    match (mean(a), mean(b)) {
        (Some(x), Some(y)) => {
            let share = ratio(b.samples, (a.samples + b.samples).max(1));
            Some(x + (y - x) * share)
        }
        (x, y) => x.or(y),
    }
}

/// The steps of time in which a restaurant's figures are given: whole ones, from `from` to before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageSpan {
    /// Where the first begins.
    pub from: Timestamp,
    /// Where the last ends.
    pub to: Timestamp,
    /// How long each is: whole seconds.
    pub step: Duration,
}

/// Why a span of time cannot be given. The message says what to ask for instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpan {
    /// It ends before it begins.
    #[error("must be before `to`")]
    Empty,
    /// It has more steps than are given at once.
    #[error("would give {0} steps, and at most {MOST_STEPS} are given: ask for a longer step or a shorter time")]
    TooManySteps(i64),
    /// There are no samples of its beginning any more.
    #[error(
        "must be whole hours, such as 1h, where `from` is before {0}: only figures by the hour are kept for so long"
    )]
    OnlyHours(Timestamp),
}

/// The most steps that are given at once.
pub const MOST_STEPS: i64 = 1500;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

impl UsageSpan {
    /// The steps that cover the time from `from` (by default a day before `to`) to `to` (by default now), an hour each by
    /// default. A step begins at a multiple of its length since 1970, one of more than a day at midnight (UTC).
    /// Samples are kept since `sampled_since`; what is older is known by the hour.
    ///
    /// # Errors
    /// [`InvalidSpan`].
    pub fn new(
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        step: Option<Duration>,
        now: Timestamp,
        sampled_since: Timestamp,
    ) -> Result<Self, InvalidSpan> {
        let step = step.unwrap_or(Duration::from_hours(1));
        let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
        let to = to.unwrap_or(now);
        let from = from.unwrap_or(to.plus_ms(-DAY_MS));
        if from >= to {
            return Err(InvalidSpan::Empty);
        }
        let unit_ms = step_ms.min(DAY_MS);
        let from = Timestamp::from_unix_ms(from.unix_ms() / unit_ms * unit_ms);
        let steps = (to.unix_ms() - from.unix_ms() - 1) / step_ms + 1;
        if steps > MOST_STEPS {
            return Err(InvalidSpan::TooManySteps(steps));
        }
        let span = Self { from, to: from.plus_ms(steps * step_ms), step };
        if !span.is_hourly() && from < sampled_since {
            return Err(InvalidSpan::OnlyHours(sampled_since));
        }
        Ok(span)
    }

    /// Whether whole hours suffice for it.
    #[must_use]
    pub const fn is_hourly(&self) -> bool {
        self.step.as_secs().is_multiple_of(3600)
    }
}

/// A restaurant's figures within a span of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UsageSeries {
    /// Steps of time that have any, each named by its beginning, ascending.
    pub steps: Vec<(Timestamp, UsageFigures)>,
    /// The same by hour of the day (UTC, 0 to 23), ascending.
    pub hours_of_day: Vec<(u32, UsageFigures)>,
}

/// How often numbers come round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Turnover {
    /// How often each number of the pool was given out a day, in the mean: allocations ÷ numbers in the pool ÷ days.
    pub uses_per_day: f64,
    /// Seconds from one use of a number to its next, in the mean; null where none was given out.
    #[schema(required = true)]
    pub seconds_between_uses: Option<f64>,
}

impl Turnover {
    /// Of a pool with so many numbers, which gave out `allocations` within a span of time.
    #[must_use]
    pub fn of(allocations: u64, capacity: u32, span_ms: i64) -> Self {
        let capacity = u64::from(capacity.max(1));
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 ms")]
        let span_s = span_ms.max(1) as f64 / 1000.0;
        let uses = ratio(allocations, capacity);
        Self {
            uses_per_day: uses / (span_s / 86_400.0),
            seconds_between_uses: (allocations > 0).then(|| span_s / uses),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests;
