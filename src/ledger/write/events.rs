//! The audit log, as it is written.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{batch::DueEntry, before::Before};
use crate::{
    domain::{DisplayNumber, Event, EventKind, NumberAfter, Order, OrderStatus, Rests},
    ledger::{LedgerError, db::session::Session},
};

/// One vector a column of `order_events`, for UNNEST.
#[derive(Default)]
pub(in crate::ledger) struct EventColumns<'a> {
    partition: Vec<i16>,
    generation: Vec<i64>,
    sequence: Vec<i64>,
    at: Vec<DateTime<Utc>>,
    kind: Vec<&'static str>,
    restaurant: Vec<i32>,
    order: Vec<Option<Uuid>>,
    number: Vec<Option<i32>>,
    before: Vec<Option<&'static str>>,
    after: Vec<Option<&'static str>>,
    version: Vec<Option<i32>>,
    actor: Vec<Option<&'a str>>,
    request_id: Vec<Option<&'a str>>,
    detail: Vec<Option<Value>>,
}

impl<'a> EventColumns<'a> {
    /// The position is the one that the outbox gave the entry; `before` is what the event itself does not say.
    pub(in crate::ledger) fn push(&mut self, position: &DueEntry<'_>, event: &'a Event, before: &Before<'_>) {
        let order = event.order();
        self.partition.push(position.partition.as_i16());
        self.generation.push(position.generation.cast_signed());
        self.sequence.push(position.entry.sequence.cast_signed());
        self.at.push(event.at.to_datetime());
        self.kind.push(event.name());
        self.restaurant.push(event.restaurant().as_i32());
        self.order.push(order.map(|order| order.id.as_uuid()));
        self.number.push(order.and_then(|order| order.number).map(DisplayNumber::as_i32));
        let status_before = match before {
            Before::Order(found) => Some(found.status),
            Before::Unsaid | Before::Settings(_) => event.status_before(),
        };
        self.before.push(status_before.map(OrderStatus::as_str));
        self.after.push(order.map(|order| order.status.as_str()));
        self.version.push(version(event, order).map(u32::cast_signed));
        self.actor.push(event.context.actor.as_deref());
        self.request_id.push(event.context.request_id.as_deref());
        self.detail.push(detail(event, before));
    }
}

fn version(event: &Event, order: Option<&Order>) -> Option<u32> {
    match &event.kind {
        EventKind::Configured(change) => Some(change.version),
        _ => order.map(|order| order.version),
    }
}

/// What the columns do not say: `changes` (field → before and after) of an order, `before` and `after` of settings, and
/// what is special to a kind.
fn detail(event: &Event, before: &Before<'_>) -> Option<Value> {
    let mut detail = match &event.kind {
        EventKind::Configured(change) => {
            let mut both = json!({ "after": change.settings });
            if let Before::Settings(found) = before {
                both["before"] = json!(found);
            }
            return Some(both);
        }
        EventKind::Dated(change) => {
            json!({"before": change.before, "after": change.date, "ends_at": change.ends_at})
        }
        EventKind::Released { number: NumberAfter::Free, .. } => json!({"immediate": true}),
        EventKind::Renumbered { previous, .. } => json!({"previous_number": previous}),
        EventKind::Called { place: Some(place), .. } => json!({"place": place}),
        EventKind::Rested(Rests { numbers, until, cause, .. }) => {
            json!({"cause": cause, "numbers": numbers, "until": until})
        }
        EventKind::Imported { .. } => {
            event.context.foreign_id.map_or_else(|| json!({}), |id| json!({"foreign_id": id}))
        }
        _ => json!({}),
    };
    if let Some(order) = event.order() {
        let held = match before {
            Before::Order(found) => order.details.changed_since(&found.details),
            Before::Unsaid | Before::Settings(_) => event.context.before.clone(),
        };
        if !held.is_empty() {
            detail["changes"] = changes(held, order);
        }
    }
    if let Some(source) = &event.context.source {
        detail["source"] = json!(source);
    }
    if event.context.replaced {
        detail["replaced"] = json!(true);
    }
    detail.as_object().is_some_and(|fields| !fields.is_empty()).then_some(detail)
}

/// `{"note": ["old", "new"]}`, from what the fields held before and what they hold now.
fn changes(held: Map<String, Value>, order: &Order) -> Value {
    let mut now = order.details.to_fields();
    now.insert("order_number".to_owned(), json!(order.order_number()));
    let pair = |(name, old): (String, Value)| {
        let new = now.remove(&name).unwrap_or_default();
        (name, json!([old, new]))
    };
    held.into_iter().map(pair).collect::<Map<_, _>>().into()
}

pub(in crate::ledger) async fn insert(
    connection: &mut Session<'_>,
    events: &EventColumns<'_>,
) -> Result<(), LedgerError> {
    if events.sequence.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO order_events
             (partition, generation, sequence, occurred_at, kind, restaurant_id, internal_order_id,
              display_order_number, status_before, status_after, version, actor, request_id, detail)
         SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::text[], $6::int[],
             $7::uuid[], $8::int[], $9::text[], $10::text[], $11::int[], $12::text[], $13::text[], $14::jsonb[])",
        &events.partition,
        &events.generation,
        &events.sequence,
        &events.at,
        &events.kind as &[&str],
        &events.restaurant,
        &events.order as &[Option<Uuid>],
        &events.number as &[Option<i32>],
        &events.before as &[Option<&str>],
        &events.after as &[Option<&str>],
        &events.version as &[Option<i32>],
        &events.actor as &[Option<&str>],
        &events.request_id as &[Option<&str>],
        &events.detail as &[Option<Value>]
    )
    .execute(connection)
    .await?;
    Ok(())
}
