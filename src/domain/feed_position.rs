//! Where a feed stands.

use std::{fmt, str::FromStr};

/// An event's place in the outbox of its partition. Written `<generation>-<sequence>`, as the id of a feed's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FeedPosition {
    /// Which build of the partition's data it belongs to.
    pub generation: u64,
    /// Counts the events of the generation, those of other restaurants among them.
    pub sequence: u64,
}

/// What is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a position is two whole numbers, such as 3-1207")]
pub(crate) struct NoPosition;

impl FromStr for FeedPosition {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let number = |text: &str| {
            let is_plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            is_plain.then(|| text.parse().ok()).flatten().ok_or(NoPosition)
        };
        let (generation, sequence) = text.split_once('-').ok_or(NoPosition)?;
        Ok(Self { generation: number(generation)?, sequence: number(sequence)? })
    }
}

impl fmt::Display for FeedPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.generation, self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_are_written() {
        for text in ["0-0", "3-1207", "18446744073709551615-18446744073709551615"] {
            assert_eq!(text.parse::<FeedPosition>().map(|position| position.to_string()), Ok(text.to_owned()));
        }
        for bad in ["", "-", "3", "3-", "-7", "3-7-1", "+3-7", "3- 7", "three-7", "18446744073709551616-0", "3-7\n"] {
            assert_eq!(bad.parse::<FeedPosition>(), Err(NoPosition), "{bad:?}");
        }
    }
}
