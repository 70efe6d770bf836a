//! Barriers: waits that tell whether all that was written to a server has come to its disk or its replicas.
//!
//! `WAIT` and `WAITAOF` hold up the connection they run on, so they get one of their own. A small write, which a full
//! server takes, too, goes before them: what they say of it holds for every write that was acknowledged earlier, on
//! whatever connection. So callers share them. Each takes a ticket behind its write; the caller that then comes to the
//! seat first leads, for all tickets taken until then. What comes of it counts for them all, a failure too: callers
//! that wait for a dead replica wait once, not one after the other.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use redis::{Cmd, FromRedisValue, InfoDict, Pipeline, ServerErrorKind, Value, aio::MultiplexedConnection};

use crate::allocator::{Allocator, AllocatorError, RunId, link::proof::run_id, partitions::Mark, script};

/// How much longer than the wait itself its answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// The test of a group: whether a server gave what its members wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::allocator) enum Proof {
    /// `WAIT`: so many replicas have it.
    Replicas(u32),
    /// `WAITAOF`: the server's own disk has it.
    AppendOnlyFile,
    /// The server makes its file durable before it answers anything, which is looked up, since it can be changed.
    AlwaysSynced,
}

/// The barriers of each server.
#[derive(Default)]
pub(in crate::allocator) struct Barriers {
    all: Mutex<HashMap<(RunId, Proof), Arc<Barrier>>>,
}

#[derive(Default)]
struct Barrier {
    tickets: AtomicU64,
    seat: tokio::sync::Mutex<Seat>,
}

/// Held by the leader of a group while it waits.
#[derive(Default)]
struct Seat {
    /// Taken out while it is in use: one whose leader failed or was dropped half-way is never used again.
    connection: Option<MultiplexedConnection>,
    /// The last ticket that a wait has covered.
    covered: u64,
    /// What came of that wait.
    reached: bool,
}

impl Barriers {
    fn of(&self, run_id: &RunId, proof: Proof) -> Arc<Barrier> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (run_id.clone(), proof);
        if !all.contains_key(&key) {
            // A server is not heard of again after its end; those that no caller uses just now can be made anew.
            all.retain(|_, barrier| Arc::strong_count(barrier) > 1);
        }
        Arc::clone(all.entry(key).or_default())
    }
}

impl Allocator {
    /// Waits until the server of a change has proved to hold it and all before it, or fails to within `timeout`. The
    /// change must have been acknowledged.
    pub(in crate::allocator) async fn prove(&self, mark: &Mark, proof: Proof, timeout: Duration) -> bool {
        let barrier = self.levels.barriers.of(mark.run_id(), proof);
        let ticket = barrier.tickets.fetch_add(1, SeqCst) + 1;
        let mut seat = barrier.seat.lock().await;
        if seat.covered >= ticket {
            return seat.reached;
        }
        let covers = barrier.tickets.load(SeqCst);
        let outcome = self.lead(seat.connection.take(), mark, proof, timeout).await;
        seat.covered = covers;
        seat.reached = match outcome {
            Ok((connection, reached)) => {
                seat.connection = Some(connection);
                reached
            }
            Err(error) => {
                tracing::debug!(%error, ?proof, "how durable changes are, is unknown");
                false
            }
        };
        seat.reached
    }

    /// Waits for a whole group, over the connection of the group before if it is still good.
    async fn lead(
        &self,
        connection: Option<MultiplexedConnection>,
        mark: &Mark,
        proof: Proof,
        timeout: Duration,
    ) -> Result<(MultiplexedConnection, bool), AllocatorError> {
        if let Some(connection) = connection {
            match self.wait_over(connection, mark, proof, timeout).await {
                // It was closed while no caller used it, perhaps: that says nothing about the server.
                Err(AllocatorError::Redis(e)) if is_closed(&e) => {}
                result => return result,
            }
        }
        let own = self.connections.own(mark.partition).await?;
        self.wait_over(deadpool_redis::Connection::take(own), mark, proof, timeout).await
    }

    /// The server names itself behind the wait: one that has become another since has proved nothing.
    async fn wait_over(
        &self,
        mut connection: MultiplexedConnection,
        mark: &Mark,
        proof: Proof,
        timeout: Duration,
    ) -> Result<(MultiplexedConnection, bool), AllocatorError> {
        connection.set_response_timeout(timeout + ANSWER_WITHIN);
        let write = script::WRITE_BARRIER.call(mark.partition).key(self.keys.barrier(mark.partition));
        let answers = match group(write.evalsha(), proof, timeout).query_async(&mut connection).await {
            // It was told to forget its scripts.
            Err(e) if e.kind() == ServerErrorKind::NoScript.into() => {
                group(write.eval(), proof, timeout).query_async(&mut connection).await
            }
            answers => answers,
        };
        let (answer, server, replication): (Value, InfoDict, InfoDict) = answers?;
        let run_id = run_id(&server, &replication);
        if !run_id.continues(mark.run_id()) {
            return Err(AllocatorError::AnotherServer);
        }
        Ok((connection, proof.holds(answer)?))
    }
}

/// The write, the wait, and which server it was that waited.
fn group(write: Cmd, proof: Proof, timeout: Duration) -> Pipeline {
    let mut group = redis::pipe();
    group.add_command(write).ignore().add_command(proof.command(timeout));
    group.cmd("INFO").arg("server").cmd("INFO").arg("replication");
    group
}

fn is_closed(error: &redis::RedisError) -> bool {
    !error.is_timeout() && (error.is_connection_dropped() || error.is_io_error())
}

impl Proof {
    fn command(self, timeout: Duration) -> Cmd {
        // To Redis, 0 is for ever.
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut command = Cmd::new();
        match self {
            Self::Replicas(count) => command.arg("WAIT").arg(count).arg(timeout_ms),
            Self::AppendOnlyFile => command.arg("WAITAOF").arg(1).arg(0).arg(timeout_ms),
            Self::AlwaysSynced => command.arg("CONFIG").arg("GET").arg("append*").arg("no-appendfsync-on-rewrite"),
        };
        command
    }

    fn holds(self, answer: Value) -> Result<bool, AllocatorError> {
        let bug = |e: redis::ParsingError| AllocatorError::Bug(e.to_string());
        Ok(match self {
            Self::Replicas(count) => u32::from_redis_value(answer).map_err(bug)? >= count,
            Self::AppendOnlyFile => <(u32, u32)>::from_redis_value(answer).map_err(bug)?.0 >= 1,
            Self::AlwaysSynced => {
                let settings = HashMap::<String, String>::from_redis_value(answer).map_err(bug)?;
                let is = |name: &str, value: &str| settings.get(name).is_some_and(|set| set == value);
                is("appendonly", "yes") && is("appendfsync", "always") && !is("no-appendfsync-on-rewrite", "yes")
            }
        })
    }
}
