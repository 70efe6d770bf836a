//! Whether anything was written to Redis since one looked last: one cheap question to each server, in place of one to each
//! partition. What is idle is left alone.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use futures_util::future::join_all;
use redis::InfoDict;
use tokio::time::timeout;

use crate::allocator::Allocator;

/// A server that does not answer so soon may have been written to.
const ANSWERS_WITHIN: Duration = Duration::from_millis(200);

/// What is remembered of the last look at each server.
pub(crate) struct Pulse {
    allocator: Allocator,
    /// Of each server that told it, what changes with each write.
    last: HashMap<String, u64>,
}

impl Pulse {
    /// Takes its first look with the first question, which is answered with yes.
    #[must_use]
    pub(crate) fn new(allocator: Allocator) -> Self {
        Self { allocator, last: HashMap::new() }
    }

    /// What was answered last was of no use: the next answer is yes.
    pub(crate) fn doubt(&mut self) {
        self.last.clear();
    }

    /// Whether any server may have been written to since this was asked last. A server that does not say counts as one
    /// that was.
    pub(crate) async fn has_changed(&mut self) -> bool {
        let servers = self.allocator.connections.servers().await.unwrap_or_default();
        let looks = join_all(servers.iter().map(async |server| {
            let mut question = redis::pipe();
            question.cmd("INFO").arg("persistence").arg("replication");
            let answer = timeout(ANSWERS_WITHIN, server.ask::<(InfoDict,)>(&question)).await;
            (server.address().to_owned(), answer.ok().and_then(Result::ok).and_then(|(info,)| beats(&info)))
        }))
        .await;
        let mut changed = looks.is_empty();
        for (address, beats) in looks {
            match beats {
                Some(beats) => changed |= self.last.insert(address, beats) != Some(beats),
                None => {
                    self.last.remove(&address);
                    changed = true;
                }
            }
        }
        changed
    }
}

/// Changes with each write: writes since the last snapshot and when that was taken, the stream to replicas where there are
/// any, and which server the master is. None where the server does not say how much was written.
fn beats(info: &InfoDict) -> Option<u64> {
    let text = |name: &str| info.get::<String>(name);
    let mut hasher = DefaultHasher::new();
    text("rdb_changes_since_last_save")?.hash(&mut hasher);
    for name in ["rdb_last_save_time", "rdb_saves", "master_repl_offset", "master_replid", "role"] {
        text(name).hash(&mut hasher);
    }
    Some(hasher.finish())
}
