//! What a rebuild of Redis reads: every restaurant's pool as the ledger knows it.

use std::collections::HashMap;

use chrono::NaiveDate;
use uuid::Uuid;

use crate::{
    domain::{
        BusinessDay, DisplayNumber, IdempotencyDigest, Order, OrderId, PartitionId, PoolImage, PoolSettings, RangeId,
        Reset, RestaurantId, SettingsChange, Timestamp,
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
        let give_way = settings.iter().filter(|settings| settings.settings.cooldown_min_seconds.is_some());
        let mut odd = self.odd_cooldowns(give_way).await?;
        let mut keys = self.keys_by_restaurant(&ids, keys_since).await?;
        let mut days = self.business_dates(&ids).await?;
        let mut given = self.last_given(&ids).await?;
        let images = settings.into_iter().map(|settings| {
            let restaurant = settings.restaurant;
            let business_day = days.remove(&restaurant).unwrap_or_default();
            let given = given.remove(&restaurant).unwrap_or_default();
            let last_given = rings(given, &settings.settings, business_day.day);
            PoolImage {
                settings,
                live: live.remove(&restaurant).unwrap_or_default(),
                cooling: slots.remove(&restaurant).unwrap_or_default(),
                odd_cooldowns: odd.remove(&restaurant).unwrap_or_default(),
                last_given,
                business_day,
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

    async fn rests_by_restaurant(
        &self,
        restaurants: &[i32],
    ) -> Result<HashMap<RestaurantId, Vec<(Timestamp, DisplayNumber)>>, LedgerError> {
        let rows = sqlx::query!(
            r#"SELECT restaurant_id, number, cooldown_expires_at AS "until!" FROM display_order_slots
               WHERE restaurant_id = ANY($1) AND cooldown_expires_at IS NOT NULL"#,
            restaurants
        )
        .fetch_all(self.single());
        let mut rests: HashMap<RestaurantId, Vec<_>> = HashMap::new();
        for row in self.in_time(rows).await? {
            let unreadable = || LedgerError::Unreadable(format!("slot {} of {}", row.number, row.restaurant_id));
            let restaurant = RestaurantId::new(row.restaurant_id.into()).map_err(|_| unreadable())?;
            let number = DisplayNumber::new(row.number.into()).map_err(|_| unreadable())?;
            rests.entry(restaurant).or_default().push((row.until.into(), number));
        }
        Ok(rests)
    }

    /// With what cooldown numbers rest, where it is another one than the settings have.
    async fn odd_cooldowns(
        &self,
        settings: impl Iterator<Item = &SettingsChange>,
    ) -> Result<HashMap<RestaurantId, HashMap<DisplayNumber, u32>>, LedgerError> {
        let (ids, cooldowns): (Vec<i32>, Vec<i32>) = settings
            .map(|settings| (settings.restaurant.as_i32(), settings.settings.cooldown_seconds.cast_signed()))
            .unzip();
        let mut odd: HashMap<RestaurantId, HashMap<_, _>> = HashMap::new();
        if ids.is_empty() {
            return Ok(odd);
        }
        let rows = sqlx::query!(
            "SELECT s.restaurant_id, s.number, o.cooldown_seconds
             FROM unnest($1::int[], $2::int[]) AS n (restaurant_id, cooldown_seconds)
             JOIN display_order_slots AS s ON s.restaurant_id = n.restaurant_id
             JOIN orders AS o ON o.internal_order_id = s.current_order_id
             WHERE s.cooldown_expires_at IS NOT NULL AND o.cooldown_seconds <> n.cooldown_seconds",
            &ids,
            &cooldowns
        )
        .fetch_all(self.single());
        for row in self.in_time(rows).await? {
            let unreadable = || LedgerError::Unreadable(format!("slot {} of {}", row.number, row.restaurant_id));
            let restaurant = RestaurantId::new(row.restaurant_id.into()).map_err(|_| unreadable())?;
            let number = DisplayNumber::new(row.number.into()).map_err(|_| unreadable())?;
            odd.entry(restaurant).or_default().insert(number, row.cooldown_seconds.cast_unsigned());
        }
        Ok(odd)
    }

    /// The numbers that the rings gave last: those of the newest orders that have or had a number that is not free. Numbers
    /// that rest without an order were not given, and are passed over since they rest; what was asked for, or reserved,
    /// did not move a ring.
    async fn last_given(&self, restaurants: &[i32]) -> Result<HashMap<RestaurantId, Vec<Given>>, LedgerError> {
        let rows = sqlx::query!(
            "SELECT DISTINCT ON (s.restaurant_id, o.number_range)
                 s.restaurant_id, o.number_range, s.number, o.business_date
             FROM display_order_slots AS s JOIN orders AS o ON o.internal_order_id = s.current_order_id
             WHERE s.restaurant_id = ANY($1)
               AND coalesce(o.number_choice, '') NOT IN ('wished', 'reserved')
             ORDER BY s.restaurant_id, o.number_range, coalesce(o.given_at, o.created_at) DESC, o.internal_order_id DESC",
            restaurants
        )
        .fetch_all(self.single());
        let mut given: HashMap<RestaurantId, Vec<_>> = HashMap::new();
        for row in self.in_time(rows).await? {
            let unreadable = || LedgerError::Unreadable(format!("slot {} of {}", row.number, row.restaurant_id));
            let restaurant = RestaurantId::new(row.restaurant_id.into()).map_err(|_| unreadable())?;
            let number = DisplayNumber::new(row.number.into()).map_err(|_| unreadable())?;
            let range = row.number_range.map(|id| id.parse()).transpose().map_err(|_| unreadable())?;
            given.entry(restaurant).or_default().push(Given { range, number, date: row.business_date });
        }
        Ok(given)
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

/// A number that a ring gave last.
struct Given {
    range: Option<RangeId>,
    number: DisplayNumber,
    /// The business date of its order.
    date: Option<NaiveDate>,
}

/// Where the rings go on. Where they begin anew with each business date, what was given before the present one says nothing.
fn rings(
    mut given: Vec<Given>,
    settings: &PoolSettings,
    present: Option<BusinessDay>,
) -> Vec<(Option<RangeId>, DisplayNumber)> {
    let day = &settings.business_day;
    let mut first = None;
    if day.reset == Reset::Daily {
        given.retain(|given| given.date.is_some() && given.date == present.map(|day| day.date));
        let before_first = |first: u32| DisplayNumber::new(i64::from(first) - 1).ok();
        if given.iter().all(|given| given.range.is_some()) {
            first = day.first_number.and_then(before_first).map(|number| (None, number));
        }
    }
    given.into_iter().map(|given| (given.range, given.number)).chain(first).collect()
}
