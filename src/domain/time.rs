//! Points in time, as every layer exchanges them: UTC with millisecond precision.

use std::{fmt, str::FromStr};

use chrono::{DateTime, SecondsFormat, TimeZone, Utc};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

/// A UTC instant in whole milliseconds, at or after the Unix epoch.
///
/// Rendered as RFC 3339 with exactly three fractional digits: `2026-11-23T02:50:41.123Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The largest instant an order id can carry: its time field has 48 bits (the year 10889).
    pub const MAX_MS: i64 = (1 << 48) - 1;

    /// The instant `ms` milliseconds after the Unix epoch; clamped into `0..=MAX_MS`.
    #[must_use]
    pub fn from_unix_ms(ms: i64) -> Self {
        Self(ms.clamp(0, Self::MAX_MS))
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// This instant moved by `ms` milliseconds, clamped into the valid range.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self::from_unix_ms(self.0.saturating_add(ms))
    }

    /// The same instant as the ledger's column type.
    #[must_use]
    pub fn to_datetime(self) -> DateTime<Utc> {
        Utc.timestamp_millis_opt(self.0).single().unwrap_or(DateTime::UNIX_EPOCH)
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(at: DateTime<Utc>) -> Self {
        Self::from_unix_ms(at.timestamp_millis())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_datetime().to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A text is no time that has a date, a time of day and a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be {EXAMPLE}")]
pub struct NotATime;

/// The form that is expected, in the words of a message.
const EXAMPLE: &str = "a time such as 2026-11-23T02:50:41.123Z";

impl FromStr for Timestamp {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        text.parse::<DateTime<Utc>>().map(Self::from).map_err(|_| NotATime)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXAMPLE)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_time_is_told_which_form_is_expected() {
        let read = |json: &str| serde_json::from_str::<Timestamp>(json).map_err(|error| error.to_string());
        for good in ["\"2026-11-23T02:50:41.123Z\"", "\"2026-11-23t03:50:41.123456+01:00\""] {
            assert_eq!(read(good), Ok(Timestamp::from_unix_ms(1_795_402_241_123)), "{good}");
        }
        for bad in
            ["\"\"", "\"soon\"", "\"2026-12-31\"", "\"2026-12-31T10:00:00\"", "\"31.12.2026\"", "1795402241", "[]"]
        {
            let said = read(bad).expect_err(bad);
            assert!(said.contains("a time such as 2026-11-23T02:50:41.123Z"), "{bad}: {said}");
        }
    }
}
