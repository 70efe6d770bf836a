//! Names that were folded in an earlier way, and what orders were called before their numbers were read as people write
//! them: folded anew, month by month.
//!
//! The name stays where it is, so every search may ask for both ways: what the older way finds among names that are folded
//! anew, the newer one finds as well. How far a month has come is written with each piece, in one transaction.

use std::{collections::BTreeSet, time::Duration};

use chrono::NaiveDate;
use uuid::Uuid;

use crate::{
    domain::{
        DisplayNumber, NumberFormat, WrittenNumber,
        fold::{FOLD, fold},
        shown_number,
    },
    ledger::{
        Ledger, LedgerError,
        db::{connect::in_task, session::Session},
        tables::legacy_numbers::LegacyNumbers,
    },
};

/// What became of a piece of a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoldedPiece {
    /// How many orders were looked at.
    pub seen: usize,
    /// How many of their names were folded anew.
    pub renewed: usize,
    /// Whether they were the last ones of the month.
    pub is_last: bool,
}

/// An order, as far as it is folded.
struct Seen {
    internal_order_id: Uuid,
    restaurant_id: i32,
    customer_name: Option<String>,
    customer_name_folded: Option<String>,
    display_order_number: Option<i32>,
    number_format: String,
    legacy_number: Option<String>,
    shown_there: Option<String>,
}

impl Seen {
    /// What the order was called where it came from.
    fn called(&self) -> BTreeSet<WrittenNumber> {
        let number = self.display_order_number.and_then(|number| DisplayNumber::new(number.into()).ok());
        let format: NumberFormat = self.number_format.parse().unwrap_or_default();
        let old = self.shown_there.as_deref().and_then(|shown| shown_number::old_name(shown, number, &format));
        WrittenNumber::of_names(self.restaurant_id.cast_unsigned(), self.legacy_number.as_deref(), old.as_deref())
    }
}

impl Ledger {
    /// The months of orders, the newest first, and whether the names in them are folded.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`]; so for all of these.
    pub async fn folded_months(&self) -> Result<Vec<(NaiveDate, bool)>, LedgerError> {
        let months = sqlx::query!(
            r#"SELECT first_day AS "first_day!", EXISTS (
                   SELECT FROM folded_months AS f
                   WHERE f.first_day = months.first_day AND f.fold >= $1 AND f.folded_up_to IS NULL) AS "is_folded!"
               FROM (
                   SELECT to_date(substring(relname::text FROM '_y(\d{4}m\d{2})$'), 'YYYY"m"MM') AS first_day
                   FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
                   WHERE inhparent = 'orders'::regclass AND relname ~ '_y\d{4}m\d{2}$') AS months
               ORDER BY first_day DESC"#,
            FOLD
        )
        .fetch_all(self.single());
        Ok(self.in_time(months).await?.into_iter().map(|month| (month.first_day, month.is_folded)).collect())
    }

    /// Whether a daemon that folds names in an earlier way was seen so lately that it may still write some.
    ///
    /// # Errors
    /// As [`Ledger::folded_months`].
    pub(crate) async fn folds_the_earlier_way(&self, seen_within: Duration) -> Result<bool, LedgerError> {
        let found = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM daemons WHERE name_fold < $1 AND seen_at > now() - make_interval(secs => $2))
                   AS "found!""#,
            FOLD,
            seen_within.as_secs_f64()
        )
        .fetch_one(self.single());
        self.in_time(found).await
    }

    /// Goes on with a month: looks at so many of its orders, and folds anew what is folded otherwise. Writers of these
    /// orders wait for as long as that takes.
    ///
    /// # Errors
    /// As [`Ledger::folded_months`]; then nothing of the piece is done.
    pub async fn fold_piece(&self, month: NaiveDate, orders: u32) -> Result<FoldedPiece, LedgerError> {
        let ledger = self.clone();
        in_task(async move { ledger.transaction(async |transaction| piece(transaction, month, orders).await).await })
            .await
    }
}

async fn piece(connection: &mut Session<'_>, month: NaiveDate, limit: u32) -> Result<FoldedPiece, LedgerError> {
    // Two daemons take turns. What an earlier fold has looked at does not count.
    sqlx::query!(
        "INSERT INTO folded_months AS f (first_day, fold, folded_up_to) VALUES ($1, $2, $3)
         ON CONFLICT (first_day) DO UPDATE SET fold = EXCLUDED.fold,
             folded_up_to = CASE WHEN f.fold < EXCLUDED.fold THEN EXCLUDED.folded_up_to ELSE f.folded_up_to END
         WHERE f.fold <= EXCLUDED.fold",
        month,
        FOLD,
        Uuid::nil()
    )
    .execute(&mut *connection)
    .await?;
    let reached = sqlx::query_scalar!(
        r#"SELECT folded_up_to AS "reached!" FROM folded_months
           WHERE first_day = $1 AND fold = $2 AND folded_up_to IS NOT NULL FOR UPDATE"#,
        month,
        FOLD
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(reached) = reached else {
        // Another daemon was quicker.
        return Ok(FoldedPiece { seen: 0, renewed: 0, is_last: true });
    };
    let orders = sqlx::query_as!(
        Seen,
        r#"SELECT internal_order_id, restaurant_id, customer_name, customer_name_folded,
                  display_order_number, number_format,
                  CASE WHEN order_number_given THEN order_number END AS legacy_number,
                  (SELECT i.shown_number FROM imported_orders AS i
                   WHERE i.internal_order_id = orders.internal_order_id) AS shown_there
           FROM orders
           WHERE internal_order_id > $1 AND internal_order_id >= lowest_order_id($2)
             AND internal_order_id < lowest_order_id(($2 + interval '1 month')::date)
           ORDER BY internal_order_id LIMIT $3"#,
        reached,
        month,
        i64::from(limit)
    )
    .fetch_all(&mut *connection)
    .await?;
    let renewed = renew(connection, month, &orders).await?;
    let mut called = LegacyNumbers::default();
    for order in &orders {
        for name in order.called() {
            called.push(order.internal_order_id, order.restaurant_id, &name);
        }
    }
    called.write(connection, |_| true).await?;
    let last = orders.last().filter(|_| orders.len() >= limit as usize).map(|order| order.internal_order_id);
    sqlx::query!("UPDATE folded_months SET folded_up_to = $2 WHERE first_day = $1", month, last)
        .execute(connection)
        .await?;
    Ok(FoldedPiece { seen: orders.len(), renewed, is_last: last.is_none() })
}

/// Folds the names that are folded otherwise; most are not. A name that was changed meanwhile was folded then.
async fn renew(connection: &mut Session<'_>, month: NaiveDate, orders: &[Seen]) -> Result<usize, LedgerError> {
    let (mut ids, mut names, mut folded) = (Vec::new(), Vec::new(), Vec::new());
    for order in orders {
        let Some(name) = order.customer_name.as_deref() else { continue };
        let wanted = fold(name);
        if order.customer_name_folded.as_deref() != Some(&wanted) {
            ids.push(order.internal_order_id);
            names.push(name);
            folded.push(wanted);
        }
    }
    if ids.is_empty() {
        return Ok(0);
    }
    // Locked by their ids, as the write-behind does: neither waits for the other crosswise.
    let renewed = sqlx::query!(
        "WITH held AS MATERIALIZED (
             SELECT o.internal_order_id AS id FROM orders AS o
             WHERE o.internal_order_id = ANY($1) ORDER BY o.internal_order_id FOR NO KEY UPDATE
         )
         UPDATE orders AS o SET customer_name_folded = n.folded
         FROM unnest($1::uuid[], $2::text[], $3::text[]) AS n (id, name, folded) JOIN held USING (id)
         WHERE o.internal_order_id = n.id AND o.customer_name = n.name
           AND o.internal_order_id >= lowest_order_id($4)
           AND o.internal_order_id < lowest_order_id(($4 + interval '1 month')::date)",
        &ids,
        &names as &[&str],
        &folded,
        month
    )
    .execute(connection)
    .await?;
    Ok(usize::try_from(renewed.rows_affected()).unwrap_or(usize::MAX))
}
