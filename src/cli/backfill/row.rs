//! One row of another system, turned into an order: what it must have, and what is put right.

use std::str::FromStr;

use chrono::{DateTime, Datelike, NaiveDateTime, Utc};
use garde::Validate;
use serde::{
    Deserialize,
    de::{IntoDeserializer, value::Error as NotAName},
};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::reason::{Adjusted, Remark, Skipped};
use crate::{
    domain::{DisplayNumber, Metadata, NumberFormat, OrderDetails, OrderStatus, RestaurantId, Timestamp},
    service::{ForeignOrder, back_filled_id},
};

/// What is read of a row; everything else in it is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Id,
    RestaurantId,
    Status,
    CreatedAt,
    DisplayOrderNumber,
    DisplayNumber,
    DisplayNumberFormatted,
    OrderNumber,
    TableNumber,
    OrderSource,
    OrderType,
    ExternalId,
    CustomerName,
    Note,
    Metadata,
    UpdatedAt,
    CompletedAt,
    ReleasedAt,
}

impl Column {
    pub(super) const ALL: [(Self, &'static str); 18] = [
        (Self::Id, "id"),
        (Self::RestaurantId, "restaurant_id"),
        (Self::Status, "status"),
        (Self::CreatedAt, "created_at"),
        (Self::DisplayOrderNumber, "display_order_number"),
        (Self::DisplayNumber, "display_number"),
        (Self::DisplayNumberFormatted, "display_number_formatted"),
        (Self::OrderNumber, "order_number"),
        (Self::TableNumber, "table_number"),
        (Self::OrderSource, "order_source"),
        (Self::OrderType, "order_type"),
        (Self::ExternalId, "external_id"),
        (Self::CustomerName, "customer_name"),
        (Self::Note, "note"),
        (Self::Metadata, "metadata"),
        (Self::UpdatedAt, "updated_at"),
        (Self::CompletedAt, "completed_at"),
        (Self::ReleasedAt, "released_at"),
    ];

    /// The first four have to be there.
    pub(super) const REQUIRED: usize = 4;

    /// The column with this name, in upper or lower case.
    pub(super) fn named(name: &str) -> Option<Self> {
        let name = name.trim().trim_start_matches('\u{feff}');
        Self::ALL.into_iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(column, _)| column)
    }

    /// Which of the required ones are not among these names.
    pub(super) fn missing<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<&'static str> {
        let there: Vec<Self> = names.into_iter().filter_map(Self::named).collect();
        let required = Self::ALL.into_iter().take(Self::REQUIRED);
        required.filter(|(column, _)| !there.contains(column)).map(|(_, name)| name).collect()
    }
}

/// The values of a row; those that are missing are null.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Row {
    values: [Value; Column::ALL.len()],
    /// Bytes that were no UTF-8 have been replaced.
    pub(super) lossy: bool,
}

impl Row {
    pub(super) fn set(&mut self, column: Column, value: Value) {
        self.values[column as usize] = value;
    }

    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, Remark<Skipped>> {
        let text = String::from_utf8_lossy(bytes);
        let object: Map<String, Value> = serde_json::from_str(&text)
            .map_err(|error| Remark::new(Skipped::Unreadable, format!("not a JSON object: {error}")))?;
        let mut row = Self { lossy: matches!(text, std::borrow::Cow::Owned(_)), ..Self::default() };
        for (name, value) in object {
            if let Some(column) = Column::named(&name) {
                row.set(column, value);
            }
        }
        Ok(row)
    }

    fn get(&self, column: Column) -> &Value {
        &self.values[column as usize]
    }

    /// The id as it was written, for the report: also of a row that cannot be taken.
    pub(super) fn id(&self) -> Option<String> {
        self.word(Column::Id)
    }

    /// A value that has one plain text: nothing for null, for empty text and for what is no such value.
    fn word(&self, column: Column) -> Option<String> {
        match self.get(column) {
            Value::String(text) => Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned),
            // One with a fraction, or with more digits than there is room for, is none.
            Value::Number(number) if !number.is_f64() => Some(number.to_string()),
            _ => None,
        }
    }
}

/// An order that can be taken, and what was put right about it.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) order: ForeignOrder,
    /// The other system's id, by which it tells its orders apart.
    pub(super) key: String,
    pub(super) adjusted: Vec<Remark<Adjusted>>,
}

/// An order from before this year has a broken clock behind it.
const FIRST_YEAR: i32 = 2000;

/// A time without a zone may be that of a place whose day has begun already.
const AHEAD_MS: i64 = 86_400_000;

/// As many bytes of the old order number as there is room for.
const MAX_LEGACY_BYTES: usize = 64;

/// Makes an order of a row.
///
/// # Errors
/// Why it cannot be taken.
pub(super) fn parse(row: &Row, now: Timestamp) -> Result<Parsed, Remark<Skipped>> {
    let mut adjusted = Vec::new();
    let (key, foreign_id) = foreign_id(row)?;
    let restaurant = restaurant(row)?;
    let status = status(row)?;
    let created_at = created_at(row, now)?;
    if row.lossy {
        adjusted.push(Remark::new(Adjusted::Encoding, "bytes that are no UTF-8 are shown as \u{fffd}"));
    }
    let (number, format) = number(row, &mut adjusted);
    let details = details(row, foreign_id.is_none().then_some(key.as_str()), &mut adjusted);
    details.validate().map_err(|error| Remark::new(Skipped::Unstorable, error.to_string().trim_end()))?;
    let (updated_at, released_at) = times(row, status, created_at, now, &mut adjusted);
    let order = ForeignOrder {
        id: back_filled_id(created_at, restaurant, &key),
        foreign_id,
        number,
        format,
        legacy_number: legacy_number(row, &mut adjusted),
        status,
        details,
        updated_at,
        released_at,
    };
    // Only UUIDs are unique over all restaurants.
    let key = if foreign_id.is_some() { key } else { format!("{restaurant}/{key}") };
    Ok(Parsed { order, key, adjusted })
}

fn foreign_id(row: &Row) -> Result<(String, Option<Uuid>), Remark<Skipped>> {
    let Some(text) = row.id() else {
        return Err(match row.get(Column::Id) {
            Value::Null | Value::String(_) => Remark::new(Skipped::Id, "there is none"),
            other => Remark::new(Skipped::Id, format!("{other} is neither text nor a whole number")),
        });
    };
    if text.contains('\0') || (row.lossy && text.contains('\u{fffd}')) {
        return Err(Remark::new(Skipped::Id, format!("{text:?} holds a NUL or bytes that are no UTF-8")));
    }
    // The same UUID may be written in several ways, and stays the same order.
    Ok(match Uuid::try_parse(&text) {
        Ok(uuid) => (uuid.as_hyphenated().to_string(), Some(uuid)),
        Err(_) => (text, None),
    })
}

fn restaurant(row: &Row) -> Result<RestaurantId, Remark<Skipped>> {
    let text = row.word(Column::RestaurantId);
    let id = text.as_deref().and_then(|text| RestaurantId::from_str(text).ok());
    id.ok_or_else(|| Remark::shown(Skipped::Restaurant, row.get(Column::RestaurantId)))
}

fn status(row: &Row) -> Result<OrderStatus, Remark<Skipped>> {
    let text = row.word(Column::Status);
    let status = text.as_deref().and_then(status_named);
    status.ok_or_else(|| Remark::shown(Skipped::Status, row.get(Column::Status)))
}

/// The status that other systems call so.
pub(super) fn status_named(name: &str) -> Option<OrderStatus> {
    Some(match folded(name).as_str() {
        "pending" | "new" | "received" | "created" | "open" | "placed" | "submitted" => OrderStatus::Pending,
        "preparing" | "in_progress" | "confirmed" | "accepted" | "processing" | "cooking" => OrderStatus::Preparing,
        "ready" | "ready_for_pickup" => OrderStatus::Ready,
        "served" | "delivered_in_house" => OrderStatus::Served,
        "held" | "on_hold" | "hold" => OrderStatus::Held,
        "completed" | "complete" | "closed" | "paid" | "delivered" | "done" | "finished" | "picked_up"
        | "collected" | "fulfilled" => OrderStatus::Completed,
        "cancelled" | "canceled" | "void" | "voided" | "rejected" | "declined" => OrderStatus::Cancelled,
        "expired" | "abandoned" | "timed_out" => OrderStatus::Expired,
        _ => return None,
    })
}

/// Lower case, with one way to write what separates words.
fn folded(name: &str) -> String {
    name.trim().to_ascii_lowercase().replace([' ', '-'], "_")
}

fn created_at(row: &Row, now: Timestamp) -> Result<Timestamp, Remark<Skipped>> {
    let at = row.word(Column::CreatedAt).as_deref().and_then(time);
    let at = at.ok_or_else(|| Remark::shown(Skipped::CreatedAt, row.get(Column::CreatedAt)))?;
    // It is a part of the id, so it cannot be put right: the same row would be another order the next time.
    if at.year() < FIRST_YEAR || at.timestamp_millis() > now.plus_ms(AHEAD_MS).unix_ms() {
        return Err(Remark::shown(Skipped::CreatedAtRange, row.get(Column::CreatedAt)));
    }
    Ok(at.into())
}

/// RFC 3339, or as Postgres writes times; without a zone it is UTC.
pub(super) fn time(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    let text = text.strip_suffix("UTC").unwrap_or(text).trim_end();
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.to_utc());
    }
    let text = text.replacen(['T', 't'], " ", 1);
    if let Ok(at) = DateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f%#z") {
        return Some(at.to_utc());
    }
    ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(&text, format).ok())
        .map(|at| at.and_utc())
}

/// When it last changed, and when it ended: between its creation and now.
fn times(
    row: &Row,
    status: OrderStatus,
    created_at: Timestamp,
    now: Timestamp,
    adjusted: &mut Vec<Remark<Adjusted>>,
) -> (Timestamp, Timestamp) {
    let last = now.max(created_at);
    let mut read = |column: Column, name: &str| {
        let value = row.get(column);
        let text = row.word(column);
        if text.is_none() && is_absent(value) {
            return None;
        }
        let Some(at) = text.as_deref().and_then(time) else {
            adjusted.push(Remark::shown(Adjusted::LeftOut, value).about(name));
            return None;
        };
        let ms = at.timestamp_millis();
        let moved = ms.clamp(created_at.unix_ms(), last.unix_ms());
        if ms < moved {
            adjusted.push(Remark::shown(Adjusted::Time, value).about(&format!("{name} before created_at")));
        } else if moved < ms {
            adjusted.push(Remark::shown(Adjusted::Time, value).about(&format!("{name} in the future")));
        }
        Some(Timestamp::from_unix_ms(moved))
    };
    let updated_at = read(Column::UpdatedAt, "updated_at");
    if status.is_live() {
        return (updated_at.unwrap_or(created_at), created_at);
    }
    let ended = read(Column::CompletedAt, "completed_at").or_else(|| read(Column::ReleasedAt, "released_at"));
    let released_at = ended.or(updated_at).unwrap_or(created_at);
    (updated_at.unwrap_or(released_at).max(released_at), released_at)
}

/// The number, and how it was shown: with as many digits as there were, if some of them were leading zeros.
fn number(row: &Row, adjusted: &mut Vec<Remark<Adjusted>>) -> (Option<DisplayNumber>, NumberFormat) {
    let columns = [Column::DisplayOrderNumber, Column::DisplayNumber, Column::DisplayNumberFormatted];
    let given: Vec<Column> = columns.into_iter().filter(|column| !is_absent(row.get(*column))).collect();
    let words = || given.iter().filter_map(|column| row.word(*column));
    let number = words().find_map(|text| DisplayNumber::from_str(&text).ok());
    if let (None, Some(column)) = (number, given.first()) {
        adjusted.push(Remark::shown(Adjusted::LeftOut, row.get(*column)).about("the display number"));
    }
    let padded = words().find(|text| text.starts_with('0') && text.parse().ok() == number);
    let format = padded.and_then(|text| format!("{{n:0{}}}", text.len()).parse().ok());
    (number, format.unwrap_or_default())
}

fn legacy_number(row: &Row, adjusted: &mut Vec<Remark<Adjusted>>) -> Option<String> {
    let text = text(row, Column::OrderNumber, "order_number", adjusted)?;
    if text.len() > MAX_LEGACY_BYTES {
        adjusted.push(Remark::new(Adjusted::LeftOut, format!("order_number: longer than {MAX_LEGACY_BYTES} bytes")));
        return None;
    }
    Some(text)
}

fn details(row: &Row, id_to_keep: Option<&str>, adjusted: &mut Vec<Remark<Adjusted>>) -> OrderDetails {
    OrderDetails {
        table_number: cut(text(row, Column::TableNumber, "table_number", adjusted), 32, "table_number", adjusted),
        order_source: named(row, Column::OrderSource, "order_source", source_alias, adjusted),
        order_type: named(row, Column::OrderType, "order_type", type_alias, adjusted),
        external_id: external_id(row, id_to_keep, adjusted),
        customer_name: cut(text(row, Column::CustomerName, "customer_name", adjusted), 128, "customer_name", adjusted),
        note: cut(text(row, Column::Note, "note", adjusted), 500, "note", adjusted),
        metadata: metadata(row, adjusted),
    }
}

/// The other system's id is kept here if it is no UUID, and so cannot be an alias.
fn external_id(row: &Row, id_to_keep: Option<&str>, adjusted: &mut Vec<Remark<Adjusted>>) -> Option<String> {
    const MAX_CHARS: usize = 128;
    let id = text(row, Column::ExternalId, "external_id", adjusted).or_else(|| id_to_keep.map(str::to_owned))?;
    // A part of an id is another id.
    if id.chars().count() > MAX_CHARS {
        adjusted.push(Remark::new(Adjusted::LeftOut, format!("external_id: longer than {MAX_CHARS} characters")));
        return None;
    }
    Some(id)
}

/// A descriptive text, without what cannot be stored.
fn text(row: &Row, column: Column, name: &str, adjusted: &mut Vec<Remark<Adjusted>>) -> Option<String> {
    let value = row.get(column);
    let Some(text) = row.word(column) else {
        if !is_absent(value) {
            adjusted.push(Remark::shown(Adjusted::LeftOut, value).about(name));
        }
        return None;
    };
    if !text.contains('\0') {
        return Some(text);
    }
    adjusted.push(Remark::new(Adjusted::Encoding, format!("{name}: NUL characters are taken out")));
    Some(text.replace('\0', "")).filter(|text| !text.is_empty())
}

fn cut(text: Option<String>, max_chars: usize, name: &str, adjusted: &mut Vec<Remark<Adjusted>>) -> Option<String> {
    let mut text = text?;
    if let Some((at, _)) = text.char_indices().nth(max_chars) {
        adjusted.push(Remark::new(Adjusted::Cut, format!("{name}: longer than {max_chars} characters")));
        text.truncate(at);
    }
    Some(text)
}

fn named<T: for<'de> Deserialize<'de>>(
    row: &Row,
    column: Column,
    name: &str,
    alias: fn(&str) -> &str,
    adjusted: &mut Vec<Remark<Adjusted>>,
) -> Option<T> {
    let text = text(row, column, name, adjusted)?;
    let word = folded(&text);
    let value = T::deserialize(IntoDeserializer::<NotAName>::into_deserializer(alias(&word)));
    if value.is_err() {
        adjusted.push(Remark::shown(Adjusted::LeftOut, row.get(column)).about(name));
    }
    value.ok()
}

fn source_alias(word: &str) -> &str {
    match word {
        "qr_code" => "qr",
        "till" | "terminal" => "pos",
        "mobile" | "mobile_app" => "app",
        "online" | "website" => "web",
        "telephone" => "phone",
        other => other,
    }
}

fn type_alias(word: &str) -> &str {
    match word {
        "dinein" | "eat_in" | "table" => "dine_in",
        "take_away" | "takeout" | "take_out" | "pickup" | "pick_up" | "to_go" => "takeaway",
        "drive_through" | "drivethru" => "drive_thru",
        other => other,
    }
}

/// An object, or text that is one.
fn metadata(row: &Row, adjusted: &mut Vec<Remark<Adjusted>>) -> Option<Metadata> {
    let value = row.get(Column::Metadata);
    if is_absent(value) {
        return None;
    }
    let metadata: Option<Metadata> = match value {
        Value::String(text) => serde_json::from_str(text).ok(),
        Value::Object(object) => Some(object.clone().into()),
        _ => None,
    };
    let Some(metadata) = metadata else {
        adjusted.push(Remark::shown(Adjusted::LeftOut, value).about("metadata is no object"));
        return None;
    };
    if metadata.is_empty() {
        return None;
    }
    if metadata.has_rounded_numbers() {
        let detail = "metadata: an integer of more than 64 bits cannot be kept exactly; make it a text";
        adjusted.push(Remark::new(Adjusted::LeftOut, detail));
        return None;
    }
    let details = OrderDetails { metadata: Some(metadata), ..OrderDetails::default() };
    if let Err(error) = details.validate() {
        adjusted.push(Remark::new(Adjusted::LeftOut, error.to_string().trim_end()));
        return None;
    }
    details.metadata
}

fn is_absent(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
