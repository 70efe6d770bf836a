//! Follows the outboxes of the partitions whose restaurants are watched, and passes on what comes.
//!
//! One reader a daemon, whatever the number of screens. It has a bell of its own, so that the write-behind is woken as
//! often as without it, and it reads from Redis alone: with Postgres away it goes on.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rand::RngExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Feed, event::ResetReason, hub::Delivered, room::Room};
use crate::{
    allocator::{AllocatorError, OutboxReader},
    domain::{FeedPosition, OutboxEntry, PartitionId, TaskResult},
    metrics,
    service::ServiceError,
};

/// Entries of a partition that are read at once.
const AT_ONCE: usize = 500;

/// How long a read waits for the first entry. So long it takes at most until a partition that is newly watched is read.
const BLOCK: Duration = Duration::from_millis(500);

/// The shortest time between two reads: what comes meanwhile shares one.
const PACE: Duration = Duration::from_millis(3);

/// How long after a failure it is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// How often it is looked for restaurants that no stream shows any more.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// Over how long the rooms of a partition that was built anew are filled again: a restart of Redis concerns all at once.
const FILLED_AGAIN_WITHIN: Duration = Duration::from_secs(3);

impl Feed {
    /// Works until it is told to stop. Says of each pass how long it took, but for its wait, and how it `ended`.
    pub(crate) async fn follow(self, stop: CancellationToken, ended: impl Fn(Duration, TaskResult)) {
        let mut reader = OutboxReader::for_feed(self.allocator.clone());
        let mut fillers = JoinSet::new();
        let mut tidied = Instant::now();
        while !stop.is_cancelled() {
            let began = Instant::now();
            self.look_for_new_positions(&mut fillers).await;
            while fillers.try_join_next().is_some() {}
            let positions = self.hub.read_on();
            if positions.is_empty() && self.hub.followed().is_empty() {
                ended(began.elapsed(), TaskResult::Ok);
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = self.hub.changed.notified() => {}
                    () = tokio::time::sleep(TIDY_EVERY) => {}
                }
                continue;
            }
            let looked = began.elapsed();
            let read = tokio::select! {
                () = stop.cancelled() => break,
                () = self.hub.changed.notified() => continue,
                read = reader.read(&positions, AT_ONCE, Some(BLOCK)) => read,
            };
            let read_at = Instant::now();
            let result = TaskResult::from(&read);
            match read {
                Ok(read) => {
                    for (partition, entries) in read {
                        self.pass_on(partition, entries, &mut fillers);
                    }
                    for (partition, _) in positions {
                        if !reader.is_unreachable(partition) && !self.allocator.is_closed(partition) {
                            self.hub.looked_at(partition);
                        }
                    }
                    ended(looked + read_at.elapsed(), result);
                    tokio::time::sleep(PACE).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "the feed cannot be read just now");
                    ended(looked, result);
                    stop.run_until_cancelled(tokio::time::sleep(AGAIN_AFTER)).await;
                }
            }
            if tidied.elapsed() >= TIDY_EVERY {
                metrics::feed_restaurants(self.hub.forget_forsaken());
                tidied = Instant::now();
            }
        }
    }

    fn pass_on(&self, partition: PartitionId, entries: Vec<OutboxEntry>, fillers: &mut JoinSet<()>) {
        let Some(last) = entries.last() else { return };
        let position = FeedPosition { generation: last.generation, sequence: last.sequence };
        let at = last.event.as_ref().ok().map(|event| event.at);
        let (delivered, told) = self.hub.deliver(partition, entries);
        if let Some((now, at)) = self.allocator.now().ok().zip(at) {
            let late_ms = u64::try_from(now.unix_ms() - at.unix_ms()).unwrap_or_default();
            metrics::feed_told(told, Duration::from_millis(late_ms));
        }
        match delivered {
            Delivered::All => {}
            Delivered::Gap => {
                // Another daemon has trimmed what was not read in time. What Redis has of the restaurants is whole.
                tracing::info!(%partition, "events were trimmed before the feed had read them, or cannot be read");
                self.begin_anew(partition, position, ResetReason::Lost, fillers);
            }
            Delivered::Overtaken(generation) => {
                // Where no call comes, nothing else would notice so soon.
                let reason = "another daemon has built it anew".to_owned();
                self.allocator.close_generation(partition, generation, reason);
            }
        }
    }

    /// Partitions of a new generation are followed from its beginning on. Those that a stream of the whole chain wants are
    /// followed from now on.
    async fn look_for_new_positions(&self, fillers: &mut JoinSet<()>) {
        for (partition, stands) in self.hub.followed() {
            let generation = self.allocator.generation(partition);
            if generation.is_some_and(|generation| generation != stands.generation) {
                let (generation, sequence) = self.allocator.known_sequence(partition);
                self.begin_anew(partition, FeedPosition { generation, sequence }, ResetReason::Generation, fillers);
            }
        }
        for partition in self.hub.wanted() {
            if let Err(error) = self.begin_to_follow(partition).await {
                tracing::debug!(%partition, %error, "cannot be followed yet");
            }
        }
    }

    fn begin_anew(
        &self,
        partition: PartitionId,
        position: FeedPosition,
        reason: ResetReason,
        fillers: &mut JoinSet<()>,
    ) {
        for room in self.hub.begin_anew(partition, position, reason) {
            let feed = self.clone();
            let wait = rand::rng().random_range(Duration::ZERO..FILLED_AGAIN_WITHIN);
            fillers.spawn(async move {
                tokio::time::sleep(wait).await;
                feed.fill_until_full(partition, &room).await;
            });
        }
    }

    /// Fills a room until that succeeds, or no stream wants it any more.
    async fn fill_until_full(&self, partition: PartitionId, room: &Arc<Room>) {
        while !room.is_forsaken() {
            match self.fill(partition, room).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(restaurant_id = room.restaurant.get(), %error, "cannot be shown yet"),
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// Begins to follow a partition where it stands now, unless it is followed.
    ///
    /// # Errors
    /// When it is closed, or Redis is away: what is known of its restaurants may not be so any more.
    pub(super) async fn begin_to_follow(&self, partition: PartitionId) -> Result<(), ServiceError> {
        let generation = self.allocator.served_generation(partition)?;
        if self.hub.stands(partition).is_some() && self.hub.is_present(partition) {
            return Ok(());
        }
        let head = self.allocator.head(partition).await?.head.filter(|head| head.generation == generation);
        let Some(head) = head else {
            return Err(AllocatorError::Odd("the partition was built anew just now".to_owned()).into());
        };
        self.hub.follow(partition, FeedPosition { generation, sequence: head.sequence });
        Ok(())
    }
}
