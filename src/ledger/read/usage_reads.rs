//! What is read of `slot_usage` and `slot_usage_hourly`.

use chrono::{DateTime, Utc};

use crate::{
    domain::{
        RestaurantId, Timestamp,
        usage::{FreeAt, Occupancy, RankedRestaurant, Tally, UsageFigures, UsageRanking, UsageSeries, UsageSpan},
    },
    ledger::{Ledger, LedgerError},
};

/// The figures of one group of samples, as columns.
struct Grouped {
    samples: i64,
    live_sum: Option<f64>,
    live_peak: Option<i32>,
    cooling_sum: Option<f64>,
    cooling_peak: Option<i32>,
    free_least: Option<i32>,
    utilization_sum: Option<f64>,
    utilization_peak: Option<f64>,
    allocations: i64,
    exhaustions: i64,
}

impl Ledger {
    /// The figures of a restaurant in a span of time. From `span.samples_since` on they come from samples. Before, hours
    /// that are rolled up come from `slot_usage_hourly`, which has far older ones: each counts where its middle lies.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`].
    pub(crate) async fn usage_series(
        &self,
        restaurant: RestaurantId,
        span: &UsageSpan,
    ) -> Result<UsageSeries, LedgerError> {
        let begins: Vec<DateTime<Utc>> = span.begins.iter().map(|at| at.to_datetime()).collect();
        // The server's own time zones may be others than ours.
        let (since, offsets): (Vec<DateTime<Utc>>, Vec<i32>) =
            span.offsets.iter().map(|(at, seconds)| (at.to_datetime(), *seconds)).unzip();
        let rows = sqlx::query!(
            r#"WITH hours AS (
                 SELECT * FROM slot_usage_hourly AS h
                 WHERE restaurant_id = $1 AND hour < $4
                   AND hour >= $2::timestamptz - interval '30 minutes'
                   AND hour < $3::timestamptz - interval '30 minutes'
                   AND NOT EXISTS (SELECT FROM usage_hours AS known WHERE known.hour = h.hour AND NOT rolled_up)
               ), parts AS (
                 SELECT sampled_at AS at, (live IS NOT NULL)::integer AS samples, live::float8 AS live_sum,
                        live AS live_peak, cooling::float8 AS cooling_sum, cooling AS cooling_peak, free AS free_least,
                        utilization AS utilization_sum, utilization AS utilization_peak, allocations, exhaustions
                 FROM slot_usage,
                      LATERAL (SELECT coalesce((live + cooling)::float8 / nullif(live + cooling + free, 0), live)
                                      AS utilization) AS share
                 WHERE restaurant_id = $1 AND sampled_at >= $2 AND sampled_at < $3
                   AND NOT EXISTS (SELECT FROM hours
                                   WHERE hour = date_bin('1 hour', sampled_at, timestamptz 'epoch'))
                 UNION ALL
                 SELECT hour + interval '30 minutes', samples, live_mean * samples::float8,
                        CASE WHEN samples > 0 THEN live_peak END, cooling_mean * samples::float8,
                        CASE WHEN samples > 0 THEN cooling_peak END, free_least, utilization_mean * samples::float8,
                        CASE WHEN samples > 0 THEN utilization_peak END, allocations, exhaustions
                 FROM hours
               ), placed AS (
                 SELECT width_bucket(at, $5::timestamptz[]) AS step,
                        extract(hour FROM (at AT TIME ZONE 'UTC') + make_interval(
                          secs => ($7::integer[])[width_bucket(at, $6::timestamptz[])]))::integer AS hour_of_day,
                        parts.*
                 FROM parts
               )
               SELECT step, hour_of_day, sum(samples) AS "samples!", sum(live_sum) AS live_sum,
                      max(live_peak) AS live_peak, sum(cooling_sum) AS cooling_sum, max(cooling_peak) AS cooling_peak,
                      min(free_least) AS free_least, sum(utilization_sum) AS utilization_sum,
                      max(utilization_peak) AS utilization_peak, sum(allocations) AS "allocations!",
                      sum(exhaustions) AS "exhaustions!"
               FROM placed GROUP BY GROUPING SETS ((step), (hour_of_day)) ORDER BY step, hour_of_day"#,
            restaurant.as_i32(),
            span.from.to_datetime(),
            span.to.to_datetime(),
            span.samples_since.to_datetime(),
            &begins,
            &since,
            &offsets
        )
        .fetch_all(self.single());
        let mut series = UsageSeries::default();
        for row in self.in_time(rows).await? {
            let figures = UsageFigures::from(Grouped {
                samples: row.samples,
                live_sum: row.live_sum,
                live_peak: row.live_peak,
                cooling_sum: row.cooling_sum,
                cooling_peak: row.cooling_peak,
                free_least: row.free_least,
                utilization_sum: row.utilization_sum,
                utilization_peak: row.utilization_peak,
                allocations: row.allocations,
                exhaustions: row.exhaustions,
            });
            match (row.step, row.hour_of_day) {
                (Some(step), _) => {
                    // Buckets count from 1.
                    let step = usize::try_from(step - 1).ok().and_then(|step| span.begins.get(step));
                    series.steps.extend(step.map(|at| (*at, figures)));
                }
                (None, Some(hour)) => series.hours_of_day.push((hour.cast_unsigned(), figures)),
                (None, None) => {}
            }
        }
        Ok(series)
    }

    /// How many numbers of a restaurant were free in each sample of its survey since then, ascending. Each is of about the
    /// end of its span, but is named by its beginning.
    ///
    /// # Errors
    /// As [`Ledger::usage_series`].
    pub(crate) async fn free_since(
        &self,
        restaurant: RestaurantId,
        since: Timestamp,
    ) -> Result<Vec<FreeAt>, LedgerError> {
        let rows = sqlx::query!(
            r#"SELECT sampled_at, free AS "free!" FROM slot_usage
               WHERE restaurant_id = $1 AND sampled_at >= $2 AND free IS NOT NULL ORDER BY sampled_at"#,
            restaurant.as_i32(),
            since.to_datetime()
        )
        .fetch_all(self.single());
        let point = |at: DateTime<Utc>, free: i32| FreeAt { at: at.into(), free: free.cast_unsigned() };
        Ok(self.in_time(rows).await?.into_iter().map(|row| point(row.sampled_at, row.free)).collect())
    }

    /// The restaurants that come first by `ranking` in the latest span that the survey sampled, with what happened there
    /// within an hour up to it; and when that span began. None where none was sampled within three hours before `now`.
    ///
    /// # Errors
    /// As [`Ledger::usage_series`].
    pub(crate) async fn top_usage(
        &self,
        ranking: UsageRanking,
        limit: usize,
        now: Timestamp,
    ) -> Result<Option<(Timestamp, Vec<RankedRestaurant>)>, LedgerError> {
        let since = now.plus_ms(-3 * 3_600_000).to_datetime();
        let latest = sqlx::query_scalar!("SELECT max(surveyed_at) FROM usage_hours WHERE hour >= $1", since)
            .fetch_one(self.single());
        let Some(latest) = self.in_time(latest).await? else { return Ok(None) };
        let rows = sqlx::query!(
            r#"WITH present AS (
                 SELECT restaurant_id, live, cooling, free,
                        (live + cooling)::float8 / nullif(live + cooling + free, 0) AS utilization
                 FROM slot_usage WHERE sampled_at = $1 AND live IS NOT NULL
               ), happened AS (
                 SELECT restaurant_id, sum(allocations) AS allocations, sum(exhaustions) AS exhaustions
                 FROM slot_usage
                 -- Summed up for all only where that decides who comes first.
                 WHERE $2 IN ('allocations', 'exhaustions')
                   AND sampled_at > $1 - interval '1 hour' AND sampled_at <= $1
                 GROUP BY restaurant_id
               ), ranked AS (
                 SELECT restaurant_id, live, cooling, free, value
                 FROM present FULL JOIN happened USING (restaurant_id),
                      LATERAL (SELECT CASE $2 WHEN 'utilization' THEN utilization WHEN 'live' THEN live
                                              WHEN 'allocations' THEN allocations ELSE exhaustions END AS value) AS v
                 WHERE value > 0 ORDER BY value DESC, live DESC NULLS LAST, restaurant_id LIMIT $3
               )
               SELECT restaurant_id AS "restaurant_id!", live, cooling, free, counted.allocations, counted.exhaustions
               FROM ranked,
                    LATERAL (SELECT sum(allocations) AS allocations, sum(exhaustions) AS exhaustions FROM slot_usage AS u
                             WHERE u.restaurant_id = ranked.restaurant_id
                               AND sampled_at > $1 - interval '1 hour' AND sampled_at <= $1) AS counted
               ORDER BY value DESC, live DESC NULLS LAST, restaurant_id"#,
            latest,
            ranking.as_str(),
            i64::try_from(limit).unwrap_or(i64::MAX)
        )
        .fetch_all(self.single());
        let ranked = self.in_time(rows).await?.into_iter().map(|row| {
            let restaurant = RestaurantId::new(row.restaurant_id.into())
                .map_err(|_| LedgerError::Unreadable(format!("restaurant {} of slot_usage", row.restaurant_id)))?;
            let occupancy = match (row.live, row.cooling, row.free) {
                (Some(live), Some(cooling), Some(free)) => Some(Occupancy {
                    restaurant,
                    free: free.cast_unsigned(),
                    live: live.cast_unsigned(),
                    cooling: cooling.cast_unsigned(),
                }),
                _ => None,
            };
            let tally = Tally { allocations: small(row.allocations), exhaustions: small(row.exhaustions) };
            Ok(RankedRestaurant { restaurant, occupancy, tally })
        });
        Ok(Some((latest.into(), ranked.collect::<Result<_, LedgerError>>()?)))
    }
}

fn small(count: Option<i64>) -> u32 {
    u32::try_from(count.unwrap_or_default()).unwrap_or(u32::MAX)
}

impl From<Grouped> for UsageFigures {
    fn from(group: Grouped) -> Self {
        let samples = group.samples.cast_unsigned();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let mean = |sum: Option<f64>| sum.filter(|_| samples > 0).map(|sum| sum / samples as f64);
        let count = |peak: Option<i32>| peak.map(i32::cast_unsigned);
        Self {
            samples,
            live_mean: mean(group.live_sum),
            live_peak: count(group.live_peak),
            cooling_mean: mean(group.cooling_sum),
            cooling_peak: count(group.cooling_peak),
            free_least: count(group.free_least),
            utilization_mean: mean(group.utilization_sum),
            utilization_peak: group.utilization_peak,
            allocations: group.allocations.cast_unsigned(),
            exhaustions: group.exhaustions.cast_unsigned(),
        }
    }
}
