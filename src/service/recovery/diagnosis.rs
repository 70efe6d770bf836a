//! What is the matter with each partition, for `doctor`. Looks, and changes nothing: it opens, fences and builds nothing.

use std::time::Duration;

use super::condition::{Condition, Evidence};
use crate::{
    allocator::Seen,
    domain::{PartitionId, Timestamp},
    ledger::Progress,
    service::{Recovery, ServiceError},
};

/// A running system may be in the middle of something: what is the matter with it is still there when one looks again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(300);
const LOOKS: usize = 4;

/// How a partition is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diagnosis {
    /// Which one.
    pub partition: PartitionId,
    /// Whether it can be served.
    pub condition: Condition,
    /// Events that the ledger does not have yet.
    pub behind: u64,
    /// When the first of them happened, if it says so.
    pub waiting_since: Option<Timestamp>,
    /// Whether a daemon is writing them just now.
    pub is_written: bool,
}

impl Recovery {
    /// Holds what Redis holds of every partition against what the ledger recorded of it.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable.
    pub(crate) async fn diagnose(&self) -> Result<Vec<Diagnosis>, ServiceError> {
        let mut latest = self.look_at_all().await?;
        for _ in 1..LOOKS {
            let fine =
                |it: &Diagnosis| matches!(it.condition, Condition::Sound | Condition::Unused | Condition::Sealed);
            if latest.iter().all(fine) {
                break;
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            let again = self.look_at_all().await?;
            let agree = again.iter().map(|it| &it.condition).eq(latest.iter().map(|it| &it.condition));
            latest = again;
            if agree {
                break;
            }
        }
        Ok(latest)
    }

    async fn look_at_all(&self) -> Result<Vec<Diagnosis>, ServiceError> {
        // The ledger first: what Redis says afterwards can only be further.
        let progress = self.ledger.progress().await?;
        let builders = self.ledger.builders().await?;
        let heads = self.allocator.heads().await;
        let mut all = Vec::with_capacity(progress.len());
        for recorded in &progress {
            let builder = builders.iter().find(|builder| builder.partition == recorded.partition);
            let mut diagnosis = Diagnosis {
                partition: recorded.partition,
                condition: Condition::Unused,
                behind: 0,
                waiting_since: None,
                is_written: recorded.writer.is_some(),
            };
            match heads.get(recorded.partition.index()) {
                Some(Ok(seen)) => {
                    diagnosis.condition = match builder {
                        Some(builder) if recorded.generation.is_some() => Condition::BeingBuilt(builder.daemon),
                        _ => Evidence { seen, recorded, known: (0, 0) }.condition(),
                    };
                    self.look_at_outbox(&mut diagnosis, seen, recorded).await?;
                }
                Some(Err(error)) => diagnosis.condition = Condition::Unreachable(error.to_string()),
                None => continue,
            }
            all.push(diagnosis);
        }
        Ok(all)
    }

    /// What waits there, and whether it goes on where the ledger stands.
    async fn look_at_outbox(
        &self,
        diagnosis: &mut Diagnosis,
        seen: &Seen,
        recorded: &Progress,
    ) -> Result<(), ServiceError> {
        let sequence = seen.head.as_ref().map_or(0, |head| head.sequence);
        // Of the other conditions, it says nothing that is not known.
        let counts = matches!(diagnosis.condition, Condition::Sound | Condition::Sealed)
            || matches!(diagnosis.condition, Condition::OtherServer | Condition::Fenced | Condition::BeingBuilt(_));
        if !counts {
            return Ok(());
        }
        match self.outbox_condition(recorded, sequence).await? {
            Condition::Sound if sequence > recorded.sequence => {
                let mut first =
                    self.allocator.waiting_entries(recorded.partition, recorded.sequence, 1).await.unwrap_or_default();
                diagnosis.behind = sequence - recorded.sequence;
                diagnosis.waiting_since = first.pop().and_then(|entry| entry.event.ok()).map(|event| event.at);
            }
            Condition::Sound => {}
            worse => diagnosis.condition = worse,
        }
        Ok(())
    }
}
