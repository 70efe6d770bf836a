//! The write-behind: moves outbox entries into the ledger.
//!
//! It takes no input: it reads where the ledger stands, reads on from there, writes a batch, and begins again; while
//! much waits it writes in several transactions at once, and the next batch is read meanwhile. What a caller waits for is
//! not left to fill a batch: [`group_commit`] writes it. The ledger stores the
//! position with the data, so a batch that is sent twice, by this daemon or by another, is written once; start-up,
//! fail-over and another daemon's death all take this same path.

mod group_commit;
mod tails;

use std::{
    cmp::Reverse,
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::{JoinError, JoinSet},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use uuid::Uuid;

use self::{
    group_commit::{GroupCommit, PAUSE},
    tails::Tails,
};
use crate::{
    allocator::{Allocator, AllocatorError, KEPT_AFTER_DURABLE, OutboxEntries, OutboxReader, Pulse},
    config::WriteBehindSettings,
    domain::{OrderId, OutboxEntry, PartitionId, TaskResult, Timestamp},
    failpoint,
    ledger::{Gap, Ledger, LedgerError, PartitionBatch, Position, Progress, Written},
    metrics,
};

/// How long a writer that wrote a partition is left alone with it. It only spares others wasted work.
const LEASE: Duration = Duration::from_secs(2);

/// How long a read waits for the first entry, and so how often an idle writer looks around.
const IDLE: Duration = Duration::from_millis(500);

/// A batch of so many entries says that many come.
const MANY: usize = 16;

/// How many times as long a batch may then wait to fill.
const LONGER_WHEN_MANY: u32 = 5;

/// How often the state of the outboxes is measured, and what other writers did is looked up.
const LOOK_AROUND: Duration = Duration::from_secs(1);

/// How long the measuring waits for a server: the others are to be written meanwhile.
const MEASURE_WITHIN: Duration = Duration::from_millis(300);

/// One writer. Several, in several daemons, may run at once.
pub struct WriteBehind {
    allocator: Allocator,
    ledger: Ledger,
    settings: WriteBehindSettings,
    /// How long the last pass may take after the stop.
    drain_deadline: Duration,
    writer: Uuid,
    reader: OutboxReader,
    /// How far the ledger is, for the partitions that this writer may write.
    positions: HashMap<PartitionId, u64>,
    looked_around: Option<Instant>,
    pulse: Pulse,
    /// The oldest event that waited at the last look, and since when it has been that.
    oldest: Option<(Waiting, Instant)>,
    retiring: VecDeque<Retiring>,
    /// Is told what was written, and trims it; None where nothing is written.
    tails: Option<UnboundedSender<Vec<Position>>>,
    backoff: Option<ExponentialBackoff>,
    /// For how long the pass under way has waited for entries.
    waited: Duration,
    /// How many entries of each partition are read at once.
    share: usize,
    /// Entries that the last batch had.
    last_batch: usize,
    /// What the group commit has written, and whether it gets on; None where it does not run.
    group_commit: Option<(UnboundedReceiver<Part>, Arc<AtomicBool>)>,
}

/// An event that waits: when it happened, by its stamp; its partition, generation and sequence.
type Waiting = (Timestamp, PartitionId, u64, u64);

/// What a pass read and wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pass {
    entries: usize,
    /// Whether more waits, as far as that can be told.
    more: bool,
}

/// What became of the part of a batch that one transaction writes.
struct Part {
    written: Written,
    /// The orders that it says are final.
    finished: HashMap<PartitionId, Vec<OrderId>>,
    took: Duration,
}

/// Finished orders that are durable, and leave Redis a while later.
struct Retiring {
    due: Instant,
    partition: PartitionId,
    durable: u64,
    orders: Vec<OrderId>,
}

/// Why a pass did not get to its end.
#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error(transparent)]
    Allocator(#[from] AllocatorError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("a part of a batch panicked: {0}")]
    Panicked(JoinError),
}

impl WriteBehind {
    /// Makes a writer with an identity of its own, whose last pass may take so long after the stop.
    #[must_use]
    pub fn new(allocator: Allocator, ledger: Ledger, settings: WriteBehindSettings, drain_deadline: Duration) -> Self {
        let pulse = Pulse::new(allocator.clone());
        Self {
            reader: OutboxReader::new(allocator.clone()),
            allocator,
            ledger,
            settings,
            drain_deadline,
            writer: Uuid::from_u128(rand::random()),
            positions: HashMap::new(),
            looked_around: None,
            pulse,
            oldest: None,
            retiring: VecDeque::new(),
            tails: None,
            backoff: None,
            waited: Duration::ZERO,
            share: 1,
            last_batch: 0,
            group_commit: None,
        }
    }

    /// Only looks how far others have written, until it is told to stop: for a daemon that leaves the writing to them.
    /// Says of each look how long it took, and how it `ended`.
    pub(crate) async fn watch(mut self, stop: CancellationToken, ended: impl Fn(Duration, TaskResult)) {
        while !stop.is_cancelled() {
            let look = async {
                let began = Instant::now();
                let looked = self.look_around().await;
                ended(began.elapsed(), (&looked).into());
                match looked {
                    Ok(()) => {
                        self.backoff = None;
                        tokio::time::sleep(LOOK_AROUND).await;
                    }
                    Err(error) => self.recover(&error).await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = look => {}
            }
        }
    }

    /// Works until it is told to stop, and then until the outboxes are empty or the deadline has passed. Says of each
    /// pass how long it took, but for its wait for entries, and how it `ended`.
    pub async fn run(mut self, stop: CancellationToken, ended: impl Fn(Duration, TaskResult)) {
        let (tails, positions) = unbounded_channel();
        self.tails = Some(tails);
        let tails = AbortOnDropHandle::new(tokio::spawn(Tails::new(self.allocator.clone(), positions).run()));
        let end_of_group_commit = CancellationToken::new();
        let group_commit = self.start_group_commit(end_of_group_commit.clone());
        let mut waits = true;
        while !stop.is_cancelled() {
            let began = Instant::now();
            self.waited = Duration::ZERO;
            let passed = self.pass(waits, &stop).await;
            ended(began.elapsed().saturating_sub(self.waited), (&passed).into());
            waits = match passed {
                Ok(pass) => {
                    self.backoff = None;
                    !pass.more
                }
                Err(error) => {
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = self.recover(&error) => true,
                    }
                }
            };
        }
        let deadline = self.drain_deadline;
        // The last pass waits for nothing to fill, and leaves nothing to another task.
        let drained = async {
            end_of_group_commit.cancel();
            if let Err(error) = group_commit.await {
                tracing::error!(%error, "the group commit did not come to its end");
            }
            self.drain(&stop).await;
            self.tails = None;
            if let Err(error) = tails.await {
                tracing::error!(%error, "the outboxes were not trimmed to the end");
            }
        };
        if tokio::time::timeout(deadline, drained).await.is_err() {
            tracing::warn!(
                events = self.allocator.undurable_events(),
                "stopped before the ledger had everything; the next start writes the rest from Redis"
            );
        }
    }

    fn start_group_commit(&mut self, stop: CancellationToken) -> AbortOnDropHandle<()> {
        let (written, commits) = unbounded_channel();
        let gets_on = Arc::new(AtomicBool::new(true));
        self.group_commit = Some((commits, Arc::clone(&gets_on)));
        let group_commit = GroupCommit {
            allocator: self.allocator.clone(),
            ledger: self.ledger.clone(),
            writer: self.writer,
            batch_size: self.settings.batch_size,
            written,
            gets_on,
        };
        AbortOnDropHandle::new(tokio::spawn(group_commit.run(stop)))
    }

    /// Writes what is left. What another daemon is writing is left to it.
    async fn drain(&mut self, stop: &CancellationToken) {
        self.looked_around = None;
        loop {
            match self.pass(false, stop).await {
                Ok(Pass { entries: 0, .. }) => return,
                Ok(_) => {}
                Err(error) => self.recover(&error).await,
            }
        }
    }

    /// Waits longer after each failure in a row.
    async fn recover(&mut self, error: &PassError) {
        metrics::batch_failed();
        let wait = self.backoff.get_or_insert_with(backoff).next().unwrap_or(IDLE);
        tracing::warn!(%error, ?wait, "write-behind will try again");
        self.looked_around = None;
        tokio::time::sleep(wait).await;
        // What waits meanwhile must be seen, above all when the ledger is what is unreachable.
        if let Err(error) = self.measure().await {
            tracing::debug!(%error, "the outboxes cannot be measured");
        }
    }

    /// Reads and writes one batch.
    ///
    /// The stop ends its waiting, never its writing: a transaction that no task waits for goes on and holds its
    /// partitions, and the last pass would find them busy and leave them.
    async fn pass(&mut self, waits: bool, stop: &CancellationToken) -> Result<Pass, PassError> {
        const NOTHING: Pass = Pass { entries: 0, more: false };
        if self.looked_around.is_none_or(|at| at.elapsed() >= LOOK_AROUND) {
            self.look_around().await?;
        }
        self.retire_due().await;
        let positions = self.own_positions().await?;
        // All are closed, or other daemons are writing them: the next look around may find otherwise. Or all are left to
        // the group commit, which is soon done with them.
        if positions.is_empty() {
            if waits {
                let began = Instant::now();
                let wait = if self.positions.is_empty() { IDLE } else { PAUSE };
                stop.run_until_cancelled(tokio::time::sleep(wait)).await;
                self.waited += began.elapsed();
            }
            return Ok(NOTHING);
        }
        if waits {
            // The first entry wakes the writer; those that follow it closely share its transaction.
            let began = Instant::now();
            let first = stop.run_until_cancelled(self.reader.read(&positions, 1, Some(IDLE))).await;
            self.waited += began.elapsed();
            let active = first.transpose()?.map_or(0, |first| first.len());
            if active == 0 {
                return Ok(NOTHING);
            }
            self.share = self.share_among(active);
            // While many come, each transaction is worth waiting longer for: its cost is shared by more of them.
            let longer = if self.last_batch >= MANY { LONGER_WHEN_MANY } else { 1 };
            stop.run_until_cancelled(tokio::time::sleep(Duration::from_millis(self.settings.fill_ms) * longer)).await;
        }
        let positions = self.own_positions().await?;
        if positions.is_empty() {
            return Ok(NOTHING);
        }
        let mut read = self.reader.read(&positions, self.share, None).await?;
        // A partition that used up its share has more, and gets more of the next batch than those that did not.
        let unsated = read.iter().filter(|(_, entries)| entries.len() >= self.share).count();
        self.share = self.share_among(if unsated > 0 { unsated } else { read.len() });
        level(&mut read, self.most());
        let batch: Vec<PartitionBatch> = read.into_iter().filter_map(one_generation).collect();
        let entries = entries_of(&batch);
        let pass = Pass { entries, more: unsated > 0 || entries >= self.settings.batch_size };
        self.last_batch = pass.entries;
        if pass.more {
            self.read_ahead(&batch);
        }
        if pass.entries > 0 {
            self.write(batch).await?;
        }
        Ok(pass)
    }

    /// Where the ledger stands with the partitions that are not left to the group commit, after what that has written was
    /// noted.
    async fn own_positions(&mut self) -> Result<Vec<(PartitionId, u64)>, PassError> {
        while let Some(part) = self.group_commit.as_mut().and_then(|(commits, _)| commits.try_recv().ok()) {
            self.note(part).await?;
        }
        let gets_on = |(commits, gets_on): &(UnboundedReceiver<Part>, Arc<AtomicBool>)| {
            gets_on.load(Relaxed) && !commits.is_closed()
        };
        let awaited = match &self.group_commit {
            Some(group_commit) if gets_on(group_commit) => self.allocator.awaited_of_ledger(),
            _ => Vec::new(),
        };
        let is_own = |partition: &PartitionId| awaited.iter().all(|(awaited, _)| awaited != partition);
        Ok(self.positions.iter().filter(|(p, _)| is_own(p)).map(|(p, s)| (*p, *s)).collect())
    }

    /// How many entries are written at once.
    fn most(&self) -> usize {
        self.settings.batch_size * self.settings.transactions
    }

    /// How many entries of each partition are read at once where so many have some: every one gets its share, so that a
    /// busy one does not hold up the others.
    fn share_among(&self, partitions: usize) -> usize {
        self.most().div_ceil(partitions.max(1)).min(self.settings.batch_size)
    }

    /// Begins to read what follows a batch, so that Postgres need not wait for it. Where the batch is not written after
    /// all, the reader leaves that out.
    fn read_ahead(&mut self, batch: &[PartitionBatch]) {
        let mut behind = self.positions.clone();
        behind.extend(batch.iter().filter_map(|part| Some((part.partition, part.entries.last()?.sequence))));
        let behind: Vec<(PartitionId, u64)> = behind.into_iter().collect();
        self.reader.read_ahead(&behind, self.share);
    }

    /// Writes a batch, in so many transactions as it takes. What of it is written counts at once, whatever becomes of
    /// another part.
    async fn write(&mut self, batch: Vec<PartitionBatch>) -> Result<(), PassError> {
        let parts = entries_of(&batch).div_ceil(self.settings.batch_size).clamp(1, self.settings.transactions);
        // Tasks of their own: the others go on while what one has written is noted.
        let mut writes = JoinSet::new();
        for part in split(batch, parts) {
            let (ledger, writer) = (self.ledger.clone(), self.writer);
            writes.spawn(async move {
                let (finished, started) = (finished_orders(&part), Instant::now());
                let written = ledger.write(part, writer, LEASE).await?;
                Ok::<_, LedgerError>(Part { written, finished, took: started.elapsed() })
            });
        }
        let mut failed = None;
        while let Some(part) = writes.join_next().await {
            let outcome = match part {
                Ok(Ok(part)) => self.note(part).await,
                Ok(Err(error)) => Err(PassError::Ledger(error)),
                Err(error) => Err(PassError::Panicked(error)),
            };
            if let Err(error) = outcome
                && let Some(error) = failed.replace(error)
            {
                tracing::warn!(%error, "another part of the batch was not written either");
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Notes what was written: how far it came, which finished orders may leave Redis, and what is wrong.
    async fn note(&mut self, Part { written, finished, took }: Part) -> Result<(), PassError> {
        failpoint::pass("between_commit_and_trim");
        metrics::batch_written(written.events, written.dead, written.collisions.len(), took);
        self.report(&written);
        if let Some(tails) = &self.tails {
            // It ends after this.
            let _ = tails.send(written.positions.clone());
        }
        for Position { partition, generation, sequence } in &written.positions {
            // The group commit may have come further meanwhile.
            self.positions.entry(*partition).and_modify(|at| *at = (*at).max(*sequence)).or_insert(*sequence);
            self.allocator.made_durable(*partition, generation.unwrap_or_default(), *sequence);
            let orders: Vec<OrderId> = finished.get(partition).into_iter().flatten().copied().collect();
            // Where an entry was dead-lettered, an order's end may not be in the ledger: the survey looks before it lets
            // go.
            if !orders.is_empty() && written.dead == 0 {
                // Not at once: a late repeat of a call must still find its order.
                let due = Instant::now() + KEPT_AFTER_DURABLE;
                self.retiring.push_back(Retiring { due, partition: *partition, durable: *sequence, orders });
            }
        }
        for partition in &written.busy {
            // Another writer has it; the next look around says how far it came.
            self.positions.remove(partition);
        }
        for gap in &written.gaps {
            self.close_gap(gap).await?;
        }
        Ok(())
    }

    fn report(&self, written: &Written) {
        if written.dead > 0 {
            tracing::error!(entries = written.dead, "entries that the ledger refuses were put to dead_letters");
        }
        for collision in &written.collisions {
            tracing::error!(
                restaurant_id = collision.restaurant.get(),
                display_order_number = %collision.number,
                internal_order_id = %collision.order,
                other_order_id = %collision.other,
                "two orders hold one number"
            );
        }
    }

    /// Entries do not go on where the ledger stands. Either another writer was faster and trimmed the outbox since it
    /// was read, and the ledger stands elsewhere by now; or entries are gone.
    async fn close_gap(&mut self, gap: &Gap) -> Result<(), PassError> {
        let partition = gap.recorded.partition;
        self.positions.remove(&partition);
        let progress = self.ledger.progress().await?;
        let Some(now) = progress.iter().find(|progress| progress.partition == partition) else { return Ok(()) };
        if now.sequence == gap.recorded.sequence && now.generation == gap.recorded.generation {
            if self.allocator.spoiled_by(partition, gap.found).await? {
                return Ok(());
            }
            let reason = format!(
                "its outbox goes on with event {} of generation {}, the ledger stands at event {} of generation {:?}: \
                 events in between are lost",
                gap.found, gap.generation, gap.recorded.sequence, gap.recorded.generation
            );
            // A batch of an old generation may be late, and says nothing of the one that is open.
            if self.allocator.generation(partition) == Some(gap.generation) {
                tracing::error!(%partition, reason, "closing the partition");
                self.allocator.close_generation(partition, gap.generation, reason);
            }
        }
        Ok(())
    }

    /// Learns where the ledger stands and which other daemons are writing, and measures the outboxes.
    async fn look_around(&mut self) -> Result<(), PassError> {
        // Noted first: what others learn of the ledger meanwhile may be newer than what is read here.
        let partitions = PartitionId::all(self.allocator.partition_count());
        let before: Vec<(Option<u64>, u64)> =
            partitions.map(|p| (self.allocator.generation(p), self.allocator.durable(p))).collect();
        let progress = self.ledger.progress().await?;
        self.positions.clear();
        for partition in progress {
            let before = before.get(partition.partition.index()).copied().unwrap_or_default();
            if let (Some(open), confirmed) = before
                && let Some(reason) = contradiction(open, confirmed, &partition)
            {
                tracing::error!(partition = %partition.partition, reason, "closing the partition");
                self.allocator.close_generation(partition.partition, open, reason);
            }
            let generation = partition.generation.unwrap_or_default();
            self.allocator.made_durable(partition.partition, generation, partition.sequence);
            let others = partition.writer.is_some_and(|writer| writer != self.writer);
            if !others && !self.allocator.is_closed(partition.partition) {
                self.positions.insert(partition.partition, partition.sequence);
            }
        }
        self.measure().await?;
        self.looked_around = Some(Instant::now());
        Ok(())
    }

    /// How many events wait, and how old the oldest is. Works without the ledger.
    ///
    /// # Errors
    /// When no server of Redis answers; what one of several holds counts as it was known before.
    async fn measure(&mut self) -> Result<(), AllocatorError> {
        // A server that is idle is asked one cheap question, not one for each partition.
        if !self.pulse.has_changed().await && self.allocator.undurable_events() == 0 {
            metrics::outbox(0, Some(Duration::ZERO));
            return Ok(());
        }
        let mut behind = Vec::new();
        let heads = self.allocator.heads_within(MEASURE_WITHIN).await;
        // What is missed now, the next look must not take for unchanged.
        if heads.iter().any(Result::is_err) {
            self.pulse.doubt();
        }
        if heads.iter().all(Result::is_err)
            && let Some(Err(error)) = heads.first()
        {
            return Err(error.clone());
        }
        for (partition, head) in PartitionId::all(self.allocator.partition_count()).zip(heads) {
            if let Ok(seen) = head
                && let Some(head) = seen.head
                && !self.allocator.is_closed(partition)
            {
                self.allocator.saw(partition, head.generation, head.sequence);
                let durable = self.allocator.durable(partition);
                if head.sequence > durable {
                    behind.push((partition, durable));
                }
            }
        }
        // One entry each: the oldest of all is the first of some partition.
        let waiting = match self.reader.read(&behind, 1, None).await {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::debug!(%error, "how old the oldest event is cannot be told");
                metrics::outbox(self.allocator.undurable_events(), None);
                return Ok(());
            }
        };
        let events = waiting.iter().flat_map(|(_, entries)| entries).filter_map(|entry| entry.event.as_ref().ok());
        let oldest = events.map(|event| (event.at, event.partition, event.generation, event.sequence)).min();
        let lag_ms = oldest
            .zip(self.allocator.now().ok())
            .map_or(0, |(oldest, now)| (now.unix_ms() - oldest.0.unix_ms()).max(self.waits_since(oldest)));
        metrics::outbox(self.allocator.undurable_events(), Some(Duration::from_millis(lag_ms.cast_unsigned())));
        Ok(())
    }

    /// For how long this event has been the oldest, in ms. Stamps may be ahead of the time, where Redis's clock was set back.
    fn waits_since(&mut self, oldest: Waiting) -> i64 {
        let known = self.oldest.filter(|(waiting, _)| *waiting == oldest);
        let since = known.map_or_else(Instant::now, |(_, since)| since);
        self.oldest = Some((oldest, since));
        i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// What fails here, for a partition that is closed above all, holds up nothing else: the survey finds it again.
    async fn retire_due(&mut self) {
        while let Some(retiring) = self.retiring.pop_front_if(|retiring| retiring.due <= Instant::now()) {
            if self.reader.is_unreachable(retiring.partition) {
                continue;
            }
            if let Err(error) = self.allocator.retire(retiring.partition, retiring.durable, &retiring.orders).await {
                tracing::debug!(%error, "finished orders are left to the survey");
            }
        }
    }
}

/// Waits longer after each failure in a row.
fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .without_max_times()
        .with_jitter()
        .build()
}

/// What the ledger says against a partition that is open under a generation, of which it had confirmed so much.
fn contradiction(open: u64, confirmed: u64, now: &Progress) -> Option<String> {
    if now.generation != Some(open) {
        return Some("the ledger has opened another generation of it".to_owned());
    }
    let (is_at, lost) = (now.sequence, now.sequence < confirmed);
    lost.then(|| format!("the ledger is at event {is_at}, and had confirmed event {confirmed}: the ledger lost data"))
}

/// The entries of a partition up to a change of generation.
fn one_generation((partition, entries): (PartitionId, Vec<OutboxEntry>)) -> Option<PartitionBatch> {
    let generation = entries.first()?.generation;
    let entries = entries.into_iter().take_while(|entry| entry.generation == generation).collect();
    Some(PartitionBatch { partition, generation, entries })
}

fn entries_of(batch: &[PartitionBatch]) -> usize {
    batch.iter().map(|part| part.entries.len()).sum()
}

/// Leaves so many entries at most in all, but one of each partition at least: what the busiest have beyond the others
/// is for a later batch.
fn level(read: &mut OutboxEntries, most: usize) {
    read.sort_unstable_by_key(|(_, entries)| entries.len());
    let (mut left, partitions) = (most, read.len());
    for (at, (_, entries)) in read.iter_mut().enumerate() {
        entries.truncate((left / (partitions - at)).max(1));
        left = left.saturating_sub(entries.len());
    }
}

/// Shares partitions out among so many transactions, about as many entries to each.
fn split(mut batch: Vec<PartitionBatch>, count: usize) -> Vec<Vec<PartitionBatch>> {
    batch.sort_unstable_by_key(|part| Reverse(part.entries.len()));
    let mut parts = vec![(0, Vec::new()); count];
    for part in batch {
        let lightest = parts.iter_mut().min_by_key(|(entries, _)| *entries).expect("there is one at least");
        lightest.0 += part.entries.len();
        lightest.1.push(part);
    }
    parts.into_iter().map(|(_, part)| part).filter(|part| !part.is_empty()).collect()
}

/// The orders that a batch says are final.
fn finished_orders(batch: &[PartitionBatch]) -> HashMap<PartitionId, Vec<OrderId>> {
    let mut finished: HashMap<PartitionId, Vec<OrderId>> = HashMap::new();
    for part in batch {
        let orders = part.entries.iter().filter_map(|entry| entry.event.as_ref().ok()?.order());
        finished.entry(part.partition).or_default().extend(orders.filter(|o| o.status.is_final()).map(|o| o.id));
    }
    finished
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(count: usize) -> Vec<OutboxEntry> {
        vec![OutboxEntry { sequence: 1, generation: 1, raw: vec![], event: Err(String::new()) }; count]
    }

    #[test]
    fn the_busiest_give_way_where_too_much_was_read() {
        let levelled = |sizes: &[usize], most: usize| {
            let mut read: OutboxEntries = (0..).map(PartitionId::new).zip(sizes.iter().map(|n| entries(*n))).collect();
            level(&mut read, most);
            read.sort_unstable_by_key(|(partition, _)| partition.index());
            read.iter().map(|(_, entries)| entries.len()).collect::<Vec<_>>()
        };
        assert_eq!(levelled(&[3, 5, 2], 10), [3, 5, 2], "all of them fit");
        assert_eq!(levelled(&[3, 500, 2], 20), [3, 15, 2]);
        assert_eq!(levelled(&[90, 500, 2, 90], 32), [10, 10, 2, 10]);
        assert_eq!(levelled(&[7, 7, 7], 2), [1, 1, 1], "each gets on");
        assert!(levelled(&[], 10).is_empty());
    }

    #[test]
    fn a_batch_is_shared_out_whole_and_evenly() {
        let part = |(index, count): (u16, usize)| PartitionBatch {
            partition: PartitionId::new(index),
            generation: 1,
            entries: entries(count),
        };
        let sizes = [(0, 7), (1, 1), (2, 3), (3, 5), (4, 2)];
        let parts = split(sizes.into_iter().map(part).collect(), 2);
        let mut shares: Vec<usize> = parts.iter().map(|part| entries_of(part)).collect();
        shares.sort_unstable();
        assert_eq!(shares, [9, 9]);
        let mut all: Vec<_> = parts.iter().flatten().map(|p| (p.partition.index(), p.entries.len())).collect();
        all.sort_unstable();
        assert_eq!(all, sizes.map(|(index, entries)| (usize::from(index), entries)));
        assert_eq!(split(vec![part((3, 4))], 2).len(), 1, "no transaction without entries");
    }
}
