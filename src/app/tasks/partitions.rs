//! Looks at closed partitions, and has those rebuilt that need it.

use std::{collections::HashSet, sync::Arc};

use tokio::{
    sync::Notify,
    task::{JoinError, JoinSet},
};

use super::{
    driver::Work,
    table::{Signal, Task},
};
use crate::{
    domain::PartitionId,
    service::{PARTITIONS_AT_A_TIME, Service},
};

/// A rebuild goes on beside the looks, so that a long one does not keep others closed: whatever was the matter, the
/// next look sees what is left to do.
pub(super) struct Partitions {
    service: Service,
    /// Whether this daemon has servers of its own.
    alone: bool,
    /// Is told of each look; with servers of its own, of those after which nothing is left to rebuild.
    looked: Arc<Notify>,
    rebuilding: HashSet<PartitionId>,
    /// Tasks of their own: a rebuild may wait for a lock which the next look takes. If it were only asked to go on
    /// between the looks, that would hold up both for ever.
    rebuilds: JoinSet<PartitionId>,
}

impl Partitions {
    pub(super) fn new(service: Service, alone: bool, looked: Arc<Notify>) -> Self {
        Self { service, alone, looked, rebuilding: HashSet::new(), rebuilds: JoinSet::new() }
    }

    fn rebuild(&mut self, partition: PartitionId) {
        if self.rebuilds.len() < PARTITIONS_AT_A_TIME && self.rebuilding.insert(partition) {
            let service = self.service.clone();
            self.rebuilds.spawn(async move {
                service.recovery.rebuild_partition(partition).await;
                partition
            });
        }
    }

    fn rebuilt(&mut self, ended: Result<PartitionId, JoinError>) {
        match ended {
            Ok(partition) => drop(self.rebuilding.remove(&partition)),
            Err(error) => {
                // It panicked, and it is not known for which partition: each may be rebuilt again, under its lease.
                tracing::error!(%error, "a rebuild ended in a panic");
                self.rebuilding.clear();
            }
        }
    }
}

impl Work for Partitions {
    const TASK: Task = Task::Partitions;
    const SIGNAL: Option<Signal> = Some(Signal::PartitionClosed);

    async fn run_once(&mut self) -> anyhow::Result<()> {
        self.service.recovery.recheck().await;
        let waiting = self.service.recovery.open_partitions_but(&self.rebuilding).await;
        for partition in waiting.iter().flatten() {
            self.rebuild(*partition);
        }
        if self.rebuilds.is_empty() || !self.alone {
            self.looked.notify_one();
        }
        waiting?;
        Ok(())
    }

    async fn signal(&mut self) {
        loop {
            tokio::select! {
                () = self.service.allocator().partition_closed() => return,
                Some(ended) = self.rebuilds.join_next() => {
                    self.rebuilt(ended);
                    if self.rebuilds.is_empty() {
                        return;
                    }
                }
            }
        }
    }
}
