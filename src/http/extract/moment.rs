//! Times in a query that may be a whole day, `from=2026-10-05`, and the time zone that tells when a day is.

use chrono::NaiveDate;

use super::query::{Rejected, instant};
use crate::domain::{
    Moment, TimeZone,
    business_day::is_countable,
    moment::{NotAMoment, full_date},
};

/// A time zone by its name.
pub(crate) fn time_zone(text: &str) -> Result<TimeZone, Rejected> {
    text.parse().map_err(Rejected::invalid)
}

/// Reads RFC 3339, or a date alone.
pub(crate) fn moment(text: &str) -> Result<Moment, Rejected> {
    match full_date(text) {
        Some(day) => Ok(Moment::Day(day)),
        None => instant(text).map(Moment::Instant).map_err(|_| Rejected::invalid(NotAMoment)),
    }
}

/// A business date.
pub(crate) fn business_date(text: &str) -> Result<NaiveDate, Rejected> {
    let date = full_date(text).filter(|date| is_countable(*date));
    date.ok_or_else(|| Rejected::invalid("must be a date such as 2026-11-23, from 1970-01-02 to 2149-06-06"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: &str, to: &str, zone: &str) -> Option<(String, String)> {
        let (from, to, zone) = (moment(from).ok()?, moment(to).ok()?, time_zone(zone).ok()?);
        Some((from.begin(zone).to_string(), to.end(zone).to_string()))
    }

    #[test]
    fn a_day_is_had_from_its_first_instant_to_its_last() {
        for (from, to, zone, begins, ends) in [
            ("2026-10-05", "2026-10-05", "UTC", "2026-10-05T00:00:00.000Z", "2026-10-06T00:00:00.000Z"),
            ("2028-02-29", "2028-02-29", "UTC", "2028-02-29T00:00:00.000Z", "2028-03-01T00:00:00.000Z"),
            ("2026-10-05", "2026-10-05T14:00:00 02:00", "UTC", "2026-10-05T00:00:00.000Z", "2026-10-05T12:00:00.000Z"),
            ("2026-11-29", "2026-11-29", "Asia/Kolkata", "2026-11-28T18:30:00.000Z", "2026-11-29T18:30:00.000Z"),
            ("2026-11-29", "2026-11-29", "America/St_Johns", "2026-11-29T03:30:00.000Z", "2026-11-30T03:30:00.000Z"),
            ("2026-10-25", "2026-10-25", "Europe/Berlin", "2026-10-24T22:00:00.000Z", "2026-10-25T23:00:00.000Z"),
            (
                "2026-11-29T00:00:00Z",
                "2026-11-29",
                "Asia/Kolkata",
                "2026-11-29T00:00:00.000Z",
                "2026-11-29T18:30:00.000Z",
            ),
        ] {
            assert_eq!(span(from, to, zone), Some((begins.to_owned(), ends.to_owned())), "{from} {to} {zone}");
        }
        assert_eq!(span("2026-11-29", "2026-11-29", "Asia/Kolkatta"), None);
    }

    #[test]
    fn what_is_neither_a_time_nor_a_date_is_refused() {
        for bad in [
            "",
            "today",
            "2026",
            "2026-10",
            "2026-1-5",
            "2026-02-30",
            "2026-13-01",
            "20261005",
            "05.10.2026",
            "10/05/2026",
            "+026-10-05",
            "2026-10-05T12:00:00",
            "2026-10-05 ",
            "2026-10-0５",
        ] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
