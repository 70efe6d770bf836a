//! Makes the months ahead in the ledger, and lets go of those that are over.

use tokio_util::sync::CancellationToken;

use super::{driver::Work, table::Task};
use crate::{config::LedgerSettings, service::Upkeep};

pub(super) struct Months {
    pub(super) upkeep: Upkeep,
    pub(super) kept: LedgerSettings,
    pub(super) stop: CancellationToken,
}

impl Work for Months {
    const TASK: Task = Task::Months;

    async fn run_once(&mut self) -> anyhow::Result<()> {
        let kept = self.stop.run_until_cancelled(self.upkeep.keep_months(&self.kept, &self.stop)).await;
        Ok(kept.unwrap_or(Ok(()))?)
    }
}
