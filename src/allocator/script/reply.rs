//! What a script answered: a name, and what belongs to it.

use redis::{FromRedisValue, ParsingError, Value};

use super::{Call, Script, record};
use crate::{
    allocator::{Allocator, AllocatorError, partitions::Fence},
    domain::{NumberState, Order, OrderId, PartitionId, RestaurantId, Timestamp},
};

/// A read without a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::allocator) enum Read {
    /// Its answer is short.
    Short,
    /// A piece of a list that a caller asks for.
    List,
}

/// A reply: its first element names the outcome.
#[derive(Debug)]
pub(in crate::allocator) struct Reply {
    values: Vec<Value>,
    /// The generation under which it was asked for.
    generation: u64,
    /// Whether the call was sent again, so that this may be the answer to a repeat.
    resent: bool,
}

impl FromRedisValue for Reply {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        Vec::from_redis_value(value).map(|values| Self { values, generation: 0, resent: false })
    }
}

impl Reply {
    pub(in crate::allocator) fn name(&self) -> &str {
        match self.values.first() {
            Some(Value::BulkString(name)) => std::str::from_utf8(name).unwrap_or_default(),
            _ => "",
        }
    }

    pub(in crate::allocator) fn bytes(&self, at: usize) -> Result<&[u8], AllocatorError> {
        match self.values.get(at) {
            Some(Value::BulkString(bytes)) => Ok(bytes),
            other => Err(AllocatorError::Bug(format!("reply {}: element {at} is {other:?}", self.name()))),
        }
    }

    pub(in crate::allocator) fn text(&self, at: usize) -> Result<&str, AllocatorError> {
        std::str::from_utf8(self.bytes(at)?).map_err(|e| AllocatorError::Bug(e.to_string()))
    }

    pub(in crate::allocator) fn int(&self, at: usize) -> Result<i64, AllocatorError> {
        match self.values.get(at) {
            Some(Value::Int(int)) => Ok(*int),
            Some(Value::BulkString(_)) => self
                .text(at)?
                .parse()
                .map_err(|e| AllocatorError::Bug(format!("reply {}: element {at}: {e}", self.name()))),
            other => Err(AllocatorError::Bug(format!("reply {}: element {at} is {other:?}", self.name()))),
        }
    }

    pub(in crate::allocator) fn uint(&self, at: usize) -> Result<u32, AllocatorError> {
        u32::try_from(self.int(at)?).map_err(|e| AllocatorError::Bug(e.to_string()))
    }

    /// An instant in ms; None where the script says `''`.
    pub(in crate::allocator) fn time(&self, at: usize) -> Result<Option<Timestamp>, AllocatorError> {
        match self.values.get(at) {
            Some(Value::BulkString(none)) if none.is_empty() => Ok(None),
            _ => self.int(at).map(Timestamp::from_unix_ms).map(Some),
        }
    }

    /// Takes a list out of the reply.
    pub(in crate::allocator) fn take<T: FromRedisValue>(&mut self, at: usize) -> Result<T, AllocatorError> {
        let value = self.values.get_mut(at).map(std::mem::take).unwrap_or_default();
        T::from_redis_value(value).map_err(|e| AllocatorError::Bug(e.to_string()))
    }

    /// What a number is doing.
    pub(in crate::allocator) fn state(&self, at: usize) -> Result<NumberState, AllocatorError> {
        Ok(match self.text(at)? {
            "free" => NumberState::Free,
            "live" => NumberState::Live,
            "cooling" => NumberState::Cooling,
            "quarantined" => NumberState::Quarantined,
            "reserved" => NumberState::Reserved,
            "blocked" => NumberState::Blocked,
            "retiring" => NumberState::Retiring,
            "outside" => NumberState::Outside,
            _ => return self.unknown(),
        })
    }

    pub(in crate::allocator) fn order(&self, at: usize, id: OrderId) -> Result<Order, AllocatorError> {
        Ok(record::decode(id, self.bytes(at)?)?)
    }

    pub(in crate::allocator) fn id(&self, at: usize) -> Result<OrderId, AllocatorError> {
        id_of(self.bytes(at)?)
    }

    /// The generation under which the call was made.
    pub(in crate::allocator) fn generation(&self) -> u64 {
        self.generation
    }

    pub(in crate::allocator) fn was_resent(&self) -> bool {
        self.resent
    }

    pub(in crate::allocator) fn len(&self) -> usize {
        self.values.len()
    }

    /// The outcome is one that the caller does not know.
    pub(in crate::allocator) fn unknown<T>(&self) -> Result<T, AllocatorError> {
        Err(AllocatorError::Bug(format!("a script answered {:?}", self.values)))
    }
}

pub(in crate::allocator) fn id_of(bytes: &[u8]) -> Result<OrderId, AllocatorError> {
    uuid::Uuid::from_slice(bytes)
        .map_err(|e| AllocatorError::Bug(e.to_string()))?
        .try_into()
        .map_err(|e: crate::domain::order_id::ForeignId| AllocatorError::Bug(e.to_string()))
}

impl Allocator {
    /// Begins a call with the keys that its script names and the two arguments that every fenced script has first.
    pub(in crate::allocator) fn fenced(
        &self,
        script: &'static Script,
        restaurant: RestaurantId,
    ) -> Result<Call, AllocatorError> {
        let fence = self.partitions.fence(self.partition_of(restaurant))?;
        let call = script.call_for(&self.keys, restaurant).bound(fence.generation, &fence.run_id);
        Ok(call.number(fence.generation).number(fence.known))
    }

    /// Runs a fenced call. A partition whose server does not fit is closed. Where a call that changes something was sent
    /// again and then refused or lost, nothing is known of the first one.
    pub(in crate::allocator) async fn run(&self, call: Call) -> Result<Reply, AllocatorError> {
        let changes = call.script.changes;
        let (answer, resent) = self.run_once(call).await;
        match answer {
            Err(error) if resent && changes => Err(AllocatorError::OutcomeUnknown(error.to_string())),
            answer => answer.map(|reply| Reply { resent, ..reply }),
        }
    }

    async fn run_once(&self, call: Call) -> (Result<Reply, AllocatorError>, bool) {
        let (partition, generation) = (call.partition, call.generation);
        let (answer, resent) = self.connections.run_tracked(call).await;
        let answer = match answer {
            Err(AllocatorError::AnotherServer) => Err(self.another_server(partition, generation)),
            Err(error) if error.is_of_a_foreign_entry() => {
                self.spoil(partition, &error);
                Err(error)
            }
            answer => answer.and_then(|reply| self.let_in(partition, Reply { generation, ..reply })),
        };
        (answer, resent)
    }

    fn let_in(&self, partition: PartitionId, reply: Reply) -> Result<Reply, AllocatorError> {
        let generation = reply.generation;
        if reply.name() == "closed" {
            let detail = reply.text(2)?;
            let reason = match reply.text(1)? {
                "behind" => format!(
                    "Redis is at event {detail}, behind event {} that this daemon has seen: it has lost data",
                    self.partitions.known(partition).1
                ),
                _ if detail.is_empty() => "Redis holds nothing of this partition: it has lost data".to_owned(),
                _ => format!("Redis is at generation {detail}, not the one that this daemon knows"),
            };
            return Err(self.partitions.close_generation(partition, generation, reason).into());
        }
        Ok(reply)
    }

    /// Runs reads that need no script, fenced like one: the server must be the one that the generation was made on, and
    /// the head of the partition must fit. It is read last, so that data which is lost while they run is noticed.
    pub(in crate::allocator) async fn read<T: FromRedisValue>(
        &self,
        fence: &Fence,
        kind: Read,
        mut reads: redis::Pipeline,
    ) -> Result<T, AllocatorError> {
        let partition = fence.partition;
        reads.cmd("HMGET").arg(self.keys.partition(partition)).arg("gen").arg("seq");
        let answers = match kind {
            Read::Short => self.connections.pipeline(partition, Some(&fence.run_id), &reads).await,
            Read::List => self.connections.list(partition, Some(&fence.run_id), &reads).await,
        };
        let mut answers: Vec<Value> = match answers {
            Err(AllocatorError::AnotherServer) => return Err(self.another_server(partition, fence.generation)),
            result => result?,
        };
        let head = answers.pop().unwrap_or_default();
        let bug = |e: ParsingError| AllocatorError::Bug(e.to_string());
        let (generation, sequence) = <(Option<u64>, Option<u64>)>::from_redis_value(head).map_err(bug)?;
        if generation != Some(fence.generation) || sequence.is_none_or(|sequence| sequence < fence.known) {
            let reason = "Redis no longer holds what this daemon has seen there".to_owned();
            return Err(self.partitions.close_generation(partition, fence.generation, reason).into());
        }
        T::from_redis_value(Value::Array(answers)).map_err(bug)
    }

    pub(in crate::allocator) fn another_server(&self, partition: PartitionId, generation: u64) -> AllocatorError {
        let reason = "its Redis was restarted, promoted or replaced: it needs a new generation".to_owned();
        self.partitions.close_generation(partition, generation, reason).into()
    }

    /// Remembers the sequence that a call made or met.
    pub(in crate::allocator) fn note(&self, partition: PartitionId, reply: &Reply, sequence: u64) {
        self.partitions.saw(partition, reply.generation, sequence);
    }
}
