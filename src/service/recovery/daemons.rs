//! The daemons of a deployment: that they run, what they must agree on, and what each does for the others' rebuilds.

use std::time::Duration;

use crate::{
    allocator::{Build, Seen},
    domain::{PartitionId, TaskReport},
    ledger::{AgreedSettings, Difference},
    service::{LOOK_WITHIN, Recovery, ServiceError},
};

/// A daemon that was not seen for so long has ended. Each says at least once a second that it runs.
pub(super) const DAEMON_SEEN_WITHIN: Duration = Duration::from_secs(3);

/// A daemon that was seen within this time may still run. Each says once a second that it does, but Postgres may have been
/// away from it for a while.
pub(crate) const MAY_RUN_FOR: Duration = Duration::from_secs(30);

/// Keys, by their beginnings, of what is kept for how long: a daemon that runs alone may change them by its own settings.
/// Others decide what is found where, and are changed on purpose only.
const KEPT: [&str; 2] = ["ledger.retain_", "usage."];

/// How long a daemon leaves it to others to say that an order has ended whose number it knows to be another one's. They
/// look for invitations four times a second.
const OTHERS_SPEAK: Duration = Duration::from_millis(400);

impl Recovery {
    /// Says that this daemon runs, and compares what all daemons of the deployment must agree on. One that differs in
    /// something has not started.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable.
    pub(crate) async fn agree(&self, own: &AgreedSettings) -> Result<Vec<Difference>, ServiceError> {
        // First: a process that has other settings recorded sees this daemon, or else this daemon sees those settings.
        self.ledger.daemon_runs(self.daemon, &[], &[]).await?;
        let differences = self.ledger.agree(own).await?;
        if differences.is_empty() {
            return Ok(differences);
        }
        let is_kept = |difference: &Difference| KEPT.iter().any(|keys| difference.key.starts_with(keys));
        if differences.iter().all(is_kept) && self.runs_alone().await? {
            self.ledger.adopt(own, None).await?;
            for difference in &differences {
                tracing::warn!(%difference, "no other daemon runs: what this one keeps is what all keep from now on");
            }
            return Ok(Vec::new());
        }
        self.take_leave().await?;
        Ok(differences)
    }

    /// Whether no other daemon runs, nor one that was seen so lately that it may.
    async fn runs_alone(&self) -> Result<bool, ServiceError> {
        let daemons = self.ledger.daemons().await?;
        Ok(daemons.iter().all(|daemon| daemon.id == self.daemon || daemon.ago > MAY_RUN_FOR))
    }

    /// Says that this daemon runs, how its background tasks do, and, for partitions that another one is building, what
    /// this one remembers of them.
    ///
    /// # Errors
    /// Unavailable when the ledger or Redis is unreachable; the next call does it.
    pub(crate) async fn take_part(&self, tasks: &[TaskReport]) -> Result<(), ServiceError> {
        let servers = self.allocator.open_servers();
        let servers: Vec<String> = servers.iter().map(|run_id| run_id.as_str().to_owned()).collect();
        self.ledger.daemon_runs(self.daemon, &servers, tasks).await?;
        let progress = self.ledger.progress().await?;
        let building = progress.iter().filter_map(|recorded| {
            let (generation, known) = (recorded.generation?, self.allocator.known_sequence(recorded.partition).0);
            (known < generation).then_some((recorded.partition, generation, known))
        });
        let building: Vec<_> = building.collect();
        let partitions: Vec<PartitionId> = building.iter().map(|(partition, ..)| *partition).collect();
        let heads = self.allocator.heads_of_some(&partitions, LOOK_WITHIN).await;
        for (partition, generation, known) in building {
            let Some(Ok(Seen { run_id, head: Some(head) })) = heads.get(&partition) else { continue };
            // Before that it is still being loaded.
            if head.invites != Some(generation) {
                continue;
            }
            // Closed here first: what was answered before that is remembered by now. Unless it is open already: it was
            // looked at a while ago.
            self.allocator.close_generation(partition, known, "another daemon is rebuilding it".to_owned());
            let build = Build { partition, generation, run_id: run_id.clone() };
            if self.say_again(&build, true).await? {
                tokio::time::sleep(OTHERS_SPEAK).await;
                self.restate(&build).await?;
            }
            self.ledger.recalled(self.daemon, partition, generation).await?;
        }
        Ok(())
    }

    /// Says that this daemon ends.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable; others notice after a while.
    pub(crate) async fn take_leave(&self) -> Result<(), ServiceError> {
        Ok(self.ledger.daemon_ends(self.daemon).await?)
    }
}
