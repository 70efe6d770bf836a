//! The figures of one restaurant in a span of time.

use serde::Serialize;
use utoipa::ToSchema;

use super::ratio;
use crate::domain::Timestamp;

/// What a restaurant's pool did in one step of time. Means and peaks are over the samples that the survey took in it,
/// and null where it took none; a pool of which nothing is in use is not sampled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = UsageFigures)]
pub(crate) struct UsageFigures {
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
    pub(crate) fn sum<'a>(steps: impl IntoIterator<Item = &'a Self>) -> Self {
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

/// A restaurant's figures within a span of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct UsageSeries {
    /// Steps of time that have any, each named by its beginning, ascending.
    pub steps: Vec<(Timestamp, UsageFigures)>,
    /// The same by hour of the day (0 to 23, by the clocks of the span's zone), ascending.
    pub hours_of_day: Vec<(u32, UsageFigures)>,
}

/// How often numbers come round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct Turnover {
    /// How often each number of the pool was given out a day, in the mean: allocations ÷ numbers in the pool ÷ days.
    pub uses_per_day: f64,
    /// Seconds from one use of a number to its next, in the mean; null where none was given out.
    #[schema(required = true)]
    pub seconds_between_uses: Option<f64>,
}

impl Turnover {
    /// Of a pool with so many numbers, which gave out `allocations` within a span of time.
    #[must_use]
    pub(crate) fn of(allocations: u64, capacity: u32, span_ms: i64) -> Self {
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
