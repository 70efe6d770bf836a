//! Keeping partitions open: each is served only while Redis and the ledger tell the same story of it.

use std::collections::HashSet;

use super::{
    condition::{Condition, Evidence, Judgement},
    daemons::DAEMON_SEEN_WITHIN,
};
use crate::{
    allocator::{Build, Closed, Head, RunId, Seen},
    domain::PartitionId,
    ledger::{Deployment, Progress},
    metrics,
    service::{Dependency, Recovery, ServiceError},
};

impl Recovery {
    /// Looks whether servers, and the partitions on them, are still what they were: one that was demoted, promoted or
    /// replaced under a connection that lives on is noticed here, and closed.
    pub(crate) async fn recheck(&self) {
        self.allocator.recheck_servers().await;
        self.allocator.recheck_partitions();
        self.allocator.recheck_memory();
        self.report_use();
        for build in self.allocator.open_builds() {
            // An answer from before came late, after everything else had been said again.
            if self.allocator.remembers_before(build.partition, build.generation)
                && let Err(error) = self.restate(&build).await
            {
                tracing::debug!(partition = %build.partition, %error, "what is remembered late will be said later");
            }
        }
    }

    /// The partitions that are not served, with the reasons.
    pub(crate) fn closed_partitions(&self) -> Vec<Closed> {
        self.allocator.closed_partitions()
    }

    /// The partitions that are served.
    pub(crate) fn served_partitions(&self) -> impl Iterator<Item = PartitionId> {
        PartitionId::all(self.allocator.partition_count()).filter(|partition| !self.allocator.is_closed(*partition))
    }

    /// Opens the partitions that are closed and can be served as they are. Answers with those that need a rebuild
    /// ([`Recovery::rebuild_partitions`]). Idempotent.
    ///
    /// # Errors
    /// Unavailable when Redis or the ledger is unreachable: nothing is opened on one side's word alone.
    pub async fn open_partitions(&self) -> Result<Vec<PartitionId>, ServiceError> {
        self.open_partitions_but(&HashSet::new()).await
    }

    /// As [`Recovery::open_partitions`], but for those that are being rebuilt at this moment.
    ///
    /// # Errors
    /// As [`Recovery::open_partitions`].
    pub(crate) async fn open_partitions_but(
        &self,
        rebuilding: &HashSet<PartitionId>,
    ) -> Result<Vec<PartitionId>, ServiceError> {
        let mut closed = self.allocator.closed_partitions();
        closed.retain(|closed| !rebuilding.contains(&closed.partition));
        let mut rebuild = Vec::new();
        if !closed.is_empty() {
            let deployment = self.ledger.deployment(self.allocator.partition_count()).await?;
            let progress = self.ledger.progress().await?;
            // Before Redis is asked: answers that are under way may tell of more than it said.
            let known: Vec<_> = closed.iter().map(|closed| self.allocator.known_sequence(closed.partition)).collect();
            let heads = self.allocator.heads().await;
            let mut unreachable = None;
            for (closed, known) in closed.iter().zip(known) {
                let partition = closed.partition;
                let (Some(recorded), Some(seen)) = (progress.get(partition.index()), heads.get(partition.index()))
                else {
                    continue;
                };
                let seen = match seen {
                    Ok(seen) => seen,
                    Err(error) => {
                        // The partitions of other servers do not wait for this one.
                        self.allocator.close_partition(partition, error.to_string());
                        unreachable = Some(error.clone());
                        continue;
                    }
                };
                // What is odd about one partition keeps that one closed.
                if let Err(error) = self.open_one(closed, seen, recorded, known, &deployment, &mut rebuild).await {
                    // Without the ledger none can be opened: the others need not be tried.
                    if let ServiceError::Unavailable { dependency: Dependency::Ledger, .. } = error {
                        return Err(error);
                    }
                    self.keep_closed(partition, error.to_string(), &closed.reason);
                }
            }
            // While some partition is served, an unreachable server is no failure of the whole look.
            if let Some(error) = unreachable
                && self.allocator.closed_partitions().len() == usize::from(self.allocator.partition_count())
            {
                return Err(error.into());
            }
        }
        self.count_partitions();
        Ok(rebuild)
    }

    /// Does what is to be done about a partition that is closed.
    async fn open_one(
        &self,
        closed: &Closed,
        seen: &Seen,
        recorded: &Progress,
        known: (u64, u64),
        deployment: &Deployment,
        rebuild: &mut Vec<PartitionId>,
    ) -> Result<(), ServiceError> {
        let partition = closed.partition;
        match self.judge(seen, recorded, known).await? {
            Judgement::Open => self.open_as_it_is(partition, seen, recorded).await?,
            Judgement::Create => self.create_partition(partition, recorded, deployment, &seen.run_id).await?,
            // The rebuild says what it is about.
            Judgement::Rebuild(reason) => {
                self.allocator.close_partition(partition, reason);
                rebuild.push(partition);
            }
            Judgement::Wait(reason) => drop(self.allocator.close_partition(partition, reason)),
            Judgement::Refuse(reason) => self.keep_closed(partition, reason, &closed.reason),
        }
        Ok(())
    }

    fn keep_closed(&self, partition: PartitionId, reason: String, known_reason: &str) {
        // Said aloud once, not at every look.
        if reason == known_reason {
            tracing::debug!(%partition, reason, "a partition stays closed");
        } else {
            tracing::error!(%partition, reason, "a partition stays closed");
        }
        self.allocator.close_partition(partition, reason);
    }

    pub(super) async fn judge(
        &self,
        seen: &Seen,
        recorded: &Progress,
        known: (u64, u64),
    ) -> Result<Judgement, ServiceError> {
        match (Evidence { seen, recorded, known }).judgement() {
            Judgement::Open => self.check_outbox(seen.head.as_ref(), recorded).await,
            Judgement::Rebuild(reason) => self.check_others(seen, recorded, reason).await,
            other => Ok(other),
        }
    }

    /// Whether another daemon still serves the partition on the server that its generation was made on, though this one
    /// finds another server. Sentinel or a cluster says which is right. Where the address is fixed, nothing does:
    /// either the others notice in a moment, too, or the daemons were told of different servers.
    async fn check_others(&self, seen: &Seen, recorded: &Progress, reason: String) -> Result<Judgement, ServiceError> {
        let Some(made_on) = recorded.run_id.as_deref() else { return Ok(Judgement::Rebuild(reason)) };
        if !self.shared_redis || self.allocator.fails_over() || seen.run_id.continues(&RunId::recorded(made_on)) {
            return Ok(Judgement::Rebuild(reason));
        }
        let served = self.ledger.is_served_by_others(self.daemon, made_on, DAEMON_SEEN_WITHIN).await?;
        Ok(if served {
            Judgement::Wait(
                "another daemon serves it on another Redis: if that does not end at once, give all daemons the same \
                 redis_url"
                    .to_owned(),
            )
        } else {
            Judgement::Rebuild(reason)
        })
    }

    /// Whether the outbox goes on where the ledger stands. If not, opening it would let in events that are never written.
    async fn check_outbox(&self, head: Option<&Head>, recorded: &Progress) -> Result<Judgement, ServiceError> {
        let (durable, sequence) = (recorded.sequence, head.map_or(0, |head| head.sequence));
        Ok(match self.outbox_condition(recorded, sequence).await? {
            Condition::Sound => Judgement::Open,
            Condition::Odd(reason) => Judgement::Refuse(reason),
            _ => Judgement::Rebuild(format!(
                "the ledger is at event {durable}, Redis at event {sequence}, and its outbox lacks what is in between: the \
                 ledger lost data"
            )),
        })
    }

    /// How the outbox is of a partition that is sound otherwise, and whose last event was `sequence` or a later one: sound,
    /// odd, or without what the ledger should get next.
    pub(super) async fn outbox_condition(&self, recorded: &Progress, sequence: u64) -> Result<Condition, ServiceError> {
        let (partition, durable) = (recorded.partition, recorded.sequence);
        let (goes_on, ends_well) = match self.allocator.waiting(partition, durable).await {
            Err(error) if error.is_odd() => (false, false),
            waiting => {
                let waiting = waiting?;
                let goes_on = sequence <= durable || waiting.is_some_and(|ends| ends.first == Some(durable + 1));
                (goes_on, waiting.is_none_or(|ends| ends.last.is_some_and(|last| last <= sequence)))
            }
        };
        // Where others write, it ends behind what was seen before: only a closer look tells.
        if (!goes_on || !ends_well || self.allocator.is_suspect(partition))
            && let Some(reason) = self.allocator.oddity(partition, durable).await?
        {
            return Ok(Condition::Odd(reason));
        }
        if goes_on {
            return Ok(Condition::Sound);
        }
        // Or another daemon has written and trimmed it since the ledger was read.
        let progress = self.ledger.progress().await?;
        let is_written = progress.iter().any(|now| now.partition == partition && now.sequence > durable);
        Ok(if is_written { Condition::Sound } else { Condition::LedgerBehind })
    }

    /// Opens a partition under the generation that it has. What this daemon saw acknowledged before that generation,
    /// and its builder did not know, is said again first.
    pub(super) async fn open_as_it_is(
        &self,
        partition: PartitionId,
        seen: &Seen,
        recorded: &Progress,
    ) -> Result<(), ServiceError> {
        let Some(head) = &seen.head else { return Ok(()) };
        let build = Build { partition, generation: head.generation, run_id: seen.run_id.clone() };
        self.allocator.mend_outbox(partition).await?;
        self.restate(&build).await?;
        self.allocator.open_partition(partition, head.generation, &seen.run_id, head.sequence, recorded.sequence);
        Ok(())
    }

    /// The ledger first: of several daemons that find an empty partition, one is let through. A generation that was made
    /// on another server is not made again here, or two servers would serve it.
    async fn create_partition(
        &self,
        partition: PartitionId,
        recorded: &Progress,
        deployment: &Deployment,
        run_id: &RunId,
    ) -> Result<(), ServiceError> {
        let generation = match recorded.generation {
            Some(generation) => generation,
            None => {
                if self.ledger.advance_generation(partition, None, 1, run_id.as_str(), 0).await?.is_none() {
                    // Another daemon was first; the next round opens what it made.
                    return Ok(());
                }
                1
            }
        };
        if self.allocator.create_partition(partition, generation, &deployment.seed, run_id).await? {
            self.allocator.open_partition(partition, generation, run_id, 0, 0);
        }
        Ok(())
    }

    /// Says how much of both servers is in use.
    fn report_use(&self) {
        if let Some((used, maxmemory)) = self.allocator.fullest() {
            metrics::redis_memory(used, self.admission.memory_limit(maxmemory));
        }
        let (remembered, room) = self.allocator.remembered_size();
        metrics::remembered(remembered, room);
        let connections = self.ledger.connections();
        metrics::ledger_connections(connections.busy, connections.idle, connections.limit);
    }

    /// Counts what waits in `dead_letters`: other daemons put entries there, and people take them out.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable.
    pub(crate) async fn count_dead_letters(&self) -> Result<(), ServiceError> {
        metrics::dead_letters_waiting(self.ledger.health().await?.dead_letters);
        Ok(())
    }

    pub(super) fn count_partitions(&self) {
        let closed = self.allocator.closed_partitions().len();
        metrics::partitions(usize::from(self.allocator.partition_count()) - closed, closed);
    }
}
