//! Whether the ledger is written at all: without a write-behind anywhere, level `ledger` is never reached.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use uuid::Uuid;

use crate::{domain::WRITE_BEHIND, ledger::Ledger};

/// A writer that was seen within this time may still run, or is being replaced by a newer one.
const SEEN_WITHIN: Duration = Duration::from_secs(30);

/// How long what was found out holds.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Which daemons write into the ledger, as far as this one knows. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Writers {
    ledger: Ledger,
    daemon: Uuid,
    /// Whether this daemon does.
    own: bool,
    /// When another one was seen last.
    seen: Arc<Mutex<Option<Instant>>>,
}

impl Writers {
    pub(in crate::service) fn new(ledger: Ledger, daemon: Uuid, own: bool) -> Self {
        Self { ledger, daemon, own, seen: Arc::default() }
    }

    /// Why no change will come into the ledger; None where one may. While the ledger is unreachable, that is not known.
    pub(crate) async fn fault(&self) -> Option<String> {
        if self.own || self.last_seen().is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return None;
        }
        match self.ledger.is_worked_on_by_others(self.daemon, WRITE_BEHIND, SEEN_WITHIN).await {
            Ok(true) => {
                *self.last_seen() = Some(Instant::now());
                None
            }
            // One that has ended in order is forgotten at once.
            Ok(false) if self.last_seen().is_some_and(|at| at.elapsed() < SEEN_WITHIN) => None,
            Ok(false) => Some(
                "no daemon writes into the ledger: write_behind.enabled is false here, and no other daemon runs that has it on; \
                 set it to true here, or start such a daemon first"
                    .to_owned(),
            ),
            Err(error) => {
                tracing::debug!(%error, "whether a daemon writes into the ledger is unknown");
                None
            }
        }
    }

    fn last_seen(&self) -> MutexGuard<'_, Option<Instant>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
