//! The survey: a walk over all restaurants, for the metrics, for clean-up, and for what a crash left behind.

use tokio_util::sync::CancellationToken;

use super::{Service, ServiceError};
use crate::{
    allocator::Survey,
    domain::{Context, NumberState, OrderId, PartitionId, RestaurantId},
    metrics,
};

/// A finished order is left to the write-behind this long; what is still there then, a crash has left, or the ledger
/// did not have it for a while.
const LEFT_BEHIND_AFTER_MS: i64 = 60_000;

impl Service {
    /// Looks at every restaurant once: counts its numbers, expires at most `cleanup_limit` of its forgotten orders (0:
    /// none), and lets go of finished orders that the ledger has. One restaurant at a time, so that it holds up nobody.
    ///
    /// # Errors
    /// Unavailable when Redis is away; a later walk does what this one did not.
    pub async fn survey(&self, cleanup_limit: usize, stop: &CancellationToken) -> Result<(), ServiceError> {
        let mut total = [
            (NumberState::Free, 0),
            (NumberState::Live, 0),
            (NumberState::Cooling, 0),
            (NumberState::Blocked, 0),
            (NumberState::Reserved, 0),
            (NumberState::Retiring, 0),
        ];
        let (mut restaurants, mut away) = (0, None);
        for partition in PartitionId::all(self.allocator.partition_count()) {
            if self.allocator.is_closed(partition) {
                continue;
            }
            let found = match self.allocator.restaurants(partition).await {
                Ok(found) => found,
                // A server that is away does not hide the restaurants of the others.
                Err(error) => {
                    away = Some(error.into());
                    continue;
                }
            };
            for restaurant in found {
                if stop.is_cancelled() {
                    return Ok(());
                }
                match self.look_after(restaurant, cleanup_limit).await {
                    Ok(Some(survey)) => {
                        restaurants += 1;
                        metrics::add_usage(&mut total, &survey.usage);
                    }
                    Ok(None) => {}
                    // What is wrong with one restaurant must not hide those behind it.
                    Err(ServiceError::Internal(error)) => {
                        tracing::error!(%restaurant, error = format!("{error:#}"), "a restaurant cannot be surveyed");
                    }
                    Err(error) => {
                        away = Some(error);
                        break;
                    }
                }
            }
        }
        match away {
            // Sums that lack some would look like orders that had gone.
            Some(error) => Err(error),
            None => {
                metrics::numbers(restaurants, &total);
                Ok(())
            }
        }
    }

    async fn look_after(&self, restaurant: RestaurantId, cleanup_limit: usize) -> Result<Option<Survey>, ServiceError> {
        let Some(survey) = self.allocator.survey(restaurant).await? else { return Ok(None) };
        if survey.overdue && cleanup_limit > 0 {
            let expired = self.cleanup(restaurant, false, cleanup_limit, Context::of("cleanup")).await?;
            tracing::info!(%restaurant, orders = expired.orders.len(), more = expired.more, "expired forgotten orders");
        }
        if survey.kept > 0 {
            // Needs the ledger; nothing else here does.
            if let Err(error) = self.retire_left_behind(restaurant, LEFT_BEHIND_AFTER_MS).await {
                tracing::debug!(%restaurant, %error, "finished orders stay until the next walk");
            }
        }
        Ok(Some(survey))
    }

    /// Lets go of orders that ended so long ago, and that the ledger really has: an entry that was put aside counts as
    /// durable, and is not there.
    ///
    /// # Errors
    /// Unavailable when Redis or the ledger is away.
    pub async fn retire_left_behind(&self, restaurant: RestaurantId, after_ms: i64) -> Result<(), ServiceError> {
        let partition = self.allocator.partition_of(restaurant);
        let durable = self.allocator.durable(partition);
        let before = self.allocator.now().plus_ms(-after_ms);
        let mut left: Vec<OrderId> = Vec::new();
        for order in self.allocator.kept_orders(restaurant).await? {
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
