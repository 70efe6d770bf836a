//! Rebuilding a partition: the next generation, after Redis was restarted, promoted, replaced, or lost data; or after the
//! ledger did.
//!
//! The order of things is what makes it safe. The old generation is fenced off in Redis, so nothing is added to it any
//! more; what survives of its outbox is written to the ledger; the ledger gives out the next generation by
//! compare-and-set, so nobody can write the old one to it any more either; and only then is read what the ledger has.
//! Numbers that may have been given in the seconds that nobody knows of rest a whole cooldown. A rebuild that dies
//! half-way is begun again, under one more generation.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::{LOOK_WITHIN, Service, ServiceError, partitions::Judgement};
use crate::{
    allocator::{Build, Head, Restated, RunId, Seen},
    domain::{Context, NumberAfter, Order, OrderStatus, PartitionId, RestaurantId, SettingsChange, Timestamp},
    ledger::{PartitionBatch, Progress},
    metrics::{self, Rebuilt},
};

/// How long a builder is left alone with its partition. It renews the lease three times as often.
const LEASE: Duration = Duration::from_secs(6);

/// Partitions that are rebuilt at a time, restaurants that are read from the ledger at a time, and calls to Redis.
const PARTITIONS_AT_A_TIME: usize = 4;
const RESTAURANTS_AT_A_TIME: usize = 50;
const CALLS_AT_A_TIME: usize = 16;

/// A daemon that was not seen for so long has ended. Each says once a second that it runs.
pub(super) const DAEMON_SEEN_WITHIN: Duration = Duration::from_secs(3);

/// How long a builder waits for what other daemons remember: one that hangs is not waited for, and says it later.
const RECALL_WITHIN: Duration = Duration::from_secs(5);

/// Entries of a surviving outbox that one transaction writes.
const DRAINED_AT_A_TIME: usize = 1000;

/// How often a rebuild says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// About as many events as an order makes: from orders to sequences.
const EVENTS_AN_ORDER: u32 = 4;

/// How the numbers of the unknown seconds are counted.
#[derive(Debug, Clone, Copy)]
pub struct Unknown {
    /// The seconds before a loss of which nothing is known.
    pub seconds: u64,
    /// Numbers that a restaurant skips at least.
    pub at_least: u32,
    /// Numbers that a restaurant skips at most.
    pub at_most: u32,
}

/// What became of an attempt.
enum Attempt {
    /// It is open.
    Opened,
    /// Another daemon is at it.
    Elsewhere,
}

/// What survives of a partition's outbox has been written.
struct Drained {
    /// How far the ledger is.
    sequence: u64,
    /// The outbox does not go on where the ledger stands.
    ledger_lost: bool,
}

impl Service {
    /// Gives these partitions their next generation, several at a time. One that fails stays closed, and does not hold up
    /// the others; the next call tries again.
    pub async fn rebuild_partitions(&self, partitions: Vec<PartitionId>, stop: &CancellationToken) {
        let attempts = stream::iter(partitions).map(|partition| {
            let (service, stop) = (self.clone(), stop.clone());
            async move { service.try_rebuild(partition, &stop).await }
        });
        attempts.buffer_unordered(PARTITIONS_AT_A_TIME).collect::<()>().await;
    }

    async fn try_rebuild(&self, partition: PartitionId, stop: &CancellationToken) {
        if let Some(Err(error)) = stop.run_until_cancelled(self.rebuild_leased(partition)).await {
            tracing::warn!(%partition, %error, "a rebuild failed and will be tried again");
            self.allocator.close_partition(partition, format!("its rebuild will be tried again: {error}"));
        }
        self.count_partitions();
    }

    async fn rebuild_leased(&self, partition: PartitionId) -> Result<(), ServiceError> {
        if !self.ledger.claim_build(partition, self.builder, LEASE).await? {
            self.allocator.close_partition(partition, "another daemon is rebuilding it".to_owned());
            return Ok(());
        }
        let attempt = tokio::select! {
            attempt = self.rebuild(partition) => attempt,
            lost = self.keep_lease(partition) => lost,
        };
        self.ledger.release_build(partition, self.builder).await?;
        if let Attempt::Elsewhere = attempt? {
            self.allocator.close_partition(partition, "another daemon has rebuilt it".to_owned());
        }
        Ok(())
    }

    async fn keep_lease(&self, partition: PartitionId) -> Result<Attempt, ServiceError> {
        loop {
            tokio::time::sleep(LEASE / 3).await;
            if !self.ledger.claim_build(partition, self.builder, LEASE).await? {
                return Ok(Attempt::Elsewhere);
            }
        }
    }

    async fn rebuild(&self, partition: PartitionId) -> Result<Attempt, ServiceError> {
        let started = Instant::now();
        let known = self.allocator.known_sequence(partition);
        let (seen, recorded) = self.look_at(partition).await?;
        let sealed = is_sealed(&seen, &recorded);
        match self.judge(&seen, &recorded, known).await? {
            // A private Redis that was stopped in peace: nothing to speak of.
            Judgement::Rebuild(_) if sealed => {}
            Judgement::Rebuild(reason) => tracing::warn!(%partition, reason, "a partition gets a new generation"),
            Judgement::Open => {
                self.open_as_it_is(partition, &seen, &recorded).await?;
                return Ok(Attempt::Opened);
            }
            Judgement::Create | Judgement::Wait(_) | Judgement::Refuse(_) => return Ok(Attempt::Elsewhere),
        }
        if let Some(Head { generation: 1.., .. }) = &seen.head
            && !self.allocator.fence_off(partition, seen_generation(&seen), &seen.run_id).await?
        {
            return Ok(Attempt::Elsewhere);
        }

        // Nothing is added any more: what is there now is all that survives.
        let (fenced, recorded) = self.look_at(partition).await?;
        if fenced.run_id != seen.run_id {
            return Ok(Attempt::Elsewhere);
        }
        let whole_generation = fenced.head.as_ref().and_then(Head::whole_generation);
        let drained = self.drain(partition, &fenced, &recorded).await?;
        let ledger_lost = drained.ledger_lost || whole_generation > recorded.generation;
        let survives = fenced.head.as_ref().map_or(0, |head| head.sequence);
        let building = fenced.head.as_ref().and_then(|head| head.building);
        let next = recorded.generation.max(whole_generation).max(building).unwrap_or(0) + 1;
        let from = drained.sequence.max(survives);
        let run_id = fenced.run_id.as_str();
        let Some(start) = self.ledger.open_generation(partition, recorded.generation, next, run_id, from).await? else {
            return Ok(Attempt::Elsewhere);
        };

        let seed = self.ledger.deployment(self.allocator.partition_count()).await?.seed;
        let build = Build { partition, generation: next, run_id: fenced.run_id.clone() };
        self.allocator.begin_build(&build, start, &seed).await?;
        // Whole: Redis has all that was ever written under its generation, as far as anybody can know.
        let whole = whole_generation.is_some() && whole_generation >= recorded.generation && start == survives;
        let restaurants =
            if whole { self.allocator.fenced_restaurants(partition).await? } else { self.load(&build).await? };
        let (known_generation, known) = self.allocator.known_sequence(partition);
        let lost_nothing = whole
            && recorded.run_id.as_deref().is_some_and(|on| fenced.run_id.continues(&RunId::recorded(on)))
            && (Some(known_generation) != recorded.generation || survives >= known);
        if !sealed && !lost_nothing {
            self.skip_unknown(&build, &restaurants).await?;
        }
        if ledger_lost {
            self.emit_again(&build, &restaurants, recorded.sequence, survives).await?;
        }
        self.restate(&build).await?;
        if !sealed && !lost_nothing && self.settings.shared {
            self.await_recalls(&build).await?;
        }
        let sequence = self.allocator.finish_build(&build).await?;
        self.allocator.open_partition(partition, next, &fenced.run_id, sequence, start);
        let how = match (ledger_lost, whole) {
            (true, _) => Rebuilt::LedgerLost,
            (false, true) => Rebuilt::Continued,
            (false, false) => Rebuilt::FromLedger,
        };
        metrics::rebuilt(how, started.elapsed());
        let (restaurants, took) = (restaurants.len(), started.elapsed());
        if !sealed {
            tracing::info!(%partition, generation = next, sequence, ?how, restaurants, ?took, "a partition is open again");
        }
        Ok(Attempt::Opened)
    }

    async fn look_at(&self, partition: PartitionId) -> Result<(Seen, Progress), ServiceError> {
        let progress = self.ledger.progress().await?;
        let recorded = progress.into_iter().find(|progress| progress.partition == partition);
        let unknown = || ServiceError::Internal(anyhow::anyhow!("the ledger has no row for partition {partition}"));
        let seen = self.allocator.heads().await.swap_remove(partition.index())?;
        Ok((seen, recorded.ok_or_else(unknown)?))
    }

    /// Writes what survives of the outbox to the ledger. Entries of a generation that the ledger has left behind were
    /// written before it did so.
    async fn drain(&self, partition: PartitionId, seen: &Seen, recorded: &Progress) -> Result<Drained, ServiceError> {
        let mut drained = Drained { sequence: recorded.sequence, ledger_lost: false };
        let Some(generation) = recorded.generation.filter(|_| seen.head.is_some()) else { return Ok(drained) };
        loop {
            let waiting = self.allocator.waiting_entries(partition, drained.sequence, DRAINED_AT_A_TIME).await?;
            let entries: Vec<_> = waiting.into_iter().take_while(|entry| entry.generation == generation).collect();
            if entries.is_empty() {
                // Or another daemon has written and trimmed the rest meanwhile.
                let (_, recorded) = self.look_at(partition).await?;
                drained.sequence = drained.sequence.max(recorded.sequence);
                drained.ledger_lost = seen.head.as_ref().is_some_and(|head| head.sequence > drained.sequence);
                return Ok(drained);
            }
            let batch = PartitionBatch { partition, generation, entries };
            let written = self.ledger.write(vec![batch], self.builder, Duration::ZERO).await?;
            metrics::batch_written(written.events, written.dead, written.collisions.len(), Duration::ZERO);
            if let Some(position) = written.positions.first() {
                drained.sequence = position.sequence;
            }
            if !written.gaps.is_empty() {
                drained.ledger_lost = true;
                return Ok(drained);
            }
            if !written.busy.is_empty() {
                // A write-behind is at it: it will be done in a moment.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Loads everything that the ledger has of a partition. Answers with its restaurants.
    async fn load(&self, build: &Build) -> Result<Vec<RestaurantId>, ServiceError> {
        let partition = build.partition;
        let mut restaurants = self.ledger.restaurants().await?;
        restaurants.retain(|restaurant| self.allocator.partition_of(*restaurant) == partition);
        let (total, keys_since) = (restaurants.len(), self.allocator.idempotency_since());
        let (mut done, mut live, mut said) = (0, 0, Instant::now());
        for some in restaurants.chunks(RESTAURANTS_AT_A_TIME) {
            let images = self.ledger.pool_images(some, keys_since).await?;
            live += images.iter().map(|image| image.live.len()).sum::<usize>();
            let loads = stream::iter(images).map(|image| {
                let (allocator, build) = (self.allocator.clone(), build.clone());
                async move { allocator.load_pool(&build, &image).await }
            });
            loads.buffer_unordered(CALLS_AT_A_TIME).try_collect::<Vec<()>>().await?;
            done += some.len();
            let progress = format!("it is being rebuilt from the ledger: {done} of {total} restaurants");
            if said.elapsed() > PROGRESS_EVERY {
                said = Instant::now();
                tracing::info!(%partition, done, total, "rebuilding a partition from the ledger");
            }
            self.allocator.close_partition(partition, progress);
        }
        tracing::info!(%partition, restaurants = total, live_orders = live, "loaded a partition from the ledger");
        Ok(restaurants)
    }

    /// Puts the numbers to rest that may have been given in the seconds that nobody knows of.
    async fn skip_unknown(&self, build: &Build, restaurants: &[RestaurantId]) -> Result<(), ServiceError> {
        if self.settings.unknown.seconds == 0 || restaurants.is_empty() {
            return Ok(());
        }
        let lately = self.ledger.orders_of_last_minute().await?;
        let sequences = self.settings.unknown.sequences(&lately, restaurants);
        let skips = stream::iter(restaurants.to_vec()).map(|restaurant| {
            let (allocator, build) = (self.allocator.clone(), build.clone());
            let numbers = self.settings.unknown.numbers(lately.get(&restaurant).copied().unwrap_or(0));
            async move { allocator.skip_numbers(restaurant, &build, numbers, sequences.max(numbers)).await }
        });
        let skipped: Vec<u32> = skips.buffer_unordered(CALLS_AT_A_TIME).try_collect().await?;
        let numbers: u32 = skipped.iter().sum();
        metrics::numbers_skipped(numbers);
        tracing::info!(partition = %build.partition, numbers, "numbers that may have been given unseen rest a cooldown");
        Ok(())
    }

    /// Says again what this daemon saw acknowledged before a generation and nobody has: Redis lost it before the ledger
    /// had it. It is in Redis, and on its way to the ledger, when this returns.
    pub(super) async fn restate(&self, build: &Build) -> Result<(), ServiceError> {
        let Build { partition, generation, .. } = *build;
        let remembered = self.allocator.remembered_before(partition, generation);
        if remembered.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = remembered.iter().map(|order| order.id).collect();
        let known = self.ledger.versions(&ids).await?;
        let lost = |order: &Order| {
            let known = known.get(&order.id);
            known.is_none_or(|(version, ended)| *version < order.version || order.status.is_final() && !ended)
        };
        let context = Context::of("recovery");
        let mut back = 0;
        for (order, restated) in self.allocator.restate(build, lost, &context).await? {
            match restated {
                Restated::Known => {}
                Restated::Back(renumbered) => {
                    back += 1;
                    if let Some(found) = renumbered {
                        metrics::renumbered();
                        tracing::error!(
                            renumbered = %found.order, keeper = %found.keeper, previous_number = %found.previous,
                            "two live orders had one number: the later one was given a new one"
                        );
                    }
                }
                Restated::NoNumber => tracing::error!(
                    %order, "an order that Redis lost has no number: its own has another holder, and none is free"
                ),
            }
        }
        self.allocator.forget_before(partition, generation);
        metrics::restated(back);
        if back > 0 {
            tracing::warn!(%partition, orders = back, "orders that Redis had lost are back, as they were acknowledged");
        }
        Ok(())
    }

    /// Waits until every other daemon that runs has said what it remembers, too: what one of them saw acknowledged must
    /// not be denied by another, nor changed, before it is back.
    async fn await_recalls(&self, build: &Build) -> Result<(), ServiceError> {
        let Build { partition, generation, .. } = *build;
        self.allocator.invite(build).await?;
        let started = Instant::now();
        loop {
            let missing = self.ledger.recalls_missing(self.builder, partition, generation, DAEMON_SEEN_WITHIN).await?;
            if missing == 0 {
                return Ok(());
            }
            if started.elapsed() > RECALL_WITHIN {
                tracing::warn!(%partition, daemons = missing, "not waiting any longer for what other daemons remember");
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Says that this daemon runs, and, for partitions that another one is building, what this one remembers of them.
    ///
    /// # Errors
    /// Unavailable when the ledger or Redis is away; the next call does it.
    pub async fn take_part(&self) -> Result<(), ServiceError> {
        let heads = self.allocator.heads_within(LOOK_WITHIN).await;
        let servers = self.allocator.open_servers(&heads);
        let servers: Vec<String> = servers.iter().map(|run_id| run_id.as_str().to_owned()).collect();
        self.ledger.daemon_runs(self.builder, &servers).await?;
        let progress = self.ledger.progress().await?;
        let building = progress.iter().filter_map(|recorded| {
            let (generation, known) = (recorded.generation?, self.allocator.known_sequence(recorded.partition).0);
            (known < generation).then_some((recorded, generation))
        });
        for (recorded, generation) in building {
            let partition = recorded.partition;
            let Some(Ok(Seen { run_id, head: Some(head) })) = heads.get(partition.index()) else { continue };
            // Before that it is still being loaded.
            if head.invites != Some(generation) {
                continue;
            }
            // Closed here first: what was answered before that is remembered by now.
            self.allocator.close_partition(partition, "another daemon is rebuilding it".to_owned());
            self.restate(&Build { partition, generation, run_id: run_id.clone() }).await?;
            self.ledger.recalled(self.builder, partition, generation).await?;
        }
        Ok(())
    }

    /// Says that this daemon ends.
    ///
    /// # Errors
    /// Unavailable when the ledger is away; others notice after a while.
    pub async fn take_leave(&self) -> Result<(), ServiceError> {
        Ok(self.ledger.daemon_ends(self.builder).await?)
    }

    /// The ledger fell back behind what it had confirmed: tells it again all that Redis knows, and reports what is gone.
    async fn emit_again(
        &self,
        build: &Build,
        restaurants: &[RestaurantId],
        ledger_at: u64,
        redis_at: u64,
    ) -> Result<(), ServiceError> {
        let context = Context::of("recovery");
        let (mut emitted, mut closed) = (0, 0);
        for restaurant in restaurants {
            let here = self.allocator.fenced_orders(*restaurant).await?;
            let settings: Vec<SettingsChange> =
                self.allocator.fenced_settings(*restaurant).await?.into_iter().collect();
            let ids: HashSet<_> = here.iter().map(|order| order.id).collect();
            let mut ended: Vec<Order> = self.ledger.live_orders(*restaurant).await?;
            ended.retain(|order| !ids.contains(&order.id));
            ended.iter_mut().for_each(|order| self.end_unseen(order));
            closed += ended.len();
            emitted += here.len();
            let rests = self.allocator.fenced_rests(*restaurant).await?;
            // First those that have ended, or they would stand in the way of those that have their numbers now.
            let ended = ended.into_iter().map(|order| (order, Some(NumberAfter::Free)));
            let here = here.into_iter().map(|order| {
                let after = number_after(&order, &rests);
                (order, after)
            });
            let orders: Vec<_> = ended.chain(here).collect();
            self.allocator.emit(build, &orders, &settings, &context).await?;
        }
        metrics::ledger_fell_back();
        tracing::error!(
            partition = %build.partition, ledger_at, redis_at, orders_told_again = emitted, orders_expired = closed,
            "the ledger fell back behind what it had confirmed. Live orders were told to it again. Orders that ended in \
             the part that it lost are expired there; their events, and orders that began and ended in that part, are \
             gone from it: look for a copy of the ledger that has them"
        );
        Ok(())
    }

    /// An order that the ledger has as live, and that ended in a part that it lost.
    fn end_unseen(&self, order: &mut Order) {
        order.status = OrderStatus::Expired;
        order.version += 1;
        order.updated_at = self.allocator.now().max(order.updated_at);
        order.released_at = Some(order.updated_at);
        order.cooldown_seconds = 0;
    }
}

/// Whether the partition was fenced off in peace, on the server that its generation was made on: then nothing was added
/// afterwards, and as the fence is there, so is all that came before it.
fn is_sealed(seen: &Seen, recorded: &Progress) -> bool {
    let Some(Head { generation: 0, fenced: Some((generation, on)), building: None, .. }) = &seen.head else {
        return false;
    };
    Some(*generation) == recorded.generation && Some(on.as_str()) == recorded.run_id.as_deref()
}

/// What became of the number of a final order, as the resting numbers have it.
fn number_after(order: &Order, rests: &HashMap<u32, Timestamp>) -> Option<NumberAfter> {
    let (until, number) = (order.cooling_until()?, order.number?);
    let rests = rests.get(&number.get()) == Some(&until);
    Some(if rests { NumberAfter::Cooling(until) } else { NumberAfter::Free })
}

fn seen_generation(seen: &Seen) -> u64 {
    seen.head.as_ref().map_or(0, |head| head.generation)
}

impl Unknown {
    /// Numbers that a restaurant may have given unseen, when it gave so many in a minute.
    fn numbers(self, a_minute: u32) -> u32 {
        // Twice, since nobody orders evenly.
        let seen = u64::from(a_minute) * self.seconds * 2;
        let numbers = u32::try_from(seen.div_ceil(60)).unwrap_or(u32::MAX);
        numbers.clamp(self.at_least, self.at_most.max(self.at_least))
    }

    /// Sequences that a partition may have used unseen.
    fn sequences(self, a_minute: &HashMap<RestaurantId, u32>, restaurants: &[RestaurantId]) -> u32 {
        let orders = restaurants.iter().filter_map(|restaurant| a_minute.get(restaurant)).sum::<u32>();
        self.numbers(orders.saturating_mul(EVENTS_AN_ORDER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_unknown_seconds_follow_the_rate_within_bounds() {
        let unknown = Unknown { seconds: 10, at_least: 3, at_most: 50 };
        let cases = [(0, 3), (1, 3), (9, 3), (10, 4), (60, 20), (1000, 50), (u32::MAX, 50)];
        for (a_minute, numbers) in cases {
            assert_eq!(unknown.numbers(a_minute), numbers, "{a_minute}");
        }
    }
}
