//! The survey: a walk over all restaurants, for the metrics, for samples of usage, for clean-up, and for what a crash left
//! behind. One daemon of a deployment walks and reports for all: the one that has the lease.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use futures_util::{StreamExt, stream};
use tokio::sync::{Notify, OnceCell};
use tokio_util::sync::CancellationToken;

use crate::{
    allocator::NumberCount,
    domain::{
        Context, OrderId, PartitionId, RangeOccupancy, RestaurantId,
        usage::{History, NumberTotals, Occupancy, Snapshot, SurveyReport},
    },
    metrics,
    service::{ServiceError, Usage},
};

/// A finished order is left to the write-behind this long; what is still there then, a crash has left, or the ledger
/// did not have it for a while.
const LEFT_BEHIND_AFTER_MS: i64 = 60_000;

/// So many restaurants are looked at at a time: enough that a walk over many does not consist of waiting for the network,
/// few enough to hold up no other call.
const RESTAURANTS_AT_A_TIME: usize = 8;

const LEASE: &str = "survey";

const LEASE_LASTS: Duration = Duration::from_secs(10);

/// How often [`Usage::renew_survey_lease`] is to be called.
pub(crate) const RENEW_LEASE_EVERY: Duration = Duration::from_secs(2);

/// A holder whose walks fail for so long lets others try: perhaps it is the only one that does not reach Redis.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

/// While partitions are closed for no longer than this, what was found before they were stays: sums that lack them for the
/// moment of a rebuild would look like orders that had gone.
const PARTLY_CLOSED_FOR: Duration = Duration::from_secs(60);

/// What this daemon has to do with the survey.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Standing {
    /// It walks, and reports. With the ledger unreachable it goes on: no other daemon can take the lease meanwhile.
    Leads,
    /// Another daemon does it.
    #[default]
    Follows,
    /// It is not known which daemon does it: this one walks, so that forgotten orders are expired, and does not report.
    Alone,
}

/// A walk over all restaurants.
struct Walk {
    snapshot: Snapshot,
    /// The numbers by range of the restaurants that have several.
    ranges: BTreeMap<RestaurantId, Vec<RangeOccupancy>>,
    /// Whether all partitions were open.
    whole: bool,
}

/// What the survey leaves behind.
#[derive(Debug, Default)]
pub(super) struct Surveyed {
    standing: Mutex<Standing>,
    became_leader: Notify,
    /// Since when walks of this daemon have failed.
    failing_since: Mutex<Option<Instant>>,
    /// When a walk last found every partition open.
    whole_at: Mutex<Option<Instant>>,
    /// Walks of this daemon, whether it reported them or not.
    history: Mutex<History>,
    latest: ArcSwapOption<Snapshot>,
    report: ArcSwapOption<SurveyReport>,
}

impl Surveyed {
    fn standing(&self) -> Standing {
        *locked(&self.standing)
    }

    fn becomes(&self, next: Standing) {
        let mut standing = locked(&self.standing);
        if *standing == next {
            return;
        }
        tracing::info!(standing = ?next, "the survey of all restaurants");
        *standing = next;
        metrics::survey_leader(next == Standing::Leads);
        match next {
            Standing::Leads => self.became_leader.notify_one(),
            Standing::Follows | Standing::Alone => {
                self.latest.store(None);
                self.report.store(None);
            }
        }
    }

    /// Takes a complete walk into the history, and into the report unless another daemon reports by now. Takes tens of
    /// milliseconds where there are tens of thousands of restaurants.
    fn take(&self, Walk { snapshot, ranges, .. }: Walk, top: usize) {
        let snapshot = Arc::new(snapshot);
        let report = {
            let mut history = locked(&self.history);
            history.push(snapshot.clone());
            history.report(top).map(|report| Arc::new(report.with_ranges(ranges)))
        };
        // Held, so that the lease is not lost in between.
        let standing = locked(&self.standing);
        if *standing == Standing::Leads {
            self.report.store(report);
            self.latest.store(Some(snapshot));
        }
    }

    /// The latest survey, of the daemon that reports.
    pub(super) fn latest(&self) -> Option<Arc<Snapshot>> {
        self.latest.load_full()
    }

    fn fails(&self, failing: bool) {
        let mut since = locked(&self.failing_since);
        *since = failing.then(|| since.unwrap_or_else(Instant::now));
    }

    /// Whether a walk is to be taken for what there is: it was whole, or has not been for long.
    fn counts(&self, whole: bool) -> bool {
        let mut whole_at = locked(&self.whole_at);
        if whole {
            *whole_at = Some(Instant::now());
        }
        whole || whole_at.is_none_or(|at| at.elapsed() > PARTLY_CLOSED_FOR)
    }

    fn has_given_up(&self) -> bool {
        locked(&self.failing_since).is_some_and(|since| since.elapsed() > GIVE_UP_AFTER)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Usage {
    /// What the latest survey found; None on a daemon that does not report.
    #[must_use]
    pub(crate) fn survey_report(&self) -> Option<Arc<SurveyReport>> {
        self.surveyed.report.load_full()
    }

    /// Whether this daemon surveys for all.
    pub(super) fn surveys(&self) -> bool {
        self.surveyed.standing() == Standing::Leads
    }

    /// Resolves when this daemon has become the one that surveys: the next walk is due at once.
    pub(crate) async fn survey_due(&self) {
        self.surveyed.became_leader.notified().await;
    }

    /// Takes or renews the lease on the survey. To be called every [`RENEW_LEASE_EVERY`], also while a walk goes on.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable, which is in the log: see [`Standing`] for what is done then.
    pub(crate) async fn renew_survey_lease(&self) -> Result<(), ServiceError> {
        if !self.shared_redis {
            self.surveyed.becomes(Standing::Leads);
            return Ok(());
        }
        if self.surveyed.has_given_up() {
            if self.surveyed.standing() == Standing::Leads {
                self.give_back_survey_lease().await;
            }
            self.surveyed.becomes(Standing::Alone);
            return Ok(());
        }
        match self.ledger.take_lease(LEASE, self.daemon, LEASE_LASTS).await {
            Ok(true) => self.surveyed.becomes(Standing::Leads),
            Ok(false) => self.surveyed.becomes(Standing::Follows),
            Err(error) => {
                tracing::debug!(%error, "which daemon surveys the restaurants is not known");
                if self.surveyed.standing() == Standing::Follows {
                    self.surveyed.becomes(Standing::Alone);
                }
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Lets another daemon survey.
    pub(crate) async fn give_back_survey_lease(&self) {
        let led = self.surveys();
        self.surveyed.becomes(Standing::Follows);
        if !led || !self.shared_redis {
            return;
        }
        if let Err(error) = self.ledger.give_back_lease(LEASE, self.daemon).await {
            tracing::debug!(%error, "the lease on the survey will run out");
        }
    }

    /// Looks at every restaurant once, unless another daemon does: counts its numbers, ends at most `cleanup_limit` of
    /// its forgotten and long served orders (0: none), and lets go of finished orders that the ledger has.
    ///
    /// # Errors
    /// Unavailable when Redis is unreachable; a later walk does what this one did not.
    pub(crate) async fn survey(&self, cleanup_limit: usize, stop: &CancellationToken) -> Result<(), ServiceError> {
        if self.surveyed.standing() == Standing::Follows {
            self.surveyed.fails(false);
            return Ok(());
        }
        let started = Instant::now();
        let walked = self.walk(cleanup_limit, stop).await;
        self.surveyed.fails(walked.is_err());
        let Some(walk) = walked? else { return Ok(()) };
        if !self.surveyed.counts(walk.whole) {
            return Ok(());
        }
        if self.surveyed.standing() == Standing::Leads {
            metrics::surveyed(started.elapsed());
        }
        let (surveyed, top) = (self.surveyed.clone(), self.settings.top);
        // Not in between requests: it only counts.
        let taken = tokio::task::spawn_blocking(move || surveyed.take(walk, top)).await;
        taken.map_err(|error| ServiceError::Internal(error.into()))
    }

    /// A walk over all restaurants; None if it was stopped. It is an error when Redis does not answer for some partition that
    /// is open.
    async fn walk(&self, cleanup_limit: usize, stop: &CancellationToken) -> Result<Option<Walk>, ServiceError> {
        let (mut totals, mut overdue, mut whole) = (NumberTotals::default(), 0, true);
        let (mut pools, mut ranges, mut unreachable) = (Vec::new(), BTreeMap::new(), None);
        for partition in PartitionId::all(self.allocator.partition_count()) {
            if self.allocator.is_closed(partition) {
                whole = false;
                continue;
            }
            let found = match self.allocator.restaurants(partition).await {
                Ok(found) => found,
                // A server that is unreachable does not hide the restaurants of the others.
                Err(error) => {
                    unreachable = Some(error.into());
                    continue;
                }
            };
            let clocks_disagree = &OnceCell::new();
            let looks = stream::iter(found).map(|restaurant| async move {
                (restaurant, self.look_after(restaurant, cleanup_limit, clocks_disagree).await)
            });
            let mut looks = looks.buffer_unordered(RESTAURANTS_AT_A_TIME);
            while let Some((restaurant, looked)) = looks.next().await {
                if stop.is_cancelled() {
                    return Ok(None);
                }
                match looked {
                    Ok(Some((count, left))) => {
                        totals.add(&count.occupancy);
                        overdue += left;
                        pools.push(Occupancy::of(restaurant, &count.occupancy));
                        if !count.occupancy.ranges.is_empty() {
                            ranges.insert(restaurant, count.occupancy.ranges);
                        }
                    }
                    Ok(None) => {}
                    // What is wrong with one restaurant must not hide those behind it.
                    Err(ServiceError::Internal(error)) => {
                        tracing::error!(%restaurant, error = format!("{error:#}"), "a restaurant cannot be surveyed");
                    }
                    Err(error) => {
                        unreachable = Some(error);
                        break;
                    }
                }
            }
        }
        if let Some(error) = unreachable {
            return Err(error);
        }
        pools.sort_unstable_by_key(|pool| pool.restaurant);
        let snapshot = Snapshot { taken_at: self.allocator.now()?, pools, totals, overdue };
        Ok(Some(Walk { snapshot, ranges, whole }))
    }

    /// What it finds, before clean-up but for the overdue orders: those that clean-up has left.
    async fn look_after(
        &self,
        restaurant: RestaurantId,
        cleanup_limit: usize,
        clocks_disagree: &OnceCell<bool>,
    ) -> Result<Option<(NumberCount, u64)>, ServiceError> {
        let Some(count) = self.allocator.count_numbers(restaurant).await? else { return Ok(None) };
        let mut overdue = u64::from(self.allocator.overdue(restaurant, &count).await?);
        // A clock that was set makes all orders of today look forgotten, and an end cannot be undone.
        let is_due = overdue > 0 || count.is_served_due;
        if is_due && cleanup_limit > 0 && !*clocks_disagree.get_or_init(|| self.upkeep.clocks_disagree()).await {
            let ended = self.restaurants.cleanup(restaurant, false, cleanup_limit, Context::of("cleanup")).await?;
            let (expired, completed) = (ended.orders.len(), ended.completed.len());
            if expired + completed > 0 {
                tracing::info!(%restaurant, expired, completed, more = ended.more, "ended forgotten and served orders");
            }
            overdue = overdue.saturating_sub(ended.overdue);
        }
        if count.kept > 0 {
            // Needs the ledger; nothing else here does.
            if let Err(error) = self.retire_left_behind(restaurant, LEFT_BEHIND_AFTER_MS).await {
                tracing::debug!(%restaurant, %error, "finished orders stay until the next walk");
            }
        }
        Ok(Some((count, overdue)))
    }

    /// Lets go of orders that ended so long ago, and that the ledger really has: an entry that was dead-lettered counts as
    /// durable, and is not there.
    ///
    /// # Errors
    /// Unavailable when Redis or the ledger is unreachable.
    pub async fn retire_left_behind(&self, restaurant: RestaurantId, after_ms: i64) -> Result<(), ServiceError> {
        let partition = self.allocator.partition_of(restaurant);
        let durable = self.allocator.durable(partition);
        let before = self.allocator.now()?.plus_ms(-after_ms);
        let mut left: Vec<OrderId> = Vec::new();
        for order in self.allocator.kept_orders(restaurant).await?.iter() {
            if order.updated_at < before
                && order.sequence <= durable
                && self.ledger.order(order.id).await?.is_some_and(|row| row.version >= order.version)
            {
                left.push(order.id);
            }
        }
        self.allocator.retire(partition, durable, &left).await?;
        Ok(())
    }
}
