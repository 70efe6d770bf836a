//! Folds anew the names that an earlier version folded, a bounded part at a time.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    driver::Work,
    table::{Signal, Task},
};
use crate::service::Upkeep;

/// Between two runs, while there is more to do: half of the time belongs to others.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Names {
    upkeep: Upkeep,
    /// Whether the next run comes at once.
    is_left: bool,
    stop: CancellationToken,
}

impl Names {
    pub(super) fn new(upkeep: Upkeep, stop: CancellationToken) -> Self {
        Self { upkeep, is_left: false, stop }
    }
}

impl Work for Names {
    const TASK: Task = Task::Names;
    const SIGNAL: Option<Signal> = Some(Signal::NamesLeft);

    async fn run_once(&mut self) -> anyhow::Result<()> {
        self.is_left = false;
        self.is_left = self.upkeep.fold_names(&self.stop).await?;
        Ok(())
    }

    async fn signal(&mut self) {
        if self.is_left {
            sleep(PAUSE).await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    async fn wind_up(self) {
        if self.is_left {
            self.upkeep.give_back_names().await;
        }
    }
}
