//! Durability levels: a change is answered when it has reached the level that was asked for.
//!
//! The change is made in Redis first, as ever. What is awaited afterwards can fail to come in time, and the change
//! stays: its caller hears that the level is unknown, and a repeat of the request waits for it again.

pub(super) mod writers;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Mutex, time::timeout};

use self::writers::Writers;
use crate::{
    allocator::{Allocator, Mark, Moment},
    domain::{Durability, Order, PartitionId, Refusal, RestaurantId},
    ledger::Ledger,
    metrics,
    service::{ServiceError, trail},
};

/// How long a change waits for this daemon's own writer before it looks whether another one has written it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How far a change reaches: what must be durable for it to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reach {
    restaurant: RestaurantId,
    /// The event that it ended with; None where only its daemon knows, which then waits for all that it has seen.
    sequence: Option<u64>,
}

impl Reach {
    /// Up to the last event of an order.
    #[must_use]
    pub(crate) fn order(order: &Order) -> Self {
        Self { restaurant: order.restaurant(), sequence: Some(order.sequence) }
    }

    /// Up to the last event that was seen of a restaurant's partition.
    #[must_use]
    pub(crate) fn restaurant(restaurant: RestaurantId) -> Self {
        Self { restaurant, sequence: None }
    }
}

/// Changes and durability levels. Cheap to clone.
#[derive(Clone)]
pub struct Levels {
    allocator: Allocator,
    ledger: Ledger,
    /// The level of a change whose caller does not name one.
    default: Durability,
    writers: Writers,
    /// Held by the task that looks at the ledger for all that wait for it.
    looks: Arc<Mutex<()>>,
}

impl Levels {
    pub(super) fn new(allocator: Allocator, ledger: Ledger, default: Durability, writers: Writers) -> Self {
        Self { allocator, ledger, default, writers, looks: Arc::default() }
    }

    /// Why level `ledger` cannot be given; None where it may, or that is not known.
    pub(crate) async fn ledger_fault(&self) -> Option<String> {
        self.writers.fault().await
    }

    /// Makes a change and waits until it has reached a level, by default the one of the settings; answers with the level
    /// too. `reach` tells what was changed, or found as it was to become: a repeat waits like the first request.
    ///
    /// # Errors
    /// Those of the change. Refused, with nothing changed, when the server of the restaurant cannot give the level.
    /// Where it is not known beforehand whose change it is, another server is asked. When the level is not reached in
    /// time, [`ServiceError::DurabilityUnknown`].
    pub(crate) async fn at_level<T>(
        &self,
        level: Option<Durability>,
        restaurant: Option<RestaurantId>,
        change: impl Future<Output = Result<T, ServiceError>>,
        reach: impl FnOnce(&T) -> Reach,
    ) -> Result<(T, Durability), ServiceError> {
        let level = level.unwrap_or(self.default);
        trail::level(level);
        if level == Durability::Memory {
            return Ok((change.await?, level));
        }
        // Servers of one deployment are set up alike.
        let partition = restaurant.map_or(PartitionId::new(0), |restaurant| self.allocator.partition_of(restaurant));
        if let Err(reason) = Box::pin(self.allocator.can_give(level, partition)).await? {
            return Err(Refusal::LevelNotGiven { level, reason }.into());
        }
        if level == Durability::Ledger
            && let Some(reason) = Box::pin(self.ledger_fault()).await
        {
            return Err(Refusal::LevelNotGiven { level, reason }.into());
        }
        let before = self.allocator.moment();
        let changed = change.await?;
        let started = Instant::now();
        // Boxed: the default level comes by without it.
        let reached = Box::pin(self.reaches(level, before, reach(&changed))).await;
        metrics::level_awaited(level, reached, started.elapsed());
        if reached { Ok((changed, level)) } else { Err(ServiceError::DurabilityUnknown { level }) }
    }

    async fn reaches(&self, level: Durability, before: Moment, reach: Reach) -> bool {
        let partition = self.allocator.partition_of(reach.restaurant);
        let Some(mark) = self.allocator.mark(before, partition, reach.sequence) else { return false };
        match level {
            Durability::Memory => true,
            Durability::Fsync => self.allocator.on_disk(&mark).await,
            Durability::Replica => self.allocator.on_replicas(&mark).await,
            Durability::Ledger => {
                timeout(self.allocator.level_timeout(), self.reaches_ledger(&mark)).await.unwrap_or(false)
            }
        }
    }

    /// This daemon's writer tells how far it has come. Another daemon's does not, so one of those that wait looks it up
    /// in the ledger now and then, for all of them.
    pub(super) async fn reaches_ledger(&self, mark: &Mark) -> bool {
        loop {
            if let Ok(reached) = timeout(LOOK_EVERY, self.allocator.in_ledger(mark)).await {
                return reached;
            }
            if let Ok(_looking) = self.looks.try_lock()
                && let Err(error) = self.look_at_ledger().await
            {
                tracing::debug!(%error, "how far the ledger has come is unknown");
            }
        }
    }

    async fn look_at_ledger(&self) -> Result<(), ServiceError> {
        for progress in self.ledger.progress().await? {
            if let Some(generation) = progress.generation {
                self.allocator.made_durable(progress.partition, generation, progress.sequence);
            }
        }
        Ok(())
    }
}
