//! `slot_usage` and `slot_usage_hourly`: samples of how full pools are, their roll-up by hour, and how both go with age.

use chrono::{DateTime, Days, NaiveDate, Utc};
use uuid::Uuid;

use crate::{
    domain::{Timestamp, usage::UsageSample},
    ledger::{
        Ledger, LedgerError,
        db::{connect::in_task, session::Session},
    },
};

const HOUR_MS: i64 = 3_600_000;

/// An hour is rolled up this long after its end, when its last samples have come. Later ones are not lost: with them it is
/// rolled up again.
const ROLL_UP_AFTER_MS: i64 = 60_000;

/// Partitions are made so many days ahead.
const DAYS_AHEAD: u64 = 3;

/// Samples of one span of time, of one daemon.
#[derive(Debug, Clone, PartialEq)]
pub struct UsageBatch {
    /// Counts the batches of this daemon, from 1.
    pub number: u64,
    /// When the span begins.
    pub span: Timestamp,
    /// At most one a restaurant, ascending by it.
    pub samples: Vec<UsageSample>,
    /// Whether with this batch all that the survey counted in the span is there.
    pub completes_survey: bool,
}

impl Ledger {
    /// Adds a batch of samples to what is there: counts are summed up, and what the survey counted replaces what it had
    /// before. A batch that was written already is not written again.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`].
    pub async fn write_usage(&self, daemon: Uuid, batch: &UsageBatch) -> Result<(), LedgerError> {
        self.ensure_usage_day(day_of(batch.span)).await?;
        let (ledger, batch) = (self.clone(), batch.clone());
        in_task(async move { ledger.transaction(async |transaction| write(transaction, daemon, &batch).await).await })
            .await
    }

    /// Rolls up every hour that is over and has samples that are not in `slot_usage_hourly` yet. Gives how many.
    ///
    /// # Errors
    /// As [`Ledger::write_usage`]; hours that were rolled up until then stay so.
    pub async fn roll_up_usage(&self, now: Timestamp) -> Result<usize, LedgerError> {
        let over = now.plus_ms(-HOUR_MS - ROLL_UP_AFTER_MS).to_datetime();
        let due =
            sqlx::query_scalar!("SELECT hour FROM usage_hours WHERE NOT rolled_up AND hour <= $1 ORDER BY hour", over)
                .fetch_all(self.single());
        let due = self.in_time(due).await?;
        for hour in &due {
            self.ensure_usage_month(hour.date_naive()).await?;
            let (ledger, hour) = (self.clone(), *hour);
            in_task(async move { ledger.transaction(async |transaction| roll_up(transaction, hour).await).await })
                .await?;
        }
        Ok(due.len())
    }

    /// Makes the partitions of the days ahead.
    ///
    /// # Errors
    /// As [`Ledger::write_usage`].
    pub async fn make_usage_partitions(&self, now: Timestamp) -> Result<(), LedgerError> {
        let today = day_of(now);
        let ahead = |days| today.checked_add_days(Days::new(days)).unwrap_or(today);
        for days in 0..=DAYS_AHEAD {
            self.ensure_usage_day(ahead(days)).await?;
        }
        for day in [today, ahead(DAYS_AHEAD)] {
            self.ensure_usage_month(day).await?;
        }
        Ok(())
    }

    /// Drops the partitions of days of samples and months of hours that are wholly older than so many days. Safe to call
    /// from several daemons at once.
    ///
    /// # Errors
    /// As [`Ledger::write_usage`].
    pub async fn drop_usage(
        &self,
        now: Timestamp,
        keep_samples_days: u32,
        keep_hours_days: u32,
    ) -> Result<(), LedgerError> {
        let today = day_of(now);
        let ago = |days: u32| today.checked_sub_days(Days::new(days.into())).unwrap_or_default();
        let (samples, hours) = (ago(keep_samples_days), ago(keep_hours_days));
        let dropped = sqlx::query_scalar!(r#"SELECT drop_usage_before($1, $2) AS "dropped!""#, samples, hours)
            .fetch_one(self.single());
        let dropped = self.in_time(dropped).await?;
        if dropped > 0 {
            tracing::info!(partitions = dropped, "dropped samples of usage that have been kept long enough");
        }
        self.forget_usage_hours(hours).await
    }

    /// What is known of hours, and of daemons that wrote samples, does not grow for ever.
    async fn forget_usage_hours(&self, before: NaiveDate) -> Result<(), LedgerError> {
        let forgotten = sqlx::query!(
            "WITH writers AS (DELETE FROM usage_writers WHERE written_at < now() - interval '7 days')
             DELETE FROM usage_hours WHERE hour < $1::date::timestamp AT TIME ZONE 'UTC'",
            before
        );
        self.in_time(forgotten.execute(self.single())).await.map(drop)
    }

    async fn ensure_usage_day(&self, day: NaiveDate) -> Result<(), LedgerError> {
        let made = sqlx::query_scalar!(r#"SELECT ensure_usage_day($1) AS "made!""#, day).fetch_one(self.single());
        self.in_time(made).await.map(drop)
    }

    async fn ensure_usage_month(&self, day: NaiveDate) -> Result<(), LedgerError> {
        let made = sqlx::query_scalar!(r#"SELECT ensure_usage_month($1) AS "made!""#, day).fetch_one(self.single());
        self.in_time(made).await.map(drop)
    }
}

fn day_of(at: Timestamp) -> NaiveDate {
    at.to_datetime().date_naive()
}

/// The beginning of an hour (UTC).
fn hour_of(at: Timestamp) -> DateTime<Utc> {
    Timestamp::from_unix_ms(at.unix_ms() / HOUR_MS * HOUR_MS).to_datetime()
}

async fn write(transaction: &mut Session<'_>, daemon: Uuid, batch: &UsageBatch) -> Result<(), LedgerError> {
    let new = sqlx::query!(
        "INSERT INTO usage_writers AS known (daemon, batch) VALUES ($1, $2)
         ON CONFLICT (daemon) DO UPDATE SET batch = EXCLUDED.batch, written_at = now() WHERE known.batch < EXCLUDED.batch",
        daemon,
        batch.number.cast_signed()
    )
    .execute(&mut *transaction)
    .await?;
    if new.rows_affected() == 0 {
        return Ok(());
    }
    let span = batch.span.to_datetime();
    let surveyed_at = batch.completes_survey.then_some(span);
    // Its lock is also what keeps two daemons that write the same rows from waiting for each other.
    sqlx::query!(
        "INSERT INTO usage_hours AS known (hour, surveyed_at) VALUES ($1, $2)
         ON CONFLICT (hour) DO UPDATE
         SET rolled_up = false, surveyed_at = greatest(known.surveyed_at, EXCLUDED.surveyed_at)",
        hour_of(batch.span),
        surveyed_at
    )
    .execute(&mut *transaction)
    .await?;
    add(transaction, span, &batch.samples).await
}

async fn add(transaction: &mut Session<'_>, span: DateTime<Utc>, samples: &[UsageSample]) -> Result<(), LedgerError> {
    let restaurants: Vec<i32> = samples.iter().map(|sample| sample.restaurant.as_i32()).collect();
    let counted = |count: fn(&crate::domain::usage::Occupancy) -> u32| -> Vec<Option<i32>> {
        samples.iter().map(|sample| sample.occupancy.as_ref().map(|found| count(found).cast_signed())).collect()
    };
    let (live, cooling, free) = (counted(|o| o.live), counted(|o| o.cooling), counted(|o| o.free));
    let allocations: Vec<i32> = samples.iter().map(|sample| clamped(sample.tally.allocations)).collect();
    let exhaustions: Vec<i32> = samples.iter().map(|sample| clamped(sample.tally.exhaustions)).collect();
    sqlx::query!(
        "INSERT INTO slot_usage AS known (restaurant_id, sampled_at, live, cooling, free, allocations, exhaustions)
         SELECT restaurant, $1, live, cooling, free, allocations, exhaustions
         FROM unnest($2::integer[], $3::integer[], $4::integer[], $5::integer[], $6::integer[], $7::integer[])
              AS new (restaurant, live, cooling, free, allocations, exhaustions)
         ON CONFLICT (restaurant_id, sampled_at) DO UPDATE
         SET live = coalesce(EXCLUDED.live, known.live), cooling = coalesce(EXCLUDED.cooling, known.cooling),
             free = coalesce(EXCLUDED.free, known.free), allocations = known.allocations + EXCLUDED.allocations,
             exhaustions = known.exhaustions + EXCLUDED.exhaustions",
        span,
        &restaurants,
        &live as &[Option<i32>],
        &cooling as &[Option<i32>],
        &free as &[Option<i32>],
        &allocations,
        &exhaustions
    )
    .execute(transaction)
    .await?;
    Ok(())
}

fn clamped(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Makes the rows of an hour anew from its samples. What is written meanwhile waits for the lock, and makes the hour due
/// again.
async fn roll_up(transaction: &mut Session<'_>, hour: DateTime<Utc>) -> Result<(), LedgerError> {
    let locked = sqlx::query!("UPDATE usage_hours SET rolled_up = true WHERE hour = $1 AND NOT rolled_up", hour)
        .execute(&mut *transaction)
        .await?;
    if locked.rows_affected() == 0 {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO slot_usage_hourly (restaurant_id, hour, samples, live_mean, live_peak, cooling_mean, cooling_peak,
                                        free_least, utilization_mean, utilization_peak, allocations, exhaustions)
         SELECT restaurant_id, $1, count(live), coalesce(avg(live), 0), coalesce(max(live), 0),
                coalesce(avg(cooling), 0), coalesce(max(cooling), 0), min(free),
                coalesce(avg(utilization), 0), coalesce(max(utilization), 0), sum(allocations), sum(exhaustions)
         FROM slot_usage,
              LATERAL (SELECT coalesce((live + cooling)::float8 / nullif(live + cooling + free, 0), live)
                              AS utilization) AS share
         WHERE sampled_at >= $1 AND sampled_at < $1 + interval '1 hour'
         GROUP BY restaurant_id
         ON CONFLICT (restaurant_id, hour) DO UPDATE
         SET samples = EXCLUDED.samples, live_mean = EXCLUDED.live_mean, live_peak = EXCLUDED.live_peak,
             cooling_mean = EXCLUDED.cooling_mean, cooling_peak = EXCLUDED.cooling_peak,
             free_least = EXCLUDED.free_least, utilization_mean = EXCLUDED.utilization_mean,
             utilization_peak = EXCLUDED.utilization_peak, allocations = EXCLUDED.allocations,
             exhaustions = EXCLUDED.exhaustions",
        hour
    )
    .execute(transaction)
    .await?;
    Ok(())
}
