//! Clean-up: live orders that no client closed are expired, and those that were served long ago are completed, a bounded
//! number a call.

use std::collections::HashSet;

use crate::{
    allocator::{Changed, OrderUpdate, active_since},
    domain::{Context, DisplayNumber, Order, OrderStatus, PoolSettings, RestaurantId, Timestamp},
    metrics,
    service::{Restaurants, ServiceError, trail},
};

/// What a clean-up did, or would do.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Cleanup {
    /// The orders that were expired (with `dry_run`: that would be), oldest first.
    pub orders: Vec<Order>,
    /// The orders that were completed, since they had been served for long enough (with `dry_run`: that would be), oldest
    /// first.
    pub completed: Vec<Order>,
    /// How many of all these were older than the active window.
    pub overdue: u64,
    /// Whether more are waiting: call again.
    pub more: bool,
}

/// Why clean-up ends an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// It is older than the active window.
    Forgotten,
    /// It was served long ago.
    Served,
}

/// What an order is measured by. Only to find the orders: whether one is old enough, the script judges.
struct Cutoffs {
    forgotten: Timestamp,
    /// None where served orders wait until a client closes them.
    served: Option<Timestamp>,
}

impl Cutoffs {
    fn of(settings: &PoolSettings, now: Timestamp) -> Self {
        let served = Some(settings.served_seconds).filter(|seconds| *seconds > 0);
        let served = served.map(|seconds| now.plus_ms(-i64::from(seconds) * 1000));
        Self { forgotten: active_since(settings, now), served }
    }

    fn is_forgotten(&self, order: &Order) -> bool {
        order.active_from() < self.forgotten
    }

    fn due(&self, order: &Order) -> Option<Due> {
        // A guest has it: it did not end by being forgotten.
        let is_served =
            order.status == OrderStatus::Served && self.served.is_some_and(|cutoff| order.updated_at < cutoff);
        match (is_served, self.is_forgotten(order)) {
            (true, _) => Some(Due::Served),
            (false, true) => Some(Due::Forgotten),
            (false, false) => None,
        }
    }
}

impl Restaurants {
    /// Expires live orders older than the restaurant's active window, oldest first; those that were reopened count from then.
    /// Completes orders that are served, and were not changed for as long as the settings say. With `dry_run` only lists them.
    ///
    /// The script takes only what it can prove: an order that ended, or whose number moved on, in the meantime is left
    /// alone.
    ///
    /// # Errors
    /// Unavailable when Redis is unreachable; what was ended until then stays so.
    pub(crate) async fn cleanup(
        &self,
        restaurant: RestaurantId,
        dry_run: bool,
        limit: usize,
        context: Context,
    ) -> Result<Cleanup, ServiceError> {
        let settings = self.settings(restaurant).await?.settings;
        let cutoffs = Cutoffs::of(&settings, self.allocator.now()?);
        // Before the orders are read, so that what is served meanwhile is known to be so later.
        let walk = match cutoffs.served {
            Some(_) if !dry_run => Some(self.allocator.begin_served_walk(restaurant).await?),
            _ => None,
        };
        let live = self.allocator.live_orders(restaurant).await?;
        let mut due = live.iter().filter_map(|order| Some((cutoffs.due(order)?, order)));
        let mut cleanup = Cleanup::default();
        let mut gone = HashSet::new();
        for (due, order) in due.by_ref().take(limit) {
            let ended = if dry_run { Some(order.clone()) } else { self.end(order, due, &context).await? };
            let Some(ended) = ended else { continue };
            gone.insert(order.id);
            cleanup.overdue += u64::from(cutoffs.is_forgotten(order));
            match due {
                Due::Forgotten => cleanup.orders.push(ended),
                Due::Served => cleanup.completed.push(ended),
            }
        }
        cleanup.more = due.next().is_some();
        if let Some(walk) = walk {
            let served = live.iter().filter(|order| order.status == OrderStatus::Served && !gone.contains(&order.id));
            self.allocator.end_served_walk(walk, served.map(|order| order.updated_at).min()).await?;
        }
        if !dry_run {
            metrics::expired(cleanup.orders.len());
            metrics::served_completed(cleanup.completed.len());
        }
        Ok(cleanup)
    }

    /// Ends an order, if that is still due.
    async fn end(&self, order: &Order, due: Due, context: &Context) -> Result<Option<Order>, ServiceError> {
        let changed = match due {
            Due::Forgotten => {
                let status = Some(OrderStatus::Expired);
                let update = OrderUpdate { status, expected_version: None, rewritten: None, context };
                self.allocator.release(order.id, update, false, true).await?
            }
            Due::Served => self.allocator.complete_served(order.id, context).await?,
        };
        let Changed::Done(order) = changed else { return Ok(None) };
        trail::order("released", &order, context);
        metrics::released(order.status.as_str());
        Ok(Some(order))
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
