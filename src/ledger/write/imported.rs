//! What orders are called in the systems that they came from, and which orders they became.

use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    domain::{DisplayNumber, OrderId, RestaurantId, Timestamp},
    ledger::{
        Ledger, LedgerError,
        db::{connect::in_task, session::Session},
        tables::orders::lowest_id_after,
    },
};

/// Longer ids of other systems are known by their digest.
const LONGEST_KEY_BYTES: usize = 200;

/// An external id that so many orders have identifies none of them.
const NAMESAKES: i64 = 20_000;

/// An order as the system has it that it came from: the restaurant, and the order's id there in one spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ForeignKey {
    pub restaurant: RestaurantId,
    key: String,
}

/// A row of `imported_orders` that is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Reservation {
    pub key: ForeignKey,
    pub id: OrderId,
    /// The number as it was shown there, and which one this is.
    pub shown: Option<(String, Option<DisplayNumber>)>,
}

/// A row of `imported_orders` that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reserved {
    pub source: String,
    pub key: ForeignKey,
}

impl ForeignKey {
    #[must_use]
    pub(crate) fn new(restaurant: RestaurantId, id: &str) -> Self {
        let key = if id.len() <= LONGEST_KEY_BYTES {
            id.to_owned()
        } else {
            let digest = Sha256::digest(id);
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("sha256:{hex}")
        };
        Self { restaurant, key }
    }
}

impl Ledger {
    /// The orders that these became, as far as they are known.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`]; so for all of these.
    pub(crate) async fn reserved_imports(
        &self,
        source: &str,
        keys: &[ForeignKey],
    ) -> Result<HashMap<ForeignKey, OrderId>, LedgerError> {
        let (restaurants, names) = columns(keys);
        let rows = sqlx::query!(
            r#"SELECT i.restaurant_id, i.foreign_key, i.internal_order_id
               FROM unnest($2::int[], $3::text[]) AS k (restaurant_id, foreign_key)
               JOIN imported_orders AS i
                   ON i.source = $1 AND i.restaurant_id = k.restaurant_id AND i.foreign_key = k.foreign_key"#,
            source,
            &restaurants,
            &names as &[&str]
        )
        .fetch_all(self.single());
        let rows = self.in_time(rows).await?.into_iter();
        rows.map(|row| known(row.restaurant_id, row.foreign_key, row.internal_order_id)).collect()
    }

    /// Records which orders these become, each of them once: answers with those that it knows then. Of two runs at once the
    /// first one decides. What is missing in the answer has an id that is another order's.
    ///
    /// # Errors
    /// As [`Ledger::reserved_imports`], and [`LedgerError::Content`].
    pub(crate) async fn reserve_imports(
        &self,
        source: &str,
        mut wanted: Vec<Reservation>,
        now: Timestamp,
    ) -> Result<HashMap<ForeignKey, OrderId>, LedgerError> {
        // Two runs never wait for each other crosswise.
        wanted.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let (ledger, name) = (self.clone(), source.to_owned());
        let keys: Vec<ForeignKey> = wanted.iter().map(|wanted| wanted.key.clone()).collect();
        in_task(async move {
            ledger.transaction(async |transaction| reserve(transaction, &name, &wanted, now).await).await
        })
        .await?;
        self.reserved_imports(source, &keys).await
    }

    /// What these orders are called where they came from.
    ///
    /// # Errors
    /// As [`Ledger::reserved_imports`].
    pub(crate) async fn sources_of(&self, orders: &[OrderId]) -> Result<HashMap<OrderId, Reserved>, LedgerError> {
        let ids: Vec<Uuid> = orders.iter().map(|id| id.as_uuid()).collect();
        let rows = sqlx::query!(
            "SELECT source, restaurant_id, foreign_key, internal_order_id FROM imported_orders
             WHERE internal_order_id = ANY($1)",
            &ids
        )
        .fetch_all(self.single());
        let rows = self.in_time(rows).await?.into_iter();
        rows.map(|row| {
            let (key, id) = known(row.restaurant_id, row.foreign_key, row.internal_order_id)?;
            Ok((id, Reserved { source: row.source, key }))
        })
        .collect()
    }

    /// Changes what the number of an order was there.
    ///
    /// # Errors
    /// As [`Ledger::reserve_imports`].
    pub(crate) async fn note_shown_number(
        &self,
        order: OrderId,
        shown: Option<&str>,
        number: Option<DisplayNumber>,
    ) -> Result<(), LedgerError> {
        let noted = sqlx::query!(
            "UPDATE imported_orders SET shown_number = $2, number = $3
             WHERE internal_order_id = $1 AND (shown_number, number) IS DISTINCT FROM ($2::text, $3::int)",
            order.as_uuid(),
            shown,
            shown.and(number).map(DisplayNumber::as_i32)
        )
        .execute(self.single());
        self.in_time(noted).await?;
        Ok(())
    }

    /// The orders of a restaurant that had this number where they came from, newest first; with `at`, of those that were made
    /// by then.
    ///
    /// # Errors
    /// As [`Ledger::reserved_imports`].
    pub(crate) async fn had_number_there(
        &self,
        restaurant: RestaurantId,
        number: DisplayNumber,
        at: Option<Timestamp>,
        limit: i64,
    ) -> Result<Vec<OrderId>, LedgerError> {
        let ids = sqlx::query_scalar!(
            "SELECT internal_order_id FROM imported_orders
             WHERE restaurant_id = $1 AND number = $2 AND internal_order_id < $3
             ORDER BY internal_order_id DESC LIMIT $4",
            restaurant.as_i32(),
            number.as_i32(),
            at.map_or(Uuid::max(), lowest_id_after),
            limit
        )
        .fetch_all(self.single());
        self.in_time(ids).await?.into_iter().map(order_id).collect()
    }

    /// Which of these orders the ledger has.
    ///
    /// # Errors
    /// As [`Ledger::reserved_imports`].
    pub(crate) async fn has_orders(&self, ids: &[OrderId]) -> Result<HashSet<OrderId>, LedgerError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        let rows = sqlx::query_scalar!("SELECT internal_order_id FROM orders WHERE internal_order_id = ANY($1)", &ids)
            .fetch_all(self.single());
        self.in_time(rows).await?.into_iter().map(order_id).collect()
    }

    /// The orders that other systems know by these UUIDs.
    ///
    /// # Errors
    /// As [`Ledger::reserved_imports`].
    pub(crate) async fn by_aliases(&self, foreign: &[Uuid]) -> Result<HashMap<Uuid, OrderId>, LedgerError> {
        let rows =
            sqlx::query!("SELECT foreign_id, internal_order_id FROM order_aliases WHERE foreign_id = ANY($1)", foreign)
                .fetch_all(self.single());
        let rows = self.in_time(rows).await?.into_iter();
        rows.map(|row| Ok((row.foreign_id, order_id(row.internal_order_id)?))).collect()
    }

    /// Orders of these restaurants that have one of these external ids, whose last ten hexadecimal digits are among `tails`.
    ///
    /// # Errors
    /// As [`Ledger::reserved_imports`].
    pub(crate) async fn by_external_ids(
        &self,
        restaurants: &[RestaurantId],
        external_ids: &[String],
        tails: &[String],
    ) -> Result<Vec<OrderId>, LedgerError> {
        let restaurants: Vec<i32> = restaurants.iter().map(|restaurant| restaurant.as_i32()).collect();
        let folded: Vec<String> = external_ids.iter().map(|id| id.to_ascii_lowercase()).collect();
        let rows = sqlx::query_scalar!(
            r#"SELECT internal_order_id AS "id!" FROM (
                   SELECT internal_order_id FROM orders
                   WHERE restaurant_id = ANY($1) AND external_id IS NOT NULL
                     AND lower(external_id COLLATE "C") = ANY($2)
                   LIMIT $4) AS namesakes
               WHERE right(internal_order_id::text, 10) = ANY($3)"#,
            &restaurants,
            &folded,
            tails,
            NAMESAKES
        )
        .fetch_all(self.single());
        self.in_time(rows).await?.into_iter().map(order_id).collect()
    }
}

async fn reserve(
    connection: &mut Session<'_>,
    source: &str,
    wanted: &[Reservation],
    now: Timestamp,
) -> Result<(), LedgerError> {
    let keys: Vec<ForeignKey> = wanted.iter().map(|wanted| wanted.key.clone()).collect();
    let (restaurants, names) = columns(&keys);
    let ids: Vec<Uuid> = wanted.iter().map(|wanted| wanted.id.as_uuid()).collect();
    let shown: Vec<Option<&str>> =
        wanted.iter().map(|wanted| wanted.shown.as_ref().map(|(text, _)| text.as_str())).collect();
    let numbers: Vec<Option<i32>> = wanted
        .iter()
        .map(|wanted| wanted.shown.as_ref().and_then(|(_, number)| number.map(DisplayNumber::as_i32)))
        .collect();
    sqlx::query!(
        "INSERT INTO imported_orders
             (source, restaurant_id, foreign_key, internal_order_id, shown_number, number, imported_at)
         SELECT $1, k.*, $7
         FROM unnest($2::int[], $3::text[], $4::uuid[], $5::text[], $6::int[]) AS k
         ON CONFLICT DO NOTHING",
        source,
        &restaurants,
        &names as &[&str],
        &ids,
        &shown as &[Option<&str>],
        &numbers as &[Option<i32>],
        now.to_datetime()
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn columns(keys: &[ForeignKey]) -> (Vec<i32>, Vec<&str>) {
    keys.iter().map(|key| (key.restaurant.as_i32(), key.key.as_str())).unzip()
}

fn known(restaurant: i32, key: String, id: Uuid) -> Result<(ForeignKey, OrderId), LedgerError> {
    let unreadable = |_| LedgerError::Unreadable(format!("imported order {id}"));
    let restaurant = RestaurantId::new(restaurant.into()).map_err(unreadable)?;
    Ok((ForeignKey { restaurant, key }, order_id(id)?))
}

fn order_id(id: Uuid) -> Result<OrderId, LedgerError> {
    OrderId::try_from(id).map_err(|_| LedgerError::Unreadable(format!("order {id}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ids_are_told_apart_by_their_digests() {
        let restaurant = RestaurantId::new(7).expect("valid");
        let key = |id: &str| ForeignKey::new(restaurant, id);
        assert_eq!(key("4711").key, "4711");
        let (a, b) = (key(&"x".repeat(5000)), key(&"x".repeat(5001)));
        assert!(a != b && a.key.len() < 100);
    }
}
