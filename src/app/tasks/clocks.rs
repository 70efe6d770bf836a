//! Compares the clocks.

use super::{driver::Work, table::Task};
use crate::service::Upkeep;

pub(super) struct Clocks(pub(super) Upkeep);

impl Work for Clocks {
    const TASK: Task = Task::Clocks;

    async fn run_once(&mut self) -> anyhow::Result<()> {
        self.0.compare_clocks().await?;
        Ok(())
    }
}
