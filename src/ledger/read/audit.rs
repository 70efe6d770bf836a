//! The audit log, as it is read. Lists are walked by an index, and an event that is written while a client reads on
//! moves nothing. However long a log is, and however little of it is wanted, one call reads a bounded number of events.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    domain::{
        DisplayNumber, EventFilter, EventPosition, OrderId, OrderStatus, PartitionId, RecordedEvent, RestaurantId,
        Timestamp,
    },
    ledger::{Ledger, LedgerError},
};

/// An order's id has its time from a daemon, its events theirs from Redis: an event is never this much older than its order.
const CLOCKS_DIFFER_MS: i64 = 86_400_000;

/// At how many events of a restaurant one call looks. Each of them may be on another page of the disk.
const LOOKED_AT: i64 = 5000;

/// An order with fewer events has all of them read. The index has an order's events together, but not by time: time would
/// make it three times as large, and hardly any order has more than ten.
const OF_ONE_ORDER: usize = 1000;

/// A part of a list of events.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventPart {
    /// The events that were found.
    pub events: Vec<RecordedEvent>,
    /// The last event that was looked at, where one call looks no further: behind it there may be more.
    pub looked_up_to: Option<EventPosition>,
}

/// `query_as!` for a part of a restaurant's log: of the events that an index has together, those that a filter lets pass.
///
/// $1 is the restaurant; then come the position behind which the part begins, the time that ends the list, kinds (none: all),
/// the actor (null: all), the order (null: all), how many may be looked at, and how many are wanted. The last one that is
/// looked at is selected in any case: it tells where to go on.
macro_rules! select_part {
    (newest first, $where:literal, $($argument:expr),*) => {
        select_part!(" DESC", "<", ">", $where, $($argument),*)
    };
    (oldest first, $where:literal, $($argument:expr),*) => {
        select_part!("", ">", "<", $where, $($argument),*)
    };
    ($down:literal, $behind:literal, $before:literal, $where:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            EventRow,
            r#"SELECT partition, generation, sequence, occurred_at, kind, restaurant_id, internal_order_id,
                      display_order_number, status_before, status_after, version, actor, request_id, detail,
                      passes AS "passes!", looked_at AS "looked_at!"
               FROM (SELECT *,
                            (cardinality($6::text[]) = 0 OR kind = ANY($6)) AND ($7::text IS NULL OR actor = $7)
                                AND ($8::uuid IS NULL OR internal_order_id = $8) AS passes,
                            row_number() OVER (ORDER BY occurred_at"# + $down + ", generation" + $down + ", sequence"
                                + $down + r#") AS looked_at
                     FROM order_events
                     WHERE restaurant_id = $1 AND occurred_at "# + $behind + r#"= $2
                       AND (occurred_at, generation, sequence) "# + $behind + r#" ($2, $3, $4)
                       AND occurred_at "# + $before + "= $5" + $where + r#"
                     ORDER BY occurred_at"# + $down + ", generation" + $down + ", sequence" + $down + r#" LIMIT $9) AS looked
               WHERE passes OR looked_at = $9
               ORDER BY occurred_at"# + $down + ", generation" + $down + ", sequence" + $down + " LIMIT $10",
            $($argument),*
        )
    };
}

impl Ledger {
    /// The events of an order, oldest first: those behind a position.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`], [`LedgerError::Unreadable`].
    pub async fn order_events(
        &self,
        order: OrderId,
        after: Option<EventPosition>,
        limit: usize,
    ) -> Result<EventPart, LedgerError> {
        let after = after.unwrap_or(EventPosition::before(first_event(order)));
        if let Some(mut events) = self.all_events_of(order).await? {
            events.retain(|event| event.position > after);
            events.truncate(limit);
            return Ok(EventPart { events, looked_up_to: None });
        }
        let rows = select_part!(
            oldest first,
            "",
            order.restaurant().as_i32(),
            after.at.to_datetime(),
            after.generation.cast_signed(),
            after.sequence.cast_signed(),
            Timestamp::from_unix_ms(Timestamp::MAX_MS).to_datetime(),
            &[] as &[String],
            None::<String>,
            Some(order.as_uuid()),
            LOOKED_AT,
            rows_of(limit)
        );
        EventPart::of(self.in_time(rows.fetch_all(self.single())).await?)
    }

    /// The events of a restaurant that a filter lets pass, newest first: those before a position.
    ///
    /// # Errors
    /// As [`Ledger::order_events`].
    pub(crate) async fn restaurant_events(
        &self,
        restaurant: RestaurantId,
        filter: &EventFilter,
        before: Option<EventPosition>,
        limit: usize,
    ) -> Result<EventPart, LedgerError> {
        let end = EventPosition::before(filter.to.unwrap_or(Timestamp::from_unix_ms(Timestamp::MAX_MS)));
        let before = before.map_or(end, |before| before.min(end));
        let mut from = filter.from.unwrap_or(Timestamp::from_unix_ms(0));
        if let Some(order) = filter.order {
            if order.restaurant() != restaurant {
                return Ok(EventPart::default());
            }
            if let Some(mut events) = self.all_events_of(order).await? {
                events.retain(|event| event.position < before && filter.passes(event));
                events.reverse();
                events.truncate(limit);
                return Ok(EventPart { events, looked_up_to: None });
            }
            from = from.max(first_event(order));
        }
        let (restaurant, at, from) = (restaurant.as_i32(), before.at.to_datetime(), from.to_datetime());
        let (generation, sequence) = (before.generation.cast_signed(), before.sequence.cast_signed());
        let (kinds, actor, order) = (&filter.kinds, filter.actor.as_ref(), filter.order.map(OrderId::as_uuid));
        let limit = rows_of(limit);
        let rows = if filter.is_of_rare_events() {
            let rows = select_part!(
                newest first,
                " AND (kind NOT IN ('created', 'changed', 'released') OR actor IN ('cleanup', 'recovery', 'backfill'))",
                restaurant, at, generation, sequence, from, kinds, actor, order, LOOKED_AT, limit
            );
            self.in_time(rows.fetch_all(self.single())).await?
        } else {
            let rows = select_part!(
                newest first,
                "",
                restaurant, at, generation, sequence, from, kinds, actor, order, LOOKED_AT, limit
            );
            self.in_time(rows.fetch_all(self.single())).await?
        };
        EventPart::of(rows)
    }

    /// Where an order stood at an instant, by its events; None where there is none from then or before.
    ///
    /// # Errors
    /// As [`Ledger::order_events`].
    pub async fn status_at(&self, order: OrderId, at: Timestamp) -> Result<Option<OrderStatus>, LedgerError> {
        let status = sqlx::query_scalar!(
            r#"SELECT status_after AS "status!" FROM order_events
               WHERE internal_order_id = $1 AND occurred_at BETWEEN $2 AND $3 AND status_after IS NOT NULL
               ORDER BY occurred_at DESC, generation DESC, sequence DESC LIMIT 1"#,
            order.as_uuid(),
            first_event(order).to_datetime(),
            at.to_datetime()
        )
        .fetch_optional(self.single());
        let unreadable = |name: &str| LedgerError::Unreadable(format!("status {name} of an event of order {order}"));
        let status = self.in_time(status).await?;
        status.map(|name| OrderStatus::from_name(&name).ok_or_else(|| unreadable(&name))).transpose()
    }

    /// All events of an order, oldest first; None where there are many.
    async fn all_events_of(&self, order: OrderId) -> Result<Option<Vec<RecordedEvent>>, LedgerError> {
        let rows = sqlx::query_as!(
            EventRow,
            r#"SELECT partition, generation, sequence, occurred_at, kind, restaurant_id, internal_order_id,
                      display_order_number, status_before, status_after, version, actor, request_id, detail,
                      true AS "passes!", 0::bigint AS "looked_at!"
               FROM order_events WHERE internal_order_id = $1 AND occurred_at >= $2 LIMIT $3"#,
            order.as_uuid(),
            first_event(order).to_datetime(),
            rows_of(OF_ONE_ORDER)
        )
        .fetch_all(self.single());
        let rows = self.in_time(rows).await?;
        if rows.len() == OF_ONE_ORDER {
            return Ok(None);
        }
        let mut events = into_events(rows)?;
        events.sort_unstable_by_key(|event| event.position);
        Ok(Some(events))
    }
}

impl EventPart {
    fn of(rows: Vec<EventRow>) -> Result<Self, LedgerError> {
        let looked_up_to = rows.last().filter(|row| row.looked_at == LOOKED_AT).map(EventRow::position);
        let events = into_events(rows.into_iter().filter(|row| row.passes).collect())?;
        Ok(Self { events, looked_up_to })
    }
}

/// No event of the order is from before this: months before it need not be looked at.
fn first_event(order: OrderId) -> Timestamp {
    order.created_at().plus_ms(-CLOCKS_DIFFER_MS)
}

fn rows_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) struct EventRow {
    pub(super) partition: i16,
    pub(super) generation: i64,
    pub(super) sequence: i64,
    pub(super) occurred_at: DateTime<Utc>,
    pub(super) kind: String,
    pub(super) restaurant_id: i32,
    pub(super) internal_order_id: Option<Uuid>,
    pub(super) display_order_number: Option<i32>,
    pub(super) status_before: Option<String>,
    pub(super) status_after: Option<String>,
    pub(super) version: Option<i32>,
    pub(super) actor: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) detail: Option<Value>,
    /// Whether the filter lets it pass.
    pub(super) passes: bool,
    /// At how many events had been looked when it was reached.
    pub(super) looked_at: i64,
}

pub(super) fn into_events(rows: Vec<EventRow>) -> Result<Vec<RecordedEvent>, LedgerError> {
    let event = |row: EventRow| {
        let position =
            format!("event {} of generation {} of partition {}", row.sequence, row.generation, row.partition);
        row.parse().ok_or(LedgerError::Unreadable(position))
    };
    rows.into_iter().map(event).collect()
}

impl EventRow {
    fn position(&self) -> EventPosition {
        EventPosition {
            at: self.occurred_at.into(),
            generation: self.generation.cast_unsigned(),
            sequence: self.sequence.cast_unsigned(),
        }
    }

    fn parse(self) -> Option<RecordedEvent> {
        let position = self.position();
        // Before there was a `before`, settings stood there alone.
        let detail = match self.detail {
            Some(settings) if self.kind == "configured" && settings.get("after").is_none() => {
                Some(json!({ "after": settings }))
            }
            detail => detail,
        };
        Some(RecordedEvent {
            position,
            partition: PartitionId::new(self.partition.cast_unsigned()),
            restaurant: RestaurantId::new(self.restaurant_id.into()).ok()?,
            order: optional(self.internal_order_id, |id| OrderId::try_from(id).ok())?,
            number: optional(self.display_order_number, |number| DisplayNumber::new(number.into()).ok())?,
            status_before: optional(self.status_before, |name| OrderStatus::from_name(&name))?,
            status_after: optional(self.status_after, |name| OrderStatus::from_name(&name))?,
            version: self.version.map(i32::cast_unsigned),
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
