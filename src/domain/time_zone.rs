//! Time zones, as the IANA database names them. The database is the one that is built in: a server's own may be older, or
//! newer, and two answers would differ.

use std::{fmt, str::FromStr};

use chrono::{DateTime, LocalResult, NaiveDate, NaiveTime, Offset, TimeZone as _};
use chrono_tz::{TZ_VARIANTS, Tz};
use serde::{Deserialize, Serialize};

use super::Timestamp;

/// A zone of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeZone(Tz);

/// Of which version the database is, as `2026a`.
pub(crate) const VERSION: &str = chrono_tz::IANA_TZDB_VERSION;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Zones are ahead of UTC, or behind it, by less than this.
const FARTHEST_MS: i64 = 26 * HOUR_MS;

/// An offset from UTC, and the instant since which it holds.
pub(crate) type OffsetSince = (Timestamp, i32);

impl TimeZone {
    pub(crate) const UTC: Self = Self(Tz::UTC);

    /// Its name in the database.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        self.0.name()
    }

    /// How far its clocks are ahead of UTC then, in seconds.
    fn offset_at(self, at: Timestamp) -> i32 {
        self.0.offset_from_utc_datetime(&at.to_datetime().naive_utc()).fix().local_minus_utc()
    }

    /// What its clocks show then: milliseconds since they showed the first midnight of 1970.
    #[must_use]
    pub(crate) fn wall_ms(self, at: Timestamp) -> i64 {
        at.unix_ms() + i64::from(self.offset_at(at)) * 1000
    }

    /// The first instant, not before `after`, at which its clocks show this (see [`TimeZone::wall_ms`]). Where they leap
    /// over it, the instant of the leap.
    #[must_use]
    pub(crate) fn first_at_wall(self, wall_ms: i64, after: Timestamp) -> Timestamp {
        let wall = DateTime::from_timestamp_millis(wall_ms).unwrap_or_default().naive_utc();
        match self.0.from_local_datetime(&wall) {
            LocalResult::Single(only) => Timestamp::from_unix_ms(only.timestamp_millis()),
            LocalResult::Ambiguous(first, second) => {
                let first = Timestamp::from_unix_ms(first.timestamp_millis());
                if first < after { Timestamp::from_unix_ms(second.timestamp_millis()) } else { first }
            }
            LocalResult::None => {
                Timestamp::from_unix_ms(first_ms(wall_ms - FARTHEST_MS, wall_ms + FARTHEST_MS, |at| {
                    self.wall_ms(Timestamp::from_unix_ms(at)) >= wall_ms
                }))
            }
        }
    }

    /// When a day begins there: its first instant, which is not midnight where the clocks leap over that.
    #[must_use]
    pub(crate) fn midnight(self, day: NaiveDate) -> Timestamp {
        self.first_at_wall(day.and_time(NaiveTime::MIN).and_utc().timestamp_millis(), Timestamp::from_unix_ms(0))
    }

    /// Its offsets from `from` to before `to`, ascending; the first holds at `from`, or before it began.
    #[must_use]
    pub(crate) fn offsets(self, from: Timestamp, to: Timestamp) -> Vec<OffsetSince> {
        let mut offsets = vec![(from, self.offset_at(from))];
        let (mut at, mut offset) = (from, self.offset_at(from));
        // No zone changes its offset and back within a day.
        while at < to {
            let next = at.plus_ms(DAY_MS).min(to);
            let then = self.offset_at(next);
            if then != offset {
                let changed =
                    first_ms(at.unix_ms(), next.unix_ms(), |ms| self.offset_at(Timestamp::from_unix_ms(ms)) == then);
                offsets.push((Timestamp::from_unix_ms(changed), then));
            }
            (at, offset) = (next, then);
        }
        offsets
    }
}

/// The first of these for which something holds, if it holds for the last and for all behind the first.
fn first_ms(mut before: i64, mut last: i64, holds: impl Fn(i64) -> bool) -> i64 {
    while before + 1 < last {
        let middle = i64::midpoint(before, last);
        if holds(middle) { last = middle } else { before = middle }
    }
    last
}

impl Default for TimeZone {
    fn default() -> Self {
        Self::UTC
    }
}

/// What is no name of a zone. The message names some that are like it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a time zone of the IANA database, such as Asia/Kolkata{}", did_you_mean(.near))]
pub struct UnknownTimeZone {
    near: Vec<&'static str>,
}

fn did_you_mean(near: &[&str]) -> String {
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) }
}

/// The most names that an error suggests, and how like they must be.
const MOST_NEAR: usize = 3;
const LIKE: f64 = 0.85;

/// Longer than any name of a zone.
const MAX_NAME_BYTES: usize = 64;

impl FromStr for TimeZone {
    type Err = UnknownTimeZone;

    /// By its name, whatever the case of its letters. In a query `+` stands for a space, and people write one for `_`.
    fn from_str(text: &str) -> Result<Self, UnknownTimeZone> {
        let is_named = |zone: &&Tz| {
            let same = |(known, given): (u8, u8)| {
                known.eq_ignore_ascii_case(&given) || (given == b' ' && (known == b'_' || known == b'+'))
            };
            zone.name().len() == text.len() && zone.name().bytes().zip(text.bytes()).all(same)
        };
        let known = TZ_VARIANTS.iter().find(is_named);
        known.map(|zone| Self(*zone)).ok_or_else(|| UnknownTimeZone { near: near(text) })
    }
}

/// The names that are most like a text: in the whole, or in their last part, which is a city's.
fn near(text: &str) -> Vec<&'static str> {
    if text.len() > MAX_NAME_BYTES {
        return Vec::new();
    }
    let wanted = text.to_ascii_lowercase().replace(' ', "_");
    let place = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let likeness = |name: &str| {
        let name = name.to_ascii_lowercase();
        let of_places = strsim::jaro_winkler(&place(&wanted), &place(&name));
        strsim::jaro_winkler(&wanted, &name).max(of_places)
    };
    let mut likes: Vec<(f64, &str)> = TZ_VARIANTS.iter().map(|zone| (likeness(zone.name()), zone.name())).collect();
    likes.retain(|(like, _)| *like >= LIKE);
    likes.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    likes.into_iter().take(MOST_NEAR).map(|(_, name)| name).collect()
}

impl TryFrom<String> for TimeZone {
    type Error = UnknownTimeZone;

    fn try_from(text: String) -> Result<Self, UnknownTimeZone> {
        text.parse()
    }
}

impl From<TimeZone> for String {
    fn from(zone: TimeZone) -> Self {
        zone.name().to_owned()
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> TimeZone {
        name.parse().unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn at(text: &str) -> Timestamp {
        text.parse::<DateTime<chrono::Utc>>().expect("a time").into()
    }

    #[test]
    fn names_are_those_of_the_database() {
        for (text, name) in [
            ("Asia/Kolkata", "Asia/Kolkata"),
            ("asia/KATHMANDU", "Asia/Kathmandu"),
            ("Asia/Calcutta", "Asia/Calcutta"),
            ("America/New York", "America/New_York"),
            ("America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
            ("Etc/GMT 5", "Etc/GMT+5"),
            ("utc", "UTC"),
        ] {
            assert_eq!(zone(text).name(), name);
        }
    }

    #[test]
    fn an_unknown_name_leads_to_its_like() {
        for (text, like) in [
            ("Asia/Kolkatta", "Asia/Kolkata"),
            ("Kolkata", "Asia/Kolkata"),
            ("Europe/Berln", "Europe/Berlin"),
            ("new york", "America/New_York"),
            ("Europe/Sao_Paulo", "America/Sao_Paulo"),
        ] {
            let said = text.parse::<TimeZone>().expect_err("no zone").to_string();
            assert!(said.contains(like), "{text}: {said}");
        }
        for text in ["", "+05:30", "Mars/Olympus_Mons", "🍔", &"x".repeat(8000)] {
            let said = text.parse::<TimeZone>().expect_err("no zone").to_string();
            assert!(said.contains("IANA") && said.len() < 200, "{text}: {said}");
        }
    }

    #[test]
    fn clocks_leap_and_repeat() {
        let berlin = zone("Europe/Berlin");
        let wall = |text: &str| at(text).unix_ms();
        for (shows, after, first) in [
            ("2026-07-01T12:00:00Z", "2026-01-01T00:00:00Z", "2026-07-01T10:00:00Z"),
            // 02:30 is leapt over.
            ("2026-03-29T02:30:00Z", "2026-01-01T00:00:00Z", "2026-03-29T01:00:00Z"),
            // 02:30 is there twice.
            ("2026-10-25T02:30:00Z", "2026-10-25T00:30:00Z", "2026-10-25T00:30:00Z"),
            ("2026-10-25T02:30:00Z", "2026-10-25T00:30:00.001Z", "2026-10-25T01:30:00Z"),
        ] {
            assert_eq!(berlin.first_at_wall(wall(shows), at(after)), at(first), "{shows} after {after}");
        }
        let day = |text: &str| text.parse::<NaiveDate>().expect("a day");
        for (name, on, begins) in [
            ("Asia/Kolkata", "2026-11-29", "2026-11-28T18:30:00Z"),
            ("Pacific/Chatham", "2026-01-15", "2026-01-14T10:15:00Z"),
            // Its clocks leap from 0:00 to 1:00.
            ("Africa/Cairo", "2024-04-26", "2024-04-25T22:00:00Z"),
            // And here they go back from 1:00 to 0:00: the day begins with the first of both.
            ("America/Havana", "2026-11-01", "2026-11-01T04:00:00Z"),
        ] {
            assert_eq!(zone(name).midnight(day(on)), at(begins), "{name}");
        }
    }

    #[test]
    fn offsets_are_those_of_the_span() {
        let offsets = |name: &str, from: &str, to: &str| -> Vec<(String, i32)> {
            let offsets = zone(name).offsets(at(from), at(to));
            offsets.into_iter().map(|(since, offset)| (since.to_string(), offset)).collect()
        };
        let year = |name: &str| offsets(name, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        assert_eq!(year("Asia/Kolkata"), [("2026-01-01T00:00:00.000Z".to_owned(), 19_800)]);
        assert_eq!(
            year("Europe/Berlin"),
            [
                ("2026-01-01T00:00:00.000Z".to_owned(), 3600),
                ("2026-03-29T01:00:00.000Z".to_owned(), 7200),
                ("2026-10-25T01:00:00.000Z".to_owned(), 3600),
            ]
        );
        assert_eq!(
            offsets("Australia/Lord_Howe", "2026-04-04T15:00:00Z", "2026-04-04T15:00:00.001Z"),
            [("2026-04-04T15:00:00.000Z".to_owned(), 37_800)]
        );
        assert_eq!(offsets("UTC", "1970-01-01T00:00:00Z", "9999-12-31T00:00:00Z").len(), 1);
    }
}
