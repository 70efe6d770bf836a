//! Search over both stores.

use std::collections::HashMap;

use chrono::NaiveDate;

use crate::{
    domain::{DateSpan, Order, OrderId, RestaurantId, SearchQuery},
    service::{OrderPage, Orders, Page, ServiceError},
};

/// Which orders a search is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// Those that a text finds; of this business date only, if there is one.
    Text(&'a SearchQuery, Option<&'a DateSpan>),
    /// All of a business date.
    Date(&'a DateSpan),
}

impl Wanted<'_> {
    fn has(&self, order: &Order) -> bool {
        match self {
            Self::Text(query, span) => query.matches(order) && span.is_none_or(|span| span.has(order)),
            Self::Date(span) => span.has(order),
        }
    }

    fn span(&self) -> Option<&DateSpan> {
        match self {
            Self::Text(_, span) => *span,
            Self::Date(span) => Some(span),
        }
    }

    /// Whether all orders of the date are newer than this one.
    fn is_behind(&self, id: OrderId) -> bool {
        self.span().is_some_and(|span| id.created_at() < span.created_within().0)
    }
}

impl Orders {
    /// When a business date of a restaurant is, by its present rules.
    ///
    /// # Errors
    /// Refused when the restaurant is unknown and `auto_provision` is off. Unavailable when Redis is unreachable.
    pub(crate) async fn date_span(&self, restaurant: RestaurantId, date: NaiveDate) -> Result<DateSpan, ServiceError> {
        let rules = self.restaurants.settings(restaurant).await?.settings.date_rules();
        Ok(DateSpan::of(rules, date))
    }

    /// The orders of a restaurant that a search finds, newest first. Only live ones, unless `include_completed`.
    ///
    /// # Errors
    /// Unavailable when Redis, or with `include_completed` the ledger, is unreachable.
    pub(crate) async fn search(
        &self,
        restaurant: RestaurantId,
        wanted: Wanted<'_>,
        include_completed: bool,
        page: Page,
    ) -> Result<OrderPage, ServiceError> {
        let live = self.allocator.live_orders(restaurant).await?;
        let is_wanted = |order: &&Order| is_before(order, page.after) && wanted.has(order);
        if !include_completed {
            return Ok(OrderPage::cut(live.iter().rev().filter(is_wanted).cloned(), page.limit));
        }
        // Redis is read before the ledger: an order that leaves it in between is durable by then.
        let kept = self.allocator.kept_orders(restaurant).await?;
        let here: HashMap<OrderId, Order> =
            live.iter().chain(kept.iter()).map(|order| (order.id, order.clone())).collect();
        let mut found: Vec<Order> = here.values().filter(is_wanted).cloned().collect();
        found.extend(self.search_ledger(restaurant, wanted, &here, page).await?);
        found.sort_unstable_by_key(|order| std::cmp::Reverse(order.id));
        Ok(OrderPage::cut(found.into_iter(), page.limit))
    }

    /// The newest `limit + 1` orders that only the ledger has. Rows that Redis has a newer version of are passed over,
    /// so the ledger is asked on until enough are left.
    async fn search_ledger(
        &self,
        restaurant: RestaurantId,
        wanted: Wanted<'_>,
        here: &HashMap<OrderId, Order>,
        page: Page,
    ) -> Result<Vec<Order>, ServiceError> {
        let enough = page.limit.saturating_add(1);
        let mut found = Vec::new();
        // Ids are in the order of time: those of a date are walked, and no others.
        let behind = wanted.span().map(|span| OrderId::new(span.created_within().1, restaurant, 0));
        let mut before = page.after.into_iter().chain(behind).min();
        loop {
            let rows = match wanted {
                Wanted::Text(query, _) => self.ledger.search(restaurant, query, enough, before).await?,
                Wanted::Date(span) => self.ledger.orders_of_date(restaurant, span, enough, before).await?,
            };
            let last = rows.last().map(|order| order.id);
            let exhausted = rows.len() < enough || last.is_some_and(|last| wanted.is_behind(last));
            let is_of_date = |order: &Order| wanted.span().is_none_or(|span| span.has(order));
            found.extend(rows.into_iter().filter(|order| !here.contains_key(&order.id) && is_of_date(order)));
            if exhausted || found.len() >= enough {
                return Ok(found);
            }
            before = last;
        }
    }
}

fn is_before(order: &Order, cursor: Option<OrderId>) -> bool {
    cursor.is_none_or(|cursor| order.id < cursor)
}
