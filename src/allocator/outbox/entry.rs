//! One entry of an outbox: its bytes, and the event that they are.

use crate::{
    allocator::{
        AllocatorError,
        script::{
            record::{self, BadRecord},
            reply::id_of,
        },
    },
    domain::{
        Context, DateChange, DisplayNumber, Event, EventKind, IdempotencyDigest, NumberAfter, Order, OrderId,
        OrderStatus, OutboxEntry, PartitionId, RestCause, RestaurantId, Rests, SettingsChange, Timestamp,
        business_day::date_of,
    },
};

/// What an entry says its generation is: whatever else it holds, it belongs to one.
pub(super) fn generation(fields: &[Vec<u8>]) -> Option<u64> {
    let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
    integer(head(&fields).ok()?.next()?).ok()
}

/// The sequence of an entry, by its id; None of one that no script of ours wrote.
pub(in crate::allocator) fn sequence_of(id: &str) -> Option<u64> {
    id.strip_suffix("-0")?.parse().ok()
}

/// An entry that no script of ours wrote.
pub(super) fn foreign(id: &str) -> AllocatorError {
    AllocatorError::Odd(format!("the outbox has an entry {id}, which is none of ours: remove it with XDEL"))
}

pub(super) fn entry(
    partition: PartitionId,
    id: &str,
    generation: u64,
    fields: &[Vec<u8>],
) -> Result<OutboxEntry, AllocatorError> {
    let sequence = sequence_of(id).ok_or_else(|| foreign(id))?;
    let mut raw = Vec::with_capacity(fields.iter().map(|field| field.len() + 4).sum());
    for field in fields {
        raw.extend_from_slice(&u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
        raw.extend_from_slice(field);
    }
    let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
    let event = Fields::of(&fields).and_then(|fields| event(partition, sequence, &fields)).map_err(|e| e.to_string());
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
    event(partition, sequence, &Fields::of(&fields)?)
}

/// What an entry says, as `lua/lib/partition.lua` lays it out.
struct Fields<'a> {
    generation: u64,
    kind: &'a [u8],
    at: &'a [u8],
    before: &'a [u8],
    number: &'a [u8],
    subject: &'a [u8],
    state: &'a [u8],
    context: &'a [u8],
}

impl<'a> Fields<'a> {
    /// From names and values in turn.
    fn of(fields: &[&'a [u8]]) -> Result<Self, BadRecord> {
        let mut head = head(fields)?;
        let mut word = || head.next().ok_or_else(|| BadRecord::new("field e is cut short"));
        Ok(Self {
            generation: integer(word()?)?,
            kind: word()?,
            at: word()?,
            before: word()?,
            number: word()?,
            subject: field(fields, "i")?,
            state: field(fields, "o")?,
            context: field(fields, "x")?,
        })
    }

    fn order(&self) -> Result<Order, BadRecord> {
        let id: OrderId = id_of(self.subject).map_err(BadRecord::new)?;
        record::decode(id, self.state)
    }

    fn before(&self) -> Result<OrderStatus, BadRecord> {
        let code = u8::try_from(integer(self.before)?).map_err(BadRecord::new)?;
        record::status_of(code)
    }

    /// The number of a release: when it is free again, or nothing if it is at once.
    fn number_after(&self) -> Result<NumberAfter, BadRecord> {
        if self.number.is_empty() { Ok(NumberAfter::Free) } else { time(self.number).map(NumberAfter::Cooling) }
    }

    /// The number of a call: where the order is to be picked up, or nothing.
    fn place(&self) -> Result<Option<String>, BadRecord> {
        Ok(Some(text(self.number)?).filter(|place| !place.is_empty()).map(str::to_owned))
    }

    /// The number of a renumbering: the one before it, and behind a space the digests of key and body, or nothing.
    fn renumbered(&self) -> Result<EventKind, BadRecord> {
        let space = self.number.iter().position(|byte| *byte == b' ').unwrap_or(self.number.len());
        let (previous, digests) = self.number.split_at(space);
        let previous = text(previous)?.parse().map_err(BadRecord::new)?;
        let idempotency = idempotency(digests.get(1..).unwrap_or_default())?;
        Ok(EventKind::Renumbered { order: self.order()?, previous, idempotency })
    }

    /// Numbers that were put to rest: three bytes each, and until when.
    fn rests(&self, cause: RestCause) -> Result<EventKind, BadRecord> {
        let number = |bytes: &[u8]| {
            let number = bytes.iter().fold(0_i64, |number, byte| (number << 8) | i64::from(*byte));
            DisplayNumber::new(number).map_err(BadRecord::new)
        };
        Ok(EventKind::Rested(Rests {
            restaurant: text(self.subject)?.parse().map_err(BadRecord::new)?,
            numbers: self.state.chunks(3).map(number).collect::<Result<_, _>>()?,
            until: time(self.number)?,
            cause,
        }))
    }

    /// The number of a creation, and of a live order that is said again: the digests of key and body, or nothing.
    fn idempotency(&self) -> Result<Option<IdempotencyDigest>, BadRecord> {
        idempotency(self.number)
    }

    fn settings(&self) -> Result<SettingsChange, BadRecord> {
        let restaurant: RestaurantId = text(self.subject)?.parse().map_err(BadRecord::new)?;
        Ok(SettingsChange {
            restaurant,
            settings: serde_json::from_slice(self.state).map_err(BadRecord::new)?,
            version: u32::try_from(integer(self.number)?).map_err(BadRecord::new)?,
        })
    }
}

/// A business date that was set: the date before 2 B, the one since 2 B, its end ms 6 B.
fn dated(fields: &Fields<'_>) -> Result<EventKind, BadRecord> {
    let state: [u8; 10] = fields.state.try_into().map_err(BadRecord::new)?;
    let [b0, b1, d0, d1, ends @ ..] = state;
    let ends_ms = ends.iter().fold(0_i64, |ms, byte| (ms << 8) | i64::from(*byte));
    Ok(EventKind::Dated(DateChange {
        restaurant: text(fields.subject)?.parse().map_err(BadRecord::new)?,
        before: date_of(u16::from_be_bytes([b0, b1])),
        date: date_of(u16::from_be_bytes([d0, d1])).ok_or_else(|| BadRecord::new("no date"))?,
        ends_at: Timestamp::from_unix_ms(ends_ms),
    }))
}

fn idempotency(digests: &[u8]) -> Result<Option<IdempotencyDigest>, BadRecord> {
    if digests.is_empty() {
        return Ok(None);
    }
    let (key, body) = digests.split_at_checked(16).ok_or_else(|| BadRecord::new("cut short"))?;
    Ok(Some(IdempotencyDigest {
        key: key.try_into().map_err(BadRecord::new)?,
        body: body.try_into().map_err(BadRecord::new)?,
    }))
}

fn field<'a>(fields: &[&'a [u8]], name: &str) -> Result<&'a [u8], BadRecord> {
    let named = fields.chunks_exact(2).find(|pair| pair[0] == name.as_bytes());
    named.map(|pair| pair[1]).ok_or_else(|| BadRecord::new(format!("no field {name}")))
}

/// Field `e`: four words, and the number, in which there may be spaces, too.
fn head<'a>(fields: &[&'a [u8]]) -> Result<impl Iterator<Item = &'a [u8]> + use<'a>, BadRecord> {
    Ok(field(fields, "e")?.splitn(5, |byte| *byte == b' '))
}

fn text(bytes: &[u8]) -> Result<&str, BadRecord> {
    std::str::from_utf8(bytes).map_err(BadRecord::new)
}

fn integer(bytes: &[u8]) -> Result<u64, BadRecord> {
    text(bytes)?
        .parse()
        .map_err(|e| BadRecord::new(format!("{:?} is no number: {e}", bytes.escape_ascii().to_string())))
}

fn time(bytes: &[u8]) -> Result<Timestamp, BadRecord> {
    integer(bytes).map(|ms| Timestamp::from_unix_ms(ms.cast_signed()))
}

fn event(partition: PartitionId, sequence: u64, fields: &Fields<'_>) -> Result<Event, BadRecord> {
    let context: Context = serde_json::from_slice(fields.context).map_err(BadRecord::new)?;
    let kind = match text(fields.kind)? {
        "created" => EventKind::Created { order: fields.order()?, idempotency: fields.idempotency()? },
        "imported" => EventKind::Imported { order: fields.order()? },
        "changed" => EventKind::Changed { order: fields.order()?, before: fields.before()? },
        "released" => {
            EventKind::Released { order: fields.order()?, before: fields.before()?, number: fields.number_after()? }
        }
        "reopened" => EventKind::Reopened { order: fields.order()?, before: fields.before()? },
        "called" => EventKind::Called { order: fields.order()?, before: fields.before()?, place: fields.place()? },
        "recycled" => EventKind::Recycled { order: fields.order()? },
        "restated" => {
            let order = fields.order()?;
            let (number, idempotency) = if order.status.is_final() {
                (Some(fields.number_after()?), None)
            } else {
                (None, fields.idempotency()?)
            };
            EventKind::Restated { order, number, idempotency }
        }
        "renumbered" => fields.renumbered()?,
        "skipped" => fields.rests(RestCause::Skipped)?,
        "reclaimed" => fields.rests(RestCause::Reclaimed)?,
        "configured" => EventKind::Configured(fields.settings()?),
        "dated" => dated(fields)?,
        other => return Err(BadRecord::new(format!("kind {other}"))),
    };
    let mut event =
        Event { partition, generation: fields.generation, sequence, at: Timestamp::from_unix_ms(0), context, kind };
    // An event that changed its order happened when the order says.
    event.at = match (fields.at, event.order()) {
        ([], Some(order)) => order.updated_at,
        (at, _) => time(at)?,
    };
    Ok(event)
}
