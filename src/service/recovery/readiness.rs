//! Whether this daemon can do its work. The question needs no key and is never turned away, so however often it is asked, one
//! look answers all.

use std::time::{Duration, Instant};

use crate::service::{LOOK_WITHIN, Recovery};

/// For so long a look holds.
const LOOK_KEPT_FOR: Duration = Duration::from_millis(250);

/// Whether the daemon can do its work, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Readiness {
    /// Whether it can, at least for some restaurants.
    pub ready: bool,
    /// What is wrong, one sentence each; where some partitions are closed, also of a daemon that is ready.
    pub reasons: Vec<String>,
    /// What is not as it should be, though everything is served.
    pub warnings: Vec<String>,
}

/// The last look, and when it was taken. Held by the request that looks; the others wait for what comes of it.
pub(in crate::service) type LastLook = tokio::sync::Mutex<Option<(Instant, Readiness)>>;

impl Recovery {
    /// Whether this daemon can give out numbers: for some partition at least, that is open and whose Redis answers. As of a
    /// quarter of a second ago, at most.
    pub(crate) async fn readiness(&self) -> Readiness {
        let mut last = self.last_look.lock().await;
        if let Some((_, readiness)) = last.as_ref().filter(|(at, _)| at.elapsed() < LOOK_KEPT_FOR) {
            return readiness.clone();
        }
        let readiness = self.look_whether_ready().await;
        *last = Some((Instant::now(), readiness.clone()));
        readiness
    }

    async fn look_whether_ready(&self) -> Readiness {
        let answers = self.allocator.pings_within(LOOK_WITHIN).await;
        let mut closed = self.allocator.closed_partitions();
        let is_open = |partition| closed.iter().all(|closed| closed.partition != partition);
        let ready = answers.iter().any(|(group, answer)| answer.is_ok() && group.iter().any(|of| is_open(*of)));
        let unreachable = answers.iter().filter_map(|(_, answer)| answer.as_ref().err());
        let mut reasons: Vec<String> = unreachable.map(ToString::to_string).collect();
        if !reasons.is_empty() {
            // Why the partitions of a server are closed that does not answer, goes without saying.
            closed.retain(|closed| !reasons.contains(&closed.reason));
        }
        // Where all are closed it is nearly always for one reason, which is given once.
        reasons.extend(closed.into_iter().map(|closed| if ready { closed.to_string() } else { closed.reason }));
        reasons.sort();
        reasons.dedup();
        reasons.truncate(5);
        Readiness { ready, reasons, warnings: self.upkeep.clock_complaints() }
    }
}
