//! The outbox: read by the write-behind, trimmed when the ledger has what it holds.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use redis::{FromRedisValue, Value};
use tokio::task::{JoinError, JoinSet};

use super::{
    Allocator, AllocatorError, Pulse,
    record::{self, BadRecord},
    reply::{Reply, id_of},
    scripts,
};
use crate::domain::{
    Context, DisplayNumber, Event, EventKind, IdempotencyDigest, NumberAfter, Order, OrderId, OrderStatus, OutboxEntry,
    PartitionId, RestCause, RestaurantId, Rests, SettingsChange, Timestamp,
};

/// How often it is asked whether anything was written that this daemon has not seen: others write there, too. Where something
/// was, all outboxes are read.
const TICK: Duration = Duration::from_millis(100);

/// How long those that have answered wait for a server that has not. Its answer is taken when it comes.
const GRACE: Duration = Duration::from_millis(200);

/// How long a server is left alone that gave no usable answer.
const REST: Duration = Duration::from_secs(1);

/// Entries that are read at a time where one of them is odd.
const ODD_LOOKED_FOR_AT_A_TIME: usize = 1000;

/// What was read of some outboxes.
pub type OutboxEntries = Vec<(PartitionId, Vec<OutboxEntry>)>;

/// Entries as Redis has them: id, and names and values in turn.
type Stream = Vec<(String, Vec<Vec<u8>>)>;

/// A position in each of some outboxes: the sequence that is the last one before what is asked for.
type Positions = HashMap<PartitionId, u64>;

/// Reads outboxes, those of each server by themselves: one that is slow or away does not hold up the others.
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
    pulse: Pulse,
    /// When it was last found that something had been written: reads from before say nothing of it.
    written_at: Instant,
}

impl OutboxReader {
    /// Reads from outboxes; connects with the first read.
    #[must_use]
    pub fn new(allocator: Allocator) -> Self {
        let pulse = Pulse::new(allocator.clone());
        Self {
            allocator,
            reads: JoinSet::new(),
            under_way: HashMap::new(),
            failing: HashMap::new(),
            empty: HashMap::new(),
            pulse,
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
            ask = tokio::select! {
                () = self.allocator.partition_moved() => self.behind(positions),
                () = tokio::time::sleep(TICK) => {
                    if self.pulse.has_changed().await {
                        self.empty.clear();
                        self.written_at = Instant::now();
                    }
                    self.behind(positions)
                }
            };
        }
    }

    /// Whether the server of a partition did not answer when it was last read: it may hold up who calls it.
    #[must_use]
    pub fn is_away(&self, partition: PartitionId) -> bool {
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
            // It panicked, and nobody knows for which partitions: all may be read again.
            self.under_way.clear();
            round.error = Some(AllocatorError::Bug("a read of outboxes panicked".to_owned()));
            return;
        };
        self.under_way.retain(|partition, _| !from.contains_key(partition));
        round.took_old |= asked < began;
        match read {
            Ok(read) => {
                round.answered = true;
                self.failing.retain(|partition, _| !from.contains_key(partition));
                if asked >= self.written_at {
                    let found: HashSet<PartitionId> = read.iter().map(|(partition, _)| *partition).collect();
                    self.empty.extend(from.iter().filter(|(partition, _)| !found.contains(partition)));
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

/// What came of one server's read.
struct Answer {
    asked: Instant,
    from: Positions,
    read: Result<OutboxEntries, AllocatorError>,
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

impl Allocator {
    /// Reads outboxes that one server holds, as far as is known: at most `count` entries of each behind its position.
    async fn outboxes(&self, from: &[(PartitionId, u64)], count: usize) -> Result<OutboxEntries, AllocatorError> {
        match self.outboxes_at_once(from, count).await {
            Err(error) if from.len() > 1 && (error.is_of_a_slot() || error.is_odd()) => {}
            result => return result,
        }
        // Some of them have moved on, or are odd: one by one, so that the others are read all the same.
        let mut found = Vec::new();
        for one in from {
            match self.outboxes_at_once(&[*one], count).await {
                Ok(entries) => found.extend(entries),
                Err(error) => tracing::warn!(partition = %one.0, %error, "its outbox cannot be read"),
            }
        }
        Ok(found)
    }

    async fn outboxes_at_once(
        &self,
        from: &[(PartitionId, u64)],
        count: usize,
    ) -> Result<OutboxEntries, AllocatorError> {
        let group: Vec<PartitionId> = from.iter().map(|(partition, _)| *partition).collect();
        let mut reads = redis::pipe();
        for (partition, position) in from {
            let key = self.keys.outbox(*partition);
            reads.cmd("XRANGE").arg(key).arg(format!("({position}-0")).arg("+").arg("COUNT").arg(count);
        }
        let answers: Vec<Value> = match self.connections.group_bulk(&group, &reads).await {
            Err(error) if group.len() == 1 && error.is_odd() => {
                self.spoil(group[0], &error);
                return Ok(Vec::new());
            }
            answers => answers?,
        };
        let mut found = Vec::new();
        for (partition, answer) in group.into_iter().zip(answers) {
            match self.entries_of(partition, answer) {
                Ok(entries) if entries.is_empty() => {}
                Ok(entries) => found.push((partition, entries)),
                // One partition's oddity is no reason to leave the others unread.
                Err(error) if error.is_odd() => self.spoil(partition, &error),
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn entries_of(&self, partition: PartitionId, answer: Value) -> Result<Vec<OutboxEntry>, AllocatorError> {
        let odd = |e: redis::ParsingError| AllocatorError::Odd(format!("the outbox is none of ours: {e}"));
        let stream = Stream::from_redis_value(answer).map_err(odd)?;
        self.entries(partition, &stream)
    }

    /// Whether a partition was closed for what its outbox holds.
    #[must_use]
    pub fn is_suspect(&self, partition: PartitionId) -> bool {
        locked(&self.odd).contains(&partition)
    }

    /// What is odd about a partition's outbox, behind what the ledger has of it; None where nothing is.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn oddity(&self, partition: PartitionId, durable: u64) -> Result<Option<String>, AllocatorError> {
        let mut after = durable;
        loop {
            let entries = match self.waiting_entries(partition, after, ODD_LOOKED_FOR_AT_A_TIME).await {
                Err(error) if error.is_odd() => return Ok(Some(self.odd_reason(partition, &error))),
                entries => entries?,
            };
            let Some(last) = entries.last().map(|entry| entry.sequence) else { return Ok(None) };
            if self.is_foreign(partition, last).await? {
                return Ok(Some(self.odd_reason(partition, &foreign(&format!("{last}-0")))));
            }
            after = last;
        }
    }

    /// Lets a suspect outbox go on, once nothing is odd about it any more.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn mend_outbox(&self, partition: PartitionId) -> Result<(), AllocatorError> {
        if self.is_suspect(partition) {
            let mend = scripts::MEND.call(partition).key(self.keys.partition(partition));
            let _: Reply = self.connections.run(mend.key(self.keys.outbox(partition))).await?;
            locked(&self.odd).remove(&partition);
        }
        Ok(())
    }

    /// Whether an entry of an outbox comes behind the last event of its partition.
    async fn is_foreign(&self, partition: PartitionId, entry: u64) -> Result<bool, AllocatorError> {
        // Looked at afterwards, so what a script has written meanwhile is no more than this.
        Ok(self.head(partition).await?.head.is_some_and(|head| entry > head.sequence))
    }

    /// Closes a partition where its outbox goes on with an entry that comes behind its last event. False where it does
    /// not: then something else is the matter.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn spoiled_by(&self, partition: PartitionId, entry: u64) -> Result<bool, AllocatorError> {
        let is_foreign = self.is_foreign(partition, entry).await?;
        if is_foreign {
            self.spoil(partition, &foreign(&format!("{entry}-0")));
        }
        Ok(is_foreign)
    }

    fn odd_reason(&self, partition: PartitionId, error: &AllocatorError) -> String {
        format!("{error} (key {})", self.keys.outbox(partition))
    }

    /// A partition whose outbox holds what no script of ours wrote serves nobody until somebody has put that right.
    pub(super) fn spoil(&self, partition: PartitionId, error: &AllocatorError) {
        if let Ok(fence) = self.partitions.fence(partition) {
            let reason = self.odd_reason(partition, error);
            tracing::error!(%partition, reason, "closing the partition");
            locked(&self.odd).insert(partition);
            self.partitions.close_generation(partition, fence.generation, reason);
        }
    }

    /// Trims outboxes up to and with these sequences of these generations: the ledger has all of that.
    ///
    /// # Errors
    /// When one of the servers gives no usable answer; a later call trims as well.
    pub async fn trim_outboxes(
        &self,
        durable: impl IntoIterator<Item = (PartitionId, u64, u64)>,
    ) -> Result<(), AllocatorError> {
        let trims = durable.into_iter().map(async |(partition, generation, durable)| {
            // One that is closed, or has moved on, begins its outbox anew.
            let Some(fence) = self.partitions.fence(partition).ok().filter(|fence| fence.generation == generation)
            else {
                return Ok(());
            };
            let call = scripts::TRIM
                .call(partition)
                .bound(fence.generation, &fence.run_id)
                .key(self.keys.partition(partition))
                .key(self.keys.outbox(partition))
                .number(fence.generation)
                .number(durable)
                .number(durable + 1);
            self.run(call).await.map(drop)
        });
        join_all(trims).await.into_iter().collect()
    }

    /// At most `count` entries of a partition's outbox behind a sequence, whoever it is open to.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn waiting_entries(
        &self,
        partition: PartitionId,
        after: u64,
        count: usize,
    ) -> Result<Vec<OutboxEntry>, AllocatorError> {
        let mut read = redis::cmd("XRANGE");
        read.arg(self.keys.outbox(partition)).arg(format!("({after}-0")).arg("+").arg("COUNT").arg(count);
        self.entries_of(partition, self.connections.send(partition, &read).await?)
    }

    /// An entry that does not say its generation has that of its neighbours: it can be put aside like any other that
    /// cannot be read.
    fn entries(&self, partition: PartitionId, stream: &Stream) -> Result<Vec<OutboxEntry>, AllocatorError> {
        let first_said = stream.iter().find_map(|(_, fields)| generation(fields));
        let mut last = first_said.or_else(|| self.generation(partition)).unwrap_or_default();
        let entries = stream.iter().map(|(id, fields)| {
            last = generation(fields).unwrap_or(last);
            entry(partition, id, last, fields)
        });
        entries.collect()
    }

    /// Lets go of finished orders whose last event the ledger has. Answers with how many went.
    ///
    /// # Errors
    /// When Redis gives no usable answer; a later call does the same.
    pub async fn retire(
        &self,
        partition: PartitionId,
        durable: u64,
        orders: &[OrderId],
    ) -> Result<u32, AllocatorError> {
        let mut retired = 0;
        for some in orders.chunks(200) {
            let fence = self.partitions.fence(partition)?;
            let mut call = scripts::RETIRE
                .call(partition)
                .bound(fence.generation, &fence.run_id)
                .key(self.keys.partition(partition))
                .number(fence.generation)
                .number(durable);
            for id in some {
                let restaurant = id.restaurant();
                call = call.key(self.keys.done(restaurant)).key(self.keys.num(restaurant)).arg(*id.as_bytes());
            }
            let reply = self.run(call).await?;
            if reply.name() != "ok" {
                return reply.unknown();
            }
            retired += reply.uint(1)?;
        }
        Ok(retired)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an entry says its generation is: whatever else it holds, it belongs to one.
fn generation(fields: &[Vec<u8>]) -> Option<u64> {
    let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
    integer(head(&fields).ok()?.next()?).ok()
}

/// The sequence of an entry, by its id; None of one that no script of ours wrote.
pub(super) fn sequence_of(id: &str) -> Option<u64> {
    id.strip_suffix("-0")?.parse().ok()
}

/// An entry that no script of ours wrote.
fn foreign(id: &str) -> AllocatorError {
    AllocatorError::Odd(format!("the outbox has an entry {id}, which is none of ours: remove it with XDEL"))
}

fn entry(partition: PartitionId, id: &str, generation: u64, fields: &[Vec<u8>]) -> Result<OutboxEntry, AllocatorError> {
    let sequence = sequence_of(id).ok_or_else(|| foreign(id))?;
    let mut raw = Vec::with_capacity(fields.iter().map(|field| field.len() + 4).sum());
    for field in fields {
        raw.extend_from_slice(&u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
        raw.extend_from_slice(field);
    }
    let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
    let event = Fields::of(&fields).and_then(|fields| event(partition, sequence, &fields)).map_err(|e| e.to_string());
    Ok(OutboxEntry { sequence, generation, raw, event })
}

/// Reads an entry's bytes again, as they lie in `dead_letters`: names and values in turn, each with its length in four
/// bytes before it.
///
/// # Errors
/// When the bytes are no event.
pub fn decode_entry(partition: PartitionId, sequence: u64, raw: &[u8]) -> Result<Event, BadRecord> {
    let mut fields = Vec::new();
    let mut rest = raw;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(|| BadRecord::new("cut short"))?;
        let (field, after) =
            after.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or_else(|| BadRecord::new("cut short"))?;
        fields.push(field);
        rest = after;
    }
    event(partition, sequence, &Fields::of(&fields)?)
}

/// What an entry says, as `lua/lib/partition.lua` lays it out.
struct Fields<'a> {
    generation: u64,
    kind: &'a [u8],
    at: &'a [u8],
    before: &'a [u8],
    number: &'a [u8],
    subject: &'a [u8],
    state: &'a [u8],
    context: &'a [u8],
}

impl<'a> Fields<'a> {
    /// From names and values in turn.
    fn of(fields: &[&'a [u8]]) -> Result<Self, BadRecord> {
        let mut head = head(fields)?;
        let mut word = || head.next().ok_or_else(|| BadRecord::new("field e is cut short"));
        Ok(Self {
            generation: integer(word()?)?,
            kind: word()?,
            at: word()?,
            before: word()?,
            number: word()?,
            subject: field(fields, "i")?,
            state: field(fields, "o")?,
            context: field(fields, "x")?,
        })
    }

    fn order(&self) -> Result<Order, BadRecord> {
        let id: OrderId = id_of(self.subject).map_err(BadRecord::new)?;
        record::decode(id, self.state)
    }

    fn before(&self) -> Result<OrderStatus, BadRecord> {
        let code = u8::try_from(integer(self.before)?).map_err(BadRecord::new)?;
        record::status_of(code)
    }

    /// The number of a release: when it is free again, or nothing if it is at once.
    fn number_after(&self) -> Result<NumberAfter, BadRecord> {
        if self.number.is_empty() { Ok(NumberAfter::Free) } else { time(self.number).map(NumberAfter::Cooling) }
    }

    /// The number of a renumbering: the one before it, and behind a space the digests of key and body, or nothing.
    fn renumbered(&self) -> Result<EventKind, BadRecord> {
        let space = self.number.iter().position(|byte| *byte == b' ').unwrap_or(self.number.len());
        let (previous, digests) = self.number.split_at(space);
        let previous = text(previous)?.parse().map_err(BadRecord::new)?;
        let idempotency = idempotency(digests.get(1..).unwrap_or_default())?;
        Ok(EventKind::Renumbered { order: self.order()?, previous, idempotency })
    }

    /// Numbers that were put to rest: three bytes each, and until when.
    fn rests(&self, cause: RestCause) -> Result<EventKind, BadRecord> {
        let number = |bytes: &[u8]| {
            let number = bytes.iter().fold(0_i64, |number, byte| (number << 8) | i64::from(*byte));
            DisplayNumber::new(number).map_err(BadRecord::new)
        };
        Ok(EventKind::Rested(Rests {
            restaurant: text(self.subject)?.parse().map_err(BadRecord::new)?,
            numbers: self.state.chunks(3).map(number).collect::<Result<_, _>>()?,
            until: time(self.number)?,
            cause,
        }))
    }

    /// The number of a creation, and of a live order that is said again: the digests of key and body, or nothing.
    fn idempotency(&self) -> Result<Option<IdempotencyDigest>, BadRecord> {
        idempotency(self.number)
    }

    fn settings(&self) -> Result<SettingsChange, BadRecord> {
        let restaurant: RestaurantId = text(self.subject)?.parse().map_err(BadRecord::new)?;
        Ok(SettingsChange {
            restaurant,
            settings: serde_json::from_slice(self.state).map_err(BadRecord::new)?,
            version: u32::try_from(integer(self.number)?).map_err(BadRecord::new)?,
        })
    }
}

fn idempotency(digests: &[u8]) -> Result<Option<IdempotencyDigest>, BadRecord> {
    if digests.is_empty() {
        return Ok(None);
    }
    let (key, body) = digests.split_at_checked(16).ok_or_else(|| BadRecord::new("cut short"))?;
    Ok(Some(IdempotencyDigest {
        key: key.try_into().map_err(BadRecord::new)?,
        body: body.try_into().map_err(BadRecord::new)?,
    }))
}

fn field<'a>(fields: &[&'a [u8]], name: &str) -> Result<&'a [u8], BadRecord> {
    let named = fields.chunks_exact(2).find(|pair| pair[0] == name.as_bytes());
    named.map(|pair| pair[1]).ok_or_else(|| BadRecord::new(format!("no field {name}")))
}

/// Field `e`: four words, and the number, in which there may be spaces, too.
fn head<'a>(fields: &[&'a [u8]]) -> Result<impl Iterator<Item = &'a [u8]> + use<'a>, BadRecord> {
    Ok(field(fields, "e")?.splitn(5, |byte| *byte == b' '))
}

fn text(bytes: &[u8]) -> Result<&str, BadRecord> {
    std::str::from_utf8(bytes).map_err(BadRecord::new)
}

fn integer(bytes: &[u8]) -> Result<u64, BadRecord> {
    text(bytes)?
        .parse()
        .map_err(|e| BadRecord::new(format!("{:?} is no number: {e}", bytes.escape_ascii().to_string())))
}

fn time(bytes: &[u8]) -> Result<Timestamp, BadRecord> {
    integer(bytes).map(|ms| Timestamp::from_unix_ms(ms.cast_signed()))
}

fn event(partition: PartitionId, sequence: u64, fields: &Fields<'_>) -> Result<Event, BadRecord> {
    let context: Context = serde_json::from_slice(fields.context).map_err(BadRecord::new)?;
    let kind = match text(fields.kind)? {
        "created" => EventKind::Created { order: fields.order()?, idempotency: fields.idempotency()? },
        "imported" => EventKind::Imported { order: fields.order()? },
        "changed" => EventKind::Changed { order: fields.order()?, before: fields.before()? },
        "released" => {
            EventKind::Released { order: fields.order()?, before: fields.before()?, number: fields.number_after()? }
        }
        "recycled" => EventKind::Recycled { order: fields.order()? },
        "restated" => {
            let order = fields.order()?;
            let (number, idempotency) = if order.status.is_final() {
                (Some(fields.number_after()?), None)
            } else {
                (None, fields.idempotency()?)
            };
            EventKind::Restated { order, number, idempotency }
        }
        "renumbered" => fields.renumbered()?,
        "skipped" => fields.rests(RestCause::Skipped)?,
        "reclaimed" => fields.rests(RestCause::Reclaimed)?,
        "configured" => EventKind::Configured(fields.settings()?),
        other => return Err(BadRecord::new(format!("kind {other}"))),
    };
    let mut event =
        Event { partition, generation: fields.generation, sequence, at: Timestamp::from_unix_ms(0), context, kind };
    // An event that changed its order happened when the order says.
    event.at = match (fields.at, event.order()) {
        ([], Some(order)) => order.updated_at,
        (at, _) => time(at)?,
    };
    Ok(event)
}
