//! Keeping partitions open: each is served only while Redis and the ledger tell the same story of it.

use std::collections::HashMap;

use super::{Service, ServiceError};
use crate::{
    allocator::{Closed, Head, RunId, Seen},
    domain::PartitionId,
    ledger::{Deployment, Progress},
    metrics,
};

impl Service {
    /// Opens the partitions that are closed and can be served. Answers with how many stay closed. Idempotent.
    ///
    /// # Errors
    /// Unavailable when Redis or the ledger is away: nothing is opened on one side's word alone.
    pub async fn open_partitions(&self) -> Result<usize, ServiceError> {
        let closed = self.allocator.closed_partitions();
        if closed.is_empty() {
            self.count_partitions();
            return Ok(0);
        }
        let deployment = self.ledger.deployment(self.allocator.partition_count()).await?;
        let progress: HashMap<PartitionId, Progress> =
            self.ledger.progress().await?.into_iter().map(|progress| (progress.partition, progress)).collect();
        let heads = self.allocator.heads().await;
        for Closed { partition, reason: known_reason } in closed {
            let Some(seen) = heads.get(partition.index()) else { continue };
            let Seen { run_id, head } = seen.clone()?;
            let recorded = progress.get(&partition);
            let (_, known) = self.allocator.known_sequence(partition);
            let judgement = match judge(head, recorded, known) {
                Judgement::Open(head) => self.check_outbox(partition, head, recorded).await?,
                other => other,
            };
            match judgement {
                Judgement::Open(head) => self.open(partition, &head, &run_id, recorded),
                Judgement::Create => {
                    self.create_partition(partition, recorded, &deployment, &run_id).await?;
                }
                Judgement::Refuse(reason) => {
                    // Said aloud once, not every time somebody looks.
                    if reason == known_reason {
                        tracing::debug!(%partition, reason, "a partition stays closed");
                    } else {
                        tracing::error!(%partition, reason, "a partition stays closed");
                    }
                    self.allocator.close_partition(partition, reason);
                }
            }
        }
        self.count_partitions();
        Ok(self.allocator.closed_partitions().len())
    }

    /// Whether the outbox goes on where the ledger stands. If not, opening it would let in events that are never written.
    async fn check_outbox(
        &self,
        partition: PartitionId,
        head: Head,
        recorded: Option<&Progress>,
    ) -> Result<Judgement, ServiceError> {
        let durable = recorded.map_or(0, |progress| progress.sequence);
        if head.sequence <= durable || self.allocator.first_waiting(partition, durable).await? == Some(durable + 1) {
            return Ok(Judgement::Open(head));
        }
        // Or another daemon has written and trimmed it since the ledger was read.
        let progress = self.ledger.progress().await?;
        if progress.iter().any(|now| now.partition == partition && now.sequence > durable) {
            return Ok(Judgement::Open(head));
        }
        Ok(Judgement::Refuse(format!(
            "the ledger is at event {durable}, Redis at event {}, and its outbox lacks what is in between: the ledger \
             lost data",
            head.sequence
        )))
    }

    fn open(&self, partition: PartitionId, head: &Head, run_id: &RunId, recorded: Option<&Progress>) {
        let durable = recorded.map_or(0, |progress| progress.sequence);
        self.allocator.open_partition(partition, head.generation, run_id, head.sequence, durable);
    }

    /// The ledger first: of several daemons that find an empty partition, one is let through. A generation that was made
    /// on another server is not made again here, or two servers would serve it.
    async fn create_partition(
        &self,
        partition: PartitionId,
        recorded: Option<&Progress>,
        deployment: &Deployment,
        run_id: &RunId,
    ) -> Result<(), ServiceError> {
        let present = recorded.and_then(|progress| progress.generation);
        let made_here = recorded.is_some_and(|progress| progress.run_id.as_deref() == Some(run_id.as_str()));
        let generation = match present {
            Some(generation) if made_here => generation,
            present => {
                let next = present.unwrap_or(0) + 1;
                if !self.ledger.open_generation(partition, present, next, run_id.as_str()).await? {
                    // Another daemon was first; the next round opens what it made.
                    return Ok(());
                }
                next
            }
        };
        if self.allocator.create_partition(partition, generation, &deployment.seed, run_id).await? {
            self.allocator.open_partition(partition, generation, run_id, 0, 0);
        }
        Ok(())
    }

    fn count_partitions(&self) {
        let closed = self.allocator.closed_partitions().len();
        metrics::partitions(usize::from(self.allocator.partition_count()) - closed, closed);
    }
}

enum Judgement {
    /// Redis holds it, and is not behind anybody.
    Open(Head),
    /// Nobody has ever used it.
    Create,
    /// Serving it could give a number twice.
    Refuse(String),
}

/// Compares what Redis holds of a partition with what the ledger recorded and what this daemon has seen.
fn judge(head: Option<Head>, recorded: Option<&Progress>, known: u64) -> Judgement {
    let generation = recorded.and_then(|progress| progress.generation);
    let durable = recorded.map_or(0, |progress| progress.sequence);
    let seen = durable.max(known);
    match (head, generation) {
        (None, _) if seen == 0 => Judgement::Create,
        (None, _) => Judgement::Refuse(format!("Redis holds nothing of it, but {seen} events were seen: it lost data")),
        (Some(head), Some(generation)) if head.generation == generation && head.sequence >= seen => {
            Judgement::Open(head)
        }
        (Some(head), Some(generation)) if head.generation == generation => Judgement::Refuse(format!(
            "Redis is at event {}, behind event {seen} that was seen: it lost data",
            head.sequence
        )),
        (Some(head), Some(generation)) => Judgement::Refuse(format!(
            "Redis is at generation {}, the ledger at {generation}: they do not belong together",
            head.generation
        )),
        (Some(head), None) => Judgement::Refuse(format!(
            "Redis is at event {}, but the ledger knows nothing of it: they do not belong together",
            head.sequence
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(generation: u64, sequence: u64) -> Option<Head> {
        Some(Head { generation, sequence, fenced: None })
    }

    fn recorded(generation: Option<u64>, sequence: u64) -> Progress {
        Progress { partition: PartitionId::new(0), generation, sequence, run_id: None, writer: None }
    }

    #[test]
    fn only_a_partition_that_lost_nothing_is_opened() {
        let opens = |head, progress: Progress, known| matches!(judge(head, Some(&progress), known), Judgement::Open(_));
        assert!(opens(head(1, 10), recorded(Some(1), 10), 10));
        assert!(opens(head(1, 12), recorded(Some(1), 10), 11));
        assert!(!opens(head(1, 9), recorded(Some(1), 10), 0), "behind the ledger");
        assert!(!opens(head(1, 10), recorded(Some(1), 10), 11), "behind this daemon");
        assert!(!opens(head(2, 10), recorded(Some(1), 10), 10), "another generation");
        assert!(!opens(head(1, 10), recorded(None, 0), 0), "a ledger that knows nothing");
        assert!(!opens(None, recorded(Some(1), 10), 0), "an empty Redis");
    }

    #[test]
    fn only_a_partition_that_nobody_used_is_created() {
        let creates = |progress: Progress, known| matches!(judge(None, Some(&progress), known), Judgement::Create);
        assert!(creates(recorded(None, 0), 0));
        assert!(creates(recorded(Some(1), 0), 0), "opened in the ledger, but not yet in Redis");
        assert!(!creates(recorded(Some(1), 1), 0));
        assert!(!creates(recorded(Some(1), 0), 1));
    }
}
