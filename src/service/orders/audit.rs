//! The audit log: what was changed, when and by whom. It is read from the ledger, which is a few milliseconds behind; so a
//! read first waits for what was acknowledged before it, and says where that did not come in time.

use std::time::Duration;

use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    domain::{EventCursor, EventFilter, OrderId, RecordedEvent, Refusal, RestaurantId, Timestamp},
    ledger::EventPart,
    service::{Orders, Page, ServiceError},
};

/// How long a read of the audit log waits for the ledger to have what was acknowledged before it.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

/// Of the changes that wait for the ledger, how many are looked at to tell how old the oldest is.
const WAITING_LOOKED_AT: usize = 10;

/// A part of a list of events.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EventPage {
    /// The events of this page; there may be fewer than wanted, or none, with more behind them.
    pub events: Vec<RecordedEvent>,
    /// Where the next page begins; None at the end.
    pub next: Option<EventCursor>,
    /// None where all is there that was acknowledged before the call. Else changes made at this instant or later may be
    /// missing: they wait for the ledger.
    pub complete_up_to: Option<Timestamp>,
}

impl Orders {
    /// The events of an order, oldest first. The order may be named by the UUID under which it was imported.
    ///
    /// # Errors
    /// Refused when there is no such order. Unavailable when Redis or the ledger is unreachable.
    pub(crate) async fn events(&self, id: Uuid, page: Page<EventCursor>) -> Result<EventPage, ServiceError> {
        let (order, is_known) = match self.get(id).await {
            Ok(order) => (order.id, true),
            // The month of the order may have been let go of before those of its events.
            Err(ServiceError::Refused(Refusal::OrderNotFound)) => {
                (OrderId::try_from(id).map_err(|_| Refusal::OrderNotFound)?, false)
            }
            Err(error) => return Err(error),
        };
        let complete_up_to = if is_known { self.unwritten_since(order.restaurant()).await? } else { None };
        let after = page.after.map(|cursor| cursor.position);
        let part = self.ledger.order_events(order, after, page.limit.saturating_add(1)).await?;
        // With a cursor, there were events before it.
        if part == EventPart::default() && !is_known && page.after.is_none() {
            return Err(Refusal::OrderNotFound.into());
        }
        Ok(EventPage::cut(part, order.restaurant(), page.limit, complete_up_to))
    }

    /// The events of a restaurant that a filter lets pass, newest first. `order` stands for [`EventFilter::order`], and may
    /// be the UUID under which an order was imported.
    ///
    /// # Errors
    /// Refused when the restaurant is unknown and `auto_provision` is off. Unavailable when Redis or the ledger is unreachable.
    pub(crate) async fn restaurant_events(
        &self,
        restaurant: RestaurantId,
        mut filter: EventFilter,
        order: Option<Uuid>,
        page: Page<EventCursor>,
    ) -> Result<EventPage, ServiceError> {
        self.restaurants.settings(restaurant).await?;
        let complete_up_to = self.unwritten_since(restaurant).await?;
        if let Some(id) = order {
            match self.resolve(id).await {
                Ok(id) => filter.order = Some(id),
                Err(ServiceError::Refused(_)) => {
                    return Ok(EventPage::cut(EventPart::default(), restaurant, page.limit, complete_up_to));
                }
                Err(error) => return Err(error),
            }
        }
        let before = page.after.map(|cursor| cursor.position);
        let limit = page.limit.saturating_add(1);
        let part = self.ledger.restaurant_events(restaurant, &filter, before, limit).await?;
        Ok(EventPage::cut(part, restaurant, page.limit, complete_up_to))
    }

    /// Waits a moment until the ledger has all that was acknowledged so far; where it does not come to have it, answers with
    /// the instant of the oldest change that waits.
    pub(super) async fn unwritten_since(&self, restaurant: RestaurantId) -> Result<Option<Timestamp>, ServiceError> {
        let partition = self.allocator.partition_of(restaurant);
        let before = self.allocator.moment();
        let Some(head) = self.allocator.head(partition).await?.head else { return Ok(None) };
        self.allocator.saw(partition, head.generation, head.sequence);
        if let Some(mark) = self.allocator.mark(before, partition, Some(head.sequence))
            && timeout(WRITTEN_WITHIN, self.levels.reaches_ledger(&mark)).await.unwrap_or(false)
        {
            return Ok(None);
        }
        let progress = self.ledger.progress().await?;
        let recorded = progress.iter().find(|progress| progress.partition == partition);
        let written = recorded.map_or(0, |progress| progress.sequence);
        if written >= head.sequence {
            return Ok(None);
        }
        let waiting = self.allocator.waiting_entries(partition, written, WAITING_LOOKED_AT).await?;
        let oldest = waiting.iter().find_map(|entry| entry.event.as_ref().ok().map(|event| event.at));
        // Trimmed meanwhile, or unreadable. Or stamped ahead of now, as after a step of Redis's clock.
        let now = self.allocator.now()?;
        Ok(Some(oldest.map_or(now, |oldest| oldest.min(now))))
    }
}

impl EventPage {
    fn cut(part: EventPart, restaurant: RestaurantId, limit: usize, complete_up_to: Option<Timestamp>) -> Self {
        let EventPart { mut events, looked_up_to } = part;
        let more = events.len() > limit;
        events.truncate(limit);
        let last = if more { events.last().map(|event| event.position) } else { looked_up_to };
        let next = last.map(|position| EventCursor { restaurant, position });
        Self { events, next, complete_up_to }
    }
}
