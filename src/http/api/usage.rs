//! Usage: how full a restaurant's pool was, and which restaurants come first.

use std::time::Duration;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::{
        Moment, PoolOccupancy, RestaurantId, TimeZone, Timestamp,
        usage::{InvalidSpan, RankedRestaurant, Turnover, UsageFigures, UsageRanking, UsageSpan},
    },
    http::{
        SharedState,
        code::{FaultCode, Location},
        extract::{FromQuery, InPath, Query, QueryReader, Rejected, RestaurantInPath, moment, time_zone, word},
        problem::{Fault, Problem, problems},
    },
    service::{Ranking, RestaurantUsage},
};

/// The most restaurants that a ranking names, and how many it does by default.
const MOST_RANKED: usize = 200;
const RANKED: usize = 20;

/// The longest step.
const LONGEST_STEP: Duration = Duration::from_hours(31 * 24);

/// The parameters of a restaurant's usage.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct UsageQuery {
    /// The time zone by whose clocks hours, days and steps are counted: a name of the IANA database. By default the
    /// restaurant's own: `time_zone` of its settings.
    #[param(value_type = Option<String>, example = "Asia/Kolkata")]
    tz: Option<TimeZone>,
    /// Where the time begins: RFC 3339, or a date (`2026-10-05`) for the first instant of that day in `tz`. By default a day
    /// before `to`.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Moment>,
    /// Where it ends: RFC 3339, or a date for the end of that day in `tz`. By default now.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Moment>,
    /// How long each step is: whole seconds such as `30s`, `5m`, `1h` or `1d`, at most `31d`. At most 1500 steps are
    /// given. Steps begin when the clocks of `tz` show a multiple of their length, those of more than a day at midnight;
    /// where the clocks change, a day has 23 or 25 hours. For times of which samples are kept no longer
    /// (`usage.keep_samples_days`) it must be whole hours.
    #[param(value_type = Option<String>, default = "1h", example = "1h")]
    step: Option<Duration>,
}

impl FromQuery for UsageQuery {
    fn from_query(query: &mut QueryReader<'_>) -> Option<Self> {
        Some(Self {
            tz: query.optional("tz", time_zone),
            from: query.optional("from", moment),
            to: query.optional("to", moment),
            step: query.optional("step", step),
        })
    }
}

fn step(text: &str) -> Result<Duration, Rejected> {
    let step = humantime::parse_duration(text)
        .map_err(|_| Rejected::invalid("must be a length of time such as 30s, 5m, 1h or 1d"))?;
    if step.subsec_nanos() > 0 || step.is_zero() || step > LONGEST_STEP {
        return Err(Rejected::new(FaultCode::OutOfRange, "must be whole seconds, from 1s to 31d"));
    }
    Ok(step)
}

/// A restaurant's pool, now and in a span of time. Means and peaks are over samples, taken every few minutes
/// (`usage.sample_seconds`) while anything of the pool is in use.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = RestaurantUsage)]
pub(crate) struct RestaurantUsageJson {
    /// The restaurant.
    #[schema(minimum = 1, maximum = 2_147_483_647, examples(7))]
    restaurant_id: u32,
    /// At this instant.
    present: PoolOccupancy,
    /// In how many minutes no number is free, if it goes on as in the last quarter of an hour; 0 where none is now,
    /// null while free numbers do not become fewer.
    #[schema(required = true, minimum = 0)]
    exhaustion_minutes: Option<f64>,
    /// Where the first step begins.
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// Where the last step ends.
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    /// By whose clocks hours, days and steps are counted.
    #[schema(value_type = String, examples("Asia/Kolkata"))]
    time_zone: &'static str,
    /// Null where all figures are exact. Else the zone is not whole hours from UTC, and of the time before this instant
    /// only figures by the hour of UTC are left: each counts into the step, and the hour of the day, in which the middle
    /// of its hour lies.
    #[schema(required = true, value_type = Option<String>, format = DateTime)]
    approximate_before: Option<Timestamp>,
    /// How long a step is by the clocks; where these change, some steps are shorter or longer.
    step_seconds: u64,
    /// All steps in one.
    summary: UsageFigures,
    /// How often each number came round between `from` and `to`, or until now.
    turnover: Turnover,
    /// The hours of the day in `time_zone`: 24 of them.
    hours_of_day: Vec<HourOfDay>,
    /// The steps of which there is anything to say, ascending.
    series: Vec<UsageStep>,
}

/// One hour of the day, over all days.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct HourOfDay {
    /// Which one, by the clocks.
    #[schema(maximum = 23)]
    hour: u32,
    #[serde(flatten)]
    figures: UsageFigures,
}

/// One step of time.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct UsageStep {
    /// Where it begins.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    #[serde(flatten)]
    figures: UsageFigures,
}

impl RestaurantUsageJson {
    /// The answer for a restaurant.
    pub(crate) fn new(restaurant: RestaurantId, span: &UsageSpan, usage: RestaurantUsage) -> Self {
        let of_hour = |hour| usage.series.hours_of_day.iter().find(|(known, _)| *known == hour);
        let hours_of_day = (0..24).map(|hour| HourOfDay {
            hour,
            figures: of_hour(hour).map_or_else(UsageFigures::default, |(_, figures)| *figures),
        });
        Self {
            restaurant_id: restaurant.get(),
            present: usage.present,
            exhaustion_minutes: usage.exhaustion_minutes,
            from: span.from,
            to: span.to,
            time_zone: span.zone.name(),
            approximate_before: span.approximate_before,
            step_seconds: span.step.as_secs(),
            summary: usage.total,
            turnover: usage.turnover,
            hours_of_day: hours_of_day.collect(),
            series: usage.series.steps.iter().map(|(at, figures)| UsageStep { at: *at, figures: *figures }).collect(),
        }
    }
}

problems!(UsageProblems: RestaurantNotFound, InvalidParameter, Unavailable);

/// See how full the pool was
///
/// By steps of time and by hour of the day, with how often numbers come round and when none will be free.
#[utoipa::path(
    get, path = "/v1/restaurants/{restaurant_id}/usage", tag = "numbers", operation_id = "get_usage",
    params(RestaurantInPath, UsageQuery),
    responses((status = 200, description = "The pool, now and then.", body = RestaurantUsageJson), UsageProblems),
)]
pub(crate) async fn get_usage(
    State(state): State<SharedState>,
    InPath(restaurant): InPath<RestaurantId>,
    Query(query): Query<UsageQuery>,
) -> Result<Json<RestaurantUsageJson>, Problem> {
    let tz = match query.tz {
        Some(tz) => tz,
        None => state.service.restaurants.settings(restaurant).await?.settings.time_zone,
    };
    let (from, to) = (query.from.map(|from| from.begin(tz)), query.to.map(|to| to.end(tz)));
    let span = state.service.usage.span(from, to, query.step, tz)?.map_err(invalid_span)?;
    let usage = state.service.usage.of_restaurant(restaurant, &span).await?;
    Ok(Json(RestaurantUsageJson::new(restaurant, &span, usage)))
}

fn invalid_span(invalid: InvalidSpan) -> Problem {
    let (pointer, code) = match invalid {
        InvalidSpan::Empty => ("/from", FaultCode::InvalidValue),
        InvalidSpan::TooManySteps(_) => ("/step", FaultCode::OutOfRange),
        InvalidSpan::OnlyHours(_) => ("/step", FaultCode::InvalidValue),
    };
    Problem::invalid_parameter(vec![Fault::new(Location::Query, pointer, code, invalid.to_string())])
}

/// The parameters of a ranking.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct TopQuery {
    /// By what: how full pools are, live orders, or what happened within the last hour (numbers given out, orders that
    /// got none). By default `utilization`.
    // As a `default` it would make an object of the schema.
    #[param(inline, value_type = Option<UsageRanking>)]
    by: UsageRanking,
    /// At most so many restaurants.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200, default = 20)]
    limit: usize,
}

impl FromQuery for TopQuery {
    fn from_query(query: &mut QueryReader<'_>) -> Option<Self> {
        let by = query.optional("by", ranking).unwrap_or_default();
        Some(Self { by, limit: query.optional("limit", ranked).unwrap_or(RANKED) })
    }
}

fn ranking(text: &str) -> Result<UsageRanking, Rejected> {
    word(text, &UsageRanking::ALL, UsageRanking::as_str)
}

fn ranked(text: &str) -> Result<usize, Rejected> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let limit = text.parse().ok().filter(|limit| digits && (1..=MOST_RANKED).contains(limit));
    limit.ok_or_else(|| Rejected::new(FaultCode::OutOfRange, format!("must be a whole number from 1 to {MOST_RANKED}")))
}

/// The restaurants that come first in something, by the latest samples.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = UsageTop)]
pub(crate) struct TopJson {
    /// In what they come first.
    by: UsageRanking,
    /// Of when these figures are: samples are taken every few minutes. Null where none were lately.
    #[schema(required = true, value_type = Option<String>, format = DateTime)]
    as_of: Option<Timestamp>,
    /// The first of them, the foremost first; none that would be there with 0.
    restaurants: Vec<RankedJson>,
}

/// A restaurant in a ranking.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = RankedRestaurant)]
pub(crate) struct RankedJson {
    /// The restaurant.
    #[schema(minimum = 1, maximum = 2_147_483_647, examples(7))]
    restaurant_id: u32,
    /// 1 − free ÷ (free + live + cooling).
    utilization: f64,
    /// Free numbers; null where nothing of the pool was in use then.
    #[schema(required = true)]
    free: Option<u32>,
    /// Live numbers.
    live: u32,
    /// Cooling numbers.
    cooling: u32,
    /// Numbers given out within the hour before.
    allocations: u32,
    /// Orders that got none within the hour before.
    exhaustions: u32,
}

impl TopJson {
    /// The answer to a ranking.
    pub(crate) fn new(by: UsageRanking, ranking: Ranking) -> Self {
        let restaurants = ranking.restaurants.into_iter().map(RankedJson::from).collect();
        Self { by, as_of: ranking.as_of, restaurants }
    }
}

impl From<RankedRestaurant> for RankedJson {
    fn from(ranked: RankedRestaurant) -> Self {
        let RankedRestaurant { restaurant, occupancy, tally } = ranked;
        Self {
            restaurant_id: restaurant.get(),
            utilization: occupancy.map_or(0.0, |pool| pool.utilization()),
            free: occupancy.map(|pool| pool.free),
            live: occupancy.map_or(0, |pool| pool.live),
            cooling: occupancy.map_or(0, |pool| pool.cooling),
            allocations: tally.allocations,
            exhaustions: tally.exhaustions,
        }
    }
}

problems!(TopProblems: InvalidParameter, Unavailable);

/// See which restaurants are fullest
///
/// Or come first in something else.
#[utoipa::path(
    get, path = "/v1/usage/top", tag = "numbers", operation_id = "get_top_usage",
    params(TopQuery),
    responses((status = 200, description = "The restaurants.", body = TopJson), TopProblems),
)]
pub(crate) async fn get_top_usage(
    State(state): State<SharedState>,
    Query(query): Query<TopQuery>,
) -> Result<Json<TopJson>, Problem> {
    let ranking = state.service.usage.top(query.by, query.limit).await?;
    Ok(Json(TopJson::new(query.by, ranking)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_whole_seconds_within_bounds() {
        let seconds = |text: &str| step(text).map(|step| step.as_secs()).ok();
        assert_eq!(
            ["1s", "5m", "15m", "1h", "1d", "31d", "1h 30m"].map(seconds),
            [Some(1), Some(300), Some(900), Some(3600), Some(86_400), Some(2_678_400), Some(5400)]
        );
        for bad in ["", "0s", "5", "-1h", "500ms", "32d", "1x", "h", "99999999999999999999d", "1h1", "é"] {
            assert!(step(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_ranking_has_a_name_and_a_bound() {
        assert_eq!(ranking("live"), Ok(UsageRanking::Live));
        assert_eq!(ranking("Live"), Ok(UsageRanking::Live));
        assert!(ranking("dead").is_err());
        assert_eq!(ranked("200"), Ok(200));
        for bad in ["0", "201", "-1", "+5", "1e2", "99999999999999999999"] {
            assert!(ranked(bad).is_err(), "{bad}");
        }
    }
}
