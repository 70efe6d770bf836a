//! Orders that an import took, taken again. Only what an import wrote is written over, in one transaction with the event
//! that says so.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use uuid::Uuid;

use crate::{
    domain::{DisplayNumber, Order, OrderId, OrderStatus, Timestamp},
    ledger::{
        Ledger, LedgerError,
        db::{connect::in_task, session::Session},
        tables::{
            months::Month,
            orders::insert_aliases,
            rows::{OrderColumns, upsert},
        },
        write::import::ACTOR,
    },
};

/// An order of the ledger that is to be another one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Replacement {
    /// As it was read; it has ended, and Redis does not have it.
    pub before: Order,
    /// What takes its place.
    pub after: After,
    /// The number as it was shown there, and which one this is.
    pub shown: Option<(String, Option<DisplayNumber>)>,
    /// What the audit log says of it.
    pub detail: Value,
}

/// What takes the place of an order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum After {
    /// This order, of a later version. With another id it is found under the former one, too.
    Ended(Box<Order>),
    /// None: it is live, and Redis is about to get it, under this id.
    Live(OrderId, OrderStatus),
}

impl After {
    fn id(&self) -> OrderId {
        match self {
            Self::Ended(order) => order.id,
            Self::Live(id, _) => *id,
        }
    }

    fn status(&self) -> OrderStatus {
        match self {
            Self::Ended(order) => order.status,
            Self::Live(_, status) => *status,
        }
    }
}

impl Ledger {
    /// Replaces orders, all or none, and says which: those that are another version by now are left.
    ///
    /// # Errors
    /// [`LedgerError::Content`] if Postgres refuses one; [`LedgerError::Unreachable`], [`LedgerError::Schema`].
    pub(crate) async fn replace_imported(
        &self,
        replacements: Vec<Replacement>,
        now: Timestamp,
    ) -> Result<HashSet<OrderId>, LedgerError> {
        let ledger = self.clone();
        in_task(async move {
            let made = replacements.iter().map(|replacement| replacement.after.id().created_at());
            ledger.ensure(made.chain([now]).map(Month::of)).await?;
            ledger.transaction(async |transaction| replace(transaction, &replacements, now).await).await
        })
        .await
    }
}

async fn replace(
    connection: &mut Session<'_>,
    replacements: &[Replacement],
    now: Timestamp,
) -> Result<HashSet<OrderId>, LedgerError> {
    let unchanged = lock(connection, replacements).await?;
    let due: Vec<&Replacement> =
        replacements.iter().filter(|replacement| unchanged.contains(&replacement.before.id)).collect();
    let goes = |replacement: &Replacement| {
        matches!(replacement.after, After::Live(..)) || replacement.after.id() != replacement.before.id
    };
    let gone: Vec<Uuid> =
        due.iter().filter(|replacement| goes(replacement)).map(|replacement| replacement.before.id.as_uuid()).collect();
    if !gone.is_empty() {
        sqlx::query!("DELETE FROM orders WHERE internal_order_id = ANY($1)", &gone).execute(&mut *connection).await?;
    }
    rename(connection, &due).await?;
    let mut ended: Vec<&Order> = due
        .iter()
        .filter_map(|replacement| match &replacement.after {
            After::Ended(order) => Some(&**order),
            After::Live(..) => None,
        })
        .collect();
    ended.sort_unstable_by_key(|order| order.id);
    let mut columns = OrderColumns::default();
    for order in ended {
        columns.push(order, None);
    }
    upsert(connection, &columns).await?;
    insert_events(connection, &due, now).await?;
    Ok(due.iter().map(|replacement| replacement.before.id).collect())
}

/// Keeps others from changing the orders until the end, and says which are as they were read.
async fn lock(connection: &mut Session<'_>, replacements: &[Replacement]) -> Result<HashSet<OrderId>, LedgerError> {
    let versions: HashMap<Uuid, i32> = replacements
        .iter()
        .map(|replacement| (replacement.before.id.as_uuid(), replacement.before.version.cast_signed()))
        .collect();
    let ids: Vec<Uuid> = versions.keys().copied().collect();
    let rows = sqlx::query!(
        "SELECT internal_order_id, version FROM orders WHERE internal_order_id = ANY($1) AND released_at IS NOT NULL
         ORDER BY internal_order_id FOR UPDATE",
        &ids
    )
    .fetch_all(connection)
    .await?;
    let unchanged = rows.into_iter().filter(|row| versions.get(&row.internal_order_id) == Some(&row.version));
    Ok(unchanged.filter_map(|row| OrderId::try_from(row.internal_order_id).ok()).collect())
}

/// Keeps the names of orders that get another id: all that led to the former one, and that one itself, lead to the new one.
async fn rename(connection: &mut Session<'_>, due: &[&Replacement]) -> Result<(), LedgerError> {
    if due.is_empty() {
        return Ok(());
    }
    let ids = |of: fn(&Replacement) -> OrderId| -> Vec<Uuid> {
        due.iter().map(|replacement| of(replacement).as_uuid()).collect()
    };
    let (before, after) = (ids(|replacement| replacement.before.id), ids(|replacement| replacement.after.id()));
    let restaurant: Vec<i32> = due.iter().map(|replacement| replacement.after.id().restaurant().as_i32()).collect();
    let shown: Vec<Option<&str>> =
        due.iter().map(|replacement| replacement.shown.as_ref().map(|(text, _)| text.as_str())).collect();
    let number: Vec<Option<i32>> = due
        .iter()
        .map(|replacement| replacement.shown.as_ref().and_then(|(_, number)| number.map(DisplayNumber::as_i32)))
        .collect();
    sqlx::query!(
        "UPDATE imported_orders AS i
         SET internal_order_id = n.after, restaurant_id = n.restaurant_id, shown_number = n.shown, number = n.number
         FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::int[])
             AS n (before, after, restaurant_id, shown, number)
         WHERE i.internal_order_id = n.before",
        &before,
        &after,
        &restaurant,
        &shown as &[Option<&str>],
        &number as &[Option<i32>]
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE order_aliases AS a SET internal_order_id = n.after
         FROM unnest($1::uuid[], $2::uuid[]) AS n (before, after)
         WHERE a.internal_order_id = n.before AND n.before <> n.after",
        &before,
        &after
    )
    .execute(&mut *connection)
    .await?;
    let mut moved: Vec<(Uuid, OrderId)> = due
        .iter()
        .map(|replacement| (replacement.before.id.as_uuid(), replacement.after.id()))
        .filter(|(before, after)| *before != after.as_uuid())
        .collect();
    moved.sort_unstable();
    insert_aliases(connection, &moved).await
}

/// The audit log's word on each: generation 0, numbered by the ledger itself.
async fn insert_events(connection: &mut Session<'_>, due: &[&Replacement], now: Timestamp) -> Result<(), LedgerError> {
    let partitions = sqlx::query_scalar!("SELECT partitions FROM deployment").fetch_optional(&mut *connection).await?;
    let partitions = partitions.map_or(1, i16::cast_unsigned);
    let of = |replacement: &&Replacement| replacement.after.id().restaurant();
    let partition: Vec<i16> = due.iter().map(|replacement| of(replacement).partition(partitions).as_i16()).collect();
    let restaurant: Vec<i32> = due.iter().map(|replacement| of(replacement).as_i32()).collect();
    let id: Vec<Uuid> = due.iter().map(|replacement| replacement.after.id().as_uuid()).collect();
    let number = |replacement: &&Replacement| match &replacement.after {
        After::Ended(order) => order.number.map(DisplayNumber::as_i32),
        After::Live(..) => None,
    };
    let number: Vec<Option<i32>> = due.iter().map(number).collect();
    let before: Vec<&str> = due.iter().map(|replacement| replacement.before.status.as_str()).collect();
    let after: Vec<&str> = due.iter().map(|replacement| replacement.after.status().as_str()).collect();
    let version: Vec<i32> = due.iter().map(|replacement| replacement.before.version.cast_signed() + 1).collect();
    let detail: Vec<&Value> = due.iter().map(|replacement| &replacement.detail).collect();
    sqlx::query!(
        "INSERT INTO order_events
             (partition, generation, sequence, occurred_at, kind, restaurant_id, internal_order_id,
              display_order_number, status_before, status_after, version, actor, detail)
         SELECT n.partition, 0, nextval('import_sequence'), $1, 'replaced', n.restaurant_id, n.id, n.number, n.before,
                n.after, n.version, $2, n.detail
         FROM unnest($3::smallint[], $4::int[], $5::uuid[], $6::int[], $7::text[], $8::text[], $9::int[], $10::jsonb[])
             AS n (partition, restaurant_id, id, number, before, after, version, detail)",
        now.to_datetime(),
        ACTOR,
        &partition,
        &restaurant,
        &id,
        &number as &[Option<i32>],
        &before as &[&str],
        &after as &[&str],
        &version,
        &detail as &[&Value]
    )
    .execute(connection)
    .await?;
    Ok(())
}
