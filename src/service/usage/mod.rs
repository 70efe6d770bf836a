//! Usage: what this daemon counts, the samples that it writes into the ledger, and the figures that are made of them.

pub(super) mod rehearsal;
pub(super) mod survey;

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::survey::Surveyed;
use super::{Restaurants, ServiceError, ServiceSettings, Upkeep, tally::Tallies};
use crate::{
    allocator::Allocator,
    config::UsageSettings,
    domain::{
        PoolOccupancy, RestaurantId, TaskResult, TimeZone, Timestamp,
        usage::{
            FORECAST_WINDOW_MS, FreeAt, InvalidSpan, RankedRestaurant, Snapshot, Tally, Turnover, UsageFigures,
            UsageRanking, UsageSample, UsageSeries, UsageSpan, minutes_to_exhaustion,
        },
    },
    ledger::{Ledger, UsageBatch},
};

/// The most samples that one transaction writes.
const BATCH: usize = 5000;

/// How often a batch that could not be written is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(5);

/// How long the last batch may take while the daemon stops.
const LAST_BATCH_WITHIN: Duration = Duration::from_secs(3);

const DAY_MS: i64 = 86_400_000;

/// The span of time of one sample.
fn sample_ms(settings: &UsageSettings) -> i64 {
    i64::try_from(settings.sample_seconds).unwrap_or(i64::MAX).saturating_mul(1000)
}

/// Samples are kept since then: whole days.
fn sampled_since(settings: &UsageSettings, now: Timestamp) -> Timestamp {
    let today_ms = now.unix_ms() / DAY_MS * DAY_MS;
    Timestamp::from_unix_ms(today_ms - i64::from(settings.keep_samples_days) * DAY_MS)
}

/// How a restaurant's pool is, and was used.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RestaurantUsage {
    /// At this instant.
    pub present: PoolOccupancy,
    /// In how many minutes it has no free number; None while it does not drain.
    pub exhaustion_minutes: Option<f64>,
    /// By steps of time, and by hour of the day.
    pub series: UsageSeries,
    /// All steps in one.
    pub total: UsageFigures,
    /// How often its numbers came round.
    pub turnover: Turnover,
}

/// The restaurants that come first in something.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ranking {
    /// Of when it is; None where nothing was sampled within the last hours.
    pub as_of: Option<Timestamp>,
    /// The first of them, the foremost first.
    pub restaurants: Vec<RankedRestaurant>,
}

/// Usage of pools: its history, and the survey that it is sampled from. Cheap to clone.
#[derive(Clone)]
pub struct Usage {
    allocator: Allocator,
    ledger: Ledger,
    settings: UsageSettings,
    /// Whether other daemons may use the same Redis.
    shared_redis: bool,
    /// Who this daemon is, to the others.
    daemon: Uuid,
    restaurants: Restaurants,
    upkeep: Upkeep,
    /// What the survey of all restaurants found.
    surveyed: Arc<Surveyed>,
    tallies: Arc<Tallies>,
}

impl Usage {
    pub(super) fn new(
        restaurants: Restaurants,
        upkeep: Upkeep,
        ledger: Ledger,
        settings: &ServiceSettings,
        daemon: Uuid,
        tallies: Arc<Tallies>,
    ) -> Self {
        let (allocator, shared_redis, settings) =
            (restaurants.allocator().clone(), settings.shared_redis, settings.usage.clone());
        Self {
            allocator,
            ledger,
            settings,
            shared_redis,
            daemon,
            restaurants,
            upkeep,
            surveyed: Arc::default(),
            tallies,
        }
    }

    /// The steps of time that a caller asks for.
    ///
    /// # Errors
    /// [`InvalidSpan`].
    pub(crate) fn span(
        &self,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        step: Option<Duration>,
        zone: TimeZone,
    ) -> Result<Result<UsageSpan, InvalidSpan>, ServiceError> {
        let now = self.allocator.now()?;
        Ok(UsageSpan::new(from, to, step, zone, now, sampled_since(&self.settings, now)))
    }

    /// How a restaurant's pool is, and was used in a span of time.
    ///
    /// # Errors
    /// As [`Restaurants::occupancy`]; unavailable also when the ledger is unreachable.
    pub(crate) async fn of_restaurant(
        &self,
        restaurant: RestaurantId,
        span: &UsageSpan,
    ) -> Result<RestaurantUsage, ServiceError> {
        let present = self.restaurants.occupancy(restaurant).await?;
        let now = self.allocator.now()?;
        let sample_ms = sample_ms(&self.settings);
        let since = now.plus_ms(-FORECAST_WINDOW_MS - sample_ms);
        let (series, sampled) =
            tokio::try_join!(self.ledger.usage_series(restaurant, span), self.ledger.free_since(restaurant, since),)?;
        // A sample is of about the end of its span.
        let sampled = sampled.into_iter().map(|point| FreeAt { at: point.at.plus_ms(sample_ms), ..point });
        let mut points: Vec<FreeAt> = sampled.filter(|point| point.at < now).collect();
        points.push(FreeAt { at: now, free: present.free });
        let total = UsageFigures::sum(series.steps.iter().map(|(_, figures)| figures));
        let lasted_ms = span.to.min(now).unix_ms() - span.from.unix_ms();
        Ok(RestaurantUsage {
            turnover: Turnover::of(total.allocations, present.capacity, lasted_ms),
            exhaustion_minutes: minutes_to_exhaustion(&points),
            present,
            series,
            total,
        })
    }

    /// The restaurants that come first in something, as the latest samples say.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable.
    pub(crate) async fn top(&self, ranking: UsageRanking, limit: usize) -> Result<Ranking, ServiceError> {
        let now = self.allocator.now()?;
        let Some((span, restaurants)) = self.ledger.top_usage(ranking, limit, now).await? else {
            return Ok(Ranking { as_of: None, restaurants: Vec::new() });
        };
        let as_of = span.plus_ms(sample_ms(&self.settings)).min(now);
        Ok(Ranking { as_of: Some(as_of), restaurants })
    }

    /// Makes and drops the partitions of samples, and, on the daemon that surveys, rolls up the hours that are over. None is
    /// dropped while the clocks do not agree: it cannot be undone.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable.
    pub(crate) async fn keep(&self) -> Result<(), ServiceError> {
        let (now, settings) = (self.allocator.now()?, &self.settings);
        self.ledger.make_usage_partitions(now).await?;
        if self.upkeep.compare_clocks().await?.agree() {
            self.ledger.drop_usage(now, settings.keep_samples_days, settings.keep_hours_days).await?;
        } else {
            tracing::debug!("no sample of usage is dropped while the clocks do not agree");
        }
        if self.surveys() {
            self.ledger.roll_up_usage(now).await?;
        }
        Ok(())
    }
}

/// Writes a sample of each restaurant into the ledger at the end of each span of time. Every daemon adds what it counted;
/// what the survey counted comes from the one that surveys.
///
/// While the ledger is unreachable the last samples wait, and what is counted meanwhile goes into the span in which it is back:
/// nothing is lost, and no more is kept than one count a restaurant. What a daemon counted since its last sample is lost
/// when it crashes.
pub(crate) struct Sampler {
    usage: Usage,
    /// Samples that are not written yet.
    waiting: VecDeque<UsageBatch>,
    batches: u64,
    /// Whether the last attempt to write some failed.
    is_late: bool,
    /// The survey that was sampled last.
    surveyed_at: Option<Timestamp>,
    /// Restaurants that were not idle then: that they are now is worth a sample.
    in_use: HashSet<RestaurantId>,
}

/// How often a sampler looks whether Redis has told the time.
const TIME_LOOKED_FOR_EVERY: Duration = Duration::from_millis(500);

impl Sampler {
    /// One a daemon: it takes away what the daemon has counted.
    #[must_use]
    pub(crate) fn new(usage: Usage) -> Self {
        let (waiting, in_use) = (VecDeque::new(), HashSet::new());
        Self { usage, waiting, batches: 0, is_late: false, surveyed_at: None, in_use }
    }

    /// Samples until it is told to stop, and then once more. Says of each pass how long it took, and how it `ended`.
    pub(crate) async fn run(mut self, stop: CancellationToken, ended: impl Fn(Duration, TaskResult)) {
        let span_ms = sample_ms(&self.usage.settings);
        loop {
            let Ok(now) = self.usage.allocator.now() else {
                // Redis has not told the time yet; so nothing was counted either.
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep(TIME_LOOKED_FOR_EVERY) => continue,
                }
            };
            let now_ms = now.unix_ms();
            let span = Timestamp::from_unix_ms(now_ms / span_ms * span_ms);
            let left = Duration::from_millis(u64::try_from(span.unix_ms() + span_ms - now_ms).unwrap_or_default());
            let wait = if self.waiting.is_empty() { left } else { left.min(RETRY_EVERY) };
            let stopped = tokio::select! {
                () = stop.cancelled() => true,
                () = sleep(wait) => false,
            };
            let began = Instant::now();
            if stopped || wait == left {
                self.close(span);
            }
            if stopped {
                if timeout(LAST_BATCH_WITHIN, self.write_all()).await.is_err() {
                    tracing::warn!(
                        "the ledger does not answer: what was counted of usage since the last sample is lost"
                    );
                }
                return;
            }
            self.write_all().await;
            ended(began.elapsed(), if self.is_late { TaskResult::Failed } else { TaskResult::Ok });
        }
    }

    /// Ends a span. If the samples of an earlier one still wait, what was counted goes on counting.
    fn close(&mut self, span: Timestamp) {
        if !self.waiting.is_empty() {
            return;
        }
        let surveyed = self.new_survey(span);
        let mut samples: BTreeMap<RestaurantId, UsageSample> = BTreeMap::new();
        for (restaurant, tally) in self.usage.tallies.take() {
            samples.insert(restaurant, UsageSample { restaurant, occupancy: None, tally });
        }
        if let Some(snapshot) = &surveyed {
            let before = std::mem::take(&mut self.in_use);
            for pool in &snapshot.pools {
                let restaurant = pool.restaurant;
                if !pool.is_idle() {
                    self.in_use.insert(restaurant);
                }
                let counted_in = samples.get_mut(&restaurant);
                if let Some(sample) = counted_in {
                    sample.occupancy = Some(*pool);
                } else if !pool.is_idle() || before.contains(&restaurant) {
                    let sample = UsageSample { restaurant, occupancy: Some(*pool), tally: Tally::default() };
                    samples.insert(restaurant, sample);
                }
            }
        }
        let is_surveyed = surveyed.is_some();
        let samples: Vec<UsageSample> = samples.into_values().collect();
        for samples in samples.chunks(BATCH) {
            self.batches += 1;
            let (number, samples) = (self.batches, samples.to_vec());
            self.waiting.push_back(UsageBatch { number, span, samples, completes_survey: false });
        }
        if let Some(last) = self.waiting.back_mut() {
            last.completes_survey = is_surveyed;
        }
    }

    /// The latest survey, if it is of this span and was not sampled yet.
    fn new_survey(&mut self, span: Timestamp) -> Option<Arc<Snapshot>> {
        let Some(snapshot) = self.usage.surveyed.latest() else {
            self.in_use.clear();
            return None;
        };
        let is_new = snapshot.taken_at >= span && self.surveyed_at.is_none_or(|sampled| sampled < snapshot.taken_at);
        is_new.then(|| {
            self.surveyed_at = Some(snapshot.taken_at);
            snapshot
        })
    }

    async fn write_all(&mut self) {
        while let Some(batch) = self.waiting.front_mut() {
            let Ok(now) = self.usage.allocator.now() else { return };
            if batch.span < sampled_since(&self.usage.settings, now) {
                // Its day has been dropped. Counts that are late are better than none.
                batch.span = now.plus_ms(-(now.unix_ms() % sample_ms(&self.usage.settings)));
            }
            if let Err(error) = self.usage.ledger.write_usage(self.usage.daemon, batch).await {
                // Once is enough: it is tried again and again.
                if !std::mem::replace(&mut self.is_late, true) {
                    tracing::warn!(%error, "samples of usage cannot be written: they wait");
                }
                return;
            }
            self.is_late = false;
            self.waiting.pop_front();
        }
    }
}
