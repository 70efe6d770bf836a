//! What this daemon knows of each partition: whether it is open, under which generation, and how far it has come.

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::domain::{PartitionId, RestaurantId};

/// Why a partition serves nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("partition {partition} is closed: {reason}")]
pub struct Closed {
    /// The partition.
    pub partition: PartitionId,
    /// One sentence.
    pub reason: String,
}

/// The identity that a Redis server took when it started, and, where it was promoted since, the promotion.
///
/// Written `run_id`, or `run_id+replid2` for a server that was promoted: its replication id before the promotion
/// (`master_replid2`) tells two promotions of one process apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RunId(Arc<str>);

impl RunId {
    /// From `INFO`: `run_id`, and `master_replid2`, which is all zeros on a server that was never promoted.
    #[must_use]
    pub fn new(run_id: &str, replid2: &str) -> Self {
        match replid2.trim_start_matches('0') {
            "" => Self(run_id.into()),
            _ => Self(format!("{run_id}+{replid2}").into()),
        }
    }

    /// As it was recorded.
    #[must_use]
    pub fn recorded(text: &str) -> Self {
        Self(text.into())
    }

    /// As it is recorded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a server that shows `self` now has been the same master ever since it showed `then`. A server forgets its
    /// promotion when its replicas have been gone for long, so a missing one says nothing.
    #[must_use]
    pub fn continues(&self, then: &Self) -> bool {
        let process = |text: &str| text.split('+').next().unwrap_or_default().to_owned();
        self.0 == then.0 || (!self.0.contains('+') && *self.0 == process(&then.0))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a call of a partition must find: the server, the generation, and the highest sequence that this daemon has seen.
#[derive(Debug, Clone)]
pub(super) struct Fence {
    pub(super) partition: PartitionId,
    pub(super) generation: u64,
    pub(super) known: u64,
    pub(super) run_id: RunId,
}

pub(super) struct Partitions {
    all: Vec<Partition>,
    /// Told when a partition is closed: somebody has to see why.
    pub(super) closed: Notify,
    /// Told when a new sequence is seen: somebody has to write it.
    pub(super) moved: Notify,
}

struct Partition {
    era: ArcSwap<Era>,
    reason: RwLock<String>,
}

/// What is known of one generation on one server. Sequences of another one say nothing about it, and a late answer from
/// before must not count for it.
struct Era {
    /// 0 before the first one.
    generation: u64,
    run_id: RunId,
    open: AtomicBool,
    /// The highest sequence that this daemon has seen. A server that is behind it has lost something.
    known: AtomicU64,
    /// The sequence up to which the ledger is durable, as far as this daemon knows.
    durable: AtomicU64,
}

impl Partitions {
    pub(super) fn new(count: u16) -> Self {
        let all = (0..count)
            .map(|_| Partition {
                era: ArcSwap::from_pointee(Era {
                    generation: 0,
                    run_id: RunId::recorded(""),
                    open: AtomicBool::new(false),
                    known: AtomicU64::new(0),
                    durable: AtomicU64::new(0),
                }),
                reason: RwLock::new("not opened yet".to_owned()),
            })
            .collect();
        Self { all, closed: Notify::new(), moved: Notify::new() }
    }

    pub(super) fn count(&self) -> u16 {
        u16::try_from(self.all.len()).expect("made from a u16")
    }

    pub(super) fn of(&self, restaurant: RestaurantId) -> PartitionId {
        restaurant.partition(self.count())
    }

    /// What every call must find.
    pub(super) fn fence(&self, partition: PartitionId) -> Result<Fence, Closed> {
        let state = &self.all[partition.index()];
        let era = state.era.load();
        if !era.open.load(Relaxed) {
            let reason = state.reason.read().unwrap_or_else(PoisonError::into_inner).clone();
            return Err(Closed { partition, reason });
        }
        let known = era.known.load(Relaxed);
        Ok(Fence { partition, generation: era.generation, known, run_id: era.run_id.clone() })
    }

    pub(super) fn is_open(&self, partition: PartitionId) -> bool {
        self.all[partition.index()].era.load().open.load(Relaxed)
    }

    pub(super) fn open(&self, partition: PartitionId, generation: u64, run_id: &RunId, sequence: u64, durable: u64) {
        let state = &self.all[partition.index()];
        let era = state.era.load();
        if era.generation == generation && era.run_id == *run_id {
            era.known.fetch_max(sequence, Relaxed);
            era.durable.fetch_max(durable, Relaxed);
            era.open.store(true, Relaxed);
        } else {
            state.era.store(Arc::new(Era {
                generation,
                run_id: run_id.clone(),
                open: AtomicBool::new(true),
                known: AtomicU64::new(sequence),
                durable: AtomicU64::new(durable),
            }));
        }
        self.moved.notify_one();
    }

    pub(super) fn close(&self, partition: PartitionId, reason: String) -> Closed {
        let state = &self.all[partition.index()];
        state.reason.write().unwrap_or_else(PoisonError::into_inner).clone_from(&reason);
        if state.era.load().open.swap(false, Relaxed) {
            self.closed.notify_one();
        }
        Closed { partition, reason }
    }

    /// Closes a partition unless it has come to another generation since.
    pub(super) fn close_generation(&self, partition: PartitionId, generation: u64, reason: String) -> Closed {
        if self.all[partition.index()].era.load().generation == generation {
            return self.close(partition, reason);
        }
        Closed { partition, reason }
    }

    pub(super) fn saw(&self, partition: PartitionId, generation: u64, sequence: u64) {
        let era = self.all[partition.index()].era.load();
        if era.generation == generation && era.known.fetch_max(sequence, Relaxed) < sequence {
            self.moved.notify_one();
        }
    }

    /// The generation that this daemon knew last, and the highest sequence of it that it has seen.
    pub(super) fn known(&self, partition: PartitionId) -> (u64, u64) {
        let era = self.all[partition.index()].era.load();
        (era.generation, era.known.load(Relaxed))
    }

    pub(super) fn made_durable(&self, partition: PartitionId, generation: u64, sequence: u64) {
        let era = self.all[partition.index()].era.load();
        if era.generation == generation {
            era.durable.fetch_max(sequence, Relaxed);
        }
    }

    /// The sequence up to which the ledger is durable, as far as this daemon knows.
    pub(super) fn durable(&self, partition: PartitionId) -> u64 {
        self.all[partition.index()].era.load().durable.load(Relaxed)
    }

    pub(super) fn closed(&self) -> Vec<Closed> {
        PartitionId::all(self.count()).filter_map(|partition| self.fence(partition).err()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZEROS: &str = "0000000000000000000000000000000000000000";

    #[test]
    fn a_promotion_makes_another_server_of_the_same_process() {
        let plain = RunId::new("a", ZEROS);
        let promoted = RunId::new("a", "17");
        assert!(plain.continues(&plain) && promoted.continues(&promoted));
        assert!(!promoted.continues(&plain), "promoted since");
        assert!(!RunId::new("a", "18").continues(&promoted), "promoted again");
        assert!(plain.continues(&promoted), "the promotion was forgotten");
        assert!(!RunId::new("b", ZEROS).continues(&plain));
        assert_eq!(RunId::recorded(promoted.as_str()), promoted);
    }

    #[test]
    fn what_was_seen_of_one_generation_says_nothing_of_another() {
        let (partitions, p) = (Partitions::new(1), PartitionId::new(0));
        let run_id = RunId::new("a", ZEROS);
        partitions.open(p, 1, &run_id, 10, 5);
        partitions.saw(p, 1, 12);
        assert_eq!(partitions.known(p), (1, 12));
        partitions.open(p, 2, &run_id, 11, 11);
        partitions.saw(p, 1, 13);
        partitions.made_durable(p, 1, 13);
        assert_eq!((partitions.known(p), partitions.durable(p)), ((2, 11), 11));
        partitions.close_generation(p, 1, "late".into());
        assert!(partitions.is_open(p), "a late answer closes nothing");
        partitions.close_generation(p, 2, "lost".into());
        assert_eq!(partitions.fence(p).err().map(|closed| closed.reason), Some("lost".into()));
    }
}
