//! Calls, each taken to the server of its partition.
//!
//! Nothing is sent again behind the caller's back but for two reasons: an answer was lost (once, to the same server: a
//! repeat does no harm), or a node of a cluster said that another node serves the slot, so that it has done nothing.

use std::{sync::Arc, time::Instant};

use futures_util::future::{join, join_all, select_ok};
use redis::{Cmd, FromRedisValue, Pipeline, Value};
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument;

use super::{
    message::Message,
    server::Server,
    topology::{Redirect, Topology},
};
use crate::{
    allocator::{AllocatorError, RunId, script::Call},
    config::RedisSettings,
    domain::{PartitionId, Timestamp},
    metrics, telemetry,
};

/// A call is sent on at most this often.
const REDIRECTS: usize = 3;

pub(in crate::allocator) struct Connections {
    topology: Topology,
}

impl Connections {
    pub(in crate::allocator) fn new(url: &str, settings: &RedisSettings) -> Result<Self, AllocatorError> {
        Ok(Self { topology: Topology::new(url, settings)? })
    }

    /// All masters that are known, without asking a server.
    pub(in crate::allocator) fn known_servers(&self) -> impl Iterator<Item = Arc<Server>> {
        self.topology.known_servers().into_iter()
    }

    /// The time by the clock of a partition's server.
    pub(in crate::allocator) async fn time(&self, partition: PartitionId) -> Result<(Timestamp, u16), AllocatorError> {
        self.topology.server(partition).await?.time().await
    }

    /// The server of a partition said that it is now so late.
    pub(in crate::allocator) fn told(&self, partition: PartitionId, now: Timestamp) {
        if let Some(server) = self.topology.known_server(partition) {
            server.clock().told_ms(now);
        }
    }

    /// Whether the masters may change.
    pub(in crate::allocator) fn fails_over(&self) -> bool {
        self.topology.fails_over()
    }

    /// A connection of one's own to the server of a partition; it returns to the pool when dropped.
    pub(in crate::allocator) async fn own(
        &self,
        partition: PartitionId,
    ) -> Result<deadpool_redis::Connection, AllocatorError> {
        self.topology.server(partition).await?.own().await
    }

    /// The partitions, each list those of one server.
    pub(in crate::allocator) fn groups(&self, partitions: impl Iterator<Item = PartitionId>) -> Vec<Vec<PartitionId>> {
        self.topology.groups(partitions)
    }

    pub(in crate::allocator) async fn server_of(&self, partition: PartitionId) -> Result<RunId, AllocatorError> {
        self.topology.server(partition).await?.run_id().await
    }

    /// Asks again which servers are the masters.
    pub(in crate::allocator) async fn locate(&self) -> Result<(), AllocatorError> {
        self.topology.locate().await
    }

    /// All masters; asks which servers they are where that is not known.
    pub(in crate::allocator) async fn servers(&self) -> Result<Vec<Arc<Server>>, AllocatorError> {
        self.topology.servers().await
    }

    /// Who the server of a partition was when it was looked at last; None where it did not answer.
    pub(in crate::allocator) fn seen(&self, partition: PartitionId) -> Option<RunId> {
        Some(self.topology.known_server(partition)?.seen()?.run_id())
    }

    /// Asks again which servers are the masters, and each of them whether it still is the one that proved itself.
    pub(in crate::allocator) async fn recheck(&self) {
        let recheck = async {
            let servers = self.topology.servers().await.unwrap_or_default();
            join_all(servers.iter().map(|server| server.recheck())).await;
        };
        join(self.topology.refresh(), recheck).await;
    }

    pub(in crate::allocator) async fn run<T: FromRedisValue>(&self, call: Call) -> Result<T, AllocatorError> {
        self.run_tracked(call).await.0
    }

    /// Runs a script. Says whether it was sent again, so that the answer, or error, may be that to a repeat.
    pub(in crate::allocator) async fn run_tracked<T: FromRedisValue>(
        &self,
        call: Call,
    ) -> (Result<T, AllocatorError>, bool) {
        let (started, mut resent) = (Instant::now(), false);
        let run_id = call.run_id.as_ref();
        let message = Message::Script(&call);
        let span = telemetry::redis_span(call.script.name);
        let result = self.deliver(call.partition, run_id, &message, &mut resent).instrument(span).await;
        metrics::script_ran(call.script.name, result.is_ok(), started.elapsed());
        (result.and_then(convert), resent)
    }

    /// Sends one command: only one that a repeat does not hurt.
    pub(in crate::allocator) async fn send<T: FromRedisValue>(
        &self,
        partition: PartitionId,
        cmd: &Cmd,
    ) -> Result<T, AllocatorError> {
        self.deliver(partition, None, &Message::Command(cmd), &mut false).await.and_then(convert)
    }

    /// Sends a pipeline of reads of one partition.
    pub(in crate::allocator) async fn pipeline<T: FromRedisValue>(
        &self,
        partition: PartitionId,
        run_id: Option<&RunId>,
        pipeline: &Pipeline,
    ) -> Result<T, AllocatorError> {
        self.deliver(partition, run_id, &Message::Pipeline(pipeline), &mut false).await.and_then(convert)
    }

    /// As [`Connections::pipeline`], for a list that a caller asks for.
    pub(in crate::allocator) async fn list<T: FromRedisValue>(
        &self,
        partition: PartitionId,
        run_id: Option<&RunId>,
        pipeline: &Pipeline,
    ) -> Result<T, AllocatorError> {
        self.deliver(partition, run_id, &Message::List(pipeline), &mut false).await.and_then(convert)
    }

    /// Leave to read a part of a list from the server of a partition, and to decode it. Those that wait for one server
    /// hold up no lists of others.
    pub(in crate::allocator) async fn permit_for_list(
        &self,
        partition: PartitionId,
    ) -> Result<OwnedSemaphorePermit, AllocatorError> {
        self.topology.server(partition).await?.permit_for_list().await
    }

    /// Whether the server of a partition answers at all.
    pub(in crate::allocator) async fn ping(
        &self,
        partition: PartitionId,
        ping: &Pipeline,
    ) -> Result<(), AllocatorError> {
        let server = self.topology.server(partition).await?;
        server.send(&Message::Pipeline(ping), None, false, &mut false).await.map(drop)
    }

    /// Sends a pipeline that concerns the partitions of a group. Where one of them has moved on it fails as a whole, and
    /// is not sent on: see [`AllocatorError::is_of_a_slot`].
    pub(in crate::allocator) async fn group_pipeline<T: FromRedisValue>(
        &self,
        group: &[PartitionId],
        pipeline: &Pipeline,
    ) -> Result<T, AllocatorError> {
        self.to_group(group, &Message::Pipeline(pipeline)).await.and_then(convert)
    }

    /// As [`Connections::group_pipeline`], for reads with long answers.
    pub(in crate::allocator) async fn group_bulk<T: FromRedisValue>(
        &self,
        group: &[PartitionId],
        reads: &Pipeline,
    ) -> Result<T, AllocatorError> {
        self.to_group(group, &Message::Bulk(reads)).await.and_then(convert)
    }

    async fn to_group(&self, group: &[PartitionId], message: &Message<'_>) -> Result<Value, AllocatorError> {
        match group {
            [] => Ok(Value::Array(Vec::new())),
            [partition] => self.deliver(*partition, None, message, &mut false).await,
            [partition, ..] => {
                let server = self.topology.server(*partition).await?;
                let answer = server.send(message, None, false, &mut false).await;
                if let Err(error) = &answer {
                    // Only to know better the next time.
                    self.topology.redirect(&server, error)?;
                }
                answer
            }
        }
    }

    /// Sends a pipeline to every server, and is content with the first that answers.
    pub(in crate::allocator) async fn anywhere<T: FromRedisValue>(
        &self,
        pipeline: &Pipeline,
    ) -> Result<T, AllocatorError> {
        let servers = self.topology.servers().await?;
        let message = Message::Pipeline(pipeline);
        let ask = async |server: &Server| server.send(&message, None, false, &mut false).await;
        let asked: Vec<_> = servers.iter().map(|server| Box::pin(ask(server))).collect();
        if asked.is_empty() {
            return Err(AllocatorError::NoConnection("no master is known".to_owned()));
        }
        select_ok(asked).await.and_then(|(answer, _)| convert(answer))
    }

    /// Sends a pipeline to every server; answers with their addresses and what became of it.
    pub(super) async fn everywhere<T: FromRedisValue>(
        &self,
        pipeline: &Pipeline,
    ) -> Result<Vec<(String, Result<T, AllocatorError>)>, AllocatorError> {
        let ask = async |server: &Server| {
            let answer = server.send(&Message::Pipeline(pipeline), None, false, &mut false).await;
            (server.address().to_owned(), answer.and_then(convert))
        };
        let servers = self.topology.servers().await?;
        Ok(join_all(servers.iter().map(|server| ask(server))).await)
    }

    async fn deliver(
        &self,
        partition: PartitionId,
        run_id: Option<&RunId>,
        message: &Message<'_>,
        resent: &mut bool,
    ) -> Result<Value, AllocatorError> {
        let (mut server, mut asking) = (self.topology.server(partition).await?, false);
        for hop in 0..=REDIRECTS {
            let answer = server.send(message, run_id, asking, resent).await;
            let Err(error) = &answer else { return answer };
            if hop == 0 && matches!(error, AllocatorError::AnotherServer) && self.fails_over() {
                // Perhaps it is the map that is out of date: the server itself knows.
                match Box::pin(self.sent_on(&server, message)).await? {
                    Some(redirect) => (server, asking) = (redirect.server, redirect.asking),
                    None => return answer,
                }
                continue;
            }
            match self.topology.redirect(&server, error)? {
                Some(redirect) => (server, asking) = (redirect.server, redirect.asking),
                None => return answer,
            }
        }
        Err(AllocatorError::NoConnection("the nodes of the cluster point at each other".to_owned()))
    }

    /// Where a server sends what it is asked, found out with a read.
    async fn sent_on(&self, server: &Server, message: &Message<'_>) -> Result<Option<Redirect>, AllocatorError> {
        let probe;
        let answer = match message {
            Message::Script(call) => {
                probe = call.probe();
                server.send(&Message::Command(&probe), None, false, &mut false).await
            }
            Message::Command(_) | Message::Pipeline(_) | Message::Bulk(_) | Message::List(_) => {
                server.send(message, None, false, &mut false).await
            }
        };
        answer.err().map_or(Ok(None), |error| self.topology.redirect(server, &error))
    }
}

fn convert<T: FromRedisValue>(value: Value) -> Result<T, AllocatorError> {
    T::from_redis_value(value).map_err(|e| AllocatorError::Bug(format!("a reply of another shape: {e}")))
}
