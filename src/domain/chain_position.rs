//! Where a feed of the whole chain stands.

use std::{collections::BTreeMap, fmt, str::FromStr};

use super::{FeedPosition, NoPosition, PartitionId};

/// How far each partition was read. Written as the partitions with their positions: `0:3-1207,1:3-99`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ChainPosition(BTreeMap<PartitionId, FeedPosition>);

impl ChainPosition {
    pub(crate) fn of(partitions: impl IntoIterator<Item = (PartitionId, FeedPosition)>) -> Self {
        Self(partitions.into_iter().collect())
    }

    /// Each of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PartitionId, FeedPosition)> {
        self.0.iter().map(|(partition, position)| (*partition, *position))
    }

    /// How far a partition was read; None where it was not.
    #[must_use]
    pub(crate) fn get(&self, partition: PartitionId) -> Option<FeedPosition> {
        self.0.get(&partition).copied()
    }
}

impl fmt::Display for ChainPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (partition, position)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{partition}:{position}")?;
        }
        Ok(())
    }
}

impl FromStr for ChainPosition {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let mut positions = BTreeMap::new();
        for one in text.split(',') {
            let (partition, position) = one.split_once(':').ok_or(NoPosition)?;
            let partition = Some(partition).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
            let partition = partition.and_then(|digits| digits.parse().ok()).ok_or(NoPosition)?;
            if positions.insert(PartitionId::new(partition), position.parse()?).is_some() {
                return Err(NoPosition);
            }
        }
        Ok(Self(positions))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn positions_are_read_as_they_are_written(
            positions in prop::collection::btree_map(0_u16..64, (any::<u64>(), any::<u64>()), 1..64)
        ) {
            let of = |(partition, (generation, sequence))| {
                (PartitionId::new(partition), FeedPosition { generation, sequence })
            };
            let position = ChainPosition::of(positions.into_iter().map(of));
            prop_assert_eq!(position.to_string().parse::<ChainPosition>(), Ok(position));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9:,-]{0,40}") {
            let _ = text.parse::<ChainPosition>();
        }
    }

    #[test]
    fn what_is_cut_short_or_there_twice_is_no_position() {
        for bad in ["", "0", "0:", "0:3", "0:3-", "0:3-7,", ",0:3-7", "0:3-7,0:3-8", "+1:3-7", "65536:1-1", ":3-7"] {
            assert_eq!(bad.parse::<ChainPosition>(), Err(NoPosition), "{bad}");
        }
    }
}
