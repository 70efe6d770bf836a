//! Keeping partitions open: each is served only while Redis and the ledger tell the same story of it.

use std::collections::HashSet;

use super::{Dependency, Service, ServiceError, recall::DAEMON_SEEN_WITHIN};
use crate::{
    allocator::{Build, Closed, Head, RunId, Seen},
    domain::PartitionId,
    ledger::{Deployment, Progress},
    metrics,
};

/// How the outbox of a partition is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outbox {
    /// It goes on where the ledger stands.
    GoesOn,
    /// It lacks what the ledger should get next.
    Lacks,
    /// It holds what no script of ours wrote.
    Odd(String),
}

impl Service {
    /// Looks whether servers, and the partitions on them, are still what they were: one that was demoted, promoted or
    /// replaced under a connection that lives on is noticed here, and closed.
    pub async fn recheck(&self) {
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

    /// Opens the partitions that are closed and can be served as they are. Answers with those that need a rebuild
    /// ([`Service::rebuild_partitions`]). Idempotent.
    ///
    /// # Errors
    /// Unavailable when Redis or the ledger is away: nothing is opened on one side's word alone.
    pub async fn open_partitions(&self) -> Result<Vec<PartitionId>, ServiceError> {
        self.open_partitions_but(&HashSet::new()).await
    }

    /// As [`Service::open_partitions`], but for those that are being rebuilt at this moment.
    ///
    /// # Errors
    /// As [`Service::open_partitions`].
    pub async fn open_partitions_but(
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
            let mut away = None;
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
                        away = Some(error.clone());
                        continue;
                    }
                };
                // What is odd about one partition keeps that one closed.
                if let Err(error) = self.open_one(closed, seen, recorded, known, &deployment, &mut rebuild).await {
                    if let ServiceError::Unavailable { dependency: Dependency::Ledger, .. } = error {
                        return Err(error);
                    }
                    self.keep_closed(partition, error.to_string(), &closed.reason);
                }
            }
            if let Some(error) = away
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
        // Said aloud once, not every time somebody looks.
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
        match judge(seen, recorded, known) {
            Judgement::Open => self.check_outbox(recorded.partition, seen.head.as_ref(), recorded).await,
            Judgement::Rebuild(reason) => self.check_others(seen, recorded, reason).await,
            other => Ok(other),
        }
    }

    /// Whether another daemon still serves the partition on the server that its generation was made on, though this one
    /// finds another server. Sentinel or a cluster says which is right. Where the address is fixed, nobody does: either
    /// the others notice in a moment, too, or the daemons were told of different servers.
    async fn check_others(&self, seen: &Seen, recorded: &Progress, reason: String) -> Result<Judgement, ServiceError> {
        let Some(made_on) = recorded.run_id.as_deref() else { return Ok(Judgement::Rebuild(reason)) };
        if !self.settings.shared || self.allocator.fails_over() || seen.run_id.continues(&RunId::recorded(made_on)) {
            return Ok(Judgement::Rebuild(reason));
        }
        let served = self.ledger.is_served_by_others(self.builder, made_on, DAEMON_SEEN_WITHIN).await?;
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
    async fn check_outbox(
        &self,
        partition: PartitionId,
        head: Option<&Head>,
        recorded: &Progress,
    ) -> Result<Judgement, ServiceError> {
        let (durable, sequence) = (recorded.sequence, head.map_or(0, |head| head.sequence));
        match self.outbox(partition, durable, sequence).await? {
            Outbox::GoesOn => return Ok(Judgement::Open),
            Outbox::Odd(reason) => return Ok(Judgement::Refuse(reason)),
            Outbox::Lacks => {}
        }
        // Or another daemon has written and trimmed it since the ledger was read.
        let progress = self.ledger.progress().await?;
        if progress.iter().any(|now| now.partition == partition && now.sequence > durable) {
            return Ok(Judgement::Open);
        }
        Ok(Judgement::Rebuild(format!(
            "the ledger is at event {durable}, Redis at event {sequence}, and its outbox lacks what is in between: the \
             ledger lost data"
        )))
    }

    /// How an outbox is, of a partition whose last event was `sequence` or a later one, where the ledger stands.
    pub(super) async fn outbox(
        &self,
        partition: PartitionId,
        durable: u64,
        sequence: u64,
    ) -> Result<Outbox, ServiceError> {
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
            return Ok(Outbox::Odd(reason));
        }
        Ok(if goes_on { Outbox::GoesOn } else { Outbox::Lacks })
    }

    /// Opens a partition under the generation that it has. What this daemon saw acknowledged before that generation, and
    /// who built it did not know, is said again first.
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
                if self.ledger.open_generation(partition, None, 1, run_id.as_str(), 0).await?.is_none() {
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
            metrics::redis_memory(used, self.memory_limit(maxmemory));
        }
        let (remembered, room) = self.allocator.memory_size();
        metrics::remembered(remembered, room);
        let connections = self.ledger.connections();
        metrics::ledger_connections(connections.busy, connections.idle, connections.limit);
    }

    /// Counts what waits in `dead_letters`: other daemons put entries there, and people take them out.
    ///
    /// # Errors
    /// Unavailable when the ledger is away.
    pub async fn count_dead_letters(&self) -> Result<(), ServiceError> {
        metrics::dead_letters_waiting(self.ledger.health().await?.dead_letters);
        Ok(())
    }

    pub(super) fn count_partitions(&self) {
        let closed = self.allocator.closed_partitions().len();
        metrics::partitions(usize::from(self.allocator.partition_count()) - closed, closed);
    }
}

/// What is to be done about a partition that is closed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Redis holds it, on the server that its generation was made on, and is not behind anybody.
    Open,
    /// Nobody has ever used it.
    Create,
    /// It needs a new generation.
    Rebuild(String),
    /// It needs one, but others have to let go of it first.
    Wait(String),
    /// Serving it could give a number twice, and nothing here can be rebuilt from.
    Refuse(String),
}

/// Compares what Redis holds of a partition with what the ledger recorded and what this daemon has seen.
fn judge(seen: &Seen, recorded: &Progress, (known_generation, known): (u64, u64)) -> Judgement {
    let Some(generation) = recorded.generation else {
        return match &seen.head {
            None => Judgement::Create,
            Some(head) => Judgement::Refuse(format!(
                "Redis is at event {}, but the ledger knows nothing of it: they do not belong together",
                head.sequence
            )),
        };
    };
    let made_on = RunId::recorded(recorded.run_id.as_deref().unwrap_or_default());
    let same_server = seen.run_id.continues(&made_on);
    let known = if known_generation == generation { known } else { 0 };
    let expected = recorded.sequence.max(known);
    let Some(head) = &seen.head else {
        if same_server && expected == 0 {
            return Judgement::Create;
        }
        return Judgement::Rebuild(format!("Redis holds nothing of it, but {expected} events were seen: it lost data"));
    };
    Judgement::Rebuild(if head.generation == 0 {
        "it was fenced off, and is being rebuilt".to_owned()
    } else if head.generation != generation {
        format!("Redis is at generation {}, the ledger at {generation}: one of them lost data", head.generation)
    } else if !head.is_laid_out {
        "an earlier version has laid it out".to_owned()
    } else if head.sequence < expected {
        format!("Redis is at event {}, behind event {expected} that was seen: it lost data", head.sequence)
    } else if !same_server {
        "its Redis was restarted, promoted or replaced: it needs a new generation".to_owned()
    } else {
        return Judgement::Open;
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    fn seen(head: Option<(u64, u64)>, run_id: &str) -> Seen {
        let head = head.map(|(generation, sequence)| Head {
            generation,
            sequence,
            fenced: None,
            building: None,
            invites: None,
            is_laid_out: true,
        });
        Seen { run_id: RunId::recorded(run_id), head }
    }

    fn recorded(generation: Option<u64>, sequence: u64) -> Progress {
        let run_id = generation.map(|_| "a".to_owned());
        let stamp = Timestamp::from_unix_ms(0);
        Progress { partition: PartitionId::new(0), generation, sequence, stamp, run_id, writer: None }
    }

    #[test]
    fn only_a_partition_that_lost_nothing_is_opened() {
        let opens =
            |head, run_id, progress: Progress, known| judge(&seen(head, run_id), &progress, known) == Judgement::Open;
        assert!(opens(Some((1, 10)), "a", recorded(Some(1), 10), (1, 10)));
        assert!(opens(Some((1, 12)), "a", recorded(Some(1), 10), (1, 11)));
        assert!(opens(Some((2, 12)), "a", recorded(Some(2), 10), (1, 99)), "what was seen before says nothing");
        assert!(!opens(Some((1, 12)), "b", recorded(Some(1), 10), (1, 11)), "another server");
        assert!(!opens(Some((1, 9)), "a", recorded(Some(1), 10), (0, 0)), "behind the ledger");
        assert!(!opens(Some((1, 10)), "a", recorded(Some(1), 10), (1, 11)), "behind this daemon");
        assert!(!opens(Some((2, 10)), "a", recorded(Some(1), 10), (1, 10)), "another generation");
        assert!(!opens(Some((0, 10)), "a", recorded(Some(1), 10), (1, 10)), "fenced off");
        assert!(!opens(None, "a", recorded(Some(1), 10), (0, 0)), "an empty Redis");
    }

    #[test]
    fn a_ledger_that_knows_nothing_is_the_wrong_one() {
        let judged = judge(&seen(Some((1, 10)), "a"), &recorded(None, 0), (0, 0));
        assert!(matches!(judged, Judgement::Refuse(_)), "{judged:?}");
    }

    #[test]
    fn only_a_partition_that_nobody_used_is_created() {
        let creates =
            |run_id, progress: Progress, known| judge(&seen(None, run_id), &progress, known) == Judgement::Create;
        assert!(creates("a", recorded(None, 0), (0, 0)));
        assert!(creates("a", recorded(Some(1), 0), (0, 0)), "opened in the ledger, but not yet in Redis");
        assert!(!creates("b", recorded(Some(1), 0), (0, 0)), "it may be served elsewhere");
        assert!(!creates("a", recorded(Some(1), 1), (0, 0)));
        assert!(!creates("a", recorded(Some(1), 0), (1, 1)));
    }
}
