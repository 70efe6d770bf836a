//! Looks at the files of the certificate, and at once when asked to.

use std::sync::Arc;

use tokio::signal::unix::Signal as UnixSignal;

use super::{
    driver::Work,
    table::{Signal, Task},
};
use crate::http::Tls;

pub(super) struct Certificate {
    pub(super) tls: Arc<Tls>,
    /// SIGHUP.
    pub(super) asked: UnixSignal,
}

impl Work for Certificate {
    const TASK: Task = Task::Certificate;
    const SIGNAL: Option<Signal> = Some(Signal::HangUp);

    async fn run_once(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.tls.renew(), "what the files of the certificate hold cannot be used");
        Ok(())
    }

    async fn signal(&mut self) {
        self.asked.recv().await;
    }
}
