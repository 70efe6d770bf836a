//! Keeps the ring of API keys up to date, and renews it as soon as a request waits for that.

use tokio::time::Instant;

use super::{
    driver::Work,
    table::{Signal, Task},
};
use crate::service;

pub(super) struct Keys {
    keys: service::Keys,
    /// When the last renewal began.
    began: Instant,
}

impl Keys {
    pub(super) fn new(keys: service::Keys) -> Self {
        Self { keys, began: Instant::now() }
    }
}

impl Work for Keys {
    const TASK: Task = Task::Keys;
    const SIGNAL: Option<Signal> = Some(Signal::KeyWanted);

    async fn run_once(&mut self) -> anyhow::Result<()> {
        self.began = Instant::now();
        Ok(self.keys.keep().await?)
    }

    async fn signal(&mut self) {
        self.keys.wanted(self.began).await;
    }
}
