//! The audit log, as it is read. Both lists are walked by an index, and an event that is written while somebody reads on
//! moves nothing.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Ledger, LedgerError};
use crate::domain::{
    DisplayNumber, EventFilter, EventPlace, OrderId, OrderStatus, PartitionId, RecordedEvent, RestaurantId, Timestamp,
};

/// An order's id has its time from a daemon, its events theirs from Redis: an event is never this much older than its order.
const CLOCKS_DIFFER_MS: i64 = 86_400_000;

impl Ledger {
    /// The events of an order, oldest first: those behind a place.
    ///
    /// # Errors
    /// [`LedgerError::Away`], [`LedgerError::Schema`], [`LedgerError::Unreadable`].
    pub async fn order_events(
        &self,
        order: OrderId,
        after: Option<EventPlace>,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, LedgerError> {
        // Months before the order need not be looked at.
        let first = EventPlace::before(order.created_at().plus_ms(-CLOCKS_DIFFER_MS));
        let after = after.unwrap_or(first);
        let rows = sqlx::query_as!(
            EventRow,
            "SELECT partition, generation, sequence, occurred_at, kind, restaurant_id, internal_order_id,
                    display_order_number, status_before, status_after, version, actor, request_id, detail
             FROM order_events
             WHERE internal_order_id = $1 AND occurred_at >= $2 AND (occurred_at, generation, sequence) > ($2, $3, $4)
             ORDER BY occurred_at, generation, sequence LIMIT $5",
            order.as_uuid(),
            after.at.to_datetime(),
            after.generation.cast_signed(),
            after.sequence.cast_signed(),
            rows_of(limit)
        )
        .fetch_all(self.single());
        into_events(self.in_time(rows).await?)
    }

    /// The events of a restaurant that a filter lets pass, newest first: those before a place.
    ///
    /// # Errors
    /// As [`Ledger::order_events`].
    pub async fn restaurant_events(
        &self,
        restaurant: RestaurantId,
        filter: &EventFilter,
        before: Option<EventPlace>,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, LedgerError> {
        let end = EventPlace::before(filter.to.unwrap_or(Timestamp::from_unix_ms(Timestamp::MAX_MS)));
        let before = before.map_or(end, |before| before.min(end));
        let rows = sqlx::query_as!(
            EventRow,
            "SELECT partition, generation, sequence, occurred_at, kind, restaurant_id, internal_order_id,
                    display_order_number, status_before, status_after, version, actor, request_id, detail
             FROM order_events
             WHERE restaurant_id = $1 AND occurred_at <= $2 AND (occurred_at, generation, sequence) < ($2, $3, $4)
               AND occurred_at >= $5 AND (cardinality($6::text[]) = 0 OR kind = ANY($6))
               AND ($7::text IS NULL OR actor = $7) AND ($8::uuid IS NULL OR internal_order_id = $8)
             ORDER BY occurred_at DESC, generation DESC, sequence DESC LIMIT $9",
            restaurant.as_i32(),
            before.at.to_datetime(),
            before.generation.cast_signed(),
            before.sequence.cast_signed(),
            filter.from.unwrap_or(Timestamp::from_unix_ms(0)).to_datetime(),
            &filter.kinds,
            filter.actor,
            filter.order.map(OrderId::as_uuid),
            rows_of(limit)
        )
        .fetch_all(self.single());
        into_events(self.in_time(rows).await?)
    }
}

fn rows_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

struct EventRow {
    partition: i16,
    generation: i64,
    sequence: i64,
    occurred_at: DateTime<Utc>,
    kind: String,
    restaurant_id: i32,
    internal_order_id: Option<Uuid>,
    display_order_number: Option<i32>,
    status_before: Option<String>,
    status_after: Option<String>,
    version: i32,
    actor: Option<String>,
    request_id: Option<String>,
    detail: Option<Value>,
}

fn into_events(rows: Vec<EventRow>) -> Result<Vec<RecordedEvent>, LedgerError> {
    let event = |row: EventRow| {
        let place = format!("event {} of generation {} of partition {}", row.sequence, row.generation, row.partition);
        row.parse().ok_or(LedgerError::Unreadable(place))
    };
    rows.into_iter().map(event).collect()
}

impl EventRow {
    fn parse(self) -> Option<RecordedEvent> {
        // Before there was a `before`, settings stood there alone.
        let detail = match self.detail {
            Some(settings) if self.kind == "configured" && settings.get("after").is_none() => {
                Some(json!({ "after": settings }))
            }
            detail => detail,
        };
        Some(RecordedEvent {
            place: EventPlace {
                at: self.occurred_at.into(),
                generation: self.generation.cast_unsigned(),
                sequence: self.sequence.cast_unsigned(),
            },
            partition: PartitionId::new(self.partition.cast_unsigned()),
            restaurant: RestaurantId::new(self.restaurant_id.into()).ok()?,
            order: optional(self.internal_order_id, |id| OrderId::try_from(id).ok())?,
            number: optional(self.display_order_number, |number| DisplayNumber::new(number.into()).ok())?,
            status_before: optional(self.status_before, |name| OrderStatus::from_name(&name))?,
            status_after: optional(self.status_after, |name| OrderStatus::from_name(&name))?,
            version: self.version.cast_unsigned(),
            kind: self.kind,
            actor: self.actor,
            request_id: self.request_id,
            detail,
        })
    }
}

/// The outer None where there is something that cannot be read.
#[expect(clippy::option_option, reason = "an absent value is not an unreadable one")]
fn optional<T, U>(value: Option<T>, read: impl FnOnce(T) -> Option<U>) -> Option<Option<U>> {
    match value {
        Some(value) => read(value).map(Some),
        None => Some(None),
    }
}
