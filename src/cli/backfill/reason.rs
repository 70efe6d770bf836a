//! Why rows are skipped, and what is put right about others.

use std::fmt::Debug;

use serde_json::Value;

use crate::service::BackFillRefusal;

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
    Id,
    Restaurant,
    Status,
    CreatedAt,
    CreatedAtRange,
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
}

impl Reason for Skipped {
    fn code(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Id => "bad_id",
            Self::Restaurant => "bad_restaurant_id",
            Self::Status => "unknown_status",
            Self::CreatedAt => "bad_created_at",
            Self::CreatedAtRange => "created_at_out_of_range",
            Self::Duplicate => "duplicate_id",
            Self::Unstorable => "unstorable",
            Self::PoolExhausted => "pool_exhausted",
            Self::RestaurantUnknown => "restaurant_unknown",
        }
    }

    fn explained(self) -> &'static str {
        match self {
            Self::Unreadable => "not a row: broken JSON, another number of fields than the header, or far too long",
            Self::Id => "id is missing, or no text and no whole number",
            Self::Restaurant => "restaurant_id is not a whole number from 1 to 2147483647",
            Self::Status => "status is missing, or no name of a status that is known",
            Self::CreatedAt => "created_at is missing, or no time",
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
            Self::Encoding => "characters_replaced",
            Self::Cut => "text_cut",
            Self::LeftOut => "field_left_out",
            Self::Time => "time_moved",
        }
    }

    fn explained(self) -> &'static str {
        match self {
            Self::Encoding => "characters that cannot be stored were replaced or taken out",
            Self::Cut => "a text was too long, and is cut",
            Self::LeftOut => "a field made no sense, and is left out",
            Self::Time => "a time lay before created_at or in the future, and is moved there or to now",
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
