//! What this daemon knows of each partition: whether it is open, under which generation, and how far it has come.

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::domain::{PartitionId, RestaurantId};

/// Why a partition is not served.
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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(Arc<str>);

impl RunId {
    /// From `INFO`: `run_id`, and `master_replid2`, which is all zeros on a server that was never promoted.
    #[must_use]
    pub(crate) fn new(run_id: &str, replid2: &str) -> Self {
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
    pub(crate) fn continues(&self, then: &Self) -> bool {
        self.0 == then.0 || (!self.0.contains('+') && self.is_process_of(then))
    }

    /// Whether both are the same process, promoted meanwhile or not.
    pub(super) fn is_process_of(&self, other: &Self) -> bool {
        self.0.split('+').next() == other.0.split('+').next()
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

/// An instant in this daemon's knowledge: which eras had begun. Taken before a change, it tells afterwards whether the
/// change was made in the era that still is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(u64);

/// A change that was made in the present generation of its partition, on the present server.
#[derive(Debug, Clone)]
pub struct Mark {
    pub(super) partition: PartitionId,
    sequence: u64,
    era: Arc<Era>,
}

impl Mark {
    /// The server that it was made on.
    pub(super) fn run_id(&self) -> &RunId {
        &self.era.run_id
    }

    fn is_durable(&self) -> bool {
        self.era.durable.load(Relaxed) >= self.sequence
    }
}

pub(super) struct Partitions {
    all: Vec<Partition>,
    /// Eras that have begun, in all partitions.
    eras: RwLock<u64>,
    /// How many events waited when they were counted last.
    backlog: AtomicU64,
    born: Instant,
    /// Told when a partition is closed: a task has to see why.
    pub(super) closed: Notify,
    /// Told when a new sequence is seen: a task has to write it.
    pub(super) moved: Notify,
    /// As `moved`, for the feed: people wait to see it.
    pub(super) told: Notify,
    /// Told when a caller begins to wait for the ledger.
    pub(super) awaited: Notify,
}

struct Partition {
    era: ArcSwap<Era>,
    /// Told when the ledger has come further, or another era begins.
    settled: Notify,
    reason: RwLock<String>,
}

/// What is known of one generation on one server. Sequences of another one say nothing about it, and a late answer from
/// before must not count for it.
#[derive(Debug)]
struct Era {
    /// Counts the eras of all partitions, in the order in which they began.
    ordinal: u64,
    /// 0 before the first one.
    generation: u64,
    run_id: RunId,
    open: AtomicBool,
    /// The highest sequence that this daemon has seen. A server that is behind it has lost something.
    known: AtomicU64,
    /// The sequence up to which the ledger is durable, as far as this daemon knows.
    durable: AtomicU64,
    /// The highest sequence that a caller has waited for the ledger to have.
    awaited: AtomicU64,
}

/// How many events waited at a time, in one word, so that both are of one count.
struct Backlog {
    at_ms: u64,
    events: u64,
}

impl Backlog {
    /// No half of a limit (500 at least) fills up in this time.
    const GOOD_FOR_MS: u64 = 5;
    const EVENT_BITS: u32 = 32;

    fn pack(self) -> u64 {
        let most = (1 << Self::EVENT_BITS) - 1;
        self.at_ms << Self::EVENT_BITS | self.events.min(most)
    }

    fn unpack(word: u64) -> Self {
        Self { at_ms: word >> Self::EVENT_BITS, events: word & ((1 << Self::EVENT_BITS) - 1) }
    }
}

impl Partitions {
    pub(super) fn new(count: u16) -> Self {
        let all = (0..count)
            .map(|_| Partition {
                settled: Notify::new(),
                era: ArcSwap::from_pointee(Era {
                    ordinal: 0,
                    generation: 0,
                    run_id: RunId::recorded(""),
                    open: AtomicBool::new(false),
                    known: AtomicU64::new(0),
                    durable: AtomicU64::new(0),
                    awaited: AtomicU64::new(0),
                }),
                reason: RwLock::new("not opened yet".to_owned()),
            })
            .collect();
        let (backlog, born) = (AtomicU64::new(u64::MAX), Instant::now());
        Self {
            all,
            eras: RwLock::new(0),
            backlog,
            born,
            closed: Notify::new(),
            moved: Notify::new(),
            told: Notify::new(),
            awaited: Notify::new(),
        }
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
            // Counted and put in place under the lock: a reader that sees the count sees the era.
            let mut eras = self.eras.write().unwrap_or_else(PoisonError::into_inner);
            *eras += 1;
            state.era.store(Arc::new(Era {
                ordinal: *eras,
                generation,
                run_id: run_id.clone(),
                open: AtomicBool::new(true),
                known: AtomicU64::new(sequence),
                durable: AtomicU64::new(durable),
                awaited: AtomicU64::new(0),
            }));
        }
        state.settled.notify_waiters();
        self.has_moved();
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
        let state = &self.all[partition.index()];
        let era = state.era.load();
        if era.generation == generation {
            state.reason.write().unwrap_or_else(PoisonError::into_inner).clone_from(&reason);
            if era.open.swap(false, Relaxed) {
                self.closed.notify_one();
            }
        }
        Closed { partition, reason }
    }

    pub(super) fn saw(&self, partition: PartitionId, generation: u64, sequence: u64) {
        let era = self.all[partition.index()].era.load();
        if era.generation == generation && era.known.fetch_max(sequence, Relaxed) < sequence {
            self.has_moved();
        }
    }

    fn has_moved(&self) {
        self.moved.notify_one();
        self.told.notify_one();
    }

    /// The generation that this daemon knew last, and the highest sequence of it that it has seen.
    pub(super) fn known(&self, partition: PartitionId) -> (u64, u64) {
        let era = self.all[partition.index()].era.load();
        (era.generation, era.known.load(Relaxed))
    }

    pub(super) fn made_durable(&self, partition: PartitionId, generation: u64, sequence: u64) {
        let state = &self.all[partition.index()];
        let era = state.era.load();
        if era.generation == generation && era.durable.fetch_max(sequence, Relaxed) < sequence {
            state.settled.notify_waiters();
        }
    }

    pub(super) fn moment(&self) -> Moment {
        Moment(*self.eras.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The mark of a change that was made since; None where another era has begun, since the change may belong to the
    /// one before. Without a `sequence` it stands for all that this daemon has seen.
    pub(super) fn mark(&self, since: Moment, partition: PartitionId, sequence: Option<u64>) -> Option<Mark> {
        let era = self.all[partition.index()].era.load_full();
        let sequence = sequence.unwrap_or_else(|| era.known.load(Relaxed));
        (era.ordinal <= since.0).then_some(Mark { partition, sequence, era })
    }

    /// Waits until the ledger has a change, as far as this daemon knows; false where another era begins before.
    pub(super) async fn durable_at(&self, mark: &Mark) -> bool {
        let state = &self.all[mark.partition.index()];
        loop {
            let settled = state.settled.notified();
            if mark.is_durable() {
                return true;
            }
            if !Arc::ptr_eq(&state.era.load(), &mark.era) {
                return false;
            }
            if mark.era.awaited.fetch_max(mark.sequence, Relaxed) < mark.sequence {
                self.awaited.notify_one();
            }
            settled.await;
        }
    }

    /// The open partitions of which a caller waits for the ledger to have more, and where it stands, as far as this
    /// daemon knows.
    pub(super) fn awaited(&self) -> Vec<(PartitionId, u64)> {
        let of = |(partition, state): (PartitionId, &Partition)| {
            let era = state.era.load();
            let durable = era.durable.load(Relaxed);
            let is_awaited = era.open.load(Relaxed) && era.awaited.load(Relaxed) > durable;
            is_awaited.then_some((partition, durable))
        };
        PartitionId::all(self.count()).zip(&self.all).filter_map(of).collect()
    }

    /// The sequence up to which the ledger is durable, as far as this daemon knows.
    pub(super) fn durable(&self, partition: PartitionId) -> u64 {
        self.all[partition.index()].era.load().durable.load(Relaxed)
    }

    /// Events of all partitions that the ledger does not have yet.
    pub(super) fn undurable(&self) -> u64 {
        let waiting = self.all.iter().map(|state| {
            let era = state.era.load();
            era.known.load(Relaxed).saturating_sub(era.durable.load(Relaxed))
        });
        waiting.sum()
    }

    /// As [`Partitions::undurable`], where it is at least `limit`. Far from the limit it is counted now and then only.
    pub(super) fn undurable_past(&self, limit: u64) -> Option<u64> {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last = Backlog::unpack(self.backlog.load(Relaxed));
        if now.saturating_sub(last.at_ms) < Backlog::GOOD_FOR_MS && last.events < limit / 2 {
            return None;
        }
        let events = self.undurable();
        self.backlog.store(Backlog { at_ms: now, events }.pack(), Relaxed);
        (events >= limit).then_some(events)
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

    #[tokio::test]
    async fn a_change_is_durable_when_the_ledger_has_its_generation_and_sequence() {
        let (partitions, p) = (Partitions::new(2), PartitionId::new(0));
        let run_id = RunId::new("a", ZEROS);
        partitions.open(p, 1, &run_id, 10, 5);
        let before = partitions.moment();
        let mark = partitions.mark(before, p, Some(6)).expect("no other era has begun");
        let mut durable = Box::pin(partitions.durable_at(&mark));
        assert!(futures_util::poll!(&mut durable).is_pending());
        partitions.made_durable(p, 2, 6);
        assert!(futures_util::poll!(&mut durable).is_pending(), "another generation");
        partitions.made_durable(p, 1, 6);
        assert!(durable.await);

        // Without a sequence it stands for all that was seen.
        let mark = partitions.mark(before, p, None).expect("no other era has begun");
        let mut durable = Box::pin(partitions.durable_at(&mark));
        partitions.made_durable(p, 1, 9);
        assert!(futures_util::poll!(&mut durable).is_pending());
        partitions.open(PartitionId::new(1), 7, &run_id, 0, 0);
        assert!(partitions.mark(before, p, None).is_some(), "another partition's era is no matter");
        partitions.open(p, 2, &run_id, 10, 10);
        assert!(!durable.await, "of the old generation no more is heard");
        assert!(partitions.mark(before, p, Some(6)).is_none(), "it may have been made in the era before");
        assert!(partitions.mark(partitions.moment(), p, Some(6)).is_some());
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
