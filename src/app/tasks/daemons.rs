//! Tells other daemons that this one runs, and how its tasks do, and helps with what others rebuild.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    board::Board,
    driver::Work,
    table::{Signal, Task},
};
use crate::{allocator::Pulse, service::Service};

/// How often this daemon looks whether another one is rebuilding something.
const LOOK_EVERY: Duration = Duration::from_millis(250);

pub(super) struct Daemons {
    service: Service,
    board: Arc<Board>,
    pulse: Pulse,
}

impl Daemons {
    pub(super) fn new(service: Service, board: Arc<Board>) -> Self {
        Self { pulse: Pulse::new(service.allocator().clone()), service, board }
    }
}

impl Work for Daemons {
    const TASK: Task = Task::Daemons;
    const SIGNAL: Option<Signal> = Some(Signal::RedisWritten);

    async fn run_once(&mut self) -> anyhow::Result<()> {
        Ok(self.service.recovery.take_part(&self.board.reports()).await?)
    }

    /// A daemon that builds a partition writes to Redis: where nothing is written, no daemon asks for anything.
    async fn signal(&mut self) {
        loop {
            sleep(LOOK_EVERY).await;
            if self.pulse.has_changed().await {
                return;
            }
        }
    }

    async fn wind_up(self) {
        if let Err(error) = self.service.recovery.take_leave().await {
            tracing::debug!(%error, "other daemons will notice that this one has ended");
        }
    }
}
