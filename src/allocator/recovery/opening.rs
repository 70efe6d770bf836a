//! Opening and closing partitions: what Redis holds of each, for the service to compare with the ledger.

use std::{collections::HashMap, time::Duration};

use futures_util::future::join_all;
use redis::{FromRedisValue, InfoDict, Value};

use crate::{
    allocator::{
        Allocator, AllocatorError, Closed, RunId,
        link::proof::run_id,
        outbox::sequence_of,
        script::{self, record::LAYOUT, reply::Reply},
    },
    domain::PartitionId,
};

/// What Redis holds of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Which build of its data this is; 0 while it is fenced off or being built.
    pub generation: u64,
    /// Events so far.
    pub sequence: u64,
    /// The generation that was fenced off, and the server on which that was done.
    pub fenced: Option<(u64, RunId)>,
    /// The generation that a daemon is building, or was building when it died.
    pub building: Option<u64>,
    /// The generation whose builder asks every daemon to say what it remembers from before.
    pub invites: Option<u64>,
    /// Whether its records are laid out as this version does it.
    pub is_laid_out: bool,
}

impl Head {
    /// The generation that its data belongs to, fenced off or not; None where it is half built.
    #[must_use]
    pub(crate) fn whole_generation(&self) -> Option<u64> {
        match (self.generation, &self.fenced) {
            (0, _) if self.building.is_some() => None,
            (0, fenced) => fenced.as_ref().map(|(generation, _)| *generation),
            (generation, _) => Some(generation),
        }
    }
}

/// The ends of what waits in an outbox, as sequences; None for an entry that no script of ours wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Of the first entry.
    pub first: Option<u64>,
    /// Of the last entry.
    pub last: Option<u64>,
}

/// A look at a partition: the server that holds it now, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Who the server is.
    pub run_id: RunId,
    /// None where it holds nothing of the partition.
    pub head: Option<Head>,
}

type RawHead = (Option<u64>, Option<u64>, Option<u64>, Option<String>, Option<u64>, Option<u64>, Option<String>);

impl Allocator {
    /// What Redis holds of every partition, in order. Servers are asked at the same time: where one gives no usable
    /// answer, only its partitions have an error.
    pub async fn heads(&self) -> Vec<Result<Seen, AllocatorError>> {
        self.heads_within(Duration::MAX).await
    }

    /// As [`Allocator::heads`], but a server that does not answer in time counts as unreachable.
    pub(crate) async fn heads_within(&self, patience: Duration) -> Vec<Result<Seen, AllocatorError>> {
        let all: Vec<PartitionId> = PartitionId::all(self.partition_count()).collect();
        let mut heads = self.heads_of_some(&all, patience).await;
        let unknown = || AllocatorError::NoConnection("no server is known for it".to_owned());
        all.iter().map(|partition| heads.remove(partition).unwrap_or_else(|| Err(unknown()))).collect()
    }

    /// As [`Allocator::heads_within`], of some partitions.
    pub(crate) async fn heads_of_some(
        &self,
        partitions: &[PartitionId],
        patience: Duration,
    ) -> HashMap<PartitionId, Result<Seen, AllocatorError>> {
        let late = || AllocatorError::NoConnection(format!("no answer within {patience:?}"));
        let groups = self.connections.groups(partitions.iter().copied());
        let looks = groups.iter().map(async |group| {
            let look = tokio::time::timeout(patience, self.heads_of_each(group)).await;
            look.unwrap_or_else(|_| group.iter().map(|_| Err(late())).collect())
        });
        let looks = join_all(looks).await;
        groups.iter().zip(looks).flat_map(|(group, seen)| group.iter().copied().zip(seen)).collect()
    }

    /// Whether the servers answer, each with the partitions that it holds as far as is known. One that does not answer in
    /// time counts as unreachable.
    pub(crate) async fn pings_within(&self, patience: Duration) -> Vec<(Vec<PartitionId>, Result<(), AllocatorError>)> {
        let groups = self.connections.groups(PartitionId::all(self.partition_count()));
        let pings = groups.into_iter().map(async |group| {
            let mut ping = redis::pipe();
            ping.cmd("PING");
            let answer = async {
                let server = group.first().map(|first| self.connections.ping(*first, &ping));
                match server {
                    Some(answer) => answer.await,
                    None => Ok(()),
                }
            };
            let late = || AllocatorError::NoConnection(format!("no answer within {patience:?}"));
            let answer = tokio::time::timeout(patience, answer).await.unwrap_or_else(|_| Err(late()));
            (group, answer)
        });
        join_all(pings).await
    }

    /// What Redis holds of one partition.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub(crate) async fn head(&self, partition: PartitionId) -> Result<Seen, AllocatorError> {
        self.heads_of(&[partition]).await?.pop().ok_or_else(|| AllocatorError::Bug("no head".to_owned()))
    }

    /// Partitions that one server holds, as far as is known; one by one where some of them have moved on, or are odd.
    async fn heads_of_each(&self, group: &[PartitionId]) -> Vec<Result<Seen, AllocatorError>> {
        match self.heads_of(group).await {
            Ok(seen) => seen.into_iter().map(Ok).collect(),
            Err(error) if group.len() > 1 && (error.is_of_a_slot() || error.is_odd()) => {
                let mut all = Vec::with_capacity(group.len());
                for partition in group {
                    all.push(self.head(*partition).await);
                }
                all
            }
            Err(error) => group.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    /// Partitions that one server holds. Asks it for its name over the same connection.
    async fn heads_of(&self, group: &[PartitionId]) -> Result<Vec<Seen>, AllocatorError> {
        let mut reads = redis::pipe();
        for partition in group {
            let key = self.keys.partition(*partition);
            reads
                .cmd("HMGET")
                .arg(key)
                .arg("gen")
                .arg("seq")
                .arg("fenced")
                .arg("fenced_on")
                .arg("building")
                .arg("invites")
                .arg("layout");
        }
        reads.cmd("INFO").arg("server");
        reads.cmd("INFO").arg("replication");
        let mut answers: Vec<Value> = self.connections.group_pipeline(group, &reads).await?;
        let bug = |e: redis::ParsingError| AllocatorError::Bug(e.to_string());
        let replication = InfoDict::from_redis_value(answers.pop().unwrap_or_default()).map_err(bug)?;
        let server = InfoDict::from_redis_value(answers.pop().unwrap_or_default()).map_err(bug)?;
        let run_id = run_id(&server, &replication);
        let odd = |e: redis::ParsingError| AllocatorError::Odd(format!("the hash of a partition is none of ours: {e}"));
        let seen = |answer| {
            let (generation, sequence, fenced, on, building, invites, layout) =
                RawHead::from_redis_value(answer).map_err(odd)?;
            let fenced = fenced.zip(on.as_deref().map(RunId::recorded));
            let head = generation.zip(sequence);
            let is_laid_out = is_ours(layout.as_deref())?;
            let head = head.map(|(generation, sequence)| Head {
                generation,
                sequence,
                fenced,
                building,
                invites,
                is_laid_out,
            });
            Ok(Seen { run_id: run_id.clone(), head })
        };
        answers.into_iter().map(seen).collect()
    }

    /// Closes each open partition whose server, as it was looked at last, is not the one any more that its generation
    /// was made on: where there are no calls, nothing else would notice.
    pub(crate) fn recheck_partitions(&self) {
        for partition in PartitionId::all(self.partition_count()) {
            if let (Ok(fence), Some(seen)) = (self.partitions.fence(partition), self.connections.seen(partition))
                && !seen.continues(&fence.run_id)
            {
                self.another_server(partition, fence.generation);
            }
        }
    }

    /// Who the server is that holds a partition.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn server_of(&self, partition: PartitionId) -> Result<RunId, AllocatorError> {
        self.connections.server_of(partition).await
    }

    /// The first entry behind `durable` that the outbox of a partition has, and the last one; None where it has none.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub(crate) async fn waiting(
        &self,
        partition: PartitionId,
        durable: u64,
    ) -> Result<Option<Waiting>, AllocatorError> {
        let (outbox, from) = (self.keys.outbox(partition), format!("({durable}-0"));
        let mut reads = redis::pipe();
        reads.cmd("XRANGE").arg(&outbox).arg(&from).arg("+").arg("COUNT").arg(1);
        reads.cmd("XREVRANGE").arg(&outbox).arg("+").arg(&from).arg("COUNT").arg(1);
        type Entries = Vec<(String, Vec<Vec<u8>>)>;
        let (first, last): (Entries, Entries) = self.connections.pipeline(partition, None, &reads).await?;
        let sequence = |entries: Entries| entries.into_iter().next().map(|(id, _)| sequence_of(&id));
        Ok(sequence(first).zip(sequence(last)).map(|(first, last)| Waiting { first, last }))
    }

    /// Makes a partition on a server that holds nothing of it; false where it holds something by now.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn create_partition(
        &self,
        partition: PartitionId,
        generation: u64,
        seed: &[u8; 16],
        run_id: &RunId,
    ) -> Result<bool, AllocatorError> {
        let call = script::CREATE_PARTITION
            .call(partition)
            .key(self.keys.partition(partition))
            .number(generation)
            .arg(*seed)
            .arg(run_id.as_str());
        let reply: Reply = self.connections.run(call).await?;
        match reply.name() {
            "ok" => Ok(true),
            "exists" => Ok(false),
            _ => reply.unknown(),
        }
    }

    /// Lets calls through to a partition, under this generation and on this server only.
    pub fn open_partition(&self, partition: PartitionId, generation: u64, run_id: &RunId, sequence: u64, durable: u64) {
        self.partitions.open(partition, generation, run_id, sequence, durable);
    }

    /// Stops calls to a partition.
    pub(crate) fn close_partition(&self, partition: PartitionId, reason: String) -> Closed {
        self.partitions.close(partition, reason)
    }

    /// Stops calls to a generation of a partition; where another one has been opened since, nothing happens.
    pub(crate) fn close_generation(&self, partition: PartitionId, generation: u64, reason: String) -> Closed {
        self.partitions.close_generation(partition, generation, reason)
    }

    /// The generation of a partition that this daemon knew last, and the highest sequence of it that it has seen.
    #[must_use]
    pub fn known_sequence(&self, partition: PartitionId) -> (u64, u64) {
        self.partitions.known(partition)
    }

    /// Fences off every partition that this daemon has open, and closes it: no daemon will write there any more. What
    /// was fenced off on the server that its generation was made on is known to be whole when it comes back.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub(crate) async fn seal_partitions(&self) -> Result<(), AllocatorError> {
        for partition in PartitionId::all(self.partition_count()) {
            let Ok(fence) = self.partitions.fence(partition) else { continue };
            self.fence_off(partition, fence.generation, &fence.run_id).await?;
            self.partitions.close(partition, "the service is being stopped".to_owned());
        }
        Ok(())
    }

    /// Remembers a sequence of a generation that was seen in Redis.
    pub(crate) fn saw(&self, partition: PartitionId, generation: u64, sequence: u64) {
        self.partitions.saw(partition, generation, sequence);
    }
}

/// Whether a partition that says this of its layout is laid out as this version does it; false for an earlier one.
///
/// A layout is written `v4`. Up to the third it was a plain number, or nothing: a daemon that knows these takes any other
/// number for an earlier one, and would build the partition anew; what is no number it refuses.
fn is_ours(layout: Option<&str>) -> Result<bool, AllocatorError> {
    let Some(version) = layout.and_then(|layout| layout.strip_prefix('v')) else { return Ok(false) };
    match version.parse::<u8>() {
        Ok(LAYOUT) => Ok(true),
        Ok(earlier) if earlier < LAYOUT => Ok(false),
        _ => Err(AllocatorError::Odd(format!(
            "the partition is laid out as {}, which a later version of nowserving does: use that one",
            layout.unwrap_or_default()
        ))),
    }
}
