//! Search over both stores.

use std::collections::HashMap;

use crate::{
    domain::{Order, OrderId, RestaurantId, SearchQuery},
    service::{OrderPage, Orders, Page, ServiceError},
};

impl Orders {
    /// The orders of a restaurant that a search finds, newest first. Only live ones, unless `include_completed`.
    ///
    /// # Errors
    /// Unavailable when Redis, or with `include_completed` the ledger, is unreachable.
    pub(crate) async fn search(
        &self,
        restaurant: RestaurantId,
        query: &SearchQuery,
        include_completed: bool,
        page: Page,
    ) -> Result<OrderPage, ServiceError> {
        let live = self.allocator.live_orders(restaurant).await?;
        if !include_completed {
            let found = live.iter().rev().filter(|order| is_before(order, page.after) && query.matches(order)).cloned();
            return Ok(OrderPage::cut(found, page.limit));
        }
        // Redis is read before the ledger: an order that leaves it in between is durable by then.
        let kept = self.allocator.kept_orders(restaurant).await?;
        let here: HashMap<OrderId, Order> =
            live.iter().chain(kept.iter()).map(|order| (order.id, order.clone())).collect();
        let mut found: Vec<Order> =
            here.values().filter(|order| is_before(order, page.after) && query.matches(order)).cloned().collect();
        found.extend(self.search_ledger(restaurant, query, &here, page).await?);
        found.sort_unstable_by_key(|order| std::cmp::Reverse(order.id));
        Ok(OrderPage::cut(found.into_iter(), page.limit))
    }

    /// The newest `limit + 1` orders that only the ledger has. Rows that Redis has a newer version of are passed over,
    /// so the ledger is asked on until enough are left.
    async fn search_ledger(
        &self,
        restaurant: RestaurantId,
        query: &SearchQuery,
        here: &HashMap<OrderId, Order>,
        page: Page,
    ) -> Result<Vec<Order>, ServiceError> {
        let wanted = page.limit.saturating_add(1);
        let mut found = Vec::new();
        let mut before = page.after;
        loop {
            let rows = self.ledger.search(restaurant, query, wanted, before).await?;
            let last = rows.last().map(|order| order.id);
            let exhausted = rows.len() < wanted;
            found.extend(rows.into_iter().filter(|order| !here.contains_key(&order.id)));
            if exhausted || found.len() >= wanted {
                return Ok(found);
            }
            before = last;
        }
    }
}

fn is_before(order: &Order, cursor: Option<OrderId>) -> bool {
    cursor.is_none_or(|cursor| order.id < cursor)
}
