//! Search, by the rules of [`SearchQuery`].

use uuid::Uuid;

use crate::{
    domain::{DisplayNumber, NumberFormat, Order, OrderId, RestaurantId, SearchQuery, WrittenNumber},
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
        let written = query.written();
        let bare = written.and_then(WrittenNumber::number);
        // Of orders that another system has not given an order number, this one is ours.
        let number = bare.or_else(|| written.and_then(|written| written.order_number_of(restaurant)));
        let before = before.map_or(Uuid::max(), OrderId::as_uuid);
        let shown = match written {
            Some(written) => self.shown_so(restaurant, written, before).await?,
            None => Vec::new(),
        };
        let (shown, formats): (Vec<i32>, Vec<String>) = shown.into_iter().unzip();
        let codes: Vec<String> = query.codes().map(str::to_owned).collect();
        let (first_id, last_id) = query.ids().unzip();
        let name = query.name();
        // Each rule has an index of its own and is asked for by itself; a rule whose argument is null costs nothing. That
        // of the names is walked until enough of them fit: it has the restaurant's orders together, newest first. What is
        // not folded anew yet is found in the older way (see `ledger/upkeep/names.rs`).
        let rows = select_orders!(
            "FROM orders AS o
             WHERE o.internal_order_id IN (
                 (SELECT internal_order_id FROM orders
                  WHERE restaurant_id = $1 AND internal_order_id < $2 AND display_order_number = $4
                    AND ($5 OR NOT order_number_given)
                  ORDER BY internal_order_id DESC LIMIT $3)
                 UNION ALL
                 (SELECT internal_order_id FROM orders
                  WHERE restaurant_id = $1 AND internal_order_id < $2 AND display_order_number = ANY($6)
                    AND (display_order_number, number_format) IN (SELECT * FROM unnest($6::int[], $7::text[]))
                  ORDER BY internal_order_id DESC LIMIT $3)
                 UNION ALL
                 (SELECT internal_order_id FROM legacy_numbers
                  WHERE restaurant_id = $1 AND internal_order_id < $2 AND number_key = $8
                  ORDER BY internal_order_id DESC LIMIT $3)
                 UNION ALL
                 (SELECT internal_order_id FROM orders
                  WHERE restaurant_id = $1 AND internal_order_id < $2
                    AND order_number_given AND lower(order_number COLLATE \"C\") = ANY($9)
                  ORDER BY internal_order_id DESC LIMIT $3)
                 UNION ALL
                 (SELECT internal_order_id FROM orders
                  WHERE restaurant_id = $1 AND internal_order_id < $2
                    AND external_id IS NOT NULL AND lower(external_id COLLATE \"C\") = ANY($9)
                  ORDER BY internal_order_id DESC LIMIT $3)
                 UNION ALL
                 (SELECT internal_order_id FROM orders
                  WHERE restaurant_id = $1 AND internal_order_id < $2
                    AND table_number IS NOT NULL AND lower(table_number COLLATE \"C\") = ANY($9)
                  ORDER BY internal_order_id DESC LIMIT $3)
                 UNION ALL
                 (SELECT internal_order_id FROM orders
                  WHERE restaurant_id = $1 AND internal_order_id < $2 AND internal_order_id BETWEEN $10 AND $11
                  ORDER BY internal_order_id DESC LIMIT $3)
                 UNION ALL
                 (SELECT internal_order_id FROM orders
                  WHERE restaurant_id = $1 AND internal_order_id < $2 AND customer_name_folded IS NOT NULL
                    AND (customer_name_folded LIKE $12 OR customer_name_folded LIKE $13)
                  ORDER BY internal_order_id DESC LIMIT $3)
                 UNION ALL
                 (SELECT internal_order_id FROM imported_orders
                  WHERE restaurant_id = $1 AND internal_order_id < $2
                    AND shown_number IS NOT NULL AND lower(shown_number COLLATE \"C\") = ANY($9)
                  ORDER BY internal_order_id DESC LIMIT $3)
             )
             ORDER BY o.internal_order_id DESC LIMIT $3",
            restaurant.as_i32(),
            before,
            i64::try_from(limit).unwrap_or(i64::MAX),
            number.map(DisplayNumber::as_i32),
            bare.is_some(),
            &shown,
            &formats,
            written.map(WrittenNumber::as_str),
            &codes,
            first_id,
            last_id,
            name.map(|part| pattern(&part.folded, part.anywhere)),
            name.and_then(|part| part.cased.as_deref().map(|cased| pattern(cased, part.anywhere)))
        )
        .fetch_all(self.single());
        into_orders(self.in_time(rows).await?)
    }

    /// The numbers, each with a format, that the restaurant's orders show as they are written here; without the number
    /// that it is in every format. A format is kept with each order, and only the service can read it.
    async fn shown_so(
        &self,
        restaurant: RestaurantId,
        written: &WrittenNumber,
        before: Uuid,
    ) -> Result<Vec<(i32, String)>, LedgerError> {
        let figures: Vec<i32> = written.figures_within().into_iter().map(DisplayNumber::as_i32).collect();
        if figures.is_empty() {
            return Ok(Vec::new());
        }
        let rows = sqlx::query!(
            r#"SELECT DISTINCT display_order_number AS "number!", number_format FROM orders
               WHERE restaurant_id = $1 AND internal_order_id < $2 AND display_order_number = ANY(ARRAY(
                   SELECT figure + number_offset
                   FROM unnest($3::int[]) AS figure, (
                       SELECT 0 AS number_offset
                       UNION ALL SELECT number_offset FROM number_offsets WHERE restaurant_id = $1) AS offsets
                   WHERE figure + number_offset IS DISTINCT FROM $4))"#,
            restaurant.as_i32(),
            before,
            &figures,
            written.number().map(DisplayNumber::as_i32)
        )
        .fetch_all(self.single());
        let rows = self.in_time(rows).await?.into_iter();
        let shown = rows.filter(|row| {
            let number = DisplayNumber::new(row.number.into()).ok();
            let format = row.number_format.parse::<NumberFormat>().ok();
            number.zip(format).is_some_and(|(number, format)| written.is_shown(number, &format))
        });
        Ok(shown.map(|row| (row.number, row.number_format)).collect())
    }

    /// A number of the restaurant that was shown so, in whatever format an order of that number has.
    ///
    /// # Errors
    /// As [`Ledger::order`].
    pub(crate) async fn number_shown(
        &self,
        restaurant: RestaurantId,
        written: &WrittenNumber,
    ) -> Result<Option<DisplayNumber>, LedgerError> {
        let shown = self.shown_so(restaurant, written, Uuid::max()).await?;
        Ok(shown.first().and_then(|(number, _)| DisplayNumber::new((*number).into()).ok()))
    }

    /// The newest order of a restaurant that another system called so.
    ///
    /// # Errors
    /// As [`Ledger::order`].
    pub(crate) async fn last_called(
        &self,
        restaurant: RestaurantId,
        written: &WrittenNumber,
    ) -> Result<Option<Order>, LedgerError> {
        let rows = select_orders!(
            "FROM orders AS o
             WHERE o.internal_order_id IN (
                 SELECT internal_order_id FROM legacy_numbers WHERE restaurant_id = $1 AND number_key = $2
                 ORDER BY internal_order_id DESC LIMIT 1)",
            restaurant.as_i32(),
            written.as_str()
        )
        .fetch_all(self.single());
        Ok(into_orders(self.in_time(rows).await?)?.pop())
    }
}

/// A text of a name as a pattern for LIKE.
fn pattern(text: &str, anywhere: bool) -> String {
    let mut pattern = if anywhere { "%" } else { "" }.to_owned();
    for c in text.chars() {
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
        assert_eq!(pattern("ana", true), "%ana%");
        assert_eq!(pattern("an", false), "an%");
        assert_eq!(pattern("50%_\\", true), "%50\\%\\_\\\\%");
    }
}
