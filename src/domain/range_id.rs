//! What ranges are called.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What a range is called: 1 to 16 small letters, digits, `-` and `_`; never `main`, which is the range that
/// `min_number`, `max_number`, `policy` and `format` describe.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RangeId(String);

/// What is no name of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 16 small letters, digits, - or _, and not main")]
pub struct InvalidRangeId;

impl RangeId {
    /// What the range is called that is no further one.
    pub const MAIN: &str = "main";

    /// What a range is called, where None is the main one.
    #[must_use]
    pub fn name(range: Option<&Self>) -> &str {
        range.map_or(Self::MAIN, Self::as_str)
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RangeId {
    type Err = InvalidRangeId;

    fn from_str(text: &str) -> Result<Self, InvalidRangeId> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if (1..=16).contains(&text.len()) && text.bytes().all(is_plain) && text != Self::MAIN {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidRangeId)
    }
}

impl TryFrom<String> for RangeId {
    type Error = InvalidRangeId;

    fn try_from(text: String) -> Result<Self, InvalidRangeId> {
        text.parse()
    }
}

impl From<RangeId> for String {
    fn from(id: RangeId) -> Self {
        id.0
    }
}

impl fmt::Display for RangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
