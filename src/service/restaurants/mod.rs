//! Restaurants: their settings, and how much of their pool is in use.

pub(super) mod cleanup;

use super::{ServiceError, trail};
use crate::{
    allocator::{Allocator, Configured, StoredSettings},
    domain::{Context, PartitionId, PoolOccupancy, PoolSettings, Refusal, RestaurantId},
    ledger::Ledger,
};

/// The settings of a restaurant after a change.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChangedSettings {
    /// As they now stand.
    pub settings: PoolSettings,
    /// As [`super::ChangedOrder::replayed`].
    pub replayed: bool,
}

/// Restaurants: their settings, their pools and what is forgotten there. Cheap to clone.
#[derive(Clone)]
pub struct Restaurants {
    allocator: Allocator,
    ledger: Ledger,
    /// Whether a restaurant that has not been configured gets the default settings with its first order.
    auto_provision: bool,
}

impl Restaurants {
    pub(super) fn new(allocator: Allocator, ledger: Ledger, auto_provision: bool) -> Self {
        Self { allocator, ledger, auto_provision }
    }

    pub(super) fn allocator(&self) -> &Allocator {
        &self.allocator
    }

    /// All restaurants that Redis or the ledger knows, in ascending order; those of closed partitions cannot be asked for.
    ///
    /// # Errors
    /// Unavailable when Redis or the ledger is unreachable.
    pub(crate) async fn known(&self) -> Result<Vec<RestaurantId>, ServiceError> {
        let mut all = self.ledger.restaurants().await?;
        all.retain(|restaurant| self.is_served(*restaurant));
        all.extend(self.in_redis().await?);
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// Whether its partition is served.
    pub(crate) fn is_served(&self, restaurant: RestaurantId) -> bool {
        !self.allocator.is_closed(self.allocator.partition_of(restaurant))
    }

    /// All restaurants that Redis knows, in ascending order; those of closed partitions cannot be asked for.
    ///
    /// # Errors
    /// Unavailable when Redis is unreachable.
    pub(crate) async fn in_redis(&self) -> Result<Vec<RestaurantId>, ServiceError> {
        let mut all = Vec::new();
        let open = |partition: &PartitionId| !self.allocator.is_closed(*partition);
        for partition in PartitionId::all(self.allocator.partition_count()).filter(open) {
            all.extend(self.allocator.restaurants(partition).await?);
        }
        all.sort_unstable();
        Ok(all)
    }

    /// The settings of a restaurant; the defaults for one that has none yet, if it would be provisioned.
    ///
    /// # Errors
    /// Refused when it is unknown and `auto_provision` is off.
    pub(crate) async fn settings(&self, restaurant: RestaurantId) -> Result<PoolSettings, ServiceError> {
        match self.allocator.settings(restaurant).await? {
            Some(StoredSettings { settings, .. }) => Ok(settings),
            None => self.default_settings(restaurant),
        }
    }

    /// Gives a restaurant settings, in place of all it had.
    ///
    /// # Errors
    /// Unavailable when Redis is unreachable.
    pub(crate) async fn configure(
        &self,
        restaurant: RestaurantId,
        settings: PoolSettings,
        context: Context,
    ) -> Result<ChangedSettings, ServiceError> {
        let configured = self.allocator.configure(restaurant, &settings, false, &context).await?;
        trail::settings(restaurant, &context);
        match configured {
            // Another caller's may have come after them.
            Configured::Replayed(_) => {
                Ok(ChangedSettings { settings: self.settings(restaurant).await?, replayed: true })
            }
            Configured::Done(_) | Configured::Exists => Ok(ChangedSettings { settings, replayed: false }),
        }
    }

    /// How much of a restaurant's pool is in use.
    ///
    /// # Errors
    /// As [`Restaurants::settings`].
    pub(crate) async fn occupancy(&self, restaurant: RestaurantId) -> Result<PoolOccupancy, ServiceError> {
        if let Some(count) = self.allocator.count_numbers(restaurant).await? {
            return Ok(count.occupancy);
        }
        let settings = self.default_settings(restaurant)?;
        let capacity = settings.capacity();
        Ok(PoolOccupancy {
            capacity,
            free: capacity,
            live: 0,
            cooling: 0,
            blocked: settings.blocked_in_range(),
            reserved: 0,
            retiring: 0,
            utilization: 0.0,
            next_free_at: None,
            oldest_live_at: None,
        })
    }

    /// What an unknown restaurant would get.
    pub(super) fn default_settings(&self, restaurant: RestaurantId) -> Result<PoolSettings, ServiceError> {
        if self.auto_provision {
            Ok(PoolSettings::default())
        } else {
            Err(Refusal::RestaurantNotFound(restaurant).into())
        }
    }

    /// Gives an unknown restaurant the default settings; harmless where another call was first.
    pub(super) async fn provision(&self, restaurant: RestaurantId, context: &Context) -> Result<(), ServiceError> {
        let settings = self.default_settings(restaurant)?;
        self.allocator.configure(restaurant, &settings, true, context).await?;
        Ok(())
    }
}
