//! The ledger's own housekeeping: removes the slots of numbers that have rested, and sees to the samples of usage.

use tokio_util::sync::CancellationToken;

use super::{driver::Work, table::Task};
use crate::service::{ServiceError, Upkeep, Usage};

pub(super) struct Housekeeping {
    pub(super) upkeep: Upkeep,
    pub(super) usage: Usage,
    pub(super) stop: CancellationToken,
}

impl Work for Housekeeping {
    const TASK: Task = Task::Housekeeping;

    async fn run_once(&mut self) -> anyhow::Result<()> {
        Ok(self.stop.run_until_cancelled(self.tidy_up()).await.unwrap_or(Ok(()))?)
    }
}

impl Housekeeping {
    async fn tidy_up(&self) -> Result<(), ServiceError> {
        self.upkeep.purge_rests(&self.stop).await?;
        self.usage.keep().await
    }
}
