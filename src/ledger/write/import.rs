//! Back-fill of orders that had ended before they came here: straight into the ledger, past Redis.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use crate::{
    domain::{DisplayNumber, Order, OrderId, Timestamp},
    ledger::{
        Ledger, LedgerError,
        db::{connect::in_task, session::Session},
        tables::{
            months::Month,
            orders::insert_aliases,
            rows::{OrderColumns, insert_new},
        },
    },
};

/// An order that another system has finished.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedOrder {
    /// The order, with an id of ours and a final status; `released_at` is set.
    pub order: Order,
    /// The UUID under which the other system knows it.
    pub foreign_id: Option<Uuid>,
}

/// Who the audit log says imported them.
pub(super) const ACTOR: &str = "backfill";

impl Ledger {
    /// Writes finished orders, all or none, as events of `now`, which is Redis's, and says which were not there yet. An
    /// order whose foreign UUID is known for another id is left out: it has been imported before.
    ///
    /// # Errors
    /// [`LedgerError::Content`] if Postgres refuses one; [`LedgerError::Unreachable`], [`LedgerError::Schema`].
    pub async fn import_finished(
        &self,
        orders: Vec<ImportedOrder>,
        now: Timestamp,
    ) -> Result<Vec<OrderId>, LedgerError> {
        let ledger = self.clone();
        in_task(async move {
            let months = || orders.iter().map(|imported| imported.order.created_at()).chain([now]).map(Month::of);
            ledger.ensure(months()).await?;
            match ledger.transaction(async |transaction| insert(transaction, &orders, now).await).await {
                Err(error) if error.is_missing_month() => {
                    ledger.months.forget();
                    ledger.ensure(months()).await?;
                    ledger.transaction(async |transaction| insert(transaction, &orders, now).await).await
                }
                done => done,
            }
        })
        .await
    }
}

async fn insert(
    connection: &mut Session<'_>,
    orders: &[ImportedOrder],
    now: Timestamp,
) -> Result<Vec<OrderId>, LedgerError> {
    let known = claim_aliases(connection, orders).await?;
    let is_ours = |imported: &ImportedOrder| {
        imported.foreign_id.is_none_or(|foreign_id| known.get(&foreign_id) == Some(&imported.order.id.as_uuid()))
    };
    let mut columns = OrderColumns::default();
    let mut seen = HashSet::new();
    let mut new: Vec<&ImportedOrder> =
        orders.iter().filter(|imported| is_ours(imported) && seen.insert(imported.order.id)).collect();
    new.sort_unstable_by_key(|imported| imported.order.id);
    for imported in &new {
        columns.push(&imported.order, None);
    }
    let inserted = insert_new(connection, &columns).await?;
    new.retain(|imported| inserted.contains(&imported.order.id.as_uuid()));
    insert_events(connection, &new, now).await?;
    Ok(new.iter().map(|imported| imported.order.id).collect())
}

/// Records the foreign UUIDs that are new, and says which id each of them stands for.
async fn claim_aliases(
    connection: &mut Session<'_>,
    orders: &[ImportedOrder],
) -> Result<HashMap<Uuid, Uuid>, LedgerError> {
    let mut aliases: Vec<(Uuid, OrderId)> =
        orders.iter().filter_map(|imported| Some((imported.foreign_id?, imported.order.id))).collect();
    aliases.sort_unstable();
    insert_aliases(connection, &aliases).await?;
    let foreign: Vec<Uuid> = aliases.iter().map(|(foreign_id, _)| *foreign_id).collect();
    let known =
        sqlx::query!("SELECT foreign_id, internal_order_id FROM order_aliases WHERE foreign_id = ANY($1)", &foreign)
            .fetch_all(connection)
            .await?;
    Ok(known.into_iter().map(|alias| (alias.foreign_id, alias.internal_order_id)).collect())
}

/// The audit log's word on each: generation 0, numbered by the ledger itself.
async fn insert_events(
    connection: &mut Session<'_>,
    orders: &[&ImportedOrder],
    now: Timestamp,
) -> Result<(), LedgerError> {
    let partitions = sqlx::query_scalar!("SELECT partitions FROM deployment").fetch_optional(&mut *connection).await?;
    let partitions = partitions.map_or(1, i16::cast_unsigned);
    let of = |imported: &&ImportedOrder| imported.order.restaurant();
    let partition: Vec<i16> = orders.iter().map(|imported| of(imported).partition(partitions).as_i16()).collect();
    let restaurant: Vec<i32> = orders.iter().map(|imported| of(imported).as_i32()).collect();
    let id: Vec<Uuid> = orders.iter().map(|imported| imported.order.id.as_uuid()).collect();
    let number: Vec<Option<i32>> =
        orders.iter().map(|imported| imported.order.number.map(DisplayNumber::as_i32)).collect();
    let status: Vec<&str> = orders.iter().map(|imported| imported.order.status.as_str()).collect();
    let version: Vec<i32> = orders.iter().map(|imported| imported.order.version.cast_signed()).collect();
    let foreign_id: Vec<Option<Uuid>> = orders.iter().map(|imported| imported.foreign_id).collect();
    sqlx::query!(
        "INSERT INTO order_events
             (partition, generation, sequence, occurred_at, kind, restaurant_id, internal_order_id,
              display_order_number, status_after, version, actor, detail)
         SELECT n.partition, 0, nextval('import_sequence'), $1, 'imported', n.restaurant_id, n.id, n.number, n.status,
                n.version, $2,
                CASE WHEN n.foreign_id IS NOT NULL THEN jsonb_build_object('foreign_id', n.foreign_id) END
         FROM unnest($3::smallint[], $4::int[], $5::uuid[], $6::int[], $7::text[], $8::int[], $9::uuid[])
             AS n (partition, restaurant_id, id, number, status, version, foreign_id)",
        now.to_datetime(),
        ACTOR,
        &partition,
        &restaurant,
        &id,
        &number as &[Option<i32>],
        &status as &[&str],
        &version,
        &foreign_id as &[Option<Uuid>]
    )
    .execute(connection)
    .await?;
    Ok(())
}
