//! When a pool has no free number, if it goes on as it does.

use crate::domain::Timestamp;

/// How far back a forecast looks.
pub(crate) const FORECAST_WINDOW_MS: i64 = 15 * 60_000;

/// A forecast from less than this much time would be made of noise.
const SHORTEST_SPAN_MS: i64 = 60_000;

/// A forecast from fewer points would be, too.
const FEWEST_POINTS: usize = 3;

/// What is further away is not forecast: no restaurant goes on for so long as it did for a quarter of an hour.
const LONGEST_FORECAST_MINUTES: f64 = 24.0 * 60.0;

/// The free numbers of a pool at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FreeAt {
    /// When the survey that counted them was complete.
    pub at: Timestamp,
    /// How many; 0: the pool is exhausted.
    pub free: u32,
}

/// Forecasts in how many minutes a pool has no free number, from how many it had in the last quarter of an hour. It
/// takes at least 3 points over at least a minute; they ascend by time; the last is the present. 0 where there is none
/// now; None while the pool does not drain, or where it would take more than a day.
///
/// The rate is the median of the slopes between every two points (Theil–Sen), which a few leaps do not move, and the
/// forecast is `free now ÷ −rate`. Numbers come back in waves, as they went a cooldown before, so that free numbers
/// rise and fall like a saw: a falling rate alone would be an alarm on every tooth. Therefore a pool counts as draining
/// only while it is also lower now than it ever was in the older half of the points' time. What a tooth longer than
/// that will bring back is not known here: the forecast says what becomes of the present rate, and no more.
#[must_use]
pub(crate) fn minutes_to_exhaustion(points: &[FreeAt]) -> Option<f64> {
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
