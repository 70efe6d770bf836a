//! Numbers that are kept for tables, or were taken out for a while.

use std::collections::BTreeMap;

use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Timestamp, storable::storable_and_not_blank};

/// What is special about some numbers of a restaurant. It is kept with the restaurant's settings, and changed by calls of
/// its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpecialNumbers {
    /// Number → the table that it is kept for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reservations: BTreeMap<u32, String>,
    /// Number → why and until when it is taken out. What is over may still be here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub quarantine: BTreeMap<u32, Quarantine>,
}

/// Why a number was taken out, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Quarantine {
    /// Why, for people: 1 to 200 characters.
    #[garde(length(chars, max = 200), custom(storable_and_not_blank))]
    #[schema(min_length = 1, max_length = 200)]
    pub reason: String,
    /// Until when; null: until it is put back.
    #[serde(default)]
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

impl Quarantine {
    /// Whether it is not over.
    #[must_use]
    pub(crate) fn lasts(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

impl SpecialNumbers {
    /// Whether there are none.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The number that is kept for a table.
    #[must_use]
    pub(crate) fn number_for(&self, table: &str) -> Option<u32> {
        self.reservations.iter().find(|(_, of)| *of == table).map(|(number, _)| *number)
    }
}
