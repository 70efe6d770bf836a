//! Business dates: those that were set by hand, and the places that orders have in them.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};

use super::orders::lowest_id;
use crate::{
    domain::{BusinessDay, DateChange, DateImage, DateSpan, DisplayNumber, Order, OrderId, RestaurantId, Timestamp},
    ledger::{
        Ledger, LedgerError,
        db::session::Session,
        tables::rows::{OrderRow, into_orders, select_orders},
    },
};

impl Ledger {
    /// The most places that orders of a restaurant have of a date, and of each later one, in order.
    ///
    /// # Errors
    /// As [`Ledger::order`].
    pub(crate) async fn most_places(
        &self,
        restaurant: RestaurantId,
        date: NaiveDate,
    ) -> Result<Vec<BusinessDay>, LedgerError> {
        let (from, _) = DateSpan::of_utc(date).created_within();
        let rows = sqlx::query!(
            r#"SELECT business_date AS "date!", max(daily_sequence) AS "sequence!" FROM orders
               WHERE restaurant_id = $1 AND internal_order_id >= $2 AND business_date >= $3
               GROUP BY 1 ORDER BY 1"#,
            restaurant.as_i32(),
            lowest_id(from),
            date
        )
        .fetch_all(self.single());
        let days = self.in_time(rows).await?.into_iter();
        Ok(days.map(|row| BusinessDay { date: row.date, sequence: row.sequence.cast_unsigned() }).collect())
    }

    /// The orders of a business date, newest first; with `before`, only those older than that order.
    ///
    /// # Errors
    /// As [`Ledger::order`].
    pub(crate) async fn orders_of_date(
        &self,
        restaurant: RestaurantId,
        span: &DateSpan,
        limit: usize,
        before: Option<OrderId>,
    ) -> Result<Vec<Order>, LedgerError> {
        let (from, to) = span.created_within();
        let to = before.map_or(lowest_id(to), |before| before.as_uuid().min(lowest_id(to)));
        let rows = select_orders!(
            "FROM orders AS o
             WHERE o.restaurant_id = $1 AND o.internal_order_id >= $2 AND o.internal_order_id < $3
               AND (o.business_date = $4 OR o.business_date IS NULL AND o.created_at >= $5 AND o.created_at < $6)
             ORDER BY o.internal_order_id DESC LIMIT $7",
            restaurant.as_i32(),
            lowest_id(from),
            to,
            span.date,
            span.begins.to_datetime(),
            span.ends.to_datetime(),
            i64::try_from(limit).unwrap_or(i64::MAX)
        )
        .fetch_all(self.single());
        into_orders(self.in_time(rows).await?)
    }

    /// The order of a business date to which a number was given last.
    ///
    /// # Errors
    /// As [`Ledger::order`].
    pub(crate) async fn holder_on(
        &self,
        restaurant: RestaurantId,
        number: DisplayNumber,
        span: &DateSpan,
    ) -> Result<Option<Order>, LedgerError> {
        let (from, to) = span.created_within();
        let row = select_orders!(
            "FROM orders AS o
             WHERE o.restaurant_id = $1 AND o.display_order_number = $2
               AND o.internal_order_id >= $3 AND o.internal_order_id < $4
               AND (o.business_date = $5 OR o.business_date IS NULL AND o.created_at >= $6 AND o.created_at < $7)
             ORDER BY coalesce(o.given_at, o.created_at) DESC, o.internal_order_id DESC LIMIT 1",
            restaurant.as_i32(),
            number.as_i32(),
            lowest_id(from),
            lowest_id(to),
            span.date,
            span.begins.to_datetime(),
            span.ends.to_datetime()
        )
        .fetch_optional(self.single());
        self.in_time(row).await?.map(OrderRow::into_order).transpose()
    }

    /// The business date of each restaurant, as a rebuild goes on with it: the latest one that has an order, but where it was
    /// set by hand, only orders since count.
    pub(in crate::ledger) async fn business_dates(
        &self,
        restaurants: &[i32],
    ) -> Result<HashMap<RestaurantId, DateImage>, LedgerError> {
        // Places are given in the order of ids, but for what several daemons ask for at once: the last thousand are more than
        // that.
        let rows = sqlx::query!(
            r#"SELECT n.restaurant_id AS "restaurant_id!", r.business_date AS "set_date?",
                      r.business_date_ends_at AS "set_ends_at?", r.business_date_set_at AS "set_at?",
                      d.business_date AS "date?", d.daily_sequence AS "sequence?"
               FROM unnest($1::int[]) AS n (restaurant_id)
               LEFT JOIN restaurants AS r ON r.restaurant_id = n.restaurant_id
               LEFT JOIN LATERAL (
                   SELECT business_date, daily_sequence FROM (
                       SELECT business_date, daily_sequence, given_at FROM orders AS o
                       WHERE o.restaurant_id = n.restaurant_id
                       ORDER BY internal_order_id DESC LIMIT 1000) AS latest
                   WHERE business_date IS NOT NULL
                     AND (r.business_date_set_at IS NULL OR given_at > r.business_date_set_at)
                   ORDER BY business_date DESC, daily_sequence DESC LIMIT 1) AS d ON true"#,
            restaurants
        )
        .fetch_all(self.single());
        let mut images = HashMap::new();
        for row in self.in_time(rows).await? {
            let unreadable = || LedgerError::Unreadable(format!("the business date of {}", row.restaurant_id));
            let restaurant = RestaurantId::new(row.restaurant_id.into()).map_err(|_| unreadable())?;
            let latest = match row.date.zip(row.sequence) {
                Some((date, sequence)) => {
                    Some(BusinessDay { date, sequence: u32::try_from(sequence).map_err(|_| unreadable())? })
                }
                None => None,
            };
            let set = row.set_date.zip(row.set_ends_at).zip(row.set_at);
            let image = match set {
                None => DateImage { day: latest, ..DateImage::default() },
                Some(((date, ends_at), set_at)) => {
                    let present = latest.map_or(date, |latest| latest.date.max(date));
                    let mut image =
                        DateImage { set_at: Some(set_at.into()), ..self.image_at(restaurant, present).await? };
                    image.ends_at = (present == date).then(|| ends_at.into());
                    image
                }
            };
            images.insert(restaurant, image);
        }
        Ok(images)
    }

    /// What a date and those ahead of it have had. Few restaurants have had theirs set.
    async fn image_at(&self, restaurant: RestaurantId, present: NaiveDate) -> Result<DateImage, LedgerError> {
        let mut days = self.most_places(restaurant, present).await?;
        let day = match days.first() {
            Some(first) if first.date == present => days.remove(0),
            _ => BusinessDay { date: present, sequence: 0 },
        };
        Ok(DateImage { day: Some(day), ahead: days, ..DateImage::default() })
    }
}

/// Writes dates that were set, where they are newer than what is there. One row a restaurant.
pub(in crate::ledger) async fn set(
    connection: &mut Session<'_>,
    changes: &[(&DateChange, Timestamp)],
) -> Result<(), LedgerError> {
    if changes.is_empty() {
        return Ok(());
    }
    let restaurants: Vec<i32> = changes.iter().map(|(change, _)| change.restaurant.as_i32()).collect();
    let dates: Vec<NaiveDate> = changes.iter().map(|(change, _)| change.date).collect();
    let ends: Vec<DateTime<Utc>> = changes.iter().map(|(change, _)| change.ends_at.to_datetime()).collect();
    let times: Vec<DateTime<Utc>> = changes.iter().map(|(_, at)| at.to_datetime()).collect();
    sqlx::query!(
        "UPDATE restaurants AS r
         SET business_date = new.date, business_date_ends_at = new.ends_at, business_date_set_at = new.set_at
         FROM unnest($1::int[], $2::date[], $3::timestamptz[], $4::timestamptz[])
                  AS new (restaurant_id, date, ends_at, set_at)
         WHERE r.restaurant_id = new.restaurant_id
           AND (r.business_date_set_at IS NULL OR r.business_date_set_at <= new.set_at)",
        &restaurants,
        &dates,
        &ends,
        &times
    )
    .execute(connection)
    .await?;
    Ok(())
}
