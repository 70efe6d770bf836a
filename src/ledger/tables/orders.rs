//! Reading orders. Each read is one statement; every list of numbers is walked by its index, newest month first.

use std::collections::HashMap;

use uuid::Uuid;

use super::rows::{OrderRow, into_orders, select_orders};
use crate::{
    domain::{DisplayNumber, Order, OrderId, RestaurantId, Stage, Timestamp},
    ledger::{Ledger, LedgerError, db::session::Session},
};

impl Ledger {
    /// The order with this id.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`], [`LedgerError::Unreadable`]; so for all reads.
    pub async fn order(&self, id: OrderId) -> Result<Option<Order>, LedgerError> {
        let row = select_orders!("FROM orders AS o WHERE o.internal_order_id = $1", id.as_uuid())
            .fetch_optional(self.single());
        self.in_time(row).await?.map(OrderRow::into_order).transpose()
    }

    /// Those of these orders that are known, in no order.
    ///
    /// # Errors
    /// As [`Ledger::order`].
    pub(crate) async fn orders(&self, ids: &[OrderId]) -> Result<Vec<Order>, LedgerError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        let rows =
            select_orders!("FROM orders AS o WHERE o.internal_order_id = ANY($1)", &ids).fetch_all(self.single());
        into_orders(self.in_time(rows).await?)
    }

    /// How far these orders have come, as far as they are known.
    ///
    /// # Errors
    /// As [`Ledger::order`].
    pub(crate) async fn stages(&self, ids: &[OrderId]) -> Result<HashMap<OrderId, Stage>, LedgerError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        let rows = sqlx::query!(
            r#"SELECT internal_order_id, reopenings, released_at IS NOT NULL AS "has_ended!", version
               FROM orders WHERE internal_order_id = ANY($1)"#,
            &ids
        )
        .fetch_all(self.single());
        let rows = self.in_time(rows).await?.into_iter();
        let stage = |reopenings: i32, has_ended, version: i32| Stage {
            reopenings: reopenings.cast_unsigned(),
            has_ended,
            version: version.cast_unsigned(),
        };
        Ok(rows
            .filter_map(|row| {
                let id = OrderId::try_from(row.internal_order_id).ok()?;
                Some((id, stage(row.reopenings, row.has_ended, row.version)))
            })
            .collect())
    }

    /// The id of the order that another system knows by this UUID.
    ///
    /// # Errors
    /// As [`Ledger::order`].
    pub async fn by_alias(&self, foreign_id: Uuid) -> Result<Option<OrderId>, LedgerError> {
        let id = sqlx::query_scalar!("SELECT internal_order_id FROM order_aliases WHERE foreign_id = $1", foreign_id)
            .fetch_optional(self.single());
        let unreadable = |_| LedgerError::Unreadable(format!("alias {foreign_id}"));
        self.in_time(id).await?.map(|id| OrderId::try_from(id).map_err(unreadable)).transpose()
    }

    /// The order that has a number, or had it last.
    ///
    /// # Errors
    /// As [`Ledger::order`].
    pub async fn last_holder(
        &self,
        restaurant: RestaurantId,
        number: DisplayNumber,
    ) -> Result<Option<Order>, LedgerError> {
        self.holder_before(restaurant, number, Uuid::max(), Timestamp::from_unix_ms(Timestamp::MAX_MS)).await
    }

    /// The order that had a number at an instant, or the last one before: the newest to which it was given by then.
    ///
    /// # Errors
    /// As [`Ledger::order`].
    pub async fn holder_at(
        &self,
        restaurant: RestaurantId,
        number: DisplayNumber,
        at: Timestamp,
    ) -> Result<Option<Order>, LedgerError> {
        self.holder_before(restaurant, number, lowest_id_after(at), at).await
    }

    /// An order is made before it is given its number, so those with a later id need not be looked at. Rows from before
    /// `given_at` count by when they were made. Each month's index gives its newest at once.
    async fn holder_before(
        &self,
        restaurant: RestaurantId,
        number: DisplayNumber,
        bound: Uuid,
        at: Timestamp,
    ) -> Result<Option<Order>, LedgerError> {
        let row = select_orders!(
            "FROM orders AS o
             WHERE o.internal_order_id = (
                 SELECT internal_order_id FROM orders
                 WHERE restaurant_id = $1 AND display_order_number = $2 AND internal_order_id < $3
                   AND coalesce(given_at, created_at) <= $4
                 ORDER BY coalesce(given_at, created_at) DESC, internal_order_id DESC LIMIT 1)",
            restaurant.as_i32(),
            number.as_i32(),
            bound,
            at.to_datetime()
        )
        .fetch_optional(self.single());
        self.in_time(row).await?.map(OrderRow::into_order).transpose()
    }

    /// The orders of a restaurant that hold a number, oldest first, as far as they are durable.
    ///
    /// # Errors
    /// As [`Ledger::order`].
    pub async fn live_orders(&self, restaurant: RestaurantId) -> Result<Vec<Order>, LedgerError> {
        let rows = select_orders!(
            "FROM display_order_slots AS s JOIN orders AS o ON o.internal_order_id = s.current_order_id
             WHERE s.restaurant_id = $1 AND s.status = 'live' ORDER BY o.internal_order_id",
            restaurant.as_i32()
        )
        .fetch_all(self.single());
        into_orders(self.in_time(rows).await?)
    }
}

/// Two orders that had one number at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overlap {
    /// The number.
    pub number: DisplayNumber,
    /// The order that got it later.
    pub order: OrderId,
    /// The one that still had it.
    pub other: OrderId,
    /// When the later one got it.
    pub at: Timestamp,
}

impl Ledger {
    /// Overlapping lives among the latest orders of a restaurant that were given their numbers here: a life is from when the
    /// number was given to when it was released; of those that began at one instant, those that ended there come first.
    /// Orders that were lost once do not count: meanwhile, others may have got their numbers. So only those are looked at
    /// whose events are all kept.
    ///
    /// # Errors
    /// As [`Ledger::order`].
    pub(crate) async fn overlapping_lives(
        &self,
        restaurant: RestaurantId,
        orders: u32,
    ) -> Result<Vec<Overlap>, LedgerError> {
        let rows = sqlx::query!(
            r#"WITH logged AS (
                 SELECT min(to_date(substring(relname::text FROM '_y(\d{4}m\d{2})$'), 'YYYY"m"MM'))::timestamp
                        AT TIME ZONE 'UTC' AS since
                 FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
                 WHERE inhparent = 'order_events'::regclass AND relname ~ '_y\d{4}m\d{2}$'
               ), latest AS (
                 SELECT internal_order_id, display_order_number, given_at, released_at FROM orders
                 WHERE restaurant_id = $1 AND sequence > 0 AND given_at >= (SELECT since FROM logged)
                 ORDER BY internal_order_id DESC LIMIT $2
               ), lives AS (
                 SELECT *, lag(internal_order_id) OVER life AS other, lag(coalesce(released_at, 'infinity')) OVER life AS ended
                 FROM latest
                 WINDOW life AS (
                   PARTITION BY display_order_number
                   ORDER BY given_at, coalesce(released_at, 'infinity'), internal_order_id)
               )
               SELECT display_order_number AS "number!", internal_order_id, other AS "other!", given_at AS "given_at!"
               FROM lives WHERE ended > given_at AND NOT EXISTS (
                   SELECT FROM order_events AS e
                   WHERE e.internal_order_id IN (lives.internal_order_id, other) AND e.kind = 'restated'
                     AND e.restaurant_id = $1)
               ORDER BY given_at LIMIT 100"#,
            restaurant.as_i32(),
            i64::from(orders)
        )
        .fetch_all(self.single());
        let unreadable = || LedgerError::Unreadable(format!("an order of restaurant {restaurant}"));
        let overlaps = self.in_time(rows).await?.into_iter().map(|row| {
            Ok(Overlap {
                number: DisplayNumber::new(row.number.into()).map_err(|_| unreadable())?,
                order: OrderId::try_from(row.internal_order_id).map_err(|_| unreadable())?,
                other: OrderId::try_from(row.other).map_err(|_| unreadable())?,
                at: row.given_at.into(),
            })
        });
        overlaps.collect()
    }
}

/// The lowest id of all that are made after this instant.
pub(in crate::ledger) fn lowest_id_after(at: Timestamp) -> Uuid {
    match at.unix_ms() {
        Timestamp::MAX_MS => Uuid::max(),
        _ => lowest_id(at.plus_ms(1)),
    }
}

/// The lowest id of all that are made at this instant or after it.
pub(in crate::ledger) fn lowest_id(at: Timestamp) -> Uuid {
    Uuid::from_u64_pair(at.unix_ms().cast_unsigned() << 16, 0)
}

/// Records under which UUIDs other systems know orders; one that is taken stays as it is.
pub(in crate::ledger) async fn insert_aliases(
    connection: &mut Session<'_>,
    aliases: &[(Uuid, OrderId)],
) -> Result<(), LedgerError> {
    if aliases.is_empty() {
        return Ok(());
    }
    let (foreign, ours): (Vec<Uuid>, Vec<Uuid>) = aliases.iter().map(|(foreign, id)| (*foreign, id.as_uuid())).unzip();
    sqlx::query!(
        "INSERT INTO order_aliases (foreign_id, internal_order_id) SELECT * FROM unnest($1::uuid[], $2::uuid[])
         ON CONFLICT (foreign_id) DO NOTHING",
        &foreign,
        &ours
    )
    .execute(connection)
    .await?;
    Ok(())
}
