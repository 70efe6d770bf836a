//! The outbox: read by the write-behind, trimmed when the ledger has what it holds.

use std::time::Duration;

use redis::{Cmd, Value};

use super::{
    Allocator, AllocatorError,
    record::{self, BadRecord},
    reply::id_of,
    scripts,
};
use crate::domain::{
    Context, DisplayNumber, Event, EventKind, IdempotencyDigest, NumberAfter, Order, OrderId, OrderStatus, OutboxEntry,
    PartitionId, RestaurantId, SettingsChange, Timestamp,
};

/// Reads outboxes over a connection of its own, since it may block there.
pub struct OutboxReader {
    allocator: Allocator,
    connection: Option<deadpool_redis::Connection>,
}

impl OutboxReader {
    /// Reads from outboxes; connects with the first read.
    #[must_use]
    pub fn new(allocator: Allocator) -> Self {
        Self { allocator, connection: None }
    }

    /// Reads at most `count` entries of each partition behind its position. With `block`, waits that long for the first
    /// one. Partitions without new entries are left out.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn read(
        &mut self,
        positions: &[(PartitionId, u64)],
        count: usize,
        block: Option<Duration>,
    ) -> Result<Vec<(PartitionId, Vec<OutboxEntry>)>, AllocatorError> {
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        let mut cmd = redis::cmd("XREAD");
        cmd.arg("COUNT").arg(count);
        if let Some(block) = block {
            cmd.arg("BLOCK").arg(u64::try_from(block.as_millis()).unwrap_or(u64::MAX).max(1));
        }
        cmd.arg("STREAMS");
        for (partition, _) in positions {
            cmd.arg(self.allocator.keys.outbox(*partition));
        }
        for (_, sequence) in positions {
            cmd.arg(format!("{sequence}-0"));
        }
        let streams = self.query(&cmd, block.unwrap_or_default()).await?;
        let Value::Array(streams) = streams else { return Ok(Vec::new()) };
        streams
            .into_iter()
            .map(|stream| {
                type Raw = (String, Vec<(String, Vec<Vec<u8>>)>);
                let (key, entries): Raw =
                    redis::from_redis_value(stream).map_err(|e| AllocatorError::Bug(e.to_string()))?;
                let partition = positions
                    .iter()
                    .map(|(partition, _)| *partition)
                    .find(|partition| self.allocator.keys.outbox(*partition) == key)
                    .ok_or_else(|| AllocatorError::Bug(format!("XREAD answered for {key}")))?;
                let entries = entries.into_iter().map(|(id, fields)| entry(partition, &id, &fields));
                Ok((partition, entries.collect::<Result<_, _>>()?))
            })
            .collect()
    }

    /// A call that is dropped half-way leaves its answer on the connection, so the connection is put back only
    /// afterwards.
    async fn query(&mut self, cmd: &Cmd, block: Duration) -> Result<Value, AllocatorError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.allocator.connections.own(PartitionId::new(0)).await?,
        };
        connection.set_response_timeout(block + Duration::from_secs(5));
        match cmd.query_async(&mut connection).await {
            Ok(value) => {
                self.connection = Some(connection);
                Ok(value)
            }
            Err(error) => {
                // Never lent again: the next read makes a new one.
                drop(deadpool_redis::Connection::take(connection));
                Err(error.into())
            }
        }
    }
}

impl Allocator {
    /// Trims outboxes up to and with these sequences: the ledger has all of that.
    ///
    /// # Errors
    /// When Redis gives no usable answer; a later call trims as well.
    pub async fn trim_outboxes(
        &self,
        durable: impl IntoIterator<Item = (PartitionId, u64)>,
    ) -> Result<(), AllocatorError> {
        let mut trims = redis::pipe();
        for (partition, sequence) in durable {
            trims.cmd("XTRIM").arg(self.keys.outbox(partition)).arg("MINID").arg(format!("{}-0", sequence + 1));
        }
        self.connections.pipeline::<Value>(PartitionId::new(0), None, &trims).await.map(drop)
    }

    /// At most `count` entries of a partition's outbox behind a sequence, whoever it is open to.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn waiting_entries(
        &self,
        partition: PartitionId,
        after: u64,
        count: usize,
    ) -> Result<Vec<OutboxEntry>, AllocatorError> {
        let mut read = redis::cmd("XRANGE");
        read.arg(self.keys.outbox(partition)).arg(format!("({after}-0")).arg("+").arg("COUNT").arg(count);
        let found: Vec<(String, Vec<Vec<u8>>)> = self.connections.send(partition, &read).await?;
        found.into_iter().map(|(id, fields)| entry(partition, &id, &fields)).collect()
    }

    /// Lets go of finished orders whose last event the ledger has. Answers with how many went.
    ///
    /// # Errors
    /// When Redis gives no usable answer; a later call does the same.
    pub async fn retire(
        &self,
        partition: PartitionId,
        durable: u64,
        orders: &[OrderId],
    ) -> Result<u32, AllocatorError> {
        let mut retired = 0;
        for some in orders.chunks(200) {
            let fence = self.partitions.fence(partition)?;
            let mut call = scripts::RETIRE
                .call(partition)
                .bound(fence.generation, &fence.run_id)
                .key(self.keys.partition(partition))
                .number(fence.generation)
                .number(durable);
            for id in some {
                let restaurant = id.restaurant();
                call = call.key(self.keys.done(restaurant)).key(self.keys.num(restaurant)).arg(*id.as_bytes());
            }
            let reply = self.run(call).await?;
            if reply.name() != "ok" {
                return reply.unknown();
            }
            retired += reply.uint(1)?;
        }
        Ok(retired)
    }
}

fn entry(partition: PartitionId, id: &str, fields: &[Vec<u8>]) -> Result<OutboxEntry, AllocatorError> {
    let sequence = id
        .strip_suffix("-0")
        .and_then(|sequence| sequence.parse().ok())
        .ok_or_else(|| AllocatorError::Bug(format!("outbox entry {id} is none of ours")))?;
    let mut raw = Vec::with_capacity(fields.iter().map(|field| field.len() + 4).sum());
    for field in fields {
        raw.extend_from_slice(&u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
        raw.extend_from_slice(field);
    }
    let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
    let generation = Fields(&fields).number("g").unwrap_or_default();
    let event = event(partition, sequence, &Fields(&fields)).map_err(|e| e.to_string());
    Ok(OutboxEntry { sequence, generation, raw, event })
}

/// Reads an entry's bytes again, as they lie in `dead_letters`: names and values in turn, each with its length in four
/// bytes before it.
///
/// # Errors
/// When the bytes are no event.
pub fn decode_entry(partition: PartitionId, sequence: u64, raw: &[u8]) -> Result<Event, BadRecord> {
    let mut fields = Vec::new();
    let mut rest = raw;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(|| BadRecord::new("cut short"))?;
        let (field, after) =
            after.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or_else(|| BadRecord::new("cut short"))?;
        fields.push(field);
        rest = after;
    }
    event(partition, sequence, &Fields(&fields))
}

/// Names and values in turn.
struct Fields<'a>(&'a [&'a [u8]]);

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Result<&'a [u8], BadRecord> {
        self.0
            .chunks_exact(2)
            .find(|pair| pair[0] == name.as_bytes())
            .map(|pair| pair[1])
            .ok_or_else(|| BadRecord::new(format!("no field {name}")))
    }

    fn text(&self, name: &str) -> Result<&'a str, BadRecord> {
        std::str::from_utf8(self.get(name)?).map_err(BadRecord::new)
    }

    fn number(&self, name: &str) -> Result<u64, BadRecord> {
        self.text(name)?.parse().map_err(|e| BadRecord::new(format!("field {name}: {e}")))
    }

    fn time(&self, name: &str) -> Result<Timestamp, BadRecord> {
        self.number(name).map(|ms| Timestamp::from_unix_ms(ms.cast_signed()))
    }

    fn order(&self) -> Result<Order, BadRecord> {
        let id: OrderId = id_of(self.get("i")?).map_err(BadRecord::new)?;
        Ok(record::decode(id, self.get("o")?)?.0)
    }

    fn before(&self) -> Result<OrderStatus, BadRecord> {
        let code = u8::try_from(self.number("b")?).map_err(BadRecord::new)?;
        record::status_of(code)
    }

    /// Field `n` of a release: when the number is free again, or nothing if it is at once.
    fn number_after(&self) -> Result<NumberAfter, BadRecord> {
        if self.get("n")?.is_empty() { Ok(NumberAfter::Free) } else { self.time("n").map(NumberAfter::Cooling) }
    }

    /// Field `n` of a renumbering: the number before it.
    fn display_number(&self) -> Result<DisplayNumber, BadRecord> {
        self.text("n")?.parse().map_err(BadRecord::new)
    }

    /// Field `n` of a creation: the digests of key and body, or nothing.
    fn idempotency(&self) -> Result<Option<IdempotencyDigest>, BadRecord> {
        match self.get("n")? {
            [] => Ok(None),
            digests => {
                let (key, body) = digests.split_at_checked(16).ok_or_else(|| BadRecord::new("cut short"))?;
                Ok(Some(IdempotencyDigest {
                    key: key.try_into().map_err(BadRecord::new)?,
                    body: body.try_into().map_err(BadRecord::new)?,
                }))
            }
        }
    }

    fn settings(&self) -> Result<SettingsChange, BadRecord> {
        let restaurant: RestaurantId = self.text("i")?.parse().map_err(BadRecord::new)?;
        Ok(SettingsChange {
            restaurant,
            settings: serde_json::from_slice(self.get("o")?).map_err(BadRecord::new)?,
            version: u32::try_from(self.number("n")?).map_err(BadRecord::new)?,
        })
    }
}

fn event(partition: PartitionId, sequence: u64, fields: &Fields<'_>) -> Result<Event, BadRecord> {
    let context: Context = serde_json::from_slice(fields.get("x")?).map_err(BadRecord::new)?;
    let kind = match fields.text("k")? {
        "created" => EventKind::Created { order: fields.order()?, idempotency: fields.idempotency()? },
        "imported" => EventKind::Imported { order: fields.order()? },
        "changed" => EventKind::Changed { order: fields.order()?, before: fields.before()? },
        "released" => {
            EventKind::Released { order: fields.order()?, before: fields.before()?, number: fields.number_after()? }
        }
        "recycled" => EventKind::Recycled { order: fields.order()? },
        "restated" => {
            let order = fields.order()?;
            let number = if order.status.is_final() { Some(fields.number_after()?) } else { None };
            EventKind::Restated { order, number }
        }
        "renumbered" => EventKind::Renumbered { order: fields.order()?, previous: fields.display_number()? },
        "configured" => EventKind::Configured(fields.settings()?),
        other => return Err(BadRecord::new(format!("kind {other}"))),
    };
    let mut event =
        Event { partition, generation: fields.number("g")?, sequence, at: Timestamp::from_unix_ms(0), context, kind };
    // An event that changed its order happened when the order says.
    event.at = match (fields.get("t")?, event.order()) {
        ([], Some(order)) => order.updated_at,
        _ => fields.time("t")?,
    };
    Ok(event)
}
