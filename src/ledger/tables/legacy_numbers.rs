//! What other systems called imported orders, as it is searched for.

use uuid::Uuid;

use crate::{
    domain::WrittenNumber,
    ledger::{LedgerError, db::session::Session},
};

/// Rows of `legacy_numbers`. Most orders have none.
#[derive(Debug, Default)]
pub(in crate::ledger) struct LegacyNumbers(Vec<LegacyNumber>);

#[derive(Debug)]
struct LegacyNumber {
    id: Uuid,
    restaurant: i32,
    key: String,
}

impl LegacyNumbers {
    /// Adds what an order was called. What cannot be read as a number is found as it stands, by other indexes.
    pub(in crate::ledger) fn push(&mut self, id: Uuid, restaurant: i32, called: &WrittenNumber) {
        self.0.push(LegacyNumber { id, restaurant, key: called.as_str().to_owned() });
    }

    /// Writes them for some of the orders, in place of what these had before.
    pub(in crate::ledger) async fn write(
        &self,
        connection: &mut Session<'_>,
        is_wanted: impl Fn(Uuid) -> bool,
    ) -> Result<(), LedgerError> {
        let wanted: Vec<&LegacyNumber> = self.0.iter().filter(|number| is_wanted(number.id)).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = wanted.iter().map(|number| number.id).collect();
        let restaurants: Vec<i32> = wanted.iter().map(|number| number.restaurant).collect();
        let keys: Vec<&str> = wanted.iter().map(|number| number.key.as_str()).collect();
        sqlx::query!(
            "WITH called AS (
                 SELECT * FROM unnest($1::int[], $2::text[], $3::uuid[]) AS n (restaurant_id, number_key, id)
             ), gone AS (
                 DELETE FROM legacy_numbers AS l
                 WHERE l.internal_order_id = ANY($3)
                   AND (l.internal_order_id, l.number_key) NOT IN (SELECT id, number_key FROM called)
             )
             INSERT INTO legacy_numbers (restaurant_id, number_key, internal_order_id)
             SELECT restaurant_id, number_key, id FROM called ORDER BY 1, 2, 3
             ON CONFLICT DO NOTHING",
            &restaurants,
            &keys as &[&str],
            &ids
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
