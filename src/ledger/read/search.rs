//! Search, by the rules of [`SearchQuery`].

use uuid::Uuid;

use crate::{
    domain::{DisplayNumber, Order, OrderId, RestaurantId, SearchQuery},
    ledger::{
        Ledger, LedgerError,
        tables::rows::{into_orders, select_orders},
    },
};

impl Ledger {
    /// The orders of a restaurant that a query finds, newest first; with `before`, only those older than that order.
    ///
    /// # Errors
    /// As [`Ledger::order`].
    pub async fn search(
        &self,
        restaurant: RestaurantId,
        query: &SearchQuery,
        limit: usize,
        before: Option<OrderId>,
    ) -> Result<Vec<Order>, LedgerError> {
        let number = query.number().map(DisplayNumber::as_i32);
        let shown: Vec<i32> = query.shown_numbers().iter().map(|number| number.as_i32()).collect();
        let (first_id, last_id) = query.ids().unzip();
        // Each rule has an index of its own and is asked for by itself; a rule whose argument is null costs nothing. That
        // of the names is walked until enough of them fit: it has the restaurant's orders together, newest first.
        let rows = select_orders!(
            "FROM orders AS o
             WHERE o.internal_order_id IN (
                 (SELECT internal_order_id FROM orders
                  WHERE restaurant_id = $1 AND internal_order_id < $2 AND display_order_number = $4
                  ORDER BY internal_order_id DESC LIMIT $3)
                 UNION ALL
                 (SELECT internal_order_id FROM orders
                  WHERE restaurant_id = $1 AND internal_order_id < $2 AND display_order_number = ANY($5)
                    AND (lower(display_number_formatted COLLATE \"C\") = $6 OR lower(order_number COLLATE \"C\") = $6)
                  ORDER BY internal_order_id DESC LIMIT $3)
                 UNION ALL
                 (SELECT internal_order_id FROM orders
                  WHERE restaurant_id = $1 AND internal_order_id < $2
                    AND order_number_given AND lower(order_number COLLATE \"C\") = $6
                  ORDER BY internal_order_id DESC LIMIT $3)
                 UNION ALL
                 (SELECT internal_order_id FROM orders
                  WHERE restaurant_id = $1 AND internal_order_id < $2
                    AND external_id IS NOT NULL AND lower(external_id COLLATE \"C\") = $6
                  ORDER BY internal_order_id DESC LIMIT $3)
                 UNION ALL
                 (SELECT internal_order_id FROM orders
                  WHERE restaurant_id = $1 AND internal_order_id < $2
                    AND table_number IS NOT NULL AND lower(table_number COLLATE \"C\") = $6
                  ORDER BY internal_order_id DESC LIMIT $3)
                 UNION ALL
                 (SELECT internal_order_id FROM orders
                  WHERE restaurant_id = $1 AND internal_order_id < $2 AND internal_order_id BETWEEN $7 AND $8
                  ORDER BY internal_order_id DESC LIMIT $3)
                 UNION ALL
                 (SELECT internal_order_id FROM orders
                  WHERE restaurant_id = $1 AND internal_order_id < $2
                    AND customer_name_folded IS NOT NULL AND customer_name_folded LIKE $9
                  ORDER BY internal_order_id DESC LIMIT $3)
             )
             ORDER BY o.internal_order_id DESC LIMIT $3",
            restaurant.as_i32(),
            before.map_or(Uuid::max(), OrderId::as_uuid),
            i64::try_from(limit).unwrap_or(i64::MAX),
            number,
            &shown,
            query.code(),
            first_id,
            last_id,
            name_pattern(query)
        )
        .fetch_all(self.single());
        into_orders(self.in_time(rows).await?)
    }
}

/// The query's text as a pattern for LIKE.
fn name_pattern(query: &SearchQuery) -> String {
    let anywhere = if query.name_anywhere() { "%" } else { "" };
    let mut pattern = anywhere.to_owned();
    for c in query.name().chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern + "%"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_a_pattern_of_its_own() {
        let pattern = |text| name_pattern(&SearchQuery::parse(text).expect("valid"));
        assert_eq!(pattern("Ana"), "%ana%");
        assert_eq!(pattern("An"), "an%");
        assert_eq!(pattern("50%_\\"), "%50\\%\\_\\\\%");
    }
}
