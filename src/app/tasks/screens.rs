//! Writes what screens have said of themselves and which were connected, counts them, and forgets what is older than is kept.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{driver::Work, table::Task};
use crate::service;

/// How often screens are counted, and what is old is forgotten; the rest is done with each run.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// How long the end of the daemon waits for the last words.
const LAST_WITHIN: Duration = Duration::from_secs(2);

pub(super) struct Screens {
    screens: service::Screens,
    /// For how long sessions are kept; 0: for ever.
    keep_days: u32,
    looked: Option<Instant>,
}

impl Screens {
    pub(super) fn new(screens: service::Screens, keep_days: u32) -> Self {
        Self { screens, keep_days, looked: None }
    }
}

impl Work for Screens {
    const TASK: Task = Task::Screens;

    async fn run_once(&mut self) -> anyhow::Result<()> {
        self.screens.write().await?;
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY) {
            self.screens.count().await?;
            self.screens.forget(self.keep_days).await?;
            self.looked = Some(Instant::now());
        }
        Ok(())
    }

    async fn wind_up(self) {
        // Other daemons see by themselves, minutes later, that sessions do not go on.
        match timeout(LAST_WITHIN, self.screens.write_the_last()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the last words of screens are not written"),
            Err(_) => tracing::debug!("the last words of screens are not written in time"),
        }
    }
}
