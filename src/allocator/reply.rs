//! What a script answered: a name, and what belongs to it.

use redis::{FromRedisValue, ParsingError, Value};

use super::{
    Allocator, AllocatorError, record,
    scripts::{Call, Script},
};
use crate::domain::{Order, OrderId, PartitionId, RestaurantId, Timestamp};

/// A reply: its first element names the outcome.
#[derive(Debug)]
pub(super) struct Reply(Vec<Value>);

impl FromRedisValue for Reply {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        Vec::from_redis_value(value).map(Self)
    }
}

impl Reply {
    pub(super) fn name(&self) -> &str {
        match self.0.first() {
            Some(Value::BulkString(name)) => std::str::from_utf8(name).unwrap_or_default(),
            _ => "",
        }
    }

    pub(super) fn bytes(&self, at: usize) -> Result<&[u8], AllocatorError> {
        match self.0.get(at) {
            Some(Value::BulkString(bytes)) => Ok(bytes),
            other => Err(AllocatorError::Bug(format!("reply {}: element {at} is {other:?}", self.name()))),
        }
    }

    pub(super) fn text(&self, at: usize) -> Result<&str, AllocatorError> {
        std::str::from_utf8(self.bytes(at)?).map_err(|e| AllocatorError::Bug(e.to_string()))
    }

    pub(super) fn int(&self, at: usize) -> Result<i64, AllocatorError> {
        match self.0.get(at) {
            Some(Value::Int(int)) => Ok(*int),
            Some(Value::BulkString(_)) => self
                .text(at)?
                .parse()
                .map_err(|e| AllocatorError::Bug(format!("reply {}: element {at}: {e}", self.name()))),
            other => Err(AllocatorError::Bug(format!("reply {}: element {at} is {other:?}", self.name()))),
        }
    }

    pub(super) fn uint(&self, at: usize) -> Result<u32, AllocatorError> {
        u32::try_from(self.int(at)?).map_err(|e| AllocatorError::Bug(e.to_string()))
    }

    /// An instant in ms; None where the script says `''`.
    pub(super) fn time(&self, at: usize) -> Result<Option<Timestamp>, AllocatorError> {
        match self.0.get(at) {
            Some(Value::BulkString(none)) if none.is_empty() => Ok(None),
            _ => self.int(at).map(Timestamp::from_unix_ms).map(Some),
        }
    }

    /// Takes a list out of the reply.
    pub(super) fn take<T: FromRedisValue>(&mut self, at: usize) -> Result<T, AllocatorError> {
        let value = self.0.get_mut(at).map(std::mem::take).unwrap_or_default();
        T::from_redis_value(value).map_err(|e| AllocatorError::Bug(e.to_string()))
    }

    pub(super) fn order(&self, at: usize, id: OrderId) -> Result<(Order, record::ChangeToken), AllocatorError> {
        Ok(record::decode(id, self.bytes(at)?)?)
    }

    pub(super) fn id(&self, at: usize) -> Result<OrderId, AllocatorError> {
        id_of(self.bytes(at)?)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The outcome is one that the caller does not know.
    pub(super) fn unknown<T>(&self) -> Result<T, AllocatorError> {
        Err(AllocatorError::Bug(format!("a script answered {:?}", self.0)))
    }
}

pub(super) fn id_of(bytes: &[u8]) -> Result<OrderId, AllocatorError> {
    uuid::Uuid::from_slice(bytes)
        .map_err(|e| AllocatorError::Bug(e.to_string()))?
        .try_into()
        .map_err(|e: crate::domain::order_id::ForeignId| AllocatorError::Bug(e.to_string()))
}

impl Allocator {
    /// Begins a call with the keys that its script names and the two arguments that every fenced script has first.
    pub(super) fn fenced(&self, script: &'static Script, restaurant: RestaurantId) -> Result<Call, AllocatorError> {
        let (generation, known) = self.partitions.fence(self.partition_of(restaurant))?;
        Ok(script.call_for(&self.keys, restaurant).number(generation).number(known))
    }

    /// Runs a fenced call. A partition whose server does not fit is closed.
    pub(super) async fn run(&self, partition: PartitionId, call: Call) -> Result<Reply, AllocatorError> {
        let reply: Reply = self.connections.run(call).await?;
        if reply.name() == "closed" {
            let detail = reply.text(2)?;
            let reason = match reply.text(1)? {
                "behind" => format!(
                    "Redis is at event {detail}, behind event {} that this daemon has seen: it has lost data",
                    self.partitions.known(partition)
                ),
                _ if detail.is_empty() => "Redis holds nothing of this partition: it has lost data".to_owned(),
                _ => format!("Redis is at generation {detail}, not the one that this daemon knows"),
            };
            return Err(self.partitions.close(partition, reason).into());
        }
        Ok(reply)
    }

    /// Ends a pipeline of reads with what [`Allocator::check_head`] wants to see: reads that need no script are fenced
    /// too. It comes last, so that data which is lost while they run is noticed.
    pub(super) fn head_last(&self, reads: &mut redis::Pipeline, partition: PartitionId) {
        reads.cmd("HMGET").arg(self.keys.partition(partition)).arg("gen").arg("seq");
    }

    /// What the scripts check, for reads that need no script.
    pub(super) fn check_head(
        &self,
        partition: PartitionId,
        (generation, known): (u64, u64),
        head: RawHead,
    ) -> Result<(), AllocatorError> {
        match head {
            (Some(g), Some(s)) if g == generation && s >= known => Ok(()),
            _ => Err(self
                .partitions
                .close(partition, "Redis no longer holds what this daemon has seen there".to_owned())
                .into()),
        }
    }
}

/// Generation and sequence, as `HMGET` gives them.
pub(super) type RawHead = (Option<u64>, Option<u64>);
