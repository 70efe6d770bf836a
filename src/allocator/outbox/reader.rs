//! Reading the outboxes of all servers, each at its own pace.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::Notify,
    task::{JoinError, JoinHandle, JoinSet},
};

use super::OutboxEntries;
use crate::{
    allocator::{Allocator, AllocatorError, Pulse},
    domain::PartitionId,
};

/// How often it is asked whether anything was written that this daemon has not seen: others write there, too. Where something
/// was, all outboxes are read.
const TICK: Duration = Duration::from_millis(100);

/// As [`TICK`], where people wait to see it.
const TICK_OF_FEED: Duration = Duration::from_millis(10);

/// How long those that have answered wait for a server that has not. Its answer is taken when it comes.
const GRACE: Duration = Duration::from_millis(200);

/// How long a server is left alone that gave no usable answer.
const REST: Duration = Duration::from_secs(1);

/// A position in each of some outboxes: the sequence that is the last one before what is asked for.
type Positions = HashMap<PartitionId, u64>;

/// Reads outboxes, those of each server by themselves: one that is slow or unreachable does not hold up the others.
pub struct OutboxReader {
    allocator: Allocator,
    /// One read for each server at a time.
    reads: JoinSet<Answer>,
    /// The partitions that a read is under way for, and since when.
    under_way: HashMap<PartitionId, Instant>,
    /// Partitions whose last read failed, and until when their server is left alone.
    failing: HashMap<PartitionId, Instant>,
    /// Positions behind which nothing was found, and nothing was written since.
    empty: Positions,
    listener: Option<Listener>,
    bell: Bell,
    /// When it was last found that something had been written: reads from before say nothing of it.
    written_at: Instant,
}

impl OutboxReader {
    /// Reads from outboxes; connects with the first read.
    #[must_use]
    pub fn new(allocator: Allocator) -> Self {
        Self::waiting_for(allocator, Bell::Writer)
    }

    /// As [`Self::new`], for what is shown to people: it notices soon what others write. Only one of these may wait.
    #[must_use]
    pub(crate) fn for_feed(allocator: Allocator) -> Self {
        Self::waiting_for(allocator, Bell::Feed)
    }

    fn waiting_for(allocator: Allocator, bell: Bell) -> Self {
        Self {
            allocator,
            bell,
            reads: JoinSet::new(),
            under_way: HashMap::new(),
            failing: HashMap::new(),
            empty: HashMap::new(),
            listener: None,
            written_at: Instant::now(),
        }
    }

    /// Begins to read at most `count` entries of each partition behind its position, for the next [`Self::read`] to find.
    pub fn read_ahead(&mut self, positions: &[(PartitionId, u64)], count: usize) {
        self.begin(positions, count);
    }

    /// Reads at most `count` entries of each partition behind its position, or as many as a read asked for that is under
    /// way. With `block`, waits that long for the first one. Partitions without new entries are left out. May be dropped
    /// half-way.
    ///
    /// # Errors
    /// When there is no entry, and Redis gives no usable answer: with `block` for no partition, else for any of them.
    pub async fn read(
        &mut self,
        positions: &[(PartitionId, u64)],
        count: usize,
        block: Option<Duration>,
    ) -> Result<OutboxEntries, AllocatorError> {
        match block {
            Some(block) => self.wait(positions, count, block).await,
            None => self.read_now(positions, count).await,
        }
    }

    async fn read_now(
        &mut self,
        positions: &[(PartitionId, u64)],
        count: usize,
    ) -> Result<OutboxEntries, AllocatorError> {
        loop {
            let round = self.round(positions, positions, count, Patience::Long).await;
            let is_late = |(partition, _): &(PartitionId, u64)| self.under_way.contains_key(partition);
            match round.error {
                _ if !round.entries.is_empty() => return Ok(round.entries),
                Some(error) => return Err(error),
                // That was nothing to go by, and its server can be asked now.
                None if round.took_old => {}
                None if positions.iter().any(is_late) => {
                    return Err(AllocatorError::NoConnection("no answer yet".to_owned()));
                }
                None => return Ok(Vec::new()),
            }
        }
    }

    /// What this daemon has seen is read at once, what others wrote is noticed at a tick.
    async fn wait(
        &mut self,
        positions: &[(PartitionId, u64)],
        count: usize,
        block: Duration,
    ) -> Result<OutboxEntries, AllocatorError> {
        let deadline = Instant::now() + block;
        let listener = self.listener.get_or_insert_with(|| Listener::start(self.allocator.clone(), self.bell.tick()));
        let written = Arc::clone(&listener.written);
        self.heed(&written);
        let mut ask = self.behind(positions);
        loop {
            let now = Instant::now();
            ask.retain(|(partition, _)| self.failing.get(partition).is_none_or(|until| *until <= now));
            let round = self.round(&ask, positions, count, Patience::Short).await;
            if !round.entries.is_empty() {
                return Ok(round.entries);
            }
            if let Some(error) = round.error
                && positions.iter().all(|(partition, _)| self.failing.contains_key(partition))
            {
                return Err(error);
            }
            if Instant::now() >= deadline {
                return Ok(Vec::new());
            }
            if round.took_old {
                // Its server can be asked now.
                ask = self.behind(positions);
                continue;
            }
            tokio::select! {
                () = self.allocator.partition_moved(self.bell) => {}
                () = written.notify.notified() => {}
                () = tokio::time::sleep(TICK) => {}
            }
            self.heed(&written);
            ask = self.behind(positions);
        }
    }

    /// Where any process wrote, nothing is known to be empty any more, by no read that was asked for before.
    fn heed(&mut self, written: &Written) {
        if written.flag.swap(false, Ordering::AcqRel) {
            self.empty.clear();
            self.written_at = Instant::now();
        }
    }

    /// Whether the server of a partition did not answer when it was last read: it may hold up its callers.
    #[must_use]
    pub(crate) fn is_unreachable(&self, partition: PartitionId) -> bool {
        self.failing.contains_key(&partition)
            || self.under_way.get(&partition).is_some_and(|since| since.elapsed() > GRACE)
    }

    /// The partitions of which there may be more than was read.
    fn behind(&self, positions: &[(PartitionId, u64)]) -> Vec<(PartitionId, u64)> {
        let is_behind = |(partition, position): &&(PartitionId, u64)| {
            self.empty.get(partition) != Some(position) || self.allocator.known_sequence(*partition).1 > *position
        };
        positions.iter().filter(is_behind).copied().collect()
    }

    /// Begins a read of `ask` for each server that has none under way, waits for these, and takes what has come of all.
    /// Once some have answered the rest is not waited for long, and neither are those from before.
    async fn round(
        &mut self,
        ask: &[(PartitionId, u64)],
        positions: &[(PartitionId, u64)],
        count: usize,
        for_old: Patience,
    ) -> Round {
        let positions: Positions = positions.iter().copied().collect();
        let mut round = Round::default();
        let began = Instant::now();
        self.begin(ask, count);
        loop {
            while let Some(joined) = self.reads.try_join_next() {
                self.take(joined, &positions, began, &mut round);
            }
            let Some(youngest) = self.under_way.values().max() else { return round };
            let is_own = *youngest >= began;
            let only_hope = !round.answered && (is_own || (for_old == Patience::Long && round.error.is_none()));
            let patience = if only_hope { Duration::MAX } else { GRACE.saturating_sub(youngest.elapsed()) };
            match tokio::time::timeout(patience, self.reads.join_next()).await {
                Ok(Some(joined)) => self.take(joined, &positions, began, &mut round),
                Ok(None) | Err(_) => return round,
            }
        }
    }

    fn begin(&mut self, ask: &[(PartitionId, u64)], count: usize) {
        let free = |(partition, _): &(PartitionId, u64)| !self.under_way.contains_key(partition);
        let positions: Positions = ask.iter().copied().filter(free).collect();
        for group in self.allocator.connections.groups(positions.keys().copied()) {
            let asked = Instant::now();
            self.under_way.extend(group.iter().map(|partition| (*partition, asked)));
            let from: Vec<(PartitionId, u64)> =
                group.iter().map(|partition| (*partition, positions[partition])).collect();
            let allocator = self.allocator.clone();
            self.reads.spawn(async move {
                let read = allocator.outboxes(&from, count).await;
                Answer { asked, from: from.into_iter().collect(), read }
            });
        }
    }

    fn take(&mut self, joined: Result<Answer, JoinError>, positions: &Positions, began: Instant, round: &mut Round) {
        let Ok(Answer { asked, from, read }) = joined else {
            // It panicked, and it is not known for which partitions: all may be read again.
            self.under_way.clear();
            round.error = Some(AllocatorError::Bug("a read of outboxes panicked".to_owned()));
            return;
        };
        self.under_way.retain(|partition, _| !from.contains_key(partition));
        round.took_old |= asked < began;
        match read {
            Ok((read, unread)) => {
                round.answered = true;
                self.failing.retain(|partition, _| !from.contains_key(partition));
                if asked >= self.written_at {
                    let found: HashSet<PartitionId> = read.iter().map(|(partition, _)| *partition).collect();
                    let is_empty = |partition| !found.contains(partition) && !unread.contains(partition);
                    self.empty.extend(from.iter().filter(|(partition, _)| is_empty(partition)));
                }
                for (partition, mut entries) in read {
                    // Another one writes what is not asked for any more. And what was read ahead does not go on where
                    // the ledger stands if that did not get so far.
                    let Some(position) = positions.get(&partition).filter(|at| from[&partition] <= **at) else {
                        continue;
                    };
                    // A late answer may repeat what was written meanwhile.
                    entries.retain(|entry| entry.sequence > *position);
                    if !entries.is_empty() {
                        round.entries.push((partition, entries));
                    }
                }
            }
            Err(error) => {
                // Said aloud once, not at each try.
                if from.keys().all(|partition| !self.failing.contains_key(partition)) {
                    tracing::warn!(%error, partitions = from.len(), "outboxes cannot be read");
                }
                let until = Instant::now() + REST;
                self.failing.extend(from.into_keys().map(|partition| (partition, until)));
                round.error = Some(error);
            }
        }
    }
}

/// What wakes a reader that waits. Each has its own: what wakes one does not leave the other asleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::allocator) enum Bell {
    /// That of the write-behind.
    Writer,
    /// That of the feed.
    Feed,
}

impl Bell {
    const fn tick(self) -> Duration {
        match self {
            Self::Writer => TICK,
            Self::Feed => TICK_OF_FEED,
        }
    }
}

/// What came of one server's read.
struct Answer {
    asked: Instant,
    from: Positions,
    /// The entries, and the partitions that could not be read.
    read: Result<(OutboxEntries, Vec<PartitionId>), AllocatorError>,
}

/// Notices at each tick whether anything was written to Redis, by this daemon or by another one.
struct Listener {
    written: Arc<Written>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Written {
    flag: AtomicBool,
    notify: Notify,
}

impl Listener {
    fn start(allocator: Allocator, tick: Duration) -> Self {
        let (written, mut pulse) = (Arc::new(Written::default()), Pulse::new(allocator));
        let says = Arc::clone(&written);
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(tick).await;
                if pulse.has_changed().await {
                    says.flag.store(true, Ordering::Release);
                    says.notify.notify_one();
                }
            }
        });
        Self { written, task }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How long a round waits for reads from before it, where no server has answered and it could begin none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Until their grace is over.
    Short,
    /// Until the first answer: there is no other to be had.
    Long,
}

/// What came of one round of reads.
#[derive(Default)]
struct Round {
    entries: OutboxEntries,
    /// Whether any server answered.
    answered: bool,
    /// Whether any of the answers was to a read from before.
    took_old: bool,
    error: Option<AllocatorError>,
}
