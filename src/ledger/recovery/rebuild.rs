//! What a rebuild of Redis reads: every restaurant's pool as the ledger knows it.

use std::collections::HashMap;

use uuid::Uuid;

use crate::{
    domain::{
        DisplayNumber, IdempotencyDigest, Order, OrderId, PartitionId, PoolImage, RestaurantId, SettingsChange,
        Timestamp,
    },
    ledger::{
        Ledger, LedgerError,
        tables::{
            orders::lowest_id,
            rows::{into_orders, select_orders},
        },
    },
};

impl Ledger {
    /// The pools of the restaurants that have these settings, with the idempotency keys used since an instant.
    ///
    /// A rebuild may take its time over it, so each statement is about the restaurants given only: pass some dozens.
    ///
    /// # Errors
    /// As [`Ledger::order`].
    pub async fn pool_images(
        &self,
        settings: Vec<SettingsChange>,
        keys_since: Timestamp,
    ) -> Result<Vec<PoolImage>, LedgerError> {
        let ids: Vec<i32> = settings.iter().map(|settings| settings.restaurant.as_i32()).collect();
        let mut live = self.live_by_restaurant(&ids).await?;
        let mut slots = self.rests_by_restaurant(&ids).await?;
        let mut keys = self.keys_by_restaurant(&ids, keys_since).await?;
        let images = settings.into_iter().map(|settings| {
            let restaurant = settings.restaurant;
            let Rests { cooling, last_given } = slots.remove(&restaurant).unwrap_or_default();
            PoolImage {
                settings,
                live: live.remove(&restaurant).unwrap_or_default(),
                cooling,
                last_given: last_given.map(|(_, number)| number),
                keys: keys.remove(&restaurant).unwrap_or_default(),
            }
        });
        Ok(images.collect())
    }

    async fn live_by_restaurant(&self, restaurants: &[i32]) -> Result<HashMap<RestaurantId, Vec<Order>>, LedgerError> {
        let rows = select_orders!(
            "FROM display_order_slots AS s JOIN orders AS o ON o.internal_order_id = s.current_order_id
             WHERE s.restaurant_id = ANY($1) AND s.status = 'live' AND o.released_at IS NULL
               AND o.display_order_number = s.number",
            restaurants
        )
        .fetch_all(self.single());
        let mut live: HashMap<RestaurantId, Vec<Order>> = HashMap::new();
        for order in into_orders(self.in_time(rows).await?)? {
            live.entry(order.restaurant()).or_default().push(order);
        }
        Ok(live)
    }

    async fn rests_by_restaurant(&self, restaurants: &[i32]) -> Result<HashMap<RestaurantId, Rests>, LedgerError> {
        let rows = sqlx::query!(
            "SELECT restaurant_id, number, current_order_id, cooldown_expires_at FROM display_order_slots
             WHERE restaurant_id = ANY($1)",
            restaurants
        )
        .fetch_all(self.single());
        let mut rests: HashMap<RestaurantId, Rests> = HashMap::new();
        for row in self.in_time(rows).await? {
            let unreadable = || LedgerError::Unreadable(format!("slot {} of {}", row.number, row.restaurant_id));
            let restaurant = RestaurantId::new(row.restaurant_id.into()).map_err(|_| unreadable())?;
            let number = DisplayNumber::new(row.number.into()).map_err(|_| unreadable())?;
            let of = rests.entry(restaurant).or_default();
            // Numbers that rest without an order were not given, and are passed over since they rest.
            if let Some(order) = row.current_order_id {
                let order = OrderId::try_from(order).map_err(|_| unreadable())?;
                of.last_given = of.last_given.max(Some((order, number)));
            }
            if let Some(until) = row.cooldown_expires_at {
                of.cooling.push((until.into(), number));
            }
        }
        Ok(rests)
    }

    async fn keys_by_restaurant(
        &self,
        restaurants: &[i32],
        since: Timestamp,
    ) -> Result<HashMap<RestaurantId, Vec<(IdempotencyDigest, OrderId)>>, LedgerError> {
        let rows = sqlx::query!(
            r#"SELECT internal_order_id, idempotency_key AS "key!", idempotency_body AS "body!" FROM orders
               WHERE restaurant_id = ANY($1) AND internal_order_id >= $2 AND idempotency_key IS NOT NULL"#,
            restaurants,
            lowest_id(since)
        )
        .fetch_all(self.single());
        let mut keys: HashMap<RestaurantId, Vec<_>> = HashMap::new();
        for row in self.in_time(rows).await? {
            let unreadable = |_| LedgerError::Unreadable(format!("idempotency key of {}", row.internal_order_id));
            let key = row.key.as_slice().try_into().map_err(unreadable)?;
            let body = row.body.as_slice().try_into().map_err(unreadable)?;
            let Ok(id) = OrderId::try_from(row.internal_order_id) else { continue };
            keys.entry(id.restaurant()).or_default().push((IdempotencyDigest { key, body }, id));
        }
        Ok(keys)
    }

    /// Of the latest events of a generation, at most `count` up to `last`: how many are neither in the audit log nor
    /// among the dead letters.
    ///
    /// # Errors
    /// As [`Ledger::order`].
    pub(crate) async fn missing_events(
        &self,
        partition: PartitionId,
        generation: u64,
        last: u64,
        count: u64,
    ) -> Result<u64, LedgerError> {
        let row = sqlx::query!(
            r#"WITH first AS (
                 -- None where the generation has no event yet.
                 SELECT CASE WHEN min(sequence) IS NOT NULL THEN greatest($3::bigint - $4::bigint, min(sequence) - 1)
                        END AS before
                 FROM order_events WHERE partition = $1 AND generation = $2
               )
               SELECT coalesce($3 - first.before, 0) AS "expected!",
                   (SELECT count(*) FROM order_events AS e WHERE e.partition = $1 AND e.generation = $2
                        AND e.sequence > first.before AND e.sequence <= $3)
                   + (SELECT count(*) FROM dead_letters AS d WHERE d.partition = $1 AND d.generation = $2
                        AND d.sequence > first.before AND d.sequence <= $3) AS "found!"
               FROM first"#,
            partition.as_i16(),
            generation.cast_signed(),
            last.cast_signed(),
            count.cast_signed()
        )
        .fetch_one(self.single());
        let row = self.in_time(row).await?;
        Ok(u64::try_from(row.expected - row.found).unwrap_or(0))
    }

    /// How many orders each restaurant created in the minute before the newest order of all: it may be long ago.
    ///
    /// # Errors
    /// As [`Ledger::order`].
    pub(crate) async fn orders_of_last_minute(&self) -> Result<HashMap<RestaurantId, u32>, LedgerError> {
        let newest =
            sqlx::query_scalar!("SELECT internal_order_id FROM orders ORDER BY internal_order_id DESC LIMIT 1")
                .fetch_optional(self.single());
        let Some(newest) = self.in_time(newest).await? else { return Ok(HashMap::new()) };
        let unreadable = |_| LedgerError::Unreadable("the id of the newest order".to_owned());
        let newest = OrderId::try_from(newest).map_err(unreadable)?;
        let since: Uuid = lowest_id(newest.created_at().plus_ms(-60_000));
        let rows = sqlx::query!(
            r#"SELECT restaurant_id, count(*) AS "orders!" FROM orders WHERE internal_order_id >= $1 GROUP BY 1"#,
            since
        )
        .fetch_all(self.single());
        let counted = self.in_time(rows).await?.into_iter().filter_map(|row| {
            let restaurant = RestaurantId::new(row.restaurant_id.into()).ok()?;
            Some((restaurant, u32::try_from(row.orders).unwrap_or(u32::MAX)))
        });
        Ok(counted.collect())
    }
}

/// What the slots of a restaurant say beside its live orders.
#[derive(Default)]
struct Rests {
    cooling: Vec<(Timestamp, DisplayNumber)>,
    /// The newest order that has or had a number that is not free: ids begin with their time.
    last_given: Option<(OrderId, DisplayNumber)>,
}
