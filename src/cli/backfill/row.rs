//! One row of another system, turned into an order: what it must have, and what is put right.

mod times;

use chrono::NaiveDate;
use garde::Validate;
use serde_json::Value;
use uuid::Uuid;

use super::{
    column::Column,
    reason::{Adjusted, Remark, Skipped},
    rules::Rules,
    shown_number::{ShownNumber, shown_number},
    tally::{Field, Tally},
    value::{Row, is_absent},
    words::{Meaning, Vocabulary},
};
use crate::{
    domain::{
        BusinessDay, Metadata, OrderDetails, OrderItem, OrderStatus, RestaurantId, Timestamp,
        business_day::{MOST_OF_A_DATE, is_countable},
    },
    service::{ForeignOrder, back_filled_id},
};

/// An order that can be taken, and what was put right about it.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) order: ForeignOrder,
    /// The other system's id, by which it tells its orders apart.
    pub(super) key: String,
    pub(super) adjusted: Vec<Remark<Adjusted>>,
}

/// As many bytes of the old order number as there is room for.
const MAX_LEGACY_BYTES: usize = 64;

/// Makes an order of a row.
///
/// # Errors
/// Why it cannot be taken.
pub(super) fn parse(row: &Row, rules: &Rules, tally: &mut Tally, now: Timestamp) -> Result<Parsed, Remark<Skipped>> {
    let mut adjusted = Vec::new();
    // Words are counted also of rows that cannot be taken.
    let status = status(row, rules, tally);
    let (key, foreign_id) = foreign_id(row)?;
    let restaurant = restaurant(row, rules)?;
    let status = status?;
    let created_at = times::created_at(&rules.times, row, status, now, &mut adjusted)?;
    let ShownNumber { number, format, text: shown_number } = number(row, restaurant, &mut adjusted);
    let details = details(row, rules, tally, foreign_id.is_none().then_some(key.as_str()), &mut adjusted);
    details.validate().map_err(|error| Remark::new(Skipped::Unstorable, error.to_string().trim_end()))?;
    let (updated_at, released_at) = times::changed_and_ended(&rules.times, row, status, created_at, now, &mut adjusted);
    let order = ForeignOrder {
        id: back_filled_id(created_at, restaurant, &key),
        key: key.clone(),
        restaurant,
        created_at,
        foreign_id,
        number,
        format,
        shown_number,
        legacy_number: legacy_number(row, &mut adjusted),
        business_day: business_day(row, &mut adjusted),
        status,
        details,
        updated_at,
        released_at,
        replaces: false,
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
    if text.contains('\0') {
        return Err(Remark::new(Skipped::Id, format!("{text:?} holds a NUL")));
    }
    // The same UUID may be written in several ways, and stays the same order.
    Ok(match Uuid::try_parse(&text) {
        Ok(uuid) => (uuid.as_hyphenated().to_string(), Some(uuid)),
        Err(_) => (text, None),
    })
}

fn restaurant(row: &Row, rules: &Rules) -> Result<RestaurantId, Remark<Skipped>> {
    let found = rules.restaurants.of(row.word(Column::RestaurantId).as_deref());
    found.ok_or_else(|| Remark::shown(Skipped::Restaurant, row.get(Column::RestaurantId)))
}

/// Where it stands: by its own status, and where a dialect has them by the states of its hand-over and its payment.
fn status(row: &Row, rules: &Rules, tally: &mut Tally) -> Result<OrderStatus, Remark<Skipped>> {
    let mut unknown = None;
    let mut read = |column: Column| {
        let word = row.word(column)?;
        let meaning = rules.statuses.status(&word);
        tally.add(Field::Status, &word, meaning.map(Meaning::name));
        if meaning.is_none() {
            unknown = Some(Remark::shown(Skipped::Status, row.get(column)));
        }
        Some((word, meaning?))
    };
    let [own, handed_over, paid] = [Column::Status, Column::FulfillmentStatus, Column::PaymentStatus].map(&mut read);
    if let Some(unknown) = unknown {
        return Err(unknown);
    }
    let says_nothing = |word: &str| rules.names.dialect.is_some_and(|dialect| dialect.says_nothing(word));
    let handed_over = handed_over.filter(|(word, _)| paid.is_none() || !says_nothing(word));
    let [own, handed_over, paid] = [own, handed_over, paid].map(|read| read.map(|(_, status)| status));
    let was_cancelled =
        !is_absent(row.get(Column::CancelledAt)) || [own, handed_over, paid].contains(&Some(OrderStatus::Cancelled));
    let status = match (own, handed_over) {
        _ if was_cancelled => Some(OrderStatus::Cancelled),
        (Some(own), _) if own.is_final() => Some(own),
        // It is not over before its own status says so.
        (Some(_), Some(handed_over)) if handed_over.is_final() => Some(OrderStatus::Served),
        (own, handed_over) => handed_over.or(own).or(paid),
    };
    status.ok_or_else(|| Remark::shown(Skipped::Status, row.get(Column::Status)))
}

/// The number, and how it was shown.
fn number(row: &Row, restaurant: RestaurantId, adjusted: &mut Vec<Remark<Adjusted>>) -> ShownNumber {
    let columns = [Column::DisplayOrderNumber, Column::DisplayNumber, Column::DisplayNumberFormatted];
    let given: Vec<&Value> =
        columns.into_iter().map(|column| row.get(column)).filter(|value| !is_absent(value)).collect();
    let here = restaurant.to_string();
    let there = row.word(Column::RestaurantId);
    shown_number(&given, &[&here, there.as_deref().unwrap_or(&here)], adjusted)
}

fn legacy_number(row: &Row, adjusted: &mut Vec<Remark<Adjusted>>) -> Option<String> {
    let text = text(row, Column::OrderNumber, "order_number", adjusted)?;
    if text.len() > MAX_LEGACY_BYTES {
        adjusted.push(Remark::new(Adjusted::LeftOut, format!("order_number: longer than {MAX_LEGACY_BYTES} bytes")));
        return None;
    }
    Some(text)
}

/// Its place in a business date: kept where both are there, and are a date and a number from 1.
fn business_day(row: &Row, adjusted: &mut Vec<Remark<Adjusted>>) -> Option<BusinessDay> {
    let (date, sequence) = (row.word(Column::BusinessDate), row.word(Column::DailySequence));
    if date.is_none() && sequence.is_none() {
        return None;
    }
    let read = |date: &str, sequence: &str| {
        let date = date.parse::<NaiveDate>().ok().filter(|date| is_countable(*date))?;
        let sequence = sequence.parse().ok().filter(|sequence| (1..=MOST_OF_A_DATE).contains(sequence))?;
        Some(BusinessDay { date, sequence })
    };
    let day = date.as_deref().zip(sequence.as_deref()).and_then(|(date, sequence)| read(date, sequence));
    if day.is_none() {
        let [date, sequence] = [date, sequence].map(|word| word.unwrap_or_else(|| "nothing".to_owned()));
        let detail = format!("business_date and daily_sequence: {date:?} and {sequence:?} are no date and place in it");
        adjusted.push(Remark::new(Adjusted::LeftOut, detail));
    }
    day
}

fn details(
    row: &Row,
    rules: &Rules,
    tally: &mut Tally,
    id_to_keep: Option<&str>,
    adjusted: &mut Vec<Remark<Adjusted>>,
) -> OrderDetails {
    OrderDetails {
        table_number: cut(text(row, Column::TableNumber, "table_number", adjusted), 32, "table_number", adjusted),
        order_source: named(row, Column::OrderSource, Field::OrderSource, &rules.sources, tally, adjusted),
        order_type: named(row, Column::OrderType, Field::OrderType, &rules.types, tally, adjusted),
        external_id: external_id(row, id_to_keep, adjusted),
        customer_name: cut(customer_name(row, adjusted), 128, "customer_name", adjusted),
        note: cut(text(row, Column::Note, "note", adjusted), 500, "note", adjusted),
        metadata: metadata(row, adjusted),
        items: items(row, adjusted),
    }
}

/// In one column, or in two.
fn customer_name(row: &Row, adjusted: &mut Vec<Remark<Adjusted>>) -> Option<String> {
    text(row, Column::CustomerName, "customer_name", adjusted).or_else(|| {
        let parts = [(Column::FirstName, "first_name"), (Column::LastName, "last_name")];
        let parts: Vec<String> =
            parts.into_iter().filter_map(|(column, name)| text(row, column, name, adjusted)).collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    })
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

fn named<T: Meaning>(
    row: &Row,
    column: Column,
    field: Field,
    vocabulary: &Vocabulary<T>,
    tally: &mut Tally,
    adjusted: &mut Vec<Remark<Adjusted>>,
) -> Option<T> {
    let text = text(row, column, column.name(), adjusted)?;
    let meaning = vocabulary.meaning(&text);
    tally.add(field, &text, meaning.map(Meaning::name));
    if meaning.is_none() {
        adjusted.push(Remark::shown(Adjusted::LeftOut, row.get(column)).about(column.name()));
    }
    meaning
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

/// A list of objects, or text that is one. Of an object what an item has is read; without a name it is none.
fn items(row: &Row, adjusted: &mut Vec<Remark<Adjusted>>) -> Option<Vec<OrderItem>> {
    let value = row.get(Column::Items);
    let list: Option<Vec<Value>> = match value {
        Value::String(text) => serde_json::from_str(text).ok(),
        Value::Array(list) => Some(list.clone()),
        _ => None,
    };
    // Elsewhere, what has this name may well be their number.
    let list = list.filter(|list| !list.is_empty())?;
    let item = |value: &Value| {
        let fields = value.as_object()?.iter().filter(|(name, _)| ITEM_FIELDS.contains(&&***name));
        serde_json::from_value(fields.map(|(name, value)| (name.clone(), value.clone())).collect()).ok()
    };
    let items = list.iter().map(item).collect::<Option<Vec<OrderItem>>>();
    let details = OrderDetails { items, ..OrderDetails::default() };
    if details.items.is_none() || details.validate().is_err() {
        adjusted.push(Remark::shown(Adjusted::LeftOut, value).about("items"));
        return None;
    }
    details.items
}

const ITEM_FIELDS: [&str; 4] = ["name", "quantity", "note", "station"];

#[cfg(test)]
mod tests;
