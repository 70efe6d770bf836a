//! Opening and closing partitions: what Redis holds of each, for the service to compare with the ledger.

use redis::InfoDict;

use super::{Allocator, AllocatorError, Closed, reply::Reply, scripts};
use crate::domain::PartitionId;

/// What Redis holds of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Which build of its data this is.
    pub generation: u64,
    /// Events so far.
    pub sequence: u64,
    /// The server that it was opened on.
    pub run_id: String,
}

impl Allocator {
    /// What Redis holds of every partition, in order; None where it holds nothing.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn heads(&self) -> Result<Vec<Option<Head>>, AllocatorError> {
        let mut reads = redis::pipe();
        for partition in PartitionId::all(self.partition_count()) {
            reads.cmd("HMGET").arg(self.keys.partition(partition)).arg("gen").arg("seq").arg("run_id");
        }
        let heads: Vec<(Option<u64>, Option<u64>, Option<String>)> = self.connections.pipeline(&reads).await?;
        Ok(heads
            .into_iter()
            .map(|(generation, sequence, run_id)| {
                Some(Head { generation: generation?, sequence: sequence?, run_id: run_id.unwrap_or_default() })
            })
            .collect())
    }

    /// The first event behind `durable` that the outbox of a partition has; None where it has none.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn first_waiting(&self, partition: PartitionId, durable: u64) -> Result<Option<u64>, AllocatorError> {
        let mut read = redis::cmd("XRANGE");
        read.arg(self.keys.outbox(partition)).arg(format!("({durable}-0")).arg("+").arg("COUNT").arg(1);
        let found: Vec<(String, Vec<Vec<u8>>)> = self.connections.send(&read).await?;
        let Some((id, _)) = found.first() else { return Ok(None) };
        let sequence = id.split('-').next().and_then(|sequence| sequence.parse().ok());
        sequence.map(Some).ok_or_else(|| AllocatorError::Bug(format!("an entry of the outbox is called {id}")))
    }

    /// The identity that the server took when it started; another one means that it, or another server, started anew.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn run_id(&self) -> Result<String, AllocatorError> {
        let mut info = redis::cmd("INFO");
        info.arg("server");
        let info: InfoDict = self.connections.send(&info).await?;
        info.get("run_id").ok_or_else(|| AllocatorError::Bug("INFO names no run_id".to_owned()))
    }

    /// Makes a partition on a server that holds nothing of it; answers with what is there in the end.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn create_partition(
        &self,
        partition: PartitionId,
        generation: u64,
        seed: &[u8; 16],
        run_id: &str,
    ) -> Result<Head, AllocatorError> {
        let call = scripts::OPEN.call().key(self.keys.partition(partition)).number(generation).arg(*seed).arg(run_id);
        let reply: Reply = self.connections.run(call).await?;
        match reply.name() {
            "ok" => Ok(Head { generation, sequence: 0, run_id: run_id.to_owned() }),
            "exists" => Ok(Head {
                generation: reply.int(1)?.cast_unsigned(),
                sequence: reply.int(2)?.cast_unsigned(),
                run_id: String::new(),
            }),
            _ => reply.unknown(),
        }
    }

    /// Lets calls through to a partition, under this generation.
    pub fn open_partition(&self, partition: PartitionId, head: &Head, durable: u64) {
        self.partitions.open(partition, head.generation, head.sequence, durable);
    }

    /// Stops calls to a partition.
    pub fn close_partition(&self, partition: PartitionId, reason: String) -> Closed {
        self.partitions.close(partition, reason)
    }

    /// The highest sequence of a partition that this daemon has seen.
    #[must_use]
    pub fn known_sequence(&self, partition: PartitionId) -> u64 {
        self.partitions.known(partition)
    }

    /// Remembers a sequence that was seen in Redis.
    pub fn saw(&self, partition: PartitionId, sequence: u64) {
        self.partitions.saw(partition, sequence);
    }
}
