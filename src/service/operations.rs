//! What operators look at and change: the ledger's tables, what all daemons share, and how both servers do.

use std::time::Duration;

use super::ServiceError;
use crate::{
    allocator::{Allocator, AllocatorError, HeldDate, ServerHealth},
    domain::{Durability, PartitionId},
    ledger::{Adopted, AgreedSettings, Deployment, Ledger, LedgerError, LedgerHealth, Progress, SeenDaemon},
};

/// The deployment as its operators see it. Cheap to clone.
#[derive(Clone)]
pub struct Operations {
    allocator: Allocator,
    ledger: Ledger,
}

/// What the ledger says of itself.
pub(crate) enum LedgerState {
    /// Its tables are not up to date.
    Pending {
        /// The migrations that are to be applied.
        migrations: Vec<String>,
        /// What is in their way: what is so, and what to do about it.
        obstacle: Option<(String, String)>,
    },
    /// They are.
    Ready(LedgerHealth),
}

impl Operations {
    pub(super) fn new(allocator: Allocator, ledger: Ledger) -> Self {
        Self { allocator, ledger }
    }

    /// Brings the ledger's tables up to date. Answers with the migrations that were missing before.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable.
    pub(crate) async fn migrate(&self) -> Result<Vec<String>, LedgerError> {
        let pending = self.ledger.pending_migrations().await?;
        self.ledger.migrate().await?;
        Ok(pending)
    }

    /// Records these settings as those that all daemons share, unless one was seen within this time.
    ///
    /// # Errors
    /// As [`Operations::migrate`].
    pub(crate) async fn adopt(
        &self,
        own: &AgreedSettings,
        unless_seen_within: Duration,
    ) -> Result<Adopted, ServiceError> {
        Ok(self.ledger.adopt(own, Some(unless_seen_within)).await?)
    }

    /// The settings that all daemons share; empty before the first one has started.
    ///
    /// # Errors
    /// As [`Operations::migrate`].
    pub(crate) async fn agreed_settings(&self) -> Result<AgreedSettings, LedgerError> {
        self.ledger.agreed_settings().await
    }

    /// Whether the ledger may be used, and how it does.
    ///
    /// # Errors
    /// When it is unreachable, or a server that does not fit.
    pub(crate) async fn ledger_state(&self) -> Result<LedgerState, LedgerError> {
        self.ledger.check().await?;
        let pending = self.ledger.pending_migrations().await?;
        if pending.is_empty() {
            return Ok(LedgerState::Ready(self.ledger.health().await?));
        }
        let obstacle = match self.ledger.check_place().await {
            Ok(()) => None,
            Err(error) => Some(error.finding()),
        };
        Ok(LedgerState::Pending { migrations: pending, obstacle })
    }

    /// How many months of orders there are, and how many of them have names that an earlier version folded.
    ///
    /// # Errors
    /// When the ledger is unreachable.
    pub(crate) async fn months_to_fold(&self) -> Result<(usize, usize), LedgerError> {
        let months = self.ledger.folded_months().await?;
        Ok((months.len(), months.iter().filter(|(_, is_folded)| !is_folded).count()))
    }

    /// The deployment that the ledger was made for; None where no daemon has used it yet.
    ///
    /// # Errors
    /// When the ledger is unreachable.
    pub(crate) async fn known_deployment(&self) -> Result<Option<Deployment>, LedgerError> {
        self.ledger.known_deployment().await
    }

    /// Into how many partitions the settings divide the restaurants.
    pub(crate) fn partition_count(&self) -> u16 {
        self.allocator.partition_count()
    }

    /// How each Redis master does.
    ///
    /// # Errors
    /// When none gives a usable answer.
    pub(crate) async fn redis_health(&self) -> Result<Vec<ServerHealth>, AllocatorError> {
        // Also says whether it is a server that may be used.
        self.allocator.ping().await?;
        self.allocator.health().await
    }

    /// What is wrong with how the masters are found, given whether acknowledged changes are on replicas.
    pub(crate) async fn topology_fault(&self, replicated: bool) -> Option<String> {
        self.allocator.check_topology(replicated).await.err().map(|error| error.to_string())
    }

    /// Why Redis servers cannot give a durability level, each reason once. A server that gives no answer is passed over.
    pub(crate) async fn level_faults(&self, level: Durability) -> Vec<String> {
        let mut reasons = Vec::new();
        for partition in PartitionId::all(self.allocator.partition_count()) {
            if let Ok(Err(reason)) = self.allocator.can_give(level, partition).await
                && !reasons.contains(&reason)
            {
                reasons.push(reason);
            }
        }
        reasons
    }

    /// The daemons that have said that they run, the latest first.
    ///
    /// # Errors
    /// When the ledger is unreachable.
    pub(crate) async fn daemons(&self) -> Result<Vec<SeenDaemon>, LedgerError> {
        self.ledger.daemons().await
    }

    /// The business dates that Redis holds of all restaurants.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub(crate) async fn held_dates(&self) -> Result<Vec<HeldDate>, AllocatorError> {
        let mut held = Vec::new();
        for partition in PartitionId::all(self.allocator.partition_count()) {
            held.extend(self.allocator.held_dates(partition).await?);
        }
        held.sort_unstable_by_key(|held| held.restaurant);
        Ok(held)
    }

    /// How far the ledger has each partition.
    ///
    /// # Errors
    /// When the ledger is unreachable.
    pub(crate) async fn progress(&self) -> Result<Vec<Progress>, LedgerError> {
        self.ledger.progress().await
    }
}
