//! Months that are there, and months that are let go of.

use chrono::NaiveDate;
use sqlx::postgres::PgQueryResult;

use crate::{
    domain::Timestamp,
    ledger::{Ledger, LedgerError, tables::months::Month},
};

/// A table that is kept by month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MonthlyTable {
    /// `orders`, by the time of their ids.
    Orders,
    /// `order_events`, by their own time.
    Events,
}

impl MonthlyTable {
    /// Its name in the database.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Events => "order_events",
        }
    }
}

/// One month of one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredMonth {
    /// Which table.
    pub table: MonthlyTable,
    /// Its first day, in UTC.
    pub first_day: NaiveDate,
}

impl StoredMonth {
    /// The first instant that is not in it any more.
    #[must_use]
    pub(crate) fn end(&self) -> Timestamp {
        Month::of_day(self.first_day).end()
    }
}

/// What became of an attempt to let go of a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detached {
    /// It is no part of its table any more, and waits to be dropped.
    Done,
    /// A number that is not free belongs to one of its orders.
    InUse,
    /// One of its orders has changed within the time that is kept.
    Recent,
    /// Others are at work there, or have done it.
    Busy,
}

/// Rows that one statement removes.
const ROWS_A_STEP: i64 = 10_000;

impl Ledger {
    /// The months of both tables, oldest first.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`]; so for all of these.
    pub async fn stored_months(&self) -> Result<Vec<StoredMonth>, LedgerError> {
        let rows = sqlx::query!(
            r#"SELECT inhparent = 'orders'::regclass AS "of_orders!",
                      to_date(substring(relname::text FROM '_y(\d{4}m\d{2})$'), 'YYYY"m"MM') AS "first_day!"
               FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
               WHERE inhparent IN ('orders'::regclass, 'order_events'::regclass) AND relname ~ '_y\d{4}m\d{2}$'
               ORDER BY 2, 1"#
        )
        .fetch_all(self.single());
        let table = |of_orders| if of_orders { MonthlyTable::Orders } else { MonthlyTable::Events };
        let months = self.in_time(rows).await?.into_iter();
        Ok(months.map(|row| StoredMonth { table: table(row.of_orders), first_day: row.first_day }).collect())
    }

    /// How many months after this one have a place in both tables, without a gap and up to 24; -1 where not even this one
    /// has. Which one this is, the caller says.
    ///
    /// # Errors
    /// As [`Ledger::stored_months`].
    pub(crate) async fn months_ahead(&self, now: Timestamp) -> Result<i32, LedgerError> {
        let ahead = sqlx::query_scalar!(
            r#"SELECT coalesce(min(ahead), 25) - 1 AS "ahead!"
               FROM generate_series(0, 24) AS ahead,
                    to_char(($1::timestamptz AT TIME ZONE 'UTC') + make_interval(months => ahead), '"_y"YYYY"m"MM')
                        AS suffix
               WHERE to_regclass('orders' || suffix) IS NULL OR to_regclass('order_events' || suffix) IS NULL"#,
            now.to_datetime()
        )
        .fetch_one(self.single());
        self.in_time(ahead).await
    }

    /// Notes which months a retention finds to be over; the others are forgotten. Answers with those that were found so an
    /// hour ago, and since, without anything being written there meanwhile: what is seen for the first time may be the
    /// doing of a clock that is wrong.
    ///
    /// # Errors
    /// As [`Ledger::stored_months`].
    pub(crate) async fn months_over(&self, due: &[StoredMonth]) -> Result<Vec<StoredMonth>, LedgerError> {
        let (tables, days): (Vec<&str>, Vec<NaiveDate>) =
            due.iter().map(|month| (month.table.name(), month.first_day)).unzip();
        let rows = sqlx::query!(
            r#"WITH due AS MATERIALIZED (
                 SELECT d.parent, d.first_day, coalesce(s.n_tup_ins + s.n_tup_upd, 0) AS written
                 FROM unnest($1::text[], $2::date[]) AS d (parent, first_day)
                 LEFT JOIN pg_stat_user_tables AS s
                     ON s.relid = to_regclass(d.parent || to_char(d.first_day, '"_y"YYYY"m"MM'))
               ), gone AS (
                 DELETE FROM months_due AS m
                 WHERE NOT EXISTS (SELECT FROM due WHERE due.parent = m.parent AND due.first_day = m.first_day)
               ), seen AS (
                 INSERT INTO months_due AS m (parent, first_day, written) SELECT parent, first_day, written FROM due
                 ON CONFLICT (parent, first_day) DO UPDATE SET
                     -- What was seen in time to come was seen by a clock that was wrong.
                     seen_at = CASE WHEN m.written = EXCLUDED.written THEN least(m.seen_at, now()) ELSE now() END,
                     written = EXCLUDED.written
                 RETURNING m.parent, m.first_day, m.seen_at
               )
               SELECT parent = 'orders' AS "of_orders!", first_day AS "first_day!" FROM seen
               WHERE seen_at <= now() - interval '1 hour' ORDER BY first_day, parent DESC"#,
            &tables as &[&str],
            &days
        )
        .fetch_all(self.single());
        let table = |of_orders| if of_orders { MonthlyTable::Orders } else { MonthlyTable::Events };
        let over = self.in_time(rows).await?.into_iter();
        Ok(over.map(|row| StoredMonth { table: table(row.of_orders), first_day: row.first_day }).collect())
    }

    /// Detaches a month from its table, unless it is needed or one of its orders has changed since `recent`; a session
    /// that writes or reads is held up for a moment only, or it is left for later.
    ///
    /// # Errors
    /// As [`Ledger::stored_months`].
    pub async fn detach_month(&self, month: StoredMonth, recent: Timestamp) -> Result<Detached, LedgerError> {
        let became = sqlx::query_scalar!(
            r#"SELECT set_aside_month($1, $2, $3) AS "became!""#,
            month.table.name(),
            month.first_day,
            recent.to_datetime()
        )
        .fetch_one(self.single());
        let became = self.in_time(became).await?;
        match became.as_str() {
            "set_aside" => {
                self.months.forget();
                Ok(Detached::Done)
            }
            "in_use" => Ok(Detached::InUse),
            "recent" => Ok(Detached::Recent),
            "busy" | "absent" => Ok(Detached::Busy),
            _ => Err(LedgerError::Unreadable(format!("set_aside_month answered {became}"))),
        }
    }

    /// Drops the months that are detached, by any daemon, and the aliases and legacy numbers of their orders. Answers with
    /// the tables that went.
    ///
    /// # Errors
    /// As [`Ledger::stored_months`]; a later call does what this one did not.
    pub async fn drop_detached(&self) -> Result<Vec<String>, LedgerError> {
        let rows = sqlx::query!(
            r#"SELECT relname::text AS "name!",
                      to_date(substring(relname::text FROM '_y(\d{4}m\d{2})$'), 'YYYY"m"MM') AS "first_day!"
               FROM pg_class
               WHERE relkind = 'r' AND relname ~ '^dropped_(orders|order_events)_y\d{4}m\d{2}$'
                 AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'orders'::regclass)
               ORDER BY relname"#
        )
        .fetch_all(self.single());
        let mut dropped = Vec::new();
        for row in self.in_time(rows).await? {
            // These first: what tells that they are to go is the table.
            if row.name.starts_with("dropped_orders_") {
                self.remove_imports(row.first_day).await?;
            }
            let drop = sqlx::query!("SELECT drop_set_aside($1)", row.name).execute(self.single());
            self.in_time(drop).await?;
            dropped.push(row.name);
        }
        Ok(dropped)
    }

    /// Removes what imports left beside a month's orders that are not there: their aliases, what they were called where they
    /// came from, and which orders of an import they are.
    async fn remove_imports(&self, first_day: NaiveDate) -> Result<(), LedgerError> {
        self.until_few_are_left(|| {
            sqlx::query!(
                "DELETE FROM order_aliases WHERE foreign_id IN (
                     SELECT a.foreign_id FROM order_aliases AS a
                     WHERE a.internal_order_id >= lowest_order_id($1)
                       AND a.internal_order_id < lowest_order_id(($1 + interval '1 month')::date)
                       AND NOT EXISTS (SELECT FROM orders AS o WHERE o.internal_order_id = a.internal_order_id)
                     LIMIT $2)",
                first_day,
                ROWS_A_STEP
            )
            .execute(self.single())
        })
        .await?;
        self.until_few_are_left(|| {
            sqlx::query!(
                "DELETE FROM imported_orders WHERE internal_order_id IN (
                     SELECT i.internal_order_id FROM imported_orders AS i
                     WHERE i.internal_order_id >= lowest_order_id($1)
                       AND i.internal_order_id < lowest_order_id(($1 + interval '1 month')::date)
                       AND NOT EXISTS (SELECT FROM orders AS o WHERE o.internal_order_id = i.internal_order_id)
                     LIMIT $2)",
                first_day,
                ROWS_A_STEP
            )
            .execute(self.single())
        })
        .await?;
        // An order has few of these.
        self.until_few_are_left(|| {
            sqlx::query!(
                "DELETE FROM legacy_numbers WHERE internal_order_id IN (
                     SELECT l.internal_order_id FROM legacy_numbers AS l
                     WHERE l.internal_order_id >= lowest_order_id($1)
                       AND l.internal_order_id < lowest_order_id(($1 + interval '1 month')::date)
                       AND NOT EXISTS (SELECT FROM orders AS o WHERE o.internal_order_id = l.internal_order_id)
                     LIMIT $2)",
                first_day,
                ROWS_A_STEP
            )
            .execute(self.single())
        })
        .await
    }

    /// Repeats a statement that removes [`ROWS_A_STEP`] rows until it finds fewer.
    async fn until_few_are_left<S>(&self, step: impl Fn() -> S) -> Result<(), LedgerError>
    where
        S: Future<Output = Result<PgQueryResult, sqlx::Error>>,
    {
        while self.in_time(step()).await?.rows_affected() >= ROWS_A_STEP.unsigned_abs() {}
        Ok(())
    }
}
