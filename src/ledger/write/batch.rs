//! What the write-behind hands over, and what it gets back. Which entries of a batch are due is decided here, purely.

use std::collections::HashMap;

use crate::{
    domain::{OutboxEntry, PartitionId, Timestamp},
    ledger::{Collision, Position},
};

/// The next entries of one partition's outbox.
#[derive(Debug, Clone)]
pub struct PartitionBatch {
    /// The partition.
    pub partition: PartitionId,
    /// The generation that they were read from.
    pub generation: u64,
    /// In order, without gaps; the first may have been written already.
    pub entries: Vec<OutboxEntry>,
}

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// How many events were written.
    pub events: usize,
    /// How many entries were put to the dead letters.
    pub dead: usize,
    /// How far each partition that was not busy is written now, those with nothing new included: up to here outboxes
    /// may be trimmed. A partition with a gap is not among them.
    pub positions: Vec<Position>,
    /// Partitions that another writer held; nothing of theirs was written.
    pub busy: Vec<PartitionId>,
    /// Partitions whose entries do not continue what the ledger has; nothing of theirs was written.
    pub gaps: Vec<Gap>,
    /// Orders that claim a number that another one holds.
    pub collisions: Vec<Collision>,
}

/// Entries that do not continue what the ledger has of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// What the ledger has.
    pub recorded: Position,
    /// The generation of the entries.
    pub generation: u64,
    /// The first sequence that is not the one expected; of another generation, the first of all.
    pub found: u64,
}

/// The entries of a batch that are due, all partitions in one list.
#[derive(Debug, Default)]
pub(super) struct Due<'a> {
    pub entries: Vec<DueEntry<'a>>,
    pub positions: Vec<Position>,
    pub gaps: Vec<Gap>,
}

/// An entry that is to be written.
#[derive(Debug, Clone, Copy)]
pub(in crate::ledger) struct DueEntry<'a> {
    pub partition: PartitionId,
    pub generation: u64,
    pub entry: &'a OutboxEntry,
}

impl<'a> Due<'a> {
    /// Leaves out what has been written, and the partitions that do not go on where the ledger stands.
    pub(in crate::ledger) fn of(batch: &'a [PartitionBatch], locked: &[Position]) -> Self {
        let mut due = Self::default();
        for recorded in locked {
            for part in batch.iter().filter(|part| part.partition == recorded.partition) {
                due.take(part, *recorded);
            }
        }
        due
    }

    /// The latest stamp of each partition's events.
    pub(in crate::ledger) fn stamps(&self) -> HashMap<PartitionId, Timestamp> {
        let mut stamps = HashMap::new();
        for due in &self.entries {
            if let Ok(event) = &due.entry.event {
                let latest = stamps.entry(due.partition).or_insert(event.at);
                *latest = event.at.max(*latest);
            }
        }
        stamps
    }

    fn take(&mut self, part: &'a PartitionBatch, recorded: Position) {
        let new = part.entries.partition_point(|entry| entry.sequence <= recorded.sequence);
        let new = part.entries.get(new..).unwrap_or_default();
        let generation = part.generation;
        if recorded.generation != Some(generation) {
            let found = part.entries.first().map_or(0, |entry| entry.sequence);
            self.gaps.push(Gap { recorded, generation, found });
            return;
        }
        let mut next = recorded.sequence;
        for entry in new {
            next += 1;
            if entry.sequence != next {
                self.gaps.push(Gap { recorded, generation, found: entry.sequence });
                return;
            }
        }
        self.entries.extend(new.iter().map(|entry| DueEntry { partition: part.partition, generation, entry }));
        self.positions.push(Position { sequence: next, ..recorded });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: PartitionId = PartitionId::new(3);

    fn due(generation: u64, sequences: &[u64]) -> (Vec<u64>, Vec<u64>, Vec<u64>) {
        let entry =
            |sequence: &u64| OutboxEntry { sequence: *sequence, generation, raw: vec![], event: Err(String::new()) };
        let entries = sequences.iter().map(entry).collect();
        let batch = [PartitionBatch { partition: PARTITION, generation, entries }];
        let due = Due::of(&batch, &[Position { partition: PARTITION, generation: Some(2), sequence: 10 }]);
        (
            due.entries.iter().map(|due| due.entry.sequence).collect(),
            due.positions.iter().map(|position| position.sequence).collect(),
            due.gaps.iter().map(|gap| gap.found).collect(),
        )
    }

    #[test]
    fn only_what_continues_the_ledger_is_due() {
        assert_eq!(due(2, &[11, 12]), (vec![11, 12], vec![12], vec![]));
        assert_eq!(due(2, &[9, 10, 11]), (vec![11], vec![11], vec![]), "written entries are left out");
        assert_eq!(due(2, &[9, 10]), (vec![], vec![10], vec![]), "nothing new is no gap");
        assert_eq!(due(2, &[]), (vec![], vec![10], vec![]));
        assert_eq!(due(2, &[12, 13]), (vec![], vec![], vec![12]));
        assert_eq!(due(2, &[11, 13]), (vec![], vec![], vec![13]), "a hole inside");
        assert_eq!(due(1, &[11, 12]), (vec![], vec![], vec![11]), "an old generation");
        assert_eq!(due(3, &[1]), (vec![], vec![], vec![1]), "a generation that is not open");
    }

    #[test]
    fn partitions_that_are_not_locked_are_left_out() {
        let batch = [PartitionBatch { partition: PARTITION, generation: 2, entries: vec![] }];
        let due = Due::of(&batch, &[]);
        assert!(due.positions.is_empty() && due.gaps.is_empty());
    }
}
