//! `display_order_slots`: the numbers that are not free.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::fold::{SlotChange, SlotKey, SlotPlan, SlotRow, plan, replay};
use crate::{
    domain::{DisplayNumber, Order, OrderId, RestaurantId, Timestamp, order_id::ForeignId},
    ledger::{Collision, Ledger, LedgerError, db::session::Session},
};

/// A number that is not free, as the ledger knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The number.
    pub number: DisplayNumber,
    /// What it is doing.
    pub state: SlotState,
    /// Its holder or, while it rests, its last holder; None where it was put to rest without one.
    pub order: Option<OrderId>,
    /// When it was given to that order, or put to rest.
    pub allocated_at: Timestamp,
}

/// What a number that is not free is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState {
    /// Held by a live order.
    Live,
    /// Resting until this instant; the row may be there for a while longer.
    Cooling(Timestamp),
}

/// What a purge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purged {
    /// How many rows were removed.
    pub removed: usize,
    /// How many were looked at.
    pub scanned: usize,
    /// Whether the end of the table was reached: the next purge begins at its start.
    pub wrapped: bool,
}

/// Where the next purge goes on.
#[derive(Debug, Default)]
pub(in crate::ledger) struct PurgeCursor(Mutex<(i32, i32)>);

impl Ledger {
    /// The numbers of a restaurant that are not free, in order.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`], [`LedgerError::Unreadable`].
    pub async fn slots(&self, restaurant: RestaurantId) -> Result<Vec<Slot>, LedgerError> {
        let rows = sqlx::query!(
            "SELECT number, current_order_id, allocated_at, cooldown_expires_at FROM display_order_slots
             WHERE restaurant_id = $1 ORDER BY number",
            restaurant.as_i32()
        )
        .fetch_all(self.single());
        let slot = |number, order: Option<Uuid>, allocated_at: DateTime<Utc>, until: Option<DateTime<Utc>>| {
            Some(Slot {
                number: DisplayNumber::new(number).ok()?,
                state: until.map_or(SlotState::Live, |until| SlotState::Cooling(until.into())),
                order: holder(order).ok()?,
                allocated_at: allocated_at.into(),
            })
        };
        let slots = self.in_time(rows).await?.into_iter().map(|row| {
            slot(row.number.into(), row.current_order_id, row.allocated_at, row.cooldown_expires_at)
                .ok_or_else(|| LedgerError::Unreadable(format!("slot {} of restaurant {restaurant}", row.number)))
        });
        slots.collect()
    }

    /// Until when the number of a final order rests for it; None where it does not.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`].
    pub(crate) async fn rest_of(&self, order: &Order) -> Result<Option<Timestamp>, LedgerError> {
        let until = sqlx::query_scalar!(
            "SELECT cooldown_expires_at FROM display_order_slots
             WHERE restaurant_id = $1 AND number = $2 AND current_order_id = $3",
            order.restaurant().as_i32(),
            order.number.map(DisplayNumber::as_i32),
            order.id.as_uuid()
        )
        .fetch_optional(self.single());
        Ok(self.in_time(until).await?.flatten().map(Into::into))
    }

    /// Removes rows whose cooldown passed more than a minute before `now`, which is Redis's, and a minute ago by this
    /// server's clock too: it cannot be undone, so neither decides alone. Looks at `limit` rows, from where the last call
    /// ended: a walk along the primary key spares releases an index of their own.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`].
    pub async fn purge_slots(&self, now: Timestamp, limit: u32) -> Result<Purged, LedgerError> {
        let (restaurant, number) = self.purge_cursor.get();
        let walked = sqlx::query!(
            r#"WITH scanned AS MATERIALIZED (
                 SELECT restaurant_id, number, cooldown_expires_at FROM display_order_slots
                 WHERE (restaurant_id, number) > ($1, $2) ORDER BY restaurant_id, number LIMIT $3
               ), rested AS MATERIALIZED (
                 SELECT s.restaurant_id, s.number
                 FROM display_order_slots AS s JOIN scanned USING (restaurant_id, number)
                 WHERE scanned.cooldown_expires_at < least($4, clock_timestamp()) - interval '1 minute'
                   AND s.cooldown_expires_at < least($4, clock_timestamp()) - interval '1 minute'
                 FOR UPDATE OF s SKIP LOCKED
               ), removed AS (
                 DELETE FROM display_order_slots AS s USING rested
                 WHERE s.restaurant_id = rested.restaurant_id AND s.number = rested.number
                 RETURNING 1
               ), last AS (
                 SELECT restaurant_id, number FROM scanned ORDER BY restaurant_id DESC, number DESC LIMIT 1
               )
               SELECT (SELECT count(*) FROM removed) AS "removed!", (SELECT count(*) FROM scanned) AS "scanned!",
                      (SELECT restaurant_id FROM last) AS last_restaurant, (SELECT number FROM last) AS last_number"#,
            restaurant,
            number,
            i64::from(limit),
            now.to_datetime()
        )
        .fetch_one(self.single());
        let walked = self.in_time(walked).await?;
        let wrapped = walked.scanned < i64::from(limit);
        let last = walked.last_restaurant.zip(walked.last_number);
        self.purge_cursor.set(last.filter(|_| !wrapped).unwrap_or_default());
        Ok(Purged { removed: count(walked.removed), scanned: count(walked.scanned), wrapped })
    }
}

fn count(rows: i64) -> usize {
    usize::try_from(rows).unwrap_or_default()
}

impl PurgeCursor {
    fn get(&self) -> (i32, i32) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, cursor: (i32, i32)) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = cursor;
    }
}

/// Makes what happened to numbers true in the table, and reports what did not fit.
///
/// Usually one statement, rarely two: each states what the row must be, and answers which keys it touched. Only for the
/// others are rows read, and the changes made one by one.
pub(in crate::ledger) async fn write(
    connection: &mut Session<'_>,
    slots: &[(SlotKey, Vec<SlotChange>)],
) -> Result<Vec<Collision>, LedgerError> {
    let mut plans: HashMap<SlotKey, SlotPlan> =
        slots.iter().filter_map(|(key, changes)| Some((*key, plan(*key, changes)?))).collect();
    let deletes: Vec<(SlotKey, &SlotPlan)> = in_order(slots, &plans).filter(|(_, plan)| plan.delete).collect();
    let untouched = delete(connection, &deletes).await?;
    // Untouched is fine where there is no row, and else a mismatch.
    let mut mismatched: HashMap<SlotKey, Option<SlotRow>> =
        read(connection, &untouched).await?.into_iter().map(|(key, row)| (key, Some(row))).collect();
    plans.retain(|key, _| !mismatched.contains_key(key));

    let writes: Vec<(SlotKey, SlotRow)> =
        in_order(slots, &plans).filter_map(|(key, plan)| Some((key, plan.write?))).collect();
    let refused = upsert(connection, &writes, false).await?;
    for (key, row) in read(connection, &refused).await? {
        mismatched.insert(key, Some(row));
        plans.remove(&key);
    }

    let mut collisions: Vec<Collision> = plans.into_values().flat_map(|plan| plan.collisions).collect();
    if !mismatched.is_empty() {
        collisions.extend(write_one_by_one(connection, slots, &mismatched).await?);
    }
    collisions.sort_unstable();
    collisions.dedup();
    Ok(collisions)
}

/// The plans in the order of the keys, in which all writers lock rows.
fn in_order<'a>(
    slots: &'a [(SlotKey, Vec<SlotChange>)],
    plans: &'a HashMap<SlotKey, SlotPlan>,
) -> impl Iterator<Item = (SlotKey, &'a SlotPlan)> {
    slots.iter().filter_map(|(key, _)| Some((*key, plans.get(key)?)))
}

/// The changes of numbers whose rows are not what they must be, beginning with the rows that are there.
async fn write_one_by_one(
    connection: &mut Session<'_>,
    slots: &[(SlotKey, Vec<SlotChange>)],
    mismatched: &HashMap<SlotKey, Option<SlotRow>>,
) -> Result<Vec<Collision>, LedgerError> {
    let (mut writes, mut deletes, mut collisions) = (Vec::new(), Vec::new(), Vec::new());
    for (key, changes) in slots {
        let Some(row) = mismatched.get(key) else { continue };
        let (after, found) = replay(*key, *row, changes);
        collisions.extend(found);
        match (after, row) {
            (Some(after), _) => writes.push((*key, after)),
            (None, Some(row)) => {
                let plan =
                    SlotPlan { delete: true, write: None, holder: row.order, any_resting: false, collisions: vec![] };
                deletes.push((*key, plan));
            }
            (None, None) => {}
        }
    }
    upsert(connection, &writes, true).await?;
    delete(connection, &deletes.iter().map(|(key, plan)| (*key, plan)).collect::<Vec<_>>()).await?;
    Ok(collisions)
}

/// Deletes the rows that the plans allow, and answers the keys of the others.
async fn delete(connection: &mut Session<'_>, deletes: &[(SlotKey, &SlotPlan)]) -> Result<Vec<SlotKey>, LedgerError> {
    if deletes.is_empty() {
        return Ok(Vec::new());
    }
    let (restaurants, numbers) = key_columns(deletes.iter().map(|(key, _)| *key));
    let holders: Vec<Option<Uuid>> = deletes.iter().map(|(_, plan)| plan.holder.map(|id| id.as_uuid())).collect();
    let any_resting: Vec<bool> = deletes.iter().map(|(_, plan)| plan.any_resting).collect();
    let touched = sqlx::query!(
        "DELETE FROM display_order_slots AS s
         USING unnest($1::int[], $2::int[], $3::uuid[], $4::bool[]) AS d (restaurant_id, number, holder, any_resting)
         WHERE s.restaurant_id = d.restaurant_id AND s.number = d.number
           AND (s.current_order_id IS NOT DISTINCT FROM d.holder OR d.any_resting AND s.status = 'cooling')
         RETURNING s.restaurant_id, s.number",
        &restaurants,
        &numbers,
        &holders as &[Option<Uuid>],
        &any_resting
    )
    .fetch_all(connection)
    .await?;
    let touched = touched.into_iter().map(|row| (row.restaurant_id, row.number));
    Ok(missing(deletes.iter().map(|(key, _)| *key), touched))
}

/// Writes rows, unless a live order of another id is in the way (or in any case, with `force`); answers the keys of
/// those.
async fn upsert(
    connection: &mut Session<'_>,
    writes: &[(SlotKey, SlotRow)],
    force: bool,
) -> Result<Vec<SlotKey>, LedgerError> {
    if writes.is_empty() {
        return Ok(Vec::new());
    }
    let (restaurants, numbers) = key_columns(writes.iter().map(|(key, _)| *key));
    let orders: Vec<Option<Uuid>> = writes.iter().map(|(_, row)| row.order.map(|id| id.as_uuid())).collect();
    let allocated: Vec<DateTime<Utc>> = writes.iter().map(|(_, row)| row.allocated_at.to_datetime()).collect();
    let until: Vec<Option<DateTime<Utc>>> =
        writes.iter().map(|(_, row)| row.until.map(|until| until.to_datetime())).collect();
    let touched = sqlx::query!(
        "INSERT INTO display_order_slots AS s
             (restaurant_id, number, status, current_order_id, allocated_at, cooldown_expires_at)
         SELECT w.restaurant_id, w.number, CASE WHEN w.until IS NULL THEN 'live' ELSE 'cooling' END,
                w.current_order_id, w.allocated_at, w.until
         FROM unnest($1::int[], $2::int[], $3::uuid[], $4::timestamptz[], $5::timestamptz[])
             AS w (restaurant_id, number, current_order_id, allocated_at, until)
         ON CONFLICT (restaurant_id, number) DO UPDATE SET
             status = EXCLUDED.status, current_order_id = EXCLUDED.current_order_id,
             allocated_at = EXCLUDED.allocated_at, cooldown_expires_at = EXCLUDED.cooldown_expires_at
         WHERE $6 OR s.status = 'cooling' OR s.current_order_id = EXCLUDED.current_order_id
         RETURNING s.restaurant_id, s.number",
        &restaurants,
        &numbers,
        &orders as &[Option<Uuid>],
        &allocated,
        &until as &[Option<DateTime<Utc>>],
        force
    )
    .fetch_all(connection)
    .await?;
    let touched = touched.into_iter().map(|row| (row.restaurant_id, row.number));
    Ok(missing(writes.iter().map(|(key, _)| *key), touched))
}

/// The rows of these numbers, where there are any.
async fn read(connection: &mut Session<'_>, keys: &[SlotKey]) -> Result<Vec<(SlotKey, SlotRow)>, LedgerError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let (restaurants, numbers) = key_columns(keys.iter().copied());
    let rows = sqlx::query!(
        "SELECT s.restaurant_id, s.number, s.current_order_id, s.allocated_at, s.cooldown_expires_at
         FROM display_order_slots AS s
         JOIN unnest($1::int[], $2::int[]) AS k (restaurant_id, number) USING (restaurant_id, number)
         FOR UPDATE OF s",
        &restaurants,
        &numbers
    )
    .fetch_all(connection)
    .await?;
    let unreadable = || LedgerError::Unreadable("a row of display_order_slots".to_owned());
    rows.into_iter()
        .map(|row| {
            let restaurant = RestaurantId::new(row.restaurant_id.into()).map_err(|_| unreadable())?;
            let number = DisplayNumber::new(row.number.into()).map_err(|_| unreadable())?;
            let slot = SlotRow {
                order: holder(row.current_order_id).map_err(|_| unreadable())?,
                allocated_at: row.allocated_at.into(),
                until: row.cooldown_expires_at.map(Into::into),
            };
            Ok(((restaurant, number), slot))
        })
        .collect()
}

fn holder(id: Option<Uuid>) -> Result<Option<OrderId>, ForeignId> {
    id.map(OrderId::try_from).transpose()
}

fn key_columns(keys: impl Iterator<Item = SlotKey>) -> (Vec<i32>, Vec<i32>) {
    keys.map(|(restaurant, number)| (restaurant.as_i32(), number.as_i32())).unzip()
}

/// The keys that are not among those touched.
fn missing(keys: impl Iterator<Item = SlotKey>, touched: impl ExactSizeIterator<Item = (i32, i32)>) -> Vec<SlotKey> {
    let keys: Vec<SlotKey> = keys.collect();
    if touched.len() == keys.len() {
        return Vec::new();
    }
    let touched: std::collections::HashSet<(i32, i32)> = touched.collect();
    keys.into_iter().filter(|(restaurant, number)| !touched.contains(&(restaurant.as_i32(), number.as_i32()))).collect()
}
