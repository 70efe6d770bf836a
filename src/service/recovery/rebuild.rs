//! Rebuilding a partition: the next generation, after Redis was restarted, promoted, replaced, or lost data; or after the
//! ledger did.
//!
//! The order of things is what makes it safe. The old generation is fenced off in Redis, so nothing is added to it any
//! more; what survives of its outbox is written to the ledger; the ledger gives out the next generation by
//! compare-and-set, so no daemon can write the old one to it any more either; and only then is read what the ledger
//! has. Numbers that may have been given in the unknown seconds rest a whole cooldown. A rebuild that dies half-way is
//! begun again, under one more generation.

use std::{
    collections::{HashMap, HashSet},
    sync::PoisonError,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::condition::{Evidence, Judgement};
use crate::{
    allocator::{Build, Head, RunId, Seen},
    config::RecoverySettings,
    domain::{Context, NumberAfter, Order, OrderStatus, PartitionId, RestaurantId, SettingsChange, Timestamp},
    ledger::{PartitionBatch, Progress},
    metrics::{self, Rebuilt},
    service::{Recovery, ServiceError},
};

/// How long a builder is left alone with its partition. It renews the lease three times as often.
const LEASE: Duration = Duration::from_secs(6);

/// Partitions that are rebuilt at a time, restaurants that are read from the ledger at a time, and calls to Redis.
pub(crate) const PARTITIONS_AT_A_TIME: usize = 16;
const RESTAURANTS_AT_A_TIME: usize = 50;
const CALLS_AT_A_TIME: usize = 16;

/// Entries of a surviving outbox that one transaction writes.
const DRAINED_AT_A_TIME: usize = 1000;

/// How often a rebuild says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// About as many events as an order makes: from orders to sequences.
const EVENTS_AN_ORDER: u32 = 4;

/// What became of an attempt.
enum Attempt {
    /// It is open.
    Opened,
    /// Another daemon is at it.
    Elsewhere,
}

/// How a rebuild goes on.
enum Step {
    Goes(Fenced),
    Ends(Attempt),
}

/// A partition that is fenced off: what is there, and what the ledger has recorded of it.
struct Fenced {
    seen: Seen,
    recorded: Progress,
    /// It was fenced off in peace, by the daemon that had it open.
    sealed: bool,
}

impl Fenced {
    /// Whether its records are such as this version makes. Others are loaded from the ledger, which has all of them once the
    /// outbox is drained.
    fn is_laid_out(&self) -> bool {
        self.seen.head.as_ref().is_none_or(|head| head.is_laid_out)
    }

    /// The sequence up to which Redis has anything of it.
    fn survives(&self) -> u64 {
        self.seen.head.as_ref().map_or(0, |head| head.sequence)
    }
}

/// A generation that the ledger gave to this daemon alone, which has begun to build it.
struct Taken {
    build: Build,
    /// The sequence that it goes on from.
    start: u64,
    /// Redis has all that was ever written under its generation, as far as can be known: it stays.
    whole: bool,
    /// The ledger has less than Redis, though it had confirmed it.
    ledger_lost: bool,
}

impl Taken {
    fn how(&self) -> Rebuilt {
        match (self.ledger_lost, self.whole) {
            (true, _) => Rebuilt::LedgerLost,
            (false, true) => Rebuilt::Continued,
            (false, false) => Rebuilt::FromLedger,
        }
    }
}

/// What survives of a partition's outbox has been written.
struct Drained {
    /// How far the ledger is.
    sequence: u64,
    /// The outbox does not go on where the ledger stands.
    ledger_lost: bool,
}

impl Recovery {
    /// Gives these partitions their next generation, several at a time. One that fails stays closed, and does not hold up
    /// the others; the next call tries again.
    pub(crate) async fn rebuild_partitions(&self, partitions: Vec<PartitionId>) {
        let attempts = stream::iter(partitions).map(|partition| {
            let recovery = self.clone();
            async move { recovery.rebuild_partition(partition).await }
        });
        attempts.buffer_unordered(PARTITIONS_AT_A_TIME).collect::<()>().await;
    }

    /// As [`Recovery::rebuild_partitions`], for one.
    pub(crate) async fn rebuild_partition(&self, partition: PartitionId) {
        if let Err(error) = self.rebuild_leased(partition).await {
            tracing::warn!(%partition, %error, "a rebuild failed and will be tried again");
            self.allocator.close_partition(partition, format!("its rebuild will be tried again: {error}"));
        }
        self.count_partitions();
    }

    async fn rebuild_leased(&self, partition: PartitionId) -> Result<(), ServiceError> {
        if !self.ledger.claim_build(partition, self.daemon, LEASE).await? {
            self.allocator.close_partition(partition, "another daemon is rebuilding it".to_owned());
            return Ok(());
        }
        let attempt = tokio::select! {
            attempt = self.rebuild(partition) => attempt,
            lost = self.keep_lease(partition) => lost,
        };
        // After a failure, too: the next attempt, of any daemon, need not wait until the lease runs out.
        self.ledger.release_build(partition, self.daemon).await?;
        if let Attempt::Elsewhere = attempt? {
            self.allocator.close_partition(partition, "another daemon has rebuilt it".to_owned());
        }
        Ok(())
    }

    async fn keep_lease(&self, partition: PartitionId) -> Result<Attempt, ServiceError> {
        loop {
            tokio::time::sleep(LEASE / 3).await;
            if !self.ledger.claim_build(partition, self.daemon, LEASE).await? {
                return Ok(Attempt::Elsewhere);
            }
        }
    }

    async fn rebuild(&self, partition: PartitionId) -> Result<Attempt, ServiceError> {
        let started = Instant::now();
        // A daemon that is alone with an old master must not give it a generation.
        self.allocator.locate_servers().await?;
        let fenced = match self.fence(partition).await? {
            Step::Goes(fenced) => fenced,
            Step::Ends(attempt) => return Ok(attempt),
        };
        let Some(taken) = self.take_generation(partition, &fenced).await? else { return Ok(Attempt::Elsewhere) };
        let restaurants = self.fill(&fenced, &taken).await?;
        let sequence = self.allocator.finish_build(&taken.build).await?;
        // A builder that was held up on a server which others have left must not begin to serve there.
        let Build { generation, run_id, .. } = &taken.build;
        let (seen, recorded) = self.look_at(partition).await?;
        if recorded.generation != Some(*generation) {
            return Ok(Attempt::Elsewhere);
        }
        if taken.ledger_lost {
            // A repeat at level `ledger` finds its order as it was: no client hears that it is there before it is.
            self.drain(partition, &seen, &recorded).await?;
        }
        self.allocator.open_partition(partition, *generation, run_id, sequence, taken.start);
        // Behind a fence that was put up in peace nothing was written, so that nothing was cut off.
        if !fenced.sealed {
            self.renew_append_only_file(partition, run_id).await;
        }
        let (how, took) = (taken.how(), started.elapsed());
        metrics::rebuilt(how, took);
        if !fenced.sealed {
            tracing::info!(%partition, generation, sequence, ?how, restaurants, ?took, "a partition is open again");
        }
        Ok(Attempt::Opened)
    }

    /// A file that was cut short may spoil what is appended to it. Once for each server: it has many partitions.
    async fn renew_append_only_file(&self, partition: PartitionId, run_id: &RunId) {
        let files = || self.renewed_files.lock().unwrap_or_else(PoisonError::into_inner);
        if !files().insert(run_id.as_str().to_owned()) {
            return;
        }
        match self.allocator.renew_append_only_file(partition).await {
            Ok(true) => {
                tracing::info!(%partition, "the append-only file of its Redis, which has just started, is written anew")
            }
            Ok(false) => {}
            Err(error) => {
                // The next partition of that server asks again.
                files().remove(run_id.as_str());
                tracing::warn!(
                    %partition, %error,
                    "its Redis has just started and was not asked to write its append-only file anew: after a power loss the next \
                     start may read it wrongly; allow BGREWRITEAOF, or call it by hand"
                );
            }
        }
    }

    /// Looks whether the partition still needs a new generation, and if so fences the old one off: nothing is added any
    /// more, and what is there then is all that survives.
    async fn fence(&self, partition: PartitionId) -> Result<Step, ServiceError> {
        let known = self.allocator.known_sequence(partition);
        let (seen, recorded) = self.look_at(partition).await?;
        let sealed = Evidence { seen: &seen, recorded: &recorded, known }.is_sealed();
        match self.judge(&seen, &recorded, known).await? {
            // A private Redis that was stopped in peace: nothing to speak of.
            Judgement::Rebuild(_) if sealed => {}
            Judgement::Rebuild(reason) => tracing::warn!(%partition, reason, "a partition gets a new generation"),
            Judgement::Open => {
                self.open_as_it_is(partition, &seen, &recorded).await?;
                return Ok(Step::Ends(Attempt::Opened));
            }
            Judgement::Create | Judgement::Wait(_) | Judgement::Refuse(_) => return Ok(Step::Ends(Attempt::Elsewhere)),
        }
        // 0: there is nothing to fence off, since it is empty, fenced off already, or half built.
        let open = seen.head.as_ref().map_or(0, |head| head.generation);
        if open != 0 && !self.allocator.fence_off(partition, open, &seen.run_id).await? {
            return Ok(Step::Ends(Attempt::Elsewhere));
        }
        let (now, recorded) = self.look_at(partition).await?;
        // Another server has taken its place: the fence does not stand there.
        if now.run_id != seen.run_id {
            return Ok(Step::Ends(Attempt::Elsewhere));
        }
        Ok(Step::Goes(Fenced { seen: now, recorded, sealed }))
    }

    /// Writes what survives to the ledger, takes the next generation there, and begins to build it; None where another
    /// daemon was first.
    async fn take_generation(&self, partition: PartitionId, fenced: &Fenced) -> Result<Option<Taken>, ServiceError> {
        let Fenced { seen, recorded, .. } = fenced;
        let whole_generation = seen.head.as_ref().and_then(Head::whole_generation);
        let drained = self.drain(partition, seen, recorded).await?;
        let survives = fenced.survives();
        let building = seen.head.as_ref().and_then(|head| head.building);
        // A builder before this one died over it: the ledger looks as if it had what it was not told.
        let untold = self.allocator.untold(partition, &seen.run_id).await?;
        let is_untold = untold.is_some() && untold >= recorded.generation;
        let holds = whole_generation.is_some() && whole_generation >= recorded.generation || is_untold;
        let ledger_lost = (drained.ledger_lost || whole_generation > recorded.generation || is_untold)
            && holds
            && drained.sequence <= survives;
        // Redis may know later ones than the ledger: those that it lost, or one that a builder noted before it died.
        let next = recorded.generation.max(whole_generation).max(building).max(untold).unwrap_or(0) + 1;
        let build = Build { partition, generation: next, run_id: seen.run_id.clone() };
        // Noted first: once the ledger has advanced it looks as if it had everything, should this builder die.
        if ledger_lost {
            self.allocator.begin_to_tell(&build).await?;
        }
        let (run_id, from) = (seen.run_id.as_str(), drained.sequence.max(survives));
        let Some(start) = self.ledger.advance_generation(partition, recorded.generation, next, run_id, from).await?
        else {
            return Ok(None);
        };
        let seed = self.ledger.deployment(self.allocator.partition_count()).await?.seed;
        let whole = holds && start == survives && fenced.is_laid_out();
        // Read only now: the ledger takes no more events of the old generation, so none has a later stamp.
        let (_, now) = self.look_at(partition).await?;
        self.allocator.begin_build(&build, start, now.stamp, &seed, whole).await?;
        Ok(Some(Taken { build, start, whole, ledger_lost: ledger_lost && whole }))
    }

    /// Puts everything there that the generation must have before it is opened. Answers with how many restaurants it has.
    async fn fill(&self, fenced: &Fenced, taken: &Taken) -> Result<usize, ServiceError> {
        let Taken { build, whole, .. } = taken;
        let partition = build.partition;
        let restaurants =
            if *whole { self.allocator.fenced_restaurants(partition).await? } else { self.load(build).await? };
        // Records of another layout are loaded from the ledger, which has all that Redis had: nothing is lost.
        let kept = *whole || !fenced.is_laid_out() && taken.start == fenced.survives();
        let lost_nothing = fenced.sealed || kept && self.lost_nothing(fenced, partition);
        if !lost_nothing {
            self.skip_unknown(build, &restaurants).await?;
        }
        if taken.ledger_lost {
            self.emit_again(build, &restaurants, fenced.recorded.sequence, fenced.survives()).await?;
        }
        self.say_again(build, true).await?;
        // What another daemon acknowledged, and it alone remembers, must be back before any call is served.
        if !lost_nothing && self.shared_redis {
            self.await_recalls(build).await?;
        }
        // What had to wait for others, and answers that were still under way.
        self.restate(build).await?;
        Ok(restaurants.len())
    }

    /// Whether it is still the server that the generation was made on, and not behind what was seen of it.
    fn lost_nothing(&self, fenced: &Fenced, partition: PartitionId) -> bool {
        let Fenced { seen, recorded, .. } = fenced;
        let (generation, known) = self.allocator.known_sequence(partition);
        recorded.run_id.as_deref().is_some_and(|on| seen.run_id.continues(&RunId::recorded(on)))
            && (Some(generation) != recorded.generation || fenced.survives() >= known)
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
            let written = self.ledger.write(vec![batch], self.daemon, Duration::ZERO).await?;
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
        let dead_lettered = self.dead_lettered(partition).await?;
        // One whose first settings are a dead letter is in no table.
        restaurants.extend(dead_lettered.restaurants());
        restaurants.sort_unstable();
        restaurants.dedup();
        let forgotten = self.allocator.forget_others(build, &restaurants).await?;
        if forgotten > 0 {
            tracing::warn!(%partition, restaurants = forgotten, "restaurants that the ledger does not know were forgotten");
        }
        let (total, keys_since) = (restaurants.len(), self.allocator.idempotency_since()?);
        let (mut done, mut live, mut said) = (0, 0, Instant::now());
        for some in restaurants.chunks(RESTAURANTS_AT_A_TIME) {
            let settings = dead_lettered.settings_of(some, self.ledger.settings_of(some).await?);
            let mut images = self.ledger.pool_images(settings, keys_since).await?;
            images.iter_mut().for_each(|image| dead_lettered.add_to(image));
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

    /// Puts the numbers to rest that may have been given in the unknown seconds.
    async fn skip_unknown(&self, build: &Build, restaurants: &[RestaurantId]) -> Result<(), ServiceError> {
        let settings = &self.settings;
        if settings.unknown_seconds == 0 || restaurants.is_empty() {
            return Ok(());
        }
        let lately = self.ledger.orders_of_last_minute().await?;
        let sequences = skipped_sequences(settings, &lately, restaurants);
        let skips = stream::iter(restaurants.to_vec()).map(|restaurant| {
            let (allocator, build) = (self.allocator.clone(), build.clone());
            let numbers = skipped_numbers(settings, lately.get(&restaurant).copied().unwrap_or(0));
            async move {
                let context = Context::of("recovery");
                // Each number that was given took a sequence, whatever the rates say.
                allocator.skip_numbers(restaurant, &build, numbers, sequences.max(numbers), &context).await
            }
        });
        let skipped: Vec<u32> = skips.buffer_unordered(CALLS_AT_A_TIME).try_collect().await?;
        let numbers: u32 = skipped.iter().sum();
        metrics::numbers_skipped(numbers);
        tracing::info!(partition = %build.partition, numbers, "numbers that may have been given unseen rest a cooldown");
        Ok(())
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
            let ids: HashSet<_> = here.iter().map(|(order, _)| order.id).collect();
            let mut ended: Vec<Order> = self.ledger.live_orders(*restaurant).await?;
            ended.retain(|order| !ids.contains(&order.id));
            let now = self.allocator.now()?;
            ended.iter_mut().for_each(|order| end_unseen(order, now));
            closed += ended.len();
            emitted += here.len();
            let rests = self.allocator.fenced_rests(*restaurant).await?;
            // First those that have ended, or they would stand in the way of those that have their numbers now.
            let ended = ended.into_iter().map(|order| {
                let until = order.number.and_then(|number| rests.get(&number.get()));
                (order, Some(until.map_or(NumberAfter::Free, |until| NumberAfter::Cooling(*until))))
            });
            let here = here.into_iter().map(|(order, free_at)| {
                let after = number_after(&order, free_at, &rests);
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
}

/// An order that the ledger has as live, and that ended in a part that it lost.
fn end_unseen(order: &mut Order, now: Timestamp) {
    order.status = OrderStatus::Expired;
    // The ledger takes an order only at a newer version than it has.
    order.version += 1;
    order.updated_at = now.max(order.updated_at);
    order.released_at = Some(order.updated_at);
    order.cooldown_seconds = 0;
}

/// What became of the number of a final order, as the resting numbers have it.
fn number_after(order: &Order, free_at: Option<Timestamp>, rests: &HashMap<u32, Timestamp>) -> Option<NumberAfter> {
    let (until, number) = (free_at?, order.number?);
    let rests = rests.get(&number.get()) == Some(&until);
    Some(if rests { NumberAfter::Cooling(until) } else { NumberAfter::Free })
}

/// Numbers that a restaurant may have given unseen in the unknown seconds, when it gave so many in a minute.
fn skipped_numbers(settings: &RecoverySettings, a_minute: u32) -> u32 {
    // Twice, since orders do not come evenly.
    let seen = u64::from(a_minute) * settings.unknown_seconds * 2;
    let numbers = u32::try_from(seen.div_ceil(60)).unwrap_or(u32::MAX);
    numbers.clamp(settings.skip_at_least, settings.skip_at_most.max(settings.skip_at_least))
}

/// Sequences that a partition may have used unseen.
fn skipped_sequences(
    settings: &RecoverySettings,
    a_minute: &HashMap<RestaurantId, u32>,
    restaurants: &[RestaurantId],
) -> u32 {
    let orders = restaurants.iter().filter_map(|restaurant| a_minute.get(restaurant)).sum::<u32>();
    skipped_numbers(settings, orders.saturating_mul(EVENTS_AN_ORDER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_unknown_seconds_follow_the_rate_within_bounds() {
        let settings =
            RecoverySettings { unknown_seconds: 10, skip_at_least: 3, skip_at_most: 50, remembered_changes: 0 };
        let cases = [(0, 3), (1, 3), (9, 3), (10, 4), (60, 20), (1000, 50), (u32::MAX, 50)];
        for (a_minute, numbers) in cases {
            assert_eq!(skipped_numbers(&settings, a_minute), numbers, "{a_minute}");
        }
    }
}
