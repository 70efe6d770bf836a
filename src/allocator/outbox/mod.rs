//! The outbox: read by the write-behind and the feed, trimmed a while after the ledger has what it holds.

mod entry;
mod reader;

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use redis::{FromRedisValue, Value};

use self::entry::{entry, foreign, generation};
pub use self::{entry::decode_entry, reader::OutboxReader};
pub(super) use self::{entry::sequence_of, reader::Bell};
use super::{
    Allocator, AllocatorError,
    script::{self, reply::Reply},
};
use crate::domain::{OrderId, OutboxEntry, PartitionId};

/// Entries that are read at a time where one of them is odd.
const ODD_LOOKED_FOR_AT_A_TIME: usize = 1000;

/// What was read of some outboxes.
pub type OutboxEntries = Vec<(PartitionId, Vec<OutboxEntry>)>;

/// Entries as Redis has them: id, and names and values in turn.
type Stream = Vec<(String, Vec<Vec<u8>>)>;

impl Allocator {
    /// Reads outboxes that one server holds, as far as is known: at most `count` entries of each behind its position.
    /// Answers with the partitions that could not be read, too, where others could.
    async fn outboxes(
        &self,
        from: &[(PartitionId, u64)],
        count: usize,
    ) -> Result<(OutboxEntries, Vec<PartitionId>), AllocatorError> {
        match self.outboxes_at_once(from, count).await {
            Err(error) if from.len() > 1 && (error.is_of_a_slot() || error.is_odd()) => {}
            result => return result.map(|found| (found, Vec::new())),
        }
        // Some of them have moved on, or are odd: one by one, so that the others are read all the same.
        let (mut found, mut unread) = (Vec::new(), Vec::new());
        for one in from {
            match self.outboxes_at_once(&[*one], count).await {
                Ok(entries) => found.extend(entries),
                Err(error) => {
                    tracing::warn!(partition = %one.0, %error, "its outbox cannot be read");
                    unread.push(one.0);
                }
            }
        }
        Ok((found, unread))
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
    pub(crate) fn is_suspect(&self, partition: PartitionId) -> bool {
        locked(&self.odd).contains(&partition)
    }

    /// What is odd about a partition's outbox, behind what the ledger has of it; None where nothing is.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub(crate) async fn oddity(&self, partition: PartitionId, durable: u64) -> Result<Option<String>, AllocatorError> {
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
            let mend = script::MEND_OUTBOX.call(partition).key(self.keys.partition(partition));
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

    /// A partition whose outbox holds what no script of ours wrote is not served until the operator has put that right.
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
            let call = script::TRIM_OUTBOX
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

    /// At most `count` entries of a partition's outbox behind a sequence, whichever process it is open to.
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

    /// An entry that does not say its generation has that of its neighbours: it can become a dead letter like any other that
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
            let mut call = script::EVICT_ORDERS
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
