//! Clean-up: live orders that no client closed are expired, a bounded number a call.

use crate::{
    allocator::{Changed, OrderUpdate, active_since},
    domain::{Context, DisplayNumber, Order, OrderStatus, RestaurantId},
    metrics,
    service::{Restaurants, ServiceError, trail},
};

/// What a clean-up did, or would do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cleanup {
    /// The orders that were expired (with `dry_run`: that would be), oldest first.
    pub orders: Vec<Order>,
    /// Whether more are waiting: call again.
    pub more: bool,
}

impl Restaurants {
    /// Expires live orders older than the restaurant's active window, oldest first; with `dry_run` only lists them. Those
    /// that were reopened count from then.
    ///
    /// The script takes only what it can prove: an order that ended, or whose number moved on, in the meantime is left
    /// alone.
    ///
    /// # Errors
    /// Unavailable when Redis is unreachable; what was expired until then stays so.
    pub(crate) async fn cleanup(
        &self,
        restaurant: RestaurantId,
        dry_run: bool,
        limit: usize,
        context: Context,
    ) -> Result<Cleanup, ServiceError> {
        let settings = self.settings(restaurant).await?.settings;
        // Only to find them: whether one is old enough, the script judges.
        let cutoff = active_since(&settings, self.allocator.now()?);
        let overdue: Vec<Order> = self
            .allocator
            .live_orders(restaurant)
            .await?
            .iter()
            .take_while(|order| order.created_at() < cutoff)
            .filter(|order| order.active_from() < cutoff)
            .take(limit.saturating_add(1))
            .cloned()
            .collect();
        let more = overdue.len() > limit;
        let overdue = overdue.into_iter().take(limit);
        if dry_run {
            return Ok(Cleanup { orders: overdue.collect(), more });
        }
        let mut orders = Vec::new();
        for order in overdue {
            let update = OrderUpdate {
                status: Some(OrderStatus::Expired),
                expected_version: None,
                rewritten: None,
                context: &context,
            };
            if let Changed::Done(order) = self.allocator.release(order.id, update, false, true).await? {
                trail::order("released", &order, &context);
                metrics::released(order.status.as_str());
                orders.push(order);
            }
        }
        metrics::expired(orders.len());
        Ok(Cleanup { orders, more })
    }

    /// Puts leaked numbers to rest, after proving each of them leaked once more. Answers with those that were.
    ///
    /// # Errors
    /// Unavailable when Redis is unreachable.
    pub(crate) async fn reclaim(
        &self,
        restaurant: RestaurantId,
        numbers: &[DisplayNumber],
    ) -> Result<Vec<u32>, ServiceError> {
        Ok(self.allocator.reclaim(restaurant, numbers, &Context::of("cleanup")).await?)
    }
}
