//! Counts the dead letters that wait: other daemons put entries there, and people take them out.

use super::{driver::Work, table::Task};
use crate::service::Recovery;

pub(super) struct DeadLetters(pub(super) Recovery);

impl Work for DeadLetters {
    const TASK: Task = Task::DeadLetters;

    async fn run_once(&mut self) -> anyhow::Result<()> {
        Ok(self.0.count_dead_letters().await?)
    }
}
