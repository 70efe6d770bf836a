//! The partitions by month, which must exist before anything can be written into them.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Mutex, PoisonError},
};

use chrono::{Datelike, NaiveDate};

use crate::{
    domain::{Event, Order, Timestamp},
    ledger::{Ledger, LedgerError},
};

/// The months that this daemon has seen to exist.
#[derive(Debug, Default)]
pub(in crate::ledger) struct KnownMonths(Mutex<HashSet<Month>>);

/// A calendar month in UTC, counted from year 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::ledger) struct Month(i32);

/// An event outside these years has a broken clock behind it: its month is not made, and Postgres refuses it.
const SANE_YEARS: std::ops::RangeInclusive<i32> = 2000..=2199;

impl Month {
    pub(in crate::ledger) fn of(at: Timestamp) -> Self {
        Self::of_day(at.to_datetime().date_naive())
    }

    pub(in crate::ledger) fn of_day(day: NaiveDate) -> Self {
        Self(day.year() * 12 + day.month0().cast_signed())
    }

    /// Its first instant.
    fn begin(self) -> Timestamp {
        let midnight = self.date().and_then(|day| day.and_hms_opt(0, 0, 0));
        midnight.map_or(Timestamp::from_unix_ms(0), |midnight| midnight.and_utc().into())
    }

    /// The first instant after it.
    pub(in crate::ledger) fn end(self) -> Timestamp {
        let next = Self(self.0 + 1).date().and_then(|day| day.and_hms_opt(0, 0, 0));
        next.map_or(Timestamp::from_unix_ms(Timestamp::MAX_MS), |midnight| midnight.and_utc().into())
    }

    /// The months of the rows that an event makes.
    pub(in crate::ledger) fn of_event(event: &Event) -> impl Iterator<Item = Self> + use<> {
        [Some(event.at), event.order().map(Order::created_at)].into_iter().flatten().map(Self::of)
    }

    fn first_day(self) -> Option<NaiveDate> {
        self.date().filter(|day| SANE_YEARS.contains(&day.year()))
    }

    fn date(self) -> Option<NaiveDate> {
        NaiveDate::from_ymd_opt(self.0.div_euclid(12), self.0.rem_euclid(12).cast_unsigned() + 1, 1)
    }
}

impl KnownMonths {
    fn knows(&self, month: Month) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&month)
    }

    fn learn(&self, month: Month) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(month);
    }

    /// After a month turned out to be missing: it was removed.
    pub(in crate::ledger) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Ledger {
    /// Makes every month from the one of `from` to the one of `to` that is not there yet. Idempotent, and safe to call
    /// from several daemons at once; it does not wait for writers.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`].
    pub async fn ensure_months(&self, from: Timestamp, to: Timestamp) -> Result<(), LedgerError> {
        let (Month(first), Month(last)) = (Month::of(from), Month::of(to));
        self.ensure((first..=last).map(Month)).await
    }

    /// Since when there is a place for events; None where there is no month of them.
    ///
    /// # Errors
    /// As [`Ledger::ensure_months`].
    pub(crate) async fn events_since(&self) -> Result<Option<Timestamp>, LedgerError> {
        let first_day = sqlx::query_scalar!(
            r#"SELECT min(to_date(substring(relname::text FROM '_y(\d{4}m\d{2})$'), 'YYYY"m"MM'))
               FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
               WHERE inhparent = 'order_events'::regclass AND relname ~ '_y\d{4}m\d{2}$'"#
        )
        .fetch_one(self.single());
        Ok(self.in_time(first_day).await?.map(|day| Month::of_day(day).begin()))
    }

    pub(in crate::ledger) async fn ensure(&self, months: impl IntoIterator<Item = Month>) -> Result<(), LedgerError> {
        let unknown: BTreeSet<Month> = months.into_iter().filter(|month| !self.months.knows(*month)).collect();
        for month in unknown {
            let Some(first_day) = month.first_day() else { continue };
            // One statement a month: each holds its locks only briefly.
            let made = sqlx::query_scalar!(r#"SELECT ensure_month($1) AS "made!""#, first_day).fetch_one(self.single());
            self.in_time(made).await?;
            self.months.learn(month);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_day_of(ms: i64) -> Option<String> {
        Month::of(Timestamp::from_unix_ms(ms)).first_day().map(|day| day.to_string())
    }

    #[test]
    fn months_are_those_of_utc() {
        assert_eq!(first_day_of(1_795_402_241_123).as_deref(), Some("2026-11-01"));
        assert_eq!(first_day_of(1_798_761_599_999).as_deref(), Some("2026-12-01"));
        assert_eq!(first_day_of(1_798_761_600_000).as_deref(), Some("2027-01-01"));
    }

    #[test]
    fn a_month_ends_where_the_next_begins() {
        let december = Month::of(Timestamp::from_unix_ms(1_798_761_599_999));
        assert_eq!(december.end(), Timestamp::from_unix_ms(1_798_761_600_000));
    }

    #[test]
    fn a_broken_clock_makes_no_months() {
        assert_eq!(first_day_of(0), None);
        assert_eq!(first_day_of(Timestamp::MAX_MS), None);
    }
}
