//! Times that may be a whole day, `2026-10-05`.

use std::str::FromStr;

use chrono::NaiveDate;

use super::{DateSpan, TimeZone, Timestamp, business_day::DateRules};

/// A point in time, or a day, which is one only in some time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// A point in time.
    Instant(Timestamp),
    /// A whole day.
    Day(NaiveDate),
}

/// A text is neither a time nor a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a time such as 2026-11-23T02:50:41.123Z, or a date such as 2026-11-23")]
pub(crate) struct NotAMoment;

impl FromStr for Moment {
    type Err = NotAMoment;

    fn from_str(text: &str) -> Result<Self, NotAMoment> {
        match full_date(text) {
            Some(day) => Ok(Self::Day(day)),
            None => text.parse().map(Self::Instant).map_err(|_| NotAMoment),
        }
    }
}

/// A date in full; chrono reads others as well.
pub(crate) fn full_date(text: &str) -> Option<NaiveDate> {
    let is_full = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    text.parse().ok().filter(|_| is_full)
}

impl Moment {
    /// The instant, or the first one of the day.
    pub(crate) fn begin(self, zone: TimeZone) -> Timestamp {
        match self {
            Self::Instant(at) => at,
            Self::Day(day) => zone.midnight(day),
        }
    }

    /// The instant, or the first one after the day: a span up to a day has all of it.
    pub(crate) fn end(self, zone: TimeZone) -> Timestamp {
        match self {
            Self::Instant(at) => at,
            Self::Day(day) => zone.midnight(day.succ_opt().unwrap_or(day)),
        }
    }

    /// As [`Moment::begin`], where a day is a business date by these rules.
    pub(crate) fn begin_by(self, rules: DateRules) -> Timestamp {
        match self {
            Self::Instant(at) => at,
            Self::Day(day) => DateSpan::of(rules, day).begins,
        }
    }

    /// As [`Moment::end`], where a day is a business date by these rules.
    pub(crate) fn end_by(self, rules: DateRules) -> Timestamp {
        match self {
            Self::Instant(at) => at,
            Self::Day(day) => DateSpan::of(rules, day).ends,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_may_be_a_business_date() {
        let rules: DateRules = "Europe/Berlin 04:00".parse().expect("rules");
        let moment = |text: &str| text.parse::<Moment>().expect("a moment");
        let day = moment("2026-10-25");
        assert_eq!(day.begin_by(rules).to_string(), "2026-10-25T03:00:00.000Z");
        assert_eq!(day.end_by(rules).to_string(), "2026-10-26T03:00:00.000Z");
        let instant = moment("2026-10-25T12:00:00+02:00");
        assert_eq!(
            (instant.begin_by(rules), instant.end_by(rules)),
            (instant.begin(TimeZone::UTC), instant.end(TimeZone::UTC))
        );
        assert!("2026-10-5".parse::<Moment>().is_err() && "2026-10-25T12:00:00".parse::<Moment>().is_err());
    }
}
