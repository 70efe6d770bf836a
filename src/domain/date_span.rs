//! When a business date is, and which orders are of it.

use chrono::{Days, NaiveDate};

use super::{Order, Timestamp, business_day::DateRules};

/// A business date, and the instants at which it begins and ends by the rules of its restaurant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateSpan {
    /// The date.
    pub date: NaiveDate,
    /// Its first instant.
    pub begins: Timestamp,
    /// The first instant behind it.
    pub ends: Timestamp,
}

impl DateSpan {
    /// By these rules.
    #[must_use]
    pub(crate) fn of(rules: DateRules, date: NaiveDate) -> Self {
        Self { date, begins: rules.begin(date), ends: rules.begin(date + Days::new(1)) }
    }

    /// That of UTC.
    #[must_use]
    pub(crate) fn of_utc(date: NaiveDate) -> Self {
        Self::of(DateRules::default(), date)
    }

    /// Whether an order is one of the date: by what it says, or where it says nothing, for it is older or was imported, by when
    /// it was created.
    #[must_use]
    pub(crate) fn has(&self, order: &Order) -> bool {
        match order.business_day {
            Some(day) => day.date == self.date,
            None => (self.begins..self.ends).contains(&order.created_at()),
        }
    }

    /// When all of its orders were created, with room for dates that were set by hand and for rules that were others then.
    #[must_use]
    pub(crate) fn created_within(&self) -> (Timestamp, Timestamp) {
        let midnight = self.date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis();
        let from = (midnight - 2 * DAY_MS).max(0);
        (Timestamp::from_unix_ms(from), Timestamp::from_unix_ms(midnight + 4 * DAY_MS))
    }
}

const DAY_MS: i64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_spans_what_people_mean_by_it() {
        let at = |text: &str| Timestamp::from(text.parse::<chrono::DateTime<chrono::Utc>>().expect("a time"));
        let rules = "Australia/Lord_Howe 04:00".parse().expect("rules");
        let span = DateSpan::of(rules, "2026-04-05".parse().expect("a date"));
        assert_eq!((span.begins, span.ends), (at("2026-04-04T17:30:00Z"), at("2026-04-05T17:30:00Z")));
        let (from, to) = span.created_within();
        assert!(from < span.begins && span.ends < to);
    }
}
