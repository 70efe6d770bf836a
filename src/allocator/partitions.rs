//! What this daemon knows of each partition: whether it is open, under which generation, and how far it has come.

use std::sync::{
    PoisonError, RwLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

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

pub(super) struct Partitions {
    all: Vec<Partition>,
}

struct Partition {
    /// 0 while closed.
    generation: AtomicU64,
    /// The highest sequence that this daemon has seen. A server that is behind it has lost something.
    known: AtomicU64,
    /// The sequence up to which the ledger is durable, as far as this daemon knows.
    durable: AtomicU64,
    reason: RwLock<String>,
}

impl Partitions {
    pub(super) fn new(count: u16) -> Self {
        let all = (0..count)
            .map(|_| Partition {
                generation: AtomicU64::new(0),
                known: AtomicU64::new(0),
                durable: AtomicU64::new(0),
                reason: RwLock::new("not opened yet".to_owned()),
            })
            .collect();
        Self { all }
    }

    pub(super) fn count(&self) -> u16 {
        u16::try_from(self.all.len()).expect("made from a u16")
    }

    pub(super) fn of(&self, restaurant: RestaurantId) -> PartitionId {
        restaurant.partition(self.count())
    }

    /// The generation and the highest sequence known, which every call of a script carries.
    pub(super) fn fence(&self, partition: PartitionId) -> Result<(u64, u64), Closed> {
        let state = &self.all[partition.index()];
        match state.generation.load(Relaxed) {
            0 => Err(Closed { partition, reason: state.reason.read().unwrap_or_else(PoisonError::into_inner).clone() }),
            generation => Ok((generation, state.known.load(Relaxed))),
        }
    }

    pub(super) fn open(&self, partition: PartitionId, generation: u64, sequence: u64, durable: u64) {
        let state = &self.all[partition.index()];
        state.known.fetch_max(sequence, Relaxed);
        state.durable.fetch_max(durable, Relaxed);
        state.generation.store(generation, Relaxed);
    }

    pub(super) fn close(&self, partition: PartitionId, reason: String) -> Closed {
        let state = &self.all[partition.index()];
        state.generation.store(0, Relaxed);
        state.reason.write().unwrap_or_else(PoisonError::into_inner).clone_from(&reason);
        Closed { partition, reason }
    }

    pub(super) fn saw(&self, partition: PartitionId, sequence: u64) {
        self.all[partition.index()].known.fetch_max(sequence, Relaxed);
    }

    pub(super) fn known(&self, partition: PartitionId) -> u64 {
        self.all[partition.index()].known.load(Relaxed)
    }

    pub(super) fn made_durable(&self, partition: PartitionId, sequence: u64) {
        self.all[partition.index()].durable.fetch_max(sequence, Relaxed);
    }

    pub(super) fn durable(&self, partition: PartitionId) -> u64 {
        self.all[partition.index()].durable.load(Relaxed)
    }

    pub(super) fn closed(&self) -> Vec<Closed> {
        PartitionId::all(self.count()).filter_map(|partition| self.fence(partition).err()).collect()
    }
}
