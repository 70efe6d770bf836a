//! Orders as columns: how they are written many at a time, and how they are read back.

use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, NaiveDate, Utc};
use serde::{
    Deserialize,
    de::{IntoDeserializer, value::Error as NotAName},
};
use sqlx::types::Json;
use uuid::Uuid;

use crate::{
    domain::{
        BusinessDay, Calls, Choice, DisplayNumber, IdempotencyDigest, Metadata, NumberFormat, Order, OrderDetails,
        OrderId, OrderItem, OrderSource, OrderStatus, OrderType, RangeId, Reopening, WrittenNumber, fold::fold,
        shown_number,
    },
    ledger::{LedgerError, db::session::Session, tables::legacy_numbers::LegacyNumbers},
};

/// One vector a column of `orders`, for UNNEST.
#[derive(Default)]
pub(in crate::ledger) struct OrderColumns<'a> {
    id: Vec<Uuid>,
    restaurant: Vec<i32>,
    number: Vec<Option<i32>>,
    formatted: Vec<Option<String>>,
    format: Vec<&'a str>,
    order_number: Vec<Option<String>>,
    given: Vec<bool>,
    status: Vec<&'static str>,
    table: Vec<Option<&'a str>>,
    source: Vec<Option<&'static str>>,
    kind: Vec<Option<&'static str>>,
    external_id: Vec<Option<&'a str>>,
    customer_name: Vec<Option<&'a str>>,
    folded: Vec<Option<String>>,
    note: Vec<Option<&'a str>>,
    metadata: Vec<Option<Json<&'a Metadata>>>,
    items: Vec<Option<Json<&'a [OrderItem]>>>,
    call_count: Vec<i32>,
    last_called_at: Vec<Option<DateTime<Utc>>>,
    created_at: Vec<DateTime<Utc>>,
    given_at: Vec<Option<DateTime<Utc>>>,
    updated_at: Vec<DateTime<Utc>>,
    released_at: Vec<Option<DateTime<Utc>>>,
    reopenings: Vec<i32>,
    reopened_at: Vec<Option<DateTime<Utc>>>,
    cooldown: Vec<i32>,
    version: Vec<i32>,
    sequence: Vec<i64>,
    business_date: Vec<Option<NaiveDate>>,
    daily_sequence: Vec<Option<i32>>,
    range: Vec<Option<&'a str>>,
    choice: Vec<Option<&'static str>>,
    idempotency_key: Vec<Option<&'a [u8]>>,
    idempotency_body: Vec<Option<&'a [u8]>>,
    called: LegacyNumbers,
    /// Restaurant and offset of the formats that have one; sorted, so that two writers do not wait for each other.
    offsets: BTreeSet<(i32, i32)>,
}

impl<'a> OrderColumns<'a> {
    pub(in crate::ledger) fn push(&mut self, order: &'a Order, idempotency: Option<&'a IdempotencyDigest>) {
        let details = &order.details;
        self.id.push(order.id.as_uuid());
        self.restaurant.push(order.restaurant().as_i32());
        self.number.push(order.number.map(DisplayNumber::as_i32));
        self.formatted.push(order.formatted_number());
        self.format.push(order.format.as_str());
        self.order_number.push(order.order_number());
        self.given.push(order.legacy_number.is_some() || order.old_number.is_some());
        self.status.push(order.status.as_str());
        self.table.push(details.table_number.as_deref());
        self.source.push(details.order_source.map(source_name));
        self.kind.push(details.order_type.map(type_name));
        self.external_id.push(details.external_id.as_deref());
        self.customer_name.push(details.customer_name.as_deref());
        self.folded.push(details.customer_name.as_deref().map(fold));
        self.note.push(details.note.as_deref());
        self.metadata.push(details.metadata.as_ref().map(Json));
        self.items.push(details.items.as_deref().map(Json));
        self.call_count.push(order.calls.map_or(0, |calls| calls.count.into()));
        self.last_called_at.push(order.calls.map(|calls| calls.last_at.to_datetime()));
        self.created_at.push(order.created_at().to_datetime());
        self.given_at.push(order.given_at.map(|at| at.to_datetime()));
        self.updated_at.push(order.updated_at.to_datetime());
        self.released_at.push(order.released_at.map(|at| at.to_datetime()));
        self.reopenings.push(order.reopening.map_or(0, |reopening| reopening.count.cast_signed()));
        self.reopened_at.push(order.reopening.map(|reopening| reopening.at.to_datetime()));
        self.cooldown.push(order.cooldown_seconds.cast_signed());
        self.version.push(order.version.cast_signed());
        self.sequence.push(order.sequence.cast_signed());
        self.business_date.push(order.business_day.map(|day| day.date));
        self.daily_sequence.push(order.business_day.map(|day| day.sequence.cast_signed()));
        self.range.push(order.range.as_ref().map(RangeId::as_str));
        self.choice.push(order.choice.as_str());
        self.idempotency_key.push(idempotency.map(|digest| digest.key.as_slice()));
        self.idempotency_body.push(idempotency.map(|digest| digest.body.as_slice()));
        if order.format.offset() > 0 {
            self.offsets.insert((order.restaurant().as_i32(), order.format.offset().cast_signed()));
        }
        for called in WrittenNumber::called(order) {
            self.called.push(order.id.as_uuid(), order.restaurant().as_i32(), &called);
        }
    }
}

/// Writes orders where they are new or at a later stage than what is there. One row an order, or Postgres refuses.
pub(in crate::ledger) async fn upsert(
    connection: &mut Session<'_>,
    orders: &OrderColumns<'_>,
) -> Result<(), LedgerError> {
    if orders.id.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO orders AS o
             (internal_order_id, restaurant_id, display_order_number, display_number_formatted, number_format,
              order_number, order_number_given, status, table_number, order_source, order_type, external_id,
              customer_name, customer_name_folded, note, metadata, created_at, updated_at, released_at,
              cooldown_seconds, version, sequence, given_at, idempotency_key, idempotency_body, reopenings, reopened_at,
              business_date, daily_sequence, number_range, number_choice, items, call_count, last_called_at)
         SELECT * FROM unnest($1::uuid[], $2::int[], $3::int[], $4::text[], $5::text[], $6::text[], $7::bool[],
             $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[],
             $16::jsonb[], $17::timestamptz[], $18::timestamptz[], $19::timestamptz[], $20::int[], $21::int[],
             $22::bigint[], $23::timestamptz[], $24::bytea[], $25::bytea[], $26::int[], $27::timestamptz[],
             $28::date[], $29::int[], $30::text[], $31::text[], $32::jsonb[], $33::int[], $34::timestamptz[])
         ON CONFLICT (internal_order_id) DO UPDATE SET
             display_order_number = EXCLUDED.display_order_number,
             display_number_formatted = EXCLUDED.display_number_formatted,
             number_format = EXCLUDED.number_format, order_number = EXCLUDED.order_number,
             order_number_given = EXCLUDED.order_number_given, status = EXCLUDED.status,
             table_number = EXCLUDED.table_number, order_source = EXCLUDED.order_source,
             order_type = EXCLUDED.order_type, external_id = EXCLUDED.external_id,
             customer_name = EXCLUDED.customer_name, customer_name_folded = EXCLUDED.customer_name_folded,
             note = EXCLUDED.note, metadata = EXCLUDED.metadata, updated_at = EXCLUDED.updated_at,
             released_at = EXCLUDED.released_at, cooldown_seconds = EXCLUDED.cooldown_seconds,
             version = EXCLUDED.version, sequence = EXCLUDED.sequence, given_at = EXCLUDED.given_at,
             reopenings = EXCLUDED.reopenings, reopened_at = EXCLUDED.reopened_at,
             business_date = EXCLUDED.business_date, daily_sequence = EXCLUDED.daily_sequence,
             number_range = EXCLUDED.number_range, number_choice = EXCLUDED.number_choice, items = EXCLUDED.items,
             call_count = EXCLUDED.call_count, last_called_at = EXCLUDED.last_called_at,
             idempotency_key = coalesce(o.idempotency_key, EXCLUDED.idempotency_key),
             idempotency_body = coalesce(o.idempotency_body, EXCLUDED.idempotency_body)
         WHERE (o.reopenings, o.released_at IS NOT NULL, o.version)
             < (EXCLUDED.reopenings, EXCLUDED.released_at IS NOT NULL, EXCLUDED.version)",
        &orders.id,
        &orders.restaurant,
        &orders.number as &[Option<i32>],
        &orders.formatted as &[Option<String>],
        &orders.format as &[&str],
        &orders.order_number as &[Option<String>],
        &orders.given,
        &orders.status as &[&str],
        &orders.table as &[Option<&str>],
        &orders.source as &[Option<&str>],
        &orders.kind as &[Option<&str>],
        &orders.external_id as &[Option<&str>],
        &orders.customer_name as &[Option<&str>],
        &orders.folded as &[Option<String>],
        &orders.note as &[Option<&str>],
        &orders.metadata as &[Option<Json<&Metadata>>],
        &orders.created_at,
        &orders.updated_at,
        &orders.released_at as &[Option<DateTime<Utc>>],
        &orders.cooldown,
        &orders.version,
        &orders.sequence,
        &orders.given_at as &[Option<DateTime<Utc>>],
        &orders.idempotency_key as &[Option<&[u8]>],
        &orders.idempotency_body as &[Option<&[u8]>],
        &orders.reopenings,
        &orders.reopened_at as &[Option<DateTime<Utc>>],
        &orders.business_date as &[Option<NaiveDate>],
        &orders.daily_sequence as &[Option<i32>],
        &orders.range as &[Option<&str>],
        &orders.choice as &[Option<&str>],
        &orders.items as &[Option<Json<&[OrderItem]>>],
        &orders.call_count,
        &orders.last_called_at as &[Option<DateTime<Utc>>]
    )
    .execute(&mut *connection)
    .await?;
    write_offsets(connection, &orders.offsets).await?;
    orders.called.write(connection, |_| true).await
}

/// Notes what formats take off the numbers of restaurants, for those that look for what was shown.
async fn write_offsets(connection: &mut Session<'_>, offsets: &BTreeSet<(i32, i32)>) -> Result<(), LedgerError> {
    if offsets.is_empty() {
        return Ok(());
    }
    let (restaurants, offsets): (Vec<i32>, Vec<i32>) = offsets.iter().copied().unzip();
    sqlx::query!(
        "INSERT INTO number_offsets (restaurant_id, number_offset) SELECT * FROM unnest($1::int[], $2::int[])
         ON CONFLICT DO NOTHING",
        &restaurants,
        &offsets
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the orders that are not there at all, and says which.
pub(in crate::ledger) async fn insert_new(
    connection: &mut Session<'_>,
    orders: &OrderColumns<'_>,
) -> Result<HashSet<Uuid>, LedgerError> {
    let inserted = sqlx::query_scalar!(
        "INSERT INTO orders
             (internal_order_id, restaurant_id, display_order_number, display_number_formatted, number_format,
              order_number, order_number_given, status, table_number, order_source, order_type, external_id,
              customer_name, customer_name_folded, note, metadata, created_at, updated_at, released_at,
              cooldown_seconds, version, sequence, given_at, business_date, daily_sequence, number_range, number_choice,
              items)
         SELECT * FROM unnest($1::uuid[], $2::int[], $3::int[], $4::text[], $5::text[], $6::text[], $7::bool[],
             $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[],
             $16::jsonb[], $17::timestamptz[], $18::timestamptz[], $19::timestamptz[], $20::int[], $21::int[],
             $22::bigint[], $23::timestamptz[], $24::date[], $25::int[], $26::text[], $27::text[], $28::jsonb[])
         ON CONFLICT (internal_order_id) DO NOTHING
         RETURNING internal_order_id",
        &orders.id,
        &orders.restaurant,
        &orders.number as &[Option<i32>],
        &orders.formatted as &[Option<String>],
        &orders.format as &[&str],
        &orders.order_number as &[Option<String>],
        &orders.given,
        &orders.status as &[&str],
        &orders.table as &[Option<&str>],
        &orders.source as &[Option<&str>],
        &orders.kind as &[Option<&str>],
        &orders.external_id as &[Option<&str>],
        &orders.customer_name as &[Option<&str>],
        &orders.folded as &[Option<String>],
        &orders.note as &[Option<&str>],
        &orders.metadata as &[Option<Json<&Metadata>>],
        &orders.created_at,
        &orders.updated_at,
        &orders.released_at as &[Option<DateTime<Utc>>],
        &orders.cooldown,
        &orders.version,
        &orders.sequence,
        &orders.given_at as &[Option<DateTime<Utc>>],
        &orders.business_date as &[Option<NaiveDate>],
        &orders.daily_sequence as &[Option<i32>],
        &orders.range as &[Option<&str>],
        &orders.choice as &[Option<&str>],
        &orders.items as &[Option<Json<&[OrderItem]>>]
    )
    .fetch_all(&mut *connection)
    .await?;
    let inserted: HashSet<Uuid> = inserted.into_iter().collect();
    write_offsets(connection, &orders.offsets).await?;
    orders.called.write(connection, |id| inserted.contains(&id)).await?;
    Ok(inserted)
}

/// A row of `orders`, as it is selected.
#[derive(Debug)]
pub(in crate::ledger) struct OrderRow {
    pub(in crate::ledger) internal_order_id: Uuid,
    pub(in crate::ledger) display_order_number: Option<i32>,
    pub(in crate::ledger) number_format: String,
    pub(in crate::ledger) legacy_number: Option<String>,
    pub(in crate::ledger) shown_there: Option<String>,
    pub(in crate::ledger) status: String,
    pub(in crate::ledger) table_number: Option<String>,
    pub(in crate::ledger) order_source: Option<String>,
    pub(in crate::ledger) order_type: Option<String>,
    pub(in crate::ledger) external_id: Option<String>,
    pub(in crate::ledger) customer_name: Option<String>,
    pub(in crate::ledger) note: Option<String>,
    pub(in crate::ledger) metadata: Option<Json<Metadata>>,
    pub(in crate::ledger) items: Option<Json<Vec<OrderItem>>>,
    pub(in crate::ledger) call_count: i32,
    pub(in crate::ledger) last_called_at: Option<DateTime<Utc>>,
    pub(in crate::ledger) given_at: Option<DateTime<Utc>>,
    pub(in crate::ledger) updated_at: DateTime<Utc>,
    pub(in crate::ledger) released_at: Option<DateTime<Utc>>,
    pub(in crate::ledger) reopenings: i32,
    pub(in crate::ledger) reopened_at: Option<DateTime<Utc>>,
    pub(in crate::ledger) cooldown_seconds: i32,
    pub(in crate::ledger) version: i32,
    pub(in crate::ledger) sequence: i64,
    pub(in crate::ledger) business_date: Option<NaiveDate>,
    pub(in crate::ledger) daily_sequence: Option<i32>,
    pub(in crate::ledger) number_range: Option<String>,
    pub(in crate::ledger) number_choice: Option<String>,
}

/// `query_as!` for orders `o`: the columns of [`OrderRow`], then what follows in the statement.
macro_rules! select_orders {
    ($rest:tt $(, $argument:expr)* $(,)?) => {
        ::sqlx::query_as!(
            $crate::ledger::tables::rows::OrderRow,
            r#"SELECT o.internal_order_id, o.display_order_number, o.number_format,
                CASE WHEN o.order_number_given THEN o.order_number END AS legacy_number,
                (SELECT i.shown_number FROM imported_orders AS i
                 WHERE i.internal_order_id = o.internal_order_id) AS shown_there,
                o.status, o.table_number, o.order_source, o.order_type, o.external_id, o.customer_name, o.note,
                o.metadata AS "metadata: _", o.items AS "items: _", o.call_count, o.last_called_at,
                o.given_at, o.updated_at, o.released_at, o.reopenings, o.reopened_at, o.cooldown_seconds, o.version,
                o.sequence, o.business_date, o.daily_sequence, o.number_range, o.number_choice "#
                + $rest
            $(, $argument)*
        )
    };
}
pub(in crate::ledger) use select_orders;

impl OrderRow {
    /// The order that the row describes.
    ///
    /// # Errors
    /// [`LedgerError::Unreadable`] if it holds a word or a value that this version does not know.
    pub(super) fn into_order(self) -> Result<Order, LedgerError> {
        let id = self.internal_order_id;
        self.parse().ok_or_else(|| LedgerError::Unreadable(format!("order {id}")))
    }

    fn parse(self) -> Option<Order> {
        let number = match self.display_order_number {
            Some(number) => Some(DisplayNumber::new(number.into()).ok()?),
            None => None,
        };
        let id = OrderId::try_from(self.internal_order_id).ok()?;
        // Rows from before it was kept: the daemon asked then, and got it a moment later.
        let given_at = self.given_at.map(Into::into).or_else(|| number.map(|_| id.created_at()));
        let format = self.number_format.parse::<NumberFormat>().ok()?;
        let old_number = self.shown_there.and_then(|shown| shown_number::old_name(&shown, number, &format));
        Some(Order {
            id,
            number,
            given_at,
            format,
            range: self.number_range.map(|id| id.parse()).transpose().ok()?,
            choice: Choice::from_name(self.number_choice.as_deref())?,
            business_day: match self.business_date.zip(self.daily_sequence) {
                Some((date, sequence)) => Some(BusinessDay { date, sequence: u32::try_from(sequence).ok()? }),
                None => None,
            },
            legacy_number: self.legacy_number.filter(|legacy| Some(legacy) != old_number.as_ref()),
            old_number,
            status: OrderStatus::from_name(&self.status)?,
            details: OrderDetails {
                table_number: self.table_number,
                order_source: from_name(self.order_source)?,
                order_type: from_name(self.order_type)?,
                external_id: self.external_id,
                customer_name: self.customer_name,
                note: self.note,
                metadata: self.metadata.map(|json| json.0),
                items: self.items.map(|json| json.0),
            },
            updated_at: self.updated_at.into(),
            released_at: self.released_at.map(Into::into),
            reopening: match self.reopened_at {
                Some(at) => Some(Reopening { count: u32::try_from(self.reopenings).ok()?, at: at.into() }),
                None => None,
            },
            calls: match self.last_called_at {
                Some(at) => Some(Calls { count: u16::try_from(self.call_count).ok()?, last_at: at.into() }),
                None => None,
            },
            cooldown_seconds: u32::try_from(self.cooldown_seconds).ok()?,
            version: u32::try_from(self.version).ok()?,
            sequence: u64::try_from(self.sequence).ok()?,
        })
    }
}

/// Turns rows into orders; one that cannot be read fails all.
pub(in crate::ledger) fn into_orders(rows: Vec<OrderRow>) -> Result<Vec<Order>, LedgerError> {
    rows.into_iter().map(OrderRow::into_order).collect()
}

/// The value that serde calls so; the outer None if there is no such.
#[expect(clippy::option_option, reason = "an absent name is not a wrong one")]
pub(in crate::ledger) fn from_name<'de, T: Deserialize<'de>>(name: Option<String>) -> Option<Option<T>> {
    match name {
        Some(name) => T::deserialize(IntoDeserializer::<NotAName>::into_deserializer(name)).ok().map(Some),
        None => Some(None),
    }
}

/// As serde calls it.
fn source_name(source: OrderSource) -> &'static str {
    match source {
        OrderSource::Qr => "qr",
        OrderSource::Pos => "pos",
        OrderSource::Kiosk => "kiosk",
        OrderSource::App => "app",
        OrderSource::Web => "web",
        OrderSource::Phone => "phone",
        OrderSource::Api => "api",
    }
}

/// As serde calls it.
fn type_name(kind: OrderType) -> &'static str {
    match kind {
        OrderType::DineIn => "dine_in",
        OrderType::Takeaway => "takeaway",
        OrderType::Delivery => "delivery",
        OrderType::DriveThru => "drive_thru",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_serde() {
        use OrderSource::*;
        for source in [Qr, Pos, Kiosk, App, Web, Phone, Api] {
            assert_eq!(from_name(Some(source_name(source).to_owned())), Some(Some(source)));
        }
        use OrderType::*;
        for kind in [DineIn, Takeaway, Delivery, DriveThru] {
            assert_eq!(from_name(Some(type_name(kind).to_owned())), Some(Some(kind)));
        }
        assert_eq!(from_name::<OrderType>(Some("by_post".to_owned())), None);
        assert_eq!(from_name::<OrderType>(None), Some(None));
    }
}
