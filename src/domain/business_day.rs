//! Business days: which date an order belongs to, in its restaurant's time zone, where a date begins when people say so
//! and not at midnight.

use std::{fmt, str::FromStr};

use chrono::{Days, NaiveDate, TimeDelta};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{RestaurantId, TimeZone, Timestamp};

/// The place of an order in its business date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BusinessDay {
    /// The date that the order belongs to.
    pub date: NaiveDate,
    /// The how-manieth order of it the order is, from 1 and without gaps.
    pub sequence: u32,
}

/// The business date of a restaurant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PresentDate {
    /// By which dates follow each other.
    pub rules: DateRules,
    /// The date that the next order belongs to.
    pub date: NaiveDate,
    /// When it ends.
    pub ends_at: Timestamp,
    /// How many orders it has had.
    pub orders: u32,
}

/// A business date that was set by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateChange {
    /// The restaurant.
    pub restaurant: RestaurantId,
    /// The date before; None where the restaurant had none yet.
    pub before: Option<NaiveDate>,
    /// The date since.
    pub date: NaiveDate,
    /// When it ends.
    pub ends_at: Timestamp,
}

/// A business date as a rebuild of Redis finds it in the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DateImage {
    /// The date, and how many orders it has had; None before the first one.
    pub day: Option<BusinessDay>,
    /// When it was last set by hand.
    pub set_at: Option<Timestamp>,
    /// When it ends, where it is the one that was set.
    pub ends_at: Option<Timestamp>,
    /// The dates ahead of it that have had orders: it was set back since.
    pub ahead: Vec<BusinessDay>,
}

/// When a business date begins, by the clock of the restaurant: a time of the day from `00:00` to `12:00`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StartsAt {
    minutes: u16,
}

/// What is no time at which a business date may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a time of the day from 00:00 to 12:00, such as 04:00")]
pub struct InvalidStartsAt;

impl StartsAt {
    const LATEST_MINUTES: u16 = 12 * 60;

    fn as_delta(self) -> TimeDelta {
        TimeDelta::minutes(self.minutes.into())
    }
}

impl FromStr for StartsAt {
    type Err = InvalidStartsAt;

    fn from_str(text: &str) -> Result<Self, InvalidStartsAt> {
        let part = |digits: &str| -> Option<u16> {
            let is_two = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_two.then(|| digits.parse().ok()).flatten()
        };
        let (hours, minutes) = text.split_once(':').ok_or(InvalidStartsAt)?;
        match (part(hours), part(minutes)) {
            (Some(hours), Some(minutes)) if minutes < 60 && hours * 60 + minutes <= Self::LATEST_MINUTES => {
                Ok(Self { minutes: hours * 60 + minutes })
            }
            _ => Err(InvalidStartsAt),
        }
    }
}

impl TryFrom<String> for StartsAt {
    type Error = InvalidStartsAt;

    fn try_from(text: String) -> Result<Self, InvalidStartsAt> {
        text.parse()
    }
}

impl From<StartsAt> for String {
    fn from(at: StartsAt) -> Self {
        at.to_string()
    }
}

impl fmt::Display for StartsAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.minutes / 60, self.minutes % 60)
    }
}

/// What begins anew with a business date.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reset {
    /// Nothing: the ring goes on where it was.
    #[default]
    None,
    /// The rings: sequential ranges go on at their first number. Live and resting numbers stay what they are.
    Daily,
}

/// How the business dates of a restaurant follow each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DateRules {
    /// Whose clock counts.
    pub zone: TimeZone,
    /// When a date begins by it.
    pub starts_at: StartsAt,
}

impl DateRules {
    /// When a date begins: the first instant at which the local clock is at that time of the day, or past it. Where the
    /// clock leaps over it, that is the leap's end; where it is there twice, the first pass.
    #[must_use]
    pub(crate) fn begin(self, date: NaiveDate) -> Timestamp {
        let wall = date.and_time(chrono::NaiveTime::MIN) + self.starts_at.as_delta();
        self.zone.first_at_wall(wall.and_utc().timestamp_millis(), Timestamp::from_unix_ms(0))
    }

    /// The date that an instant belongs to, and when that date ends.
    #[must_use]
    pub(crate) fn at(self, at: Timestamp) -> (NaiveDate, Timestamp) {
        let mut date = date_of_wall(self.zone.wall_ms(at));
        while self.begin(date) > at {
            date = date - Days::new(1);
        }
        let mut end = self.begin(date + Days::new(1));
        while end <= at {
            date = date + Days::new(1);
            end = self.begin(date + Days::new(1));
        }
        (date, end)
    }

    /// When a date ends that is set by hand at an instant. A later one than that of the rules ends as it always does, an earlier
    /// one when the next date begins.
    #[must_use]
    pub(crate) fn end_of_set(self, date: NaiveDate, at: Timestamp) -> Timestamp {
        let (today, end) = self.at(at);
        if date > today { self.begin(date + Days::new(1)) } else { end }
    }

    /// The date that follows `present` at an instant, and when it ends. A date never goes back: where these rules would have
    /// it earlier, for they have changed, `present` goes on until its own end by them.
    #[must_use]
    pub(crate) fn following(self, present: Option<NaiveDate>, at: Timestamp) -> (NaiveDate, Timestamp) {
        let (date, end) = self.at(at);
        match present {
            Some(present) if present > date => (present, self.begin(present + Days::new(1))),
            _ => (date, end),
        }
    }
}

fn date_of_wall(wall_ms: i64) -> NaiveDate {
    chrono::DateTime::from_timestamp_millis(wall_ms).unwrap_or_default().date_naive()
}

/// As Redis keeps the rules: `Europe/Berlin 04:00`; nothing where they are those of UTC from midnight on.
impl fmt::Display for DateRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() { Ok(()) } else { write!(f, "{} {}", self.zone, self.starts_at) }
    }
}

/// What are no rules as Redis keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the rules of a business date")]
pub(crate) struct InvalidDateRules;

impl FromStr for DateRules {
    type Err = InvalidDateRules;

    fn from_str(text: &str) -> Result<Self, InvalidDateRules> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let (zone, starts_at) = text.split_once(' ').ok_or(InvalidDateRules)?;
        let (zone, starts_at) = (zone.parse().ok(), starts_at.parse().ok());
        zone.zip(starts_at).map(|(zone, starts_at)| Self { zone, starts_at }).ok_or(InvalidDateRules)
    }
}

/// Whether scripts and records can have this date.
#[must_use]
pub(crate) fn is_countable(date: NaiveDate) -> bool {
    date_of(days_of(date)) == Some(date)
}

/// The most orders of a date that scripts and records can count.
pub(crate) const MOST_OF_A_DATE: u32 = (1 << 24) - 1;

/// A date as scripts and records have it: days since 1970-01-01, which two bytes hold until 2149; 0 is none.
#[must_use]
pub(crate) fn days_of(date: NaiveDate) -> u16 {
    let days = date.signed_duration_since(NaiveDate::default()).num_days();
    u16::try_from(days).unwrap_or(0)
}

/// The date of [`days_of`].
#[must_use]
pub(crate) fn date_of(days: u16) -> Option<NaiveDate> {
    (days > 0).then(|| NaiveDate::default() + Days::new(days.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse::<chrono::DateTime<chrono::Utc>>().expect("a time").into()
    }

    fn rules(zone: &str, starts_at: &str) -> DateRules {
        format!("{zone} {starts_at}").parse().expect("rules")
    }

    fn date(text: &str) -> NaiveDate {
        text.parse().expect("a date")
    }

    #[test]
    fn a_date_begins_when_the_local_clock_is_there_or_past_it() {
        for (zone, starts_at, on, begins) in [
            ("UTC", "00:00", "2026-11-30", "2026-11-30T00:00:00Z"),
            ("Europe/Berlin", "04:00", "2026-11-30", "2026-11-30T03:00:00Z"),
            // 02:30 is leapt over, and there twice.
            ("Europe/Berlin", "02:30", "2026-03-29", "2026-03-29T01:00:00Z"),
            ("Europe/Berlin", "02:30", "2026-10-25", "2026-10-25T00:30:00Z"),
            ("America/New_York", "02:30", "2026-03-08", "2026-03-08T07:00:00Z"),
            ("America/New_York", "01:30", "2026-11-01", "2026-11-01T05:30:00Z"),
            // Its clocks move by half an hour.
            ("Australia/Lord_Howe", "02:15", "2026-10-04", "2026-10-03T15:30:00Z"),
            ("Australia/Lord_Howe", "01:45", "2026-04-05", "2026-04-04T14:45:00Z"),
            // Midnight is missing.
            ("America/Santiago", "00:00", "2026-09-06", "2026-09-06T04:00:00Z"),
            ("Africa/Cairo", "00:00", "2026-04-24", "2026-04-23T22:00:00Z"),
            ("Asia/Beirut", "00:00", "2026-03-29", "2026-03-28T22:00:00Z"),
            ("America/Havana", "00:00", "2026-03-08", "2026-03-08T05:00:00Z"),
            // Midnight is there twice, or the clocks go back when they would show it.
            ("America/Havana", "00:00", "2026-11-01", "2026-11-01T04:00:00Z"),
            ("Asia/Beirut", "00:00", "2026-10-25", "2026-10-24T22:00:00Z"),
            ("America/Santiago", "00:00", "2026-04-05", "2026-04-05T04:00:00Z"),
            ("Africa/Cairo", "00:00", "2026-10-30", "2026-10-29T22:00:00Z"),
        ] {
            assert_eq!(rules(zone, starts_at).begin(date(on)), at(begins), "{zone} {starts_at} on {on}");
        }
    }

    #[test]
    fn days_are_as_long_as_the_clocks_make_them() {
        for (zone, starts_at, on, minutes) in [
            ("Europe/Berlin", "00:00", "2026-03-29", 23 * 60),
            ("Europe/Berlin", "04:00", "2026-03-28", 23 * 60),
            ("Europe/Berlin", "00:00", "2026-10-25", 25 * 60),
            ("Australia/Lord_Howe", "00:00", "2026-10-04", 23 * 60 + 30),
            ("Australia/Lord_Howe", "00:00", "2026-04-05", 24 * 60 + 30),
            ("America/Havana", "00:00", "2026-11-01", 25 * 60),
            ("America/Santiago", "00:00", "2026-09-06", 23 * 60),
        ] {
            let rules = rules(zone, starts_at);
            let length = rules.begin(date(on) + Days::new(1)).unix_ms() - rules.begin(date(on)).unix_ms();
            assert_eq!(length, minutes * 60_000, "{zone} {starts_at} on {on}");
        }
    }

    #[test]
    fn each_instant_belongs_to_one_date_and_dates_follow_each_other() {
        for zone in [
            "Europe/Berlin",
            "America/New_York",
            "Australia/Lord_Howe",
            "America/Santiago",
            "Africa/Cairo",
            "Asia/Beirut",
            "America/Havana",
            "Pacific/Apia",
            "Pacific/Kiritimati",
            "Pacific/Pago_Pago",
        ] {
            for starts_at in ["00:00", "00:30", "02:30", "04:00", "12:00"] {
                let rules = rules(zone, starts_at);
                let (mut now, end) = (at("2026-01-01T00:00:00Z"), at("2027-02-01T00:00:00Z"));
                let (mut present, _) = rules.at(now);
                while now < end {
                    let (today, ends) = rules.at(now);
                    assert!(rules.begin(today) <= now && now < ends, "{zone} {starts_at}: {now}");
                    assert!(present <= today, "{zone} {starts_at}: {today} after {present}");
                    let near = (i64::from(days_of(today)) - now.unix_ms().div_euclid(86_400_000)).abs();
                    assert!(near <= 1, "{zone} {starts_at}: {today} at {now}");
                    assert_eq!(rules.at(ends).0, today + Days::new(1), "{zone} {starts_at}: {now}");
                    assert_eq!(rules.at(ends.plus_ms(-1)).0, today);
                    present = today;
                    now = now.plus_ms(47 * 60_000);
                }
            }
        }
        // Samoa had no 30th of December in 2011.
        let samoa = rules("Pacific/Apia", "04:00");
        assert_eq!(samoa.at(at("2011-12-30T15:00:00Z")).0, date("2011-12-31"));
    }

    #[test]
    fn a_date_never_goes_back() {
        let (berlin, samoa) = (rules("Europe/Berlin", "04:00"), rules("Pacific/Pago_Pago", "04:00"));
        let now = at("2026-11-30T06:00:00Z");
        assert_eq!(berlin.following(None, now), (date("2026-11-30"), at("2026-12-01T03:00:00Z")));
        assert_eq!(berlin.following(Some(date("2026-11-29")), now).0, date("2026-11-30"));
        // The restaurant moves to the west: its date goes on until it is over there.
        assert_eq!(samoa.at(now).0, date("2026-11-29"));
        assert_eq!(samoa.following(Some(date("2026-11-30")), now), (date("2026-11-30"), at("2026-12-01T15:00:00Z")));
    }

    #[test]
    fn a_date_that_was_set_goes_on_until_the_next_one_begins() {
        let berlin = rules("Europe/Berlin", "04:00");
        let now = at("2026-11-30T21:00:00Z");
        for (set, ends) in [
            ("2026-11-29", "2026-12-01T03:00:00Z"),
            ("2026-11-30", "2026-12-01T03:00:00Z"),
            ("2026-12-01", "2026-12-02T03:00:00Z"),
        ] {
            assert_eq!(berlin.end_of_set(date(set), now), at(ends), "{set}");
        }
        let night = at("2026-12-01T02:59:59Z");
        assert_eq!(berlin.end_of_set(date("2026-12-01"), night), at("2026-12-02T03:00:00Z"));
    }

    #[test]
    fn times_and_rules_are_read_as_they_are_written() {
        for good in ["00:00", "04:00", "04:05", "12:00"] {
            assert_eq!(good.parse::<StartsAt>().map(|at| at.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "4:00", "24:00", "12:01", "04:60", "04", "04:00:00", "-1:00", "+4:00", "٠٤:٠٠"] {
            assert!(bad.parse::<StartsAt>().is_err(), "{bad}");
        }
        assert_eq!(DateRules::default().to_string(), "");
        for rules in [DateRules::default(), rules("Asia/Kolkata", "00:00"), rules("UTC", "05:30")] {
            assert_eq!(rules.to_string().parse(), Ok(rules));
        }
        assert_eq!(date_of(days_of(date("2026-11-30"))), Some(date("2026-11-30")));
        assert_eq!(date_of(0), None);
    }
}
