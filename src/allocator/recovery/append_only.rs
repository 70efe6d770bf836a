//! The append-only file of a server that has just started.
//!
//! After a power loss the file may end within a command of a transaction. Redis (seen in 7.0.15) cuts it behind the
//! last whole command and leaves the transaction open in it. In memory all is as it was before that transaction. But
//! what is appended from then on belongs to it when the file is read the next time: changes are made that never were,
//! or everything since is dropped. A file that is written anew has what is in memory.

use redis::InfoDict;

use crate::{
    allocator::{Allocator, AllocatorError},
    domain::PartitionId,
};

/// A server that runs for longer has gone through this, or serves a daemon that does not know how.
const JUST_STARTED_SECONDS: u64 = 300;

impl Allocator {
    /// Has the server of a partition write its append-only file anew, if it has just started and keeps one. True where it
    /// does so now.
    ///
    /// # Errors
    /// When Redis gives no usable answer, or does not let this daemon ask for it.
    pub(crate) async fn renew_append_only_file(&self, partition: PartitionId) -> Result<bool, AllocatorError> {
        let info: InfoDict = self.connections.send(partition, &redis::cmd("INFO")).await?;
        let is = |name: &str| info.get::<u8>(name) == Some(1);
        let runs_for: u64 = info.get("uptime_in_seconds").unwrap_or(u64::MAX);
        if !is("aof_enabled") || is("aof_rewrite_in_progress") || runs_for > JUST_STARTED_SECONDS {
            return Ok(false);
        }
        let _: String = self.connections.send(partition, &redis::cmd("BGREWRITEAOF")).await?;
        Ok(true)
    }
}
