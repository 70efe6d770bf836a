//! What a rehearsal reads: the events of a restaurant, as far as numbers are concerned, and its pool at an instant.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    domain::{
        Choice, DisplayNumber, EventPosition, OrderId, OrderSource, OrderStatus, OrderType, PoolSettings, RangeId,
        RestaurantId, Timestamp,
        model::{Happening, LastGiven, LastOrder, MadeOrder, SetDate, StartingPool, What},
    },
    ledger::{
        Ledger, LedgerError,
        tables::{orders::lowest_id, rows::from_name},
    },
};

/// An order's id has its time from a daemon, its events theirs from Redis.
const CLOCKS_DIFFER_MS: i64 = 86_400_000;

/// Among so many of the latest orders those are looked for that moved a ring last.
const LATEST_ORDERS: i64 = 20_000;

/// Events of a restaurant in a row.
#[derive(Debug, Default)]
pub(crate) struct HappeningPart {
    /// What happened.
    pub happenings: Vec<Happening>,
    /// The last event that was read, where there may be more behind it.
    pub read_up_to: Option<EventPosition>,
}

impl Ledger {
    /// The events of a restaurant that moved numbers, from a position up to an instant; at most so many.
    ///
    /// # Errors
    /// As [`Ledger::order`].
    pub(crate) async fn happenings(
        &self,
        restaurant: RestaurantId,
        after: EventPosition,
        to: Timestamp,
        limit: i64,
    ) -> Result<HappeningPart, LedgerError> {
        let rows = sqlx::query_as!(
            HappeningRow,
            r#"SELECT occurred_at, generation, sequence, kind, internal_order_id, display_order_number, status_after, detail
               FROM order_events
               WHERE restaurant_id = $1 AND occurred_at >= $2 AND occurred_at < $5
                 AND (occurred_at, generation, sequence) > ($2, $3, $4) AND kind <> 'changed'
               ORDER BY occurred_at, generation, sequence LIMIT $6"#,
            restaurant.as_i32(),
            after.at.to_datetime(),
            after.generation.cast_signed(),
            after.sequence.cast_signed(),
            to.to_datetime(),
            limit
        )
        .fetch_all(self.single());
        let rows = self.in_time(rows).await?;
        let is_full = i64::try_from(rows.len()) == Ok(limit);
        let read_up_to = rows.last().filter(|_| is_full).map(HappeningRow::position);
        Ok(HappeningPart { happenings: self.happenings_of(rows).await?, read_up_to })
    }

    /// The pool of a restaurant as it was at an instant. `present` are its settings now.
    ///
    /// # Errors
    /// As [`Ledger::order`].
    pub(crate) async fn pool_at(
        &self,
        restaurant: RestaurantId,
        at: Timestamp,
        present: &PoolSettings,
    ) -> Result<StartingPool, LedgerError> {
        let settings = self.settings_at(restaurant, at).await?.unwrap_or_else(|| present.clone());
        // An order is live for its active window at most, but for the time until clean-up comes; and then its number rests.
        let lasts = [&settings, present].map(|known| known.active_window_seconds + known.cooldown_seconds);
        let lasts_ms = i64::from(lasts[0].max(lasts[1])) * 1000;
        let last_order = self.last_order_before(restaurant, at).await?;
        let last_given = self.last_given_before(restaurant, at).await?;
        let mut before = self.happenings_of_holders(restaurant, at, lasts_ms).await?;
        let mut date_set = None;
        for happening in self.rare_happenings(restaurant, at).await? {
            match happening.what {
                What::DateSet(set) => date_set = Some((happening.at, set)),
                What::Rested { until, .. } if until > at => before.push(happening),
                _ => {}
            }
        }
        before.sort_by_key(|happening| happening.at);
        Ok(StartingPool { settings, before, last_given, last_order, date_set })
    }

    /// The settings as they were, by the last change before, or by the first one since; None where there is none.
    async fn settings_at(&self, restaurant: RestaurantId, at: Timestamp) -> Result<Option<PoolSettings>, LedgerError> {
        let found = sqlx::query_scalar!(
            r#"SELECT settings AS "settings!" FROM (
                 (SELECT 0 AS place, CASE WHEN detail ? 'after' THEN detail->'after' ELSE detail END AS settings
                  FROM order_events
                  WHERE restaurant_id = $1 AND occurred_at < $2 AND kind = 'configured'
                    AND (kind NOT IN ('created', 'changed', 'released') OR actor IN ('cleanup', 'recovery', 'backfill'))
                  ORDER BY occurred_at DESC, generation DESC, sequence DESC LIMIT 1)
                 UNION ALL
                 (SELECT 1, CASE WHEN detail ? 'after' THEN coalesce(nullif(detail->'before', 'null'), detail->'after')
                           ELSE detail END
                  FROM order_events
                  WHERE restaurant_id = $1 AND occurred_at >= $2 AND kind = 'configured'
                    AND (kind NOT IN ('created', 'changed', 'released') OR actor IN ('cleanup', 'recovery', 'backfill'))
                  ORDER BY occurred_at, generation, sequence LIMIT 1)
               ) AS known ORDER BY place LIMIT 1"#,
            restaurant.as_i32(),
            at.to_datetime()
        )
        .fetch_optional(self.single());
        let unreadable = |_| LedgerError::Unreadable(format!("former settings of restaurant {restaurant}"));
        self.in_time(found).await?.map(|json| serde_json::from_value(json).map_err(unreadable)).transpose()
    }

    async fn last_order_before(
        &self,
        restaurant: RestaurantId,
        at: Timestamp,
    ) -> Result<Option<LastOrder>, LedgerError> {
        let row = sqlx::query!(
            r#"WITH latest AS (
                 SELECT coalesce(given_at, created_at) AS at, business_date, daily_sequence FROM orders
                 WHERE restaurant_id = $1 AND internal_order_id < $2 AND display_order_number IS NOT NULL
                   AND coalesce(given_at, created_at) < $3
                 ORDER BY internal_order_id DESC LIMIT $4)
               SELECT at AS "at!", business_date, (SELECT min(business_date) FROM latest) AS first_date
               FROM latest ORDER BY at DESC, business_date DESC NULLS LAST, daily_sequence DESC NULLS LAST LIMIT 1"#,
            restaurant.as_i32(),
            lowest_id(at.plus_ms(CLOCKS_DIFFER_MS)),
            at.to_datetime(),
            LATEST_ORDERS
        )
        .fetch_optional(self.single());
        let row = self.in_time(row).await?;
        Ok(row.map(|row| LastOrder {
            at: row.at.into(),
            date: row.business_date,
            is_of_first_date: row.first_date == row.business_date,
        }))
    }

    /// The numbers that the rings gave last: what was asked for, or reserved, did not move one.
    async fn last_given_before(&self, restaurant: RestaurantId, at: Timestamp) -> Result<Vec<LastGiven>, LedgerError> {
        let rows = sqlx::query!(
            r#"SELECT DISTINCT ON (number_range) number_range, display_order_number AS "number!", business_date FROM (
                 SELECT number_range, number_choice, display_order_number, business_date, daily_sequence,
                        coalesce(given_at, created_at) AS at FROM orders
                 WHERE restaurant_id = $1 AND internal_order_id < $2 AND display_order_number IS NOT NULL
                   AND coalesce(given_at, created_at) < $3
                 ORDER BY internal_order_id DESC LIMIT $4) AS latest
               WHERE coalesce(number_choice, '') NOT IN ('wished', 'reserved')
               ORDER BY number_range, at DESC, business_date DESC NULLS LAST, daily_sequence DESC NULLS LAST"#,
            restaurant.as_i32(),
            lowest_id(at.plus_ms(CLOCKS_DIFFER_MS)),
            at.to_datetime(),
            LATEST_ORDERS
        )
        .fetch_all(self.single());
        let given = self.in_time(rows).await?.into_iter().map(|row| {
            let number = DisplayNumber::new(row.number.into()).ok();
            let range = row.number_range.map(|id| id.parse()).transpose().ok();
            let unreadable = || LedgerError::Unreadable(format!("number {} of restaurant {restaurant}", row.number));
            let (number, range) = number.zip(range).ok_or_else(unreadable)?;
            Ok(LastGiven { range, number, date: row.business_date })
        });
        given.collect()
    }

    /// What had happened to the orders that may have held a number then, or whose number may have rested: those that were
    /// created within `lasts_ms` before, and all that are live now.
    async fn happenings_of_holders(
        &self,
        restaurant: RestaurantId,
        at: Timestamp,
        lasts_ms: i64,
    ) -> Result<Vec<Happening>, LedgerError> {
        let rows = sqlx::query_as!(
            HappeningRow,
            r#"WITH holders AS (
                 SELECT internal_order_id FROM orders
                 WHERE restaurant_id = $1 AND internal_order_id >= $2 AND internal_order_id < $3
                   AND display_order_number IS NOT NULL
                   AND (released_at IS NULL OR released_at + make_interval(secs => cooldown_seconds) > $4)
                 UNION
                 SELECT current_order_id FROM display_order_slots WHERE restaurant_id = $1 AND status = 'live')
               SELECT occurred_at, generation, sequence, kind, e.internal_order_id, display_order_number, status_after,
                      detail
               FROM holders JOIN order_events AS e ON e.internal_order_id = holders.internal_order_id
               WHERE occurred_at < $4 AND kind <> 'changed'
               ORDER BY occurred_at, generation, sequence"#,
            restaurant.as_i32(),
            lowest_id(at.plus_ms(-lasts_ms - CLOCKS_DIFFER_MS)),
            lowest_id(at.plus_ms(CLOCKS_DIFFER_MS)),
            at.to_datetime()
        )
        .fetch_all(self.single());
        let rows = self.in_time(rows).await?;
        self.happenings_of(rows).await
    }

    /// The last business date that was set by hand, and the numbers that were put to rest without an order.
    async fn rare_happenings(&self, restaurant: RestaurantId, at: Timestamp) -> Result<Vec<Happening>, LedgerError> {
        let longest_rest = at.plus_ms(-31 * 86_400_000);
        let rows = sqlx::query_as!(
            HappeningRow,
            "SELECT occurred_at, generation, sequence, kind, internal_order_id, display_order_number, status_after, detail
             FROM order_events
             WHERE restaurant_id = $1 AND occurred_at >= $2 AND occurred_at < $3
               AND kind IN ('business_date_set', 'restated') AND internal_order_id IS NULL
               AND (kind NOT IN ('created', 'changed', 'released') OR actor IN ('cleanup', 'recovery', 'backfill'))
             ORDER BY occurred_at, generation, sequence",
            restaurant.as_i32(),
            longest_rest.to_datetime(),
            at.to_datetime()
        )
        .fetch_all(self.single());
        let rows = self.in_time(rows).await?;
        self.happenings_of(rows).await
    }

    /// How often orders of a restaurant were refused since nothing was free: by its samples, and by the hours of which there is
    /// none any more; each of these counts where its middle lies. None where neither is there.
    ///
    /// # Errors
    /// As [`Ledger::usage_series`].
    pub(crate) async fn exhaustions(
        &self,
        restaurant: RestaurantId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Option<u64>, LedgerError> {
        let sum = sqlx::query_scalar!(
            "SELECT sum(exhaustions) FROM (
                 SELECT exhaustions FROM slot_usage WHERE restaurant_id = $1 AND sampled_at >= $2 AND sampled_at < $3
                 UNION ALL
                 SELECT exhaustions FROM slot_usage_hourly AS h
                 WHERE restaurant_id = $1 AND hour >= $2::timestamptz - interval '30 minutes'
                   AND hour < $3::timestamptz - interval '30 minutes'
                   AND NOT EXISTS (SELECT FROM slot_usage AS s WHERE s.restaurant_id = $1 AND s.sampled_at >= h.hour
                                     AND s.sampled_at < h.hour + interval '1 hour')) AS parts",
            restaurant.as_i32(),
            from.to_datetime(),
            to.to_datetime()
        )
        .fetch_one(self.single());
        Ok(self.in_time(sum).await?.and_then(|sum| u64::try_from(sum).ok()))
    }

    async fn happenings_of(&self, rows: Vec<HappeningRow>) -> Result<Vec<Happening>, LedgerError> {
        let orders = self.orders_as_made(&rows).await?;
        rows.into_iter().filter_map(|row| row.parse(&orders).transpose()).collect()
    }

    /// The orders that get their number in these events, as they were then.
    async fn orders_as_made(&self, rows: &[HappeningRow]) -> Result<HashMap<Uuid, OrderRow>, LedgerError> {
        let made = rows.iter().filter(|row| row.gives_number()).filter_map(|row| row.internal_order_id);
        let mut ids: Vec<Uuid> = made.collect();
        ids.sort_unstable();
        ids.dedup();
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return Ok(HashMap::new()) };
        let orders = sqlx::query_as!(
            OrderRow,
            "SELECT internal_order_id, table_number, order_source, order_type, number_range, number_choice, cooldown_seconds
             FROM orders WHERE internal_order_id = ANY($1) AND internal_order_id >= $2 AND internal_order_id <= $3",
            &ids,
            first,
            last
        )
        .fetch_all(self.single());
        let orders = self.in_time(orders).await?.into_iter();
        let mut orders: HashMap<Uuid, OrderRow> = orders.map(|order| (order.internal_order_id, order)).collect();
        // The first change of a field says what it held before.
        let since = OrderId::try_from(*first).map_or(Timestamp::from_unix_ms(0), |id| id.created_at());
        let changes = sqlx::query!(
            r#"SELECT internal_order_id AS "id!", detail->'changes' AS "changes!" FROM order_events
               WHERE internal_order_id = ANY($1) AND occurred_at >= $2
                 AND detail->'changes' ?| array['table_number', 'order_source', 'order_type']
               ORDER BY occurred_at DESC, generation DESC, sequence DESC"#,
            &ids,
            since.plus_ms(-CLOCKS_DIFFER_MS).to_datetime()
        )
        .fetch_all(self.single());
        for change in self.in_time(changes).await? {
            if let Some(order) = orders.get_mut(&change.id) {
                order.undo(&change.changes);
            }
        }
        Ok(orders)
    }
}

/// An order, as far as its number depends on it.
struct OrderRow {
    internal_order_id: Uuid,
    table_number: Option<String>,
    order_source: Option<String>,
    order_type: Option<String>,
    number_range: Option<String>,
    number_choice: Option<String>,
    cooldown_seconds: i32,
}

impl OrderRow {
    /// As it was before `{"table_number": ["old", "new"]}`.
    fn undo(&mut self, changes: &Value) {
        let fields = [
            ("table_number", &mut self.table_number),
            ("order_source", &mut self.order_source),
            ("order_type", &mut self.order_type),
        ];
        for (name, field) in fields {
            if let Some(before) = changes.get(name).and_then(|pair| pair.get(0)) {
                *field = before.as_str().map(str::to_owned);
            }
        }
    }

    fn made(&self, order: OrderId, number: DisplayNumber, is_taken_over: bool) -> Option<MadeOrder> {
        Some(MadeOrder {
            order,
            number,
            range: self.number_range.as_deref().map(str::parse::<RangeId>).transpose().ok()?,
            choice: Choice::from_name(self.number_choice.as_deref())?,
            order_type: from_name::<OrderType>(self.order_type.clone())?,
            order_source: from_name::<OrderSource>(self.order_source.clone())?,
            table: self.table_number.clone(),
            cooldown_seconds: u32::try_from(self.cooldown_seconds).ok()?,
            is_taken_over,
        })
    }
}

struct HappeningRow {
    occurred_at: DateTime<Utc>,
    generation: i64,
    sequence: i64,
    kind: String,
    internal_order_id: Option<Uuid>,
    display_order_number: Option<i32>,
    status_after: Option<String>,
    detail: Option<Value>,
}

impl HappeningRow {
    fn position(&self) -> EventPosition {
        EventPosition {
            at: self.occurred_at.into(),
            generation: self.generation.cast_unsigned(),
            sequence: self.sequence.cast_unsigned(),
        }
    }

    /// Whether an order may get its number with it.
    fn gives_number(&self) -> bool {
        matches!(&*self.kind, "created" | "imported" | "restated")
    }

    fn status(&self) -> Option<OrderStatus> {
        self.status_after.as_deref().and_then(OrderStatus::from_name)
    }

    /// None where no number was moved.
    fn parse(self, orders: &HashMap<Uuid, OrderRow>) -> Result<Option<Happening>, LedgerError> {
        let (at, sequence) = (self.occurred_at.into(), self.sequence.cast_unsigned());
        let unreadable = || {
            LedgerError::Unreadable(format!("event {} of generation {}, {}", self.sequence, self.generation, self.kind))
        };
        let what = match &*self.kind {
            "configured" => Some(self.configured().ok_or_else(unreadable)?),
            "business_date_set" => Some(self.date_set().ok_or_else(unreadable)?),
            "restated" if self.internal_order_id.is_none() => Some(self.rested().ok_or_else(unreadable)?),
            _ => self.of_order(orders).ok_or_else(unreadable)?,
        };
        Ok(what.map(|what| Happening { at, sequence, what }))
    }

    /// The outer None where it cannot be read.
    #[expect(clippy::option_option, reason = "an event that moves no number is not an unreadable one")]
    fn of_order(&self, orders: &HashMap<Uuid, OrderRow>) -> Option<Option<What>> {
        let id = self.internal_order_id?;
        let (order, status) = (OrderId::try_from(id).ok()?, self.status()?);
        let immediate = self.detail.as_ref().is_some_and(|detail| detail["immediate"] == true);
        let released = What::Released { order, immediate, completed: status == OrderStatus::Completed };
        Some(match &*self.kind {
            // Finished orders of other systems never had a number here; what is said again as finished has given it back.
            "imported" if status.is_final() => None,
            "restated" if status.is_final() => Some(released),
            "created" | "imported" | "restated" => {
                let Some(number) = self.display_order_number else { return Some(None) };
                let number = DisplayNumber::new(number.into()).ok()?;
                Some(What::Given(orders.get(&id)?.made(order, number, self.kind == "imported")?))
            }
            "released" => Some(released),
            "reopened" => Some(What::Reopened(order)),
            "recycled" => Some(What::Recycled(order)),
            _ => None,
        })
    }

    /// Before there was a `before`, settings stood there alone.
    fn configured(&self) -> Option<What> {
        let detail = self.detail.as_ref()?;
        let settings = detail.get("after").unwrap_or(detail).clone();
        Some(What::Configured(Box::new(serde_json::from_value(settings).ok()?)))
    }

    fn date_set(&self) -> Option<What> {
        let detail = self.detail.as_ref()?;
        let date: NaiveDate = detail["after"].as_str()?.parse().ok()?;
        Some(What::DateSet(SetDate { date, ends: detail["ends_at"].as_str()?.parse().ok()? }))
    }

    fn rested(&self) -> Option<What> {
        let detail = self.detail.as_ref()?;
        let number = |number: &Value| DisplayNumber::new(number.as_i64()?).ok();
        let numbers = detail["numbers"].as_array()?.iter().map(number).collect::<Option<_>>()?;
        Some(What::Rested { numbers, until: detail["until"].as_str()?.parse().ok()? })
    }
}
