//! Why rows are skipped, and what is put right about others.

use std::fmt::Debug;

use serde_json::Value;

use crate::service::BackFillRefusal;

/// The forms in which times are read, for messages and for `--help`.
macro_rules! time_forms {
    () => {
        "2026-05-10T14:30:00Z, 2026-05-10 14:30:00.123+02, Sun, 10 May 2026 14:30:00 +0200, Unix seconds 1778423400 or \
         milliseconds 1778423400000; with --time-zone or --assume-utc 2026-05-10 14:30, May 10, 2026 2:30 PM and \
         2026-05-10; with --date-order 10/05/2026 2:30 PM"
    };
}

pub(super) const TIME_FORMS: &str = time_forms!();

/// One thing that was found about a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remark<R> {
    pub(super) reason: R,
    /// What it was in this row; printable.
    pub(super) detail: String,
}

/// A kind of remark: a stable code, and a sentence for people.
pub(super) trait Reason: Debug + Copy + Ord {
    fn code(self) -> &'static str;
    fn explained(self) -> &'static str;
}

/// Why a row is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Skipped {
    Unreadable,
    Encoding,
    TwoColumns,
    Id,
    Restaurant,
    Status,
    CreatedAt,
    CreatedAtRange,
    NoZone,
    Duplicate,
    Unstorable,
    PoolExhausted,
    RestaurantUnknown,
}

/// What is put right about a row that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Adjusted {
    Encoding,
    Cut,
    LeftOut,
    Time,
    NumberUnclear,
    NumberChanged,
    Future,
    ZoneAssumed,
    NoZone,
    TimeTwice,
    DateAlone,
}

impl Reason for Skipped {
    fn code(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Encoding => "not_utf8",
            Self::TwoColumns => "two_columns",
            Self::Id => "bad_id",
            Self::Restaurant => "bad_restaurant_id",
            Self::Status => "unknown_status",
            Self::CreatedAt => "bad_created_at",
            Self::CreatedAtRange => "created_at_out_of_range",
            Self::NoZone => "time_without_zone",
            Self::Duplicate => "duplicate_id",
            Self::Unstorable => "unstorable",
            Self::PoolExhausted => "pool_exhausted",
            Self::RestaurantUnknown => "restaurant_unknown",
        }
    }

    fn explained(self) -> &'static str {
        match self {
            Self::Unreadable => "not a row: broken JSON, another number of fields than the header, or far too long",
            Self::Encoding => "bytes that are no UTF-8: if the file comes from Windows, add --encoding windows-1252",
            Self::TwoColumns => "two columns for one field: choose one with --column FIELD=COLUMN",
            Self::Id => "id is missing, or no text and no whole number, or digits of it are lost (1.23E+11)",
            Self::Restaurant => {
                "restaurant_id is not a whole number from 1 to 2147483647, or not in the map: use --restaurant or \
                 --restaurant-map"
            }
            Self::Status => "status is missing, or means nothing or different things: see --status and --dialect",
            Self::CreatedAt => concat!("created_at is missing, or no time; what is read is ", time_forms!()),
            Self::NoZone => {
                "created_at has no zone: say it with --time-zone (--time-zone Europe/Berlin), or take it as UTC with \
                 --assume-utc"
            }
            Self::CreatedAtRange => "created_at is before the year 2000, or more than a day ahead",
            Self::Duplicate => "an earlier row has this id",
            Self::Unstorable => "it holds what the ledger cannot store",
            Self::PoolExhausted => "no number of the restaurant is free: run again when some are",
            Self::RestaurantUnknown => "the restaurant has no settings, and auto_provision is off: give it some",
        }
    }
}

impl Reason for Adjusted {
    fn code(self) -> &'static str {
        match self {
            Self::Encoding => "characters_taken_out",
            Self::Cut => "text_cut",
            Self::LeftOut => "field_left_out",
            Self::Time => "time_moved",
            Self::NumberUnclear => "number_not_read",
            Self::NumberChanged => "number_changed",
            Self::Future => "time_in_future",
            Self::ZoneAssumed => "zone_assumed",
            Self::NoZone => "time_without_zone",
            Self::TimeTwice => "time_exists_twice",
            Self::DateAlone => "date_alone",
        }
    }

    fn explained(self) -> &'static str {
        match self {
            Self::Encoding => "characters that cannot be stored were taken out",
            Self::Cut => "a text was too long, and is cut",
            Self::LeftOut => "a field made no sense, and is left out",
            Self::Time => "a time lay before created_at or in the future, and is moved there or to now",
            Self::NumberUnclear => {
                "it is not clear which number was shown; what was shown is kept, and found by search"
            }
            Self::NumberChanged => {
                "its number was not to be had: the old one → the new one; the old one leads to it, too"
            }
            Self::Future => "created_at lies in the future, and is kept",
            Self::ZoneAssumed => "a time had no zone, and is taken as UTC",
            Self::NoZone => {
                "a time had no zone, and is not taken: it is left out, and an open order counts as made at the latest \
                 moment that it can mean; use --time-zone or --assume-utc"
            }
            Self::TimeTwice => "a local time was twice, as clocks were put back; the first one that fits is taken",
            Self::DateAlone => "a date had no time of the day, and is taken as the beginning of that day",
        }
    }
}

/// Longer values are cut in reports.
const MAX_DETAIL_CHARS: usize = 120;

impl<R> Remark<R> {
    pub(super) fn new(reason: R, detail: impl AsRef<str>) -> Self {
        // What stands in a file does not get to a terminal as it is.
        let mut shown: String = detail.as_ref().chars().take(MAX_DETAIL_CHARS + 1).collect();
        if let Some((at, _)) = shown.char_indices().nth(MAX_DETAIL_CHARS) {
            shown.truncate(at);
            shown.push('…');
        }
        let detail = shown.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] });
        Self { reason, detail: detail.collect() }
    }

    /// About a value that makes no sense.
    pub(super) fn shown(reason: R, value: &Value) -> Self {
        match value {
            Value::Null => Self::new(reason, "there is none"),
            value => Self::new(reason, value.to_string()),
        }
    }

    /// Says first which field it is about.
    pub(super) fn about(self, what: &str) -> Self {
        Self { detail: format!("{what}: {}", self.detail), ..self }
    }
}

impl From<&BackFillRefusal> for Remark<Skipped> {
    fn from(refusal: &BackFillRefusal) -> Self {
        let reason = match refusal {
            BackFillRefusal::PoolExhausted(_) => Skipped::PoolExhausted,
            BackFillRefusal::RestaurantUnknown(_) => Skipped::RestaurantUnknown,
            BackFillRefusal::Content(_) => Skipped::Unstorable,
        };
        Self::new(reason, refusal.to_string())
    }
}
